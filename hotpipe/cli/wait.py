"""`hotpipe wait`: until what is on disk has its verdict."""

import click

from hotpipe.cli import asking, waiting


@click.command(short_help="Wait for the verdict on what is on disk.")
@asking.config_option
@click.option("--green", is_flag=True, help="Until it is green: a red run does not end it.")
@click.option("--live", is_flag=True, help="And until every server serves what has passed.")
@waiting.timeout_option
@click.option("--json", "as_json", is_flag=True, help="The answer as one object.")
def command(config_file: str | None, *, green: bool, live: bool, timeout: float, as_json: bool) -> int:
    """Wait for the verdict on what is on disk: a save before this command counts.

    Exits 0 if it is green, 1 if it is red, or if the time is over.
    """
    wanted = waiting.Wanted(green, live, timeout)
    answers = wanted.reached(config_file)
    return waiting.as_json(answers) if as_json else waiting.told(wanted, answers)

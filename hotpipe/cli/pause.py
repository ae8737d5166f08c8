"""`hotpipe pause`: saves start no runs for a while."""

import click

from hotpipe.cli import asking
from hotpipe.control import Request


@click.command(short_help="Let saves start no runs, until `hotpipe resume`.")
@asking.config_option
def command(config_file: str | None) -> None:
    """Let saves start no runs, until `hotpipe resume`. A run that is under way goes on; `hotpipe rerun` works still."""
    asking.gate_or_refuse(config_file).ask(Request(verb="pause"))
    click.echo("paused: saves start no run until `hotpipe resume`")

"""`hotpipe gate`: the first half alone."""

from typing import Any

import click

from hotpipe.cli import options, resident


@click.command(short_help="Only check on every save; touch the trigger when all is green.")
@options.face_options
@resident.web_option
@options.screen_option
@resident.daemon_option
@click.option("--once-green", is_flag=True, help="Exit 0 at the first green run.")
def command(config_file: str | None, once_green: bool, daemon: bool, web: bool, **given: Any) -> int:
    """Run the stages on every change, and touch the triggers when all are green."""
    project = options.project(config_file)
    ends = frozenset({"green"} if once_green else ())
    return resident.run(project, options.shown(given), daemon, role="gate", gate=True, ends=ends, web=web)

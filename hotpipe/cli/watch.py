"""`hotpipe watch`: both halves in one process."""

from typing import Any

import click

from hotpipe.cli import options, resident


@click.command(short_help="Check on every save, and restart the servers when all is green.")
@options.face_options
@resident.web_option
@options.screen_option
@resident.daemon_option
@click.option("--once-green", is_flag=True, help="Exit 0 at the first green run.")
def command(config_file: str | None, once_green: bool, daemon: bool, web: bool, **given: Any) -> int:
    """Check on every save, and restart the servers when all is green."""
    project = options.project(config_file)
    ends = frozenset({"green"} if once_green else ())
    return resident.run(project, options.shown(given), daemon, role="watch", gate=True, serve=True, ends=ends, web=web)

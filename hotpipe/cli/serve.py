"""`hotpipe serve`: the second half alone."""

from typing import Any

import click

from hotpipe.cli import options, resident


@click.command(short_help="Only hold the sockets, and restart when a trigger changes.")
@options.face_options
@resident.web_option
@options.screen_option
@resident.daemon_option
def command(config_file: str | None, daemon: bool, web: bool, **given: Any) -> int:
    """Hold the sockets, and (re)start the servers when a trigger changes."""
    project = options.project(config_file)
    return resident.run(project, options.shown(given), daemon, role="serve", serve=True, web=web)

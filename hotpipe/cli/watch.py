"""`hotpipe watch`: both halves in one process."""

from typing import Any

import click

from hotpipe.cli import options, resident
from hotpipe.errors import UsageError


@click.command(short_help="Check on every save, and restart the servers when all is green.")
@options.face_options
@resident.daemon_option
@click.option("--once-green", is_flag=True, help="Exit 0 at the first green run.")
def command(config_file: str | None, once_green: bool, daemon: bool, **given: Any) -> int:
    """Check on every save, and restart the servers when all is green."""
    project = options.project(config_file)
    if not project.config.stage and not project.config.server:
        raise UsageError(
            f"{project.file} has neither a stage nor a server: there is nothing to do",
            hint='write [stage.test] with run = "pytest", or [server.web]',
        )
    ends = frozenset({"green"} if once_green else ())
    return resident.run(project, options.shown(given), daemon, role="watch", gate=True, serve=True, ends=ends)

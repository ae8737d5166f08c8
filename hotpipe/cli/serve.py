"""`hotpipe serve`: the second half alone."""

from typing import Any

import click

from hotpipe import app
from hotpipe.cli import options
from hotpipe.errors import UsageError


@click.command(short_help="Only hold the sockets, and restart when a trigger changes.")
@options.face_options
def command(config_file: str | None, **given: Any) -> int:
    """Hold the sockets, and (re)start the servers when a trigger changes."""
    face, project = options.shown(given).face(), options.project(config_file)
    if not project.config.server:
        raise UsageError(f"{project.file} has no server", hint="write [server.web] with run and listen")
    return app.run(app.Job(project, face, serve=True))

"""`hotpipe gate`: the first half alone."""

from typing import Any

import click

from hotpipe import app
from hotpipe.cli import options


@click.command(short_help="Only check on every save, and touch the trigger when all is green.")
@options.face_options
@click.option("--once-green", is_flag=True, help="Exit 0 at the first green run.")
def command(config_file: str | None, once_green: bool, **given: Any) -> int:
    """Run the stages on every change, and touch the triggers when all are green."""
    face, project = options.shown(given).face(), options.project(config_file)
    ends = frozenset({"green"} if once_green else ())
    return app.run(app.Job(project, face, gate=True, ends=ends))

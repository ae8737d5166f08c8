"""What the verbs that go on running have in common: in the foreground, or as a daemon."""

import os
from typing import Any

import click

from hotpipe import app
from hotpipe.cli.options import Shown
from hotpipe.config.file import Project
from hotpipe.daemon import Daemon, daemonize

web_option = click.option("--web", is_flag=True, help="Also the dashboard, a page in the browser ([web] listen).")
daemon_option = click.option("--daemon", is_flag=True, help="Go on in the background; the log is in .hotpipe/logs.")


def run(project: Project, shown: Shown, daemon: bool, **job: Any) -> int:
    """Run the job that these fields of `app.Job` describe, here or in the background."""
    job["notify"] = not shown.json  # who reads events has eyes of its own
    app.Job(project, shown.face(project.root), **job).check(project.config, project.file)
    if not daemon:
        return app.run(app.Job(project, shown.screen(project), ttys=shown.ttys, **job))
    before = str(os.getpid())
    started = daemonize(project.root)
    if isinstance(started, Daemon):
        click.echo(f"hotpipe runs in the background (pid {started.pid}); its log: {started.log}")
        return 0
    for variable in ("LISTEN_PID", "WATCHDOG_PID"):  # what was meant for the process that has forked
        if os.environ.get(variable) == before:
            os.environ[variable] = str(os.getpid())
    with started:
        return app.run(app.Job(project, shown.face(project.root), **job), started)

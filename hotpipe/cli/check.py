"""`hotpipe check`: the stages once, for CI and git hooks."""

from dataclasses import replace
from typing import Any

import click
import msgspec

from hotpipe import app
from hotpipe.cli import options, reports
from hotpipe.config.file import Project
from hotpipe.config.model import nearest
from hotpipe.errors import UsageError

_ENDS = frozenset({"green", "red", "superseded"})


@click.command(short_help="Run the stages once and exit: 0 green, 1 not.")
@click.argument("stages", metavar="[STAGE]...", nargs=-1)
@options.face_options
@reports.report_options
@click.option("--trigger", is_flag=True, help="Touch the triggers when all stages pass.")
def command(config_file: str | None, stages: tuple[str, ...], trigger: bool, **given: Any) -> int:
    """Run the stages once and exit: 0 if all passed on the tree that is still on disk, else 1."""
    shown, project = options.shown(given), options.project(config_file)
    if trigger and stages:
        raise UsageError("--trigger needs all stages: some of them alone do not make a tree green")
    chosen = _only(project, stages) if stages else _all_needed(project)
    if not chosen.config.stage:
        raise UsageError(f"{project.file} has no stage to run", hint='write [stage.test] with run = "pytest"')
    report = reports.reported(shown, given, project)
    job = app.Job(report.unwatched(chosen), report.face, gate=True, touch=trigger, ends=_ENDS)
    return report.exit_code(app.run(job))


def _all_needed(project: Project) -> Project:
    """On success only, and that means all stages: a check touches no trigger of a red run."""
    servers = {name: msgspec.structs.replace(each, needs=None) for name, each in project.config.server.items()}
    return replace(project, config=msgspec.structs.replace(project.config, server=servers))


def _only(project: Project, names: tuple[str, ...]) -> Project:
    """The project with just these stages, in the order of the configuration."""
    known = project.config.stage
    for name in names:
        if name not in known:
            raise UsageError(f"there is no stage {name!r}{nearest(name, known)}; the stages are {', '.join(known)}")
    kept = {name: stage for name, stage in known.items() if name in names}
    return replace(project, config=msgspec.structs.replace(project.config, stage=kept))

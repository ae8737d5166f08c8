"""`hotpipe check`: the stages once, for CI and git hooks."""

import contextlib
import os
from dataclasses import dataclass, replace
from typing import Any

import click
from msgspec import structs

from hotpipe import app, git
from hotpipe.cli import asking, options, reports
from hotpipe.config import chosen, file
from hotpipe.config.file import Project
from hotpipe.config.model import nearest
from hotpipe.errors import UsageError
from hotpipe.staged import Staged
from hotpipe.staged import staged as staged_copy

_ENDS = frozenset({"green", "red", "superseded"})


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is to be run, whatever tree it is to be run on."""

    stages: tuple[str, ...]
    trigger: bool
    keep_going: bool
    no_cache: bool

    def job(self, project: Project, report: reports.Reported) -> app.Job:
        part = _only(project, self.stages) if self.stages else _all_needed(project)
        if not part.config.stage:
            raise UsageError(f"{project.file} has no stage to run", hint='write [stage.test] with run = "pytest"')
        part = report.unwatched(_to_the_end(part) if self.keep_going else part)
        job = app.Job(part, report.face, gate=True, ends=_ENDS)
        return replace(job, touch=self.trigger, cache="" if self.no_cache else job.cache)


@click.command(short_help="Run the stages once and exit: 0 green, 1 not.")
@click.argument("stages", metavar="[STAGE]...", nargs=-1)
@options.face_options
@click.option("--staged", is_flag=True, help="What is in git's index, in a copy; the work tree is left alone.")
@click.option("--changed-since", "rev", metavar="REV", help="Only stages whose inputs differ from this git revision.")
@click.option("--keep-going", is_flag=True, help="After a failure, still run what does not need the failed stage.")
@click.option("--no-cache", is_flag=True, help="Run also what has passed before, and remember nothing.")
@reports.report_options
@click.option("--trigger", is_flag=True, help="Touch the triggers when all stages pass.")
def command(
    config_file: str | None,
    stages: tuple[str, ...],
    *,
    staged: bool,
    rev: str | None,
    keep_going: bool,
    no_cache: bool,
    trigger: bool,
    **given: Any,
) -> int:
    """Run the stages once and exit: 0 if all passed on the tree that is still on disk, else 1.

    STAGE names some of them; what they need by a `needs` that is written is run, too.
    """
    if staged and rev is not None:
        raise UsageError("--staged and --changed-since exclude each other")
    if trigger and (stages or staged or rev is not None):
        raise UsageError("--trigger needs all stages: some of them alone do not make a tree green")
    asked, found = _Asked(stages, trigger, keep_going, no_cache), asking.found(config_file)
    report = reports.reported(options.shown(given), given, os.path.dirname(found))
    return report.exit_code(_check_staged(asked, found, report) if staged else _check(asked, config_file, rev, report))


def _check(asked: _Asked, config_file: str | None, rev: str | None, report: reports.Reported) -> int:
    job = asked.job(options.project(config_file), report)
    if rev is not None:
        job = replace(job, changed=git.Repository.of(job.project.root).changed_since(rev))
    if git.is_calling():
        git.forget()
    return app.run(job)


def _check_staged(asked: _Asked, found: str, report: reports.Reported) -> int:
    root = os.path.dirname(found)
    with staged_copy(root) as copy, contextlib.chdir(copy.root):
        job = asked.job(_without(copy.ignore, _as_staged(found, copy)), report)
        git.forget()  # the copy is no repository, and the one that it comes from is not to be touched
        if copy.python_path:
            os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (*copy.python_path, os.environ.get("PYTHONPATH"))))
        cache = job.cache and os.path.join(root, job.cache)
        return app.run(replace(job, changed=copy.changed, cache=cache))


def _as_staged(found: str, copy: Staged) -> Project:
    """The configuration in the index; where there is none, that on disk."""
    own = os.path.join(copy.root, os.path.basename(found))
    if os.path.lexists(own):
        return file.load(own, copy.root)
    return replace(file.load(found, os.path.dirname(found)), root=copy.root)


def _without(ignore: tuple[str, ...], project: Project) -> Project:
    watch = structs.replace(project.config.watch, ignore=(*project.config.watch.ignore, *ignore))
    return replace(project, config=structs.replace(project.config, watch=watch))


def _all_needed(project: Project) -> Project:
    """On success only, and that means all stages: a check touches no trigger of a red run."""
    servers = {name: structs.replace(each, needs=None) for name, each in project.config.server.items()}
    return replace(project, config=structs.replace(project.config, server=servers))


def _only(project: Project, names: tuple[str, ...]) -> Project:
    """The project with just these stages and what they need in so many words, in the order of the configuration."""
    known = project.config.stage
    for name in names:
        if name not in known:
            raise UsageError(f"there is no stage {name!r}{nearest(name, known)}; the stages are {', '.join(known)}")
    return replace(project, config=chosen.only(project.config, names))


def _to_the_end(project: Project) -> Project:
    gate = structs.replace(project.config.gate, fail_fast=False)
    return replace(project, config=structs.replace(project.config, gate=gate))

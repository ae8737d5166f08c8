"""`hotpipe check`: the stages once, for CI and git hooks."""

import contextlib
import os
import signal
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click
from msgspec import structs

from hotpipe import git
from hotpipe.cli import asking, completing, options, reports
from hotpipe.config import chosen, file
from hotpipe.config.file import Project
from hotpipe.config.model import nearest
from hotpipe.errors import UsageError
from hotpipe.events import Stamped
from hotpipe.gate import straight
from hotpipe.gate.cache import FOLDER as CACHE
from hotpipe.history import History
from hotpipe.instance import FOLDER
from hotpipe.ui.face import Face, write

if TYPE_CHECKING:
    from hotpipe.staged import Staged

_LAST_WORDS_S = 2.0  # how long a reader who does not read may hold up the end
_ENDS = frozenset({"green", "red", "superseded"})


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is to be run, whatever tree it is to be run on."""

    stages: tuple[str, ...]
    trigger: bool
    keep_going: bool
    no_cache: bool
    ttys: bool

    def part(self, project: Project, report: reports.Reported) -> Project:
        """What of the project is to be run."""
        part = _only(project, self.stages) if self.stages else _all_needed(project)
        if not part.config.stage:
            raise UsageError(f"{project.file} has no stage to run", hint='write [stage.test] with run = "pytest"')
        report.expect(part)
        return report.unwatched(_to_the_end(part) if self.keep_going else part)

    def run(self, part: Project, face: Face, changed: tuple[str, ...] | None, cache: str = CACHE) -> int:
        """Run it: at once, where nothing has to run; else in the loop, which takes its time to load."""
        if not (self.trigger or self.no_cache or "NOTIFY_SOCKET" in os.environ):
            found = straight.check(part, cache, None if changed is None else frozenset(changed))
            if found is not None:
                return _said(found, part, face)
        from hotpipe import app

        job = app.Job(part, face, gate=True, ends=_ENDS, touch=self.trigger, as_found=True, changed=changed)
        return app.run(replace(job, cache="" if self.no_cache else cache, ttys=self.ttys))


@click.command(short_help="Run the stages once and exit: 0 green, 1 not.")
@click.argument("stages", metavar="[STAGE]...", nargs=-1, shell_complete=completing.stages)
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
    _heed_signals()
    if staged and rev is not None:
        raise UsageError("--staged and --changed-since exclude each other")
    if trigger and (stages or staged or rev is not None):
        raise UsageError("--trigger needs all stages: some of them alone do not make a tree green")
    shown, found = options.shown(given), asking.found(config_file)
    asked = _Asked(stages, trigger, keep_going, no_cache, shown.ttys and not given["github"])
    report = reports.reported(shown, given, os.path.dirname(found))
    return report.exit_code(_check_staged(asked, found, report) if staged else _check(asked, config_file, rev, report))


def _heed_signals() -> None:
    """Also before there is a loop, and where there is none, an end that was asked for is in order, and no verdict."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)


def _check(asked: _Asked, config_file: str | None, rev: str | None, report: reports.Reported) -> int:
    part = asked.part(options.project(config_file), report)
    changed = None if rev is None else git.Repository.of(part.root).changed_since(rev)
    if git.is_calling():
        git.forget()
    return asked.run(part, report.face, changed)


def _said(events: list[Stamped], part: Project, face: Face) -> int:
    """Tell and record a green run, all at once."""
    gives_up = threading.Event()
    patience = threading.Timer(_LAST_WORDS_S, gives_up.set)
    patience.daemon = True
    patience.start()
    with contextlib.suppress(BrokenPipeError):  # read or not, the exit code says it
        write(face.render(events), gives_up)
    patience.cancel()
    History(os.path.join(part.root, FOLDER)).apply_all(events)
    return 0


def _check_staged(asked: _Asked, found: str, report: reports.Reported) -> int:
    root = os.path.dirname(found)
    from hotpipe.staged import staged

    with staged(root) as copy, contextlib.chdir(copy.root):
        part = asked.part(_without(copy.ignore, _as_staged(found, copy)), report)
        git.forget()  # the copy is no repository, and the one that it comes from is not to be touched
        if copy.python_path:
            os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (*copy.python_path, os.environ.get("PYTHONPATH"))))
        return asked.run(part, report.face, copy.changed, os.path.join(root, CACHE))


def _as_staged(found: str, copy: "Staged") -> Project:
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

"""What the badge in a page is told, made from the view. Pure, and bounded: tools write anything."""

from collections.abc import Iterator
from typing import Literal

import msgspec

from hotpipe.events import StageFinding
from hotpipe.ui import words
from hotpipe.ui.view import GenerationView, ServerView, StageView, View
from hotpipe.web.changes import Changes, Paths

MOST_STAGES = 5
MOST_FINDINGS = 5  # of one stage: for more there is the dashboard
MOST_ERRORS = 5
_LONGEST = 200  # characters of a text

Checks = Literal["none", "running", "green", "red", "changed"]


class Finding(msgspec.Struct, frozen=True):
    """A place to open."""

    path: str | None
    line: int | None
    column: int | None
    text: str


class Failure(msgspec.Struct, frozen=True):
    """A stage that makes the run red; `found` counts also the findings that are not told."""

    stage: str
    how: str
    found: int
    findings: tuple[Finding, ...]


class Served(msgspec.Struct, frozen=True):
    """The page's server; `generation` is the one that answers, `booting` the one to come, `behind` counts saves.
    `others` are alive still: connections that they have had before may bring them requests; `revisited` is the last of
    those that are gone by now, if that was so."""

    name: str
    generation: int | None
    others: tuple[int, ...]
    revisited: int | None
    verified: bool
    booting: int | None
    failed: int | None
    failure: str
    behind: int


class Told(msgspec.Struct, frozen=True):
    """All that the badge shows; `changed` since the page was told last, up to `fresh` (null: not known)."""

    checks: Checks
    done: int
    stages: int
    failures: tuple[Failure, ...]
    errors: tuple[str, ...]
    paused: bool
    ending: bool
    server: Served | None
    fresh: int
    changed: Paths = ()


def told(view: View, changes: Changes, server: str | None) -> Told:
    """For a page of that server (none: it is not known whose it is), without `changed`."""
    run = view.run
    stages = run.stages if run is not None else {}
    return Told(
        checks(view),
        sum(stage.status is not None for stage in stages.values()),
        len(view.stages) or len(stages),
        tuple(map(_failure, run.failures()[:MOST_STAGES])) if run is not None else (),
        tuple(error[:_LONGEST] for error in view.errors[:MOST_ERRORS]),
        view.paused,
        view.ending,
        _served(view.servers[server], changes.server(server).revisited) if server in view.servers else None,
        changes.server(server).fresh if server in view.servers else 0,
    )


def checks(view: View) -> Checks:
    """How it stands with what is on disk; `changed`: a verdict is there, but for what was there before."""
    run = view.run
    if run is None:
        return "none"
    if run.status is None:
        return "running"
    return run.status if run.status != "superseded" and view.is_current() else "changed"


def paths(told: Told) -> Iterator[str]:
    """The files that it names."""
    for failure in told.failures:
        yield from (finding.path for finding in failure.findings if finding.path is not None)


def _failure(stage: StageView) -> Failure:
    how = "timed out" if stage.status == "timed_out" else words.ended(stage.exit_code)
    findings = tuple(map(_finding, stage.foremost()[:MOST_FINDINGS]))
    return Failure(stage.name[:_LONGEST], how, stage.found, findings)


def _finding(finding: StageFinding) -> Finding:
    text = " ".join(filter(None, (finding.code, finding.message)))
    return Finding(finding.path, finding.line, finding.column, text[:_LONGEST])


def _served(server: ServerView, revisited: int | None) -> Served:
    failure, booting = server.failure, server.candidate
    return Served(
        server.name,
        server.generation,
        tuple(each.number for each in server.generations.values() if _may_answer(each, server)),
        revisited,
        server.verified,
        booting.number if booting is not None else None,
        failure.generation if failure is not None else None,
        failure.reason[:_LONGEST] if failure is not None else "",
        server.behind,
    )


def _may_answer(generation: GenerationView, server: ServerView) -> bool:
    return generation.live is not None and generation.number != server.generation

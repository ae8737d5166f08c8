"""The findings of a run as GitHub's workflow commands, the ones that matter most first. Pure.

The form is that of docs.github.com/actions/reference/workflows-and-actions/workflow-commands, escaped as `escapeData`
and `escapeProperty` in actions/toolkit, packages/core/src/command.ts. GitHub shows 10 errors, 10 warnings and 10
notices of a step (actions/toolkit, docs/problem-matchers.md), and the runner cuts a message after 4,096 characters
(actions/runner, ExecutionContext.cs), so no more than that is said.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from hotpipe.events import Severity, StageFinding
from hotpipe.ui.excerpt import readable
from hotpipe.ui.results import Results, StageResult, message

MOST = 10  # of a kind
_LAST_LINES = 10  # of the output, where a stage failed and nothing was recognised in it
_LAST_CHARACTERS = 1_500
_SUPERSEDED = "The tree changed while it was checked, so the run proves nothing."

Kind = Literal["error", "warning", "notice"]
_KINDS: tuple[Kind, ...] = ("error", "warning", "notice")
_OF_A_FAILURE: dict[Severity, Kind] = {"error": "error", "warning": "warning", "note": "notice"}
_OTHERWISE: dict[Severity, Kind] = {"error": "warning", "warning": "warning"}


@dataclass(frozen=True, slots=True)
class Places:
    """Where the project lies, and the repository: annotations name files from the repository's root."""

    root: str
    workspace: str

    def named(self, path: str) -> str:
        """A finding's path as GitHub knows the file; what lies elsewhere stays as it is."""
        whole = os.path.normpath(os.path.join(self.root, path))
        inside = self.workspace and os.path.commonpath((self.workspace, whole)) == self.workspace
        return os.path.relpath(whole, self.workspace) if inside else path


@dataclass(frozen=True, slots=True)
class Annotation:
    """One of them, not yet escaped."""

    kind: Kind
    message: str
    properties: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        listed = ",".join(f"{name}={_property(value)}" for name, value in self.properties.items())
        return command(f"{self.kind} {listed}", self.message)


def command(name: str, message: str = "") -> str:
    """A workflow command on a line of its own."""
    return f"::{name}::{_escaped(message)}\n"


def annotations(results: Results, places: Places) -> list[Annotation]:
    """Those that GitHub shows: the first one of each stage, then the rest, at most `MOST` of each kind."""
    of_stages = [list(_of_stage(stage, places)) for stage in results.stages.values()]
    if results.finished is not None and results.finished.status == "superseded":
        of_stages = [[Annotation("error", _SUPERSEDED, {"title": "hotpipe"})]]
    return [shown for kind in _KINDS for shown in _ranked(kind, of_stages)[:MOST]]


def _ranked(kind: Kind, of_stages: Iterable[Sequence[Annotation]]) -> list[Annotation]:
    """So that a stage with a hundred errors hides no other's."""
    queues = [[each for each in of_stage if each.kind == kind] for of_stage in of_stages]
    return [each for queue in queues for each in queue[:1]] + [each for queue in queues for each in queue[1:]]


def _of_stage(stage: StageResult, places: Places) -> Iterator[Annotation]:
    if stage.finished is None or stage.finished.status in {"skipped", "cancelled"}:
        return
    kinds = _OF_A_FAILURE if stage.failed else _OTHERWISE
    found = [_of_finding(kinds[each.severity], each, places) for each in stage.findings if each.severity in kinds]
    if stage.failed and not any(each.kind == "error" for each in found):
        yield Annotation("error", _said_last(stage), {"title": f"{stage.name} failed"})
    if stage.forgiven and not found:
        yield Annotation("warning", _said_last(stage), {"title": f"{stage.name} failed, and may"})
    yield from found


def _of_finding(kind: Kind, finding: StageFinding, places: Places) -> Annotation:
    properties: dict[str, str] = {}
    if finding.path is not None:
        properties["file"] = places.named(finding.path)
        if finding.line is not None:
            properties["line"] = str(finding.line)
            if finding.column is not None:
                properties["col"] = str(finding.column)
    properties["title"] = f"{finding.stage}: {finding.tool}"
    return Annotation(kind, message(finding), properties)


def _said_last(stage: StageResult) -> str:
    return "\n".join([stage.ended, *stage.output.last(_LAST_LINES, _LAST_CHARACTERS)])


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _escaped(readable(text)).replace(":", "%3A").replace(",", "%2C")

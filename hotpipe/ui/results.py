"""What a report says, folded from the events: each stage of the last run with its end, its findings, its output.

Apart from `view`, which holds what a person wants to see now, because a report needs the beginning of the output, too,
and holds it for all stages, the green ones included. Memory is bounded: `excerpt`, `MOST_FINDINGS`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from hotpipe.events import (
    AnyEvent,
    Ending,
    RunFinished,
    RunStarted,
    Severity,
    StageFinding,
    StageFinished,
    StageOutput,
    StageStarted,
    Stamped,
)
from hotpipe.ui import words
from hotpipe.ui.excerpt import Excerpt, readable

MOST_FINDINGS = 100  # of each severity, a stage
_LONGEST = 2_000  # characters of a finding's message
_SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
_RED = frozenset({"failed", "timed_out"})


@dataclass(slots=True)
class StageResult:
    """One stage; `finished` is None while it is not known how it ended."""

    name: str
    command: str = ""
    finished: StageFinished | None = None
    output: Excerpt = field(default_factory=Excerpt)
    _found: dict[Severity, list[StageFinding]] = field(default_factory=dict)

    @property
    def begun(self) -> bool:
        """Whether it was started, or its end told."""
        return bool(self.command) or self.finished is not None

    @property
    def failed(self) -> bool:
        """Whether it makes the run red."""
        return self.finished is not None and self.finished.status in _RED and not self.finished.allowed

    @property
    def forgiven(self) -> bool:
        """Whether it failed, and may."""
        return self.finished is not None and self.finished.status in _RED and self.finished.allowed

    @property
    def ended(self) -> str:
        """How it ended, in words."""
        if self.finished is None:
            return "not finished" if self.begun else "not started"
        if self.finished.status == "failed":
            return words.ended(self.finished.exit_code)
        return self.finished.status.replace("_", " ")

    @property
    def findings(self) -> list[StageFinding]:
        """The first ones of each severity: errors, then warnings, then notes."""
        return [finding for severity in _SEVERITIES for finding in self._found.get(severity, ())]

    def add(self, finding: StageFinding) -> None:
        """Take a finding, if it is among the first of its severity."""
        found = self._found.setdefault(finding.severity, [])
        if len(found) < MOST_FINDINGS:
            found.append(finding)


@dataclass(slots=True)
class Results:
    """The current or the last run; `stopped`: hotpipe was told to end before it was over; then those of `expected` that
    were not even begun are among `stages`, too."""

    began: str = ""
    tree: str = ""
    finished: RunFinished | None = None
    stopped: bool = False
    stages: dict[str, StageResult] = field(default_factory=dict)
    expected: Iterable[str] = ()

    def apply(self, stamped: Stamped) -> None:
        """Take in one event."""
        match stamped.event:
            case RunStarted(tree=tree):
                self.began, self.tree = stamped.stamp.time, tree
                self.finished, self.stages = None, {}
            case RunFinished():
                self.finished = stamped.event
            case Ending():
                self.stopped = self.finished is None
                if self.stopped:
                    for name in self.expected:
                        self.stage(name)
            case _:
                self._apply_stage(stamped.event)

    def _apply_stage(self, event: AnyEvent) -> None:
        match event:
            case StageStarted():
                self.stage(event.stage).command = event.command
            case StageOutput():
                self.stage(event.stage).output.add(event.text)
            case StageFinding():
                self.stage(event.stage).add(event)
            case StageFinished():
                self.stage(event.stage).finished = event
            case _:
                pass

    def stage(self, name: str) -> StageResult:
        """The stage of that name, from its first mention on."""
        if name not in self.stages:
            self.stages[name] = StageResult(name)
        return self.stages[name]


def place(finding: StageFinding) -> str:
    """`path:line:column`, as far as it is known."""
    parts = (finding.path, *(part for part in (finding.line, finding.column) if finding.line is not None))
    return readable(":".join(str(part) for part in parts if part is not None))


def message(finding: StageFinding) -> str:
    """What is wrong there, readable and no longer than need be."""
    text = "\n".join(map(readable, finding.message[:_LONGEST].split("\n")))
    return f"{text} ({readable(finding.code)})" if finding.code else text


def sentence(finding: StageFinding) -> str:
    """`path:line:column: message (code)`."""
    where = place(finding)
    return f"{where}: {message(finding)}" if where else message(finding)

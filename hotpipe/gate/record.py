"""What came of a stage: its verdict, its findings, and the end of what it wrote. Known without a loop, and without what
understands output: a check of which nothing has to run needs neither."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hotpipe.config.model import Stage
from hotpipe.events import StageFinding, StageFinished, StageStatus, Stream

if TYPE_CHECKING:
    from hotpipe.gate.findings import Finding

_MOST_LINES = 5_000
_MOST_CHARACTERS = 1_000_000


@dataclass(slots=True)
class Record:
    """What came of a stage, and the end of what it wrote: `lost` lines stood before that."""

    command: str
    status: StageStatus = "cancelled"
    exit_code: int | None = None
    took_ms: float = 0.0
    flaky: bool = False
    run: int = 0
    output: deque[tuple[Stream, str]] = field(default_factory=deque)
    findings: list[Finding] = field(default_factory=list)
    characters: int = 0
    lost: int = 0

    def add(self, stream: Stream, text: str) -> None:
        self.output.append((stream, text))
        self.characters += len(text)
        while len(self.output) > _MOST_LINES or self.characters > _MOST_CHARACTERS:
            self.characters -= len(self.output.popleft()[1])
            self.lost += 1

    def finished(self, run: int, name: str, stage: Stage, why: str = "") -> StageFinished:
        """The event that says it."""
        return StageFinished(
            run=run,
            stage=name,
            status=self.status,
            exit_code=self.exit_code,
            took_ms=self.took_ms,
            flaky=self.flaky,
            allowed=stage.allow_failure and self.status in {"failed", "timed_out"},
            why=why,
            findings=len(self.findings),
        )


def found(root: str, cwd: str, record: Record) -> list[Finding]:
    """What a record's output names."""
    if not record.output:
        return []
    from hotpipe.gate.findings import Finder  # noqa: PLC0415 - start-up time: it compiles many expressions

    finder = Finder(root, cwd)
    early = [finding for stream, text in record.output for finding in finder.add(stream, text)]
    return early + finder.end()


def told(run: int, stage: str, finding: Finding) -> StageFinding:
    """A finding as an event."""
    return StageFinding(
        run=run,
        stage=stage,
        tool=finding.tool,
        severity=finding.severity,
        path=finding.path,
        line=finding.line,
        column=finding.column,
        code=finding.code,
        message=finding.message,
    )

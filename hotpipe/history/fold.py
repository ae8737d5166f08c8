"""Events folded into what is worth recording: whole runs, and what became of each generation of a server."""

from typing import Literal

import msgspec

from hotpipe.events import (
    RunFinished,
    RunStarted,
    RunStatus,
    ServerDiscarded,
    ServerFailed,
    ServerLive,
    StageFinished,
    StageStarted,
    Stamped,
)


class Stage(msgspec.Struct, frozen=True):
    """A stage of a finished run. `attempts`: how often it was started."""

    stage: str
    status: str
    took_ms: float
    flaky: bool
    attempts: int


class Run(msgspec.Struct, frozen=True):
    """A finished run."""

    run: int
    at: str
    tree: str
    status: RunStatus
    took_ms: float
    stages: tuple[Stage, ...]


class Restart(msgspec.Struct, frozen=True):
    """What became of a generation; `took_ms` from the request until it was live."""

    at: str
    server: str
    generation: int
    took_ms: float | None
    outcome: Literal["live", "failed", "discarded"]


class Fold:
    """Events on their way to what is recorded. Pure but for what it remembers of the run that is going on."""

    def __init__(self) -> None:
        self._tree = ""
        self._started: dict[str, int] = {}
        self._stages: dict[str, Stage] = {}

    def apply(self, stamped: Stamped) -> Run | Restart | None:
        """What is complete with this event."""
        at = stamped.stamp.time
        match stamped.event:
            case RunStarted(tree=tree):
                self._tree, self._started, self._stages = tree, {}, {}
            case StageStarted(stage=name):
                self._started[name] = self._started.get(name, 0) + 1
            case StageFinished() as end:
                attempts = self._started.get(end.stage, 0)
                self._stages[end.stage] = Stage(end.stage, end.status, end.took_ms, end.flaky, attempts)
            case RunFinished(run=run, status=status, took_ms=took_ms):
                return Run(run, at, self._tree, status, took_ms, tuple(self._stages.values()))
            case ServerLive(server=server, generation=generation, took_ms=took_ms):
                return Restart(at, server, generation, took_ms, "live")
            case ServerFailed(server=server, generation=generation):
                return Restart(at, server, generation, None, "failed")
            case ServerDiscarded(server=server, generation=generation):
                return Restart(at, server, generation, None, "discarded")
            case _:
                pass
        return None

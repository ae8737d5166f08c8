"""The past as the page draws it: columns rather than rows, for it has thousands of numbers. Blocks on the disk."""

from collections.abc import Mapping, Sequence

import msgspec

from hotpipe.history import History
from hotpipe.history.fold import Restart, Run

MOST_RUNS = 200
MOST_RESTARTS = 200
MOST_STAGES = 100
_TAKEN = frozenset({"passed", "failed", "timed_out"})  # it really ran, to an end


class RunPoint(msgspec.Struct, frozen=True):
    """A run in the strip."""

    run: int
    at: str
    status: str
    took_ms: float


class Taken(msgspec.Struct, frozen=True):
    """How long a stage usually takes, and how long it took, oldest first: when, how long, how it ended."""

    stage: str
    usual_ms: float | None
    points: tuple[tuple[str, float, str], ...]


class Flaky(msgspec.Struct, frozen=True):
    """A stage that passed only after a retry in `flaky` of its last `passes`."""

    stage: str
    flaky: int
    passes: int


class Past(msgspec.Struct, frozen=True):
    """All oldest first."""

    runs: tuple[RunPoint, ...]
    stages: tuple[Taken, ...]
    restarts: tuple[Restart, ...]
    flaky: tuple[Flaky, ...]


def told(history: History) -> Past:
    """What there is; empty where there is none."""
    runs = history.recent_runs(MOST_RUNS)
    flaky = [Flaky(stage, *counts) for stage, counts in history.flaky().items() if counts[0]]
    flaky.sort(key=lambda one: -one.flaky / one.passes)
    points = tuple(RunPoint(run.run, run.at, run.status, run.took_ms) for run in runs)
    restarts = tuple(history.recent_restarts(MOST_RESTARTS))
    return Past(points, tuple(_taken(runs, history.medians())), restarts, tuple(flaky[:MOST_STAGES]))


def _taken(runs: Sequence[Run], usual_ms: Mapping[str, float]) -> list[Taken]:
    points: dict[str, list[tuple[str, float, str]]] = {}
    for run in runs:
        for stage in run.stages:
            if stage.status in _TAKEN:
                points.setdefault(stage.stage, []).append((run.at, stage.took_ms, stage.status))
    return [Taken(stage, usual_ms.get(stage), tuple(taken)) for stage, taken in list(points.items())[:MOST_STAGES]]

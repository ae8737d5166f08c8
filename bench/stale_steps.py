"""What the scenarios share: what an outcome is, and the steps that bring a tool to the moment that one is about."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from stale_tools import Tool
from stale_world import APP, CHECK, LINT, NOTES, PATIENCE_S, Program, Run, Task, World, until

Verdict = Literal["right", "wrong", "not driven"]
REACTION_S = 1.5  # for a tool to react to a save, before it counts as not reacting
ANSWER_S = 5.0  # for the run that a save must lead to
QUIET_S = 1.2  # without a step of any check: the tool has done all it will do


@dataclass(frozen=True)
class Outcome:
    """What a tool did, and whether it should have; `runs` where they are what counts."""

    verdict: Verdict
    told: str
    runs: int = 0


class NotDrivenError(Exception):
    """The tool never came to the moment that the scenario is about."""


def judged(told: str, *, right: bool) -> Outcome:
    return Outcome("right" if right else "wrong", told)


def expect(what: str, condition: Callable[[], bool], program: Program, seconds: float = PATIENCE_S) -> None:
    if not until(condition, seconds):
        raise NotDrivenError(f"{what}; it said: {' '.join(program.said().split())[-300:]!r}")


def check_once(tool: Tool, world: World) -> tuple[int | None, list[Run]]:
    """Its exit code, and the runs of the check that this start led to."""
    assert tool.once is not None
    before = len(world.runs())
    program = world.start(tool.once([CHECK]))
    code = program.wait()
    if code is None:
        raise NotDrivenError(f"it did not end; it said: {program.said()[-300:]!r}")
    return code, world.runs()[before:]


def begin(tool: Tool, world: World) -> Program:
    """Start it on a project that it knows nothing of, and wait until its check waits for us."""
    assert tool.once is not None
    world.set("hold-check")
    program = world.start(tool.once([CHECK]))
    expect("the check never started", lambda: bool(world.runs()), program)
    return program


def watching(tool: Tool, world: World, *tasks: Task) -> Program:
    """Start it watching; when this returns it has answered to a save for each task, and is at rest.

    Two rounds: a first run that a tool makes at its start is no answer to a save.
    """
    assert tool.watch is not None
    program = world.start(tool.watch(tasks))
    for task in (*tasks, *tasks):
        _warm_up(task, world, program)
    settle(world)
    return program


def _warm_up(task: Task, world: World, program: Program) -> None:
    path = {CHECK: APP, LINT: NOTES}[task]
    for _ in range(8):
        content = world.fresh()
        world.save(path, content)
        if until(lambda: world.has_passed_on(content, task), REACTION_S):  # noqa: B023 - asked before the next round
            return
    raise NotDrivenError(f"{task.name} never ran on a save; it said: {program.said()[-300:]!r}")


def settle(world: World) -> None:
    """Until nothing happens any more; bounded, for some tools never rest."""
    log, end = world.desk / "log", time.monotonic() + PATIENCE_S
    size, since = -1, time.monotonic()
    while time.monotonic() - since < QUIET_S and time.monotonic() < end:
        if (now := log.stat().st_size) != size:
            size, since = now, time.monotonic()
        time.sleep(0.02)


def last(code: int | None, runs: list[Run]) -> str:
    ran = f"run, {runs[-1].verdict or 'not to its end'}" if runs else "not run"
    return f"{ran}, exit {code}"

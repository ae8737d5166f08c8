"""Scenarios of tools that watch: runs that nobody asked for."""

import time

from stale_steps import ANSWER_S, Outcome, judged, settle, watching
from stale_tools import Tool
from stale_world import APP, CHECK, World, until

LOOP_S = 10.0


def triggers_itself(tool: Tool, world: World) -> Outcome:
    """The check writes into the folder that it is run for, something else each time."""
    world.prepare(tool.files([CHECK]))
    program = watching(tool, world, CHECK)
    before = len(world.runs())
    world.set("writes-check")
    world.save(APP, world.fresh())
    time.sleep(LOOP_S / 2)
    early = len(world.runs()) - before
    time.sleep(LOOP_S / 2)
    runs = len(world.runs()) - before
    late = runs - early
    (world.desk / "writes-check").unlink()
    told = f"{runs} runs in {LOOP_S:.0f} s, {late} of them in the second half"
    calm = late == 0 or ("made.txt" in program.said() and late <= early / 4)
    return _answering(world, Outcome("right" if calm else "wrong", told, runs))


def _answering(world: World, outcome: Outcome) -> Outcome:
    """Whoever does not run because it is deaf has earned nothing."""
    content = world.fresh()
    world.save(APP, content)
    if until(lambda: world.has_passed_on(content), ANSWER_S):
        return outcome
    return Outcome("wrong", f"{outcome.told}; the next save was not checked", outcome.runs)


def saved_unchanged(tool: Tool, world: World) -> Outcome:
    """The same content again, moved into place, and written in place."""
    world.prepare(tool.files([CHECK]))
    watching(tool, world, CHECK)
    before, same = len(world.runs()), world.text(APP)
    world.save(APP, same.rstrip("\n"))
    settle(world)
    (world.root / APP).write_text(same)
    settle(world)
    runs = len(world.runs()) - before
    return _answering(world, judged(f"{runs} runs for 2 saves", right=runs == 0))

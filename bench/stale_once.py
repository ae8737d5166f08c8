"""Scenarios of tools that check once and exit, and remember it."""

from collections.abc import Callable

from stale_steps import Outcome, begin, check_once, judged, last
from stale_tools import Tool
from stale_world import APP, CHECK, Program, World


def bad_remembered(tool: Tool, world: World) -> Outcome:
    """Checked while it is bad, fixed before the check reads it, bad again."""
    assert tool.once is not None
    world.prepare(tool.files([CHECK]), content="bad 1")
    program = begin(tool, world)
    world.save(APP, "good 1")
    world.release()
    first = program.wait()
    world.save(APP, "bad 1")
    code, runs = check_once(tool, world)
    return judged(f"fixed meanwhile: exit {first}; bad again: {last(code, runs)}", right=bool(runs) and code != 0)


def killed(tool: Tool, world: World) -> Outcome:
    """kill -9 while the check, which would fail, is running; then started again."""
    return _ended_in_the_middle(tool, world, Program.kill)


def interrupted(tool: Tool, world: World) -> Outcome:
    """The same with Ctrl-C."""
    return _ended_in_the_middle(tool, world, lambda program: (program.interrupt(), program.wait()))


def _ended_in_the_middle(tool: Tool, world: World, end: Callable[[Program], object]) -> Outcome:
    world.prepare(tool.files([CHECK]), content="bad 1")
    end(begin(tool, world))
    world.end_strays()
    world.release()
    code, runs = check_once(tool, world)
    return judged(f"started again: {last(code, runs)}", right=bool(runs) and code != 0)

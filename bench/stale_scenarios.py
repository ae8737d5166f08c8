"""The moments in which a tool can bless, or lose, what it should not: each played to one tool, and judged.

A scenario is a function of a tool and a fresh world. It makes the moment happen (the checks wait for it), then looks at
what the checks read and how they ended, never at what the tool says of itself, except for its exit code.
"""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass

from stale_branch import branch_switch
from stale_hooks import edited_during_the_hook
from stale_loops import saved_unchanged, triggers_itself
from stale_once import bad_remembered, interrupted, killed
from stale_saves import interrupted_by_a_save, saved_at_once, saved_during_the_run, unrelated_save
from stale_steps import NotDrivenError, Outcome
from stale_tools import Tool
from stale_world import World

__all__ = ["SCENARIOS", "Outcome", "Scenario", "play"]


@dataclass(frozen=True)
class Scenario:
    """`pain`: whose users know it; `right`: what a tool should do."""

    key: str
    title: str
    pain: str
    right: str
    plays: Callable[[Tool], bool]
    play: Callable[[Tool, World], Outcome]


def play(scenario: Scenario, tool: Tool, world: World) -> Outcome:
    """The outcome, also where the tool would not be driven."""
    try:
        return scenario.play(tool, world)
    except (NotDrivenError, OSError, subprocess.SubprocessError) as reason:
        return Outcome("not driven", str(reason))


def _remembers(tool: Tool) -> bool:
    return tool.once is not None and tool.remembers


def _watches(tool: Tool) -> bool:
    return tool.watch is not None and not tool.name.endswith("mutates")


def _loops(tool: Tool) -> bool:
    return tool.watch is not None


def _watches_several(tool: Tool) -> bool:
    return _watches(tool) and tool.several


def _hooks(tool: Tool) -> bool:
    return tool.staged is not None


SCENARIOS = (
    Scenario(
        "a",
        "Bad remembered as green",
        "turborepo #1146, SCons #2701",
        "BAD is checked, and red, when it is saved again after a run that began on it and read the fix",
        _remembers,
        bad_remembered,
    ),
    Scenario("b", "Killed in the middle", "turborepo #9421", "started again, it checks", _remembers, killed),
    Scenario(
        "c",
        "A save while the command runs",
        "pre-commit #2473, watchexec's default",
        "the last content is checked in the end",
        _watches,
        saved_during_the_run,
    ),
    Scenario(
        "c2",
        "A save right after the command began",
        "pre-commit #2473, watchexec's default",
        "the last content is checked in the end",
        _watches,
        saved_at_once,
    ),
    Scenario(
        "d",
        "Edits during a hook",
        "pre-commit #2473",
        "what was saved meanwhile is there",
        _hooks,
        edited_during_the_hook,
    ),
    Scenario(
        "e",
        "An unrelated save",
        "go-task #2715, turborepo #13115",
        "the running task goes on, and is not run again",
        _watches_several,
        unrelated_save,
    ),
    Scenario(
        "f",
        "A command that triggers itself",
        "watchexec #40, tilt #3404",
        "it comes to rest, or names the file and slows to a quarter; and it still answers to the next save",
        _loops,
        triggers_itself,
    ),
    Scenario(
        "g",
        "Interrupted by a save",
        "turborepo #9421 #12505",
        "both tasks come to their ends on what is on disk",
        _watches_several,
        interrupted_by_a_save,
    ),
    Scenario("g2", "Interrupted by Ctrl-C", "turborepo #9421", "started again, it checks", _remembers, interrupted),
    Scenario(
        "h", "A branch switch", "node-sass #1614", "no run on half a tree, one on the whole", _watches, branch_switch
    ),
    Scenario(
        "i", "A save that changes nothing", "watchexec #204 #367, cargo-watch #272", "no run", _watches, saved_unchanged
    ),
)

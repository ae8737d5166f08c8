"""The scenario of a branch switch that stands still in its middle: git waits for a smudge filter, and that for us."""

import os
import subprocess
import time

from stale_steps import ANSWER_S, Outcome, expect, judged, settle, watching
from stale_tools import Tool
from stale_world import APP, CHECK, PATIENCE_S, Program, Run, World, until

SWITCH_S = 1.2  # how long a branch switch stands in its middle
MANY = 24


def branch_switch(tool: Tool, world: World) -> Outcome:
    """git checkout of many files, which stands still in its middle (a slow smudge filter)."""
    world.prepare(tool.files([CHECK]))
    _two_branches(world)
    program = watching(tool, world, CHECK)
    world.git("checkout", "-q", APP)
    settle(world)
    before = len(world.runs())
    _switch(world, program)
    until(lambda: _is_other(world.runs()), ANSWER_S)
    settle(world)
    runs = world.runs()[before:]
    mixed = [run for run in runs if "left" in (run.seen or "") and "right" in (run.seen or "")]
    counted = sum(bool(run.verdict) for run in mixed)
    told = f"{len(runs)} runs, {len(mixed)} on half a tree ({counted} came to a verdict)"
    whole = _is_other(runs)
    return judged(told + ("" if whole else "; none on the whole one"), right=whole and not mixed)


def _is_other(runs: list[Run]) -> bool:
    return bool(runs) and runs[-1].verdict == "passed" and (runs[-1].seen or "").count("right") == MANY


def _two_branches(world: World) -> None:
    smudge = f"#!/bin/sh\n[ -e {world.desk}/slow ] && touch {world.desk}/halfway && read -r _ < {world.desk}/on\ncat\n"
    (world.desk / "smudge.sh").write_text(smudge)
    os.mkfifo(world.desk / "on")
    world.git("config", "filter.slow.smudge", f"sh {world.desk}/smudge.sh")
    world.git("config", "filter.slow.clean", "cat")
    (world.root / ".gitattributes").write_text(f"src/f{MANY // 2:02}.txt filter=slow\n")
    for branch in ("left", "right"):
        for number in range(MANY):
            (world.root / f"src/f{number:02}.txt").write_text(f"good {branch}\n")
        world.commit(branch)
        if branch == "left":
            world.git("checkout", "-q", "-b", "other")
    world.git("checkout", "-q", "main")


def _switch(world: World, program: Program) -> None:
    world.set("slow")
    switching = subprocess.Popen(["git", "checkout", "-q", "other"], cwd=world.root, env=world.env)
    try:
        expect("git did not come halfway", (world.desk / "halfway").exists, program)
        time.sleep(SWITCH_S)  # the time that a large switch takes is what this is about
        with (world.desk / "on").open("w") as on:
            on.write("\n")
        switching.wait(PATIENCE_S)
    finally:
        switching.kill()
        switching.wait()

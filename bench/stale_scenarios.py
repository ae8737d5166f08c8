"""The moments in which a tool can bless, or lose, what it should not: each played to one tool, and judged.

A scenario is a function of a tool and a fresh world. It makes the moment happen (the checks wait for it), then looks at
what the checks read and how they ended, never at what the tool says of itself, except for its exit code.
"""

import os
import subprocess
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
LOOP_S = 10.0
PAUSE_S = 1.0  # between two saves of somebody who types
SWITCH_S = 1.2  # how long a branch switch stands in its middle
MANY = 24


@dataclass(frozen=True)
class Outcome:
    """What a tool did, and whether it should have; `runs` where they are what counts."""

    verdict: Verdict
    told: str
    runs: int = 0


class NotDrivenError(Exception):
    """The tool never came to the moment that the scenario is about."""


@dataclass(frozen=True)
class Scenario:
    """`pain`: whose users know it; `right`: what a tool should do."""

    key: str
    title: str
    pain: str
    right: str
    plays: Callable[[Tool], bool]
    play: Callable[[Tool, World], Outcome]


def judged(told: str, *, right: bool) -> Outcome:
    return Outcome("right" if right else "wrong", told)


def play(scenario: Scenario, tool: Tool, world: World) -> Outcome:
    """The outcome, also where the tool would not be driven."""
    try:
        return scenario.play(tool, world)
    except (NotDrivenError, OSError, subprocess.SubprocessError) as reason:
        return Outcome("not driven", str(reason))


# --- steps that scenarios share ---------------------------------------------------------------------------------------


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


# --- tools that check once --------------------------------------------------------------------------------------------


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


# --- tools that watch -------------------------------------------------------------------------------------------------


def saved_during_the_run(tool: Tool, world: World) -> Outcome:
    """Saved again when the check has read the file, and has been running for a second."""
    return _saved_again(tool, world, after_s=PAUSE_S)


def saved_at_once(tool: Tool, world: World) -> Outcome:
    """Saved again in the moment in which the check has read the file, as a formatter on save does."""
    return _saved_again(tool, world, after_s=0.0)


def _saved_again(tool: Tool, world: World, after_s: float) -> Outcome:
    world.prepare(tool.files([CHECK]))
    program = watching(tool, world, CHECK)
    first, _ = _lingering(world, program)
    time.sleep(after_s)  # tools that count from a run's start get to show it
    before, content = len(world.runs()), world.fresh()
    world.save(APP, content)
    until(lambda: not _run(world, first).alive or len(world.runs()) > before, REACTION_S)
    told = _reaction(world, first, before)
    world.release()
    if until(lambda: world.has_passed_on(content), ANSWER_S):
        return judged(f"{told}, and the last content was checked", right=True)
    return judged(f"{told}, and the last content was never checked", right=False)


def _lingering(world: World, program: Program) -> tuple[int, str]:
    """The pid of a check that has read the file as it is on disk, and still runs; and that content."""
    world.set("linger-check")
    content = world.fresh()
    world.save(APP, content)
    expect("the check did not run on a save", lambda: _reader(world, content) is not None, program)
    reader = _reader(world, content)
    assert reader is not None
    return reader.pid, content


def _reader(world: World, content: str, task: Task = CHECK) -> Run | None:
    return next((run for run in reversed(world.runs(task)) if content in (run.seen or "").strip()), None)


def _run(world: World, pid: int, task: Task = CHECK) -> Run:
    return next(run for run in world.runs(task) if run.pid == pid)


def _reaction(world: World, first: int, before: int) -> str:
    stopped, again = not _run(world, first).alive, len(world.runs()) > before
    if stopped:
        return "the run was stopped"
    return "a second one ran beside it" if again else "the run went on"


def unrelated_save(tool: Tool, world: World) -> Outcome:
    """Two tasks; while one runs, an input of the other is saved. The first must go on, and run once."""
    world.prepare(tool.files([CHECK, LINT]))
    program = watching(tool, world, CHECK, LINT)
    first, content = _lingering(world, program)
    time.sleep(PAUSE_S)
    before = len(world.runs())
    _save_notes(world, first)
    stopped = not _run(world, first).alive
    world.release()
    until(lambda: world.has_passed_on(content), ANSWER_S)
    settle(world)
    more = len(world.runs()) - before
    if stopped:
        return judged("the run was stopped" + (f", and run again {more} ×" if more else " for good"), right=False)
    return judged(f"the run went on; {more} needless runs after it", right=more == 0)


def _save_notes(world: World, first: int) -> str:
    content = world.fresh()
    world.save(NOTES, content)
    until(lambda: not _run(world, first).alive or world.has_passed_on(content, LINT), REACTION_S)
    return content


def interrupted_by_a_save(tool: Tool, world: World) -> Outcome:
    """Two tasks run; an input of one is saved. In the end both must have come to their ends on what is on disk."""
    world.prepare(tool.files([CHECK, LINT]))
    program = watching(tool, world, CHECK, LINT)
    world.set("linger-lint")
    early = world.fresh()
    world.save(NOTES, early)
    until(lambda: _reader(world, early, LINT) is not None, ANSWER_S)
    first, content = _lingering_beside(world, program)
    time.sleep(PAUSE_S)
    notes = _save_notes(world, first)
    world.release()
    checked = until(lambda: world.has_passed_on(content), ANSWER_S)
    linted = until(lambda: world.has_passed_on(notes, LINT), ANSWER_S)
    ends = {True: "came to its end", False: "never came to its end"}
    return judged(f"the task beside it {ends[checked]}, the saved one {ends[linted]}", right=checked and linted)


def _lingering_beside(world: World, program: Program) -> tuple[int, str]:
    """As `_lingering`; a tool that runs one after the other needs the first one's end for that."""
    world.set("linger-check")
    content = world.fresh()
    world.save(APP, content)
    if not until(lambda: _reader(world, content) is not None, REACTION_S):
        world.release(LINT)
    expect("the check did not run on a save", lambda: _reader(world, content) is not None, program)
    reader = _reader(world, content)
    assert reader is not None
    return reader.pid, content


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


# --- commit hooks -----------------------------------------------------------------------------------------------------

STAGED, UNSTAGED, DURING = "good staged\n", "good staged\ngood unstaged\n", "good staged\ngood unstaged\ngood during\n"


def edited_during_the_hook(tool: Tool, world: World) -> Outcome:
    """A file is staged in part; while the hook runs, it and another one are edited."""
    assert tool.staged is not None
    world.prepare(tool.files([CHECK]))
    (world.root / APP).write_text(STAGED)
    world.git("add", APP)
    (world.root / APP).write_text(UNSTAGED)
    world.set("linger-check")
    program = world.start(tool.staged)
    expect("the hook never ran", lambda: any(run.seen for run in world.runs()), program)
    hidden = world.text(APP) != UNSTAGED
    world.save(APP, DURING.rstrip("\n"))
    world.save(NOTES, "good during")
    world.release()
    code = program.wait()
    kept = (world.text(APP) == DURING, "during" in world.text(NOTES))
    read = "the staged content" if "unstaged" not in (world.runs()[0].seen or "") else "the working tree"
    lost = [name for name, there in zip((APP, NOTES), kept, strict=True) if not there]
    told = f"the hook read {read}; " + (
        f"the edit of {' and of '.join(lost)} is gone" if lost else "both edits are there"
    )
    return judged(f"{told}{', unstaged changes were hidden' if hidden else ''}; exit {code}", right=not lost)


# --- the list ---------------------------------------------------------------------------------------------------------


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

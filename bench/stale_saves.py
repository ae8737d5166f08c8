"""Scenarios of tools that watch: a save at a moment in which something runs."""

import time

from stale_steps import ANSWER_S, REACTION_S, Outcome, expect, judged, settle, watching
from stale_tools import Tool
from stale_world import APP, CHECK, LINT, NOTES, Program, Run, Task, World, until

ROUNDS = 4  # for what depends on milliseconds
PAUSE_S = 1.0  # between two saves of somebody who types


def saved_during_the_run(tool: Tool, world: World) -> Outcome:
    """Saved again when the check has read the file, and has been running for a second."""
    world.prepare(tool.files([CHECK]))
    reaction, checked = _saved_again(world, watching(tool, world, CHECK), after_s=PAUSE_S)
    return judged(f"{reaction}, and the last content was {'checked' if checked else 'never checked'}", right=checked)


def saved_at_once(tool: Tool, world: World) -> Outcome:
    """Saved again in the moment in which the check has read the file, as a formatter on save does; several times."""
    world.prepare(tool.files([CHECK]))
    program = watching(tool, world, CHECK)
    checked = 0
    for _ in range(ROUNDS):
        checked += _saved_again(world, program, after_s=0.0)[1]
        settle(world)
    return judged(f"the last content was checked {checked} of {ROUNDS} times", right=checked == ROUNDS)


def _saved_again(world: World, program: Program, after_s: float) -> tuple[str, bool]:
    """How the tool reacted, and whether what was saved last was checked in the end."""
    first, _ = _lingering(world, program)
    time.sleep(after_s)  # tools that count from a run's start get to show it
    before, content = len(world.runs()), world.fresh()
    world.save(APP, content)
    until(lambda: not _run(world, first).alive or len(world.runs()) > before, REACTION_S)
    reaction = _reaction(world, first, before)
    world.release()
    return reaction, until(lambda: world.has_passed_on(content), ANSWER_S)


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

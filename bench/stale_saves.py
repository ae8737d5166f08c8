"""Scenarios of tools that watch: a save at a moment in which something runs."""

import time

from stale_steps import ANSWER_S, REACTION_S, Outcome, expect, judged, settle, watching
from stale_tools import Tool
from stale_world import APP, CHECK, LINT, NOTES, Program, Run, Task, World, until

PAUSE_S = 1.0  # between two saves of somebody who types


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

"""The machine of the gate: from changes to verdicts. Pure: `step(state, input, now) -> (state, actions)`.

    Idle ──change──▶ Running ──last stage passed──▶ Confirming ──tree stands──▶ Touching ──touched──▶ Idle
                       │  │                            │                           │
       a stage failed  │  │ change                     │ change: a new run         │ cannot write
                       ▼  ▼                            ▼                           ▼
               Reviewing  Superseded ──all dead──▶ Running                     Untouched ──later──▶ (confirms)
                │  │  │      │                                                     ▲
         stands │  │  │      │ the same files undo run after run                   │
                ▼  │  │      ▼                                                     │
             Idle  │  │   Resting ──change, or time──▶ Running                     │ cannot write
                   │  └─change──▶ Running                                          │
                   └─stands, and a server has all that it needs──▶ TouchingSome ───┴──touched──▶ Idle

Invariant 1, *no stale green*: `Touch` of a trigger for tree T is asked for only if every stage that its server needs
passed on T, no watched file was written since the run began (not even with the same content), and a sweep after the
last stage found T on disk. The loop writes the triggers in the same breath in which the watcher says that nothing has
happened since; else it answers `Disturbed`. One thing is let pass: a file that comes and goes within one burst of
events (`tree/settle.py`) is taken for a scratch file of the stage's own; without that, tests that make one could never
be green.

Nor is there a stale red: a failure is said at once, and the stages run again if the tree turns out not to have stood.

Which triggers a run may touch, and which of them it need not, `plan` says. A run that is red touches those of the
servers that do not need what failed or was skipped.
"""

import math
from collections.abc import Sequence
from typing import assert_never

from msgspec import Struct
from msgspec.structs import replace

from hotpipe.events import AnyEvent, RunFinished, RunStarted, RunStatus, StageFinished, StageStatus, Warned
from hotpipe.gate import plan

RETRY_S = 1.0  # between attempts to write a trigger
PATIENCE = 8  # runs in a row that the same files may undo before the gate slows down
LONGEST_REST_S = 30.0
ECHO_S = 2.0  # so soon after a run, a change may be its echo: what the restarted server writes, say
MANY_ECHOES = 20  # in a row, of the same files; somebody who saves by hand is told as well, but never kept waiting


class Run(Struct, frozen=True):
    """One pass through the stages, on `tree`; `began` in seconds of the monotonic clock."""

    number: int
    tree: str
    began: float
    passed: frozenset[str] = frozenset()


class Past(Struct, frozen=True):
    """What outlives a run: the stages, the triggers and what each waits for, how many runs there were, what has changed
    since the last green one, how often in a row the same files undid a run, and how often they changed at the heels of
    one."""

    stages: tuple[str, ...]
    triggers: tuple[plan.Trigger, ...] = ()
    runs: int = 0
    since_green: frozenset[str] = frozenset()
    undone_by: frozenset[str] = frozenset()
    undone: int = 0
    echoed_by: frozenset[str] = frozenset()
    echoes: int = 0


class Idle(Struct, frozen=True):
    """Nothing to do since `since`."""

    past: Past
    since: float = -math.inf


class Running(Struct, frozen=True):
    """`stage` is at work."""

    past: Past
    run: Run
    stage: str


class Superseded(Struct, frozen=True):
    """The tree changed under `run`: its `stage` is being stopped, and `tree` is next."""

    past: Past
    run: Run
    stage: str
    tree: str


class Resting(Struct, frozen=True):
    """The same files undid run after run, so a stage probably writes them: `tree` waits a while, or for a change."""

    past: Past
    tree: str
    until: float


class Confirming(Struct, frozen=True):
    """All stages passed; a sweep looks whether the tree still stands."""

    past: Past
    run: Run


class Reviewing(Struct, frozen=True):
    """A stage failed, and that has been said; a sweep looks whether it failed on the tree that is still there."""

    past: Past
    run: Run


class Touching(Struct, frozen=True):
    """The tree stands; the triggers are being written."""

    past: Past
    run: Run


class TouchingSome(Struct, frozen=True):
    """A stage failed, and that has been said; the tree stands, and the triggers that did not need it are written."""

    past: Past
    run: Run


class Untouched(Struct, frozen=True):
    """The verdict is said, but a trigger could not be written: again at `retry_at`."""

    past: Past
    run: Run
    retry_at: float


class Stopping(Struct, frozen=True):
    """The last stage is being stopped."""

    past: Past
    stage: str


class Over(Struct, frozen=True):
    """Nothing will happen any more."""

    past: Past


State = (
    Idle
    | Running
    | Superseded
    | Resting
    | Confirming
    | Reviewing
    | Touching
    | TouchingSome
    | Untouched
    | Stopping
    | Over
)


class Changed(Struct, frozen=True):
    """The tree differs at `paths`, and was written without a difference at `rewritten`; it is `tree` now."""

    paths: tuple[str, ...]
    rewritten: tuple[str, ...]
    tree: str


class Requested(Struct, frozen=True):
    """Run now, whatever has changed."""

    tree: str


class StageEnded(Struct, frozen=True):
    """A stage is over, and all its processes are dead."""

    run: int
    stage: str
    status: StageStatus


class Confirmed(Struct, frozen=True):
    """A sweep is over; all that it found has been told before."""

    run: int
    tree: str


class Touched(Struct, frozen=True):
    """All triggers that were due are written: those of `servers`."""

    run: int
    servers: tuple[str | None, ...] = ()


class Disturbed(Struct, frozen=True):
    """Something happened in the tree just before the triggers were to be written; none was."""

    run: int


class TouchFailed(Struct, frozen=True):
    """A trigger cannot be written; those of `servers` are."""

    run: int
    message: str
    hint: str
    servers: tuple[str | None, ...] = ()


class Woken(Struct, frozen=True):
    """The time that was asked for has come."""


class Stopped(Struct, frozen=True):
    """The gate is to end."""


Input = Changed | Requested | StageEnded | Confirmed | Touched | Disturbed | TouchFailed | Woken | Stopped


class StartStage(Struct, frozen=True):
    """Answered by StageEnded."""

    run: int
    stage: str


class CancelStage(Struct, frozen=True):
    """Stop its whole process tree; answered by StageEnded."""

    stage: str


class Confirm(Struct, frozen=True):
    """Sweep the tree; answered by Confirmed."""

    run: int


class Touch(Struct, frozen=True):
    """Write the triggers that are due, if nothing has happened meanwhile; answered by Touched, Disturbed or TouchFailed
    before any other input, for a change that got between would let a trigger seem untouched that is not.

    None may be due: whether the run is green hangs on the same answer.
    """

    run: int
    tree: str
    due: tuple[plan.Due, ...] = ()


class Wake(Struct, frozen=True):
    """Answered by Woken at `at`, or by nothing if another Wake comes first."""

    at: float


class Emit(Struct, frozen=True):
    """Tell the faces."""

    event: AnyEvent


Action = StartStage | CancelStage | Confirm | Touch | Wake | Emit


class _Step(Struct):
    """The actions of one step, while it is being decided."""

    now: float
    actions: list[Action] = []

    def start(self, past: Past, tree: str) -> State:
        """A new run: its first stage, or straight to the sweep where there are no stages."""
        run = Run(past.runs + 1, tree, self.now)
        past = replace(past, runs=run.number)
        self.emit(RunStarted(run=run.number, tree=tree, changed=tuple(sorted(past.since_green))))
        return self.proceed(past, run, None)

    def proceed(self, past: Past, run: Run, stage: str | None) -> State:
        """Go on after `stage`."""
        following = plan.following(past.stages, stage)
        if following is None:
            self.actions.append(Confirm(run.number))
            return Confirming(past, run)
        self.actions.append(StartStage(run.number, following))
        return Running(past, run, following)

    def touch(self, past: Past, run: Run) -> None:
        self.actions.append(Touch(run.number, run.tree, plan.due(past.triggers, past.stages, run.passed)))

    def finish(self, run: Run, status: RunStatus) -> None:
        took_ms = round((self.now - run.began) * 1e3, 3)
        self.emit(RunFinished(run=run.number, status=status, took_ms=took_ms))

    def fail(self, past: Past, run: Run, stage: str) -> State:
        for skipped in plan.after(past.stages, stage):
            self.emit(StageFinished(run=run.number, stage=skipped, status="skipped", exit_code=None, took_ms=0.0))
        self.finish(run, "red")
        self.actions.append(Confirm(run.number))
        return Reviewing(past, run)

    def renew(self, past: Past, run: Run, tree: str) -> State:
        """The run is void: another one."""
        self.finish(run, "superseded")
        return self.start_or_rest(past, tree)

    def start_or_rest(self, past: Past, tree: str) -> State:
        """At once, or after a rest where the same files keep undoing every run."""
        if past.undone < PATIENCE:
            return self.start(past, tree)
        if past.undone == PATIENCE:
            self.emit(
                Warned(
                    code="run.undone",
                    message=f"{_some(past.undone_by)}: written during {PATIENCE} runs in a row, none of which counts",
                    hint="if a stage writes it, add it to ignore under [watch]; the next runs wait a little",
                )
            )
        until = self.now + min(2.0 ** (past.undone - PATIENCE), LONGEST_REST_S)
        self.actions.append(Wake(until))
        return Resting(past, tree, until)

    def heed_echo(self, past: Past, given: Changed) -> Past:
        """Count a change that came at the heels of a run, and say so when there have been too many of them."""
        by = frozenset(given.paths)
        past = replace(past, echoed_by=by, echoes=past.echoes + 1 if by == past.echoed_by else 1)
        if past.echoes == MANY_ECHOES:
            self.emit(
                Warned(
                    code="run.echoed",
                    message=f"{_some(by)}: changed right after each of the last {MANY_ECHOES} runs",
                    hint="if a server writes it when it starts, add it to ignore under [watch]",
                )
            )
        return past

    def emit(self, event: AnyEvent) -> None:
        self.actions.append(Emit(event))


def step(state: State, given: Input, now: float) -> tuple[State, Sequence[Action]]:
    """What follows from `given`, and what is to be done. An input that belongs to an earlier run changes nothing."""
    deciding = _Step(now)
    match given:
        case Changed():
            after = _changed(state, given, deciding)
        case Requested():
            after = _requested(state, given, deciding)
        case Stopped():
            after = _stopped(state, deciding)
        case Woken():
            after = _woken(state, deciding)
        case StageEnded():
            after = _stage_ended(state, given, deciding)
        case Confirmed():
            after = _confirmed(state, given, deciding)
        case Touched() | Disturbed() | TouchFailed():
            after = _touch_answered(state, given, deciding)
        case _:
            assert_never(given)
    return after, deciding.actions


def _changed(state: State, given: Changed, deciding: _Step) -> State:
    if isinstance(state, Stopping | Over):
        return state
    past = _noted(state.past, given.paths)
    match state:
        case Idle() | Resting() | Untouched() if not given.paths:
            return replace(state, past=past)
        case Resting() if past.undone_by.issuperset(given.paths):
            return replace(state, past=past, tree=given.tree)
        case Idle(_, since) if deciding.now - since < ECHO_S:
            return deciding.start(_settled(deciding.heed_echo(past, given)), given.tree)
        case Idle() | Resting() | Untouched():
            return deciding.start(replace(_settled(past), echoes=0), given.tree)
        case Running():
            deciding.actions.append(CancelStage(state.stage))
            return Superseded(_undone(past, given), state.run, state.stage, given.tree)
        case Superseded():
            return replace(state, past=past, tree=given.tree)
        case Confirming() | Touching():
            return deciding.renew(_undone(past, given), state.run, given.tree)
        case Reviewing() | TouchingSome():
            return deciding.start_or_rest(_undone(past, given), given.tree)
        case _:
            assert_never(state)


def _requested(state: State, given: Requested, deciding: _Step) -> State:
    match state:
        case Idle() | Resting() | Untouched() | Reviewing() | TouchingSome():
            return deciding.start(state.past, given.tree)
        case Running():
            deciding.actions.append(CancelStage(state.stage))
            return Superseded(state.past, state.run, state.stage, given.tree)
        case Confirming() | Touching() | Superseded() | Stopping() | Over():
            return state
        case _:
            assert_never(state)


def _stopped(state: State, deciding: _Step) -> State:
    match state:
        case Running():
            deciding.actions.append(CancelStage(state.stage))
            return Stopping(state.past, state.stage)
        case Superseded():
            return Stopping(state.past, state.stage)
        case Stopping():
            return state
        case _:
            return Over(state.past)


def _woken(state: State, deciding: _Step) -> State:
    match state:
        case Resting() if deciding.now >= state.until:
            return deciding.start(state.past, state.tree)
        case Untouched() if deciding.now >= state.retry_at:
            deciding.actions.append(Confirm(state.run.number))
            return state
        case _:
            return state


def _stage_ended(state: State, given: StageEnded, deciding: _Step) -> State:
    match state:
        case Running(past, run, stage) if (run.number, stage) == (given.run, given.stage):
            if given.status == "passed":
                return deciding.proceed(past, replace(run, passed=run.passed | {stage}), stage)
            return deciding.fail(past, run, stage)
        case Superseded(past, run, stage) if (run.number, stage) == (given.run, given.stage):
            return deciding.renew(past, run, state.tree)
        case Stopping(past, stage) if stage == given.stage:
            return Over(past)
        case _:
            return state


def _confirmed(state: State, given: Confirmed, deciding: _Step) -> State:
    """A tree that is not the run's cannot be: the difference would have been told before."""
    match state:
        case Confirming(past, run) if run.number == given.run:
            if given.tree != run.tree:
                return deciding.renew(past, run, given.tree)
            deciding.touch(past, run)
            return Touching(past, run)
        case Reviewing(past, run) | Untouched(past, run) if run.number == given.run:
            if given.tree != run.tree:
                return deciding.start_or_rest(past, given.tree)
            if not plan.due(past.triggers, past.stages, run.passed):
                return Idle(past, deciding.now)
            deciding.touch(past, run)
            return TouchingSome(past, run) if isinstance(state, Reviewing) else state
        case _:
            return state


def _touch_answered(state: State, given: Touched | Disturbed | TouchFailed, deciding: _Step) -> State:
    if not isinstance(state, Touching | TouchingSome | Untouched) or state.run.number != given.run:
        return state
    match given:
        case Disturbed():
            return _disturbed(state, deciding)
        case Touched():
            past = _touched(state, given.servers, deciding)
            return Idle(past, deciding.now)
        case TouchFailed():
            if not isinstance(state, Untouched):  # then it has been said
                deciding.emit(Warned(code="trigger.unwritable", message=given.message, hint=given.hint))
            past = _touched(state, given.servers, deciding)
            return _try_later(past, state.run, deciding)
        case _:
            assert_never(given)


def _disturbed(state: Touching | TouchingSome | Untouched, deciding: _Step) -> State:
    deciding.actions.append(Confirm(state.run.number))
    match state:
        case Touching(past, run):
            return Confirming(past, run)
        case TouchingSome(past, run):
            return Reviewing(past, run)
        case Untouched():
            return state
        case _:
            assert_never(state)


def _touched(state: Touching | TouchingSome | Untouched, servers: tuple[str | None, ...], deciding: _Step) -> Past:
    """What is past when the triggers of `servers` are written; where no verdict has been said, it is: green."""
    past = replace(state.past, triggers=plan.touched(state.past.triggers, servers))
    if not isinstance(state, Touching):
        return past
    deciding.finish(state.run, "green")
    return replace(past, since_green=frozenset())


def _try_later(past: Past, run: Run, deciding: _Step) -> State:
    deciding.actions.append(Wake(deciding.now + RETRY_S))
    return Untouched(past, run, deciding.now + RETRY_S)


def _noted(past: Past, paths: tuple[str, ...]) -> Past:
    triggers = plan.changed(past.triggers, paths)
    return replace(past, since_green=past.since_green | frozenset(paths), triggers=triggers)


def _undone(past: Past, given: Changed) -> Past:
    by = frozenset(given.paths) | frozenset(given.rewritten)
    return replace(past, undone_by=by, undone=past.undone + 1 if by == past.undone_by else 1)


def _settled(past: Past) -> Past:
    return replace(past, undone_by=frozenset(), undone=0)


def _some(paths: frozenset[str]) -> str:
    """The first few of them."""
    first, more = sorted(paths)[:3], len(paths) - 3
    return f"{', '.join(first)} and {more} more" if more > 0 else ", ".join(first)

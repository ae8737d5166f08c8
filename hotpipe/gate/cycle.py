"""The machine of the gate: from changes to verdicts. Pure: `step(state, input, now) -> (state, actions)`.

    Idle ──change──▶ Running ──last stage passed──▶ Confirming ──tree stands──▶ Touching ──touched──▶ Idle
                       │  │                            │                           │
       a stage failed  │  │ change                     │ change: a new run         │ cannot write
                       ▼  ▼                            ▼                           ▼
    Idle ◀── Reviewing  Superseded ──all dead──▶ Running                        Untouched ──later──▶ (confirms)
        stands  │          │
                │ change   │ the same files undo run after run
                ▼          ▼
             Running    Resting ──change, or time──▶ Running

Invariant 1, *no stale green*: `Touch` for tree T is asked for only if every stage passed on T, no watched file was
written since the run began (not even with the same content), and a sweep after the last stage found T on disk. The loop
writes the trigger in the same breath in which the watcher says that nothing has happened since; else it answers
`Disturbed`. One thing is let pass: a file that comes and goes within one burst of events (`tree/settle.py`) is taken
for a scratch file of the stage's own; without that, tests that make one could never be green.

Nor is there a stale red: a failure is said at once, and the stages run again if the tree turns out not to have stood.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import assert_never

from hotpipe.events import AnyEvent, RunFinished, RunStarted, RunStatus, StageFinished, StageStatus, Warned
from hotpipe.gate import plan

RETRY_S = 1.0  # between attempts to write a trigger
PATIENCE = 8  # runs in a row that the same files may undo before the gate slows down
LONGEST_REST_S = 30.0


@dataclass(frozen=True, slots=True)
class Run:
    """One pass through the stages, on `tree`; `began` in seconds of the monotonic clock."""

    number: int
    tree: str
    began: float


@dataclass(frozen=True, slots=True)
class Past:
    """What outlives a run: the stages, how many runs there were, what has changed since the last green one, and how
    often in a row the same files undid a run."""

    stages: tuple[str, ...]
    runs: int = 0
    since_green: frozenset[str] = frozenset()
    undone_by: frozenset[str] = frozenset()
    undone: int = 0


@dataclass(frozen=True, slots=True)
class Idle:
    """Nothing to do."""

    past: Past


@dataclass(frozen=True, slots=True)
class Running:
    """`stage` is at work."""

    past: Past
    run: Run
    stage: str


@dataclass(frozen=True, slots=True)
class Superseded:
    """The tree changed under `run`: its `stage` is being stopped, and `tree` is next."""

    past: Past
    run: Run
    stage: str
    tree: str


@dataclass(frozen=True, slots=True)
class Resting:
    """The same files undid run after run, so a stage probably writes them: `tree` waits a while, or for a change."""

    past: Past
    tree: str
    until: float


@dataclass(frozen=True, slots=True)
class Confirming:
    """All stages passed; a sweep looks whether the tree still stands."""

    past: Past
    run: Run


@dataclass(frozen=True, slots=True)
class Reviewing:
    """A stage failed, and that has been said; a sweep looks whether it failed on the tree that is still there."""

    past: Past
    run: Run


@dataclass(frozen=True, slots=True)
class Touching:
    """The tree stands; the triggers are being written."""

    past: Past
    run: Run


@dataclass(frozen=True, slots=True)
class Untouched:
    """Green, but a trigger could not be written: again at `retry_at`."""

    past: Past
    run: Run
    retry_at: float


@dataclass(frozen=True, slots=True)
class Stopping:
    """The last stage is being stopped."""

    past: Past
    stage: str


@dataclass(frozen=True, slots=True)
class Over:
    """Nothing will happen any more."""

    past: Past


State = Idle | Running | Superseded | Resting | Confirming | Reviewing | Touching | Untouched | Stopping | Over


@dataclass(frozen=True, slots=True)
class Changed:
    """The tree differs at `paths`, and was written without a difference at `rewritten`; it is `tree` now."""

    paths: tuple[str, ...]
    rewritten: tuple[str, ...]
    tree: str


@dataclass(frozen=True, slots=True)
class Requested:
    """Run now, whatever has changed."""

    tree: str


@dataclass(frozen=True, slots=True)
class StageEnded:
    """A stage is over, and all its processes are dead."""

    run: int
    stage: str
    status: StageStatus


@dataclass(frozen=True, slots=True)
class Confirmed:
    """A sweep is over; all that it found has been told before."""

    run: int
    tree: str


@dataclass(frozen=True, slots=True)
class Touched:
    """All triggers are written."""

    run: int


@dataclass(frozen=True, slots=True)
class Disturbed:
    """Something happened in the tree just before the triggers were to be written; none was."""

    run: int


@dataclass(frozen=True, slots=True)
class TouchFailed:
    """A trigger cannot be written."""

    run: int
    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class Woken:
    """The time that was asked for has come."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """The gate is to end."""


Input = Changed | Requested | StageEnded | Confirmed | Touched | Disturbed | TouchFailed | Woken | Stopped


@dataclass(frozen=True, slots=True)
class StartStage:
    """Answered by StageEnded."""

    run: int
    stage: str


@dataclass(frozen=True, slots=True)
class CancelStage:
    """Stop its whole process tree; answered by StageEnded."""

    stage: str


@dataclass(frozen=True, slots=True)
class Confirm:
    """Sweep the tree; answered by Confirmed."""

    run: int


@dataclass(frozen=True, slots=True)
class Touch:
    """Write all triggers, if nothing has happened meanwhile; answered by Touched, Disturbed or TouchFailed."""

    run: int
    tree: str
    changed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wake:
    """Answered by Woken at `at`, or by nothing if another Wake comes first."""

    at: float


@dataclass(frozen=True, slots=True)
class Emit:
    """Tell the faces."""

    event: AnyEvent


Action = StartStage | CancelStage | Confirm | Touch | Wake | Emit


@dataclass(slots=True)
class _Step:
    """The actions of one step, while it is being decided."""

    now: float
    actions: list[Action] = field(default_factory=list)

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
            self.emit(_self_made(past))
        until = self.now + min(2.0 ** (past.undone - PATIENCE), LONGEST_REST_S)
        self.actions.append(Wake(until))
        return Resting(past, tree, until)

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
    past = replace(state.past, since_green=state.past.since_green | frozenset(given.paths))
    match state:
        case Idle() | Resting() | Untouched() if not given.paths:
            return replace(state, past=past)
        case Idle() | Resting() | Untouched():
            return deciding.start(_settled(past), given.tree)
        case Running():
            deciding.actions.append(CancelStage(state.stage))
            return Superseded(_undone(past, given), state.run, state.stage, given.tree)
        case Superseded():
            return replace(state, past=past, tree=given.tree)
        case Confirming() | Touching():
            return deciding.renew(_undone(past, given), state.run, given.tree)
        case Reviewing():
            return deciding.start_or_rest(_undone(past, given), given.tree)
        case _:
            assert_never(state)


def _requested(state: State, given: Requested, deciding: _Step) -> State:
    match state:
        case Idle() | Resting() | Untouched() | Reviewing():
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
                return deciding.proceed(past, run, stage)
            return deciding.fail(past, run, stage)
        case Superseded(past, run, stage) if (run.number, stage) == (given.run, given.stage):
            return deciding.renew(past, run, state.tree)
        case Stopping(past, stage) if stage == given.stage:
            return Over(past)
        case _:
            return state


def _confirmed(state: State, given: Confirmed, deciding: _Step) -> State:
    match state:
        case Reviewing(past, run) if run.number == given.run:
            return Idle(_settled(past))
        case Confirming(past, run) | Untouched(past, run) if run.number == given.run:
            if given.tree != run.tree:  # cannot be: the difference would have been told before
                return deciding.renew(past, run, given.tree)
            deciding.actions.append(Touch(run.number, run.tree, tuple(sorted(past.since_green))))
            return Touching(past, run) if isinstance(state, Confirming) else state
        case _:
            return state


def _touch_answered(state: State, given: Touched | Disturbed | TouchFailed, deciding: _Step) -> State:
    match state, given:
        case Touching(past, run), Touched(number) if run.number == number:
            deciding.finish(run, "green")
            return Idle(replace(_settled(past), since_green=frozenset()))
        case Untouched(past, run), Touched(number) if run.number == number:
            return Idle(replace(_settled(past), since_green=frozenset()))
        case ((Touching(past, run) | Untouched(past, run)), Disturbed(number)) if run.number == number:
            deciding.actions.append(Confirm(run.number))
            return Confirming(past, run) if isinstance(state, Touching) else state
        case Touching(past, run), TouchFailed(number) if run.number == number:
            deciding.finish(run, "green")
            deciding.emit(Warned(code="trigger.unwritable", message=given.message, hint=given.hint))
            return _try_later(past, run, deciding)
        case Untouched(past, run), TouchFailed(number) if run.number == number:
            return _try_later(past, run, deciding)
        case _:
            return state


def _try_later(past: Past, run: Run, deciding: _Step) -> State:
    deciding.actions.append(Wake(deciding.now + RETRY_S))
    return Untouched(past, run, deciding.now + RETRY_S)


def _undone(past: Past, given: Changed) -> Past:
    by = frozenset(given.paths) | frozenset(given.rewritten)
    return replace(past, undone_by=by, undone=past.undone + 1 if by == past.undone_by else 1)


def _settled(past: Past) -> Past:
    return replace(past, undone_by=frozenset(), undone=0)


def _self_made(past: Past) -> Warned:
    paths = sorted(past.undone_by)
    shown = ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
    return Warned(
        code="run.undone",
        message=f"{shown}: written during {past.undone} runs in a row, so none of them could be trusted",
        hint="if a stage writes it, add it to ignore under [watch]",
    )

"""The vocabulary of the gate's machine: what it is in, what it is told, and what it asks for. `cycle` has the rules.

A verdict *stands* (`Past.passed`, `Past.failed`) once a sweep has shown that nothing it rests on was written while its
stage was at work. From then on only a change that concerns the stage ends it.
"""

import math

from msgspec import Struct

from hotpipe.events import AnyEvent, RunStatus, StageStatus
from hotpipe.gate.plan import Graph
from hotpipe.gate.triggers import Due, Trigger
from hotpipe.gate.undone import Undone

_NONE: frozenset[str] = frozenset()


class Past(Struct, frozen=True):
    """What outlives a run. `passed` (with the failures that are allowed) and `failed` are the verdicts that stand;
    `spared` of the passed ones are only not concerned by what is in question.

    `own` is hotpipe's configuration, whose changes concern no trigger. `changed`: what has changed of a stage's inputs
    since it last passed; a stage that is not there: that is unknown. `in_question` are those of which it is only said
    that nothing else need be looked at.
    `again`: stages that somebody wants to see run, whatever is remembered of them. `is_paused`: changes start no run;
    `is_asked`: the next one is wanted all the same.
    """

    graph: Graph
    triggers: tuple[Trigger, ...] = ()
    own: str | None = None
    runs: int = 0
    sweeps: int = 0
    passed: frozenset[str] = _NONE
    failed: frozenset[str] = _NONE
    spared: frozenset[str] = _NONE
    again: frozenset[str] = _NONE
    changed: dict[str, frozenset[str]] = {}
    in_question: frozenset[str] = _NONE
    since_green: frozenset[str] = _NONE
    undone: Undone = Undone()
    is_paused: bool = False
    is_asked: bool = False
    echoed_by: frozenset[str] = _NONE
    echoes: int = 0
    is_told_unwritable: bool = False

    @property
    def waits(self) -> bool:
        """Whether the next run is not to start by itself."""
        return self.is_paused and not self.is_asked


class Run(Struct, frozen=True):
    """One pass through the stages, on `tree`; `began` in seconds of the monotonic clock.

    Each stage is in at most one of `working`, `passed`, `failed`, `skipped`; in none, it waits. `dying` ones are being
    stopped, and what they come to does not count. `doubtful` are passes after a retry, on a part, or of what would
    write again, and failures that are allowed: they are never remembered. `asked`: the question is whether it is
    remembered, `missed`: it is not. `ran` have been at work in this run. `sweep` is the number of the sweep that is
    under way, and `vouches` what it vouches for. `tried` are the servers whose triggers could not be written. `told` is
    the verdict, once it is said.
    """

    number: int
    tree: str
    began: float
    working: frozenset[str] = _NONE
    dying: frozenset[str] = _NONE
    passed: frozenset[str] = _NONE
    failed: frozenset[str] = _NONE
    skipped: frozenset[str] = _NONE
    doubtful: frozenset[str] = _NONE
    asked: frozenset[str] = _NONE
    missed: frozenset[str] = _NONE
    ran: frozenset[str] = _NONE
    sweep: int | None = None
    vouches: frozenset[str] = _NONE
    tried: frozenset[str | None] = frozenset()
    told: RunStatus | None = None

    @property
    def over(self) -> frozenset[str]:
        return self.passed | self.failed | self.skipped

    def waiting(self, graph: Graph) -> frozenset[str]:
        return graph.stages - self.over - self.working - self.dying


class Idle(Struct, frozen=True):
    """Nothing to do since `since`."""

    past: Past
    since: float = -math.inf


class Running(Struct, frozen=True):
    """Stages are at work, or the tree is swept to see whether their verdicts stand."""

    past: Past
    run: Run


class Touching(Struct, frozen=True):
    """The tree stands; triggers are being written."""

    past: Past
    run: Run


class Superseded(Struct, frozen=True):
    """The tree changed under `run`, and `tree` is next: as soon as those that the change concerns are dead."""

    past: Past
    run: Run
    tree: str


class Resting(Struct, frozen=True):
    """Run after run was undone, so a stage probably does it: `tree` waits a while, or for a change. `run` is the last,
    of which there may be verdicts that were not undone."""

    past: Past
    run: Run
    tree: str
    since: float
    until: float


class Paused(Struct, frozen=True):
    """Something has changed that no run has seen; `tree` waits for somebody to go on. `run` is the last, of which there
    may be verdicts that were not undone."""

    past: Past
    tree: str
    run: Run | None = None


class Untouched(Struct, frozen=True):
    """The verdict is said, but a trigger could not be written: again at `retry_at`."""

    past: Past
    run: Run
    retry_at: float


class Stopping(Struct, frozen=True):
    """The last stages are being stopped."""

    past: Past
    left: frozenset[str]


class Over(Struct, frozen=True):
    """Nothing will happen any more."""

    past: Past


State = Idle | Running | Touching | Superseded | Resting | Paused | Untouched | Stopping | Over


class Changed(Struct, frozen=True):
    """The tree differs at `paths`, and was written without a difference at `rewritten`; it is `tree` now."""

    paths: tuple[str, ...]
    rewritten: tuple[str, ...]
    tree: str


class Requested(Struct, frozen=True):
    """Run now, whatever has changed: all that does not stand, and the stages of `again` in any case.

    `changed` (null: that is not known) are the only files in question: what they do not concern is skipped.
    """

    tree: str
    again: frozenset[str] = _NONE
    changed: frozenset[str] | None = None


class Pause(Struct, frozen=True):
    """From now on changes are noted, but start no run. One that is under way goes on."""


class Resume(Struct, frozen=True):
    """Changes start runs again, and those that were noted start one now."""


class Reconfigured(Struct, frozen=True):
    """The stages and triggers are others; `redefined` are those stages that are not what they were, new ones and old
    ones, and `altered` the servers."""

    graph: Graph
    triggers: tuple[Trigger, ...]
    redefined: frozenset[str]
    altered: frozenset[str | None]
    tree: str


class Recalled(Struct, frozen=True):
    """Whether a stage's pass on just this content is remembered."""

    stage: str
    hit: bool


class StageEnded(Struct, frozen=True):
    """A stage is over, and all its processes are dead. `doubtful`: its pass is none to remember."""

    stage: str
    status: StageStatus
    doubtful: bool = False


class Confirmed(Struct, frozen=True):
    """A sweep is over; all that it found has been told before."""

    sweep: int
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


Input = (
    Changed | Requested | Pause | Resume | Reconfigured | Recalled | StageEnded | Confirmed | Touched | Disturbed
    | TouchFailed | Woken | Stopped
)  # fmt: skip


class Recall(Struct, frozen=True):
    """Answered by Recalled before any other input; a hit has then been told to the faces."""

    run: int
    stage: str


class StartStage(Struct, frozen=True):
    """Answered by StageEnded. `changed`: what of its inputs is to be looked at (null: all of them); `in_question`: and
    nobody knows of the rest that it has passed."""

    run: int
    stage: str
    changed: frozenset[str] | None = None
    in_question: bool = False


class Adopt(Struct, frozen=True):
    """A stage that is at work works for this run from now on."""

    run: int
    stage: str


class Keep(Struct, frozen=True):
    """Tell the faces the verdict of an earlier run, which holds in this one."""

    run: int
    stage: str


class Spare(Struct, frozen=True):
    """Tell the faces that a stage is not concerned by what is in question."""

    run: int
    stage: str


class CancelStage(Struct, frozen=True):
    """Stop its whole process tree; answered by StageEnded."""

    stage: str


class Confirm(Struct, frozen=True):
    """Sweep the tree; answered by Confirmed, unless another sweep is asked for first."""

    sweep: int


class Vouch(Struct, frozen=True):
    """The verdicts of these stages stand from now on: passes may be remembered."""

    stages: frozenset[str]


class Touch(Struct, frozen=True):
    """Write the triggers that are due, if nothing has happened meanwhile; answered by Touched, Disturbed or TouchFailed
    before any other input, for a change that got between would let a trigger seem untouched that is not.

    None may be due: whether the run is green hangs on the same answer.
    """

    run: int
    tree: str
    due: tuple[Due, ...] = ()


class Wake(Struct, frozen=True):
    """Answered by Woken at `at`, or by nothing if another Wake comes first."""

    at: float


class Emit(Struct, frozen=True):
    """Tell the faces."""

    event: AnyEvent


Action = Recall | StartStage | Adopt | Keep | Spare | CancelStage | Confirm | Vouch | Touch | Wake | Emit

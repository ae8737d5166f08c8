"""The machine of one server: from requests to generations. Pure: `step(state, input, now) -> (state, actions)`.

`docs/lifecycle.md` shows its states and what leads from one to the other; it is generated from this module.

Invariant 2, *always a server*: from the first live generation until the server is told to stop, new connections are
led to a generation that is alive and was proved, unless a live one dies by itself. At most two generations are alive,
and at most one of them was never live. Strategy `stop-start` gives the overlap up, and keeps the sockets open instead:
connections wait for the next generation.

What goes live is a tree that passed, or is shown as unverified: a candidate during whose boot a watched file changed
may have read anything. While another one serves, it is discarded; where nobody else does, it loses its tree's name.

No request is lost: the newest verified one, if its tree is on disk, is served, booting, next, or has failed. One that
names another tree is put aside (`Past.lapsed`) until that tree is there: the trigger may be quicker than the watcher.

Settings may change at any time (`Configured`). What was started with others is *stale*, and no request takes it for
what is wanted: what is live goes on until the next one replaces it; a candidate is discarded and started again.
"""

from collections.abc import Sequence
from typing import Literal, assert_never

from msgspec import Struct
from msgspec.structs import replace

from hotpipe.events import (
    Address,
    AnyEvent,
    ServerDiscarded,
    ServerDraining,
    ServerFailed,
    ServerLive,
    ServerReady,
    ServerStarting,
    ServerStopped,
    ServerVerified,
    Warned,
)

FIRST_PAUSE_S = 0.5  # after a crash; each further one makes it longer
PAUSE_FACTOR = 1.5
LONGEST_PAUSE_S = 30.0
HEALTHY_S = 60.0  # so long alive, and earlier crashes are forgotten
_MANY_TREES = 50
CRASH_LOOP = 3  # crashes in a row that are called one


class Server(Struct, frozen=True):
    """What the configuration says; `probation` in seconds. Two editions differ in what a process is started with."""

    name: str
    sockets: tuple[Address, ...] = ()
    strategy: Literal["overlap", "stop-start", "signal"] = "overlap"
    restart: Literal["on-failure", "always", "never"] = "on-failure"
    probation: float = 0.0
    edition: str = ""


class Request(Struct, frozen=True):
    """A wish to serve `tree` (None: nobody knows it), since `at`; `verified` where all checks passed on it."""

    tree: str | None
    verified: bool
    at: float


class Retry(Struct, frozen=True):
    """A wish to serve again what has crashed, not before `until`."""

    request: Request
    until: float


class Generation(Struct, frozen=True):
    """One version of the server, made for a request; pid 0 until it is there.

    `process` is the number under which its process was started: an earlier one where a server reloads itself;
    `edition` that of the settings with which it was.
    """

    number: int
    request: Request
    began: float
    pid: int = 0
    process: int = 0
    edition: str = ""

    @property
    def tree(self) -> str | None:
        """The tree that it was started on."""
        return self.request.tree

    def verify(self) -> "Generation":
        """The same generation, its tree known to have passed."""
        return replace(self, request=replace(self.request, verified=True))

    def disown(self) -> "Generation":
        """The same generation; nobody can say what it has read."""
        return replace(self, request=replace(self.request, tree=None, verified=False))


class Past(Struct, frozen=True):
    """What outlives a generation: the last number given; the crashes in a row; which one was the last to go live, and
    when; the trees that were on disk since files that concern the server changed (none: nobody knows), the newest last;
    the newest verified request, if it was put aside because it names none of them; and of the last process that has
    reloaded itself the number, and that of the last generation that it was live as."""

    server: Server
    last: int = 0
    crashes: int = 0
    live: int = 0
    live_since: float = 0.0
    current: tuple[str, ...] = ()
    lapsed: Request | None = None
    reloaded: tuple[int, int] | None = None

    def see(self, tree: str, *, concerns: bool) -> "Past":
        """`tree` is on disk now."""
        if concerns:
            return replace(self, current=(tree,))
        return replace(self, current=(*self.current[-_MANY_TREES:], tree)) if self.current else self

    def shelve(self, request: Request) -> "Past":
        """Put a request aside whose tree is not on disk, unless a newer one lies there."""
        return replace(self, lapsed=self.lapsed or request) if request.verified else self

    def enthrone(self, generation: Generation, now: float) -> "Past":
        """That one is live from now on."""
        number, process = generation.number, generation.process
        reloaded = self.reloaded if number == process else (process, number)
        return replace(self, live=number, live_since=now, reloaded=reloaded)

    def is_stale(self, generation: Generation) -> bool:
        """Its process was started with other settings than those in force."""
        return generation.edition != self.server.edition

    def is_current(self, request: Request) -> bool:
        """What the request vouches for is what is on disk, as far as it concerns the server."""
        return not (request.verified and self.current) or request.tree in self.current


class Down(Struct, frozen=True):
    """Nothing runs."""

    past: Past


class Waiting(Struct, frozen=True):
    """Nothing runs after a crash; what crashed is tried again in a while."""

    past: Past
    retry: Retry


class Starting(Struct, frozen=True):
    """`candidate` boots; `serving` answers meanwhile, if there is one; those that died while serving may be `dying`."""

    past: Past
    candidate: Generation
    serving: Generation | None = None
    dying: tuple[int, ...] = ()


class Proving(Struct, frozen=True):
    """`candidate` is ready; its smoke tests run, and the tree is looked at once more."""

    past: Past
    candidate: Generation
    serving: Generation | None = None
    dying: tuple[int, ...] = ()


class Probation(Struct, frozen=True):
    """`generation` answers; `previous` is kept until then, in case that it dies."""

    past: Past
    generation: Generation
    previous: Generation
    until: float


class Live(Struct, frozen=True):
    """`generation` answers, alone."""

    past: Past
    generation: Generation


class Reloading(Struct, frozen=True):
    """The process of `serving` was told to reload itself, and so to become `candidate`; then comes `next`, if any."""

    past: Past
    candidate: Generation
    serving: Generation
    next: Request | None = None


class Stopping(Struct, frozen=True):
    """The processes numbered `dying` end, and nobody new is led to them; `serving` goes on; then comes `next`."""

    past: Past
    dying: tuple[int, ...]
    serving: Generation | None
    next: Request | Retry | None

    def without(self, number: int) -> "Stopping":
        """That one is dead."""
        return replace(self, dying=tuple(n for n in self.dying if n != number))


class Closing(Struct, frozen=True):
    """Everything is being stopped, and nothing comes after it; those `retiring` may take their time."""

    past: Past
    dying: tuple[int, ...]
    retiring: tuple[int, ...] = ()

    def without(self, number: int) -> "Closing":
        """That one is dead."""
        dying, retiring = (tuple(n for n in numbers if n != number) for numbers in (self.dying, self.retiring))
        return replace(self, dying=dying, retiring=retiring)


class Over(Struct, frozen=True):
    """Nothing will happen any more."""

    past: Past


State = Down | Waiting | Starting | Proving | Probation | Live | Reloading | Stopping | Closing | Over


class Requested(Struct, frozen=True):
    """The trigger changed, or somebody asked."""

    request: Request


class Changed(Struct, frozen=True):
    """Watched files were written; what is on disk now is `tree`. `concerns`: some of them are inputs of the server."""

    tree: str
    concerns: bool = True


class Spawned(Struct, frozen=True):
    """The generation's process is there."""

    number: int
    pid: int


class NotSpawned(Struct, frozen=True):
    """The generation's program cannot be started."""

    number: int
    reason: str


class Ready(Struct, frozen=True):
    """The generation can serve; `how` we know."""

    number: int
    how: str


class Proved(Struct, frozen=True):
    """The candidate passed its smoke tests, and all that happened in the tree before has been told."""

    number: int


class Failed(Struct, frozen=True):
    """The generation lives, but is no good: not ready in time, a failed smoke test, no sign of life."""

    number: int
    reason: str


class Exited(Struct, frozen=True):
    """The generation's main process is gone by itself; `reason` says how. What it left is being cleared away."""

    number: int
    reason: str
    success: bool = False


class Ended(Struct, frozen=True):
    """The generation's whole process tree is dead. `exit_code` or `signal` is None. `revisited`: who was connected
    before it was switched away from has asked it something since."""

    number: int
    exit_code: int | None
    signal: str | None
    killed: bool
    revisited: bool = False


class Woken(Struct, frozen=True):
    """The time that was asked for has come; `tree` is on disk."""

    tree: str | None


class Configured(Struct, frozen=True):
    """The configuration says this of the server from now on."""

    server: Server


class Removed(Struct, frozen=True):
    """The configuration does not name the server any more: it finishes what it has, and nothing comes after it."""


class Stopped(Struct, frozen=True):
    """The server is to be stopped for good."""


Input = (
    Requested | Changed | Spawned | NotSpawned | Ready | Proved | Failed | Exited | Ended | Woken
    | Configured | Removed | Stopped
)  # fmt: skip


class Spawn(Struct, frozen=True):
    """Answered by Spawned or NotSpawned, then by Ready or Failed, and in the end by Ended.

    `beside` says that another generation goes on serving.
    """

    generation: Generation
    beside: bool


class Prove(Struct, frozen=True):
    """Answered by Proved or Failed."""

    number: int


class Switch(Struct, frozen=True):
    """Lead all new connections to this generation; rescue those that wait for one that is dead."""

    number: int


class Retire(Struct, frozen=True):
    """Drain it, then stop it; answered by Ended."""

    number: int


class Stop(Struct, frozen=True):
    """Walk down the stop ladder at once; answered by Ended."""

    number: int


class Reload(Struct, frozen=True):
    """Send the process its signal; answered by Ready or Failed."""

    number: int


class Hook(Struct, frozen=True):
    """Run the user's commands for this moment."""

    moment: Literal["after_ready", "on_failure"]
    generation: Generation
    reason: str = ""


class Wake(Struct, frozen=True):
    """Answered by Woken at `at`, or by nothing if another Wake comes first."""

    at: float


class Emit(Struct, frozen=True):
    """Tell the faces."""

    event: AnyEvent


Action = Spawn | Prove | Switch | Retire | Stop | Reload | Hook | Wake | Emit


class _Step(Struct):
    """The actions of one step, while it is being decided."""

    now: float
    actions: list[Action] = []

    def start(self, past: Past, request: Request, serving: Generation | None = None) -> State:
        """A new candidate, beside the one that serves."""
        number = past.last + 1
        candidate = Generation(number, request, self.now, process=number, edition=past.server.edition)
        self.actions.append(Spawn(candidate, beside=serving is not None))
        return Starting(replace(past, last=number), candidate, serving)

    def reload(self, past: Past, request: Request, serving: Generation) -> State:
        """The same process is to become a new generation."""
        candidate = replace(serving, number=past.last + 1, request=request, began=self.now)
        self.say_starting(past, candidate)
        self.actions.append(Reload(serving.process))
        return Reloading(replace(past, last=candidate.number), candidate, serving)

    def replace(self, past: Past, request: Request, serving: Generation) -> State:
        """Another generation in the place of a live one, as the strategy has it."""
        match past.server.strategy:
            case "overlap":
                return self.start(past, request, serving)
            case "signal" if not past.is_stale(serving):  # no process can give itself another environment
                return self.reload(past, request, serving)
            case _:
                return self.retire(past, serving, None, request)

    def retire(self, past: Past, old: Generation, serving: Generation | None, following: Request | None) -> State:
        """Let `old` finish what it has, and stop it."""
        self.emit(ServerDraining(server=past.server.name, generation=old.number))
        self.actions.append(Retire(old.process))
        return Stopping(past, (old.process,), serving, following)

    def discard(self, state: Starting | Proving, following: Request | None, reason: str) -> State:
        """Stop a candidate that is not wanted any more."""
        serving = state.serving.number if state.serving else None
        name, number = state.past.server.name, state.candidate.number
        self.emit(ServerDiscarded(server=name, generation=number, reason=reason, serving=serving))
        self.actions.append(Stop(state.candidate.process))
        return Stopping(state.past, (*state.dying, state.candidate.process), state.serving, following)

    def go_live(self, state: Proving) -> State:
        """The candidate is the one that answers."""
        past, candidate = state.past.enthrone(state.candidate, self.now), state.candidate
        self.actions.append(Switch(candidate.process))
        self.say_live(past, candidate)
        if state.serving is None:
            return Stopping(past, state.dying, candidate, None) if state.dying else Live(past, candidate)
        if past.server.probation > 0:
            until = self.now + past.server.probation
            self.actions.append(Wake(until))
            return Probation(past, candidate, state.serving, until)
        return self.retire(past, state.serving, candidate, None)

    def fail(
        self, past: Past, generation: Generation, serving: Generation | None, reason: str, retry: Retry | None = None
    ) -> None:
        """Say that a generation is no good, and who goes on, or when what crashed is tried again."""
        self.emit(
            ServerFailed(
                server=past.server.name,
                generation=generation.number,
                reason=reason,
                serving=serving.number if serving else None,
                retry_ms=None if retry is None else round((retry.until - self.now) * 1e3, 3),
            )
        )
        if retry is not None and past.crashes >= CRASH_LOOP:
            message = f"{past.server.name} is in a crash loop: it died {past.crashes} times in a row"
            hint = "a green run that concerns it, or `hotpipe restart`, starts it at once"
            self.emit(Warned(code="server.crashing", message=message, hint=hint))
        self.actions.append(Hook("on_failure", generation, reason))

    def follow(self, past: Past, serving: Generation | None, following: Request | Retry | None) -> State:
        """Nobody is dying any more: what comes next."""
        match following:
            case Request() if serving is not None:
                return self.replace(past, following, serving)
            case Request():
                return self.start(past, following)
            case Retry(_, until) if serving is None:
                self.actions.append(Wake(until))
                return Waiting(past, following)
            case _:
                return Live(past, serving) if serving is not None else Down(past)

    def crash(self, past: Past, request: Request) -> tuple[Past, Retry]:
        """Nobody serves any more: the pause before the next attempt."""
        crashes = past.crashes + 1
        pause = min(FIRST_PAUSE_S * PAUSE_FACTOR ** min(crashes - 1, 20), LONGEST_PAUSE_S)
        return replace(past, crashes=crashes), Retry(request, self.now + pause)

    def say_starting(self, past: Past, candidate: Generation) -> None:
        name, number = past.server.name, candidate.number
        self.emit(ServerStarting(server=name, generation=number, pid=candidate.pid, tree=candidate.tree))

    def say_ready(self, past: Past, candidate: Generation, how: str) -> None:
        took_ms = self.ms_since(candidate.began)
        self.emit(ServerReady(server=past.server.name, generation=candidate.number, how=how, took_ms=took_ms))

    def say_live(self, past: Past, generation: Generation) -> None:
        self.emit(
            ServerLive(
                server=past.server.name,
                generation=generation.number,
                pid=generation.pid,
                sockets=past.server.sockets,
                took_ms=self.ms_since(generation.request.at),
            )
        )
        if generation.request.verified:
            self.say_verified(past, generation)
        self.actions.append(Hook("after_ready", generation))

    def say_verified(self, past: Past, generation: Generation) -> None:
        if generation.tree is not None:
            name, number = past.server.name, generation.number
            self.emit(ServerVerified(server=name, generation=number, tree=generation.tree))

    def verify(self, past: Past, generation: Generation) -> Generation:
        """What is live has passed; said once."""
        if not generation.request.verified:
            self.say_verified(past, generation)
        return generation.verify()

    def emit(self, event: AnyEvent) -> None:
        self.actions.append(Emit(event))

    def ms_since(self, then: float) -> float:
        return round((self.now - then) * 1e3, 3)


def step(state: State, given: Input, now: float) -> tuple[State, Sequence[Action]]:
    """What follows from `given`, and what is to be done. An input of a generation that is gone changes nothing."""
    deciding = _Step(now)
    match given:
        case Requested(request):
            after = _requested(state, request, deciding)
        case Changed(tree, concerns):
            after = replace(state, past=state.past.see(tree, concerns=concerns))
            after = _taken_up(_changed(after, deciding) if concerns else after, deciding)
        case Configured(server):
            after = _configured(state, server, deciding)
        case Removed():
            after = _removed(state, deciding)
        case Stopped():
            after = _stopped(state, deciding)
        case Woken(tree):
            after = _woken(state, tree, deciding)
        case Spawned() | NotSpawned() | Ready() | Proved():
            after = _came_up(state, given, deciding)
        case Failed() | Exited():
            after = _went_wrong(state, given, deciding)
        case Ended():
            after = _ended(state, given, deciding)
        case _:
            assert_never(given)
    return after, deciding.actions


def _requested(state: State, request: Request, deciding: _Step) -> State:
    past = state.past
    if isinstance(state, Closing | Over):
        return state
    if not past.is_current(request):
        return replace(state, past=replace(past, lapsed=request))
    if request.verified:
        state = replace(state, past=replace(past, lapsed=None))
    return _same_again(state, request, deciding) or _newer(state, request, deciding)


def _same_again(state: State, request: Request, deciding: _Step) -> State | None:
    """The tree has passed that is served, or booting, already. None where it is not, or by other settings."""

    def is_same(generation: Generation | None) -> bool:
        return generation is not None and _is_same(generation, request) and not state.past.is_stale(generation)

    match state:
        case Starting(_, candidate) | Proving(_, candidate) if is_same(candidate):
            return replace(state, candidate=candidate.verify())
        case Starting(past, _, serving) | Proving(past, _, serving) if serving and is_same(serving):
            state = replace(state, serving=deciding.verify(past, serving))
            return deciding.discard(state, None, "what is live is wanted again")
        case Probation(past, generation) | Live(past, generation) if is_same(generation):
            return replace(state, generation=deciding.verify(past, generation))
        case Reloading(_, candidate) if is_same(candidate):
            return replace(state, candidate=candidate.verify(), next=None)
        case Stopping(past, _, serving) if serving and is_same(serving):
            return replace(state, serving=deciding.verify(past, serving), next=None)
        case _:
            return None


def _newer(
    state: Down | Waiting | Starting | Proving | Probation | Live | Reloading | Stopping,
    request: Request,
    deciding: _Step,
) -> State:
    """Another version is wanted; what the ones before it did is forgotten."""
    past = replace(state.past, crashes=0)
    match state:
        case Down() | Waiting():
            return deciding.start(past, request)
        case Starting() | Proving():
            return deciding.discard(replace(state, past=past), request, "there is a newer one")
        case Probation(_, generation, previous):
            return deciding.retire(past, previous, generation, request)
        case Live(_, generation):
            return deciding.replace(past, request, generation)
        case Reloading() | Stopping():
            return replace(state, past=past, next=request)
        case _:
            assert_never(state)


def _changed(state: State, deciding: _Step) -> State:
    """Files that concern the server are not what they were."""
    match state:
        case Starting(past, candidate, Generation()) | Proving(past, candidate, Generation()) if (
            candidate.request.verified
        ):
            state = replace(state, past=past.shelve(candidate.request))  # and taken up at once if it is undone already
            return deciding.discard(state, None, "files changed while it booted")
        case Starting(_, candidate) | Proving(_, candidate):
            return replace(state, candidate=candidate.disown())
        case Reloading(_, candidate):
            return _next_reviewed(replace(state, candidate=candidate.disown()))
        case Stopping():
            return _next_reviewed(state)
        case _:
            return state


def _next_reviewed(state: Reloading | Stopping) -> State:
    """What comes next and is not on disk any more is put aside; where nobody serves, what is on disk comes instead."""
    following, past = state.next, state.past
    if not isinstance(following, Request) or following.tree in past.current:
        return state
    unnamed = Request(None, verified=False, at=following.at)
    idle = following.verified and state.serving is not None
    return replace(state, past=past.shelve(following), next=None if idle else unnamed)


def _taken_up(state: State, deciding: _Step) -> State:
    """The request that was put aside, if what it names is on disk now."""
    request = state.past.lapsed
    return _requested(state, request, deciding) if request and state.past.is_current(request) else state


def _configured(state: State, server: Server, deciding: _Step) -> State:
    """What is live goes on. A candidate by other settings is started again by these: it has served nobody."""
    state = replace(state, past=replace(state.past, server=server))
    match state:
        case Starting(past, candidate) | Proving(past, candidate) if past.is_stale(candidate):
            return deciding.discard(state, candidate.request, "its settings have changed")
        case _:
            return state


def _removed(state: State, deciding: _Step) -> State:
    if isinstance(state, Closing | Over):
        return state
    booting = [each for each in _generations(state) if _is_candidate(state, each)]
    for each in _generations(state):
        if each not in booting:
            deciding.emit(ServerDraining(server=state.past.server.name, generation=each.number))
            deciding.actions.append(Retire(each.process))
    deciding.actions.extend(Stop(each.process) for each in booting)
    alive = _alive(state)
    retiring = tuple(number for number in alive if number not in [each.process for each in booting])
    return Closing(state.past, alive, retiring) if alive else Over(state.past)


def _generations(state: State) -> list[Generation]:
    """Those that are not being stopped already."""
    match state:
        case Starting(_, candidate, serving) | Proving(_, candidate, serving):
            return [*([serving] if serving else []), candidate]
        case Probation(_, generation, previous):
            return [previous, generation]
        case Live(_, generation) | Reloading(_, _, generation) | Stopping(_, _, Generation() as generation):
            return [generation]
        case _:
            return []


def is_stale(state: State, server: Server) -> bool:
    """Whether what serves was started with other settings than these."""
    return any(each.edition != server.edition for each in _generations(state) if not _is_candidate(state, each))


def is_down(state: State) -> bool:
    """Nobody serves, and nobody is about to, but for what is tried again after a crash."""
    match state:
        case Down() | Waiting() | Stopping(_, _, None, None | Retry()):
            return True
        case _:
            return False


def _is_candidate(state: State, generation: Generation) -> bool:
    return isinstance(state, Starting | Proving) and state.candidate is generation


def _stopped(state: State, deciding: _Step) -> State:
    if isinstance(state, Closing):
        deciding.actions.extend(map(Stop, state.retiring))
        return replace(state, retiring=())
    if isinstance(state, Over):
        return state
    alive = _alive(state)
    deciding.actions.extend(map(Stop, alive))
    return Closing(state.past, alive) if alive else Over(state.past)


def _woken(state: State, tree: str | None, deciding: _Step) -> State:
    match state:
        case Waiting(past, Retry(request, until)) if deciding.now >= until:
            verified = request.verified and tree == request.tree and past.is_current(request)
            return deciding.start(past, Request(tree, verified, deciding.now))
        case Probation(past, generation, previous, until) if deciding.now >= until:
            return deciding.retire(past, previous, generation, None)
        case _:
            return state


def _came_up(state: State, given: Spawned | NotSpawned | Ready | Proved, deciding: _Step) -> State:
    number = given.number
    match state, given:
        case Starting(past, candidate), Spawned(_, pid) if candidate.process == number:
            deciding.say_starting(past, replace(candidate, pid=pid))
            return replace(state, candidate=replace(candidate, pid=pid))
        case Starting(past, candidate, serving, dying), NotSpawned(_, reason) if candidate.process == number:
            past, following = _after_failure(state, deciding)
            deciding.fail(past, candidate, serving, reason, following)
            return _proceed(Stopping(past, dying, serving, following), deciding)
        case Starting(past, candidate, serving, dying), Ready(_, how) if candidate.process == number:
            deciding.say_ready(past, candidate, how)
            deciding.actions.append(Prove(number))
            return Proving(past, candidate, serving, dying)
        case Reloading(past, candidate, _, following), Ready(_, how) if candidate.process == number:
            deciding.say_ready(past, candidate, how)
            deciding.say_live(past, candidate)
            return deciding.follow(past.enthrone(candidate, deciding.now), candidate, following)
        case Proving(_, candidate), Proved() if candidate.process == number:
            return deciding.go_live(state)
        case ((Stopping() | Closing()), NotSpawned()):
            return _proceed(state.without(number), deciding)
        case _:
            return state


def _went_wrong(state: State, given: Failed | Exited, deciding: _Step) -> State:
    """A generation is no good any more. Its process is gone, or has to go."""
    number = given.number
    if number not in _alive(state) or isinstance(state, Closing) or number in getattr(state, "dying", ()):
        return state
    if isinstance(state, Reloading) and isinstance(given, Failed):
        deciding.fail(state.past, state.candidate, state.serving, given.reason)
        return deciding.follow(state.past, state.serving, state.next)
    after = _lost(state, given, deciding)
    if isinstance(given, Failed):
        deciding.actions.append(Stop(number))  # not before traffic is led elsewhere
    return after


def _lost(state: State, given: Failed | Exited, deciding: _Step) -> State:
    number = given.number
    match state:
        case Starting(_, candidate) | Proving(_, candidate) if candidate.process == number:
            return _candidate_lost(state, given, deciding)
        case Starting(past, _, Generation() as serving, dying) | Proving(past, _, Generation() as serving, dying):
            deciding.fail(past, serving, None, given.reason)
            crashes = past.crashes + _is_crash(past.server, given)
            return replace(state, past=replace(past, crashes=crashes), serving=None, dying=(*dying, number))
        case Probation(past, generation, previous) if generation.process == number:
            deciding.actions.append(Switch(previous.process))
            deciding.fail(past, generation, previous, given.reason)
            return Stopping(past, (number,), previous, None)
        case Probation(past, generation):
            return Stopping(past, (number,), generation, None)
        case _:
            return _live_lost(state, given, deciding)


def _candidate_lost(state: Starting | Proving, given: Failed | Exited, deciding: _Step) -> State:
    past, following = _after_failure(state, deciding)
    deciding.fail(past, state.candidate, state.serving, given.reason, following)
    return Stopping(past, (*state.dying, given.number), state.serving, following)


def _live_lost(state: State, given: Failed | Exited, deciding: _Step) -> State:
    """The only one that served is gone: again after a pause, unless something else comes next anyway."""
    match state:
        case Live(past, generation):
            after = Stopping(past, (given.number,), None, None)
        case Reloading(past, generation, _, asked):
            after = Stopping(past, (given.number,), None, asked)
        case Stopping(past, dying, Generation() as generation, following):
            after = Stopping(past, (*dying, given.number), None, following)
        case _:
            return state
    if after.next is not None or not _is_crash(past.server, given):
        deciding.fail(past, generation, None, given.reason)
        return after
    healthy = deciding.now - past.live_since >= HEALTHY_S
    past, retry = deciding.crash(replace(past, crashes=0) if healthy else past, generation.request)
    deciding.fail(past, generation, None, given.reason, retry)
    return replace(after, past=past, next=retry)


def _is_crash(server: Server, given: Failed | Exited) -> bool:
    """The end of a live one that calls for another start."""
    ended_well = isinstance(given, Exited) and given.success
    return server.restart == "always" or (server.restart == "on-failure" and not ended_well)


def _after_failure(state: Starting | Proving, deciding: _Step) -> tuple[Past, Retry | None]:
    """A failed candidate waits for the next green run; one that was to take the place of a crash is tried again."""
    if state.serving is not None or not state.past.crashes:
        return state.past, None
    return deciding.crash(state.past, state.candidate.request)


def _ended(state: State, given: Ended, deciding: _Step) -> State:
    event = ServerStopped(
        server=state.past.server.name,
        generation=_known_as(state, given.number),
        exit_code=given.exit_code,
        signal=given.signal,
        killed=given.killed,
        revisited=given.revisited,
    )
    deciding.emit(event)
    match state:
        case Stopping() | Closing():
            return _proceed(state.without(given.number), deciding)
        case Starting(dying=dying) | Proving(dying=dying):
            return replace(state, dying=tuple(n for n in dying if n != given.number))
        case _:
            return state


def _proceed(state: Stopping | Closing, deciding: _Step) -> State:
    if state.dying:
        return state
    if isinstance(state, Closing):
        return Over(state.past)
    return deciding.follow(state.past, state.serving, state.next)


def _alive(state: State) -> tuple[int, ...]:
    """The numbers of all processes that are not known to be dead."""
    match state:
        case Starting(_, candidate, serving, dying) | Proving(_, candidate, serving, dying):
            return (*dying, *((serving.process,) if serving else ()), candidate.process)
        case Probation(_, generation, previous):
            return (previous.process, generation.process)
        case Live(_, generation) | Reloading(_, generation):
            return (generation.process,)
        case Stopping(_, dying, serving):
            return (*dying, *((serving.process,) if serving else ()))
        case Closing(_, dying):
            return dying
        case Down() | Waiting() | Over():
            return ()
        case _:
            assert_never(state)


def _known_as(state: State, process: int) -> int:
    """A process that reloads itself ends under the number of the last generation that it was live as."""
    reloaded = state.past.reloaded
    return reloaded[1] if reloaded and reloaded[0] == process else process


def _is_same(generation: Generation, request: Request) -> bool:
    """Only a run's request verifies: one by hand asks for a restart even of the same tree."""
    return request.verified and generation.tree is not None and generation.tree == request.tree

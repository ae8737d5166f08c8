"""The machine of one server: from requests to generations. Pure: `step(state, input, now) -> (state, actions)`.

    Down ──request──▶ Starting ──ready──▶ Live
     ▲                   │                 │ request for another tree
     │ ended, not ready  │                 ▼
     └───────────────────┴────────────── Stopping ──ended──▶ Starting (the newest request), or Down

Invariant 2, *always a server*, holds from strategy `overlap` on; `stop-start` keeps the part of it that it can: the
sockets stay open, at most one generation is alive, and no request is lost: the newest one that came while something
else was going on is served next.
"""

from collections.abc import Sequence
from typing import assert_never

from msgspec import Struct
from msgspec.structs import replace

from hotpipe.events import (
    Address,
    AnyEvent,
    ServerFailed,
    ServerLive,
    ServerReady,
    ServerStarting,
    ServerStopped,
    ServerVerified,
)


class Server(Struct, frozen=True):
    """What does not change while hotpipe runs."""

    name: str
    sockets: tuple[Address, ...]


class Request(Struct, frozen=True):
    """A wish to serve `tree` (None: nobody knows it), since `at`; `verified` where all checks passed on it."""

    tree: str | None
    verified: bool
    at: float


class Generation(Struct, frozen=True):
    """One process of the server, made for a request; pid 0 until it is there."""

    number: int
    request: Request
    began: float
    pid: int = 0

    @property
    def tree(self) -> str | None:
        """The tree that it was started on."""
        return self.request.tree

    def verify(self) -> "Generation":
        """The same generation, its tree known to have passed."""
        return replace(self, request=replace(self.request, verified=True))


class Down(Struct, frozen=True):
    """Nothing runs; `last` is the number of the last generation."""

    server: Server
    last: int = 0


class Starting(Struct, frozen=True):
    """`candidate` is alive, not ready; `serving` is who answers meanwhile (nobody, under `stop-start`)."""

    server: Server
    candidate: Generation
    serving: Generation | None = None


class Live(Struct, frozen=True):
    """`generation` answers."""

    server: Server
    generation: Generation


class Stopping(Struct, frozen=True):
    """`generation` is being stopped; then comes `next`, if anything."""

    server: Server
    generation: Generation
    next: Request | None


class Closing(Struct, frozen=True):
    """`generation` is being stopped, and nothing comes after it."""

    server: Server
    generation: Generation


class Over(Struct, frozen=True):
    """Nothing will happen any more."""

    server: Server


State = Down | Starting | Live | Stopping | Closing | Over


class Requested(Struct, frozen=True):
    """The trigger changed, or somebody asked."""

    request: Request


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


class Expired(Struct, frozen=True):
    """The generation was not ready in time."""

    number: int
    reason: str


class Ended(Struct, frozen=True):
    """The generation's whole process tree is dead. `exit_code` or `signal` is None."""

    number: int
    exit_code: int | None
    signal: str | None
    killed: bool


class Stopped(Struct, frozen=True):
    """The server is to be stopped for good."""


Input = Requested | Spawned | NotSpawned | Ready | Expired | Ended | Stopped


class Spawn(Struct, frozen=True):
    """Answered by Spawned or NotSpawned, then by Ready or Expired, and in the end by Ended."""

    generation: Generation


class Stop(Struct, frozen=True):
    """Walk down the stop ladder; answered by Ended."""

    number: int


class Emit(Struct, frozen=True):
    """Tell the faces."""

    event: AnyEvent


Action = Spawn | Stop | Emit


class _Step(Struct):
    """The actions of one step, while it is being decided."""

    now: float
    actions: list[Action] = []

    def start(self, server: Server, request: Request, last: int) -> State:
        candidate = Generation(last + 1, request, self.now)
        self.actions.append(Spawn(candidate))
        return Starting(server, candidate)

    def stop(self, server: Server, generation: Generation, following: Request | None) -> State:
        self.actions.append(Stop(generation.number))
        return Stopping(server, generation, following)

    def emit(self, event: AnyEvent) -> None:
        self.actions.append(Emit(event))


def step(state: State, given: Input, now: float) -> tuple[State, Sequence[Action]]:
    """What follows from `given`, and what is to be done. An input of a generation that is gone changes nothing."""
    deciding = _Step(now)
    match given:
        case Requested(request):
            after = _requested(state, request, deciding)
        case Stopped():
            after = _stopped(state, deciding)
        case Spawned() | NotSpawned() | Ready() | Expired():
            after = _candidate(state, given, deciding)
        case Ended():
            after = _ended(state, given, deciding)
        case _:
            assert_never(given)
    return after, deciding.actions


def _requested(state: State, request: Request, deciding: _Step) -> State:
    match state:
        case Down(server, last):
            return deciding.start(server, request, last)
        case Starting(_, candidate) if _same_tree(candidate, request):
            return replace(state, candidate=candidate.verify())
        case Starting(server, candidate):
            return deciding.stop(server, candidate, request)
        case Live(server, generation) if _same_tree(generation, request):
            _say_verified(server, generation, deciding)
            return Live(server, generation.verify())
        case Live(server, generation):
            return deciding.stop(server, generation, request)
        case Stopping():
            return replace(state, next=request)
        case Closing() | Over():
            return state
        case _:
            assert_never(state)


def _stopped(state: State, deciding: _Step) -> State:
    match state:
        case Down(server):
            return Over(server)
        case Starting(server, generation) | Live(server, generation):
            deciding.actions.append(Stop(generation.number))
            return Closing(server, generation)
        case Stopping(server, generation):
            return Closing(server, generation)
        case Closing() | Over():
            return state
        case _:
            assert_never(state)


def _candidate(state: State, given: Spawned | NotSpawned | Ready | Expired, deciding: _Step) -> State:
    if not isinstance(state, Starting) or state.candidate.number != given.number:
        return state
    server, candidate = state.server, state.candidate
    match given:
        case Spawned(number, pid):
            deciding.emit(ServerStarting(server=server.name, generation=number, pid=pid, tree=candidate.tree))
            return replace(state, candidate=replace(candidate, pid=pid))
        case NotSpawned(number, reason):
            deciding.emit(_failed(state, reason))
            return Down(server, number)
        case Ready(_, how):
            return _live(server, candidate, how, deciding)
        case Expired(_, reason):
            deciding.emit(_failed(state, reason))
            return deciding.stop(server, candidate, None)
        case _:
            assert_never(given)


def _live(server: Server, generation: Generation, how: str, deciding: _Step) -> State:
    number = generation.number
    deciding.emit(ServerReady(server=server.name, generation=number, how=how, took_ms=_ms(deciding, generation.began)))
    deciding.emit(
        ServerLive(
            server=server.name,
            generation=number,
            pid=generation.pid,
            sockets=server.sockets,
            took_ms=_ms(deciding, generation.request.at),
        )
    )
    if generation.request.verified and generation.tree is not None:
        deciding.emit(ServerVerified(server=server.name, generation=number, tree=generation.tree))
    return Live(server, generation)


def _ended(state: State, given: Ended, deciding: _Step) -> State:
    alive = _alive(state)
    if alive is None or alive.number != given.number:
        return state
    server = state.server
    deciding.emit(
        ServerStopped(
            server=server.name,
            generation=given.number,
            exit_code=given.exit_code,
            signal=given.signal,
            killed=given.killed,
        )
    )
    match state:
        case Starting():
            deciding.emit(_failed(state, f"{_how_it_ended(given)} before it was ready"))
            return Down(server, given.number)
        case Live():
            deciding.emit(_failed(state, _how_it_ended(given)))
            return Down(server, given.number)
        case Stopping(next=Request() as request):
            return deciding.start(server, request, given.number)
        case Stopping():
            return Down(server, given.number)
        case _:
            return Over(server)


def _alive(state: State) -> Generation | None:
    match state:
        case Starting(_, generation) | Live(_, generation) | Stopping(_, generation) | Closing(_, generation):
            return generation
        case Down() | Over():
            return None
        case _:
            assert_never(state)


def _say_verified(server: Server, generation: Generation, deciding: _Step) -> None:
    if generation.tree is not None and not generation.request.verified:
        deciding.emit(ServerVerified(server=server.name, generation=generation.number, tree=generation.tree))


def _same_tree(generation: Generation, request: Request) -> bool:
    """Only a run's request verifies: one by hand asks for a restart even of the same tree."""
    return request.verified and generation.tree is not None and generation.tree == request.tree


def _failed(state: Starting | Live, reason: str) -> ServerFailed:
    failed = state.candidate if isinstance(state, Starting) else state.generation
    serving = state.serving.number if isinstance(state, Starting) and state.serving else None
    return ServerFailed(server=state.server.name, generation=failed.number, reason=reason, serving=serving)


def _how_it_ended(given: Ended) -> str:
    return f"killed by SIG{given.signal}" if given.signal else f"exited with status {given.exit_code}"


def _ms(deciding: _Step, since: float) -> float:
    return round((deciding.now - since) * 1e3, 3)

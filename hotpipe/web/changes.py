"""What lies between the version that a page shows and the one that it should show. Pure.

A place in time is a number of saves. Each generation has one: the last at which its tree was on disk. A server's
`fresh` is the place up to which a page should be shown what is on disk: the place of the live generation; or of a
green run that led to no restart, for then the files are served as they are.

Invariant: what is not known (too many changes, a generation whose tree has no name, no watcher) is None, never nothing.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from hotpipe.events import (
    AnyEvent,
    ChangeDetected,
    RunFinished,
    RunStarted,
    ServerDiscarded,
    ServerFailed,
    ServerLive,
    ServerStarting,
    ServerStopped,
    ServerVerified,
    TriggerTouched,
    WatchReady,
)

MOST_CHANGES = 500
MOST_PATHS = 200  # of one change, and between two places
MOST_TREES = 1_000
MOST_GENERATIONS = 100

Paths = tuple[str, ...] | None  # None: not known


@dataclass(frozen=True, slots=True)
class Generation:
    """When its tree was last on disk; and its process, for a reload that keeps it keeps its environment, too."""

    place: int | None
    pid: int
    tree: str | None


@dataclass(slots=True)
class Server:
    """`opaque`: what lies between a place before this one and one from it on is not known. `due`: a green tree waits to
    be served. `replaced`: another generation was live before. `revisited`: the last one that was asked something after
    another one had gone live, and is gone by now, since `gone`."""

    generations: dict[int, Generation] = field(default_factory=dict)
    live: int | None = None
    since: float = 0.0  # CLOCK_MONOTONIC, in seconds
    replaced: bool = False
    revisited: int | None = None
    gone: float = 0.0
    fresh: int = 0
    opaque: int = 0
    due: bool = False

    def page(self, generation: int | None) -> int | None:
        """Which version a page shows that names this one: a process that reloads itself keeps its first number."""
        named, live = self.generations.get(generation or 0), self.generations.get(self.live or 0)
        if generation is None or (named and live and named.pid == live.pid):
            return self.live
        return generation

    def place(self, generation: int | None) -> int | None:
        """From where on a page of that generation misses something."""
        if generation == self.live:
            return self.fresh
        known = self.generations.get(generation or 0)
        return known.place if known is not None else None

    def begin(self, event: ServerStarting, place: int | None) -> None:
        self.generations[event.generation] = Generation(place, event.pid, event.tree)
        while len(self.generations) > MOST_GENERATIONS:
            del self.generations[next(iter(self.generations))]

    def switch(self, event: ServerLive, at: float, saves: int) -> None:
        known = self.generations.get(event.generation)
        self.replaced, self.live, self.since, self.due = self.live is not None, event.generation, at, False
        if known is not None and known.place is not None:
            self.fresh = max(self.fresh, known.place)
        else:
            self.fresh = self.opaque = saves

    def stop(self, event: ServerStopped, at: float) -> None:
        if event.revisited:
            self.revisited, self.gone = event.generation, at

    def fail(self, serving: int | None) -> None:
        self.live, self.due = serving, False


class Changes:
    """Folded from the events."""

    def __init__(self) -> None:
        self.servers: dict[str, Server] = {}
        self._saves = 0
        self._watched = False
        self._log: deque[tuple[int, Paths]] = deque(maxlen=MOST_CHANGES)
        self._seen: dict[str, int] = {}
        self._run: int | None = None  # where the run that goes on began

    def apply(self, event: AnyEvent, at: float = 0.0) -> None:
        """Take in one event; `at` is its CLOCK_MONOTONIC, in seconds."""
        match event:
            case WatchReady():
                self._watched = True
            case ChangeDetected(paths=paths):
                self._saves += 1
                self._log.append((self._saves, paths if len(paths) <= MOST_PATHS else None))
            case RunStarted(tree=tree):
                self._see(tree)
            case RunFinished(status="green") if self._run is not None:
                self._freshen(self._run)
            case TriggerTouched(server=str(name), tree=tree):
                server = self.server(name)
                live = server.generations.get(server.live or 0)
                server.due = live is None or live.tree != tree
            case _:
                self._apply_server(event, at)

    def server(self, name: str) -> Server:
        """The server of that name, from its first mention on."""
        return self.servers.setdefault(name, Server())

    def since(self, place: int | None, server: Server) -> Paths:
        """What has changed for a page that stands at `place`."""
        if place is None or not self._watched or place < server.opaque or place < self._forgotten():
            return None
        paths: dict[str, None] = {}
        for changed in self._between(place, server.fresh):
            if changed is None:
                return None
            paths |= dict.fromkeys(changed)
        return tuple(paths) if len(paths) <= MOST_PATHS else None

    def _between(self, place: int, fresh: int) -> Iterator[Paths]:
        return (paths for number, paths in self._log if place < number <= fresh)

    def _forgotten(self) -> int:
        """Before this place, changes are not known any more."""
        return self._log[0][0] - 1 if self._log else 0

    def _see(self, tree: str) -> None:
        self._run = self._saves
        self._seen.pop(tree, None)
        self._seen[tree] = self._saves
        while len(self._seen) > MOST_TREES:
            del self._seen[next(iter(self._seen))]

    def _freshen(self, place: int) -> None:
        for server in self.servers.values():
            if not server.due and server.live is not None:
                server.fresh = max(server.fresh, place)

    def _apply_server(self, event: AnyEvent, at: float) -> None:
        match event:
            case ServerStarting(server=name):
                self.server(name).begin(event, self._seen.get(event.tree or ""))
            case ServerLive(server=name):
                self.server(name).switch(event, at, self._saves)
            case ServerVerified(server=name, tree=tree):
                server = self.server(name)
                server.fresh = max(server.fresh, self._seen.get(tree, 0))
            case ServerFailed(server=name, serving=serving):
                self.server(name).fail(serving)
            case ServerStopped(server=name):
                self.server(name).stop(event, at)
            case ServerDiscarded(server=name):
                self.server(name).due = False
            case _:
                pass

"""hotpipe speaks sd_notify(3) upward: what goes on, for the systemd unit, or the other hotpipe, that started it.

How it works: `Upward` folds events into assignments; `speak` sends them, and the signs of life that were asked for.
Invariant: nothing here delays or ends hotpipe. What the receiver has no room for is said again later, the newest of
each assignment alone; what nobody receives is forgotten.
"""

import math
import os
import re
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import anyio

from hotpipe.bus import Inbox
from hotpipe.events import (
    AnyEvent,
    Ending,
    Output,
    RunFinished,
    ServerDiscarded,
    ServerDraining,
    ServerFailed,
    ServerLive,
    ServerStarting,
    ServerStopped,
    Stamped,
    WatchReady,
)
from hotpipe.ui.view import RunView, ServerView, View

CRASH_LOOP = 3  # deaths in a row, on one tree
HEALTHY_S = 60.0  # so long alive, and earlier deaths are forgotten
LONGEST_STATUS = 500  # characters; a datagram of more than 4,096 bytes is not heeded
EXTEND_EVERY_S = 5.0
EXTEND_BY_S = 15.0
_AGAIN_S = 0.1
_SHORTEST_S = 0.001
_INFINITE = 2**64 - 1  # USEC_INFINITY
_NUMBER = re.compile(r"[0-9]{1,20}")


@dataclass(slots=True)
class _Server:
    """What the view does not tell of a server."""

    candidate: int | None = None
    retired: bool = False  # the live generation is making way for the next one
    reason: str = ""  # of the last failure
    tree: str | None = None
    deaths: int = 0
    live_since: float = math.inf


@dataclass(slots=True)
class Upward:
    """Pure: `servers` are the names of all that must be live for READY=1; without any, a watched tree is enough."""

    servers: Sequence[str] = ()
    _view: View = field(default_factory=View)
    _more: dict[str, _Server] = field(default_factory=dict)
    _reloading: dict[str, int] = field(default_factory=dict)  # the generation that each server waits for
    _ready: bool = False
    _ending: bool = False
    _settled: bool = False
    _status: str = ""

    def __post_init__(self) -> None:
        self._more = {name: _Server() for name in self.servers}

    def know(self, servers: Sequence[str]) -> None:
        """These are the servers from now on."""
        for name in set(self.servers).difference(servers):
            self._more.pop(name, None)
            self._reloading.pop(name, None)
        self.servers = servers
        for name in servers:
            self._server(name)

    def fold(self, stamped: Stamped) -> list[str]:
        """The assignments of one datagram; none where there is nothing to say."""
        event = stamped.event
        if self._ending or isinstance(event, Output):
            return []
        if isinstance(event, Ending):
            self._ending = True
            return ["STOPPING=1", "STATUS=stopping"]
        reloads = self._reloads(event)
        self._view.apply(event)
        self._note(event, stamped.stamp.mono)
        said = self._reload(event, stamped.stamp.mono) if reloads else self._readiness(event)
        return [*said, *self._changed_status()]

    @property
    def is_starting(self) -> bool:
        """Not ready yet, and on the way: a start that has failed is left to systemd's own patience."""
        run = self._view.run
        going_on = not self._settled or (run is not None and run.status in {None, "superseded"})
        return not self._ready and not self._ending and (going_on or any(s.candidate for s in self._more.values()))

    def _reloads(self, event: AnyEvent) -> bool:
        """Another generation comes in the place of a live one, or of one that was stopped for it."""
        if not self._ready or not isinstance(event, ServerStarting):
            return False
        return self._live(event.server) is not None or self._server(event.server).retired

    def _note(self, event: AnyEvent, now: float) -> None:
        match event:
            case RunFinished(status=status):
                self._settled |= status != "superseded"
            case ServerStarting():
                self._note_start(self._server(event.server), event)
            case ServerDraining():
                self._server(event.server).retired |= event.generation == self._live(event.server)
            case ServerLive():
                self._settled = True
                server = self._server(event.server)
                server.retired, server.reason, server.live_since = False, "", now
                self._over(event)
            case ServerFailed():
                self._settled = True
                self._note_failure(self._server(event.server), event, now)
                self._over(event)
            case ServerDiscarded() | ServerStopped():
                self._over(event)
            case _:
                pass

    def _note_start(self, server: _Server, event: ServerStarting) -> None:
        if event.tree != server.tree:
            server.deaths = 0
        server.candidate, server.tree, server.retired, server.reason = event.generation, event.tree, False, ""

    def _note_failure(self, server: _Server, event: ServerFailed, now: float) -> None:
        server.reason = f"generation {event.generation} failed: {event.reason}"
        server.retired = False
        if event.serving is None:
            server.deaths = 1 if now - server.live_since >= HEALTHY_S else server.deaths + 1
            server.live_since = math.inf

    def _over(self, event: ServerLive | ServerFailed | ServerDiscarded | ServerStopped) -> None:
        """It is no candidate any more."""
        server = self._server(event.server)
        if server.candidate == event.generation:
            server.candidate = None

    def _reload(self, event: AnyEvent, mono: float) -> list[str]:
        if not isinstance(event, ServerStarting):
            return []
        began = not self._reloading
        self._reloading[event.server] = event.generation
        return ["RELOADING=1", f"MONOTONIC_USEC={round(mono * 1e6)}"] if began else []

    def _readiness(self, event: AnyEvent) -> list[str]:
        if not self._ready:
            self._ready = self._is_up(event)
            return ["READY=1"] if self._ready else []
        match event:
            case ServerLive() | ServerFailed() | ServerDiscarded() | ServerStopped():
                return self._reloaded(event.server, event.generation)
            case _:
                return []

    def _reloaded(self, server: str, generation: int) -> list[str]:
        """READY=1 when the last of those that reload has come to an end, a good one or not."""
        if self._reloading.get(server) != generation:
            return []
        del self._reloading[server]
        return [] if self._reloading else ["READY=1"]

    def _is_up(self, event: AnyEvent) -> bool:
        if not self.servers:
            return isinstance(event, WatchReady)
        return all(self._live(name) is not None for name in self.servers)

    def _live(self, name: str) -> int | None:
        server = self._view.servers.get(name)
        return server.generation if server else None

    def _server(self, name: str) -> _Server:
        return self._more.setdefault(name, _Server())

    def _changed_status(self) -> list[str]:
        run = [_run(self._view.run)] if self._view.run else []
        known = ((name, more) for name, more in self._more.items() if not self.servers or name in self.servers)
        servers = (_line(name, self._view.servers.get(name), more) for name, more in known)
        status = _one_line("; ".join([*run, *servers]))
        if status == self._status:
            return []
        self._status = status
        return [f"STATUS={status}"]


def _run(run: RunView) -> str:
    if run.status == "red":
        return f"run {run.number} red: {', '.join(stage.name for stage in run.failures())}"
    return f"run {run.number} {run.status or 'is going on'}"


def _line(name: str, server: ServerView | None, more: _Server) -> str:
    parts = []
    if more.deaths >= CRASH_LOOP:
        parts.append(f"crash loop, died {more.deaths} times")
    if more.candidate is not None:
        parts.append(f"generation {more.candidate} is starting")
    if more.reason:
        parts.append(more.reason)
    if server is not None and server.generation is not None:
        parts.append(f"generation {server.generation} is live{'' if server.verified else ', unverified'}")
    elif more.candidate is None:
        parts.append("nobody serves")
    return f"{name}: {', '.join(parts)}"


def _one_line(text: str) -> str:
    clean = "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))
    return clean if len(clean) <= LONGEST_STATUS else f"{clean[: LONGEST_STATUS - 1]}…"


@dataclass(frozen=True, slots=True)
class Link:
    """Where to speak, as sendto(2) wants it, and how often a sign of life is due."""

    address: bytes
    watchdog_s: float | None = None

    @classmethod
    def of(cls, env: Mapping[str, str], pid: int) -> "Link | None":
        """As sd_notify(3) and sd_watchdog_enabled(3) read the environment of `pid`; None where nobody listens."""
        written = env.get("NOTIFY_SOCKET", "")
        if written[:1] not in {"/", "@"} or len(written) < 2:
            return None
        address = os.fsencode(written)
        return cls(b"\0" + address[1:] if written[0] == "@" else address, _watchdog_s(env, pid))


def _watchdog_s(env: Mapping[str, str], pid: int) -> float | None:
    """Half of the time that systemd allows, as sd_watchdog_enabled(3) recommends."""
    usec, meant = env.get("WATCHDOG_USEC", ""), env.get("WATCHDOG_PID", str(pid))
    if meant != str(pid) or not _NUMBER.fullmatch(usec) or not 0 < int(usec) < _INFINITE:
        return None
    return max(int(usec) / 2e6, _SHORTEST_S)


async def speak(link: Link, upward: Upward, inbox: Inbox) -> None:
    """Say what `upward` makes of the events, until the inbox is closed."""
    with _Mouth(link.address) as mouth:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(mouth.insist)
            tasks.start_soon(_ask_for_time, upward, mouth)
            if link.watchdog_s is not None:
                tasks.start_soon(_keep_alive, link.watchdog_s, mouth)
            async for batch in inbox.batches():
                for stamped in batch:
                    mouth.say(upward.fold(stamped))
            tasks.cancel_scope.cancel()


async def _keep_alive(every_s: float, mouth: "_Mouth") -> None:
    while True:
        mouth.say(["WATCHDOG=1"])
        await anyio.sleep(every_s)


async def _ask_for_time(upward: Upward, mouth: "_Mouth") -> None:
    while True:
        await anyio.sleep(EXTEND_EVERY_S)
        if upward.is_starting:
            mouth.say([f"EXTEND_TIMEOUT_USEC={round(EXTEND_BY_S * 1e6)}"])


class _Mouth:
    """Sends without waiting; keeps the newest of each assignment that the receiver had no room for."""

    def __init__(self, address: bytes) -> None:
        self._address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._unsaid: dict[str, str] = {}
        self._refused = anyio.Event()

    def __enter__(self) -> "_Mouth":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def say(self, assignments: Iterable[str]) -> None:
        """All of them in one datagram, together with what is still unsaid."""
        for assignment in assignments:
            key = assignment.partition("=")[0]
            self._unsaid.pop(key, None)  # it moves to the end
            self._unsaid[key] = assignment
        if self._unsaid and not self._sent():
            self._refused.set()

    async def insist(self) -> None:
        """Say it again a little later."""
        while True:
            await self._refused.wait()
            await anyio.sleep(_AGAIN_S)
            self._refused = anyio.Event()
            self.say(())

    def _sent(self) -> bool:
        try:
            self._socket.sendto("\n".join(self._unsaid.values()).encode(), self._address)
        except BlockingIOError:
            return False
        except OSError:  # nobody is there any more, and may be again for the next message
            pass
        self._unsaid.clear()
        return True

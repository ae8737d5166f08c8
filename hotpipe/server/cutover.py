"""Which process of one server has which sockets, and which of them new connections reach.

Invariant: while hotpipe runs, each address has a *public* member. Its process may be dead: then connections wait in
its accept queue, for the next process that gets the same member, or to be carried over to another one by a relay.
A member leaves only when nothing is queued on it any more.
"""

import contextlib
import math
import os
import resource
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import anyio
from anyio.abc import TaskGroup

from hotpipe.errors import SocketError
from hotpipe.events import Address
from hotpipe.server import diag
from hotpipe.server.listener import Group, Listener, Path, listen_again
from hotpipe.server.relay import relay

Members = tuple[socket.socket, ...]  # one a listener, in their order
_CALM_S = 0.25  # an accept queue that was empty for so long stays empty: on a busy machine a handshake takes its time
_LOOK_S = 0.002
_FEW = 64  # up to so many connections, to look at each is cheaper than to have the kernel list all (diag.py)
_AT_ONCE = 64
_SPARE = 64  # descriptors that are left for all else, such as the next process


@dataclass(slots=True)
class Cutover:
    """The listeners of one server. Members are known by the number of the process that has them."""

    listeners: tuple[Listener, ...]
    _public: Members = ()
    _was_used: bool = False
    _left_at: float = -math.inf  # when a member has left last
    _owned: dict[int, Members] = field(default_factory=dict)
    _kept: dict[int, tuple[diag.Connection, ...]] = field(default_factory=dict)  # from before it was switched away from

    @property
    def addresses(self) -> tuple[Address, ...]:
        """As events name them."""
        return tuple(Address(each.name, each.addr) for each in self.listeners)

    @classmethod
    def over(cls, listeners: Sequence[Listener]) -> "Cutover":
        """Open the first members, so that clients can wait from now on; raises SocketError, and then none is open."""
        made = cls(tuple(listeners))
        try:
            made._public = made._join()
        except SocketError:
            made.close()
            raise
        return made

    def close(self) -> None:
        """Give all addresses back."""
        for listener in self.listeners:
            listener.close()

    def give(self, number: int, *, fresh: bool) -> Members:
        """The members of a new process: `fresh` ones that nobody is led to, or the public ones of a dead one."""
        if fresh:
            members = self._join()
        else:
            members = self._public
            for listener, member in zip(self.listeners, members, strict=True):
                listener.renew(member)
        self._owned[number] = members
        self._was_used = self._was_used or members is self._public
        return members

    def listen_again(self, number: int) -> None:
        """Take the backlogs back from a server that has set its own."""
        for listener, member in zip(self.listeners, self._owned.get(number, ()), strict=False):
            listen_again(listener, member)

    @property
    def was_used(self) -> bool:
        """A process has had the public members: a stray that descends from it may still accept on them.

        Datagram sockets do not count: what is queued on them cannot be carried over.
        """
        return self._was_used and all(each.listen.is_stream for each in self.listeners)

    def unfit(self, number: int) -> str:
        """Why nobody can be led to this process: what is wrong with one of its members, or nothing."""
        pairs = zip(self.listeners, self._owned.get(number, ()), strict=False)
        return next((fault for listener, member in pairs if (fault := listener.fault(member))), "")

    def switch(self, number: int, rescuers: TaskGroup) -> None:
        """Lead all new connections to the members of this process; who waits for a dead one is carried over."""
        if self._owned[number] is not self._public:
            self._lead_to(self._owned[number], rescuers)

    def park(self, number: int) -> None:
        """Lead new connections to members that no process has, so that this one can finish what it has."""
        if self._owned.get(number) is self._public and all(isinstance(each, Group | Path) for each in self.listeners):
            self._lead_to(self._join(), None)

    def release(self, number: int, rescuers: TaskGroup) -> None:
        """Its process tree is dead: close its members, unless they are the public ones."""
        members = self._owned.pop(number, ())
        was_public = self._kept.pop(number, None) is not None
        if members is self._public:
            return
        if was_public:
            rescuers.start_soon(self._clear_out, members, rescuers)
        else:
            self._leave(members)

    def rescue(self, number: int, rescuers: TaskGroup) -> None:
        """Carry over who is queued on the members of a dead process that is not the public one."""
        members = self._owned.get(number, ())
        if members is not self._public:
            rescuers.start_soon(self._empty, members, rescuers)

    def waiting(self, number: int) -> int:
        """How much is queued for this process and for no other."""
        trios = zip(self.listeners, self._owned.get(number, ()), self._public, strict=False)
        return sum(each.waiting(member) for each, member, public in trios if member is not public)

    def kept(self, number: int) -> tuple[diag.Connection, ...]:
        """The TCP connections of this process as they were when new ones were led away from it."""
        return self._kept.get(number, ())

    def connections(self, number: int) -> list[diag.Connection]:
        """The TCP connections that were there before new ones were led away from this process, and still are."""
        kept = self._kept.get(number, ())
        if kept:
            self._kept[number] = kept = self._seen_again(kept)
        return list(kept)

    def unix_connections(self, number: int) -> int:
        """How many connections over unix sockets it has; whether they are at work cannot be known."""
        pairs = zip(self.listeners, self._owned.get(number, ()), strict=False)
        return sum(each.open_connections(member) for each, member in pairs if isinstance(each, Path))

    def _join(self) -> Members:
        joined: list[socket.socket] = []
        try:
            joined.extend(listener.join() for listener in self.listeners)
        except SocketError:
            self._leave(tuple(joined))
            raise
        return tuple(joined)

    def _leave(self, members: Members) -> None:
        self._left_at = time.monotonic()
        for listener, member in zip(self.listeners, members, strict=False):
            listener.leave(member)

    def _lead_to(self, members: Members, rescuers: TaskGroup | None) -> None:
        before, self._public = self._public, members
        self._was_used = members in self._owned.values()
        for listener, member in zip(self.listeners, members, strict=True):
            listener.switch(member)
        owners = [number for number, owned in self._owned.items() if owned is before]
        connections = tuple(self._tcp_connections()) if owners else ()
        for owner in owners:
            self._kept[owner] = connections
        if rescuers is not None and not owners:
            rescuers.start_soon(self._clear_out, before, rescuers)

    async def _clear_out(self, members: Members, rescuers: TaskGroup) -> None:
        await self._empty(members, rescuers)
        self._leave(members)

    async def _empty(self, members: Members, rescuers: TaskGroup) -> None:
        """Nobody accepts on these: carry over who waits, until nobody comes any more."""
        calm_since = time.monotonic()
        while time.monotonic() - calm_since < _CALM_S:
            if self._carry_over(members, rescuers) or self._are_queued(members):
                calm_since = time.monotonic()
            # While a member leaves, for an instant, connections may be led to any of those that stay: listener.Group.
            calm_since = max(calm_since, self._left_at)
            await anyio.sleep(_LOOK_S)

    def _are_queued(self, members: Members) -> bool:
        trios = zip(self.listeners, members, self._public, strict=False)
        streams = [trio for trio in trios if trio[0].listen.is_stream]
        return any(each.waiting(member) for each, member, public in streams if not _is_gone(member, public))

    def _carry_over(self, members: Members, rescuers: TaskGroup) -> int:
        count = 0
        for listener, member, public in zip(self.listeners, members, self._public, strict=False):
            for client in _queued(listener, member) if not _is_gone(member, public) else ():
                count += 1
                rescuers.start_soon(relay, client, partial(listener.connect, public))
        return count

    def _seen_again(self, kept: tuple[diag.Connection, ...]) -> tuple[diag.Connection, ...]:
        if len(kept) <= _FEW:
            found = diag.look_again(kept)
            return kept if found is None else tuple(found)
        marks = {each.mark for each in kept}
        return tuple(each for each in self._tcp_connections() if each.mark in marks)

    def _tcp_connections(self) -> list[diag.Connection]:
        ports = {each.port for each in self.listeners if isinstance(each, Group) and each.listen.is_stream}
        return [connection for port in ports for connection in diag.connections(port) or ()]


def _queued(listener: Listener, member: socket.socket) -> list[socket.socket]:
    """Who waits in the accept queue of our copy, as many as can be carried: all others are safe where they are."""
    clients: list[socket.socket] = []
    if listener.listen.is_stream:
        with contextlib.suppress(OSError):
            member.setblocking(False)
            clients.extend(member.accept()[0] for _ in range(_room()))
    return clients


def _is_gone(member: socket.socket, public: socket.socket) -> bool:
    """It has left meanwhile, or is everybody's."""
    return member is public or member.fileno() < 0


def _room() -> int:
    """How many more relays there are descriptors for."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = most - len(os.listdir("/dev/fd")) - _SPARE
    return _AT_ONCE if most == resource.RLIM_INFINITY else min(max(free // 2, 0), _AT_ONCE)

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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import anyio
from anyio.abc import TaskGroup

from hotpipe.errors import SocketError
from hotpipe.events import Address
from hotpipe.server import diag
from hotpipe.server.kept import Kept, on_ports
from hotpipe.server.listener import Group, Listener, Path, listen_again
from hotpipe.server.relay import relay

Members = Mapping[Listener, socket.socket]  # of one process, in the order of its listeners
_CALM_S = 0.25  # an accept queue that was empty for so long stays empty: on a busy machine a handshake takes its time
_LOOK_S = 0.002
_AT_ONCE = 64
_SPARE = 64  # descriptors that are left for all else, such as the next process


@dataclass(slots=True, eq=False)
class Cutover:
    """The listeners of one server. Members are known by the number of the process that has them.

    After a change of the configuration processes may differ in what they listen on: `listeners` are those of the next
    one, and what only an earlier one has is `_dismissed`: closed when that one has ended.
    """

    listeners: tuple[Listener, ...]
    _used: set[socket.socket] = field(default_factory=set)  # members that a process has had
    _left_at: float = -math.inf  # when a member has left last
    _owned: dict[int, Members] = field(default_factory=dict)
    _kept: dict[int, Kept] = field(default_factory=dict)  # from before it was switched away from
    _dismissed: tuple[Listener, ...] = ()

    @property
    def addresses(self) -> tuple[Address, ...]:
        """As events name them."""
        return tuple(Address(each.name, each.addr) for each in self.listeners)

    @property
    def all_listeners(self) -> tuple[Listener, ...]:
        """Also those that the next process will not have."""
        return (*self.listeners, *self._dismissed)

    @classmethod
    def over(cls, listeners: Sequence[Listener]) -> "Cutover":
        """Open the first members, so that clients can wait from now on; raises SocketError, and then none is open."""
        made = cls(tuple(listeners))
        try:
            made._join(made.listeners)
        except SocketError:
            made.close()
            raise
        return made

    def close(self) -> None:
        """Give all addresses back."""
        for listener in self.all_listeners:
            listener.close()

    def reshape(self, listeners: Sequence[Listener]) -> None:
        """Give these to each process from the next one on; each has a member already, so that clients can wait."""
        self._dismissed = tuple(each for each in self.all_listeners if each not in listeners)
        self.listeners = tuple(listeners)
        for number in self._owned:
            self.listen_again(number)  # with another backlog, perhaps
        self._close_dismissed()

    def yield_up(self, listener: Listener, member: socket.socket | None) -> None:
        """It is another server's from now on: new connections wait in `member`, or, without one, where they wait
        already."""
        if member is not None:
            self._lead_to({listener: member}, None)
        self.listeners = tuple(each for each in self.listeners if each is not listener)
        self._dismissed = tuple(each for each in self._dismissed if each is not listener)

    def adopt(self, listener: Listener) -> None:
        """One that another server has yielded up; `reshape` gives it its place. Its clients have been served before, so
        they wait until somebody is live: a candidate that accepted them might still be discarded."""
        self.listeners += (listener,)
        if listener.live is not None:
            self._used.add(listener.live)

    def is_at_work(self, listener: Listener) -> bool:
        """A process has its public member."""
        return any(owned.get(listener) is listener.live for owned in self._owned.values())

    def give(self, number: int, *, fresh: bool) -> tuple[socket.socket, ...]:
        """The members of a new process: `fresh` ones that nobody is led to, or the public ones of a dead one."""
        if fresh:
            members = self._join(self.listeners)
        else:
            members = {each: each.live or each.join() for each in self.listeners}
            for listener, member in members.items():
                listener.renew(member)
        self._owned[number] = members
        self._used.update(members.values())
        return tuple(members.values())

    def listen_again(self, number: int) -> None:
        """Take the backlogs back from a server that has set its own."""
        for listener, member in self._owned.get(number, {}).items():
            listen_again(listener, member)

    @property
    def was_used(self) -> bool:
        """A process has had the public members: a stray that descends from it may still accept on them.

        Datagram sockets do not count: what is queued on them cannot be carried over.
        """
        used = any(each.live in self._used for each in self.listeners)
        return used and all(each.listen.is_stream for each in self.listeners)

    def unfit(self, number: int) -> str:
        """Why nobody can be led to this process: what is wrong with one of its members, or nothing."""
        pairs = self._owned.get(number, {}).items()
        return next((fault for listener, member in pairs if (fault := listener.fault(member))), "")

    def switch(self, number: int, rescuers: TaskGroup) -> None:
        """Lead all new connections to the members of this process; who waits for a dead one is carried over."""
        self._lead_to(self._owned[number], rescuers)

    def park(self, number: int) -> None:
        """Lead new connections to members that no process has, so that this one can finish what it has."""
        public = [each for each, member in self._owned.get(number, {}).items() if each.live is member]
        if all(isinstance(each, Group | Path) for each in public):
            self._lead_to(self._join(public), None)

    def release(self, number: int, rescuers: TaskGroup) -> None:
        """Its process tree is dead: close its members, unless they are the public ones."""
        members = self._without_public(self._owned.pop(number, {}))
        was_public = self._kept.pop(number, None) is not None
        if was_public and members:
            rescuers.start_soon(self._clear_out, members, rescuers)
        else:
            self._leave(members)
        self._close_dismissed()

    def rescue(self, number: int, rescuers: TaskGroup) -> None:
        """Carry over who is queued on the members of a dead process that is not the public one."""
        if members := self._without_public(self._owned.get(number, {})):
            rescuers.start_soon(self._empty, members, rescuers)

    def waiting(self, number: int) -> int:
        """How much is queued for this process and for no other."""
        members = self._without_public(self._owned.get(number, {}))
        return sum(each.waiting(member) for each, member in members.items())

    def kept(self, number: int) -> tuple[diag.Connection, ...]:
        """The TCP connections of this process as they were at the last look, from when new ones were led away on."""
        return self._kept_by(number).connections

    def connections(self, number: int) -> list[diag.Connection]:
        """The TCP connections that were there before new ones were led away from this process, and still are."""
        kept = self._kept_by(number)
        kept.look()
        return list(kept.connections)

    async def until_revisited(self, number: int) -> None:
        """Look whether who was there before new ones were led away asks this process again."""
        await self._kept_by(number).until_revisited()

    def was_revisited(self, number: int) -> bool:
        """Whether that was seen, at any look."""
        return self._kept_by(number).was_revisited

    def unix_connections(self, number: int) -> int:
        """How many connections over unix sockets it has; whether they are at work cannot be known."""
        pairs = self._owned.get(number, {}).items()
        return sum(each.open_connections(member) for each, member in pairs if isinstance(each, Path))

    @staticmethod
    def _without_public(members: Members) -> Members:
        return {each: member for each, member in members.items() if member is not each.live}

    def _join(self, listeners: Iterable[Listener]) -> Members:
        joined: dict[Listener, socket.socket] = {}
        try:
            for listener in listeners:
                joined[listener] = listener.join()
        except SocketError:
            self._leave(joined)
            raise
        return joined

    def _leave(self, members: Members) -> None:
        if members:
            self._left_at = time.monotonic()
        for listener, member in members.items():
            self._used.discard(member)
            listener.leave(member)

    def _lead_to(self, members: Members, rescuers: TaskGroup | None) -> None:
        before = {each: each.live for each, member in members.items() if each.live is not member}
        for listener in before:
            listener.switch(members[listener])
        left = {each: member for each, member in before.items() if member is not None}
        ports = _stream_ports(left)
        owners = [
            number for number, owned in self._owned.items() if any(owned.get(each) is left[each] for each in left)
        ]
        connections = on_ports(ports) if owners else ()
        for owner in owners:
            self._kept.setdefault(owner, Kept()).begin(ports, connections)
        theirs = [self._owned[owner] for owner in owners]
        nobodys = {each: member for each, member in left.items() if all(of.get(each) is not member for of in theirs)}
        if rescuers is not None and nobodys:
            rescuers.start_soon(self._clear_out, nobodys, rescuers)

    def _close_dismissed(self) -> None:
        """Those that no process has any more."""
        over = [each for each in self._dismissed if not any(each in owned for owned in self._owned.values())]
        self._dismissed = tuple(each for each in self._dismissed if each not in over)
        for listener in over:
            listener.close()

    async def _clear_out(self, members: Members, rescuers: TaskGroup) -> None:
        await self._empty(members, rescuers)
        self._leave(members)

    async def _empty(self, members: Members, rescuers: TaskGroup) -> None:
        """Nobody accepts on these: carry over who waits, until nobody comes any more."""
        calm_since = time.monotonic()
        while time.monotonic() - calm_since < _CALM_S:
            if _carry_over(members, rescuers) or _are_queued(members):
                calm_since = time.monotonic()
            # While a member leaves, for an instant, connections may be led to any of those that stay: listener.Group.
            calm_since = max(calm_since, self._left_at)
            await anyio.sleep(_LOOK_S)

    def _kept_by(self, number: int) -> Kept:
        return self._kept.get(number) or Kept()


def _stream_ports(listeners: Iterable[Listener]) -> set[int]:
    return {each.port for each in listeners if isinstance(each, Group) and each.listen.is_stream}


def _are_queued(members: Members) -> bool:
    streams = ((each, member) for each, member in members.items() if each.listen.is_stream)
    return any(each.waiting(member) for each, member in streams if not _is_gone(each, member))


def _carry_over(members: Members, rescuers: TaskGroup) -> int:
    count = 0
    for listener, member in members.items():
        public = listener.live
        if public is None or _is_gone(listener, member):
            continue
        for client in _queued(listener, member):
            count += 1
            rescuers.start_soon(relay, client, partial(listener.connect, public))
    return count


def _queued(listener: Listener, member: socket.socket) -> list[socket.socket]:
    """Who waits in the accept queue of our copy, as many as can be carried: all others are safe where they are."""
    clients: list[socket.socket] = []
    if listener.listen.is_stream:
        with contextlib.suppress(OSError):
            member.setblocking(False)
            clients.extend(member.accept()[0] for _ in range(_room()))
    return clients


def _is_gone(listener: Listener, member: socket.socket) -> bool:
    """It has left meanwhile, or is everybody's."""
    return member is listener.live or member.fileno() < 0


def _room() -> int:
    """How many more relays there are descriptors for."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = most - len(os.listdir("/dev/fd")) - _SPARE
    return _AT_ONCE if most == resource.RLIM_INFINITY else min(max(free // 2, 0), _AT_ONCE)

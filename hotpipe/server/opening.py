"""All sockets of all servers, open before anything else begins: those that were handed in, and our own.

When the configuration changes, `plan` finds out which of them stay, and opens what is new; `Opened.apply` then cannot
fail any more. A socket stays where its address does: connections and those who wait for one notice nothing. One that
is another server's from now on is never closed in between.
"""

import contextlib
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from hotpipe.config.model import Listen, Server
from hotpipe.errors import SocketError
from hotpipe.events import Warned
from hotpipe.server import inherit
from hotpipe.server.cutover import Cutover
from hotpipe.server.inherit import Assignment, Inherited
from hotpipe.server.listener import Listener, Shared, listener_of, listeners_of

_OURS = "hotpipe itself has it, at another address: save without either, then with the new one; or end hotpipe first"


@dataclass(slots=True)
class Opened:
    """What there is to serve on, by server, and what a user should know about it."""

    cutovers: dict[str, Cutover]
    warnings: tuple[Warned, ...]
    leaving: list[tuple[str, Cutover]] = field(default_factory=list)  # of servers that are being stopped

    def close(self) -> None:
        """Give all addresses back."""
        for _, cutover in self._all():
            cutover.close()

    def leave(self, cutover: Cutover) -> None:
        """Its server has ended, and is not to come back."""
        self.leaving = [each for each in self.leaving if each[1] is not cutover]
        cutover.close()

    def apply(self, plan: "Plan") -> None:
        """Serve on these sockets from now on."""
        self.leaving += [each for each in self.cutovers.items() if each[0] not in plan.listeners]
        self.cutovers = {name: self.cutovers.get(name, Cutover(())) for name in plan.listeners}
        for found in plan.found:
            want = found.wanted
            found.listener.name, found.listener.listen = want.name, want.listen
            cutover = self.cutovers[want.server]
            if found.owner is not cutover:
                found.owner.yield_up(found.listener, plan.members.get(found.listener))
                cutover.adopt(found.listener)
        for name, listeners in plan.listeners.items():
            self.cutovers[name].reshape(listeners)

    def _all(self) -> list[tuple[str, Cutover]]:
        return [*self.cutovers.items(), *self.leaving]


class Wanted(NamedTuple):
    """A socket that a server is to have, under this name."""

    server: str
    name: str
    listen: Listen


class Found(NamedTuple):
    """An open socket that is what is wanted, and who has it now."""

    wanted: Wanted
    listener: Listener
    owner: Cutover


@dataclass(frozen=True, slots=True)
class Plan:
    """The sockets of another configuration: by server; which of them there are already; and a member for each that goes
    from one server that uses it to another."""

    listeners: Mapping[str, tuple[Listener, ...]]
    found: tuple[Found, ...]
    members: Mapping[Listener, socket.socket]


@contextlib.contextmanager
def open_sockets(servers: Mapping[str, Server], root: str) -> Iterator[Opened]:
    """Raises SocketError or UsageError, and then none stays open. What was handed in and is not wanted is closed."""
    inherited = inherit.received(os.environ, os.getpid()) if servers else ()
    with contextlib.ExitStack() as undo:
        for each in inherited:
            undo.enter_context(each.socket)
        inherit.forget(os.environ)
        names = [name for server in servers.values() for name in server.socket_names()]
        listens = [listen for server in servers.values() for listen in server.listen]
        assignment = inherit.assign(names, listens, inherited)
        for each in assignment.left:
            each.socket.close()  # its clients are refused, rather than left waiting
        opened = Opened({}, ())
        undo.callback(opened.close)
        for name, given in zip(servers, _by_server(servers, assignment), strict=True):
            opened.cutovers[name] = Cutover.over(listeners_of(servers[name], root, given))
        opened.warnings = (*shared(opened.cutovers), *_unwanted(assignment.left))
        yield opened


def plan(opened: Opened, servers: Mapping[str, Server], root: str) -> Plan:
    """What these servers are to listen on; raises SocketError, and then all is as it was."""
    wanted = [
        Wanted(name, *each)
        for name, server in servers.items()
        for each in zip(server.socket_names(), server.listen, strict=True)
    ]
    found = _found(opened, wanted, servers)
    members: dict[Listener, socket.socket] = {}
    listeners: dict[str, list[Listener]] = {name: [] for name in servers}
    with contextlib.ExitStack() as undo:
        for place, want in enumerate(wanted):
            if place not in found:
                listener = _new(want, root)
                undo.callback(listener.close)
                listener.join()
            else:
                listener, owner = found[place]
                if owner is not opened.cutovers.get(want.server) and owner.is_at_work(listener):
                    members[listener] = member = listener.join()
                    undo.callback(listener.leave, member)
            listeners[want.server].append(listener)
        undo.pop_all()
    known = tuple(Found(wanted[place], *found[place]) for place in sorted(found))
    return Plan({name: tuple(each) for name, each in listeners.items()}, known, members)


def _new(want: Wanted, root: str) -> Listener:
    try:
        return listener_of(want.name, want.listen, root)
    except SocketError as error:
        ours = f"(pid {os.getpid()})" in error.message
        raise SocketError(error.message, _OURS if ours else error.hint) from error


class _Open(NamedTuple):
    server: str
    listener: Listener

    @property
    def actual(self) -> tuple[str, ...] | None:
        """As `Listen.taken` would say it of a socket that asks for just this address."""
        port = getattr(self.listener, "port", 0)
        kind = "stream" if self.listener.listen.is_stream else "udp"
        return (kind, getattr(self.listener, "host", ""), str(port)) if port else self.listener.listen.taken


def _same_spec(one: Listen, other: Listen) -> bool:
    return (one.is_stream, one.address) == (other.is_stream, other.address)


# How an open socket is recognized as what is wanted, the surest way first.
_MATCHES: tuple[Callable[[Wanted, _Open, Mapping[str, Server]], bool], ...] = (
    lambda want, have, _: want.listen.taken is not None and want.listen.taken == have.listener.listen.taken,
    lambda want, have, _: want.listen.taken is not None and want.listen.taken == have.actual,
    lambda want, have, _: (
        want.server == have.server and want.name == have.listener.name and _same_spec(want.listen, have.listener.listen)
    ),
    lambda want, have, _: want.server == have.server and _same_spec(want.listen, have.listener.listen),
    # A free port of a server that was renamed.
    lambda want, have, servers: have.server not in servers and _same_spec(want.listen, have.listener.listen),
)


def _found(
    opened: Opened, wanted: Sequence[Wanted], servers: Mapping[str, Server]
) -> dict[int, tuple[Listener, Cutover]]:
    """By place among what is wanted. A server's own come first."""
    owners = [*opened.cutovers.items(), *opened.leaving]
    there = [(_Open(name, listener), owner) for name, owner in owners for listener in owner.all_listeners]
    found: dict[int, tuple[Listener, Cutover]] = {}
    for matches in _MATCHES:
        for place, want in enumerate(wanted):
            fits = (each for each in there if place not in found and matches(want, each[0], servers))
            if (each := next(fits, None)) is not None:
                there.remove(each)
                found[place] = (each[0].listener, each[1])
    return found


def _by_server(servers: Mapping[str, Server], assignment: Assignment) -> Iterator[dict[int, socket.socket]]:
    """What was handed in for each server, by place among its own."""
    first = 0
    for server in servers.values():
        places = range(first, first + len(server.listen))
        yield {place - first: assignment.given[place].socket for place in places if place in assignment.given}
        first += len(server.listen)


def shared(cutovers: Mapping[str, Cutover]) -> Iterator[Warned]:
    """Of each server for which not every socket can be switched."""
    for name, cutover in cutovers.items():
        those = [listener for listener in cutover.listeners if isinstance(listener, Shared)]
        if those:
            yield _warning(name, those)


def _warning(name: str, shared: Sequence[Listener]) -> Warned:
    where = ", ".join(listener.addr for listener in shared)
    return Warned(
        code="cutover.shared",
        message=f"{name}: all generations share one socket, {where}: during a restart both accept for a moment, and a "
        "server that closes what it has accepted but not read loses those requests",
        hint="let hotpipe open the socket itself, on Linux, where it can lead connections to one generation",
    )


def _unwanted(left: tuple[Inherited, ...]) -> Iterator[Warned]:
    for each in left:
        message = f"the socket {each.name!r} that was handed to hotpipe fits no listen of the configuration"
        yield Warned(code="socket.unwanted", message=message, hint="name it, or add a listen")

"""All sockets of all servers, open before anything else begins: those that were handed in, and our own."""

import contextlib
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from hotpipe.config.model import Server
from hotpipe.events import Warned
from hotpipe.server import inherit
from hotpipe.server.cutover import Cutover
from hotpipe.server.inherit import Assignment, Inherited
from hotpipe.server.listener import Listener, Shared, listeners_of


@dataclass(frozen=True, slots=True)
class Opened:
    """What there is to serve on, by server, and what a user should know about it."""

    cutovers: Mapping[str, Cutover]
    warnings: tuple[Warned, ...]


@contextlib.contextmanager
def open_sockets(servers: Mapping[str, Server], root: str) -> Iterator[Opened]:
    """Raises SocketError or UsageError, and then none stays open. What was handed in and is not wanted is closed."""
    inherited = inherit.received(os.environ, os.getpid()) if servers else ()
    with contextlib.ExitStack() as opened:
        for each in inherited:
            opened.enter_context(each.socket)
        inherit.forget(os.environ)
        names = [name for server in servers.values() for name in server.socket_names()]
        listens = [listen for server in servers.values() for listen in server.listen]
        assignment = inherit.assign(names, listens, inherited)
        for each in assignment.left:
            each.socket.close()  # its clients are refused, rather than left waiting
        cutovers: dict[str, Cutover] = {}
        for name, given in zip(servers, _by_server(servers, assignment), strict=True):
            cutovers[name] = Cutover.over(listeners_of(servers[name], root, given))
            opened.callback(cutovers[name].close)
        yield Opened(cutovers, (*_shared(cutovers), *_unwanted(assignment.left)))


def _by_server(servers: Mapping[str, Server], assignment: Assignment) -> Iterator[dict[int, socket.socket]]:
    """What was handed in for each server, by place among its own."""
    first = 0
    for server in servers.values():
        places = range(first, first + len(server.listen))
        yield {place - first: assignment.given[place].socket for place in places if place in assignment.given}
        first += len(server.listen)


def _shared(cutovers: Mapping[str, Cutover]) -> Iterator[Warned]:
    for name, cutover in cutovers.items():
        shared = [listener for listener in cutover.listeners if isinstance(listener, Shared)]
        if shared:
            yield _warning(name, shared)


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

"""All sockets of all servers, open before anything else begins: those that were handed in, and our own."""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from hotpipe.config.model import Server
from hotpipe.events import Warned
from hotpipe.server import inherit
from hotpipe.server.cutover import Cutover
from hotpipe.server.inherit import Inherited
from hotpipe.server.listener import Listener, Shared, listeners_of


@dataclass(frozen=True, slots=True)
class Opened:
    """What there is to serve on, by server, and what a user should know about it."""

    cutovers: Mapping[str, Cutover]
    warnings: tuple[Warned, ...]


@contextlib.contextmanager
def open_sockets(servers: Mapping[str, Server], root: str) -> Iterator[Opened]:
    """Raises SocketError or UsageError, and then none stays open."""
    inherited = inherit.received(os.environ, os.getpid()) if servers else ()
    inherit.forget(os.environ)
    names = [name for server in servers.values() for name in server.socket_names()]
    listens = [listen for server in servers.values() for listen in server.listen]
    assignment = inherit.assign(names, listens, inherited)
    cutovers: dict[str, Cutover] = {}
    try:
        place = 0
        for name, server in servers.items():
            given = {
                index: assignment.given[place + index].socket
                for index in range(len(server.listen))
                if place + index in assignment.given
            }
            place += len(server.listen)
            cutovers[name] = Cutover.over(listeners_of(server, root, given))
        yield Opened(cutovers, (*_shared(cutovers), *_unwanted(assignment.left)))
    finally:
        for cutover in cutovers.values():
            cutover.close()


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

"""The listening sockets: opened once, held until hotpipe ends, handed to every generation."""

import contextlib
import errno
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psutil

from hotpipe.config.model import Listen, Server
from hotpipe.errors import SocketError
from hotpipe.events import Address

_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - how a client on this machine reaches them


@dataclass(frozen=True, slots=True)
class Held:
    """One open socket with its name."""

    name: str
    listen: Listen
    socket: socket.socket

    @property
    def host(self) -> str:
        """The address that it is bound to."""
        return str(self.socket.getsockname()[0])

    @property
    def port(self) -> int:
        """The port that it is bound to, also where 0 was asked for."""
        return int(self.socket.getsockname()[1])

    @property
    def target(self) -> tuple[str, int]:
        """Where a client on this machine connects."""
        return _ANY.get(self.host, self.host), self.port

    @property
    def addr(self) -> str:
        """As `host:port`, with brackets around IPv6."""
        return _joined(self.host, self.port)

    @property
    def url(self) -> str:
        """As a browser takes it, where that makes sense; else `addr`."""
        return f"{self.listen.type}://{_joined(*self.target)}" if self.listen.type != "tcp" else self.addr

    def address(self) -> Address:
        return Address(self.name, self.addr)

    def listen_again(self) -> None:
        """Servers call listen(2) with a backlog of their own, which is the socket's from then on: take it back."""
        with contextlib.suppress(OSError):
            self.socket.listen(self.listen.backlog)

    def renew(self) -> None:
        """Undo what a generation may have left behind: O_NONBLOCK (open(2)) and shutdown(2) outlive it on our copy."""
        self.socket.setblocking(True)
        self.listen_again()


def open_all(server: Server) -> tuple[Held, ...]:
    """All sockets of a server, listening; raises SocketError, and then none stays open."""
    opened: list[Held] = []
    try:
        for name, listen in zip(server.socket_names(), server.listen, strict=True):
            opened.append(Held(name, listen, _open(listen)))
    except SocketError:
        close_all(opened)
        raise
    return tuple(opened)


def close_all(sockets: Sequence[Held]) -> None:
    """Give the addresses back."""
    for held in sockets:
        held.socket.close()


def _open(listen: Listen) -> socket.socket:
    where = _joined(listen.host, listen.port)
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            listen.host, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError) as error:  # UnicodeError: what cannot even be a name, "a..b"
        raise SocketError(f"cannot listen on {where}: no such host ({error.args[-1]})") from error
    opened = socket.socket(family, kind, protocol)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted sockets inherit it; `uvicorn --fd` would answer keep-alive requests in 44 ms without (facts.md).
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.bind(address)
        opened.listen(listen.backlog)
    except OSError as error:
        opened.close()
        raise _cannot_listen(listen, where, error) from error
    return opened


def _cannot_listen(listen: Listen, where: str, error: OSError) -> SocketError:
    if error.errno == errno.EADDRINUSE:
        holders = ", ".join(_holders(listen.port))
        message = f"cannot listen on {where}: the port is taken{f' by {holders}' if holders else ''}"
        return SocketError(message, hint="stop it, or change the port in listen (0 is a free one)")
    hint = "ports below 1024 need privileges; take a higher one" if isinstance(error, PermissionError) else ""
    return SocketError(f"cannot listen on {where}: {error.strerror}", hint)


def _holders(port: int) -> Iterator[str]:
    """Who listens on `port`, as far as this user may know."""
    with contextlib.suppress(psutil.Error, OSError):
        listening = (c for c in psutil.net_connections("tcp") if _is_listening(c, port))
        for pid in sorted({c.pid for c in listening if c.pid}):
            with contextlib.suppress(psutil.Error):
                holder = _first_holder(psutil.Process(pid), port)
                yield f"{holder.name()} (pid {holder.pid})"


def _first_holder(holder: psutil.Process, port: int) -> psutil.Process:
    """Of those who share the socket the one that handed it down: to stop a worker gives no port back."""
    for parent in holder.parents():
        with contextlib.suppress(psutil.Error):
            if any(_is_listening(c, port) for c in parent.net_connections("tcp")):
                holder = parent
    return holder


def _is_listening(connection: Any, port: int) -> bool:
    return connection.status == psutil.CONN_LISTEN and getattr(connection.laddr, "port", None) == port


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

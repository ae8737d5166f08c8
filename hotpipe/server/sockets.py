"""Opening sockets: what a `listen` of the configuration says becomes a bound socket, or a clear error.

Nothing here knows of generations; `listener.py` does.
"""

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterator
from typing import Any, NamedTuple

import psutil

from hotpipe.config.model import Listen
from hotpipe.errors import SocketError

LONGEST_PATH = 107  # sun_path of unix(7), less its NUL
_STREAM_OPTIONS = (
    (socket.SOL_SOCKET, socket.SO_REUSEADDR, 1),
    # Accepted sockets inherit it; `uvicorn --fd` would answer keep-alive requests in 44 ms without (facts.md).
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
)


class Address(NamedTuple):
    """What socket(2) and bind(2) want to be told."""

    family: int
    kind: int
    sockaddr: Any


def resolve(listen: Listen) -> Address:
    """The address of an internet socket; raises SocketError where there is no such host."""
    kind = socket.SOCK_STREAM if listen.is_stream else socket.SOCK_DGRAM
    try:
        family, _, _, _, sockaddr = socket.getaddrinfo(listen.host, listen.port, type=kind, flags=socket.AI_PASSIVE)[0]
    except (socket.gaierror, UnicodeError) as error:  # UnicodeError: what cannot even be a name, "a..b"
        where = joined(listen.host, listen.port)
        raise SocketError(f"cannot listen on {where}: no such host ({error.args[-1]})") from error
    return Address(family, kind, sockaddr)


def fresh(address: Address) -> socket.socket:
    """A socket for `address` with the options that all of ours have, not bound yet."""
    made = socket.socket(address.family, address.kind)
    if address.kind == socket.SOCK_STREAM:
        for level, option, value in _STREAM_OPTIONS:
            made.setsockopt(level, option, value)
    if address.family == socket.AF_INET6:  # `[::]` is for both, whatever net.ipv6.bindv6only says
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    return made


def claim(listen: Listen) -> Address:
    """The address with its port, found out to be free; raises SocketError where it is taken.

    A first bind without SO_REUSEPORT makes a port in use an error. A port that the kernel chose is bound again by its
    number, for only then does a socket keep it that its server shuts down (SOCK_BINDPORT_LOCK, <net/sock.h>).
    """
    address = resolve(listen)
    try:
        with fresh(address) as trial:
            trial.bind(address.sockaddr)
            if listen.is_stream:
                trial.listen(1)
            return address._replace(sockaddr=trial.getsockname())
    except OSError as error:
        raise cannot_listen(listen, error) from error


def opened(listen: Listen) -> socket.socket:
    """A socket that listens; raises SocketError."""
    address = resolve(listen)
    try:
        with contextlib.ExitStack() as undo:
            made = undo.enter_context(fresh(address))
            made.bind(address.sockaddr)
            if listen.is_stream:
                made.listen(listen.backlog)
            undo.pop_all()
            return made
    except OSError as error:
        raise cannot_listen(listen, error) from error


def claim_path(path: str) -> None:
    """Make way for a unix socket at `path`: one that nobody listens on is removed, a live one raises SocketError."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise SocketError(f"cannot listen on {path}: {error.strerror}") from error
    if not stat.S_ISSOCK(mode):
        raise SocketError(f"cannot listen on {path}: it is no socket", hint="move it away, or change listen")
    try:
        is_stale = is_refused(path)
        if is_stale:
            os.unlink(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise SocketError(f"cannot listen on {path}: {error.strerror}") from error
    if not is_stale:
        hint = "stop it, or change the path in listen"
        raise SocketError(f"cannot listen on {path}: somebody does already", hint)


def is_refused(path: str) -> bool:
    """Nobody listens on this unix socket; raises OSError where that cannot be found out."""
    with socket.socket(socket.AF_UNIX) as knock:
        knock.setblocking(False)  # who listens may have a full queue
        try:
            knock.connect(path)
        except ConnectionRefusedError:
            return True
        except BlockingIOError:
            pass
        return False


def cannot_listen(listen: Listen, error: OSError) -> SocketError:
    """What went wrong at bind(2) or listen(2), and who is in the way."""
    where = listen.path or joined(listen.host, listen.port)
    if error.errno == errno.EADDRINUSE and not listen.path:
        holders = ", ".join(_holders(listen.port))
        message = f"cannot listen on {where}: the port is taken{f' by {holders}' if holders else ''}"
        return SocketError(message, hint="stop it, or change the port in listen (0 is a free one)")
    return SocketError(f"cannot listen on {where}: {error.strerror or error}", _way_out(listen, error))


def _way_out(listen: Listen, error: OSError) -> str:
    folder = os.path.dirname(listen.path) or "."
    match error:
        case PermissionError() if listen.path:
            return f"make {folder} writable for this user"
        case PermissionError():
            return "ports below 1024 need privileges; take a higher one"
        case FileNotFoundError():
            return f"make the folder: mkdir -p {folder}"
        case _:
            return ""


def joined(host: str, port: int) -> str:
    """As `host:port`, with brackets around IPv6."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _holders(port: int) -> Iterator[str]:
    """Who listens on `port`, as far as this user may know."""
    with contextlib.suppress(psutil.Error, OSError):
        listening = (c for c in psutil.net_connections("inet") if _is_listening(c, port))
        for pid in sorted({c.pid for c in listening if c.pid}):
            with contextlib.suppress(psutil.Error):
                holder = _first_holder(psutil.Process(pid), port)
                yield f"{holder.name()} (pid {holder.pid})"


def _first_holder(holder: psutil.Process, port: int) -> psutil.Process:
    """Of those who share the socket the one that handed it down: to stop a worker gives no port back."""
    for parent in holder.parents():
        with contextlib.suppress(psutil.Error):
            if any(_is_listening(c, port) for c in parent.net_connections("inet")):
                holder = parent
    return holder


def _is_listening(connection: Any, port: int) -> bool:
    listens = connection.status == psutil.CONN_LISTEN or connection.type == socket.SOCK_DGRAM
    return listens and getattr(connection.laddr, "port", None) == port

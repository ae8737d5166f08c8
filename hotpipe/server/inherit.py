"""The socket passing protocol of sd_listen_fds(3), both ways: sockets that hotpipe is handed, and that it hands on.

Invariant: what is taken never reaches a child by accident (close-on-exec, and `forget`), and what is handed on stands
at the descriptors 3, 4, … without gaps, whatever was there before.
"""

import contextlib
import errno
import fcntl
import os
import re
import resource
import socket
import stat
from collections.abc import Collection, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Literal

from hotpipe.config.model import Listen
from hotpipe.errors import SocketError, UsageError

Kind = Literal["stream", "datagram", "unix", "other"]

FIRST = 3  # SD_LISTEN_FDS_START, <systemd/sd-daemon.h>
# LISTEN_FDS_FIRST_FD: systemfd begins where its first socket happened to be. LISTEN_PIDFDID: newer systemds.
VARIABLES = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "LISTEN_FDS_FIRST_FD", "LISTEN_PIDFDID")
SHARED = (socket.SO_REUSEADDR, socket.SO_REUSEPORT)  # what systemfd sets unless told --no-reuse

_MOST = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
_NAMELESS = "unknown"  # as sd_listen_fds_with_names(3) calls it
_NUMBER = re.compile(r"[0-9]{1,7}")  # pids have up to seven digits, proc(5)
_NOT_OURS = "unset {} if no sockets are meant for hotpipe"
_KINDS: dict[tuple[int, int], Kind] = {
    (socket.AF_INET, socket.SOCK_STREAM): "stream",
    (socket.AF_INET6, socket.SOCK_STREAM): "stream",
    (socket.AF_INET, socket.SOCK_DGRAM): "datagram",
    (socket.AF_INET6, socket.SOCK_DGRAM): "datagram",
    (socket.AF_UNIX, socket.SOCK_STREAM): "unix",
}


# --- sockets handed to hotpipe ---


@dataclass(frozen=True, slots=True)
class Inherited:
    """A socket that was handed to hotpipe, with the name that came along."""

    name: str
    socket: socket.socket

    @property
    def kind(self) -> Kind:
        """What it can stand in for; a `Listen` never is an "other" (netlink, vsock, seqpacket, …)."""
        return _KINDS.get((self.socket.family, self.socket.type), "other")


@dataclass(frozen=True, slots=True)
class Assignment:
    """Which inherited socket stands in for which `Listen`, by its index, and which are wanted by nobody."""

    given: Mapping[int, Inherited]
    left: tuple[Inherited, ...]


def received(environ: Mapping[str, str], pid: int) -> tuple[Inherited, ...]:
    """The sockets that were handed to the process `pid`, in order, now close-on-exec: sd_listen_fds_with_names(3).

    Without LISTEN_PID they are taken, as systemfd's --no-pid means it. To be called once, before anything opens
    descriptors. Raises UsageError where a variable is malformed or leads to no listening socket; then none is taken.
    """
    if _number(environ, "LISTEN_PID", default=pid) != pid:
        return ()
    count = _number(environ, "LISTEN_FDS", default=0)
    if count > _MOST:
        raise _malformed(environ, "LISTEN_FDS", f"a process has at most {_MOST} descriptors here")
    first = _number(environ, "LISTEN_FDS_FIRST_FD", default=FIRST)
    if first < FIRST:
        raise _malformed(environ, "LISTEN_FDS_FIRST_FD", f"sockets begin at descriptor {FIRST}")
    descriptors = range(first, first + count)
    names = _names(environ, count)
    for descriptor in descriptors:
        _check(environ, descriptor)
    return tuple(map(_taken, names, descriptors))


def forget(environ: MutableMapping[str, str]) -> None:
    """Take the protocol's variables out, so that no child believes them to be its own."""
    for variable in VARIABLES:
        environ.pop(variable, None)


def assign(names: Sequence[str], listens: Sequence[Listen], inherited: Sequence[Inherited]) -> Assignment:
    """Who stands in for whom: by name first, then the rest by order, and only what is of the same kind."""
    left = list(inherited)
    given: dict[int, Inherited] = {}
    for wanted in (names, [None] * len(names)):
        for index, (name, listen) in enumerate(zip(wanted, listens, strict=True)):
            fits = (i for i in left if i.kind == kind_of(listen) and name in (None, i.name))
            found = next(fits, None) if index not in given else None
            if found is not None:
                given[index] = found
                left.remove(found)
    return Assignment(given, tuple(left))


def kind_of(listen: Listen) -> Kind:
    """What may stand in for it."""
    match listen.type:
        case "unix":
            return "unix"
        case "udp":
            return "datagram"
        case _:
            return "stream"


def _number(environ: Mapping[str, str], variable: str, *, default: int) -> int:
    """Empty means unset: `LISTEN_FDS= hotpipe …` is how a shell takes it away for one command."""
    written = environ.get(variable, "")
    if written and not _NUMBER.fullmatch(written):
        raise _malformed(environ, variable, "it must be a number")
    return int(written) if written else default


def _names(environ: Mapping[str, str], count: int) -> Sequence[str]:
    written = environ.get("LISTEN_FDNAMES", "")
    if not written or not count:
        return (_NAMELESS,) * count
    names = [name or _NAMELESS for name in written.split(":")]
    if len(names) != count:
        message = f"{len(names)} names, separated by colons, for the {count} of LISTEN_FDS"
        raise _malformed(environ, "LISTEN_FDNAMES", message, "name each socket, or unset LISTEN_FDNAMES")
    return names


def _check(environ: Mapping[str, str], descriptor: int) -> None:
    try:
        is_socket = stat.S_ISSOCK(os.fstat(descriptor).st_mode)
    except OSError as error:
        raise _malformed(environ, "LISTEN_FDS", f"descriptor {descriptor} is not open") from error
    if not is_socket:
        raise _malformed(environ, "LISTEN_FDS", f"descriptor {descriptor} is no socket")
    if _is_connection(descriptor):
        way_out = "hand over the listening socket: Accept=no in the unit, no --accept for systemd-socket-activate"
        raise _malformed(environ, "LISTEN_FDS", f"descriptor {descriptor} is a connection, it does not listen", way_out)


def _is_connection(descriptor: int) -> bool:
    with socket.socket(fileno=os.dup(descriptor)) as looked_at, contextlib.suppress(OSError):
        looked_at.getpeername()
        return looked_at.type == socket.SOCK_STREAM
    return False  # ENOTCONN, socket(7)


def _taken(name: str, descriptor: int) -> Inherited:
    os.set_inheritable(descriptor, False)
    return Inherited(name, socket.socket(fileno=descriptor))  # the kernel knows family and type


def _malformed(environ: Mapping[str, str], variable: str, why: str, way_out: str = "") -> UsageError:
    return UsageError(f"{variable}={environ.get(variable, '')!r}: {why}", way_out or _NOT_OURS.format(variable))


# --- sockets handed on ---


def hand_on(sockets: Sequence[socket.socket]) -> None:
    """Put them at 3, 4, …, for the program that this process becomes; nothing else above 2 will survive its exec.

    The objects are detached: from here on there are only descriptors. Raises OSError where there are too many.
    """
    above = FIRST + len(sockets)
    # First out of the way of one another, then down: whatever had the place of one is closed by dup2(2).
    parked = [fcntl.fcntl(held.detach(), fcntl.F_DUPFD_CLOEXEC, above) for held in sockets]
    for place, descriptor in enumerate(parked, FIRST):
        os.dup2(descriptor, place)
    _let_through(range(FIRST, above))


def announced(environ: Mapping[str, str], names: Sequence[str], pid: int | None) -> dict[str, str]:
    """`environ` for who receives them; without a `pid` anybody may take them. What was announced before is gone."""
    env = dict(environ)
    forget(env)
    if names:
        env |= {"LISTEN_FDS": str(len(names)), "LISTEN_FDNAMES": ":".join(names)}
        env |= {} if pid is None else {"LISTEN_PID": str(pid)}
    return env


def _let_through(kept: Collection[int]) -> None:
    for name in os.listdir("/dev/fd"):
        with contextlib.suppress(OSError):  # the listing's own is closed by now
            if int(name) >= FIRST:
                os.set_inheritable(int(name), int(name) in kept)


# --- opening them as systemfd does ---


def open_socket(listen: Listen, options: Sequence[int] = SHARED) -> socket.socket:
    """Bound, and listening if it is of a kind that does. `options` of socket(7) are switched on. Raises SocketError."""
    if listen.type == "unix":
        return _open_unix(listen)
    kind = socket.SOCK_STREAM if listen.is_stream else socket.SOCK_DGRAM
    with _explained(listen), contextlib.ExitStack() as undo:
        found = socket.getaddrinfo(listen.host, listen.port, type=kind, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        opened = undo.enter_context(socket.socket(family, kind, protocol))
        for option in options:
            opened.setsockopt(socket.SOL_SOCKET, option, 1)
        opened.bind(address)
        if listen.is_stream:
            # Accepted sockets inherit it: `uvicorn --fd` skips it, and answers keep-alive requests in 44 ms then.
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            opened.listen(listen.backlog)
        undo.pop_all()
    return opened


def address_of(opened: socket.socket) -> str:
    """Where it is bound to: a path, or `host:port` with brackets around IPv6."""
    if opened.family == socket.AF_UNIX:
        return str(opened.getsockname())
    host, port = opened.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _open_unix(listen: Listen) -> socket.socket:
    with _explained(listen), contextlib.ExitStack() as undo:
        _remove_stale(listen.path)
        opened = undo.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        opened.bind(listen.path)
        opened.listen(listen.backlog)
        undo.pop_all()
    return opened


def _remove_stale(path: str) -> None:
    """Nobody listens on what refuses a connection, unix(7); all else is somebody's, and bind will say so."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        refused = probe.connect_ex(path) == errno.ECONNREFUSED
    if refused and _is_socket(path):
        os.unlink(path)


def _is_socket(path: str) -> bool:
    with contextlib.suppress(OSError):
        return stat.S_ISSOCK(os.lstat(path).st_mode)
    return False


@contextlib.contextmanager
def _explained(listen: Listen) -> Iterator[None]:
    try:
        yield
    except (OSError, UnicodeError) as error:  # UnicodeError: what cannot even be a host's name, "a..b"
        message = f"cannot listen on {_where(listen)}: {_reason(listen, error)}"
        raise SocketError(message, _hint(listen, error)) from error


def _reason(listen: Listen, error: OSError | UnicodeError) -> str:
    if isinstance(error, socket.gaierror | UnicodeError):
        return f"no such host ({error.args[-1]})"
    if error.errno != errno.EADDRINUSE:
        return error.strerror or str(error)  # a path that is too long comes without strerror
    if listen.type != "unix":
        return "the port is taken"
    return "somebody listens there" if _is_socket(listen.path) else "there is a file of that name, and it is no socket"


def _hint(listen: Listen, error: OSError | UnicodeError) -> str:
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return "take another path" if listen.type == "unix" else "stop who has it, or take another (0 is a free one)"
    if isinstance(error, PermissionError) and listen.type != "unix":
        return "ports below 1024 need privileges; take a higher one"
    return ""


def _where(listen: Listen) -> str:
    if listen.type == "unix":
        return listen.path
    return f"[{listen.host}]:{listen.port}" if ":" in listen.host else f"{listen.host}:{listen.port}"

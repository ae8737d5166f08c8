"""One address of a server, and which generation's socket gets its new connections.

Each generation has a *member*: a listening socket of its own at the same address. `switch` says, in one system call,
which member all new connections go to; so the way back is as short. Nobody is led to a new member before that, except
by `connect`, the private way in.

| listener | a member is | `switch` is |
|---|---|---|
| `Group` | a socket of one SO_REUSEPORT group | a classic BPF program that returns the member's index: socket(7) |
| `Path` | a unix socket at a path of its own | rename(2) of a hard link over the public path |
| `Shared` | the same socket for all | nothing: whoever accepts first |

How a group counts: indexes follow the order of joining, and when a member leaves, the last one takes its place
(net/core/sock_reuseport.c). A server that calls shutdown(2) on its member makes it leave, too. The program sees the
network header (SKF_NET_OFF, <linux/filter.h>), so a connection from a source port that we bound before can be led
elsewhere than all others.
"""

import contextlib
import ctypes
import errno
import glob
import os
import socket
import struct
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

import anyio

from hotpipe.config.model import Listen, Server
from hotpipe.errors import SocketError
from hotpipe.server import diag, sockets

_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - how a client on this machine reaches them
_UNACKED = 24  # offset in struct tcp_info, <linux/tcp.h>: of a listening socket, the length of its accept queue
_TCP_INFO_SIZE = 104
_CONNECT_S = 5.0
_LOOK_AGAIN_S = 0.005


class Listener(Protocol):
    """What the rest of the server half may ask of an address. A member is one that `join` gave."""

    name: str
    listen: Listen
    is_private: bool  # a member can be reached before it is switched to

    @property
    def live(self) -> socket.socket | None:
        """The public member: all new connections are led to it."""
        ...

    @property
    def addr(self) -> str:
        """As users write it: `host:port`, or `unix:PATH`."""
        ...

    def join(self) -> socket.socket:
        """A socket for one more generation; raises SocketError."""
        ...

    def switch(self, member: socket.socket) -> None:
        """All new connections are the member's from now on."""
        ...

    def leave(self, member: socket.socket) -> None:
        """Close it; what is queued on it is lost."""
        ...

    async def connect(self, member: socket.socket) -> socket.socket:
        """A connection that only this member can accept (of a `Shared` one: anybody).

        Raises OSError where it has left, TimeoutError after five seconds in front of a full queue.
        """
        ...

    def renew(self, member: socket.socket) -> None:
        """Undo what a generation left behind before the next one gets it: O_NONBLOCK, a shutdown(2), its backlog."""
        ...

    def waiting(self, member: socket.socket) -> int:
        """How many connections (of a datagram socket: bytes) nobody has taken yet."""
        ...

    def fault(self, member: socket.socket) -> str:
        """Why connections cannot be led to it, or nothing."""
        ...

    def close(self) -> None:
        """Give the address back."""
        ...


class _Inet:
    """What listeners at an internet address have in common."""

    def __init__(self, name: str, listen: Listen, address: sockets.Address) -> None:
        self.name = name
        self.listen = listen
        self.address = address
        self.host, self.port = str(address.sockaddr[0]), int(address.sockaddr[1])

    @property
    def addr(self) -> str:
        return sockets.joined(self.host, self.port)

    @property
    def target(self) -> tuple[str, int]:
        """Where a client on this machine connects."""
        return _LOOPBACK.get(self.host, self.host), self.port

    def waiting(self, member: socket.socket) -> int:
        return queue_of(member)

    def fault(self, member: socket.socket) -> str:
        return f"it has shut its socket at {self.addr} down" if self.listen.is_stream and not _listens(member) else ""


class Group(_Inet):
    """A member a generation, and the kernel told which one gets new connections. Linux."""

    is_private = True

    def __init__(self, name: str, listen: Listen, address: sockets.Address) -> None:
        super().__init__(name, listen, address)
        self._given: set[socket.socket] = set()
        self._members: list[socket.socket] = []  # those that listen, in the kernel's order
        self._live: socket.socket | None = None
        self._private: dict[int, socket.socket] = {}  # source port: whom it is led to
        self.is_private = listen.is_stream

    @property
    def live(self) -> socket.socket | None:
        return self._live

    def join(self) -> socket.socket:
        try:
            with contextlib.ExitStack() as undo:
                member = undo.enter_context(sockets.fresh(self.address))
                self._bind(member)
                self._enter(member)
                self._given.add(member)
                undo.pop_all()
                return member
        except OSError as error:
            raise sockets.cannot_listen(self.listen, error) from error

    def _bind(self, member: socket.socket) -> None:
        """The first one without SO_REUSEPORT, so that a taken port is an error; a UDP group must have it at once."""
        alone = not self._members and self.listen.is_stream
        if not alone:
            member.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        member.bind(self.address.sockaddr)
        member.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)

    def _enter(self, member: socket.socket) -> None:
        """Before there is a second member, or the kernel would spread clients over a candidate that still boots."""
        self._route()
        if self.listen.is_stream:
            member.listen(self.listen.backlog)
        self._members.append(member)
        self._live = self._live or member
        try:
            self._route()
        except OSError:
            self._members.remove(member)
            raise

    def switch(self, member: socket.socket) -> None:
        self._live = member
        self._route()

    def leave(self, member: socket.socket) -> None:
        self._forget_the_closed()
        with contextlib.suppress(OSError):  # a copy that somebody still holds must not keep its place in the group
            member.shutdown(socket.SHUT_RDWR)
        member.close()
        self._given.discard(member)
        self._forget(member)
        if self._live is member:
            self._live = self._members[0] if self._members else None
        self._route()

    def renew(self, member: socket.socket) -> None:
        member.setblocking(True)
        self._forget_the_closed()
        if member in self._members:
            listen_again(self, member)
        else:
            self._enter(member)

    def _forget_the_closed(self) -> None:
        """Members that their servers have shut down have left the group."""
        for member in [each for each in self._members if self.listen.is_stream and not _listens(each)]:
            self._forget(member)

    def _forget(self, member: socket.socket) -> None:
        """The last one takes its place."""
        if member in self._members:
            self._members[self._members.index(member)] = self._members[-1]
            self._members.pop()

    async def connect(self, member: socket.socket) -> socket.socket:
        if member not in self._members:
            raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
        client = socket.socket(self.address.family, socket.SOCK_STREAM)
        try:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._led(client, member):
                await _connect(client, self.target)
        except BaseException:
            client.close()
            raise
        return client

    @contextlib.contextmanager
    def _led(self, client: socket.socket, member: socket.socket) -> Iterator[None]:
        """To the live one all ways lead: thousands who are carried over need no place in the program (it has 4096).

        Nor a port of their own, of which there may be none left while thousands of connections are in TIME_WAIT.
        """
        if member is self._live:
            yield
            return
        client.bind((self.target[0], 0))
        source = int(client.getsockname()[1])
        self._private[source] = member
        self._route()
        try:
            yield
        finally:
            del self._private[source]
            self._route()

    def close(self) -> None:
        for member in self._given:
            member.close()
        self._given.clear()
        self._members.clear()

    def _route(self) -> None:
        """Tell the kernel; the program of any member is that of the group."""
        self._forget_the_closed()
        if self._members:
            live = self._members.index(self._live) if self._live in self._members else 0
            private = ((source, member) for source, member in self._private.items() if member in self._members)
            places = {source: self._members.index(member) for source, member in private}
            _attach(self._members[0], _program(live, places))


class Shared:
    """One socket for all generations, also a unix socket: where the kernel's way is not to be had."""

    is_private = False

    def __init__(self, name: str, listen: Listen, only: socket.socket) -> None:
        self.name = name
        self.listen = listen
        self._only = only
        where = only.getsockname()
        self.path = os.fsdecode(where) if only.family == socket.AF_UNIX else ""
        self.host, self.port = ("", 0) if self.path else (str(where[0]), int(where[1]))
        if not self.path and listen.is_stream:
            only.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as sockets.py does: whoever opened it may not

    @property
    def addr(self) -> str:
        return f"unix:{self.path}" if self.path else sockets.joined(self.host, self.port)

    @property
    def live(self) -> socket.socket | None:
        return self._only

    @property
    def target(self) -> tuple[str, int]:
        """Where a client on this machine connects."""
        return _LOOPBACK.get(self.host, self.host), self.port

    def waiting(self, member: socket.socket) -> int:
        return queue_of(member)

    def fault(self, member: socket.socket) -> str:  # noqa: ARG002 - everybody's
        return ""

    def join(self) -> socket.socket:
        return self._only

    def switch(self, member: socket.socket) -> None:
        pass

    def leave(self, member: socket.socket) -> None:
        pass

    def renew(self, member: socket.socket) -> None:
        member.setblocking(True)
        listen_again(self, member)

    async def connect(self, member: socket.socket) -> socket.socket:  # noqa: ARG002 - whoever accepts
        client = socket.socket(self._only.family, socket.SOCK_STREAM)
        try:
            await _connect(client, self.path or self.target)
        except BaseException:
            client.close()
            raise
        return client

    def close(self) -> None:
        self._only.close()


class Path:
    """A unix socket: each member is bound beside the public path, and a link to it is renamed over that."""

    is_private = True

    def __init__(self, name: str, listen: Listen, path: str) -> None:
        """`path` is absolute; raises SocketError where somebody listens there."""
        self.name = name
        self.listen = listen
        self.path = path
        self._count = 0
        self._own: dict[socket.socket, str] = {}
        self._live: socket.socket | None = None
        if len(os.fsencode(self._beside("999999"))) > sockets.LONGEST_PATH:
            message = f"cannot listen on {path}: the path of a unix socket has at most {sockets.LONGEST_PATH} bytes"
            raise SocketError(message, hint="choose a shorter one in listen (some bytes are needed for its neighbours)")
        sockets.claim_path(path)
        self._clear_the_neighbours()

    @property
    def live(self) -> socket.socket | None:
        return self._live

    @property
    def addr(self) -> str:
        return f"unix:{self.path}"

    def join(self) -> socket.socket:
        self._count += 1
        own = self._beside(str(self._count))
        member = socket.socket(socket.AF_UNIX)
        self._own[member] = own
        try:
            _unlink(own)  # of a hotpipe that was killed
            member.bind(own)
            member.listen(self.listen.backlog)
            if self._live is None:
                self.switch(member)
        except OSError as error:
            self.leave(member)
            raise sockets.cannot_listen(self.listen, error) from error
        return member

    def fault(self, member: socket.socket) -> str:
        own = self._own.get(member, "")
        return "" if os.path.exists(own) else f"somebody has removed its socket {own}"

    def switch(self, member: socket.socket) -> None:
        self._live = member
        if self.fault(member):  # without its name nothing can lead to it; what stands at the path stays
            return
        link = self._beside("next")
        _unlink(link)
        os.link(self._own[member], link)
        os.rename(link, self.path)
        _unlink(link)  # rename(2) does nothing where both are links to the same file

    def leave(self, member: socket.socket) -> None:
        member.close()
        own = self._own.pop(member, None)
        if own is None:
            return
        if self._live is member:
            self._live = None
            if _is_same_file(own, self.path):  # somebody else may have put a socket of theirs there
                _unlink(self.path)
        _unlink(own)

    def renew(self, member: socket.socket) -> None:
        member.setblocking(True)
        listen_again(self, member)

    async def connect(self, member: socket.socket) -> socket.socket:
        if member not in self._own:
            raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
        client = socket.socket(socket.AF_UNIX)
        try:
            await _connect(client, self._own[member])
        except BaseException:
            client.close()
            raise
        return client

    def waiting(self, member: socket.socket) -> int:
        return queue_of(member)

    def open_connections(self, member: socket.socket) -> int:
        """How many accepted connections of the member there are."""
        return diag.connected_unix(self._own[member]) or 0

    def close(self) -> None:
        for member in list(self._own):
            self.leave(member)

    def _clear_the_neighbours(self) -> None:
        """Of a hotpipe that was killed: members that no process listens on any more."""
        for path in glob.iglob(f"{glob.escape(self._beside(''))}*"):
            if path.rpartition(".")[2].isdecimal():
                with contextlib.suppress(SocketError):
                    sockets.claim_path(path)

    def _beside(self, word: str) -> str:
        folder, name = os.path.split(self.path)
        return os.path.join(folder, f".{name}.{word}")


def listeners_of(server: Server, root: str, given: Mapping[int, socket.socket]) -> tuple[Listener, ...]:
    """One a `listen`, in their order; `given` are the sockets that were handed to hotpipe for them, by place.

    Raises SocketError, and then nothing stays open.
    """
    made: list[Listener] = []
    try:
        for place, (name, listen) in enumerate(zip(server.socket_names(), server.listen, strict=True)):
            made.append(Shared(name, listen, given[place]) if place in given else listener_of(name, listen, root))
    except SocketError:
        for listener in made:
            listener.close()
        raise
    return tuple(made)


def listener_of(name: str, listen: Listen, root: str) -> Listener:
    """The address that `listen` asks for, known to be free; raises SocketError."""
    if listen.path:
        return Path(name, listen, os.path.join(root, listen.path))
    if is_kernel_able():
        return Group(name, listen, sockets.claim(listen))
    return Shared(name, listen, sockets.opened(listen))


def listen_again(listener: Listener, member: socket.socket) -> None:
    """Servers call listen(2) with a backlog of their own, which is the socket's from then on: take it back."""
    if listener.listen.is_stream:
        with contextlib.suppress(OSError):
            member.listen(listener.listen.backlog)


def queue_of(member: socket.socket) -> int:
    """How many connections wait in its accept queue (tcp_get_info, net/ipv4/tcp.c); of datagrams: their bytes."""
    if member.type == socket.SOCK_DGRAM:
        return diag.queued_udp(member) or 0
    if member.family == socket.AF_UNIX:
        return diag.queued_unix(os.fstat(member.fileno()).st_ino) or 0
    info = member.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_SIZE)
    return int(struct.unpack_from("I", info, _UNACKED)[0])


def is_kernel_able() -> bool:
    """Does this kernel lead connections by a program? gVisor and systems other than Linux do not."""
    if sys.platform != "linux":
        return False
    with socket.socket() as trial:
        try:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            trial.bind(("127.0.0.1", 0))
            _attach(trial, _program(0, {}))
        except OSError:
            return False
    return True


async def _connect(client: socket.socket, target: tuple[str, int] | str) -> None:
    client.setblocking(False)
    with anyio.fail_after(_CONNECT_S):
        while (error := client.connect_ex(target)) == errno.EAGAIN:  # noqa: ASYNC110 - a full queue, unix(7)
            await anyio.sleep(_LOOK_AGAIN_S)
        if error == errno.EINPROGRESS:
            await anyio.wait_writable(client)
            error = client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, os.strerror(error))


def _listens(member: socket.socket) -> bool:
    return member.fileno() >= 0 and bool(member.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def _unlink(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _is_same_file(one: str, other: str) -> bool:
    with contextlib.suppress(OSError):
        return os.path.samefile(one, other)
    return False


# --- classic BPF: <linux/bpf_common.h>, <linux/filter.h> -------------------------------------------------------------

_SO_ATTACH_REUSEPORT_CBPF = 51  # <asm-generic/socket.h>
_NET = 0xFFF00000  # SKF_NET_OFF: the network header
_LOAD_BYTE, _LOAD_HALF = 0x30, 0x28  # BPF_LD | BPF_ABS, with BPF_B or BPF_H
_AND, _IF_EQUAL, _JUMP, _RETURN = 0x54, 0x15, 0x05, 0x06
_SOURCE_V4, _SOURCE_V6 = 20, 40  # the source port stands first behind the network header
_Instruction = tuple[int, int, int, int]


def _program(live: int, private: dict[int, int]) -> list[_Instruction]:
    """Everybody to member `live`; those whose source port is in `private` to the member that it names."""
    answers: Iterable[_Instruction] = [
        instruction
        for source, place in private.items()
        for instruction in ((_IF_EQUAL, 0, 1, source), (_RETURN, 0, 0, place))
    ]
    find_source: list[_Instruction] = [
        (_LOAD_BYTE, 0, 0, _NET),  # the version: a v4-mapped client of an IPv6 socket has an IPv4 header
        (_AND, 0, 0, 0xF0),
        (_IF_EQUAL, 0, 2, 0x60),
        (_LOAD_HALF, 0, 0, _NET + _SOURCE_V6),
        (_JUMP, 0, 0, 1),
        (_LOAD_HALF, 0, 0, _NET + _SOURCE_V4),
    ]
    return [*(find_source if private else ()), *answers, (_RETURN, 0, 0, live)]


def _attach(member: socket.socket, program: list[_Instruction]) -> None:
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    sock_fprog = struct.pack("HxxxxxxP", len(program), ctypes.addressof(buffer))
    member.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, sock_fprog)

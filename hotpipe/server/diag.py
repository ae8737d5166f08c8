"""What the kernel knows of sockets: which connections are owed an answer, and how many wait in a queue.

Owns the wire form of NETLINK_SOCK_DIAG (sock_diag(7), <linux/inet_diag.h>, <linux/unix_diag.h>). Invariant: nothing
blocks, nothing is kept between two calls, no privilege is needed, and what the kernel does not tell is None, never a
guess: on other systems, without the diag modules, under a seccomp filter. Callers then do without.

How it works: a dump is asked for and answered on a netlink socket of its own; the kernel has each part of the reply at
hand by the time that it is read. A dump of TCP sockets walks the whole hash of connections, and the port is compared
there. That walk is the price: 0.2 to 0.35 ms for the 262,144 buckets of a machine with 24 GB, 0.35 ms more for 8,000
other sockets, and much more where clients that connect for each request leave 100,000 in TIME_WAIT. So it is asked in
the older form (TCPDIAG_GETSOCK), which gives IPv4 and IPv6 in one walk where SOCK_DIAG_BY_FAMILY takes two; and
known connections are looked at again by their addresses, without a walk, for some 20 µs each.
"""

import errno
import os
import socket
import struct
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

# <linux/netlink.h>
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_REQUEST, _MULTI, _INTERRUPTED, _DUMP = 0x1, 0x2, 0x10, 0x300
_ERROR, _DONE, _OVERRUN = 2, 3, 4
_WHOLE = 65536  # netlink_dump() in net/netlink/af_netlink.c never makes a part larger than 32 KiB
_TRIES = 3

# <linux/sock_diag.h>, <linux/inet_diag.h>, <linux/unix_diag.h>
_SOCK_DIAG = 4
_GET_TCP, _BY_FAMILY = 18, 20
_TCP_REQUEST = struct.Struct("=3xB2s38x8sI4x")  # struct inet_diag_req: extensions, own port, cookie, states
_ONE_REQUEST = struct.Struct(">3B5xHH16s16s12s")  # struct inet_diag_req_v2: family, protocol, extensions, the socket
_TCP_STATE = struct.Struct("=BB")
_TCP_ENDS = struct.Struct(">HH16s16s12s")  # ports, hosts; interface and cookie
_TCP_QUEUES = struct.Struct("=II4xI")  # unread, unacknowledged, inode
_TCP_SIZE = 72  # of struct inet_diag_msg
_TCP_INFO = 2
_WITH_INFO = 1 << (_TCP_INFO - 1)
_TIMES = struct.Struct("=44xI4xII60xQQ")  # of struct tcp_info: ages of sent, received, ACK; bytes_acked, bytes_received
_BYTES_SENT = struct.Struct("=200xQ")  # since Linux 4.19
_UNSENT = struct.Struct("=144xI")  # tcpi_notsent_bytes, since Linux 4.6
_UNIX_REQUEST = struct.Struct("=BxxxIII8s")  # family, states, inode, what to show, cookie
_UNIX_SIZE = 16  # of struct unix_diag_msg
_AF_UNIX = 1  # not every system's socket module has it
_UNIX_NAME, _UNIX_QUEUE = 0, 4
_SHOW_NAME, _SHOW_QUEUE = 0x1, 0x10
_ANY_COOKIE = b"\xff" * 8

# enum in <net/tcp_states.h>, also for unix sockets
_ESTABLISHED, _CLOSE_WAIT = 1, 8

_SO_MEMINFO = 55  # <asm-generic/socket.h>; its first number is SK_MEMINFO_RMEM_ALLOC
_MEMINFO = struct.Struct("=I32x")

_UNSURE_MS = 300  # longer than any delayed ACK (TCP_DELACK_MAX, 200 ms, <net/tcp.h>)

Address = tuple[str, int]
_ANY = b"\0" * 4 + _ANY_COOKIE


class Connection(NamedTuple):
    """One TCP connection as the kernel sees it; ages in milliseconds, to the kernel's jiffy (1 to 10 ms).

    `last_sent_ms` and `last_received_ms` are of payload, and start as the age of the connection (`lsndtime`, `lrcvtime`
    in tcp_create_openreq_child(), net/ipv4/tcp_minisocks.c); `last_acked_ms` is of any ACK. A FIN, which the kernel
    counts as a byte, is counted in neither `rqueue` nor `bytes_received`. `inode` is 0 until accept(2).
    """

    family: int
    local: Address
    remote: Address
    inode: int
    rqueue: int  # bytes that the server has not read
    wqueue: int  # bytes that the client has not acknowledged, sent or not
    last_sent_ms: int
    last_received_ms: int
    bytes_received: int
    bytes_sent: int  # before Linux 4.19 those acknowledged, the same where wqueue is 0
    last_acked_ms: int = 0
    mark: bytes = _ANY  # interface and cookie: the kernel's own name for it, never used twice
    unsent: int = 0  # of wqueue: bytes that have not even been sent
    unanswered: bool | None = None  # what the client's end shows, where that is on this machine and asked: see is_busy

    @property
    def key(self) -> tuple[Address, Address]:
        """By which to recognise it at the next look."""
        return self.remote, self.local


def connections(port: int) -> list[Connection] | None:
    """All TCP connections (ESTABLISHED, CLOSE_WAIT) whose own port is `port`, of IPv4 and IPv6, accepted or not.

    None where the kernel does not say. Those that come and go during the call may be in it or not. One that the server
    has closed is not: what it has left to send is the kernel's, and reaches the client without the server.
    """
    request = _TCP_REQUEST.pack(_WITH_INFO, port.to_bytes(2, "big"), _ANY_COOKIE, 1 << _ESTABLISHED | 1 << _CLOSE_WAIT)
    try:
        return [_judged(_connection(body)) for body in _ask(_GET_TCP, _DUMP, request)]
    except OSError:
        return None


def look_again(known: Iterable[Connection]) -> list[Connection] | None:
    """Those of `known` that are still open at the server's end, as they are now; None where the kernel does not say.

    Cheaper than `connections` up to a few dozen. A later connection of the same addresses is not taken for them.
    """
    try:
        bodies = [_one(each.family, each.local, each.remote, each.mark) for each in known]
        return [_judged(_connection(body)) for body in bodies if body and body[1] in (_ESTABLISHED, _CLOSE_WAIT)]
    except OSError:
        return None


def is_busy(one: Connection) -> bool:
    """Whether a request is being worked on, or part of it or of an answer is still on its way.

    What was received later than anything was sent waits for its answer. Where both happened in the same jiffy there are
    two readings: a request answered at once, so that this is an idle keep-alive connection; or an answer, and at once
    the next request, as pooled clients on the same machine nearly always do. For 300 ms it counts as busy. After that
    the other end decides, if it is on this machine: the kernel acknowledges a request that is not answered within
    40 ms by a bare ACK, so the client has an ACK that is younger than the last answer; an answer carries its own ACK.
    With no such end to look at (a client on another machine or in a container, which rarely is that quick), it is idle.

    Two looks at the connection itself would not help: within a jiffy, both counters have grown by the second one.

    Not to be told from idle: the pauses within a streamed answer; a request in several pieces, or larger than those
    before, that came in the jiffy of the last answer, as the kernel acknowledges it at once (tcp_cleanup_rbuf() and
    __tcp_ack_snd_check() in net/ipv4). Busy as long as it stands: a client that has the last word (WebSocket, HTTP/2's
    WINDOW_UPDATE), or that sent something and was never answered. So bound the wait.
    """
    if not one.bytes_received:
        return False
    if one.rqueue or one.wqueue or not one.bytes_sent:
        return True
    if one.last_received_ms != one.last_sent_ms:
        return one.last_received_ms < one.last_sent_ms
    return one.last_received_ms < _UNSURE_MS or one.unanswered is True


def queued_unix(inode: int) -> int | None:
    """How many connections a listening unix socket holds that nobody has accepted; None where it is gone or not told.

    `inode` is `os.fstat(fd).st_ino` of a descriptor of ours.
    """
    try:
        (reply,) = _unix(states=0xFFFFFFFF, inode=inode, show=_SHOW_QUEUE)
        return int(struct.unpack_from("=I", reply[_UNIX_QUEUE])[0])  # udiag_rqueue
    except (OSError, KeyError, ValueError):
        return None


def connected_unix(name: bytes | str) -> int | None:
    """How many accepted connections of a listening unix socket are still open at the server's end.

    `name` as it was given to bind(2), also if it was renamed since: accepted sockets inherit it (unix_stream_connect()
    in net/unix/af_unix.c). So two generations are told apart if each was bound at a path of its own. Those that wait to
    be accepted are not counted; those whose client has left are, until the server closes them.
    """
    wanted = os.fsencode(name)
    try:
        replies = _unix(states=1 << _ESTABLISHED, inode=0, show=_SHOW_NAME)
        return sum(_bound_name(reply) == wanted for reply in replies)
    except OSError:
        return None


def queued_udp(datagrams: socket.socket) -> int | None:
    """Memory in bytes that unread datagrams take, with the kernel's own share, so an empty one counts too.

    SO_MEMINFO, socket(7), since Linux 4.12; None where there is none.
    """
    if sys.platform != "linux":
        return None
    try:
        return int(_MEMINFO.unpack(datagrams.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size))[0])
    except (OSError, struct.error):
        return None


def _is_unsure(one: Connection) -> bool:
    return not is_busy(one) and one.bytes_received > 0 and one.last_received_ms == one.last_sent_ms


def _judged(one: Connection) -> Connection:
    """With the word of its other end, where that is here and matters."""
    if not _is_unsure(one):
        return one
    body = _one(one.family, one.remote, one.local, one.mark[:4] + _ANY_COOKIE)
    return one._replace(unanswered=_has_bare_ack(body)) if body and body[1] == _ESTABLISHED else one


def _one(family: int, local: Address, remote: Address, mark: bytes) -> bytes | None:
    """The socket of these addresses, found without a walk; None where there is none, or another."""
    hosts = socket.inet_pton(family, local[0]), socket.inet_pton(family, remote[0])
    request = _ONE_REQUEST.pack(family, socket.IPPROTO_TCP, _WITH_INFO, local[1], remote[1], *hosts, mark)
    try:
        (body,) = _ask(_BY_FAMILY, 0, request)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ESTALE):
            return None
        raise
    return body


def _has_bare_ack(body: bytes) -> bool:
    """Whether an ACK came after the last answer."""
    client = _connection(body)
    return client.last_acked_ms < client.last_received_ms


def _connection(body: bytes) -> Connection:
    family, state = _TCP_STATE.unpack_from(body)
    local_port, remote_port, local, remote, mark = _TCP_ENDS.unpack_from(body, 4)
    unread, unacknowledged, inode = _TCP_QUEUES.unpack_from(body, 56)
    info = _attributes(body, _TCP_SIZE).get(_TCP_INFO, b"")
    if len(info) < _TIMES.size:
        raise OSError(errno.EOPNOTSUPP, "struct tcp_info is older than Linux 4.1")
    sent_ms, received_ms, acked_ms, acked, received = _TIMES.unpack_from(info)
    sent = _BYTES_SENT.unpack_from(info)[0] if len(info) >= _BYTES_SENT.size else acked
    fin = int(state == _CLOSE_WAIT)
    return Connection(
        family=family,
        local=(_host(family, local), local_port),
        remote=(_host(family, remote), remote_port),
        inode=inode,
        rqueue=max(unread - fin, 0),  # 0 once the server has read the end
        wqueue=unacknowledged,
        last_sent_ms=sent_ms,
        last_received_ms=received_ms,
        bytes_received=received - fin,
        bytes_sent=sent,
        last_acked_ms=acked_ms,
        mark=mark,
        unsent=_UNSENT.unpack_from(info)[0] if len(info) >= _UNSENT.size else unacknowledged,
    )


def _host(family: int, packed: bytes) -> str:
    return socket.inet_ntop(family, packed[:4] if family == socket.AF_INET else packed)


def _unix(states: int, inode: int, show: int) -> list[dict[int, bytes]]:
    """One socket, or all where `inode` is 0: what is to be shown of each."""
    request = _UNIX_REQUEST.pack(_AF_UNIX, states, inode, show, _ANY_COOKIE)
    return [_attributes(body, _UNIX_SIZE) for body in _ask(_BY_FAMILY, 0 if inode else _DUMP, request)]


def _bound_name(shown: Mapping[int, bytes]) -> bytes:
    name = shown.get(_UNIX_NAME, b"")
    return name if name.startswith(b"\0") else name.removesuffix(b"\0")  # abstract names may end in one, unix(7)


def _ask(kind: int, flags: int, body: bytes) -> list[bytes]:
    """The bodies of the kernel's replies; OSError where it refuses, or cannot give a whole one."""
    if sys.platform != "linux":
        raise OSError(errno.EAFNOSUPPORT, "no netlink on this system")
    request = _HEADER.pack(_HEADER.size + len(body), kind, _REQUEST | flags, 0, 0) + body
    for _ in range(_TRIES):
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as kernel:
            kernel.send(request)
            try:
                return list(_bodies(lambda: _part(kernel)))
            except InterruptedError:
                continue
    raise OSError(errno.EINTR, "the sockets changed during each dump")


def _part(kernel: socket.socket) -> bytes:
    part, _, flags, _ = kernel.recvmsg(_WHOLE, 0, socket.MSG_DONTWAIT)
    if flags & socket.MSG_TRUNC:
        raise OSError(errno.EMSGSIZE, "truncated reply")
    return part


def _bodies(read: Callable[[], bytes]) -> Iterator[bytes]:
    """From as many parts as belong to one reply; InterruptedError if what was dumped changed meanwhile."""
    more = True
    while more:
        for kind, flags, body in _messages(read()):
            _check(kind, flags, body)
            more = bool(flags & _MULTI) and kind != _DONE
            if kind not in (_DONE, _ERROR):
                yield body


def _check(kind: int, flags: int, body: bytes) -> None:
    if flags & _INTERRUPTED:
        raise InterruptedError(errno.EINTR, "the dump is inconsistent")
    if kind == _OVERRUN:
        raise OSError(errno.ENOBUFS, "part of the reply was dropped")
    if kind in (_ERROR, _DONE) and (status := struct.unpack_from("=i", body)[0]) < 0:
        raise OSError(-status, os.strerror(-status))


def _messages(part: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Type, flags and body of each message; netlink(7)."""
    at = 0
    while at < len(part):
        length, kind, flags, _, _ = _HEADER.unpack_from(part, at)
        yield kind, flags, part[at + _HEADER.size : at + length]
        at += _aligned(length, _HEADER)


def _attributes(body: bytes, at: int) -> dict[int, bytes]:
    """By type; netlink(7)."""
    found = {}
    while at < len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, at)
        found[kind] = body[at + _ATTRIBUTE.size : at + length]
        at += _aligned(length, _ATTRIBUTE)
    return found


def _aligned(length: int, header: struct.Struct) -> int:
    """How far it is to the next; never standing still."""
    return (max(length, header.size) + 3) & ~3

"""When a server is ready: it has accepted a connection.

How it works: connect, send nothing, and read the length of the listening socket's accept queue on our own copy of it
(TCP_INFO, tcpi_unacked of a listening socket: net/ipv4/tcp.c, tcp_get_info). Only accept(2) makes a queue shorter, so
any server shows itself in this way, and a prefork master that does not accept does not.
"""

import contextlib
import socket
import struct
import sys
from collections.abc import Iterator, Sequence

import anyio

from hotpipe.server.sockets import Held

ALIVE_S = 1.0  # a server without sockets is ready when it has lived this long
_LOOK_S = 0.002
_SURE = 3  # empty looks in a row that prove that our own connection is not merely still on its way
_UNACKED = 24  # offset in struct tcp_info, <linux/tcp.h>
_SIZE = 104


async def accepting(sockets: Sequence[Held]) -> str:
    """Returns once every socket has had a connection accepted; names the evidence. Waits without end otherwise."""
    if not sockets or sys.platform != "linux":
        await anyio.sleep(ALIVE_S)
        return f"alive for {ALIVE_S:g} s"
    for held in sockets:
        await _accepted(held)
    return "accepted a connection"


def waiting(listening: socket.socket) -> int:
    """How many connections nobody has accepted yet."""
    info = listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _SIZE)
    return int(struct.unpack_from("I", info, _UNACKED)[0])


async def _accepted(held: Held) -> None:
    longest, empty = 0, 0
    with _knock(held) as client:
        while (now := waiting(held.socket)) >= longest and empty < _SURE:
            longest = now
            empty = empty + 1 if now == 0 and _is_connected(client) else 0
            await anyio.sleep(_LOOK_S)


@contextlib.contextmanager
def _knock(held: Held) -> Iterator[socket.socket]:
    """Ask to be in the queue."""
    with socket.socket(held.socket.family, socket.SOCK_STREAM) as client:
        client.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            client.connect(held.target)
        yield client


def _is_connected(client: socket.socket) -> bool:
    """The handshake is done; under load that can take a moment even on loopback."""
    try:
        client.getpeername()
    except OSError:
        return False
    return True

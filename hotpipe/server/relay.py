"""Passes bytes on between two connections: for smoke tests of a candidate, and for clients of a dead generation.

A half that is closed is closed on the other side, too; a relay ends when both are, or when one of them fails.
"""

import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import anyio
from anyio.abc import TaskGroup

_CHUNK = 1 << 16
Connect = Callable[[], Awaitable[socket.socket]]


async def relay(client: socket.socket, connect: Connect) -> None:
    """Pass on all that comes, to what `connect` gives; closes both. A failure ends the connection, nothing else."""
    with client, contextlib.suppress(OSError, TimeoutError):
        client.setblocking(False)
        with await connect() as server:
            server.setblocking(False)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_pump, client, server, tasks)
                tasks.start_soon(_pump, server, client, tasks)


@contextlib.asynccontextmanager
async def door(connect: Connect) -> AsyncIterator[tuple[str, int]]:
    """A port on loopback that leads to what `connect` gives, for as long as this is open."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_accept_all, listening, connect, tasks)
            host, port = listening.getsockname()
            yield host, port
            tasks.cancel_scope.cancel()


async def _accept_all(listening: socket.socket, connect: Connect, tasks: TaskGroup) -> None:
    while True:
        await anyio.wait_readable(listening)
        with contextlib.suppress(OSError):
            tasks.start_soon(relay, listening.accept()[0], connect)


async def _pump(source: socket.socket, sink: socket.socket, tasks: TaskGroup) -> None:
    try:
        while chunk := await _receive(source):
            await _send_all(sink, chunk)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        tasks.cancel_scope.cancel()


async def _receive(source: socket.socket) -> bytes:
    while True:
        with contextlib.suppress(BlockingIOError):
            return source.recv(_CHUNK)
        await anyio.wait_readable(source)


async def _send_all(sink: socket.socket, chunk: bytes) -> None:
    rest = memoryview(chunk)
    while rest:
        try:
            rest = rest[sink.send(rest) :]
        except BlockingIOError:
            await anyio.wait_writable(sink)

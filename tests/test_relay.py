"""Bytes between two connections: all of them, both ways, each end told of the other's."""

import contextlib
import hashlib
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
import pytest
from answering import PATIENCE_S, descriptors

from hotpipe.server.relay import door, relay

BIG = 10 << 20
SLOW_BUFFER = 4096

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def relayed() -> AsyncIterator[tuple[socket.socket, socket.socket]]:
    """The client's end and the server's end of one relay; both are blocking sockets for threads to use."""
    client, near = pair()
    far, server = pair()

    async def connect() -> socket.socket:
        far.setblocking(False)
        return far

    with client, server, anyio.fail_after(PATIENCE_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(relay, near, connect)
            yield client, server
            client.close()
            server.close()


def pair() -> tuple[socket.socket, socket.socket]:
    """Over TCP, so that there are resets; with small buffers, so that there is something to wait for."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SLOW_BUFFER)
        client = socket.create_connection(listening.getsockname(), PATIENCE_S)
        server = listening.accept()[0]
        server.settimeout(PATIENCE_S)
    return client, server


async def in_thread(call: Callable[[], object]) -> object:
    return await anyio.to_thread.run_sync(call)


def read_all(end: socket.socket, chunk: int = 1 << 16) -> bytes:
    received = bytearray()
    while more := end.recv(chunk):
        received += more
    return bytes(received)


async def test_a_half_that_the_client_closes_is_closed_for_the_server() -> None:
    async with relayed() as (client, server):
        client.sendall(b"question")
        client.shutdown(socket.SHUT_WR)
        assert await in_thread(lambda: read_all(server)) == b"question"
        server.sendall(b"answer")
        server.close()
        assert await in_thread(lambda: read_all(client)) == b"answer"


async def test_a_half_that_the_server_closes_is_closed_for_the_client() -> None:
    async with relayed() as (client, server):
        server.sendall(b"greeting")
        server.shutdown(socket.SHUT_WR)
        assert await in_thread(lambda: read_all(client)) == b"greeting"
        client.sendall(b"thanks")
        client.close()
        assert await in_thread(lambda: read_all(server)) == b"thanks"


async def test_much_goes_both_ways_at_once_whoever_reads_slowly() -> None:
    ways = {"up": os.urandom(BIG), "down": os.urandom(BIG)}
    arrived: dict[str, bytes] = {}

    async def send(end: socket.socket, way: str) -> None:
        await in_thread(lambda: end.sendall(ways[way]))
        end.shutdown(socket.SHUT_WR)

    async def receive(end: socket.socket, way: str) -> None:
        arrived[way] = await anyio.to_thread.run_sync(read_all, end, SLOW_BUFFER)

    async with relayed() as (client, server), anyio.create_task_group() as tasks:
        tasks.start_soon(send, client, "up")
        tasks.start_soon(send, server, "down")
        tasks.start_soon(receive, server, "up")
        tasks.start_soon(receive, client, "down")
    assert {way: digest(found) for way, found in arrived.items()} == {way: digest(sent) for way, sent in ways.items()}


def digest(payload: bytes) -> str:
    return f"{len(payload)} {hashlib.sha256(payload).hexdigest()}"


def reset(end: socket.socket) -> None:
    """Close it as a process that is killed with unread input does."""
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    end.close()


async def test_a_client_that_is_gone_ends_the_servers_connection() -> None:
    async with relayed() as (client, server):
        client.sendall(b"question")
        assert await in_thread(lambda: server.recv(100)) == b"question"
        reset(client)
        assert await in_thread(lambda: server.recv(100)) == b""


async def test_a_server_that_is_gone_ends_the_clients_connection() -> None:
    async with relayed() as (client, server):
        client.sendall(b"question")
        assert await in_thread(lambda: server.recv(100)) == b"question"
        reset(server)
        assert await in_thread(lambda: client.recv(100)) == b""


async def test_a_client_that_goes_while_much_is_sent_to_it_harms_nobody() -> None:
    async with relayed() as (client, server), anyio.create_task_group() as tasks:

        async def send() -> None:
            with contextlib.suppress(OSError):
                await in_thread(lambda: server.sendall(bytes(BIG)))

        tasks.start_soon(send)
        assert await in_thread(lambda: client.recv(100))
        reset(client)


@pytest.mark.parametrize("error", [ConnectionRefusedError, TimeoutError])
async def test_where_nobody_answers_the_client_is_let_go(error: type[OSError]) -> None:
    client, near = pair()

    async def connect() -> socket.socket:
        raise error

    with client:
        await relay(near, connect)
        assert near.fileno() < 0
        assert client.recv(100) == b""


async def test_a_relay_that_is_cancelled_closes_both_ends() -> None:
    before = descriptors()
    client, near = pair()
    far, server = pair()

    async def connect() -> socket.socket:
        return far

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(relay, near, connect)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert client.recv(1) == server.recv(1) == b""
    client.close()
    server.close()
    assert descriptors() == before


# --- a door ----------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def echoing() -> AsyncIterator[Callable[[], Awaitable[socket.socket]]]:
    """Gives connections to a server that sends back what it gets."""

    async def echo(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            async for chunk in stream:
                await stream.send(chunk)

    async def connect() -> socket.socket:
        client = socket.create_connection(address)
        client.setblocking(False)
        return client

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listening, anyio.create_task_group() as tasks:
        address = listening.extra(anyio.abc.SocketAttribute.local_address)
        tasks.start_soon(listening.serve, echo)
        yield connect
        tasks.cancel_scope.cancel()


async def test_many_go_through_a_door_at_once() -> None:
    answers: dict[int, bytes] = {}

    async def go(number: int, address: tuple[str, int]) -> None:
        async with await anyio.connect_tcp(*address) as client:
            await client.send(b"%d" % number * 1000)
            await client.send_eof()
            answers[number] = b"".join([chunk async for chunk in client])

    with anyio.fail_after(PATIENCE_S):
        async with echoing() as connect, door(connect) as address, anyio.create_task_group() as tasks:
            for number in range(100):
                tasks.start_soon(go, number, address)
    assert answers == {number: b"%d" % number * 1000 for number in range(100)}


async def test_a_door_that_leads_nowhere_stays_a_door() -> None:
    async def connect() -> socket.socket:
        raise ConnectionRefusedError

    async with door(connect) as address:
        for _ in range(3):
            with await anyio.to_thread.run_sync(socket.create_connection, address, PATIENCE_S) as client:
                assert await anyio.to_thread.run_sync(client.recv, 1) == b""


async def test_nobody_gets_through_a_closed_door() -> None:
    async with echoing() as connect:
        before = descriptors()
        async with door(connect) as address, await anyio.connect_tcp(*address) as client:
            await client.send(b"x")
            assert await client.receive() == b"x"
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)
        with anyio.fail_after(PATIENCE_S):
            while descriptors() != before:  # noqa: ASYNC110 - the echo's own end is closed by another task
                await anyio.sleep(0.001)

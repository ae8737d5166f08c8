"""When an old generation has done its work: what is waited for, what is not, and that it is never torn away.

Pain kept: "the restart hangs for ever" (uvicorn #2943, nodemon #1633), by telling idle connections from work.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import pytest
from answering import PATIENCE_S

from hotpipe.config.model import Listen, Server
from hotpipe.process.child import Child
from hotpipe.process.command import Command
from hotpipe.process.system import System
from hotpipe.server import diag
from hotpipe.server.cutover import Cutover
from hotpipe.server.drain import drained, is_owed
from hotpipe.server.listener import is_kernel_able, listeners_of
from hotpipe.server.turnaway import turn_away

HAMMER = Path(__file__).parent / "hammer.py"
RESTARTS = 10
A_WHILE_S = 0.1  # long enough for a drain that waits for nothing: it takes a quarter of that

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not is_kernel_able(), reason="this kernel leads no connections by a program"),
    pytest.mark.skipif(diag.connections(1) is None, reason="this kernel does not answer NETLINK_SOCK_DIAG"),
]


class Old:
    """A generation that new connections were led away from, played by the test."""

    def __init__(self, cutover: Cutover) -> None:
        self.cutover = cutover
        (self.member,) = cutover.give(1, fresh=False)
        self._stack = contextlib.ExitStack()

    def connected(self) -> socket.socket:
        """A client, waiting in its queue."""
        (listener,) = self.cutover.listeners
        path = getattr(listener, "path", "")
        client = self._stack.enter_context(socket.socket(socket.AF_UNIX if path else socket.AF_INET))
        client.settimeout(PATIENCE_S)
        client.connect(path or listener.target)
        return client

    def accepted(self) -> tuple[socket.socket, socket.socket]:
        """A client, and the server's end."""
        client = self.connected()
        self.member.settimeout(PATIENCE_S)
        server = self._stack.enter_context(self.member.accept()[0])
        server.settimeout(PATIENCE_S)
        return client, server

    def kept_alive(self) -> tuple[socket.socket, socket.socket]:
        """One that was answered, and is long idle."""
        client, server = self.accepted()
        exchange(client, server)
        self.until(lambda: not any(map(is_owed, diag.connections(client.getpeername()[1]) or ())))
        return client, server

    def lead_away(self) -> None:
        self.cutover.give(2, fresh=True)
        self.cutover.switch(2, None)

    def until(self, condition: Callable[[], bool]) -> None:
        until = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < until
            time.sleep(0.002)

    def close(self) -> None:
        self._stack.close()
        self.cutover.close()


def exchange(client: socket.socket, server: socket.socket) -> None:
    client.sendall(b"question")
    assert server.recv(100)
    server.sendall(b"answer")
    assert client.recv(100)


def played(spec: str, folder: str) -> Old:
    return Old(Cutover.over(listeners_of(Server(run="x", listen=(Listen.of(spec),)), folder, {})))


@pytest.fixture
def old() -> Iterator[Old]:
    with contextlib.closing(played("http::0", "/")) as made:
        yield made


async def is_drained(old: Old) -> bool:
    """Within a while; what must come is waited for with `drained` itself."""
    with anyio.move_on_after(A_WHILE_S):
        await drained(old.cutover, 1)
        return True
    return False


async def must_drain(old: Old) -> None:
    with anyio.fail_after(PATIENCE_S):
        await drained(old.cutover, 1)


# --- what is waited for ----------------------------------------------------------------------------------------------


async def test_who_has_nothing_to_do_is_drained_at_once(old: Old) -> None:
    old.lead_away()
    await must_drain(old)


async def test_who_is_queued_is_waited_for(old: Old) -> None:
    client = old.connected()
    old.until(lambda: not any(map(is_owed, diag.connections(client.getpeername()[1]) or ())))
    old.lead_away()
    assert not await is_drained(old)
    accepted, _ = old.member.accept()
    with accepted:
        client.sendall(b"question")
        accepted.recv(100)
        assert not await is_drained(old)
    await must_drain(old)


async def test_a_request_in_flight_is_waited_for(old: Old) -> None:
    client, server = old.kept_alive()
    client.sendall(b"question")
    server.recv(100)
    old.lead_away()
    assert not await is_drained(old)
    server.sendall(b"answer")
    client.recv(100)
    await must_drain(old)


async def test_a_request_that_is_not_even_read_is_waited_for(old: Old) -> None:
    client, server = old.kept_alive()
    client.sendall(b"question")
    old.lead_away()
    assert not await is_drained(old)
    server.recv(100)
    server.sendall(b"answer")
    await must_drain(old)


async def test_an_answer_that_is_still_on_its_way_is_waited_for(old: Old) -> None:
    client, server = old.accepted()
    client.sendall(b"question")
    server.recv(100)
    server.setblocking(False)
    sent = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            sent += server.send(bytes(1 << 20))
    old.lead_away()
    assert not await is_drained(old)
    while sent:
        sent -= len(client.recv(1 << 20))
    await must_drain(old)


async def test_a_kept_alive_connection_is_not_waited_for(old: Old) -> None:
    for _ in range(5):
        old.kept_alive()
    old.lead_away()
    await must_drain(old)


async def test_a_client_that_has_just_come_is_given_a_moment_to_ask(old: Old) -> None:
    client, server = old.accepted()
    old.lead_away()
    assert not await is_drained(old)
    client.sendall(b"question")
    server.recv(100)
    assert not await is_drained(old)
    server.sendall(b"answer")
    await must_drain(old)


async def test_a_client_that_never_asks_is_not_waited_for(old: Old) -> None:
    old.accepted()
    old.lead_away()
    await must_drain(old)


async def test_a_client_that_is_gone_is_not_waited_for(old: Old) -> None:
    client, server = old.kept_alive()
    client.sendall(b"question")
    server.recv(100)
    old.lead_away()
    client.close()
    server.close()
    await must_drain(old)


async def test_a_stream_that_trickles_is_bounded_by_the_caller(old: Old) -> None:
    """As long as it goes on without long pauses, it is waited for."""
    client, server = old.accepted()
    client.sendall(b"question")
    server.recv(100)
    over = threading.Event()

    def trickle() -> None:
        while not over.wait(0.01):
            server.sendall(b"piece")
            client.recv(100)

    trickling = threading.Thread(target=trickle)
    trickling.start()
    try:
        old.lead_away()
        assert not await is_drained(old)
        over.set()
        await must_drain(old)
    finally:
        over.set()
        trickling.join()


async def test_clients_that_never_let_go_do_not_keep_it(old: Old) -> None:
    """Each request from before the switch is answered, and that is enough: those after it are for the rest."""
    over = threading.Event()

    def hammer(client: socket.socket, server: socket.socket) -> None:
        while not over.is_set():
            exchange(client, server)

    hammering = [threading.Thread(target=hammer, args=old.accepted()) for _ in range(4)]
    for thread in hammering:
        thread.start()
    try:
        client, server = old.accepted()
        client.sendall(b"question")
        server.recv(100)
        old.lead_away()
        assert not await is_drained(old)
        server.sendall(b"answer")
        await must_drain(old)
    finally:
        over.set()
        for thread in hammering:
            thread.join()


async def test_later_connections_are_not_waited_for(old: Old) -> None:
    old.lead_away()
    later = old.connected()
    later.sendall(b"question")
    await must_drain(old)


async def test_over_unix_sockets_connections_must_be_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with contextlib.closing(played("unix::s", "")) as old:
        client, server = old.accepted()
        old.lead_away()
        assert not await is_drained(old)
        exchange(client, server)
        assert not await is_drained(old)
        server.close()
        await must_drain(old)


# --- clients that come back for ever ---------------------------------------------------------------------------------


def is_ended(client: socket.socket) -> bool:
    """The server's side has closed it."""
    client.settimeout(PATIENCE_S)
    return client.recv(1) == b""


def is_open(client: socket.socket) -> bool:
    client.setblocking(False)
    try:
        return client.recv(1, socket.MSG_PEEK) != b""
    except BlockingIOError:
        return True


async def turned_away(old: Old) -> None:
    with anyio.fail_after(PATIENCE_S):
        await turn_away(old.cutover, 1, os.getpid())


async def test_who_comes_back_is_turned_away_between_two_requests(old: Old) -> None:
    client, server = old.kept_alive()
    old.lead_away()
    exchange(client, server)
    await turned_away(old)
    assert is_ended(client)


async def test_who_does_not_come_back_is_left_alone(old: Old) -> None:
    idle, _ = old.kept_alive()
    streamed, stream = old.kept_alive()
    old.lead_away()
    stream.sendall(b"more of it")
    await turned_away(old)
    assert is_open(idle)
    assert streamed.recv(100) == b"more of it"
    assert is_open(streamed)


async def test_who_is_owed_an_answer_is_not_turned_away(old: Old) -> None:
    client, server = old.kept_alive()
    old.lead_away()
    client.sendall(b"question")
    server.recv(100)
    await turned_away(old)
    server.sendall(b"answer")
    assert client.recv(100) == b"answer"


async def test_nobody_is_turned_away_by_another_process_of_the_same_number(old: Old) -> None:
    client, server = old.kept_alive()
    old.lead_away()
    exchange(client, server)
    async with await anyio.open_process([sys.executable, "-I", "-S", "-c", "input()"]) as other:
        with anyio.fail_after(PATIENCE_S):
            await turn_away(old.cutover, 1, other.pid)
        assert is_open(client)


SERVER = """
import socket, sys, threading, time
listening = socket.socket(fileno=3)
def serve(client):
    with client, client.makefile("rb") as lines:
        while line := lines.readline():
            keep = True
            while line.strip():
                keep = keep and line.lower().strip() != b"connection: close"
                line = lines.readline()
            client.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 10\\r\\n\\r\\n")
            PAUSE
            client.sendall(b"0123456789")
            if not keep:
                return
while True:
    threading.Thread(target=serve, args=listening.accept()[:1], daemon=True).start()
"""


ANSWER = len("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789")


class Blunt:
    """Generations of a server that answers in two pieces with a pause between, and dies at once when told to stop."""

    def __init__(self, cutover: Cutover, processes: System, pause: str) -> None:
        self.cutover, self.processes = cutover, processes
        self.server = SERVER.replace("PAUSE", pause)

    async def start(self, number: int) -> Child:
        members = self.cutover.give(number, fresh=number > 1)
        run = (sys.executable, "-I", "-S", "-c", self.server)
        child = self.processes.spawn(Command(run, os.getcwd(), {}, tuple(member.fileno() for member in members)))
        (listener,) = self.cutover.listeners
        with await listener.connect(members[0]):
            while listener.waiting(members[0]):  # noqa: ASYNC110 - the kernel tells nobody
                await anyio.sleep(0.002)
        return child

    async def stop(self, number: int, child: object) -> None:
        await drained(self.cutover, number)
        await turn_away(self.cutover, number, child.pid)
        assert not await self.processes.stop(child, "TERM", PATIENCE_S)


def hammering(command: tuple[str, ...]) -> subprocess.Popen[str]:
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.mark.timeout(120)
async def test_an_answer_is_never_torn_in_two() -> None:
    processes = System()
    listeners = listeners_of(Server(run="x", listen=(Listen.of("http::0"),)), "/", {})
    with contextlib.closing(Cutover.over(listeners)) as cutover:
        host, port = listeners[0].target
        blunt = Blunt(cutover, processes, "time.sleep(0.003)")
        try:
            async with anyio.create_task_group() as rescuers:
                child = await blunt.start(1)
                command = (sys.executable, HAMMER, host, str(port), "2", "3")
                with hammering(command) as hammer:
                    for number in range(2, 2 + RESTARTS):
                        following = await blunt.start(number)
                        cutover.switch(number, rescuers)
                        await blunt.stop(number - 1, child)
                        cutover.release(number - 1, rescuers)
                        child = following
                    out, _ = await anyio.to_thread.run_sync(hammer.communicate, None, PATIENCE_S)
        finally:
            with anyio.CancelScope(shield=True):
                await processes.close()
    result = json.loads(out)
    assert result["failures"] == {}
    assert set(result["bodies"]) == {"0123456789"}
    assert result["requests"] > RESTARTS


async def test_who_is_at_work_on_the_second_half_of_an_answer_is_not_turned_away_before_it() -> None:
    processes = System()
    listeners = listeners_of(Server(run="x", listen=(Listen.of("http::0"),)), "/", {})
    with contextlib.closing(Cutover.over(listeners)) as cutover:
        blunt = Blunt(cutover, processes, "sum(range(5_000_000))")  # 50 ms and more
        try:
            child = await blunt.start(1)
            client = socket.create_connection(listeners[0].target, timeout=PATIENCE_S)
            with client, client.makefile("rb") as answer:
                client.sendall(b"GET / HTTP/1.1\r\n\r\n")
                await anyio.to_thread.run_sync(answer.read, ANSWER)
                await blunt.start(2)
                async with anyio.create_task_group() as rescuers:
                    cutover.switch(2, rescuers)
                    client.sendall(b"GET / HTTP/1.1\r\n\r\n")
                    rescuers.start_soon(turn_away, cutover, 1, child.pid)
                    assert len(await anyio.to_thread.run_sync(answer.read)) == ANSWER  # and then it is closed
        finally:
            with anyio.CancelScope(shield=True):
                await processes.close()


# --- who comes back --------------------------------------------------------------------------------------------------


async def test_a_request_on_a_connection_from_before_is_a_revisit(old: Old) -> None:
    idle, _ = old.kept_alive()
    client, server = old.kept_alive()
    old.lead_away()
    old.cutover.connections(1)
    assert not old.cutover.was_revisited(1)
    exchange(client, server)
    with anyio.fail_after(PATIENCE_S):
        await old.cutover.until_revisited(1)
    assert old.cutover.was_revisited(1)
    server.close()
    old.until(lambda: len(old.cutover.connections(1)) == 1)
    assert old.cutover.was_revisited(1), "also when that connection is gone"
    assert idle.getsockname() == old.cutover.kept(1)[0].remote


async def test_none_is_looked_for_where_nobody_is_left(old: Old) -> None:
    old.lead_away()
    with anyio.fail_after(PATIENCE_S):
        await old.cutover.until_revisited(1)
    assert not old.cutover.was_revisited(1)


async def test_what_came_before_it_was_led_away_from_last_is_none(old: Old) -> None:
    """A generation that has served again since, because the next one died."""
    client, server = old.kept_alive()
    old.lead_away()
    exchange(client, server)
    old.cutover.connections(1)
    assert old.cutover.was_revisited(1)
    old.cutover.switch(1, None)
    old.cutover.switch(2, None)
    old.cutover.connections(1)
    assert not old.cutover.was_revisited(1)

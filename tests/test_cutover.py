"""Which process has which sockets: nobody who waits is lost, whoever dies, and nothing is left of who is gone."""

import contextlib
import os
import resource
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from answering import PATIENCE_S, Answerer, Load, ask, descriptors, eventually, read_all
from anyio.abc import TaskGroup

from hotpipe.config.model import Listen, Server
from hotpipe.errors import SocketError
from hotpipe.server.cutover import Cutover
from hotpipe.server.listener import is_kernel_able, listeners_of

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not is_kernel_able(), reason="this kernel leads no connections by a program"),
]

WAITING = 30


@contextlib.contextmanager
def over(*specs: str) -> Iterator[Cutover]:
    server = Server(run="x", listen=tuple(map(Listen.of, specs)))
    with contextlib.closing(Cutover.over(listeners_of(server, os.getcwd(), {}))) as made:
        yield made


@pytest.fixture(params=["http::0", "http::[::]:0", "unix::s"])
def cutover(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cutover]:
    monkeypatch.chdir(tmp_path)
    with over(request.param) as made:
        yield made


@pytest.fixture
def group() -> Iterator[Cutover]:
    with over("http::0") as made:
        yield made


@asynccontextmanager
async def rescuing() -> AsyncIterator[TaskGroup]:
    with anyio.fail_after(PATIENCE_S):
        async with anyio.create_task_group() as rescuers:
            yield rescuers
            rescuers.cancel_scope.cancel()


def way(cutover: Cutover) -> tuple[int, object]:
    (listener,) = cutover.listeners
    if path := getattr(listener, "path", ""):
        return socket.AF_UNIX, "s" if path == os.path.abspath("s") else path
    return listener.address.family, listener.target


async def asked(cutover: Cutover) -> str:
    return await anyio.to_thread.run_sync(ask, *way(cutover))


@contextlib.contextmanager
def waiting(cutover: Cutover, count: int = WAITING) -> Iterator[list[socket.socket]]:
    """Clients that are in the queue of whoever is public, and have asked already."""
    family, target = way(cutover)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(socket.socket(family)) for _ in range(count)]
        for number, client in enumerate(clients):
            client.settimeout(PATIENCE_S)
            client.connect(target)
            client.sendall(b"%d\n" % number)
        yield clients


def serve_lines(listening: socket.socket, word: str, count: int) -> None:
    """Answer so many clients with their own line and the word, as a process with a descriptor of its own."""
    with listening.dup() as own:
        own.settimeout(PATIENCE_S)
        for _ in range(count):
            with own.accept()[0] as client, client.makefile("rb") as lines:
                client.settimeout(PATIENCE_S)
                client.sendall(lines.readline().strip() + b" " + word.encode())


async def all_answered(clients: list[socket.socket], word: str) -> None:
    for number, client in enumerate(clients):
        assert await anyio.to_thread.run_sync(read_all, client) == f"{number} {word}"
        client.close()


# --- whom connections reach ------------------------------------------------------------------------------------------


async def test_clients_can_wait_before_there_is_a_process(cutover: Cutover) -> None:
    with waiting(cutover) as clients:
        (member,) = cutover.give(1, fresh=False)
        async with rescuing() as tasks:
            tasks.start_soon(anyio.to_thread.run_sync, serve_lines, member, "first", WAITING)
            await all_answered(clients, "first")


async def test_a_hand_over_fails_nobody(cutover: Cutover) -> None:
    family, target = way(cutover)
    async with rescuing() as rescuers:
        answering = Answerer(*cutover.give(1, fresh=False), "1")
        with Load(family, target) as load:
            for number in range(2, 22):
                members = cutover.give(number, fresh=True)
                following = Answerer(*members, str(number))
                cutover.switch(number, rescuers)
                await anyio.to_thread.run_sync(load.more)
                while cutover.waiting(number - 1):  # noqa: ASYNC110 - the kernel tells nobody
                    await anyio.sleep(0.001)
                answering.stop()
                cutover.release(number - 1, rescuers)
                answering = following
        answering.stop()
    assert not load.failures
    assert set(load.answers) >= {str(number) for number in range(2, 22)}


async def test_a_candidate_that_failed_leaves_without_a_trace(cutover: Cutover) -> None:
    family, target = way(cutover)
    async with rescuing() as rescuers:
        with Answerer(*cutover.give(1, fresh=False), "live"), Load(family, target) as load:
            before = descriptors()
            for number in range(2, 12):
                cutover.give(number, fresh=True)
                cutover.release(number, rescuers)
            load.more()
        assert descriptors() < before + 2, "the load's own come and go"
    assert not load.failures
    assert set(load.answers) == {"live"}


async def test_who_dies_in_probation_gives_way_to_the_old_one(cutover: Cutover) -> None:
    async with rescuing() as rescuers:
        with Answerer(*cutover.give(1, fresh=False), "old"):
            cutover.give(2, fresh=True)
            cutover.switch(2, rescuers)
            with waiting(cutover) as clients:
                cutover.switch(1, rescuers)
                assert await asked(cutover) == "old"
                cutover.rescue(2, rescuers)
                for client in clients:
                    assert await anyio.to_thread.run_sync(client.recv, 100) == b"old"
                cutover.release(2, rescuers)
            assert await asked(cutover) == "old"


async def test_who_waits_for_a_dead_one_is_served_by_the_next_on_the_same_socket(cutover: Cutover) -> None:
    async with rescuing() as rescuers:
        (first,) = cutover.give(1, fresh=False)
        with waiting(cutover) as clients:
            cutover.release(1, rescuers)
            (second,) = cutover.give(2, fresh=False)
            assert second is first
            rescuers.start_soon(anyio.to_thread.run_sync, serve_lines, second, "second", WAITING)
            await all_answered(clients, "second")


async def test_who_waits_for_a_dead_one_is_carried_over_to_the_next_beside_it(cutover: Cutover) -> None:
    async with rescuing() as rescuers:
        cutover.give(1, fresh=False)
        with waiting(cutover) as clients:
            cutover.release(1, rescuers)
            (second,) = cutover.give(2, fresh=True)
            cutover.switch(2, rescuers)
            rescuers.start_soon(anyio.to_thread.run_sync, serve_lines, second, "carried", WAITING)
            await all_answered(clients, "carried")


async def test_who_is_queued_when_an_old_one_is_gone_is_carried_over(cutover: Cutover) -> None:
    """The drain was bounded, say, and the server never accepted them."""
    async with rescuing() as rescuers:
        cutover.give(1, fresh=False)
        with waiting(cutover) as clients:
            (second,) = cutover.give(2, fresh=True)
            cutover.switch(2, rescuers)
            assert (cutover.waiting(1), cutover.waiting(2)) == (WAITING, 0)
            cutover.release(1, rescuers)
            rescuers.start_soon(anyio.to_thread.run_sync, serve_lines, second, "carried", WAITING)
            await all_answered(clients, "carried")


async def test_who_is_parked_waits_for_the_next(cutover: Cutover) -> None:
    async with rescuing() as rescuers:
        with Answerer(*cutover.give(1, fresh=False), "old"):
            assert await asked(cutover) == "old"
            cutover.park(1)
            with waiting(cutover) as clients:
                assert cutover.waiting(1) == 0
                cutover.release(1, rescuers)
                (second,) = cutover.give(2, fresh=False)
                cutover.switch(2, rescuers)
                rescuers.start_soon(anyio.to_thread.run_sync, serve_lines, second, "next", WAITING)
                await all_answered(clients, "next")


async def test_who_has_shut_its_socket_down_before_it_died_takes_no_socket_along(group: Cutover) -> None:
    async with rescuing() as rescuers:
        (first,) = group.give(1, fresh=False)
        with first.dup() as own:
            own.shutdown(socket.SHUT_RDWR)
        group.release(1, rescuers)
        with Answerer(*group.give(2, fresh=False), "second"):
            assert await asked(group) == "second"


async def test_several_sockets_go_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with rescuing() as rescuers:
        with over("http::0", "unix::s", "http::[::1]:0") as made, contextlib.ExitStack() as stack:
            for number, fresh in ((1, False), (2, True)):
                for member in made.give(number, fresh=fresh):
                    stack.enter_context(Answerer(member, str(number)))
            first, _, third = made.listeners
            ways = [(socket.AF_INET, first.target), (socket.AF_UNIX, "s"), (socket.AF_INET6, third.target)]
            for number in (1, 2, 1):
                made.switch(number, rescuers)
                assert [ask(*each) for each in ways] == [str(number)] * 3


async def test_a_server_without_sockets_has_nothing_to_switch() -> None:
    async with rescuing() as rescuers:
        with over() as made:
            assert made.give(1, fresh=False) == made.give(2, fresh=True) == ()
            made.switch(2, rescuers)
            made.park(2)
            made.release(1, rescuers)
            assert (made.waiting(2), made.connections(2), made.unix_connections(2)) == (0, [], 0)


# --- scarcity, and what is left --------------------------------------------------------------------------------------


async def test_many_more_are_carried_over_than_there_are_descriptors_for(group: Cutover) -> None:
    """All who wait for a dead process, under the limit that most users have: none is dropped, some wait longer."""
    count = 150
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with rescuing() as rescuers:
        group.give(1, fresh=False)
        with waiting(group, count) as clients:
            group.release(1, rescuers)
            (second,) = group.give(2, fresh=True)
            scarce = descriptors() + 64 + 40
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (scarce, hard))
                group.switch(2, rescuers)
                rescuers.start_soon(anyio.to_thread.run_sync, serve_lines, second, "carried", count)
                await all_answered(clients, "carried")
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_nothing_leaks(cutover: Cutover) -> None:
    async with rescuing() as rescuers:
        cutover.give(1, fresh=False)
        before, files = descriptors(), len(os.listdir())
        for number in range(2, 202):
            cutover.give(number, fresh=True)
            cutover.switch(number, rescuers)
            cutover.release(number - 1, rescuers)
            if number % 3 == 0:
                cutover.park(number)
                cutover.release(number, rescuers)
                cutover.give(number, fresh=False)
        while descriptors() != before or len(os.listdir()) != files:  # noqa: ASYNC110 - hangs where something leaks
            await anyio.sleep(0.001)


def test_none_is_open_where_one_cannot_be() -> None:
    before = descriptors()
    listeners = listeners_of(Server(run="x", listen=(Listen.of("http::0"), Listen.of("http::0"))), "/", {})
    stolen = socket.create_server(listeners[1].target)  # between the claim and the first member
    with stolen, pytest.raises(SocketError, match="the port is taken"):
        Cutover.over(listeners)
    eventually(lambda: descriptors() == before)


# --- what a process still has ----------------------------------------------------------------------------------------


async def test_connections_are_those_from_before_the_switch(group: Cutover) -> None:
    async with rescuing() as rescuers:
        group.give(1, fresh=False)
        with waiting(group, 3) as early:
            assert group.connections(1) == []
            group.give(2, fresh=True)
            group.switch(2, rescuers)
            with waiting(group, 3):
                remotes = {each.remote for each in group.connections(1)}
                assert remotes == {client.getsockname() for client in early}
                assert group.connections(2) == []
                early[0].close()
                early[1].shutdown(socket.SHUT_WR)
                assert len(group.connections(1)) == 3, "whose server has not closed them"


async def test_many_connections_are_found_again(group: Cutover) -> None:
    async with rescuing() as rescuers:
        group.give(1, fresh=False)
        with waiting(group, 100) as early:
            group.give(2, fresh=True)
            group.switch(2, rescuers)
            with waiting(group, 5):
                assert {each.remote for each in group.connections(1)} == {client.getsockname() for client in early}


async def test_unix_connections_are_counted_by_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with rescuing() as rescuers:
        with over("unix::s") as made:
            (first,), _ = made.give(1, fresh=False), made.give(2, fresh=True)
            with waiting(made, 2), first.accept()[0], first.accept()[0]:
                made.switch(2, rescuers)
                assert (made.unix_connections(1), made.unix_connections(2)) == (2, 0)
            assert made.unix_connections(1) == 0


async def test_who_survives_a_crash_with_a_copy_of_the_socket_gets_no_connection_of_the_next_one(
    group: Cutover,
) -> None:
    """A stray of the dead generation, that is: what it still accepts would be answered by old code for ever."""
    async with rescuing() as rescuers:
        with Answerer(*group.give(1, fresh=False), "stray"):
            assert group.was_used
            group.release(1, rescuers)
            following = Answerer(*group.give(2, fresh=group.was_used), "next")
            group.switch(2, rescuers)
            with following:
                assert {await asked(group) for _ in range(50)} == {"next"}


async def test_datagrams_wait_on_the_socket_of_the_dead_for_the_next_one() -> None:
    with over("udp::0") as cutover:
        cutover.give(1, fresh=False)
        assert not cutover.was_used, "what is queued there could not be carried over"


async def test_a_candidate_whose_socket_was_removed_is_unfit_and_nothing_else_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with rescuing() as rescuers:
        with over("unix::s") as cutover, Answerer(*cutover.give(1, fresh=False), "live"):
            (member,) = cutover.give(2, fresh=True)
            assert not cutover.unfit(2)
            os.unlink(member.getsockname())
            assert "removed" in cutover.unfit(2)
            assert await asked(cutover) == "live"
            cutover.release(2, rescuers)
            assert await asked(cutover) == "live"


async def test_a_candidate_that_has_shut_its_socket_down_is_unfit(group: Cutover) -> None:
    group.give(1, fresh=False)
    (member,) = group.give(2, fresh=True)
    assert not group.unfit(2)
    member.shutdown(socket.SHUT_RDWR)
    assert "shut" in group.unfit(2)

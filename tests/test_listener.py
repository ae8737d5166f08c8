"""Which member of an address gets a connection: the kernel is asked, with clients that connect all the time.

Pains kept: "port still in use after a restart" (air #683, nodemon #1316), "stale unix socket path" (systemfd #20).
"""

import contextlib
import errno
import os
import select
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from answering import PATIENCE_S, Answerer, Load, ask, descriptors, eventually
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hotpipe.config.model import Listen, Server
from hotpipe.errors import SocketError
from hotpipe.server import listener as listeners
from hotpipe.server import sockets
from hotpipe.server.listener import Group, Listener, Shared, listeners_of, queue_of

Unix = listeners.Path
SWITCHES = 40
ADDRESSES = {
    "IPv4": ("http::0", ["127.0.0.1"]),
    "all of IPv4": ("http::0.0.0.0:0", ["127.0.0.1"]),
    "IPv6": ("http::[::1]:0", ["::1"]),
    "both": ("http::[::]:0", ["::1", "127.0.0.1"]),
}

pytestmark = pytest.mark.skipif(not listeners.is_kernel_able(), reason="this kernel leads no connections by a program")


@contextlib.contextmanager
def group(spec: str = "http::0") -> Iterator[Group]:
    listen = Listen.of(spec)
    try:
        made = Group("http", listen, sockets.claim(listen))
    except SocketError as error:
        pytest.skip(error.message) if "Address family" in error.message else pytest.fail(error.message)
    with contextlib.closing(made):
        yield made


@contextlib.contextmanager
def unix(folder: Path, name: str = "s") -> Iterator[Unix]:
    path = str(folder / name)
    with contextlib.closing(Unix("unix", Listen.of(f"unix::{path}"), path)) as made:
        yield made


@pytest.fixture
def near(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose path is short enough for a socket's address."""
    monkeypatch.chdir(tmp_path)
    return Path()


@pytest.fixture(params=[*ADDRESSES, "unix"])
def place(request: pytest.FixtureRequest, near: Path) -> Iterator[tuple[Listener, list[tuple[int, Any]]]]:
    """A listener, and all ways in which a client can reach it."""
    if request.param == "unix":
        with unix(near) as made:
            yield made, [(socket.AF_UNIX, made.path)]
        return
    spec, hosts = ADDRESSES[request.param]
    with group(spec) as made:
        yield made, [(socket.AF_INET6 if ":" in host else socket.AF_INET, (host, made.port)) for host in hosts]


def word_of(client: socket.socket) -> str:
    client.setblocking(True)
    client.settimeout(PATIENCE_S)
    with client:
        return client.recv(100).decode()


# --- any listener that has members ---------------------------------------------------------------------------------


def test_a_second_member_gets_nothing_until_the_switch(place: tuple[Listener, list[tuple[int, Any]]]) -> None:
    listener, ways = place
    with Answerer(listener.join(), "old"), Answerer(listener.join(), "new"):
        for way in ways:
            assert {ask(*way) for _ in range(50)} == {"old"}


def test_the_switch_and_the_way_back_fail_nobody(place: tuple[Listener, list[tuple[int, Any]]]) -> None:
    listener, ways = place
    members = {"a": listener.join(), "b": listener.join()}
    with Answerer(members["a"], "a"), Answerer(members["b"], "b"), contextlib.ExitStack() as stack:
        loads = [stack.enter_context(Load(*way)) for way in ways]
        for number in range(SWITCHES):
            live = "ab"[number % 2]
            listener.switch(members[live])
            assert [ask(*way) for way in ways] == [live] * len(ways), "who connects after the switch"
            for load in loads:
                load.more()
    for load in loads:
        assert not load.failures
        assert min(load.answers["a"], load.answers["b"]) > SWITCHES


@pytest.mark.anyio
async def test_the_private_way_leads_to_the_candidate_alone(place: tuple[Listener, list[tuple[int, Any]]]) -> None:
    listener, ways = place
    with Answerer(listener.join(), "old"), contextlib.ExitStack() as stack:
        candidate = listener.join()
        stack.enter_context(Answerer(candidate, "new"))
        loads = [stack.enter_context(Load(*way)) for way in ways]
        for _ in range(200):
            assert word_of(await listener.connect(candidate)) == "new"
        for load in loads:
            load.more()
    for load in loads:
        assert not load.failures
        assert set(load.answers) == {"old"}


@pytest.mark.anyio
async def test_many_private_ways_at_once(place: tuple[Listener, list[tuple[int, Any]]]) -> None:
    listener, _ = place
    members = [listener.join() for _ in range(3)]
    words: list[tuple[int, str]] = []

    async def knock(number: int) -> None:
        words.append((number % 3, word_of(await listener.connect(members[number % 3]))))

    with contextlib.ExitStack() as stack:
        for number, member in enumerate(members):
            stack.enter_context(Answerer(member, str(number)))
        async with anyio.create_task_group() as tasks:
            for number in range(90):
                tasks.start_soon(knock, number)
    assert len(words) == 90
    assert all(str(number) == word for number, word in words)


@pytest.mark.anyio
async def test_who_has_left_cannot_be_reached(place: tuple[Listener, list[tuple[int, Any]]]) -> None:
    listener, ways = place
    with Answerer(listener.join(), "old"):
        candidate = listener.join()
        listener.leave(candidate)
        with pytest.raises(ConnectionRefusedError):
            await listener.connect(candidate)
        assert ask(*ways[0]) == "old"


@pytest.mark.anyio
async def test_who_leaves_while_somebody_is_on_the_way_disturbs_nobody(
    place: tuple[Listener, list[tuple[int, Any]]],
) -> None:
    listener, ways = place
    with Answerer(listener.join(), "old"):
        candidate = listener.join()
        candidate.listen(0)
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(held_open, listener, candidate)
            await until_queued(listener, candidate, 1)
            listener.leave(candidate)
            assert ask(*ways[0]) == "old"
            tasks.cancel_scope.cancel()


async def held_open(listener: Listener, member: socket.socket) -> None:
    with contextlib.suppress(OSError, TimeoutError), await listener.connect(member):
        await anyio.sleep_forever()


async def until_queued(listener: Listener, member: socket.socket, count: int) -> None:
    with anyio.fail_after(PATIENCE_S):
        while listener.waiting(member) < count:  # noqa: ASYNC110 - the kernel tells nobody
            await anyio.sleep(0.001)


def test_who_waits_is_counted_by_member(place: tuple[Listener, list[tuple[int, Any]]]) -> None:
    listener, ways = place
    first, second = listener.join(), listener.join()
    with contextlib.ExitStack() as stack:
        for count, member in ((3, first), (2, second)):
            listener.switch(member)
            for _ in range(count):
                client = stack.enter_context(socket.socket(ways[0][0]))
                client.connect(ways[0][1])
        assert (listener.waiting(first), listener.waiting(second)) == (3, 2)


def test_a_generation_gets_a_socket_as_if_it_were_new(place: tuple[Listener, list[tuple[int, Any]]]) -> None:
    listener, _ = place
    member = listener.join()
    with member.dup() as own:  # what a server does with its descriptor holds for ours
        own.setblocking(False)
        own.listen(1)
    listener.renew(member)
    assert os.get_blocking(member.fileno())
    with contextlib.ExitStack() as stack:
        for _ in range(50):
            stack.enter_context(socket.socket(place[1][0][0])).connect(place[1][0][1])
        assert listener.waiting(member) == 50


def test_nothing_leaks(place: tuple[Listener, list[tuple[int, Any]]]) -> None:
    listener, ways = place
    live = listener.join()
    before = descriptors(), sorted(os.listdir())
    for _ in range(200):
        following = listener.join()
        with contextlib.closing(anyio.run(partial(listener.connect, following))):
            following.accept()[0].close()
        listener.switch(following)
        listener.leave(live)
        live = following
    assert descriptors() == before[0]
    assert len(os.listdir()) == len(before[1])
    with Answerer(live, "last"):
        assert ask(*ways[0]) == "last"


# --- a group, against a model of who must get the next connection ----------------------------------------------------


class Modelled:
    """A group, and what should be true of it: `inside` has the members that listen, `live` is whom clients reach."""

    def __init__(self, of: Group) -> None:
        self.group = of
        self.inside: list[socket.socket] = []
        self.outside: list[socket.socket] = []  # their servers have shut them down
        self.copies: list[socket.socket] = []  # held by somebody when their member left
        self.live: socket.socket | None = None  # not checked where nobody is meant to be
        self.lost: socket.socket | None = None  # live until its server shut it down

    async def do(self, word: str, number: int) -> None:
        """One step, on the member of that number if there is one; then see who is reached."""
        if word == "join":
            self.inside.append(self.group.join())
            if len(self.inside) == 1 and not self.outside:
                self.live = self.inside[0]
        elif word == "renew":
            self.renew(number)
        elif self.inside:
            await getattr(self, word)(self.inside[number % len(self.inside)])
        self.check()

    def renew(self, number: int) -> None:
        if self.outside:
            self.inside.append(self.outside.pop(number % len(self.outside)))
            self.group.renew(self.inside[-1])
            if self.inside[-1] is self.lost:
                self.live, self.lost = self.lost, None

    async def switch(self, member: socket.socket) -> None:
        self.group.switch(member)
        self.live, self.lost = member, None

    async def leave(self, member: socket.socket) -> None:
        self.inside.remove(member)
        self.group.leave(member)
        self.forget(member)

    async def leave_with_a_copy(self, member: socket.socket) -> None:
        self.copies.append(member.dup())
        await self.leave(member)

    async def shut_down(self, member: socket.socket) -> None:
        """By its server."""
        with member.dup() as own:
            own.shutdown(socket.SHUT_RDWR)
        self.inside.remove(member)
        self.outside.append(member)
        if member is self.live:
            self.live, self.lost = None, member
        elif self.live is not None:  # until the next step of any kind, indexes are off: nobody has told the group
            self.group.switch(self.live)

    async def connect(self, member: socket.socket) -> None:
        with await self.group.connect(member):
            assert self.taken() == [member]

    def forget(self, member: socket.socket) -> None:
        self.live = None if self.live is member else self.live

    def check(self) -> None:
        if self.live is not None:
            for _ in range(3):  # three source ports: one might be hashed there by chance
                with socket.create_connection(self.group.target, PATIENCE_S):
                    assert self.taken() == [self.live]

    def taken(self) -> list[socket.socket]:
        """Whose queue holds a connection; it is taken out."""
        found = [member for member in self.inside if queue_of(member)]
        for member in found:
            member.accept()[0].close()
        return found

    def close(self) -> None:
        for copy in self.copies:
            copy.close()
        self.group.close()


STEPS = st.sampled_from(["join", "join", "switch", "leave", "leave_with_a_copy", "shut_down", "renew", "connect"])


@settings(max_examples=60)
@given(st.lists(st.tuples(STEPS, st.integers(0, 5)), max_size=25))
@example([("join", 0), ("join", 0), ("switch", 1), ("shut_down", 0), ("join", 0), ("connect", 1)])
@example([("join", 0), ("join", 0), ("join", 0), ("switch", 2), ("leave_with_a_copy", 0), ("connect", 0)])
@example([("join", 0), ("join", 0), ("join", 0), ("shut_down", 0), ("connect", 0)])
@example([("join", 0), ("shut_down", 0), ("leave", 0), ("join", 0), ("switch", 0), ("renew", 0), ("join", 0)])
def test_each_connection_is_the_live_members(steps: list[tuple[str, int]]) -> None:
    async def play() -> None:
        with group() as made, contextlib.closing(Modelled(made)) as model:
            for word, number in steps:
                await model.do(word, number)

    anyio.run(play)


def test_a_member_that_was_shut_down_unseen_confuses_nobody() -> None:
    """An old generation may shut its socket down when it is stopped, and the next candidate joins before it is dead."""
    with group() as made:
        old, live = made.join(), made.join()
        made.switch(live)
        old.shutdown(socket.SHUT_RDWR)
        candidate = made.join()
        with Answerer(live, "live"), Answerer(candidate, "candidate"):
            assert {ask(socket.AF_INET, made.target) for _ in range(50)} == {"live"}


@pytest.mark.parametrize("spec", ["http::0", "http::[::]:0"])
def test_a_socket_that_was_shut_down_keeps_its_port(spec: str) -> None:
    with group(spec) as made:
        member = made.join()
        port = made.port
        with member.dup() as own:
            own.shutdown(socket.SHUT_RDWR)
        made.renew(member)
        assert member.getsockname()[1] == port
        with Answerer(member, "again"):
            assert ask(made.address.family, made.target) == "again"


def test_the_last_to_leave_gives_the_port_back() -> None:
    with group() as made:
        members = [made.join() for _ in range(3)]
        for member in members:
            made.leave(member)
        with socket.create_server(("127.0.0.1", made.port)):
            pass


def test_nobody_else_gets_into_the_group() -> None:
    """Of the same user; others are kept out by the kernel."""
    with group() as made:
        made.join()
        with pytest.raises(OSError, match=os.strerror(errno.EADDRINUSE)):
            socket.create_server(("127.0.0.1", made.port))


def test_two_groups_know_nothing_of_each_other() -> None:
    with group() as one, group() as other:
        first, second = one.join(), other.join()
        one.join()
        with Answerer(first, "one"), Answerer(second, "other"):
            one.switch(first)
            assert {ask(socket.AF_INET, one.target) for _ in range(20)} == {"one"}
            assert {ask(socket.AF_INET, other.target) for _ in range(20)} == {"other"}


# --- datagrams -------------------------------------------------------------------------------------------------------


def received(member: socket.socket) -> list[bytes]:
    member.setblocking(False)
    found = []
    with contextlib.suppress(BlockingIOError):
        while True:
            found.append(member.recv(100))
    return found


@pytest.mark.parametrize("spec", ["udp::0", "udp::[::1]:0", "udp::[::]:0"])
def test_datagrams_reach_one_reader_at_a_time(spec: str) -> None:
    with group(spec) as made, socket.socket(made.address.family, socket.SOCK_DGRAM) as client:
        members = [made.join() for _ in range(3)]
        expected: dict[int, list[bytes]] = {0: [], 1: [], 2: []}
        for number in range(90):
            live = number // 10 % 3
            made.switch(members[live])
            expected[live].append(b"%d" % number)
            client.sendto(b"%d" % number, made.target)
        assert [received(member) for member in members] == list(expected.values())


def test_what_the_old_reader_has_not_read_stays_its_own() -> None:
    with group("udp::0") as made, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        old = made.join()
        client.sendto(b"before", made.target)
        new = made.join()
        made.switch(new)
        client.sendto(b"after", made.target)
        assert made.waiting(old) > 0
        assert (received(old), received(new)) == ([b"before"], [b"after"])
        assert made.waiting(old) == 0
        made.leave(old)
        client.sendto(b"later", made.target)
        assert received(new) == [b"later"]


def test_a_taken_udp_port_is_an_error() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(SocketError, match="the port is taken"):
            sockets.claim(Listen.of(f"udp::{taken.getsockname()[1]}"))


# --- a path ----------------------------------------------------------------------------------------------------------


def test_nothing_is_left_of_a_path(near: Path) -> None:
    with unix(near) as made:
        members = [made.join() for _ in range(3)]
        made.switch(members[2])
        made.leave(members[0])
    assert os.listdir() == []


def test_a_members_own_path_goes_when_it_leaves(near: Path) -> None:
    with unix(near) as made:
        old, new = made.join(), made.join()
        made.switch(new)
        made.leave(old)
        assert sorted(os.listdir()) == [".s.2", "s"]
        with Answerer(new, "new"):
            assert ask(socket.AF_UNIX, "s") == "new"


def test_a_path_that_somebody_else_took_over_stays_theirs(near: Path) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind("other")
        other.listen()
        with unix(near) as made:
            made.join()
            os.rename("other", "s")
        assert os.listdir() == ["s"]
        with Answerer(other, "other"):
            assert ask(socket.AF_UNIX, "s") == "other"


def test_a_path_that_somebody_removed_is_no_trouble(near: Path) -> None:
    with unix(near) as made:
        made.join()
        os.unlink("s")
    assert os.listdir() == []


def test_what_a_killed_hotpipe_left_is_removed(near: Path) -> None:
    for name in ("s", ".s.7", ".s.next"):
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(name)
    Path(".s.8").write_text("no socket, so not ours")
    with unix(near) as made:
        made.switch(made.join())
        assert sorted(os.listdir()) == [".s.1", ".s.8", "s"]


@pytest.mark.anyio
async def test_a_full_queue_of_a_path_is_waited_for(near: Path) -> None:
    with unix(near) as made:
        member = made.join()
        member.listen(0)
        with contextlib.closing(await made.connect(member)):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(held_open, made, member)
                await anyio.wait_all_tasks_blocked()
                member.accept()[0].close()
                await until_queued(made, member, 1)
                assert len(select.select([member], [], [], PATIENCE_S)[0]) == 1
                tasks.cancel_scope.cancel()


# --- one for all -----------------------------------------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX], ids=["TCP", "unix"])
async def test_a_socket_that_was_handed_in_is_everybodys(near: Path, family: int) -> None:
    handed = socket.socket(family)
    handed.bind("s" if family == socket.AF_UNIX else ("127.0.0.1", 0))
    handed.listen(1)
    given = Server(run="x", listen=(Listen.of("unix::s" if family == socket.AF_UNIX else "http::0"),))
    (shared,) = listeners_of(given, os.getcwd(), {0: handed})
    with contextlib.closing(shared):
        assert isinstance(shared, Shared)
        assert shared.join() is shared.join() is handed
        assert shared.addr == ("unix:s" if family == socket.AF_UNIX else f"127.0.0.1:{handed.getsockname()[1]}")
        shared.leave(handed)
        shared.renew(handed)
        with Answerer(handed, "anybody"):
            assert word_of(await shared.connect(handed)) == "anybody"


def test_connections_to_a_socket_that_was_handed_in_do_not_wait_for_more_to_send() -> None:
    """uvicorn --fd would take 44 ms for an answer on a kept connection."""
    handed = socket.create_server(("127.0.0.1", 0))
    (shared,) = listeners_of(Server(run="x", listen=(Listen.of("http::0"),)), "/", {0: handed})
    with contextlib.closing(shared), socket.create_connection(handed.getsockname()[:2]), handed.accept()[0] as accepted:
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


# --- those of one server ---------------------------------------------------------------------------------------------


def test_each_spec_gets_its_listener(near: Path) -> None:
    server = Server(run="x", listen=tuple(map(Listen.of, ("http::0", "unix::run/s", "udp::0", "http::0"))))
    os.mkdir("run")
    made = listeners_of(server, os.path.abspath("."), {})
    try:
        assert [type(each) for each in made] == [Group, Unix, Group, Group]
        assert [each.name for each in made] == ["http", "unix", "udp", "http2"]
        assert made[1].addr == f"unix:{os.path.abspath('run/s')}"
        assert [each.is_private for each in made] == [True, True, False, True]
    finally:
        for each in made:
            each.close()


def test_a_failure_leaves_no_socket_open() -> None:
    before = descriptors()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listens = tuple(map(Listen.of, ("http::0", f"http::{taken.getsockname()[1]}")))
        with pytest.raises(SocketError, match="taken"):
            listeners_of(Server(run="x", listen=listens), "/", {})
    eventually(lambda: descriptors() == before)

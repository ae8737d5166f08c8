"""What the kernel tells of sockets: real ones, both ends in this process, so that every step is the test's own."""

import errno
import os
import resource
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hotpipe.server import diag
from hotpipe.server.diag import Connection, is_busy

PATIENCE_S = 30
REQUEST = b"GET / HTTP/1.1\r\n\r\n"
ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"
LONG_AGO_MS = 300  # when a connection whose two stamps are equal counts as idle, if nothing else is known

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="netlink is Linux's")


@pytest.fixture(scope="module", autouse=True)
def told() -> None:
    if diag.connections(1) is None:
        pytest.skip("this kernel does not answer NETLINK_SOCK_DIAG")


def eventually(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


def read(end: socket.socket, size: int) -> None:
    while size:
        size -= len(end.recv(size)) or pytest.fail("the other end has closed")


class Pair:
    """One connection, with a server's end and a client's end that do what the test says."""

    def __init__(self, listening: socket.socket, host: str = "") -> None:
        self.port = int(listening.getsockname()[1])
        self.client = socket.create_connection((host or listening.getsockname()[0], self.port), PATIENCE_S)
        self.server = listening.accept()[0]
        for end in (self.client, self.server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def request(self, request: bytes = REQUEST) -> None:
        """The server has read it whole."""
        self.client.sendall(request)
        read(self.server, len(request))

    def answer(self, answer: bytes = ANSWER) -> None:
        """The client has read it whole."""
        self.server.sendall(answer)
        read(self.client, len(answer))

    def look(self) -> Connection:
        (one,) = [c for c in looked(self.port) if c.inode == os.fstat(self.server.fileno()).st_ino]
        return one

    def look_long_after(self) -> Connection:
        eventually(lambda: self.look().last_received_ms > LONG_AGO_MS)
        return self.look()

    def is_busy(self) -> bool:
        return is_busy(self.look())

    def close(self) -> None:
        self.client.close()
        self.server.close()


def looked(port: int) -> list[Connection]:
    found = diag.connections(port)
    assert found is not None
    return found


@contextmanager
def serving(host: str = "127.0.0.1", *, dualstack: bool = False) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, 0), family=family, backlog=512, dualstack_ipv6=dualstack)
    except OSError as error:
        pytest.skip(f"no socket on {host}: {error}")
    with listening:
        yield listening


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with serving() as listening:
        yield listening


@pytest.fixture
def pair(listening: socket.socket) -> Iterator[Pair]:
    pair = Pair(listening)
    yield pair
    pair.close()


@contextmanager
def within_one_jiffy(listening: socket.socket, steps: Callable[[Pair], None], host: str = "") -> Iterator[Pair]:
    """A connection on which `steps` were so quick that the kernel's stamps of both directions are the same."""
    for _ in range(200):
        pair = Pair(listening, host)
        try:
            steps(pair)
            if (now := pair.look()).last_received_ms == now.last_sent_ms:
                yield pair
                return
        finally:
            pair.close()
    pytest.fail("never within one jiffy")


def pooled(pair: Pair) -> None:
    """What a client does that keeps its connections, up to a request that is not answered."""
    for _ in range(3):
        pair.request()
        pair.answer()
    pair.request()


# --- busy or not ---------------------------------------------------------------------------------------------------


class TestBusy:
    def test_not_before_anything_was_sent(self, pair: Pair) -> None:
        assert not pair.is_busy()

    def test_while_the_request_is_unread(self, pair: Pair) -> None:
        pair.client.sendall(REQUEST)
        eventually(lambda: pair.look().rqueue == len(REQUEST))
        assert pair.is_busy()

    def test_while_the_server_thinks_however_long(self, pair: Pair) -> None:
        pair.request()
        assert pair.is_busy()
        assert is_busy(pair.look_long_after())

    def test_while_it_thinks_about_a_first_request_that_came_with_the_connection(
        self, listening: socket.socket
    ) -> None:
        with within_one_jiffy(listening, Pair.request) as pair:
            assert is_busy(pair.look_long_after())

    def test_while_half_a_request_has_come(self, pair: Pair) -> None:
        pair.request(REQUEST[:7])
        assert pair.is_busy()

    def test_no_longer_once_it_has_answered(self, pair: Pair) -> None:
        pair.request()
        pair.answer()
        eventually(lambda: not pair.is_busy())

    def test_no_longer_after_a_slow_answer_at_once(self, pair: Pair) -> None:
        pair.request()
        eventually(lambda: pair.look().last_received_ms >= 20)
        pair.answer()
        eventually(lambda: pair.look().wqueue == 0)
        assert not pair.is_busy()

    def test_again_with_the_next_request(self, pair: Pair) -> None:
        pair.request()
        pair.answer()
        eventually(lambda: not pair.is_busy())
        pair.request()
        assert is_busy(pair.look_long_after())

    def test_no_longer_a_while_after_an_answer_within_the_jiffy(self, listening: socket.socket) -> None:
        def quickly(pair: Pair) -> None:
            pair.request()
            pair.answer()

        with within_one_jiffy(listening, quickly) as pair:
            assert not is_busy(pair.look_long_after())
            assert pair.look().unanswered is False

    def test_while_it_thinks_about_a_request_that_came_in_the_jiffy_of_the_last_answer(
        self, listening: socket.socket
    ) -> None:
        with within_one_jiffy(listening, pooled) as pair:
            assert is_busy(pair.look_long_after())
            assert pair.look().unanswered is True
            pair.answer()
            eventually(lambda: not pair.is_busy())

    def test_while_the_client_does_not_read_the_answer(self, pair: Pair) -> None:
        pair.request()
        sent = self.fill(pair.server)
        eventually(lambda: pair.look().last_sent_ms > LONG_AGO_MS)
        assert pair.look().wqueue > 0
        assert pair.is_busy()
        read(pair.client, sent)
        eventually(lambda: not pair.is_busy())

    @staticmethod
    def fill(end: socket.socket) -> int:
        """Write until the kernel takes no more; how much it took."""
        sent = 0
        end.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                sent += end.send(b"x" * 65536)
        return sent


class TestAClientThatHasClosed:
    def test_without_ever_sending_is_not_waited_for(self, pair: Pair) -> None:
        pair.client.close()
        self.told_of_the_end(pair.server)
        assert (pair.look().rqueue, pair.look().bytes_received) == (0, 0)
        assert not pair.is_busy()

    def test_between_requests_is_not_waited_for(self, pair: Pair) -> None:
        pair.request()
        pair.answer()
        pair.client.close()
        self.told_of_the_end(pair.server)
        eventually(lambda: not pair.is_busy())

    def test_its_sending_half_is_waited_for_until_the_answer(self, pair: Pair) -> None:
        pair.request()
        pair.client.shutdown(socket.SHUT_WR)
        assert pair.server.recv(1) == b""
        assert is_busy(pair.look_long_after())
        pair.answer()
        eventually(lambda: not pair.is_busy())

    def test_its_sending_half_with_the_request_unread_is_waited_for(self, pair: Pair) -> None:
        pair.client.sendall(REQUEST)
        pair.client.shutdown(socket.SHUT_WR)
        eventually(lambda: pair.look().rqueue == len(REQUEST))
        assert pair.is_busy()

    @staticmethod
    def told_of_the_end(end: socket.socket) -> None:
        """The FIN is there, and nobody has read it."""
        assert end.recv(1, socket.MSG_PEEK) == b""


# --- pure ----------------------------------------------------------------------------------------------------------

SIZES = st.integers(0, 2**20) | st.just(0)
AGES = st.integers(0, 1000)


@st.composite
def any_connection(draw: st.DrawFn) -> Connection:
    received = draw(AGES)
    return Connection(
        family=socket.AF_INET,
        local=("127.0.0.1", 8000),
        remote=("127.0.0.1", 50000),
        inode=1,
        rqueue=draw(SIZES),
        wqueue=draw(SIZES),
        last_sent_ms=draw(AGES | st.just(received)),
        last_received_ms=received,
        bytes_received=draw(SIZES),
        bytes_sent=draw(SIZES),
        last_acked_ms=draw(AGES),
        unanswered=draw(st.sampled_from([None, False, True])),
    )


class TestRules:
    @given(any_connection())
    def test_what_never_received_anything_is_idle(self, one: Connection) -> None:
        assert not is_busy(one._replace(bytes_received=0))

    @given(any_connection(), st.integers(1), st.integers(1))
    def test_what_is_on_its_way_is_busy(self, one: Connection, received: int, queued: int) -> None:
        one = one._replace(bytes_received=received)
        assert is_busy(one._replace(rqueue=queued))
        assert is_busy(one._replace(wqueue=queued))

    @given(any_connection(), st.integers(1), AGES)
    def test_time_alone_never_makes_it_busy(self, one: Connection, received: int, passed_ms: int) -> None:
        one = one._replace(bytes_received=received)
        later = one._replace(
            last_sent_ms=one.last_sent_ms + passed_ms, last_received_ms=one.last_received_ms + passed_ms
        )
        assert is_busy(one) >= is_busy(later)

    @given(any_connection(), AGES, st.integers(1, 1000))
    def test_with_nothing_queued_who_spoke_last_decides(self, one: Connection, last_ms: int, before_ms: int) -> None:
        one = one._replace(bytes_received=1, bytes_sent=1, rqueue=0, wqueue=0)
        assert is_busy(one._replace(last_received_ms=last_ms, last_sent_ms=last_ms + before_ms))
        assert not is_busy(one._replace(last_sent_ms=last_ms, last_received_ms=last_ms + before_ms))

    @pytest.mark.parametrize(
        "age_ms, unanswered, busy",
        [(0, None, True), (299, False, True), (300, None, False), (300, False, False), (300, True, True)],
    )
    def test_in_the_same_jiffy_it_is_age_and_the_other_end(
        self, age_ms: int, unanswered: bool | None, busy: bool
    ) -> None:
        ends = ("127.0.0.1", 8000), ("127.0.0.1", 50000)
        one = Connection(socket.AF_INET, *ends, 1, 0, 0, age_ms, age_ms, 10, 10, unanswered=unanswered)
        assert is_busy(one) is busy


# --- which connections ---------------------------------------------------------------------------------------------


class TestConnections:
    def test_says_who_and_how_much(self, pair: Pair) -> None:
        pair.request()
        pair.answer()
        one = pair.look()
        assert one.family == socket.AF_INET
        assert (one.local, one.remote) == (pair.server.getsockname(), pair.server.getpeername())
        assert one.key == (pair.client.getsockname(), pair.client.getpeername())
        assert (one.bytes_received, one.bytes_sent) == (len(REQUEST), len(ANSWER))

    def test_those_that_nobody_accepted_have_no_inode(self, listening: socket.socket) -> None:
        with socket.create_connection(listening.getsockname()):
            eventually(lambda: [c.inode for c in looked(listening.getsockname()[1])] == [0])

    def test_only_those_of_the_port_and_neither_the_listener_nor_the_clients(self, listening: socket.socket) -> None:
        with serving() as other:
            pairs = [Pair(listening), Pair(other), Pair(other)]
            assert {c.key for c in looked(pairs[0].port)} == {pairs[0].look().key}
            assert {c.key for c in looked(pairs[1].port)} == {p.look().key for p in pairs[1:]}
            for pair in pairs:
                pair.close()

    def test_none_that_the_server_has_closed(self, pair: Pair) -> None:
        pair.server.close()  # leaves FIN_WAIT2
        assert looked(pair.port) == []
        pair.client.close()  # and then TIME_WAIT
        assert looked(pair.port) == []

    def test_as_many_as_there_are(self, listening: socket.socket) -> None:
        pairs = [Pair(listening) for _ in range(200)]  # a reply of several parts
        assert {c.remote for c in looked(pairs[0].port)} == {p.client.getsockname() for p in pairs}
        for pair in pairs:
            pair.close()

    @pytest.mark.parametrize("host, dualstack, client", [("::1", False, "::1"), ("::", True, "::1")])
    def test_of_ipv6(self, host: str, dualstack: bool, client: str) -> None:
        with serving(host, dualstack=dualstack) as listening:
            self.is_told_from_idle(listening, client)

    def test_of_ipv4_on_a_socket_for_both(self) -> None:
        with serving("::", dualstack=True) as listening:
            one = self.is_told_from_idle(listening, "127.0.0.1")
        assert one.family == socket.AF_INET6
        assert one.remote[0] == "::ffff:127.0.0.1"

    @staticmethod
    def is_told_from_idle(listening: socket.socket, client: str) -> Connection:
        with within_one_jiffy(listening, pooled, client) as pair:
            one = pair.look_long_after()
            assert (one.local, one.remote) == (pair.server.getsockname()[:2], pair.server.getpeername()[:2])
            assert one.unanswered is True
            assert is_busy(one)
            pair.answer()
            eventually(lambda: not pair.is_busy())
        return one


class TestALookAgain:
    def test_sees_the_same_ones_as_they_are_now(self, listening: socket.socket) -> None:
        first, second, third = pairs = [Pair(listening) for _ in range(3)]
        known = [first.look(), second.look()]
        second.request()
        third.request()
        again = self.again(known)
        assert [c.key for c in again] == [c.key for c in known]
        assert [c.bytes_received for c in again] == [0, len(REQUEST)]
        assert [is_busy(c) for c in again] == [False, True]
        for pair in pairs:
            pair.close()

    def test_asks_the_other_end_too(self, listening: socket.socket) -> None:
        with within_one_jiffy(listening, pooled) as pair:
            assert self.again([pair.look_long_after()])[0].unanswered is True

    def test_of_one_that_waits_for_accept(self, listening: socket.socket) -> None:
        port = listening.getsockname()[1]
        with socket.create_connection(listening.getsockname()):
            eventually(lambda: len(looked(port)) == 1)
            known = looked(port)
            with listening.accept()[0] as server:
                assert [c.inode for c in self.again(known)] == [inode(server)]

    def test_of_one_whose_client_has_left(self, pair: Pair) -> None:
        known = [pair.look()]
        pair.client.close()
        assert len(self.again(known)) == 1

    def test_does_not_see_those_that_the_server_has_closed(self, pair: Pair) -> None:
        known = [pair.look()]
        pair.server.close()
        assert self.again(known) == []

    def test_does_not_take_a_later_one_of_the_same_addresses_for_it(self, listening: socket.socket) -> None:
        where, ours = listening.getsockname(), ("127.55.0.1", 0)  # an address at which nobody else takes the port
        with socket.create_connection(where, PATIENCE_S, ours) as client, listening.accept()[0] as server:
            (before,) = looked(where[1])
            ours = client.getsockname()
            for end in (server, client):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # no TIME_WAIT
        with socket.create_connection(where, PATIENCE_S, ours), listening.accept()[0]:
            assert [c.key for c in looked(where[1])] == [before.key]
            assert self.again([before]) == []

    @staticmethod
    def again(known: list[Connection]) -> list[Connection]:
        now = diag.look_again(known)
        assert now is not None
        return now


# --- unix and udp --------------------------------------------------------------------------------------------------


@contextmanager
def listening_unix(name: str | bytes) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(name)
        listening.listen(16)
        yield listening


def inode(held: socket.socket) -> int:
    return os.fstat(held.fileno()).st_ino


def knock(name: str | bytes, stack: ExitStack) -> None:
    stack.enter_context(socket.socket(socket.AF_UNIX)).connect(name)


class TestUnix:
    @pytest.mark.parametrize("count", [0, 1, 5])
    def test_the_accept_queue_has_a_length(self, tmp_path: Path, count: int) -> None:
        name = str(tmp_path / "s")
        with listening_unix(name) as listening, ExitStack() as clients:
            for _ in range(count):
                knock(name, clients)
            assert diag.queued_unix(inode(listening)) == count

    def test_accepting_makes_the_queue_shorter_and_the_connected_more(self, tmp_path: Path) -> None:
        name = str(tmp_path / "s")
        with listening_unix(name) as listening, ExitStack() as open_ones:
            for _ in range(3):
                knock(name, open_ones)
            assert diag.connected_unix(name) == 0
            accepted = listening.accept()[0]
            assert (diag.queued_unix(inode(listening)), diag.connected_unix(name)) == (2, 1)
            accepted.close()
            assert (diag.queued_unix(inode(listening)), diag.connected_unix(name)) == (2, 0)

    def test_a_socket_that_is_gone_has_no_queue(self, tmp_path: Path) -> None:
        with listening_unix(str(tmp_path / "s")) as listening:
            gone = inode(listening)
        assert diag.queued_unix(gone) is None

    def test_generations_are_told_apart_by_the_path_that_each_was_bound_at(self, tmp_path: Path) -> None:
        public, beside = str(tmp_path / "s"), str(tmp_path / "s.2")
        with listening_unix(public) as old, listening_unix(beside) as new, ExitStack() as open_ones:
            knock(public, open_ones)
            open_ones.enter_context(old.accept()[0])
            os.rename(beside, public)
            for _ in range(2):
                knock(public, open_ones)
                open_ones.enter_context(new.accept()[0])
            assert (diag.connected_unix(public), diag.connected_unix(beside.encode())) == (1, 2)

    @pytest.mark.parametrize("suffix", [b"", b"\0"])
    def test_abstract_names(self, suffix: bytes) -> None:
        name = b"\0hotpipe-test-%d" % os.getpid() + suffix
        with listening_unix(name) as listening, ExitStack() as open_ones:
            knock(name, open_ones)
            open_ones.enter_context(listening.accept()[0])
            assert diag.connected_unix(name) == 1
            assert diag.connected_unix(name + b"\0") == 0


class TestUdp:
    def test_an_empty_datagram_is_seen_until_it_is_read(self) -> None:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
        ):
            server.bind(("127.0.0.1", 0))
            server.settimeout(PATIENCE_S)
            assert diag.queued_udp(server) == 0
            client.sendto(b"", server.getsockname())
            eventually(lambda: bool(diag.queued_udp(server)))
            assert server.recv(1) == b""
            eventually(lambda: diag.queued_udp(server) == 0)

    def test_a_socket_that_is_closed_is_not_known(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            pass
        assert diag.queued_udp(server) is None


# --- what the kernel may say instead -------------------------------------------------------------------------------


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def message(kind: int, flags: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags, 0, 0) + body


def status(number: int) -> bytes:
    return struct.pack("=i", -number)


SOCKET, ERROR, DONE, OVERRUN = 20, 2, 3, 4
MULTI, INTERRUPTED = 0x2, 0x10


def bodies(*parts: bytes) -> list[bytes]:
    return list(diag._bodies(iter(parts).__next__))


class TestRefusals:
    def test_without_netlink_nothing_is_known(self, pair: Pair) -> None:
        known = pair.look()
        with no_descriptor_left():
            told = diag.connections(80), diag.look_again([known]), diag.queued_unix(1), diag.connected_unix("s")
        assert told == (None, None, None, None)

    def test_a_dump_goes_on_until_it_is_done(self) -> None:
        first = message(SOCKET, MULTI, b"odd") + b"\0" + message(SOCKET, MULTI, b"even")
        assert bodies(first, message(SOCKET, MULTI, b"last"), message(DONE, MULTI, status(0))) == [
            b"odd",
            b"even",
            b"last",
        ]

    def test_a_single_reply_ends_by_itself(self) -> None:
        assert bodies(message(SOCKET, 0, b"one")) == [b"one"]

    @pytest.mark.parametrize(
        "part, number",
        [
            (message(ERROR, 0, status(errno.EPERM)), errno.EPERM),
            (message(DONE, MULTI, status(errno.ENOMEM)), errno.ENOMEM),
            (message(OVERRUN, MULTI, b""), errno.ENOBUFS),
            (message(SOCKET, MULTI | INTERRUPTED, b"half"), errno.EINTR),
        ],
    )
    def test_what_is_not_a_whole_reply_raises(self, part: bytes, number: int) -> None:
        with pytest.raises(OSError) as raised:  # noqa: PT011 - its number is looked at
            bodies(message(SOCKET, MULTI, b"whole"), part)
        assert raised.value.errno == number

    @example(bytes(16))  # a length of nothing
    @given(st.binary(max_size=64))
    def test_whatever_comes_its_reading_ends(self, noise: bytes) -> None:
        with suppress(OSError, StopIteration, RuntimeError, struct.error):
            bodies(noise)
        with suppress(struct.error):
            diag._attributes(noise, 0)

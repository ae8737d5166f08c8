"""When a generation is ready, for each kind of evidence: on real sockets, with a clock that jumps over mere waiting."""

import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import trio.testing
from play import PATIENCE_S, connected, opened, server

from hotpipe.config.model import Listen, Ready
from hotpipe.server import notify, ready
from hotpipe.server.cutover import Cutover
from hotpipe.server.listener import Listener, Shared
from hotpipe.server.signs import Signs

AUTO = Ready()
HEALTHZ = Ready("http", http="/healthz")
CANDIDATE = 2

pytestmark = pytest.mark.anyio
jumping = pytest.mark.parametrize(
    "anyio_backend", [("trio", {"clock": trio.testing.MockClock(autojump_threshold=0)})], ids=["jumping clock"]
)


@dataclass
class Candidate:
    """A generation without a process: the test accepts in its place."""

    cutover: Cutover
    signs: Signs

    @property
    def listener(self) -> Listener:
        return self.signs.listeners[0]

    @property
    def member(self) -> socket.socket:
        return self.signs.members[0]

    @property
    def waiting(self) -> int:
        return self.listener.waiting(self.member)


@contextmanager
def candidate(folder: Path, *specs: str, beside: bool = False, how: Ready = AUTO) -> Iterator[Candidate]:
    served = server(listen=tuple(map(Listen.of, specs)), ready=how)
    with opened(served, folder) as cutover:
        members = cutover.give(CANDIDATE, fresh=beside)
        yield Candidate(cutover, Signs.expected(served, cutover.listeners, members, alone=not beside))


async def never(how: Ready, signs: Signs) -> None:
    """Not in ten seconds, of a clock that jumps."""
    with anyio.move_on_after(10):
        pytest.fail(f"ready: {await ready.evidence(how, signs)}")


async def soon(how: Ready, signs: Signs) -> str:
    with anyio.fail_after(PATIENCE_S):
        return await ready.evidence(how, signs)


@contextmanager
def clients(listener: Listener, count: int) -> Iterator[None]:
    """As many connections, each of them in the accept queue."""
    with ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(socket.create_connection(listener.target, PATIENCE_S))
        yield


@contextmanager
def answering(member: socket.socket, talk: Callable[[socket.socket], None]) -> Iterator[None]:
    """Somebody accepts there, again and again, and talks to each client."""

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = own.accept()
                with suppress(OSError), client:
                    talk(client)

    own = member.dup()
    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    yield
    own.shutdown(socket.SHUT_RDWR)
    accepting.join(PATIENCE_S)
    own.close()


def ignore(client: socket.socket) -> None:
    pass


# --- auto: it has accepted a connection ------------------------------------------------------------------------------


@jumping
@pytest.mark.parametrize("queued", [0, 1, 20])
async def test_who_accepts_nothing_is_not_ready(tmp_path: Path, queued: int) -> None:
    with candidate(tmp_path, "http::0") as one, clients(one.listener, queued):
        await never(AUTO, one.signs)
        assert one.waiting == queued + 1  # our own knock, unheard


@pytest.mark.parametrize("queued", [0, 1, 20])
async def test_one_connection_accepted_of_many_is_enough(tmp_path: Path, queued: int) -> None:
    with candidate(tmp_path, "http::0") as one, clients(one.listener, queued):
        with anyio.fail_after(PATIENCE_S):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ready.evidence, AUTO, one.signs)
                while one.waiting <= queued:  # noqa: ASYNC110 - the kernel tells nobody
                    await anyio.sleep(0.001)
                one.member.accept()[0].close()


async def test_who_accepts_before_we_can_look_is_ready(tmp_path: Path) -> None:
    with candidate(tmp_path, "http::0") as one, answering(one.member, ignore):
        assert await soon(AUTO, one.signs) == "accepted a connection"


@pytest.mark.parametrize("spec", ["http::0", "http::[::1]:0", "http::0.0.0.0:0", "http::[::]:0", "unix::web.sock"])
async def test_a_candidate_is_reached_at_any_address(tmp_path: Path, spec: str) -> None:
    with candidate(tmp_path, spec, beside=True) as one, answering(one.member, ignore):
        assert await soon(AUTO, one.signs) == "accepted a connection"


@jumping
@pytest.mark.parametrize("spec", ["http::0", "unix::web.sock"])
async def test_what_another_one_accepts_proves_nothing(tmp_path: Path, spec: str) -> None:
    with candidate(tmp_path, spec, beside=True) as one, answering(one.cutover.listeners[0].live, ignore):
        await never(AUTO, one.signs)
        assert one.waiting == 1


@jumping
async def test_every_socket_must_accept(tmp_path: Path) -> None:
    with candidate(tmp_path, "http::0", "http::0") as one, answering(one.member, ignore):
        await never(AUTO, one.signs)


@jumping
@pytest.mark.parametrize("specs", [(), ("udp::0",)], ids=["no socket", "udp"])
async def test_without_a_stream_it_is_enough_to_live_for_a_second(tmp_path: Path, specs: tuple[str, ...]) -> None:
    with candidate(tmp_path, *specs) as one:
        began = anyio.current_time()
        assert await ready.evidence(AUTO, one.signs) == "alive for 1 s"
        assert anyio.current_time() - began >= ready.ALIVE_S


@jumping
async def test_without_a_stream_its_word_is_enough_at_once(tmp_path: Path) -> None:
    with candidate(tmp_path, "udp::0") as one:
        one.signs.heed(notify.Ready())
        began = anyio.current_time()
        assert await ready.evidence(AUTO, one.signs) == "READY=1"
        assert anyio.current_time() == began


@jumping
async def test_beside_another_one_on_a_shared_socket_nobody_can_tell_who_accepts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as only:
        shared = Shared("http", Listen.of("http::0"), only)
        signs = Signs((shared,), (only,), alone=False)
        assert await ready.evidence(AUTO, signs) == "alive for 1 s"


# --- http ------------------------------------------------------------------------------------------------------------


def statuses(*codes: int) -> tuple[Callable[[socket.socket], None], list[bytes]]:
    """Answers with one after the other, with the last for ever; and what was asked."""
    left, asked = list(codes), list[bytes]()

    def talk(client: socket.socket) -> None:
        asked.append(client.recv(1 << 16))
        code = left.pop(0) if len(left) > 1 else left[0]
        client.sendall(f"HTTP/1.1 {code} So\r\nContent-Length: 0\r\n\r\n".encode())

    return talk, asked


@pytest.mark.parametrize("spec", ["http::0", "unix::web.sock"])
async def test_http_asks_until_the_status_is_right(tmp_path: Path, spec: str) -> None:
    talk, asked = statuses(500, 404, 200)
    with candidate(tmp_path, spec, beside=True) as one, answering(one.member, talk):
        assert await soon(HEALTHZ, one.signs) == "GET /healthz: 200"
    assert len(asked) == 3
    assert all(each.startswith(b"GET /healthz HTTP/1.1\r\n") for each in asked)


async def test_http_may_want_another_status(tmp_path: Path) -> None:
    talk, _ = statuses(200, 204)
    with candidate(tmp_path, "http::0") as one, answering(one.member, talk):
        assert await soon(Ready("http", http="/up", status=204), one.signs) == "GET /up: 204"


async def test_http_asks_the_socket_that_is_one(tmp_path: Path) -> None:
    talk, asked = statuses(200)
    with candidate(tmp_path, "tcp::0", "udp::0", "http::0") as one, answering(one.signs.members[2], talk):
        await soon(HEALTHZ, one.signs)
    assert asked


async def test_http_is_not_shown_by_who_drops_its_clients(tmp_path: Path) -> None:
    with candidate(tmp_path, "http::0") as one, answering(one.member, ignore):
        with anyio.fail_after(PATIENCE_S):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ready.evidence, HEALTHZ, one.signs)
                while "no answer" not in one.signs.last_answer:  # noqa: ASYNC110 - it is a text
                    await anyio.sleep(0.001)
                tasks.cancel_scope.cancel()


async def test_who_gives_up_asking_leaves_nothing_open(tmp_path: Path) -> None:
    """At whatever moment; a socket that is left open is an error here."""
    talk, _ = statuses(500)
    with candidate(tmp_path, "http::0") as one, answering(one.member, talk):
        for step in range(30):
            with anyio.move_on_after(step * 0.0002):
                await ready.evidence(HEALTHZ, one.signs)


async def test_https_is_asked_whatever_its_certificate(tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(tmp_path))
    talk, asked = statuses(200)

    def talk_tls(client: socket.socket) -> None:
        with context.wrap_socket(client, server_side=True) as wrapped:
            talk(wrapped)

    with candidate(tmp_path, "https::0", beside=True) as one, answering(one.member, talk_tls):
        assert await soon(HEALTHZ, one.signs) == "GET /healthz: 200"
    assert asked


def certificate(folder: Path) -> Path:
    """For a name that nobody asks for, signed by itself."""
    if not shutil.which("openssl"):
        pytest.skip("there is no openssl here (Debian: openssl)")
    made = folder / "made.pem"
    new = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=elsewhere", "-days", "2")
    subprocess.run((*new, "-keyout", made, "-out", folder / "cert.pem"), check=True, capture_output=True)
    made.write_text(made.read_text() + (folder / "cert.pem").read_text())
    return made


# --- notify, log, after ----------------------------------------------------------------------------------------------


async def shown_by(how: Ready, signs: Signs, show: Callable[[], None]) -> str:
    """The evidence, once somebody waits for it and it is shown."""
    found: list[str] = []

    async def wait() -> None:
        found.append(await ready.evidence(how, signs))

    with anyio.fail_after(PATIENCE_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.lowlevel.checkpoint()
            await anyio.lowlevel.checkpoint()
            assert not found
            show()
    return found[0]


def said(signs: Signs, *messages: notify.Message) -> Callable[[], None]:
    return lambda: [signs.heed(message) for message in messages] and None


async def test_ready_is_what_says_so(tmp_path: Path) -> None:
    with candidate(tmp_path, "http::0") as one:
        assert await shown_by(Ready("notify"), one.signs, said(one.signs, notify.Ready())) == "READY=1"


@jumping
@pytest.mark.parametrize("message", [notify.Status("READY=1"), notify.Reloading(), notify.Stopping()], ids=repr)
async def test_nothing_else_that_is_said_is_ready(tmp_path: Path, message: notify.Message) -> None:
    with candidate(tmp_path, "http::0") as one:
        one.signs.heed(message)
        await never(Ready("notify"), one.signs)


async def test_who_reloads_while_somebody_waits_is_ready_when_it_says_so(tmp_path: Path) -> None:
    with candidate(tmp_path, "http::0") as one:
        show = said(one.signs, notify.Reloading(), notify.Ready())
        assert await shown_by(Ready("notify"), one.signs, show) == "READY=1"


@jumping
@pytest.mark.parametrize("how", [Ready("notify"), Ready("log", log="up")], ids=lambda how: how.how)
async def test_what_it_showed_before_a_reload_does_not_count(tmp_path: Path, how: Ready) -> None:
    with candidate(tmp_path, "http::0", how=how) as one:
        one.signs.heed(notify.Ready())
        one.signs.hear("up")
        await ready.evidence(how, one.signs)
        one.signs.forget()
        await never(how, one.signs)


async def test_a_line_that_matches_is_ready(tmp_path: Path) -> None:
    how = Ready("log", log=r"listening on \d+$")
    with candidate(tmp_path, "http::0", how=how) as one:
        assert await shown_by(how, one.signs, lambda: one.signs.hear("web: listening on 80")) == (
            r"a line that matches 'listening on \\d+$'"
        )


@jumping
async def test_a_line_that_does_not_match_is_not(tmp_path: Path) -> None:
    how = Ready("log", log=r"listening on \d+$")
    with candidate(tmp_path, "http::0", how=how) as one:
        one.signs.hear("listening on 80 in a moment")
        await never(how, one.signs)


@jumping
async def test_after_is_a_time(tmp_path: Path) -> None:
    with candidate(tmp_path, "http::0") as one:
        began = anyio.current_time()
        assert await ready.evidence(Ready("after", after=7), one.signs) == "alive for 7 s"
        assert anyio.current_time() - began == pytest.approx(7)


# --- what the report of a time-out says ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "how, specs, expected",
    [
        (AUTO, ("http::0",), "it accepted no connection within 2s"),
        (AUTO, (), "it was to live for 1 s, and ready_timeout is 2s"),
        (Ready("notify"), ("http::0",), "it sent no READY=1 within 2s"),
        (Ready("log", log="up"), (), "it wrote no line that matches 'up' within 2s"),
        (HEALTHZ, ("http::0",), "no 200 to GET /healthz within 2s: it has not answered yet"),
    ],
)
async def test_what_is_missing_is_named(tmp_path: Path, how: Ready, specs: tuple[str, ...], expected: str) -> None:
    with candidate(tmp_path, *specs, how=how) as one:
        assert ready.missing(how, one.signs, "2s") == expected


# --- signs of life ---------------------------------------------------------------------------------------------------


def guarded(watchdog_s: float | None) -> Signs:
    return Signs((), (), alone=True, watchdog_s=watchdog_s)


@jumping
async def test_silence_is_noticed_when_the_watchdogs_time_is_over() -> None:
    signs, began = guarded(5), anyio.current_time()
    assert await signs.silence() == "it sent no WATCHDOG=1 for 5 s"
    assert anyio.current_time() - began == pytest.approx(5)


@jumping
async def test_each_sign_of_life_counts_from_anew() -> None:
    signs, began = guarded(5), anyio.current_time()

    async def live() -> None:
        for _ in range(10):
            await anyio.sleep(4)
            signs.heed(notify.Watchdog())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(live)
        await signs.silence()
        assert anyio.current_time() - began == pytest.approx(45)


@jumping
@pytest.mark.parametrize("change, after_s", [(notify.WatchdogUsec(20), 20), (notify.WatchdogUsec(2), 2)], ids=repr)
async def test_a_server_may_choose_its_watchdogs_time(change: notify.Message, after_s: float) -> None:
    for signs in (guarded(5), guarded(None)):
        began = anyio.current_time()
        signs.heed(change)
        await signs.silence()
        assert anyio.current_time() - began == pytest.approx(after_s)


@jumping
async def test_without_a_watchdog_silence_is_no_fault() -> None:
    signs = guarded(5)
    signs.heed(notify.WatchdogUsec(0))
    for each in (signs, guarded(None)):
        with anyio.move_on_after(3600):
            pytest.fail(await each.silence())


@jumping
async def test_who_says_that_it_is_broken_is_believed() -> None:
    signs, found = guarded(None), list[Any]()

    async def listen() -> None:
        found.append(await signs.silence())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listen)
        await anyio.sleep(60)
        assert not found
        signs.heed(notify.WatchdogTrigger())
    assert found == ["it said WATCHDOG=trigger"]


@jumping
async def test_more_time_is_given_to_who_asks_for_it_and_never_less() -> None:
    signs, began = guarded(None), anyio.current_time()
    with anyio.move_on_after(10) as signs.patience:
        signs.heed(notify.ExtendTimeout(3))
        await anyio.sleep(5)
        signs.heed(notify.ExtendTimeout(60))
        await anyio.sleep_forever()
    assert anyio.current_time() - began == pytest.approx(65)


async def test_the_public_one_is_not_reached_in_the_private_way(tmp_path: Path) -> None:
    """A knock at the candidate, and a client of the one that serves, end where they were meant for."""
    with (
        candidate(tmp_path, "http::0", beside=True) as one,
        await one.listener.connect(one.member),
        await connected(one.listener),
    ):
        assert (one.waiting, one.listener.waiting(one.cutover.listeners[0].live)) == (1, 1)

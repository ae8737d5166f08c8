"""The NOTIFY_SOCKET of a generation: real datagrams from real processes, and whatever else might be sent to it."""

import os
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotpipe.process import kin
from hotpipe.process.command import Command, environment
from hotpipe.process.system import Running, System
from hotpipe.server.notify import (
    LONGEST,
    Barrier,
    Errno,
    ExitStatus,
    ExtendTimeout,
    MainPid,
    Message,
    NotifySocket,
    Ready,
    Reloading,
    Status,
    Stopping,
    Watchdog,
    WatchdogTrigger,
    WatchdogUsec,
    parse,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux names the sender of a datagram")

PATIENCE_S = 30
NOBODY = 65534
END = Status("end of the test")
# Says each of its arguments in a datagram of its own, then waits for the end of its input.
SENDER = """
import os, socket, sys
out = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
out.connect("\\0" + os.environ["NOTIFY_SOCKET"][1:])
for said in sys.argv[1:]:
    out.send(said.encode())
"""
PYTHON = (sys.executable, "-I", "-S", "-c")
FLOOD = f"""{SENDER}
for number in range(20000):
    out.send(b"WATCHDOG=1")
out.send(b"STATUS={END.text}")
"""

CROWD = f"""{SENDER}
spoke, speak = os.pipe()
for _ in range(80):
    if os.fork() == 0:
        out.send(b"READY=1")
        os.write(speak, b".")
        sys.stdin.read()
        os._exit(0)
for _ in range(80):
    os.read(spoke, 1)
out.send(b"STATUS={END.text}")
sys.stdin.read()
"""


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@dataclass
class Heard:
    """What came through; `on_message` is called with each message first."""

    on_message: Callable[[Message], None] = lambda _: None
    messages: list[Message] = field(default_factory=list)
    strangers: list[int] = field(default_factory=list)
    news: anyio.Event = field(default_factory=anyio.Event)

    def message(self, message: Message) -> None:
        self.on_message(message)
        self.messages.append(message)
        self.news.set()

    def stranger(self, pid: int) -> None:
        self.strangers.append(pid)
        self.news.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self.news.wait()
            self.news = anyio.Event()

    async def until_said(self, *messages: Message) -> None:
        await self.until(lambda: len(self.messages) >= len(messages))
        assert self.messages == list(messages)

    async def until_end(self) -> list[Message]:
        await self.until(lambda: self.messages[-1:] == [END])
        return self.messages[:-1]


def anybody(_: int) -> bool:
    return True


def nobody(_: int) -> bool:
    return False


def only_us(pid: int) -> bool:
    return pid == os.getpid()


@asynccontextmanager
async def hearing(
    notify: NotifySocket, belongs: Callable[[int], bool] = anybody, heard: Heard | None = None
) -> AsyncIterator[Heard]:
    heard = heard or Heard()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(notify.messages, belongs, heard.message, heard.stranger)
        with anyio.fail_after(PATIENCE_S):
            yield heard
        tasks.cancel_scope.cancel()


@pytest.fixture
def notify() -> Iterator[NotifySocket]:
    with closing(NotifySocket.open("web.1")) as opened:
        yield opened


@contextmanager
def speaking(notify: NotifySocket) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.connect("\0" + notify.address[1:])
        yield out


def say(notify: NotifySocket, *payloads: bytes) -> None:
    with speaking(notify) as out:
        for payload in payloads:
            out.send(payload)


def say_with(notify: NotifySocket, payload: bytes, *descriptors: int) -> None:
    with speaking(notify) as out:
        socket.send_fds(out, [payload], list(descriptors))


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    """Its read end, and a write end that the test itself must close if it does not send it away."""
    reading, writing = os.pipe()
    try:
        yield reading, writing
    finally:
        for descriptor in (reading, writing):
            with suppress(OSError):
                os.close(descriptor)


def is_closed(reading: int) -> bool:
    """The other end of the pipe is held by nobody."""
    os.set_blocking(reading, False)
    try:
        return os.read(reading, 1) == b""
    except BlockingIOError:
        return False


def own_descriptors() -> set[str]:
    return {name for name in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{name}")}


def env_of(notify: NotifySocket) -> dict[str, str]:
    return {**os.environ, "NOTIFY_SOCKET": notify.address}


@contextmanager
def started(notify: NotifySocket, script: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Its standard input ends with the block, and then it should."""
    argv = [*PYTHON, script, *arguments]
    with subprocess.Popen(argv, env=env_of(notify), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield process


@contextmanager
def sender(notify: NotifySocket, *says: str, first: str = "") -> Iterator[subprocess.Popen[bytes]]:
    """A process that has said all that, and lives until the end of the block."""
    with started(notify, f"{first}{SENDER}\nprint('said', flush=True)\nsys.stdin.read()", *says) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"said\n"
        yield process


def gone(notify: NotifySocket, *says: str, first: str = "") -> int:
    """The pid of a process that has said all that, and is no more."""
    with sender(notify, *says, first=first) as process:
        return process.pid


# --- what a datagram says -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "payload, messages",
    [
        (b"READY=1", [Ready()]),
        (b"READY=1\n", [Ready()]),
        (b"READY=1\0", [Ready()]),
        (b"READY=0\nREADY=1", [Ready()]),
        (b"RELOADING=1\nMONOTONIC_USEC=123456", [Reloading(123456)]),
        (b"MONOTONIC_USEC=123456\nRELOADING=1", [Reloading(123456)]),
        (b"RELOADING=1", [Reloading()]),
        (b"RELOADING=1\nMONOTONIC_USEC=soon", [Reloading()]),
        (b"STOPPING=1", [Stopping()]),
        (b"STATUS=at 50 % = half", [Status("at 50 % = half")]),
        (b"STATUS=", [Status("")]),
        ("STATUS=läuft".encode(), [Status("läuft")]),
        (b"STATUS=\x1b]52;c;QQ==\x07at \x1b[1m50", [Status("at 50")]),
        (b"MAINPID=4711", [MainPid(4711)]),
        (b"MAINPID=1\nMAINPID=2", [MainPid(1)]),
        (b"WATCHDOG=1", [Watchdog()]),
        (b"WATCHDOG=trigger", [WatchdogTrigger()]),
        (b"WATCHDOG_USEC=2500000", [WatchdogUsec(2.5)]),
        (b"WATCHDOG_USEC=0", [WatchdogUsec(0.0)]),
        (b"EXTEND_TIMEOUT_USEC=30000000", [ExtendTimeout(30.0)]),
        (b"BARRIER=1", [Barrier()]),
        (b"BARRIER=1\n", [Barrier()]),
        (b"ERRNO=2", [Errno(2)]),
        (b"ERRNO=ENOENT", [Errno(2)]),
        (b"EXIT_STATUS=255", [ExitStatus(255)]),
    ],
)
def test_each_assignment_is_a_message(payload: bytes, messages: list[Message]) -> None:
    assert parse(payload) == tuple(messages)


def test_one_datagram_says_several_things_in_the_order_in_which_systemd_heeds_them() -> None:
    payload = b"READY=1\nRELOADING=1\nSTATUS=new configuration\rMAINPID=7\n\nX_OWN=1\nMONOTONIC_USEC=9"
    assert parse(payload) == (MainPid(7), Status("new configuration"), Reloading(9), Ready())


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\0",
        b"\n\n",
        b"READY",
        b"STATUS",
        b"=1",
        b"READY=0",
        b"READY= 1",
        b"ready=1",
        b"XREADY=1",
        b"FDSTORE=1\nFDNAME=db",
        b"X_MINE=1",
        b"BARRIER=0",
        b"STATUS=\xff\xfe",
        b"MAINPID=-1",
        b"MAINPID=0",
        b"MAINPID=99999999999",
        "MAINPID=٣".encode(),  # a digit to int(), but none of ASCII's
        b"MAINPID=" + b"9" * 4000,
        b"WATCHDOG=2",
        b"WATCHDOG_USEC=-5",
        b"WATCHDOG_USEC=18446744073709551615",
        b"WATCHDOG_USEC=1e6",
        b"EXTEND_TIMEOUT_USEC=0",
        b"EXTEND_TIMEOUT_USEC=99999999999999999999",
        b"ERRNO=ENOTHING",
        b"ERRNO=5000",
        b"EXIT_STATUS=256",
    ],
)
def test_what_is_unknown_or_malformed_says_nothing(payload: bytes) -> None:
    assert parse(payload) == ()


def test_a_malformed_line_does_not_harm_the_others() -> None:
    assert parse(b"STATUS=\xff\nMAINPID=x\nREADY=1") == (Ready(),)


def test_a_datagram_with_a_zero_byte_inside_says_nothing() -> None:
    assert parse(b"READY=1\0STATUS=x") == ()


def test_a_barrier_stands_alone_or_nothing_is_heeded() -> None:
    assert parse(b"BARRIER=1\nREADY=1") == ()


@given(st.binary(max_size=5000))
def test_no_payload_raises(payload: bytes) -> None:
    assert all(isinstance(message, Message) for message in parse(payload))


NOISE = st.lists(st.binary(max_size=40).filter(lambda b: not set(b) & set(b"\n\r\0") and b"=1" not in b), max_size=5)


@given(NOISE, NOISE)
def test_a_message_is_found_among_any_noise(before: list[bytes], after: list[bytes]) -> None:
    assert Ready() in parse(b"\n".join([*before, b"READY=1", *after]))


# --- the socket ---------------------------------------------------------------------------------------------------


def test_each_socket_has_a_name_of_its_own_that_fits_and_is_no_file() -> None:
    with closing(NotifySocket.open("ü/" * 500)) as one, closing(NotifySocket.open("ü/" * 500)) as other:
        assert one.address != other.address
        assert one.address.startswith(f"@hotpipe/{os.getpid()}.")
        assert one.address.isascii()
        assert len(one.address) < 108  # sun_path, unix(7)
        assert not os.path.exists(one.address[1:])


@pytest.mark.anyio
async def test_a_closed_socket_takes_nothing_more_and_leaves_no_descriptor() -> None:
    before = own_descriptors()
    notify = NotifySocket.open("web.1")
    async with hearing(notify) as heard:
        say(notify, b"READY=1")
        await heard.until_said(Ready())
    notify.close()
    with pytest.raises(ConnectionRefusedError):
        say(notify, b"READY=1")
    assert own_descriptors() == before


@pytest.mark.anyio
async def test_where_there_is_no_such_socket_nothing_is_said() -> None:
    with closing(NotifySocket("", None)) as nowhere:
        async with hearing(nowhere) as heard:
            nowhere.catch_up()
            await anyio.lowlevel.checkpoint()
        assert heard.messages == []


@pytest.mark.anyio
async def test_messages_come_in_order_from_several_processes(notify: NotifySocket) -> None:
    async with hearing(notify) as heard:
        with sender(notify, "STATUS=1", "READY=1\nSTATUS=2"), sender(notify, "STATUS=3"):
            await heard.until_said(Status("1"), Status("2"), Ready(), Status("3"))


@pytest.mark.anyio
async def test_the_longest_datagram_is_heeded_and_a_longer_one_is_not(notify: NotifySocket) -> None:
    async with hearing(notify) as heard:
        longest = b"STATUS=" + b"x" * (LONGEST - 7)
        say(notify, b"READY=1\n" + longest, longest, b"READY=1\n" + b"x" * 100_000, b"STATUS=" + END.text.encode())
        assert await heard.until_end() == [Status("x" * (LONGEST - 7))]


@pytest.mark.anyio
async def test_a_flood_leaves_the_loop_free(notify: NotifySocket) -> None:
    longest = now = 0

    def count(_: Message) -> None:
        nonlocal longest, now
        now += 1
        longest = max(longest, now)

    async def live() -> None:
        nonlocal now
        while True:
            await anyio.lowlevel.checkpoint()
            now = 0

    async with hearing(notify, heard=Heard(count)) as heard, anyio.create_task_group() as others:
        others.start_soon(live)
        with started(notify, FLOOD):
            assert await heard.until_end() == [Watchdog()] * 20_000
        others.cancel_scope.cancel()
    assert longest <= 2 * 64  # trio runs the tasks of a round in any order


@pytest.mark.anyio
async def test_what_has_come_can_be_heeded_at_once(notify: NotifySocket) -> None:
    async with hearing(notify) as heard:
        await anyio.wait_all_tasks_blocked()
        say(notify, b"READY=1")
        notify.catch_up()
        assert heard.messages == [Ready()]


@given(st.lists(st.tuples(st.binary(max_size=5000), st.booleans()), max_size=8))
def test_whatever_is_sent_harms_nothing(payloads: list[tuple[bytes, bool]]) -> None:
    async def send_all() -> None:
        with closing(NotifySocket.open("web.1")) as notify:
            for payload, with_descriptor in payloads:
                say_with(notify, payload, *([0] if with_descriptor else []))
            say(notify, b"STATUS=" + END.text.encode())
            async with hearing(notify) as heard:
                said = await heard.until_end()
        assert said == [message for payload, _ in payloads if len(payload) <= LONGEST for message in parse(payload)]

    before = own_descriptors()
    anyio.run(send_all)
    assert own_descriptors() == before


# --- descriptors and barriers -------------------------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.parametrize("payload", [b"FDSTORE=1", b"BARRIER=1", b"READY=1", b"\xff", b"", b"x" * 100_000])
@pytest.mark.parametrize("count", [1, 3, 253])
async def test_descriptors_that_come_along_are_closed(notify: NotifySocket, payload: bytes, count: int) -> None:
    async with hearing(notify) as heard:
        before = own_descriptors()
        with speaking(notify) as out:
            socket.send_fds(out, [payload], [0] * count)
        say(notify, b"STATUS=" + END.text.encode())
        await heard.until_end()
        assert own_descriptors() == before


@pytest.mark.anyio
async def test_those_of_strangers_are_closed_too(notify: NotifySocket) -> None:
    with started(notify, f"{SENDER}\nsocket.send_fds(out, [b'BARRIER=1'], [0, 1, 2])\nsys.stdin.read()") as stranger:
        async with hearing(notify, nobody) as heard:
            before = own_descriptors()
            await heard.until(lambda: bool(heard.strangers))
            assert own_descriptors() == before
    assert (heard.strangers, heard.messages) == ([stranger.pid], [])


@pytest.mark.anyio
async def test_descriptors_are_closed_also_where_a_message_cannot_be_heeded(notify: NotifySocket) -> None:
    def refuse(_: Message) -> None:
        raise ArithmeticError

    with pipe() as (reading, writing):
        say_with(notify, b"READY=1", writing)
        os.close(writing)
        with pytest.RaisesGroup(ArithmeticError):
            async with hearing(notify, heard=Heard(refuse)):
                await anyio.sleep_forever()
        assert is_closed(reading)


@pytest.mark.anyio
async def test_a_barrier_is_lifted_when_all_before_it_has_been_heeded(notify: NotifySocket) -> None:
    lifted: list[tuple[Message, bool]] = []
    with pipe() as (reading, writing):
        async with hearing(notify, heard=Heard(lambda message: lifted.append((message, is_closed(reading))))):
            say(notify, b"STATUS=before", b"READY=1")
            say_with(notify, b"BARRIER=1", writing)
            os.close(writing)
            await anyio.wait_readable(reading)
            assert is_closed(reading)
    assert lifted == [(Status("before"), False), (Ready(), False), (Barrier(), False)]


def test_a_barrier_is_lifted_when_nobody_listens_any_more() -> None:
    notify = NotifySocket.open("web.1")
    with pipe() as (reading, writing):
        say_with(notify, b"BARRIER=1", writing)
        os.close(writing)
        assert not is_closed(reading)
        notify.close()
        assert is_closed(reading)


# --- who is heeded ------------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_stranger_is_not_heeded_and_is_reported_once(notify: NotifySocket) -> None:
    async with hearing(notify, only_us) as heard:
        with sender(notify, "READY=1", "STATUS=x", "MAINPID=1", "READY=1") as stranger:
            say(notify, b"STATUS=" + END.text.encode())
            assert await heard.until_end() == []
            assert heard.strangers == [stranger.pid]


@pytest.mark.anyio
async def test_many_strangers_are_not_remembered_for_ever(notify: NotifySocket) -> None:
    with started(notify, CROWD) as crowd:
        async with hearing(notify, lambda pid: pid == crowd.pid) as heard:
            assert await heard.until_end() == []
    assert len(set(heard.strangers)) == len(heard.strangers) == 64


@pytest.mark.anyio
async def test_a_sender_that_is_gone_is_believed_if_it_was_of_our_user(notify: NotifySocket) -> None:
    gone(notify, "READY=1")
    async with hearing(notify, nobody) as heard:
        await heard.until_said(Ready())
    assert heard.strangers == []


@pytest.mark.anyio
async def test_so_is_one_that_nobody_has_reaped(notify: NotifySocket) -> None:
    with started(notify, SENDER, "READY=1") as process:
        await anyio.to_thread.run_sync(os.waitid, os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        async with hearing(notify, nobody) as heard:
            await heard.until_said(Ready())
    assert heard.strangers == []


@pytest.mark.anyio
async def test_a_sender_that_is_gone_is_not_believed_if_it_was_of_another_user(notify: NotifySocket) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can start a process of another user")
    pid = gone(notify, "READY=1", first=f"import os, socket; os.setuid({NOBODY})\n")
    async with hearing(notify, nobody) as heard:
        await heard.until(lambda: bool(heard.strangers))
    assert (heard.strangers, heard.messages) == ([pid], [])


@pytest.mark.anyio
async def test_nobody_outside_of_the_generation_becomes_its_main_process(notify: NotifySocket) -> None:
    async with hearing(notify, only_us) as heard:
        say(notify, b"MAINPID=1\nREADY=1", f"MAINPID={os.getpid()}".encode())
        await heard.until_said(Ready(), MainPid(os.getpid()))


# --- real generations ---------------------------------------------------------------------------------------------


@asynccontextmanager
async def generation(notify: NotifySocket, run: str) -> AsyncIterator[tuple[Running, Heard]]:
    """A child as a server's generation is one, with its NOTIFY_SOCKET."""
    processes = System()
    env = environment({"NOTIFY_SOCKET": notify.address})
    try:
        child = processes.spawn(Command(run, os.getcwd(), env))
        belongs = partial(_descends, child)
        async with hearing(notify, belongs) as heard, anyio.create_task_group() as tasks:
            tasks.start_soon(child.finish, lambda *_: None)
            yield child, heard
            tasks.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            await processes.close()


def _descends(child: Running, pid: int) -> bool:
    return kin.descends(pid, child.pid, child.cookie)


WAITING = shlex.join((*PYTHON, f"{SENDER}\nimport signal; signal.pause()", "READY=1"))
PLACES = {
    "the child itself": f"exec {WAITING}",
    "a child of its own": f"{WAITING} & wait",
    "a grandchild": f"(({WAITING}) & wait) & wait",
    "an orphan": f"(({WAITING}) &); sleep 1000",
    "a session of its own": f"setsid {WAITING} & wait",
    "a daemon": f"(setsid {WAITING} &); sleep 1000",
    "no environment": f'env -i NOTIFY_SOCKET="$NOTIFY_SOCKET" setsid {WAITING} & wait',
}


@pytest.mark.anyio
@pytest.mark.parametrize("place", PLACES)
async def test_every_process_of_the_tree_is_heeded(notify: NotifySocket, place: str) -> None:
    async with generation(notify, PLACES[place]) as (_, heard):
        await heard.until_said(Ready())
    assert heard.strangers == []


@pytest.mark.anyio
async def test_a_process_beside_the_tree_is_a_stranger_to_it(notify: NotifySocket) -> None:
    async with generation(notify, "sleep 1000") as (_, heard):
        with sender(notify, "READY=1") as stranger:
            await heard.until(lambda: bool(heard.strangers))
        assert (heard.strangers, heard.messages) == ([stranger.pid], [])


@pytest.mark.anyio
async def test_a_daemon_names_itself_and_its_parent_ends(notify: NotifySocket) -> None:
    daemon = "import os, signal, sys; os.fork() and os._exit(0); os.setsid()"
    said = f"{daemon}{SENDER}\nout.send(f'MAINPID={{os.getpid()}}\\nREADY=1'.encode()); signal.pause()"
    async with generation(notify, f"exec {shlex.join((*PYTHON, said))}") as (child, heard):
        await child.wait()
        await heard.until(lambda: len(heard.messages) == 2)
        main, ready = heard.messages
        assert ready == Ready()
        assert isinstance(main, MainPid)
        assert os.getsid(main.pid) == main.pid != child.pid


@pytest.fixture
def systemd_notify() -> str:
    found = shutil.which("systemd-notify")
    if found is None:
        pytest.skip("systemd-notify (Debian: systemd) is not installed")
    return found


@pytest.mark.anyio
@pytest.mark.parametrize(
    "options, messages",
    [
        ("--ready", [Ready(), Barrier()]),
        ("--ready --status='all is well'", [Status("all is well"), Ready(), Barrier()]),
        ("--pid=$$ --ready", ["main", Ready(), Barrier()]),
        ("--no-block STOPPING=1", [Stopping()]),
        ("WATCHDOG=1", [Watchdog(), Barrier()]),
    ],
)
async def test_systemd_notify_is_understood(
    systemd_notify: str, notify: NotifySocket, options: str, messages: list[Message | str]
) -> None:
    after = f"--no-block --status='{END.text}'"
    run = f"{systemd_notify} {options} && {systemd_notify} {after} && sleep 1000"
    async with generation(notify, run) as (child, heard):
        expected = [MainPid(child.pid) if message == "main" else message for message in messages]
        assert await heard.until_end() == expected  # it exits with 0 only if its barrier was lifted
    assert heard.strangers == []


@pytest.mark.anyio
async def test_systemd_notify_that_nobody_waits_for_is_understood(systemd_notify: str, notify: NotifySocket) -> None:
    async with generation(notify, f"(setsid {systemd_notify} --ready &); sleep 1000") as (_, heard):
        await heard.until_said(Ready(), Barrier())
    assert heard.strangers == []

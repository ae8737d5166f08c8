"""The server half with real sockets and real children: what they inherit, when they are ready, how they are replaced.

Most children are puppets (tests/projects/puppet.py): they do what the test tells them, when it tells them.
"""

import json
import math
import os
import socket
import struct
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import anyio
import psutil
import pytest
import trio.testing
from anyio.streams.buffered import BufferedByteReceiveStream

from hotpipe import trigger
from hotpipe.config.file import Project
from hotpipe.config.model import Config, Duration, Listen, Server
from hotpipe.errors import SocketError
from hotpipe.events import (
    AnyEvent,
    ServerFailed,
    ServerLive,
    ServerOutput,
    ServerReady,
    ServerStarting,
    ServerStopped,
    ServerVerified,
    Warned,
)
from hotpipe.process.system import System
from hotpipe.server import ready, sockets
from hotpipe.server.generation import Setting
from hotpipe.server.loop import ServerLoop
from hotpipe.server.sockets import Held
from hotpipe.server.touches import Touches

PATIENCE_S = 30
PROJECTS = Path(__file__).parent / "projects"
PYTHON = (sys.executable, "-I", "-S")  # starts in 20 ms
PUPPET = (*PYTHON, str(PROJECTS / "puppet.py"))
BIN = Path(sys.executable).parent
HTTP = (Listen.of("http::0"),)
NOBODY = 65534
NEVER_READY = Duration(0.1)

_E = TypeVar("_E", bound=AnyEvent)


def server(run: str | tuple[str, ...] = PUPPET, listen: tuple[Listen, ...] = HTTP, **rest: Any) -> Server:
    return Server(run=run, listen=listen, **rest)


# --- sockets -------------------------------------------------------------------------------------------------------


@contextmanager
def held(*specs: str | dict[str, object]) -> Iterator[tuple[Held, ...]]:
    opened = sockets.open_all(server(listen=tuple(map(Listen.of, specs))))
    try:
        yield opened
    finally:
        sockets.close_all(opened)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def backlog(listening: socket.socket) -> int:
    """What `ss -ltn` shows as Send-Q: tcpi_sacked of a listening socket, <linux/tcp.h>."""
    info = listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    return int(struct.unpack_from("I", info, 28)[0])


def largest_backlog() -> int:
    return int(Path("/proc/sys/net/core/somaxconn").read_text())


@contextmanager
def as_nobody() -> Iterator[None]:
    """Without the privileges of root, where the tests run as root."""
    uid = os.geteuid()
    if uid == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(uid)


@pytest.mark.parametrize(
    "spec, addr, url",
    [
        ("http::0", "127.0.0.1:{}", "http://127.0.0.1:{}"),
        ("0", "127.0.0.1:{}", "127.0.0.1:{}"),
        ("https::127.0.0.1:0", "127.0.0.1:{}", "https://127.0.0.1:{}"),
        ("tcp::127.0.0.2:0", "127.0.0.2:{}", "127.0.0.2:{}"),
        ("http::0.0.0.0:0", "0.0.0.0:{}", "http://127.0.0.1:{}"),
        ("http::[::1]:0", "[::1]:{}", "http://[::1]:{}"),
        ("http::[::]:0", "[::]:{}", "http://[::1]:{}"),
    ],
)
def test_a_socket_listens_where_its_spec_says(spec: str, addr: str, url: str) -> None:
    with held(spec) as (one,):
        assert (one.addr, one.url) == (addr.format(one.port), url.format(one.port))
        assert one.address().addr == one.addr
        with socket.create_connection(one.target, PATIENCE_S):
            pass


def test_a_host_may_be_a_name() -> None:
    with held("http::localhost:0") as (one,):
        assert one.host in {"127.0.0.1", "::1"}
        with socket.create_connection(("localhost", one.port), PATIENCE_S):
            pass


def test_a_name_that_nobody_knows_is_said_to_be_one() -> None:
    with (
        pytest.raises(SocketError, match=r"cannot listen on nowhere\.invalid:0: no such host"),
        held("nowhere.invalid:0"),
    ):
        pass


def test_a_name_that_cannot_be_one_is_said_to_be_none() -> None:
    with pytest.raises(SocketError, match="no such host"), held("a..b:0"):
        pass


def test_the_port_is_the_one_asked_for() -> None:
    port = free_port()
    with held(f"http::{port}") as (one,):
        assert one.port == port


def test_sockets_are_named_by_type_or_by_table() -> None:
    with held("http::0", "0", {"name": "admin", "tcp": "127.0.0.1:0"}, "http::0") as opened:
        assert [one.name for one in opened] == ["http", "tcp", "admin", "http2"]
        assert len({one.port for one in opened}) == 4


def test_many_clients_may_wait() -> None:
    with held("http::0", {"tcp": "0", "backlog": 7}) as (usual, small):
        assert backlog(usual.socket) == min(4096, largest_backlog())
        assert backlog(small.socket) == 7


def test_accepted_connections_do_not_wait_for_more_to_send() -> None:
    with held("http::0") as (one,), socket.create_connection(one.target, PATIENCE_S):
        accepted, _ = one.socket.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_taken_port_is_reported_with_who_holds_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SocketError) as refused, held(f"http::{port}"):
            pass
    who = f"{psutil.Process().name()} (pid {os.getpid()})"
    assert refused.value.message == f"cannot listen on 127.0.0.1:{port}: the port is taken by {who}"
    assert "0 is a free one" in refused.value.hint


def test_a_taken_port_leaves_none_of_the_others_open() -> None:
    free = free_port()
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(SocketError):
        sockets.open_all(server(listen=(Listen.of(f"{free}"), Listen.of(f"{taken.getsockname()[1]}"))))
    with held(f"{free}"):
        pass


def test_a_privileged_port_needs_privileges() -> None:
    first_free = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    if first_free == 0:
        pytest.skip("this kernel has no privileged ports: net.ipv4.ip_unprivileged_port_start is 0")
    with pytest.raises(SocketError, match="Permission denied") as refused, as_nobody(), held(f"http::{first_free - 1}"):
        pass
    assert refused.value.hint == "ports below 1024 need privileges; take a higher one"


# --- readiness: real sockets, and a clock that jumps ---------------------------------------------------------------

jumping = pytest.mark.parametrize(
    "anyio_backend", [("trio", {"clock": trio.testing.MockClock(autojump_threshold=0)})], ids=["jumping clock"]
)


@contextmanager
def clients(of: Held, count: int) -> Iterator[list[socket.socket]]:
    """As many connections, each of them in the accept queue."""
    connected = [socket.create_connection(of.target, PATIENCE_S) for _ in range(count)]
    try:
        yield connected
    finally:
        for client in connected:
            client.close()


async def queue_of(one: Held, length: int) -> None:
    """Until so many wait there."""
    with anyio.fail_after(PATIENCE_S):
        while ready.waiting(one.socket) < length:  # noqa: ASYNC110 - the kernel tells nobody
            await anyio.sleep(0.001)


def accept_in_thread(one: Held) -> threading.Thread:
    def accept() -> None:
        one.socket.accept()[0].close()

    accepting = threading.Thread(target=accept)
    accepting.start()
    return accepting


@pytest.mark.anyio
@jumping
@pytest.mark.parametrize("queued", [0, 1, 20])
async def test_who_accepts_nothing_is_not_ready(queued: int) -> None:
    with held("http::0") as opened, clients(opened[0], queued):
        with anyio.move_on_after(10):
            pytest.fail(f"ready: {await ready.accepting(opened)}")
        assert ready.waiting(opened[0].socket) == queued + 1  # our own knock, unheard


@pytest.mark.anyio
@pytest.mark.parametrize("queued", [0, 1, 20])
async def test_one_connection_accepted_of_many_is_enough(queued: int) -> None:
    with held("http::0") as opened, clients(opened[0], queued):
        with anyio.fail_after(PATIENCE_S):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ready.accepting, opened)
                await queue_of(opened[0], queued + 1)
                opened[0].socket.accept()[0].close()


@pytest.mark.anyio
async def test_who_accepts_before_we_can_look_is_ready() -> None:
    with held("http::0") as opened:
        accepting = accept_in_thread(opened[0])
        with anyio.fail_after(PATIENCE_S):
            assert await ready.accepting(opened) == "accepted a connection"
        accepting.join()


@pytest.mark.anyio
@jumping
async def test_every_socket_must_accept() -> None:
    with held("http::0", "http::0") as opened:
        accepting = accept_in_thread(opened[0])
        with anyio.move_on_after(10):
            pytest.fail(f"ready: {await ready.accepting(opened)}")
        accepting.join()


# --- a server loop with real children ------------------------------------------------------------------------------


class Seen:
    """The events, in order; each is waited for once."""

    def __init__(self) -> None:
        self.all: list[AnyEvent] = []
        self._passed: dict[type[AnyEvent], int] = {}
        self._more = anyio.Event()

    def emit(self, event: AnyEvent) -> None:
        self.all.append(event)
        self._more.set()
        self._more = anyio.Event()

    async def until(self, kind: type[_E], **fields: object) -> _E:
        """The next event of that kind and with these fields; those of that kind before it are passed over."""
        with anyio.fail_after(PATIENCE_S):
            while True:
                place = self._passed.get(kind, 0)
                while place == len(self.all):
                    await self._more.wait()
                event, self._passed[kind] = self.all[place], place + 1
                if isinstance(event, kind) and all(getattr(event, key) == value for key, value in fields.items()):
                    return event

    def of(self, kind: type[_E]) -> list[_E]:
        return [event for event in self.all if isinstance(event, kind)]


@dataclass
class Puppet:
    """One child, at the other end of its strings."""

    strings: anyio.abc.SocketStream
    lines: BufferedByteReceiveStream
    pid: int = 0
    argv: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    fds: list[int] = field(default_factory=list)
    cwd: str = ""
    ports: list[int] = field(default_factory=list)

    @classmethod
    async def meet(cls, strings: anyio.abc.SocketStream) -> "Puppet":
        lines = BufferedByteReceiveStream(strings)
        return cls(strings, lines, **json.loads(await lines.receive_until(b"\n", 1 << 20)))

    async def do(self, order: str) -> Any:
        await self.order(order)
        return json.loads(await self.lines.receive_until(b"\n", 1 << 20))

    async def order(self, order: str) -> None:
        """Without waiting for an answer."""
        await self.strings.send(f"{order}\n".encode())


@dataclass
class Play:
    """A server loop at work in `folder`, on real sockets."""

    folder: Path
    seen: Seen
    loop: ServerLoop
    sockets: tuple[Held, ...]
    entrances: anyio.abc.ObjectReceiveStream[Puppet]

    @property
    def trigger(self) -> Path:
        return self.folder / ".trigger"

    async def puppet(self) -> Puppet:
        """The next generation."""
        with anyio.fail_after(PATIENCE_S):
            return await self.entrances.receive()

    async def serving(self, order: str = "serve") -> Puppet:
        """The next generation, live."""
        puppet = await self.puppet()
        await puppet.do(order)
        await self.seen.until(ServerLive, pid=puppet.pid)
        return puppet

    def green(self, tree: str) -> None:
        """What the gate does."""
        trigger.write(str(self.trigger), trigger.Record(run=1, tree=tree, server="web", at=trigger.now()))

    async def ask(self, place: int = 0) -> str:
        """What a new client is answered."""
        async with await self.connect(place) as client:
            return await answer(client)

    async def connect(self, place: int = 0) -> anyio.abc.SocketStream:
        with anyio.fail_after(PATIENCE_S):
            return await anyio.connect_tcp(*self.sockets[place].target)


async def answer(client: anyio.abc.SocketStream) -> str:
    received = b""
    with anyio.fail_after(PATIENCE_S), suppress(anyio.EndOfStream):
        while True:
            received += await client.receive()
    return received.decode()


@asynccontextmanager
async def play(folder: Path, played: Server) -> AsyncIterator[Play]:
    """Run a server loop in `folder`; in the end it stops, and so does all that it started."""
    seen, processes = Seen(), System()
    strings = str(folder / "strings")
    project = Project(str(folder), str(folder / "hotpipe.toml"), Config(server={"web": played}))
    enter, entrances = anyio.create_memory_object_stream[Puppet](math.inf)

    async def identify() -> str:
        return "on disk"

    async def admit(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            with suppress(anyio.IncompleteRead, anyio.BrokenResourceError):
                enter.send_nowait(await Puppet.meet(stream))
                await anyio.sleep_forever()

    opened = sockets.open_all(played)
    try:
        touches = Touches(project.path(project.config.triggers()["web"]), seen.emit)
        loop = ServerLoop(Setting(project, "web", played, opened, processes, seen.emit), touches, identify)
        async with (
            enter,
            entrances,
            await anyio.create_unix_listener(strings) as door,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(door.serve, admit)
            try:
                async with anyio.create_task_group() as playing:
                    playing.start_soon(loop.run)
                    yield Play(folder, seen, loop, opened, entrances)
                    loop.stop()
            finally:
                with anyio.CancelScope(shield=True):
                    await processes.close()
            tasks.cancel_scope.cancel()
    finally:
        sockets.close_all(opened)


def puppet(folder: Path, *arguments: str, **rest: Any) -> Server:
    """A server of puppets."""
    strings = {"STRINGS": str(folder / "strings")}
    return server(run=(*PUPPET, *arguments), **{"env": strings, **rest})


def is_alive(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


# systemfd #4 #13 #34, actix-website #11: the socket's protocol is easy to get wrong
@pytest.mark.anyio
@pytest.mark.parametrize("run", [PUPPET, f"{' '.join(PUPPET)}"], ids=["argv", "shell"])
async def test_a_generation_inherits_its_sockets_by_the_protocol_of_systemd(
    tmp_path: Path, run: str | tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LISTEN_FDNAMES", "those:of:hotpipe:itself")
    monkeypatch.setenv("NOTIFY_SOCKET", "/that/of/hotpipe/itself")
    listen = (Listen.of("http::0"), Listen.of({"name": "admin", "tcp": "0"}), Listen.of("http::[::1]:0"))
    async with play(
        tmp_path, puppet(tmp_path, listen=listen) if run == PUPPET else shell(tmp_path, run, listen)
    ) as stage:
        child = await stage.puppet()
        assert child.fds == [3, 4, 5]
        assert child.ports == [one.port for one in stage.sockets]
        assert child.env["LISTEN_FDS"] == "3"
        assert child.env["LISTEN_PID"] == str(child.pid)
        assert child.env["LISTEN_FDNAMES"] == "http:admin:http2"
        assert "NOTIFY_SOCKET" not in child.env
        assert (await stage.seen.until(ServerStarting)).pid == child.pid


def shell(folder: Path, run: Any, listen: tuple[Listen, ...]) -> Server:
    return server(run, listen, env={"STRINGS": str(folder / "strings")})


@pytest.mark.anyio
async def test_a_server_without_sockets_is_told_of_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"):
        monkeypatch.setenv(name, "1")
    async with play(tmp_path, puppet(tmp_path, listen=())) as stage:
        child = await stage.puppet()
        assert child.fds == []
        assert not [name for name in child.env if name.startswith("LISTEN_")]
        assert (await stage.seen.until(ServerReady)).how == "alive for 1 s"


@pytest.mark.anyio
async def test_a_generation_knows_which_it_is(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path)) as stage:
        first = await stage.serving()
        stage.green("t1")
        second = await stage.serving()
    told = [
        tuple(child.env[f"HOTPIPE_{name}"] for name in ("SERVER", "GENERATION", "TREE")) for child in (first, second)
    ]
    assert told == [("web", "1", "on disk"), ("web", "2", "t1")]


@pytest.mark.anyio
async def test_env_and_cwd_are_the_servers_own(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    env = {"STRINGS": str(tmp_path / "strings"), "COLOUR": "green", "HOTPIPE_SERVER": "not to be believed"}
    async with play(tmp_path, puppet(tmp_path, env=env, cwd="sub")) as stage:
        child = await stage.puppet()
        assert child.cwd == str(tmp_path / "sub")
        assert child.env["COLOUR"] == "green"
        assert child.env["HOTPIPE_SERVER"] == "web"


@pytest.mark.anyio
async def test_only_the_known_placeholders_are_replaced(tmp_path: Path) -> None:
    listen = (Listen.of("http::0"), Listen.of({"name": "admin", "tcp": "0"}))
    words = ("{fd}", "{fd:http}", "{fd:admin}", "{host}", "{port}", "{addr}", "{url}")
    others = ("{}", "{fd:}", "{FD}", "{hosts}", "${port:-1}", "{{fd}}", '{"a": {"b": 1}}', "a{1,2}b")
    async with play(tmp_path, puppet(tmp_path, *words, *others, listen=listen)) as stage:
        child = await stage.puppet()
        port = str(stage.sockets[0].port)
        here = ["127.0.0.1", port, f"127.0.0.1:{port}", f"http://127.0.0.1:{port}"]
        assert child.argv[: len(words)] == ["3", "3", "4", *here]
        assert child.argv[len(words) :] == ["{}", "{fd:}", "{FD}", "{hosts}", "${port:-1}", "{3}", *others[-2:]]


@pytest.mark.anyio
async def test_without_a_socket_there_is_nothing_to_fill_in(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path, "{host}", "{url}", listen=())) as stage:
        assert (await stage.puppet()).argv == ["{host}", "{url}"]


@pytest.mark.anyio
@pytest.mark.parametrize("order", ["serve", "serve-unblocked"])
async def test_a_server_is_live_when_it_accepts_and_not_before(tmp_path: Path, order: str) -> None:
    async with play(tmp_path, puppet(tmp_path)) as stage:
        child = await stage.puppet()
        early = [await stage.connect() for _ in range(20)]
        assert not stage.seen.of(ServerReady)
        await child.do(order)
        live = await stage.seen.until(ServerLive)
        assert (live.generation, live.pid, live.sockets) == (1, child.pid, (stage.sockets[0].address(),))
        assert [await answer(client) for client in early] == ["1"] * 20
        assert await stage.ask() == "1"
        for client in early:
            await client.aclose()


@pytest.mark.anyio
async def test_a_server_is_live_only_when_all_its_sockets_are(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path, listen=HTTP * 2)) as stage:
        child = await stage.puppet()
        await child.do("accept 0")
        await queue_of(stage.sockets[1], 1)
        assert not stage.seen.of(ServerReady)
        await child.do("accept 1")
        await stage.seen.until(ServerLive)


@pytest.mark.anyio
async def test_who_never_accepts_is_given_up(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path, ready_timeout=NEVER_READY)) as stage:
        started = await stage.seen.until(ServerStarting)  # on a busy machine it is given up before it can say anything
        failed = await stage.seen.until(ServerFailed)
        assert failed.reason == "accepted no connection within 100ms; does its run use the socket, {fd}?"
        assert failed.serving is None
        await stage.seen.until(ServerStopped)
        assert not is_alive(started.pid)


@pytest.mark.anyio
async def test_a_knock_that_a_failed_generation_left_behind_does_not_make_the_next_one_ready(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path, ready_timeout=NEVER_READY)) as stage:
        for number in (1, 2, 3):
            assert (await stage.seen.until(ServerFailed)).generation == number
            await stage.seen.until(ServerStopped)
            stage.green(f"t{number}")
        assert not stage.seen.of(ServerReady)


@pytest.mark.anyio
async def test_a_server_may_block_where_its_predecessor_did_not(tmp_path: Path) -> None:
    """O_NONBLOCK belongs to what all generations share: open(2), "open file description"."""
    async with play(tmp_path, puppet(tmp_path)) as stage:
        await stage.serving("serve-unblocked")
        stage.green("t1")
        await stage.serving("serve")
        assert [await stage.ask() for _ in range(3)] == ["2"] * 3


@pytest.mark.anyio
async def test_a_server_that_shuts_its_socket_down_leaves_it_open_for_the_next(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path, listen=(Listen.of(f"http::{free_port()}"),))) as stage:
        first = await stage.serving()
        await first.do("shut")
        stage.green("t1")
        await stage.serving()
        assert await stage.ask() == "2"


APPLICATION = """
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})
"""
BARE = {"PYTHONPATH": ".", "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.mark.anyio
@pytest.mark.parametrize(
    "run",
    [
        (str(BIN / "uvicorn"), "app:app", "--fd", "{fd}", "--lifespan", "off"),
        (str(BIN / "gunicorn"), "--no-control-socket", "app:app"),
    ],
    ids=["uvicorn", "gunicorn"],
)
async def test_the_backlog_is_ours_whatever_the_server_asks_for(tmp_path: Path, run: tuple[str, ...]) -> None:
    (tmp_path / "app.py").write_text(APPLICATION)
    async with play(tmp_path, server(run, env=BARE)) as stage:
        for generation in (1, 2):
            await stage.seen.until(ServerLive, generation=generation)
            assert backlog(stage.sockets[0].socket) == min(4096, largest_backlog())
            stage.green(f"t{generation}")


@pytest.mark.anyio
async def test_a_small_backlog_of_the_servers_own_is_widened(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path)) as stage:
        child = await stage.puppet()
        await child.do("backlog 5")
        assert backlog(stage.sockets[0].socket) == 5
        await child.do("serve")
        await stage.seen.until(ServerLive)
        assert backlog(stage.sockets[0].socket) == min(4096, largest_backlog())


@pytest.mark.anyio
async def test_a_prefork_master_whose_workers_cannot_boot_is_not_ready(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("raise RuntimeError('this cannot be imported')\n")
    run = (str(BIN / "gunicorn"), "--no-control-socket", "app:app")
    async with play(tmp_path, server(run, env=BARE)) as stage:
        failed = await stage.seen.until(ServerFailed)
        assert failed.reason == "exited with status 3 before it was ready"
        assert not stage.seen.of(ServerReady)
        assert any("this cannot be imported" in line.text for line in stage.seen.of(ServerOutput))


# --- restarts ------------------------------------------------------------------------------------------------------


def by_gate(path: Path) -> None:
    trigger.write(str(path), trigger.Record(run=2, tree="t2", server="web", at=trigger.now()))


def by_touch(path: Path) -> None:
    os.utime(path)


def by_echo(path: Path) -> None:
    path.write_text("x\n")


def by_truncation(path: Path) -> None:
    path.write_text("")


def by_recreation(path: Path) -> None:
    record = path.read_bytes()
    path.unlink()
    path.write_bytes(record)


def by_bytes(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\0garbage")


def by_another_shape(path: Path) -> None:
    path.write_text('{"v":1,"run":"many","tree":[]}\n')


def by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def by_removal(path: Path) -> None:
    path.rmdir() if path.is_dir() else path.unlink()


TOUCHES = [by_gate, by_touch, by_echo, by_truncation, by_recreation, by_bytes, by_another_shape, by_folder]
FAULTY = {by_echo, by_bytes, by_another_shape, by_folder}


# nodemon #508 #763, watchdog #1123: double restarts
@pytest.mark.anyio
@pytest.mark.parametrize("touch", TOUCHES)
async def test_one_touch_is_one_restart(tmp_path: Path, touch: Callable[[Path], None]) -> None:
    async with play(tmp_path, puppet(tmp_path)) as stage:
        await stage.serving()
        stage.green("t1")
        await stage.serving()
        touch(stage.trigger)
        third = await stage.serving()
        assert third.env["HOTPIPE_TREE"] == ("t2" if touch is by_gate else "on disk")
        assert [warned.code for warned in stage.seen.of(Warned)] == ["trigger.unreadable"] * (touch in FAULTY)
        by_removal(stage.trigger)
        stage.green("t3")
        assert (await stage.serving()).env["HOTPIPE_GENERATION"] == "4"


@pytest.mark.anyio
async def test_a_touch_is_not_noticed_again_at_a_later_look(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path)) as stage:
        await stage.serving()
        by_echo(stage.trigger)
        await stage.serving()
        await anyio.sleep(1.2)  # the trigger is looked at once a second: time for a second restart to show itself
        assert len(stage.seen.of(ServerStarting)) == 2


@pytest.mark.anyio
async def test_what_a_trigger_said_before_we_came_starts_nothing(tmp_path: Path) -> None:
    by_gate(tmp_path / ".trigger")
    async with play(tmp_path, puppet(tmp_path, start="green")) as stage:
        by_touch(stage.trigger)
        assert (await stage.serving()).env["HOTPIPE_TREE"] == "on disk"
        assert len(stage.seen.of(ServerStarting)) == 1
        assert not stage.seen.of(ServerVerified)


@pytest.mark.anyio
async def test_a_removed_trigger_is_no_touch(tmp_path: Path) -> None:
    by_gate(tmp_path / ".trigger")
    async with play(tmp_path, puppet(tmp_path)) as stage:
        await stage.serving()
        by_removal(stage.trigger)
        stage.green("t1")
        assert (await stage.serving()).env["HOTPIPE_GENERATION"] == "2"


@pytest.mark.anyio
async def test_a_tree_that_is_served_already_is_only_verified(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path)) as stage:
        await stage.serving()
        stage.green("on disk")
        verified = await stage.seen.until(ServerVerified)
        assert (verified.generation, verified.tree) == (1, "on disk")
        stage.green("another")
        assert (await stage.serving()).env["HOTPIPE_GENERATION"] == "2"
        await stage.seen.until(ServerVerified, generation=2)


@pytest.mark.anyio
async def test_with_start_green_nothing_runs_before_the_first_green(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path, start="green")) as stage:
        waiting = await stage.connect()
        stage.green("t1")
        first = await stage.serving()
        assert (first.env["HOTPIPE_GENERATION"], first.env["HOTPIPE_TREE"]) == ("1", "t1")
        assert await answer(waiting) == "1"
        await waiting.aclose()


# cargo-watch #75, air #683: nobody is refused while the server is down
@pytest.mark.anyio
async def test_clients_that_come_while_the_server_is_down_wait_and_are_served(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path)) as stage:
        first = await stage.serving()
        stage.green("t1")
        second = await stage.puppet()
        assert not is_alive(first.pid)
        waiting = [await stage.connect() for _ in range(50)]
        await second.do("serve")
        assert [await answer(client) for client in waiting] == ["2"] * 50
        for client in waiting:
            await client.aclose()


@pytest.mark.anyio
async def test_a_server_that_exits_is_reported_and_comes_back_with_the_next_touch(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path)) as stage:
        first = await stage.serving()
        await first.order("exit 7")
        failed = await stage.seen.until(ServerFailed)
        assert (failed.generation, failed.reason, failed.serving) == (1, "exited with status 7", None)
        waiting = await stage.connect()
        by_echo(stage.trigger)
        await stage.serving()
        assert await answer(waiting) == "2"
        await waiting.aclose()


@pytest.mark.anyio
async def test_a_server_that_dies_before_it_is_ready_says_so(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path)) as stage:
        child = await stage.puppet()
        await child.do("say the port is purple")
        await child.order("exit 1")
        assert (await stage.seen.until(ServerOutput)).text == "the port is purple"
        assert (await stage.seen.until(ServerFailed)).reason == "exited with status 1 before it was ready"


@pytest.mark.anyio
async def test_a_server_that_cannot_be_spawned_is_tried_again_at_the_next_touch(tmp_path: Path) -> None:
    program = tmp_path / "serve"
    async with play(tmp_path, server(("./serve",), env={"STRINGS": str(tmp_path / "strings")})) as stage:
        failed = await stage.seen.until(ServerFailed)
        assert "there is no program './serve'" in failed.reason
        program.write_text(f"#!/bin/sh\nexec {' '.join(PUPPET)}\n")
        program.chmod(0o755)
        by_echo(stage.trigger)
        assert (await stage.serving()).env["HOTPIPE_GENERATION"] == "2"


# watchexec #960: the shell dies, the real child lives; watchdog #609, nodemon #1025: orphans
@pytest.mark.anyio
async def test_nobody_of_the_old_generation_is_left_when_the_new_one_starts(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path, stop_timeout=Duration(0.1))) as stage:
        first = await stage.serving()
        brood = await first.do("brood")
        await first.do("deaf")
        assert all(is_alive(pid) for pid in brood)
        stage.green("t1")
        stopped = await stage.seen.until(ServerStopped)
        assert (stopped.signal, stopped.killed) == ("KILL", True)
        assert not [pid for pid in (first.pid, *brood) if is_alive(pid)]
        await stage.serving()


@pytest.mark.anyio
async def test_a_server_that_heeds_its_stop_signal_is_not_killed(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path, stop_signal="INT")) as stage:
        await stage.serving()
        stage.loop.stop()
        stopped = await stage.seen.until(ServerStopped)
        assert (stopped.signal, stopped.killed) == ("INT", False)
        assert not stage.seen.of(ServerFailed)


@pytest.mark.anyio
async def test_what_a_server_says_while_it_stops_is_heard(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path)) as stage:
        child = await stage.serving()
        await child.do("polite")
        stage.green("t1")
        stopped = await stage.seen.until(ServerStopped)
        assert (stopped.exit_code, stopped.killed) == (0, False)
        assert [line.text for line in stage.seen.of(ServerOutput)] == ["farewell"]


@pytest.mark.anyio
async def test_a_touch_during_a_start_is_not_lost(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path)) as stage:
        first = await stage.puppet()
        stage.green("t1")
        second = await stage.serving()
        assert second.env["HOTPIPE_TREE"] == "t1"
        assert not is_alive(first.pid)


@pytest.mark.anyio
async def test_a_touch_during_a_stop_is_not_lost(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path)) as stage:
        first = await stage.serving()
        await first.do("linger")
        stage.green("t1")
        await stage.seen.until(ServerOutput, text="not yet")
        by_echo(stage.trigger)
        await stage.seen.until(Warned)
        await first.order("exit 0")
        second = await stage.serving()
        assert (second.env["HOTPIPE_GENERATION"], second.env["HOTPIPE_TREE"]) == ("2", "on disk")


@pytest.mark.anyio
@pytest.mark.parametrize("by_hand", [True, False])
async def test_after_many_touches_the_newest_content_is_served(tmp_path: Path, by_hand: bool) -> None:
    page = tmp_path / "page.txt"
    page.write_text("0")
    async with play(tmp_path, server((*PYTHON, str(PROJECTS / "page.py")))) as stage:
        await stage.seen.until(ServerLive)
        for number in range(1, 31):
            page.write_text(f"{number}")
            by_echo(stage.trigger) if by_hand else stage.green(f"t{number}")
            await anyio.sleep(0.01 * (number % 3))  # now within one look at the trigger, now beyond it
        with anyio.fail_after(PATIENCE_S):
            while await served(stage) != "30":
                pass


async def served(stage: Play) -> str:
    """The page as a client gets it; a client that is cut off by a restart asks again."""
    with suppress(anyio.BrokenResourceError):
        async with await stage.connect() as client:
            await client.send(b"GET / HTTP/1.0\r\n\r\n")
            return (await answer(client)).rpartition(" ")[2]
    return ""


@pytest.mark.anyio
async def test_the_sockets_are_free_again_in_the_end(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path)) as stage:
        child = await stage.serving()
        port = stage.sockets[0].port
    assert not is_alive(child.pid)
    with held(f"http::{port}"):
        pass

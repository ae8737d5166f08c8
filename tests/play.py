"""A server loop at work on real sockets, with puppets (tests/projects/puppet.py) for generations.

The test is the gate, the tree and the clients: it writes files, says green, connects, and pulls the puppets' strings.
"""

import contextlib
import json
import math
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import anyio
import psutil
from anyio.streams.buffered import BufferedByteReceiveStream

from hotpipe import trigger
from hotpipe.config.file import Project
from hotpipe.config.model import Config, Duration, Listen, Server
from hotpipe.events import AnyEvent, ServerLive
from hotpipe.process.system import System
from hotpipe.server.cutover import Cutover
from hotpipe.server.generation import Setting
from hotpipe.server.listener import Listener, listeners_of
from hotpipe.server.loop import ServerLoop
from hotpipe.server.touches import Touches

PATIENCE_S = 30
PROJECTS = Path(__file__).parent / "projects"
PYTHON = (sys.executable, "-I", "-S")  # starts in 20 ms
PUPPET = (*PYTHON, str(PROJECTS / "puppet.py"))
HTTP = (Listen.of("http::0"),)
NEVER = Duration(3600)
AT_ONCE = Duration(0)
REQUEST = b"GET / HTTP/1.0\r\n\r\n"

_E = TypeVar("_E", bound=AnyEvent)


def server(run: str | tuple[str, ...] = PUPPET, listen: tuple[Listen, ...] = HTTP, **rest: Any) -> Server:
    return Server(run=run, listen=listen, **{"probation": AT_ONCE, **rest})


def puppet(folder: Path, *arguments: str, env: dict[str, str] | None = None, **rest: Any) -> Server:
    """A server of puppets."""
    return server(run=(*PUPPET, *arguments), **{"env": {"STRINGS": str(folder / "strings"), **(env or {})}, **rest})


def is_alive(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


async def until_dead(pid: int) -> None:
    with anyio.fail_after(PATIENCE_S):
        while is_alive(pid):  # noqa: ASYNC110 - who is not our child tells us nothing
            await anyio.sleep(0.005)


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
    addresses: list[Any] = field(default_factory=list)

    @classmethod
    async def meet(cls, strings: anyio.abc.SocketStream) -> "Puppet":
        lines = BufferedByteReceiveStream(strings)
        return cls(strings, lines, **json.loads(await lines.receive_until(b"\n", 1 << 20)))

    @property
    def generation(self) -> int:
        return int(self.env["HOTPIPE_GENERATION"])

    async def do(self, order: str) -> Any:
        with anyio.fail_after(PATIENCE_S):
            await self.order(order)
            return json.loads(await self.lines.receive_until(b"\n", 1 << 20))

    async def order(self, order: str) -> None:
        """Without waiting for an answer."""
        await self.strings.send(f"{order}\n".encode())


class Disk:
    """The tree, as the test writes it: told at once, or only to who asks whether all has been told."""

    def __init__(self) -> None:
        self.tree = "on disk"
        self.loop: ServerLoop
        self.untold: list[tuple[tuple[str, ...], str]] = []

    async def identify(self) -> str:
        return self.tree

    async def look(self) -> None:
        """It is watched."""

    async def settle(self) -> None:
        while self.untold:
            self.loop.changed(*self.untold.pop(0))

    def write(self, tree: str, *paths: str) -> None:
        self.tree = tree
        self.loop.changed(paths or ("app.py",), tree)

    def write_unseen(self, tree: str, *paths: str) -> None:
        self.tree = tree
        self.untold.append((paths or ("app.py",), tree))


class Visitor:
    """A client that connects all the time, one connection after the other."""

    def __init__(self) -> None:
        self.answers: Counter[str] = Counter()
        self.failures: list[str] = []

    async def visit(self, stage: "Play") -> None:
        while True:
            try:
                self.answers[await stage.ask()] += 1
            except OSError as error:
                self.failures.append(repr(error))
            await anyio.sleep(0.001)  # there are others on this machine


@dataclass
class Play:
    """A server loop at work in `folder`, on real sockets."""

    folder: Path
    seen: Seen
    loop: ServerLoop
    disk: Disk
    cutover: Cutover
    entrances: anyio.abc.ObjectReceiveStream[Puppet]
    greeting: bytes = b""  # what clients say first

    @property
    def trigger(self) -> Path:
        return self.folder / ".trigger"

    @property
    def listeners(self) -> tuple[Listener, ...]:
        return self.cutover.listeners

    @property
    def ports(self) -> list[int]:
        return [each.port for each in self.listeners if not each.listen.path]

    async def puppet(self) -> Puppet:
        """The next generation."""
        with anyio.fail_after(PATIENCE_S):
            return await self.entrances.receive()

    async def serving(self, *orders: str) -> Puppet:
        """The next generation, live."""
        puppet = await self.puppet()
        for order in orders or ("serve",):
            await puppet.do(order)
        await self.seen.until(ServerLive, pid=puppet.pid)
        return puppet

    def green(self, tree: str) -> None:
        """What the gate does."""
        trigger.write(str(self.trigger), trigger.Record(run=1, tree=tree, server="web", at=trigger.now()))

    def save(self, tree: str, *paths: str) -> None:
        """Files are written, and the gate finds them good."""
        self.disk.write(tree, *paths)
        self.green(tree)

    async def ask(self, place: int = 0) -> str:
        """What a new client is answered."""
        with await self.connect(place) as client:
            if self.greeting:
                client.send(self.greeting)
            return await answer(client)

    async def connect(self, place: int = 0) -> socket.socket:
        return await connected(self.listeners[place])

    async def requesting(self, place: int = 0) -> socket.socket:
        """A client that has asked."""
        client = await self.connect(place)
        client.send(REQUEST)
        return client

    @asynccontextmanager
    async def visited(self) -> AsyncIterator[Visitor]:
        """With a client that never lets go; it must get an answer before and after what is done meanwhile."""
        visitor = Visitor()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(visitor.visit, self)
            await visits(visitor)
            yield visitor
            await visits(visitor)
            tasks.cancel_scope.cancel()


async def visits(visitor: Visitor) -> None:
    """Until the visitor was there twice more: once surely begun from now on."""
    before = visitor.answers.total() + len(visitor.failures)
    with anyio.fail_after(PATIENCE_S):
        while visitor.answers.total() + len(visitor.failures) < before + 2:  # noqa: ASYNC110 - it is a count
            await anyio.sleep(0.001)


async def connected(listener: Listener) -> socket.socket:
    """A client at the public address."""
    path = listener.addr.removeprefix("unix:") if listener.listen.path else ""
    family = socket.AF_UNIX if path else socket.AF_INET6 if ":" in listener.target[0] else socket.AF_INET
    client = socket.socket(family, socket.SOCK_STREAM if listener.listen.is_stream else socket.SOCK_DGRAM)
    client.setblocking(False)
    try:
        with anyio.fail_after(PATIENCE_S):
            try:
                client.connect(path or listener.target)
            except BlockingIOError:
                await anyio.wait_writable(client)
        if error := client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(error, "cannot connect")
    except BaseException:
        client.close()
        raise
    return client


async def received(client: socket.socket) -> bytes:
    """The next piece; nothing at the end."""
    with anyio.fail_after(PATIENCE_S):
        await anyio.wait_readable(client)
        return client.recv(1 << 16)


async def answer(client: socket.socket) -> str:
    """All of it: an answer over HTTP without its head."""
    pieces = b""
    while piece := await received(client):
        pieces += piece
    return pieces.decode().rpartition("\r\n\r\n")[2]


async def answers(clients: Iterable[socket.socket]) -> list[str]:
    told = []
    for client in clients:
        with client:
            told.append(await answer(client))
    return told


@contextlib.contextmanager
def opened(served: Server, folder: Path) -> Iterator[Cutover]:
    cutover = Cutover.over(listeners_of(served, str(folder), {}))
    try:
        yield cutover
    finally:
        cutover.close()


@asynccontextmanager
async def play(folder: Path, played: Server) -> AsyncIterator[Play]:
    """Run a server loop in `folder`; in the end it stops, and so does all that it started."""
    seen, processes, disk = Seen(), System(), Disk()
    project = Project(str(folder), str(folder / "hotpipe.toml"), Config(server={"web": played}))
    enter, entrances = anyio.create_memory_object_stream[Puppet](math.inf)

    async def admit(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            with suppress(anyio.IncompleteRead, anyio.BrokenResourceError, anyio.EndOfStream):
                enter.send_nowait(await Puppet.meet(stream))
                await anyio.sleep_forever()

    with opened(played, folder) as cutover:
        touches = Touches(project.path(project.config.triggers()["web"]), seen.emit)
        loop = disk.loop = ServerLoop(Setting(project, "web", played, cutover, processes, seen.emit), touches, disk)
        async with (
            enter,
            entrances,
            await anyio.create_unix_listener(str(folder / "strings")) as door,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(door.serve, admit)
            try:
                async with anyio.create_task_group() as playing:
                    playing.start_soon(loop.run)
                    yield Play(folder, seen, loop, disk, cutover, entrances)
                    loop.stop()
            finally:
                with anyio.CancelScope(shield=True):
                    await processes.close()
            tasks.cancel_scope.cancel()

"""The ways of bench/restart to replace a server: hotpipe, stop-then-start on a held socket, and the servers' own.

All of them look alike from outside: `with` starts and ends them, `restart` asks for another generation and waits until
that one answers, `settle` waits until the old one is gone. Times are CLOCK_MONOTONIC in seconds.
"""

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import struct
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import tomli_w
from measure import Program, environment
from restart_servers import FIRST_DESCRIPTOR, PYTHON, Server

from hotpipe import trigger

PATIENCE_S = 30.0
BACKLOG = 4096
_STOP_S = 10.0
_LOOK_S = 0.002
_TCPI_UNACKED = 24  # offset in struct tcp_info, <linux/tcp.h>: of a listening socket the length of its accept queue


class Restart(NamedTuple):
    """When another generation was asked for, and when it answered."""

    asked: float
    live: float

    @property
    def took_s(self) -> float:
        return self.live - self.asked


class WayError(Exception):
    """A way did not do what it is there for; the text says what was seen."""


class Way(ABC):
    """One server, up and answering on `port` of 127.0.0.1, that can be replaced."""

    name: str
    port: int

    def __enter__(self) -> "Way":
        try:
            self.begin()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @abstractmethod
    def begin(self) -> None:
        """Until the first generation answers; raises WayError."""

    @abstractmethod
    def end(self) -> None:
        """Nothing is left of it; also if it never began."""

    @abstractmethod
    def restart(self) -> Restart:
        """Replace it; raises WayError."""

    @abstractmethod
    def settle(self) -> None:
        """Until nothing of the old generation is left; raises WayError."""


# --- a server alone ---------------------------------------------------------------------------------------------------


class Child:
    """A server that was given a socket as sd_listen_fds(3) has it, without hotpipe; `with` ends its whole session."""

    def __init__(self, server: Server, listening: socket.socket, generation: int, log: Path) -> None:
        given = {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "http", "HOTPIPE_GENERATION": str(generation)}
        argv = ["/bin/sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh", *server.command()]
        with log.open("ab") as out, _in(server.cwd):
            actions = [
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, out.fileno(), 1),
                (os.POSIX_SPAWN_DUP2, out.fileno(), 2),
                (os.POSIX_SPAWN_DUP2, listening.fileno(), FIRST_DESCRIPTOR),
            ]
            self.pid = os.posix_spawn(
                argv[0], argv, environment() | given | server.env, file_actions=actions, setsid=True
            )
        self._pidfd = os.pidfd_open(self.pid)

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """TERM, and after a while KILL. Does nothing the second time."""
        if self._pidfd < 0:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGTERM)
        if not select.select([self._pidfd], [], [], _STOP_S)[0]:
            os.killpg(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)  # workers that outlived their master
        os.close(self._pidfd)
        self._pidfd = -1


@contextlib.contextmanager
def _in(folder: Path) -> Iterator[None]:
    """posix_spawn(3) takes no working directory."""
    with contextlib.chdir(folder):
        yield


def held_socket() -> socket.socket:
    """A listening socket as hotpipe would set it up."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def boot(server: Server, log: Path) -> float:
    """Seconds that the server alone takes from spawn to first accept, on a socket of its own; raises WayError."""
    with held_socket() as listening:
        knock = socket.create_connection(listening.getsockname()[:2])
        began = time.monotonic()
        with Child(server, listening, 0, log), knock:  # Go waits 5 s for the first request of an open connection
            while _queued(listening):
                time.sleep(_LOOK_S)
                if time.monotonic() - began > PATIENCE_S:
                    raise WayError(f"{server.name} alone accepted nothing; it wrote {log.read_text()[-600:]!r}")
            return time.monotonic() - began


def _queued(listening: socket.socket) -> int:
    info = listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    return int(struct.unpack_from("I", info, _TCPI_UNACKED)[0])


# --- hotpipe ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tuning:
    """What the configuration of the bench says beyond the defaults, and which program is measured."""

    program: str
    probation: str


class Hotpipe(Way):
    """`hotpipe serve`, asked by its trigger and heard through its events."""

    name = "hotpipe"

    def __init__(self, server: Server, folder: Path, tuning: Tuning) -> None:
        self._project = folder
        table: dict[str, Any] = {
            "run": list(server.argv),
            "listen": ["http::0"],
            "cwd": str(server.cwd),
            "env": server.env,
            "probation": tuning.probation,
        }
        (folder / "hotpipe.toml").write_text(tomli_w.dumps({"server": {"web": table}}))
        self._program = Program((*tuning.program.split(), "serve", "--json"), folder, folder / "log")
        self._lines = _Lines(folder / "log", self._program)
        self._stopped: set[int] = set()
        self._live = 0

    def begin(self) -> None:
        self.port = int(self._until_live()["sockets"][0]["addr"].rpartition(":")[2])

    def end(self) -> None:
        self._program.__exit__()

    def restart(self) -> Restart:
        asked = time.monotonic()
        trigger.write(str(self._project / ".trigger"), trigger.Record(server="web", at=trigger.now()))
        return Restart(asked, self._until_live()["mono"])

    def settle(self) -> None:
        end = time.monotonic() + PATIENCE_S
        while self._stopped < set(range(1, self._live)):
            self._note(self._lines.next(end, f"generation {self._live - 1} to be stopped"))

    def _until_live(self) -> dict[str, Any]:
        end = time.monotonic() + PATIENCE_S
        while True:
            event = self._lines.next(end, f"generation {self._live + 1} to be live")
            self._note(event)
            if event["type"] == "server.failed":
                raise WayError(f"generation {event['generation']} failed: {event['reason']}")
            if event["type"] == "server.live" and event["generation"] > self._live:
                self._live = event["generation"]
                return event

    def _note(self, event: dict[str, Any]) -> None:
        if event["type"] == "server.stopped":
            self._stopped.add(event["generation"])


class _Lines:
    """The events that hotpipe writes to its log, one after another."""

    def __init__(self, log: Path, program: Program) -> None:
        self._file = log.open("rb")
        self._program = program
        self._begun = b""

    def next(self, end: float, what: str) -> dict[str, Any]:
        """The next event; raises WayError at `end`, or when hotpipe has ended."""
        while True:
            alive = self._program.alive
            self._begun += self._file.readline()
            if self._begun.endswith(b"\n"):
                line, self._begun = self._begun, b""
                if line.startswith(b"{"):
                    return dict(json.loads(line))
            elif not alive or time.monotonic() > end:
                raise WayError(f"waited in vain for {what}; the last: {self._program.log.read_text()[-600:]}")
            else:
                time.sleep(_LOOK_S)


# --- the neighbours ---------------------------------------------------------------------------------------------------


class StopStart(Way):
    """What systemfd with cargo-watch or watchexec does: one held socket, the old one stopped, the new one started."""

    name = "stop, then start"

    def __init__(self, server: Server, folder: Path) -> None:
        self._server = server
        self._log = folder / "log"
        self._listening = held_socket()
        self.port = self._listening.getsockname()[1]
        self._generation = 0
        self._child: Child | None = None

    def begin(self) -> None:
        self._start(set())

    def end(self) -> None:
        if self._child:
            self._child.stop()
        self._listening.close()

    def restart(self) -> Restart:
        asked = time.monotonic()
        assert self._child
        old = _family(self._child.pid)
        self._child.stop()
        return Restart(asked, self._start(old))

    def _start(self, old: set[int]) -> float:
        self._generation += 1
        self._child = Child(self._server, self._listening, self._generation, self._log)
        return answered(self.port, old)

    def settle(self) -> None:
        """The old one is gone before the new one comes."""


class Own(Way):
    """A server's own way, on its own port: `ask` makes it replace itself."""

    def __init__(self, argv: tuple[str, ...], folder: Path) -> None:
        self.port = _free_port()
        argv = tuple(word.replace("{port}", str(self.port)) for word in argv)
        self._program = Program(argv, folder, folder / "log")
        self._old: set[int] = set()

    def begin(self) -> None:
        answered(self.port, set())

    def end(self) -> None:
        self._program.__exit__()

    def restart(self) -> Restart:
        self._old = self._workers()
        asked = time.monotonic()
        self.ask()
        return Restart(asked, answered(self.port, self._old))

    def _workers(self) -> set[int]:
        """All but the program itself, and what Python's multiprocessing starts for itself."""
        family = _family(self._program.pid) - {self._program.pid}
        return {pid for pid in family if "resource_tracker" not in _command_line(pid)}

    @abstractmethod
    def ask(self) -> None:
        """Touch a file, send a signal."""

    def settle(self) -> None:
        end = time.monotonic() + PATIENCE_S
        while left := self._old & self._workers():
            if time.monotonic() > end:
                raise WayError(f"old processes live on: {left}")
            time.sleep(0.01)


class UvicornReload(Own):
    """`uvicorn --reload`: the application's file is touched."""

    name = "uvicorn --reload"

    def __init__(self, folder: Path) -> None:
        self._file = folder / "asgi.py"
        shutil.copy(PYTHON / "asgi.py", self._file)
        uvicorn = str(Path(sys.executable).with_name("uvicorn"))
        quiet = ("--no-access-log", "--log-level", "warning")
        super().__init__((uvicorn, "asgi:app", "--reload", "--port", "{port}", *quiet), folder)

    def ask(self) -> None:
        self._file.write_text((PYTHON / "asgi.py").read_text())


class GunicornHup(Own):
    """gunicorn's master is sent HUP."""

    name = "gunicorn HUP"

    def __init__(self, server: Server, folder: Path) -> None:
        shutil.copy(PYTHON / "wsgi.py", folder)
        super().__init__((*server.command(), "--bind", "127.0.0.1:{port}"), folder)

    def ask(self) -> None:
        os.kill(self._program.pid, signal.SIGHUP)


def own_way(server: Server, folder: Path) -> Own | None:
    """How this server replaces itself, if it can."""
    if server.name == "uvicorn":
        return UvicornReload(folder)
    return GunicornHup(server, folder) if server.name.startswith("gunicorn") else None


def answered(port: int, old: set[int]) -> float:
    """The moment at which somebody else than `old` has answered on that port; raises WayError."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        with contextlib.suppress(OSError, ValueError, IndexError):
            if int(get(port).split()[1]) not in old:
                return time.monotonic()
        time.sleep(_LOOK_S)
    raise WayError(f"nobody new answered within {PATIENCE_S:g} s")


def get(port: int) -> str:
    """The body of one answer, over a connection of its own; raises OSError."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
        with connection.makefile("rb") as stream:
            return stream.read().partition(b"\r\n\r\n")[2].decode()


def _family(pid: int) -> set[int]:
    try:
        return {pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))}
    except psutil.NoSuchProcess:
        return set()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def _command_line(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text()
    return ""

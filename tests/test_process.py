"""Programs as they really are: their output, their end, and all that they leave behind. Each test on both loops."""

import contextlib
import os
import resource
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.to_thread
import psutil
import pytest

from hotpipe.errors import SpawnError
from hotpipe.events import Stream
from hotpipe.process.child import LONGEST_LINE, Child, Exit, Rhythm
from hotpipe.process.command import COOKIE, Command, environment
from hotpipe.process.system import System

pytestmark = pytest.mark.anyio

PATIENCE_S = 30
PYTHON = (sys.executable, "-I", "-S", "-c")

# Each prints `pid N` for a process that must not outlive it, and `ready` when all of them exist.
TREES = {
    "a child": "sleep 1000 & echo pid $!; echo ready; wait",
    "a double fork": "(sleep 1000 & echo pid $!); echo ready; sleep 1000",
    "a session of its own": "setsid sh -c 'echo pid $$; echo ready; exec sleep 1000' & wait",
    "a daemon": "(setsid sh -c 'echo pid $$; echo ready; exec sleep 1000' &); sleep 1000",
    "no environment": "env -i setsid sh -c 'echo pid $$; echo ready; exec sleep 1000' & wait",
    "no environment, and deaf": (
        """env -i setsid sh -c 'trap "" TERM; echo pid $$; sleep 1000 & echo pid $!; echo ready; wait' & wait"""
    ),
    "a group of its own": "set -m; sleep 1000 & echo pid $!; echo ready; wait",
}
LEADERLESS = {
    "a job": "sleep 1000 & echo pid $!",
    "a job with a group of its own": "set -m; sleep 1000 & echo pid $!",
    "an orphan": "(sleep 1000 & echo pid $!)",
}
DAEMON = """(setsid sh -c 'echo pid $$ >"$0"; exec sleep 1000' "$PIDS" >/dev/null 2>&1 &)
until [ -s "$PIDS" ]; do :; done"""
LOST_DAEMON = DAEMON.replace("(setsid", "(env -i setsid")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def processes(anyio_backend: str) -> AsyncIterator[System]:
    system = System()
    try:
        yield system
    finally:
        await system.close()


@dataclass
class Heard:
    """What a program wrote."""

    lines: list[tuple[Stream, str]] = field(default_factory=list)
    ready: anyio.Event = field(default_factory=anyio.Event)

    def __call__(self, stream: Stream, text: str) -> None:
        self.lines.append((stream, text))
        if text == "ready":
            self.ready.set()

    def texts(self, stream: Stream = "stdout") -> list[str]:
        return [text for heard, text in self.lines if heard == stream]

    def pids(self) -> list[int]:
        return [int(text.removeprefix("pid ")) for text in self.texts() if text.startswith("pid ")]


def command(run: str | tuple[str, ...], cwd: str = ".", env: Mapping[str, str] | None = None) -> Command:
    return Command(run, os.path.abspath(cwd), environment(env or {}))


async def finished(processes: System, run: str | tuple[str, ...], **env: str) -> tuple[Child, Heard]:
    heard = Heard()
    child = processes.spawn(command(run, env=env))
    with anyio.fail_after(PATIENCE_S):
        await child.finish(heard)
    return child, heard


@asynccontextmanager
async def running(processes: System, run: str | tuple[str, ...]) -> AsyncIterator[tuple[Child, Heard]]:
    """A program that has said that it is ready."""
    heard = Heard()
    child = processes.spawn(command(run))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(child.finish, heard)
        with anyio.fail_after(PATIENCE_S):
            await heard.ready.wait()
            yield child, heard
        tasks.cancel_scope.cancel()


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - processes ring no bell
            await anyio.sleep(0.005)


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def zombies() -> list[psutil.Process]:
    """The dead that hotpipe has to bury: not those of pytest's own session, which other tests may have left."""
    children = (child for child in psutil.Process().children() if os.getsid(child.pid) != os.getsid(0))
    return [child for child in children if child.status() == psutil.STATUS_ZOMBIE]


def own_descriptors() -> set[str]:
    return {name for name in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{name}")}


@contextmanager
def listening(count: int) -> Iterator[tuple[int, ...]]:
    opened = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        yield tuple(each.fileno() for each in opened)
    finally:
        for each in opened:
            each.close()


# --- how a program ends -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "script, ended, returncode",
    [
        ("exit 0", Exit(0, None), 0),
        ("exit 7", Exit(7, None), 7),
        ("exit 255", Exit(255, None), 255),
        ("kill -KILL $$", Exit(None, "KILL"), -9),
        ("kill -SEGV $$", Exit(None, "SEGV"), -11),
        ("kill -35 $$", Exit(None, "35"), -35),  # a real-time signal, which has no name
    ],
)
async def test_the_end_of_a_program_is_its_status_or_its_signal(
    processes: System, script: str, ended: Exit, returncode: int
) -> None:
    child, _ = await finished(processes, script)
    assert child.exit == ended
    assert ended.returncode == returncode


async def test_any_number_of_tasks_may_wait_for_the_end(processes: System) -> None:
    child = processes.spawn(command("exit 3"))
    ends: list[Exit] = []

    async def wait() -> None:
        ends.append(await child.wait())

    with anyio.fail_after(PATIENCE_S):
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(wait)
    assert ends == [Exit(3, None)] * 3
    child.close()


async def test_a_single_command_takes_the_place_of_its_shell(processes: System) -> None:
    # watchexec #960: the shell dies and the real child lives
    async with running(
        processes, shlex.join((*PYTHON, "import os, time; print('ready', flush=True); time.sleep(1000)"))
    ) as (
        child,
        _,
    ):
        assert psutil.Process(child.pid).children() == []
        assert psutil.Process(child.pid).cmdline()[0] == sys.executable
        await processes.stop(child, "TERM", PATIENCE_S)
    assert child.exit == Exit(None, "TERM")


@pytest.mark.parametrize(
    "script, said",
    [
        ("A=1 printenv A", ["1"]),
        ("A=1 B=2 env | grep '^B='", ["B=2"]),
        ("A='x y'; echo $A", ["x y"]),
        ("echo one\necho two", ["one", "two"]),
        ("  echo padded  ", ["padded"]),
        ("if true; then echo word; fi", ["word"]),
        ("! false && echo not", ["not"]),
        ("(echo group)", ["group"]),
        ("echo 'a;b' \"c&d\"", ["a;b c&d"]),
        ("cd / && pwd", ["/"]),
        ("echo $((1+2)) `echo 4`", ["3 4"]),
        ("echo to stderr 2>&1 >/dev/null; echo x # y", ["x"]),
        ("echo $#", ["0"]),
        ("true & wait; echo waited", ["waited"]),
    ],
)
@pytest.mark.parametrize("cwd", [".", "/tmp"])
async def test_a_text_means_what_the_shell_says_it_means(
    processes: System, script: str, said: list[str], cwd: str
) -> None:
    heard = Heard()
    with anyio.fail_after(PATIENCE_S):
        await processes.spawn(command(script, cwd)).finish(heard)
    assert heard.texts() == said


# --- what a program writes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "written, lines",
    [
        (b"", []),
        (b"no newline", ["no newline"]),
        (b"one\r\ntwo\r\n", ["one", "two"]),
        (b"\n\n", ["", ""]),
        (b"progress\rdone\n", ["progress\rdone"]),
        (b"\xff\xfe ok\n\xc3", ["�� ok", "�"]),
        ("żółw\n".encode(), ["żółw"]),
        (bytes(range(256)), [bytes(range(10)).decode(), bytes(range(11, 256)).decode(errors="replace")]),
    ],
    ids=["nothing", "no newline", "CRLF", "empty lines", "CR", "invalid", "UTF-8", "binary"],
)
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
async def test_output_comes_as_lines_of_valid_text(
    processes: System, tmp_path: Path, written: bytes, lines: list[str], stream: Stream
) -> None:
    (tmp_path / "written").write_bytes(written)
    _, heard = await finished(processes, f"cat {shlex.quote(str(tmp_path))}/written >&{1 if stream == 'stdout' else 2}")
    assert heard.lines == [(stream, line) for line in lines]


@pytest.mark.parametrize("end", ["", "\\n"])
async def test_a_very_long_line_comes_in_pieces(processes: System, end: str) -> None:
    _, heard = await finished(processes, (*PYTHON, f"print('x' * 100_000 + 'y' * 100_000, end='{end}')"))
    assert "".join(heard.texts()) == "x" * 100_000 + "y" * 100_000
    assert max(map(len, heard.texts())) <= LONGEST_LINE


async def test_five_megabytes_come_whole(processes: System) -> None:
    _, heard = await finished(processes, (*PYTHON, "for n in range(100_000): print(n, '.' * 50)"))
    assert [line.split()[0] for line in heard.texts()] == list(map(str, range(100_000)))


async def test_standard_input_is_empty(processes: System) -> None:
    _, heard = await finished(processes, "cat; echo $?")
    assert heard.texts() == ["0"]


@pytest.mark.parametrize("holder", ["sleep 1000", "yes"])
async def test_who_holds_the_pipe_after_the_end_is_not_waited_for(processes: System, holder: str) -> None:
    # uvicorn #2943: the restart hangs for ever
    child, heard = await finished(processes, f"{holder} & echo last; exit 3")
    assert child.exit == Exit(3, None)
    assert "last" in heard.texts()


# --- stopping -----------------------------------------------------------------------------------------------------


async def test_a_program_that_heeds_its_signal_is_not_killed(processes: System) -> None:
    async with running(processes, "trap 'exit 5' INT; echo ready; while :; do sleep 0.01; done") as (child, _):
        assert not await processes.stop(child, "INT", PATIENCE_S)
    assert child.exit == Exit(5, None)


async def test_a_program_that_ignores_its_signal_is_killed(processes: System) -> None:
    async with running(processes, "trap '' TERM; echo ready; while :; do sleep 0.01; done") as (child, _):
        assert await processes.stop(child, "TERM", 0.05)
    assert child.exit == Exit(None, "KILL")


async def test_what_a_trap_starts_to_clean_up_is_left_to_finish(processes: System) -> None:
    script = "trap 'sleep 0.1; echo cleaned; exit 0' TERM; echo ready; while :; do sleep 0.01; done"
    async with running(processes, script) as (child, heard):
        assert not await processes.stop(child, "TERM", PATIENCE_S)
        await until(lambda: "cleaned" in heard.texts())
    assert child.exit == Exit(0, None)


async def test_each_is_asked_once_to_end_and_what_it_starts_then_may_finish(processes: System, tmp_path: Path) -> None:
    said = shlex.quote(str(tmp_path / "said"))  # into a file: the pipes are closed when the leader has ended
    trap = f"echo asked >>{said}; sleep 0.1 && echo cleaned >>{said} && exit"
    script = f"""setsid sh -c 'trap "{trap}" TERM; echo ready; while :; do sleep 0.01; done' 2>/dev/null & wait"""
    async with running(processes, script) as (child, _):
        assert not await processes.stop(child, "TERM", PATIENCE_S)
    assert (tmp_path / "said").read_text().split() == ["asked", "cleaned"]


@pytest.mark.parametrize("script", TREES.values(), ids=TREES.keys())
async def test_the_whole_tree_dies(processes: System, script: str) -> None:
    # watchdog #609, nodemon #1025: orphans and zombies
    async with running(processes, script) as (child, heard):
        assert all(map(is_alive, heard.pids()))
        await processes.stop(child, "TERM", 0.3)
    assert heard.pids()
    assert [pid for pid in (child.pid, *heard.pids()) if psutil.pid_exists(pid)] == []
    assert zombies() == []


async def test_who_forks_while_being_stopped_dies_too(processes: System) -> None:
    script = "trap 'setsid sleep 1000 & echo pid $!' TERM; echo pid $$; echo ready; while :; do sleep 0.01; done"
    async with running(processes, script) as (child, heard):
        assert await processes.stop(child, "TERM", 0.2)
    assert len(heard.pids()) > 1
    assert [pid for pid in heard.pids() if psutil.pid_exists(pid)] == []


async def test_who_flees_from_fork_to_fork_is_caught(processes: System, tmp_path: Path) -> None:
    flight = f"""
import contextlib
import os
import resource
os.setsid()
print("ready", flush=True)
open({str(tmp_path / "session")!r}, "w").write(str(os.getpid()))
while True:
    if os.fork():
        os._exit(0)
"""
    async with running(processes, f"{shlex.join((*PYTHON, flight))} & wait; sleep 1000") as (child, _):
        await until(lambda: (tmp_path / "session").exists() and bool((tmp_path / "session").read_text()))
        await processes.stop(child, "KILL", PATIENCE_S)
    with pytest.raises(ProcessLookupError):
        os.killpg(int((tmp_path / "session").read_text()), 0)


async def test_stopping_what_has_ended_does_nothing(processes: System) -> None:
    child, _ = await finished(processes, "exit 4")
    assert not await processes.stop(child, "TERM", PATIENCE_S)
    assert not await processes.stop(child, "TERM", PATIENCE_S)
    assert child.exit == Exit(4, None)


async def test_nothing_is_started_when_everything_was_ended(anyio_backend: str) -> None:
    system = System()
    await system.close()
    with pytest.raises(SpawnError, match="hotpipe is ending"):
        system.spawn(command("true"))


async def test_stopping_one_leaves_the_other_alone(processes: System) -> None:
    async with running(processes, TREES["a daemon"]) as (other, others):
        async with running(processes, TREES["a daemon"]) as (child, _):
            await processes.stop(child, "TERM", PATIENCE_S)
        assert all(map(is_alive, (other.pid, *others.pids())))


# --- what is left behind ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("script", LEADERLESS.values(), ids=LEADERLESS.keys())
async def test_tidy_ends_what_a_program_left_in_its_session(processes: System, script: str) -> None:
    child, heard = await finished(processes, script)
    await processes.tidy(child)
    assert [pid for pid in heard.pids() if psutil.pid_exists(pid)] == []
    assert zombies() == []


@pytest.mark.parametrize("script", [DAEMON, LOST_DAEMON], ids=["marked", "without environment"])
@pytest.mark.parametrize("end", ["close", "kill_at_once"])
async def test_a_daemon_lives_until_hotpipe_ends(anyio_backend: str, tmp_path: Path, script: str, end: str) -> None:
    processes = System()
    pids = tmp_path / "pids"
    child, _ = await finished(processes, script, PIDS=str(pids))
    daemon = int(pids.read_text().split()[1])
    await processes.tidy(child)
    assert is_alive(daemon)
    if end == "kill_at_once":
        processes.kill_at_once()
    else:
        await processes.close()
    await until(lambda: not is_alive(daemon))
    await processes.close()
    assert zombies() == []


async def test_what_dies_after_its_parent_leaves_no_zombie(processes: System) -> None:
    first, heard = await finished(processes, "(setsid sh -c 'echo pid $$; echo ready' &); sleep 0.1; exit 0")
    await until(lambda: not any(map(is_alive, heard.pids())))
    await processes.tidy(first)
    assert zombies() == []


async def test_nor_does_it_where_somebody_elses_dead_child_is_in_the_way(processes: System) -> None:
    elses = await anyio.to_thread.run_sync(subprocess.Popen, ["true"])
    await until(lambda: psutil.Process(elses.pid).status() == psutil.STATUS_ZOMBIE)
    try:
        first, heard = await finished(processes, "(setsid sh -c 'echo pid $$; echo ready' &); sleep 0.1; exit 0")
        await until(lambda: not any(map(is_alive, heard.pids())))
        await processes.tidy(first)
        assert not any(map(psutil.pid_exists, heard.pids()))
        assert psutil.pid_exists(elses.pid), "who started it waits for it"
    finally:
        elses.wait()


@pytest.mark.parametrize("script", TREES.values(), ids=TREES.keys())
async def test_at_the_second_ctrl_c_everything_dies_at_once(anyio_backend: str, script: str) -> None:
    processes = System()
    async with running(processes, script) as (child, heard):
        processes.kill_at_once()
        await until(lambda: not any(map(is_alive, (child.pid, *heard.pids()))))
    await processes.close()
    assert zombies() == []


@pytest.fixture
def others() -> Iterator[list[subprocess.Popen[bytes]]]:
    started = [subprocess.Popen(("sleep", "1000"), start_new_session=alone) for alone in (True, False)]
    yield started
    for other in started:
        other.kill()
        other.wait()


async def test_the_programs_of_others_are_left_alone(anyio_backend: str, others: list[subprocess.Popen[bytes]]) -> None:
    processes = System()
    child, _ = await finished(processes, "true")
    await processes.tidy(child)
    processes.kill_at_once()
    await processes.close()
    assert [other.poll() for other in others] == [None, None]


# --- what cannot be started ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("listen", [0, 2])
@pytest.mark.parametrize("missing", ["program", "folder", "permission", "interpreter", "script"])
async def test_what_cannot_be_started_says_why_and_leaks_nothing(
    processes: System, tmp_path: Path, missing: str, listen: int
) -> None:
    plain, executable = tmp_path / "plain", tmp_path / "executable"
    plain.write_text("echo hello")
    executable.write_bytes(b"\x7fNOT")
    executable.chmod(0o755)
    run, cwd, expected = {
        "program": (("no-such-program",), ".", "there is no program 'no-such-program'"),
        "folder": ("true", str(tmp_path / "gone"), "there is no folder"),
        "permission": ((str(plain),), ".", "is not executable"),
        "interpreter": ((str(executable),), ".", "Exec format error"),
        "script": (("./gone.sh",), str(tmp_path), "there is no program './gone.sh'"),
    }[missing]
    if missing == "interpreter" and listen:
        return  # then sh takes it for a script, and says itself what it thinks of it
    with listening(listen) as sockets:
        before = own_descriptors()
        with pytest.raises(SpawnError, match=expected) as refused:
            processes.spawn(Command(run, os.path.abspath(cwd), environment(), sockets))
        assert own_descriptors() == before
    assert refused.value.hint


async def test_a_program_leaves_no_descriptor_open(processes: System) -> None:
    await finished(processes, "true")  # the loop opens some of its own
    before = own_descriptors()
    for _ in range(3):
        child, _ = await finished(processes, "echo hello; sleep 1000 & exit 1")
        await processes.tidy(child)
    assert own_descriptors() == before


# --- what a program is given --------------------------------------------------------------------------------------

INVENTORY = """
import contextlib
import os
import resource
print(*sorted(int(n) for n in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{n}")))
print(*sorted(k for k in os.environ if k.startswith("LISTEN_") or k == "NOTIFY_SOCKET"))
print(os.getpid() == int(os.environ.get("LISTEN_PID", 0)), os.environ.get("LISTEN_FDS"))
print(os.getcwd())
"""


@pytest.fixture
def activated(monkeypatch: pytest.MonkeyPatch) -> None:
    """hotpipe was given sockets itself."""
    for name in ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET"):
        monkeypatch.setenv(name, "of hotpipe itself")


@pytest.mark.parametrize("cwd", ["here", "elsewhere"])
@pytest.mark.parametrize("form", ["text", "argv"])
@pytest.mark.parametrize("count", [0, 1, 3])
@pytest.mark.usefixtures("activated")
async def test_a_program_has_its_sockets_from_3_up_and_nothing_else(
    processes: System, tmp_path: Path, form: str, cwd: str, count: int
) -> None:
    argv = (*PYTHON, INVENTORY.replace("\n", ";").strip(";"))
    folder = os.getcwd() if cwd == "here" else str(tmp_path)
    heard = Heard()
    with listening(count) as sockets, anyio.fail_after(PATIENCE_S):
        run = argv if form == "argv" else shlex.join(argv)
        await processes.spawn(Command(run, folder, environment(), sockets)).finish(heard)
    assert heard.texts() == [
        " ".join(map(str, range(3 + count))),
        "LISTEN_FDS LISTEN_PID" if count else "",
        f"{bool(count)} {count or None}",
        folder,
    ]


async def test_sockets_arrive_in_order(processes: System) -> None:
    show = "import socket; print(*(socket.socket(fileno=n).getsockname()[1] for n in (3, 4, 5)))"
    heard = Heard()
    with listening(3) as sockets, anyio.fail_after(PATIENCE_S):
        shuffled = (sockets[2], sockets[0], sockets[1])
        ports = [socket.socket(fileno=os.dup(each)) for each in shuffled]
        await processes.spawn(Command((*PYTHON, show), os.getcwd(), environment(), shuffled)).finish(heard)
    assert heard.texts() == [" ".join(str(each.getsockname()[1]) for each in ports)]
    for each in ports:
        each.close()


OCCUPIED = """
import os, socket, sys, anyio
from hotpipe.process.command import Command, environment
from hotpipe.process.system import System
listening = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
sockets = tuple(os.dup(s.fileno()) if sys.argv[1] == "above" else s.fileno() for s in listening)
for n in range(3, 10):
    if n not in sockets:
        os.dup2(0, n, inheritable=True)
for n in sockets:
    os.set_inheritable(n, True)
async def main():
    run = (sys.executable, "-I", "-S", "-c", sys.argv[2])
    await System().spawn(Command(run, os.getcwd(), environment(), sockets)).finish(lambda _, text: print(text))
anyio.run(main)
"""


@pytest.mark.parametrize("place", ["above", "among"])
def test_hotpipes_own_descriptors_stay_its_own(place: str) -> None:
    """Its 3 to 9 are occupied, and inheritable, as an outer systemfd or shell leaves them."""
    argv = (sys.executable, "-c", OCCUPIED, place, INVENTORY)
    asked = subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE_S, check=True
    )
    assert asked.stdout.splitlines()[:3] == ["0 1 2 3 4", "LISTEN_FDS LISTEN_PID", "True 2"]


async def test_no_signal_is_ignored_or_blocked_in_a_program(processes: System) -> None:
    _, heard = await finished(processes, "grep -E 'Sig(Ign|Blk)' /proc/self/status")
    masks = {line.split(":")[0]: int(line.split(":")[1], 16) for line in heard.texts()}
    assert not masks["SigIgn"] & (1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1)  # CPython ignores both
    assert masks["SigBlk"] == 0


async def test_a_nested_hotpipe_keeps_the_cookie_of_the_outer_one(processes: System) -> None:
    child, heard = await finished(processes, f"echo ${COOKIE}", **{COOKIE: "outer;"})
    assert heard.texts() == [f"outer;{child.cookie}"]


def test_where_no_descriptors_are_left_that_is_an_error_like_any_other() -> None:
    """And none leaks."""
    before = len(os.listdir("/proc/self/fd"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    processes = System()
    for more in range(6):
        resource.setrlimit(resource.RLIMIT_NOFILE, (before + more, hard))
        try:
            with contextlib.suppress(SpawnError):
                processes.spawn(Command(("true",), os.getcwd(), dict(os.environ))).close()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(os.listdir("/proc/self/fd")) <= before + 1


def fast(reads: int, every_s: float) -> list[bool]:
    """Whether it seems so after each of these reads."""
    now = iter(number * every_s for number in range(reads + 1))
    rhythm = Rhythm(lambda: next(now))
    return [rhythm.is_fast() for _ in range(reads)]


def test_who_writes_often_for_long_is_let_gather() -> None:
    assert fast(400, 0.005)[-200:] == [True] * 200
    assert not any(fast(1_000, 0.03)), "thirty times a second is not often"
    assert not any(fast(90, 0.0001)), "nor is a long traceback, whose end may be wanted at once"


def test_who_is_let_gather_stays_so_until_he_writes_less() -> None:
    times = [number * 0.001 for number in range(200)]
    times += [times[-1] + number * 0.021 for number in range(1, 200)]
    times += [times[-1] + 3 + number * 0.1 for number in range(50)]
    clock = iter([0.0, *times])
    rhythm = Rhythm(lambda: next(clock))
    seen = [rhythm.is_fast() for _ in times]
    assert all(seen[150:399])
    assert not any(seen[399:])

"""`hotpipe listen` as its users and their programs see it: real processes, and what a child reads from /proc/self."""

import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PATIENCE_S = 60.0
BIN = Path(sys.executable).parent
HOTPIPE_LISTEN = (sys.executable, "-c", "import hotpipe.cli as c; c.VERBS += ('listen',); c.main()", "listen")
PYTHON = (sys.executable, "-I", "-S")  # opens nothing of its own

SPY = """
import json, os, socket, sys

def options(fd):
    with socket.socket(fileno=os.dup(fd)) as one:
        tcp = one.family != socket.AF_UNIX and one.type == socket.SOCK_STREAM
        return {
            "address": one.getsockname(),
            "listens": bool(one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)),
            "reuse": [one.getsockopt(socket.SOL_SOCKET, o) for o in (socket.SO_REUSEADDR, socket.SO_REUSEPORT)],
            "info": one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104).hex() if tcp else "",
            "no_delay": bool(one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)) if tcp else None,
        }

listed = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
open_now = {int(os.path.basename(path)): os.readlink(path) for path in listed if os.path.lexists(path)}
with open("/proc/self/environ", "rb") as file:
    env = dict(part.split("=", 1) for part in os.fsdecode(file.read()).split("\\0") if part)
print(json.dumps({
    "argv": sys.argv,
    "pid": os.getpid(),
    "open": sorted(open_now),
    "sockets": {fd: options(fd) for fd, link in open_now.items() if fd > 2 and link.startswith("socket:")},
    "env": env,
}))
"""
IGNORED = ("sh", "-c", "grep SigIgn /proc/self/status")

# Becomes its arguments with the descriptors 3 to 9 occupied, as under a careless parent.
OCCUPIED = """
import os, sys
null = os.open(os.devnull, os.O_RDONLY)
for number in range(3, 10):
    os.dup2(null, number, inheritable=True)
    os.set_inheritable(number, True)
os.execv(sys.argv[1], sys.argv[1:])
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def environment() -> dict[str, str]:
    """Nobody's settings for colours, nobody's sockets."""
    return {k: v for k, v in os.environ.items() if k not in {"NO_COLOR", "FORCE_COLOR"} and not k.startswith("LISTEN_")}


@pytest.fixture
def run(tmp_path: Path, environment: dict[str, str]) -> Run:
    """Runs a command in a folder of its own to its end."""

    def started(*command: str, **options: Any) -> subprocess.CompletedProcess[str]:
        settings = {"cwd": tmp_path, "env": environment, "stdin": subprocess.DEVNULL} | options
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=PATIENCE_S, **settings)

    return started


@pytest.fixture
def listen(run: Run) -> Run:
    """Runs `hotpipe listen ARGUMENTS…`."""

    def started(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return run(*HOTPIPE_LISTEN, *arguments, **options)

    return started


def spied(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def of_protocol(report: dict[str, Any]) -> dict[str, str]:
    return {name: value for name, value in report["env"].items() if name.startswith("LISTEN_")}


def addresses(report: dict[str, Any]) -> list[Any]:
    return [report["sockets"][fd]["address"] for fd in sorted(report["sockets"], key=int)]


class TestWhatTheProgramReceives:
    def test_the_sockets_from_3_up_and_the_variables(self, listen: Run, tmp_path: Path) -> None:
        specs = ("http::0", "https::0", "0", "tcp::[::1]:0", "udp::0", "unix::s")
        given = [argument for spec in specs for argument in ("-s", spec)]
        report = spied(listen(*given, "--", *PYTHON, "-c", SPY, "--first", "-q", "--", "last"))
        assert report["argv"] == ["-c", "--first", "-q", "--", "last"]
        assert report["open"] == list(range(9))
        assert of_protocol(report) == {
            "LISTEN_FDS": "6",
            "LISTEN_PID": str(report["pid"]),
            "LISTEN_FDNAMES": "http:https:tcp:tcp2:udp:unix",
        }
        assert [address[0] for address in addresses(report)[:5]] == [*["127.0.0.1"] * 3, "::1", "127.0.0.1"]
        assert addresses(report)[5] == "s"
        assert [one["listens"] for one in report["sockets"].values()] == [True, True, True, True, False, True]
        assert [one["no_delay"] for one in report["sockets"].values()] == [True, True, True, True, None, None]

    def test_the_rest_of_the_environment_is_as_it_was(self, listen: Run, environment: dict[str, str]) -> None:
        report = spied(listen("-s", "0", "--", *PYTHON, "-c", SPY))
        assert {n: v for n, v in report["env"].items() if not n.startswith("LISTEN_")} == environment

    def test_descriptors_3_to_9_occupied_at_the_start(self, run: Run) -> None:
        occupied = (*PYTHON, "-c", OCCUPIED)
        before = spied(run(*occupied, *PYTHON, "-c", SPY))
        assert before["open"] == list(range(10))
        given = ("-s", "http::0", "-s", "udp::0", "--", *PYTHON, "-c", SPY)
        report = spied(run(*occupied, *HOTPIPE_LISTEN, *given))
        assert report["open"] == [0, 1, 2, 3, 4]
        assert list(report["sockets"]) == ["3", "4"]
        assert [one["listens"] for one in report["sockets"].values()] == [True, False]

    def test_more_sockets_than_there_was_room_for(self, run: Run) -> None:
        given = [argument for _ in range(12) for argument in ("-s", "0")]
        report = spied(run(*PYTHON, "-c", OCCUPIED, *HOTPIPE_LISTEN, *given, "--", *PYTHON, "-c", SPY))
        assert report["open"] == list(range(15))
        assert list(report["sockets"]) == [str(fd) for fd in range(3, 15)]

    def test_a_closed_standard_input_is_not_filled_with_a_socket(self, run: Run) -> None:
        closed = ("sh", "-c", 'exec "$@" <&-', "sh")
        report = spied(run(*closed, *HOTPIPE_LISTEN, "-s", "0", "--", *PYTHON, "-c", SPY))
        assert report["open"] == [1, 2, 3]

    def test_without_the_dashes_the_options_of_the_program_are_still_its_own(self, listen: Run) -> None:
        assert listen("-s", "0", "echo", "-q", "--no-pid").stdout == "-q --no-pid\n"

    def test_no_pid(self, listen: Run, environment: dict[str, str]) -> None:
        env = environment | {"LISTEN_PID": "1"}
        report = spied(listen("--no-pid", "-s", "0", "--", *PYTHON, "-c", SPY, env=env))
        assert of_protocol(report) == {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "tcp"}

    @pytest.mark.parametrize("options, reuse", [((), [1, 1]), (("--no-reuse",), [0, 0])])
    def test_no_reuse_is_about_both_options(self, listen: Run, options: tuple[str, ...], reuse: list[int]) -> None:
        report = spied(listen(*options, "-s", "0", "-s", "udp::0", "--", *PYTHON, "-c", SPY))
        assert [one["reuse"] for one in report["sockets"].values()] == [reuse, reuse]

    @pytest.mark.parametrize("options, asked", [((), 4096), (("-b", "7"), 7), (("--backlog", "1"), 1)])
    def test_the_backlog(self, listen: Run, options: tuple[str, ...], asked: int) -> None:
        report = spied(listen(*options, "-s", "0", "--", *PYTHON, "-c", SPY))
        limit = int(Path("/proc/sys/net/core/somaxconn").read_text())
        info = bytes.fromhex(report["sockets"]["3"]["info"])
        assert struct.unpack_from("I", info, 28)[0] == min(asked, limit)  # tcpi_sacked of a listening socket

    def test_a_type_is_not_needed_for_a_path(self, listen: Run, tmp_path: Path) -> None:
        assert addresses(spied(listen("-s", f"{tmp_path}/s", "--", *PYTHON, "-c", SPY))) == [f"{tmp_path}/s"]

    def test_signals_that_python_ignores_are_not_ignored(self, listen: Run, run: Run) -> None:
        assert listen("-s", "0", "--", *IGNORED).stdout == run(*IGNORED).stdout

    def test_it_keeps_its_pid(self, tmp_path: Path, environment: dict[str, str]) -> None:
        command = (*HOTPIPE_LISTEN, "-s", "0", "--", *PYTHON, "-c", SPY)
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert json.loads(process.communicate(timeout=PATIENCE_S)[0])["pid"] == process.pid

    def test_a_script_without_a_first_line_is_run_by_sh(self, listen: Run, tmp_path: Path) -> None:
        script = tmp_path / "script"
        script.write_text('echo "$LISTEN_FDS $1"\n')
        script.chmod(0o755)
        assert listen("-s", "0", "--", "./script", "word").stdout == "1 word\n"


class TestWhatItSays:
    def test_each_socket_on_standard_error_as_systemfd_does(self, listen: Run) -> None:
        specs = ("http::0", "https::[::1]:0", "0", "udp::0", "unix::s")
        done = listen(*(argument for spec in specs for argument in ("-s", spec)), "--", *PYTHON, "-c", SPY)
        web, tls, tcp, udp, _ = addresses(spied(done))
        assert done.stderr.splitlines() == [
            f"~> socket http://127.0.0.1:{web[1]}/ -> fd #3",
            f"~> socket https://[::1]:{tls[1]}/ -> fd #4",
            f"~> socket 127.0.0.1:{tcp[1]} (tcp listener) -> fd #5",
            f"~> socket 127.0.0.1:{udp[1]} (udp) -> fd #6",
            "~> socket s (unix listener) -> fd #7",
        ]

    def test_quiet_says_nothing(self, listen: Run) -> None:
        assert listen("-q", "-s", "0", "--", "true").stderr == ""
        assert listen("--quiet", "--", "true").stderr == ""

    @pytest.mark.parametrize(
        "options, set_by, coloured",
        [
            (("--color", "always"), {}, True),
            (("--color", "never"), {"FORCE_COLOR": "1"}, False),
            ((), {}, False),
            ((), {"FORCE_COLOR": "1"}, True),
            (("--color", "auto"), {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
            (("--color", "always"), {"NO_COLOR": "1"}, True),
        ],
    )
    def test_colour(
        self, listen: Run, environment: dict[str, str], options: tuple[str, ...], set_by: dict[str, str], coloured: bool
    ) -> None:
        done = listen(*options, "-s", "0", "--", "true", env=environment | set_by)
        assert done.returncode == 0
        assert ("\x1b[" in done.stderr) == coloured

    def test_without_a_socket_it_warns_and_goes_on(self, listen: Run) -> None:
        done = listen("--", *PYTHON, "-c", SPY)
        assert done.stderr == "~> warning: no sockets created\n"
        assert (of_protocol(spied(done)), spied(done)["open"]) == ({}, [0, 1, 2])

    def test_nobody_reading_it_is_no_reason_to_fail(self, run: Run) -> None:
        for redirection in ("2>&-", "2>/dev/full"):
            done = run("sh", "-c", f'exec "$@" {redirection}', "sh", *HOTPIPE_LISTEN, "-s", "0", "--", "echo", "ran")
            assert (done.returncode, done.stdout) == (0, "ran\n"), redirection


class TestExitCodes:
    def test_that_of_the_program_is_its_own(self, listen: Run) -> None:
        assert listen("-s", "0", "--", "sh", "-c", "exit 42").returncode == 42

    def test_a_program_killed_by_a_signal_shows_as_such(self, listen: Run) -> None:
        assert listen("-s", "0", "--", "sh", "-c", "kill -TERM $$").returncode == -signal.SIGTERM

    @pytest.mark.parametrize("name", ["no-such-program", "./no-such-program", ""])
    def test_127_where_there_is_no_program_and_nothing_was_opened(self, listen: Run, tmp_path: Path, name: str) -> None:
        done = listen("-s", "unix::s", "--", name)
        assert (done.returncode, done.stdout) == (127, "")
        assert done.stderr.startswith(f"hotpipe: cannot run {name or repr('')}: there is no such program\n")
        assert os.listdir(tmp_path) == []

    def test_127_where_the_interpreter_is_missing(self, listen: Run, tmp_path: Path) -> None:
        script = tmp_path / "script"
        script.write_text("#!/no/such/interpreter\n")
        script.chmod(0o755)
        done = listen("-q", "-s", "0", "--", "./script")
        assert done.returncode == 127
        assert "its first line names does not exist" in done.stderr

    def test_126_where_it_may_not_be_run(self, listen: Run, tmp_path: Path, environment: dict[str, str]) -> None:
        (tmp_path / "program").write_text("#!/bin/sh\n")
        (tmp_path / "folder").mkdir()
        done = listen("-s", "unix::s", "--", "./program")
        assert done.returncode == 126
        assert done.stderr == "hotpipe: cannot run ./program: it is not executable\nhint: chmod +x ./program\n"
        on_path = listen("--", "program", env=environment | {"PATH": str(tmp_path)})
        assert (on_path.returncode, f"chmod +x {tmp_path}/program" in on_path.stderr) == (126, True)
        folder = listen("--", "./folder")
        assert (folder.returncode, "hint" in folder.stderr) == (126, False)
        assert sorted(os.listdir(tmp_path)) == ["folder", "program"]

    @pytest.mark.parametrize(
        "arguments, said",
        [
            (("-s", "0"), "Missing argument"),
            ((), "Missing argument"),
            (("-s", "htp::0", "--", "true"), "no socket type 'htp'; the types are http, https, tcp, udp, unix"),
            (("-s", "65536", "--", "true"), "the largest port is 65535"),
            (("-s", "eighty", "--", "true"), "is no socket: write [TYPE::][HOST:]PORT"),
            (("-s", "unix::", "--", "true"), "is no socket: write unix::PATH"),
            (("-b", "0", "--", "true"), "'-b' / '--backlog'"),
            (("--color", "blue", "--", "true"), "'auto', 'always', 'never'"),
            (("--sockets", "0", "--", "true"), "No such option"),
        ],
    )
    def test_2_for_what_cannot_be_meant(self, listen: Run, arguments: tuple[str, ...], said: str) -> None:
        done = listen(*arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr

    def test_1_where_a_socket_cannot_be_opened_and_the_program_is_not_run(self, listen: Run) -> None:
        with socket.create_server(("127.0.0.1", 0)) as holder:
            port = holder.getsockname()[1]
            done = listen("-s", str(port), "--", "echo", "ran")
        assert (done.returncode, done.stdout) == (1, "")
        assert f"cannot listen on 127.0.0.1:{port}: the port is taken" in done.stderr


class TestServers:
    """Programs that know nothing of hotpipe."""

    def test_uvicorn_answers(self, tmp_path: Path, environment: dict[str, str]) -> None:
        uvicorn = BIN / "uvicorn"
        if not uvicorn.exists():
            pytest.skip("uvicorn is not installed")
        (tmp_path / "app.py").write_text(
            "async def app(scope, receive, send):\n"
            "    assert scope['type'] == 'http'\n"
            "    await send({'type': 'http.response.start', 'status': 200, 'headers': []})\n"
            "    await send({'type': 'http.response.body', 'body': b'hello'})\n"
        )
        served = (str(uvicorn), "app:app", "--fd", "3", "--lifespan", "off")
        with going_on(*HOTPIPE_LISTEN, "-s", "http::0", "--", *served, cwd=tmp_path, env=environment) as said:
            url = said.readline().split()[2]
            with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
                assert (answer.status, answer.read()) == (200, b"hello")

    def test_clients_that_come_before_the_server_are_served(self, tmp_path: Path, environment: dict[str, str]) -> None:
        late = (
            "import socket, sys; sys.stdin.read(); s = socket.socket(fileno=3)\nwhile 1: s.accept()[0].sendall(b'hi')"
        )
        command = (*HOTPIPE_LISTEN, "-s", "http::0", "--", *PYTHON, "-c", late)
        with going_on(*command, cwd=tmp_path, env=environment, stdin=subprocess.PIPE) as said:
            address = said.readline().split()[2].removeprefix("http://").rstrip("/").split(":")
            early = [socket.create_connection((address[0], int(address[1])), PATIENCE_S) for _ in range(20)]
            said.release()
            for client in early:
                with client:
                    assert client.recv(2) == b"hi"


class TestNested:
    def test_under_systemd_only_the_own_sockets_are_handed_on(self, tmp_path: Path) -> None:
        activate = shutil.which("systemd-socket-activate")
        if activate is None:
            pytest.skip("systemd-socket-activate (Debian: systemd) is not installed")
        outer = ("-l", f"{tmp_path}/outer", "-l", f"{tmp_path}/second", "--fdname=outer:second")
        inner = (*HOTPIPE_LISTEN, "-q", "-s", "http::0", "--", *PYTHON, "-c", SPY)
        process = subprocess.Popen(
            (activate, *outer, *inner), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            assert process.stderr is not None
            while "second as 4" not in (line := process.stderr.readline()):
                assert line, "it ended before it listened"
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(f"{tmp_path}/outer")
                report = json.loads(process.communicate(timeout=PATIENCE_S)[0])
        finally:
            process.kill()
            process.communicate()
        assert (report["pid"], report["open"], addresses(report)[0][0]) == (process.pid, [0, 1, 2, 3], "127.0.0.1")
        assert of_protocol(report) == {
            "LISTEN_FDS": "1",
            "LISTEN_PID": str(process.pid),
            "LISTEN_FDNAMES": "http",
        }

    def test_under_itself_only_the_inner_sockets_are_handed_on(self, listen: Run) -> None:
        outer = ("-s", "unix::outer", "-s", "0")
        report = spied(listen(*outer, "--", *HOTPIPE_LISTEN, "-s", "udp::0", "--", *PYTHON, "-c", SPY))
        assert (report["open"], addresses(report)[0][0]) == ([0, 1, 2, 3], "127.0.0.1")
        assert (of_protocol(report)["LISTEN_FDS"], of_protocol(report)["LISTEN_FDNAMES"]) == ("1", "udp")

    def test_variables_of_other_kinds_of_parents_do_not_mislead_the_program(
        self, listen: Run, environment: dict[str, str]
    ) -> None:
        outer = {"LISTEN_FDS_FIRST_FD": "7", "LISTEN_PIDFDID": "99", "LISTEN_FDNAMES": "a:b", "LISTEN_FDS": "2"}
        report = spied(listen("-s", "0", "--", *PYTHON, "-c", SPY, env=environment | outer))
        assert of_protocol(report).keys() == {"LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"}


class Said:
    """Standard error of a program that goes on, line by line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def readline(self) -> str:
        assert self._process.stderr is not None
        line = self._process.stderr.readline()
        assert line, f"it ended with {self._process.wait(PATIENCE_S)}"
        return line

    def release(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()


@contextmanager
def going_on(*command: str, **options: Any) -> Iterator[Said]:
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **options)
    try:
        yield Said(process)
    finally:
        process.kill()
        for stream in (process.stdin, process.stderr):
            if stream is not None:
                stream.close()
        process.wait(PATIENCE_S)

"""The control socket: what a running hotpipe answers, and that no client can harm it. Over real sockets."""

import contextlib
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.from_thread
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotpipe import instance
from hotpipe.cli import restart, status, stop
from hotpipe.control import Request, Restarting, Run, Server, Socket, Status, Stopping, ask, listener
from hotpipe.control.client import _connect
from hotpipe.control.listener import _answers, serve
from hotpipe.control.protocol import LARGEST, Answer, Failing, Failure, Finding
from hotpipe.control.standing import Standing
from hotpipe.errors import AlreadyRunning, ConfigError, HotpipeError, NotRunning, UsageError
from hotpipe.events import (
    Address,
    AnyEvent,
    ChangeDetected,
    GatePaused,
    GateResumed,
    RunFinished,
    RunStarted,
    ServerFailed,
    ServerLive,
    ServerStarting,
    ServerStopped,
    ServerVerified,
    Severity,
    StageFinding,
    StageFinished,
    TriggerTouched,
)

PATIENCE_S = 30.0
NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="takes root: it becomes somebody else")
WEB = Server(
    name="web", state="live", generation=3, pid=42, tree="0123456789abcdef", verified=True,
    sockets=(Socket("http", "127.0.0.1:8000"),),
)  # fmt: skip
API = Server(name="api", state="starting")


async def echo(request: Request) -> Answer:
    """Answers with what was understood."""
    match request:
        case Request(verb="restart", servers=("refused",)):
            raise UsageError("no such server", hint="another")
        case Request(verb="restart", servers=("huge",)):
            return {"huge": "x" * 10_000_000}
        case Request(verb="restart", servers=("slow",)):
            await anyio.sleep(0.5)
    return {"verb": request.verb, "servers": request.servers}


@contextmanager
def serving(path: str, answer: Any = echo, patience_s: float = 5.0) -> Iterator[None]:
    """A hotpipe's end of the socket, in a thread."""
    with anyio.from_thread.start_blocking_portal("asyncio") as portal:
        future, _ = portal.start_task(partial(serve, path, answer, patience_s))
        yield
        assert not future.done(), future.exception()
        future.cancel()


@pytest.fixture
def path(tmp_path: Path) -> str:
    (tmp_path / ".hotpipe").mkdir()
    return str(tmp_path / ".hotpipe/control.sock")


@contextmanager
def connected(path: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE_S)
        _connect(client, path, time.monotonic() + PATIENCE_S)
        yield client


def answer_to(path: str, sent: bytes) -> dict[str, Any]:
    with connected(path) as client:
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        with client.makefile("rb") as lines:
            answer: dict[str, Any] = json.loads(lines.readline())
            return answer


GOOD = {"ok": True, "verb": "status", "servers": []}


class TestRequests:
    @pytest.mark.parametrize(
        "sent",
        [
            b'{"v":1,"verb":"status"}\n',
            b'{"verb":"status"}\n',
            b'{"v":1,"verb":"status"}',  # without its newline, as printf and nc send it
            b'{"verb":"status","unknown":[1]}\r\n',
        ],
    )
    def test_one_line_is_answered_by_one_line(self, path: str, sent: bytes) -> None:
        with serving(path):
            assert answer_to(path, sent) == GOOD

    def test_several_on_one_connection_are_answered_in_order(self, path: str) -> None:
        with serving(path), connected(path) as client, client.makefile("rwb") as lines:
            for verb in ("status", "stop", "restart") * 50:
                lines.write(b'{"verb":"%s"}\n' % verb.encode())
            lines.flush()
            assert [json.loads(lines.readline())["verb"] for _ in range(150)] == ["status", "stop", "restart"] * 50

    def test_in_pieces(self, path: str) -> None:
        with serving(path), connected(path) as client, client.makefile("rb") as lines:
            for byte in b'{"verb":"status"}\n':
                client.sendall(bytes([byte]))
            assert json.loads(lines.readline()) == GOOD

    def test_what_is_refused_says_why_and_with_which_exit_code(self, path: str) -> None:
        with serving(path):
            said = answer_to(path, b'{"verb":"restart","servers":["refused"]}\n')
        assert said == {"ok": False, "error": "no such server", "hint": "another", "exit_code": 2}

    def test_a_path_that_is_no_utf_8_comes_through(self, path: str, tmp_path: Path) -> None:
        async def odd(request: Request) -> Answer:
            return {"root": os.fsdecode(b"/caf\xe9")}

        with serving(path, odd):
            assert os.fsencode(ask(str(tmp_path), Request(verb="status"))[0]["root"]) == b"/caf\xe9"

    def test_two_hundred_clients_at_once(self, path: str, tmp_path: Path) -> None:
        root, request = str(tmp_path), Request(verb="restart", servers=())
        with serving(path):
            answers: list[Any] = []
            asking = [threading.Thread(target=lambda: answers.extend(ask(root, request))) for _ in range(200)]
            for thread in asking:
                thread.start()
            for thread in asking:
                thread.join()
            assert answers == [{"verb": "restart", "servers": []}] * 200


class TestLateAnswers:
    """Whoever waits keeps nobody else from an answer, and waits no longer than it is there."""

    def test_a_status_is_answered_at_once_while_two_hundred_wait(self, path: str) -> None:
        go = anyio.Event()

        async def answer(request: Request) -> Answer:
            if request.verb == "wait":
                await go.wait()
            return {"verb": request.verb}

        with contextlib.ExitStack() as stack:
            stack.enter_context(serving(path, answer, patience_s=PATIENCE_S))
            for _ in range(200):
                stack.enter_context(connected(path)).sendall(b'{"verb":"wait","timeout_s":60}\n')
            assert answer_to(path, b'{"verb":"status"}\n') == {"ok": True, "verb": "status"}

    def test_one_too_many_is_refused(self, path: str) -> None:
        async def answer(request: Request) -> Answer:
            await anyio.sleep(PATIENCE_S)
            return {}

        with contextlib.ExitStack() as stack:
            stack.enter_context(serving(path, answer))
            for _ in range(256):
                stack.enter_context(connected(path)).sendall(b'{"verb":"wait","timeout_s":60}\n')
            refused = answer_to(path, b'{"verb":"wait","timeout_s":60}\n')
            assert refused["error"] == "256 wait for this hotpipe already"

    @pytest.mark.parametrize("sent", [b"", b'{"verb":"status"}\n'], ids=["silently", "with another request unread"])
    def test_who_hangs_up_waits_no_more(self, path: str, sent: bytes) -> None:
        begun, over = threading.Event(), threading.Event()

        async def answer(request: Request) -> Answer:
            begun.set()
            try:
                await anyio.sleep_forever()
            finally:
                over.set()
            return {}

        with serving(path, answer):
            with connected(path) as client:
                client.sendall(b'{"verb":"wait","timeout_s":60}\n' + sent)
                assert begun.wait(PATIENCE_S)
                assert not over.is_set()
            assert over.wait(PATIENCE_S)

    def test_who_has_only_said_all_it_had_to_say_gets_its_answer(self, path: str) -> None:
        begun, go = threading.Event(), threading.Event()

        async def answer(request: Request) -> Answer:
            begun.set()
            await anyio.to_thread.run_sync(go.wait, PATIENCE_S)
            return {"waited": True}

        with serving(path, answer), connected(path) as client, client.makefile("rb") as lines:
            client.sendall(b'{"verb":"wait","timeout_s":60}\n')
            client.shutdown(socket.SHUT_WR)
            assert begun.wait(PATIENCE_S)
            with connected(path) as other:  # the loop has had time to see the end of what it said
                other.sendall(b'{"verb":"status"}\n')
            go.set()
            assert json.loads(lines.readline()) == {"ok": True, "waited": True}

    def test_a_late_refusal_is_one(self, path: str) -> None:
        async def answer(request: Request) -> Answer:
            raise UsageError("no gate runs here")

        with serving(path, answer):
            assert answer_to(path, b'{"verb":"wait","timeout_s":60}\n')["error"] == "no gate runs here"


class TestHarm:
    """Whatever is sent gets an error, and the next one an answer."""

    @pytest.mark.parametrize(
        "sent, said",
        [
            (b"\n", "not a request"),
            (b"status\n", "not a request"),
            (b"[]\n", "Expected `object`"),
            (b"{}\n", "missing required field `verb`"),
            (b'{"verb":"explode"}\n', "Invalid enum value 'explode'"),
            (b'{"verb":"restart","servers":"web"}\n', "Expected `array`"),
            (b'{"v":2,"verb":"status"}\n', "speaks version 1, not 2"),
            (b'{"v":1,"verb":"sta', "not a request"),
            (b'{"verb":"\xff\xfe"}\n', "not a request"),
            (b"\x00" * 100, "not a request"),
            (b"[" * 5000 + b"\n", "not a request"),
            (b"x" * (LARGEST + 1) + b"\n", "may have 65536 bytes"),
            (b"x" * 200_000, "may have 65536 bytes"),
        ],
        ids=lambda part: repr(part[:20]) if isinstance(part, bytes) else "",
    )
    def test_malformed(self, path: str, sent: bytes, said: str) -> None:
        with serving(path):
            answer = answer_to(path, sent)
            assert (answer["ok"], said in answer["error"]) == (False, True), answer
            assert answer_to(path, b'{"verb":"status"}\n') == GOOD

    def test_after_a_malformed_line_the_same_connection_goes_on(self, path: str) -> None:
        with serving(path), connected(path) as client, client.makefile("rb") as lines:
            client.sendall(b'nonsense\n{"verb":"status"}\n')
            assert [json.loads(lines.readline())["ok"] for _ in range(2)] == [False, True]

    def test_whatever_comes(self, tmp_path: Path) -> None:
        path = str(tmp_path / "control.sock")

        @given(sent=st.lists(st.binary() | st.sampled_from([b"\n", b'{"verb":', b'"status"}', b'{"v":1e999}\n'])))
        def hold(sent: list[bytes]) -> None:
            with connected(path) as client:
                client.sendall(b"".join(sent))
                client.shutdown(socket.SHUT_WR)
                with client.makefile("rb") as lines:
                    answers = [json.loads(line) for line in lines]
                assert all(isinstance(answer["ok"], bool) for answer in answers)
                assert len(answers) == len(b"".join(sent).split(b"\n")) - b"".join([b"\n", *sent]).endswith(b"\n")
            assert answer_to(path, b'{"verb":"status"}\n') == GOOD

        with serving(path):
            hold()

    def test_half_a_request_and_silence(self, path: str) -> None:
        with serving(path, patience_s=0.2), connected(path) as client, client.makefile("rb") as lines:
            client.sendall(b'{"verb":')
            assert "none came within 0.2 s" in json.loads(lines.readline())["error"]
            assert lines.readline() == b""

    def test_one_byte_after_another_for_ever(self, path: str) -> None:
        with serving(path, patience_s=0.2), connected(path) as client, client.makefile("rb") as lines:
            dripping = threading.Thread(target=drip, args=[client])
            dripping.start()
            assert "none came within 0.2 s" in json.loads(lines.readline())["error"]
            dripping.join()

    def test_one_that_connects_and_says_nothing_is_dropped(self, path: str) -> None:
        with serving(path, patience_s=0.2), connected(path) as client:
            assert client.recv(1) == b""

    def test_one_that_never_reads_is_dropped_and_holds_up_nobody(self, path: str) -> None:
        with serving(path, patience_s=1.0), connected(path) as deaf:
            deaf.sendall(b'{"verb":"restart","servers":["huge"]}\n')
            assert answer_to(path, b'{"verb":"status"}\n') == GOOD
            with connected(path) as patient:  # its own time is up no sooner than the deaf one's
                assert patient.recv(1) == b""
            received = b""
            while chunk := deaf.recv(1 << 20):
                received += chunk
            assert 0 < len(received) < 10_000_000

    def test_one_that_hangs_up_before_its_answer(self, path: str) -> None:
        with serving(path):
            for name in (b"slow", b"huge"):
                with connected(path) as client:
                    client.sendall(b'{"verb":"restart","servers":["%s"]}\n' % name)
            assert answer_to(path, b'{"verb":"restart","servers":["slow"]}\n')["ok"]

    def test_silent_ones_in_all_seats_delay_others_only_until_they_are_dropped(self, path: str) -> None:
        with serving(path, patience_s=0.3):
            silent = [socket.socket(socket.AF_UNIX) for _ in range(64)]
            for client in silent:
                client.connect(path)
            assert answer_to(path, b'{"verb":"status"}\n') == GOOD
            for client in silent:
                client.close()

    def test_one_that_floods_and_never_reads_holds_up_nobody(self, path: str) -> None:
        with serving(path, patience_s=0.5), connected(path) as client:
            flood = threading.Thread(target=pour, args=[client])
            flood.start()
            assert answer_to(path, b'{"verb":"status"}\n') == GOOD
            flood.join(PATIENCE_S)
            assert not flood.is_alive()

    @as_root
    def test_another_user_is_refused_even_if_the_file_lets_it_in(self) -> None:
        folder = Path(tempfile.mkdtemp(prefix="hotpipe-test-"))
        path = str(folder / "control.sock")
        script = (
            f"import os, socket; os.setuid({NOBODY}); s = socket.socket(socket.AF_UNIX); s.connect({path!r}); "
            """s.sendall(b'{"verb":"stop"}\\n'); print(s.makefile().readline())"""
        )
        try:
            with serving(path):
                folder.chmod(0o755)
                refused = subprocess.run([sys.executable, "-Sc", script], capture_output=True, text=True, check=False)
                assert "PermissionError" in refused.stderr
                os.chmod(path, 0o666)
                said = subprocess.run([sys.executable, "-Sc", script], capture_output=True, text=True, check=True)
                assert json.loads(said.stdout)["error"] == "this hotpipe belongs to another user"
        finally:
            shutil.rmtree(folder)


def say_once(listening: socket.socket, said: bytes) -> None:
    with listening.accept()[0] as client:
        client.sendall(said)


def drip(client: socket.socket) -> None:
    try:
        while True:
            client.sendall(b"x")
            threading.Event().wait(0.01)
    except OSError:
        pass


def pour(client: socket.socket) -> None:
    try:
        while True:
            client.sendall(b'{"verb":"status"}\n' * 100)
    except OSError:
        pass


class TestFile:
    def test_is_for_its_owner_alone_whatever_the_umask(self, path: str) -> None:
        before = os.umask(0)
        try:
            with serving(path):
                assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        finally:
            os.umask(before)

    def test_it_never_had_another_mode(self, path: str) -> None:
        """Seen by who looks between bind and chmod: strace(1) shows the order of the calls."""
        if not shutil.which("strace"):
            pytest.skip("strace is not installed")
        trace = f"{path}.trace"
        script = (
            "import anyio; from hotpipe.control.listener import serve\n"
            f"async def main():\n async with anyio.create_task_group() as t:\n"
            f"  await t.start(serve, {path!r}, None); t.cancel_scope.cancel()\nanyio.run(main)"
        )
        command = ["strace", "-f", "-e", "trace=fchmod,bind,chmod,fchmodat,listen", "-o", trace, sys.executable, "-c"]
        done = subprocess.run([*command, script], cwd=Path(__file__).parent.parent, capture_output=True, check=False)
        if done.returncode:
            pytest.skip(f"strace may not trace here: {done.stderr.decode()[-200:]}")
        calls = [line.split("(")[0].split()[-1] for line in Path(trace).read_text().splitlines() if "(" in line]
        assert calls[-4:] == ["fchmod", "bind", "chmod", "listen"]

    def test_goes_at_the_end_if_it_is_still_ours(self, path: str) -> None:
        with serving(path):
            pass
        assert not os.path.exists(path)
        with serving(path):
            os.unlink(path)
            Path(path).write_text("somebody else's")
        assert Path(path).read_text() == "somebody else's"

    @pytest.mark.parametrize("removed", ["file", "folder"])
    def test_is_made_again_where_it_is_removed(self, path: str, monkeypatch: pytest.MonkeyPatch, removed: str) -> None:
        monkeypatch.setattr(listener, "HEAL_S", 0.02)
        with serving(path):
            os.unlink(path) if removed == "file" else shutil.rmtree(os.path.dirname(path))
            until = time.monotonic() + PATIENCE_S
            while not _answers(path):  # there, and listening
                assert time.monotonic() < until
            assert answer_to(path, b'{"verb":"status"}\n') == GOOD
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert not os.path.exists(path)

    def test_a_project_that_is_removed_stays_so(self, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(listener, "HEAL_S", 0.02)
        root = Path(path).parent.parent
        with serving(path):
            shutil.rmtree(root)
            threading.Event().wait(0.3)
            assert not root.exists()

    def test_a_stale_one_is_taken_over(self, path: str) -> None:
        with socket.socket(socket.AF_UNIX) as killed:
            killed.bind(path)
        with serving(path):
            assert answer_to(path, b'{"verb":"status"}\n') == GOOD

    def test_a_live_one_is_an_error_and_stays(self, path: str) -> None:
        with serving(path):
            with pytest.raises(AlreadyRunning, match="another hotpipe answers at"), serving(path):
                pass
            assert answer_to(path, b'{"verb":"status"}\n') == GOOD

    def test_something_else_in_its_place_is_an_error_and_stays(self, path: str) -> None:
        Path(path).write_text("precious")
        with pytest.raises(HotpipeError, match="is no socket"), serving(path):
            pass
        assert Path(path).read_text() == "precious"

    def test_a_folder_that_is_missing_is_an_error(self, tmp_path: Path) -> None:
        missing = str(tmp_path / "missing/control.sock")
        with pytest.raises(HotpipeError, match=r"cannot open the control socket .*No such file"), serving(missing):
            pass

    def test_a_folder_deeper_than_a_socket_address_is_long(self, tmp_path: Path) -> None:
        root = tmp_path.joinpath(*["deep" * 10] * 5)
        (root / ".hotpipe").mkdir(parents=True)
        path = str(root / ".hotpipe/control.sock")
        assert len(path) > 200
        with serving(path):
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
            assert ask(str(root), Request(verb="status")) == [{"verb": "status", "servers": []}]
            with pytest.raises(AlreadyRunning), serving(path):
                pass
        assert os.listdir(root / ".hotpipe") == []
        with pytest.raises(NotRunning):
            ask(str(root), Request(verb="status"))


class TestAsk:
    def test_nobody_there(self, tmp_path: Path) -> None:
        with pytest.raises(NotRunning) as nobody:
            ask(str(tmp_path), Request(verb="status"))
        assert (str(nobody.value), nobody.value.exit_code) == ("no hotpipe runs in this project", 1)
        assert nobody.value.hint == "start one with `hotpipe watch`"

    def test_a_stale_socket_is_nobody(self, path: str, tmp_path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as killed:
            killed.bind(path)
        with pytest.raises(NotRunning):
            ask(str(tmp_path), Request(verb="status"))

    def test_both_halves_answer(self, path: str, tmp_path: Path) -> None:
        beside = str(tmp_path / ".hotpipe/control-gate.sock")
        with serving(path), serving(beside):
            assert len(ask(str(tmp_path), Request(verb="status"))) == 2

    def test_one_that_does_not_answer_in_time_is_nobody(self, path: str, tmp_path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as hung:
            hung.bind(path)
            hung.listen()
            with pytest.raises(NotRunning):
                ask(str(tmp_path), Request(verb="status"), timeout_s=0.1)

    def test_a_refusal_is_raised_as_it_was_meant(self, path: str, tmp_path: Path) -> None:
        with serving(path), pytest.raises(HotpipeError, match="no such server") as refused:
            ask(str(tmp_path), Request(verb="restart", servers=("refused",)))
        assert (refused.value.hint, refused.value.exit_code) == ("another", 2)

    @pytest.mark.parametrize("said", [b"\n", b"what?\n", b"[]\n", b"{}\n", b"\xff\n"])
    def test_something_else_that_answers_is_an_error(self, path: str, tmp_path: Path, said: bytes) -> None:
        with socket.socket(socket.AF_UNIX) as alien:
            alien.bind(path)
            alien.listen()
            answering = threading.Thread(target=say_once, args=[alien, said])
            answering.start()
            with pytest.raises(HotpipeError, match="no hotpipe of this version"):
                ask(str(tmp_path), Request(verb="status"))
            answering.join()

    def test_a_request_beyond_measure_is_not_even_sent(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="65536"):
            ask(str(tmp_path), Request(verb="restart", servers=("x" * LARGEST,)))

    def test_the_verbs_load_no_loop_and_no_face(self) -> None:
        """Start-up time: they only write and read a line."""
        script = (
            "import sys; from hotpipe.cli import completion, logs, pause, rerun, restart, resume, status, stop, wait; "
            "print({'anyio', 'asyncio', 'rich', 'watchfiles', 'psutil', 'hotpipe.ui', 'hotpipe.app'} & {*sys.modules})"
        )
        root = Path(__file__).parent.parent
        done = subprocess.run([sys.executable, "-c", script], cwd=root, stdout=subprocess.PIPE, check=True)
        assert done.stdout == b"set()\n"


class Hotpipe:
    """A process that holds a role and answers as hotpipe does."""

    def __init__(self, root: Path, role: instance.Role, servers: tuple[Server, ...], way: str) -> None:
        read, write = os.pipe()
        self.role = role
        self.pid = os.fork()
        if not self.pid:
            try:
                anyio.run(self._run, str(root), servers, way, write)
            finally:
                os._exit(1)
        os.close(write)
        assert os.read(read, 1) == b"x"
        os.close(read)
        threading.Thread(target=os.waitpid, args=[self.pid, 0], daemon=True).start()  # as a shell would

    async def _run(self, root: str, servers: tuple[Server, ...], way: str, started: int) -> None:
        async def answer(request: Request) -> Answer:
            match request.verb:
                case "status":
                    run = Run(run=12, status="green", tree="0123456789abcdef") if self.role != "serve" else None
                    return Status(pid=os.getpid(), role=self.role, root=root, run=run, servers=servers)
                case "restart":
                    names = request.servers or tuple(server.name for server in servers)
                    return Restarting(servers=tuple(s.name for s in servers if s.name in names))
                case "stop":
                    tasks.cancel_scope.cancel()
                    return Stopping(pid=os.getpid(), role=self.role)

        if way == "deaf":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with instance.claim(root, self.role) as held:
            assert held.socket
            async with anyio.create_task_group() as tasks:
                if way == "answering":
                    await tasks.start(serve, held.socket, answer)
                os.write(started, b"x")
                await anyio.sleep_forever()
        os._exit(0)


Runs = Callable[..., Hotpipe]


@pytest.fixture
def hotpipe(tmp_path: Path) -> Iterator[Runs]:
    """Starts hotpipes in the project, and kills them at the end."""
    (tmp_path / "hotpipe.toml").write_text('[server.web]\nrun = "serve"\n')
    started: list[Hotpipe] = []

    def start(role: instance.Role, *servers: Server, way: str = "answering") -> Hotpipe:
        started.append(Hotpipe(tmp_path, role, servers, way))
        return started[-1]

    yield start
    for one in instance.running(str(tmp_path)):
        assert one.pid in {process.pid for process in started}
        one.send(signal.SIGKILL)
        assert one.wait(PATIENCE_S)


Say = Callable[..., str]


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Say:
    """Runs a verb in the project; what it printed."""
    monkeypatch.chdir(tmp_path)

    def run(verb: Any, *arguments: str) -> str:
        verb.command.main(list(arguments), standalone_mode=False)
        return capsys.readouterr().out

    return run


class TestStatus:
    def test_is_a_table(self, hotpipe: Runs, said: Say, tmp_path: Path) -> None:
        running = hotpipe("watch", WEB, API)
        assert said(status) == (
            f"hotpipe watch (pid {running.pid}) in {tmp_path}\n"
            "run 12: green\n"
            "server  generation  pid  tree          verified  state     sockets\n"
            "web     3           42   0123456789ab  yes       live      http 127.0.0.1:8000\n"
            "api     -           -    -             -         starting  -\n"
        )

    def test_is_one_object_a_line_for_machines(self, hotpipe: Runs, said: Say, tmp_path: Path) -> None:
        serve, gate = hotpipe("serve", WEB), hotpipe("gate")
        first, second = map(json.loads, said(status, "--json").splitlines())
        assert first == {
            "pid": serve.pid,
            "role": "serve",
            "root": str(tmp_path),
            "run": None,
            "servers": [
                {
                    "name": "web",
                    "generation": 3,
                    "pid": 42,
                    "tree": "0123456789abcdef",
                    "verified": True,
                    "state": "live",
                    "sockets": [{"name": "http", "addr": "127.0.0.1:8000"}],
                    "failure": None,
                    "booting": None,
                    "behind": 0,
                }
            ],
            "verdict": None,
            "stages": [],
            "paused": False,
            "errors": [],
            "uptime_s": 0.0,
            "dashboard": None,
        }
        run = {"run": 12, "status": "green", "tree": "0123456789abcdef", "failing": []}
        assert (second["pid"], second["run"]) == (gate.pid, run)

    @pytest.mark.parametrize("verb", [status, stop, restart], ids=["status", "stop", "restart"])
    def test_nothing_runs(self, said: Say, hotpipe: Runs, verb: Any) -> None:
        with pytest.raises(NotRunning):
            said(verb)

    @pytest.mark.parametrize("verb", [status, stop, restart], ids=["status", "stop", "restart"])
    def test_nothing_runs_because_the_configuration_is_wrong(self, said: Say, tmp_path: Path, verb: Any) -> None:
        (tmp_path / "hotpipe.toml").write_text("[serve.web]\n")
        with pytest.raises(ConfigError):
            said(verb)

    def test_one_that_does_not_answer_is_named(self, hotpipe: Runs, said: Say) -> None:
        running = hotpipe("watch", way="silent")
        with pytest.raises(HotpipeError, match=rf"hotpipe watch \(pid {running.pid}\) runs, but does not answer"):
            said(status)

    def test_from_a_folder_below_and_by_name(self, hotpipe: Runs, said: Say, tmp_path: Path) -> None:
        hotpipe("watch")
        (tmp_path / "below").mkdir()
        os.chdir(tmp_path / "below")
        assert said(status) == said(status, "--config", "../hotpipe.toml")


class TestStop:
    def test_returns_when_it_has_ended(self, hotpipe: Runs, said: Say, tmp_path: Path) -> None:
        running = hotpipe("watch")
        assert said(stop) == f"stopped hotpipe watch (pid {running.pid})\n"
        assert instance.running(str(tmp_path)) == []
        instance.claim(str(tmp_path), "watch").close()

    def test_ends_both_halves(self, hotpipe: Runs, said: Say) -> None:
        gate, serve = hotpipe("gate"), hotpipe("serve")
        assert said(stop) == f"stopped hotpipe gate (pid {gate.pid})\nstopped hotpipe serve (pid {serve.pid})\n"

    def test_one_that_does_not_answer_gets_sigterm(self, hotpipe: Runs, said: Say) -> None:
        running = hotpipe("watch", way="silent")
        assert said(stop) == f"stopped hotpipe watch (pid {running.pid})\n"

    def test_works_while_the_configuration_is_wrong(self, hotpipe: Runs, said: Say, tmp_path: Path) -> None:
        hotpipe("watch")
        (tmp_path / "hotpipe.toml").write_text("[serve.web]\n")
        assert said(stop).startswith("stopped ")

    def test_one_that_does_not_end_is_an_error_with_the_way_out(
        self, hotpipe: Runs, said: Say, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        running = hotpipe("watch", way="deaf")
        monkeypatch.setattr(stop, "_patience_s", lambda _: 0.1)  # nobody waits a minute here
        with pytest.raises(HotpipeError, match=rf"\(pid {running.pid}\) has not ended within 0.1 s") as late:
            said(stop)
        assert late.value.hint.startswith(f"kill -9 {running.pid}; ")

    def test_never_signals_who_has_only_the_number(self, hotpipe: Runs, said: Say, tmp_path: Path) -> None:
        (tmp_path / ".hotpipe").mkdir()
        with subprocess.Popen(["sleep", "1000"]) as stranger:
            stale = {"pid": stranger.pid, "start": 1, "role": "watch"}
            (tmp_path / ".hotpipe/hotpipe.pid").write_text(json.dumps(stale))
            try:
                with pytest.raises(NotRunning):
                    said(stop)
                assert stranger.poll() is None
            finally:
                stranger.kill()


class TestRestart:
    def test_all_servers(self, hotpipe: Runs, said: Say) -> None:
        hotpipe("watch", WEB, API)
        assert said(restart) == "restarting web\nrestarting api\n"

    def test_those_that_are_named_beside_a_gate(self, hotpipe: Runs, said: Say) -> None:
        hotpipe("gate"), hotpipe("serve", WEB, API)
        assert said(restart, "api") == "restarting api\n"

    def test_an_unknown_one_restarts_none(self, hotpipe: Runs, said: Say) -> None:
        hotpipe("watch", WEB, API)
        with pytest.raises(UsageError, match="no server 'wbe'; did you mean 'web'\\?; the servers are web, api"):
            said(restart, "api", "wbe")

    def test_a_gate_alone_has_none(self, hotpipe: Runs, said: Say) -> None:
        hotpipe("gate")
        with pytest.raises(HotpipeError, match="has no server"):
            said(restart)


class TestStanding:
    """What `status` tells is folded from the events."""

    def standing(self, *events: AnyEvent) -> Server:
        standing = Standing({"web": [Address("http", "127.0.0.1:8000")]})
        for event in events:
            standing.apply(event)
        (server,) = standing.servers
        return server

    def test_before_anything_has_happened_it_says_where_it_will_answer(self) -> None:
        assert self.standing() == Server(name="web", state="stopped", sockets=(Socket("http", "127.0.0.1:8000"),))

    def test_a_failed_replacement_is_told_beside_who_goes_on(self) -> None:
        failed = ServerFailed(server="web", generation=2, reason="ill", serving=1)
        server = self.standing(*up(1), *up(2)[:1], failed)
        assert (server.generation, server.state, server.failure) == (1, "live", Failure(2, "ill", tree="T"))

    def test_it_is_forgotten_when_the_next_one_is_live(self) -> None:
        failed = ServerFailed(server="web", generation=2, reason="ill", serving=1)
        assert self.standing(*up(1), failed, *up(3)).failure is None

    def test_it_is_forgotten_when_what_is_served_is_wanted_again(self) -> None:
        boots = ServerStarting(server="web", generation=2, pid=2, tree="U")
        failed = ServerFailed(server="web", generation=2, reason="ill", serving=1)
        for tree, failure in (("T", None), ("V", Failure(2, "ill", tree="U"))):
            touched = TriggerTouched(run=3, server="web", path=".trigger", tree=tree)
            assert self.standing(*up(1), boots, failed, touched).failure == failure

    def test_one_that_dies_is_failed_and_nobody_serves(self) -> None:
        died = ServerFailed(server="web", generation=1, reason="killed by SIGSEGV", serving=None, retry_ms=500.0)
        stopped = ServerStopped(server="web", generation=1, exit_code=None, signal="SEGV", killed=False)
        server = self.standing(*up(1), died, stopped)
        assert (server.generation, server.state, server.failure) == (
            None,
            "failed",
            Failure(1, "killed by SIGSEGV", retry_ms=500.0, tree="T"),
        )

    def test_a_tree_that_passes_makes_it_verified(self) -> None:
        server = self.standing(*up(1), ServerVerified(server="web", generation=1, tree="T"))
        assert (server.tree, server.verified) == ("T", True)

    def test_who_boots_beside_it_is_told_until_that_one_is_live(self) -> None:
        assert self.standing(*up(1), *up(2)[:1]).booting == 2
        assert self.standing(*up(1), *up(2)).booting is None

    def test_saves_since_its_tree_was_on_disk_are_counted(self) -> None:
        saved = ChangeDetected(paths=("a",), cause="event")
        assert self.standing(*up(1), saved, saved).behind == 2
        assert self.standing(*up(1), saved, RunStarted(run=1, tree="T", changed=())).behind == 0


class TestVerdict:
    """Where the gate stands is folded from the events."""

    def standing(self, *events: AnyEvent) -> Standing:
        standing = Standing({})
        for event in (RunStarted(run=1, tree="T", changed=()), *events):
            standing.apply(event)
        return standing

    def found(self, severity: Severity, message: str) -> StageFinding:
        place = {"path": "a.py", "line": 3, "column": None, "code": None}
        return StageFinding(run=1, stage="lint", tool="ruff", severity=severity, message=message, **place)

    def test_a_failing_stage_is_told_with_its_first_error(self) -> None:
        over = StageFinished(run=1, stage="lint", status="failed", exit_code=1, took_ms=1.0, findings=3)
        found = [self.found("warning", "first"), self.found("error", "second"), self.found("error", "third")]
        run = self.standing(*found, over).run
        place = Finding(path="a.py", line=3, column=None, message="second")
        assert run.failing == (Failing(stage="lint", status="failed", findings=3, first=place),)

    def test_a_stage_that_may_fail_is_not_told(self) -> None:
        over = StageFinished(run=1, stage="lint", status="failed", exit_code=1, took_ms=1.0, allowed=True)
        assert self.standing(over).run.failing == ()

    def test_the_last_verdict_outlives_runs_that_come_to_none(self) -> None:
        red = RunFinished(run=1, status="red", took_ms=1.0)
        again, none = RunStarted(run=2, tree="U", changed=()), RunFinished(run=2, status="superseded", took_ms=1.0)
        standing = self.standing(red, again, none)
        assert (standing.run.status, standing.verdict.run, standing.verdict.status) == ("superseded", 1, "red")

    def test_a_pause_is_told(self) -> None:
        assert self.standing(GatePaused()).paused
        assert not self.standing(GatePaused(), GateResumed()).paused


def up(number: int) -> list[AnyEvent]:
    sockets = (Address("http", "127.0.0.1:8000"),)
    return [
        ServerStarting(server="web", generation=number, pid=number, tree="T"),
        ServerLive(server="web", generation=number, pid=number, sockets=sockets, took_ms=1.0),
    ]

"""`hotpipe attach`: a debugger in a server, reached from another terminal."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from answering import eventually
from atterminal import AtTerminal, Started
from pausing import Asking, pausing  # noqa: F401 - a fixture
from running import HOTPIPE, PATIENCE_S, Start, environment, free_port
from terminal import Tmux, closed, needs_tmux

from hotpipe import control
from hotpipe.control import listener, protocol
from hotpipe.control.listener import Talk
from hotpipe.control.protocol import Request
from hotpipe.errors import HotpipeError
from hotpipe.process.terminal import Terminal
from hotpipe.server.console import Console, Place

LEAVE = "\x1d"
ATTACHED = "Ctrl-] leaves"
ECHOING = """
import os, sys
print("generation", os.environ["HOTPIPE_GENERATION"], flush=True)
while True:
    try:
        print("got", repr(input("(Pdb) ")), flush=True)
    except EOFError:
        print("end of input", flush=True)
    except OSError:
        break
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A server that asks again and again."""
    (tmp_path / "server.py").write_text(ECHOING)
    (tmp_path / "hotpipe.toml").write_text('[server.web]\nrun = "python -u server.py"\nready = { after = "100ms" }\n')
    return tmp_path


def status(folder: Path) -> dict[str, object]:
    return control.ask(str(folder), Request(verb="status"))[0]


def piped(folder: Path, text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = (*HOTPIPE, "attach", *arguments)
    done = subprocess.run(
        command,
        check=False,
        cwd=folder,
        env=environment(),
        input=text.encode(),
        capture_output=True,
        timeout=PATIENCE_S,
    )
    return subprocess.CompletedProcess(command, done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.fixture
def attached(project: Path, at_terminal: Started) -> tuple[AtTerminal, AtTerminal]:
    """A hotpipe, and who is attached to its server."""
    serve = at_terminal(project, "serve")
    serve.until("● live")
    attach = at_terminal(project, "attach")
    attach.until(ATTACHED)
    attach.until("(Pdb) ")
    return serve, attach


class TestDebugging:
    def test_a_breakpoint_is_announced_and_can_be_answered(
        self,
        pausing: tuple[Path, int],  # noqa: F811
        at_terminal: Started,
    ) -> None:
        folder, port = pausing
        serve = at_terminal(folder, "serve")
        serve.until("● live")
        request = Asking(port, "/debug")
        assert "web waits for input: (Pdb)" in serve.until("  hint: `hotpipe attach web` to answer\n")
        attach = at_terminal(folder, "attach", "web")
        said = attach.until("(Pdb) ")
        assert f"attached to web, generation 1 (pid {status(folder)['servers'][0]['pid']}); {ATTACHED}" in said
        attach.type("p answer + 1\n")
        attach.until("21\n")
        attach.type("answer = 55\nc\n")
        assert request.answered() == "answer 55"
        assert "│\x1b[0m (Pdb) p answer + 1\n" in serve.until("│\x1b[0m 21\n"), "it is in the log as ever"
        attach.type(LEAVE)
        assert attach.wait() == 0
        assert attach.is_as_before
        assert Asking(port, "/").answered() == "answer 20"

    def test_through_a_pipe(self, pausing: tuple[Path, int], at_terminal: Started) -> None:  # noqa: F811
        folder, port = pausing
        serve = at_terminal(folder, "serve")
        serve.until("● live")
        request = Asking(port, "/debug")
        serve.until("waits for input")
        done = piped(folder, "answer = 7\np answer\nc\n")
        assert done.returncode == 0
        assert "\n7\n" in done.stdout
        assert "attached to web, generation 1" in done.stderr
        assert request.answered() == "answer 7"

    def test_the_newest_generation_is_the_place_unless_one_waits(self) -> None:
        console, terminals = Console("web"), [Terminal(0) for _ in range(3)]
        for number, each in enumerate(terminals):
            console.open(Place(number, 100 + number, each))
        assert console.place == Place(2, 102, terminals[2])
        terminals[0].prompt = "(Pdb)"
        assert console.attach().answer == protocol.Attached(server="web", generation=0, pid=100)
        terminals[1].prompt = "(Pdb)"
        assert console.place == Place(1, 101, terminals[1])
        terminals[1].close()
        console.close(0)
        assert console.place == Place(2, 102, terminals[2])

    def test_one_that_waits_while_it_boots_can_be_answered(self, project: Path, at_terminal: Started) -> None:
        code = "import os, time\nif os.environ['HOTPIPE_GENERATION'] == '1': breakpoint()\ntime.sleep(600)\n"
        (project / "server.py").write_text(code)
        (project / "hotpipe.toml").write_text(
            '[server.web]\nrun = "python server.py"\nlisten = ["http::0"]\nready_timeout = "60s"\n'
        )
        serve = at_terminal(project, "serve")
        serve.until("waits for input")
        attach = at_terminal(project, "attach")
        attach.until("generation 1")
        attach.type("p 6 * 7\n")
        attach.until("42")

    @needs_tmux
    def test_in_tmux_with_uvicorn(self, tmp_path: Path) -> None:
        port, hotpipe = free_port(), " ".join(HOTPIPE)
        (tmp_path / "app.py").write_text(
            "async def app(scope, receive, send):\n"
            "    if scope['type'] != 'http': return\n"
            "    answer = 20\n"
            "    breakpoint()\n"
            "    await send({'type': 'http.response.start', 'status': 200, 'headers': []})\n"
            "    await send({'type': 'http.response.body', 'body': b'answer %d' % answer})\n"
        )
        (tmp_path / "hotpipe.toml").write_text(
            f'[server.web]\nrun = "uvicorn app:app --fd {{fd}}"\nlisten = ["http::{port}"]\n'
        )
        with closed(Tmux(tmp_path, 150, 50)) as terminal:
            terminal.run(f"{hotpipe} watch --plain &")
            terminal.until("● live")
            asking = Asking(port, "/")
            terminal.until("web waits for input: (Pdb)")
            terminal.run(f"clear; {hotpipe} attach")
            terminal.until(ATTACHED)
            terminal.run("p answer + 1")
            terminal.until("21")
            terminal.run("answer = 55")
            terminal.run("c")
            assert asking.answered() == "answer 55"
            terminal.type("C-]")
            terminal.run(f"clear; {hotpipe} stop; wait; echo stopped $?")
            terminal.until("stopped 0")


class TestLeaving:
    @pytest.mark.parametrize("key", ["\x1d", "\x03"], ids=["ctrl-]", "ctrl-c"])
    def test_a_key_leaves_and_the_server_goes_on(
        self, attached: tuple[AtTerminal, AtTerminal], project: Path, key: str
    ) -> None:
        _, attach = attached
        pid = status(project)["servers"][0]["pid"]
        attach.type(f"last{key}more\n")
        assert attach.wait() == 0
        assert attach.is_as_before
        assert status(project)["servers"][0]["pid"] == pid
        assert "got" not in attach.text

    def test_the_end_of_input_is_the_programs(self, attached: tuple[AtTerminal, AtTerminal]) -> None:
        _, attach = attached
        attach.type("\x04")
        attach.until("end of input")
        attach.type("on\n")
        attach.until("got 'on'")

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
    def test_a_signal_ends_it_and_leaves_the_terminal_in_order(
        self, attached: tuple[AtTerminal, AtTerminal], number: signal.Signals
    ) -> None:
        _, attach = attached
        eventually(lambda: not attach.is_as_before)
        attach.process.send_signal(number)
        assert attach.wait() == 128 + number
        assert attach.is_as_before

    def test_when_hotpipe_ends_so_does_it(self, attached: tuple[AtTerminal, AtTerminal]) -> None:
        serve, attach = attached
        serve.process.send_signal(signal.SIGINT)
        assert attach.wait() == 0
        assert attach.is_as_before

    def test_also_when_it_is_killed(
        self, attached: tuple[AtTerminal, AtTerminal], project: Path, at_terminal: Started
    ) -> None:
        serve, attach = attached
        serve.process.kill()
        assert attach.wait() == 0
        assert attach.is_as_before
        at_terminal(project, "serve").until("● live")  # it clears away what the other one left


class TestGenerations:
    def test_it_goes_on_with_the_next_one(
        self, attached: tuple[AtTerminal, AtTerminal], project: Path, at_terminal: Started
    ) -> None:
        _, attach = attached
        at_terminal(project, "restart").wait()
        attach.until("hotpipe: generation 1 has ended")
        attach.until("hotpipe: now at generation 2 (pid ")
        attach.type("hello\n")
        attach.until("got 'hello'")
        assert attach.text.count("has ended") == 1

    def test_where_none_lives_the_next_one_is_waited_for(self, project: Path, at_terminal: Started) -> None:
        (project / "server.py").write_text("raise SystemExit(1)")
        serve = at_terminal(project, "serve")
        serve.until("✗ generation 1")
        attach = at_terminal(project, "attach")
        attach.until("which does not run")
        (project / "server.py").write_text(ECHOING)
        at_terminal(project, "restart").wait()
        attach.until("now at generation 2")
        attach.until("(Pdb) ")

    def test_several_may_be_attached(self, attached: tuple[AtTerminal, AtTerminal], project: Path) -> None:
        _, attach = attached
        assert "got 'x'" in piped(project, "x\n").stdout
        attach.until("got 'x'")

    def test_who_does_not_read_keeps_nobody_waiting(self, tmp_path: Path, at_terminal: Started) -> None:
        (tmp_path / "hotpipe.toml").write_text(
            '[server.web]\nrun = "seq 1 100000; echo > done; sleep 600"\nready = { after = "1ms" }\n'
        )
        (tmp_path / "server.py").write_text("")
        at_terminal(tmp_path, "serve", "-q").until("● live")
        _, line, _ = control.talk(str(tmp_path), Request(verb="attach", server="web"))
        with line:
            eventually((tmp_path / "done").exists)
            assert status(tmp_path)["servers"][0]["state"] == "live"


class TestRefusals:
    def test_without_a_terminal(self, project: Path, start: Start) -> None:
        (project / "server.py").write_text("import time; time.sleep(600)")
        start(project, "serve").until("server.live")
        done = piped(project, "")
        assert done.returncode == 1
        assert "the servers of this hotpipe have no terminal" in done.stderr
        assert "HOTPIPE_PTY" in done.stderr

    def test_where_the_configuration_wants_none(self, project: Path, at_terminal: Started) -> None:
        (project / "server.py").write_text("import time; time.sleep(600)")
        with (project / "hotpipe.toml").open("a") as file:
            file.write("tty = false\n")
        at_terminal(project, "serve").until("● live")
        done = piped(project, "")
        assert done.returncode == 1
        assert "web has no terminal" in done.stderr
        assert "tty = false" in done.stderr

    def test_where_nothing_runs(self, project: Path) -> None:
        done = piped(project, "")
        assert done.returncode == 1
        assert "no hotpipe" in done.stderr

    def test_which_server_has_to_be_clear(self, project: Path, at_terminal: Started) -> None:
        with (project / "hotpipe.toml").open("a") as file:
            file.write('[server.api]\nrun = "sleep 600"\nready = { after = "1ms" }\n')
        at_terminal(project, "serve").until("● live", times=2)
        assert "attach to which server? There are web, api" in piped(project, "").stderr
        unknown = piped(project, "", "wep")
        assert unknown.returncode == 2
        assert "no server 'wep', did you mean 'web'" in unknown.stderr or "web" in unknown.stderr


# --- the control socket --------------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> Iterator[str]:
    (tmp_path / ".hotpipe").mkdir()
    return str(tmp_path / ".hotpipe" / "control.sock")


async def _echo(line: listener._Client) -> None:
    while chunk := await line.receive():
        await line.transmit(chunk)


async def _answer(request: Request) -> protocol.Answer | Talk:
    if request.verb == "attach":
        return Talk({"server": "web"}, _echo)
    return {"pid": 1}


@pytest.mark.anyio
async def test_who_talks_may_be_silent_for_long_and_keeps_nobody_out(path: str) -> None:
    root = os.path.dirname(os.path.dirname(path))
    attach = Request(verb="attach", server="web")
    async with anyio.create_task_group() as tasks:
        await tasks.start(listener.serve, path, _answer, 0.05)
        talks = [await anyio.to_thread.run_sync(control.talk, root, attach) for _ in range(70)]
        await anyio.sleep(0.2)
        assert await anyio.to_thread.run_sync(control.ask, root, Request(verb="status")) == [{"pid": 1}]
        for answer, line, rest in talks:
            assert (answer, rest) == ({"server": "web"}, b"")
            line.sendall(b"still here")
            assert await anyio.to_thread.run_sync(line.recv, 100) == b"still here"
            line.close()
        tasks.cancel_scope.cancel()


@pytest.mark.anyio
async def test_of_two_hotpipes_the_one_that_knows_why_not_is_heard(tmp_path: Path, path: str) -> None:
    async def knows(_: Request) -> protocol.Answer:
        raise HotpipeError("web has no terminal")

    async def does_not(_: Request) -> protocol.Answer:
        raise protocol.UsageError("there is no server 'web' here")

    async with anyio.create_task_group() as tasks:
        await tasks.start(listener.serve, path, knows)
        await tasks.start(listener.serve, path.replace("control", "control-gate"), does_not)
        with pytest.raises(HotpipeError, match="has no terminal"):
            await anyio.to_thread.run_sync(control.talk, str(tmp_path), Request(verb="attach", server="web"))
        tasks.cancel_scope.cancel()

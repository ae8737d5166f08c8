"""Children at ptys, where the user looks at a terminal.

Pains kept: colours and terminals lost for children (watchexec #874 #743, air PR 895).
"""

import errno
import os
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from answering import descriptors
from atterminal import Started
from running import PATIENCE_S

from hotpipe.errors import SpawnError
from hotpipe.events import AnyEvent, Stream, Warned
from hotpipe.process.command import Command, environment
from hotpipe.process.lines import QUIET_S, Lines
from hotpipe.process.system import System
from hotpipe.process.terminal import Tap, Terminals, Window, prompt_in

WINDOW = Window(33, 111)
WHO = "import os,sys; print(*(os.isatty(n) for n in (0, 1, 2)), *os.get_terminal_size(1), *os.get_terminal_size(2))"
pytestmark = pytest.mark.anyio


class Place:
    """Where children are started, and what they have written."""

    def __init__(self) -> None:
        self.warned: list[AnyEvent] = []
        self.heard: list[tuple[Stream, str]] = []
        self.system = System(None, Terminals(WINDOW, self.warned.append))

    def spawn(self, run: str | tuple[str, ...], tty: str = "output"):
        return self.system.spawn(Command(run, os.getcwd(), environment(), tty=tty))

    async def run(self, run: str | tuple[str, ...], tty: str = "output") -> list[str]:
        self.heard.clear()
        child = self.spawn(run, tty)
        with anyio.fail_after(PATIENCE_S):
            await child.finish(lambda stream, text: self.heard.append((stream, text)))
            await self.system.tidy(child)
        return [text for _, text in self.heard]


@pytest.fixture
async def place(anyio_backend: str) -> AsyncIterator[Place]:
    made = Place()
    try:
        yield made
    finally:
        await made.system.close()


class TestChildren:
    async def test_each_stream_is_a_terminal_of_the_users_size(self, place: Place) -> None:
        assert await place.run((sys.executable, "-c", WHO)) == ["False True True 111 33 111 33"]

    async def test_who_is_to_be_typed_to_reads_from_it_too(self, place: Place) -> None:
        assert await place.run((sys.executable, "-c", WHO), "all") == ["True True True 111 33 111 33"]

    async def test_who_is_to_have_none_has_none(self, place: Place) -> None:
        run = "test -t 0 || test -t 1 || test -t 2 || echo none"
        assert await place.run(run, "nothing") == ["none"]

    async def test_others_see_it_as_well(self, place: Place) -> None:
        assert await place.run("stty size <&1") == ["33 111"]
        if shutil.which("node"):
            assert await place.run(("node", "-p", "process.stdout.isTTY + ' ' + process.stdout.columns")) == [
                "true 111"
            ]

    async def test_what_is_written_where_is_kept_apart_and_in_order(self, place: Place) -> None:
        await place.run("for n in 1 2 3; do echo out $n; echo err $n >&2; done")
        for stream in ("stdout", "stderr"):
            assert [text for on, text in place.heard if on == stream] == [f"{stream[3:]} {n}" for n in (1, 2, 3)]

    async def test_no_last_line_is_lost(self, place: Place) -> None:
        for number in range(200):
            assert await place.run(f"echo first; printf %s {number}") == ["first", str(number)]

    async def test_lines_end_as_in_a_pipe(self, place: Place) -> None:
        assert await place.run(r"printf 'a\nb\r\n\nc'") == ["a", "b", "", "c"]

    async def test_it_follows_the_size_of_the_users_terminal(self, place: Place) -> None:
        child = place.spawn("stty size <&1; read _; stty size <&1; stty size <&2", "all")
        said: list[str] = []

        def line(_: Stream, text: str) -> None:
            said.append(text)
            if text == "33 111":
                place.system.resize(Window(20, 60))
                os.write(child._pipes["stdout"], b"\n")

        with anyio.fail_after(PATIENCE_S):
            await child.finish(line)
        assert [text for text in said if text] == ["33 111", "20 60", "20 60"]
        assert await place.run("stty size <&1") == ["20 60"]

    @pytest.mark.parametrize("tty", ["output", "all"])
    async def test_descriptors_are_given_back(self, place: Place, tty: str) -> None:
        await place.run("true", tty)
        before = descriptors()
        for _ in range(200):
            await place.run(("true",), tty)
            with pytest.raises(SpawnError):
                place.spawn(("there-is-no-such-program",), tty)
        assert descriptors() == before

    async def test_a_flood_costs_no_more_than_in_a_pipe(self, place: Place) -> None:
        child = place.spawn("yes")
        lines = 0

        def line(_: Stream, __: str) -> None:
            nonlocal lines
            lines += 1

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(child.hear, line)
            await anyio.sleep(1)
            assert await place.system.stop(child, "TERM", PATIENCE_S) is False
            tasks.cancel_scope.cancel()
        assert 1_000 < lines < 400_000

    @pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc")
    async def test_none_of_them_controls_a_session(self, place: Place) -> None:
        """Else whoever outlives the leader of it is sent SIGHUP: a daemon, gunicorn's heir after USR2."""
        fields = "open('/proc/self/stat').read().rpartition(')')[2].split()[4]"
        assert await place.run((sys.executable, "-c", f"print({fields})"), "all") == ["0"]
        assert await place.run("(: </dev/tty) 2>/dev/null || echo none", "all") == ["none"]

    async def test_who_outlives_its_parent_is_not_hung_up(self, place: Place, tmp_path: Path) -> None:
        heir = tmp_path / "heir"
        heir.write_text(
            "import os, signal, sys, time\n"
            "signal.signal(signal.SIGHUP, lambda *_: (print('hung up', flush=True), os._exit(1)))\n"
            "if os.fork(): os._exit(0)\n"
            "while os.getppid() == int(sys.argv[1]): time.sleep(0.01)\n"
            "time.sleep(0.2); print('goes on', flush=True)\n"
        )
        child = place.spawn(
            (
                sys.executable,
                "-c",
                f"import os, sys; sys.argv = ['', str(os.getpid())]; exec(open({str(heir)!r}).read())",
            ),
            "all",
        )
        said: list[str] = []
        with anyio.fail_after(PATIENCE_S):
            await child.hear(lambda _, text: said.append(text))
        assert said == ["goes on"]

    async def test_where_there_are_none_it_does_with_pipes_and_says_so_once(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def exhausted() -> tuple[int, int]:
            if len(given) % 2:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            given.append(opened())
            return given[-1]

        given, opened = [], os.openpty
        monkeypatch.setattr(os, "openpty", exhausted)
        before = descriptors()
        for _ in range(2):
            assert await place.run("test -t 1 || echo pipe") == ["pipe"]
        assert [event.code for event in place.warned if isinstance(event, Warned)] == ["pty.unavailable"]
        assert descriptors() == before


class TestPrompts:
    @pytest.mark.parametrize(
        "line",
        [
            "(Pdb) ", "\x1b[?2004h(Pdb) ", "(Pdb++) ", "ipdb> ", ">>> ", "debug> ", "(dlv) ", "(byebug) ", "(rdbg) ",
            "[1] pry(main)> ", "pry(1)> ", "iex(2)> ", "irb(main):001> ", "irb(main):001:0> ", "In [12]: ", "(gdb) ",
            "\x1b[1;35m(Pdb) \x1b[0m", "loading\r(Pdb) ", "  DB<1> ",
        ],
        ids=ascii,
    )  # fmt: skip
    def test_what_a_debugger_asks_is_one(self, line: str) -> None:
        assert prompt_in(line) and prompt_in(line) in line  # noqa: PT018

    @pytest.mark.parametrize(
        "line",
        ["", "> ", "50% ", "loading...", "see (Pdb) ", "(Pdb) p x", "x" * 100_000, "$ "],
        ids=lambda line: line[:20],
    )
    def test_what_only_takes_its_time_is_none(self, line: str) -> None:
        assert prompt_in(line) == ""

    def test_a_line_that_does_not_go_on_is_told_once(self) -> None:
        now, told = [0.0], []
        lines = Lines("stdout", lambda *_: None, lambda: now[0])
        lines.on_wait = told.append
        assert lines.pause_s is None
        lines.add(b"a\n(Pd")
        assert lines.pause_s == QUIET_S
        now[0] += QUIET_S / 2
        lines.add(b"b) ")
        now[0] += QUIET_S
        lines.add(b"")
        assert told == ["(Pdb) "]
        assert lines.pause_s is None
        lines.add(b"x\n")
        lines.add(b"(Pdb) ")
        now[0] += QUIET_S
        lines.add(b"")
        assert told == ["(Pdb) ", "(Pdb) "]

    async def test_a_child_that_waits_at_one_is_known_until_it_goes_on(self, place: Place) -> None:
        child = place.spawn("printf '(Pdb) '; read x; echo got $x", "all")
        said: list[str] = []
        asked = anyio.Event()
        child.terminal.on_prompt = lambda _: asked.set()
        with anyio.fail_after(PATIENCE_S):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(child.hear, lambda _, text: said.append(text))
                await asked.wait()
                assert (child.terminal.prompt, child.terminal.open_line) == ("(Pdb)", b"(Pdb) ")
                await child.terminal.type(b"c\n")
        assert said == ["(Pdb) c", "got c"]
        assert child.terminal.prompt == ""


class TestTaps:
    async def test_one_who_is_slow_loses_the_oldest(self) -> None:
        tap = Tap()
        for number in range(100_000):
            tap.add(b"%07d\n" % number)
        tap.close()
        got = await tap.next()
        assert got.endswith(b"0099999\n")
        assert len(got) < 300_000
        assert await tap.next() == b""

    async def test_who_does_not_read_keeps_nobody_from_typing(self, place: Place) -> None:
        child = place.spawn("stty raw; echo ready; exec sleep 60", "all")
        ready = anyio.Event()
        with anyio.fail_after(PATIENCE_S):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(child.hear, lambda *_: ready.set())
                await ready.wait()
                await child.terminal.type(b"x" * 1_000_000)
                await place.system.stop(child, "KILL", 1)
        assert not child.terminal.is_open
        await child.terminal.type(b"x")


SHOW = "test -t 1 && test -t 2 && echo a terminal || echo no terminal; echo NO_COLOR=$NO_COLOR; stty size <&1; false"


class TestCheck:
    """`hotpipe check` at a terminal."""

    def write(self, folder: Path, more: str = "") -> Path:
        (folder / "hotpipe.toml").write_text(f"[stage.show]\nrun = {SHOW!r}\n{more}\n")
        return folder

    def test_a_stage_has_one(self, tmp_path: Path, at_terminal: Started) -> None:
        check = at_terminal(self.write(tmp_path), "check")
        assert check.wait() == 1
        assert "\na terminal\nNO_COLOR=\n40 120\n" in check.until("red:")

    def test_also_without_colours_which_it_is_told(self, tmp_path: Path, at_terminal: Started) -> None:
        check = at_terminal(self.write(tmp_path), "check", "--no-color")
        assert "\na terminal\nNO_COLOR=1\n" in check.until("red:")

    @pytest.mark.parametrize("how", ["HOTPIPE_PTY=0", "TERM=dumb", "--json", "tty = false"])
    def test_who_wants_none_gets_none(self, tmp_path: Path, at_terminal: Started, how: str) -> None:
        self.write(tmp_path, how if how.startswith("tty") else "")
        name, _, value = how.partition("=")
        env = {name: value} if name.isupper() else {}
        check = at_terminal(tmp_path, "check", *([how] if how.startswith("--") else []), env=env)
        assert check.wait() == 1
        assert "no terminal" in check.until('"status":"red"' if how == "--json" else "red:")
        assert '"a terminal"' not in check.text
        assert "\na terminal" not in check.text

    def test_what_was_written_in_colours_is_replayed_without_them_where_none_are_wanted(
        self,
        tmp_path: Path,
        at_terminal: Started,
    ) -> None:
        run = r"test -t 1 && printf '\\033[31min red\\033[0m\\n'"
        (tmp_path / "hotpipe.toml").write_text(f'[stage.paint]\nrun = "{run}"\n')
        assert "\x1b[31min red\x1b[0m" in at_terminal(tmp_path, "check", "-v").until("green")
        replayed = at_terminal(tmp_path, "check", "-v", "--no-cache", env={"NO_COLOR": "1"}).until("green")
        assert "│ in red\n" in replayed

    def test_findings_are_found_in_colours(self, tmp_path: Path, at_terminal: Started) -> None:
        (tmp_path / "bad.py").write_text("import os\nx: int = ''\n")
        (tmp_path / "hotpipe.toml").write_text(
            '[stage.lint]\nrun = "ruff check --no-cache bad.py"\n'
            '[stage.types]\nneeds = []\nrun = "mypy --cache-dir=/dev/null bad.py"\n'
        )
        check = at_terminal(tmp_path, "check", "--keep-going", "--junit", "../report.xml")
        said = check.until("✗ red:")
        assert check.wait() == 1
        assert "lint" in said and "1 error" in said  # noqa: PT018
        report = (tmp_path.parent / "report.xml").read_text()
        assert "bad.py:1:8" in report
        assert "bad.py:2" in report
        assert "\x1b" not in report


def test_a_daemon_has_none(tmp_path: Path, at_terminal: Started) -> None:
    (tmp_path / "hotpipe.toml").write_text(
        '[stage.show]\nrun = "test -t 1 || test -t 2 || echo no terminal > said; false"\n'
    )
    assert at_terminal(tmp_path, "gate", "--daemon").wait() == 0
    try:
        until = time.monotonic() + PATIENCE_S
        while not (tmp_path / "said").exists():
            assert time.monotonic() < until
            time.sleep(0.02)
    finally:
        assert at_terminal(tmp_path, "stop").wait() == 0


def test_children_follow_the_window(tmp_path: Path, at_terminal: Started) -> None:
    loop = "while True: time.sleep(0.05); print(os.get_terminal_size(), flush=True)"
    (tmp_path / "size.py").write_text(f"import os, time\n{loop}")
    (tmp_path / "hotpipe.toml").write_text(f'[server.size]\nrun = "{sys.executable} size.py"\n')
    serve = at_terminal(tmp_path, "serve")
    serve.until("columns=120, lines=40")
    serve.resize(20, 60)
    os.kill(serve.process.pid, signal.SIGWINCH)
    serve.until("columns=60, lines=20")


@pytest.mark.skipif(shutil.which("git") is None, reason="there is no git here")
def test_nothing_waits_in_a_pager(tmp_path: Path, at_terminal: Started) -> None:
    """git starts one at a terminal, and less(1) would wait for keys."""
    (tmp_path / "a").write_text("".join(f"{number}\n" for number in range(1000)))
    (tmp_path / "hotpipe.toml").write_text('[stage.diff]\nrun = "git diff --no-index /dev/null a"\n')
    check = at_terminal(tmp_path, "check")
    assert "999" in check.until("✗ red")
    assert check.wait() == 1


def test_a_word_in_colours_is_the_sign_that_it_is(tmp_path: Path, at_terminal: Started) -> None:
    run = r"printf '\\033[1mLocal\\033[22m: \\033[36mready\\033[0m\\n'; sleep 600"
    (tmp_path / "hotpipe.toml").write_text(f'[server.web]\nrun = "{run}"\nready = {{ log = "^Local: ready$" }}\n')
    at_terminal(tmp_path, "serve").until("● live")


def test_a_server_that_is_to_have_none_any_more_is_to_be_replaced(tmp_path: Path, at_terminal: Started) -> None:
    config = '[server.web]\nrun = "sleep 600"\nready = { after = "1ms" }\n'
    (tmp_path / "hotpipe.toml").write_text(config)
    serve = at_terminal(tmp_path, "serve")
    serve.until("● live")
    (tmp_path / "hotpipe.toml").write_text(f"{config}tty = false\n")
    serve.until("web goes on as it was started")

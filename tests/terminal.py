"""A real terminal for tests: a tmux of its own, with a shell in it, and what can be seen there."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from running import HOTPIPE, PATIENCE_S, environment, is_alive, offspring

_LOOK_S = 0.05
COMMAND = " ".join(HOTPIPE)
needs_tmux = pytest.mark.skipif(
    None in {shutil.which("tmux"), shutil.which("dash")}, reason="there is no tmux, or no dash to run in it"
)


class Tmux:
    """One window, with a shell in `folder`."""

    def __init__(self, folder: Path, columns: int = 100, rows: int = 30) -> None:
        self._socket = f"hotpipe-{os.getpid()}-{time.monotonic_ns()}"
        # Not bash, which mends the modes that a program leaves behind.
        shell = ("env", "PS1=$ ", "LC_ALL=C.UTF-8", "dash", "-i")
        self._tmux(
            "-f", os.devnull, "new-session", "-d", "-x", str(columns), "-y", str(rows), "-c", str(folder), *shell
        )
        self._tmux("set-option", "-g", "history-limit", "5000")
        self.pid = int(self.told("#{pane_pid}"))
        self.until("$")

    def type(self, *keys: str) -> None:
        """Keys as tmux names them."""
        self._tmux("send-keys", *keys)

    def run(self, command: str) -> None:
        """At the shell's prompt."""
        self._tmux("send-keys", "-l", command)
        self._tmux("send-keys", "Enter")

    def resize(self, columns: int, rows: int) -> None:
        self._tmux("resize-window", "-x", str(columns), "-y", str(rows))

    def screen(self, *options: str) -> str:
        return self._tmux("capture-pane", "-p", *options)

    def told(self, variable: str) -> str:
        """What tmux knows of its window."""
        return self._tmux("display-message", "-p", variable).strip()

    def until(self, *texts: str, without: str = "\0") -> str:
        """The screen, when all of this can be seen on it."""
        return self.when(lambda screen: all(text in screen for text in texts) and without not in screen, str(texts))

    def when(self, is_so: Callable[[str], bool], what: str = "") -> str:
        end = time.monotonic() + PATIENCE_S
        while not is_so(screen := self.screen()):
            assert time.monotonic() < end, f"never {what}:\n{screen}"
            time.sleep(_LOOK_S)
        return screen

    def close(self) -> list[psutil.Process]:
        """As if its window had been closed; what outlives that is returned."""
        started = offspring(self.pid)
        with suppress(subprocess.CalledProcessError):
            self._tmux("kill-server")
        end = time.monotonic() + PATIENCE_S
        while (left := [each for each in started if is_alive(each.pid)]) and time.monotonic() < end:
            time.sleep(_LOOK_S)
        return left

    def hotpipe(self) -> psutil.Process:
        """The one that runs here."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            for process in offspring(self.pid):
                with suppress(psutil.Error):
                    if process.cmdline()[:3] == [sys.executable, "-m", "hotpipe"]:
                        return process
            time.sleep(_LOOK_S)
        raise AssertionError(f"no hotpipe:\n{self.screen()}")

    def _tmux(self, *arguments: str) -> str:
        command = ("tmux", "-L", self._socket, *arguments)
        done = subprocess.run(command, env=environment() | {"TERM": "xterm-256color"}, capture_output=True, check=True)
        return done.stdout.decode()


@contextmanager
def closed(tmux: Tmux) -> Iterator[Tmux]:
    """In the end it is, and nobody may be left."""
    left: list[psutil.Process] = []
    try:
        yield tmux
    finally:
        left = tmux.close()
        for process in left:
            process.kill()
    assert not left


@pytest.fixture
def tmux(tmp_path: Path) -> Iterator[Tmux]:
    with closed(Tmux(tmp_path)) as one:
        yield one

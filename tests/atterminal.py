"""A program at a terminal of its own: what it writes there, and what is typed."""

import os
import signal
import subprocess
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from running import HOTPIPE, PATIENCE_S, environment, is_alive, offspring

Started = Callable[..., "AtTerminal"]


class AtTerminal:
    """A program that was started at a terminal."""

    def __init__(self, folder: Path, *command: str, env: dict[str, str] | None = None) -> None:
        self.text = ""
        self._arrived = threading.Condition()
        self.master, slave = os.openpty()
        self.resize(40, 120)
        self.modes = termios.tcgetattr(slave)
        self._slave = slave  # kept, so that its modes can be looked at
        own = {**environment(), "TERM": "xterm-256color", **(env or {})}
        self.process = subprocess.Popen(
            command, cwd=folder, env=own, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def until(self, text: str, times: int = 1) -> str:
        """All that it has written, once that is among it."""
        with self._arrived:
            if not self._arrived.wait_for(lambda: self.text.count(text) >= times, PATIENCE_S):
                pytest.fail(f"no {text!r} on the terminal:\n{self.text}")
            return self.text

    def type(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def resize(self, rows: int, columns: int) -> None:
        termios.tcsetwinsize(self.master, (rows, columns))

    @property
    def is_as_before(self) -> bool:
        """Its modes are."""
        return termios.tcgetattr(self._slave) == self.modes

    def wait(self) -> int:
        """Its exit code."""
        return self.process.wait(PATIENCE_S)

    def close(self) -> list[int]:
        """Stop it; what it left running is returned, and killed."""
        started = offspring(self.process.pid)
        with suppress(subprocess.TimeoutExpired):
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGINT)
                self.wait()
        self.process.kill()
        left = [process.pid for process in started if is_alive(process.pid)]
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        os.close(self._slave)
        self._reader.join(PATIENCE_S)
        os.close(self.master)
        return left

    def _read(self) -> None:
        with suppress(OSError):
            while chunk := os.read(self.master, 1 << 16):
                with self._arrived:
                    self.text += chunk.decode(errors="replace").replace("\r\n", "\n")
                    self._arrived.notify_all()


@pytest.fixture
def at_terminal() -> Iterator[Started]:
    """Start hotpipe at a terminal; in the end each is stopped, and must leave nobody behind."""
    running: list[AtTerminal] = []

    def started(folder: Path, *arguments: str, env: dict[str, str] | None = None) -> AtTerminal:
        running.append(AtTerminal(folder, *HOTPIPE, *arguments, env=env))
        return running[-1]

    yield started
    left = [pid for one in reversed(running) for pid in one.close()]
    assert not left

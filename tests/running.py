"""hotpipe as a user runs it: a process of its own, and the events that it prints."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

PATIENCE_S = 40
INTERRUPTED = 130
BIN = Path(sys.executable).parent
HOTPIPE = (sys.executable, "-m", "hotpipe")


class Hotpipe:
    """A running hotpipe, and the events that it prints."""

    def __init__(self, folder: Path, *arguments: str, launcher: tuple[str, ...] = ()) -> None:
        self.seen: list[dict[str, Any]] = []
        self._passed: dict[str, int] = {}
        self._arrived = threading.Condition()
        self._said = (folder.parent / f"{folder.name}-{time.monotonic_ns()}.stderr").open("w+")
        command = (*launcher, *HOTPIPE, *arguments, "--json")
        self.process = subprocess.Popen(
            command, cwd=folder, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._said
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def until(self, kind: str, **fields: object) -> dict[str, Any]:
        """The next event of that type and with these fields; those of that type before it are passed over."""
        with self._arrived:
            if not self._arrived.wait_for(lambda: self._pass(kind, fields), PATIENCE_S):
                pytest.fail(f"no {kind} with {fields} in {self.seen}; stderr: {self.said()}")
            return self.seen[self._passed[kind] - 1]

    def _pass(self, kind: str, fields: dict[str, object]) -> bool:
        for place in range(self._passed.get(kind, 0), len(self.seen)):
            self._passed[kind] = place + 1
            event = self.seen[place]
            if event["type"] == kind and all(event[key] == value for key, value in fields.items()):
                return True
        return False

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.seen if event["type"] == kind]

    def said(self) -> str:
        """Its standard error."""
        self._said.seek(0)
        return self._said.read()

    def wait(self) -> int:
        """Its exit code."""
        code = self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        return code

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.wait()

    def close(self) -> list[psutil.Process]:
        """Stop it, if it still runs; what it left running is returned, and killed."""
        started = offspring(self.process.pid)
        with suppress(subprocess.TimeoutExpired):
            if self.process.poll() is None:
                self.interrupt()
        self.process.kill()
        left = [process for process in started if is_alive(process.pid)]
        for process in left:
            process.kill()
        self._reader.join(PATIENCE_S)
        self.process.stdout.close()
        self._said.close()
        return left

    def _read(self) -> None:
        for line in self.process.stdout:
            with self._arrived:
                self.seen.append(json.loads(line))
                self._arrived.notify_all()


Start = Callable[..., Hotpipe]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start hotpipe in a folder; in the end each is stopped, and must leave nobody behind."""
    running: list[Hotpipe] = []

    def started(folder: Path, *arguments: str, launcher: tuple[str, ...] = ()) -> Hotpipe:
        running.append(Hotpipe(folder, *arguments, launcher=launcher))
        return running[-1]

    yield started
    left = [process for one in running for process in one.close()]
    assert not left


def environment() -> dict[str, str]:
    """With this environment's programs first, and none of the settings of whoever runs the tests."""
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "PYTHONPATH") if name in os.environ}
    return {**kept, "PATH": f"{BIN}:{os.environ['PATH']}", "PYTHONDONTWRITEBYTECODE": "1"}


def offspring(pid: int) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).children(recursive=True)
    return []


def is_alive(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])

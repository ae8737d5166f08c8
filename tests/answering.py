"""Servers and clients in threads, for tests of sockets: who answered, and whether anybody was not answered."""

import collections
import os
import select
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

PATIENCE_S = 30


class Answerer:
    """Answers each connection to a listening socket with its word; like another process, by a descriptor of its own."""

    def __init__(self, listening: socket.socket, word: str) -> None:
        self._listening = listening.dup()
        self._word = word.encode()
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def __enter__(self) -> "Answerer":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """As a process that is killed: what is queued stays queued."""
        self._wake.close()
        self._thread.join(PATIENCE_S)
        self._listening.close()
        self._woken.close()

    def _run(self) -> None:
        while self._woken not in (ready := select.select([self._listening, self._woken], [], [])[0]):
            assert ready
            with suppress(OSError), self._listening.accept()[0] as client:
                client.sendall(self._word)


class Load:
    """Clients that connect again and again, each reading one answer: `answers` by word, and what went wrong."""

    def __init__(self, family: int, target: Any, clients: int = 2) -> None:
        self.answers: collections.Counter[str] = collections.Counter()
        self.failures: list[str] = []
        self._family, self._target = family, target
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)

    def more(self, count: int = 20) -> None:
        """Until so many more were answered."""
        wanted = self.answers.total() + count
        eventually(lambda: self.answers.total() >= wanted or bool(self.failures))

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                self.answers[ask(self._family, self._target)] += 1
            except OSError as error:
                self.failures.append(repr(error))


def ask(family: int, target: Any) -> str:
    """One connection, one answer; raises OSError where there is none."""
    with socket.socket(family) as client:
        client.settimeout(PATIENCE_S)
        client.connect(target)
        return read_all(client)


def read_all(client: socket.socket) -> str:
    received = b""
    while chunk := client.recv(1 << 16):
        received += chunk
    if not received:
        raise ConnectionError("closed without an answer")
    return received.decode()


def eventually(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.001)


def descriptors() -> int:
    """How many this process has."""
    return len(os.listdir("/proc/self/fd"))

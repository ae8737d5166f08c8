"""The load of bench/restart: a process of its own, 16 clients with a connection a request and 16 that keep theirs.

Every client waits a random think time between two requests, so that the clients alone do not fill the machine. A
pooled client does as browsers do: it lets go of a connection that was closed while idle, and sends a request again,
once and on a new connection, if a reused one ended before the first byte of an answer. That is counted as a retry.
Everything else is a failure: refused, reset or closed on a new connection, an answer cut short, a status other than
200, 10 s.

It runs until its standard input ends, then lets each client finish its request and writes what it saw: a line a
request. Times are CLOCK_MONOTONIC in seconds, so they compare with those of other processes.
"""

import argparse
import gc
import heapq
import json
import os
import random
import select
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

FRESH, POOLED = "fresh", "pooled"
TIMEOUT_S = 10.0
_REQUEST = b"GET / HTTP/1.1\r\nHost: bench\r\n%s\r\n"
_WORDS = {FRESH: _REQUEST % b"Connection: close\r\n", POOLED: _REQUEST % b""}
_LOOK_S = 0.5  # how often late answers are looked for


class Request(NamedTuple):
    """One request, from before the connection is made to the last byte of the answer; `error` is empty if it came."""

    start: float
    took_s: float
    kind: str
    body: str  # the generation and the process id of who answered
    retried: bool
    error: str


@dataclass
class Client:
    """One client and the request that it is at; `started` is 0 while it thinks."""

    kind: str
    connection: socket.socket | None = None
    reused: bool = False
    retried: bool = False
    started: float = 0.0
    unsent: bool = False
    received: bytes = b""


@dataclass
class Load:
    """All clients, on one epoll instance."""

    address: tuple[str, int]
    think_s: float
    requests: list[Request] = field(default_factory=list)
    _poll: select.epoll = field(default_factory=select.epoll)
    _clients: dict[int, Client] = field(default_factory=dict)
    _due: list[tuple[float, int, Client]] = field(default_factory=list)

    def run(self, clients: list[Client], until: int) -> None:
        """Until the descriptor `until` is at its end, and every request that was begun has ended."""
        self._poll.register(until, select.EPOLLIN)
        for client in clients:
            self._later(client)
        ending, look_at = False, 0.0
        while not ending or any(client.started for client in clients):
            for fd, _ in self._poll.poll(self._patience_s()):
                if fd == until:
                    ending = True
                    self._poll.unregister(until)
                elif (client := self._clients.get(fd)) is not None:
                    self._advance(client)
            if (now := time.monotonic()) > look_at:
                look_at = now + _LOOK_S
                self._give_up_late(clients, now)
            while self._due and self._due[0][0] <= time.monotonic() and not ending:
                self._begin(heapq.heappop(self._due)[2])

    def _patience_s(self) -> float:
        return max(0.0, min(_LOOK_S, self._due[0][0] - time.monotonic())) if self._due else _LOOK_S

    def _later(self, client: Client) -> None:
        due = time.monotonic() + random.uniform(0.5, 1.5) * self.think_s
        heapq.heappush(self._due, (due, id(client), client))

    def _give_up_late(self, clients: list[Client], now: float) -> None:
        for client in clients:
            if client.started and now - client.started > TIMEOUT_S:
                self._finish(client, error="timeout")

    # --- a request --------------------------------------------------------------------------------------------------

    def _begin(self, client: Client) -> None:
        client.started, client.retried, client.received = time.monotonic(), False, b""
        client.reused = client.connection is not None
        self._go(client)

    def _go(self, client: Client) -> None:
        try:
            if client.connection is None:
                self._connect(client)
            self._send(client)
        except OSError as error:
            self._broken(client, error)

    def _connect(self, client: Client) -> None:
        connection = socket.socket()
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.connection = connection
        self._clients[connection.fileno()] = client
        connection.connect_ex(self.address)
        self._poll.register(connection, select.EPOLLIN)

    def _send(self, client: Client) -> None:
        """At once, as loopback is mostly connected by now; else as soon as it is."""
        assert client.connection is not None
        try:
            client.connection.send(_WORDS[client.kind])
        except BlockingIOError:
            client.unsent = True
            self._poll.modify(client.connection, select.EPOLLOUT)

    def _advance(self, client: Client) -> None:
        """Its connection can be written to, or has something to say."""
        assert client.connection is not None
        if client.unsent:
            client.unsent = False
            self._poll.modify(client.connection, select.EPOLLIN)
            self._go(client)
            return
        try:
            received = client.connection.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError as error:
            self._broken(client, error)
            return
        if not client.started:
            self._drop(client)  # closed while idle
        elif received:
            client.received += received
            self._read(client)
        else:
            self._broken(client, None)

    def _read(self, client: Client) -> None:
        """Finish if the answer is complete."""
        head, blank, body = client.received.partition(b"\r\n\r\n")
        if not blank:
            return
        first, *lines = head.lower().split(b"\r\n")
        fields = {name: value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        length = int(fields.get(b"content-length", b"-1"))
        if length < 0:
            self._finish(client, error="no content-length")
        elif len(body) >= length:
            status = first.split()[1]
            lasting = first.startswith(b"http/1.1") and fields.get(b"connection", b"") != b"close"
            if client.kind == FRESH or not lasting:
                self._drop(client)
            self._finish(client, body.decode().strip(), "" if status == b"200" else f"status {status.decode()}")

    def _broken(self, client: Client, error: OSError | None) -> None:
        """The connection is gone; without an error it was closed in order."""
        if not client.started:
            self._drop(client)
        elif client.received:
            self._finish(client, error="cut short")
        elif client.reused and not client.retried:
            self._drop(client)
            client.retried, client.reused = True, False
            self._go(client)
        else:
            self._finish(client, error=type(error).__name__ if error else "closed without an answer")

    def _finish(self, client: Client, body: str = "", error: str = "") -> None:
        took_s = time.monotonic() - client.started
        self.requests.append(Request(client.started, took_s, client.kind, body, client.retried, error))
        client.started = 0.0
        if error:
            self._drop(client)
        self._later(client)

    def _drop(self, client: Client) -> None:
        if client.connection is not None:
            del self._clients[client.connection.fileno()]
            client.connection.close()
            client.connection, client.unsent = None, False


def read(path: Path) -> list[Request]:
    """What a load process has written, by the start of each request."""
    with path.open() as lines:
        return sorted(Request(*json.loads(line)) for line in lines)


def main() -> None:
    """Parse the command line, load the server until standard input ends, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--clients", type=int, default=16, help="of each kind")
    parser.add_argument("--think", type=float, default=20.0, help="ms between two requests of a client, on average")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    gc.disable()  # its pauses would look like the server's
    load = Load(("127.0.0.1", options.port), options.think / 1e3)
    load.run([Client(kind) for kind in (FRESH, POOLED) for _ in range(options.clients)], sys.stdin.fileno())
    with options.out.open("w") as out:
        out.writelines(json.dumps(request) + "\n" for request in load.requests)
    os._exit(0)  # clients that think hold connections; nothing else is to be put away


if __name__ == "__main__":
    main()

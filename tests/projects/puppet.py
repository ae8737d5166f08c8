"""A server that does nothing by itself: it says hello over the socket that STRINGS names, and obeys its orders."""

import contextlib
import json
import os
import selectors
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable

ORPHAN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"


def inherited() -> list[int]:
    """The descriptors beyond the standard three that this process was born with."""
    numbers = [int(name) for name in os.listdir("/proc/self/fd")]
    return sorted(n for n in numbers if n > 2 and os.path.exists(f"/proc/self/fd/{n}"))  # not listdir's own


FDS = inherited()
SOCKETS = [socket.socket(fileno=n) for n in FDS if stat.S_ISSOCK(os.fstat(n).st_mode)]
KEPT: list[socket.socket] = []
HELD = threading.Event()
WORD = [os.environ["HOTPIPE_GENERATION"]]  # what clients are answered


def hello() -> dict[str, object]:
    return {
        "pid": os.getpid(),
        "argv": sys.argv[1:],
        "env": dict(os.environ),
        "fds": FDS,
        "cwd": os.getcwd(),
        "addresses": [s.getsockname() for s in SOCKETS],
    }


def accept(place: str) -> None:
    KEPT.append(SOCKETS[int(place)].accept()[0])


def streams() -> list[socket.socket]:
    return [s for s in SOCKETS if s.type == socket.SOCK_STREAM]


def in_threads(what: Callable[..., None], sockets: list[socket.socket], *more: object) -> None:
    for each in sockets:
        threading.Thread(target=what, args=(each, *more), daemon=True).start()


def serve() -> None:
    """Answer each connection, and each datagram, with the word, from blocking calls."""
    in_threads(lambda listening: answer_all(listening.accept), streams())
    in_threads(echo, [s for s in SOCKETS if s.type == socket.SOCK_DGRAM])


def echo(datagrams: socket.socket) -> None:
    while True:
        datagrams.sendto(WORD[0].encode(), datagrams.recvfrom(100)[1])


def http(status: str) -> None:
    """Answer each request with this status, and the word."""
    in_threads(answer_http, streams(), status)


def answer_http(listening: socket.socket, status: str) -> None:
    while True:
        client, _ = listening.accept()
        with contextlib.suppress(OSError), client:
            if client.recv(1 << 16):
                client.sendall(f"HTTP/1.0 {status} So\r\n\r\n{WORD[0]}".encode())


def hold() -> None:
    """Take each connection and what it asks, and owe the answer until `release`; `held` waits for the first."""
    in_threads(hold_all, streams())


def hold_all(listening: socket.socket) -> None:
    while True:
        client, _ = listening.accept()
        if client.recv(1 << 16):
            KEPT.append(client)
            HELD.set()


def stream() -> None:
    """The same as a server of events does it: the beginning of an answer at once, `push` goes on, never an end."""
    in_threads(stream_to_all, streams())


def stream_to_all(listening: socket.socket) -> None:
    while True:
        client, _ = listening.accept()
        client.recv(1 << 16)
        client.sendall(f"{WORD[0]}\n".encode())
        KEPT.append(client)


def push() -> None:
    for client in KEPT:
        with contextlib.suppress(OSError):
            client.sendall(f"{WORD[0]}\n".encode())


def release() -> None:
    while KEPT:
        with KEPT.pop() as client:
            client.sendall(WORD[0].encode())


def notify(*assignments: str) -> None:
    """As sd_notify(3) does it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.connect(os.environ["NOTIFY_SOCKET"].replace("@", "\0", 1))
        out.send("\n".join(assignments).encode())


def bequeath() -> int:
    """Give all, the strings too, to a child that is the main process from now on, and end."""
    if child := os.fork():
        notify(f"MAINPID={child}")
        os._exit(0)
    return os.getpid()


def serve_unblocked() -> None:
    """The same as event loops do it: O_NONBLOCK, and accept when there is something."""
    selector = selectors.DefaultSelector()
    for listening in SOCKETS:
        listening.setblocking(False)
        selector.register(listening, selectors.EVENT_READ)

    def when_readable() -> tuple[socket.socket, object]:
        listening = selector.select()[0][0].fileobj
        assert isinstance(listening, socket.socket)
        return listening.accept()

    threading.Thread(target=answer_all, args=(when_readable,), daemon=True).start()


def answer_all(accept: Callable[[], tuple[socket.socket, object]]) -> None:
    while True:
        client, _ = accept()
        with contextlib.suppress(OSError), client:
            client.sendall(WORD[0].encode())


def say_farewell(*_: object) -> None:
    os.write(1, b"farewell\n")
    os._exit(0)


def brood() -> list[int]:
    """Children that do not hear SIGTERM: one here, one in a session of its own whose parent is gone."""
    here = subprocess.Popen([sys.executable, "-ISc", ORPHAN], stdout=subprocess.PIPE)
    spawn = f"import os, subprocess; p = subprocess.Popen([{sys.executable!r}, '-ISc', {ORPHAN!r}]); print(p.pid)"
    away = subprocess.Popen(
        [sys.executable, "-ISc", spawn], stdout=subprocess.PIPE, start_new_session=True, bufsize=0, text=False
    )
    said = b""
    while said.count(b"\n") < 2:  # its pid and that it is deaf, in either order
        said += os.read(away.stdout.fileno(), 100)
    os.read(here.stdout.fileno(), 100)
    away.wait()
    return [here.pid, *(int(word) for word in said.split() if word.isdigit())]


ORDERS: dict[str, Callable[..., object]] = {
    "accept": accept,
    "serve": serve,
    "http": http,
    "hold": hold,
    "held": HELD.wait,
    "stream": stream,
    "push": push,
    "release": release,
    "notify": notify,
    "bequeath": bequeath,
    "become": lambda word: WORD.__setitem__(0, word),
    "hear": lambda name: signal.signal(signal.Signals[f"SIG{name}"], lambda *_: os.write(1, b"heard\n")) and None,
    "serve-unblocked": serve_unblocked,
    "backlog": lambda size: [s.listen(int(size)) for s in SOCKETS],
    "shut": lambda: [s.shutdown(socket.SHUT_RDWR) for s in SOCKETS],
    "say": lambda *words: os.write(1, f"{' '.join(words)}\n".encode()),
    "fail": lambda *words: os.write(2, f"{' '.join(words)}\n".encode()) and os._exit(1),
    "exit": lambda status: os._exit(int(status)),
    "deaf": lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN) and None,
    "linger": lambda: signal.signal(signal.SIGTERM, lambda *_: os.write(1, b"not yet\n")) and None,
    "polite": lambda: signal.signal(signal.SIGTERM, say_farewell) and None,
    "brood": brood,
}

strings = socket.socket(socket.AF_UNIX)
strings.connect(os.environ["STRINGS"])
with strings.makefile("r", encoding="utf-8") as lines:
    strings.sendall(json.dumps(hello()).encode() + b"\n")
    for line in lines:
        verb, *words = line.split()
        strings.sendall(json.dumps(ORDERS[verb](*words)).encode() + b"\n")

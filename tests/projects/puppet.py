"""A server that does nothing by itself: it says hello over the socket that STRINGS names, and obeys its orders."""

import contextlib
import json
import os
import selectors
import signal
import socket
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
SOCKETS = [socket.socket(fileno=n) for n in FDS]
KEPT: list[socket.socket] = []


def hello() -> dict[str, object]:
    return {
        "pid": os.getpid(),
        "argv": sys.argv[1:],
        "env": dict(os.environ),
        "fds": FDS,
        "cwd": os.getcwd(),
        "ports": [s.getsockname()[1] for s in SOCKETS],
    }


def accept(place: str) -> None:
    KEPT.append(SOCKETS[int(place)].accept()[0])


def serve() -> None:
    """Answer each connection with the generation, from blocking accepts."""
    for listening in SOCKETS:
        threading.Thread(target=answer_all, args=(listening.accept,), daemon=True).start()


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
            client.sendall(os.environ["HOTPIPE_GENERATION"].encode())


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
    "serve-unblocked": serve_unblocked,
    "backlog": lambda size: [s.listen(int(size)) for s in SOCKETS],
    "shut": lambda: [s.shutdown(socket.SHUT_RDWR) for s in SOCKETS],
    "say": lambda *words: os.write(1, f"{' '.join(words)}\n".encode()),
    "exit": lambda status: os._exit(int(status)),
    "deaf": lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN) and None,
    "linger": lambda: signal.signal(signal.SIGTERM, lambda *_: os.write(1, b"not yet\n")) and None,
    "polite": lambda: signal.signal(signal.SIGTERM, say_farewell) and None,
    "brood": brood,
}

strings = socket.socket(socket.AF_UNIX)
strings.connect(os.environ["STRINGS"])
with strings.makefile("rw", encoding="utf-8") as lines:
    print(json.dumps(hello()), file=lines, flush=True)
    for line in lines:
        verb, *words = line.split()
        print(json.dumps(ORDERS[verb](*words)), file=lines, flush=True)

"""Starts a program that is the user's from then on, an editor say: it is no child of hotpipe's, and outlives it.

hotpipe adopts the orphans of whatever it starts, and ends them when it ends. So for the moment in which such a program
loses its parent, hotpipe adopts nobody (prctl(2), PR_SET_CHILD_SUBREAPER). All of it happens on the main thread, which
alone starts and buries children. It takes 2 ms.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from hotpipe.process.command import COOKIE, SH, environment

_SET, _GET = 36, 37  # PR_SET_CHILD_SUBREAPER, PR_GET_CHILD_SUBREAPER in <sys/prctl.h>
_LET_GO = '"$@" &'  # what it stands for is not read by the shell


def start(argv: Sequence[str]) -> None:
    """Start `argv` without input, output or terminal; that it cannot be found, nobody is told."""
    env = environment()
    env.pop(COOKIE, None)
    with _adopting_nobody():
        pid = _spawn((SH, "-c", _LET_GO, SH, *argv), env)
        os.waitpid(pid, 0)


def _spawn(argv: tuple[str, ...], env: Mapping[str, str]) -> int:
    nowhere = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    heeded = [signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGQUIT]
    return os.posix_spawn(SH, argv, env, file_actions=nowhere, setsid=True, setsigmask=[], setsigdef=heeded)


@contextmanager
def _adopting_nobody() -> Iterator[None]:
    if sys.platform != "linux":
        yield
        return
    libc, adopts = ctypes.CDLL(None), ctypes.c_int()
    libc.prctl(_GET, ctypes.byref(adopts), 0, 0, 0)
    libc.prctl(_SET, 0, 0, 0, 0)
    try:
        yield
    finally:
        libc.prctl(_SET, adopts.value, 0, 0, 0)

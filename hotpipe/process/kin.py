"""Which processes descend from a child: by its session, by parentage, and by the cookie in their environment.

A process that forks twice loses its parent, one that calls setsid leaves the session, one that clears its environment
drops the cookie: it takes all three to be missed. Orphans become children of hotpipe
(PR_SET_CHILD_SUBREAPER, prctl(2)), so none of them is ever out of reach.
"""

import contextlib
import os
from collections.abc import Iterable

import psutil

NO_SESSION = -1


def of(session: int, cookie: str) -> list[psutil.Process]:
    """The living processes of `session`, those with `cookie` in their environment, and their children; no zombies."""
    found: dict[int, psutil.Process] = {}
    mark = os.fsencode(cookie)
    for pid in psutil.pids():
        if pid != os.getpid() and (_session(pid) == session or _has_mark(pid, mark)):
            with contextlib.suppress(psutil.Error):
                found[pid] = psutil.Process(pid)
    for process in list(found.values()):
        with contextlib.suppress(psutil.Error):
            found.update((kid.pid, kid) for kid in process.children(recursive=True))
    return [process for process in found.values() if _lives(process)]


def bury(group: int, orphans: Iterable[int]) -> None:
    """Reap what died in the process group and among `orphans`; never waits for the children of anybody else."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-group, os.WNOHANG)[0]:
            pass
    for pid in orphans:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return 0


def _has_mark(pid: int, mark: bytes) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return mark in file.read()
    except OSError:
        return False


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False

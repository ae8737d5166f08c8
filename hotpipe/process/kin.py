"""Which processes descend from a child: by session, by parentage, and by the cookie in their environment.

A process that forks twice loses its parent, one that calls setsid leaves the session, one that clears its environment
drops the cookie. `Family` loses only those who did all three before anybody looked. As orphans they become
children of hotpipe itself (PR_SET_CHILD_SUBREAPER, prctl(2)), so `Everyone` still finds them.
"""

import contextlib
import os
from collections.abc import Container, Iterable, Iterator

import psutil


class Session:
    """Who is left in the session of a child, in whatever process group."""

    def __init__(self, session: int) -> None:
        self.groups: set[int] = set()  # in which any of them was ever seen
        self._sessions = {session}

    def living(self) -> list[psutil.Process]:
        """Those that are alive now; no zombies. Blocks for some milliseconds."""
        return _living(self._found())

    def _found(self) -> list[int]:
        found = []
        for pid in reversed(psutil.pids()):  # the youngest first: some flee from fork to fork
            if pid != os.getpid() and (_session(pid) in self._sessions or self._claims(pid)):
                found.append(pid)
                self._note(pid)
        return found

    def _note(self, pid: int) -> None:
        self.groups |= {_group(pid)} - {_group(0), 0}
        self._sessions |= {_session(pid)} - {_session(0), 0}

    def _claims(self, pid: int) -> bool:  # noqa: ARG002 - a family looks at it
        return False


class Family(Session):
    """All that descends from a child. Once it has seen a session, it does not lose it again."""

    def __init__(self, session: int, cookie: str) -> None:
        super().__init__(session)
        self._mark = os.fsencode(cookie)

    def living(self) -> list[psutil.Process]:
        living = [process for process in _with_children(_living(self._found())) if _lives(process)]
        for process in living:
            self._note(process.pid)
        return living

    def _claims(self, pid: int) -> bool:
        return _has_mark(pid, self._mark)


class Everyone:
    """All that was started since this was made: by what their cookies have in common, and by adoption."""

    def __init__(self, cookies: str) -> None:
        self._mark = os.fsencode(cookies)
        self._foreign = set(psutil.Process().children())

    def living(self) -> list[psutil.Process]:
        marked = _living(pid for pid in psutil.pids() if pid != os.getpid() and _has_mark(pid, self._mark))
        return [process for process in _with_children([*marked, *self._adopted()]) if _lives(process)]

    def _adopted(self) -> list[psutil.Process]:
        """Children are given a session of their own; what else hotpipe runs (git) shares hotpipe's."""
        children = set(psutil.Process().children()) - self._foreign
        return [child for child in children if _session(child.pid) != _session(0)]


def has_strays(known: Container[int]) -> bool:
    """Whether this process has children other than the `known` ones. Where it adopts orphans, nothing is left of a
    child that has ended unless that is so: all that descends from it has come to us, or comes from one that has.

    True where the kernel does not tell: proc_pid_task_tid_children(5). The list is to be trusted as long as nobody is
    waited for meanwhile, so this is for the main thread, which adopts and buries.
    """
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", "rb") as file:
            return any(int(pid) not in known for pid in file.read().split())
    except OSError:
        return True


def descends(pid: int, child: int, cookie: str) -> bool:
    """Whether a living process is the child or comes from it: by session, by cookie, or by parentage."""
    mark = os.fsencode(cookie)
    return any(each == child or _session(each) == child or _has_mark(each, mark) for each in _lineage(pid))


def _lineage(pid: int) -> Iterator[int]:
    """It and those above it, up to hotpipe."""
    with contextlib.suppress(psutil.Error):
        while pid > 1 and pid != os.getpid():
            yield pid
            pid = psutil.Process(pid).ppid()


def bury(owned: Container[int]) -> int:
    """Reap the adopted that have died, and count them.

    Never those `owned`, for whose end somebody waits, nor any in hotpipe's own session: those are somebody else's.
    """
    buried = 0
    if not hasattr(os, "waitid"):  # macOS: nobody is adopted there
        return buried
    with contextlib.suppress(ChildProcessError):
        while dead := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            if not _is_ours_to_bury(dead.si_pid, owned):
                return buried + _bury_behind(owned)
            os.waitpid(dead.si_pid, os.WNOHANG)
            buried += 1
    return buried


def _bury_behind(owned: Container[int]) -> int:
    """The kernel shows one dead child at a time; who stands behind one that is somebody else's is found in /proc."""
    zombies = [child.pid for child in psutil.Process().children() if not _lives(child)]
    ours = [pid for pid in zombies if _is_ours_to_bury(pid, owned)]
    with contextlib.suppress(ChildProcessError):
        return sum(os.waitpid(pid, os.WNOHANG)[0] == pid for pid in ours)
    return 0


def _is_ours_to_bury(pid: int, owned: Container[int]) -> bool:
    return pid not in owned and _session(pid) != _session(0)


def _living(pids: Iterable[int]) -> list[psutil.Process]:
    found = []
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            found.append(psutil.Process(pid))
    return [process for process in found if _lives(process)]


def _with_children(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    found = {process.pid: process for process in processes}
    below: set[int] = set()  # of one that was asked already: each question reads all of /proc
    for process in list(found.values()):
        if process.pid not in below:
            with contextlib.suppress(psutil.Error):
                children = {child.pid: child for child in process.children(recursive=True)}
                below |= children.keys()
                found |= children
    return list(found.values())


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return 0


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
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
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False

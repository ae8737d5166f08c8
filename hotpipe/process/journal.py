"""What hotpipe has spawned, on disk: so that the next hotpipe can end what one that was killed by SIGKILL left behind.

How it works: each hotpipe keeps one file, written before its first spawn. Its first line says whose it is and which
mark all that it spawns carries in its environment; the second, which is overwritten in place by one write(2), the
processes that it has not yet seen end. So a spawn costs some microseconds, and whatever the moment of the kill, one of
both tells of every child. A file whose owner ended in order is removed.

Invariant: nothing is ever signalled but what a file of our own, of this boot and this pid namespace, proves to descend
from a dead hotpipe: by pid and start time, by the mark, by the session or parentage of one of those.
"""

import contextlib
import errno
import os
import shlex
import signal
import stat
import time
from collections.abc import Iterable
from typing import NamedTuple, TypeVar

import msgspec
import psutil

from hotpipe.process import birth, kin
from hotpipe.process.birth import Birth
from hotpipe.process.command import COOKIE

_PREFIX, _SUFFIX = "spawned-", ".json"
_LARGEST = 1 << 20  # bytes of a journal
_SHORTEST_MARK = 8  # characters: a shorter one could be found in anybody's environment
_GRACE_S = 2.0
_KILL_PATIENCE_S = 5.0  # a process in uninterruptible sleep outlives even SIGKILL for a while
_LOOK_AGAIN_S = 0.01
_LONGEST_NAME = 200  # characters
_NO_SESSION = -1
_T = TypeVar("_T")


class Owner(Birth, frozen=True, kw_only=True):
    """The hotpipe that wrote a journal; `mark` is what the cookies of all its spawns begin with."""

    mark: str


class Spawned(msgspec.Struct, frozen=True):
    """A child; `start` as in Birth."""

    pid: int
    start: float


class Recovered(NamedTuple):
    """A process that was left behind. `ended` is false for one that could not be killed."""

    pid: int
    name: str
    ended: bool = True


class Journal:
    """What this process has spawned. Never fails: where it cannot be written, hotpipe goes on without."""

    def __init__(self, folder: str, mark: str) -> None:
        self._path = os.path.join(folder, f"{_PREFIX}{mark.strip('.')}{_SUFFIX}")
        self._header = msgspec.json.encode(Owner(**msgspec.structs.asdict(birth.me()), mark=mark)) + b"\n"
        self._children: dict[int, Spawned] = {}
        self._file: int | None = None
        self._write()

    def spawned(self, pid: int) -> None:
        """Remember this child, which has not been waited for yet."""
        start = birth.start_of(pid)
        if start is not None:
            self._children[pid] = Spawned(pid, start)
            self._write()

    def gone(self, pid: int) -> None:
        """Forget it: nothing in its session lives any more."""
        if self._children.pop(pid, None) is not None:
            self._write()

    def close(self) -> None:
        """All that was spawned has ended: nothing is left to be told."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
        with contextlib.suppress(OSError):
            os.unlink(self._path)

    def _write(self) -> None:
        with contextlib.suppress(OSError):
            line = msgspec.json.encode(list(self._children.values())) + b"\n"
            os.pwrite(self._opened(), line, len(self._header))  # what is left behind its end is not read

    def _opened(self) -> int:
        """The open file, new if somebody has removed it (`git clean -dfx`). Raises OSError."""
        if self._file is not None and os.fstat(self._file).st_nlink:
            return self._file
        if self._file is not None:
            os.close(self._file)
            self._file = None
        file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            self._begin(file)
        except OSError:
            os.close(file)
            raise
        self._file = file
        return file

    def _begin(self, file: int) -> None:
        if os.write(file, self._header) < len(self._header):
            raise OSError(errno.ENOSPC, "no room for the first line")


def leftovers(folder: str) -> list[psutil.Process]:
    """What hotpipes that are dead have left alive, by their journals in `folder`. Blocks for some milliseconds."""
    return _living([_Left(journal) for journal in _of_the_dead(folder)])


def recover(folder: str) -> list[Recovered]:
    """End what dead hotpipes have left: SIGTERM, two seconds, SIGKILL until nothing lives; then remove their journals.

    Blocks for up to seven seconds: run it in a thread where a loop goes on.
    """
    dead = _of_the_dead(folder)
    names: dict[int, str] = {}
    left = _end([_Left(journal) for journal in dead], names)
    if not left:
        for journal in dead:
            with contextlib.suppress(OSError):
                os.unlink(journal.path)
    return [Recovered(pid, name, ended=pid not in left) for pid, name in names.items()]


class _Found(NamedTuple):
    """A journal as read; no owner where it holds garbage, as after a kill before its first line was written."""

    path: str
    owner: Owner | None
    children: tuple[Spawned, ...] = ()

    @property
    def is_of_the_dead(self) -> bool:
        if self.owner is None or not self.is_of_this_boot:
            return True
        return self.owner.is_near and not self.owner.lives  # who lives in another container cannot be told from here

    @property
    def is_of_this_boot(self) -> bool:
        return self.owner is not None and self.owner.boot == birth.boot()

    @property
    def sessions(self) -> set[int]:
        """The children that still live; each leads a session of its own."""
        if not self.is_of_this_boot:
            return set()
        return {child.pid for child in self.children if birth.start_of(child.pid) == child.start}

    @property
    def mark(self) -> str | None:
        """What tells its processes; None where that is not conclusive, because we descend from it ourselves."""
        if self.owner is None or not self.is_of_this_boot or len(self.owner.mark) < _SHORTEST_MARK:
            return None
        return None if self.owner.mark in os.environ.get(COOKIE, "") else self.owner.mark


class _Left(kin.Family):
    """All that descends from a dead hotpipe, but for those from whom we descend, and our own children."""

    def __init__(self, journal: _Found) -> None:
        super().__init__(_NO_SESSION, journal.mark or "")
        self._sessions = journal.sessions
        self._knows_mark = journal.mark is not None

    def living(self) -> list[psutil.Process]:
        if not self._sessions and not self._knows_mark:
            return []
        near = _near()
        return [process for process in super().living() if process.pid not in near]

    def _claims(self, pid: int) -> bool:
        return self._knows_mark and super()._claims(pid)


def _near() -> set[int]:
    """This process, its ancestors and its descendants."""
    this = psutil.Process()
    return {this.pid, *(p.pid for p in this.parents()), *(p.pid for p in this.children(recursive=True))}


def _living(families: Iterable[_Left]) -> list[psutil.Process]:
    return list({process.pid: process for family in families for process in family.living()}.values())


def _end(families: list[_Left], names: dict[int, str]) -> set[int]:
    """The ladder; notes the name of each process, and returns those that live in spite of it."""
    living = _living(families)
    for number, patience_s in ((signal.SIGTERM, _GRACE_S), (signal.SIGKILL, _KILL_PATIENCE_S)):
        until = time.monotonic() + patience_s
        told: set[int] = set()
        while living and time.monotonic() < until:
            names |= {process.pid: _name(process) for process in living if process.pid not in names}
            groups = _groups(process.pid for process in living)
            _signal(groups - told, number)
            if number != signal.SIGKILL:  # what a program starts to clean up is not told: it may finish
                told |= groups
            time.sleep(_LOOK_AGAIN_S)
            living = _living(families)
    return {process.pid for process in living}


def _groups(pids: Iterable[int]) -> set[int]:
    found = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            found.add(os.getpgid(pid))
    return found


def _signal(groups: set[int], number: int) -> None:
    for group in groups - _groups(_near()):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)


def _name(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return shlex.join(process.cmdline())[:_LONGEST_NAME] or process.name()
    return ""


def _of_the_dead(folder: str) -> list[_Found]:
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    paths = [os.path.join(folder, n) for n in names if n.startswith(_PREFIX) and n.endswith(_SUFFIX)]
    return [found for found in map(_read, paths) if found is not None and found.is_of_the_dead]


def _read(path: str) -> _Found | None:
    """None for one that somebody else wrote, or could have: root must not end what a user names."""
    try:
        with open(path, "rb", opener=_warily) as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode) or about.st_uid != os.geteuid() or about.st_mode & 0o022:
                return None
            header, _, rest = (file.read(_LARGEST) or b"").partition(b"\n")
    except OSError:
        return None
    return _Found(path, _decoded(header, Owner), _decoded(rest.partition(b"\n")[0], tuple[Spawned, ...]) or ())


def _warily(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOFOLLOW)  # a FIFO must not hold us up: fifo(7)


def _decoded(line: bytes, kind: type[_T]) -> _T | None:
    try:
        return msgspec.json.decode(line, type=kind)
    except (ValueError, RecursionError):
        return None

"""Which folders are polled and why, and how often one looks.

A folder is *unheard* where the kernel gave no watch for it, and *deaf* where it lies on a file system that others
change without an event (`mounts`): that one is under watch all the same, for what this machine writes there. Both are
polled; under `poll = "never"` neither is, and only the slow sweep of the whole tree finds what no event tells.

How often: looks at everything take a twenty-fifth of a core and half of the time at most (a stat over a network waits).
Between them the files that changed in the last minutes are looked at ten times a second: whoever saves a file will
mostly save it again.
"""

import time
from collections.abc import Callable, Collection, Iterable
from typing import Literal, NamedTuple, TypeVar

from hotpipe.config.model import Watch
from hotpipe.events import Cause, Warned
from hotpipe.tree.mounts import NOWHERE, Layout, Mount

SURVEY_S = 5.0  # between looks at the mount table, 50 µs each
AGAIN_S = 0.1
_LEAST_S = 0.2
_LONGEST_S = 60.0
_CORE_SHARE, _TIME_SHARE = 24, 1  # a pause is so many times the processor time, and the time, that a look took
_MOST_RECENT, _RECENT_S = 16, 120.0

Mode = Literal["auto", "always", "never"]
_T = TypeVar("_T")


class Look(NamedTuple):
    """What a look took: seconds on the clock, and of a processor."""

    took_s: float
    busy_s: float

    @property
    def pause_s(self) -> float:
        """Until the next one."""
        return min(max(_LEAST_S, self.busy_s * _CORE_SHARE, self.took_s * _TIME_SHARE), _LONGEST_S)


def measured(look: Callable[[], _T]) -> tuple[_T, Look]:
    """What `look` finds, in the thread that runs it, and what it took."""
    began, busy = time.monotonic(), time.thread_time()
    found = look()
    return found, Look(time.monotonic() - began, time.thread_time() - busy)


class Polled:
    """The folders that are polled, and the files that changed in them last. Any thread may call; none iterates."""

    def __init__(self, watch: Watch) -> None:
        self.mode: Mode = watch.poll
        self._layout = NOWHERE
        self._around: set[str] = set()  # folders in which a single file is mounted
        self._unheard: set[str] = set()
        self._deaf: set[str] = set()
        self._recent: dict[str, float] = {}  # when each changed, the latest last
        self._told: set[str] = set()

    @property
    def unheard(self) -> int:
        """How many folders have no watch."""
        return len(self._unheard)

    def folders(self) -> Collection[str]:
        """Where to look."""
        return () if self.mode == "never" else self._unheard | self._deaf

    def enter(self, folder: str) -> None:
        """The folder is there, and is about to be put under watch."""
        if self.mode == "auto" and (folder in self._around or self._layout.is_deaf(folder)):
            self._deaf.add(folder)

    def leave(self, folder: str) -> None:
        """The folder is gone."""
        self._unheard.discard(folder)
        self._deaf.discard(folder)

    def heard(self, folder: str) -> None:
        """It is under watch."""
        self._unheard.discard(folder)

    def unhear(self, folder: str) -> None:
        """There is no watch for it."""
        self._unheard.add(folder)

    def survey(self, layout: Layout, around: set[str], folders: Iterable[str]) -> None:
        """The mounts are these now: which of all `folders` are deaf?"""
        if layout != self._layout:
            self._layout, self._around = layout, around
            self._deaf = set()
            for folder in tuple(folders):
                self.enter(folder)

    def changed(self, paths: Iterable[str]) -> None:
        """These files have changed: they are the ones to look at again."""
        if folders := self.folders():
            for path in paths:
                if path.rpartition("/")[0] in folders:
                    self._recent.pop(path, None)
                    self._recent[path] = time.monotonic()
            while len(self._recent) > _MOST_RECENT:
                del self._recent[next(iter(self._recent))]

    def recent(self) -> tuple[str, ...]:
        """The files to look at between two looks at everything."""
        since = time.monotonic() - _RECENT_S
        return tuple(path for path, at in self._recent.items() if at > since)

    def cause(self, found: Iterable[str]) -> Cause:
        """How what a look at the whole tree has found was found."""
        folders = self.folders()
        return "poll" if folders and any(f in folders or f.rpartition("/")[0] in folders for f in found) else "sweep"

    def warnings(self, of: int) -> list[Warned]:
        """What has not been told yet about file systems without events; `of` so many folders in all."""
        deaf: dict[Mount, int] = {}
        for folder in tuple(self._deaf):
            if (mount := self._layout.at(folder)) is not None and mount.is_deaf and mount.point not in self._told:
                deaf[mount] = deaf.get(mount, 0) + 1
        self._told.update(mount.point for mount in deaf)
        return [_warning(mount, count, of) for mount, count in deaf.items()]


def _warning(mount: Mount, count: int, of: int) -> Warned:
    message = f"{mount} gives no events of what others write: {count} of {of} folders {_are(count)} polled, too"
    return Warned(code="watch.polling", message=message, hint=hint(mount))


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def hint(mount: Mount) -> str:
    """The way out of polling there."""
    if mount.is_windows:
        return "move the project into the Linux file system, ~/ say: there saves are told at once, and all is faster"
    if mount.is_nfs:
        return "saves of other machines come late, for NFS remembers attributes: mount it with actimeo=1, see nfs(5)"
    return 'if only this machine writes there, poll = "never" in [watch] does without'

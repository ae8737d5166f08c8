"""How long a burst is to be held back because git, or Mercurial, is at work on the tree.

Invariant: no lock holds anything back for longer than `MOST_S`, and none for longer than `PATIENCE_S` without an event.

How it works: a few lstat calls when a burst would be over, and again until it may be. They look for what git 2.39 was
seen to do:

- It writes the tree only while it holds `index.lock`, and that is empty until the tree is done: once for a branch
  switch, again for each commit of a rebase. `git commit -a` and `git add -p` hold a filled one while an editor is open.
- Between two steps it holds nothing, but has just renamed the index or moved HEAD. So a burst waits for `_STEP_S` after
  that; `_STEPS_S` while there are notes of further steps. (A rebase stopped at `edit` keeps those, but stands still.)
- `git status`, of prompts and editors, holds an empty lock for a moment, and may rename the index. So a single save is
  held only by what git did after it, or still does: by a lock for `_STATUS_S`, unless there are such notes.
"""

import os
import stat
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from hotpipe.events import Emit, Warned
from hotpipe.tree.settle import Burst

PATIENCE_S = 10.0
MOST_S = 120.0
_STATUS_S = 0.25
_STEP_S, _STEPS_S = 0.1, 1.0
_LOOK_S = 0.003  # between looks
_FOLDERS = 64  # of one burst, in which repositories are looked for


class Layout(NamedTuple):
    """Names in a repository: what is new after a move, and what is there while there are further steps to do."""

    moves: tuple[str, ...]
    steps: tuple[str, ...]


_GIT = Layout(
    ("index", "HEAD", "logs/HEAD", "logs/refs/stash", "reftable/tables.list"),
    ("rebase-merge", "rebase-apply", "rebased-patches", "sequencer"),
)
_MERCURIAL = Layout(("dirstate",), ("rebasestate", "histedit-state", "graftstate"))


class Lock(NamedTuple):
    """A lock file, and which of those that were there one after another: its inode and change time."""

    path: str
    inode: int
    made_ns: int


class Sight(NamedTuple):
    """A repository: its lock while git may write the tree, its last move, and how soon after that another may come."""

    lock: Lock | None
    moved_ns: int
    gap_s: float


@dataclass
class _Held:
    """A lock, and since when it is there."""

    lock: Lock
    since: float
    given_up: bool = False


class Hold:
    """For one project. `left_s` is to be asked again when the time that it says has passed."""

    def __init__(self, root: str, emit: Emit) -> None:
        self._root = root
        self._emit = emit
        self._held: dict[str, _Held] = {}

    def left_s(self, burst: Burst, now: float) -> float:
        """For how long to hold the burst back; `now` in its clock."""
        if not burst.began <= now < burst.began + MOST_S + _STEPS_S:
            return 0.0
        saved_ns = self._saved_ns(burst)
        left_s = 0.0
        now_ns = time.time_ns()
        for repository in _repositories(self._root, burst.paths):
            sight = _look(repository, now_ns)
            gap_left_s = _gap_left_s(sight, saved_ns or 0, now_ns)
            concerned = gap_left_s > 0 or saved_ns is None or (sight.lock and saved_ns >= sight.lock.made_ns)
            patience_s = _STATUS_S if burst.is_one_save and sight.gap_s == _STEP_S else PATIENCE_S
            held = sight.lock is not None and concerned and self._holds(sight.lock, burst, patience_s, now)
            left_s = max(left_s, _LOOK_S if held else gap_left_s)
        return left_s

    def _saved_ns(self, burst: Burst) -> int | None:
        """When a single save was made: with what git did before, it has nothing to do. None: it may have."""
        if not burst.is_one_save:
            return None
        stamps = (_stat(os.path.join(self._root, path)) for path in burst.paths)
        return max((found.st_ctime_ns for found in stamps if found), default=None)

    def _holds(self, lock: Lock, burst: Burst, patience_s: float, now: float) -> bool:
        held = self._held.get(lock.path)
        if held is None or held.lock != lock:
            age_s = max(0.0, (time.time_ns() - lock.made_ns) / 1e9)
            held = self._held[lock.path] = _Held(lock, now - age_s)
        if held.given_up:
            return False
        if now - max(held.since, burst.last) < patience_s and now - burst.began < MOST_S:
            return True
        if now - held.since >= PATIENCE_S:
            held.given_up = True
            self._tell(lock)
        return False

    def _tell(self, lock: Lock) -> None:
        message = f"{lock.path} does not go away: changes are not held back for it any more"
        self._emit(Warned(code="watch.locked", message=message, hint=f"if git is not at work: rm {lock.path}"))


def _gap_left_s(sight: Sight, saved_ns: int, now_ns: int) -> float:
    age_s = (now_ns - sight.moved_ns) / 1e9
    return sight.gap_s - age_s if sight.moved_ns >= saved_ns and 0 <= age_s < sight.gap_s else 0.0


def _look(repository: str, now_ns: int) -> Sight:
    mercurial = repository.endswith("/.hg")
    layout, lock = (_MERCURIAL, _mercurial_lock(repository)) if mercurial else (_GIT, _git_lock(repository))
    moved_ns = max((found.st_mtime_ns for name in layout.moves if (found := _stat(f"{repository}/{name}"))), default=0)
    recently = now_ns - moved_ns < _STEPS_S * 1e9
    stepping = recently and any(_stat(f"{repository}/{name}") for name in layout.steps)
    return Sight(lock, moved_ns, _STEPS_S if stepping else _STEP_S)


def _git_lock(repository: str) -> Lock | None:
    found = _stat(path := f"{repository}/index.lock")
    return Lock(path, found.st_ino, found.st_ctime_ns) if found and found.st_size == 0 else None


def _mercurial_lock(repository: str) -> Lock | None:
    """The lock is also held while an editor is open; `updatestate` is there only while the tree is written."""
    found = _stat(path := f"{repository}/wlock")
    return Lock(path, found.st_ino, found.st_ctime_ns) if found and _stat(f"{repository}/updatestate") else None


def _repositories(root: str, paths: Iterable[str]) -> Iterator[str]:
    """The one that the root is in, and those inside (submodules) in which something has happened."""
    for folder in _folders(paths):
        yield from _at(f"{root}/{folder}")
    above = root
    while not (found := [*_at(above), *_mercurial_at(above)]) and above != os.path.dirname(above):
        above = os.path.dirname(above)
    yield from found


def _folders(paths: Iterable[str]) -> set[str]:
    """Those below the root that the paths are in."""
    folders: set[str] = set()
    for path in paths:
        folder = path.rpartition("/")[0]
        while folder and folder not in folders and len(folders) < _FOLDERS:
            folders.add(folder)
            folder = folder.rpartition("/")[0]
    return folders


def _at(folder: str) -> Iterator[str]:
    """gitrepository-layout(5): `.git` is the repository, or a file that says where it is."""
    if (found := _stat(f"{folder}/.git")) is not None:
        yield f"{folder}/.git" if stat.S_ISDIR(found.st_mode) else _elsewhere(folder)


def _mercurial_at(folder: str) -> Iterator[str]:
    if _stat(f"{folder}/.hg") is not None:
        yield f"{folder}/.hg"


def _elsewhere(folder: str) -> str:
    try:
        with open(f"{folder}/.git", "rb") as file:
            said = file.readline(1 << 16).rstrip(b"\r\n")
    except OSError:
        return f"{folder}/.git"
    return os.path.join(folder, os.fsdecode(said.removeprefix(b"gitdir: ")))


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except OSError:
        return None

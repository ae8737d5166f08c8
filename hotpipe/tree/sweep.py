"""The snapshot of the watched files, and how it is kept true.

How it works: everything that notices anything (events, sweeps, lost queues) yields *suspects*: paths that may have
changed, each with all that is below it. `refresh` alone decides what did change, by looking at the disk. So a false
suspect costs a stat, and a missed event is healed by the next sweep.

Invariant: every folder is under watch before it is listed, so nothing can appear in it unnoticed in between.
"""

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from hotpipe.tree import identity
from hotpipe.tree.identity import Entry, Stat
from hotpipe.tree.ignore import IGNORE_FILES, Ignore


class Delta(NamedTuple):
    """What a refresh found: `changed` differ in content, kind or presence; `touched` were written and read the same."""

    changed: tuple[str, ...] = ()
    touched: tuple[str, ...] = ()


class Folders(NamedTuple):
    """How to watch and unwatch one folder (relative to the root). Neither raises."""

    watch: Callable[[str], None]
    unwatch: Callable[[str], None]


UNWATCHED = Folders(lambda _: None, lambda _: None)


class Snapshot:
    """All watched files below `roots` (relative to `root`, "" is the root itself) and what they held when last read."""

    def __init__(self, root: str, roots: Iterable[str], ignore: Ignore, folders: Folders = UNWATCHED) -> None:
        self.root = os.fsencode(root)
        self.roots = tuple(_normal(path) for path in roots)
        self.ignore = ignore
        self.entries: dict[str, Entry] = {}
        self.folders: dict[str, set[str]] = {}  # the names in each listed folder that count
        self._watch = folders
        self._total = 0
        self._anchors: set[str] = set()
        self._changed: set[str] = set()
        self._touched: set[str] = set()
        self._rules = self._rule_marks()

    @property
    def tree(self) -> str:
        """The id of the tree as far as it is known."""
        return identity.tree_id(self._total)

    def covers(self, path: str, *, is_dir: bool) -> bool:
        """Whether a change of `path` can concern this tree."""
        if path in self.folders or path in self.entries or path in self._anchors:
            return True
        return self._inside(path) and not self.ignore.ignored(path, is_dir)

    def refresh(self, suspects: Iterable[str]) -> Delta:
        """Look at each suspect and all below it, and say what differs. Blocks on the disk; one caller at a time."""
        self._changed, self._touched = set(), set()
        for path in _outermost(self._widened(suspects)):
            self._refresh(path)
        self._anchor()
        return Delta(tuple(sorted(self._changed)), tuple(sorted(self._touched - self._changed)))

    def differing(self) -> set[str]:
        """A sweep: the suspects that a stat of every file gives. Changes nothing, so it may run beside `refresh`."""
        if self._rule_marks() != self._rules:
            return {""}
        suspects: set[str] = set()
        for root in self.roots:
            if root in self.folders:
                self._sweep(root, suspects)
            else:
                self._compare(root, self._stat(root), suspects)
        return suspects

    def _widened(self, suspects: Iterable[str]) -> Iterator[str]:
        """A changed ignore file makes its whole folder suspect; a path in a folder not listed yet, that folder."""
        for path in suspects:
            folder, _, name = path.rpartition("/")
            if name in IGNORE_FILES:
                self.ignore.reload(folder)
                yield folder
            elif path == "" and self._rules != (marks := self._rule_marks()):
                self._rules = marks
                self.ignore.reload("")
                yield path
            else:
                yield self._nearest_listed(path)

    def _nearest_listed(self, path: str) -> str:
        while path and path not in self.roots and (folder := path.rpartition("/")[0]) not in self.folders:
            if not self._inside(folder):
                break
            path = folder
        return path

    def _refresh(self, path: str) -> None:
        for root in self.roots:
            if root.startswith(f"{path}/") or (path == "" and root):
                self._refresh(root)
        if not self._inside(path):
            return
        found = self._stat(path)
        is_dir = found is not None and stat.S_ISDIR(found.mode)
        if found is None or (path not in self.roots and self.ignore.ignored(path, is_dir)):
            self._forget(path)
        elif is_dir:
            self._forget_file(path)
            self._list(path)
        else:
            self._forget_folder(path)
            self._read(path, found)
        self._note_in_folder(path)

    def _list(self, top: str) -> None:
        """List `top` and the folders below it; whatever is gone from them is forgotten."""
        waiting = [top]
        while waiting:
            folder = waiting.pop()
            self._watch.watch(folder)
            known = self.folders.get(folder, set())
            seen: set[str] = set()
            for name, path, found in self._scan(folder):
                seen.add(name)
                if found is None:
                    self._forget_file(path)
                    waiting.append(path)
                else:
                    self._forget_folder(path)
                    self._read(path, found)
            for name in known - seen:
                self._forget(_join(folder, name))
            self.folders[folder] = seen

    def _sweep(self, top: str, suspects: set[str]) -> None:
        waiting = [top]
        while waiting:
            folder = waiting.pop()
            known = self.folders.get(folder)
            if known is None:
                suspects.add(folder)
                continue
            seen: set[str] = set()
            for name, path, found in self._scan(folder):
                seen.add(name)
                if found is None:
                    waiting.append(path)
                else:
                    self._compare(path, found, suspects)
            suspects.update(_join(folder, name) for name in known - seen)

    def _compare(self, path: str, found: Stat | None, suspects: set[str]) -> None:
        entry = self.entries.get(path)
        if (entry is None) != (found is None) or (entry and (entry.stat != found or entry.racy)):
            suspects.add(path)

    def _scan(self, folder: str) -> Iterator[tuple[str, str, Stat | None]]:
        """Name, path and Stat of all that counts in a folder; None for a folder. What cannot be listed is empty."""
        rules = self.ignore.folder(folder)
        try:
            with os.scandir(os.path.join(self.root, os.fsencode(folder))) as listing:
                for item in listing:
                    name = os.fsdecode(item.name)
                    is_dir = item.is_dir(follow_symlinks=False)
                    if rules.ignores(name, is_dir):
                        continue
                    if is_dir:
                        yield name, _join(folder, name), None
                    elif (found := _item_stat(item)) is not None:
                        yield name, _join(folder, name), found
        except OSError:
            return

    def _read(self, path: str, found: Stat) -> None:
        known = self.entries.get(path)
        if known is not None and known.stat == found and not known.racy:
            return
        entry = identity.read(self.root, path)
        if entry is None:
            self._forget_file(path)
            return
        self.entries[path] = entry
        self._total += entry.fingerprint - (known.fingerprint if known else 0)
        if known is None or known.fingerprint != entry.fingerprint:
            self._changed.add(path)
        elif known.stat != entry.stat:
            self._touched.add(path)

    def _forget(self, path: str) -> None:
        self._forget_file(path)
        self._forget_folder(path)

    def _forget_file(self, path: str) -> None:
        if entry := self.entries.pop(path, None):
            self._total -= entry.fingerprint
            self._changed.add(path)

    def _forget_folder(self, path: str) -> None:
        names = self.folders.pop(path, None)
        if names is None:
            return
        self._watch.unwatch(path)
        self.ignore.reload(path)
        for name in names:
            self._forget(_join(path, name))

    def _note_in_folder(self, path: str) -> None:
        folder, _, name = path.rpartition("/")
        names = self.folders.get(folder)
        if names is None or not name:
            return
        if path in self.entries or path in self.folders:
            names.add(name)
        else:
            names.discard(name)

    def _anchor(self) -> None:
        """A root that is a file, or is not there, is watched from the nearest folder that is."""
        for root in self.roots:
            if root not in self.folders:
                folder = root.rpartition("/")[0]
                while folder and not os.path.isdir(os.path.join(self.root, os.fsencode(folder))):
                    folder = folder.rpartition("/")[0]
                self._anchors.update(_chain(folder, root))
                self._watch.watch(folder)

    def _inside(self, path: str) -> bool:
        return any(not root or path == root or path.startswith(f"{root}/") for root in self.roots)

    def _stat(self, path: str) -> Stat | None:
        try:
            return Stat.of(os.lstat(os.path.join(self.root, os.fsencode(path))))
        except OSError:
            return None

    def _rule_marks(self) -> tuple[int, ...]:
        """When the ignore files outside of the tree were last changed."""
        marks = []
        for file in self.ignore.files:
            try:
                marks.append(os.stat(file).st_ctime_ns)
            except OSError:
                marks.append(0)
        return tuple(marks)


def _item_stat(item: os.DirEntry[bytes]) -> Stat | None:
    try:
        found = Stat.of(item.stat(follow_symlinks=False))
    except OSError:
        return None
    return found if found.counts() else None


def _normal(path: str) -> str:
    path = os.path.normpath(path)
    return "" if path == "." else path


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _chain(folder: str, root: str) -> Iterator[str]:
    """The paths from just below `folder` down to `root`."""
    path = root
    while path != folder and path:
        yield path
        path = path.rpartition("/")[0]


def _outermost(paths: Iterable[str]) -> list[str]:
    """Without those that lie below another: `a/b` and `a/c` where `a` is there too."""
    chosen: set[str] = set()
    for path in sorted(set(paths), key=len):
        if not any(above in chosen for above in _above(path)):
            chosen.add(path)
    return sorted(chosen)


def _above(path: str) -> Iterator[str]:
    while path:
        path = path.rpartition("/")[0]
        yield path

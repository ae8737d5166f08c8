"""The snapshot of the watched files, and how it is kept true.

How it works: everything that notices anything (events, sweeps, lost queues) yields *suspects*: paths that may have
changed, each with all that is below it. `refresh` alone decides what did change, by looking at the disk. So a false
suspect costs a stat, and a missed event is healed by the next sweep.

Invariant: every folder is under watch before it is listed, so nothing can appear in it unnoticed in between.
"""

import os
import stat
from collections.abc import Callable, Collection, Container, Iterable, Iterator
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


_Marks = tuple[Stat | None, ...]  # of a folder's ignore files, as they were before they were read
_FEW, _SMALL = 4, 1 << 18  # files, bytes
UNWATCHED = Folders(lambda _: None, lambda _: None)


class Snapshot:
    """All watched files below `roots` (relative to `root`, "" is the root itself) and what they held when last read."""

    def __init__(self, root: str, roots: Iterable[str], ignore: Ignore, folders: Folders = UNWATCHED) -> None:
        self.root = os.fsencode(root)
        self._where = os.fsdecode(root)
        self.roots = tuple(_normal(path) for path in roots)
        self.ignore = ignore
        self.entries: dict[str, Entry] = {}
        self.folders: dict[str, set[str]] = {}  # the names in each listed folder that count
        self._watch = folders
        self._total = 0
        self._anchors: set[str] = set()
        self._changed: set[str] = set()
        self._touched: set[str] = set()
        self._remembered: dict[str, Entry] = {}
        self.reads = 0  # of files, so far
        self._rules = self._rule_marks()
        self._obeyed: dict[str, _Marks] = {}
        self._listed: dict[str, Stat] = {}  # a folder's own stamps when `_glance` found all its names known

    @property
    def tree(self) -> str:
        """The id of the tree as far as it is known."""
        return identity.tree_id(self._total)

    def differing_from(self, other: "Snapshot") -> tuple[str, ...]:
        """The paths that only one of the two has, or that were not the same when each was last read."""
        ours, theirs = self.entries.copy(), other.entries.copy()
        prints = ({(path, entry.fingerprint) for path, entry in entries.items()} for entries in (ours, theirs))
        return tuple(sorted({path for path, _ in set.symmetric_difference(*prints)}))

    def remember(self, entries: dict[str, Entry]) -> None:
        """What an earlier snapshot read: files that are still as they were then need not be read."""
        self._remembered = entries

    def without_files(self) -> list[str]:
        """The roots in which there is nothing that counts; of a symbolic link only the link itself does."""
        return [root for root in self.roots if not self._is_file(root) and not self.holds_files(root)]

    def _is_file(self, path: str) -> bool:
        return path in self.entries and not stat.S_ISLNK(self.entries[path].stat.mode)

    def holds_files(self, folder: str) -> bool:
        """Whether files are known below a folder."""
        waiting = [folder]
        while waiting:
            above = waiting.pop()
            for name in tuple(self.folders.get(above, ())):
                if (path := _join(above, name)) in self.entries:
                    return True
                waiting.append(path)
        return False

    def covers(self, path: str, *, is_dir: bool) -> bool:
        """Whether a change of `path` can concern this tree."""
        folder, _, name = path.rpartition("/")
        if name in IGNORE_FILES:  # it is obeyed, even where it is ignored itself
            path, is_dir = folder, True
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

    def is_quick(self, suspects: Collection[str]) -> bool:
        """Whether a refresh takes less time than the way to a thread and back: a few small files."""
        return len(suspects) <= _FEW and all(map(self._is_small_file, suspects))

    def differing(self, given_up: Callable[[], bool] = lambda: False) -> set[str]:
        """A sweep: the suspects that a stat of every file gives. Changes nothing, so it may run beside `refresh`.
        Ends early, with some of them, once it is `given_up`."""
        if self._rule_marks() != self._rules:
            return {""}
        suspects: set[str] = set()
        for root in self.roots:
            if root in self.folders:
                self._sweep(root, suspects, given_up)
            else:
                self._compare(root, self._stat(root), suspects)
        return suspects

    def differing_in(self, folders: Iterable[str], given_up: Callable[[], bool] = lambda: False) -> set[str]:
        """The suspects in these folders, but not in listed ones below them, and among roots that are not listed; else
        as `differing`. Half as dear, for a folder is listed only if its own stamps have changed."""
        suspects: set[str] = set()
        for folder in folders:
            if given_up():
                break
            if folder in self.folders:  # others are gone, or a root is awaited there
                self._glance(folder, suspects)
        for root in self.roots:
            if root not in self.folders:
                self._compare(root, self._stat(root), suspects)
        return suspects

    def differing_at(self, paths: Iterable[str], given_up: Callable[[], bool] = lambda: False) -> set[str]:
        """The suspects among these files; else as `differing`."""
        suspects: set[str] = set()
        for path in paths:
            if not given_up():
                self._compare(path, self._stat(path), suspects)
        return suspects

    def _is_small_file(self, path: str) -> bool:
        folder, _, name = path.rpartition("/")
        found = self._stat(path)
        small = found is None or (stat.S_ISREG(found.mode) and found.size <= _SMALL)
        return small and folder in self.folders and path not in self.folders and name not in IGNORE_FILES

    def _widened(self, suspects: Iterable[str]) -> Iterator[str]:
        """A changed ignore file makes its whole folder suspect; a path in a folder not listed yet, that folder."""
        for path in suspects:
            folder, _, name = path.rpartition("/")
            if name in IGNORE_FILES:
                self.ignore.reload(folder)
                yield self._nearest_listed(folder)
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
            self._obey(folder)
            known = self.folders.get(folder, set())
            seen: set[str] = set()
            for name, path, item in self._items(folder):
                if item is None:
                    seen.add(name)
                    self._forget_file(path)
                    waiting.append(path)
                elif (found := _item_stat(item)) is not None:
                    seen.add(name)
                    self._forget_folder(path)
                    self._read(path, found)
            for name in known - seen:
                self._forget(_join(folder, name))
            self.folders[folder] = seen

    def _sweep(self, top: str, suspects: set[str], given_up: Callable[[], bool]) -> None:
        waiting = [top]
        while waiting and not given_up():
            waiting += self._look(waiting.pop(), suspects)

    def _look(self, folder: str, suspects: set[str]) -> list[str]:
        """Add what differs in one folder; the folders in it are returned."""
        known = self.folders.get(folder)
        if known is None or self._obeyed.get(folder) != self._marks(folder):
            suspects.add(folder)
            return []
        seen: set[str] = set()
        below: list[str] = []
        for name, path, item in self._items(folder, known):
            seen.add(name)
            if item is None and path not in self.folders:
                suspects.add(path)
            elif item is None:
                below.append(path)
            elif self._differs(path, item):
                suspects.add(path)
        suspects.update(_join(folder, name) for name in known - seen)
        return below

    def _glance(self, folder: str, suspects: set[str]) -> None:
        """The same, where the folder's stamps say that no name has come or gone: its files' stamps are enough."""
        stamps = self._stat(folder)
        if (
            stamps is None
            or stamps != self._listed.get(folder)
            or self._obeyed.get(folder) != self._marks_if_any(folder)
        ):
            known = len(suspects)
            self._look(folder, suspects)
            if stamps is not None and len(suspects) == known and identity.is_old(stamps):
                self._listed[folder] = stamps
            return
        where = os.path.join(self._where, folder, "")
        for name in tuple(self.folders.get(folder, ())):
            if (entry := self.entries.get(path := _join(folder, name))) is not None and _is_other(entry, where + name):
                suspects.add(path)

    def _marks_if_any(self, folder: str) -> "_Marks | None":
        """Ignore files that were not there are not there now, as long as no name has come."""
        marks = self._obeyed.get(folder)
        return marks if marks is None or not any(marks) else self._marks(folder)

    def _differs(self, path: str, item: os.DirEntry[str]) -> bool:
        """Whether a file is another than when it was read. The innermost loop of a sweep."""
        entry = self.entries.get(path)
        try:
            found = item.stat(follow_symlinks=False)
        except OSError:
            return entry is not None
        if entry is None:
            return Stat.of(found).counts()
        return entry.racy or entry.stat != (
            found.st_mode, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino
        )  # fmt: skip

    def _compare(self, path: str, found: Stat | None, suspects: set[str]) -> None:
        entry = self.entries.get(path)
        if (entry is None) != (found is None) or (entry and (entry.stat != found or entry.racy)):
            suspects.add(path)

    def _obey(self, folder: str) -> None:
        """Have the folder's own ignore files read again if they changed: nobody may have noticed that."""
        if self._obeyed.get(folder) != (marks := self._marks(folder)):
            self._obeyed[folder] = marks
            self.ignore.reload(folder)

    def _marks(self, folder: str) -> "_Marks":
        return tuple(self._stat(_join(folder, name)) for name in IGNORE_FILES)

    def _items(self, folder: str, known: Container[str] = ()) -> Iterator[tuple[str, str, "os.DirEntry[str] | None"]]:
        """Name, path and entry (None for a folder) of all that counts in a folder, `known` names without asking the
        rules again. What cannot be listed is empty."""
        rules = self.ignore.folder(folder)
        prefix = f"{folder}/" if folder else ""
        try:
            with os.scandir(os.path.join(self._where, folder)) as listing:
                for item in listing:
                    name = item.name
                    is_dir = item.is_dir(follow_symlinks=False)
                    if name in known or not rules.ignores(name, is_dir):
                        yield name, prefix + name, None if is_dir else item
        except OSError:
            return

    def _read(self, path: str, found: Stat) -> None:
        known = self.entries.get(path)
        if known is not None and known.stat == found and not known.racy:
            return
        entry = self._remembered.pop(path, None)
        if entry is None or entry.stat != found:
            entry = identity.read(self.root, path)
            self.reads += 1
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
        self._obeyed.pop(path, None)
        self._listed.pop(path, None)
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
            folder = None
            while root not in self.folders and folder != (nearest := self._nearest_folder(root)):
                folder = nearest  # once more when it is under watch: by then there may be a nearer one
                self._anchors.update((folder, *_chain(folder, root)))
                self._watch.watch(folder)

    def _nearest_folder(self, root: str) -> str:
        folder = root.rpartition("/")[0]
        while folder and not os.path.isdir(os.path.join(self.root, os.fsencode(folder))):
            folder = folder.rpartition("/")[0]
        return folder

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


def _item_stat(item: os.DirEntry[str]) -> Stat | None:
    try:
        found = Stat.of(item.stat(follow_symlinks=False))
    except OSError:
        return None
    return found if found.counts() else None


def _is_other(entry: Entry, where: str) -> bool:
    """The innermost loop of a poll."""
    try:
        found = os.lstat(where)
    except OSError:
        return True
    return entry.racy or entry.stat != (
        found.st_mode, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino
    )  # fmt: skip


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

"""What files and folders are like right now: each is looked at once between two calls of `forget`.

A small file of the project's own is known by its content, which comes back when it is checked out again; any other one
by its stamps, of which ctime cannot be set back by anyone.
"""

import os
import stat
import time
from collections.abc import Callable
from hashlib import blake2b
from typing import TypeVar

Mark = bytes | int | None | tuple["Mark", ...]
"""What is compared: it changes whenever what it was taken of does."""

_T = TypeVar("_T")

SMALL = 256_000  # bytes
_NOTHING: frozenset[str] = frozenset()
_CALM_NS = 2_000_000_000  # a folder that changed more recently may change again under the same stamp


class Looks:
    """Looks at the file system, from the project at `root` (a real path)."""

    def __init__(self, root: str) -> None:
        self._inside = os.path.join(root, "")
        self._files: dict[str, Mark] = {}
        self._folders: dict[str, int | None] = {}
        self._listed: dict[str, tuple[int, frozenset[str] | None]] = {}

    def forget(self) -> None:
        """Look again at everything."""
        self._files.clear()
        self._folders.clear()

    def is_inside(self, path: str) -> bool:
        return path.startswith(self._inside)

    def file(self, path: str) -> Mark:
        """Of a regular file, links followed; None where there is none."""
        if path not in self._files:
            self._files[path] = _quietly(lambda: self._mark(path))
        return self._files[path]

    def folder(self, path: str) -> int | None:
        """When something was last added to a folder or removed from it; None where there is none."""
        if path not in self._folders:
            self._folders[path] = _quietly(lambda: _changed_ns(path))
        return self._folders[path]

    def names(self, path: str) -> frozenset[str]:
        """What is in a folder, as far as it may be listed."""
        return self._names(path) or _NOTHING

    def holds(self, path: str, name: str) -> bool:
        """Whether there is such a file in a folder: to be asked about many names."""
        names = self._names(path)
        return name in names if names is not None else self.file(os.path.join(path, name)) is not None

    def head(self, path: str, size: int) -> bytes:
        """How a file begins."""
        return _quietly(lambda: _read(path, size)) or b""

    def _names(self, path: str) -> frozenset[str] | None:
        changed_ns = self.folder(path)
        if changed_ns is None:
            return _NOTHING
        known = self._listed.get(path)
        if known is None or known[0] != changed_ns or time.time_ns() - changed_ns < _CALM_NS:
            known = self._listed[path] = changed_ns, _quietly(lambda: frozenset(os.listdir(path)))
        return known[1]

    def _mark(self, path: str) -> Mark:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode):
            return None
        if found.st_size <= SMALL and self.is_inside(path) and os.access(path, os.R_OK):
            return found.st_mode, blake2b(_read(path, SMALL + 1), digest_size=16).digest()
        return found.st_mode, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _quietly(look: Callable[[], _T]) -> _T | None:
    try:
        return look()
    except (OSError, ValueError):  # a NUL in a path is a ValueError
        return None


def _changed_ns(path: str) -> int | None:
    found = os.stat(path)
    return found.st_ctime_ns if stat.S_ISDIR(found.st_mode) else None


def _read(path: str, size: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return os.read(descriptor, size)
    finally:
        os.close(descriptor)

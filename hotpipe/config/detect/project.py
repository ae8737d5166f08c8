"""What is asked of a project: its files, bounded in number and size, and which programs there are.

Invariant: no program of the project is run, and no code of it imported.
"""

import os
import shutil
import stat
from collections.abc import Iterator
from functools import cached_property
from itertools import islice
from typing import Protocol

_LARGEST = 256_000  # bytes of a file that are read
_MOST_FILES = 4_000
_DEEPEST = 6
_SKIPPED = frozenset((
    "__pycache__", "node_modules", "bower_components", "site-packages", "vendor", "third_party", "target", "dist",
    "build", "env", "venv", "htmlcov", "coverage", "testdata",
))  # fmt: skip


class Project(Protocol):
    """A folder with a project. Paths are relative to it, "/" between names; they may begin with "../"."""

    @property
    def paths(self) -> tuple[str, ...]:
        """Its files, those nearest to the top first."""

    def text(self, path: str) -> str:
        """The beginning of a file; empty where there is none."""

    def is_folder(self, path: str) -> bool:
        """Also one that is not listed, `node_modules` say."""

    def is_program(self, path: str) -> bool:
        """Whether there is an executable file, listed or not."""

    def has_program(self, name: str) -> bool:
        """Whether it is found through PATH."""


class Disk:
    """The folder `root` as it is on disk."""

    def __init__(self, root: str) -> None:
        self._root = root

    @cached_property
    def paths(self) -> tuple[str, ...]:
        found = []
        for path in _listed(self._root):
            found.append(path)
            if len(found) == _MOST_FILES:
                break
        return tuple(found)

    def text(self, path: str) -> str:
        file = os.path.join(self._root, path)
        try:
            if not stat.S_ISREG(os.stat(file).st_mode):  # a FIFO would hold its reader up
                return ""
            with open(file, "rb") as opened:
                return opened.read(_LARGEST).decode("utf-8-sig", "replace")
        except OSError:
            return ""

    def is_folder(self, path: str) -> bool:
        return os.path.isdir(os.path.join(self._root, path))

    def is_program(self, path: str) -> bool:
        file = os.path.join(self._root, path)
        return os.path.isfile(file) and os.access(file, os.X_OK)

    def has_program(self, name: str) -> bool:
        return shutil.which(name) is not None


def _listed(root: str) -> Iterator[str]:
    """Level by level, so that what is cut off is what lies deepest."""
    level = [""]
    for _ in range(_DEEPEST):
        below: list[str] = []
        for folder in level:
            files, folders = _entries(os.path.join(root, folder))
            yield from (folder + name for name in files)
            below.extend(f"{folder}{name}/" for name in folders)
        level = below[:_MOST_FILES]


def _entries(folder: str) -> tuple[list[str], list[str]]:
    """Files and folders, sorted; without what is hidden, installed or built."""
    files, folders = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in islice(entries, _MOST_FILES):
                if not entry.name.isprintable():
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.name)
                elif entry.is_file():
                    files.append(entry.name)
    except OSError:
        return [], []
    kept = (name for name in folders if name not in _SKIPPED and not name.startswith("."))
    return sorted(files), sorted(name for name in kept if not os.path.exists(f"{folder}/{name}/pyvenv.cfg"))


class Within:
    """A folder below, as a project of its own."""

    def __init__(self, around: Project, folder: str) -> None:
        self._around = around
        self.folder = folder

    @cached_property
    def paths(self) -> tuple[str, ...]:
        prefix = f"{self.folder}/"
        return tuple(path.removeprefix(prefix) for path in self._around.paths if path.startswith(prefix))

    def text(self, path: str) -> str:
        return self._around.text(self._from_above(path))

    def is_folder(self, path: str) -> bool:
        return self._around.is_folder(self._from_above(path))

    def is_program(self, path: str) -> bool:
        return self._around.is_program(self._from_above(path))

    def has_program(self, name: str) -> bool:
        return self._around.has_program(name)

    def _from_above(self, path: str) -> str:
        return os.path.normpath(os.path.join(self.folder, path))


def up(project: Project) -> Iterator[str]:
    """ "", "../", …: from the project's folder to the root."""
    depth = project.folder.count("/") + 1 if isinstance(project, Within) else 0
    return ("../" * steps for steps in range(depth + 1))


def top(project: Project) -> str:
    """The way to the root: "" or "../"."""
    return list(up(project))[-1]

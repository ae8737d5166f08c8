"""Where `init` writes, and how: all of it or nothing."""

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from hotpipe.config import detect
from hotpipe.errors import HotpipeError
from hotpipe.tree.gitignore import parse_lines
from hotpipe.tree.rules import Folder, Scope, Source

_GIT_S = 5
_FULL = frozenset((errno.ENOSPC, errno.EDQUOT))


@dataclass(frozen=True, slots=True)
class Place:
    """The project's root, its hotpipe.toml, and what that holds; None where there is none."""

    root: str
    file: str
    config: bytes | None

    @property
    def above(self) -> str:
        """The top of the git work tree, if it lies above the root."""
        top = _top(self.root)
        return os.path.relpath(top) if top and top != self.root else ""

    def is_ignored(self, line: str) -> bool:
        """Whether git ignores already what a line is meant for: by any of its files, or here without git."""
        name = line.rstrip("/*")
        samples = [f"{name}/x"] if line.endswith("/") else [name, f"{name}-web"]
        return all(self._ignores(path) for path in samples)

    def _ignores(self, path: str) -> bool:
        command = ("git", "check-ignore", "--no-index", "--quiet", "--", path)
        with suppress(OSError, subprocess.TimeoutExpired):
            asked = subprocess.run(
                command, cwd=self.root, stdin=subprocess.DEVNULL, capture_output=True, timeout=_GIT_S, check=False
            )
            if asked.returncode in (0, 1):
                return asked.returncode == 0
        return _by_own_file(read(os.path.join(self.root, ".gitignore")) or b"", path)


def _by_own_file(content: bytes, path: str) -> bool:
    lines = tuple(parse_lines(".gitignore", enumerate(content.split(b"\n"), 1)))[::-1]
    folder, _, _ = path.partition("/")
    return Folder(Scope((), (Source("", lines),)), "").ignores(folder, folder != path)


def root_of(cwd: str) -> str:
    """The nearest folder from `cwd` upward that is a project, within git's work tree and the home folder."""
    top, home = _top(cwd), os.path.expanduser("~")
    for folder in _upwards(cwd):
        if folder == home != cwd:
            break
        if detect.is_project(_names(folder)):
            return folder
        if folder == top:
            return top
    return cwd


def _top(folder: str) -> str | None:
    return next((above for above in _upwards(folder) if os.path.exists(os.path.join(above, ".git"))), None)


def _upwards(folder: str) -> Iterator[str]:
    yield folder
    while folder != (folder := os.path.dirname(folder)):
        yield folder


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def read(path: str) -> bytes | None:
    """What a file holds, None where there is none; raises HotpipeError."""
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as opened:
            return opened.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise HotpipeError(f"cannot read {path}: {error.strerror}; nothing was written") from error


@dataclass(frozen=True, slots=True)
class File:
    """A file as it is to be, and as it was."""

    path: str
    content: bytes
    before: bytes | None

    def is_new(self) -> bool:
        """Whether there is anything to write."""
        return self.content != (self.before or b"") or (self.before is None and bool(self.content))

    @property
    def target(self) -> str:
        """A link stays one: what it leads to is replaced."""
        return os.path.realpath(self.path)

    @property
    def beside(self) -> str:
        """Where it is written first."""
        folder, name = os.path.split(self.target)
        return os.path.join(folder, f".{name}.{os.getpid()}.tmp")


def place(files: list[File]) -> None:
    """Write them all beside their places, then move each; raises HotpipeError, and then nothing has changed."""
    try:
        for file in files:
            _prepare(file)
        for file in files:
            _move(file)
    finally:
        for file in files:
            with suppress(OSError):
                os.unlink(file.beside)


def _prepare(file: File) -> None:
    try:
        with open(file.beside, "wb") as opened:
            opened.write(file.content)
            opened.flush()
            os.fsync(opened.fileno())
        if file.before is not None:
            os.chmod(file.beside, os.stat(file.target).st_mode & 0o7777)
    except OSError as error:
        raise _unwritable(file, error) from error


def _move(file: File) -> None:
    try:
        os.replace(file.beside, file.target)
    except OSError as error:
        raise _unwritable(file, error) from error


def _unwritable(file: File, error: OSError) -> HotpipeError:
    hint = ""
    if error.errno in _FULL:
        hint = "free some space on that disk"
    elif isinstance(error, PermissionError) or error.errno == errno.EROFS:
        hint = f"make {os.path.dirname(file.target)} writable for this user; `hotpipe init --print` writes nothing"
    return HotpipeError(f"cannot write {file.path}: {error.strerror}; nothing was written", hint)

"""Appends to a log, and rotates it: `NAME.log` is followed by `NAME.log.1`, the youngest of the old ones.

Invariant: a line is there whole or not at all; no file is larger than `LARGEST`, and there are at most `OLD` old ones.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

LARGEST = 5_000_000  # bytes of a file
OLD = 3


class Unwritten(NamedTuple):
    """What could not be written, and why."""

    rest: bytes
    error: OSError


def append(path: str, text: bytes, largest: int = LARGEST) -> Unwritten | None:
    """Write lines at the end of the log at `path`; what is left of them where that cannot be done."""
    while text:
        try:
            with opened(path) as log:
                text = text[_fill(log, text, largest) :]
            if text:
                rotate(path)
        except OSError as error:
            return Unwritten(text, error)
    return None


def rotate(path: str) -> None:
    """Make the log an old one; the oldest goes. Raises OSError."""
    for number in range(OLD - 1, 0, -1):
        with contextlib.suppress(FileNotFoundError):
            os.replace(f"{path}.{number}", f"{path}.{number + 1}")
    with contextlib.suppress(FileNotFoundError):
        os.replace(path, f"{path}.1")


@contextlib.contextmanager
def opened(path: str) -> Iterator[int]:
    """The log, to be written at its end; its folder is made where it is missing. Raises OSError."""
    # Nobody waits at a FIFO, fifo(7), and nothing is added to what a link leads to.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
    try:
        log = os.open(path, flags, 0o600)
    except FileNotFoundError:
        _make_folder(os.path.dirname(path))
        log = os.open(path, flags, 0o600)
    try:
        if not stat.S_ISREG(os.fstat(log).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        yield log
    finally:
        os.close(log)


def _make_folder(folder: str) -> None:
    """`.hotpipe/logs`; but a project that was removed stays so."""
    for each in (os.path.dirname(folder), folder):
        with contextlib.suppress(FileExistsError):
            os.mkdir(each)


def _fill(log: int, text: bytes, largest: int) -> int:
    """Write as many whole lines as there is room for; how many bytes that were."""
    size = os.fstat(log).st_size
    end = len(text) if size + len(text) <= largest else text.rfind(b"\n", 0, max(largest - size, 0)) + 1
    if not end and not size:  # a line that is larger than a file may be
        end = text.find(b"\n") + 1 or len(text)
    _write(log, text[:end], size)
    return end


def _write(log: int, text: bytes, size: int) -> None:
    """All of it, or nothing."""
    rest = memoryview(text)
    try:
        while rest:
            rest = rest[os.write(log, rest) :]
    except OSError:
        with contextlib.suppress(OSError):
            os.ftruncate(log, size)
        raise

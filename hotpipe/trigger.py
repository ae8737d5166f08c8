"""The trigger file: all that the two halves share.

One line of JSON, replaced atomically. A writer names the tree that passed; a reader takes any change of the file as a
request to restart, and a record that it cannot read as a plain touch.
"""

import contextlib
import errno
import os
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from hotpipe.errors import TriggerError

VERSION = 1
LARGEST = 16 * 1024 * 1024  # bytes that are read of a file that should hold one line


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What a trigger says. `tree` is null where nobody vouches for what is on disk: a touch by hand."""

    v: int = VERSION
    run: int | None = None
    tree: str | None = None
    server: str | None = None
    changed: tuple[str, ...] = ()
    at: str = ""


class Touch(NamedTuple):
    """A trigger as found: its record (null where it holds none) and what is wrong with it."""

    record: Record | None
    fault: str = ""


class Mark(NamedTuple):
    """What differs between any two touches of the same file: see stat(2)."""

    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


def now() -> str:
    """The time as records carry it: UTC, RFC 3339, milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Prepared:
    """A record that lies on disk beside the trigger, one rename away from it."""

    def __init__(self, path: str, record: Record) -> None:
        """Raises TriggerError, and then nothing is left behind."""
        self._path = path
        self._beside = f"{path}.{os.getpid()}.tmp"
        try:
            with open(self._beside, "wb") as file:
                file.write(msgspec.json.encode(record) + b"\n")
        except OSError as error:
            self.discard()
            raise _unwritable(path, error) from error

    def commit(self) -> None:
        """Replace the trigger in one step; raises TriggerError, and then the old one stands untouched."""
        try:
            os.replace(self._beside, self._path)
        except OSError as error:
            raise _unwritable(self._path, error) from error

    def discard(self) -> None:
        """Remove what was prepared, if it was not committed."""
        with contextlib.suppress(OSError):
            os.unlink(self._beside)


def write(path: str, record: Record) -> None:
    """Replace the trigger at `path` in one step; raises TriggerError."""
    prepared = Prepared(path, record)
    try:
        prepared.commit()
    finally:
        prepared.discard()


def mark(path: str) -> Mark | None:
    """The file's present mark, or null where there is no file."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return Mark(found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def read(path: str) -> Touch:
    """The record at `path`; never raises for what somebody else wrote there."""
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            text = file.read(LARGEST) or b""
    except OSError as error:
        return Touch(None, f"cannot be read: {error.strerror}")
    if not text.strip():
        return Touch(None)
    try:
        return Touch(msgspec.json.decode(text, type=Record))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Touch(None, f"holds no record: {error}")


def _without_waiting(path: str, flags: int) -> int:
    """A FIFO in the trigger's place must not hold up its reader: fifo(7)."""
    return os.open(path, flags | os.O_NONBLOCK)


def _unwritable(path: str, error: OSError) -> TriggerError:
    hint = ""
    if os.path.isdir(path):
        hint = f"a folder stands in its place: remove {path}"
    elif isinstance(error, PermissionError):
        hint = f"make {os.path.dirname(path) or '.'} writable for this user"
    elif error.errno in {errno.ENOSPC, errno.EDQUOT}:
        hint = "free some space on that disk; hotpipe tries again each second"
    return TriggerError(f"cannot write the trigger {path}: {error.strerror}", hint)

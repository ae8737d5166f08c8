"""The passes of stages, remembered on disk: one file a key in `.hotpipe/cache/`.

Invariant: `get` returns exactly what was `put` under that key, or nothing. A file carries a checksum over its key and
its body, so one that was torn, flipped, cut short or renamed is a miss, and is removed. Only passes are ever stored.

How it works: a file is written beside its place and renamed into it, so two hotpipes may share the folder without a
lock; no write is flushed, for a file that a power cut tears is a miss. A hit marks its file as used; `prune` removes
those that were used longest ago. Nothing here raises: without a cache a stage just runs.
"""

import contextlib
import os
import stat
import time
from collections.abc import Iterator
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from hotpipe.events import Emit, Stream, Warned, printable

FOLDER = os.path.join(".hotpipe", "cache")  # relative to the project's root
_FAMILY = b"hotpipe cache "
_MAGIC = _FAMILY + b"1\n"
_DIGEST = 16
_MOST_ENTRY = 8_000_000  # bytes; what writes more is not worth remembering
_BLOCK = 4096  # what a small file takes at least
_NAME = 32  # hexadecimal digits
_PART = ".part"
_STALE_S = 600.0  # nobody writes one entry for so long
_FULL, _SPARE = 0.9, 0.1  # of the bound: what is left by a pruning, and what may be put until the next one


class Entry(msgspec.Struct, frozen=True):
    """A pass: what it wrote, and how many lines more were lost. `run` is the command, for people; `took_ms` is how long
    the stage ran when it did."""

    stage: str
    run: str
    took_ms: float
    output: tuple[tuple[Stream, str], ...]
    lost: int


class _File(NamedTuple):
    used_ns: int
    size: int
    path: str


_decoder = msgspec.msgpack.Decoder(Entry)


class Cache:
    """The entries in `folder`, of which those used last fit into `most_bytes`; 0 is no cache. `get` and `put` are quick
    enough for an event loop; `prune` wants a thread, once the cache `is_crowded`."""

    def __init__(self, folder: str, most_bytes: int, emit: Emit) -> None:
        self._folder = folder
        self._most = most_bytes
        self._emit = emit
        self._room = 0
        self._has_warned = False

    def resize(self, most_bytes: int) -> None:
        """Another bound from now on."""
        if most_bytes != self._most:
            self._most, self._room = most_bytes, -1

    @property
    def is_crowded(self) -> bool:
        """Whether the bound may be exceeded, as far as is known: it is time for `prune`."""
        return self._room < 0

    def get(self, key: str) -> Entry | None:
        """What was put under `key`, if it is still whole."""
        if not self._most:
            return None
        path = os.path.join(self._folder, key)
        try:
            content = _read(path)
            return None if content is None else _decoded(key, content)
        except OSError:
            return None
        except _DamagedError:
            _remove(path)
            return None

    def put(self, key: str, entry: Entry) -> None:
        """Remember a pass, if that is possible; a warning says once if it is not."""
        content = _encoded(key, entry)
        if len(content) > min(_MOST_ENTRY, self._most):
            return
        try:
            os.makedirs(self._folder, exist_ok=True)
            self._write(key, content)
        except OSError as error:
            self._warn(error)
        else:
            self._room -= _taken(len(content))

    def prune(self) -> None:
        """Remove what was left half-written, and, over the bound, what was used longest ago. Blocks on the disk."""
        files = sorted(self._files())
        total = sum(file.size for file in files)
        if total > self._most:
            for file in files:
                if total <= self._most * _FULL:
                    break
                total -= file.size if _remove(file.path) else 0
        left, spare = self._most - total, int(self._most * _SPARE)
        self._room = min(left, spare) if left >= 0 else spare  # what cannot be removed is not tried again and again

    def _write(self, key: str, content: bytes) -> None:
        part = os.path.join(self._folder, f"{key}.{os.urandom(8).hex()}{_PART}")
        try:
            _create(part, content)
            os.replace(part, os.path.join(self._folder, key))
        except BaseException:
            _remove(part)
            raise

    def _files(self) -> Iterator[_File]:
        with contextlib.suppress(OSError), os.scandir(self._folder) as items:
            for item in items:
                try:
                    found = item.stat(follow_symlinks=False)
                except OSError:
                    continue
                if not stat.S_ISREG(found.st_mode):
                    continue
                if item.name.endswith(_PART) and time.time() - found.st_mtime > _STALE_S:
                    _remove(item.path)
                elif _is_key(item.name):
                    yield _File(found.st_mtime_ns, _taken(found.st_size), item.path)

    def _warn(self, error: OSError) -> None:
        if self._has_warned:
            return
        self._has_warned = True
        self._emit(
            Warned(
                code="cache.unavailable",
                message=f"passes cannot be remembered in {printable(self._folder)}: {error.strerror or error}",
                hint='stages run although nothing has changed; mend the folder, or say cache_size = "0B" under [gate]',
            )
        )


class _DamagedError(Exception):
    """No such entry was ever put."""


def project_of(folder: str) -> str:
    """The root of the project whose cache is in this folder: of a copy of it, that of the original."""
    return folder.removesuffix(FOLDER).rstrip("/") or "/"


def _encoded(key: str, entry: Entry) -> bytes:
    try:
        body = msgspec.msgpack.encode(entry)
    except UnicodeEncodeError:  # bytes that are no text, in the form of os.fsdecode
        body = msgspec.msgpack.encode(_as_text(entry))
    return _MAGIC + _checksum(key, body) + body


def _as_text(entry: Entry) -> Entry:
    output = tuple((stream, _text(text)) for stream, text in entry.output)
    return msgspec.structs.replace(entry, stage=_text(entry.stage), run=_text(entry.run), output=output)


def _text(odd: str) -> str:
    return odd.encode("utf-8", "backslashreplace").decode()


def _decoded(key: str, content: bytes) -> Entry | None:
    """None for what another version of hotpipe has written."""
    start = len(_MAGIC) + _DIGEST
    magic, checksum, body = content[: len(_MAGIC)], content[len(_MAGIC) : start], content[start:]
    if magic != _MAGIC and len(content) > start and magic.startswith(_FAMILY):
        return None
    if magic != _MAGIC or checksum != _checksum(key, body):
        raise _DamagedError
    try:
        return _decoder.decode(body)
    except msgspec.DecodeError as error:
        raise _DamagedError from error


def _checksum(key: str, body: bytes) -> bytes:
    return blake2b(key.encode() + b"\n" + body, digest_size=_DIGEST).digest()


def _read(path: str) -> bytes | None:
    """A regular file of an entry's size, marked as used."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            return None
        if found.st_size > _MOST_ENTRY:
            raise _DamagedError
        content = os.read(descriptor, found.st_size + 1)
        with contextlib.suppress(OSError):  # somebody else's file, or a file system that is read-only
            os.utime(descriptor)
        return content
    finally:
        os.close(descriptor)


def _create(path: str, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb", buffering=0) as file:
        rest = memoryview(content)
        while rest:
            rest = rest[file.write(rest) :]


def _remove(path: str) -> bool:
    with contextlib.suppress(OSError):
        os.unlink(path)
        return True
    return False


def _taken(size: int) -> int:
    """What a file of `size` takes on disk."""
    return -(-size // _BLOCK) * _BLOCK


def _is_key(name: str) -> bool:
    return len(name) == _NAME and not name.strip("0123456789abcdef")

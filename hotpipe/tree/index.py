"""The stat cache on disk: what each file held when it was last read, so that the next hotpipe need not read it again.

As with git's index, an entry counts only if the file's stamps are what they were, ctime and inode included, and was
never kept if it was racily clean (`identity.Entry`). It has a checksum; where anything is wrong with it, all is read.
"""

import contextlib
import os
from collections.abc import Mapping
from hashlib import blake2b

import msgspec

from hotpipe.tree.identity import Entry, Stat

_NAME = ".hotpipe/index"
_MAGIC = b"hotpipe index 1\n"
_DIGEST = 16
_LEAST, _MOST = -(1 << 63), (1 << 63) - 1  # what the format holds; tmpfs has time stamps beyond that
_FEW = 200  # files, which are read as quickly as the index
_FEW_READ = 20  # one in so many files may have to be read before the index is written anew

_Row = tuple[bytes, int, int, int, int, int, bytes]
_decoder = msgspec.msgpack.Decoder(list[_Row])


def load(root: str) -> dict[str, Entry]:
    """What was known when it was last saved, by path. Blocks on the disk."""
    try:
        with open(os.path.join(root, _NAME), "rb") as file:
            content = file.read()
        return _decoded(content)
    except (OSError, ValueError):  # msgspec's errors are ValueErrors
        return {}


def is_old(reads: int, entries: Mapping[str, Entry]) -> bool:
    """Whether so many files had to be read that it should be saved anew."""
    return reads * _FEW_READ > len(entries)


def save(root: str, entries: Mapping[str, Entry]) -> None:
    """Keep what is known, for whoever comes next; where that cannot be had, nothing happens. Blocks on the disk."""
    if len(entries) <= _FEW:
        return
    path = os.path.join(root, _NAME)
    part = f"{path}.{os.getpid()}.part"
    with contextlib.suppress(OSError):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        try:
            with open(part, "wb") as file:
                file.write(_encoded(entries))
            os.replace(part, path)
        except OSError:
            os.unlink(part)


def _encoded(entries: Mapping[str, Entry]) -> bytes:
    rows = [
        (os.fsencode(path), *entry.stat, entry.fingerprint.to_bytes(16, "big"))
        for path, entry in entries.items()
        if not entry.racy and all(_LEAST <= stamp <= _MOST for stamp in entry.stat)
    ]
    body = msgspec.msgpack.encode(rows)
    return _MAGIC + blake2b(body, digest_size=_DIGEST).digest() + body


def _decoded(content: bytes) -> dict[str, Entry]:
    start = len(_MAGIC) + _DIGEST
    body = memoryview(content)[start:]
    if content[:start] != _MAGIC + blake2b(body, digest_size=_DIGEST).digest():
        return {}
    return {
        os.fsdecode(path): Entry(Stat(*stat), int.from_bytes(fingerprint, "big"), racy=False)
        for path, *stat, fingerprint in _decoder.decode(body)
    }

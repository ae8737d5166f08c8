"""The identity of one file, and of a tree: path, mode and content, never time.

A tree's id is the sum of its files' fingerprints modulo 2**128, so that one edit costs one file, whatever the tree's
size, and the order of files does not matter (an incremental multiset hash: Bellare and Micciancio, 1997). It guards
against accidents, not against somebody who forges a collision.
"""

import os
import stat
import time
from hashlib import blake2b
from typing import NamedTuple

_CHUNK = 1 << 20
_TICK_NS = 20_000_000  # kernel time stamps stand still for up to a tick, 10 ms at HZ=100
_COARSE_TICK_NS = 2_000_000_000  # file systems that store whole seconds; FAT stores every other one
_SIZE = 1 << 128


class Stat(NamedTuple):
    """What changes whenever a file does; the inode's ctime cannot be set back by anyone."""

    mode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, found: os.stat_result) -> "Stat":
        return cls(found.st_mode, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)

    def counts(self) -> bool:
        """A file or a symbolic link: sockets, pipes and devices are no part of a tree."""
        return stat.S_ISREG(self.mode) or stat.S_ISLNK(self.mode)


class Entry(NamedTuple):
    """One file as it was read. `racy`, in git's sense: written so recently that a later write could leave `stat` as it
    is, so that it has to be read again (git's Documentation/technical/racy-git.txt)."""

    stat: Stat
    fingerprint: int
    racy: bool


def read(root: bytes, path: str) -> Entry | None:
    """The file at `path` as it is now, or None where there is none that counts. Blocks on the disk."""
    where = os.path.join(root, os.fsencode(path))
    began_ns = time.time_ns()
    try:
        found = Stat.of(os.lstat(where))
        if not found.counts():
            return None
        content = os.readlink(where) if stat.S_ISLNK(found.mode) else _digest(where, found)
    except OSError:
        return None  # it vanished: what comes in its place is an event of its own
    return Entry(found, _fingerprint(path, found.mode, content), _is_racy(found, began_ns))


def tree_id(total: int) -> str:
    """The id of a tree whose fingerprints add up to `total`: 32 hexadecimal digits."""
    return f"{total % _SIZE:032x}"


def is_old(found: Stat) -> bool:
    """Whether whatever happens from now on changes these stamps, however coarse they are."""
    return time.time_ns() - max(found.mtime_ns, found.ctime_ns) > _COARSE_TICK_NS


def _digest(where: bytes, found: Stat) -> bytes:
    """Of the content; of the stamps, where this user may not read it."""
    digest = blake2b(digest_size=16)
    try:
        descriptor = os.open(where, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except PermissionError:
        return b"unreadable %d %d" % (found.size, found.mtime_ns)
    try:
        while chunk := os.read(descriptor, _CHUNK):
            digest.update(chunk)
    finally:
        os.close(descriptor)
    return digest.digest()


def _fingerprint(path: str, mode: int, content: bytes) -> int:
    """As git sees modes: a link, or a file that is executable or not."""
    kind = b"l" if stat.S_ISLNK(mode) else b"x" if mode & stat.S_IXUSR else b"-"
    return int.from_bytes(blake2b(os.fsencode(path) + b"\0" + kind + content, digest_size=16).digest(), "big")


def _is_racy(found: Stat, read_at_ns: int) -> bool:
    newest = max(t for t in (found.mtime_ns, found.ctime_ns) if t <= read_at_ns or t == found.ctime_ns)
    coarse = newest % 1_000_000_000 == 0
    return read_at_ns - newest < (_COARSE_TICK_NS if coarse else _TICK_NS)

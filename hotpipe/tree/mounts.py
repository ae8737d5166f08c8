"""The mount table, and which of its file systems tell this kernel nothing of what others do to them.

inotify(7) reports what programs of *this* kernel do. Where a server, a host or another machine writes, no event comes:
network file systems, and the folders that a virtual machine or a container desktop shares with its host. What this
machine itself writes there is reported all the same, so such folders are put under watch and polled as well.

Sources: inotify(7), "Limitations and caveats"; coreutils' src/stat.c and gnulib's file-remote.c, which mark each file
system as local or remote (so does `tail -f`, to choose between inotify and polling); JetBrains' fsnotifier, which
watches neither nfs, cifs, 9p nor fuse; microsoft/WSL #4739 (9p, of what Windows writes) and its docs on drvfs (9p or
virtiofs); docker/for-win #8479 #12766, docker/for-mac #2216 #5031 #6350 (events that stop, or of which some never
come). overlay is local here: coreutils marks it remote because of its lower layers, which nobody writes to while they
are mounted (kernel: Documentation/filesystems/overlayfs.rst, "Changes to underlying filesystems").
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

_TABLE = "/proc/self/mountinfo"
_ESCAPED = re.compile(rb"\\([0-7]{3})")

_NETWORK = frozenset(
    (
        *("nfs", "nfs3", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "ncpfs", "afs", "kafs", "coda", "davfs"),
        *("ceph", "glusterfs", "lustre", "gpfs", "beegfs", "fhgfs", "panfs", "pvfs2", "orangefs", "ocfs2", "gfs"),
        *("gfs2", "acfs", "snfs", "cvfs", "ibrix", "afpfs"),
    )
)
# 9p: WSL 2, QEMU, Lima, crosvm. drvfs: WSL 1, where what Windows writes is told since 2016, but not always (WSL #2507).
_SHARED = frozenset(
    ("9p", "v9fs", "drvfs", "virtiofs", "vboxsf", "vmhgfs", "prl_fs", "prl_vfs", "fakeowner", "grpcfuse", "osxfs")
)
# Of FUSE, these are written to through their mount alone; fuseblk (ntfs-3g, exfat) is a disk of this machine.
_LOCAL_FUSE = frozenset(f"fuse.{name}" for name in ("fuse-overlayfs", "gocryptfs", "encfs", "cryfs", "securefs"))


class Mount(NamedTuple):
    """One line of the table. `point` is absolute, as from `os.fsdecode`; `options` are the super block's."""

    number: int
    parent: int
    point: str
    kind: str
    source: str
    options: str

    @property
    def is_deaf(self) -> bool:
        """Whether others can change files of this file system without an event."""
        base = self.kind.partition(".")[0]  # virtiofs.virtiofs0, nfs.subtype
        if base == "fuse":
            return self.kind not in _LOCAL_FUSE
        return base in _NETWORK or base in _SHARED

    @property
    def is_windows(self) -> bool:
        """Whether it is a drive of the Windows around this Linux."""
        return self.kind == "drvfs" or "aname=drvfs" in self.options or self.source.startswith("drvfs")

    @property
    def is_nfs(self) -> bool:
        return self.kind.startswith("nfs")

    def __str__(self) -> str:
        return f"{self.kind} at {self.point}"


class Layout(NamedTuple):
    """What is mounted where in one tree: `base` holds its root, `nested` what is mounted below, by path from there."""

    base: Mount | None
    nested: Mapping[str, Mount]

    def at(self, path: str) -> Mount | None:
        """The mount that a path of the tree lies on."""
        while path:
            if path in self.nested:
                return self.nested[path]
            path = path.rpartition("/")[0]
        return self.base

    def is_deaf(self, path: str) -> bool:
        """Whether files at this path, or in this folder, can change without an event."""
        mount = self.at(path)
        return mount is not None and mount.is_deaf

    def deaf_files(self) -> set[str]:
        """Of a single file that is mounted over another, its folder. Blocks on the disk."""
        points = [point for point, mount in self.nested.items() if mount.is_deaf]
        return {point.rpartition("/")[0] for point in points if not os.path.isdir(self.nested[point].point)}


NOWHERE = Layout(None, {})


def of(root: str) -> Layout:
    """The layout of the tree at `root` now; of unknown mounts, where the system has no such table."""
    return layout(os.path.realpath(root), read())


def read() -> tuple[Mount, ...]:
    """The mount table of this process."""
    try:
        with open(_TABLE, "rb") as file:
            return parse(file.read())
    except OSError:
        return ()


def parse(table: bytes) -> tuple[Mount, ...]:
    """The lines of a table in the format of proc_pid_mountinfo(5); what is malformed is left out."""
    return tuple(mount for line in table.split(b"\n") if (mount := _parsed(line)) is not None)


def layout(root: str, mounts: Iterable[Mount]) -> Layout:
    """What is mounted where in the tree at `root`, an absolute path without symbolic links.

    What cannot be reached, because something else has been mounted over a folder above it, is not in it.
    """
    mounts = tuple(mounts)
    below = {mount.point for mount in mounts if _covers(root, mount.point) and mount.point != root}
    prefix = len(root.rstrip("/")) + 1
    visible = {point: mount for point in below if (mount := _holding(point, mounts)) and mount.point == point}
    return Layout(_holding(root, mounts), {point[prefix:]: mount for point, mount in visible.items()})


def _holding(path: str, mounts: tuple[Mount, ...]) -> Mount | None:
    """The mount in which a path ends, walked as the kernel does: from mount to mount, the nearest way down first."""
    covering = [mount for mount in mounts if _covers(mount.point, path)]
    numbers = {mount.number for mount in covering}
    tops = [mount for mount in covering if mount.parent not in numbers or mount.parent == mount.number]
    here = max(tops, key=lambda mount: len(mount.point), default=None)
    for _ in covering:
        nearer = [m for m in covering if here is not None and m.parent == here.number and m is not here]
        here = min(nearer, key=lambda mount: len(mount.point), default=here)
    return here


def _covers(folder: str, path: str) -> bool:
    return path == folder or path.startswith(f"{folder.rstrip('/')}/")


def _parsed(line: bytes) -> Mount | None:
    """(1) id (2) parent (3) device (4) root (5) mount point (6) options, any tags, "-", type, source, its options."""
    before, dash, after = line.partition(b" - ")
    fields, last = before.split(b" "), after.split(b" ")
    if not dash or len(fields) < 6 or not (fields[0].isdigit() and fields[1].isdigit()):
        return None
    kind, source, options = _padded(map(_unescaped, last))
    return Mount(int(fields[0]), int(fields[1]), _unescaped(fields[4]), kind, source, options)


def _padded(words: Iterable[str]) -> Iterator[str]:
    """Three: an empty source leaves nothing between two blanks, and some kernels no blank either."""
    found = [*words, "", "", ""]
    yield from found[:3]


def _unescaped(field: bytes) -> str:
    r"""Blank, tab, line feed and backslash are octal there: `\040`, `\011`, `\012`, `\134`."""
    return os.fsdecode(_ESCAPED.sub(lambda octal: bytes([int(octal[1], 8) & 0xFF]), field))

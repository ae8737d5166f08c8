"""One hotpipe per role and project: its lock, its pid file, and the name of its control socket.

How it works: `.hotpipe/lock` is one file with POSIX locks on single bytes (fcntl_locking(2)), which the kernel takes
back in the moment in which their holder dies, however it dies. Byte 0 is the gate's, byte 1 the server half's; `watch`
takes both. Byte 2 makes one of two hotpipes side by side the primary: its files have the plain names, the other's bear
its role. hotpipe never removes the lock file; where somebody else does, a running one
makes another (`restore`).

Invariant: whoever holds a role's byte is the only hotpipe that writes that role's files. A process that closes *any*
descriptor of the lock file loses its locks, and a forked child has none: claim once a process, after the last fork.
"""

import contextlib
import errno
import fcntl
import os
import pwd
import struct
import sys
from types import TracebackType
from typing import Literal, Self

import msgspec

from hotpipe.errors import AlreadyRunning, HotpipeError
from hotpipe.events import Warned
from hotpipe.process import birth
from hotpipe.process.birth import Birth

Role = Literal["watch", "gate", "serve"]
FOLDER = ".hotpipe"

_BYTES: dict[Role, tuple[int, int]] = {"watch": (0, 2), "gate": (0, 1), "serve": (1, 1)}  # the first, how many
_ROLES: dict[tuple[bool, bool], Role] = {(True, True): "watch", (True, False): "gate", (False, True): "serve"}
_PRIMARY = (2, 1)
_FLOCK = "hhqqi0q"  # struct flock of <asm-generic/fcntl.h>: type, whence, start, length, pid
_HELD = {errno.EACCES, errno.EAGAIN}
_NO_ROOM = {errno.EROFS, errno.ENOSPC, errno.EDQUOT}
_LONGEST = 4096  # bytes of a pid file
_TRIES = 100  # of a lock that was free again as soon as its holder was asked for


class Running(Birth, frozen=True, kw_only=True):
    """A hotpipe that runs: the content of a pid file."""

    role: Role

    def __str__(self) -> str:
        return f"hotpipe {self.role} (pid {self.pid})"


class Instance:
    """This hotpipe's place in the project, until it is closed. `warnings` say what it has to do without."""

    def __init__(self, role: Role, folder: str, lock: int | None, suffix: str) -> None:
        self.role: Role = role
        self.warnings: tuple[Warned, ...] = ()
        self.pid_file = os.path.join(folder, f"hotpipe{suffix}.pid")
        self.socket: str | None = os.path.join(folder, f"control{suffix}.sock")  # None: there is no place for one
        self._lock = lock
        self._lock_file = os.path.join(folder, "lock")
        self._is_primary = not suffix
        self._me = Running(**msgspec.structs.asdict(birth.me()), role=role)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove the pid file if it is still ours, and only then let the next one in."""
        if _read(self.pid_file) == self._me:
            _remove(self.pid_file)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def restore(self) -> None:
        """Take the place again where its files were removed (`git clean -dfx`), unless somebody else has it by now."""
        with contextlib.suppress(OSError):  # then all is as before
            if self._lock is not None and os.fstat(self._lock).st_nlink == 0:
                self._lock = _locked_again(self._lock, self._lock_file, self.role, is_primary=self._is_primary)
                self.announce()

    def announce(self) -> None:
        """Write the pid file; where that cannot be done, it is a warning."""
        try:
            _replace(self.pid_file, msgspec.json.encode(self._me) + b"\n")
        except OSError as error:
            self.warn(
                "pid_file.unwritable", f"cannot write {self.pid_file}: {error.strerror}", _way_out(self.pid_file, error)
            )

    def warn(self, code: str, message: str, hint: str) -> None:
        """Something to tell the user as soon as there is a face."""
        self.warnings += (Warned(code=code, message=message, hint=hint),)


def claim(root: str, role: Role) -> Instance:
    """Take the role in the project at `root`.

    Raises AlreadyRunning where somebody has it, HotpipeError where the lock belongs to another user or something else
    stands in its place. Where there cannot be a lock (read-only, full, or one that knows no locks), that is a warning.
    """
    folder = os.path.join(root, FOLDER)
    try:
        lock = _open_lock(folder)
    except OSError as error:
        return _without_folder(folder, role, error)
    try:
        instance = _locked(folder, role, lock)
    except BaseException:
        os.close(lock)
        raise
    instance.announce()
    return instance


def running(root: str) -> list[Running]:
    """The hotpipes of the project at `root` that run now, by their pid files; stale ones count for nothing."""
    folder = os.path.join(root, FOLDER)
    found = (_read(os.path.join(folder, f"hotpipe{suffix}.pid")) for suffix in ("", "-gate", "-serve"))
    return [one for one in found if one is not None and one.lives]


def _open_lock(folder: str) -> int:
    os.makedirs(folder, mode=0o755, exist_ok=True)
    return os.open(os.path.join(folder, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _without_folder(folder: str, role: Role, error: OSError) -> Instance:
    """Nobody can hold a lock that does not exist; but one that we may not open may be held."""
    lock = os.path.join(folder, "lock")
    if os.path.lexists(folder) and error.errno not in _NO_ROOM:
        raise HotpipeError(f"cannot open {lock}: {error.strerror}", hint=_way_out(lock, error)) from error
    instance = Instance(role, folder, None, "")
    instance.socket = None
    message = f"cannot write {folder}: {error.strerror}; without it there is no lock and no control socket"
    instance.warn("lock.unavailable", message, _way_out(folder, error))
    return instance


def _locked(folder: str, role: Role, lock: int) -> Instance:
    try:
        _take_role(lock, role, folder)
        is_primary = _take(lock, *_PRIMARY)
    except OSError as error:
        instance = Instance(role, folder, lock, "")
        message = f"cannot lock {folder}/lock: {error.strerror}; a second hotpipe in this project will not be noticed"
        instance.warn("lock.unavailable", message, "put the project on a file system that knows locks")
        return instance
    instance = Instance(role, folder, lock, "" if is_primary else f"-{role}")
    _remove_leftovers(folder, role, instance)
    return instance


def _locked_again(removed: int, path: str, role: Role, *, is_primary: bool) -> int:
    """The lock in a new file, in place of the one that was removed; raises OSError where that cannot be had."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not _take(lock, *_BYTES[role]):
            raise BlockingIOError(errno.EAGAIN, "somebody else has it")
        if is_primary:
            _take(lock, *_PRIMARY)
    except OSError:
        os.close(lock)
        raise
    os.close(removed)
    return lock


def _take_role(lock: int, role: Role, folder: str) -> None:
    for _ in range(_TRIES):
        if _take(lock, *_BYTES[role]):
            return
        holder = _holder(lock, role, folder)
        if holder is not None:
            raise AlreadyRunning(f"{holder} already runs in this project", hint="end it with `hotpipe stop`")
    raise AlreadyRunning("another hotpipe already runs in this project", hint="end it with `hotpipe stop`")


def _take(lock: int, first: int, count: int) -> bool:
    """Lock these bytes; false where somebody else has one. Raises OSError where there are no locks."""
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB, count, first)
    except OSError as error:
        if error.errno in _HELD:
            return False
        raise
    return True


def _holder(lock: int, role: Role, folder: str) -> str | None:
    """Who has what `role` wants; None: nobody any more."""
    if sys.platform != "linux":  # struct flock has another form
        return next((str(one) for one in running(os.path.dirname(folder))), "another hotpipe")
    first, count = _BYTES[role]
    pids = [_asked(lock, byte) for byte in range(3)]
    pid = next((pid for pid in pids[first : first + count] if pid is not None), None)
    if pid is None:
        return None
    if pid <= 0:
        return "another hotpipe (out of sight: in a container or on another machine)"
    verb = _ROLES[pids[0] == pid, pids[1] == pid]
    return f"hotpipe {verb} (pid {pid})"


def _asked(lock: int, byte: int) -> int | None:
    """The pid that holds this byte (F_GETLK); 0 or less for one that has no pid here."""
    asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
    kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(lock, fcntl.F_GETLK, asked))
    return None if kind == fcntl.F_UNLCK else pid


def _remove_leftovers(folder: str, role: Role, instance: Instance) -> None:
    """What a killed one left under the names of the roles that are ours now."""
    for name in ("gate", "serve"):
        if role in ("watch", name) and instance.pid_file != os.path.join(folder, f"hotpipe-{name}.pid"):
            _remove(os.path.join(folder, f"hotpipe-{name}.pid"))
            _remove(os.path.join(folder, f"control-{name}.sock"))


def _read(path: str) -> Running | None:
    """What a pid file says; None for one that is missing, or that hotpipe did not write."""
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            return msgspec.json.decode(file.read(_LONGEST) or b"", type=Running)
    except (OSError, ValueError, RecursionError):
        return None


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # for a FIFO in its place: fifo(7)


def _replace(path: str, text: bytes) -> None:
    beside = f"{path}.tmp"  # always the same: what a killed one left is overwritten
    try:
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(text)
        os.replace(beside, path)
    except OSError:
        _remove(beside)
        raise


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)


def _way_out(path: str, error: OSError) -> str:
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return "free some space on that disk"
    if error.errno == errno.EROFS:
        return "mount it writable, or go on without"
    if isinstance(error, PermissionError):
        return f"it belongs to {_owner(path)}: make it writable for this user, or run hotpipe as that one"
    return f"something else stands in its place: move it away: {os.path.dirname(path)}"


def _owner(path: str) -> str:
    """Whose the path is, or the nearest folder above it that exists."""
    path = os.path.abspath(path)
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    owner = os.lstat(path).st_uid
    try:
        return pwd.getpwuid(owner).pw_name
    except KeyError:
        return f"user {owner}"

"""Which process a pid means: the number, its start, the boot of the machine, and who counts.

Invariant: `lives` never takes a process for another one that has got the same number since.
"""

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Iterator

import msgspec

_LOOK_AGAIN_S = 0.02
_STATE, _STARTTIME = 0, 19  # of /proc/PID/stat after the name: fields 3 and 22 in proc_pid_stat(5)


class Birth(msgspec.Struct, frozen=True, kw_only=True):
    """A process for good. `start` is in clock ticks since boot; in seconds since 1970 where there is no /proc.

    `boot` is the kernel's boot_id (random(4)); `space` is the pid namespace in which the number counts. Both are empty
    where there is no /proc.
    """

    pid: int
    start: float
    boot: str = ""
    space: str = ""

    @classmethod
    def of(cls, pid: int) -> "Birth | None":
        """Of the process that has this number now; None where it is dead (a zombie is)."""
        start = start_of(pid)
        return None if start is None else cls(pid=pid, start=start, boot=boot(), space=space())

    @property
    def lives(self) -> bool:
        """It is that very process that runs now. False for one of a pid namespace that cannot be seen from here."""
        return self.boot == boot() and self.is_near and start_of(self.pid) == self.start

    @property
    def is_near(self) -> bool:
        """Its number counts here: a container that shares the folder has numbers of its own (pid_namespaces(7))."""
        return self.space == space()

    def send(self, number: int) -> bool:
        """Signal this very process; false where it is dead. Raises PermissionError where it belongs to another user."""
        with self._opened() as pidfd:
            if pidfd is not None:
                with contextlib.suppress(ProcessLookupError):
                    _send(pidfd, self.pid, number)
                    return True
        return False

    def wait(self, timeout_s: float) -> bool:
        """Block until it is dead, at most so long; whether it is."""
        until = time.monotonic() + timeout_s
        with self._opened() as pidfd:
            while pidfd is not None and self.lives:
                left_s = until - time.monotonic()
                if left_s <= 0:
                    return False
                _pause(pidfd, left_s)
        return True

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int | None]:
        """A pidfd of it (pidfd_open(2)), which means it even after its number has got another bearer; None: dead."""
        pidfd = _pidfd(self.pid)
        try:
            yield pidfd if self.lives else None  # looked at only now: it may have died before
        finally:
            if pidfd is not None and pidfd >= 0:
                os.close(pidfd)


def _pidfd(pid: int) -> int | None:
    """Of whoever has this number; negative where the system has none."""
    if sys.platform != "linux":
        return -1
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    except OSError:  # forbidden by a sandbox
        return -1


def _send(pidfd: int, pid: int, number: int) -> None:
    if sys.platform == "linux" and pidfd >= 0:
        signal.pidfd_send_signal(pidfd, number)
    else:
        os.kill(pid, number)


def _pause(pidfd: int, longest_s: float) -> None:
    """Until it is worth looking again: a pidfd is readable when its process ends."""
    poll = select.poll()
    if pidfd >= 0:
        poll.register(pidfd, select.POLLIN)
    poll.poll(1000 * (longest_s if pidfd >= 0 else min(longest_s, _LOOK_AGAIN_S)))


def me() -> Birth:
    """This process."""
    return Birth(pid=os.getpid(), start=start_of(os.getpid()) or 0, boot=boot(), space=space())


def start_of(pid: int) -> float | None:
    """When the process with this number started, as `Birth.start`; None where there is none, or only a zombie."""
    if sys.platform != "linux":
        return _portable_start_of(pid)
    with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()  # the name before it may hold anything
        return int(fields[_STARTTIME]) if fields[_STATE] not in (b"Z", b"X") else None
    return None


def boot() -> str:
    """The id of this boot: proc_sys_kernel(5)."""
    with contextlib.suppress(OSError), open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()
    return ""


def space() -> str:
    """The pid namespace of this process."""
    with contextlib.suppress(OSError):
        return os.readlink("/proc/self/ns/pid")
    return ""


def _portable_start_of(pid: int) -> float | None:
    import psutil  # noqa: PLC0415 - 20 ms that Linux need not spend

    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        return process.create_time() if process.status() != psutil.STATUS_ZOMBIE else None
    return None

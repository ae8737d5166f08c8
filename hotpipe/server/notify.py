"""The NOTIFY_SOCKET of one generation: what its processes say of themselves, as systemd reads it.

Format and order are those of sd_notify(3) and systemd's src/core (manager.c: manager_dispatch_notify_fd,
manager_process_barrier_fd; service.c: service_notify_message).

Invariant: only what a process of this generation says is heeded, and whatever comes is harmless: no descriptor that
arrives stays open, nothing is kept, and between two batches the loop is free.
"""

import contextlib
import errno
import os
import re
import secrets
import socket
import struct
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import anyio
import psutil
from msgspec import Struct

from hotpipe.escapes import plain


class Ready(Struct, frozen=True):
    """READY=1: it has started, or reloaded."""


class Reloading(Struct, frozen=True):
    """RELOADING=1, since `monotonic_usec` on CLOCK_MONOTONIC; None where it does not say."""

    monotonic_usec: int | None = None


class Stopping(Struct, frozen=True):
    """STOPPING=1: it is about to end."""


class Status(Struct, frozen=True):
    """STATUS=: one line for people; an empty one takes the last one back."""

    text: str


class MainPid(Struct, frozen=True):
    """MAINPID=: another process of the same tree is the server from now on."""

    pid: int


class Watchdog(Struct, frozen=True):
    """WATCHDOG=1: a sign of life."""


class WatchdogTrigger(Struct, frozen=True):
    """WATCHDOG=trigger: it knows that it is broken."""


class WatchdogUsec(Struct, frozen=True):
    """WATCHDOG_USEC=: how long it may be silent from now on; 0 is for ever."""

    seconds: float


class ExtendTimeout(Struct, frozen=True):
    """EXTEND_TIMEOUT_USEC=: whatever it is doing may take this long from now on."""

    seconds: float


class Barrier(Struct, frozen=True):
    """BARRIER=1: the sender waits until all before it has been heeded."""


class Errno(Struct, frozen=True):
    """ERRNO=: why it failed, as errno(3)."""

    number: int


class ExitStatus(Struct, frozen=True):
    """EXIT_STATUS=: the status that it is going to exit with."""

    status: int


Message = (
    Ready | Reloading | Stopping | Status | MainPid | Watchdog | WatchdogTrigger | WatchdogUsec | ExtendTimeout
    | Barrier | Errno | ExitStatus
)  # fmt: skip
Belongs = Callable[[int], bool]  # is this pid a process of the generation?
OnMessage = Callable[[Message], None]
OnStranger = Callable[[int], None]

LONGEST = 4096  # bytes of one datagram: NOTIFY_BUFFER_MAX
_BATCH = 64  # datagrams at a stretch: well below a millisecond
_MOST_STRANGERS = 64  # pids that are reported, each once
_MOST_FDS = 253  # SCM_MAX_FD, <net/scm.h>
_CREDENTIALS = struct.Struct("=iII")  # struct ucred, unix(7): pid, uid, gid
_SCM_CREDENTIALS = 2  # <linux/socket.h>; Python 3.11 does not name it
_ANCILLARY = socket.CMSG_SPACE(_CREDENTIALS.size) + socket.CMSG_SPACE(_MOST_FDS * 4)
_LONGEST_LABEL = 60  # characters: the whole address has 108 bytes
_UNFIT = re.compile(r"[^A-Za-z0-9._-]")
_NUMBER = re.compile(rb"[0-9]{1,20}")
_INFINITE = 2**64 - 1  # USEC_INFINITY
_LARGEST_PID = 2**31 - 1
_LARGEST_ERRNO = 4095  # ERRNO_MAX


class NotifySocket:
    """Where one generation reports; unavailable, with an empty `address`, on systems that do not name the sender."""

    def __init__(self, address: str, receiving: socket.socket | None) -> None:
        self.address = address  # for NOTIFY_SOCKET
        self._receiving = receiving
        self._reader: _Reader | None = None

    @classmethod
    def open(cls, label: str) -> "NotifySocket":
        """A fresh socket, named after `label`; raises OSError. Abstract, unix(7): who is killed leaves no file."""
        if sys.platform != "linux":
            return cls("", None)
        fit = _UNFIT.sub("_", label)[:_LONGEST_LABEL]
        name = f"hotpipe/{os.getpid()}.{secrets.token_hex(8)}/{fit}"
        receiving = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            receiving.setblocking(False)
            receiving.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)  # before anybody can know the name
            receiving.bind(f"\0{name}")
        except BaseException:
            receiving.close()
            raise
        return cls(f"@{name}", receiving)

    async def messages(self, belongs: Belongs, on_message: OnMessage, on_stranger: OnStranger) -> None:
        """Give each message to `on_message`, in order, until cancelled.

        Heeded is a sender that `belongs`, or that nobody can look at any more, if it had our uid: systemd-notify(1)
        is gone at once. Of others, each pid goes to `on_stranger` once (0: from outside of our pid namespace).
        """
        if self._receiving is None:
            await anyio.sleep_forever()
            return
        self._reader = _Reader(self._receiving, belongs, on_message, on_stranger)
        while True:
            await anyio.wait_readable(self._receiving)
            self._reader.batch()

    def catch_up(self) -> None:
        """Heed what has come already: a process that says MAINPID= and ends must be heard before its end is."""
        if self._reader is not None:
            self._reader.batch()

    def close(self) -> None:
        """Nobody is heard any more; who waits at a barrier is let go."""
        self._reader = None
        if self._receiving is not None:
            self._receiving.close()


class _Reader:
    """Takes datagrams from a socket and finds out who sent them."""

    def __init__(
        self, receiving: socket.socket, belongs: Belongs, on_message: OnMessage, on_stranger: OnStranger
    ) -> None:
        self._receiving = receiving
        self._belongs = belongs
        self._on_message = on_message
        self._on_stranger = on_stranger
        self._strangers: set[int] = set()

    def batch(self) -> None:
        known: dict[tuple[int, int], bool] = {}  # for the moment: a pid may be given again
        with contextlib.suppress(BlockingIOError):
            for _ in range(_BATCH):
                self._take(known)

    def _take(self, known: dict[tuple[int, int], bool]) -> None:
        """One datagram. Its descriptors are closed when all of it has been heeded: that lifts a barrier."""
        payload, ancillary, flags, _ = self._receiving.recvmsg(LONGEST, _ANCILLARY, socket.MSG_CMSG_CLOEXEC)
        try:
            pid, uid = _sender(ancillary)
            if (pid, uid) not in known:
                known[pid, uid] = self._is_heeded(pid, uid)
            if known[pid, uid] and not flags & socket.MSG_TRUNC:
                self._heed(payload)
        finally:
            for descriptor in _descriptors(ancillary):
                os.close(descriptor)

    def _heed(self, payload: bytes) -> None:
        for message in parse(payload):
            if not isinstance(message, MainPid) or self._belongs(message.pid):
                self._on_message(message)

    def _is_heeded(self, pid: int, uid: int) -> bool:
        if pid > 0 and (self._belongs(pid) or (uid == os.getuid() and _is_gone(pid))):
            return True
        if pid not in self._strangers and len(self._strangers) < _MOST_STRANGERS:
            self._strangers.add(pid)
            self._on_stranger(pid)
        return False


def parse(payload: bytes) -> tuple[Message, ...]:
    """What one datagram says, in the order in which systemd heeds it. What is unknown or malformed says nothing.

    Of assignments that repeat, the first counts. Who is reloading and ready at once has reloaded.
    """
    if b"\0" in payload[:-1]:
        return ()
    lines = [line for line in re.split(rb"[\r\n]", payload.removesuffix(b"\0")) if line]
    if b"BARRIER=1" in lines:
        return (Barrier(),) if len(lines) == 1 else ()
    values = dict(line.split(b"=", 1) for line in reversed(lines) if b"=" in line)
    return (*_values(values), *_flags(lines, values))


def _values(values: Mapping[bytes, bytes]) -> Iterator[Message]:
    for key, read in _READERS.items():
        if key in values and (message := read(values[key])) is not None:
            yield message


def _flags(lines: Sequence[bytes], values: Mapping[bytes, bytes]) -> Iterator[Message]:
    if b"RELOADING=1" in lines:
        yield Reloading(_number(values.get(b"MONOTONIC_USEC", b""), _INFINITE - 1))
    for line, message in _FLAGS.items():
        if line in lines:
            yield message


def _status(value: bytes) -> Status | None:
    with contextlib.suppress(UnicodeDecodeError):
        return Status(plain(value.decode()))
    return None


def _main_pid(value: bytes) -> MainPid | None:
    pid = _number(value, _LARGEST_PID)
    return MainPid(pid) if pid else None


def _errno(value: bytes) -> Errno | None:
    """A number or a name, as parse_errno of systemd takes both."""
    named = next((number for number, name in errno.errorcode.items() if name.encode() == value), None)
    number = _number(value, _LARGEST_ERRNO) if named is None else named
    return Errno(number) if number is not None else None


def _exit_status(value: bytes) -> ExitStatus | None:
    status = _number(value, 255)
    return ExitStatus(status) if status is not None else None


def _extend_timeout(value: bytes) -> ExtendTimeout | None:
    usec = _number(value, _INFINITE - 1)
    return ExtendTimeout(usec / 1e6) if usec else None


def _watchdog_usec(value: bytes) -> WatchdogUsec | None:
    usec = _number(value, _INFINITE - 1)
    return WatchdogUsec(usec / 1e6) if usec is not None else None


def _number(value: bytes, largest: int) -> int | None:
    number = int(value) if _NUMBER.fullmatch(value) else largest + 1
    return number if number <= largest else None


_READERS: Mapping[bytes, Callable[[bytes], Message | None]] = {
    b"MAINPID": _main_pid,
    b"STATUS": _status,
    b"ERRNO": _errno,
    b"EXIT_STATUS": _exit_status,
    b"EXTEND_TIMEOUT_USEC": _extend_timeout,
    b"WATCHDOG_USEC": _watchdog_usec,
}
_FLAGS: Mapping[bytes, Message] = {
    b"READY=1": Ready(),
    b"STOPPING=1": Stopping(),
    b"WATCHDOG=1": Watchdog(),
    b"WATCHDOG=trigger": WatchdogTrigger(),
}

_Ancillary = Sequence[tuple[int, int, Any]]


def _sender(ancillary: _Ancillary) -> tuple[int, int]:
    """Pid and uid of the sender, as the kernel vouches for them."""
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, _SCM_CREDENTIALS):
            pid, uid, _ = _CREDENTIALS.unpack(content)
            return pid, uid
    return 0, 0


def _descriptors(ancillary: _Ancillary) -> list[int]:
    found: list[int] = []
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            found += memoryview(content[: len(content) // 4 * 4]).cast("i")
    return found


def _is_gone(pid: int) -> bool:
    if pid == os.getpid():  # root's systemd-notify gives its parent for the sender: us, where it is an orphan
        return True
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False

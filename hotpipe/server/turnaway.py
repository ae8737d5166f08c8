"""Ends kept-alive connections on which requests keep coming, each in a pause between two of them.

New connections are led to the next generation, but a client with a pool stays with the old one for as long as it has
something to ask. A server that stops at once would tear one of its answers in two (waitress writes head and body
apart).

So while the old server still runs, each such connection is shut down once it has been quiet for a moment after an
answer, and the server is not at work: shutdown(2), on a copy of the server's descriptor that pidfd_getfd(2) gives. Its
client finds a kept connection closed, and asks on a new one, as all clients must (RFC 9112, 9.3.1).

Invariant: nothing is shut down but what has brought a new request since the switch. So what streams an answer, or has
been silent, is left alone: the drain and the server's own way of stopping see to it.
"""

import contextlib
import ctypes
import os
import socket
import threading
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import anyio
import psutil

from hotpipe.server import diag
from hotpipe.server.cutover import Cutover

_QUIET_MS = 8  # after an answer: longer than a server takes between the pieces of one
_LESS_QUIET_MS = 4  # a jiffy: for who leaves no longer pause
_HURRY_S = 0.5  # so long the longer pause is waited for
_LOOK_S = 0.004  # a jiffy: the kernel's times are no finer
_SETTLED_S = 0.1  # nobody has come back for so long
_LONGEST_S = 1.0
_PIDFD_GETFD = 438  # <asm-generic/unistd.h>


class _Place(NamedTuple):
    pid: int
    descriptor: int


async def turn_away(cutover: Cutover, number: int, pid: int) -> None:
    """Returns when no request has come on a connection of this process for a moment; after a second in any case.

    Does nothing where pidfd_getfd is not permitted (a seccomp filter, say).
    """
    asked = {each.mark: each.bytes_received for each in cutover.kept(number)}
    places: dict[int, _Place] = {}
    began = calm_since = anyio.current_time()
    with contextlib.suppress(PermissionError), anyio.move_on_after(_LONGEST_S):
        while anyio.current_time() - calm_since < _SETTLED_S:
            open_now = cutover.connections(number)
            if not open_now:
                return
            returning = [each for each in open_now if each.bytes_received > asked.get(each.mark, 0)]
            if returning:
                calm_since = anyio.current_time()
            quiet_ms = _QUIET_MS if anyio.current_time() - began < _HURRY_S else _LESS_QUIET_MS
            quiet = [each for each in returning if _is_quiet(each, quiet_ms)]
            if not {each.inode for each in quiet} <= places.keys():
                places = dict(_sockets(pid))
            for each in quiet:
                _shut(each, places.get(each.inode))
            await anyio.sleep(_LOOK_S)


def _is_quiet(each: diag.Connection, quiet_ms: int) -> bool:
    """The last word was the server's, all of it is on its way, and it was said a while ago.

    That the client has not acknowledged it says nothing: it does so together with its next request (delayed ACK).
    """
    answered = each.last_sent_ms <= each.last_received_ms and not each.rqueue and not each.unsent
    return answered and each.last_sent_ms >= quiet_ms


def _shut(each: diag.Connection, place: _Place | None) -> None:
    """Unless something has come meanwhile, or may be on its way. Raises PermissionError."""
    if place is None or _is_at_work(place.pid):
        return
    with _unless_gone(), _copy(place) as server_end:
        if os.fstat(server_end.fileno()).st_ino == each.inode and _is_unchanged(each):
            server_end.shutdown(socket.SHUT_RDWR)


def _is_at_work(pid: int) -> bool:
    """A thread of it runs, or would if there were a processor for it: the pause may be the scheduler's. proc(5)."""
    with contextlib.suppress(OSError):
        me = str(threading.get_native_id())
        return any(_state(pid, task) == b"R" for task in os.listdir(f"/proc/{pid}/task") if task != me)
    return False


def _state(pid: int, task: str) -> bytes:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{task}/stat", "rb") as file:
        return file.read().rpartition(b") ")[2][:1]  # the name before it may hold anything
    return b""


def _is_unchanged(before: diag.Connection) -> bool:
    return any(
        (now.bytes_received, now.bytes_sent, now.rqueue) == (before.bytes_received, before.bytes_sent, 0)
        for now in diag.look_again([before]) or ()
    )


@contextlib.contextmanager
def _unless_gone() -> Iterator[None]:
    """Who has closed it meanwhile, or ended, need not be turned away."""
    try:
        yield
    except PermissionError:
        raise
    except OSError:
        pass


@contextlib.contextmanager
def _copy(place: _Place) -> Iterator[socket.socket]:
    """A descriptor of another process, in ours. Raises OSError."""
    pidfd = os.pidfd_open(place.pid)
    try:
        descriptor = ctypes.CDLL(None, use_errno=True).syscall(_PIDFD_GETFD, pidfd, place.descriptor, 0)
        if descriptor < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    finally:
        os.close(pidfd)
    with socket.socket(fileno=descriptor) as copy:
        yield copy


def _sockets(pid: int) -> Iterator[tuple[int, _Place]]:
    """Where the process and those below it have which sockets, by inode: proc(5)."""
    for each in _tree(pid):
        with contextlib.suppress(OSError):
            for name in os.listdir(f"/proc/{each}/fd"):
                with contextlib.suppress(OSError):
                    kind, _, inode = os.readlink(f"/proc/{each}/fd/{name}").partition(":")
                    if kind == "socket":
                        yield int(inode.strip("[]")), _Place(each, int(name))


def _tree(pid: int) -> Iterable[int]:
    with contextlib.suppress(psutil.Error):
        return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    return []

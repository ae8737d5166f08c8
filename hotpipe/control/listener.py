"""The listening end of the control socket, in the running hotpipe.

Invariant: whatever a client sends, withholds or refuses to read costs that client its connection and nobody anything
else. The socket has mode 0600 before anybody could connect, and serves only its owner and root.
"""

import contextlib
import os
import select
import socket
import stat
import struct
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Self

import anyio
from anyio.abc import TaskStatus

from hotpipe.control import protocol
from hotpipe.control.address import reachable
from hotpipe.control.protocol import Answer, Request
from hotpipe.errors import AlreadyRunning, HotpipeError, UsageError


@dataclass(frozen=True, slots=True)
class Talk:
    """An answer that is the beginning of something longer: after it the connection carries bytes both ways, as `run`
    wants them."""

    answer: Answer
    run: Callable[["_Client"], Awaitable[None]]


Answering = Callable[[Request], Awaitable[Answer | Talk]]

HEAL_S = 2.0  # so often it is seen whether the socket's file is still there
PATIENCE_S = 5.0  # with a client that neither writes nor reads
_MOST_CLIENTS = 64  # at once; others wait in the kernel's queue, so that descriptors are left for servers
_MOST_STANDING = 256  # who wait for something, a verdict say
_BACKLOG = 128
_CHUNK = 1 << 14
_PAUSE_S = 0.1  # where a connection cannot be accepted: no descriptor is free
_PROBE_S = 1.0
_LOOK_S = 0.5
_UCRED = "3i"  # struct ucred of unix(7): pid, uid, gid


class _Gone(Exception):  # noqa: N818 - it is no error if a client leaves
    """The client has hung up, or is hung up on."""


async def serve(
    path: str,
    answer: Answering,
    patience_s: float = PATIENCE_S,
    *,
    on_removed: Callable[[], None] = lambda: None,
    task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Answer requests at `path` until cancelled; `answer` may raise HotpipeError to refuse one.

    A socket whose file is removed is replaced, after `on_removed` was called. Raises AlreadyRunning where somebody
    answers there already, HotpipeError where the socket cannot be opened.
    """
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(_bound(path))
        task_status.started()
        seats, standing = anyio.Semaphore(_MOST_CLIENTS), anyio.Semaphore(_MOST_STANDING)
        async with anyio.create_task_group() as clients:
            while True:
                await seats.acquire()
                while (connected := await _accept(listening, path)) is None:
                    listening = await _bound_again(stack, path, on_removed)
                clients.start_soon(_attend, _Client(connected, patience_s), answer, _Place(seats, standing))


async def _bound_again(stack: contextlib.ExitStack, path: str, on_removed: Callable[[], None]) -> socket.socket:
    stack.close()
    while True:
        with contextlib.suppress(HotpipeError, OSError):
            with contextlib.suppress(FileExistsError):
                os.mkdir(os.path.dirname(path))
            on_removed()
            return stack.enter_context(_bound(path))
        await anyio.sleep(HEAL_S)


async def _accept(listening: socket.socket, path: str) -> socket.socket | None:
    """The next one; None: nobody can come any more, for its file is gone."""
    while True:
        with anyio.move_on_after(HEAL_S):
            await anyio.wait_readable(listening)
        try:
            client, _ = listening.accept()
        except BlockingIOError:
            if not os.path.lexists(path):
                return None
        except OSError:
            await anyio.sleep(_PAUSE_S)
        else:
            client.setblocking(False)
            return client


async def _attend(client: "_Client", answer: Answering, place: "_Place") -> None:
    with client:
        talk = await _conversed(client, answer if client.is_allowed else _refuse, place)
        if talk is not None:
            await talk.run(client)
    place.leave()


async def _refuse(_: Request) -> Answer:
    raise HotpipeError("this hotpipe belongs to another user")


async def _conversed(client: "_Client", answer: Answering, place: "_Place") -> Talk | None:
    """Until the client has nothing more to ask, or wants to talk."""
    with contextlib.suppress(_Gone):
        try:
            while (line := await client.line()) is not None:
                if (talk := await _answered(client, line, answer, place)) is not None:
                    return talk
        except UsageError as error:
            await client.send(protocol.refused(error))
    return None


async def _answered(client: "_Client", line: bytes, answer: Answering, place: "_Place") -> Talk | None:
    try:
        given = await _answer_to(protocol.decode(line), client, answer, place)
    except HotpipeError as error:
        await client.send(protocol.refused(error))
        return None
    talk = given if isinstance(given, Talk) else None
    await client.send(protocol.answered(given.answer if isinstance(given, Talk) else given))
    return talk


async def _answer_to(request: Request, client: "_Client", answer: Answering, place: "_Place") -> Answer | Talk:
    """Who waits, or talks, may stay for hours, and must not keep others from asking for the status."""
    if request.timeout_s:
        place.stand()
        return await _late_answer(request, client, answer)
    given = await answer(request)
    if isinstance(given, Talk):
        place.stand()
    return given


async def _late_answer(request: Request, client: "_Client", answer: Answering) -> Answer | Talk:
    """The answer, unless the client hangs up before; raises _Gone."""
    given: Answer | Talk | HotpipeError | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(client.end, tasks.cancel_scope)
        try:
            given = await answer(request)
        except HotpipeError as error:  # raised below: a task group would wrap it
            given = error
        tasks.cancel_scope.cancel()
    if given is None:
        raise _Gone
    if isinstance(given, HotpipeError):
        raise given
    return given


class _Place:
    """Where a client is: it has a seat, until it waits for something. Then it stands, and keeps nobody from a seat."""

    def __init__(self, seats: anyio.Semaphore, standing: anyio.Semaphore) -> None:
        self._taken = seats
        self._standing = standing

    def stand(self) -> None:
        """Raises HotpipeError where too many stand already."""
        if self._taken is self._standing:
            return
        try:
            self._standing.acquire_nowait()
        except anyio.WouldBlock:
            raise HotpipeError(f"{_MOST_STANDING} wait for this hotpipe already") from None
        self._taken.release()
        self._taken = self._standing

    def leave(self) -> None:
        self._taken.release()


class _Client:
    """A connection, line by line."""

    def __init__(self, connected: socket.socket, patience_s: float) -> None:
        self._socket = connected
        self._patience_s = patience_s
        self._rest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    @property
    def is_allowed(self) -> bool:
        """It is the owner of this hotpipe, or root."""
        if not hasattr(socket, "SO_PEERCRED"):  # the mode of the file has to do
            return True
        peer = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize(_UCRED))
        return struct.unpack(_UCRED, peer)[1] in (0, os.geteuid())

    async def line(self) -> bytes | None:
        """The next request; None when there is none any more. Raises UsageError for one that is endless, _Gone."""
        with anyio.move_on_after(self._patience_s):
            return await self._whole_line()
        if self._rest:
            raise UsageError(f"a request ends with a newline; none came within {self._patience_s:g} s")
        return None

    async def send(self, line: bytes) -> None:
        """All of it; raises _Gone."""
        try:
            with anyio.fail_after(self._patience_s):
                while line:
                    await anyio.wait_writable(self._socket)
                    line = line[self._sent(line) :]
        except (OSError, TimeoutError) as error:
            raise _Gone from error

    async def receive(self) -> bytes:
        """What has come, however long that takes; empty when nothing comes any more."""
        rest, self._rest = self._rest, b""
        with contextlib.suppress(_Gone):
            return rest or await self._received()
        return b""

    async def transmit(self, chunk: bytes) -> bool:
        """All of it, however long that takes; false where there is nobody any more."""
        with contextlib.suppress(OSError):
            while chunk:
                await anyio.wait_writable(self._socket)
                chunk = chunk[self._sent(chunk) :]
            return True
        return False

    async def end(self, scope: anyio.CancelScope) -> None:
        """Cancel `scope` when the client has hung up. One that has only sent its last request (shutdown(2)) has not."""
        hung_up = select.poll()
        hung_up.register(self._socket, 0)  # POLLHUP: both directions are closed
        while not hung_up.poll(0):
            await anyio.wait_readable(self._socket)
            if not hung_up.poll(0):
                await anyio.sleep(_LOOK_S)  # the next request, or the end of all requests: it stays readable
        scope.cancel()

    async def _whole_line(self) -> bytes | None:
        while b"\n" not in self._rest and len(self._rest) <= protocol.LARGEST:
            chunk = await self._received()
            if not chunk:  # the last line may lack its end
                line, self._rest = self._rest, b""
                return line or None
            self._rest += chunk
        line, _, self._rest = self._rest.partition(b"\n")
        if len(line) > protocol.LARGEST:
            raise UsageError(f"a request may have {protocol.LARGEST} bytes")
        return line

    async def _received(self) -> bytes:
        while True:
            await anyio.wait_readable(self._socket)
            try:
                return self._socket.recv(_CHUNK)
            except BlockingIOError:
                continue
            except OSError as error:
                raise _Gone from error

    def _sent(self, line: bytes) -> int:
        try:
            return self._socket.send(line)
        except BlockingIOError:
            return 0


@contextlib.contextmanager
def _bound(path: str) -> Iterator[socket.socket]:
    """A socket that listens at `path`, which disappears at the end if it is still the same."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.setblocking(False)
        try:
            with reachable(path) as name:
                _make_way(path, name)
                _bind(listening, name)
                ours = _identity(path)
                listening.listen(_BACKLOG)
        except OSError as error:
            raise HotpipeError(f"cannot open the control socket {path}: {error.strerror or error}") from error
        try:
            yield listening
        finally:
            with contextlib.suppress(OSError):  # while it is open, nothing else can get its inode
                if _identity(path) == ours:
                    os.unlink(path)


def _bind(listening: socket.socket, name: str) -> None:
    with contextlib.suppress(OSError):
        os.fchmod(listening.fileno(), 0o600)  # Linux creates the file with the mode of the socket's own inode
    listening.bind(name)
    os.chmod(name, 0o600)  # elsewhere; nobody can connect before listen


def _make_way(path: str, name: str) -> None:
    """Remove what a killed hotpipe left; raises AlreadyRunning, HotpipeError, OSError."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise HotpipeError(f"what stands at {path} is no socket", hint=f"remove {path}")
    except FileNotFoundError:
        return
    if _answers(name):
        raise AlreadyRunning(f"another hotpipe answers at {path}", hint="end it with `hotpipe stop`")
    os.unlink(path)


def _answers(name: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_PROBE_S)
        try:
            probe.connect(name)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except (TimeoutError, BlockingIOError):  # its queue is full
            return True
    return True


def _identity(path: str) -> tuple[int, int]:
    found = os.lstat(path)
    return found.st_dev, found.st_ino

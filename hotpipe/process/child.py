"""One started program: its output line by line, and its end.

How it works: posix_spawn places the descriptors in the child alone (no code of ours runs between fork and exec), in a
session of its own; a pidfd tells the end without SIGCHLD, so nothing else in the process can reap it first.

Its output comes through pipes, or through a pty for each stream, so that none is taken for the other. A pty's end is
EIO, pty(7); and a read that would block means that nothing is there, for Linux's looks into the queue between the ends
first (n_tty_read).
"""

import contextlib
import errno
import fcntl
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import NamedTuple

import anyio
import anyio.lowlevel
import anyio.to_thread

from hotpipe.errors import SpawnError
from hotpipe.events import Stream
from hotpipe.process.command import COOKIE, Command
from hotpipe.process.lines import LONGEST_LINE, Lines, OnLine
from hotpipe.process.terminal import Terminal, Terminals, Window, resize

__all__ = ["LONGEST_LINE", "Child", "Exit", "OnLine"]

_LOOK_S = 0.02
_CHUNK = 1 << 14  # bytes; of the shortest lines so many that the loop is not kept from anything else
_BURST = 1 << 10  # bytes; whoever writes so much has more to say, and a pty gives 4 kB a time
_OFTEN = 40  # reads a second
_SPREE = 100  # so many more may come at once: a long traceback does, and its end must not be late
_REST_S = 0.02  # a buffer of 64 kB is not full by then
_REST = 1 << 22  # bytes that are still read from a pipe after the program's end
_FIRST_SOCKET = 3  # SD_LISTEN_FDS_START
_NO_PAGER = {"PAGER": "cat", "GIT_PAGER": "cat"}  # at a terminal git starts one, which waits for keys without end
_OWN_SIGNALS = (signal.SIGPIPE, signal.SIGXFSZ)  # CPython ignores them; a child should not


class Exit(NamedTuple):
    """How a program ended: with a status, or by a signal (its name without SIG)."""

    code: int | None
    signal: str | None

    @property
    def returncode(self) -> int:
        """As subprocess has it: -N for signal N."""
        return -_signal_number(self.signal) if self.signal else self.code or 0

    def __str__(self) -> str:
        return f"killed by SIG{self.signal}" if self.signal else f"exited with status {self.code}"


_UNKNOWN = Exit(255, None)


class Child:
    """A program that was started. Its pid is also its process group and its session. `terminal` is where it is typed
    to, if anywhere."""

    def __init__(self, command: Command, cookie: str, terminals: Terminals | None = None) -> None:
        """Start it; raises SpawnError. Where no terminal can be had, it does with pipes."""
        self.cookie = cookie
        self._exit: Exit | None = None
        ptys = terminals.open(2) if terminals is not None and command.tty != "nothing" else None
        (out, out_end), (err, err_end) = ptys or _pipes(command)
        self._has_ptys = ptys is not None
        self._pipes: dict[Stream, int] = {"stdout": out, "stderr": err}
        self.terminal = Terminal(out) if ptys and command.tty == "all" else None
        try:
            env = {**command.env, **(_NO_PAGER if ptys else {})}
            env[COOKIE] = env.get(COOKIE, "") + cookie  # after those of hotpipes around this one
            self.pid = _spawn(command, env, (out_end if self.terminal else None, out_end, err_end))
        except OSError as error:
            self.close()
            hint = "its first line must name an interpreter: #!/bin/sh" if error.errno == errno.ENOEXEC else ""
            raise SpawnError(f"cannot run `{command}`: {error.strerror}", hint=hint) from error
        except SpawnError:
            self.close()
            raise
        finally:
            os.close(out_end)
            os.close(err_end)
        for pipe in self._pipes.values():
            os.set_blocking(pipe, False)

    @property
    def exit(self) -> Exit | None:
        """How it ended, or None while it lives."""
        if self._exit is None:
            try:
                self._settle(*os.waitpid(self.pid, os.WNOHANG))
            except ChildProcessError:  # reaped by somebody else, which only a defect can do: never take it for success
                self._exit = _UNKNOWN
        return self._exit

    async def finish(self, on_line: OnLine) -> Exit:
        """Give each line of output to `on_line` until the program ends; who holds its pipes longer is not heard."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.hear, on_line)
            ended = await self.wait()
            tasks.cancel_scope.cancel()
        return ended

    async def hear(self, on_line: OnLine) -> None:
        """Give each line of output to `on_line`, also of those that live on after the program; until cancelled."""
        try:
            async with anyio.create_task_group() as tasks:
                for stream, pipe in self._pipes.items():
                    tasks.start_soon(self._pump, pipe, stream, on_line)
        finally:
            self.close()

    async def wait(self) -> Exit:
        """Until the program ends (pidfd_open(2): readable then). Any number of tasks may wait."""
        while (ended := self.exit) is None:
            try:
                pidfd = os.pidfd_open(self.pid)
            except AttributeError:  # not Linux
                await self._wait_in_thread()
            except OSError:  # no descriptor is left, or it has just been reaped: `exit` knows
                await anyio.sleep(_LOOK_S)
            else:
                await _readable_once(pidfd)
        return ended

    def close(self) -> None:
        """Hear no more of its output."""
        for pipe in self._pipes.values():
            os.close(pipe)
        self._pipes = {}
        if self.terminal is not None:
            self.terminal.close()

    def resize(self, window: Window) -> None:
        """Its terminals, where it has some, are of this size now."""
        if self._has_ptys:
            resize(self._pipes.values(), window)

    async def _pump(self, pipe: int, stream: Stream, on_line: OnLine) -> None:
        lines = Lines(stream, on_line)
        if self.terminal is not None:
            lines.on_wait = self.terminal.waits
        try:
            async for chunk in _chunks(pipe, lines):
                if self.terminal is not None and chunk:
                    self.terminal.heard(stream, chunk)
                lines.add(chunk)
        finally:
            for chunk in _at_once(pipe, _REST):
                lines.add(chunk)
            lines.end()

    async def _wait_in_thread(self) -> None:
        pid, status = await anyio.to_thread.run_sync(os.waitpid, self.pid, 0, abandon_on_cancel=True)
        self._settle(pid, status)

    def _settle(self, pid: int, status: int) -> None:
        if pid == self.pid:
            code = os.waitstatus_to_exitcode(status)
            self._exit = Exit(code, None) if code >= 0 else Exit(None, _signal_name(-code))


def _pipes(command: Command) -> list[tuple[int, int]]:
    """For its output; raises SpawnError, and then none is open: where no descriptors are left, say."""
    made: list[tuple[int, int]] = []
    try:
        made.extend(os.pipe2(os.O_CLOEXEC) for _ in range(2))
    except OSError as error:
        for end in (end for pipe in made for end in pipe):
            os.close(end)
        raise SpawnError(f"cannot run `{command}`: {error.strerror}") from error
    return made


def _spawn(command: Command, env: dict[str, str], standard: tuple[int | None, int, int]) -> int:
    """`standard` are its standard descriptors; without one for its input it reads nothing."""
    typed, out, err = standard
    argv = command.argv()
    first_free = _FIRST_SOCKET + len(command.sockets)
    # Out of the way first: dup2 onto itself would leave a descriptor closed on exec.
    sockets = [fcntl.fcntl(s, fcntl.F_DUPFD_CLOEXEC, first_free) for s in command.sockets]
    if sockets:
        env["LISTEN_FDS"] = str(len(sockets))
    actions: list[tuple[int, int, str, int, int] | tuple[int, int, int]] = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0) if typed is None else (os.POSIX_SPAWN_DUP2, typed, 0),
        (os.POSIX_SPAWN_DUP2, out, 1),
        (os.POSIX_SPAWN_DUP2, err, 2),
        *((os.POSIX_SPAWN_DUP2, s, _FIRST_SOCKET + i) for i, s in enumerate(sockets)),
    ]
    try:
        spawn = partial(os.posix_spawn, file_actions=actions, setsid=True, setsigmask=(), setsigdef=_OWN_SIGNALS)
        try:
            return spawn(argv[0], argv, env)
        except UnicodeEncodeError:  # the locale lacks a character of the configuration, which is UTF-8
            octets = {_octets(name): _octets(text) for name, text in env.items()}
            return spawn(_octets(argv[0]), [*map(_octets, argv)], octets)
    finally:
        for s in sockets:
            os.close(s)


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


async def _readable_once(descriptor: int) -> None:
    try:
        await anyio.wait_readable(descriptor)
    finally:
        os.close(descriptor)


async def _chunks(pipe: int, lines: Lines) -> AsyncIterator[bytes]:
    """What is written, and nothing at all where `lines` wants to know that time has passed."""
    rhythm = Rhythm()
    while True:
        with anyio.move_on_after(lines.pause_s) as waiting:
            await anyio.wait_readable(pipe)
        if waiting.cancelled_caught:
            yield b""
            continue
        with contextlib.suppress(BlockingIOError):
            if not (chunk := _read(pipe)):
                return
            chunk += b"".join(_at_once(pipe, _CHUNK)) if len(chunk) >= _BURST else b""
            yield chunk
            if rhythm.is_fast() and len(chunk) < _CHUNK:  # else it may wait for room to write
                await anyio.sleep(_REST_S)


class Rhythm:
    """Whether a program writes so often, and has for a while, that it is cheaper to let some of it gather."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._reads = 0.0  # beyond `_OFTEN` a second
        self._last = clock()

    def is_fast(self) -> bool:
        """After one more read."""
        now = self._clock()
        self._reads = min(_SPREE, max(0.0, self._reads - (now - self._last) * _OFTEN) + 1)
        self._last = now
        return self._reads >= _SPREE - 1


def _at_once(pipe: int, most: int) -> Iterator[bytes]:
    """What is in it at this moment, so many bytes or a bit more."""
    size = 0
    with contextlib.suppress(BlockingIOError):
        while size < most and (chunk := _read(pipe)):
            size += len(chunk)
            yield chunk


def _read(pipe: int) -> bytes:
    """What is there; nothing at the end. Raises BlockingIOError."""
    try:
        return os.read(pipe, _CHUNK)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return b""


def _signal_number(name: str) -> int:
    return int(name) if name.isdigit() else signal.Signals[f"SIG{name}"].value


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name.removeprefix("SIG")
    except ValueError:  # a real-time signal
        return str(number)

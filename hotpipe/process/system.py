"""`Processes`: what the halves may ask of the operating system. `System` asks the real one.

Invariant: when `stop` returns, nothing that descends from the child is alive; when `close` returns, nothing is that
hotpipe ever started.
"""

import contextlib
import ctypes
import os
import signal
import sys
from typing import Protocol

import anyio
import anyio.to_thread
import psutil

from hotpipe.errors import HotpipeError, SpawnError
from hotpipe.process import kin
from hotpipe.process.child import Child, Exit, OnLine
from hotpipe.process.command import Command
from hotpipe.process.journal import Journal
from hotpipe.process.terminal import Terminal, Terminals, Window

_STANDARD_ERROR = 2
_LOOK_AGAIN_S = 0.005
_TIDY_PATIENCE_S = 1.0
_KILL_PATIENCE_S = 5.0  # a process in uninterruptible sleep outlives even SIGKILL for a while
_ROUNDS = 20  # of looking for what forked while it was being killed
_PR_SET_CHILD_SUBREAPER = 36  # <sys/prctl.h>


class Running(Protocol):
    """A started program, as the halves see it."""

    pid: int
    cookie: str
    terminal: Terminal | None

    @property
    def exit(self) -> Exit | None: ...
    async def finish(self, on_line: OnLine) -> Exit: ...
    async def hear(self, on_line: OnLine) -> None: ...
    async def wait(self) -> Exit: ...


class Processes(Protocol):
    """Start programs and end them."""

    def spawn(self, command: Command) -> Running:
        """Raises SpawnError."""
        ...

    async def stop(self, child: Running, with_signal: str, grace_s: float) -> bool:
        """End the child and all that descends from it; true if some of it had to be killed."""
        ...

    async def tidy(self, child: Running) -> None:
        """End what a finished child left in its session; daemons that made their own live until `close`."""
        ...


class System:
    """The real thing: Linux; other POSIX systems without the subreaper and the cookie."""

    def __init__(self, folder: str | None = None, terminals: Terminals | None = None) -> None:
        """`folder` is where a journal is kept of what is spawned: see `journal`. Without `terminals` all children write
        to pipes."""
        if os.name != "posix":
            raise HotpipeError("hotpipe needs a POSIX system", hint="on Windows, run it inside WSL 2")
        self._children: dict[int, Child] = {}
        self._prefix = f"{os.getpid()}.{os.urandom(6).hex()}."
        self._count = 0
        self._is_closed = False
        self._terminals = terminals
        self._everyone = kin.Everyone(self._prefix)
        self._journal = Journal(folder, self._prefix) if folder is not None else None
        _close_on_exec()
        self._adopts = _become_subreaper()

    def spawn(self, command: Command) -> Child:
        if self._is_closed:
            raise SpawnError(f"cannot run `{command}`: hotpipe is ending")
        self._count += 1
        child = Child(command, f"{self._prefix}{self._count};", self._terminals)
        self._children[child.pid] = child
        if self._journal is not None:
            self._journal.spawned(child.pid)
        return child

    def resize(self, window: Window) -> None:
        """The user's terminal is of this size now, and so are those of all children."""
        if self._terminals is not None:
            self._terminals.window = window
        for child in self._children.values():
            child.resize(window)

    async def stop(self, child: Running, with_signal: str, grace_s: float) -> bool:
        """The ladder: the child's own signal and `grace_s`, then SIGKILL."""
        started = self._children.get(child.pid)
        if started is None:
            return False
        family = kin.Family(child.pid, started.cookie)
        with anyio.move_on_after(grace_s):
            await self._end(started, family, getattr(signal, f"SIG{with_signal}"))
            return False
        with anyio.move_on_after(_KILL_PATIENCE_S):
            await self._end(started, family, signal.SIGKILL)
        return True

    async def tidy(self, child: Running) -> None:
        finished = self._children.get(child.pid)
        if finished is None:
            return
        if self._adopts and finished.exit is not None and not kin.has_strays(self._children):
            self._gone(finished)
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            with anyio.move_on_after(_TIDY_PATIENCE_S):
                await self._end(finished, kin.Session(child.pid), number)
                return

    async def close(self) -> None:
        """Kill whatever is left of all that was ever started, the daemons of finished children too; nothing is started
        any more: who would end it?"""
        self._is_closed = True
        for child in list(self._children.values()):
            await self.stop(child, "KILL", _KILL_PATIENCE_S)
        left = [psutil.Process()]
        with anyio.move_on_after(_KILL_PATIENCE_S):
            while left := await anyio.to_thread.run_sync(self._everyone.living):
                for process in left:
                    _signal(process, signal.SIGKILL)
                await anyio.sleep(_LOOK_AGAIN_S)
        kin.bury(self._children)
        if self._journal is not None and not left:
            self._journal.close()

    def kill_at_once(self) -> None:
        """No grace, no waiting for the loop: SIGKILL to all that was ever started, for the second Ctrl-C."""
        for _ in range(_ROUNDS):
            left = self._everyone.living()
            for process in left:
                _signal(process, signal.SIGKILL)
            if not left:
                break

    async def _end(self, child: Child, members: kin.Session, number: int) -> None:
        """Signal each process group once (with SIGKILL: until it works), and wait until nobody is left."""
        told: set[int] = set()
        living = await anyio.to_thread.run_sync(members.living)  # before a death makes orphans, who are hard to place
        # Who has died unseen may have forked just before: then it takes another look.
        while living or (child.exit is not None and kin.bury(self._children)):
            for group in members.groups - told:
                _signal_group(group, number)
                _signal_group(group, signal.SIGCONT)  # who stands still would not hear it: systemd.kill(5)
            if number != signal.SIGKILL:  # what a program starts to clean up is not told: it may finish
                told |= members.groups
            await _pause(child)
            living = await anyio.to_thread.run_sync(members.living)
        await child.wait()
        self._gone(child)

    def _gone(self, child: Child) -> None:
        self._children.pop(child.pid, None)
        if self._journal is not None:
            self._journal.gone(child.pid)


async def _pause(child: Child) -> None:
    """Until it is worth looking again."""
    with anyio.move_on_after(_LOOK_AGAIN_S):
        if child.exit is None:
            await child.wait()
        else:
            await anyio.sleep(_LOOK_AGAIN_S)


def _signal_group(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # PermissionError: macOS, if only zombies are left
        os.killpg(group, number)


def _signal(process: psutil.Process, number: int) -> None:
    with contextlib.suppress(psutil.Error):
        process.send_signal(number)


def _close_on_exec() -> None:
    """Descriptors that hotpipe inherited are not for its children; PEP 446 sees to all others."""
    for name in os.listdir("/dev/fd"):
        with contextlib.suppress(OSError):
            if int(name) > _STANDARD_ERROR:
                os.set_inheritable(int(name), False)


def _become_subreaper() -> bool:
    """Whether orphans become children of this process from now on."""
    if sys.platform != "linux":
        return False
    return bool(ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)

"""The composition root: picks the platform, the halves and the face, and runs them in one task group.

The first SIGINT, SIGTERM or SIGHUP stops everything in order; a second one kills at once, and so does SIGQUIT.
"""

import os
import signal
import sys
from dataclasses import dataclass, field

import anyio
import anyio.to_thread

from hotpipe.bus import Bus, Inbox
from hotpipe.config.file import Project
from hotpipe.events import Ending, RunFinished, Warned
from hotpipe.gate.loop import Gate
from hotpipe.process.system import System
from hotpipe.server import sockets
from hotpipe.server.generation import Setting
from hotpipe.server.loop import ServerLoop
from hotpipe.server.sockets import Held
from hotpipe.server.touches import Touches
from hotpipe.tree.ignore import Ignore
from hotpipe.tree.sweep import Snapshot
from hotpipe.tree.watcher import Watcher
from hotpipe.ui.face import Face, show

INTERRUPTED = 130
_SWITCH_S = 0.0005  # a sweep in its thread gives way to the loop this soon; CPython's 5 ms would delay every save
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


@dataclass(frozen=True, slots=True)
class Job:
    """What to run: which halves, and which runs end it (`first`: any; `green`: a green one; else only a signal)."""

    project: Project
    face: Face
    gate: bool = False
    serve: bool = False
    touch: bool = True
    ends: frozenset[str] = field(default_factory=frozenset)


def run(job: Job) -> int:
    """Run the job to its end and return the exit code; raises HotpipeError where it cannot begin."""
    os.chdir(job.project.root)
    sys.setswitchinterval(_SWITCH_S)
    held = _open_sockets(job)
    try:
        return anyio.run(_run, job, held)
    finally:
        for opened in held.values():
            sockets.close_all(opened)


def _open_sockets(job: Job) -> dict[str, tuple[Held, ...]]:
    opened: dict[str, tuple[Held, ...]] = {}
    try:
        for name, server in job.project.config.server.items() if job.serve else ():
            opened[name] = sockets.open_all(server)
    except Exception:
        for earlier in opened.values():
            sockets.close_all(earlier)
        raise
    return opened


async def _run(job: Job, held: dict[str, tuple[Held, ...]]) -> int:
    bus = Bus()
    verdicts = bus.subscribe()
    session = _Session(job, held, bus)
    async with anyio.create_task_group() as faces:
        faces.start_soon(session.show, bus.subscribe())
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(session.obey_signals)
                tasks.start_soon(session.judge, verdicts)
                await session.work()
                tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await session.processes.close()
            bus.close()
    return session.exit_code


class _Session:
    """One run of hotpipe."""

    def __init__(self, job: Job, held: dict[str, tuple[Held, ...]], bus: Bus) -> None:
        self.job = job
        self.bus = bus
        self.processes = System()
        self.exit_code = 0
        self._stopping = False
        self._reading = anyio.CancelScope()  # the tree for the first time, which can take long
        config, triggers = job.project.config, job.project.config.triggers()
        self._gate = Gate(job.project, self.processes, bus.emit, triggers if job.touch else {}) if job.gate else None
        self._watcher = (
            Watcher(job.project.root, config.watch, _never(job.project), self._gate.changed, bus.emit)
            if self._gate
            else None
        )
        self._servers = [self._server(name, triggers[name], held[name]) for name in held]

    async def work(self) -> None:
        """Both halves, until they are told to stop."""
        async with anyio.create_task_group() as watching:
            if self._watcher is not None:
                with self._reading:
                    await watching.start(self._watcher.run)
            async with anyio.create_task_group() as halves:
                for server in self._servers:
                    halves.start_soon(server.run)
                if self._gate is not None and self._watcher is not None:
                    self._gate.request(self._watcher.tree)
                    halves.start_soon(self._gate.run, self._watcher)
            watching.cancel_scope.cancel()

    async def obey_signals(self) -> None:
        """Stop at the first signal, kill at the second."""
        # An ignored SIGHUP is nohup(1)'s word. An ignored SIGINT is only a shell's habit with background jobs.
        ignored = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else set()
        heeded = [number for number in _SIGNALS if number not in ignored]
        with anyio.open_signal_receiver(*heeded) as received:
            async for number in received:
                if self._stopping or number == signal.SIGQUIT:
                    self.processes.kill_at_once()
                    os._exit(INTERRUPTED)
                self.bus.emit(Ending())
                self.stop(INTERRUPTED if number == signal.SIGINT else 0)

    async def judge(self, inbox: Inbox) -> None:
        """End after the run that the job waits for."""
        async for batch in inbox.batches():
            for stamped in batch:
                match stamped.event:
                    case RunFinished(status=status) if status in self.job.ends:
                        self.stop(0 if status == "green" else 1)
                    case Warned(code="trigger.unwritable") if self.job.ends:
                        self.stop(1)

    async def show(self, inbox: Inbox) -> None:
        """Feed the face; when nobody reads it any more, that is the end."""
        try:
            await show(self.job.face, inbox)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python's own flush at exit would fail too, with status 120
            if not self.job.ends:  # who waits for a verdict gets it as the exit code, read or not
                self.stop(0)
            async for _ in inbox.batches():
                pass

    def stop(self, exit_code: int) -> None:
        """Tell both halves to end, in order; the first exit code counts."""
        if self._stopping:
            return
        self._stopping, self.exit_code = True, exit_code
        self._reading.cancel()
        for half in (self._gate, *self._servers):
            if half is not None:
                half.stop()

    def _server(self, name: str, trigger: str, held: tuple[Held, ...]) -> ServerLoop:
        project = self.job.project
        setting = Setting(project, name, project.config.server[name], held, self.processes, self.bus.emit)
        return ServerLoop(setting, Touches(project.path(trigger), self.bus.emit), self._identify)

    async def _identify(self) -> str:
        """The id of the tree on disk: as watched, or read afresh where nobody watches."""
        if self._watcher is not None:
            return self._watcher.tree
        return await anyio.to_thread.run_sync(_tree_now, self.job.project)


def _tree_now(project: Project) -> str:
    ignore = Ignore(project.root, extra=project.config.watch.ignore, never=_never(project))
    snapshot = Snapshot(project.root, project.config.watch.paths, ignore)
    snapshot.refresh({""})
    return snapshot.tree


def _never(project: Project) -> tuple[str, ...]:
    """What is never watched: the triggers and what is prepared beside them, and where our own output goes."""
    triggers = (path for t in project.config.triggers().values() for path in (t, f"{t}.{os.getpid()}.tmp"))
    outputs = (os.path.relpath(os.path.realpath(f"/dev/fd/{d}"), os.path.realpath(project.root)) for d in (1, 2))
    return (*triggers, *(path for path in outputs if not path.startswith("..")))

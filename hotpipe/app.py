"""The composition root: picks the platform, the halves and the face, and runs them in one task group.

The first SIGINT, SIGTERM or SIGHUP stops everything in order; a second one kills at once, and so does SIGQUIT.
"""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import anyio
from anyio.abc import TaskGroup

from hotpipe.bus import Bus, Inbox
from hotpipe.config.file import Project
from hotpipe.config.model import nearest
from hotpipe.control import Request, Restarting, Status, Stopping
from hotpipe.control import listener as control
from hotpipe.control.protocol import Answer
from hotpipe.control.standing import Standing
from hotpipe.daemon import Started
from hotpipe.errors import HotpipeError, UsageError
from hotpipe.events import Ending, RunFinished, Warned
from hotpipe.gate.cache import Cache
from hotpipe.gate.loop import Gate
from hotpipe.gate.loop import Setting as GateSetting
from hotpipe.history import History, record
from hotpipe.instance import FOLDER, Instance, Role, claim
from hotpipe.process.journal import Recovered, recover
from hotpipe.process.system import System
from hotpipe.server.cutover import Cutover
from hotpipe.server.generation import Setting
from hotpipe.server.loop import ServerLoop
from hotpipe.server.opening import Opened, open_sockets
from hotpipe.server.touches import Touches
from hotpipe.tree.glances import Glances, OnChange
from hotpipe.tree.ignore import Ignore
from hotpipe.tree.watcher import Change, Watcher
from hotpipe.ui import systemd
from hotpipe.ui.face import Face, show

INTERRUPTED = 130
CACHE = os.path.join(FOLDER, "cache")
_SWITCH_S = 0.0005  # a sweep in its thread gives way to the loop this soon; CPython's 5 ms would delay every save
_ECHO_S = 0.05  # timeout(1) and some supervisors signal twice: the process, and its group
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


@dataclass(frozen=True, slots=True)
class Job:
    """What to run: which halves, in which role (none: beside any other hotpipe), and which runs end it (none of them:
    only a signal does).

    `changed` are the paths that count as changed, relative to the root and as from `os.fsdecode`: a stage none of whose
    inputs is among them is skipped (none: all count). `cache` is the folder of the cache, relative to the root or
    absolute; empty: nothing is remembered, and nothing that was is believed.
    """

    project: Project
    face: Face
    gate: bool = False
    serve: bool = False
    touch: bool = True
    role: Role | None = None
    ends: frozenset[str] = field(default_factory=frozenset)
    changed: tuple[str, ...] | None = None
    cache: str = CACHE


def run(job: Job, started: Started | None = None) -> int:
    """Run the job to its end and return the exit code; raises HotpipeError where it cannot begin.

    `started` is told when nothing can keep it from beginning any more.
    """
    os.chdir(job.project.root)
    sys.setswitchinterval(_SWITCH_S)
    upward = systemd.Link.of(os.environ, os.getpid())
    with contextlib.ExitStack() as place:
        instance = place.enter_context(claim(job.project.root, job.role)) if job.role is not None else None
        recovered = recover(os.path.join(job.project.root, FOLDER)) if instance is not None else []
        opened = place.enter_context(open_sockets(job.project.config.server if job.serve else {}, job.project.root))
        if started is not None:
            started.ok()
        return anyio.run(_run, job, _Place(instance, recovered, opened, upward))


@dataclass(frozen=True, slots=True)
class _Place:
    """What is held for as long as hotpipe runs, and what taking it has shown."""

    instance: Instance | None
    recovered: list[Recovered]
    opened: Opened
    upward: systemd.Link | None

    def warnings(self) -> Iterator[Warned]:
        yield from self.opened.warnings
        if self.instance is not None:
            yield from self.instance.warnings
        for left in self.recovered:
            done = "stopped it" if left.ended else "it cannot be stopped"
            message = f"an earlier hotpipe was killed and left process {left.pid} ({left.name}): {done}"
            yield Warned(code="recovered", message=message)


async def _run(job: Job, place: _Place) -> int:
    bus = Bus()
    verdicts = bus.subscribe()
    session = _Session(job, place, bus)
    async with anyio.create_task_group() as faces:
        faces.start_soon(session.show, bus.subscribe())
        faces.start_soon(record, session.history, bus.subscribe())
        if place.upward is not None:
            faces.start_soon(systemd.speak, place.upward, systemd.Upward(tuple(place.opened.cutovers)), bus.subscribe())
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(session.obey_signals)
                tasks.start_soon(session.judge, verdicts)
                await session.open_control(tasks)
                await session.work()
                tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await session.processes.close()
            bus.close()
    return session.exit_code


class _Session:
    """One run of hotpipe."""

    def __init__(self, job: Job, place: _Place, bus: Bus) -> None:
        self.job = job
        self.bus = bus
        self._instance = place.instance
        self.processes = System(os.path.join(job.project.root, FOLDER) if place.instance is not None else None)
        self.exit_code = 0
        self._stopping = False
        self._told_at = 0.0
        self._reading = anyio.CancelScope()  # the tree for the first time, which can take long
        self.history = History(os.path.join(job.project.root, FOLDER))
        config, triggers = job.project.config, job.project.config.triggers()
        self._gate = Gate(job.project, triggers if job.touch else {}, self._setting()) if job.gate else None
        self._watcher = (
            Watcher(job.project.root, config.watch, _never(job.project), self._changed, bus.emit)
            if self._gate
            else None
        )
        self._glances = _glances(job.project, self._written)
        cutovers = place.opened.cutovers
        self._servers = [self._server(name, triggers[name], cutover) for name, cutover in cutovers.items()]
        self._standing = Standing({name: cutover.addresses for name, cutover in cutovers.items()})
        self._warnings = place.warnings()

    def _setting(self) -> GateSetting:
        project, folder = self.job.project, self.job.cache
        size = project.config.gate.cache_size
        cache = Cache(os.path.join(project.root, folder), size, self.bus.emit) if folder else None
        return GateSetting(self.processes, self.bus.emit, cache, self.history.medians())

    async def open_control(self, tasks: TaskGroup) -> None:
        """Answer `hotpipe status`, `stop` and `restart`; without a socket for it, that is a warning."""
        if self._instance is None or self._instance.socket is None:
            return
        try:
            await tasks.start(control.serve, self._instance.socket, self._answer)
        except HotpipeError as error:
            self.bus.emit(Warned(code="control.unavailable", message=error.message, hint=error.hint))

    async def _answer(self, request: Request) -> Answer:
        role = self._instance.role if self._instance is not None else ""
        match request.verb:
            case "status":
                standing, root = self._standing, self.job.project.root
                return Status(pid=os.getpid(), role=role, root=root, run=standing.run, servers=standing.servers)
            case "stop":
                self.bus.emit(Ending())
                self.stop(0)
                return Stopping(pid=os.getpid(), role=role)
            case "restart":
                return self._restart(request.servers)

    def _restart(self, names: tuple[str, ...]) -> Restarting:
        known = {server.name: server for server in self._servers}
        for name in names:
            if name not in known:
                raise UsageError(f"there is no server {name!r} here{nearest(name, known)}")
        chosen = names or tuple(known)
        for name in chosen:
            known[name].restart()
        return Restarting(servers=chosen)

    async def work(self) -> None:
        """Both halves, until they are told to stop."""
        for warning in self._warnings:
            self.bus.emit(warning)
        async with anyio.create_task_group() as watching:
            if self._watcher is not None:
                with self._reading:
                    await watching.start(self._watcher.run)
            async with anyio.create_task_group() as halves:
                for server in self._servers:
                    halves.start_soon(server.run)
                if self._gate is not None and self._watcher is not None:
                    changed = None if self.job.changed is None else frozenset(self.job.changed)
                    self._gate.request(self._watcher.tree, changed)
                    halves.start_soon(self._gate.run, self._watcher)
            watching.cancel_scope.cancel()

    async def obey_signals(self) -> None:
        """Stop at the first signal, kill at the second."""
        # An ignored SIGHUP is nohup(1)'s word. An ignored SIGINT is only a shell's habit with background jobs.
        ignored = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else set()
        heeded = [number for number in _SIGNALS if number not in ignored]
        with anyio.open_signal_receiver(*heeded) as received:
            async for number in received:
                if number == signal.SIGQUIT or (self._stopping and time.monotonic() - self._told_at > _ECHO_S):
                    self.processes.kill_at_once()
                    os._exit(INTERRUPTED)
                if self._stopping:
                    continue
                self._told_at = time.monotonic()
                self.bus.emit(Ending())
                # Who waits for a verdict must not take the end for a green one: a commit hook would let it pass.
                self.stop(INTERRUPTED if number == signal.SIGINT or self.job.ends else 0)

    async def judge(self, inbox: Inbox) -> None:
        """End after the run that the job waits for."""
        async for batch in inbox.batches():
            for stamped in batch:
                self._standing.apply(stamped.event)
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
            async for batch in inbox.batches():
                self.job.face.render(batch)  # for the reports that it writes

    def stop(self, exit_code: int) -> None:
        """Tell both halves to end, in order; the first exit code counts."""
        if self._stopping:
            return
        self._stopping, self.exit_code = True, exit_code
        self._reading.cancel()
        for half in (self._gate, *self._servers):
            if half is not None:
                half.stop()

    async def identify(self) -> str:
        """The id of the tree on disk: as watched, or looked at where nobody watches."""
        return self._watcher.tree if self._watcher is not None else await self._glances.identify()

    async def look(self) -> None:
        """What has changed in the tree is told to the servers, where nobody watches it."""
        if self._watcher is None:
            await self._glances.identify()

    async def settle(self) -> None:
        """All that has changed in the tree by now has been told to both halves when this returns."""
        if self._watcher is None:
            await self._glances.identify()
        elif not self._watcher.still():
            await self._watcher.confirm()

    def _server(self, name: str, trigger: str, cutover: Cutover) -> ServerLoop:
        project = self.job.project
        setting = Setting(project, name, project.config.server[name], cutover, self.processes, self.bus.emit)
        return ServerLoop(setting, Touches(project.path(trigger), self.bus.emit), self)

    def _changed(self, change: Change) -> None:
        """As the watcher saw it."""
        if self._gate is not None:
            self._gate.changed(change)
        self._written((*change.delta.changed, *change.delta.touched), change.tree)

    def _written(self, paths: tuple[str, ...], tree: str) -> None:
        for server in self._servers:
            server.changed(paths, tree)


def _glances(project: Project, on_change: OnChange) -> Glances:
    ignore = Ignore(project.root, extra=project.config.watch.ignore, never=_never(project))
    return Glances(project.root, project.config.watch.paths, ignore, on_change)


def _never(project: Project) -> tuple[str, ...]:
    """What is never watched: the triggers and what is prepared beside them, and where our own output goes."""
    triggers = (path for t in project.config.triggers().values() for path in (t, f"{t}.{os.getpid()}.tmp"))
    outputs = (os.path.relpath(os.path.realpath(f"/dev/fd/{d}"), os.path.realpath(project.root)) for d in (1, 2))
    return (*triggers, *(path for path in outputs if not path.startswith("..")))

"""The composition root: picks the platform, the halves and the face, and runs them in one task group.

The first SIGINT, SIGTERM or SIGHUP stops everything in order; a second one kills at once, and so does SIGQUIT.
"""

import contextlib
import gc
import os
import signal
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio
from anyio.abc import TaskGroup

from hotpipe import __version__
from hotpipe.bus import FOR_ALL, NO_OUTPUT, Bus, Inbox
from hotpipe.config import file
from hotpipe.config.file import Project
from hotpipe.config.model import Config
from hotpipe.control import Pausing, Request, Rerunning, Restarting, Status, Stopping
from hotpipe.control import listener as control
from hotpipe.control.listener import Talk
from hotpipe.control.protocol import Answer
from hotpipe.control.standing import Standing
from hotpipe.daemon import Started
from hotpipe.errors import HotpipeError, UsageError
from hotpipe.events import (
    ChangeDetected,
    ConfigReloaded,
    Ending,
    Listening,
    RunFinished,
    RunStarted,
    Warned,
    printable,
)
from hotpipe.events import Started as HotpipeStarted
from hotpipe.gate import configured
from hotpipe.gate.cache import FOLDER as CACHE
from hotpipe.gate.cache import Cache, project_of
from hotpipe.gate.loop import Gate
from hotpipe.gate.loop import Setting as GateSetting
from hotpipe.gate.undone import some
from hotpipe.history import History
from hotpipe.history.recording import record
from hotpipe.instance import FOLDER, Instance, Role, claim
from hotpipe.logs import record as logs
from hotpipe.process.journal import Recovered, recover
from hotpipe.process.system import System
from hotpipe.process.terminal import Terminals, Window
from hotpipe.reload import Reload
from hotpipe.server.opening import Opened, open_sockets
from hotpipe.server.servers import Servers
from hotpipe.tree.glances import Glances
from hotpipe.tree.watched import Watched, Watching
from hotpipe.tree.watcher import Change
from hotpipe.ui import systemd
from hotpipe.ui.face import Face, Screen
from hotpipe.ui.pages import page
from hotpipe.ui.show import show
from hotpipe.waiting import Waiting

if TYPE_CHECKING:  # start-up time
    from hotpipe.web.dashboard import Dashboard
    from hotpipe.web.opening import Opened as Page

INTERRUPTED = 130
_SWITCH_S = 0.0005  # a sweep in its thread gives way to the loop this soon; CPython's 5 ms would delay every save
_ECHO_S = 0.05  # timeout(1) and some supervisors signal twice: the process, and its group
_BY_HAND = "touch the trigger, with `hotpipe trigger` say, or ask for a restart: `hotpipe restart`"
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


@dataclass(frozen=True, slots=True)
class Job:
    """What to run: which halves, in which role (none: beside any other hotpipe), and which runs end it (none of them:
    only a signal does).

    `as_found`: green counts only for the tree that was found; what a stage that mutates has mended was not right.
    `changed` are the paths that count as changed, relative to the root and as from `os.fsdecode`: a stage none of whose
    inputs is among them is skipped (none: all count). `cache` is the folder of the cache, relative to the root or
    absolute; empty: nothing is remembered, and nothing that was is believed. `web`: with the dashboard.
    `ttys`: the user looks at a terminal, and so children get one to write to.
    `notify`: somebody is told who looks elsewhere, as the configuration wants it.
    """

    project: Project
    face: Face | Screen
    gate: bool = False
    serve: bool = False
    touch: bool = True
    role: Role | None = None
    ends: frozenset[str] = field(default_factory=frozenset)
    as_found: bool = False
    changed: tuple[str, ...] | None = None
    cache: str = CACHE
    web: bool = False
    ttys: bool = False
    notify: bool = False

    def check(self, config: Config, path: str) -> None:
        """Raises UsageError where the configuration gives it nothing to do, or what it needs is not installed."""
        if self.web:
            from hotpipe.web.opening import require

            require()
        if self.gate and self.serve and not config.stage and not config.server:
            hint = 'write [stage.test] with run = "pytest", or [server.web]'
            raise UsageError(f"{path} has neither a stage nor a server: there is nothing to do", hint)
        if self.serve and not self.gate and not config.server:
            raise UsageError(f"{path} has no server", hint="write [server.web] with run and listen")


def run(job: Job, started: Started | None = None) -> int:
    """Run the job to its end and return the exit code; raises HotpipeError where it cannot begin.

    `started` is told when nothing can keep it from beginning any more.
    """
    gc.freeze()
    gc.enable()
    os.chdir(job.project.root)
    _leave_out(os.path.join(job.project.root, FOLDER))
    sys.setswitchinterval(_SWITCH_S)
    upward = systemd.Link.of(os.environ, os.getpid())
    with contextlib.ExitStack() as place:
        instance = place.enter_context(claim(job.project.root, job.role)) if job.role is not None else None
        recovered = recover(os.path.join(job.project.root, FOLDER)) if instance is not None else []
        opened = place.enter_context(open_sockets(job.project.config.server if job.serve else {}, job.project.root))
        page = place.enter_context(_page(job)) if job.web else None
        if started is not None:
            started.ok()
        return anyio.run(_run, job, _Place(instance, recovered, opened, upward, page))


def _page(job: Job) -> AbstractContextManager["Page"]:
    from hotpipe.web import opening

    return opening.opened(job.project.config.web, os.path.join(job.project.root, FOLDER))


@dataclass(frozen=True, slots=True)
class _Place:
    """What is held for as long as hotpipe runs, and what taking it has shown."""

    instance: Instance | None
    recovered: list[Recovered]
    opened: Opened
    upward: systemd.Link | None
    page: "Page | None"

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
    verdicts = bus.subscribe(NO_OUTPUT)
    session = _Session(job, place, bus)
    async with anyio.create_task_group() as faces:
        faces.start_soon(session.show, bus.subscribe())
        faces.start_soon(record, session.history, bus.subscribe(NO_OUTPUT))
        if job.role is not None:
            faces.start_soon(logs.keep, job.project.root, bus.subscribe(FOR_ALL), bus.emit)
        if place.page is not None:
            faces.start_soon(session.dashboard(place.page).run, bus.subscribe())
        if place.upward is not None:
            faces.start_soon(systemd.speak, place.upward, session.upward, bus.subscribe(NO_OUTPUT))
        if job.notify:
            faces.start_soon(session.notify, bus.subscribe(NO_OUTPUT))
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(session.obey_signals)
                if job.ttys and not isinstance(job.face, Screen):  # who has the terminal to itself hears of that itself
                    tasks.start_soon(session.follow_window)
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
        self._file = os.path.basename(job.project.file)
        self._config = job.project.config  # in force
        self.bus = bus
        self._instance = place.instance
        self._page = place.page
        self._dashboard: Dashboard | None = None
        self._terminals = Terminals(_window(), bus.emit) if job.ttys else None
        folder = os.path.join(job.project.root, FOLDER) if place.instance is not None else None
        self.processes = System(folder, self._terminals)
        self.exit_code = 0
        self._stopping = False
        self._found = ""  # the tree that the run began with, and what has changed since
        self._mended: set[str] = set()
        self._told_at = 0.0
        self._reading = anyio.CancelScope()  # the tree for the first time, which can take long
        root, config, triggers = job.project.root, job.project.config, job.project.config.triggers()
        self.history = History(os.path.join(root, FOLDER))
        self._gate = Gate(job.project, triggers if job.touch else {}, self._setting()) if job.gate else None
        self._watched = Watched(root, _watching(job.project), self._changed, bus.emit) if job.gate else None
        self._glances = Glances(root, config.watch.paths, configured.ignore(job.project), self._written)
        tree = self._watched or self._glances
        self._servers = Servers(job.project, place.opened, self.processes, bus.emit, tree)
        self._reload = Reload(job.project, self._apply, bus.emit) if job.role is not None else None
        self._standing = Standing(self._servers.addresses)
        self._waiting = Waiting(self._standing, self._gate, self._look)
        self._began = time.monotonic()
        self.upward = systemd.Upward(tuple(place.opened.cutovers))
        self._warnings = place.warnings()

    def _setting(self) -> GateSetting:
        project, usual_ms = self.job.project, self.history.medians()
        if not self.job.cache:
            return GateSetting(self.processes, self.bus.emit, usual_ms=usual_ms)
        folder = os.path.join(project.root, self.job.cache)
        cache = Cache(folder, project.config.gate.cache_size, self.bus.emit)
        return GateSetting(self.processes, self.bus.emit, cache, project_of(folder), usual_ms)

    async def open_control(self, tasks: TaskGroup) -> None:
        """Answer the verbs that talk to a running hotpipe; without a socket for it, that is a warning."""
        if self._instance is None or self._instance.socket is None:
            return
        try:
            await tasks.start(control.serve, self._instance.socket, self._answer)
        except HotpipeError as error:
            self.bus.emit(Warned(code="control.unavailable", message=error.message, hint=error.hint))

    async def _answer(self, request: Request) -> Answer | Talk:
        role = self._instance.role if self._instance is not None else ""
        match request.verb:
            case "status":
                return self._status(role)
            case "stop":
                self.bus.emit(Ending())
                self.stop(0)
                return Stopping(pid=os.getpid(), role=role)
            case "restart":
                before = self._servers.last
                names = self.restart(request.servers)
                if request.timeout_s:
                    return await self._waiting.restarted(names, before, request.timeout_s)
                return Restarting(servers=names)
            case "rerun":
                return Rerunning(stages=self.rerun(request.stages))
            case "pause":
                self.pause()
                return Pausing(paused=True)
            case "resume":
                self.resume()
                return Pausing(paused=False)
            case "wait":
                project = self._reload.project if self._reload is not None else self.job.project
                triggers = {name: project.path(path) for name, path in project.config.triggers().items() if name}
                return await self._waiting.answer(request, triggers)
            case "attach":
                return self._attach(request.server)

    def _status(self, role: str) -> Status:
        standing = self._standing
        return Status(
            pid=os.getpid(),
            role=role,
            root=self.job.project.root,
            run=standing.run,
            servers=standing.servers,
            verdict=standing.verdict,
            stages=standing.stages,
            paused=standing.paused,
            errors=standing.errors,
            uptime_s=round(time.monotonic() - self._began, 3),
        )

    async def _look(self) -> None:
        """Whatever has changed by now has been told when this returns."""
        if self._reload is not None:
            self._reload.look_unless_unfinished()
        if self._watched is not None:
            await self._watched.confirm()

    def _attach(self, server: str) -> Talk:
        if self._terminals is None and server in self._servers.addresses:
            hint = "run it in a terminal, without --daemon, --json and HOTPIPE_PTY=0"
            raise HotpipeError("the servers of this hotpipe have no terminal", hint=hint)
        attachment = self._servers.attach(server)
        return Talk(attachment.answer, attachment.run)

    def dashboard(self, page: "Page") -> "Dashboard":
        from hotpipe.web.dashboard import Around, Dashboard

        around = Around(self.job.project.root, self.history, self, self.bus.emit)
        self._dashboard = Dashboard(page, around, self._config.web.origins)
        return self._dashboard

    # What faces and the control socket may ask: hotpipe.actions.

    def rerun(self, stages: Collection[str] = ()) -> tuple[str, ...]:
        gate, watched = self._gate_or_refuse()
        return gate.rerun(watched.tree, stages)

    def restart(self, servers: Collection[str] = ()) -> tuple[str, ...]:
        return self._servers.restart(servers)

    def pause(self) -> None:
        self._gate_or_refuse()[0].pause()

    def resume(self) -> None:
        self._gate_or_refuse()[0].resume()

    def page(self) -> str | None:
        if self._page is not None:
            return self._page.url
        sockets = (socket for sockets in self._servers.addresses.values() for socket in sockets)
        return next((address for socket in sockets if (address := page(socket))), None)

    def resized(self) -> None:
        self.processes.resize(_window())

    def quit(self) -> None:
        self._told_to_end(signal.SIGINT)

    def _gate_or_refuse(self) -> tuple[Gate, Watched]:
        if self._gate is None or self._watched is None:
            raise UsageError("no gate runs here", hint="`hotpipe watch` and `hotpipe gate` have one")
        return self._gate, self._watched

    async def work(self) -> None:
        """Both halves, until they are told to stop."""
        if self.job.role is not None:
            self.bus.emit(self._started())
        for warning in self._warnings:
            self.bus.emit(warning)
        async with anyio.create_task_group() as watching:
            if self._watched is not None:
                with self._reading:
                    await watching.start(self._watched.run)
            async with anyio.create_task_group() as halves:
                self._servers.start(halves)
                if self._gate is not None and self._watched is not None:
                    changed = None if self.job.changed is None else frozenset(self.job.changed)
                    self._gate.request(self._watched.tree, changed)
                    halves.start_soon(self._gate.run, self._watched)
                    self._waiting.begin()
                if self._reload is not None:
                    watching.start_soon(self._reload.run)
            watching.cancel_scope.cancel()

    def _apply(self, project: Project) -> ConfigReloaded:
        """Put another configuration in force, and say so; raises HotpipeError, and then all is as it was."""
        if not self._stopping and project.config != self._config:
            self._put_in_force(project)
            self._config = project.config
        return ConfigReloaded(path=self._file, stages=self._stages(self._config), servers=self._listening())

    def _put_in_force(self, project: Project) -> None:
        self.job.check(project.config, project.file)
        plan = self._servers.plan(project)
        if self._watched is not None:
            self._watched.reconfigure(_watching(project))
        self._glances.reconfigure(project.config.watch.paths, configured.ignore(project))
        self._servers.reconfigure(project, plan, "" if self._gate else _BY_HAND)
        self._standing.know(self._servers.addresses)
        self.upward.know(tuple(self._servers.addresses))
        if self._gate is not None:
            self._gate.reconfigure(project, project.config.triggers() if self.job.touch else {})
        if self._dashboard is not None:
            self._dashboard.name(project.config.web.origins)
        if self._page is not None and project.config.web.listen != self._config.web.listen:
            message, hint = "the dashboard stays as it is", "[web] listen has changed: start hotpipe again"
            self.bus.emit(Warned(code="web.unchanged", message=message, hint=hint))

    async def obey_signals(self) -> None:
        """Stop at the first signal, kill at the second."""
        # An ignored SIGHUP is nohup(1)'s word. An ignored SIGINT is only a shell's habit with background jobs.
        ignored = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else set()
        heeded = [number for number in _SIGNALS if number not in ignored]
        with anyio.open_signal_receiver(*heeded) as received:
            async for number in received:
                self._told_to_end(number)

    async def follow_window(self) -> None:
        """Say when the terminal has another size."""
        with anyio.open_signal_receiver(signal.SIGWINCH) as received:
            async for _ in received:
                self.resized()

    def _told_to_end(self, number: int) -> None:
        if number == signal.SIGQUIT or (self._stopping and time.monotonic() - self._told_at > _ECHO_S):
            self.processes.kill_at_once()
            if isinstance(self.job.face, Screen):
                self.job.face.leave()
            os._exit(INTERRUPTED)
        if self._stopping:
            return
        self._told_at = time.monotonic()
        self.bus.emit(Ending())
        # Who waits for a verdict must not take the end for a green one: a commit hook would let it pass.
        self.stop(INTERRUPTED if number == signal.SIGINT or self.job.ends else 0)

    def _started(self) -> HotpipeStarted:
        return HotpipeStarted(
            version=__version__,
            pid=os.getpid(),
            root=printable(self.job.project.root),
            role=self._instance.role if self._instance is not None else "",
            stages=self._stages(self._config),
            servers=self._listening(),
        )

    def _stages(self, config: Config) -> tuple[str, ...]:
        return tuple(config.stage) if self.job.gate else ()

    def _listening(self) -> tuple[Listening, ...]:
        return tuple(Listening(name, addresses) for name, addresses in self._servers.addresses.items())

    async def judge(self, inbox: Inbox) -> None:
        """End after the run that the job waits for."""
        async for batch in inbox.batches():
            for stamped in batch:
                self._standing.apply(stamped.event, stamped.stamp.time)
                match stamped.event:
                    case RunStarted(tree=tree):
                        self._found, self._mended = tree, set()
                    case ChangeDetected(paths=paths):
                        self._mended.update(paths)
                    case RunFinished(status=status) if status in self.job.ends:
                        self.stop(0 if status == "green" and self._is_as_found() else 1)
                    case Warned(code="trigger.unwritable") if self.job.ends:
                        self.stop(1)
            self._waiting.moved()

    def _is_as_found(self) -> bool:
        """Whether what is green is what was there: git commits, and CI checks out, the tree before it was mended."""
        if not self.job.as_found or self._watched is None or self._watched.tree == self._found:
            return True
        message = f"{some(self._mended)}: written by a stage, so what is green is not what was there"
        hint = "run the stage in your work tree (`hotpipe check` does), add what it writes, and check again"
        self.bus.emit(Warned(code="check.mended", message=message, hint=hint))
        return False

    async def show(self, inbox: Inbox) -> None:
        """Feed the face; when nobody reads it any more, that is the end."""
        face = self.job.face
        if isinstance(face, Screen):
            await face.run(inbox, self)
            return
        try:
            await show(face, inbox)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python's own flush at exit would fail too, with status 120
            if not self.job.ends:  # who waits for a verdict gets it as the exit code, read or not
                self.stop(0)
            async for batch in inbox.batches():
                face.render(batch)  # for the reports that it writes

    async def notify(self, inbox: Inbox) -> None:
        """Tell somebody who looks elsewhere."""
        from hotpipe.ui.notices import Notices
        from hotpipe.ui.notify import Around, tell

        root = self.job.project.root
        aside = self.job.face.aside if isinstance(self.job.face, Screen) else None
        around = Around(lambda: self._config.notify, self.processes, root, os.environ, aside)
        await tell(around, Notices(os.path.basename(root)), inbox)

    def stop(self, exit_code: int) -> None:
        """Tell both halves to end, in order; the first exit code counts."""
        if self._stopping:
            return
        self._stopping, self.exit_code = True, exit_code
        self._reading.cancel()
        if self._gate is not None:
            self._gate.stop()
        self._servers.stop()

    def _changed(self, change: Change) -> None:
        """As the watcher saw it. What the configuration says by then is in force before anything comes of it."""
        if self._reload is not None and self._file in change.delta.changed:
            self._reload.look_unless_unfinished()
        if self._gate is not None:
            self._gate.changed(change)
        self._written((*change.delta.changed, *change.delta.touched), change.tree)

    def _written(self, paths: tuple[str, ...], tree: str) -> None:
        """hotpipe's own file concerns no server: what it says of one is compared with what it said before."""
        self._servers.changed([path for path in paths if path != self._file or path == file.SHARED], tree)


def _leave_out(folder: str) -> None:
    """Keep git from taking what is ours, as other tools do it with their folders."""
    with contextlib.suppress(OSError):
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, ".gitignore"), "x", encoding="ascii") as file:
            file.write("*\n")


def _window() -> Window:
    """The terminal's that the user looks at."""
    try:
        return Window.of(sys.__stdout__.fileno() if sys.__stdout__ is not None else 1)
    except (OSError, ValueError):  # it is none, or gone
        return Window(0, 0)


def _watching(project: Project) -> Watching:
    return Watching(project.config.watch, configured.never(project))

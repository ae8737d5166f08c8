"""The composition root: picks the platform, the halves and the faces, and runs them in one task group.

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
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import anyio
from anyio.abc import TaskGroup

from hotpipe import __version__
from hotpipe.answers import Answers, Self
from hotpipe.bus import FOR_ALL, NO_OUTPUT, Bus, Inbox
from hotpipe.config.model import Config
from hotpipe.control import listener as control
from hotpipe.control.standing import Standing
from hotpipe.daemon import Started
from hotpipe.errors import HotpipeError
from hotpipe.events import ChangeDetected, Ending, RunFinished, RunStarted, Warned, printable
from hotpipe.events import Started as HotpipeStarted
from hotpipe.gate.undone import some
from hotpipe.halves import Around, Halves
from hotpipe.history import History
from hotpipe.history.recording import record
from hotpipe.instance import FOLDER, Instance, claim
from hotpipe.job import Job
from hotpipe.logs import record as logs
from hotpipe.process.journal import Recovered, recover
from hotpipe.process.system import System
from hotpipe.process.terminal import Terminals, Window
from hotpipe.server.opening import Opened, open_sockets
from hotpipe.ui import systemd
from hotpipe.ui.face import Screen
from hotpipe.ui.pages import page
from hotpipe.ui.show import show

if TYPE_CHECKING:  # start-up time
    from hotpipe.web.dashboard import Dashboard
    from hotpipe.web.opening import Opened as Page

__all__ = ["INTERRUPTED", "Job", "run"]

INTERRUPTED = 130
_SWITCH_S = 0.0005  # a sweep in its thread gives way to the loop this soon; CPython's 5 ms would delay every save
_ECHO_S = 0.05  # timeout(1) and some supervisors signal twice: the process, and its group
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


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
    """One run of hotpipe: its end, and what its faces may ask (hotpipe.actions)."""

    def __init__(self, job: Job, place: _Place, bus: Bus) -> None:
        root = job.project.root
        self.job = job
        self.bus = bus
        self.exit_code = 0
        self._instance = place.instance
        self._page = place.page
        self._dashboard: Dashboard | None = None
        self._warnings = place.warnings()
        self._stopping = False
        self._told_at = 0.0
        self._found = ""  # the tree that the run began with, and what has changed since
        self._mended: set[str] = set()
        terminals = Terminals(_window(), bus.emit) if job.ttys else None
        self.processes = System(os.path.join(root, FOLDER) if place.instance is not None else None, terminals)
        self.history = History(os.path.join(root, FOLDER))
        self._halves = Halves(job, Around(place.opened, self.processes, self.history, bus.emit), self._reconfigured)
        self._standing = Standing(self._halves.servers.addresses)
        self.upward = systemd.Upward(tuple(place.opened.cutovers))
        self._answers = Answers(self._me(), self._halves, self._standing, self._stop_as_asked)

    def _me(self) -> Self:
        role = self._instance.role if self._instance is not None else ""
        return Self(role, self.job.project.root, self._page.url if self._page else None, self.job.ttys)

    async def open_control(self, tasks: TaskGroup) -> None:
        """Answer the verbs that talk to a running hotpipe; without a socket for it, that is a warning."""
        if self._instance is None or self._instance.socket is None:
            return
        try:
            serve = partial(control.serve, on_removed=self._instance.restore)
            await tasks.start(serve, self._instance.socket, self._answers.answer)
        except HotpipeError as error:
            self.bus.emit(Warned(code="control.unavailable", message=error.message, hint=error.hint))

    async def work(self) -> None:
        """Both halves, until they are told to stop."""
        if self.job.role is not None:
            self.bus.emit(self._started())
        for warning in self._warnings:
            self.bus.emit(warning)
        await self._halves.run(self._answers.waiting.begin)

    def _started(self) -> HotpipeStarted:
        return HotpipeStarted(
            version=__version__,
            pid=os.getpid(),
            root=printable(self.job.project.root),
            role=self._instance.role if self._instance is not None else "",
            stages=self._halves.stages,
            servers=self._halves.listening,
        )

    def _reconfigured(self, config: Config) -> None:
        addresses = self._halves.servers.addresses
        self._standing.know(addresses)
        self.upward.know(tuple(addresses))
        if self._dashboard is not None:
            self._dashboard.name(config.web.origins)
        if self._page is not None and config.web.listen != self.job.project.config.web.listen:
            message, hint = "the dashboard stays as it is", "[web] listen has changed: start hotpipe again"
            self.bus.emit(Warned(code="web.unchanged", message=message, hint=hint))

    # What faces may ask: hotpipe.actions.

    def rerun(self, stages: Collection[str] = ()) -> tuple[str, ...]:
        return self._halves.rerun(stages)

    def restart(self, servers: Collection[str] = ()) -> tuple[str, ...]:
        return self._halves.restart(servers)

    def pause(self) -> None:
        self._halves.pause()

    def resume(self) -> None:
        self._halves.resume()

    def page(self) -> str | None:
        if self._page is not None:
            return self._page.url
        sockets = (socket for server in self._halves.listening for socket in server.sockets)
        return next((address for socket in sockets if (address := page(socket))), None)

    def resized(self) -> None:
        self.processes.resize(_window())

    def quit(self) -> None:
        self._told_to_end(signal.SIGINT)

    # The end.

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

    def _stop_as_asked(self) -> None:
        self.bus.emit(Ending())
        self.stop(0)

    def stop(self, exit_code: int) -> None:
        """Tell both halves to end, in order; the first exit code counts."""
        if not self._stopping:
            self._stopping, self.exit_code = True, exit_code
            self._halves.stop()

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
            self._answers.waiting.moved()

    def _is_as_found(self) -> bool:
        """Whether what is green is what was there: git commits, and CI checks out, the tree before it was mended."""
        watched = self._halves.watched
        if not self.job.as_found or watched is None or watched.tree == self._found:
            return True
        message = f"{some(self._mended)}: written by a stage, so what is green is not what was there"
        hint = "run the stage in your work tree (`hotpipe check` does), add what it writes, and check again"
        self.bus.emit(Warned(code="check.mended", message=message, hint=hint))
        return False

    # The faces.

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
        around = Around(lambda: self._halves.project.config.notify, self.processes, root, os.environ, aside)
        await tell(around, Notices(os.path.basename(root)), inbox)

    def dashboard(self, page: "Page") -> "Dashboard":
        from hotpipe.web.dashboard import Around, Dashboard

        around = Around(self.job.project.root, self.history, self, self.bus.emit)
        self._dashboard = Dashboard(page, around, self._halves.project.config.web.origins)
        return self._dashboard


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

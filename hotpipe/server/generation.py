"""One process of a server, from its start to the death of all that descends from it.

It tells the machine what happens (`lifecycle.Input`), and is told `prove`, `reload`, `retire` and `stop`. Each start
is answered once by `NotSpawned` or, in the end, by `Ended`.
"""

import contextlib
import hashlib
import os
import signal
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from hotpipe.config.file import Project
from hotpipe.config.model import Server
from hotpipe.errors import HotpipeError
from hotpipe.escapes import plain
from hotpipe.events import Emit, ServerOutput, ServerStatus, Stream, Warned
from hotpipe.process import kin
from hotpipe.process.birth import start_of
from hotpipe.process.command import Command, environment
from hotpipe.process.system import Processes, Running
from hotpipe.server import lifecycle, notify, ready, words
from hotpipe.server.commands import Commands
from hotpipe.server.console import Console, Place
from hotpipe.server.cutover import Cutover
from hotpipe.server.drain import drained
from hotpipe.server.notify import NotifySocket
from hotpipe.server.relay import door
from hotpipe.server.signs import Signs
from hotpipe.server.turnaway import turn_away

_LOOK_S = 0.05
_LAST_WORDS = 50  # lines of output in which the reason of a death is looked for
_RELOAD_S = 1.0  # a server that is told to reload goes on accepting for a moment: only then is it asked
_CANNOT_RUN_TWICE = ("address already in use", "eaddrinuse", "database is locked", "lock file", "already running")
_USES_NONE = "; does its run use the socket, {fd}?"
_HOLDS = "hotpipe holds its port: hand it on with {fd}, or leave listen out"
_HINT = 'if it cannot run beside another one, set strategy = "stop-start"'

# All else in a server's table matters later, to a process that runs already as well.
_STARTED_WITH = ("run", "cwd", "watchdog", "ready", "smoke", "tty")
_HOOKS_AT_START = ("before_start", "after_ready")

Tell = Callable[[lifecycle.Input], None]
Settle = Callable[[], Awaitable[None]]  # returns when all that has happened in the tree has been told


@dataclass(frozen=True, slots=True)
class Setting:
    """All that the generations of one server have in common."""

    project: Project
    name: str
    server: Server
    cutover: Cutover
    processes: Processes
    emit: Emit
    console: Console = field(default_factory=lambda: Console(""))

    @property
    def known(self) -> lifecycle.Server:
        """What the machine is told of it."""
        server = self.server
        sockets, strategy = self.cutover.addresses, server.replaced_by
        return lifecycle.Server(self.name, sockets, strategy, server.restart, server.probation, edition_of(server))

    @property
    def words(self) -> Mapping[str, str]:
        """What the placeholders stand for."""
        return words.public(self.cutover.listeners)

    def commands(self, generation: lifecycle.Generation, time_s: float, **env: str) -> Commands:
        """For hooks and smoke tests of a generation."""
        own = {**self.server.env, **_identity(self, generation), **env}
        cwd = self.project.path(self.server.cwd)
        return Commands(self.processes, cwd, own, self.output(generation.number), time_s)

    def output(self, number: int) -> Callable[[Stream, str], None]:
        """Where the lines of a generation go."""

        def line(stream: Stream, text: str) -> None:
            self.emit(ServerOutput(server=self.name, generation=number, stream=stream, text=text))

        return line

    async def run_hook(self, moment: str, generation: lifecycle.Generation, reason: str = "") -> str:
        """Run the commands for this moment; says what went wrong, or nothing."""
        commands = [words.fill(command, self.words) for command in self.server.hooks.commands(moment)]
        stop_s = self.server.stop_timeout or self.server.ready_timeout  # "0s" is meant for the server alone
        time_s = self.server.ready_timeout if moment == "before_start" else stop_s
        around = self.commands(generation, time_s, HOTPIPE_HOOK=moment, HOTPIPE_REASON=reason)
        return await around.run_all(commands)

    async def run_hook_or_warn(self, moment: str, generation: lifecycle.Generation, reason: str = "") -> None:
        """The same, for a moment at which nothing depends on the outcome."""
        if fault := await self.run_hook(moment, generation, reason):
            self.emit(Warned(code="hook.failed", message=f"{self.name}: hook {moment}: {fault}"))


def edition_of(server: Server) -> str:
    """The same for two servers whose processes are started, and found to be good, in the same way."""
    listens = [(name, each.type, each.address) for name, each in zip(server.socket_names(), server.listen, strict=True)]
    hooks = [server.hooks.commands(moment) for moment in _HOOKS_AT_START]
    text = repr((listens, hooks, sorted(server.env.items()), *(getattr(server, key) for key in _STARTED_WITH)))
    return hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=8).hexdigest()


class Process:
    """The process that was started for a generation. `run` it in a task."""

    def __init__(self, setting: Setting, generation: lifecycle.Generation, tell: Tell, *, beside: bool) -> None:
        """`beside` another one that serves."""
        self._setting = setting
        self._server = setting.server
        self._generation = generation
        self._number = generation.process
        self._tell = tell
        self._beside = beside
        self._drains = False
        self._killed = False
        self._was_ready = False
        self._preparing = anyio.CancelScope()
        self._alive = anyio.CancelScope()
        self._draining = anyio.CancelScope()
        self._resting = anyio.CancelScope()
        self._said: deque[str] = deque(maxlen=_LAST_WORDS)
        self._prompts: set[str] = set()  # at which it has waited
        self._signs: Signs
        self._tasks: TaskGroup | None = None  # while its main process lives

    def adopt(self, setting: Setting) -> None:
        """The configuration has changed. What was started in another way is ended in its own way, too."""
        if edition_of(setting.server) == edition_of(self._server):
            self._setting, self._server = setting, setting.server

    def stop(self) -> None:
        """Walk down the stop ladder, also if it drains."""
        for scope in (self._preparing, self._alive, self._draining, self._resting):
            scope.cancel()

    def retire(self) -> None:
        """Let it finish what it has, then stop it."""
        self._drains = True
        self._preparing.cancel()
        self._alive.cancel()

    def prove(self, settle: Settle) -> None:
        """Run the smoke tests; answered by Proved or Failed, or by Exited if its end came first."""
        if self._tasks is not None:
            self._tasks.start_soon(self._prove, settle)

    def step_back(self) -> None:
        """New connections are led to another one. It is noted whether those that it has bring requests all the same."""
        if self._tasks is not None:
            self._tasks.start_soon(self._setting.cutover.until_revisited, self._number)

    def reload(self) -> None:
        """Let it reload itself; answered by Ready or Failed, or by Exited if its end came first."""
        if self._tasks is None:
            return
        self._signs.forget()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._signs.main_pid, getattr(signal, f"SIG{self._server.signal}"))
        self._tasks.start_soon(self._come_up_again)

    async def run(self, rescuers: TaskGroup) -> None:
        """All of its life."""
        try:
            with contextlib.closing(NotifySocket.open(f"{self._setting.name}.{self._number}")) as notified:
                outcome = await self._lived(notified)
        except HotpipeError as error:
            outcome = lifecycle.NotSpawned(self._number, f"{error.message}{f' ({error.hint})' if error.hint else ''}")
        except OSError as error:  # no descriptors left, say
            outcome = lifecycle.NotSpawned(self._number, f"it cannot be started: {error.strerror}")
        self._setting.console.close(self._number)
        self._setting.cutover.release(self._number, rescuers)
        self._tell(outcome)

    async def _lived(self, notified: NotifySocket) -> lifecycle.Input:
        if fault := await self._before_start():
            return lifecycle.NotSpawned(self._number, fault)
        child = self._spawn(notified)
        self._setting.console.open(Place(self._number, child.pid, child.terminal))
        await self._live(child, notified)
        return self._ended(child)

    async def _before_start(self) -> str:
        with self._preparing:
            fault = await self._setting.run_hook("before_start", self._generation)
            return f"hook before_start: {fault}" if fault else ""
        return "it was stopped before it was started"

    def _spawn(self, notified: NotifySocket) -> Running:
        cutover, server = self._setting.cutover, self._server
        apart = bool(server.smoke) and all(each.is_private for each in cutover.listeners)
        members = cutover.give(self._number, fresh=self._beside or apart or cutover.was_used)
        self._signs = Signs.expected(server, cutover.listeners, members, alone=not self._beside)
        child = self._setting.processes.spawn(
            Command(
                words.fill_command(server.run, self._setting.words),
                self._setting.project.path(server.cwd),
                environment(server.env, self._environment(notified)),
                tuple(member.fileno() for member in members),
                "all" if server.tty else "nothing",
            )
        )
        if child.terminal is not None:
            child.terminal.on_prompt = self._say_prompt
        self._signs.main_pid = child.pid
        self._tell(lifecycle.Spawned(self._number, child.pid))
        return child

    def _environment(self, notified: NotifySocket) -> Mapping[str, str]:
        own = dict(_identity(self._setting, self._generation))
        if listeners := self._setting.cutover.listeners:
            own["LISTEN_FDNAMES"] = ":".join(each.name for each in listeners)
        if notified.address:
            own["NOTIFY_SOCKET"] = notified.address
        if notified.address and self._server.watchdog:
            own["WATCHDOG_USEC"] = str(round(self._server.watchdog * 1e6))
        return own

    async def _live(self, child: Running, notified: NotifySocket) -> None:
        async with anyio.create_task_group() as listening:
            # To the very end: a server that is being stopped may have something to say, and SIGPIPE would cut it short.
            listening.start_soon(child.hear, self._hear)
            listening.start_soon(notified.messages, partial(_descends, child), self._heed, self._ignore)
            with self._alive:
                await self._until_exit(child, notified)
            with anyio.CancelScope(shield=True):
                await self._end(child)
            listening.cancel_scope.cancel()

    async def _until_exit(self, child: Running, notified: NotifySocket) -> None:
        try:
            async with anyio.create_task_group() as self._tasks:
                self._tasks.start_soon(self._come_up)
                await child.wait()
                await anyio.lowlevel.checkpoint()  # its last words, which may say why, are read in the same round
                notified.catch_up()  # it may have named an heir with its last breath
                await self._until_over(child)
                self._tell(self._exited(child))
                self._tasks.cancel_scope.cancel()
        finally:
            self._tasks = None

    def _exited(self, child: Running) -> lifecycle.Exited:
        ended, main_pid = child.exit, self._signs.main_pid
        early = "" if self._was_ready else " before it was ready"
        if ended is None or main_pid != child.pid:  # how it ended only its parent is told: wait(2)
            return lifecycle.Exited(self._number, f"its main process, pid {main_pid}, ended{early}")
        return lifecycle.Exited(self._number, f"{ended}{early}{self._why()}", success=ended.returncode == 0)

    async def _until_over(self, child: Running) -> None:
        await child.wait()
        while not self._is_over(child):  # noqa: ASYNC110 - an heir is no child of ours, so nobody tells
            await anyio.sleep(_LOOK_S)

    def _is_over(self, child: Running) -> bool:
        """Its main process is gone; with MAINPID= that may be another one, which lives on after its parent."""
        main_pid = self._signs.main_pid
        return child.exit is not None and (main_pid == child.pid or start_of(main_pid) is None)

    async def _end(self, child: Running) -> None:
        """Drain it if that was asked for, then the stop ladder; nothing that descends from it is alive after that."""
        processes, server, cutover = self._setting.processes, self._server, self._setting.cutover
        if self._drains and not self._is_over(child):
            await self._drain(child)
        if not self._is_over(child):
            await self._setting.run_hook_or_warn("before_stop", self._generation)
        if self._drains and not self._is_over(child):
            with self._resting:
                await turn_away(cutover, self._number, child.pid)
        self._killed = await processes.stop(child, server.stop_signal, server.stop_timeout)
        await self._setting.run_hook_or_warn("after_stop", self._generation)

    async def _drain(self, child: Running) -> None:
        """Until it has done its work, or has no more time; or is gone, for then its clients are to be rescued."""
        with self._draining, anyio.move_on_after(self._server.drain_timeout):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._cut_short, child, tasks.cancel_scope)
                await drained(self._setting.cutover, self._number)
                tasks.cancel_scope.cancel()

    async def _cut_short(self, child: Running, scope: anyio.CancelScope) -> None:
        await self._until_over(child)
        scope.cancel()

    async def _come_up(self) -> None:
        self._was_ready = await self._shows_itself()
        while self._was_ready:  # a process that is told to reload may have its first lapse forgiven
            self._tell(lifecycle.Failed(self._number, await self._signs.silence()))

    async def _come_up_again(self) -> None:
        await anyio.sleep(_RELOAD_S)
        await self._shows_itself()

    async def _shows_itself(self) -> bool:
        """Whether it becomes ready in time; told as Ready or Failed."""
        with anyio.move_on_after(self._server.ready_timeout) as patience:
            self._signs.patience = patience
            how = await ready.evidence(self._server.ready, self._signs)
            self._signs.patience = None
            self._setting.cutover.listen_again(self._number)
            self._tell(lifecycle.Ready(self._number, how))
            return True
        self._tell(lifecycle.Failed(self._number, self._missing()))
        return False

    def _missing(self) -> str:
        missing = ready.missing(self._server.ready, self._signs, str(self._server.ready_timeout))
        ignores = ready.is_accepting(self._server.ready, self._signs) and not words.are_in(self._server.run)
        return f"{missing}{_USES_NONE if ignores else ''}"

    async def _prove(self, settle: Settle) -> None:
        if fault := await self._smoke():
            self._tell(lifecycle.Failed(self._number, f"smoke test {fault}"))
            return
        await settle()
        if fault := self._setting.cutover.unfit(self._number):
            self._tell(lifecycle.Failed(self._number, fault))
            return
        self._tell(lifecycle.Proved(self._number))

    async def _smoke(self) -> str:
        """Run the smoke tests against this process alone; says what went wrong, or nothing."""
        around = self._setting.commands(self._generation, self._server.ready_timeout)
        pairs = zip(self._signs.listeners, self._signs.members, strict=True)
        streams = [pair for pair in pairs if pair[0].listen.is_stream]
        if not streams or not self._server.smoke:
            return await around.run_all([words.fill(test, self._setting.words) for test in self._server.smoke])
        listener, member = streams[0]
        async with door(partial(listener.connect, member)) as (host, port):
            meant = {**self._setting.words, **words.leading_to(listener, host, port)}
            return await around.run_all([words.fill(test, meant) for test in self._server.smoke])

    def _hear(self, stream: Stream, text: str) -> None:
        self._said.append(text)
        if self._signs.listen:
            self._signs.hear(plain(text))  # what is looked for, nobody writes with the colours of a terminal
        number = self._generation.number
        self._setting.emit(ServerOutput(server=self._setting.name, generation=number, stream=stream, text=text))

    def _say_prompt(self, prompt: str) -> None:
        name = self._setting.name
        if prompt not in self._prompts:
            message, hint = f"{name} waits for input: {prompt}", f"`hotpipe attach {name}` to answer"
            self._setting.emit(Warned(code="server.prompt", message=message, hint=hint))
        self._prompts.add(prompt)

    def _heed(self, message: notify.Message) -> None:
        self._signs.heed(message)
        if isinstance(message, notify.Status):
            name, number = self._setting.name, self._generation.number
            self._setting.emit(ServerStatus(server=name, generation=number, text=message.text))

    def _ignore(self, pid: int) -> None:
        message = f"{self._setting.name}: process {pid}, which is none of it, wrote to its NOTIFY_SOCKET"
        self._setting.emit(Warned(code="notify.stranger", message=message))

    def _why(self) -> str:
        """What its last words say about the way out."""
        said = plain("\n".join(self._said)).lower()
        if not any(word in said for word in _CANNOT_RUN_TWICE):
            return ""
        if self._beside:
            return f"; {_HINT}"
        return f"; {_HOLDS}" if self._setting.cutover.listeners and not words.are_in(self._server.run) else ""

    def _ended(self, child: Running) -> lifecycle.Ended:
        ended = child.exit
        code, by = (ended.code, ended.signal) if ended else (None, None)
        return lifecycle.Ended(self._number, code, by, self._killed, self._setting.cutover.was_revisited(self._number))


def _descends(child: Running, pid: int) -> bool:
    """A process belongs to the child's tree: by its session, its parents or its cookie."""
    return kin.descends(pid, child.pid, child.cookie)


def _identity(setting: Setting, generation: lifecycle.Generation) -> Mapping[str, str]:
    return {
        "HOTPIPE_SERVER": setting.name,
        "HOTPIPE_GENERATION": str(generation.number),
        "HOTPIPE_TREE": generation.tree or "",
    }

"""All servers of a project: those of the configuration, and those that are being stopped because it names them no more.

Invariant: at most one loop is known under a name; generations of one name have ascending numbers, also where a server
was removed and has come back.
"""

from collections.abc import Collection, Iterable, Mapping

from anyio.abc import TaskGroup

from hotpipe.config.file import Project
from hotpipe.config.model import nearest
from hotpipe.errors import HotpipeError, UsageError
from hotpipe.events import Address, Emit
from hotpipe.process.system import Processes
from hotpipe.server import opening
from hotpipe.server.console import Attachment, Console
from hotpipe.server.cutover import Cutover
from hotpipe.server.generation import Setting
from hotpipe.server.loop import ServerLoop, Tree
from hotpipe.server.opening import Opened, Plan
from hotpipe.server.touches import Touches


class Servers:
    """`start` them in a task group, which then ends once all are stopped; all else may be called from any task."""

    def __init__(self, project: Project, opened: Opened, processes: Processes, emit: Emit, tree: Tree) -> None:
        self._project = project
        self._opened = opened
        self._processes = processes
        self._emit = emit
        self._tree = tree
        self._tasks: TaskGroup | None = None
        self._last: dict[str, int] = {}  # generation of those that have left
        self._leaving: list[ServerLoop] = []
        self._consoles: dict[str, Console] = {}
        self._loops = {name: self._loop(name) for name in opened.cutovers}

    @property
    def addresses(self) -> Mapping[str, tuple[Address, ...]]:
        """Where each server listens, in the order of the configuration."""
        return {name: cutover.addresses for name, cutover in self._opened.cutovers.items()}

    def start(self, tasks: TaskGroup) -> None:
        """Serve."""
        self._tasks = tasks
        for name, loop in self._loops.items():
            tasks.start_soon(self._run, loop, self._opened.cutovers[name])

    def plan(self, project: Project) -> Plan:
        """Open what the servers of another configuration need; raises SocketError, and then all is as it was."""
        return opening.plan(self._opened, project.config.server, project.root)

    def reconfigure(self, project: Project, plan: Plan, hint: str) -> None:
        """Go by this configuration from now on; where no gate sees to the restarts, `hint` says what does."""
        before, self._project = self._project.config, project
        self._opened.apply(plan)
        for name in self._loops.keys() - project.config.server.keys():
            self._retire(name)
        for name, server in project.config.server.items():
            if name not in self._loops:
                self._add(name)
            elif server != before.server[name]:
                self._loops[name].reconfigure(self._setting(name), hint)
                if server.trigger != before.server[name].trigger:
                    self._loops[name].watch(self._touches(name))

    @property
    def last(self) -> Mapping[str, int]:
        """The number of the last generation of each server."""
        return {name: loop.last for name, loop in self._loops.items()}

    def restart(self, names: Collection[str]) -> tuple[str, ...]:
        """Those, or all; raises UsageError where there is no such server."""
        for name in names:
            self._known(name)
        chosen = tuple(names) or tuple(self._loops)
        for name in chosen:
            self._loops[name].restart()
        return chosen

    def attach(self, name: str) -> Attachment:
        """To the terminal of that one; raises HotpipeError where that cannot be."""
        self._known(name)
        if not self._project.config.server[name].tty:
            raise HotpipeError(f"{name} has no terminal", hint=f"tty = false under [server.{name}] says so")
        return self._consoles[name].attach()

    def _known(self, name: str) -> None:
        if name not in self._loops:
            raise UsageError(f"there is no server {name!r} here{nearest(name, self._loops)}")

    def changed(self, paths: Collection[str], tree: str) -> None:
        """Watched files were written, and `tree` is on disk now."""
        for loop in self._loops.values():
            loop.changed(paths, tree)

    def stop(self) -> None:
        """Stop all of them for good."""
        for loop in self._all():
            loop.stop()

    def _all(self) -> Iterable[ServerLoop]:
        return (*self._loops.values(), *self._leaving)

    def _retire(self, name: str) -> None:
        loop = self._loops.pop(name)
        self._leaving.append(loop)
        loop.retire()

    def _add(self, name: str) -> None:
        self._loops[name] = loop = self._loop(name)
        cutover = self._opened.cutovers[name]
        for warning in opening.shared({name: cutover}):
            self._emit(warning)
        if self._tasks is not None:
            self._tasks.start_soon(self._run, loop, cutover)

    async def _run(self, loop: ServerLoop, cutover: Cutover) -> None:
        await loop.run()
        self._last[loop.name] = max(loop.last, self._last.get(loop.name, 0))
        if loop in self._leaving:
            self._leaving.remove(loop)
            self._opened.leave(cutover)
        if loop.name not in self._loops:
            self._consoles.pop(loop.name).end()

    def _loop(self, name: str) -> ServerLoop:
        namesakes = (loop.last for loop in self._leaving if loop.name == name)
        last = max((self._last.get(name, 0), *namesakes))
        return ServerLoop(self._setting(name), self._touches(name), self._tree, last)

    def _setting(self, name: str) -> Setting:
        server, cutover = self._project.config.server[name], self._opened.cutovers[name]
        console = self._consoles.setdefault(name, Console(name))
        return Setting(self._project, name, server, cutover, self._processes, self._emit, console)

    def _touches(self, name: str) -> Touches:
        trigger = self._project.config.triggers()[name]
        return Touches(self._project.path(trigger), self._emit)

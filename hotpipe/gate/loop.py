"""Does what the gate's machine says, and tells it what came of that.

How it works: one task owns the state. Everything that happens is put into one inbox, in order; the task takes an input,
steps the machine and performs the actions. Stages and sweeps run beside it and answer through the inbox; what a touch
came to is answered on the spot.
"""

import contextlib
import math
import time
from collections import deque
from typing import NamedTuple, Protocol

import anyio
from anyio.abc import TaskGroup
from msgspec.structs import replace

from hotpipe import trigger
from hotpipe.config.file import Project
from hotpipe.config.model import Config, Server
from hotpipe.errors import TriggerError
from hotpipe.events import ChangeDetected, Emit, TriggerTouched, printable
from hotpipe.gate import cycle, plan, stage
from hotpipe.process.system import Processes
from hotpipe.tree.globs import Globs
from hotpipe.tree.watcher import Change


class Tree(Protocol):
    """What the gate asks of the watched tree: `Watcher`, or `Still` for a single check."""

    @property
    def tree(self) -> str: ...
    async def confirm(self) -> str: ...
    def still(self) -> bool: ...


class Gate:
    """The gate of one project. `run` it in a task; `changed`, `request` and `stop` may be called from any task."""

    def __init__(self, project: Project, processes: Processes, emit: Emit, touches: dict[str | None, str]) -> None:
        """`touches` says which triggers to write: {server (None for none): path relative to the root}. What a server
        needs, and what concerns it, its configuration says."""
        self._project = project
        self._processes = processes
        self._emit = emit
        self._touches = touches
        triggers = tuple(_trigger(project.config, server) for server in touches)
        self._state: cycle.State = cycle.Idle(cycle.Past(tuple(project.config.stage), triggers))
        self._send, self._inbox = anyio.create_memory_object_stream[cycle.Input](math.inf)
        self._scopes: dict[str, anyio.CancelScope] = {}
        self._alarm = anyio.CancelScope()
        self._sweep = anyio.CancelScope()
        self._tree: Tree | None = None
        self._following: tuple[Project, dict[str | None, str]] | None = None

    def changed(self, change: Change) -> None:
        """The tree is different."""
        paths = tuple(map(printable, change.delta.changed))
        if paths:
            self._emit(ChangeDetected(paths=paths, cause=change.cause))
        self._tell(cycle.Changed(paths, tuple(map(printable, change.delta.touched)), change.tree))

    def reconfigure(self, project: Project, touches: dict[str | None, str]) -> None:
        """PROVISIONAL, until the machine can be told: waits until nothing runs, then runs all again and touches all."""
        self._following = project, touches
        if isinstance(self._state, cycle.Idle | cycle.Resting | cycle.Untouched):
            self._adopt()
        elif self._tree is not None:
            self._tell(cycle.Requested(self._tree.tree))

    def _adopt(self) -> None:
        if self._following is None:
            return
        before = self._project.config.server
        self._project, self._touches = self._following
        self._following = None
        known = {trigger.server: trigger for trigger in self._state.past.triggers}
        servers = self._project.config.server
        triggers = tuple(
            known[name]
            if name is not None and name in known and _is_same(before.get(name), servers[name])
            else _trigger(self._project.config, name)
            for name in self._touches
        )
        past = replace(self._state.past, stages=tuple(self._project.config.stage), triggers=triggers)
        self._state = cycle.Idle(past)
        if self._tree is not None:
            self._tell(cycle.Requested(self._tree.tree))

    def request(self, tree: str) -> None:
        """Run the stages, whatever has changed."""
        self._tell(cycle.Requested(tree))

    def stop(self) -> None:
        """End: cancel what runs, and let `run` return."""
        self._tell(cycle.Stopped())

    async def run(self, tree: Tree) -> None:
        """Work until stopped; what is told after that is not heard."""
        self._tree = tree
        async with self._send, self._inbox, anyio.create_task_group() as tasks:
            async for given in self._inbox:
                self._heed(given, tree, tasks)
                if isinstance(self._state, cycle.Over):
                    break
                if isinstance(self._state, cycle.Idle | cycle.Resting | cycle.Untouched):
                    self._adopt()
            tasks.cancel_scope.cancel()

    def _tell(self, given: cycle.Input) -> None:
        with contextlib.suppress(anyio.ClosedResourceError):
            self._send.send_nowait(given)

    def _heed(self, given: cycle.Input, tree: Tree, tasks: TaskGroup) -> None:
        inputs = deque([given])
        while inputs:
            self._state, actions = cycle.step(self._state, inputs.popleft(), time.monotonic())
            answers = [self._perform(action, tree, tasks) for action in actions]
            inputs.extend(answer for answer in answers if answer is not None)

    def _perform(self, action: cycle.Action, tree: Tree, tasks: TaskGroup) -> cycle.Input | None:
        """Do it; what is known at once is returned, anything else comes through the inbox."""
        match action:
            case cycle.Emit(event):
                self._emit(event)
            case cycle.StartStage(run, name):
                self._sweep.cancel()  # of a run that is void: sweeps of a large tree must not pile up
                self._scopes[name] = anyio.CancelScope()
                tasks.start_soon(self._run_stage, run, name)
            case cycle.CancelStage(name):
                self._scopes[name].cancel()
            case cycle.Confirm(run):
                self._sweep.cancel()
                self._sweep = anyio.CancelScope()
                tasks.start_soon(self._confirm, run, tree, self._sweep)
            case cycle.Touch():
                return self._touch(action, tree)
            case cycle.Wake(at):
                self._alarm.cancel()
                self._alarm = anyio.CancelScope()
                tasks.start_soon(self._wake, at, self._alarm)
        return None

    async def _run_stage(self, run: int, name: str) -> None:
        command = stage.command_of(self._project, name, run)
        task = stage.Task(run, name, self._project.config.stage[name], command, self._processes, self._emit)
        status = await task.perform(self._scopes[name])
        self._tell(cycle.StageEnded(run, name, status))

    async def _confirm(self, run: int, tree: Tree, scope: anyio.CancelScope) -> None:
        with scope:
            self._tell(cycle.Confirmed(run, await tree.confirm()))

    async def _wake(self, at: float, scope: anyio.CancelScope) -> None:
        with scope:
            await anyio.sleep(max(0.0, at - time.monotonic()))
            self._tell(cycle.Woken())

    def _touch(self, touch: cycle.Touch, tree: Tree) -> cycle.Input:
        """Write the triggers in the same breath in which the tree is known to stand: nothing here waits. One that
        cannot be written holds up no other."""
        faults: list[TriggerError] = []
        prepared = [ready for due in touch.due if (ready := self._prepared(touch, due, faults)) is not None]
        try:
            # The id too: the change that was reported last may still lie in the inbox.
            if not tree.still() or tree.tree != touch.tree:
                return cycle.Disturbed(touch.run)
            written = tuple(ready.server for ready in prepared if self._committed(touch, ready, faults))
        finally:
            for ready in prepared:
                ready.file.discard()
        if faults:
            return cycle.TouchFailed(touch.run, faults[0].message, faults[0].hint, written)
        return cycle.Touched(touch.run, written)

    def _prepared(self, touch: cycle.Touch, due: plan.Due, faults: list[TriggerError]) -> "_Prepared | None":
        path = self._touches[due.server]
        record = trigger.Record(
            run=touch.run, tree=touch.tree, server=due.server, changed=due.changed, at=trigger.now()
        )
        try:
            return _Prepared(due.server, path, trigger.Prepared(self._project.path(path), record))
        except TriggerError as error:
            faults.append(error)
            return None

    def _committed(self, touch: cycle.Touch, ready: "_Prepared", faults: list[TriggerError]) -> bool:
        try:
            ready.file.commit()
        except TriggerError as error:
            faults.append(error)
            return False
        self._emit(TriggerTouched(run=touch.run, server=ready.server, path=ready.path, tree=touch.tree))
        return True


def _is_same(before: Server | None, now: Server) -> bool:
    """But for the path of its trigger, which another server that comes beside it may change."""
    return before is not None and replace(before, trigger="") == replace(now, trigger="")


class _Prepared(NamedTuple):
    """A trigger, one rename away from being touched."""

    server: str | None
    path: str
    file: trigger.Prepared


def _trigger(config: Config, server: str | None) -> plan.Trigger:
    if server is None:
        return plan.Trigger(None)
    asked = config.server[server]
    return plan.Trigger(server, asked.needs, None if asked.inputs is None else Globs(asked.inputs))

"""Does what the gate's machine says, and tells it what came of that.

How it works: one task owns the state. Everything that happens is put into one inbox, in order; the task takes an input,
steps the machine and performs the actions. Stages and sweeps run beside it and answer through the inbox; what is known
at once, or what a touch came to, is answered on the spot.
"""

import contextlib
import math
import time
from collections import deque
from collections.abc import Collection, Mapping
from typing import NamedTuple, Protocol, assert_never

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup
from msgspec import structs

from hotpipe import trigger
from hotpipe.config.file import Project
from hotpipe.config.model import Config, Server, Stage, nearest
from hotpipe.errors import TriggerError, UsageError
from hotpipe.events import ChangeDetected, Emit, TriggerTouched, Warned, printable
from hotpipe.gate import command, configured, cycle, plan, state
from hotpipe.gate.cache import Cache
from hotpipe.gate.listed import Listed
from hotpipe.gate.memory import Memory
from hotpipe.gate.stage import Work
from hotpipe.gate.triggers import Due
from hotpipe.gate.undone import some
from hotpipe.gate.verdict import Verdict, standing
from hotpipe.process.system import Processes
from hotpipe.tree.identity import Entry
from hotpipe.tree.watcher import Change

_MOST_EXECUTIONS = 3  # of a stage that mutates, in one run: the last should find nothing left to do


class Tree(Protocol):
    """What the gate asks of the watched tree."""

    @property
    def tree(self) -> str: ...
    @property
    def entries(self) -> Mapping[str, Entry]: ...
    async def confirm(self) -> str: ...
    def still(self) -> bool: ...


class Setting(NamedTuple):
    """What a gate works with. `cache` keeps passes on disk (null: nowhere), `usual_ms` says how long stages take; where
    the project is a copy, `place` is what it is a copy of."""

    processes: Processes
    emit: Emit
    cache: Cache | None = None
    place: str | None = None
    usual_ms: Mapping[str, float] = {}


class Gate:
    """The gate of one project. `run` it in a task; the other methods may be called from any task."""

    def __init__(self, project: Project, touches: dict[str | None, str], setting: Setting) -> None:
        """`touches` says which triggers to write: {server (None for none): path relative to the root}. What a server
        needs, and what concerns it, its configuration says."""
        self._project = project
        self._setting = setting
        self._emit = setting.emit
        self._touches = touches
        self._memory = Memory(project, setting.cache, setting.place, setting.emit)
        graph = configured.graph(project.config, setting.usual_ms)
        triggers = configured.triggers(project.config, touches)
        past = state.Past(graph, triggers, own=configured.own(project))
        self._state: state.State = state.Idle(past)
        self._send, self._inbox = anyio.create_memory_object_stream[state.Input | _Ended | _Reload | _Asked](math.inf)
        self._works: dict[str, Work] = {}
        self._written: dict[str, set[str]] = {}  # what has changed while a stage that mutates was at work
        self._alarm = anyio.CancelScope()
        self._sweep = anyio.CancelScope()

    def changed(self, change: Change) -> None:
        """The tree is different."""
        paths, rewritten = change.delta
        if paths:
            self._emit(ChangeDetected(paths=tuple(map(printable, paths)), cause=change.cause))
        for written in self._written.values():
            written.update(paths)
        self._tell(state.Changed(paths, rewritten, change.tree))

    def request(self, tree: str, changed: frozenset[str] | None = None) -> None:
        """Run what has not passed; of that only what `changed` paths concern, where they are given."""
        self._tell(state.Requested(tree, changed=changed))

    def rerun(self, tree: str, stages: Collection[str] = ()) -> tuple[str, ...]:
        """Run these stages (none: all) and what needs them, whatever is remembered; raises UsageError where there is no
        such stage."""
        known = self._project.config.stage
        for name in stages:
            if name not in known:
                raise UsageError(f"there is no stage {name!r}{nearest(name, known)}")
        chosen = tuple(stages) or tuple(known)
        self._tell(state.Requested(tree, again=frozenset(chosen)))
        return chosen

    def pause(self) -> None:
        """Changes start no runs from now on."""
        self._tell(state.Pause())

    def resume(self) -> None:
        """They do again, and those meanwhile as well."""
        self._tell(state.Resume())

    def reconfigure(self, project: Project, touches: dict[str | None, str]) -> None:
        """Go on with another configuration; what it leaves as it was still stands."""
        self._tell(_Reload(project, touches))

    async def heard(self) -> None:
        """Returns when all that has been told by now has been heeded; never, if the gate has ended."""
        asked = _Asked(anyio.Event())
        self._tell(asked)
        await asked.heard.wait()

    @property
    def verdict(self) -> Verdict | None:
        """What stands on all that has been heeded; null while that is to be seen."""
        return standing(self._state)

    def stop(self) -> None:
        """End: cancel what runs, and let `run` return."""
        self._tell(state.Stopped())

    async def run(self, tree: Tree) -> None:
        """Work until stopped; what is told after that is not heard."""
        Listed.tidy(self._project.root)
        async with self._send, self._inbox, anyio.create_task_group() as tasks:
            await anyio.to_thread.run_sync(self._memory.fill, dict(tree.entries), abandon_on_cancel=True)
            self._tell_nothing()
            async for given in self._inbox:
                if isinstance(given, _Asked):
                    given.heard.set()
                    continue
                self._heed(self._noted(given, tree), tree, tasks)
                if isinstance(self._state, state.Over):
                    break
            tasks.cancel_scope.cancel()

    def _tell(self, given: "state.Input | _Ended | _Reload | _Asked") -> None:
        with contextlib.suppress(anyio.ClosedResourceError):
            self._send.send_nowait(given)

    def _noted(self, given: "state.Input | _Ended | _Reload", tree: Tree) -> state.Input:
        """What the machine is to hear; what it need not know is noted here, in the same order."""
        match given:
            case state.Changed(paths, rewritten, now):
                # What has been read while a burst went on, which ended where it began, had changed all the same.
                news = self._memory.changed(tree.entries, (*paths, *rewritten)).difference(paths)
                return state.Changed((*paths, *sorted(news)), tuple(p for p in rewritten if p not in news), now)
            case _Ended(work):
                self._memory.ended(work.name, work.key, work.record)
                doubtful = work.record.flaky or work.is_part or work.is_unsettled
                return state.StageEnded(work.name, work.record.status, doubtful)
            case _Reload():
                return self._reloaded(given, tree)
            case _:
                return given

    def _reloaded(self, reload: "_Reload", tree: Tree) -> state.Reconfigured:
        before, after = self._project.config, reload.project.config
        self._project, self._touches = reload
        self._memory.reconfigure(reload.project, dict(tree.entries))
        self._tell_nothing()
        redefined = _differing(_defined(before), _defined(after))
        altered = frozenset[str | None](_differing(_asked(before), _asked(after)))
        graph, triggers = configured.graph(after, self._setting.usual_ms), configured.triggers(after, reload.touches)
        return state.Reconfigured(graph, triggers, redefined, altered, tree.tree)

    def _tell_nothing(self) -> None:
        for name in self._memory.without_files():
            inputs = ", ".join(self._project.config.stage[name].inputs or ())
            message = f"stage {name!r} has nothing to look at: no watched file matches its inputs, {inputs}"
            hint = f"is one misspelt, or ignored? `hotpipe why FILE` says; see inputs under [stage.{name}]"
            self._emit(Warned(code="stage.nothing", message=message, hint=hint))

    def _heed(self, given: state.Input, tree: Tree, tasks: TaskGroup) -> None:
        inputs = deque([given])
        while inputs:
            self._state, actions = cycle.step(self._state, inputs.popleft(), time.monotonic())
            answers = [self._perform(action, tree, tasks) for action in actions]
            inputs.extend(answer for answer in answers if answer is not None)

    def _perform(self, action: state.Action, tree: Tree, tasks: TaskGroup) -> state.Input | None:
        """Do it; what is known at once is returned, anything else comes through the inbox."""
        match action:
            case state.Emit(event):
                self._emit(event)
            case state.Recall(run, name):
                return state.Recalled(name, self._memory.recall(run, name))
            case state.Keep(run, name):
                self._memory.keep(run, name)
            case state.Spare(run, name):
                self._memory.spare(run, name)
            case state.Vouch(stages):
                self._memory.vouched(stages)
                if self._memory.is_crowded:
                    tasks.start_soon(anyio.to_thread.run_sync, self._memory.prune)
            case state.Touch():
                return self._touch(action, tree)
            case _:
                self._set_going(action, tree, tasks)
        return None

    def _set_going(
        self,
        action: state.StartStage | state.Adopt | state.CancelStage | state.Confirm | state.Wake,
        tree: Tree,
        tasks: TaskGroup,
    ) -> None:
        match action:
            case state.StartStage():
                self._start(action, tree, tasks)
            case state.Adopt(run, name):
                self._works[name].adopt(run)
            case state.CancelStage(name):
                self._works[name].cancel()
            case state.Confirm(number):
                self._sweep.cancel()  # of a run that is void: sweeps of a large tree must not pile up
                self._sweep = anyio.CancelScope()
                tasks.start_soon(self._confirm, number, tree, self._sweep)
            case state.Wake(at):
                self._alarm.cancel()
                self._alarm = anyio.CancelScope()
                tasks.start_soon(self._wake, at, self._alarm)
            case _:
                assert_never(action)

    def _start(self, start: state.StartStage, tree: Tree, tasks: TaskGroup) -> None:
        name, stage = start.stage, self._project.config.stage[start.stage]
        # A script may read the list unseen: then it gets all, so that its pass is one on all.
        is_part = start.in_question and command.looks_at_part(stage)
        errand = self._errand(name, start.run, start.changed if is_part or not start.in_question else None)
        work = self._works[name] = Work(self._project.root, name, stage, self._setting.processes, self._emit)
        work.key = None if stage.mutates else self._memory.key(name)
        work.is_part = is_part
        work.begin(errand.job, start.run)
        tasks.start_soon(self._work, work, errand, tree)

    def _errand(self, name: str, run: int, changed: frozenset[str] | None) -> "_Errand":
        project = self._project
        paths = self._memory.files(name, changed)
        listed = Listed(project.root, name, command.relative_to(project.config.stage[name].cwd, paths))
        return _Errand(command.job(project, name, run, paths, listed.path), listed, changed)

    async def _work(self, work: Work, errand: "_Errand", tree: Tree) -> None:
        await (self._mutate(work, errand, tree) if work.stage.mutates else errand.done_by(work))
        work.finish()
        self._tell(_Ended(work))

    async def _mutate(self, work: Work, errand: "_Errand", tree: Tree) -> None:
        """Run a stage that mutates until nobody writes its inputs meanwhile, not even the user; all that it wrote has
        been told by then. What was written is looked at, too, where it is to look at a part."""
        node = plan.Node(work.name, inputs=configured.globs(work.stage.inputs))
        written = self._written[work.name] = set()
        try:
            for execution in range(1, _MOST_EXECUTIONS + 1):
                written.clear()
                await errand.done_by(work)
                await work.wait(tree.confirm)
                own = plan.own(node, written)
                if work.is_cancelled or not own:
                    return  # else a failure, too, is one on what is there no more
                if execution == _MOST_EXECUTIONS:
                    work.is_unsettled = True
                    self._emit(_unsettled(work.name, own))
                    return
                work.remark(f"{some(own)}: written meanwhile, so once more")
                errand = self._errand(work.name, work.run, None if errand.changed is None else errand.changed | own)
        finally:
            del self._written[work.name]

    async def _confirm(self, number: int, tree: Tree, scope: anyio.CancelScope) -> None:
        with scope:
            self._tell(state.Confirmed(number, await tree.confirm()))

    async def _wake(self, at: float, scope: anyio.CancelScope) -> None:
        with scope:
            await anyio.sleep(max(0.0, at - time.monotonic()))
            self._tell(state.Woken())

    def _touch(self, touch: state.Touch, tree: Tree) -> state.Input:
        """Write the triggers in the same breath in which the tree is known to stand: nothing here waits. One that
        cannot be written holds up no other."""
        faults: list[TriggerError] = []
        prepared = [ready for due in touch.due if (ready := self._prepared(touch, due, faults)) is not None]
        try:
            # The id too: the change that was reported last may still lie in the inbox.
            if not tree.still() or tree.tree != touch.tree:
                return state.Disturbed(touch.run)
            written = tuple(ready.server for ready in prepared if self._committed(touch, ready, faults))
        finally:
            for ready in prepared:
                ready.file.discard()
        if faults:
            return state.TouchFailed(touch.run, faults[0].message, faults[0].hint, written)
        return state.Touched(touch.run, written)

    def _prepared(self, touch: state.Touch, due: Due, faults: list[TriggerError]) -> "_Prepared | None":
        path = self._touches[due.server]
        changed = tuple(map(printable, due.changed))
        record = trigger.Record(run=touch.run, tree=touch.tree, server=due.server, changed=changed, at=trigger.now())
        try:
            return _Prepared(due.server, path, trigger.Prepared(self._project.path(path), record))
        except TriggerError as error:
            faults.append(error)
            return None

    def _committed(self, touch: state.Touch, ready: "_Prepared", faults: list[TriggerError]) -> bool:
        try:
            ready.file.commit()
        except TriggerError as error:
            faults.append(error)
            return False
        self._emit(TriggerTouched(run=touch.run, server=ready.server, path=ready.path, tree=touch.tree))
        return True


class _Errand(NamedTuple):
    """One execution of a stage, and what it is to look at (null: all of its inputs)."""

    job: command.Job
    listed: Listed
    changed: frozenset[str] | None

    async def done_by(self, work: Work) -> None:
        try:
            await work.perform(self.job)
        finally:
            self.listed.remove()


class _Ended(NamedTuple):
    """A stage is over."""

    work: Work


class _Asked(NamedTuple):
    """Somebody wants to know when all before this is heeded."""

    heard: anyio.Event


class _Reload(NamedTuple):
    """The configuration is another."""

    project: Project
    touches: dict[str | None, str]


class _Prepared(NamedTuple):
    """A trigger, one rename away from being touched."""

    server: str | None
    path: str
    file: trigger.Prepared


def _differing(before: Mapping[str, object], after: Mapping[str, object]) -> frozenset[str]:
    return frozenset(name for name in {*before, *after} if before.get(name) != after.get(name))


def _defined(config: Config) -> dict[str, tuple[Stage, tuple[str, ...]]]:
    needs = config.needs()
    return {name: (stage, needs[name]) for name, stage in config.stage.items()}


def _asked(config: Config) -> dict[str, Server]:
    """Each server but for the path of its trigger, which another one that comes beside it may change."""
    return {name: structs.replace(server, trigger="") for name, server in config.server.items()}


def _unsettled(stage: str, paths: frozenset[str]) -> Warned:
    return Warned(
        code="stage.unsettled",
        message=f"stage {stage!r} wrote {some(paths)} each of the {_MOST_EXECUTIONS} times that it ran: taken as it is",
        hint=f"have it leave alone what is right, or leave what it writes out of inputs under [stage.{stage}]",
    )

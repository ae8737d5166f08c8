"""Both halves of one project, what they look at, and the configuration that they go by.

How it works: the watched tree tells the gate and the servers what has changed; where there is no gate, glances do. A
changed configuration is put in force before anything comes of other changes that came with it.
"""

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass

import anyio

from hotpipe.config import file
from hotpipe.config.file import Project
from hotpipe.config.model import Config
from hotpipe.errors import UsageError
from hotpipe.events import ConfigReloaded, Emit, Listening
from hotpipe.gate import configured
from hotpipe.gate.cache import Cache, project_of
from hotpipe.gate.loop import Gate, Setting
from hotpipe.history import History
from hotpipe.job import Job
from hotpipe.process.system import System
from hotpipe.reload import Reload
from hotpipe.server.opening import Opened
from hotpipe.server.servers import Servers
from hotpipe.tree.glances import Glances
from hotpipe.tree.watched import Watched, Watching
from hotpipe.tree.watcher import Change

_BY_HAND = "touch the trigger, with `hotpipe trigger` say, or ask for a restart: `hotpipe restart`"


@dataclass(frozen=True, slots=True)
class Around:
    """What the halves work with."""

    opened: Opened
    processes: System
    history: History
    emit: Emit


class Halves:
    """`run` them in a task; `on_config` is called with each configuration that has been put in force."""

    def __init__(self, job: Job, around: Around, on_config: Callable[[Config], None]) -> None:
        root, watch = job.project.root, job.project.config.watch
        self._job = job
        self._on_config = on_config
        self._emit = around.emit
        self._file = os.path.basename(job.project.file)
        self._stopping = False
        self._reading = anyio.CancelScope()  # the tree for the first time, which can take long
        self.project = job.project  # with the configuration in force
        self.gate = Gate(job.project, self._touches(job.project), _setting(job, around)) if job.gate else None
        self.watched = Watched(root, _watching(job.project), self._changed, self._emit) if job.gate else None
        self._glances = Glances(root, watch.paths, configured.ignore(job.project), self._written)
        tree = self.watched or self._glances
        self.servers = Servers(job.project, around.opened, around.processes, self._emit, tree)
        self._reload = Reload(job.project, self._apply, self._emit) if job.role is not None else None

    @property
    def stages(self) -> tuple[str, ...]:
        """All stages, in their order; none where there is no gate."""
        return tuple(self.project.config.stage) if self.gate is not None else ()

    @property
    def listening(self) -> tuple[Listening, ...]:
        """All servers, in their order."""
        return tuple(Listening(name, addresses) for name, addresses in self.servers.addresses.items())

    async def run(self, on_begun: Callable[[], None]) -> None:
        """Until both are told to stop; `on_begun` is called once the tree has been read and a run is asked for."""
        async with anyio.create_task_group() as watching:
            if self.watched is not None:
                with self._reading:
                    await watching.start(self.watched.run)
            async with anyio.create_task_group() as tasks:
                self.servers.start(tasks)
                if self.gate is not None and self.watched is not None:
                    changed = None if self._job.changed is None else frozenset(self._job.changed)
                    self.gate.request(self.watched.tree, changed)
                    tasks.start_soon(self.gate.run, self.watched)
                    on_begun()
                if self._reload is not None:
                    watching.start_soon(self._reload.run)
            watching.cancel_scope.cancel()

    def stop(self) -> None:
        """Tell both to end, in order."""
        self._stopping = True
        self._reading.cancel()
        if self.gate is not None:
            self.gate.stop()
        self.servers.stop()

    async def look(self) -> None:
        """Whatever has changed by now has been told when this returns."""
        if self._reload is not None:
            self._reload.look_unless_unfinished()
        if self.watched is not None:
            await self.watched.confirm()

    # What users may ask: hotpipe.actions.

    def rerun(self, stages: Collection[str] = ()) -> tuple[str, ...]:
        gate, watched = self._gate_or_refuse()
        return gate.rerun(watched.tree, stages)

    def restart(self, servers: Collection[str] = ()) -> tuple[str, ...]:
        return self.servers.restart(servers)

    def pause(self) -> None:
        self._gate_or_refuse()[0].pause()

    def resume(self) -> None:
        self._gate_or_refuse()[0].resume()

    def _gate_or_refuse(self) -> tuple[Gate, Watched]:
        if self.gate is None or self.watched is None:
            raise UsageError("no gate runs here", hint="`hotpipe watch` and `hotpipe gate` have one")
        return self.gate, self.watched

    # What has changed.

    def _changed(self, change: Change) -> None:
        """As the watcher saw it. What the configuration says by then is in force before anything comes of it."""
        if self._reload is not None and self._file in change.delta.changed:
            self._reload.look_unless_unfinished()
        if self.gate is not None:
            self.gate.changed(change)
        self._written((*change.delta.changed, *change.delta.touched), change.tree)

    def _written(self, paths: tuple[str, ...], tree: str) -> None:
        """hotpipe's own file concerns no server: what it says of one is compared with what it said before."""
        self.servers.changed([path for path in paths if path != self._file or path == file.SHARED], tree)

    def _apply(self, project: Project) -> ConfigReloaded:
        """Put another configuration in force, and say so; raises HotpipeError, and then all is as it was."""
        if not self._stopping and project.config != self.project.config:
            self._put_in_force(project)
        return ConfigReloaded(path=self._file, stages=self.stages, servers=self.listening)

    def _put_in_force(self, project: Project) -> None:
        self._job.check(project.config, project.file)
        plan = self.servers.plan(project)
        if self.watched is not None:
            self.watched.reconfigure(_watching(project))
        self._glances.reconfigure(project.config.watch.paths, configured.ignore(project))
        self.servers.reconfigure(project, plan, "" if self.gate else _BY_HAND)
        if self.gate is not None:
            self.gate.reconfigure(project, self._touches(project))
        self.project = project
        self._on_config(project.config)

    def _touches(self, project: Project) -> dict[str | None, str]:
        return project.config.triggers() if self._job.touch else {}


def _setting(job: Job, around: Around) -> Setting:
    usual_ms = around.history.medians()
    if not job.cache:
        return Setting(around.processes, around.emit, usual_ms=usual_ms)
    folder = os.path.join(job.project.root, job.cache)
    cache = Cache(folder, job.project.config.gate.cache_size, around.emit)
    return Setting(around.processes, around.emit, cache, project_of(folder), usual_ms)


def _watching(project: Project) -> Watching:
    return Watching(project.config.watch, configured.never(project))

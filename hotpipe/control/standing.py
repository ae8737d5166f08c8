"""What `hotpipe status` and `hotpipe wait` are told: the events folded into where everything stands. Pure."""

from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from hotpipe.control.protocol import Failing, Failure, Finding, Run, Server, Socket
from hotpipe.events import (
    Address,
    AnyEvent,
    ConfigRejected,
    ConfigReloaded,
    Ending,
    GatePaused,
    GateResumed,
    RunFinished,
    RunStarted,
    ServerDiscarded,
    ServerDraining,
    ServerFailed,
    ServerLive,
    ServerStarting,
    ServerStopped,
    ServerVerified,
    StageFinding,
    StageFinished,
    StageStarted,
    Started,
    TriggerTouched,
)
from hotpipe.saves import Saves

_replace = msgspec.structs.replace


class _Generation(msgspec.Struct, frozen=True):
    pid: int
    tree: str | None
    verified: bool = False


class Standing:
    """Where the gate's newest run and each server stand."""

    def __init__(self, servers: Mapping[str, Iterable[Address]]) -> None:
        """`servers` says where each of them listens."""
        self.run: Run | None = None
        self.verdict: Run | None = None  # the last run that came to one
        self.stages: tuple[str, ...] = ()
        self.paused = self.ending = False
        self.errors: tuple[str, ...] = ()  # of a configuration that is not in force
        self._saves = Saves()
        self._found: dict[str, StageFinding] = {}
        self._at = ""
        self._servers: dict[str, Server] = {}
        self._generations: dict[tuple[str, int], _Generation] = {}
        self.know(servers)

    @property
    def servers(self) -> tuple[Server, ...]:
        """In the order of the configuration."""
        return tuple(_replace(each, behind=self._saves.since(each.tree)) for each in self._servers.values())

    def know(self, servers: Mapping[str, Iterable[Address]]) -> None:
        """These are the servers from now on, and where they listen. What happens to others is not told any more."""
        sockets = {name: tuple(Socket(each.name, each.addr) for each in servers[name]) for name in servers}
        self._servers = {
            name: _replace(self._servers.get(name, Server(name=name, state="stopped")), sockets=sockets[name])
            for name in servers
        }
        self._generations = {key: each for key, each in self._generations.items() if key[0] in servers}

    def apply(self, event: AnyEvent, at: str = "") -> None:
        """Take in one event; `at` is its time, UTC in RFC 3339."""
        self._at = at
        if getattr(event, "server", None) in self._servers.keys() | {None}:
            self._saves.apply(event)
            self._apply_run(event)
            self._apply_rest(event)
            self._apply(event)

    def _apply_run(self, event: AnyEvent) -> None:
        match event:
            case RunStarted(run=run, tree=tree):
                self.run, self._found = Run(run=run, status="running", tree=tree), {}
            case RunFinished(status=status) if self.run is not None:
                self.run = _replace(self.run, status=status)
                self.verdict = self.run if status != "superseded" else self.verdict
            case StageStarted(stage=stage):
                self._found.pop(stage, None)  # what an attempt found that is followed by another one does not count
            case StageFinding(stage=stage, severity=severity):
                if stage not in self._found or severity == "error" != self._found[stage].severity:
                    self._found[stage] = event
            case StageFinished(status="failed" | "timed_out", allowed=False) if self.run is not None:
                self.run = _replace(self.run, failing=(*self.run.failing, self._failing(event)))
            case _:
                pass

    def _failing(self, event: StageFinished) -> Failing:
        found = self._found.get(event.stage)
        if found is None:
            return Failing(stage=event.stage, status=event.status)
        first = Finding(path=found.path, line=found.line, column=found.column, message=found.message)
        return Failing(stage=event.stage, status=event.status, findings=event.findings, first=first)

    def _apply_rest(self, event: AnyEvent) -> None:
        match event:
            case Started(stages=stages) | ConfigReloaded(stages=stages):
                self.stages, self.errors = stages, ()
            case ConfigRejected(errors=errors):
                self.errors = errors
            case GatePaused():
                self.paused = True
            case GateResumed():
                self.paused = False
            case Ending():
                self.ending = True
            case _:
                pass

    def _apply(self, event: AnyEvent) -> None:
        if (number := getattr(event, "generation", None)) is not None:
            self._boot(event, number)
        match event:
            case ServerStarting(server=name, generation=number):
                self._generations[name, number] = _Generation(event.pid, event.tree)
                if self._servers[name].generation is None:
                    self._servers[name] = _replace(self._servers[name], state="starting")
            case ServerLive(server=name, generation=number):
                self._servers[name] = _replace(self._servers[name], failure=None)
                self._serve(name, number)
            case ServerVerified(server=name, generation=number):
                self._generations[name, number] = _replace(self._generations[name, number], verified=True)
                self._serve(name, self._servers[name].generation)
            case ServerFailed(server=name, serving=serving):
                failed = self._generations.get((name, event.generation))
                tree = failed.tree if failed is not None else None
                failure = Failure(event.generation, event.reason, event.retry_ms, tree, self._at)
                self._servers[name] = _replace(self._servers[name], failure=failure)
                self._serve(name, serving, otherwise="failed")
            case TriggerTouched(server=str(name), tree=tree):
                self._settle(name, tree)
            case ServerDiscarded(server=name, serving=serving):
                self._serve(name, serving)
            case ServerDraining(server=name, generation=number) if number == self._servers[name].generation:
                self._servers[name] = _replace(self._servers[name], state="draining")
            case ServerStopped(server=name, generation=number):
                self._generations.pop((name, number), None)
                if number == self._servers[name].generation:
                    self._serve(name, None)
            case _:
                pass

    def _settle(self, name: str, wanted: str) -> None:
        """If that tree is served already, what failed was another one, which nobody waits for any more."""
        server = self._servers[name]
        if server.failure is not None and wanted == server.tree != server.failure.tree:
            self._servers[name] = _replace(server, failure=None)

    def _boot(self, event: AnyEvent, number: int) -> None:
        """Who is on the way."""
        name = getattr(event, "server", "")
        match event:
            case ServerStarting():
                self._servers[name] = _replace(self._servers[name], booting=number)
            case ServerLive() | ServerFailed() | ServerDiscarded() | ServerStopped():
                if self._servers[name].booting == number:
                    self._servers[name] = _replace(self._servers[name], booting=None)
            case _:
                pass

    def _serve(
        self,
        name: str,
        number: int | None,
        otherwise: Literal["stopped", "failed"] = "stopped",
    ) -> None:
        before = self._servers[name]
        serving = self._generations.get((name, number)) if number is not None else None
        if serving is None:
            state = before.state if before.state == "failed" else otherwise
            nobody = Server(name=name, state=state, sockets=before.sockets)
            self._servers[name] = _replace(nobody, failure=before.failure, booting=before.booting)
            return
        self._servers[name] = _replace(
            before,
            state="live",
            generation=number,
            pid=serving.pid,
            tree=serving.tree,
            verified=serving.verified,
        )

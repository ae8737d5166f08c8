"""What is to be shown, folded from the events. Pure: faces differ in how they draw this, not in what it says."""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from hotpipe.events import (
    Address,
    AnyEvent,
    ChangeDetected,
    ConfigRejected,
    ConfigReloaded,
    Ending,
    GatePaused,
    GateResumed,
    Listening,
    RunFinished,
    RunStarted,
    RunStatus,
    ServerDiscarded,
    ServerDraining,
    ServerFailed,
    ServerLive,
    ServerOutput,
    ServerReady,
    ServerStarting,
    ServerStatus,
    ServerStopped,
    ServerVerified,
    Severity,
    StageFinding,
    StageFinished,
    StageOutput,
    StageStarted,
    StageStatus,
    Started,
    TriggerTouched,
    Warned,
    WatchReady,
    WebReady,
)
from hotpipe.saves import Saves

MOST_CHARACTERS = 4_000_000
MOST_LINES = 5_000  # of one stage's output; of what is longer, the end is what one needs
MOST_FINDINGS = 1_000  # of one stage; of more, the beginning
MOST_GENERATIONS = 50  # of one server that are dead
MOST_WARNINGS = 50
Outcome = Literal["booting", "live", "discarded", "failed"]
_FAILED = frozenset({"failed", "timed_out"})


@dataclass(slots=True)
class StageView:
    """One stage of the current run; `lost` counts the lines before those in `output`.

    `since` is the run that it was started in, if that is an earlier one whose process goes on.
    """

    name: str
    command: str = ""
    status: StageStatus | None = None
    exit_code: int | None = None
    took_ms: float = 0.0
    flaky: bool = False
    allowed: bool = False
    why: str = ""
    since: int | None = None
    output: deque[str] = field(default_factory=deque)
    characters: int = 0
    lost: int = 0
    findings: list[StageFinding] = field(default_factory=list)
    found: int = 0  # also those that are not in `findings`
    began: float | None = None  # CLOCK_MONOTONIC, in seconds; none: it was not started

    @property
    def kept(self) -> bool:
        """Whether it goes on since an earlier run."""
        return self.since is not None

    def add(self, text: str) -> None:
        self.output.append(text)
        self.characters += len(text)
        while len(self.output) > MOST_LINES or self.characters > MOST_CHARACTERS:
            self.characters -= len(self.output.popleft())
            self.lost += 1

    def find(self, finding: StageFinding) -> None:
        self.found += 1
        if len(self.findings) < MOST_FINDINGS:
            self.findings.append(finding)

    def finish(self, event: StageFinished) -> None:
        self.status, self.exit_code, self.took_ms = event.status, event.exit_code, event.took_ms
        self.flaky, self.allowed, self.why = event.flaky, event.allowed, event.why
        # What an attempt found that was followed by another one does not count.
        del self.findings[: max(0, self.found - event.findings)]

    def digest(self) -> int:
        """What tells one failure from another."""
        return hash((self.command, self.status, self.exit_code, self.lost, *self.output))

    def has_failed(self) -> bool:
        return self.status in _FAILED

    def count(self, severity: Severity) -> int:
        return sum(finding.severity == severity for finding in self.findings)

    def foremost(self) -> list[StageFinding]:
        """What one looks at first: the errors, or what there is where there are none; in the tool's order."""
        errors = [finding for finding in self.findings if finding.severity == "error"]
        return errors or [finding for finding in self.findings if finding.severity == "warning"]


@dataclass(slots=True)
class RunView:
    """The current or the last run."""

    number: int
    tree: str
    changed: tuple[str, ...]
    stages: dict[str, StageView] = field(default_factory=dict)
    status: RunStatus | None = None
    took_ms: float = 0.0
    began: float = 0.0

    def stage(self, name: str) -> StageView:
        """The stage of that name, from its first mention on."""
        return self.stages.get(name) or self.stages.setdefault(name, StageView(name))

    def failures(self) -> list[StageView]:
        """The stages that make the run red."""
        return [stage for stage in self.stages.values() if stage.has_failed() and not stage.allowed]

    def allowed(self) -> list[StageView]:
        """The stages that failed, and may."""
        return [stage for stage in self.stages.values() if stage.has_failed() and stage.allowed]

    def flaky(self) -> list[StageView]:
        """The stages that passed only after a retry, just now."""
        return [stage for stage in self.stages.values() if stage.flaky and stage.status == "passed"]


@dataclass(slots=True)
class GenerationView:
    """One version of a server. When it reached what it has reached: CLOCK_MONOTONIC, in seconds."""

    number: int = 0
    tree: str | None = None
    verified: bool = False
    pid: int | None = None
    says: str = ""
    outcome: Outcome = "booting"
    why: str = ""  # it was discarded, or failed
    starting: float | None = None
    ready: float | None = None
    live: float | None = None
    draining: float | None = None
    stopped: float | None = None


@dataclass(slots=True)
class ServerView:
    """What a server is at; `generation` is the one that answers, None where none does.

    `generations` are those not known to be dead, `past` the last of those that are. `failure` is what the newest
    generation died of, until one comes up or its tree is not wanted any more. `lost` counts the lines before those in
    `output`.
    """

    name: str
    generation: int | None = None
    sockets: tuple[Address, ...] = ()
    generations: dict[int, GenerationView] = field(default_factory=dict)
    past: deque[GenerationView] = field(default_factory=lambda: deque(maxlen=MOST_GENERATIONS))
    failure: ServerFailed | None = None
    behind: int = 0  # saves since the tree that is served was on disk
    output: deque[ServerOutput] = field(default_factory=deque)
    characters: int = 0
    lost: int = 0

    @property
    def tree(self) -> str | None:
        """The tree that is served; None where that is not known."""
        return self._serving().tree

    @property
    def verified(self) -> bool:
        """Whether what is served has passed."""
        return self._serving().verified

    @property
    def candidate(self) -> GenerationView | None:
        """The one that boots."""
        return next((each for each in self.generations.values() if each.outcome == "booting"), None)

    def known(self, number: int) -> GenerationView:
        """The generation of that number, from its first mention on."""
        return self.generations.setdefault(number, GenerationView(number))

    def add(self, line: ServerOutput) -> None:
        self.output.append(line)
        self.characters += len(line.text)
        while len(self.output) > MOST_LINES or self.characters > MOST_CHARACTERS:
            self.characters -= len(self.output.popleft().text)
            self.lost += 1

    def mark(self, number: int, outcome: Outcome, why: str) -> None:
        """What became of it, dead or not."""
        for generation in (*self.generations.values(), *self.past):
            if generation.number == number:
                generation.outcome, generation.why = outcome, why

    def settle(self, wanted: str) -> None:
        """That tree is to be served. If it is already, what failed was another one, which nobody waits for."""
        if self.failure is not None and wanted == self.tree != self._tree_of(self.failure.generation):
            self.failure = None

    def leave(self, number: int) -> GenerationView:
        """It is dead."""
        gone = self.generations.pop(number, GenerationView(number))
        self.past.append(gone)
        return gone

    def _tree_of(self, number: int) -> str | None:
        known = (*self.generations.values(), *self.past)
        return next((each.tree for each in known if each.number == number), None)

    def _serving(self) -> GenerationView:
        return self.generations.get(self.generation or 0, GenerationView())


@dataclass(slots=True)
class View:
    """The whole picture.

    `stages` are all of them in their order, where that was told; `usual_ms` is how long each takes. `saves` counts the
    changes. `errors` are those of a configuration that is not valid; `warnings` the last ones.
    """

    usual_ms: Mapping[str, float] = field(default_factory=dict)
    run: RunView | None = None
    servers: dict[str, ServerView] = field(default_factory=dict)
    started: Started | None = None
    stages: tuple[str, ...] = ()
    watching: WatchReady | None = None
    paused: bool = False
    ending: bool = False
    dashboard: str = ""  # its address, with what lets its buttons act
    saves: Saves = field(default_factory=Saves)
    verdict: Literal["green", "red"] | None = None  # the last one
    errors: tuple[str, ...] = ()
    warnings: deque[Warned] = field(default_factory=lambda: deque(maxlen=MOST_WARNINGS))
    _alive: dict[str, tuple[int, StageView]] = field(default_factory=dict)  # stages that may go on in another run
    _commands: dict[str, str] = field(default_factory=dict)

    def apply(self, event: AnyEvent, at: float = 0.0) -> None:
        """Take in one event; `at` is its CLOCK_MONOTONIC, in seconds."""
        match event:
            case ServerOutput():
                self.server(event.server).add(event)
            case StageOutput() if self.run:
                self._stage(self.run, event.stage).add(event.text)
            case RunStarted():
                self._start(event, at)
            case RunFinished() if self.run:
                self._finish(self.run, event)
            case StageStarted() if self.run:
                self._commands[event.stage] = event.command
                self.run.stages[event.stage] = self._begun(event, at)
            case StageFinding() if self.run:
                self._stage(self.run, event.stage).find(event)
            case StageFinished() if self.run:
                self._stage(self.run, event.stage).finish(event)
            case ChangeDetected():
                self._count(event)
            case _ if (name := getattr(event, "server", None)) is not None:
                self._apply_server(self.server(name), event, at)
            case _:
                self._apply_rest(event)

    def server(self, name: str) -> ServerView:
        """The server of that name, from its first mention on."""
        return self.servers.get(name) or self.servers.setdefault(name, ServerView(name))

    def is_current(self) -> bool:
        """Whether the last run is over, and on what is on disk."""
        run = self.run
        return run is not None and run.status in {"green", "red"} and self.saves.is_there(run.tree)

    def _apply_rest(self, event: AnyEvent) -> None:
        match event:
            case Started():
                self.started = event
                self._know(event.stages, event.servers)
            case ConfigReloaded():
                self.errors = ()
                self._know(event.stages, event.servers)
            case ConfigRejected():
                self.errors = event.errors
            case WatchReady():
                self.watching = event
            case GatePaused():
                self.paused = True
            case GateResumed():
                self.paused = False
            case Warned():
                self.warnings.append(event)
            case Ending():
                self.ending = True
            case WebReady():
                self.dashboard = event.url
            case _:
                pass

    def _know(self, stages: tuple[str, ...], servers: Iterable[Listening]) -> None:
        """These are all stages and servers from now on."""
        self.stages = stages
        listening = {each.name: each.sockets for each in servers}
        gone = [s for name, s in self.servers.items() if name not in listening and s.generations]
        self.servers = {name: self.server(name) for name in listening} | {server.name: server for server in gone}
        for name, sockets in listening.items():
            self.servers[name].sockets = sockets

    def _start(self, event: RunStarted, at: float) -> None:
        if self.run is not None and self.run.status in {None, "superseded"}:
            number = self.run.number
            unfinished = {name: (number, each) for name, each in self.run.stages.items() if each.status is None}
            self._alive |= unfinished
        self.run = RunView(event.run, event.tree, event.changed, began=at)
        self._count(event)

    def _finish(self, run: RunView, event: RunFinished) -> None:
        run.status, run.took_ms = event.status, event.took_ms
        if event.status != "superseded":
            self.verdict = event.status
            self._alive.clear()

    def _begun(self, event: StageStarted, at: float) -> StageView:
        """One that is kept brings what it has written, and where it began."""
        began, stage = self._alive.pop(event.stage, (event.run, StageView(event.stage)))
        if not event.kept:
            return StageView(event.stage, event.command, began=at)
        stage.command, stage.since = event.command, stage.since or began
        return stage

    def _stage(self, run: RunView, name: str) -> StageView:
        """Also of one that was not started, whose earlier end is told again."""
        stage = run.stage(name)
        stage.command = stage.command or self._commands.get(name, "")
        return stage

    def _count(self, event: ChangeDetected | RunStarted | ServerStarting) -> None:
        self.saves.apply(event)
        self._recount()

    def _recount(self) -> None:
        for server in self.servers.values():
            server.behind = self.saves.since(server.tree)

    def _apply_server(self, server: ServerView, event: AnyEvent, at: float) -> None:
        match event:
            case ServerStarting():
                generation = server.known(event.generation)
                generation.tree, generation.pid, generation.starting = event.tree, event.pid, at
                self.saves.apply(event)
            case ServerReady():
                server.known(event.generation).ready = at
            case ServerLive():
                self._live(server, event, at)
            case ServerVerified():
                server.known(event.generation).verified = True
            case ServerStatus():
                server.known(event.generation).says = event.text
            case ServerDraining():
                server.known(event.generation).draining = at
            case ServerDiscarded():
                server.mark(event.generation, "discarded", event.reason)
            case ServerStopped():
                server.leave(event.generation).stopped = at
                if server.generation == event.generation:
                    server.generation = None
            case ServerFailed():
                server.failure = event
                server.mark(event.generation, "failed", event.reason)
                server.generation = event.serving
            case TriggerTouched():
                server.settle(event.tree)
            case _:
                pass
        self._recount()

    def _live(self, server: ServerView, event: ServerLive, at: float) -> None:
        generation = server.known(event.generation)  # also where its start was not told
        generation.outcome, generation.pid, generation.live = "live", event.pid, at
        alive = {event.generation, server.generation}  # a process that reloads itself does not stop in between
        for number in server.generations.keys() - alive:
            server.leave(number)
        server.generation, server.sockets, server.failure = event.generation, event.sockets, None

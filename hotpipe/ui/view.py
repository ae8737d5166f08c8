"""What is to be shown, folded from the events. Pure: faces differ in how they draw this, not in what it says."""

from collections import deque
from dataclasses import dataclass, field

from hotpipe.events import (
    Address,
    AnyEvent,
    RunFinished,
    RunStarted,
    RunStatus,
    ServerFailed,
    ServerLive,
    ServerStarting,
    ServerStopped,
    ServerVerified,
    Severity,
    StageFinding,
    StageFinished,
    StageOutput,
    StageStarted,
    StageStatus,
)

MOST_CHARACTERS = 4_000_000
MOST_LINES = 5_000  # of one stage's output; of what is longer, the end is what one needs
MOST_FINDINGS = 1_000  # of one stage; of more, the beginning
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

    def stage(self, name: str) -> StageView:
        """The stage of that name, from its first mention on."""
        return self.stages.setdefault(name, StageView(name))

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
    """One version of a server that is not known to be dead."""

    tree: str | None = None
    verified: bool = False


@dataclass(slots=True)
class ServerView:
    """What a server is at; `generation` is the one that answers, None where none does."""

    name: str
    generation: int | None = None
    sockets: tuple[Address, ...] = ()
    generations: dict[int, GenerationView] = field(default_factory=dict)

    @property
    def tree(self) -> str | None:
        """The tree that is served; None where that is not known."""
        return self._serving().tree

    @property
    def verified(self) -> bool:
        """Whether what is served has passed."""
        return self._serving().verified

    def known(self, number: int) -> GenerationView:
        """The generation of that number, from its first mention on."""
        return self.generations.setdefault(number, GenerationView())

    def _serving(self) -> GenerationView:
        return self.generations.get(self.generation or 0, GenerationView())


@dataclass(slots=True)
class View:
    """The whole picture."""

    run: RunView | None = None
    servers: dict[str, ServerView] = field(default_factory=dict)
    _alive: dict[str, tuple[int, StageView]] = field(default_factory=dict)  # stages that may go on in another run
    _commands: dict[str, str] = field(default_factory=dict)

    def apply(self, event: AnyEvent) -> None:
        """Take in one event."""
        match event:
            case RunStarted():
                self._start(event)
            case RunFinished() if self.run:
                self.run.status, self.run.took_ms = event.status, event.took_ms
                if event.status != "superseded":
                    self._alive.clear()
            case StageStarted() if self.run:
                self._commands[event.stage] = event.command
                self.run.stages[event.stage] = self._begun(event)
            case StageOutput() if self.run:
                self._stage(self.run, event.stage).add(event.text)
            case StageFinding() if self.run:
                self._stage(self.run, event.stage).find(event)
            case StageFinished() if self.run:
                self._stage(self.run, event.stage).finish(event)
            case ServerStarting() | ServerLive() | ServerVerified() | ServerStopped() | ServerFailed():
                self._apply_server(self.servers.setdefault(event.server, ServerView(event.server)), event)
            case _:
                pass

    def _start(self, event: RunStarted) -> None:
        if self.run is not None and self.run.status in {None, "superseded"}:
            number = self.run.number
            unfinished = {name: (number, each) for name, each in self.run.stages.items() if each.status is None}
            self._alive |= unfinished
        self.run = RunView(event.run, event.tree, event.changed)

    def _begun(self, event: StageStarted) -> StageView:
        """One that is kept brings what it has written, and where it began."""
        began, stage = self._alive.pop(event.stage, (event.run, StageView(event.stage)))
        if not event.kept:
            return StageView(event.stage, event.command)
        stage.command, stage.since = event.command, stage.since or began
        return stage

    def _stage(self, run: RunView, name: str) -> StageView:
        """Also of one that was not started, whose earlier end is told again."""
        stage = run.stage(name)
        stage.command = stage.command or self._commands.get(name, "")
        return stage

    def _apply_server(
        self,
        server: ServerView,
        event: ServerStarting | ServerLive | ServerVerified | ServerStopped | ServerFailed,
    ) -> None:
        match event:
            case ServerStarting():
                server.known(event.generation).tree = event.tree
            case ServerLive():
                server.known(event.generation)  # also where its start was not told
                alive = {event.generation, server.generation}  # a process that reloads itself does not stop in between
                server.generations = {n: each for n, each in server.generations.items() if n in alive}
                server.generation, server.sockets = event.generation, event.sockets
            case ServerVerified():
                server.known(event.generation).verified = True
            case ServerStopped():
                server.generations.pop(event.generation, None)
                if server.generation == event.generation:
                    server.generation = None
            case ServerFailed():
                server.generation = event.serving

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
    StageFinished,
    StageOutput,
    StageStarted,
    StageStatus,
)

MOST_CHARACTERS = 4_000_000
MOST_LINES = 5_000  # of one stage's output; of what is longer, the end is what one needs


@dataclass(slots=True)
class StageView:
    """One stage of the current run; `lost` counts the lines before those in `output`."""

    name: str
    command: str = ""
    status: StageStatus | None = None
    exit_code: int | None = None
    took_ms: float = 0.0
    output: deque[str] = field(default_factory=deque)
    characters: int = 0
    lost: int = 0

    def add(self, text: str) -> None:
        self.output.append(text)
        self.characters += len(text)
        while len(self.output) > MOST_LINES or self.characters > MOST_CHARACTERS:
            self.characters -= len(self.output.popleft())
            self.lost += 1


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
        return [stage for stage in self.stages.values() if stage.status in {"failed", "timed_out"}]


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

    def apply(self, event: AnyEvent) -> None:
        """Take in one event."""
        match event:
            case RunStarted():
                self.run = RunView(event.run, event.tree, event.changed)
            case RunFinished() if self.run:
                self.run.status, self.run.took_ms = event.status, event.took_ms
            case StageStarted() if self.run:
                self.run.stage(event.stage).command = event.command
            case StageOutput() if self.run:
                self.run.stage(event.stage).add(event.text)
            case StageFinished() if self.run:
                stage = self.run.stage(event.stage)
                stage.status, stage.exit_code, stage.took_ms = event.status, event.exit_code, event.took_ms
            case ServerStarting() | ServerLive() | ServerVerified() | ServerStopped() | ServerFailed():
                self._apply_server(self.servers.setdefault(event.server, ServerView(event.server)), event)
            case _:
                pass

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

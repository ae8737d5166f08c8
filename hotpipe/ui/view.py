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
class ServerView:
    """What a server is at; `generation` is the one that answers, None where none does."""

    name: str
    generation: int | None = None
    tree: str | None = None
    verified: bool = False
    sockets: tuple[Address, ...] = ()
    trees: dict[int, str | None] = field(default_factory=dict)


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
                server.trees[event.generation] = event.tree
            case ServerLive():
                server.generation, server.sockets, server.verified = event.generation, event.sockets, False
                server.tree = server.trees.get(event.generation)
            case ServerVerified():
                server.verified = True
            case ServerStopped():
                server.trees.pop(event.generation, None)
                if server.generation == event.generation:
                    server.generation = None
            case ServerFailed():
                server.generation = event.serving

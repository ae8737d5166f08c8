"""Everything that happens, as a closed union of frozen events, and their JSON form (docs/events.md).

Halves emit events and never print; faces consume them and never decide. An event becomes a line of JSON only
together with its `Stamp`: `{"v":1,"seq":…,"time":…,"mono":…,"type":…, …}`.
"""

from collections.abc import Callable
from typing import Any, Literal

import msgspec

VERSION = 1
Stream = Literal["stdout", "stderr"]
Cause = Literal["event", "sweep", "poll"]
StageStatus = Literal["passed", "failed", "timed_out", "cancelled", "cached", "skipped"]
RunStatus = Literal["green", "red", "superseded"]
Severity = Literal["error", "warning", "note"]


class Event(msgspec.Struct, frozen=True, tag_field="type", kw_only=True):
    """What all events share: nothing but their place in the union."""


class Address(msgspec.Struct, frozen=True):
    """One listening socket as a client names it, `127.0.0.1:8000` say."""

    name: str
    addr: str


class Listening(msgspec.Struct, frozen=True):
    """A server of the configuration, and the sockets that are held for it: connections wait there for the first
    generation."""

    name: str
    sockets: tuple[Address, ...]


class Started(Event, frozen=True, tag="hotpipe.started"):
    """The first event of a hotpipe that goes on running: who it is, and its stages and servers in their order."""

    version: str
    pid: int
    root: str
    role: str
    stages: tuple[str, ...]
    servers: tuple[Listening, ...]


class WatchReady(Event, frozen=True, tag="watch.ready"):
    """Every change from here on is noticed: `dirs` watched folders, `files` watched files."""

    dirs: int
    files: int
    took_ms: float


class ChangeDetected(Event, frozen=True, tag="change.detected"):
    """The content of watched files differs from what was there before."""

    paths: tuple[str, ...]
    cause: Cause


class RunStarted(Event, frozen=True, tag="run.started"):
    """The stages begin on `tree`; `changed` are the paths that led to it."""

    run: int
    tree: str
    changed: tuple[str, ...]


class StageStarted(Event, frozen=True, tag="stage.started"):
    """A stage's process is alive; `kept`: since the run before, for what has changed does not concern it."""

    run: int
    stage: str
    command: str
    kept: bool = False


class StageOutput(Event, frozen=True, tag="stage.output"):
    """One line that a stage wrote, without its newline."""

    run: int
    stage: str
    stream: Stream
    text: str


class StageFinished(Event, frozen=True, tag="stage.finished"):
    """A stage is over and its processes are dead; `exit_code` is -N where signal N ended it.

    `flaky`: it passed only after a retry. `allowed`: it failed, and may. `why`: what made it cached or skipped.
    `findings`: how many stage.finding events there were.
    """

    run: int
    stage: str
    status: StageStatus
    exit_code: int | None
    took_ms: float
    flaky: bool = False
    allowed: bool = False
    why: str = ""
    findings: int = 0


class StageFinding(Event, frozen=True, tag="stage.finding"):
    """A place that a stage's output names, recognised as `tool` writes it; before the stage's stage.finished.

    `path` is relative to the root where it lies in it, else as it was written; `line` and `column` count from 1. Null
    is what the tool did not say; `code` is its name for the rule, "F401" say.
    """

    run: int
    stage: str
    tool: str
    severity: Severity
    path: str | None
    line: int | None
    column: int | None
    code: str | None
    message: str


class RunFinished(Event, frozen=True, tag="run.finished"):
    """`green` only if every stage passed on the tree that was on disk at that moment."""

    run: int
    status: RunStatus
    took_ms: float


class GatePaused(Event, frozen=True, tag="gate.paused"):
    """From now on changes are noticed, but start no run; one that is under way goes on to its end."""


class GateResumed(Event, frozen=True, tag="gate.resumed"):
    """Changes start runs again, and what has changed meanwhile starts one now."""


class TriggerTouched(Event, frozen=True, tag="trigger.touched"):
    """The trigger of `server` (null: of no server) now names `tree`."""

    run: int
    server: str | None
    path: str
    tree: str


class ServerStarting(Event, frozen=True, tag="server.starting"):
    """A generation's process is alive, not yet ready."""

    server: str
    generation: int
    pid: int
    tree: str | None


class ServerOutput(Event, frozen=True, tag="server.output"):
    """One line that a generation wrote, without its newline."""

    server: str
    generation: int
    stream: Stream
    text: str


class ServerReady(Event, frozen=True, tag="server.ready"):
    """A generation can serve; `how` names the evidence."""

    server: str
    generation: int
    how: str
    took_ms: float


class ServerLive(Event, frozen=True, tag="server.live"):
    """New connections reach this generation; `took_ms` counts from the request to restart."""

    server: str
    generation: int
    pid: int
    sockets: tuple[Address, ...]
    took_ms: float


class ServerVerified(Event, frozen=True, tag="server.verified"):
    """What is live has passed all its checks."""

    server: str
    generation: int
    tree: str


class ServerDraining(Event, frozen=True, tag="server.draining"):
    """A generation gets no new connections and finishes what it has."""

    server: str
    generation: int


class ServerDiscarded(Event, frozen=True, tag="server.discarded"):
    """A generation that was still booting is not wanted any more, for `reason`; `serving` is the one that goes on."""

    server: str
    generation: int
    reason: str
    serving: int | None


class ServerStatus(Event, frozen=True, tag="server.status"):
    """What a generation says of itself: STATUS= of sd_notify(3)."""

    server: str
    generation: int
    text: str


class ServerStopped(Event, frozen=True, tag="server.stopped"):
    """A generation's process tree is dead; `killed` where it had to be. `revisited`: after another one went live, it
    was asked something on a connection that was kept alive."""

    server: str
    generation: int
    exit_code: int | None
    signal: str | None
    killed: bool
    revisited: bool = False


class ServerFailed(Event, frozen=True, tag="server.failed"):
    """A generation did not come up, or died; `serving` is the one that goes on, `retry_ms` the pause before the next
    attempt where a live one has crashed."""

    server: str
    generation: int
    reason: str
    serving: int | None
    retry_ms: float | None = None


class WebReady(Event, frozen=True, tag="web.ready"):
    """The dashboard answers at `url`, whose fragment is the token that lets a page see and act."""

    url: str


class ConfigReloaded(Event, frozen=True, tag="config.reloaded"):
    """What the configuration at `path` says now is in force, with these stages and servers."""

    path: str
    stages: tuple[str, ...] = ()
    servers: tuple[Listening, ...] = ()


class ConfigRejected(Event, frozen=True, tag="config.rejected"):
    """The configuration at `path` has changed and is not valid; what was in force stays so."""

    path: str
    errors: tuple[str, ...]


class Warned(Event, frozen=True, tag="warning"):
    """Something a user should know; `code` is for machines, `hint` the way out."""

    code: str
    message: str
    hint: str = ""


class Ending(Event, frozen=True, tag="hotpipe.ending"):
    """hotpipe was told to end, and stops everything in order."""


AnyEvent = (
    Started | WatchReady | ChangeDetected | RunStarted | StageStarted | StageOutput | StageFinding | StageFinished
    | RunFinished | GatePaused | GateResumed | TriggerTouched | ServerStarting | ServerOutput | ServerReady | ServerLive
    | ServerVerified | ServerDraining | ServerDiscarded | ServerStatus | ServerStopped | ServerFailed
    | WebReady | ConfigReloaded | ConfigRejected | Warned | Ending
)  # fmt: skip
Output = StageOutput | ServerOutput
Emit = Callable[[AnyEvent], None]


class Stamp(msgspec.Struct, frozen=True, kw_only=True):
    """Where an event stands: `time` is UTC in RFC 3339, `mono` CLOCK_MONOTONIC in seconds."""

    v: int = VERSION
    seq: int
    time: str
    mono: float


class Stamped(msgspec.Struct, frozen=True):
    """An event with its stamp: what faces receive."""

    stamp: Stamp
    event: AnyEvent


def to_json(stamped: Stamped) -> bytes:
    """One line of `--json`, without its newline."""
    try:
        event = msgspec.json.encode(stamped.event)
    except UnicodeEncodeError:  # a path in the text of a warning, say
        event = msgspec.json.encode(_printable(msgspec.to_builtins(stamped.event)))
    return msgspec.json.encode(stamped.stamp)[:-1] + b"," + event[1:]


def printable(path: str) -> str:
    r"""A path (os.fsdecode form) as valid text: bytes that are not UTF-8 become `\xNN`."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _printable(part: Any) -> Any:
    match part:
        case str():
            return printable(part)
        case dict():
            return {key: _printable(inner) for key, inner in part.items()}
        case list() | tuple():
            return [_printable(inner) for inner in part]
        case _:
            return part

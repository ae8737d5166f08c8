"""The view as the page is told of it: small structs that become JSON. Pure, and bounded whatever the view holds."""

import json
from collections.abc import Iterator
from itertools import islice
from typing import Literal

import msgspec

from hotpipe.events import Address, StageFinding, Warned
from hotpipe.ui import words
from hotpipe.ui.pages import page
from hotpipe.ui.view import GenerationView, RunView, ServerView, StageView, View

State = Literal["starting", "checking", "green", "red", "changed", "paused", "serving", "waiting", "ending"]
MOST_FINDINGS = 100  # of one stage
MOST_PAST = 12  # generations of one server
MOST_STAGES = 500
_MOST_WARNINGS = 10
_MOST_ERRORS = 20
_MOST_PATHS = 20
_LONGEST = 2_000  # characters of a message, a command, a reason


class Head(msgspec.Struct, frozen=True):
    """What concerns all: the state in one word, the run, which stages and servers there are, in their order; `editor`
    opens a finding's place, empty where none can."""

    state: State
    stages: tuple[str, ...]
    servers: tuple[str, ...]
    root: str = ""
    version: str = ""
    role: str = ""
    paused: bool = False
    verdict: str | None = None
    run: int | None = None
    tree: str = ""
    status: str | None = None
    began: float | None = None
    took_ms: float = 0.0
    changed: tuple[str, ...] = ()
    changes: int = 0
    blame: str = ""
    errors: tuple[str, ...] = ()
    warnings: tuple[tuple[str, str, str], ...] = ()
    editor: str = ""


class Finding(msgspec.Struct, frozen=True):
    """A place that a stage names, as far as it is known."""

    severity: str
    path: str | None
    line: int | None
    column: int | None
    message: str
    code: str


class Stage(msgspec.Struct, frozen=True):
    """A stage; `status` null and `began` null: not yet reached."""

    name: str
    status: str | None = None
    command: str = ""
    began: float | None = None
    took_ms: float = 0.0
    usual_ms: float | None = None
    said: str = ""
    flaky: bool = False
    allowed: bool = False
    findings: tuple[Finding, ...] = ()
    found: int = 0


class Socket(msgspec.Struct, frozen=True):
    """Where a server is reached; `url` is empty where no browser can."""

    name: str
    addr: str
    url: str


class Generation(msgspec.Struct, frozen=True):
    """One version of a server, and when it reached what it has reached (CLOCK_MONOTONIC, in seconds)."""

    number: int
    tree: str
    verified: bool
    outcome: str
    why: str
    says: str
    pid: int | None
    starting: float | None
    ready: float | None
    live: float | None
    draining: float | None
    stopped: float | None


class Server(msgspec.Struct, frozen=True):
    """A server; `generation` is the one that answers."""

    name: str
    generation: int | None
    tree: str
    verified: bool
    behind: int
    sockets: tuple[Socket, ...]
    generations: tuple[Generation, ...]
    failure: str = ""
    retry_ms: float | None = None


def encoded(part: object) -> bytes:
    """JSON; also of text that is not valid (names of files), as escapes."""
    try:
        return msgspec.json.encode(part)
    except UnicodeEncodeError:
        return json.dumps(msgspec.to_builtins(part)).encode()


def sections(view: View, editor: str = "") -> Iterator[tuple[str, Head | Stage | Server]]:
    """All of it, in pieces that change at different times."""
    run = view.run.stages if view.run is not None else {}
    names = tuple(islice(dict.fromkeys((*view.stages, *run)), MOST_STAGES))
    yield "head", msgspec.structs.replace(_head(view, names), editor=editor)
    for name in names:
        usual_ms = view.usual_ms.get(name)
        yield f"stage:{name}", _stage(name, run.get(name), usual_ms, view.run.number if view.run else 0)
    for server in view.servers.values():
        yield f"server:{server.name}", _server(server)


def is_named(path: str, view: View) -> bool:
    """A finding of the run names that file."""
    stages = view.run.stages.values() if view.run is not None else ()
    return any(finding.path == path for stage in stages for finding in stage.findings)


def state(view: View) -> State:
    """The one word for it."""
    if view.ending:
        return "ending"
    if view.run is not None and view.run.status is None:
        return "checking"
    if view.paused:
        return "paused"
    if view.is_current() and view.verdict is not None:
        return view.verdict
    if view.run is not None:
        return "changed"
    if view.stages or (view.started is not None and view.started.role != "serve"):
        return "starting"
    return "serving" if any(server.generation for server in view.servers.values()) else "waiting"


def _head(view: View, names: tuple[str, ...]) -> Head:
    head = Head(
        state(view), names, tuple(view.servers),
        paused=view.paused, verdict=view.verdict,
        errors=tuple(error[:_LONGEST] for error in view.errors[:_MOST_ERRORS]),
        warnings=tuple(map(_warning, list(view.warnings)[-_MOST_WARNINGS:])),
    )  # fmt: skip
    if view.started is not None:
        told = view.started
        head = msgspec.structs.replace(head, root=told.root, version=told.version, role=told.role)
    return head if view.run is None else _with_run(head, view.run)


def _with_run(head: Head, run: RunView) -> Head:
    return msgspec.structs.replace(
        head,
        run=run.number,
        tree=run.tree,
        status=run.status,
        began=run.began,
        took_ms=run.took_ms,
        changed=run.changed[:_MOST_PATHS],
        changes=len(run.changed),
        blame=", ".join(map(words.blame, run.failures())),
    )


def _warning(warned: Warned) -> tuple[str, str, str]:
    return warned.code, warned.message[:_LONGEST], warned.hint[:_LONGEST]


def _stage(name: str, stage: StageView | None, usual_ms: float | None, run: int) -> Stage:
    if stage is None:
        return Stage(name, usual_ms=usual_ms)
    return Stage(
        name, stage.status, stage.command[:_LONGEST], stage.began, stage.took_ms, usual_ms,
        words.outcome(stage, run)[:_LONGEST] if stage.status else "",
        stage.flaky, stage.allowed, tuple(map(_finding, _worst(stage))), stage.found,
    )  # fmt: skip


def _worst(stage: StageView) -> list[StageFinding]:
    order = {"error": 0, "warning": 1, "note": 2}
    return sorted(stage.findings, key=lambda finding: order[finding.severity])[:MOST_FINDINGS]


def _finding(finding: StageFinding) -> Finding:
    path = None if finding.path is None else finding.path[:_LONGEST]
    message, code = finding.message[:_LONGEST], (finding.code or "")[:_LONGEST]
    return Finding(finding.severity, path, finding.line, finding.column, message, code)


def _server(server: ServerView) -> Server:
    known = (*list(server.past)[-MOST_PAST:], *server.generations.values())
    return Server(
        server.name, server.generation, server.tree or "", server.verified, server.behind,
        tuple(map(_socket, server.sockets)),
        tuple(map(_generation, sorted(known, key=lambda generation: -generation.number))),
        server.failure.reason[:_LONGEST] if server.failure else "",
        server.failure.retry_ms if server.failure else None,
    )  # fmt: skip


def _socket(address: Address) -> Socket:
    return Socket(address.name, address.addr, page(address) or "")


def _generation(one: GenerationView) -> Generation:
    return Generation(
        one.number, one.tree or "", one.verified, one.outcome, one.why[:_LONGEST], one.says[:_LONGEST],
        one.pid, one.starting, one.ready, one.live, one.draining, one.stopped,
    )  # fmt: skip

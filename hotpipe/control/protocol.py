"""What goes over the control socket, as JSON lines.

`{"v":1,"verb":"status"}` is answered by `{"ok":true, …}`, or `{"ok":false,"error":…,"hint":…,"exit_code":…}`.
Fields that a reader does not know are passed over, so either end may be a little newer than the other.

| verb | asks for | answered by |
|---|---|---|
| `status` | how everything stands | `Status` |
| `stop` | the end of this hotpipe | `Stopping`, before it has ended |
| `restart` | new generations of `servers`; with `timeout_s`: until they are live | `Restarting` |
| `rerun` | a run of `stages`, whatever is remembered of them | `Rerunning` |
| `pause`, `resume` | no runs for a while; runs again | `Pausing` |
| `wait` | `until` a verdict stands on what is on disk, or all servers serve; takes up to `timeout_s` | `Waited` |

Whoever gives a `timeout_s` is answered late. Meanwhile others are answered as ever; who hangs up before waits no more.
"""

import json
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from hotpipe.errors import HotpipeError, UsageError

VERSION = 1
LARGEST = 1 << 16  # bytes of a request

Verb = Literal["status", "stop", "restart", "rerun", "pause", "resume", "wait", "attach"]
State = Literal["starting", "live", "draining", "stopped", "failed"]


Until = Literal["verdict", "served"]


class Request(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is asked for; `servers` are those to restart, `stages` those to rerun, none for all; `server` is the
    one to attach to.

    `timeout_s`: so long the answer may take (0: it is to come at once). `until` says what is waited for; `patient`: a
    red run, or a generation that fails, does not end that; `checked`: only what has passed counts as served.
    """

    v: int = VERSION
    verb: Verb
    servers: tuple[str, ...] = ()
    server: str = ""
    stages: tuple[str, ...] = ()
    timeout_s: float = 0.0
    until: Until = "verdict"
    patient: bool = False
    checked: bool = False


class Socket(msgspec.Struct, frozen=True):
    """An open socket, as in `server.live`."""

    name: str
    addr: str


class Failure(msgspec.Struct, frozen=True):
    """The last generation that was no good, where none has come up since; `at` is when, UTC in RFC 3339."""

    generation: int
    reason: str
    retry_ms: float | None = None
    tree: str | None = None
    at: str = ""


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """What a server serves; `generation`, `pid` and `tree` are null where nothing does.

    `booting` is the generation that is to replace it, `behind` counts the saves since its tree was on disk.
    """

    name: str
    state: State
    generation: int | None = None
    pid: int | None = None
    tree: str | None = None
    verified: bool = False
    sockets: tuple[Socket, ...] = ()
    failure: Failure | None = None
    booting: int | None = None
    behind: int = 0


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A place that a stage's output names, as in `stage.finding`."""

    path: str | None
    line: int | None
    column: int | None
    message: str


class Failing(msgspec.Struct, frozen=True, kw_only=True):
    """A stage that makes a run red, and what one looks at first."""

    stage: str
    status: str  # as in stage.finished
    findings: int = 0
    first: Finding | None = None


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A run of the gate."""

    run: int
    status: Literal["running", "green", "red", "superseded"]
    tree: str | None = None
    failing: tuple[Failing, ...] = ()


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to `status`; `run` is the newest, null before the first, and where there is no gate.

    `verdict` is the last run that came to one. `errors` are those of a configuration that is not in force, for it is
    not valid; `dashboard` is what to open, where it runs.
    """

    pid: int
    role: str
    root: str
    run: Run | None = None
    servers: tuple[Server, ...] = ()
    verdict: Run | None = None
    stages: tuple[str, ...] = ()
    paused: bool = False
    errors: tuple[str, ...] = ()
    uptime_s: float = 0.0
    dashboard: str | None = None


class Stopping(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to `stop`, given before it has stopped."""

    pid: int
    role: str


class Restarting(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to `restart`: the servers whose restart has begun.

    To one that waits: `live` are their new generations, and `failed` says why those that are not there are missing.
    """

    servers: tuple[str, ...]
    live: dict[str, int] = {}
    failed: dict[str, str] = {}


class Attached(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to `attach`, after which the connection carries what is written on the server's terminal, and what is
    typed there. `generation` and `pid` are null where none lives: then the next one is waited for."""

    server: str
    generation: int | None
    pid: int | None


class Rerunning(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to `rerun`: the stages that run again, those that need them aside."""

    stages: tuple[str, ...]


class Pausing(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to `pause` and `resume`."""

    paused: bool


class Waited(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to `wait`: whether it has come to that, and if not, why not, for people.

    `run` is the verdict there is by then, and `servers` are all of them.
    """

    reached: bool
    timed_out: bool = False
    why: tuple[str, ...] = ()
    run: Run | None = None
    servers: tuple[Server, ...] = ()


Answer = Status | Stopping | Restarting | Rerunning | Pausing | Waited | Attached | Mapping[str, Any]


class _Version(msgspec.Struct, frozen=True):
    v: int = VERSION


def encode(request: Request) -> bytes:
    """A request as its line; raises UsageError where it is too long."""
    line = _text({"v": request.v, **msgspec.to_builtins(request)})
    if len(line) > LARGEST:
        raise UsageError(f"a request may have {LARGEST} bytes, this one has {len(line)}")
    return line


def decode(line: bytes) -> Request:
    """The request in a line; raises UsageError, whatever was sent."""
    try:
        version = msgspec.json.decode(line, type=_Version).v
        if version != VERSION:
            raise UsageError(f"this hotpipe speaks version {VERSION}, not {version}")
        return msgspec.json.decode(line, type=Request)
    except (ValueError, RecursionError) as error:  # DecodeError and UnicodeDecodeError are ValueErrors
        raise UsageError(f"not a request: {error}") from error


def answered(answer: Answer) -> bytes:
    """The line of an answer."""
    return _text({"ok": True, **msgspec.to_builtins(answer)})


def refused(error: HotpipeError) -> bytes:
    """The line that says what is wrong with a request."""
    return _text({"ok": False, "error": error.message, "hint": error.hint, "exit_code": error.exit_code})


def outcome(line: bytes) -> dict[str, Any]:
    """The fields of an answer; raises the error that it reports, and HotpipeError where it is none."""
    try:
        answer = json.loads(line)
        ok = answer.pop("ok")
    except (ValueError, RecursionError, KeyError, AttributeError, TypeError) as error:
        raise HotpipeError("what answers on the control socket is no hotpipe of this version") from error
    if ok is not True:
        raise _reported(answer)
    return dict(answer)


def _reported(answer: dict[str, Any]) -> HotpipeError:
    error = HotpipeError(str(answer.get("error", "refused")), str(answer.get("hint", "")))
    if isinstance(code := answer.get("exit_code"), int):
        error.exit_code = code
    return error


def _text(fields: dict[str, Any]) -> bytes:
    # Escaped by the standard library: a path may hold bytes that are no UTF-8 (os.fsdecode), which msgspec refuses.
    return json.dumps(fields, separators=(",", ":")).encode() + b"\n"

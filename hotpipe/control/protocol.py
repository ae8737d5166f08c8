"""What goes over the control socket, as JSON lines.

`{"v":1,"verb":"status"}` is answered by `{"ok":true, …}`, or `{"ok":false,"error":…,"hint":…,"exit_code":…}`.
Fields that a reader does not know are passed over, so either end may be a little newer than the other.
"""

import json
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from hotpipe.errors import HotpipeError, UsageError

VERSION = 1
LARGEST = 1 << 16  # bytes of a request

Verb = Literal["status", "stop", "restart", "attach"]
State = Literal["starting", "live", "draining", "stopped", "failed"]


class Request(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is asked for; `servers` are those to restart, none for all; `server` is the one to attach to."""

    v: int = VERSION
    verb: Verb
    servers: tuple[str, ...] = ()
    server: str = ""


class Socket(msgspec.Struct, frozen=True):
    """An open socket, as in `server.live`."""

    name: str
    addr: str


class Failure(msgspec.Struct, frozen=True):
    """The last generation that was no good, where none has come up since."""

    generation: int
    reason: str


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """What a server serves; `generation`, `pid` and `tree` are null where nothing does."""

    name: str
    state: State
    generation: int | None = None
    pid: int | None = None
    tree: str | None = None
    verified: bool = False
    sockets: tuple[Socket, ...] = ()
    failure: Failure | None = None


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """The gate's newest run."""

    run: int
    status: Literal["running", "green", "red", "superseded"]
    tree: str | None = None


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to `status`; `run` is null before the first run, and where there is no gate."""

    pid: int
    role: str
    root: str
    run: Run | None = None
    servers: tuple[Server, ...] = ()


class Stopping(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to `stop`, given before it has stopped."""

    pid: int
    role: str


class Restarting(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to `restart`: the servers whose restart has begun."""

    servers: tuple[str, ...]


class Attached(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to `attach`, after which the connection carries what is written on the server's terminal, and what is
    typed there. `generation` and `pid` are null where none lives: then the next one is waited for."""

    server: str
    generation: int | None
    pid: int | None


Answer = Status | Stopping | Restarting | Attached | Mapping[str, Any]


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

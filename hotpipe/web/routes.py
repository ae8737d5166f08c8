"""What the dashboard answers: the page's files, the stream, the past, and what the buttons ask for.

A file is one of a fixed table, so no path leads out of it. Each answer of `/api/` is JSON; a refusal has `error`
and `hint`.
"""

import os
import time
from collections.abc import Sequence
from typing import Any, TypeVar

import anyio.to_thread
import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from hotpipe.actions import Actions
from hotpipe.errors import UsageError
from hotpipe.history import History
from hotpipe.web import past
from hotpipe.web.board import Board
from hotpipe.web.desk import Desk, Open
from hotpipe.web.guard import MOST_BODY
from hotpipe.web.picture import encoded, is_named
from hotpipe.web.streaming import Stream, Streams

_STATIC = os.path.join(os.path.dirname(__file__), "static")
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_MOST_NAMES = 1_000
_UNOPENED = {
    404: "no finding names a file of the project that is called so",
    429: "too many files at once",
    500: "the editor could not be started",
}
_T = TypeVar("_T")


class Rerun(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of /api/rerun; none: all stages."""

    stages: tuple[str, ...] = ()


class Restart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of /api/restart; none: all servers."""

    servers: tuple[str, ...] = ()


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of /api/pause and /api/resume."""


def application(asked: "Asked", seen: "Seen", others: Sequence[BaseRoute] = ()) -> Starlette:
    """All routes; `others` are the badge's."""
    api = [
        Route("/api/stream", seen.stream, methods=["GET"]),
        Route("/api/past", seen.past, methods=["GET"]),
        Route("/api/rerun", asked.rerun, methods=["POST"]),
        Route("/api/restart", asked.restart, methods=["POST"]),
        Route("/api/pause", asked.pause, methods=["POST"]),
        Route("/api/resume", asked.resume, methods=["POST"]),
        Route("/api/open", asked.open, methods=["POST"]),
    ]
    refusals: dict[Any, Any] = {HTTPException: _refused, UsageError: _unasked}
    return Starlette(routes=[*_files(), *api, *others], exception_handlers=refusals)


class Seen:
    """What is read."""

    def __init__(self, streams: Streams, history: History) -> None:
        self._streams = streams
        self._history = history
        self._turn = anyio.Lock()  # one thread at most, however many pages there are

    async def stream(self, _request: Request) -> Response:
        if self._streams.are_full():
            raise HTTPException(503, "too many pages are open")
        return Stream(self._streams)

    async def past(self, _request: Request) -> Response:
        async with self._turn:
            told = await anyio.to_thread.run_sync(past.told, self._history)
            self._streams.board.know({stage.stage: stage.usual_ms for stage in told.stages if stage.usual_ms})
        return _answer(told)


class Asked:
    """What is done. Each waits for nothing but the request's body."""

    def __init__(self, actions: Actions, desk: Desk, board: Board) -> None:
        self._actions = actions
        self._desk = desk
        self._board = board

    async def rerun(self, request: Request) -> Response:
        asked = await _body(request, Rerun)
        return _answer({"stages": self._actions.rerun(asked.stages[:_MOST_NAMES])})

    async def restart(self, request: Request) -> Response:
        asked = await _body(request, Restart)
        return _answer({"servers": self._actions.restart(asked.servers[:_MOST_NAMES])})

    async def pause(self, request: Request) -> Response:
        await _body(request, Nothing)
        self._actions.pause()
        return _answer({})

    async def resume(self, request: Request) -> Response:
        await _body(request, Nothing)
        self._actions.resume()
        return _answer({})

    async def open(self, request: Request) -> Response:
        asked = await _body(request, Open)
        if is_named(asked.path, self._board.view):
            self._desk.remember((asked.path,))
        status = self._desk.open(asked, time.monotonic())
        if status == 409:
            raise UsageError("hotpipe knows no editor with a window", "set HOTPIPE_EDITOR")
        if status in _UNOPENED:
            raise HTTPException(status, _UNOPENED[status])
        return _answer({})


async def _body(request: Request, kind: type[_T]) -> _T:
    """The request's body; nothing is as good as {}."""
    body = b""
    try:
        async for chunk in request.stream():  # one that told no length, too, is bounded
            body += chunk
            if len(body) > MOST_BODY:
                raise HTTPException(413, f"a request has at most {MOST_BODY:,} bytes")
        return msgspec.json.decode(body or b"{}", type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise HTTPException(400, f"not what is understood here: {error}") from error
    except ClientDisconnect as error:
        raise HTTPException(400, "the request has no end") from error


def _answer(told: object, status: int = 200) -> Response:
    return Response(encoded(told), status, media_type="application/json")


async def _refused(_request: Request, error: HTTPException) -> Response:
    answer = _answer({"error": error.detail, "hint": ""}, error.status_code)
    answer.headers.update(error.headers or {})
    return answer


async def _unasked(_request: Request, error: UsageError) -> Response:
    return _answer({"error": error.message, "hint": error.hint}, 409)


def _files() -> list[Route]:
    """Read once: there are few, and they are small."""
    routes = []
    for name in sorted(os.listdir(_STATIC)):
        kind = _TYPES.get(os.path.splitext(name)[1])
        if kind is not None:
            with open(os.path.join(_STATIC, name), "rb") as file:
                routes.append(_file("/" if name == "index.html" else f"/{name}", file.read(), kind))
    return routes


def _file(path: str, content: bytes, kind: str) -> Route:
    async def answer(_request: Request) -> Response:
        return Response(content, media_type=kind)

    return Route(path, answer, methods=["GET"])

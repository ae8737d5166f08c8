"""What the badge in the user's own pages asks for: its script, the stream of what happens, and to open a file.

A page of any origin may load the script, which says nothing; all else is answered only to pages of hotpipe's own
servers and of `[web] origins`, and a file is opened only with the token that these alone can read.

How it works: events are folded at once, and a page is told what has become of them, at most ten times a second. A page
says what it shows (a generation, or how far it was told), so that it learns which files differ.
"""

import hashlib
import hmac
import json
import os
import secrets
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass

import anyio
import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from hotpipe import __version__
from hotpipe.events import Output, Stamped
from hotpipe.ui.view import View
from hotpipe.web.changes import Changes, Server
from hotpipe.web.desk import Desk, Open
from hotpipe.web.origins import Origins
from hotpipe.web.seats import Seat, Seats, Stream
from hotpipe.web.told import Told, paths, told

TOKEN = "X-Hotpipe-Open"  # noqa: S105 - the name of a header
PAUSE_S = 0.1  # between two messages to a page
HEARTBEAT_S = 15.0
MOST_BODY = 8_192  # bytes of a request
_SCRIPT = os.path.join(os.path.dirname(__file__), "hotpipe.js")
_ALLOWED = {
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Headers": f"Content-Type, {TOKEN}",
    "Access-Control-Allow-Private-Network": "true",  # a page in the local network may ask loopback
    "Access-Control-Max-Age": "60",
}


class Hello(msgspec.Struct, frozen=True):
    """The first message. `yours` is the generation that the page shows. `for_ms`: for so long another one than before
    has been live; null: the first one still is. `gone_ms`: for so long the last one is gone that answered even then."""

    version: str
    epoch: str
    token: str
    editor: str
    yours: int | None
    for_ms: float | None
    gone_ms: float | None


@dataclass(frozen=True, slots=True)
class Page:
    """What a page says of itself. `epoch` and `place` are what it was told last, if it was told anything."""

    origin: str
    server: str
    generation: int | None
    epoch: str
    place: int | None


class Badge:
    """All that pages share. `take` events, mount `routes`, and `close`."""

    def __init__(self, origins: Origins, desk: Desk) -> None:
        self._origins = origins
        self._desk = desk
        self._view = View()
        self._changes = Changes()
        self._seats = Seats()
        self._token = secrets.token_urlsafe(24)
        self._epoch = secrets.token_hex(4)  # generations of another hotpipe have the same numbers
        self._changed = anyio.Event()
        self._closed = False

    @property
    def routes(self) -> list[BaseRoute]:
        asked = [
            Route("/hotpipe.js", _Script().answer, methods=["GET"]),
            Route("/badge/events", self._events, methods=["GET"]),
            Route("/badge/open", self._open, methods=["POST"]),
        ]
        return [*asked, *(Route(route.path, self._preflight, methods=["OPTIONS"]) for route in asked)]

    def take(self, batch: Iterable[Stamped]) -> None:
        """Heed what has happened; of lines of output, pages are told nothing."""
        news = [stamped for stamped in batch if not isinstance(stamped.event, Output)]
        for stamped in news:
            self._view.apply(stamped.event, stamped.stamp.mono)
            self._changes.apply(stamped.event, stamped.stamp.mono)
        if news:
            self._origins.servers = {name: server.sockets for name, server in self._view.servers.items()}
            self._ring()

    def name(self, origins: tuple[str, ...]) -> None:
        """What `[web] origins` says now."""
        self._origins.named = origins

    def close(self) -> None:
        """Nothing will happen any more: the streams end."""
        self._closed = True
        self._ring()

    def _ring(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    # The routes.

    async def _preflight(self, request: Request) -> Response:
        return Response(status_code=204, headers={**self._readable(request), **_ALLOWED})

    async def _events(self, request: Request) -> Response:
        headers = self._readable(request)
        seat = self._seats.take(_browser(request))
        self._ring()  # somebody may have to leave for it
        return Stream(self._told(_page(request), seat), seat, headers)

    async def _open(self, request: Request) -> Response:
        headers = self._readable(request)
        # As bytes: of a str, compare_digest takes ASCII only.
        if not hmac.compare_digest(request.headers.get(TOKEN, "").encode(), self._token.encode()):
            return Response(status_code=401, headers=headers)
        asked = await _body(request)
        status = self._desk.open(asked, time.monotonic()) if asked is not None else 400
        return Response(status_code=status, headers=headers)

    def _readable(self, request: Request) -> dict[str, str]:
        """What lets the page read the answer. Raises HTTPException, 403, where it is none of ours."""
        origins = request.headers.getlist("origin")
        if len(origins) != 1 or not self._origins.allows(origins[0]):
            raise HTTPException(403, "not for pages of this origin: see [web] origins", {"Vary": "Origin"})
        return {"Access-Control-Allow-Origin": origins[0], "Vary": "Origin", "Cache-Control": "no-store"}

    # The stream.

    async def _told(self, page: Page, seat: Seat) -> AsyncIterator[bytes]:
        hello = self._hello(page)
        yield _message("hello", hello)
        place, before = self._place(page, hello.yours), None
        while not self._closed and not seat.is_lost:
            changed, now = self._changed, told(self._view, self._changes, self._server(page))
            if now != before:
                self._desk.remember(paths(now))
                yield _message("state", self._since(page, place, now))
                place, before = now.fresh, now
                await anyio.sleep(PAUSE_S)
            with anyio.move_on_after(HEARTBEAT_S) as quiet:
                await changed.wait()
            if quiet.cancelled_caught:
                yield b":\n\n"  # so that it is noticed when nobody reads it
        yield _message("rest" if seat.is_lost else "end", {})

    def _hello(self, page: Page) -> Hello:
        server, yours = self._served(page), page.generation
        if server is not None and not page.epoch:
            yours = server.page(page.generation)
        for_ms = _ms_since(server.since) if server is not None and server.replaced else None
        gone_ms = _ms_since(server.gone) if server is not None and server.revisited is not None else None
        return Hello(__version__, self._epoch, self._token, self._desk.editor, yours, for_ms, gone_ms)

    def _place(self, page: Page, generation: int | None) -> int | None:
        if page.epoch:
            return page.place if page.epoch == self._epoch else None
        server = self._served(page)
        return server.place(generation) if server is not None else None

    def _since(self, page: Page, place: int | None, now: Told) -> Told:
        server = self._served(page)
        changed = self._changes.since(place, server) if server is not None else None
        return msgspec.structs.replace(now, changed=changed)

    def _served(self, page: Page) -> Server | None:
        name = self._server(page)
        return self._changes.server(name) if name is not None else None

    def _server(self, page: Page) -> str | None:
        """Whose page it is, by its own word, by its origin, or because there is no other."""
        servers = self._view.servers
        if page.server in servers:
            return page.server
        return self._origins.server(page.origin) or (next(iter(servers)) if len(servers) == 1 else None)


class _Script:
    """hotpipe.js, read once."""

    def __init__(self) -> None:
        with open(_SCRIPT, "rb") as file:
            self._content = file.read()
        self._headers = {
            "ETag": f'"{hashlib.sha256(self._content).hexdigest()[:16]}"',
            "Cache-Control": "no-cache",
            "Cross-Origin-Resource-Policy": "cross-origin",
        }

    async def answer(self, request: Request) -> Response:
        if self._headers["ETag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=self._headers)
        return Response(self._content, headers=self._headers, media_type="text/javascript")


def _page(request: Request) -> Page:
    asked = request.query_params
    generation, place = _number(asked.get("generation")), _number(asked.get("place"))
    return Page(request.headers["origin"], asked.get("server", ""), generation, asked.get("epoch", ""), place)


def _browser(request: Request) -> str:
    return f"{request.client.host if request.client else ''} {request.headers.get('user-agent', '')}"


async def _body(request: Request) -> Open | None:
    """None: it is not what is understood."""
    body = b""
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MOST_BODY:
                return None
        return msgspec.json.decode(body, type=Open)
    except (msgspec.DecodeError, UnicodeDecodeError, ClientDisconnect):
        return None


def _ms_since(then: float) -> float:
    return (time.monotonic() - then) * 1000


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) < 10 else None


def _message(kind: str, parts: object) -> bytes:
    try:
        encoded = msgspec.json.encode(parts)
    except UnicodeEncodeError:  # the name of a file that is not UTF-8
        encoded = json.dumps(msgspec.to_builtins(parts)).encode()
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), encoded)

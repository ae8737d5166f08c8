"""Puts hotpipe's badge into the pages of an ASGI application, in development:

    app.add_middleware(Hotpipe)    # FastAPI, Starlette
    app = Hotpipe(app)             # any other

Without hotpipe's page (`hotpipe watch --web`) this is the application itself, so nothing is between it and its server
in production. WebSockets, lifespan, and all that is no page go through untouched; streams go on streaming.
"""

import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from hotpipe.tag import Request, Tag, tag

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_OF_FILES = ("http.response.pathsend", "http.response.zerocopysend")  # the server itself sends: nothing can follow it


def Hotpipe(app: App) -> App:  # noqa: N802 - it stands in lists of classes
    """`app` with the badge in its pages; `app` itself where hotpipe shows nothing."""
    found = tag(os.environ)
    return app if found is None else _Tagged(app, found)


class _Tagged:
    def __init__(self, app: App, tag: Tag) -> None:
        self._app = app
        self._tag = tag

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        request = Request(scope["method"], headers)
        if not request.is_for_page():
            await self._app(scope, receive, send)
            return
        await self._app(_without_files(scope), receive, _Sending(self._tag, request, send))


class _Sending:
    """One response."""

    def __init__(self, tag: Tag, request: Request, send: Send) -> None:
        self._tag = tag
        self._request = request
        self._send = send
        self._left = b""  # what is to follow the last byte

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            message = self._started(message)
        elif message["type"] == "http.response.body" and self._left and not message.get("more_body", False):
            message = {**message, "body": bytes(message.get("body", b"")) + self._left}
        await self._send(message)

    def _started(self, message: Message) -> Message:
        given = list(message.get("headers", ()))  # an iterable: it may be there to be read but once
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in given]
        response = self._tag.response(self._request, message["status"], headers)
        if response is None:
            return {**message, "headers": given}
        self._left = response.tag
        sent = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in response.headers]
        return {**message, "headers": sent}


def _without_files(scope: Scope) -> Scope:
    extensions = scope.get("extensions") or {}
    kept = {name: value for name, value in extensions.items() if name not in _OF_FILES}
    return scope if len(kept) == len(extensions) else {**scope, "extensions": kept}

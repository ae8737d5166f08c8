"""Puts hotpipe's badge into the pages of a WSGI application, in development:

    app.wsgi_app = Hotpipe(app.wsgi_app)       # Flask
    application = Hotpipe(application)         # Django, any other

Without hotpipe's page (`hotpipe watch --web`) this is the application itself, so nothing is between it and its server
in production. What is no page goes through untouched; streams go on streaming.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any

from hotpipe.tag import Header, Request, Tag, tag

Environ = dict[str, Any]
Problem = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]
Write = Callable[[bytes], object]
StartResponse = Callable[..., Write]
App = Callable[[Environ, StartResponse], Iterable[bytes]]

_NAMED = ("HTTP_SEC_FETCH_DEST", "HTTP_X_REQUESTED_WITH", "HTTP_HX_REQUEST", "HTTP_RANGE")


def Hotpipe(app: App) -> App:  # noqa: N802 - as its sibling in hotpipe.asgi
    """`app` with the badge in its pages; `app` itself where hotpipe shows nothing."""
    found = tag(os.environ)
    return app if found is None else _Tagged(app, found)


class _Tagged:
    def __init__(self, app: App, tag: Tag) -> None:
        self._app = app
        self._tag = tag

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        request = _request(environ)
        if not request.is_for_page():
            return self._app(environ, start_response)
        starting = _Starting(self._tag, request, start_response)
        body = self._app(environ, starting)
        return body if starting.is_other() else _Body(body, starting)


class _Starting:
    """One response; an application may start it as late as with its first piece, and again when it fails."""

    def __init__(self, tag: Tag, request: Request, start_response: StartResponse) -> None:
        self._tag = tag
        self._request = request
        self._start_response = start_response
        self._is_started = False
        self.left = b""  # what is to follow the last byte

    def __call__(self, status: str, headers: list[Header], problem: Problem | None = None) -> Write:
        response = self._tag.response(self._request, int(status.split(maxsplit=1)[0]), headers)
        self._is_started, self.left = True, response.tag if response is not None else b""
        sent = response.headers if response is not None else headers
        return self._start_response(status, sent, problem) if problem else self._start_response(status, sent)

    def is_other(self) -> bool:
        """Whether it is known to be left as it is: then the server may send a file in its own way."""
        return self._is_started and not self.left


class _Body:
    """What the application gives, and the tag."""

    def __init__(self, body: Iterable[bytes], starting: _Starting) -> None:
        self._body = body
        self._starting = starting

    def __iter__(self) -> Iterator[bytes]:
        yield from self._body
        if self._starting.left:
            yield self._starting.left

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        if close is not None:
            close()


def _request(environ: Environ) -> Request:
    headers = {name[5:].replace("_", "-").lower(): environ[name] for name in _NAMED if name in environ}
    return Request(environ["REQUEST_METHOD"], headers)

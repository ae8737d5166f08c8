"""Who may ask the dashboard for what. `refusal` decides, and is pure; `Guard` stands in front of all routes.

Against names that a stranger's DNS lets point at loopback: the Host. Against pages of other origins in the user's own
browser: Origin and Sec-Fetch-Site. Against other users of this machine, who reach loopback as well: the token, for all
that is not the bare page. The badge's routes have their own rules beyond the Host (`hotpipe.web.badge`).
"""

import hmac
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BODY = 65_536  # bytes of a request
TOKEN = "X-Hotpipe-Token"  # noqa: S105 - the name of a header
_BADGE = ("/badge/", "/hotpipe.js")
_API = "/api/"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_OWN_HEADERS = {
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True, slots=True)
class Request:
    """What is looked at. `hosts` and `origins`: all headers of that name, for two are one too many."""

    method: str
    path: str
    hosts: Sequence[str]
    origins: Sequence[str] = ()
    site: str | None = None
    mode: str | None = None
    content_type: str = ""
    length: str | None = None
    token: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A status, and in words why."""

    status: int
    error: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Gatekeeper:
    """What is ours: the port, and the token."""

    port: int
    token: str = field(repr=False)

    def refusal(self, request: Request) -> Refusal | None:
        """Why this is not answered; None: it is."""
        if len(request.hosts) != 1 or request.hosts[0].lower() not in self._hosts():
            return Refusal(421, "this is not who was asked for", "open the address that hotpipe has printed")
        if request.path.startswith(_BADGE):
            return None
        return self._foreign(request) or self._unlike(request) or self._unknown(request)

    def _hosts(self) -> set[str]:
        names = ("127.0.0.1", "localhost", "[::1]")
        return {f"{name}:{self.port}" for name in names} | (set(names) if self.port == 80 else set())

    def _foreign(self, request: Request) -> Refusal | None:
        own = f"http://{request.hosts[0].lower()}"
        if any(origin.lower() != own for origin in request.origins) or _is_from_elsewhere(request):
            return Refusal(403, "another site asks", "open the dashboard in a tab of its own")
        return None

    def _unlike(self, request: Request) -> Refusal | None:
        if request.length is not None and not (request.length.isdecimal() and int(request.length) <= MOST_BODY):
            return Refusal(413, f"a request has at most {MOST_BODY:,} bytes")
        is_json = request.content_type.partition(";")[0].strip().lower() == "application/json"
        if request.method == "POST" and not is_json:
            return Refusal(415, "a request is application/json")
        return None

    def _unknown(self, request: Request) -> Refusal | None:
        if not request.path.startswith(_API):
            return None
        # As bytes: of a str, compare_digest takes ASCII only.
        if hmac.compare_digest(request.token.encode(), self.token.encode()):
            return None
        return Refusal(401, "no token, or a wrong one", "open the address that hotpipe has printed")


def _is_from_elsewhere(request: Request) -> bool:
    """Links that lead here may stand anywhere, the badge's in a page of localhost: following one does nothing."""
    if request.site in {None, "none", "same-origin"}:
        return False
    return not (request.method == "GET" and request.path == "/" and request.mode == "navigate")


class Guard:
    """ASGI: refuses, and adds to each response what keeps a browser from misusing it. `failed` is told of a defect."""

    def __init__(self, app: ASGIApp, gatekeeper: Gatekeeper, failed: Callable[[Exception], None]) -> None:
        self._app = app
        self._gatekeeper = gatekeeper
        self._failed = failed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        send = _sealed(scope["path"], send)
        refusal = self._gatekeeper.refusal(_request(scope))
        if refusal is not None:
            await _refuse(refusal, send)
            return
        try:
            await self._app(scope, receive, send)
        except Exception as error:  # noqa: BLE001 - a defect here is no reason to end
            self._failed(error)


def _request(scope: Scope) -> Request:
    headers = Headers(scope=scope)
    return Request(
        scope["method"],
        scope["path"],
        headers.getlist("host"),
        headers.getlist("origin"),
        headers.get("sec-fetch-site"),
        headers.get("sec-fetch-mode"),
        headers.get("content-type", ""),
        headers.get("content-length"),
        headers.get(TOKEN, ""),
    )


def _sealed(path: str, send: Send) -> Send:
    own = {} if path.startswith(_BADGE) else _OWN_HEADERS

    async def sealed(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update({**_HEADERS, **own})
        await send(message)

    return sealed


async def _refuse(refusal: Refusal, send: Send) -> None:
    told: dict[str, Any] = {"error": refusal.error, "hint": refusal.hint}
    body = json.dumps(told).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),  # what is left of its body is not read
    ]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

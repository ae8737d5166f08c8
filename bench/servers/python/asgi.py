"""An ASGI server's application: answers with its generation and its process id."""

import os
from collections.abc import Awaitable, Callable
from typing import Any

BODY = f"{os.environ.get('HOTPIPE_GENERATION', '0')} {os.getpid()}\n".encode()
HEADERS = [(b"content-type", b"text/plain"), (b"content-length", str(len(BODY)).encode())]


async def app(scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
    """The lifespan protocol, and one page for every path."""
    if scope["type"] == "lifespan":
        for step in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{step}.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})

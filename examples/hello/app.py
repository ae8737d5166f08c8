"""A web application in bare ASGI: one page, which shows the generation that answers."""

import html
import os
from collections.abc import Awaitable, Callable, MutableMapping
from datetime import datetime
from typing import Any

from greeting import greet

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{greeting}</title>
<style>
  :root {{ color-scheme: light dark; --ink: #24211d; --soft: #857b6e; --paper: #fbf7f0; --card: #fff; --hot: #e4572e }}
  @media (prefers-color-scheme: dark) {{
    :root {{ --ink: #f3ece2; --soft: #9c9183; --paper: #181512; --card: #221e1a; --hot: #ff7a50 }}
  }}
  body {{ margin: 0; min-height: 100vh; display: grid; place-items: center; background: var(--paper); color: var(--ink);
         font: 1.1rem/1.6 system-ui, sans-serif }}
  main {{ box-sizing: border-box; width: min(36rem, 92vw); padding: 2.5rem 3rem; border-radius: 1rem;
         background: var(--card); border-top: .4rem solid var(--hot); box-shadow: 0 1rem 3rem #0002 }}
  h1 {{ margin: 0 0 .5rem; font-size: 2.2rem; line-height: 1.2; letter-spacing: -.02em }}
  p {{ margin: 0 0 2rem; color: var(--soft) }}
  dl {{ display: grid; grid-template-columns: repeat(3, 1fr); gap: 1rem; margin: 0 }}
  dt {{ color: var(--soft); font-size: .8rem; letter-spacing: .08em; text-transform: uppercase }}
  dd {{ margin: 0; font: 600 1.3rem ui-monospace, monospace }}
  code {{ color: var(--hot) }}
</style>
<main>
  <h1>{greeting}</h1>
  <p>Edit <code>greeting.py</code>, save, and reload: green code arrives here, red code never does.</p>
  <dl>
    <div><dt>generation</dt><dd>{generation}</dd></div>
    <div><dt>tree</dt><dd>{tree}</dd></div>
    <div><dt>pid</dt><dd>{pid}</dd></div>
  </dl>
</main>
</html>
"""


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """Answer one request, or follow the server's start and stop."""
    if scope["type"] == "lifespan":
        await follow_lifespan(receive, send)
    elif scope["type"] == "http":
        await answer(send, *route(scope["path"]))


async def follow_lifespan(receive: Receive, send: Send) -> None:
    """Say that start and stop are complete: there is nothing to prepare."""
    while (await receive())["type"] == "lifespan.startup":
        await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.shutdown.complete"})


def route(path: str) -> tuple[int, str, str]:
    """Give status, media type and body for a path."""
    match path:
        case "/":
            return 200, "text/html", page()
        case "/healthz":
            return 200, "text/plain", "ok"
        case _:
            return 404, "text/plain", "not found"


def page() -> str:
    """Fill the page in with what hotpipe tells each generation about itself."""
    return PAGE.format(
        greeting=html.escape(greet("world", datetime.now().astimezone().hour)),
        generation=html.escape(os.environ.get("HOTPIPE_GENERATION", "–")),
        tree=html.escape(os.environ.get("HOTPIPE_TREE", "")[:8] or "–"),
        pid=os.getpid(),
    )


async def answer(send: Send, status: int, media_type: str, body: str) -> None:
    """Send a whole response."""
    content = body.encode()
    headers = [
        (b"content-type", f"{media_type}; charset=utf-8".encode()),
        (b"content-length", str(len(content)).encode()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})

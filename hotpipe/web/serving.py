"""uvicorn, inside of hotpipe's loop: it takes no signals, writes no log, and ends when the board is closed.

Invariant: however many connect, hotpipe keeps its descriptors, and answers who asks: beyond `MOST_CONNECTIONS` the
oldest of those that ask for nothing is closed.
"""

import contextlib
import logging
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import uvicorn
from anyio import Event
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from hotpipe.actions import Actions
from hotpipe.editor import choose
from hotpipe.history import History
from hotpipe.process import detached
from hotpipe.web.badge import Badge
from hotpipe.web.board import Board
from hotpipe.web.desk import Desk
from hotpipe.web.guard import Gatekeeper, Guard
from hotpipe.web.opening import Opened
from hotpipe.web.origins import Origins
from hotpipe.web.routes import Asked, Seen, application
from hotpipe.web.streaming import Streams

MOST_CONNECTIONS = 128
_AT_ONCE = 16  # asyncio accepts so many before it looks up, and each takes a descriptor from servers and stages
_QUEUE = 128  # wait in the kernel: who finds it full tries again after a second
_IDLE_S = 5
_PATIENCE_S = 1  # for answers that are under way when all ends


class _Protocol(H11Protocol):
    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.since = self.loop.time()
        here = [each for each in self.connections if isinstance(each, _Protocol) and not each.transport.is_closing()]
        if len(here) > MOST_CONNECTIONS:
            min(filter(_Protocol.is_idle, here), key=lambda each: each.since).transport.abort()

    def is_idle(self) -> bool:
        cycle: Any = self.cycle  # None before the first request
        return cycle is None or bool(cycle.response_complete)


class _Server(uvicorn.Server):
    """Signals are the session's; and an event, rather than a look each 0.1 s, says when it is over."""

    def __init__(self, config: uvicorn.Config, listening: socket.socket, over: Event) -> None:
        super().__init__(config)
        self._listening = listening
        self._over = over

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        self._listening.listen(_QUEUE)  # to asyncio both are one number
        await self._over.wait()


@dataclass(frozen=True, slots=True)
class Shown:
    """What the pages show, and whom they ask; `desk` is the badge's as well, `failed` is told of a defect."""

    board: Board
    history: History
    actions: Actions
    desk: Desk
    badge: Badge
    failed: Callable[[Exception], None]


def desk(root: str) -> Desk:
    """What opens the project's files."""
    return Desk(root, choose(os.environ, shutil.which), detached.start)


def badge(desk: Desk, origins: tuple[str, ...]) -> Badge:
    """What pages of the project's own servers are told, and of these other `origins`."""
    return Badge(Origins(socket.gethostname(), origins), desk)


def guarded(shown: Shown, opened: Opened) -> ASGIApp:
    """All that the dashboard answers, and the guard in front of it."""
    gatekeeper = Gatekeeper(opened.listening.getsockname()[1], opened.token)
    asked = Asked(shown.actions, shown.desk, shown.board)
    app = application(asked, Seen(Streams(shown.board), shown.history), shown.badge.routes)
    return Guard(app, gatekeeper, shown.failed)


async def serve(app: ASGIApp, opened: Opened, over: Event) -> None:
    """Answer until `over` is set."""
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).addHandler(logging.NullHandler())  # without one, Python writes to standard error
    config = uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        backlog=_AT_ONCE,
        timeout_keep_alive=_IDLE_S,
        timeout_graceful_shutdown=_PATIENCE_S,
    )
    await _Server(config, opened.listening, over).serve([opened.listening])

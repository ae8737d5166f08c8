"""The stream of what happens, as server-sent events (HTML standard, 9.2): a picture first, then what changes.

Invariant: a page gets at most ten messages a second, and there are at most `MOST_STREAMS`. Who comes back gets a whole
picture again, so an id is for the reader's eyes only.
"""

import time
from collections.abc import AsyncIterator

import anyio
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from hotpipe.web.board import Board, Follower

MOST_STREAMS = 32
_PAUSE_S = 0.1
_HEARTBEAT_S = 15.0
_RETRY_MS = 1_000


class Streams:
    """Those that are open."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self.open = 0

    def are_full(self) -> bool:
        return self.open >= MOST_STREAMS


class Stream(StreamingResponse):
    """One of them."""

    def __init__(self, streams: Streams) -> None:
        super().__init__(messages(streams.board), media_type="text/event-stream")
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._streams.open += 1
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._streams.open -= 1


async def messages(board: Board) -> AsyncIterator[bytes]:
    """What one page is sent, until the board is closed."""
    follower, number = Follower(board), 0
    yield b"retry: %d\n\n" % _RETRY_MS
    while True:
        number += 1
        yield b"id: %d\ndata: %s\n\n" % (number, follower.message(time.monotonic()))
        if board.closed:
            return
        await anyio.sleep(_PAUSE_S)
        while not await _has_changed(board, follower):
            yield b": nothing new\n\n"


async def _has_changed(board: Board, follower: Follower) -> bool:
    """False after a time in which nothing happened."""
    with anyio.move_on_after(_HEARTBEAT_S):
        if not follower.is_behind():
            await board.changed()
        return True
    return False

"""How many pages are told what happens, at once.

A browser opens six connections to a host at most (HTTP/1.1), and a tab holds one for as long as it is told. So of one
browser's tabs only the last few are; those before are told to rest, and ask again when somebody looks at them.

Invariant: whoever asks gets a seat, and nobody holds one for longer than `LEAVE_S` after it was lost: a page that does
not read is cut off.
"""

from collections.abc import AsyncIterator

import anyio
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

MOST = 64
MOST_OF_ONE = 4  # the dashboard needs a connection, and so does what is asked meanwhile
LEAVE_S = 5.0


class Seat:
    """One page's."""

    def __init__(self, browser: str) -> None:
        self.browser = browser
        self.is_lost = False
        self.scope = anyio.CancelScope()

    def lose(self) -> None:
        self.is_lost = True
        self.scope.deadline = anyio.current_time() + LEAVE_S


class Seats:
    """The oldest first."""

    def __init__(self) -> None:
        self._taken: list[Seat] = []

    def take(self, browser: str) -> Seat:
        """A seat; somebody else's, if all are taken."""
        self._taken = [seat for seat in self._taken if not seat.is_lost]
        same = [seat for seat in self._taken if seat.browser == browser]
        for seat in (*same[: max(0, len(same) - MOST_OF_ONE + 1)], *self._taken[: max(0, len(self._taken) - MOST + 1)]):
            seat.lose()
        self._taken.append(Seat(browser))
        return self._taken[-1]


class Stream(StreamingResponse):
    """Server-sent events to the one who has that seat."""

    media_type = "text/event-stream"

    def __init__(self, content: AsyncIterator[bytes], seat: Seat, headers: dict[str, str]) -> None:
        super().__init__(content, headers={"X-Accel-Buffering": "no", **headers})
        self._seat = seat

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with self._seat.scope:
                await super().__call__(scope, receive, send)
        finally:
            self._seat.is_lost = True

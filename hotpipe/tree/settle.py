"""When a burst of saves is over: after some quiet without a relevant event, and at the latest after `MOST_S`."""

from collections.abc import Awaitable, Callable

import anyio

MOST_S = 0.5  # a file that is written without end does not hold up the others


async def settle(
    quiet_s: Callable[[], float], next_event: Callable[[], Awaitable[None]], take: Callable[[], bool]
) -> None:
    """Wait out a burst. `next_event` waits for any event; `take` takes what came and says whether any was relevant;
    `quiet_s` then says how long a silence ends what has come so far."""
    end = anyio.current_time() + MOST_S
    quiet_at = anyio.current_time() + quiet_s()
    while (left_s := min(quiet_at, end) - anyio.current_time()) > 0:
        with anyio.move_on_after(left_s):
            await next_event()
        if take():
            quiet_at = anyio.current_time() + quiet_s()

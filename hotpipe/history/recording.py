"""Records what comes from the bus."""

import anyio.to_thread

from hotpipe.bus import Inbox
from hotpipe.history import History
from hotpipe.history.fold import WANTED


async def record(history: History, inbox: Inbox) -> None:
    """Record what comes, until `inbox` is closed; in a thread, so that nobody waits for the disk."""
    async for batch in inbox.batches():
        wanted = [stamped for stamped in batch if isinstance(stamped.event, WANTED)]
        if wanted:
            await anyio.to_thread.run_sync(history.apply_all, wanted)

"""Records what comes from the bus."""

import anyio.to_thread

from hotpipe.bus import Inbox
from hotpipe.history import History


async def record(history: History, inbox: Inbox) -> None:
    """Record what comes, until `inbox` is closed; in a thread, so that nobody waits for the disk."""
    async for batch in inbox.batches():
        if records := history.heed(batch):
            await anyio.to_thread.run_sync(history.write, records)

"""What a face is: something that turns events into text, and a loop that writes the text and never blocks others."""

import io
import sys
from collections.abc import Sequence
from typing import Protocol

import anyio
import anyio.to_thread

from hotpipe.bus import Inbox
from hotpipe.events import Stamped

_LAST_WORDS_S = 2.0  # how long a reader who does not read may hold up the end


class Face(Protocol):
    """Renders a batch of events; what it returns is written as it is."""

    def render(self, batch: Sequence[Stamped]) -> str: ...


async def show(face: Face, inbox: Inbox) -> None:
    """Write to standard output until the inbox is closed. Raises BrokenPipeError when nobody reads any more."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # what the terminal's encoding lacks must not end the show
    async for batch in inbox.batches():
        text = face.render(batch)
        if not text:
            continue
        with anyio.move_on_after(_LAST_WORDS_S if inbox.closed else None):
            await anyio.to_thread.run_sync(_write, text, abandon_on_cancel=True)


def _write(text: str) -> None:
    if sys.stdout is None:  # closed by whoever started hotpipe
        return
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError:  # a log on a full disk, say: lines are lost there, and the servers go on
        pass

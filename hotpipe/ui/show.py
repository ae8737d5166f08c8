"""Shows a face's text as it comes, and never blocks others."""

import io
import sys
import threading

import anyio
import anyio.to_thread

from hotpipe.bus import Inbox
from hotpipe.ui.face import Face, write

_LAST_WORDS_S = 2.0  # how long a reader who does not read may hold up the end


async def show(face: Face, inbox: Inbox) -> None:
    """Write to standard output until the inbox is closed. Raises BrokenPipeError when nobody reads any more."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # what the terminal's encoding lacks must not end the show
    gives_up = threading.Event()
    broken: BrokenPipeError | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_lose_patience, inbox, gives_up)
        try:
            await _show(face, inbox, gives_up)
        except BrokenPipeError as error:  # raised below: a task group would wrap it
            broken = error
        finally:
            gives_up.set()  # or the thread would go on waiting for its reader
        tasks.cancel_scope.cancel()
    if broken is not None:
        raise broken


async def _show(face: Face, inbox: Inbox, gives_up: threading.Event) -> None:
    async for batch in inbox.batches():
        if (text := face.render(batch)) and not gives_up.is_set():
            await anyio.to_thread.run_sync(write, text, gives_up, abandon_on_cancel=True)


async def _lose_patience(inbox: Inbox, gives_up: threading.Event) -> None:
    await inbox.closing.wait()
    await anyio.sleep(_LAST_WORDS_S)
    gives_up.set()

"""What a face is: something that turns events into text, and a loop that writes the text and never blocks others."""

import io
import os
import select
import sys
import threading
from collections.abc import Sequence
from typing import Protocol

import anyio
import anyio.to_thread

from hotpipe.bus import Inbox
from hotpipe.events import Stamped

_LOOK_MS = 100
_LAST_WORDS_S = 2.0  # how long a reader who does not read may hold up the end


class Face(Protocol):
    """Renders a batch of events; what it returns is written as it is."""

    def render(self, batch: Sequence[Stamped]) -> str: ...


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
            await anyio.to_thread.run_sync(_write, text, gives_up, abandon_on_cancel=True)


async def _lose_patience(inbox: Inbox, gives_up: threading.Event) -> None:
    await inbox.closing.wait()
    await anyio.sleep(_LAST_WORDS_S)
    gives_up.set()


def _write(text: str, gives_up: threading.Event) -> None:
    """Never stuck in write(2): a thread that is could not be left behind, and hotpipe would never end."""
    if sys.stdout is None:  # closed by whoever started hotpipe
        return
    try:
        try:
            descriptor = sys.stdout.fileno()
        except io.UnsupportedOperation:
            sys.stdout.write(text)
            return
        rest = memoryview(text.encode(sys.stdout.encoding, "backslashreplace"))
        ready = select.poll()
        ready.register(descriptor, select.POLLOUT)
        while rest and not gives_up.is_set():
            if ready.poll(_LOOK_MS):  # then there is room for PIPE_BUF bytes, pipe(7)
                rest = rest[os.write(descriptor, rest[: select.PIPE_BUF]) :]
    except BrokenPipeError:
        raise
    except OSError:  # a log on a full disk, say: lines are lost there, and the servers go on
        pass

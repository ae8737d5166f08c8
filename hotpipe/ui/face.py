"""What a face is: something that turns events into text, or that has the terminal to itself; and how text gets out."""

import io
import os
import select
import sys
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from hotpipe.actions import Actions
from hotpipe.events import Stamped

if TYPE_CHECKING:
    from hotpipe.bus import Inbox  # it brings the loop, which `hotpipe check` may not need

_LOOK_MS = 100


class Face(Protocol):
    """Renders a batch of events; what it returns is written as it is."""

    def render(self, batch: Sequence[Stamped]) -> str: ...


@runtime_checkable
class Screen(Protocol):
    """A face that has the terminal to itself: it draws, and it has keys."""

    async def run(self, inbox: "Inbox", actions: Actions) -> None:
        """Show what happens, until the inbox is closed; then the terminal is as it was. Raises nothing if it is gone
        meanwhile: that is what SIGHUP is for."""
        ...

    def leave(self) -> None:
        """The terminal is as it was, at once: before the process ends without a way back."""
        ...

    def aside(self, sequence: str) -> bool:
        """Write what is no part of the picture, a title say, where it tears nothing; whether it is taken."""
        ...


def write(text: str, gives_up: threading.Event) -> None:
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

"""Stamps events and fans them out to the faces.

How it works: `emit` never waits. Each face has an `Inbox` of its own and takes what is there in one batch. A face that
cannot keep up loses lines of output beyond its `Room`, and is told how many; it never loses anything else.
"""

from collections import deque
from collections.abc import AsyncIterator
from typing import NamedTuple

import anyio

from hotpipe.clock import stamp
from hotpipe.events import AnyEvent, ServerOutput, StageOutput, Stamped, Warned

MOST_OUTPUT = 10_000  # lines of output that wait for one face
MOST_CHARACTERS = 8_000_000  # in all of these
_OUTPUT = (StageOutput, ServerOutput)  # isinstance() takes three times longer with their union


class Room(NamedTuple):
    """How much output may wait for one reader: lines, and the characters of all of them."""

    lines: int = MOST_OUTPUT
    characters: int = MOST_CHARACTERS


FOR_ALL = Room(200_000, 64_000_000)
"""For a reader who is to lose nothing: 20 s of 10,000 lines a second while the disk stands still. Some 400 bytes a line
beside its text: 150 MB at the worst."""


NO_OUTPUT = Room(0, 0)
"""For a reader whom output does not concern: it gets none, and is not told."""


class Inbox:
    """What one face has yet to show."""

    def __init__(self, room: Room = Room()) -> None:  # noqa: B008 - it is frozen
        self._most_lines, self._most_characters = room
        self._waiting: deque[Stamped] = deque()
        self._outputs = 0
        self._characters = 0
        self._lost = 0
        self.closed = False
        self.closing = anyio.Event()
        self._arrived = anyio.Event()  # set as long as something waits

    def put(self, stamped: Stamped) -> None:
        """Take an event."""
        if not self._waiting:
            self._arrived.set()
        self._waiting.append(stamped)

    def put_output(self, stamped: Stamped, size: int) -> None:
        """Take a line of so many characters, or count it as lost."""
        if self._outputs >= self._most_lines or self._characters >= self._most_characters:
            self._lost += 1
            return
        self._outputs += 1
        self._characters += size
        if not self._waiting:
            self._arrived.set()
        self._waiting.append(stamped)

    def close(self) -> None:
        """No more will come: `batches` ends once all is taken."""
        self.closed = True
        self.closing.set()
        self._arrived.set()

    async def batches(self) -> AsyncIterator[list[Stamped]]:
        """Everything that has come since the last batch, in order, until the inbox is closed."""
        while self._waiting or not self.closed:
            await self._arrived.wait()
            batch = self._take()
            if batch:
                yield batch

    def _take(self) -> list[Stamped]:
        batch = list(self._waiting)
        if self._lost:
            message = f"{self._lost} lines of output came too fast to show"
            batch.append(Stamped(batch[-1].stamp, Warned(code="output.dropped", message=message)))
        self._waiting.clear()
        self._outputs = self._characters = self._lost = 0
        if not self.closed:
            self._arrived = anyio.Event()
        return batch


class Bus:
    """The one place where events get their number and their time."""

    def __init__(self) -> None:
        self._seq = 0
        self._inboxes: list[Inbox] = []
        self._hearing: list[Inbox] = []  # those who get output as well

    def subscribe(self, room: Room = Room()) -> Inbox:  # noqa: B008 - it is frozen
        """An inbox that receives all events from now on."""
        inbox = Inbox(room)
        self._inboxes.append(inbox)
        if room != NO_OUTPUT:
            self._hearing.append(inbox)
        return inbox

    def emit(self, event: AnyEvent) -> None:
        """Give `event` to every face; returns at once."""
        self._seq += 1
        stamped = Stamped(stamp(self._seq), event)
        if isinstance(event, _OUTPUT):
            size = len(event.text)
            for inbox in self._hearing:
                inbox.put_output(stamped, size)
        else:
            for inbox in self._inboxes:
                inbox.put(stamped)

    def close(self) -> None:
        """The last event has been emitted."""
        for inbox in self._inboxes:
            inbox.close()

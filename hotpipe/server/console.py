"""The terminals of one server's generations, and those who have come to type there (`hotpipe attach`).

Who is attached is led from a generation that ends to the next one. What they read is a copy (`terminal.Tap`): however
slow they are, it keeps nobody from hearing the server.
"""

from collections.abc import Callable
from typing import Protocol

import anyio
import msgspec

from hotpipe.control.protocol import Attached
from hotpipe.errors import HotpipeError
from hotpipe.process.terminal import Terminal

_MOST_ATTACHED = 8


class Place(msgspec.Struct, frozen=True):
    """One generation, and its terminal if it has one."""

    generation: int
    pid: int
    terminal: Terminal | None


class Line(Protocol):
    """A connection that carries bytes both ways."""

    async def receive(self) -> bytes:
        """What has been sent from there; empty when nothing comes any more."""
        ...

    async def transmit(self, chunk: bytes) -> bool:
        """All of it, however long that takes; false where there is nobody any more."""
        ...


class Console:
    """The living generations of a server, and who is attached."""

    def __init__(self, server: str) -> None:
        self.server = server
        self.attached = 0
        self.is_over = False
        self._places: dict[int, Place] = {}
        self._news = anyio.Event()

    def open(self, place: Place) -> None:
        """A generation has been started."""
        self._places[place.generation] = place
        self._tell()

    def close(self, generation: int) -> None:
        """It has ended."""
        self._places.pop(generation, None)
        self._tell()

    def end(self) -> None:
        """There will be no more generations."""
        self.is_over = True
        self._tell()

    @property
    def place(self) -> Place | None:
        """Where one would like to be: at the newest generation that waits for an answer, else at the newest."""
        heard = (place for place in self._places.values() if place.terminal is None or place.terminal.is_open)
        places = sorted(heard, key=lambda place: place.generation)
        waiting = [place for place in places if place.terminal is not None and place.terminal.prompt]
        return next(reversed(waiting or places), None)

    def attach(self) -> "Attachment":
        """Raises HotpipeError where there is nothing to attach to, or too many are."""
        place = self.place
        if place is not None and place.terminal is None:
            message = f"generation {place.generation} of {self.server} has no terminal"
            raise HotpipeError(message, hint="it was started without one: `hotpipe restart` starts another")
        if self.attached >= _MOST_ATTACHED:
            raise HotpipeError(f"{self.attached} are attached to {self.server} already", hint="leave one with Ctrl-]")
        return Attachment(self, place)

    async def next(self) -> Place | None:
        """The place, as soon as there is one; None where there will be none."""
        while not self.is_over and ((place := self.place) is None or place.terminal is None):
            await self._news.wait()
        return None if self.is_over else place

    def _tell(self) -> None:
        self._news.set()
        self._news = anyio.Event()


class Attachment:
    """One who is attached. `run` it when `answer` has been given."""

    def __init__(self, console: Console, place: Place | None) -> None:
        self._console = console
        self._place = place
        generation, pid = (None, None) if place is None else (place.generation, place.pid)
        self.answer = Attached(server=console.server, generation=generation, pid=pid)

    async def run(self, line: Line) -> None:
        """Until nobody is at the other end, or the server is gone for good."""
        self._console.attached += 1
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._type, line, tasks.cancel_scope.cancel)
                await self._show(line)
                tasks.cancel_scope.cancel()
        finally:
            self._console.attached -= 1

    async def _type(self, line: Line, leave: Callable[[], None]) -> None:
        while keys := await line.receive():
            if self._place is not None and self._place.terminal is not None:
                await self._place.terminal.type(keys)
        leave()

    async def _show(self, line: Line) -> None:
        told = self._place
        while place := self._place or await self._console.next():
            self._place = place
            if place is not told:
                await line.transmit(_said(f"now at generation {place.generation} (pid {place.pid})"))
            if not await _copied(place, line):
                return
            self._place = told = None
            await line.transmit(_said(f"generation {place.generation} has ended"))


async def _copied(place: Place, line: Line) -> bool:
    """Whether it came to its end, or he who reads it did not."""
    if place.terminal is not None:
        with place.terminal.tapped() as tap:
            while chunk := await tap.next():
                if not await line.transmit(chunk):
                    return False
    return True


def _said(text: str) -> bytes:
    """By hotpipe, on a raw terminal."""
    return f"\r\nhotpipe: {text}\r\n".encode()

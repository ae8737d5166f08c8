"""Notices that a trigger was touched, by whatever means, and never twice for one touch.

How it works: the file's mark (inode, size, times) is compared on each event of its folder and, in case one is missed,
every `_LOOK_S`. A file without a record gets a moment, for a writer that truncates first and writes then.
"""

import os
from collections.abc import Callable

import anyio

from hotpipe import trigger
from hotpipe.events import Emit, Warned
from hotpipe.tree.inotify import of_folder
from hotpipe.trigger import Mark, Record, Touch

_LOOK_S = 1.0
_LOOK_BLIND_S = 0.05  # where there are no events
_MOMENT_S = 0.02


class Touches:
    """One trigger, at `path`. What was there before is no touch."""

    def __init__(self, path: str, emit: Emit) -> None:
        self._path = path
        self._emit = emit
        self._seen: Mark | None = trigger.mark(path)
        self._record = trigger.read(path).record if self._seen else None
        self._source = of_folder(os.path.dirname(path))

    async def run(self, on_touch: Callable[[Record | None], None]) -> None:
        """Call `on_touch` for each touch, with the record if there is a new one, until cancelled."""
        try:
            while True:
                if (touch := await self._touch()) is not None:
                    on_touch(self._news(touch))
                await self._next()
        finally:
            if self._source is not None:
                self._source.close()

    async def _touch(self) -> Touch | None:
        """What the trigger holds, if it was touched: read while its mark stood still."""
        found, stood = trigger.mark(self._path), False
        if found == self._seen:
            return None
        touch = Touch(None)
        while found is not None:
            touch = trigger.read(self._path)
            if found == trigger.mark(self._path) and (touch.record is not None or stood):
                break
            await anyio.sleep(_MOMENT_S)
            stood = found == (found := trigger.mark(self._path))
        self._seen = found
        return touch if found is not None else None

    def _news(self, touch: Touch) -> Record | None:
        """The record; none where it is the last one still: then somebody touched the file by hand."""
        if touch.fault:
            message = f"the trigger {self._path} {touch.fault}; taken as a touch by hand"
            self._emit(Warned(code="trigger.unreadable", message=message))
        if touch.record is None or touch.record == self._record:
            return None
        self._record = touch.record
        return touch.record

    async def _next(self) -> None:
        if self._source is None:
            await anyio.sleep(_LOOK_BLIND_S)
            return
        with anyio.move_on_after(_LOOK_S):
            await self._source.wait()
        self._source.drain()

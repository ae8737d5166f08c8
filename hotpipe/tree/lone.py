"""Notices that one file has changed, by whatever means; never while it is half written, if the kernel tells.

How it works: the file's mark (inode, size, times) is compared on each event of its folder and, in case one is missed or
the file is a link to one elsewhere, every `_LOOK_S`.
"""

import os
from collections.abc import Callable

import anyio

from hotpipe import trigger
from hotpipe.tree.inotify import of_folder

_LOOK_S = 1.0
_LOOK_BLIND_S = 0.1  # where there are no events
_AWAY_S = 0.3  # a file that is away for longer is not being replaced
_OPEN_S = 2.0  # somebody who writes for longer is not waited for
_GLANCE_S = 0.02


class Lone:
    """The file at `path` (absolute); `poll` is that of `[watch]`. `run` it in a task."""

    def __init__(self, path: str, poll: str = "auto") -> None:
        self._path = path
        self._folder, self._name = os.path.split(path)
        self._seen = trigger.mark(path)
        self._is_open = False
        self._source = None if poll == "always" else of_folder(self._folder)

    def is_whole(self) -> bool:
        """It is there, and nobody is writing it. Never waits."""
        self._take()
        return not self._is_open and os.path.exists(self._path)

    async def run(self, on_change: Callable[[], None]) -> None:
        """Call `on_change` after each change, and also where the file stays away, until cancelled."""
        try:
            while True:
                await self._next(_LOOK_S)
                self._take()
                if trigger.mark(self._path) != self._seen:
                    await self._finished()
                    self._seen = trigger.mark(self._path)
                    on_change()
        finally:
            if self._source is not None:
                self._source.close()
                self._source = None

    async def _finished(self) -> None:
        """Whoever writes it is done, or has been waited for long enough."""
        began = anyio.current_time()
        while not self.is_whole():
            most_s = _OPEN_S if self._is_open else _AWAY_S
            if anyio.current_time() - began >= most_s:
                self._is_open = False
                break
            await self._next(_GLANCE_S)

    def _take(self) -> None:
        for suspect in self._source.drain()[0] if self._source is not None else ():
            if suspect.path == self._name:
                self._is_open = suspect.write == "open"

    async def _next(self, most_s: float) -> None:
        """An event, or some time."""
        if self._source is None:
            await anyio.sleep(min(most_s, _LOOK_BLIND_S))
            return
        with anyio.move_on_after(most_s):
            await self._source.wait()

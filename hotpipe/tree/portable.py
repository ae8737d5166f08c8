"""Events where there is no inotify (macOS, the BSDs): watchfiles, folder by folder.

watchfiles cannot add a folder to a running watch, so a new one means a new watch over the new list. It is begun before
the old one ends, and the `drain` after it says `lost`, so that a sweep closes the gap between the two.
"""

import os
from typing import Any

import anyio.to_thread
from watchfiles import Change
from watchfiles._rust_notify import RustNotify

from hotpipe.tree.inotify import Suspect

_STEP_MS = 10  # how often watchfiles looks: 18 ms from save to event, 0.4 % of a core
_PATIENCE_MS = 500


class Watchfiles:
    """Folders under watch, relative to `root`."""

    def __init__(self, root: str) -> None:
        self._root = os.path.realpath(root)
        self._folders: set[str] = set()
        self._fresh = True
        self._notify: RustNotify | None = None
        self._found: set[tuple[int, str]] = set()
        self._lost = False

    @property
    def watches(self) -> int:
        """How many folders are watched."""
        return len(self._folders)

    def watch(self, folder: str) -> None:
        """Report what happens to the entries of `folder`."""
        self._fresh = self._fresh and folder in self._folders
        self._folders.add(folder)

    def unwatch(self, folder: str) -> None:
        """Forget `folder`."""
        self._folders.discard(folder)

    async def wait(self) -> None:
        """Until there is something to drain."""
        while not (self._found or self._lost):
            await anyio.to_thread.run_sync(self._look, abandon_on_cancel=True)

    def drain(self) -> tuple[set[Suspect], bool]:
        """All that has happened since the last call, and whether some of it may have been missed."""
        found, self._found = self._found, set()
        lost, self._lost = self._lost, False
        return {self._suspect(change, path) for change, path in found}, lost

    def close(self) -> None:
        """End the watch."""
        if self._notify is not None:
            self._notify.close()

    def _look(self) -> None:
        notify = self._notify if self._notify is not None and self._fresh else self._renew()
        found: Any = notify.watch(_STEP_MS, _STEP_MS, _PATIENCE_MS, None)
        if isinstance(found, set):
            self._found |= found

    def _renew(self) -> RustNotify:
        before, self._fresh = self._notify, True
        paths = [path for folder in self._folders if os.path.isdir(path := os.path.join(self._root, folder))]
        self._notify = RustNotify(paths, False, False, 0, False, True)
        self._lost = True
        if before is not None:
            before.close()
        return self._notify

    def _suspect(self, change: int, path: str) -> Suspect:
        relative = os.path.relpath(path, self._root)
        is_dir = change != Change.deleted and os.path.isdir(path) and not os.path.islink(path)
        return Suspect("" if relative == "." else relative, is_dir)

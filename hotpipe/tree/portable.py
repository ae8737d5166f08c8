"""Events where there is no inotify (macOS, the BSDs): watchfiles, folder by folder.

watchfiles cannot add a folder to a running watch, so a new one means a new watch over the new list. It is begun before
the old one ends, and the `drain` after it says `lost`, so that a sweep closes the gap between the two. It also blocks
while it waits, so a thread waits in its place, and rings a bell that the loop can hear.
"""

import contextlib
import os
import threading

import anyio
from watchfiles import Change
from watchfiles._rust_notify import RustNotify, WatchfilesRustInternalError

from hotpipe.tree.suspect import Suspect

_STEP_MS = 10  # how often watchfiles looks: 18 ms from save to event, 0.4 % of a core
_PATIENCE_MS = 500


class Watchfiles:
    """Folders under watch, relative to `root`."""

    def __init__(self, root: str) -> None:
        self._root = os.path.realpath(root)
        self._lock = threading.Lock()  # guards the three below
        self._folders: set[str] = set()
        self._found: set[tuple[int, str]] = set()
        self._lost = False
        self._stale = threading.Event()  # the list of folders has changed, or this is the end
        self._closed = False
        self._thread = threading.Thread(target=self._look, name="watchfiles", daemon=True)
        self._bell, self._rope = os.pipe()
        os.set_blocking(self._bell, False)
        os.set_blocking(self._rope, False)

    @property
    def watches(self) -> int:
        """How many folders are watched."""
        return len(self._folders)

    def watch(self, folder: str) -> None:
        """Report what happens to the entries of `folder`."""
        with self._lock:
            if folder not in self._folders:
                self._folders.add(folder)
                self._stale.set()

    def unwatch(self, folder: str) -> None:
        """Forget `folder`."""
        with self._lock:
            self._folders.discard(folder)

    async def wait(self) -> None:
        """Until there is something to drain."""
        if self._thread.ident is None:
            self._thread.start()
        await anyio.wait_readable(self._bell)

    def drain(self) -> tuple[set[Suspect], bool]:
        """All that has happened since the last call, and whether some of it may have been missed."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._bell, 1 << 16)
        with self._lock:
            found, self._found = self._found, set()
            lost, self._lost = self._lost, False
        return {self._suspect(change, path) for change, path in found}, lost

    def close(self) -> None:
        """End the watch."""
        self._closed = True
        self._stale.set()
        if self._thread.ident is not None:
            self._thread.join()
        os.close(self._bell)
        os.close(self._rope)

    def _look(self) -> None:
        notify: RustNotify | None = None
        while not self._closed:
            if notify is None or self._stale.is_set():
                before, notify = notify, self._begun()
                self._report(set(), lost=True)
                if before is not None:
                    before.close()
            try:
                found = notify.watch(_STEP_MS, _STEP_MS, _PATIENCE_MS, self._stale)
            except WatchfilesRustInternalError:  # a name that is not UTF-8, or a queue that ran over: it stays broken
                self._stale.set()
            else:
                if isinstance(found, set):
                    self._report(found, lost=False)
        if notify is not None:
            notify.close()

    def _begun(self) -> RustNotify:
        while True:
            self._stale.clear()
            with self._lock:
                paths = [os.path.join(self._root, folder) for folder in self._folders]
            with contextlib.suppress(FileNotFoundError):  # one vanished since
                return RustNotify([p for p in paths if os.path.isdir(p) and _is_text(p)], False, False, 0, False, True)

    def _report(self, found: set[tuple[int, str]], *, lost: bool) -> None:
        gone = {self._relative(path) for change, path in found if change == Change.deleted}
        with self._lock:
            self._found |= found
            self._lost = self._lost or lost
            # What comes in the place of a deleted folder wants a new watch.
            self._folders -= {f for f in self._folders if gone and any(f == g or f.startswith(f"{g}/") for g in gone)}
        with contextlib.suppress(BlockingIOError):  # it rings already
            os.write(self._rope, b"\0")

    def _suspect(self, change: int, path: str) -> Suspect:
        is_dir = change != Change.deleted and os.path.isdir(path) and not os.path.islink(path)
        return Suspect(self._relative(path), is_dir)

    def _relative(self, path: str) -> str:
        relative = os.path.relpath(path, self._root)
        return "" if relative == "." else relative


def _is_text(path: str) -> bool:
    """What lies in a folder whose name is not UTF-8 is left to the sweep."""
    return path.isprintable() or not any("\ud800" <= c <= "\udfff" for c in path)

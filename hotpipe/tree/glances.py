"""The tree as seen by somebody who does not watch it, but looks now and then: `hotpipe serve`.

Each look compares with the one before (stat, and content where that differs), so a file that was written and undone
between two looks is seen as touched, and a second look costs no reading.
"""

from collections.abc import Callable

import anyio
import anyio.to_thread

from hotpipe.tree.ignore import Ignore
from hotpipe.tree.sweep import Snapshot

OnChange = Callable[[tuple[str, ...], str], None]  # the paths that were written, and the id of the tree


class Glances:
    """Looks of one project's tree. `on_change` is called for what differs from the last look; never for the first."""

    def __init__(self, root: str, paths: tuple[str, ...], ignore: Ignore, on_change: OnChange) -> None:
        self._root = root
        self._snapshot = Snapshot(root, paths, ignore)
        self._following: Snapshot | None = None
        self._looking = anyio.Lock()
        self._has_looked = False
        self._on_change = on_change

    def reconfigure(self, paths: tuple[str, ...], ignore: Ignore) -> None:
        """Look at these from the next time on; what they differ from what was seen before is told then."""
        self._following = Snapshot(self._root, paths, ignore)

    async def identify(self) -> str:
        """The id of the tree that is on disk; what differs from the last look has been told when this returns."""
        async with self._looking:
            written = await self._look()
            tree = self._snapshot.tree
            if written and self._has_looked:
                self._on_change(written, tree)
            self._has_looked = True
            return tree

    async def look(self) -> None:
        """The same, for who does not ask for the id."""
        await self.identify()

    async def settle(self) -> None:
        """The same: what has changed by now has been told when this returns."""
        await self.identify()

    async def _look(self) -> tuple[str, ...]:
        before = self._snapshot
        if self._following is not None:
            self._snapshot, self._following = self._following, None
        delta = await anyio.to_thread.run_sync(self._snapshot.refresh, ("",))
        if before is not self._snapshot:
            return before.differing_from(self._snapshot)
        return (*delta.changed, *delta.touched)

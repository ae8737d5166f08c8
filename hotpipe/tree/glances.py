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
        self._snapshot = Snapshot(root, paths, ignore)
        self._looking = anyio.Lock()
        self._has_looked = False
        self._on_change = on_change

    async def identify(self) -> str:
        """The id of the tree that is on disk; what differs from the last look has been told when this returns."""
        async with self._looking:
            delta = await anyio.to_thread.run_sync(self._snapshot.refresh, ("",))
            tree = self._snapshot.tree
            written = (*delta.changed, *delta.touched)
            if written and self._has_looked:
                self._on_change(written, tree)
            self._has_looked = True
            return tree

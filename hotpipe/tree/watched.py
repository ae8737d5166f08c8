"""The watched tree of one project, whatever the configuration says is watched.

How it works: a `Watcher` watches what the settings name. When they change, another one starts, and reads the tree;
the first goes on meanwhile. Then the second takes its place: what it found and the first did not, or the other way
round, is a change. While that goes on the tree is not `still`, and `confirm` waits.

Invariant: nothing that happens while the watchers change goes unreported.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import anyio
from anyio.abc import TaskGroup, TaskStatus

from hotpipe.config.model import Watch
from hotpipe.events import Emit
from hotpipe.tree.identity import Entry
from hotpipe.tree.sweep import Delta
from hotpipe.tree.watcher import Change, Watcher

_TRIES = 10  # to find the tree still; a busy one is left while it is not: then a run may be voided once too often


class Watching(NamedTuple):
    """What is watched, and what never is: paths relative to the root."""

    watch: Watch
    never: tuple[str, ...]


@dataclass(slots=True, eq=False)
class _Turn:
    """One watcher, for as long as its settings are in force; what it sees before is `early`, and `asking` are those who
    wait for its word."""

    watching: Watching
    early: set[str] = field(default_factory=set)
    asking: set[anyio.CancelScope] = field(default_factory=set)
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    watcher: Watcher = field(init=False)

    async def confirm(self) -> str | None:
        """As the watcher's; null where another one took its place meanwhile."""
        with anyio.CancelScope() as scope:
            self.asking.add(scope)
            try:
                return await self.watcher.confirm()
            finally:
                self.asking.discard(scope)
        return None

    def end(self) -> None:
        """Stop watching. Who waits must ask another: this one has no more events, and tells of nothing."""
        self.scope.cancel()
        for scope in self.asking:
            scope.cancel()


class Watched:
    """`run` it in a task; `on_change` is called from there and must not block."""

    def __init__(self, root: str, watching: Watching, on_change: Callable[[Change], None], emit: Emit) -> None:
        self._root = root
        self._on_change = on_change
        self._emit = emit
        self._wanted = watching
        self._turn = self._next_turn()
        self._tasks: TaskGroup
        self._settled = anyio.Event()
        self._settled.set()

    @property
    def tree(self) -> str:
        """The id of the tree as last read."""
        return self._turn.watcher.tree

    @property
    def entries(self) -> Mapping[str, Entry]:
        """The watched files as last read."""
        return self._turn.watcher.entries

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Watch until cancelled; started once every file has been read and every folder is under watch."""
        async with anyio.create_task_group() as self._tasks:
            await self._tasks.start(self._watch, self._turn)
            task_status.started()

    def reconfigure(self, watching: Watching) -> None:
        """Watch that instead; what is there as well, or no more, is told as a change."""
        self._wanted = watching
        if self._settled.is_set() and watching != self._turn.watching:
            self._settled = anyio.Event()
            self._tasks.start_soon(self._take_turns)

    async def confirm(self) -> str:
        """Look at every file once more; what differs is reported before this returns the id of the tree."""
        tree = None
        while tree is None:
            await self._settled.wait()
            tree = await self._turn.confirm()
        return tree

    def still(self) -> bool:
        """Whether all that has happened up to this moment has been reported. Never waits."""
        return self._settled.is_set() and self._turn.watcher.still()

    async def identify(self) -> str:
        """The id of the tree, as watched."""
        return self.tree

    async def look(self) -> None:
        """It is watched."""

    async def settle(self) -> None:
        """All that has changed in the tree by now has been reported when this returns."""
        if not self.still():
            await self.confirm()

    async def _take_turns(self) -> None:
        while self._wanted != self._turn.watching:
            following = self._next_turn()
            await self._tasks.start(self._watch, following)
            await self._come_to_rest()
            self._hand_over(following)
        self._settled.set()

    async def _come_to_rest(self) -> None:
        """What the one in force has seen it has reported then."""
        for _ in range(_TRIES):
            if self._turn.watcher.still():
                break
            await self._turn.watcher.confirm()

    def _hand_over(self, following: _Turn) -> None:
        before, self._turn = self._turn, following
        before.end()
        changed = before.watcher.snapshot.differing_from(following.watcher.snapshot)
        touched = tuple(sorted(following.early.difference(changed)))
        if changed or touched:
            self._on_change(Change(Delta(changed, touched), "event", self.tree))

    async def _watch(self, turn: _Turn, *, task_status: TaskStatus[None]) -> None:
        with turn.scope:
            await turn.watcher.run(task_status=task_status)

    def _next_turn(self) -> _Turn:
        turn = _Turn(self._wanted)

        def changed(change: Change) -> None:
            if turn is self._turn:
                self._on_change(change)
            else:
                turn.early.update(change.delta.changed, change.delta.touched)

        turn.watcher = Watcher(self._root, turn.watching.watch, turn.watching.never, changed, self._emit)
        return turn

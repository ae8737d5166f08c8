"""The dashboard as a task of hotpipe: it heeds all events from the first on, and answers once hotpipe is watching.

Invariant: whatever goes wrong here is a warning, and costs hotpipe nothing but the dashboard.

How it works: what is needed to show anything is loaded only when hotpipe is watching, in a thread. Until then events
are kept, and output as far as there is room.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from hotpipe.actions import Actions
from hotpipe.bus import MOST_CHARACTERS, Inbox
from hotpipe.events import AnyEvent, Emit, Output, Stamped, Started, Warned, WatchReady, WebReady
from hotpipe.history import History
from hotpipe.web.opening import Opened

if TYPE_CHECKING:  # start-up time
    from hotpipe.web.badge import Badge
    from hotpipe.web.board import Board

_LINE = 400  # bytes that a line of output takes beside its text, as characters
_LAST_S = 1.0  # for the farewell to open pages


@dataclass(frozen=True, slots=True)
class Around:
    """What the dashboard is shown, and whom it asks; `root` is the project's."""

    root: str
    history: History
    actions: Actions
    emit: Emit


class Dashboard:
    """One dashboard; `run` it in a task until its inbox is closed."""

    def __init__(self, opened: Opened, around: Around, origins: tuple[str, ...]) -> None:
        self._opened = opened
        self._around = around
        self._origins = origins
        self._board: Board | None = None  # not loaded yet
        self._badge: Badge | None = None
        self._early: list[Stamped] = []  # what they are to be told then
        self._early_size = 0
        self._begins = anyio.Event()
        self._over = anyio.Event()
        self._is_broken = False
        self._has_told = False

    async def run(self, inbox: Inbox) -> None:
        """Show what happens."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._serve)
            async for batch in inbox.batches():
                self._heed(batch)
            self._end()
            tasks.cancel_scope.deadline = anyio.current_time() + _LAST_S
            if not self._begins.is_set():
                tasks.cancel_scope.cancel()

    def _heed(self, batch: Sequence[Stamped]) -> None:
        if self._is_broken:  # the inbox is emptied all the same
            return
        try:
            self._tell(batch)
        except Exception as error:  # noqa: BLE001 - see above
            self._is_broken = True
            self._end()
            self._failed(error)
        if any(_begins(stamped.event) for stamped in batch):
            self._begins.set()

    async def _serve(self) -> None:
        await self._begins.wait()
        try:
            await self._answer()
        except Exception as error:  # noqa: BLE001
            self._is_broken = True
            self._failed(error)

    async def _answer(self) -> None:
        in_thread, around = anyio.to_thread.run_sync, self._around
        usual_ms = await in_thread(around.history.medians)
        serving = await in_thread(_loaded)
        desk = serving.desk(around.root)
        self._board, self._badge = serving.Board(), serving.badge(desk, self._origins)
        self._board.know(usual_ms)
        self._board.name(desk.editor)
        self._tell(self._early)
        self._early = []
        shown = serving.Shown(self._board, around.history, around.actions, desk, self._badge, self._failed)
        app = serving.guarded(shown, self._opened)
        around.emit(WebReady(url=self._opened.url))
        await serving.serve(app, self._opened, self._over)

    def name(self, origins: tuple[str, ...]) -> None:
        """What `[web] origins` says now."""
        self._origins = origins
        if self._badge is not None:
            self._badge.name(origins)

    def _tell(self, batch: Sequence[Stamped]) -> None:
        if self._board is None or self._badge is None:
            self._keep(batch)
            return
        self._board.take(batch)
        self._badge.take(batch)

    def _keep(self, batch: Sequence[Stamped]) -> None:
        self._early += batch
        self._early_size += sum(map(_size, batch))
        if self._early_size > 2 * MOST_CHARACTERS:
            self._early, self._early_size = _end_of(self._early), MOST_CHARACTERS

    def _end(self) -> None:
        if self._board is not None and self._badge is not None:
            self._board.close()
            self._badge.close()
        self._over.set()

    def _failed(self, error: Exception) -> None:
        """Told once: what is wrong with one page is wrong with each."""
        if self._has_told:
            return
        self._has_told = True
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        message = f"the dashboard has failed: {type(error).__name__}: {error}"
        hint = "all else goes on; this is a defect of hotpipe: please report it"
        self._around.emit(Warned(code="web.failed", message=message, hint=hint))


def _end_of(events: Sequence[Stamped]) -> list[Stamped]:
    """The last of the output, as far as there is room, and all else."""
    left, kept = MOST_CHARACTERS, []
    for stamped in reversed(events):
        left -= _size(stamped)
        if left > 0 or not _size(stamped):
            kept.append(stamped)
    return kept[::-1]


def _size(stamped: Stamped) -> int:
    """In characters, of output."""
    return len(stamped.event.text) + _LINE if isinstance(stamped.event, Output) else 0


def _begins(event: AnyEvent) -> bool:
    """Whether hotpipe does its work from now on: what is loaded here would have kept it from that."""
    return isinstance(event, WatchReady) or (isinstance(event, Started) and event.role == "serve")


def _loaded() -> ModuleType:
    """Takes 0.2 s, in a thread."""
    from hotpipe.web import serving  # noqa: PLC0415 - start-up time

    return serving

"""What has happened in this project's runs and restarts, in `.hotpipe/history.db` (SQLite).

Invariant: nothing depends on it. A file that is damaged, locked, read-only or on a full disk costs what was to be
recorded, or gives an empty answer; it never raises, and a damaged one is moved aside (`history.db.damaged`).

How it works: events are folded (`fold`) until a run is finished or a restart decided; then one transaction writes that,
and removes what is too old. The file is opened for each transaction, so that it may be removed at any time, and two
hotpipes may write (`tables`).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

from hotpipe.events import Stamped
from hotpipe.history import tables
from hotpipe.history.fold import Fold, Restart, Run

if TYPE_CHECKING:
    import sqlite3

Record = Run | Restart
_T = TypeVar("_T")
_PATIENCE_S = 2.0  # for another hotpipe's transaction: whoever records has time
_HASTE_S = 0.1  # whoever asks has not
_PASSES = 20
_PASSES_OF_FLAKY = 100


class History:
    """The history in `folder`. Its methods block on the disk; one thread at a time may `apply`."""

    def __init__(self, folder: str) -> None:
        self._path = os.path.join(folder, "history.db")
        self._fold = Fold()

    def apply(self, stamped: Stamped) -> None:
        """Heed an event, and record what is complete with it."""
        self.apply_all((stamped,))

    def apply_all(self, batch: Iterable[Stamped]) -> None:
        """The same for many, in one transaction: a file that is locked costs `_PATIENCE_S` once."""
        if records := self.heed(batch):
            self.write(records)

    def heed(self, batch: Iterable[Stamped]) -> list[Record]:
        """What is complete with these events. Does not block."""
        return [record for record in map(self._fold.apply, batch) if record is not None]

    def write(self, records: Iterable[Record]) -> None:
        """Record it."""
        self._tried(lambda base: tables.write(base, records), _PATIENCE_S)

    def medians(self) -> dict[str, float]:
        """How long each stage takes, in ms: the median of its last passes that really ran."""
        return {stage: _median([took_ms for took_ms, _ in passes]) for stage, passes in self._passes(_PASSES).items()}

    def flaky(self) -> dict[str, tuple[int, int]]:
        """Of each stage's last passes: how many needed a retry, and how many there were."""
        passes = self._passes(_PASSES_OF_FLAKY)
        return {stage: (sum(flaky for _, flaky in last), len(last)) for stage, last in passes.items()}

    def recent_runs(self, most: int) -> list[Run]:
        """The last runs with their stages, oldest first."""
        return self._asked(lambda base: tables.last_runs(base, most)) or []

    def recent_restarts(self, most: int) -> list[Restart]:
        """What became of the last generations, oldest first."""
        return self._asked(lambda base: tables.last_restarts(base, most)) or []

    def _passes(self, most: int) -> tables.Passes:
        return self._asked(lambda base: tables.last_passes(base, most)) or {}

    def _asked(self, ask: Callable[[sqlite3.Connection], _T]) -> _T | None:
        """What it answers, without making a file."""
        return self._tried(ask, _HASTE_S) if os.path.exists(self._path) else None

    def _tried(self, use: Callable[[sqlite3.Connection], _T], patience_s: float) -> _T | None:
        """What `use` returns; once more with a new file, if this one is damaged."""
        try:
            import sqlite3  # noqa: PLC0415 - start-up time
        except ImportError:  # a Python that was built without it
            return None
        for _ in range(2):
            try:
                with tables.opened(self._path, patience_s) as base:
                    return use(base) if base is not None else None
            except sqlite3.Error as error:
                if not tables.is_damage(error):
                    return None
                self._move_aside()
            except (OSError, ValueError, OverflowError):  # no folder; text or a number that SQLite cannot hold
                return None
        return None

    def _move_aside(self) -> None:
        """The journal of a damaged file must not be played into the next one."""
        with contextlib.suppress(OSError):
            os.replace(self._path, f"{self._path}.damaged")
        for journal in ("-journal", "-wal", "-shm"):
            with contextlib.suppress(OSError):
                os.unlink(self._path + journal)


def _median(numbers: list[float]) -> float:
    """As statistics.median, whose import takes 20 ms."""
    ordered = sorted(numbers)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2

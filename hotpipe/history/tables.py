"""The tables of `history.db`: how the file is opened, what is written in one transaction, what is asked.

Here SQLite's errors are raised; sqlite3 is imported on first use, for it costs what the rest of a start does.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from hotpipe.history.fold import Restart, Run, Stage

if TYPE_CHECKING:
    import sqlite3

_T = TypeVar("_T")
Passes = dict[str, list[tuple[float, int]]]
_VERSION = 1
_MOST_RUNS = 2_000  # and restarts
_SCHEMA = (
    "CREATE TABLE runs (id INTEGER PRIMARY KEY, run INTEGER, at TEXT, tree TEXT, status TEXT, took_ms REAL)",
    """CREATE TABLE stages (id INTEGER PRIMARY KEY, of INTEGER, stage TEXT, status TEXT, took_ms REAL, flaky INTEGER,
    attempts INTEGER)""",
    "CREATE INDEX stages_by_name ON stages (stage, status, id)",
    "CREATE INDEX stages_by_run ON stages (of)",
    """CREATE TABLE restarts (id INTEGER PRIMARY KEY, at TEXT, server TEXT, generation INTEGER, took_ms REAL,
    outcome TEXT)""",
    f"PRAGMA user_version = {_VERSION}",
)
# Name after name through the index, and then a few rows of each: not one pass over all that was ever recorded.
_NAMES = """
WITH RECURSIVE name(stage) AS (
  SELECT min(stage) FROM stages
  UNION ALL SELECT (SELECT min(stage) FROM stages WHERE stage > name.stage) FROM name WHERE name.stage IS NOT NULL)
SELECT stage FROM name WHERE stage IS NOT NULL
"""
_LAST = """
SELECT took_ms, flaky = 1 FROM stages WHERE stage = ? AND status = 'passed' AND typeof(took_ms) = 'real'
ORDER BY id DESC LIMIT ?
"""

_RUNS = "SELECT id, run, at, tree, status, took_ms FROM runs ORDER BY id DESC LIMIT ?"
_STAGES = "SELECT of, stage, status, took_ms, flaky = 1, attempts FROM stages WHERE of >= ? ORDER BY id"
_RESTARTS = "SELECT at, server, generation, took_ms, outcome FROM restarts ORDER BY id DESC LIMIT ?"


@contextlib.contextmanager
def opened(path: str, patience_s: float) -> Iterator[sqlite3.Connection | None]:
    """The file, made if need be; None where a newer hotpipe has written it.

    Nothing is flushed to disk: a power cut may cost the file, and nothing depends on it.
    """
    import sqlite3  # noqa: PLC0415 - start-up time

    os.makedirs(os.path.dirname(path), exist_ok=True)
    with contextlib.closing(sqlite3.connect(path, timeout=patience_s, isolation_level=None)) as base:
        base.execute("PRAGMA synchronous = OFF")
        yield base if _version(base) == _VERSION else None


def _version(base: sqlite3.Connection) -> int:
    [version] = base.execute("PRAGMA user_version").fetchone()
    if version == 0:
        with _transaction(base):
            [version] = base.execute("PRAGMA user_version").fetchone()
            if version == 0:  # still: nobody else was quicker
                for statement in _SCHEMA:
                    base.execute(statement)
                version = _VERSION
    return int(version)


@contextlib.contextmanager
def _transaction(base: sqlite3.Connection) -> Iterator[None]:
    base.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        with contextlib.suppress(Exception):  # a full disk has rolled back already
            base.execute("ROLLBACK")
        raise
    base.execute("COMMIT")


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file is no history: SQLITE_CORRUPT, SQLITE_NOTADB; or SQLITE_ERROR, for tables that are not ours.
    The low byte is the primary code: https://www.sqlite.org/rescode.html"""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (1, 11, 26)


def write(base: sqlite3.Connection, records: Iterable[Run | Restart]) -> None:
    """Add what has happened, and remove what is too old."""
    with _transaction(base):
        for record in records:
            if isinstance(record, Run):
                _write_run(base, record)
            else:
                _write_restart(base, record)


def _write_restart(base: sqlite3.Connection, restart: Restart) -> None:
    base.execute("INSERT INTO restarts VALUES (NULL, ?, ?, ?, ?, ?)", msgspec.structs.astuple(restart))
    base.execute("DELETE FROM restarts WHERE id <= (SELECT max(id) FROM restarts) - ?", (_MOST_RUNS,))


def _write_run(base: sqlite3.Connection, run: Run) -> None:
    cursor = base.execute(
        "INSERT INTO runs VALUES (NULL, ?, ?, ?, ?, ?)", (run.run, run.at, run.tree, run.status, run.took_ms)
    )
    rows = [(cursor.lastrowid, *msgspec.structs.astuple(stage)) for stage in run.stages]
    base.executemany("INSERT INTO stages VALUES (NULL, ?, ?, ?, ?, ?, ?)", rows)
    oldest = (cursor.lastrowid or 0) - _MOST_RUNS
    base.execute("DELETE FROM stages WHERE of <= ?", (oldest,))
    base.execute("DELETE FROM runs WHERE id <= ?", (oldest,))


def last_passes(base: sqlite3.Connection, most: int) -> Passes:
    """The last `most` passes of each stage that really ran: how long it took, and whether it was flaky (1 or 0)."""
    names = [name for (name,) in base.execute(_NAMES)]
    found = {name: base.execute(_LAST, (name, most)).fetchall() for name in names}
    return {name: passes for name, passes in found.items() if passes}


def last_runs(base: sqlite3.Connection, most: int) -> list[Run]:
    """The last `most` runs with their stages, oldest first."""
    rows = base.execute(_RUNS, (most,)).fetchall()
    stages: dict[int, list[Stage]] = {}
    for of, stage, status, took_ms, flaky, attempts in base.execute(_STAGES, (rows[-1][0] if rows else 0,)):
        told = {"stage": stage, "status": status, "took_ms": took_ms, "flaky": bool(flaky), "attempts": attempts}
        stages.setdefault(of, []).extend(_sound([told], Stage))
    names = ("run", "at", "tree", "status", "took_ms")
    told_runs = [dict(zip(names, row[1:], strict=True), stages=stages.get(row[0], ())) for row in reversed(rows)]
    return _sound(told_runs, Run)


def last_restarts(base: sqlite3.Connection, most: int) -> list[Restart]:
    """The last `most` restarts, oldest first."""
    rows = base.execute(_RESTARTS, (most,)).fetchall()
    names = ("at", "server", "generation", "took_ms", "outcome")
    return _sound([dict(zip(names, row, strict=True)) for row in reversed(rows)], Restart)


def _sound(rows: Iterable[dict[str, Any]], kind: type[_T]) -> list[_T]:
    """Without those that cannot be ours: SQLite holds any type in any column."""
    sound = []
    for row in rows:
        with contextlib.suppress(msgspec.ValidationError):
            sound.append(msgspec.convert(row, kind, from_attributes=True))
    return sound

"""What has happened is recorded, and whatever the file is like, nobody is disturbed by it."""

import contextlib
import os
import resource
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from hotpipe import history as history_module
from hotpipe.bus import Bus
from hotpipe.events import (
    AnyEvent,
    RunFinished,
    RunStarted,
    RunStatus,
    ServerDiscarded,
    ServerFailed,
    ServerLive,
    ServerOutput,
    StageFinished,
    StageStarted,
    StageStatus,
    Stamp,
    Stamped,
)
from hotpipe.history import History, tables
from hotpipe.history.recording import record


def stamped(event: AnyEvent) -> Stamped:
    return Stamped(Stamp(seq=1, time="2026-01-02T03:04:05.678Z", mono=1.0), event)


def apply(history: History, *events: AnyEvent) -> None:
    for event in events:
        history.apply(stamped(event))


def stage_of(name: str, took_ms: float, status: StageStatus = "passed", flaky: bool = False) -> list[AnyEvent]:
    return [
        StageStarted(run=1, stage=name, command="c"),
        StageFinished(run=1, stage=name, status=status, exit_code=0, took_ms=took_ms, flaky=flaky),
    ]


def run_of(*stages: list[AnyEvent], status: RunStatus = "green") -> list[AnyEvent]:
    inner = [event for stage in stages for event in stage]
    began = RunStarted(run=1, tree="t" * 32, changed=())
    return [began, *inner, RunFinished(run=1, status=status, took_ms=9.0)]


def rows(folder: Path, query: str) -> list[tuple[object, ...]]:
    with contextlib.closing(sqlite3.connect(folder / "history.db")) as base:
        return base.execute(query).fetchall()


def test_a_finished_run_is_recorded_with_its_stages(tmp_path: Path) -> None:
    twice = [StageStarted(run=1, stage="test", command="c"), *stage_of("test", 7.5, flaky=True)]
    apply(History(str(tmp_path)), *run_of(stage_of("lint", 1.5, "failed"), twice, status="red"))
    assert rows(tmp_path, "SELECT run, at, tree, status, took_ms FROM runs") == [
        (1, "2026-01-02T03:04:05.678Z", "t" * 32, "red", 9.0)
    ]
    assert rows(tmp_path, "SELECT stage, status, took_ms, flaky, attempts FROM stages ORDER BY id") == [
        ("lint", "failed", 1.5, 0, 1),
        ("test", "passed", 7.5, 1, 2),
    ]


def test_a_run_is_recorded_once_it_is_finished_and_keeps_nothing_for_the_next(tmp_path: Path) -> None:
    history = History(str(tmp_path))
    first = run_of(stage_of("lint", 1.0))
    apply(history, *first[:-1])
    assert os.listdir(tmp_path) == []
    apply(history, *first[-1:], *run_of(stage_of("test", 2.0)))
    assert rows(tmp_path, "SELECT of, stage FROM stages ORDER BY id") == [(1, "lint"), (2, "test")]


def test_restarts_are_recorded(tmp_path: Path) -> None:
    history = History(str(tmp_path))
    apply(
        history,
        ServerLive(server="web", generation=1, pid=1, sockets=(), took_ms=350.5),
        ServerFailed(server="web", generation=2, reason="it died", serving=1),
        ServerDiscarded(server="web", generation=3, reason="there is a newer one", serving=1),
    )
    assert rows(tmp_path, "SELECT server, generation, took_ms, outcome FROM restarts ORDER BY id") == [
        ("web", 1, 350.5, "live"),
        ("web", 2, None, "failed"),
        ("web", 3, None, "discarded"),
    ]


def test_a_median_is_that_of_the_last_twenty_passes_that_really_ran(tmp_path: Path) -> None:
    history = History(str(tmp_path))
    for number in range(30):
        apply(history, *run_of(stage_of("lint", number), stage_of("test", 100.0, "failed"), stage_of("types", 3.0)))
        apply(history, *run_of(stage_of("lint", 1000.0, "failed"), stage_of("types", 0.1, "cached")))
    assert history.medians() == History(str(tmp_path)).medians() == {"lint": 19.5, "types": 3.0}
    apply(history, *run_of(stage_of("lint", 500)))
    assert history.medians()["lint"] == 20.5


def test_the_median_of_an_odd_number_is_the_one_in_the_middle(tmp_path: Path) -> None:
    history = History(str(tmp_path))
    for took_ms in (30.0, 10.0, 20.0):
        apply(history, *run_of(stage_of("lint", took_ms)))
    assert history.medians() == {"lint": 20.0}


def test_flaky_passes_are_counted_among_the_last_hundred(tmp_path: Path) -> None:
    history = History(str(tmp_path))
    apply(history, *run_of(stage_of("test", 1.0, flaky=True)))
    for number in range(99):
        apply(history, *run_of(stage_of("test", 1.0, flaky=number % 50 == 0), stage_of("lint", 1.0, "failed")))
    assert history.flaky() == {"test": (3, 100)}
    apply(history, *run_of(stage_of("test", 1.0)))
    assert history.flaky() == {"test": (2, 100)}


def test_no_history_is_none_and_asking_makes_none(tmp_path: Path) -> None:
    assert History(str(tmp_path / "new")).medians() == History(str(tmp_path / "new")).flaky() == {}
    assert os.listdir(tmp_path) == []
    apply(History(str(tmp_path / "new")), *run_of(stage_of("lint", 1.0)))
    assert History(str(tmp_path / "new")).medians() == {"lint": 1.0}


def test_only_so_many_runs_and_restarts_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_MOST_RUNS", 5)
    history = History(str(tmp_path))
    for number in range(12):
        apply(history, *run_of(stage_of("lint", number), stage_of("test", number)))
        apply(history, ServerLive(server="web", generation=number, pid=1, sockets=(), took_ms=1.0))
    counts = "SELECT (SELECT count(*) FROM runs), (SELECT count(*) FROM stages), (SELECT count(*) FROM restarts)"
    assert rows(tmp_path, counts) == [(5, 10, 5)]
    assert rows(tmp_path, "SELECT generation FROM restarts ORDER BY id") == [(number,) for number in range(7, 12)]
    assert history.medians() == {"lint": 9.0, "test": 9.0}


def test_sqlite_is_not_loaded_until_there_is_something_to_record(tmp_path: Path) -> None:
    code = (
        "import sys; from hotpipe.history import History; h = History(sys.argv[1]); h.medians()\n"
        "sys.exit('sqlite3' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == 0


# Faults.


def works(folder: Path) -> bool:
    """Whether a run is recorded; nothing is raised either way."""
    history = History(str(folder))
    apply(history, *run_of(stage_of("lint", 1.0)))
    apply(history, ServerLive(server="web", generation=1, pid=1, sockets=(), took_ms=1.0))
    assert history.flaky().keys() == history.medians().keys()
    return history.medians() == {"lint": 1.0}


def damage_head(content: bytearray) -> bytes:
    return b"this is no database" + bytes(content[19:])


def damage_tables(content: bytearray) -> bytes:
    return bytes(content[:100]) + b"\xff" * (len(content) - 100)


def cut_short(content: bytearray) -> bytes:
    return bytes(content[: len(content) // 2])


@pytest.mark.parametrize("damage", [damage_head, damage_tables, cut_short])
def test_a_damaged_file_is_moved_aside_and_a_new_one_begun(
    tmp_path: Path, damage: Callable[[bytearray], bytes]
) -> None:
    file = tmp_path / "history.db"
    assert works(tmp_path)
    damaged = damage(bytearray(file.read_bytes()))
    file.write_bytes(damaged)
    assert History(str(tmp_path)).medians() == {}
    assert (tmp_path / "history.db.damaged").read_bytes() == damaged
    assert works(tmp_path)


def test_a_database_of_somebody_else_is_moved_aside(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "history.db")) as base:
        base.execute("CREATE TABLE runs (other)")
    assert works(tmp_path)
    assert (tmp_path / "history.db.damaged").exists()


def test_what_a_newer_hotpipe_wrote_is_left_alone(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "history.db")) as base:
        base.execute("PRAGMA user_version = 2")
    before = (tmp_path / "history.db").read_bytes()
    assert not works(tmp_path)
    assert (tmp_path / "history.db").read_bytes() == before
    assert os.listdir(tmp_path) == ["history.db"]


def test_values_that_make_no_sense_are_passed_over(tmp_path: Path) -> None:
    apply(History(str(tmp_path)), *run_of(stage_of("lint", 1.0)))
    with contextlib.closing(sqlite3.connect(tmp_path / "history.db", isolation_level=None)) as base:
        base.execute("INSERT INTO stages VALUES (NULL, 1, 'lint', 'passed', 'long', 'yes', NULL)")
        base.execute("INSERT INTO stages VALUES (NULL, 1, 'lint', 'passed', NULL, NULL, NULL)")
    assert History(str(tmp_path)).medians() == {"lint": 1.0}
    assert History(str(tmp_path)).flaky() == {"lint": (0, 1)}


def test_a_file_that_is_locked_costs_what_was_to_be_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_module, "_PATIENCE_S", 0.05)
    assert works(tmp_path)
    history = History(str(tmp_path))
    with contextlib.closing(sqlite3.connect(tmp_path / "history.db", isolation_level=None)) as base:
        base.execute("BEGIN EXCLUSIVE")
        assert history.medians() == {}
        apply(history, *run_of(stage_of("types", 1.0)))
    assert history.medians() == {"lint": 1.0}
    assert os.listdir(tmp_path) == ["history.db"]


def test_a_file_or_a_folder_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert not works(tmp_path / "file")
    assert not works(tmp_path / "file/below")
    (tmp_path / "history.db").mkdir()
    assert not works(tmp_path)


@contextlib.contextmanager
def as_somebody_else() -> Iterator[None]:
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_no_permission(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    folder.chmod(0o500)
    try:
        with as_somebody_else():
            assert not works(folder)
    finally:
        folder.chmod(0o700)


def test_a_full_disk(tmp_path: Path) -> None:
    """RLIMIT_FSIZE: the file can be opened, but cannot grow."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, before[1]))
    try:
        assert not works(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert works(tmp_path)


def test_a_full_disk_costs_nothing_of_what_is_there(tmp_path: Path) -> None:
    assert works(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (os.path.getsize(tmp_path / "history.db"), before[1]))
    try:
        for _ in range(300):
            apply(History(str(tmp_path)), *run_of(*[stage_of(f"a{number}", 1.0) for number in range(20)]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert History(str(tmp_path)).medians()["lint"] == 1.0
    assert not (tmp_path / "history.db.damaged").exists()


def test_what_sqlite_cannot_hold_is_not_recorded(tmp_path: Path) -> None:
    history = History(str(tmp_path))
    apply(history, *run_of(stage_of("\udcff", 1.0)))
    apply(history, ServerLive(server="web", generation=1 << 70, pid=1, sockets=(), took_ms=1.0))
    assert history.medians() == {}
    assert works(tmp_path)


def test_a_python_without_sqlite_has_no_history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sqlite3", None)
    assert not works(tmp_path)
    assert os.listdir(tmp_path) == []


WRITER = """
import sys
from hotpipe.events import *
from hotpipe.history import History
history = History(sys.argv[1])
for run in range(40):
    for event in (
        RunStarted(run=run, tree="", changed=()),
        StageFinished(run=run, stage=sys.argv[2], status="passed", exit_code=0, took_ms=1.0),
        RunFinished(run=run, status="green", took_ms=1.0),
    ):
        history.apply(Stamped(Stamp(seq=1, time="", mono=1.0), event))
"""


def test_two_hotpipes_write_at_the_same_time(tmp_path: Path) -> None:
    both = [subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), name]) for name in ("a", "b")]
    assert [one.wait() for one in both] == [0, 0]
    assert rows(tmp_path, "SELECT stage, count(*) FROM stages GROUP BY stage ORDER BY stage") == [("a", 40), ("b", 40)]


@pytest.mark.anyio
async def test_what_the_bus_brings_is_recorded_in_a_thread_until_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = set()
    write = tables.write
    monkeypatch.setattr(tables, "write", lambda *given: (threads.add(threading.get_ident()), write(*given)))
    bus = Bus()
    inbox = bus.subscribe()
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(record, History(str(tmp_path)), inbox)
            for event in run_of(stage_of("lint", 4.0)):
                bus.emit(event)
                bus.emit(ServerOutput(server="web", generation=1, stream="stdout", text="x"))
                await anyio.lowlevel.checkpoint()
            bus.close()
    assert History(str(tmp_path)).medians() == {"lint": 4.0}
    assert threading.get_ident() not in threads

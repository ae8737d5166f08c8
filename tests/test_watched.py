"""The watched tree while its settings change: nobody is left waiting for a watcher that has gone."""

import threading
from pathlib import Path

import anyio
import pytest

from hotpipe.config.model import Watch
from hotpipe.tree.watched import Watched, Watching
from hotpipe.tree.watcher import Change

pytestmark = pytest.mark.anyio

PATIENCE_S = 60


async def test_who_waits_for_a_sweep_when_the_watcher_is_replaced_gets_the_word_of_the_next(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a").write_text("x")
    (tmp_path / "no-more").write_text("x")

    def changed(change: Change) -> None:
        if "no-more" in change.delta.changed:
            replaced.set()

    watched = Watched(str(tmp_path), Watching(Watch(), ()), changed, lambda _: None)
    found, told, replaced = threading.Event(), anyio.Event(), anyio.Event()

    def endless(*_: object) -> set[str]:
        assert found.wait(PATIENCE_S)
        return {"src/a"}

    async def ask() -> None:
        trees.append(await watched.confirm())
        told.set()

    trees: list[str] = []
    with anyio.fail_after(PATIENCE_S):
        async with anyio.create_task_group() as tasks:
            await tasks.start(watched.run)
            first = watched._turn.watcher
            first.snapshot.differing = endless  # type: ignore[method-assign]
            tasks.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            watched.reconfigure(Watching(Watch(paths=("src",)), ()))
            await replaced.wait()
            found.set()
            await told.wait()
            tasks.cancel_scope.cancel()
    assert trees == [watched.tree]

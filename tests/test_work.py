"""A stage at work, without a gate around it."""

import os
from pathlib import Path

import anyio
import pytest

from hotpipe.config.model import Duration, Stage
from hotpipe.gate.command import Job
from hotpipe.gate.stage import Work
from hotpipe.process.command import Command
from hotpipe.process.system import System

pytestmark = pytest.mark.anyio

PATIENCE_S = 60
LEAVES_SOMETHING = "(trap '' TERM; sleep 30) & sleep 0.3"  # which takes a second to end, past the time limit


async def test_without_time_for_the_last_batch_it_has_not_passed(tmp_path: Path) -> None:
    processes = System()
    work = Work(str(tmp_path), "lint", Stage(run=LEAVES_SOMETHING, timeout=Duration(0.5)), processes, lambda _: None)
    job = Job(tuple(Command(text, str(tmp_path), dict(os.environ)) for text in (LEAVES_SOMETHING, "false")), "")
    try:
        work.begin(job, 1)
        await work.perform(job)
    finally:
        await processes.close()
    assert (work.record.status, work.record.exit_code) == ("timed_out", None)


async def test_one_that_is_cancelled_while_it_waits_for_a_sweep_waits_no_longer_and_was_cancelled(
    tmp_path: Path,
) -> None:
    # a lock of git's may hold the sweep back for ten seconds
    processes = System()
    work = Work(str(tmp_path), "fix", Stage(run="true", mutates=True), processes, lambda _: None)
    with anyio.fail_after(PATIENCE_S):
        try:
            job = Job((Command("true", str(tmp_path), dict(os.environ)),), "true")
            work.begin(job, 1)
            await work.perform(job)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(work.wait, anyio.sleep_forever)
                await anyio.wait_all_tasks_blocked()
                work.cancel()
            await work.wait(anyio.sleep_forever)
        finally:
            await processes.close()
    assert work.finish().status == "cancelled"

"""Runs one stage: its processes, its output, its time limit, its retries, its end."""

import time
from collections.abc import Awaitable, Callable

import anyio

from hotpipe.config.model import Stage
from hotpipe.errors import SpawnError
from hotpipe.events import Emit, StageOutput, StageStarted, Stream
from hotpipe.gate.command import Job
from hotpipe.gate.findings import Finder, Finding
from hotpipe.gate.record import Record, told
from hotpipe.process.child import Exit
from hotpipe.process.command import Command
from hotpipe.process.system import Processes, Running

GRACE_S = 2.0  # between SIGTERM and SIGKILL for a stage that is cancelled or out of time
_NOT_FOUND = 127  # what a shell answers for a program that is not there


class Work:
    """A stage at work. `perform` it in a task, once or again; `cancel` may be called at any time."""

    def __init__(self, root: str, name: str, stage: Stage, processes: Processes, emit: Emit) -> None:
        self.name = name
        self.stage = stage
        self.run = 0  # that it works for: another one, if what has changed since does not concern it
        self.key: str | None = None  # with which it started; null: it is that of what it leaves
        self.is_part = False  # of its inputs, and nobody knows whether it would pass on the rest
        self.is_unsettled = False  # it mutates, and would write again
        self.is_cancelled = False
        self.record = Record("")
        self._root = root
        self._processes = processes
        self._emit = emit
        self._scope = anyio.CancelScope()
        self._began = time.monotonic()

    def begin(self, job: Job, run: int) -> None:
        """Say that it is at work."""
        self.run, self.record = run, Record(job.shown)
        self._began = time.monotonic()
        self._emit(StageStarted(run=run, stage=self.name, command=job.shown))

    def adopt(self, run: int) -> None:
        """It works for another run from now on."""
        self.run = run
        self._emit(StageStarted(run=run, stage=self.name, command=self.record.command, kept=True))

    def cancel(self) -> None:
        """Have it stopped: `perform` returns when all its processes are dead, and `wait` at once."""
        self.is_cancelled = True
        self._scope.cancel()

    def remark(self, text: str) -> None:
        """A line of our own among its output."""
        self._line("stderr", f"hotpipe: {text}")

    def finish(self) -> Record:
        """Say that it is over."""
        if self.is_cancelled:
            self.record.status, self.record.exit_code = "cancelled", None
        self.record.took_ms = round((time.monotonic() - self._began) * 1e3, 3)
        self.record.run = self.run
        self._emit(self.record.finished(self.run, self.name, self.stage))
        return self.record

    async def perform(self, job: Job) -> None:
        """Run it to its end, once and `retries` times more; what came of it is in `record`."""
        for attempt in range(self.stage.retries + 1):
            if attempt:
                again = f"attempt {attempt} {_came_to(self.record)}; attempt {attempt + 1} of {self.stage.retries + 1}:"
                self.remark(again)
            await self._attempt(job)
            if self.is_cancelled:
                return
            if self.record.status == "passed":
                self.record.flaky = self.record.flaky or attempt > 0
                return

    async def wait(self, for_word: Callable[[], Awaitable[object]]) -> None:
        """Do nothing until then, or until it is cancelled."""
        self._scope = anyio.CancelScope()
        if not self.is_cancelled:
            with self._scope:
                await for_word()

    async def _attempt(self, job: Job) -> None:
        """All batches, as xargs(1): a failure does not keep the next one from being looked at. Without time for each of
        them it is no pass, even if all that have been run have passed."""
        self.record.status, self.record.exit_code = "passed", 0
        self.record.findings.clear()
        deadline = _deadline(self.stage.timeout)
        for command in job.commands:
            if anyio.current_time() < deadline and not self.is_cancelled:
                await self._batch(command, deadline)
            elif self.record.status == "passed":
                self.record.status, self.record.exit_code = "timed_out", None

    async def _batch(self, command: Command, deadline: float) -> None:
        finder = Finder(self._root, self.stage.cwd)
        try:
            child = self._processes.spawn(command)
        except SpawnError as error:
            for text in filter(None, (error.message, error.hint)):
                self.remark(text)
            self.record.status, self.record.exit_code = "failed", _NOT_FOUND
            return
        ended = await self._watch(child, finder, deadline)
        self._found(finder.end())
        if ended is None and not self.is_cancelled:
            self.record.status, self.record.exit_code = "timed_out", None
        elif ended is not None and ended.returncode and self.record.status == "passed":
            self.record.status, self.record.exit_code = "failed", ended.returncode

    async def _watch(self, child: Running, finder: Finder, deadline: float) -> Exit | None:
        """Until it ends (null: it had to be stopped) and all its processes are dead."""

        def line(stream: Stream, text: str) -> None:
            self._line(stream, text)
            self._found(finder.add(stream, text))

        ended: Exit | None = None
        async with anyio.create_task_group() as listening:
            # To the very end: SIGPIPE must not cut short what a stage does and says when it is stopped.
            listening.start_soon(child.finish, line)
            self._scope = anyio.CancelScope(deadline=deadline)
            if self.is_cancelled:
                self._scope.cancel()
            with self._scope:
                ended = await child.wait()
            with anyio.CancelScope(shield=True):
                await self._clear(child)
            listening.cancel_scope.cancel()
        return ended

    async def _clear(self, child: Running) -> None:
        if child.exit is None:
            await self._processes.stop(child, "TERM", GRACE_S)
        else:
            await self._processes.tidy(child)

    def _line(self, stream: Stream, text: str) -> None:
        self.record.add(stream, text)
        self._emit(StageOutput(run=self.run, stage=self.name, stream=stream, text=text))

    def _found(self, findings: list[Finding]) -> None:
        for finding in findings:
            self.record.findings.append(finding)
            self._emit(told(self.run, self.name, finding))


def _deadline(timeout_s: float | None) -> float:
    return anyio.current_time() + timeout_s if timeout_s is not None else float("inf")


def _came_to(record: Record) -> str:
    if record.status == "timed_out":
        return "timed out"
    return f"failed with status {record.exit_code}"

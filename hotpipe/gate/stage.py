"""Runs one stage: its process, its output, its time limit, its end."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import anyio

from hotpipe.config.file import Project
from hotpipe.config.model import Stage
from hotpipe.errors import SpawnError
from hotpipe.events import Emit, StageFinished, StageOutput, StageStarted, StageStatus, Stream
from hotpipe.process.child import Exit
from hotpipe.process.command import Command, environment
from hotpipe.process.system import Processes, Running

GRACE_S = 2.0  # between SIGTERM and SIGKILL for a stage that is cancelled or out of time
_NOT_FOUND = 127  # what a shell answers for a program that is not there


def command_of(project: Project, name: str, run: int) -> Command:
    """What the stage `name` starts in this run."""
    stage = project.config.stage[name]
    env = environment({"HOTPIPE_STAGE": name, "HOTPIPE_RUN": str(run)}, stage.env)
    return Command(stage.run, project.path(stage.cwd), env)


@dataclass(frozen=True, slots=True)
class Task:
    """One stage of one run, ready to be run."""

    run: int
    name: str
    stage: Stage
    command: Command
    processes: Processes
    emit: Emit

    async def perform(self, scope: anyio.CancelScope) -> StageStatus:
        """Run it to its end, or until `scope` is cancelled; when this returns, all its processes are dead."""
        began = time.monotonic()
        try:
            child = self.processes.spawn(self.command)
        except SpawnError as error:
            return self._not_started(error)
        self.emit(StageStarted(run=self.run, stage=self.name, command=str(self.command)))
        status: StageStatus = "cancelled"
        ended: Exit | None = None
        async with anyio.create_task_group() as listening:
            # To the very end: SIGPIPE must not cut short what a stage does and says when it is stopped.
            listening.start_soon(child.finish, self._output())
            with scope, anyio.move_on_after(self.stage.timeout) as limit:
                ended = await child.wait()
                status = "passed" if ended.returncode == 0 else "failed"
            with anyio.CancelScope(shield=True):
                await self._clear(child)
            listening.cancel_scope.cancel()
        if limit.cancelled_caught:
            status = "timed_out"
        self._finished(status, ended.returncode if ended else None, began)
        return status

    async def _clear(self, child: Running) -> None:
        if child.exit is None:
            await self.processes.stop(child, "TERM", GRACE_S)
        else:
            await self.processes.tidy(child)

    def _output(self) -> Callable[[Stream, str], None]:
        def line(stream: Stream, text: str) -> None:
            self.emit(StageOutput(run=self.run, stage=self.name, stream=stream, text=text))

        return line

    def _not_started(self, error: SpawnError) -> StageStatus:
        began = time.monotonic()
        self.emit(StageStarted(run=self.run, stage=self.name, command=str(self.command)))
        for text in filter(None, (error.message, error.hint)):
            self.emit(StageOutput(run=self.run, stage=self.name, stream="stderr", text=f"hotpipe: {text}"))
        self._finished("failed", _NOT_FOUND, began)
        return "failed"

    def _finished(self, status: StageStatus, code: int | None, began: float) -> None:
        took_ms = round((time.monotonic() - began) * 1e3, 3)
        self.emit(StageFinished(run=self.run, stage=self.name, status=status, exit_code=code, took_ms=took_ms))

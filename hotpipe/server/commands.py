"""The user's own commands around a generation: smoke tests and hooks. They get none of the sockets."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import anyio

from hotpipe.errors import SpawnError
from hotpipe.events import Stream
from hotpipe.process.command import Command, environment
from hotpipe.process.system import Processes

_GRACE_S = 2.0  # between SIGTERM and SIGKILL for one that is out of time


@dataclass(frozen=True, slots=True)
class Commands:
    """Where and with what they run; `time_s` is what each of them may take."""

    processes: Processes
    cwd: str
    env: Mapping[str, str]
    on_line: Callable[[Stream, str], None]
    time_s: float

    async def run_all(self, commands: Sequence[str]) -> str:
        """Run them one after the other, up to the first that fails; says what went wrong, or nothing."""
        for command in commands:
            if fault := await self._run(command):
                return f"`{command}` {fault}"
        return ""

    async def _run(self, text: str) -> str:
        try:
            child = self.processes.spawn(Command(text, self.cwd, environment(self.env)))
        except SpawnError as error:
            return error.message
        try:
            with anyio.move_on_after(self.time_s):
                ended = await child.finish(self.on_line)
                return "" if ended.returncode == 0 else str(ended)
            return f"took longer than {self.time_s:g} s"
        finally:
            with anyio.CancelScope(shield=True):
                if child.exit is None:
                    await self.processes.stop(child, "TERM", _GRACE_S)
                else:
                    await self.processes.tidy(child)

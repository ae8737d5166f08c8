"""What a running hotpipe answers to the verbs that talk to it."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from hotpipe.control import Pausing, Request, Rerunning, Restarting, Status, Stopping
from hotpipe.control.listener import Talk
from hotpipe.control.protocol import Answer
from hotpipe.control.standing import Standing
from hotpipe.errors import HotpipeError
from hotpipe.halves import Halves
from hotpipe.waiting import Waiting


@dataclass(frozen=True, slots=True)
class Self:
    """Who answers. `dashboard` is its address, without what lets its buttons act; `ttys`: servers have terminals."""

    role: str
    root: str
    dashboard: str | None
    ttys: bool


class Answers:
    """To one request after another."""

    def __init__(self, me: Self, halves: Halves, standing: Standing, stop: Callable[[], None]) -> None:
        """`stop` ends hotpipe."""
        self._me = me
        self._halves = halves
        self._standing = standing
        self._stop = stop
        self._began = time.monotonic()
        self.waiting = Waiting(standing, halves.gate, halves.look)

    async def answer(self, request: Request) -> Answer | Talk:
        """Raises HotpipeError to refuse."""
        match request.verb:
            case "status":
                return self._status()
            case "stop":
                self._stop()
                return Stopping(pid=os.getpid(), role=self._me.role)
            case "restart":
                return await self._restart(request)
            case "rerun":
                return Rerunning(stages=self._halves.rerun(request.stages))
            case "pause":
                self._halves.pause()
                return Pausing(paused=True)
            case "resume":
                self._halves.resume()
                return Pausing(paused=False)
            case "wait":
                project = self._halves.project
                triggers = {name: project.path(path) for name, path in project.config.triggers().items() if name}
                return await self.waiting.answer(request, triggers)
            case "attach":
                return self._attach(request.server)

    def _status(self) -> Status:
        standing = self._standing
        return Status(
            pid=os.getpid(),
            role=self._me.role,
            root=self._me.root,
            run=standing.run,
            servers=standing.servers,
            verdict=standing.verdict,
            stages=standing.stages,
            paused=standing.paused,
            errors=standing.errors,
            uptime_s=round(time.monotonic() - self._began, 3),
            dashboard=self._me.dashboard,
        )

    async def _restart(self, request: Request) -> Restarting:
        before = self._halves.servers.last
        names = self._halves.restart(request.servers)
        if request.timeout_s:
            return await self.waiting.restarted(names, before, request.timeout_s)
        return Restarting(servers=names)

    def _attach(self, server: str) -> Talk:
        if not self._me.ttys and server in self._halves.servers.addresses:
            hint = "run it in a terminal, without --daemon, --json and HOTPIPE_PTY=0"
            raise HotpipeError("the servers of this hotpipe have no terminal", hint=hint)
        attachment = self._halves.servers.attach(server)
        return Talk(attachment.answer, attachment.run)

"""What one process has shown of itself so far: lines of output, messages of sd_notify(3), signs of life."""

import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field

import anyio

from hotpipe.config.model import Server
from hotpipe.server import notify
from hotpipe.server.listener import Listener

NOT_YET = "it has not answered yet"


@dataclass(slots=True)
class Signs:
    """`ready.evidence` waits for what it needs of it. Times in seconds, on the loop's clock."""

    listeners: tuple[Listener, ...]
    members: Sequence[socket.socket]
    alone: bool  # nobody else accepts on these sockets
    pattern: re.Pattern[str] | None = None
    watchdog_s: float | None = None  # how long it may be silent
    alive_at: float = 0.0
    is_broken: bool = False  # by its own account
    main_pid: int = 0
    patience: anyio.CancelScope | None = None  # of what it may ask more time for
    said_ready: anyio.Event = field(default_factory=anyio.Event)
    matched: anyio.Event = field(default_factory=anyio.Event)
    last_answer: str = NOT_YET

    @classmethod
    def expected(
        cls, server: Server, listeners: tuple[Listener, ...], members: Sequence[socket.socket], *, alone: bool
    ) -> "Signs":
        """Nothing shown yet."""
        pattern = re.compile(server.ready.log) if server.ready.how == "log" else None
        return cls(listeners, members, alone, pattern, server.watchdog)

    @property
    def listen(self) -> bool:
        """Whether a line of its output could show something."""
        return self.pattern is not None and not self.matched.is_set()

    def hear(self, text: str) -> None:
        """A line of its output."""
        if self.pattern is not None and self.pattern.search(text):
            self.matched.set()

    def heed(self, message: notify.Message) -> None:
        """What it said by itself."""
        now = anyio.current_time()
        match message:
            case notify.Ready():
                self.alive_at = now
                self.said_ready.set()
            case notify.Reloading():
                self._await_ready()
            case notify.Watchdog():
                self.alive_at = now
            case notify.WatchdogTrigger():
                self.is_broken = True
            case notify.WatchdogUsec(seconds):
                self.watchdog_s, self.alive_at = seconds or None, now
            case notify.MainPid(pid):
                self.main_pid = pid
            case notify.ExtendTimeout(seconds) if self.patience is not None:
                self.patience.deadline = max(self.patience.deadline, now + seconds)
            case _:
                pass

    def forget(self) -> None:
        """It is to show itself again: it was told to reload."""
        self._await_ready()
        self.matched, self.last_answer = anyio.Event(), NOT_YET

    def _await_ready(self) -> None:
        """One that nobody has set yet stays: somebody may wait for it."""
        if self.said_ready.is_set():
            self.said_ready = anyio.Event()

    async def silence(self) -> str:
        """Returns once it has been silent for longer than its watchdog allows; waits without end otherwise."""
        self.alive_at, self.is_broken = max(self.alive_at, anyio.current_time()), False
        while True:
            if self.is_broken:
                return "it said WATCHDOG=trigger"
            left = self.alive_at + self.watchdog_s - anyio.current_time() if self.watchdog_s is not None else _LOOK_S
            if left <= 0:
                return f"it sent no WATCHDOG=1 for {self.watchdog_s:g} s"
            await anyio.sleep(min(left, _LOOK_S))


_LOOK_S = 0.5  # it may set its watchdog at any time

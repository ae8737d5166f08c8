"""Does what a server's machine says, and tells it what came of that. One task a server owns its state."""

import math
import time
from collections.abc import Awaitable, Callable

import anyio
from anyio.abc import TaskGroup

from hotpipe.server import generation, lifecycle
from hotpipe.server.generation import Setting
from hotpipe.server.touches import Touches
from hotpipe.trigger import Record

Identify = Callable[[], Awaitable[str]]  # the id of the tree that is on disk


class ServerLoop:
    """One server. `run` it in a task; `stop` may be called from any task."""

    def __init__(self, setting: Setting, touches: Touches, identify: Identify) -> None:
        self._setting = setting
        self._touches = touches
        self._identify = identify
        addresses = tuple(held.address() for held in setting.sockets)
        self._state: lifecycle.State = lifecycle.Down(lifecycle.Server(setting.name, addresses))
        self._send, self._inbox = anyio.create_memory_object_stream[lifecycle.Input](math.inf)
        self._touched, self._records = anyio.create_memory_object_stream[tuple[Record | None, float]](math.inf)
        self._scopes: dict[int, anyio.CancelScope] = {}

    def stop(self) -> None:
        """Stop the server for good, and let `run` return."""
        self._tell(lifecycle.Stopped())

    async def run(self) -> None:
        """Serve until stopped."""
        with self._send, self._inbox, self._touched, self._records:
            await self._run()

    async def _run(self) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._touches.run, self._on_touch)
            tasks.start_soon(self._requests)
            async for given in self._inbox:
                self._state, actions = lifecycle.step(self._state, given, time.monotonic())
                for action in actions:
                    self._perform(action, tasks)
                if isinstance(self._state, lifecycle.Over):
                    break
            tasks.cancel_scope.cancel()

    def _tell(self, given: lifecycle.Input) -> None:
        self._send.send_nowait(given)

    def _on_touch(self, record: Record | None) -> None:
        self._touched.send_nowait((record, time.monotonic()))

    async def _requests(self) -> None:
        """What is on disk at the start, unless a green run is to come first; then one request a touch."""
        if self._setting.server.start == "now":
            await self._request(None, time.monotonic())
        async for record, at in self._records:
            await self._request(record, at)

    async def _request(self, record: Record | None, at: float) -> None:
        if record is not None and record.tree is not None:
            request = lifecycle.Request(record.tree, verified=True, at=at)
        else:
            request = lifecycle.Request(await self._identify(), verified=False, at=at)
        self._tell(lifecycle.Requested(request))

    def _perform(self, action: lifecycle.Action, tasks: TaskGroup) -> None:
        match action:
            case lifecycle.Emit(event):
                self._setting.emit(event)
            case lifecycle.Spawn(candidate):
                scope = self._scopes[candidate.number] = anyio.CancelScope()
                tasks.start_soon(generation.attend, self._setting, candidate, scope, self._tell)
            case lifecycle.Stop(number):
                self._scopes[number].cancel()

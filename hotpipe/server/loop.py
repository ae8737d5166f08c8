"""Does what a server's machine says, and tells it what came of that. One task a server owns its state.

All times are those of the loop's own clock: of asyncio's it is CLOCK_MONOTONIC.
"""

import contextlib
import math
from collections.abc import Collection
from typing import NamedTuple, Protocol

import anyio
from anyio.abc import TaskGroup

from hotpipe.config.model import Server
from hotpipe.errors import SocketError
from hotpipe.events import Warned
from hotpipe.server import lifecycle
from hotpipe.server.generation import Process, Setting, edition_of
from hotpipe.server.touches import Touches
from hotpipe.tree.globs import Globs
from hotpipe.trigger import Record

_OWN_AFTER = 3  # candidates in a row that the same files undid: then they are the server's own


class Tree(Protocol):
    """What a server asks of the tree on disk."""

    async def identify(self) -> str:
        """Its id."""
        ...

    async def look(self) -> None:
        """Look what has changed, and tell it (`ServerLoop.changed`), where nobody watches."""
        ...

    async def settle(self) -> None:
        """Returns when all that has changed by now has been told."""
        ...


class ServerLoop:
    """One server. `run` it in a task; `changed`, `restart` and `stop` may be called from any task."""

    def __init__(self, setting: Setting, touches: Touches, tree: Tree, last: int = 0) -> None:
        """`last` is the number of the last generation that a server of this name has had before."""
        self._setting = setting
        self._touches = touches
        self._watching = anyio.CancelScope()  # the trigger
        self._tree = tree
        self._state: lifecycle.State = lifecycle.Down(lifecycle.Past(setting.known, last))
        self._send, self._inbox = anyio.create_memory_object_stream[lifecycle.Input | _News](math.inf)
        self._touched, self._records = anyio.create_memory_object_stream[tuple[Record | None, float]](math.inf)
        self._processes: dict[int, Process] = {}
        self._gone: set[int] = set()  # main processes that ended by themselves, and whose sockets may hold somebody
        self._alarm = anyio.CancelScope()
        self._concerned = _Concerned(setting.server.inputs)
        self._passed: str | None = None  # the newest tree that did, by the trigger

    @property
    def name(self) -> str:
        return self._setting.name

    def changed(self, paths: Collection[str], tree: str) -> None:
        """Watched files were written, and `tree` is on disk now."""
        concerns = self._concerned.by(paths, self._state)
        if self._concerned.news:
            self._setting.emit(self._concerned.report(self.name))
        self._tell(lifecycle.Changed(tree, concerns))

    def restart(self) -> None:
        """Replace what runs by what is on disk, whether it passed or not."""
        self._on_touch(None)

    @property
    def last(self) -> int:
        """The number of the last generation."""
        return self._state.past.last

    def reconfigure(self, setting: Setting, hint: str = "") -> None:
        """Go by these settings from now on. What is live is not restarted, but nothing takes it for up to date; where
        no gate sees to its restart, `hint` says what does."""
        self._concerned.watch(setting.server.inputs)
        self._tell(_News(setting, hint))

    def watch(self, touches: Touches) -> None:
        """The trigger is another one from now on."""
        self._touches = touches
        self._watching.cancel()

    def retire(self) -> None:
        """Let the server finish what it has, stop it for good, and let `run` return."""
        self._tell(lifecycle.Removed())

    def stop(self) -> None:
        """Stop the server for good, and let `run` return."""
        self._tell(lifecycle.Stopped())

    async def run(self) -> None:
        """Serve until stopped."""
        with self._send, self._inbox, self._touched, self._records:
            await self._run()

    async def _run(self) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch_trigger)
            tasks.start_soon(self._requests)
            async for told in self._inbox:
                given = self._adopt(told) if isinstance(told, _News) else told
                self._state, actions = lifecycle.step(self._state, given, anyio.current_time())
                for action in actions:
                    self._perform(action, tasks)
                self._look_after_the_dead(given, tasks)
                self._vouch()
                if isinstance(self._state, lifecycle.Over):
                    break
            tasks.cancel_scope.cancel()

    async def _watch_trigger(self) -> None:
        while True:
            with anyio.CancelScope() as self._watching:
                await self._touches.run(self._on_touch)

    def _adopt(self, news: "_News") -> lifecycle.Input:
        before, setting = self._setting, news.setting
        self._setting = setting
        for process in self._processes.values():
            process.adopt(setting)
        if news.hint and lifecycle.is_stale(self._state, setting.known):
            message = f"{self.name} goes on as it was started, until its trigger is touched"
            setting.emit(Warned(code="server.stale", message=message, hint=news.hint))
        if self._wants_a_start(before.server, setting.server):
            self.restart()
        return lifecycle.Configured(setting.known)

    def _wants_a_start(self, before: Server, server: Server) -> bool:
        """Nobody serves, and the change may be what mends that: nothing is lost by trying at once."""
        if not lifecycle.is_down(self._state):
            return False
        if not self._state.past.last:
            return (before.start, server.start) == ("green", "now")
        return edition_of(before) != edition_of(server)

    def _vouch(self) -> None:
        """What is started by hand, or after a crash, may be a tree that has passed all the same."""
        match self._state:
            case lifecycle.Starting(_, candidate) if self._passed is not None and candidate.tree == self._passed:
                if not candidate.request.verified:
                    self._tell(lifecycle.Requested(lifecycle.Request(self._passed, verified=True, at=candidate.began)))
            case _:
                pass

    def _tell(self, given: "lifecycle.Input | _News") -> None:
        with contextlib.suppress(anyio.ClosedResourceError):  # it is over, and the tree changes still
            self._send.send_nowait(given)

    def _on_touch(self, record: Record | None) -> None:
        with contextlib.suppress(anyio.ClosedResourceError):
            self._touched.send_nowait((record, anyio.current_time()))

    async def _requests(self) -> None:
        """What is on disk at the start, unless a green run is to come first; then one request a touch."""
        began = anyio.current_time()
        tree = await self._tree.identify()
        self._tell(lifecycle.Changed(tree, concerns=False))
        if self._setting.server.start == "now":
            self._tell(lifecycle.Requested(lifecycle.Request(tree, verified=False, at=began)))
        async for record, at in self._records:
            await self._request(record, at)

    async def _request(self, record: Record | None, at: float) -> None:
        if record is not None and record.tree is not None:
            self._passed = record.tree
            await self._tree.look()  # what came before the trigger was touched is no reason to discard the candidate
            request = lifecycle.Request(record.tree, verified=True, at=at)
        else:
            request = lifecycle.Request(await self._tree.identify(), verified=False, at=at)
        self._tell(lifecycle.Requested(request))

    def _perform(self, action: lifecycle.Action, tasks: TaskGroup) -> None:
        cutover = self._setting.cutover
        match action:
            case lifecycle.Emit(event):
                self._setting.emit(event)
            case lifecycle.Spawn(candidate, beside):
                process = Process(self._setting, candidate, self._tell, beside=beside)
                self._processes[candidate.process] = process
                tasks.start_soon(process.run, tasks)
            case lifecycle.Prove(number):
                self._processes[number].prove(self._tree.settle)
            case lifecycle.Switch(number):
                cutover.switch(number, tasks)
                cutover.listen_again(number)
                self._step_back(number)
                self._concerned.forgive()
            case lifecycle.Retire(number):
                self._park(number)
                self._processes[number].retire()
            case lifecycle.Stop(number):
                self._processes[number].stop()
            case lifecycle.Reload(number):
                self._processes[number].reload()
            case lifecycle.Hook(moment, generation, reason):
                tasks.start_soon(self._setting.run_hook_or_warn, moment, generation, reason)
            case lifecycle.Wake(at):
                self._alarm.cancel()
                self._alarm = anyio.CancelScope()
                tasks.start_soon(self._wake, at, self._alarm)

    def _step_back(self, live: int) -> None:
        for number, process in self._processes.items():
            if number != live:
                process.step_back()

    def _park(self, number: int) -> None:
        """Where that cannot be done (no descriptors left), it gets new connections to its end."""
        try:
            self._setting.cutover.park(number)
        except SocketError as error:
            self._setting.emit(Warned(code="cutover.shared", message=f"{self.name}: {error.message}", hint=error.hint))

    def _look_after_the_dead(self, given: lifecycle.Input, tasks: TaskGroup) -> None:
        """Who is queued on the socket of one that died is carried over to the one that serves, once there is one."""
        match given:
            case lifecycle.Exited(number):
                self._gone.add(number)
            case lifecycle.Ended(number) | lifecycle.NotSpawned(number):
                self._gone.discard(number)
                self._processes.pop(number, None)
            case _:
                pass
        for number in self._gone:
            self._setting.cutover.rescue(number, tasks)

    async def _wake(self, at: float, scope: anyio.CancelScope) -> None:
        with scope:
            await anyio.sleep_until(at)
            self._tell(lifecycle.Woken(await self._tree.identify()))


class _News(NamedTuple):
    """The settings have changed."""

    setting: Setting
    hint: str


class _Concerned:
    """Which changes concern the server: its inputs, but not what it writes itself each time that it boots.

    What is written while nobody boots is not the server's own, or not any more: somebody works on it.
    """

    def __init__(self, inputs: tuple[str, ...] | None) -> None:
        self.watch(inputs)
        self._own: frozenset[str] = frozenset()
        self._undid: frozenset[str] = frozenset()
        self._times = 0
        self.news = False

    def watch(self, inputs: tuple[str, ...] | None) -> None:
        """These are its inputs from now on."""
        self._inputs = None if inputs is None else Globs(inputs)

    def by(self, paths: Collection[str], state: lifecycle.State) -> bool:
        """Whether any of the paths does, if it was written while the server was in this state."""
        self.news = False
        if not isinstance(state, lifecycle.Starting | lifecycle.Proving):
            self._own -= frozenset(paths)
        concerning = {path for path in paths if self._inputs is None or self._inputs.matches(path)} - self._own
        if concerning and _is_undone(state):
            self._blame(frozenset(concerning))
        return bool(concerning - self._own)

    def _blame(self, paths: frozenset[str]) -> None:
        self._times = self._times + 1 if paths == self._undid else 1
        self._undid = paths
        if self._times == _OWN_AFTER:
            self._own |= paths
            self.news = True

    def forgive(self) -> None:
        """One has come up."""
        self._undid, self._times = frozenset(), 0

    def report(self, server: str) -> Warned:
        paths = ", ".join(sorted(self._undid)[:3])
        message = f"{paths}: written while {server} booted, {_OWN_AFTER} times in a row; taken for its own"
        return Warned(code="server.writes", message=message, hint="add it to ignore under [watch]")


def _is_undone(state: lifecycle.State) -> bool:
    """A change would discard the candidate."""
    match state:
        case lifecycle.Starting(_, candidate, lifecycle.Generation()) | lifecycle.Proving(
            _, candidate, lifecycle.Generation()
        ):
            return candidate.request.verified
        case _:
            return False

"""Answers those who wait: until a verdict stands on what is on disk, until servers serve.

Invariant: no answer is older than its question. A verdict counts only after the tree has been looked at since the
question came, and after the gate has heeded what was found.

How it works: the gate's own state says what stands; the events, folded into `Standing`, say what to tell of it, and
when to look again.
"""

from collections.abc import Awaitable, Callable, Mapping

import anyio

from hotpipe import trigger
from hotpipe.control.protocol import Request, Restarting, Run, Server, Waited
from hotpipe.control.standing import Standing
from hotpipe.errors import HotpipeError, UsageError
from hotpipe.gate.loop import Gate


class Waiting:
    """`moved` is to be called whenever `standing` has taken in events."""

    def __init__(self, standing: Standing, gate: Gate | None, look: Callable[[], Awaitable[object]]) -> None:
        """`look` returns when all that has changed in the tree by now has been told to the gate."""
        self._standing = standing
        self._gate = gate
        self._look = Shared(look)
        self._moves = anyio.Event()
        self._begun = anyio.Event()

    def begin(self) -> None:
        """The tree has been read, and its first run is asked for."""
        self._begun.set()

    def moved(self) -> None:
        """Something has happened."""
        self._moves.set()
        self._moves = anyio.Event()

    async def answer(self, request: Request, triggers: Mapping[str, str]) -> Waited:
        """Once it has come to what `request` waits for, or its time is over; `triggers` are the files of all servers,
        absolute. Raises HotpipeError where hotpipe ends, UsageError where there is no gate."""
        if request.until == "verdict" and self._gate is None:
            raise UsageError("no gate runs here", hint="`hotpipe watch` and `hotpipe gate` have one")
        with anyio.move_on_after(request.timeout_s):
            if request.until == "served":
                return await self._served(request, triggers)
            return await self._judged(request)
        why = self._unserved(request, triggers) if request.until == "served" else self._unjudged()
        return self._waited(tuple(why.values()), timed_out=True)

    async def restarted(self, names: tuple[str, ...], before: Mapping[str, int], timeout_s: float) -> Restarting:
        """Once each of these servers has a live generation after that of `before`, or one that failed."""
        live: dict[str, int] = {}
        failed: dict[str, str] = {}
        with anyio.move_on_after(timeout_s):
            while len(live) + len(failed) < len(names):
                for server in self._servers(names):
                    _sort_in(server, before.get(server.name, 0), live, failed)
                await self._next() if len(live) + len(failed) < len(names) else None
        late = {name: "is not live yet" for name in names if name not in {*live, *failed}}
        return Restarting(servers=names, live=live, failed=failed | late)

    async def _judged(self, request: Request) -> Waited:
        gate = self._gate
        if gate is None:
            return self._waited(())
        await self._begun.wait()
        await self._look()
        await gate.heard()
        while (verdict := gate.verdict) is None or (verdict.status == "red" and request.patient):
            await self._next()
        run = await self._told(verdict.run)
        return self._waited((_red(run),) if verdict.status == "red" else (), run=run)

    async def _told(self, number: int) -> Run:
        """The run of a verdict, once its events have arrived."""
        while (run := self._standing.verdict) is None or run.run < number:
            await self._next()
        return run

    async def _served(self, request: Request, triggers: Mapping[str, str]) -> Waited:
        while why := self._unserved(request, triggers):
            if not request.patient and all(map(self._is_hopeless, why, map(triggers.get, why))):
                break
            await self._next()
        return self._waited(tuple(why.values()))

    def _unserved(self, request: Request, triggers: Mapping[str, str]) -> dict[str, str]:
        """The servers that do not serve what their triggers name, and why not."""
        fault = _unchecked_fault if not request.checked else _fault
        found = ((server, fault(server, _record(triggers.get(server.name)))) for server in self._standing.servers)
        return {server.name: f"{server.name} {fault}" for server, fault in found if fault}

    def _is_hopeless(self, name: str, path: str | None) -> bool:
        """What its trigger names has failed."""
        (server,), record = self._servers((name,)), _record(path)
        failure = server.failure
        if failure is None or not _is_over(server):
            return False
        return record.at <= failure.at and failure.tree in (None, record.tree)

    def _unjudged(self) -> dict[str, str]:
        run = self._standing.run
        if run is not None and run.status == "red" and not self._standing.paused:
            return {"": _red(run)}
        paused = "; the gate is paused: `hotpipe resume`" if self._standing.paused else ""
        at = f"run {run.run} is {run.status}" if run else "there is no run yet"
        failing = f": {_names(run)}" if run and run.failing else ""
        return {"": f"{at}{failing}{paused}"}

    def _waited(self, why: tuple[str, ...], *, timed_out: bool = False, run: Run | None = None) -> Waited:
        verdict = run or self._standing.verdict
        servers = self._standing.servers
        return Waited(reached=not (why or timed_out), timed_out=timed_out, why=why, run=verdict, servers=servers)

    def _servers(self, names: tuple[str, ...]) -> list[Server]:
        return [server for server in self._standing.servers if server.name in names]

    async def _next(self) -> None:
        if self._standing.ending:
            raise HotpipeError("hotpipe ends")
        await self._moves.wait()


class Shared:
    """A call that is made once for all who ask for it before it begins."""

    def __init__(self, call: Callable[[], Awaitable[object]]) -> None:
        self._call = call
        self._lock = anyio.Lock()
        self._begun = self._done = 0

    async def __call__(self) -> None:
        asked = self._begun
        async with self._lock:
            if self._done > asked:
                return
            self._begun += 1
            await self._call()
            self._done = self._begun


def _sort_in(server: Server, before: int, live: dict[str, int], failed: dict[str, str]) -> None:
    if server.generation is not None and server.generation > before:
        live[server.name] = server.generation
    elif server.failure is not None and server.failure.generation > before and _is_over(server):
        failed[server.name] = f"generation {server.failure.generation}: {server.failure.reason}"


def _is_over(server: Server) -> bool:
    """Its newest generation has failed, and no other one is tried by itself."""
    return server.failure is not None and server.failure.retry_ms is None and server.booting is None


def _record(path: str | None) -> trigger.Record:
    return (trigger.read(path).record if path else None) or trigger.Record()


def _fault(server: Server, record: trigger.Record) -> str:
    """What keeps it from serving what its trigger names, and what has passed."""
    if fault := _unchecked_fault(server, record):
        return fault
    return "" if server.verified else f"is live, but what generation {server.generation} serves has not passed"


def _unchecked_fault(server: Server, record: trigger.Record) -> str:
    if server.booting is not None:
        return f"is not live yet: generation {server.booting} boots"
    if server.state == "live" and record.tree == server.tree is not None:
        return ""
    if server.failure is not None:
        return f"has failed: generation {server.failure.generation}: {server.failure.reason}"
    if server.state != "live":
        return f"is {server.state}"
    if record.tree not in (None, server.tree):
        return f"is live, but generation {server.generation} serves an older tree"
    return ""


def _red(run: Run) -> str:
    return f"run {run.run} is red: {_names(run)}" if run.failing else f"run {run.run} is red"


def _names(run: Run) -> str:
    return ", ".join(failing.stage for failing in run.failing)

"""Keeps the snapshot true while the tree changes, and says what changed.

How it works: `_listen` turns events into suspects; `_sweep` stats every file now and then, so that a missed event costs
seconds and not a wrong result; `_poll` does so often, in folders of which no events come. All put suspects into
`_unseen` and ring. `_refresh` alone touches the snapshot: it lets the burst settle, and git finish, looks, and reports
what differs through `on_change`. Whoever rings, a part of a burst is never reported, unless it goes on beyond the
bounds that `settle` and `git` set.

Invariant: when `still()` says true, everything that happened in the tree before the call has been reported; in folders
that are polled, everything that had happened when the last look came by.
"""

import errno
import math
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, Protocol, TypeVar

import anyio
import anyio.to_thread
from anyio.abc import TaskStatus

from hotpipe.config.model import Watch
from hotpipe.events import Cause, Emit, Warned, WatchReady
from hotpipe.tree import index, mounts
from hotpipe.tree.git import Hold
from hotpipe.tree.identity import Entry
from hotpipe.tree.ignore import Ignore
from hotpipe.tree.inotify import Inotify
from hotpipe.tree.poll import AGAIN_S, SURVEY_S, Look, Mode, Polled, measured
from hotpipe.tree.settle import Burst
from hotpipe.tree.suspect import Suspect
from hotpipe.tree.sweep import Delta, Folders, Snapshot

_SWEEP_SHARE = 500  # a sweep takes at most this part of the time: 0.2 % of a core
_LONGEST_S = 60.0


class Source(Protocol):
    """Where events come from: Inotify, Watchfiles."""

    @property
    def watches(self) -> int: ...
    def watch(self, folder: str) -> None: ...
    def unwatch(self, folder: str) -> None: ...
    async def wait(self) -> None: ...
    def drain(self) -> tuple[set[Suspect], bool]: ...
    def close(self) -> None: ...


class Change(NamedTuple):
    """What is different in the tree, and its id now."""

    delta: Delta
    cause: Cause
    tree: str


class _Ring(NamedTuple):
    cause: Cause
    done: anyio.Event | None = None


class Watcher:
    """The watched tree of one project. `run` it in a task; `on_change` is called from there and must not block."""

    sweep_s = 5.0
    """Between sweeps while every folder is under watch, at least."""

    def __init__(  # noqa: PLR0913 - a tree, two ears, and in tests a source
        self,
        root: str,
        watch: Watch,
        never: Iterable[str],
        on_change: Callable[[Change], None],
        emit: Emit,
        *,
        source: Callable[[str], Source] | None = None,
    ) -> None:
        """`source` is called with the root and raises OSError if it has no events to give; default: this platform's."""
        self._on_change = on_change
        self._emit = emit
        self._root = root
        self._settle_s = float(watch.settle)
        self._polled = Polled(watch)
        self._source = _opened(source or _native_source(), root, watch.poll, emit)
        ignore = Ignore(root, extra=watch.ignore, never=tuple(never))
        self.snapshot = Snapshot(root, watch.paths, ignore, Folders(self._watch, self._unwatch))
        self._unseen: set[str] = set()
        self._stirred: set[str] = set()  # folders that were moved, perhaps away and back, which leaves no trace on disk
        self._burst = Burst(self._settle_s)
        self._hold = Hold(root, emit)
        self._news = anyio.Event()
        self._tree = self.snapshot.tree
        self._refreshing = False
        self._lost = False
        self._told_blind = self._source is None
        self._must_poll = anyio.Event()
        self._send, self._rings = anyio.create_memory_object_stream[_Ring](math.inf)

    @property
    def tree(self) -> str:
        """The id of the tree as last reported."""
        return self._tree

    @property
    def entries(self) -> Mapping[str, Entry]:
        """The watched files as last read."""
        return self.snapshot.entries

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Watch until cancelled; started once every file has been read and every folder is under watch."""
        began = time.monotonic()
        try:
            await self._held()
            await anyio.to_thread.run_sync(self._read, abandon_on_cancel=True)
            self._tree = self.snapshot.tree
            took_ms = (time.monotonic() - began) * 1e3
            self._emit(WatchReady(dirs=self._dirs(), files=len(self.snapshot.entries), took_ms=round(took_ms, 3)))
            await self._look_at_mounts()  # only now: a walk makes automounts appear
            self._tell_blind()
            self._tell_nothing()
            task_status.started()
            async with anyio.create_task_group() as tasks:
                if index.is_old(self.snapshot.reads, self.entries):
                    tasks.start_soon(anyio.to_thread.run_sync, index.save, self._root, dict(self.entries))
                tasks.start_soon(self._refresh)
                tasks.start_soon(self._sweep)
                tasks.start_soon(self._poll)
                tasks.start_soon(self._survey)
                if self._source is not None:
                    tasks.start_soon(self._listen, self._source)
        finally:
            self._send.close()
            self._rings.close()
            if self._source is not None:
                self._source.close()

    def _read(self) -> None:
        """For the first time; what an earlier hotpipe read is not read again."""
        self.snapshot.remember(index.load(self._root))
        self.snapshot.refresh({""})
        self.snapshot.remember({})

    async def confirm(self) -> str:
        """Look at every file once more; what differs is reported before this returns the id of the tree."""
        found = await self._differing()
        self._suspect(found)
        if not self.still():
            done = anyio.Event()
            self._send.send_nowait(_Ring(self._polled.cause(found), done))
            await done.wait()
        return self.tree

    def still(self) -> bool:
        """Whether all that has happened up to this moment has been reported. Never waits."""
        if self._take() and not self._refreshing:
            self._send.send_nowait(_Ring("event"))
        return not (self._unseen or self._refreshing or self._lost)

    async def _listen(self, source: Source) -> None:
        while True:
            await source.wait()
            if self._take():
                self._news.set()
                if not self._refreshing:
                    self._send.send_nowait(_Ring("event"))

    def _suspect(self, found: set[str]) -> None:
        self._unseen |= found
        self._burst.find(found, anyio.current_time())

    def _take(self) -> bool:
        """Move what the source has to the suspects; true if any of it can concern the tree, or some was lost."""
        if self._source is None:
            return False
        suspects, lost = self._source.drain()
        relevant = {s.path: s for s in suspects if self.snapshot.covers(s.path, is_dir=s.is_dir)}
        self._lost = self._lost or lost
        self._burst.add(relevant.values(), now := anyio.current_time())
        if lost:
            self._burst.lose(now)
        self._unseen |= relevant.keys()
        self._stirred |= {path for path, s in relevant.items() if s.is_dir and self.snapshot.holds_files(path)}
        return bool(relevant) or lost

    async def _refresh(self) -> None:
        async for ring in self._rings:
            self._refreshing = True
            delta = await self._whole_burst()
            self._refreshing, self._tree = False, self.snapshot.tree
            if delta.changed or delta.touched:
                self._polled.changed(delta.changed)
                self._on_change(Change(delta, ring.cause, self.tree))
            if self._unseen or self._lost:
                self._send.send_nowait(_Ring("event"))
            self._tell_blind()
            if ring.done is not None:
                ring.done.set()

    async def _whole_burst(self) -> Delta:
        """What a burst came to. While somebody looks more may happen, and folders come to light that are being filled:
        then the burst goes on."""
        deltas: list[Delta] = []
        while not deltas or (self._burst.fresh and not self._is_late(anyio.current_time())):
            await self._settled()
            deltas.append(await self._look())
            self._burst.find(deltas[-1].changed, anyio.current_time())
        if self._burst.began < math.inf:
            self._begin_anew(anyio.current_time())
        return _together(deltas, stood=self.snapshot.tree == self.tree)

    def _begin_anew(self, now: float) -> None:
        self._burst = Burst(self._settle_s, after=now)
        self._burst.find(self._unseen, now)
        if self._lost:
            self._burst.lose(now)

    def _is_late(self, now: float) -> bool:
        return self._burst.is_late(now) and self._hold.left_s(self._burst, now) <= 0

    async def _held(self) -> None:
        """Until the tree may be read for the first time."""
        self._burst.began, self._burst.last = anyio.current_time(), -math.inf  # no event: a lock's age alone counts
        await self._settled()
        self._burst = Burst(self._settle_s)

    async def _settled(self) -> None:
        while (left_s := self._left_s(anyio.current_time())) > 0:
            self._news = anyio.Event()
            with anyio.move_on_after(left_s):
                await self._news.wait()  # also the end of a write, which shortens the wait
            self._take()

    def _left_s(self, now: float) -> float:
        left_s = self._burst.left_s(now)
        return left_s if left_s > 0 else self._hold.left_s(self._burst, now)

    async def _look(self) -> Delta:
        """At all that is suspect."""
        if self._lost:  # the kernel's queue ran over (facts: 16,384 events)
            self._lost = False
            self._unseen.add("")  # each folder is listed anew, and watched anew: its watch may have gone unnoticed
        suspects, self._unseen = self._unseen, set()
        stirred, self._stirred = self._stirred, set()
        self._burst.fresh = False
        if self.snapshot.is_quick(suspects):
            delta = self.snapshot.refresh(suspects)
        else:
            delta = await anyio.to_thread.run_sync(self.snapshot.refresh, suspects, abandon_on_cancel=True)
        return delta._replace(touched=(*delta.touched, *sorted(stirred.difference(delta.changed))))

    async def _sweep(self) -> None:
        took_s = 0.0
        while True:
            await anyio.sleep(min(max(self.sweep_s, took_s * _SWEEP_SHARE), _LONGEST_S))
            began = time.monotonic()
            if found := await self._differing():
                self._suspect(found)
                self._send.send_nowait(_Ring(self._polled.cause(found)))
            took_s = time.monotonic() - began

    async def _differing(self) -> set[str]:
        """A sweep in a thread, which ends soon after this is cancelled."""
        return await _in_thread(self.snapshot.differing)

    async def _poll(self) -> None:
        while True:
            await self._must_poll.wait()
            look = await self._look_often(self.snapshot.differing_in, self._polled.folders)
            next_at = anyio.current_time() + look.pause_s
            while (left_s := next_at - anyio.current_time()) > 0:
                await anyio.sleep(min(left_s, AGAIN_S))
                if left_s > AGAIN_S and self._polled.recent():
                    await self._look_often(self.snapshot.differing_at, self._polled.recent)

    async def _look_often(self, differing: "_Differing", where: Callable[[], Iterable[str]]) -> Look:
        found, look = await _in_thread(lambda given_up: measured(lambda: differing(where(), given_up)))
        if found:
            self._suspect(found)
            self._send.send_nowait(_Ring("poll"))
        return look

    async def _survey(self) -> None:
        while True:
            await anyio.sleep(SURVEY_S)
            await self._look_at_mounts()
            self._tell_blind()

    async def _look_at_mounts(self) -> None:
        """What is mounted may come and go while we watch."""
        if self._polled.mode == "auto":
            layout = await anyio.to_thread.run_sync(mounts.of, self._root, abandon_on_cancel=True)
            around = await anyio.to_thread.run_sync(layout.deaf_files, abandon_on_cancel=True)
            self._polled.survey(layout, around, self.snapshot.folders)

    def _dirs(self) -> int:
        return len(self.snapshot.folders)

    def _watch(self, folder: str) -> None:
        self._polled.enter(folder)
        if self._source is None:
            self._polled.unhear(folder)
            return
        try:
            self._source.watch(folder)
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.ENOMEM}:
                self._polled.unhear(folder)
        else:
            self._polled.heard(folder)

    def _unwatch(self, folder: str) -> None:
        self._polled.leave(folder)
        if self._source is not None:
            self._source.unwatch(folder)

    def _tell_nothing(self) -> None:
        for path in self.snapshot.without_files():
            self._emit(
                Warned(
                    code="watch.nothing",
                    message=f"there is nothing to watch at {path!r}",
                    hint="is it misspelt, ignored, or a symbolic link? If none of these: what comes there is noticed",
                )
            )

    def _tell_blind(self) -> None:
        """What is polled, and why; and have it polled."""
        for warning in self._polled.warnings(self._dirs()):
            self._emit(warning)
        if self._polled.unheard and not self._told_blind:
            self._told_blind = True
            self._emit(_limit_warning(self._polled.unheard, self._dirs(), self._polled.mode))
        if self._polled.folders():
            self._must_poll.set()
        elif self._must_poll.is_set():
            self._must_poll = anyio.Event()


_Differing = Callable[[Iterable[str], Callable[[], bool]], set[str]]
_T = TypeVar("_T")


async def _in_thread(look: Callable[[Callable[[], bool]], _T]) -> _T:
    """`look` ends soon after this is cancelled: it asks whether it is given up."""
    given_up = threading.Event()
    try:
        return await anyio.to_thread.run_sync(look, given_up.is_set, abandon_on_cancel=True)
    finally:
        given_up.set()


def _together(deltas: list[Delta], *, stood: bool) -> Delta:
    """As one; where the tree `stood` in the end, what has changed has changed back."""
    changed = {path for delta in deltas for path in delta.changed}
    touched = {path for delta in deltas for path in delta.touched}
    if stood:
        return Delta((), tuple(sorted(changed | touched)))
    return Delta(tuple(sorted(changed)), tuple(sorted(touched - changed)))


def _native_source() -> Callable[[str], Source]:
    if sys.platform != "linux":
        from hotpipe.tree.portable import Watchfiles  # noqa: PLC0415 - costs 20 ms and 2 MB that Linux need not pay

        return Watchfiles
    return Inotify


def _opened(source: Callable[[str], Source], root: str, poll: Mode, emit: Emit) -> Source | None:
    if poll == "always":
        return None
    try:
        return source(root)
    except OSError as error:
        hint = "sudo sysctl fs.inotify.max_user_instances=1024" if error.errno == errno.EMFILE else ""
        message = f"no events from the kernel ({error.strerror}): {_instead('the tree', 'is', poll)}"
        emit(Warned(code="watch.polling", message=message, hint=hint))
        return None


def _limit_warning(unheard: int, folders: int, poll: Mode) -> Warned:
    return Warned(
        code="watch.limit",
        message=f"no inotify watches left: {_instead(f'{unheard} of {folders} folders', 'are', poll)}",
        hint=f"sudo sysctl fs.inotify.max_user_watches={_wanted_watches(folders)}",
    )


def _instead(what: str, are: str, poll: Mode) -> str:
    if poll == "never":
        return (
            f'{what} {are} not watched, and nothing is polled (poll = "never"): a sweep now and then finds what changes'
        )
    return f"{what} {are} polled instead"


def _wanted_watches(folders: int) -> int:
    """A limit with room to spare, as a round number: 524288 is what editors ask for, too."""
    try:
        with open("/proc/sys/fs/inotify/max_user_watches", encoding="ascii") as file:
            present = int(file.read())
    except (OSError, ValueError):
        present = 0
    return max(524_288, 1 << (2 * (present + folders) - 1).bit_length())

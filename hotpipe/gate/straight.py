"""A check of which nothing has to run, without a loop: start-up time.

How it works: the same machine (`cycle`) and the same memory as ever, fed by hand. The tree is read, each stage is
recalled, a sweep finds the tree as it was read. Whatever else comes up, a stage that has to run first of all, ends the
attempt: nothing was told to anybody, and the loop begins from the start.

Invariant: the events are those that the loop would have told. No trigger is touched, so it is enough that the tree was
on disk when the sweep began: each file that the sweep finds as it was read was so at that moment.
"""

import math
import os
import time
from collections import deque

from hotpipe.clock import stamp
from hotpipe.config.file import Project
from hotpipe.events import AnyEvent, RunFinished, Stamped, WatchReady
from hotpipe.gate import configured, cycle, state
from hotpipe.gate.cache import Cache, project_of
from hotpipe.gate.memory import Memory
from hotpipe.tree import index
from hotpipe.tree.git import Hold
from hotpipe.tree.settle import Burst
from hotpipe.tree.sweep import Snapshot


def check(project: Project, cache: str, changed: frozenset[str] | None = None) -> list[Stamped] | None:
    """All that there is to tell of a green run, if all of it is remembered in the folder `cache`; null: not all is. Of
    `changed` files only what they concern is in question, where they are given."""
    folder = os.path.join(project.root, cache)
    if not project.config.gate.cache_size or not os.path.isdir(folder):
        return None
    attempt = Attempt(project, folder)
    return attempt.told if attempt.is_green(changed) else None


class Attempt:
    """One attempt; `told` is what it has to tell if it ends well."""

    def __init__(self, project: Project, folder: str) -> None:
        self._project = project
        self.told: list[Stamped] = []
        cache = Cache(folder, project.config.gate.cache_size, self._tell)
        self._memory = Memory(project, cache, project_of(folder), self._tell)
        self._snapshot = Snapshot(project.root, project.config.watch.paths, configured.ignore(project))

    def is_green(self, changed: frozenset[str] | None) -> bool:
        """Whether it ends well."""
        if self._is_written():
            return False
        self._read()
        if self._snapshot.without_files():  # that wants a warning
            return False
        self._memory.fill(self._snapshot.entries)
        if self._memory.without_files():  # so does that
            return False
        return self._is_passed(state.Requested(self._snapshot.tree, changed=changed))

    def _read(self) -> None:
        began, root, snapshot = time.monotonic(), self._project.root, self._snapshot
        snapshot.remember(index.load(root))
        snapshot.refresh({""})
        took_ms = round((time.monotonic() - began) * 1e3, 3)
        self._tell(WatchReady(dirs=len(snapshot.folders), files=len(snapshot.entries), took_ms=took_ms))
        if index.is_old(snapshot.reads, snapshot.entries):
            index.save(root, snapshot.entries)

    def _is_written(self) -> bool:
        """By git, at this moment."""
        burst = Burst(0.0)
        burst.began, burst.last = time.monotonic(), -math.inf  # no event: a lock's age alone counts
        return Hold(self._project.root, self._tell).left_s(burst, burst.began) > 0

    def _is_passed(self, request: state.Requested) -> bool:
        graph = configured.graph(self._project.config, {})
        now: state.State = state.Idle(state.Past(graph, own=configured.own(self._project)))
        inputs: deque[state.Input] = deque([request])
        while inputs:
            now, actions = cycle.step(now, inputs.popleft(), time.monotonic())
            for action in actions:
                answer = self.performed(action)
                if answer is False:
                    return False
                if answer is not True:
                    inputs.append(answer)
        last = self.told[-1].event
        return isinstance(now, state.Idle) and isinstance(last, RunFinished) and last.status == "green"

    def performed(self, action: state.Action) -> state.Input | bool:
        """What came of it: an answer, or whether it could be done."""
        match action:
            case state.Emit(event):
                self._tell(event)
            case state.Recall(run, name):
                return self._memory.recall(run, name) and state.Recalled(name, hit=True)
            case state.Spare(run, name):
                self._memory.spare(run, name)
            case state.Vouch():
                pass  # for what is remembered already
            case state.Confirm(number):
                return not self._snapshot.differing() and state.Confirmed(number, self._snapshot.tree)
            case state.Touch(run):
                return state.Touched(run)  # there are none
            case _:
                return False
        return True

    def _tell(self, event: AnyEvent) -> None:
        self.told.append(Stamped(stamp(len(self.told) + 1), event))

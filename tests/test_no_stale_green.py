"""Invariant 1, as a property: a trigger is touched for tree T only if every stage passed on T and T is on disk then.

The world is a real folder with a real snapshot; events arrive late, together, or are lost in a queue that runs over.
The machine of the gate is driven one action at a time, so that every interleaving with a save can come up. A stage is a
reader: it passes if nothing that it read was bad. The model remembers what each stage really read.
"""

import os
import shutil
import tempfile
from collections import deque
from dataclasses import dataclass, field

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from hotpipe.gate import cycle
from hotpipe.tree.ignore import Ignore
from hotpipe.tree.sweep import Snapshot

FILES = ("a.py", "b.py", "sub/c.py")
CONTENTS = ("good1", "good2", "bad11", "bad22")  # of one length: a size tells nothing
STAGES = ("lint", "test")
names, contents = st.sampled_from(FILES), st.sampled_from(CONTENTS)


@dataclass
class Reading:
    """A stage at work: what it has read so far."""

    run: int
    stage: str
    seen: dict[str, set[str | None]] = field(default_factory=dict)


class Desk(RuleBasedStateMachine):
    """Somebody edits while the gate works."""

    def __init__(self) -> None:
        super().__init__()
        self.root = tempfile.mkdtemp()
        os.mkdir(f"{self.root}/sub")
        for name in FILES:
            self.write(name, "good1")
        self.snapshot = self.fresh_snapshot()
        self.events: set[str] = set()
        self.overflown = False
        self.now = 0.0
        self.state: cycle.State = cycle.Idle(cycle.Past(STAGES))
        self.reading: Reading | None = None
        self.cancelled = False
        self.to_confirm: int | None = None
        self.wake_at: float | None = None
        self.passed: dict[int, list[Reading]] = {}
        self.touched: list[str] = []
        self.tell(cycle.Requested(self.snapshot.tree))

    def teardown(self) -> None:
        try:
            self.come_to_rest()
            self.check_that_nothing_was_missed()
        finally:
            shutil.rmtree(self.root)

    def check_that_nothing_was_missed(self) -> None:
        good = all((self.content(name) or "good").startswith("good") for name in FILES)
        served = self.touched[-1] if self.touched else None
        assert not good or served == self.fresh_snapshot().tree, "a good tree was missed"

    # What a user does, and what the kernel tells of it.

    @rule(name=names, content=contents)
    def save_in_place(self, name: str, content: str) -> None:
        self.write(name, content)
        self.events.add(name)

    @rule(name=names, content=contents)
    def save_atomically(self, name: str, content: str) -> None:
        self.write(f"{name}~", content)
        os.replace(f"{self.root}/{name}~", f"{self.root}/{name}")
        self.events.add(name)

    @rule(name=names, meanwhile=contents)
    def save_and_undo_within_one_event(self, name: str, meanwhile: str) -> None:
        before = self.content(name)
        if before is None:
            return  # a file that comes and goes within one burst is taken for a stage's own scratch file
        self.write(name, meanwhile)
        self.stage_reads(name)
        self.write(name, before)
        self.events.add(name)

    @rule(name=names)
    def delete(self, name: str) -> None:
        if os.path.exists(f"{self.root}/{name}"):
            os.unlink(f"{self.root}/{name}")
            self.events.add(name)

    @rule(name=names)
    def save_without_a_change(self, name: str) -> None:
        if (content := self.content(name)) is not None:
            self.write(name, content)
            self.events.add(name)

    @rule()
    def the_queue_runs_over(self) -> None:
        self.events.clear()
        self.overflown = True

    @rule()
    def events_arrive(self) -> None:
        lost, self.overflown = self.overflown, False
        suspects, self.events = self.events | (self.snapshot.differing() if lost else set()), set()
        delta = self.snapshot.refresh(suspects)
        if delta.changed or delta.touched:
            self.tell(cycle.Changed(delta.changed, delta.touched, self.snapshot.tree))

    # What the processes do.

    @rule(name=names)
    def stage_reads(self, name: str) -> None:
        if self.reading is not None:
            self.reading.seen.setdefault(name, set()).add(self.content(name))

    @precondition(lambda self: self.reading is not None)
    @rule()
    def stage_ends(self) -> None:
        for name in FILES:
            self.stage_reads(name)
        reading, self.reading = self.reading, None
        assert reading is not None
        bad = any((content or "good").startswith("bad") for seen in reading.seen.values() for content in seen)
        cancelled, self.cancelled = self.cancelled, False
        if not bad and not cancelled:
            self.passed.setdefault(reading.run, []).append(reading)
        status = "cancelled" if cancelled else "failed" if bad else "passed"
        self.tell(cycle.StageEnded(reading.run, reading.stage, status))

    @precondition(lambda self: self.to_confirm is not None)
    @rule()
    def sweep_ends(self) -> None:
        run, self.to_confirm = self.to_confirm, None
        assert run is not None
        self.events |= self.snapshot.differing()
        self.events_arrive()
        self.tell(cycle.Confirmed(run, self.snapshot.tree))

    @rule(steps=st.integers(1, 4))
    def nobody_edits_for_a_while(self, steps: int) -> None:
        for _ in range(steps):
            if self.reading is not None:
                self.stage_ends()
            elif self.to_confirm is not None:
                self.sweep_ends()

    @rule()
    def time_passes(self) -> None:
        self.now += 5.0
        if self.wake_at is not None and self.now >= self.wake_at:
            self.wake_at = None
            self.tell(cycle.Woken())

    # What the loop does.

    def tell(self, given: cycle.Input) -> None:
        inputs = deque([given])
        while inputs:
            self.state, actions = cycle.step(self.state, inputs.popleft(), self.now)
            inputs.extend(answer for action in actions if (answer := self.perform(action)) is not None)

    def perform(self, action: cycle.Action) -> cycle.Input | None:
        match action:
            case cycle.StartStage(run, stage):
                assert self.reading is None, "two stages at once"
                self.reading = Reading(run, stage)
            case cycle.CancelStage(stage):
                assert self.reading is not None
                assert self.reading.stage == stage
                self.cancelled = True
            case cycle.Confirm(run):
                self.to_confirm = run
            case cycle.Wake(at):
                self.wake_at = at
            case cycle.Touch():
                return self.touch(action)
            case cycle.Emit():
                pass
        return None

    def touch(self, touch: cycle.Touch) -> cycle.Input:
        if self.overflown or any(self.snapshot.covers(path, is_dir=False) for path in self.events):
            return cycle.Disturbed(touch.run)
        assert touch.tree == self.fresh_snapshot().tree, "touched for a tree that is not on disk"
        assert [reading.stage for reading in self.passed[touch.run]] == list(STAGES), "not every stage passed"
        for reading in self.passed[touch.run]:
            for name, seen in reading.seen.items():
                assert seen == {self.content(name)}, f"{reading.stage} passed on another {name}"
        self.touched.append(touch.tree)
        return cycle.Touched(touch.run)

    def come_to_rest(self) -> None:
        """Nobody edits any more: whatever is under way comes to its end."""
        for _ in range(100):
            self.events_arrive()
            if self.reading is not None:
                self.stage_ends()
            if self.to_confirm is not None:
                self.sweep_ends()
            self.time_passes()
        assert isinstance(self.state, cycle.Idle)

    def write(self, name: str, content: str) -> None:
        with open(f"{self.root}/{name}", "w", encoding="ascii") as file:
            file.write(content)

    def content(self, name: str) -> str | None:
        try:
            with open(f"{self.root}/{name}", encoding="ascii") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def fresh_snapshot(self) -> Snapshot:
        snapshot = Snapshot(self.root, (".",), Ignore(self.root))
        snapshot.refresh({""})
        return snapshot


Desk.TestCase.settings = settings(
    max_examples=200, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestNoStaleGreen = Desk.TestCase

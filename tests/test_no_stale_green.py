"""Invariant 1, as a property: a trigger is touched for tree T only if every stage that its server needs passed on T,
and T is on disk then. And no more, no less: not without something new that concerns the server, and not too late.

The world is a real folder with a real snapshot; events arrive late, together, or are lost in a queue that runs over.
The machine of the gate is driven one action at a time, so that every interleaving with a save can come up. A stage is a
reader: it passes if nothing that it read was bad to it. The model remembers what each stage really read; `lint` and
`test` run side by side, `load` after both, and passes are remembered from run to run.
"""

import os
import shutil
import tempfile
from collections import deque
from dataclasses import dataclass, field

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from hotpipe.events import RunFinished
from hotpipe.gate import cycle, plan, state
from hotpipe.gate.triggers import Due, Trigger
from hotpipe.tree.globs import Globs
from hotpipe.tree.ignore import Ignore
from hotpipe.tree.sweep import Snapshot

FILES = ("a.py", "b.py", "sub/c.py")
CONTENTS = ("good1", "good2", "ugly1", "ugly2", "bad11")  # of one length: a size tells nothing
STAGES = ("lint", "test", "load")
FAILS_ON = {"lint": "ugly", "test": "bad", "load": "bad"}
GRAPH = plan.graph(
    (
        plan.Node("lint"),
        plan.Node("test", inputs=Globs(["*.py", "!sub/"])),
        plan.Node("load", needs=("lint", "test"), inputs=Globs(["sub/"])),
    ),
    jobs=2,
)
READS = {"lint": FILES, "test": FILES[:2], "load": FILES[2:]}
TRIGGERS = {
    trigger.server: trigger
    for trigger in (
        Trigger(None),
        Trigger("all"),
        Trigger("linted", needs=("lint",)),
        Trigger("tested", needs=("test",), inputs=Globs(["*.py", "!sub/"])),
        Trigger("sub", inputs=Globs(["sub/"])),
        Trigger("free", needs=()),
    )
}
names, contents = st.sampled_from(FILES), st.sampled_from(CONTENTS)
servers = st.sampled_from(list(TRIGGERS))


def needs(server: str | None) -> tuple[str, ...]:
    trigger = TRIGGERS[server]
    return STAGES if trigger.needs is None else trigger.needs


def concerns(server: str | None, name: str) -> bool:
    inputs = TRIGGERS[server].inputs
    return inputs is None or inputs.matches(name)


def passes(stage: str, content: str | None) -> bool:
    return not (content or "").startswith(FAILS_ON[stage])


@dataclass
class Reading:
    """A stage at work: what it has read so far, and what it would be remembered under."""

    stage: str
    key: tuple[object, ...]
    cancelled: bool = False
    seen: dict[str, set[str | None]] = field(default_factory=dict)

    def is_content(self) -> bool:
        return all(passes(self.stage, content) for contents in self.seen.values() for content in contents)


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
        self.state: state.State = state.Idle(state.Past(GRAPH, tuple(TRIGGERS.values())))
        self.readings: dict[str, Reading] = {}
        self.to_confirm: int | None = None
        self.wake_at: float | None = None
        self.passed: dict[str, Reading] = {}
        self.remembered: dict[tuple[object, ...], Reading] = {}
        self.served: dict[str | None, dict[str, str | None]] = {}
        self.told_since: dict[str | None, set[str]] = {server: set() for server in TRIGGERS}
        self.unwritable: set[str | None] = set()
        self.tell(state.Requested(self.snapshot.tree))

    def teardown(self) -> None:
        try:
            self.come_to_rest()
            self.check_that_nothing_was_missed()
        finally:
            shutil.rmtree(self.root)

    def check_that_nothing_was_missed(self) -> None:
        failing = {stage for stage in STAGES if not all(passes(stage, self.content(name)) for name in READS[stage])}
        for server in TRIGGERS:
            # With fail_fast, a stage may have been cancelled or skipped because another one failed.
            if not failing or not needs(server):
                served = self.served.get(server)
                assert served is not None, f"{server} was never touched"
                assert not self.news(server, served), f"a tree was missed that is good for {server}"

    def news(self, server: str | None, served: dict[str, str | None]) -> set[str]:
        """What concerns the server and is not as it was served."""
        return {name for name in self.differing(served) if concerns(server, name)}

    def differing(self, served: dict[str, str | None]) -> set[str]:
        return {name for name, content in self.contents().items() if content != served[name]}

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
            if name not in self.snapshot.entries:
                self.events_arrive()  # else it comes and goes within one burst: see above
            os.unlink(f"{self.root}/{name}")
            self.events.add(name)

    @rule(name=names)
    def save_without_a_change(self, name: str) -> None:
        if (content := self.content(name)) is not None:
            self.write(name, content)
            self.events.add(name)

    @rule(server=servers)
    def a_trigger_cannot_be_written_any_more_or_can_again(self, server: str | None) -> None:
        self.unwritable ^= {server}

    @rule()
    def the_queue_runs_over(self) -> None:
        self.events.clear()
        self.overflown = True

    @rule()
    def events_arrive(self) -> None:
        lost, self.overflown = self.overflown, False
        suspects, self.events = self.events | (self.snapshot.differing() if lost else set()), set()
        delta = self.snapshot.refresh(suspects)
        for told in self.told_since.values():
            told.update(delta.changed)
        if delta.changed or delta.touched:
            self.tell(state.Changed(delta.changed, delta.touched, self.snapshot.tree))

    # What the processes do.

    @rule(name=names)
    def stage_reads(self, name: str) -> None:
        for reading in self.readings.values():
            if name in READS[reading.stage]:
                reading.seen.setdefault(name, set()).add(self.content(name))

    @precondition(lambda self: self.readings)
    @rule(first=st.booleans())
    def stage_ends(self, first: bool = True) -> None:
        for name in FILES:
            self.stage_reads(name)
        reading = self.readings.pop((min if first else max)(self.readings))
        status = "cancelled" if reading.cancelled else "passed" if reading.is_content() else "failed"
        if status == "passed":
            self.passed[reading.stage] = reading
        self.tell(state.StageEnded(reading.stage, status))

    @precondition(lambda self: self.to_confirm is not None)
    @rule()
    def sweep_ends(self) -> None:
        sweep, self.to_confirm = self.to_confirm, None
        assert sweep is not None
        self.events |= self.snapshot.differing()
        self.events_arrive()
        self.tell(state.Confirmed(sweep, self.snapshot.tree))

    @rule(steps=st.integers(1, 4))
    def nobody_edits_for_a_while(self, steps: int) -> None:
        for _ in range(steps):
            if self.readings:
                self.stage_ends()
            elif self.to_confirm is not None:
                self.sweep_ends()

    @rule()
    def time_passes(self) -> None:
        self.now += 5.0
        if self.wake_at is not None and self.now >= self.wake_at:
            self.wake_at = None
            self.tell(state.Woken())

    # What the loop does.

    def tell(self, given: state.Input) -> None:
        inputs = deque([given])
        while inputs:
            self.state, actions = cycle.step(self.state, inputs.popleft(), self.now)
            inputs.extend(answer for action in actions if (answer := self.perform(action)) is not None)

    def key(self, stage: str) -> tuple[object, ...]:
        read = FILES if stage == "load" else READS[stage]
        entries = (self.snapshot.entries.get(name) for name in read)
        return (stage, *(entry.fingerprint if entry else None for entry in entries))

    def perform(self, action: state.Action) -> state.Input | None:
        match action:
            case state.Recall(_, stage):
                reading = self.remembered.get(self.key(stage))
                if reading is not None:
                    self.passed[stage] = reading
                return state.Recalled(stage, reading is not None)
            case state.StartStage(_, stage):
                assert stage not in self.readings, "the same stage twice at once"
                self.passed.pop(stage, None)
                self.readings[stage] = Reading(stage, self.key(stage))
            case state.CancelStage(stage):
                self.readings[stage].cancelled = True
            case state.Confirm(sweep):
                self.to_confirm = sweep
            case state.Vouch(stages):
                for stage in stages:
                    self.remembered[self.passed[stage].key] = self.passed[stage]
            case state.Wake(at):
                self.wake_at = at
            case state.Touch():
                return self.touch(action)
            case state.Emit(RunFinished(status="green")):
                assert self.snapshot.tree == self.fresh_snapshot().tree, "green for a tree that is not on disk"
                self.check_that_it_is_green(None)
            case _:
                pass
        return None

    def touch(self, touch: state.Touch) -> state.Input:
        if self.overflown or any(self.snapshot.covers(path, is_dir=False) for path in self.events):
            return state.Disturbed(touch.run)
        assert touch.tree == self.fresh_snapshot().tree, "touched for a tree that is not on disk"
        for due in touch.due:
            self.check_that_it_is_green(due.server)
            self.check_that_it_is_wanted(due)
        written = tuple(due.server for due in touch.due if due.server not in self.unwritable)
        self.served |= dict.fromkeys(written, self.contents())
        self.told_since |= {server: set() for server in written}
        if len(written) < len(touch.due):
            return state.TouchFailed(touch.run, "", "", written)
        return state.Touched(touch.run, written)

    def check_that_it_is_green(self, server: str | None) -> None:
        for stage in needs(server):
            assert stage in self.passed, f"{server} needs {stage}, which did not pass"
            for name, seen in self.passed[stage].seen.items():
                assert seen == {self.content(name)}, f"{stage} passed on another {name}"

    def check_that_it_is_wanted(self, due: Due) -> None:
        assert due.changed == tuple(sorted(self.told_since[due.server])), (
            "the record is not what was told since the last touch"
        )
        if due.server in self.served:
            assert self.differing(self.served[due.server]) <= set(due.changed), "a change is not in the record"
            if due.server is not None:
                assert any(concerns(due.server, name) for name in due.changed), "touched for nothing"

    def come_to_rest(self) -> None:
        """Nobody edits any more: whatever is under way comes to its end."""
        self.unwritable.clear()
        for _ in range(100):
            self.events_arrive()
            while self.readings:
                self.stage_ends()
            if self.to_confirm is not None:
                self.sweep_ends()
            self.time_passes()
            if isinstance(self.state, state.Resting) and self.wake_at is None:  # it gave up until somebody saves
                self.save_in_place(FILES[self.state.past.undone.by == {FILES[0]}], "good1")
        assert isinstance(self.state, state.Idle)

    def write(self, name: str, content: str) -> None:
        with open(f"{self.root}/{name}", "w", encoding="ascii") as file:
            file.write(content)

    def content(self, name: str) -> str | None:
        try:
            with open(f"{self.root}/{name}", encoding="ascii") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def contents(self) -> dict[str, str | None]:
        return {name: self.content(name) for name in FILES}

    def fresh_snapshot(self) -> Snapshot:
        snapshot = Snapshot(self.root, (".",), Ignore(self.root))
        snapshot.refresh({""})
        return snapshot


Desk.TestCase.settings = settings(
    max_examples=200, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestNoStaleGreen = Desk.TestCase

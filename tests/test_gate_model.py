"""The machine of the gate against a plain model: over random graphs, edits, failures, time-outs and cancellations,
what is run, kept, remembered, cancelled and touched is right in each step.

The model knows no runs and no states. It knows what is on disk, what the gate has been told of it, what each stage has
really read, and three rules: a change ends what it concerns and nothing else; a verdict that nothing has ended is not
asked for again; what a sweep has vouched for is remembered.
"""

from collections import deque
from dataclasses import dataclass, field

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from hotpipe.events import RunFinished, RunStarted, StageFinished
from hotpipe.gate import cycle, plan, state
from hotpipe.gate.triggers import Trigger
from hotpipe.tree.globs import Globs

FILES = ("a", "b", "c", "d")
GOOD, BAD, SLOW, FLAKY = "good", "bad", "slow", "flaky"
CONTENTS = (GOOD, "fine", BAD, SLOW, FLAKY)
STATUS = {BAD: "failed", SLOW: "timed_out"}


@dataclass(frozen=True)
class Spec:
    """A stage as somebody configured it."""

    name: str
    needs: tuple[str, ...]
    inputs: tuple[str, ...] | None
    allow_failure: bool
    cache: bool
    mutates: bool

    def means(self, path: str) -> bool:
        return self.inputs is None or path in self.inputs


@dataclass
class Process:
    """A stage at work: what it has read so far, and what the gate knew of its inputs when it started."""

    name: str
    key: tuple[object, ...]
    seen: dict[str, set[str]] = field(default_factory=dict)
    dying: bool = False

    def read(self, path: str, content: str) -> None:
        self.seen.setdefault(path, set()).add(content)

    def status(self) -> str:
        read = {content for contents in self.seen.values() for content in contents}
        return STATUS[SLOW] if SLOW in read else STATUS[BAD] if BAD in read else "passed"

    def flaky(self) -> bool:
        return any(FLAKY in contents for contents in self.seen.values())


@dataclass
class Verdict:
    """What came of a stage. `clean`: a pass at the first attempt; `stands`: a sweep has vouched for it."""

    ok: bool
    clean: bool
    key: tuple[object, ...]
    stands: bool = False


@st.composite
def graphs(draw: st.DrawFn) -> list[Spec]:
    specs: list[Spec] = []
    for number in range(draw(st.integers(1, 5))):
        names = [spec.name for spec in specs]
        needs = draw(st.lists(st.sampled_from(names), unique=True, max_size=3)) if names else []
        inputs = draw(st.none() | st.lists(st.sampled_from(FILES), unique=True, max_size=3))
        globs = None if inputs is None else tuple(sorted(inputs))
        rarely, cache = draw(st.integers(0, 5)) == 0, draw(st.booleans())
        specs.append(Spec(f"s{number}", tuple(needs), globs, rarely, cache, draw(st.integers(0, 3)) == 0))
    return specs


class Desk(RuleBasedStateMachine):
    """Somebody edits while stages work; events come late, and some are lost until a sweep."""

    @initialize(specs=graphs(), jobs=st.integers(1, 3), fail_fast=st.booleans(), usual=st.booleans(), data=st.data())
    def begin(self, specs: list[Spec], jobs: int, fail_fast: bool, usual: bool, data: st.DataObject) -> None:
        self.specs = {spec.name: spec for spec in specs}
        self.jobs, self.fail_fast = jobs, fail_fast
        self.now = 0.0
        self.disk = dict.fromkeys(FILES, GOOD)
        self.known = dict(self.disk)
        self.pending: set[str] = set()  # written, and not told yet
        self.lost: set[str] = set()  # written, and only a sweep will see it
        self.version = 0
        self.processes: dict[str, Process] = {}
        self.verdicts: dict[str, Verdict] = {}
        self.remembered: set[tuple[object, ...]] = set()
        self.changed: dict[str, set[str]] = {}
        self.again: set[str] = set()
        self.sweep: int | None = None
        self.vouching: dict[str, Verdict] = {}
        self.wake_at: float | None = None
        self.failed_fast = False
        self.excused = False
        self.telling: state.Input | None = None
        self.paused = self.asked = False
        self.run = 0
        self.verdict: str | None = None
        needs = data.draw(st.lists(st.sampled_from([*self.specs]), unique=True))
        self.needs: dict[str | None, tuple[str, ...]] = {"all": tuple(self.specs), "some": tuple(needs)}
        self.told_since: dict[str | None, set[str] | None] = {"all": None, "some": None}
        nodes = [
            plan.Node(
                spec.name,
                spec.needs,
                None if spec.inputs is None else Globs(spec.inputs),
                spec.allow_failure,
                spec.mutates,
                usual_ms=float(at % 3) if usual else None,
            )
            for at, spec in enumerate(specs)
        ]
        graph = plan.graph(nodes, jobs=jobs, fail_fast=fail_fast)
        self.state: state.State = state.Idle(state.Past(graph, (Trigger("all"), Trigger("some", needs=tuple(needs)))))
        self.tell(state.Requested(self.tree()))

    # The three rules.

    def concerned(self, paths: set[str]) -> set[str]:
        """The stages whose inputs these are, and all that need them."""
        return {
            name
            for name in self.specs
            if any(self.specs[other].means(path) for other in self.all_needs(name) for path in paths)
        }

    def all_needs(self, name: str) -> set[str]:
        return {name}.union(*(self.all_needs(need) for need in self.specs[name].needs))

    def key(self, name: str, contents: dict[str, str]) -> tuple[object, ...]:
        read = {path for other in self.all_needs(name) for path in FILES if self.specs[other].means(path)}
        return (name, *((path, contents[path]) for path in sorted(read)))

    def evaluate(self, name: str) -> bool:
        """Whether a stage would do on what is on disk."""
        spec = self.specs[name]
        read = {self.disk[path] for path in FILES if spec.means(path)}
        return spec.allow_failure or not read & {BAD, SLOW}

    # What somebody does, and what the kernel tells of it.

    @rule(path=st.sampled_from(FILES), content=st.sampled_from(CONTENTS))
    def save(self, path: str, content: str) -> None:
        self.disk[path] = content
        self.pending.add(path)

    @rule(path=st.sampled_from(FILES), meanwhile=st.sampled_from(CONTENTS))
    def save_and_undo(self, path: str, meanwhile: str) -> None:
        before = self.disk[path]
        self.disk[path] = meanwhile
        self.somebody_reads(path)
        self.disk[path] = before
        self.pending.add(path)

    @rule()
    def an_event_is_lost(self) -> None:
        self.lost |= self.pending
        self.pending.clear()

    @rule()
    def events_arrive(self) -> None:
        if not self.pending:
            return
        written, self.pending = self.pending, set()
        changed = {path for path in written if self.disk[path] != self.known[path]}
        self.known = self.known | {path: self.disk[path] for path in changed}
        working = {name for name, process in self.processes.items() if not process.dying}
        mutating = {name for name in working if self.specs[name].mutates}
        self.heed(changed, written)
        concerned = self.concerned(written) - mutating
        for name in self.concerned(written) & mutating:  # it runs once more, and reads what there is then
            self.processes[name].seen.clear()
        before = self.run
        self.tell(state.Changed(tuple(sorted(changed)), tuple(sorted(written - changed)), self.tree()))
        assert self.run == before or not mutating, "what a stage writes that may write began another run"
        alive = {name for name in working if name in self.processes and not self.processes[name].dying}
        assert not alive & concerned, "a stage goes on that a change concerns"
        if not self.failed_fast and not self.is_weary():
            assert working - concerned <= alive, "a stage was cancelled that no change concerns"

    def heed(self, changed: set[str], written: set[str]) -> None:
        for name in self.concerned(changed):
            self.verdicts.pop(name, None)
        for name in self.concerned(written):
            if name in self.verdicts and not self.verdicts[name].stands:
                del self.verdicts[name]
        for name, paths in self.changed.items():
            paths.update(path for path in changed if self.specs[name].means(path))
        for told in self.told_since.values():
            if told is not None:
                told.update(changed)

    @rule(stages=st.sets(st.integers(0, 4)))
    def somebody_asks_again(self, stages: set[int]) -> None:
        again = {f"s{number}" for number in stages} & set(self.specs)
        again = {name for name in self.specs if self.all_needs(name) & again}
        self.again |= again
        for name in again:
            self.verdicts.pop(name, None)
            self.changed.pop(name, None)
        self.asked = True
        self.tell(state.Requested(self.tree(), again=frozenset(again)))
        assert not again or isinstance(self.state, state.Running | state.Superseded | state.Touching | state.Idle)

    @rule()
    def somebody_wants_a_pause(self) -> None:
        self.paused = True
        self.tell(state.Pause())

    @rule()
    def somebody_wants_to_go_on(self) -> None:
        self.paused = False
        self.tell(state.Resume())
        assert not isinstance(self.state, state.Paused)

    # What the processes do.

    @rule(path=st.sampled_from(FILES))
    def somebody_reads(self, path: str) -> None:
        for name, process in self.processes.items():
            if self.specs[name].means(path):
                process.read(path, self.disk[path])

    @precondition(lambda self: self.processes)
    @rule(data=st.data())
    def a_stage_ends(self, data: st.DataObject) -> None:
        self.end(data.draw(st.sampled_from(sorted(self.processes))))

    def end(self, name: str) -> None:
        spec = self.specs[name]
        if spec.mutates and not self.processes[name].dying:  # then it ends with a sweep
            self.pending |= self.lost
            self.lost.clear()
            self.events_arrive()
            self.processes[name].key = self.key(name, self.known)
        process = self.processes.pop(name)
        for path in FILES:
            if spec.means(path):
                process.read(path, self.disk[path])
        status = "cancelled" if process.dying else process.status()
        if not process.dying:
            ok, clean = status == "passed" or spec.allow_failure, status == "passed" and not process.flaky()
            self.verdicts[name] = Verdict(ok, clean, process.key)
            self.failed_fast = self.failed_fast or (self.fail_fast and not ok)
            if not ok:  # what a stage that mutates wrote may fail those that it needs
                for other in self.specs:
                    if other != name and name in self.all_needs(other):
                        self.verdicts.pop(other, None)
        self.tell(state.StageEnded(name, status, process.flaky() and status == "passed"))

    @precondition(lambda self: self.sweep is not None)
    @rule()
    def a_sweep_ends(self) -> None:
        sweep = self.sweep
        self.pending |= self.lost
        self.lost.clear()
        self.events_arrive()
        if self.sweep == sweep:
            self.sweep = None
        if isinstance(self.state, state.Running) and self.state.run.sweep == sweep:  # else it is no longer waited for
            for name, verdict in self.vouching.items():
                if self.verdicts.get(name) is verdict:
                    verdict.stands = True
        assert sweep is not None
        self.tell(state.Confirmed(sweep, self.tree()))

    @rule(steps=st.integers(1, 6))
    def nobody_edits_for_a_while(self, steps: int) -> None:
        for _ in range(steps):
            if self.processes:
                self.end(min(self.processes))
            elif self.sweep is not None:
                self.a_sweep_ends()

    @rule(seconds=st.sampled_from([0.1, 5.0, 40.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        if self.wake_at is not None and self.now >= self.wake_at:
            self.wake_at = None
            self.tell(state.Woken())

    # What the loop does.

    def tree(self) -> str:
        return ",".join(self.known[path] for path in FILES)

    def tell(self, given: state.Input) -> None:
        inputs = deque([given])
        while inputs:
            self.telling = inputs.popleft()
            self.state, actions = cycle.step(self.state, self.telling, self.now)
            inputs.extend(answer for action in actions if (answer := self.perform(action)) is not None)
            self.check_the_numbers()

    def perform(self, action: state.Action) -> state.Input | None:
        match action:
            case state.Recall(_, name):
                return self.recall(name)
            case state.StartStage():
                self.start(action)
            case state.CancelStage(name):
                assert not self.processes[name].dying, "told twice"
                self.processes[name].dying = True
            case state.Adopt(_, name):
                assert not self.processes[name].dying
            case state.Keep(_, name):
                assert name in self.verdicts, "kept, though something has ended it"
            case state.Confirm(sweep):
                self.sweep, self.vouching = sweep, dict(self.verdicts)
            case state.Vouch(stages):
                self.vouch(stages)
            case state.Touch():
                return self.touch(action)
            case state.Wake(at):
                self.wake_at = at
            case state.Emit(event):
                self.hear(event)
        return None

    def recall(self, name: str) -> state.Recalled:
        assert name not in self.verdicts, "asked about what is known"
        assert name not in self.again, "somebody wants to see it run"
        key = self.key(name, self.known)
        hit = self.specs[name].cache and key in self.remembered
        if hit:
            self.verdicts[name] = Verdict(True, True, key, stands=True)
            self.changed[name] = set()
        return state.Recalled(name, hit)

    def start(self, start: state.StartStage) -> None:
        name, spec = start.stage, self.specs[start.stage]
        assert name not in self.processes, "the one before is not dead"
        assert len(self.processes) < self.jobs
        assert name not in self.verdicts, "run again for nothing"
        for need in spec.needs:
            assert self.verdicts[need].ok, f"{name} was started though {need} has not passed"
        key = self.key(name, self.known)
        assert name in self.again or not (spec.cache and key in self.remembered), "run though it is remembered"
        assert start.changed == (frozenset(self.changed.get(name, ())) or None)
        self.again.discard(name)
        self.processes[name] = Process(name, key)

    def vouch(self, stages: frozenset[str]) -> None:
        for name in stages:
            verdict = self.verdicts[name]
            assert verdict.clean, "a flaky pass or an allowed failure would be remembered"
            assert verdict.stands, "nobody has swept since"
            assert verdict.key == self.key(name, self.disk), "remembered for what it was not"
            self.changed[name] = set()
            if self.specs[name].cache:
                self.remembered.add(verdict.key)

    def touch(self, touch: state.Touch) -> state.Input:
        if self.pending:
            return state.Disturbed(touch.run)
        if self.lost:  # then the promise is only that of the last sweep
            return self.touched(touch)
        assert touch.tree == self.tree()
        assert self.known == self.disk
        for due in touch.due:
            for need in self.needs[due.server]:
                assert self.verdicts[need].ok
                assert self.verdicts[need].stands
                assert self.evaluate(need), f"{due.server} is touched, but {need} fails on what is on disk"
        return self.touched(touch)

    def touched(self, touch: state.Touch) -> state.Input:
        for due in touch.due:
            told = self.told_since[due.server]
            assert told is None or set(due.changed) == told
            assert told is None or told, "touched for nothing"
            self.told_since[due.server] = set()
        return state.Touched(touch.run, tuple(due.server for due in touch.due))

    def hear(self, event: object) -> None:
        match event:
            case RunStarted():
                assert event.run == self.run + 1
                assert event.tree == self.tree()
                assert self.asked or not self.paused, "a run that nobody wants"
                self.asked = False
                self.run, self.verdict, self.failed_fast = event.run, None, False
            case RunFinished():
                assert event.run == self.run
                assert self.verdict is None, "two verdicts on one run"
                self.verdict = event.status
                self.check_the_verdict(event.status)
            case StageFinished(stage=name):
                assert event.status == "skipped"
                assert name not in self.verdicts
                assert event.why

    def check_the_verdict(self, status: str) -> None:
        ok = {name for name, verdict in self.verdicts.items() if verdict.ok}
        if status == "green":
            assert ok == set(self.specs)
            assert self.lost or all(map(self.evaluate, self.specs)), "green, but not on what is on disk"
        if status == "red":
            assert ok != set(self.specs)
            assert not self.processes

    def check_the_numbers(self) -> None:
        assert len(self.processes) <= self.jobs

    def is_weary(self) -> bool:
        """So many runs were undone in a row that even what no change concerns is stopped for a rest."""
        return self.state.past.undone.excess > 0 or self.state.past.waits

    # The end.

    def teardown(self) -> None:
        if not hasattr(self, "specs"):
            return
        self.somebody_wants_to_go_on()
        for _ in range(200):
            self.pending |= self.lost
            self.lost.clear()
            self.events_arrive()
            self.nobody_edits_for_a_while(3)
            self.time_passes(40.0)
            if isinstance(self.state, state.Resting) and self.wake_at is None:
                self.save("a" if self.state.past.undone.by != {"a"} else "b", "fine")
        assert isinstance(self.state, state.Idle)
        self.check_the_end()

    def check_the_end(self) -> None:
        ok = {name for name in self.specs if all(map(self.evaluate, self.all_needs(name)))}
        found = {name for name, verdict in self.verdicts.items() if verdict.ok}
        failed = set(self.verdicts) - found
        assert found <= ok
        assert bool(failed) == (ok != set(self.specs))
        assert self.verdict in ({"green"} if ok == set(self.specs) else {"red"})
        assert all(not self.evaluate(name) for name in failed)
        if not self.fail_fast:
            assert found == ok, "a stage was left out"
        for server, needs in self.needs.items():
            if set(needs) <= found:
                assert self.told_since[server] is not None, f"{server} was never touched"
                assert not self.told_since[server], f"{server} was not touched for the last change"


Desk.TestCase.settings = settings(
    max_examples=300, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestGateModel = Desk.TestCase

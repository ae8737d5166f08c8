"""The machine of the gate: from changes to verdicts. Pure: `step(state, input, now) -> (state, actions)`.

    Idle ──change──▶ Running ──a sweep finds the tree as it was──▶ Touching ──touched──▶ Running, or Idle
                     │  ▲  │                                            │
              change │  │  │ change that undoes                         │ cannot write
                     ▼  │  ▼                                            ▼
              Superseded   Resting ──change, or time──▶ Running     Untouched ──later──▶ Running
              (all dead)

Paused stands where Running would: a change leads there while somebody wants no runs, and out of it whoever wants one.

Invariant 1, *no stale green*: `Touch` of a trigger for tree T is asked for only if every stage that its server needs
passed on T, nothing that concerns such a stage was written since it began (not even with the same content), and a sweep
after its end found T on disk. The loop writes the triggers in the same breath in which the watcher says that nothing
has happened since; else it answers `Disturbed`. One thing is let pass: a file that comes and goes within one burst of
events (`tree/settle.py`) is taken for a scratch file of the stage's own; without that, tests that make one could never
be green. Nor is there a stale red: that a stage has failed is said at once, that the run is red after such a sweep.

One run is for one tree. A change ends it, and begins the next; but only stages that the change concerns are cancelled
and run again. The others go on, and verdicts that stand are kept. The exception is a stage that mutates: what changes
while it is at work belongs to the run, whose tree is from then on the new one.

Where triggers wait for less than all stages, they are touched as soon as what they wait for stands.
"""

from collections.abc import Iterable, Sequence
from typing import assert_never

from msgspec import Struct
from msgspec.structs import replace

from hotpipe.events import (
    AnyEvent,
    GatePaused,
    GateResumed,
    RunFinished,
    RunStarted,
    RunStatus,
    StageFinished,
    Warned,
    printable,
)
from hotpipe.gate import plan, triggers
from hotpipe.gate.state import (
    Action,
    Adopt,
    CancelStage,
    Changed,
    Confirm,
    Confirmed,
    Disturbed,
    Emit,
    Idle,
    Input,
    Keep,
    Over,
    Past,
    Pause,
    Paused,
    Recall,
    Recalled,
    Reconfigured,
    Requested,
    Resting,
    Resume,
    Run,
    Running,
    Spare,
    StageEnded,
    StartStage,
    State,
    Stopped,
    Stopping,
    Superseded,
    Touch,
    Touched,
    TouchFailed,
    Touching,
    Untouched,
    Vouch,
    Wake,
    Woken,
)
from hotpipe.gate.undone import some

RETRY_S = 1.0  # between attempts to write a trigger
ECHO_S = 2.0  # so soon after a run, a change may be its echo: what the restarted server writes, say
LATE_S = 0.3  # so long after the death of a stage, what it wrote may still be told
MANY_ECHOES = 20  # in a row, of the same files; somebody who saves by hand is told as well, but never kept waiting


def step(state: State, given: Input, now: float) -> tuple[State, Sequence[Action]]:
    """What follows from `given`, and what is to be done. An input that belongs to an earlier run changes nothing."""
    deciding = _Step(now)
    match given:
        case Changed():
            after = _changed(state, given, deciding)
        case Requested():
            after = _requested(state, given, deciding)
        case Pause():
            after = _pause(state, deciding)
        case Resume():
            after = _resume(state, deciding)
        case Reconfigured():
            after = _reconfigured(state, given, deciding)
        case Recalled():
            after = _recalled(state, given, deciding)
        case StageEnded():
            after = _stage_ended(state, given, deciding)
        case Confirmed():
            after = _confirmed(state, given, deciding)
        case Touched() | Disturbed() | TouchFailed():
            after = _touch_answered(state, given, deciding)
        case Woken():
            after = _woken(state, deciding)
        case Stopped():
            after = _stopped(state, deciding)
        case _:
            assert_never(given)
    return after, deciding.actions


class _Step(Struct):
    """The actions of one step, while it is being decided."""

    now: float
    actions: list[Action] = []

    # A run, from its start to its verdict.

    def begin(self, past: Past, tree: str, carried: Run | None = None) -> State:
        """A new run, unless somebody wants none."""
        return Paused(past, tree, carried) if past.waits else self.start(past, tree, carried)

    def start(self, past: Past, tree: str, carried: Run | None = None) -> State:
        """A new run, with what stands of the one before and what is still at work."""
        working = carried.working if carried else frozenset[str]()
        passed = past.passed | (carried.passed if carried else frozenset())
        failed = past.failed | (carried.failed if carried else frozenset())
        doubtful = carried.doubtful if carried else frozenset[str]()
        past = replace(past, runs=past.runs + 1, is_asked=False)
        self.emit(RunStarted(run=past.runs, tree=tree, changed=tuple(sorted(map(printable, past.since_green)))))
        self.actions.extend(Adopt(past.runs, stage) for stage in past.graph.in_order(working))
        for stage in past.graph.in_order(passed | failed):
            self.actions.append((Spare if stage in past.spared else Keep)(past.runs, stage))
        run = Run(past.runs, tree, self.now, working, passed=passed, failed=failed, doubtful=doubtful, ran=working)
        return self.proceed(past, run)

    def proceed(self, past: Past, run: Run) -> State:
        """Whatever can be done next."""
        run = self.skip_blocked(past, run)
        run = self.ask(past, run)
        past, run = self.start_stages(past, run)
        if run.working or run.dying or run.waiting(past.graph):
            return self.look_early(past, run)
        return self.conclude(past, run)

    def skip_blocked(self, past: Past, run: Run) -> Run:
        blocked = plan.blocked(past.graph, run.waiting(past.graph), run.failed) if run.failed else {}
        for stage, by in blocked.items():
            self.skip(run, stage, f"{by}, which it needs, has failed")
        return replace(run, skipped=run.skipped | blocked.keys())

    def ask(self, past: Past, run: Run) -> Run:
        """Whether those that could start are remembered; whoever is to run again is not asked about."""
        able = plan.ready(past.graph, run.waiting(past.graph) - run.asked, run.passed)
        self.actions.extend(Recall(run.number, stage) for stage in able if stage not in past.again)
        return replace(run, asked=run.asked.union(able), missed=run.missed.union(past.again.intersection(able)))

    def start_stages(self, past: Past, run: Run) -> tuple[Past, Run]:
        """As many as there are jobs, once it is known of all that could start whether they have to."""
        waiting = run.waiting(past.graph)
        if waiting & run.asked - run.missed:
            return past, run
        free = past.graph.jobs - len(run.working) - len(run.dying)
        chosen = plan.ready(past.graph, waiting & run.missed, run.passed)[: max(free, 0)]
        for stage in chosen:
            changed = past.changed.get(stage) or None
            self.actions.append(StartStage(run.number, stage, changed, in_question=stage in past.in_question))
        past = replace(past, again=past.again.difference(chosen))
        return past, replace(run, working=run.working.union(chosen), ran=run.ran.union(chosen))

    def look_early(self, past: Past, run: Run) -> State:
        """A trigger that does not wait for what is still to come need not wait either."""
        waiting = triggers.due(past.triggers, past.graph.stages, run.passed)
        if run.sweep is None and any(due.server not in run.tried for due in waiting):
            return self.confirm(past, run)
        return Running(past, run)

    def conclude(self, past: Past, run: Run) -> State:
        """All stages are over: it is to be seen whether their verdicts stand."""
        if run.sweep is not None:
            return Running(past, run)
        due = triggers.due(past.triggers, past.graph.stages, past.passed)
        if run.told is None or not _stands(past, run) or any(each.server not in run.tried for each in due):
            return self.confirm(past, run)
        return self.retry_later(past, run) if due else self.settle(past)

    def settle(self, past: Past) -> State:
        return Idle(replace(past, undone=past.undone.settled()), self.now)

    def retry_later(self, past: Past, run: Run) -> State:
        self.actions.append(Wake(self.now + RETRY_S))
        return Untouched(past, run, self.now + RETRY_S)

    def confirm(self, past: Past, run: Run) -> State:
        """Have the tree swept, which vouches for the verdicts there are by now."""
        past = replace(past, sweeps=past.sweeps + 1)
        self.actions.append(Confirm(past.sweeps))
        return Running(past, replace(run, sweep=past.sweeps, vouches=run.passed | run.failed))

    def touch(self, past: Past, run: Run) -> State:
        due = triggers.due(past.triggers, past.graph.stages, past.passed)
        self.actions.append(Touch(run.number, run.tree, due))
        return Touching(past, run)

    def fail_fast(self, past: Past, run: Run, failed: str) -> Run:
        """The first failure ends the rest of the run."""
        why = f"{failed} has failed"
        waiting = past.graph.in_order(run.waiting(past.graph))
        for stage in waiting:
            self.skip(run, stage, why)
        run = self.cancel(run, run.working)
        return replace(run, skipped=run.skipped | run.dying | frozenset(waiting))

    # A run that is void.

    def shake(self, run: Run, lost: frozenset[str]) -> Run:
        """The run without the verdicts of `lost`, and with those of them that are at work being stopped."""
        run = self.cancel(run, run.working & lost)
        left = {name: getattr(run, name) - lost for name in ("passed", "failed", "doubtful")}
        return replace(run, sweep=None, **left)

    def supersede(self, past: Past, run: Run, tree: str) -> State:
        """Another run, once nobody is left of whom it would be in the way."""
        if past.undone.excess > 0 or past.waits:
            run = self.cancel(run, run.working)
        return Superseded(past, run, tree) if run.dying else self.renew(past, run, tree)

    def renew(self, past: Past, run: Run, tree: str) -> State:
        if run.working and past.waits:  # only since then
            return Superseded(past, self.cancel(run, run.working), tree)
        if run.told is None:
            self.tell(run, "superseded")
        if past.undone.excess > 0 and not past.waits:
            return self.rest(past, run, tree)
        return self.begin(past, tree, run)

    def rest(self, past: Past, run: Run, tree: str) -> State:
        """Not at once again: run after run was undone."""
        until = self.now + past.undone.rest_s
        if past.undone.excess == 1:
            message, hint = past.undone.accusation()
            self.emit(Warned(code="run.undone", message=message, hint=hint))
        self.actions.append(Wake(until))
        return Resting(past, run, tree, self.now, until)

    # Words.

    def cancel(self, run: Run, stages: frozenset[str]) -> Run:
        self.actions.extend(CancelStage(stage) for stage in sorted(stages))
        return replace(run, working=run.working - stages, dying=run.dying | stages)

    def skip(self, run: Run, stage: str, why: str) -> None:
        self.emit(StageFinished(run=run.number, stage=stage, status="skipped", exit_code=None, took_ms=0.0, why=why))

    def tell(self, run: Run, status: RunStatus) -> Run:
        took_ms = round((self.now - run.began) * 1e3, 3)
        self.emit(RunFinished(run=run.number, status=status, took_ms=took_ms))
        return replace(run, told=status)

    def heed_echo(self, past: Past, paths: Iterable[str]) -> Past:
        """Count a change that came at the heels of a run, and say so when there have been too many of them."""
        by = frozenset(paths)
        past = replace(past, echoed_by=by, echoes=past.echoes + 1 if by == past.echoed_by else 1)
        if past.echoes == MANY_ECHOES:
            message = f"{some(by)}: changed right after each of the last {MANY_ECHOES} runs"
            hint = "if a server writes it when it starts, add it to ignore under [watch]"
            self.emit(Warned(code="run.echoed", message=message, hint=hint))
        return past

    def emit(self, event: AnyEvent) -> None:
        self.actions.append(Emit(event))


# What each input does, in the order in which a run meets them.


def _changed(state: State, given: Changed, deciding: _Step) -> State:
    if isinstance(state, Stopping | Over):
        return state
    past = _noted(state.past, given.paths)
    match state:
        case Resting():
            return _changed_at_rest(state, past, given, deciding)
        case Idle() | Untouched() if not given.paths:
            return replace(state, past=past)
        case Paused(before, _, last):
            return Paused(past, given.tree, last and deciding.shake(last, _lost(before, last, given)))
        case Idle(_, since):
            is_echo = deciding.now - since < ECHO_S
            past = deciding.heed_echo(past, given.paths) if is_echo else replace(past, echoes=0)
            return deciding.begin(replace(past, undone=past.undone.by_hand(given.paths)), given.tree)
        case Untouched():
            return deciding.begin(replace(past, undone=past.undone.by_hand(given.paths)), given.tree)
        case Running() | Touching():
            return _disturbed_run(state, past, given, deciding)
        case Superseded(before, run):
            run = deciding.shake(run, _lost(before, run, given) - _mutating(past, run))
            return Superseded(past, run, given.tree)
        case _:
            assert_never(state)


def _changed_at_rest(state: Resting, past: Past, given: Changed, deciding: _Step) -> State:
    run = deciding.shake(state.run, _lost(state.past, state.run, given))
    if not given.paths:
        return replace(state, past=past, run=run)
    if past.undone.by.issuperset(given.paths) and deciding.now - state.since < LATE_S:
        return replace(state, past=past, run=run, tree=given.tree)  # the dead's, as a rule; it is run in the end
    return deciding.begin(replace(past, undone=past.undone.by_hand(given.paths)), given.tree, run)


def _disturbed_run(state: Running | Touching, past: Past, given: Changed, deciding: _Step) -> State:
    run, lost = state.run, _lost(state.past, state.run, given)
    if not lost and given.tree == run.tree:
        return Running(past, run)
    if mutating := _mutating(past, run):
        run = deciding.shake(run, lost - mutating)
        afresh = replace(run, tree=given.tree, skipped=frozenset(), asked=frozenset(), missed=frozenset())
        return deciding.proceed(past, afresh)
    if lost and run.told is None:
        past = replace(past, undone=past.undone.once_more((*given.paths, *given.rewritten), run.ran))
    return deciding.supersede(past, deciding.shake(run, lost), given.tree)


def _lost(before: Past, run: Run, given: Changed) -> frozenset[str]:
    """The stages at work, and the verdicts, that a change ends. What stands does not mind that a file was written with
    the same content; what no sweep has vouched for might have read something else in between."""
    graph = before.graph
    differing = plan.concerned(graph, given.paths)
    written = plan.concerned(graph, (*given.paths, *given.rewritten)) if given.rewritten else differing
    return (run.working | run.passed | run.failed) & (differing | (written - before.passed - before.failed))


def _mutating(past: Past, run: Run) -> frozenset[str]:
    return frozenset(stage for stage in run.working if past.graph.nodes[stage].mutates)


def _requested(state: State, given: Requested, deciding: _Step) -> State:
    if isinstance(state, Stopping | Over):
        return state
    again = plan.with_dependents(state.past.graph, given.again)
    past = _without(replace(state.past, again=state.past.again | again, undone=state.past.undone.settled()), again)
    match state:
        case Resting(_, run):
            return deciding.start(past, given.tree, deciding.shake(run, again))
        case Idle() | Untouched():
            past = past if given.changed is None else _only(past, given.changed)
            return deciding.start(past, given.tree)
        case Paused(_, _, last):
            return deciding.start(past, given.tree, last and deciding.shake(last, again))
        case Running() | Touching() if not again:
            return state
        case Running() | Touching():
            return deciding.supersede(replace(past, is_asked=True), deciding.shake(state.run, again), given.tree)
        case Superseded(_, run, tree):
            return Superseded(replace(past, is_asked=True), deciding.shake(run, again), tree)
        case _:
            assert_never(state)


def _only(past: Past, paths: frozenset[str]) -> Past:
    """Nothing but these files is in question: what they do not concern counts as passed."""
    spared = past.graph.stages - plan.concerned(past.graph, paths)
    changed = {name: plan.own(node, paths) for name, node in past.graph.nodes.items()}
    return replace(past, passed=past.passed | spared, spared=spared, changed=changed, in_question=past.graph.stages)


def _reconfigured(state: State, given: Reconfigured, deciding: _Step) -> State:
    if isinstance(state, Stopping | Over):
        return state
    lost = plan.with_dependents(state.past.graph, given.redefined) | plan.with_dependents(given.graph, given.redefined)
    changed = {name: paths for name, paths in state.past.changed.items() if name not in given.redefined}
    renewed = triggers.renewed(state.past.triggers, given.triggers, given.altered)
    past = replace(state.past, graph=given.graph, triggers=renewed, changed=changed)
    past = _without(replace(past, undone=past.undone.settled()), lost)
    match state:
        case Resting(_, run):
            return deciding.begin(past, given.tree, deciding.shake(run, lost))
        case Paused(_, _, last):
            return deciding.begin(past, given.tree, last and deciding.shake(last, lost))
        case Idle() | Untouched():
            return deciding.begin(past, given.tree)
        case Running() | Touching():
            return deciding.supersede(past, deciding.shake(state.run, lost), given.tree)
        case Superseded(_, run, tree):
            return Superseded(past, deciding.shake(run, lost), tree)
        case _:
            assert_never(state)


def _pause(state: State, deciding: _Step) -> State:
    if isinstance(state, Stopping | Over) or state.past.is_paused:
        return state
    deciding.emit(GatePaused())
    past = replace(state.past, is_paused=True)
    return Paused(past, state.tree, state.run) if isinstance(state, Resting) else replace(state, past=past)


def _resume(state: State, deciding: _Step) -> State:
    if isinstance(state, Stopping | Over) or not state.past.is_paused:
        return state
    deciding.emit(GateResumed())
    past = replace(state.past, is_paused=False, undone=state.past.undone.settled())
    return deciding.start(past, state.tree, state.run) if isinstance(state, Paused) else replace(state, past=past)


def _recalled(state: State, given: Recalled, deciding: _Step) -> State:
    if not isinstance(state, Running):
        return state
    past, run = state.past, state.run
    if given.stage not in run.waiting(past.graph):
        return state
    if given.hit:
        past, run = _passed(past, frozenset({given.stage})), replace(run, passed=run.passed | {given.stage})
    else:
        run = replace(run, missed=run.missed | {given.stage})
    if run.waiting(past.graph) & run.asked - run.missed:  # their answers come before anything else does
        return Running(past, run)
    return deciding.proceed(past, run)


def _stage_ended(state: State, given: StageEnded, deciding: _Step) -> State:
    match state:
        case Running(past, run) | Touching(past, run):
            run = _after_end(past, run, given)
            if given.stage in run.failed - state.run.failed:
                past, run = _after_failure(past, run, given.stage, deciding)
            return deciding.proceed(past, run)
        case Superseded(past, run, tree):
            run = _after_end(past, run, given)
            return Superseded(past, run, tree) if run.dying else deciding.renew(past, run, tree)
        case Stopping(past, left):
            return Stopping(past, left - {given.stage}) if left - {given.stage} else Over(past)
        case _:
            return state


def _after_failure(past: Past, run: Run, stage: str, deciding: _Step) -> tuple[Past, Run]:
    # One that mutates goes on, and may even be over, while what it needs runs again on what it wrote.
    needing = plan.with_dependents(past.graph, (stage,)) - {stage}
    if not needing.isdisjoint(run.working | run.passed | run.failed):
        past = replace(past, passed=past.passed - needing, failed=past.failed - needing)
        run = deciding.shake(run, needing)
    return past, deciding.fail_fast(past, run, stage) if past.graph.fail_fast else run


def _after_end(past: Past, run: Run, given: StageEnded) -> Run:
    """The run with the verdict, unless the stage was being stopped."""
    stage = frozenset({given.stage})
    if given.stage not in run.working:
        return replace(run, dying=run.dying - stage)
    run = replace(run, working=run.working - stage)
    is_good = given.status == "passed"
    if is_good and not given.doubtful:
        return replace(run, passed=run.passed | stage)
    if is_good or past.graph.nodes[given.stage].allow_failure:
        return replace(run, passed=run.passed | stage, doubtful=run.doubtful | stage)
    return replace(run, failed=run.failed | stage)


def _confirmed(state: State, given: Confirmed, deciding: _Step) -> State:
    if not isinstance(state, Running) or state.run.sweep != given.sweep:
        return state
    past, run = state.past, replace(state.run, sweep=None)
    if given.tree != run.tree:  # the difference would have been told before: a defect, but never a stale green
        return deciding.supersede(_without(past, past.graph.stages), deciding.shake(run, run.over), given.tree)
    past = _vouched(past, run, deciding)
    due = triggers.due(past.triggers, past.graph.stages, past.passed)
    if _stands(past, run) and run.told is None:
        if not run.failed:
            return deciding.touch(past, run)
        run = deciding.tell(run, "red")
    if any(each.server not in run.tried for each in due):
        return deciding.touch(past, run)
    return deciding.proceed(past, run)


def _vouched(past: Past, run: Run, deciding: _Step) -> Past:
    """The verdicts that the sweep has vouched for stand from now on."""
    passed = run.vouches & run.passed
    if clean := passed - run.doubtful - past.passed:
        deciding.actions.append(Vouch(clean))
    past = _passed(past, clean)
    return replace(past, passed=past.passed | passed, failed=past.failed | (run.vouches & run.failed))


def _touch_answered(state: State, given: Touched | Disturbed | TouchFailed, deciding: _Step) -> State:
    if not isinstance(state, Touching) or state.run.number != given.run:
        return state
    past, run = state.past, state.run
    if isinstance(given, Disturbed):
        return deciding.proceed(past, run)
    is_unwritable = isinstance(given, TouchFailed)
    if isinstance(given, TouchFailed) and not past.is_told_unwritable:
        deciding.emit(Warned(code="trigger.unwritable", message=given.message, hint=given.hint))
    touched = triggers.touched(past.triggers, given.servers)
    past = replace(past, triggers=touched, is_told_unwritable=is_unwritable)
    if is_unwritable:
        due = triggers.due(past.triggers, past.graph.stages, past.passed)
        run = replace(run, tried=run.tried.union(each.server for each in due))
    if not _stands(past, run):
        return deciding.proceed(past, run)
    if run.told is None:
        run, past = deciding.tell(run, "green"), replace(past, since_green=frozenset())
    return deciding.retry_later(past, run) if is_unwritable else deciding.settle(past)


def _woken(state: State, deciding: _Step) -> State:
    match state:
        case Resting(past, run, tree, _, until) if deciding.now >= until:
            return deciding.start(past, tree, run)
        case Untouched(past, run, retry_at) if deciding.now >= retry_at:
            return deciding.confirm(past, replace(run, tried=frozenset()))
        case _:
            return state


def _stopped(state: State, deciding: _Step) -> State:
    match state:
        case Running(past, run) | Touching(past, run) | Superseded(past, run) if run.working or run.dying:
            run = deciding.cancel(run, run.working)
            return Stopping(past, run.dying)
        case Stopping():
            return state
        case _:
            return Over(state.past)


# What is known of verdicts.


def _stands(past: Past, run: Run) -> bool:
    """Whether all stages are over, and every verdict stands."""
    return not (run.working or run.dying or run.waiting(past.graph)) and run.over <= (
        past.passed | past.failed | run.skipped
    )


def _noted(past: Past, paths: tuple[str, ...]) -> Past:
    """The past after a change of these paths."""
    past = replace(
        past,
        since_green=past.since_green.union(paths),
        triggers=triggers.changed(past.triggers, [path for path in paths if path != past.own]),
        changed=plan.with_own(past.graph, past.changed, paths),
    )
    lost = plan.concerned(past.graph, paths)
    return replace(past, passed=past.passed - lost, failed=past.failed - lost, spared=past.spared - lost)


def _without(past: Past, stages: frozenset[str]) -> Past:
    """The past without the verdicts of these stages: the next pass looks at all of their inputs."""
    changed = {name: paths for name, paths in past.changed.items() if name not in stages}
    kept = {key: getattr(past, key) - stages for key in ("passed", "failed", "spared", "in_question")}
    return replace(past, changed=changed, **kept)


def _passed(past: Past, stages: frozenset[str]) -> Past:
    """The past after these stages have passed, and that stands."""
    changed = past.changed | dict.fromkeys(stages, frozenset[str]())
    return replace(past, passed=past.passed | stages, changed=changed, in_question=past.in_question - stages)

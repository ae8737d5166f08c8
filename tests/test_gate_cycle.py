"""The machine of the gate, history by history: what comes in, what is to be done, where it ends."""

from collections.abc import Sequence
from typing import get_args

import pytest

from hotpipe.events import RunFinished, StageFinished, Warned
from hotpipe.gate import cycle, plan, undone
from hotpipe.gate import state as states
from hotpipe.gate.state import (
    Adopt,
    CancelStage,
    Changed,
    Confirm,
    Confirmed,
    Disturbed,
    Emit,
    Idle,
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
    Running,
    Spare,
    StageEnded,
    StartStage,
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
from hotpipe.gate.triggers import Due, Trigger
from hotpipe.tree.globs import Globs

SAVED = Changed(("a.py",), (), "T2")
REWRITTEN = Changed((), ("a.py",), "T1")
README = Changed(("README",), (), "T2")
LINTED, TESTED = StageEnded("lint", "passed"), StageEnded("test", "passed")
GREEN = (LINTED, TESTED, Confirmed(1, "T1"), Touched(1, (None,)))
FAILED = (LINTED, StageEnded("test", "failed"))
ALONE = (Trigger(None),)
SERVERS = (
    Trigger("web", needs=("lint",)),
    Trigger("api"),
    Trigger("docs", needs=(), inputs=Globs(["docs/"])),
)
PY = Globs(["*.py"])


def chain(*stages: str) -> plan.Graph:
    """Each stage needs the one before it."""
    needs = ((), *((stage,) for stage in stages))
    return plan.graph(plan.Node(stage, need) for stage, need in zip(stages, needs, strict=False))


def abreast(*nodes: plan.Node, jobs: int = 2, fail_fast: bool = True) -> plan.Graph:
    return plan.graph(nodes, jobs=jobs, fail_fast=fail_fast)


LINT_TEST = chain("lint", "test")
FIX = chain("fix")
TWO = abreast(plan.Node("lint", inputs=PY), plan.Node("docs", inputs=Globs(["README"])))


def step(state: states.State, given: states.Input, now: float) -> tuple[states.State, list[states.Action]]:
    """One step, with nothing on disk that could be remembered."""
    state, actions = cycle.step(state, given, now)
    done = [action for action in actions if not isinstance(action, Recall)]
    for action in actions:
        if isinstance(action, Recall):
            state, more = step(state, Recalled(action.stage, hit=False), now)
            done += more
    return state, done


def after(
    *inputs: states.Input, graph: plan.Graph = LINT_TEST, triggers: tuple[Trigger, ...] = ALONE
) -> tuple[states.State, list[states.Action]]:
    """The state after a run on T1 was asked for and `inputs` came, one a second, and what the last of them led to."""
    state: states.State = Idle(Past(graph, triggers))
    actions: list[states.Action] = []
    for now, given in enumerate((Requested("T1"), *inputs)):
        state, actions = step(state, given, float(now))
    return state, actions


def deeds(actions: Sequence[states.Action]) -> list[states.Action]:
    """What is done, without what is only said or remembered."""
    return [action for action in actions if not isinstance(action, Emit | Vouch)]


def verdicts(actions: Sequence[states.Action]) -> list[str]:
    """The status of each run that ends."""
    return [a.event.status for a in actions if isinstance(a, Emit) and isinstance(a.event, RunFinished)]


def warnings(actions: Sequence[states.Action]) -> list[str]:
    return [a.event.code for a in actions if isinstance(a, Emit) and isinstance(a.event, Warned)]


@pytest.mark.parametrize(
    "inputs, deed",
    [
        ((), [StartStage(1, "lint")]),
        (GREEN[:1], [StartStage(1, "test")]),
        (GREEN[:2], [Confirm(1)]),
        (GREEN[:3], [Touch(1, "T1", (Due(None),))]),
        (GREEN, []),
        ((*GREEN[:3], Disturbed(1)), [Confirm(2)]),
        ((*GREEN, SAVED), [StartStage(2, "lint", frozenset({"a.py"}))]),
        ((*GREEN, REWRITTEN), []),
        ((*GREEN[:3], Disturbed(1), Confirmed(2, "T1")), [Touch(1, "T1", (Due(None),))]),
        ((SAVED,), [CancelStage("lint")]),
        ((REWRITTEN,), [CancelStage("lint")]),
        ((SAVED, SAVED), []),
        ((SAVED, StageEnded("lint", "cancelled")), [StartStage(2, "lint")]),
        ((LINTED, SAVED), [CancelStage("test")]),
        ((LINTED, SAVED, StageEnded("test", "cancelled")), [StartStage(2, "lint")]),
        ((*GREEN[:2], SAVED), [StartStage(2, "lint")]),
        ((*GREEN[:3], SAVED), [StartStage(2, "lint", frozenset({"a.py"}))]),
        ((StageEnded("lint", "failed"),), [Confirm(1)]),
        ((StageEnded("lint", "failed"), SAVED), [StartStage(2, "lint")]),
        ((StageEnded("lint", "failed"), REWRITTEN), [StartStage(2, "lint")]),
        ((StageEnded("lint", "failed"), Confirmed(1, "T1"), REWRITTEN), []),
        ((StageEnded("lint", "failed"), Confirmed(1, "T2")), [StartStage(2, "lint")]),
        ((StageEnded("lint", "timed_out"),), [Confirm(1)]),
        ((Requested("T1"),), []),
        ((Requested("T1", again=frozenset({"lint"})),), [CancelStage("lint")]),
        ((*GREEN, Requested("T1")), [Keep(2, "lint"), Keep(2, "test"), Confirm(2)]),
        ((*GREEN, Requested("T1", again=frozenset({"test"}))), [Keep(2, "lint"), StartStage(2, "test")]),
        ((Stopped(),), [CancelStage("lint")]),
        ((Stopped(), SAVED), []),
    ],
)
def test_each_history_leads_to_its_deed(inputs: tuple[states.Input, ...], deed: list[states.Action]) -> None:
    assert deeds(after(*inputs)[1]) == deed


@pytest.mark.parametrize(
    "inputs, verdict",
    [
        (GREEN, ["green"]),
        (GREEN[:3], []),
        ((StageEnded("lint", "failed"),), []),
        ((StageEnded("lint", "failed"), Confirmed(1, "T1")), ["red"]),
        ((StageEnded("lint", "failed"), SAVED), ["superseded"]),
        ((StageEnded("lint", "failed"), Confirmed(1, "T2")), ["superseded"]),
        ((SAVED,), []),
        ((SAVED, StageEnded("lint", "passed")), ["superseded"]),
        ((SAVED, StageEnded("lint", "failed")), ["superseded"]),
        ((*GREEN[:2], SAVED), ["superseded"]),
        ((*GREEN[:2], REWRITTEN), ["superseded"]),
        ((*GREEN[:2], Confirmed(1, "T2")), ["superseded"]),
    ],
)
def test_each_history_has_its_verdict(inputs: tuple[states.Input, ...], verdict: list[str]) -> None:
    assert verdicts(after(*inputs)[1]) == verdict


def test_the_stages_after_a_failure_are_told_to_be_skipped_and_why() -> None:
    _, actions = after(StageEnded("lint", "failed"))
    told = [a.event for a in actions if isinstance(a, Emit) and isinstance(a.event, StageFinished)]
    assert [(event.stage, event.status, event.why) for event in told] == [("test", "skipped", "lint has failed")]


def test_without_stages_a_change_goes_straight_to_the_sweep() -> None:
    assert deeds(after(graph=chain())[1]) == [Confirm(1)]


def test_answers_to_an_earlier_run_change_nothing() -> None:
    state, _ = after(SAVED, StageEnded("lint", "cancelled"))
    for late in (Confirmed(1, "T1"), Touched(1, (None,)), Disturbed(1), TouchFailed(1, "", ""), Woken()):
        assert cycle.step(state, late, 9.0) == (state, [])


def test_what_changed_adds_up_until_a_run_is_green() -> None:
    red = (StageEnded("lint", "failed"), Changed(("b.py",), (), "T2"))
    assert verdicts(after(*red, LINTED, TESTED, Confirmed(1, "T3"))[1]) == []
    assert verdicts(after(*red, LINTED, TESTED, Confirmed(2, "T3"))[1]) == ["superseded"], "T3 is not the run's tree"
    state, actions = after(*red, Changed(("c.py",), (), "T3"), SAVED, StageEnded("lint", "cancelled"))
    assert [a.event.changed for a in actions if isinstance(a, Emit) and hasattr(a.event, "changed")] == [
        ("a.py", "b.py", "c.py")
    ]
    assert state.past.since_green == {"a.py", "b.py", "c.py"}


def test_what_changed_of_many_stages_is_kept_once() -> None:  # 200 stages, 20,000 files: 200 MB otherwise
    graph = plan.graph([plan.Node(str(number), needs=()) for number in range(5)])
    known = plan.with_own(graph, dict.fromkeys(graph.stages, frozenset[str]()), ("a.py", "b.py"))
    more = plan.with_own(graph, known | {"0": frozenset({"c.py"})}, ("d.py",))
    assert [sorted(more[name]) for name in "01"] == [["c.py", "d.py"], ["a.py", "b.py", "d.py"]]
    assert len(set(map(id, more.values()))) == 2


class TestAGraph:
    """Stages side by side."""

    def test_as_many_start_as_there_are_jobs(self) -> None:
        graph = abreast(*map(plan.Node, "abc"), jobs=2)
        assert deeds(after(graph=graph)[1]) == [StartStage(1, "a"), StartStage(1, "b")]
        assert deeds(after(StageEnded("b", "passed"), graph=graph)[1]) == [StartStage(1, "c")]

    def test_a_change_cancels_only_what_it_concerns(self) -> None:  # go-task #2715, turborepo #13115
        assert deeds(after(README, graph=TWO)[1]) == [CancelStage("docs")]
        _, actions = after(README, StageEnded("docs", "cancelled"), graph=TWO)
        assert deeds(actions) == [Adopt(2, "lint"), StartStage(2, "docs")]

    def test_what_has_passed_is_kept_if_the_change_does_not_concern_it(self) -> None:
        passed = (LINTED, README, StageEnded("docs", "cancelled"))
        assert deeds(after(*passed, graph=TWO)[1]) == [Keep(2, "lint"), StartStage(2, "docs")]

    def test_what_was_stopped_for_nothing_runs_again(self) -> None:  # turborepo #9421 #12505
        stopped = (README, StageEnded("docs", "cancelled"), SAVED, StageEnded("lint", "cancelled"))
        state, actions = after(*stopped, graph=TWO)
        assert deeds(actions) == [Adopt(3, "docs"), StartStage(3, "lint")]
        assert isinstance(state, Running)

    def test_a_change_that_concerns_no_stage_cancels_none(self) -> None:
        other = Changed(("LICENSE",), (), "T2")
        _, actions = after(other, graph=TWO)
        assert deeds(actions) == [Adopt(2, "lint"), Adopt(2, "docs")]
        assert verdicts(actions) == ["superseded"]

    def test_a_failure_cancels_the_rest(self) -> None:
        _, actions = after(StageEnded("lint", "failed"), graph=TWO)
        assert deeds(actions) == [CancelStage("docs")]
        assert verdicts(actions) == []
        failed = (StageEnded("lint", "failed"), StageEnded("docs", "cancelled"))
        assert deeds(after(*failed, graph=TWO)[1]) == [Confirm(1)]
        assert verdicts(after(*failed, Confirmed(1, "T1"), graph=TWO)[1]) == ["red"]

    def test_or_it_keeps_going_without_those_that_need_what_failed(self) -> None:
        nodes = plan.Node("lint"), plan.Node("types", ("lint",)), plan.Node("test"), plan.Node("docs", ("types",))
        _, actions = after(StageEnded("lint", "failed"), graph=abreast(*nodes, fail_fast=False))
        told = [a.event for a in actions if isinstance(a, Emit) and isinstance(a.event, StageFinished)]
        assert [(event.stage, event.why) for event in told] == [
            ("types", "lint, which it needs, has failed"),
            ("docs", "lint, which it needs, has failed"),
        ]
        assert not [a for a in actions if isinstance(a, CancelStage)]

    def test_a_failure_that_is_allowed_stops_nobody_and_is_never_remembered(self) -> None:
        graph = abreast(plan.Node("lint", allow_failure=True), plan.Node("test", ("lint",)))
        assert deeds(after(StageEnded("lint", "failed"), graph=graph)[1]) == [StartStage(1, "test")]
        state, actions = after(StageEnded("lint", "failed"), TESTED, Confirmed(1, "T1"), graph=graph)
        assert [a for a in actions if isinstance(a, Vouch)] == [Vouch(frozenset({"test"}))]
        assert isinstance(state, Touching)

    def test_a_flaky_pass_is_never_remembered(self) -> None:
        _, actions = after(LINTED, StageEnded("test", "passed", doubtful=True), Confirmed(1, "T1"))
        assert [a for a in actions if isinstance(a, Vouch)] == [Vouch(frozenset({"lint"}))]

    def test_but_one_is_that_passed_at_once_when_it_ran_again(self) -> None:
        lint, docs = plan.Node("lint", inputs=PY), plan.Node("docs", inputs=Globs(["README"]))
        again = (StageEnded("lint", "passed", doubtful=True), SAVED, LINTED, StageEnded("docs", "passed"))
        _, actions = after(*again, Confirmed(1, "T2"), graph=abreast(lint, docs))
        assert [a for a in actions if isinstance(a, Vouch)] == [Vouch(frozenset({"lint", "docs"}))]

    def test_what_is_remembered_is_not_started_and_needs_no_job(self) -> None:
        graph = abreast(plan.Node("slow"), plan.Node("lint"), jobs=1)
        state, actions = cycle.step(Idle(Past(graph)), Requested("T1"), 0.0)
        assert deeds(actions) == [Recall(1, "slow"), Recall(1, "lint")]
        state, actions = cycle.step(state, Recalled("slow", hit=False), 0.0)
        assert deeds(actions) == [], "the other one may have to be first"
        state, actions = cycle.step(state, Recalled("lint", hit=True), 0.0)
        assert deeds(actions) == [StartStage(1, "slow")]

    def test_a_trigger_that_needs_few_is_touched_while_the_others_are_still_at_work(self) -> None:
        few = (Trigger("web", needs=("lint",)), Trigger("api"))
        assert deeds(after(LINTED, triggers=few)[1]) == [Confirm(1), StartStage(1, "test")]
        _, actions = after(LINTED, Confirmed(1, "T1"), triggers=few)
        assert deeds(actions) == [Touch(1, "T1", (Due("web"),))]
        state, actions = after(LINTED, Confirmed(1, "T1"), Touched(1, ("web",)), triggers=few)
        assert isinstance(state, Running)
        assert verdicts(actions) == []
        _, actions = after(LINTED, Confirmed(1, "T1"), Touched(1, ("web",)), TESTED, triggers=few)
        assert deeds(actions) == [Confirm(2)]


class TestTheOrder:
    def test_is_that_in_which_they_are_written_where_nothing_is_known(self) -> None:
        graph = abreast(*map(plan.Node, ("b", "a", "c")), jobs=3)
        assert plan.ready(graph, {"a", "b", "c"}, ()) == ["b", "a", "c"]

    def test_with_one_job_the_quick_ones_come_first(self) -> None:
        graph = abreast(plan.Node("test", usual_ms=900), plan.Node("lint", usual_ms=20), jobs=1)
        assert plan.ready(graph, {"test", "lint"}, ()) == ["lint", "test"]

    def test_with_more_the_longest_way_comes_first_and_then_the_quick_ones(self) -> None:
        nodes = (
            plan.Node("lint", usual_ms=20),
            plan.Node("types", usual_ms=300),
            plan.Node("build", usual_ms=100),
            plan.Node("test", ("build",), usual_ms=900),
        )
        graph = abreast(*nodes, jobs=2)
        assert plan.ready(graph, {"lint", "types", "build"}, ()) == ["build", "lint", "types"]


class TestMutating:
    """What changes while a stage that mutates is at work belongs to the run."""

    GRAPH = abreast(plan.Node("lint"), plan.Node("fmt", mutates=True), plan.Node("test", ("fmt",)))

    def test_the_run_goes_on_with_the_other_tree(self) -> None:
        state, actions = after(LINTED, SAVED, graph=self.GRAPH)
        assert verdicts(actions) == []
        assert isinstance(state, Running)
        assert state.run.tree == "T2"

    def test_what_it_concerns_runs_again_in_the_same_run(self) -> None:
        assert deeds(after(SAVED, graph=self.GRAPH)[1]) == [CancelStage("lint")]
        assert deeds(after(SAVED, StageEnded("lint", "cancelled"), graph=self.GRAPH)[1]) == [StartStage(1, "lint")]
        assert deeds(after(LINTED, SAVED, graph=self.GRAPH)[1]) == [StartStage(1, "lint")]

    def test_its_pass_ends_when_what_it_needs_fails_on_what_it_wrote(self) -> None:
        graph = abreast(plan.Node("lint"), plan.Node("fmt", ("lint",), mutates=True), fail_fast=False)
        passed = (LINTED, SAVED, StageEnded("fmt", "passed"), Confirmed(1, "T2"), Touched(1, ("web",)))
        triggers = (Trigger("web", needs=("fmt",)),)
        state, _ = after(*passed, graph=graph, triggers=triggers)
        assert state.past.passed == {"fmt"}
        state, _ = after(*passed, StageEnded("lint", "failed"), graph=graph, triggers=triggers)
        assert state.past.passed == frozenset()

    def test_afterwards_a_change_is_a_change(self) -> None:
        _, actions = after(LINTED, StageEnded("fmt", "passed"), SAVED, graph=self.GRAPH)
        assert deeds(actions) == [CancelStage("test")]


def test_what_failed_before_that_which_it_needs_failed_on_its_own_writing_is_no_verdict() -> None:
    graph = abreast(plan.Node("fmt", inputs=PY), plan.Node("fix", ("fmt",), PY, mutates=True), fail_fast=False)
    over = (StageEnded("fmt", "passed"), SAVED, StageEnded("fix", "failed"), StageEnded("fmt", "failed"))
    state, _ = after(*over, graph=graph)
    assert isinstance(state, Running)
    assert (state.run.failed, state.run.skipped) == ({"fmt"}, {"fix"})


class TestWhatIsInQuestion:
    def test_what_no_file_in_question_concerns_is_spared(self) -> None:
        _, actions = step(Idle(Past(TWO)), Requested("T1", changed=frozenset({"a.py"})), 0.0)
        assert deeds(actions) == [Spare(1, "docs"), StartStage(1, "lint", frozenset({"a.py"}), in_question=True)]

    def test_of_an_empty_list_nothing_is_concerned(self) -> None:
        _, actions = step(Idle(Past(TWO)), Requested("T1", changed=frozenset()), 0.0)
        assert deeds(actions) == [Spare(1, "lint"), Spare(1, "docs"), Confirm(1)]


class TestAnotherConfiguration:
    """Reconfigured: what it leaves as it was still stands."""

    OTHER = abreast(plan.Node("lint", inputs=PY), plan.Node("new", inputs=Globs(["README"])))
    GIVEN = Reconfigured(OTHER, ALONE, frozenset({"docs", "new"}), frozenset(), "T2")

    def test_what_is_redefined_is_stopped_and_what_is_new_started(self) -> None:
        assert deeds(after(self.GIVEN, graph=TWO)[1]) == [CancelStage("docs")]
        _, actions = after(self.GIVEN, StageEnded("docs", "cancelled"), graph=TWO)
        assert deeds(actions) == [Adopt(2, "lint"), StartStage(2, "new")]

    def test_verdicts_on_what_is_as_it_was_are_kept(self) -> None:
        passed = (LINTED, StageEnded("docs", "passed"), Confirmed(1, "T1"), Touched(1, (None,)))
        assert deeds(after(*passed, self.GIVEN, graph=TWO)[1]) == [Keep(2, "lint"), StartStage(2, "new")]

    def test_a_server_that_is_another_is_touched_again(self) -> None:
        web = (Trigger("web"),)
        given = Reconfigured(LINT_TEST, web, frozenset(), frozenset({"web"}), "T1")
        green = (LINTED, TESTED, Confirmed(1, "T1"), Touched(1, ("web",)))
        assert deeds(after(*green, given, triggers=web)[1]) == [Keep(2, "lint"), Keep(2, "test"), Confirm(2)]
        assert deeds(after(*green, given, Confirmed(2, "T1"), triggers=web)[1]) == [Touch(2, "T1", (Due("web"),))]


class TestPause:
    def test_a_change_waits_until_somebody_goes_on(self) -> None:
        state, actions = after(*GREEN, Pause(), SAVED)
        assert isinstance(state, Paused)
        assert deeds(actions) == []
        _, actions = after(*GREEN, Pause(), SAVED, Resume())
        assert deeds(actions) == [StartStage(2, "lint", frozenset({"a.py"}))]

    def test_nothing_is_run_for_nothing(self) -> None:
        state, actions = after(*GREEN, Pause(), Resume())
        assert isinstance(state, Idle)
        assert deeds(actions) == []

    def test_a_run_that_is_under_way_goes_on_to_its_end(self) -> None:
        _, actions = after(LINTED, Pause(), TESTED, Confirmed(1, "T1"), Touched(1, (None,)))
        assert verdicts(actions) == ["green"]

    def test_a_change_ends_the_run_and_begins_none(self) -> None:
        state, actions = after(Pause(), SAVED)
        assert deeds(actions) == [CancelStage("lint")]
        assert isinstance(state, Superseded)
        state, actions = after(Pause(), SAVED, StageEnded("lint", "cancelled"))
        assert isinstance(state, Paused)
        assert deeds(actions) == []

    def test_even_a_stage_that_the_change_does_not_concern_is_stopped(self) -> None:
        state, actions = after(Pause(), README, graph=TWO)
        assert set(deeds(actions)) == {CancelStage("docs"), CancelStage("lint")}
        assert isinstance(state, Superseded)

    def test_who_asks_for_a_run_gets_one_and_no_other(self) -> None:
        again = Requested("T2", again=frozenset({"test"}))
        state, _ = after(*GREEN, Pause(), SAVED, again)
        assert isinstance(state, Running)
        lint_again = (StageEnded("lint", "cancelled"), StageEnded("test", "cancelled"))
        state, _ = after(*GREEN, Pause(), SAVED, again, Changed(("a.py",), (), "T3"), *lint_again)
        assert isinstance(state, Paused)

    def test_who_asks_while_one_is_being_stopped_gets_one_too(self) -> None:
        again = Requested("T2", again=frozenset({"lint"}))
        _, actions = after(Pause(), SAVED, again, StageEnded("lint", "cancelled"))
        assert deeds(actions) == [StartStage(2, "lint")]

    def test_what_stands_still_stands_after_it(self) -> None:
        _, actions = after(LINTED, StageEnded("docs", "passed"), Pause(), README, Resume(), graph=TWO)
        assert deeds(actions) == [Keep(2, "lint"), StartStage(2, "docs")]

    def test_what_changes_meanwhile_does_not(self) -> None:
        over = (LINTED, StageEnded("docs", "passed"))
        _, actions = after(*over, Pause(), README, Changed(("a.py",), (), "T3"), Resume(), graph=TWO)
        assert deeds(actions) == [StartStage(2, "lint"), StartStage(2, "docs")]

    def test_who_is_at_work_when_it_begins_does_not_work_on_in_secret(self) -> None:
        state, actions = after(README, Pause(), StageEnded("docs", "cancelled"), graph=TWO)
        assert deeds(actions) == [CancelStage("lint")]
        assert isinstance(state, Superseded)

    def test_it_is_told_once(self) -> None:
        _, actions = after(*GREEN, Pause(), Pause())
        assert actions == []
        _, actions = after(*GREEN, Resume())
        assert actions == []


def test_a_trigger_that_cannot_be_written_is_tried_again_after_another_sweep() -> None:
    failed = (*GREEN[:3], TouchFailed(1, "disk full", "free some"))
    state, actions = after(*failed)
    assert isinstance(state, Untouched)
    assert verdicts(actions) == ["green"]
    assert warnings(actions) == ["trigger.unwritable"]
    assert deeds(actions) == [Wake(4.0 + cycle.RETRY_S)]
    assert deeds(after(*failed, Woken())[1]) == [Confirm(2)]
    assert deeds(after(*failed, Woken(), Confirmed(2, "T1"))[1]) == [Touch(1, "T1", (Due(None),))]
    assert after(*failed, Woken(), Confirmed(2, "T1"), TouchFailed(1, "", ""))[1] == [Wake(7.0 + cycle.RETRY_S)]
    assert isinstance(after(*failed, Woken(), Confirmed(2, "T1"), Touched(1))[0], Idle)
    assert deeds(after(*failed, SAVED)[1]) == [StartStage(2, "lint", frozenset({"a.py"}))]


def after_some(*inputs: states.Input) -> tuple[states.State, list[states.Action]]:
    return after(*inputs, triggers=SERVERS)


EARLY = (Confirmed(1, "T1"), Touched(1, ("docs",)))  # docs waits for no stage
FAILED_LATE = (*EARLY, LINTED, Confirmed(2, "T1"), Touched(1, ("web",)), StageEnded("test", "failed"))


def test_each_trigger_is_touched_as_soon_as_what_it_needs_stands() -> None:
    assert deeds(after_some()[1]) == [Confirm(1), StartStage(1, "lint")]
    assert deeds(after_some(*EARLY[:1])[1]) == [Touch(1, "T1", (Due("docs"),))]
    assert deeds(after_some(*EARLY, LINTED, Confirmed(2, "T1"))[1]) == [Touch(1, "T1", (Due("web"),))]
    assert verdicts(after_some(*FAILED_LATE, Confirmed(3, "T1"))[1]) == ["red"]


def test_a_red_run_touches_the_triggers_of_those_that_do_not_need_what_failed() -> None:
    late = (LINTED, StageEnded("test", "failed"), Confirmed(1, "T1"), Touched(1, ("docs",)))
    assert deeds(after_some(*late)[1]) == [Confirm(2)]
    _, actions = after_some(*late, Confirmed(2, "T1"))
    assert (verdicts(actions), deeds(actions)) == (["red"], [Touch(1, "T1", (Due("web"),))])


def test_a_red_run_has_one_verdict_whatever_becomes_of_its_triggers() -> None:
    failed = (LINTED, StageEnded("test", "failed"), Confirmed(1, "T1"), Touched(1, ("docs",)), Confirmed(2, "T1"))
    assert verdicts(after_some(*failed)[1]) == ["red"]
    for answer in (Touched(1, ("web",)), Disturbed(1), TouchFailed(1, "", ""), SAVED, Requested("T1")):
        assert verdicts(after_some(*failed, answer)[1]) == []


def test_a_trigger_that_cannot_be_written_early_is_tried_again_at_the_end_and_told_once() -> None:
    early = (Confirmed(1, "T1"), TouchFailed(1, "full", "free some"))
    _, actions = after_some(*early)
    assert warnings(actions) == ["trigger.unwritable"]
    assert deeds(actions) == []
    state, actions = after_some(*early, StageEnded("lint", "failed"), Confirmed(2, "T1"))
    assert isinstance(state, Untouched)
    assert verdicts(actions) == ["red"]
    assert deeds(actions) == [Wake(4.0 + cycle.RETRY_S)]
    retried = (*early, StageEnded("lint", "failed"), Confirmed(2, "T1"), Woken(), Confirmed(3, "T1"))
    assert deeds(after_some(*retried)[1]) == [Touch(1, "T1", (Due("docs"),))]
    assert warnings(after_some(*retried, TouchFailed(1, "full", "free some"))[1]) == []


def test_a_red_run_with_nothing_to_touch_is_over_when_the_tree_stands() -> None:
    state, actions = after(*FAILED, Confirmed(1, "T1"))
    assert isinstance(state, Idle)
    assert deeds(actions) == []


def test_a_green_run_with_nothing_to_touch_is_green_only_if_the_tree_stands_to_the_last() -> None:
    web = (Trigger("web"),)
    green = (LINTED, TESTED, Confirmed(1, "T1"), Touched(1, ("web",)), Requested("T1"), Confirmed(2, "T1"))
    assert deeds(after(*green, triggers=web)[1]) == [Touch(2, "T1")]
    assert verdicts(after(*green, Disturbed(2), triggers=web)[1]) == []
    assert verdicts(after(*green, Touched(2), triggers=web)[1]) == ["green"]


def test_a_change_that_overtakes_the_word_of_a_touch_is_not_forgotten() -> None:
    actions = deeds(after(*GREEN[:3], SAVED, Touched(1, (None,)), LINTED, TESTED, Confirmed(2, "T2"))[1])
    assert actions == [Touch(2, "T2", (Due(None, ("a.py",)),))]


@pytest.mark.parametrize("inputs", [(), (SAVED,), (LINTED,)])
def test_to_stop_is_to_wait_for_the_last_process(inputs: tuple[states.Input, ...]) -> None:
    state, _ = after(*inputs, Stopped())
    assert isinstance(state, Stopping)
    (left,) = state.left
    state, _ = cycle.step(state, StageEnded(left, "cancelled"), 9.0)
    assert isinstance(state, Over)


class TestWhoUndoesRuns:
    """watchexec #40, tilt #3404: a command triggers itself for ever."""

    @staticmethod
    def undoing(*saves: str) -> tuple[states.State, list[states.Action]]:
        """After these files were written, each while a run goes on."""
        state, actions = step(Idle(Past(FIX)), Requested("T"), 0.0)
        for save in saves:
            state, actions = step(state, Changed((save,), (), "T"), 0.0)
            if isinstance(state, Superseded):
                state, actions = step(state, StageEnded("fix", "cancelled"), 0.0)
        return state, actions

    def test_a_stage_that_writes_a_watched_file_each_time_is_named_and_cannot_spin(self) -> None:
        state, actions = self.undoing(*["out"] * undone.PATIENCE)
        assert isinstance(state, Resting)
        assert warnings(actions) == ["run.undone"]
        (told,) = [a.event for a in actions if isinstance(a, Emit) and isinstance(a.event, Warned)]
        assert "stage 'fix' writes out" in told.message
        assert "mutates = true under [stage.fix]" in told.hint
        assert deeds(actions) == [Wake(1.0)]

    def test_it_rests_longer_each_time_but_never_for_good(self) -> None:
        state, actions = self.undoing(*["out"] * undone.PATIENCE)
        rests = []
        now = 0.0
        for _ in range(12):
            (wake,) = [action.at for action in actions if isinstance(action, Wake)]
            rests.append(wake - now)
            now = wake
            state, actions = step(state, Woken(), now)
            assert deeds(actions) == [StartStage(state.past.runs, "fix")]
            state, _ = step(state, Changed(("out",), (), "T"), now)
            state, actions = step(state, StageEnded("fix", "cancelled"), now)
            assert warnings(actions) == []
        assert rests == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 600.0, 600.0]

    def test_a_change_while_it_rests_is_somebodys_and_runs_at_once(self) -> None:
        state, _ = self.undoing(*["out"] * undone.PATIENCE)
        for path, at in (("other", 0.1), ("out", cycle.LATE_S + 0.1)):
            assert deeds(step(state, Changed((path,), (), "T2"), at)[1]) == [StartStage(4, "fix")]

    def test_what_the_dead_wrote_last_does_not_end_the_rest(self) -> None:  # `hotpipe gate | tee log`
        state, _ = self.undoing(*["out"] * undone.PATIENCE)
        state, actions = step(state, Changed(("out",), (), "T2"), cycle.LATE_S / 2)
        assert isinstance(state, Resting)
        assert (state.tree, actions) == ("T2", [])

    def test_somebody_who_edits_the_file_also_between_runs_is_no_stage(self) -> None:
        idle = Idle(Past(FIX))
        state, _ = step(idle, Changed(("a.py",), (), "T"), 0.0)
        for _ in range(undone.PATIENCE + 1):
            state, _ = step(state, Changed(("a.py",), (), "T"), 0.0)
            state, actions = step(state, StageEnded("fix", "cancelled"), 0.0)
        assert isinstance(state, Running)
        assert warnings(actions) == []

    def test_saves_of_different_files_are_no_loop(self) -> None:
        state, _ = self.undoing(*["a.py", "b.py"] * undone.PATIENCE)
        assert isinstance(state, Running)

    def test_but_a_new_name_each_time_is_one_in_the_end(self) -> None:
        state, actions = self.undoing(*(f"tmp{number}" for number in range(undone.PATIENCE_WITH_STRANGERS)))
        assert isinstance(state, Resting)
        assert warnings(actions) == ["run.undone"]

    def test_of_several_stages_only_those_are_named_that_were_at_work_each_time(self) -> None:
        found = undone.Undone().once_more(["x"], ["fix", "lint"]).once_more(["x"], ["fix", "types"])
        assert found.suspects == {"fix"}
        both = undone.Undone().once_more(["x"], ["fix", "lint"])
        assert "by fix or lint?" in both.accusation()[0]


def echoes(times: int, every_s: float) -> list[str]:
    """The codes of the warnings, where each of so many runs is followed by a change of the same file."""
    codes = []
    state, _ = step(Idle(Past(chain("test"))), Requested("T"), 0.0)
    for time in range(times):
        for given in (TESTED, Confirmed(time + 1, "T"), Touched(time + 1)):
            state, _ = step(state, given, time * every_s)
        state, actions = step(state, Changed(("server.pid",), (), "T"), (time + 1) * every_s)
        assert isinstance(state, Running), "whoever it was, nobody is kept waiting"
        codes += warnings(actions)
    return codes


def test_a_server_that_writes_a_watched_file_when_it_starts_is_found_out() -> None:  # watchexec #40, tilt #3404
    assert echoes(3 * cycle.MANY_ECHOES, every_s=cycle.ECHO_S / 2) == ["run.echoed"]


def test_a_file_that_is_saved_now_and_then_is_no_echo() -> None:
    assert echoes(3 * cycle.MANY_ECHOES, every_s=cycle.ECHO_S) == []


def test_the_diagram_names_every_state() -> None:
    named = {state.__name__ for state in get_args(states.State)} - {"Stopping", "Over"}
    assert not [state for state in named if state not in (cycle.__doc__ or "").split("Invariant")[0]]

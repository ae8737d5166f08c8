"""The machine of the gate, history by history: what comes in, what is to be done, where it ends."""

from collections.abc import Sequence
from typing import get_args

import pytest

from hotpipe.events import RunFinished, StageFinished, Warned
from hotpipe.gate import cycle, plan
from hotpipe.gate.cycle import (
    CancelStage,
    Changed,
    Confirm,
    Confirmed,
    Disturbed,
    Emit,
    Idle,
    Past,
    Requested,
    Resting,
    StageEnded,
    StartStage,
    Stopped,
    Touch,
    Touched,
    TouchFailed,
    TouchingSome,
    Untouched,
    Wake,
    Woken,
)
from hotpipe.gate.plan import Due, Trigger
from hotpipe.tree.globs import Globs

STAGES = ("lint", "test")
SAVED = Changed(("a.py",), (), "T2")
REWRITTEN = Changed((), ("a.py",), "T1")
GREEN = (
    StageEnded(1, "lint", "passed"),
    StageEnded(1, "test", "passed"),
    Confirmed(1, "T1"),
    Touched(1, (None,)),
)
FAILED = (StageEnded(1, "lint", "passed"), StageEnded(1, "test", "failed"))
ALONE = (Trigger(None),)
SERVERS = (
    Trigger("web", needs=("lint",)),
    Trigger("api"),
    Trigger("docs", needs=(), inputs=Globs(["docs/"])),
)


def after(
    *inputs: cycle.Input, stages: Sequence[str] = STAGES, triggers: tuple[Trigger, ...] = ALONE
) -> tuple[cycle.State, list[cycle.Action]]:
    """The state after a run on T1 was asked for and `inputs` came, one a second, and what the last of them led to."""
    state: cycle.State = Idle(Past(tuple(stages), triggers))
    actions: Sequence[cycle.Action] = ()
    for now, given in enumerate((Requested("T1"), *inputs)):
        state, actions = cycle.step(state, given, float(now))
    return state, list(actions)


def deeds(actions: Sequence[cycle.Action]) -> list[cycle.Action]:
    """What is done, without what is only said."""
    return [action for action in actions if not isinstance(action, Emit)]


def verdicts(actions: Sequence[cycle.Action]) -> list[str]:
    """The status of each run that ends."""
    return [a.event.status for a in actions if isinstance(a, Emit) and isinstance(a.event, RunFinished)]


@pytest.mark.parametrize(
    "inputs, deed",
    [
        ((), [StartStage(1, "lint")]),
        (GREEN[:1], [StartStage(1, "test")]),
        (GREEN[:2], [Confirm(1)]),
        (GREEN[:3], [Touch(1, "T1", (Due(None),))]),
        (GREEN, []),
        ((*GREEN[:3], Disturbed(1)), [Confirm(1)]),
        ((*GREEN, SAVED), [StartStage(2, "lint")]),
        ((*GREEN, REWRITTEN), []),
        ((*GREEN[:3], Disturbed(1), Confirmed(1, "T1")), [Touch(1, "T1", (Due(None),))]),
        ((SAVED,), [CancelStage("lint")]),
        ((REWRITTEN,), [CancelStage("lint")]),
        ((SAVED, SAVED), []),
        ((SAVED, StageEnded(1, "lint", "cancelled")), [StartStage(2, "lint")]),
        ((*GREEN[:2], SAVED), [StartStage(2, "lint")]),
        ((*GREEN[:3], SAVED), [StartStage(2, "lint")]),
        ((StageEnded(1, "lint", "failed"),), [Confirm(1)]),
        ((StageEnded(1, "lint", "failed"), SAVED), [StartStage(2, "lint")]),
        ((StageEnded(1, "lint", "failed"), REWRITTEN), [StartStage(2, "lint")]),
        ((StageEnded(1, "lint", "failed"), Confirmed(1, "T1"), REWRITTEN), []),
        ((StageEnded(1, "lint", "failed"), Confirmed(1, "T2")), [StartStage(2, "lint")]),
        ((StageEnded(1, "lint", "timed_out"),), [Confirm(1)]),
        ((Requested("T1"),), [CancelStage("lint")]),
        ((Stopped(),), [CancelStage("lint")]),
        ((Stopped(), SAVED), []),
    ],
)
def test_each_history_leads_to_its_deed(inputs: tuple[cycle.Input, ...], deed: list[cycle.Action]) -> None:
    assert deeds(after(*inputs)[1]) == deed


@pytest.mark.parametrize(
    "inputs, verdict",
    [
        (GREEN, ["green"]),
        (GREEN[:3], []),
        ((StageEnded(1, "lint", "failed"),), ["red"]),
        ((SAVED,), []),
        ((SAVED, StageEnded(1, "lint", "passed")), ["superseded"]),
        ((SAVED, StageEnded(1, "lint", "failed")), ["superseded"]),
        ((*GREEN[:2], SAVED), ["superseded"]),
        ((*GREEN[:2], REWRITTEN), ["superseded"]),
        ((*GREEN[:2], Confirmed(1, "T2")), ["superseded"]),
    ],
)
def test_each_history_has_its_verdict(inputs: tuple[cycle.Input, ...], verdict: list[str]) -> None:
    assert verdicts(after(*inputs)[1]) == verdict


def test_the_stages_after_a_failure_are_told_to_be_skipped() -> None:
    _, actions = after(StageEnded(1, "lint", "failed"))
    told = [a.event for a in actions if isinstance(a, Emit) and isinstance(a.event, StageFinished)]
    assert [(event.stage, event.status) for event in told] == [("test", "skipped")]


def test_without_stages_a_change_goes_straight_to_the_sweep() -> None:
    assert deeds(after(stages=())[1]) == [Confirm(1)]


def test_answers_to_an_earlier_run_change_nothing() -> None:
    state, _ = after(SAVED, StageEnded(1, "lint", "cancelled"))
    for late in (*GREEN, Disturbed(1), TouchFailed(1, "", ""), Woken()):
        assert cycle.step(state, late, 9.0) == (state, [])


def test_what_changed_adds_up_until_a_run_is_green() -> None:
    red = (StageEnded(1, "lint", "failed"), Changed(("b.py",), (), "T2"))
    green = (StageEnded(2, "lint", "passed"), StageEnded(2, "test", "passed"), Confirmed(2, "T3"))
    renewed = (SAVED, StageEnded(2, "lint", "cancelled"))
    state, actions = after(*red, *green)
    assert verdicts(actions) == ["superseded"], "T3 is not the tree that the run began on"
    state, actions = after(*red, Changed(("c.py",), (), "T3"), *renewed)
    assert [a.event.changed for a in actions if isinstance(a, Emit) and hasattr(a.event, "changed")] == [
        ("a.py", "b.py", "c.py")
    ]
    assert state.past.since_green == {"a.py", "b.py", "c.py"}


def test_a_trigger_that_cannot_be_written_is_tried_again_after_another_sweep() -> None:
    failed = (*GREEN[:3], TouchFailed(1, "disk full", "free some"))
    state, actions = after(*failed)
    assert isinstance(state, Untouched)
    assert verdicts(actions) == ["green"]
    assert [a.event.code for a in actions if isinstance(a, Emit) and isinstance(a.event, Warned)] == [
        "trigger.unwritable"
    ]
    assert deeds(actions) == [Wake(4.0 + cycle.RETRY_S)]
    assert deeds(after(*failed, Woken())[1]) == [Confirm(1)]
    assert deeds(after(*failed, Woken(), Confirmed(1, "T1"))[1]) == [Touch(1, "T1", (Due(None),))]
    assert after(*failed, Woken(), Confirmed(1, "T1"), TouchFailed(1, "", ""))[1] == [Wake(7.0 + cycle.RETRY_S)]
    assert isinstance(after(*failed, Woken(), Confirmed(1, "T1"), Touched(1))[0], Idle)
    assert deeds(after(*failed, SAVED)[1]) == [StartStage(2, "lint")]


@pytest.mark.parametrize(
    "trigger, passed, due",
    [
        (Trigger("web"), "lint test", True),
        (Trigger("web"), "lint", False),
        (Trigger("web", needs=("lint",)), "lint", True),
        (Trigger("web", needs=("test",)), "lint", False),
        (Trigger("web", needs=("lint", "test")), "lint", False),
        (Trigger("web", needs=()), "", True),
        (Trigger("web", needs=("gone",)), "lint test", False),
        (Trigger("web").after_touch(), "lint test", False),
        (Trigger("web").after_touch().after_change(["a.py"]), "lint test", True),
        (Trigger("web").after_touch().after_change(["a.py"]), "lint", False),
        (Trigger("web").after_touch().after_change([]), "lint test", False),
        (Trigger("web").after_touch().after_change(["a.py"]).after_touch(), "lint test", False),
        (Trigger("web", inputs=Globs(["src/"])), "lint test", True),
        (Trigger("web", inputs=Globs(["src/"])).after_touch().after_change(["a.py"]), "lint test", False),
        (Trigger("web", inputs=Globs(["src/"])).after_touch().after_change(["a.py", "src/a.py"]), "lint test", True),
        (Trigger("web", inputs=Globs(["src/"])).after_touch().after_change(["src/a.py"]), "lint", False),
        (
            Trigger("web", inputs=Globs(["src/"])).after_touch().after_change(["src/a.py"]).after_change(["a.py"]),
            "lint test",
            True,
        ),
        (Trigger(None), "lint test", True),
        (Trigger(None), "lint", False),
        (Trigger(None).after_touch(), "lint test", True),
    ],
)
def test_a_trigger_is_due_when_all_it_needs_passed_and_something_that_concerns_it_is_new(
    trigger: Trigger, passed: str, due: bool
) -> None:
    assert bool(plan.due([trigger], STAGES, passed.split())) is due


def test_a_record_names_all_that_changed_since_the_touch_before_it() -> None:
    triggers = plan.touched(plan.changed(SERVERS, ["docs/old", "old.py"]), ["web", "api", "docs"])
    triggers = plan.changed(plan.changed(triggers, ["b.py", "docs/a"]), ["a.py", "b.py"])
    changed = ("a.py", "b.py", "docs/a")
    assert plan.due(triggers, STAGES, STAGES) == (Due("web", changed), Due("api", changed), Due("docs", changed))
    triggers = plan.changed(plan.touched(triggers, ["web"]), ["c.py"])
    assert plan.due(triggers, STAGES, STAGES)[:2] == (
        Due("web", ("c.py",)),
        Due("api", (*changed[:2], "c.py", "docs/a")),
    )


def after_some(*inputs: cycle.Input) -> tuple[cycle.State, list[cycle.Action]]:
    return after(*inputs, triggers=SERVERS)


def test_a_red_run_touches_the_triggers_of_those_that_do_not_need_what_failed() -> None:
    state, actions = after_some(*FAILED, Confirmed(1, "T1"))
    assert isinstance(state, TouchingSome)
    assert deeds(actions) == [Touch(1, "T1", (Due("web"), Due("docs")))]
    assert after_some(StageEnded(1, "lint", "failed"), Confirmed(1, "T1"))[1] == [Touch(1, "T1", (Due("docs"),))]


def test_a_red_run_has_one_verdict_whatever_becomes_of_its_triggers() -> None:
    assert verdicts(after_some(*FAILED)[1]) == ["red"]
    failed = (*FAILED, Confirmed(1, "T1"))
    for answer in (Touched(1, ("web", "docs")), Disturbed(1), TouchFailed(1, "", ""), SAVED, Requested("T1")):
        assert verdicts(after_some(*failed, answer)[1]) == []


@pytest.mark.parametrize(
    "inputs, state, deed",
    [
        ((Touched(1, ("web", "docs")),), Idle, []),
        ((Disturbed(1),), cycle.Reviewing, [Confirm(1)]),
        ((Disturbed(1), Confirmed(1, "T1")), TouchingSome, [Touch(1, "T1", (Due("web"), Due("docs")))]),
        ((Disturbed(1), SAVED), cycle.Running, [StartStage(2, "lint")]),
        ((SAVED,), cycle.Running, [StartStage(2, "lint")]),
        ((REWRITTEN,), cycle.Running, [StartStage(2, "lint")]),
        ((Requested("T1"),), cycle.Running, [StartStage(2, "lint")]),
        ((Stopped(),), cycle.Over, []),
        ((TouchFailed(1, "", "", ("web",)),), Untouched, [Wake(4.0 + cycle.RETRY_S)]),
        ((TouchFailed(1, "", "", ("web",)), Woken()), Untouched, [Confirm(1)]),
        ((TouchFailed(1, "", "", ("web",)), Woken(), Confirmed(1, "T1")), Untouched, [Touch(1, "T1", (Due("docs"),))]),
        ((TouchFailed(1, "", "", ("web",)), Woken(), Confirmed(1, "T2")), cycle.Running, [StartStage(2, "lint")]),
        ((Touched(7),), TouchingSome, []),
    ],
)
def test_what_follows_while_the_triggers_of_a_red_run_are_written(
    inputs: tuple[cycle.Input, ...], state: type[cycle.State], deed: list[cycle.Action]
) -> None:
    found, actions = after_some(*FAILED, Confirmed(1, "T1"), *inputs)
    assert isinstance(found, state)
    assert deeds(actions) == deed


def test_what_a_red_run_touched_the_next_run_touches_only_for_a_change_that_concerns_it() -> None:
    touched = (*FAILED, Confirmed(1, "T1"), Touched(1, ("web", "docs")))
    again = (StageEnded(2, "lint", "passed"), StageEnded(2, "test", "passed"), Confirmed(2, "T2"))
    assert deeds(after_some(*touched, SAVED, *again)[1]) == [
        Touch(2, "T2", (Due("web", ("a.py",)), Due("api", ("a.py",))))
    ]
    assert deeds(after_some(*touched, Requested("T2"), *again)[1]) == [Touch(2, "T2", (Due("api"),))]


def test_a_green_run_with_nothing_to_touch_is_green_only_if_the_tree_stands_to_the_last() -> None:
    inputs = (*GREEN[:3], Touched(1, ("web", "api", "docs")), Requested("T1"))
    again = (StageEnded(2, "lint", "passed"), StageEnded(2, "test", "passed"), Confirmed(2, "T1"))
    assert deeds(after_some(*inputs, *again)[1]) == [Touch(2, "T1")]
    assert verdicts(after_some(*inputs, *again, Disturbed(2))[1]) == []
    assert verdicts(after_some(*inputs, *again, Touched(2))[1]) == ["green"]


def test_a_red_run_with_nothing_to_touch_is_over_when_the_tree_stands() -> None:
    state, actions = after(*FAILED, Confirmed(1, "T1"))
    assert isinstance(state, Idle)
    assert not actions


def test_a_trigger_that_cannot_be_written_holds_up_no_other() -> None:
    failed = (*GREEN[:3], TouchFailed(1, "", "", ("web", "docs")))
    assert deeds(after_some(*failed, Woken(), Confirmed(1, "T1"))[1]) == [Touch(1, "T1", (Due("api"),))]


def test_a_change_that_overtakes_the_word_of_a_touch_is_not_forgotten() -> None:
    green = (StageEnded(2, "lint", "passed"), StageEnded(2, "test", "passed"), Confirmed(2, "T2"))
    actions = deeds(after(*GREEN[:3], SAVED, Touched(1, (None,)), *green)[1])
    assert actions == [Touch(2, "T2", (Due(None, ("a.py",)),))]


def test_a_stage_that_writes_a_watched_file_each_time_cannot_spin() -> None:  # watchexec #40, tilt #3404
    state: cycle.State = Idle(Past(("fix",)))
    state, _ = cycle.step(state, Requested("T"), 0.0)
    for _ in range(cycle.PATIENCE):
        state, _ = cycle.step(state, Changed(("out",), (), "T"), 0.0)
        run = state.past.runs
        state, actions = cycle.step(state, StageEnded(run, "fix", "cancelled"), 0.0)
    assert isinstance(state, Resting)
    assert [a.event.code for a in actions if isinstance(a, Emit) and isinstance(a.event, Warned)] == ["run.undone"]
    assert deeds(actions) == [Wake(1.0)]
    assert deeds(cycle.step(state, Woken(), 1.0)[1]) == [StartStage(run + 1, "fix")]
    assert deeds(cycle.step(state, Changed(("other",), (), "T"), 0.5)[1]) == [StartStage(run + 1, "fix")]


def green_run(state: cycle.State, at: float) -> cycle.State:
    run = state.past.runs
    for given in (StageEnded(run, "test", "passed"), Confirmed(run, "T"), Touched(run)):
        state, _ = cycle.step(state, given, at)
    return state


def echoes(times: int, every_s: float) -> list[str]:
    """The codes of the warnings, where each of so many runs is followed by a change of the same file."""
    codes = []
    state, _ = cycle.step(Idle(Past(("test",))), Requested("T"), 0.0)
    for time in range(times):
        state = green_run(state, time * every_s)
        state, actions = cycle.step(state, Changed(("server.pid",), (), "T"), (time + 1) * every_s)
        assert isinstance(state, cycle.Running), "whoever it was, nobody is kept waiting"
        codes += [a.event.code for a in actions if isinstance(a, Emit) and isinstance(a.event, Warned)]
    return codes


def test_a_server_that_writes_a_watched_file_when_it_starts_is_found_out() -> None:  # watchexec #40, tilt #3404
    assert echoes(3 * cycle.MANY_ECHOES, every_s=cycle.ECHO_S / 2) == ["run.echoed"]


def test_a_file_that_is_saved_now_and_then_is_no_echo() -> None:
    assert echoes(3 * cycle.MANY_ECHOES, every_s=cycle.ECHO_S) == []


def test_saves_of_different_files_are_no_loop() -> None:
    state: cycle.State = Idle(Past(("slow",)))
    state, _ = cycle.step(state, Requested("T"), 0.0)
    for number in range(3 * cycle.PATIENCE):
        state, _ = cycle.step(state, Changed((f"{number % 2}.py",), (), "T"), 0.0)
        state, actions = cycle.step(state, StageEnded(number + 1, "slow", "cancelled"), 0.0)
        assert deeds(actions) == [StartStage(number + 2, "slow")]


def test_the_diagram_names_every_state() -> None:
    states = {state.__name__ for state in get_args(cycle.State)} - {"Stopping", "Over"}
    assert not [state for state in states if state not in (cycle.__doc__ or "").split("Invariant")[0]]


def test_what_keeps_undoing_the_runs_does_not_end_the_rest_but_anything_else_does() -> None:  # `hotpipe gate | tee log`
    resting = Resting(Past(("test",), undone_by=frozenset({"log"}), undone=cycle.PATIENCE), "T1", until=9.0)
    state, actions = cycle.step(resting, Changed(("log",), (), "T2"), 1.0)
    assert isinstance(state, Resting)
    assert (state.tree, actions) == ("T2", [])
    assert deeds(cycle.step(state, Woken(), 9.0)[1]) == [StartStage(1, "test")]
    assert deeds(cycle.step(state, Changed(("a.py", "log"), (), "T3"), 1.0)[1]) == [StartStage(1, "test")]

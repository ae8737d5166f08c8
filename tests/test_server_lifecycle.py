"""The machine of a server, history by history, and invariant 2 over random histories in a modelled world."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import diagram
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from msgspec.structs import asdict, replace

from hotpipe.events import (
    AnyEvent,
    ServerDiscarded,
    ServerDraining,
    ServerFailed,
    ServerLive,
    ServerReady,
    ServerStarting,
    ServerStopped,
    ServerVerified,
    Warned,
)
from hotpipe.server import lifecycle
from hotpipe.server.lifecycle import (
    FIRST_PAUSE_S,
    Changed,
    Closing,
    Configured,
    Down,
    Emit,
    Ended,
    Exited,
    Failed,
    Generation,
    Hook,
    Live,
    NotSpawned,
    Over,
    Past,
    Probation,
    Prove,
    Proved,
    Proving,
    Ready,
    Reload,
    Reloading,
    Removed,
    Request,
    Requested,
    Retire,
    Retry,
    Server,
    Spawn,
    Spawned,
    Starting,
    Stop,
    Stopped,
    Stopping,
    Switch,
    Waiting,
    Wake,
    Woken,
)

Inputs = tuple[lifecycle.Input, ...]

WEB = Server("web")
PATIENT = replace(WEB, probation=2.0)
STUBBORN = replace(WEB, restart="always")
MORTAL = replace(WEB, restart="never")
LONER = replace(WEB, strategy="stop-start")
RELOADER = replace(WEB, strategy="signal")
STOPPED = Stopped()


def green(tree: str, at: float = 0.0) -> Requested:
    """A run passed on `tree`."""
    return Requested(Request(tree, True, at))


def by_hand(tree: str | None) -> Requested:
    return Requested(Request(tree, False, 0.0))


def boots(number: int) -> Inputs:
    """The candidate comes up and is proved."""
    return Spawned(number, 100 + number), Ready(number, "accepted a connection"), Proved(number)


def ended(number: int) -> Ended:
    return Ended(number, 0, None, killed=False)


def exits(number: int, *, success: bool = False) -> Exited:
    return Exited(number, "exited", success)


def sick(number: int) -> Failed:
    return Failed(number, "no sign of life")


FIRST: Inputs = (by_hand("A"), *boots(1))  # generation 1 is live, unverified
GREEN: Inputs = (green("A"), *boots(1))
SECOND: Inputs = (*GREEN, green("B"))  # and 2 boots beside it
ROLLED: Inputs = (*SECOND, *boots(2))  # 2 answers
TAKEN: Inputs = (*ROLLED, ended(1))  # and 1 is gone
CRASHED: Inputs = (*GREEN, exits(1), ended(1))


class Told:
    """A machine, told `inputs`, one a second."""

    def __init__(self, server: Server, *inputs: lifecycle.Input) -> None:
        self.state: lifecycle.State = Down(Past(server))
        self.now = 0.0
        self.actions: Sequence[lifecycle.Action] = ()
        self.deeds: list[str] = []
        for each in inputs:
            self.hear(each)

    def hear(self, given: lifecycle.Input, after_s: float = 1.0) -> None:
        self.now += after_s
        self.state, self.actions = lifecycle.step(self.state, given, self.now)
        self.deeds += deeds(self.actions)

    @property
    def last_deeds(self) -> list[str]:
        return deeds(self.actions)

    def said(self, kind: type[AnyEvent]) -> list[AnyEvent]:
        """The events of that kind which the last input led to."""
        return [action.event for action in self.actions if isinstance(action, Emit) and isinstance(action.event, kind)]


def deeds(actions: Sequence[lifecycle.Action]) -> list[str]:
    """What is done, as `spawn 2`; not what is only said, nor hooks and alarms."""
    return [deed for action in actions if (deed := _deed(action))]


def _deed(action: lifecycle.Action) -> str:
    match action:
        case Spawn(generation):
            return f"spawn {generation.number}"
        case Emit() | Hook() | Wake():
            return ""
        case _:
            return f"{type(action).__name__.lower()} {action.number}"


class TestHistories:
    """Each row: what happens, in which state that ends, and what the last input led to."""

    @pytest.mark.parametrize(
        "inputs, state, deed",
        [
            pytest.param(FIRST[:1], Starting, ["spawn 1"], id="a first request starts it"),
            pytest.param(FIRST[:2], Starting, [], id="it boots"),
            pytest.param(FIRST[:3], Proving, ["prove 1"], id="ready is not proved"),
            pytest.param(FIRST, Live, ["switch 1"], id="proved, it is live"),
            pytest.param(SECOND, Starting, ["spawn 2"], id="the next one boots beside it"),
            pytest.param(ROLLED, Stopping, ["switch 2", "retire 1"], id="the switch comes before the drain"),
            pytest.param(TAKEN, Live, [], id="the old one is gone"),
            pytest.param((*GREEN, by_hand(None)), Starting, ["spawn 2"], id="by hand: also without a tree"),
            pytest.param((*GREEN, by_hand("A")), Starting, ["spawn 2"], id="by hand: also the same tree"),
            pytest.param((*FIRST, green("A")), Live, [], id="what is live has passed: no restart"),
            pytest.param((*GREEN, Changed("B"), Changed("A"), green("A")), Live, [], id="undone: no restart"),
            pytest.param((*SECOND, green("A")), Stopping, ["stop 2"], id="undone while the next one boots"),
            pytest.param((*SECOND, green("A"), ended(2)), Live, [], id="and the old one goes on"),
            pytest.param((*SECOND, green("C")), Stopping, ["stop 2"], id="a newer one while it boots"),
            pytest.param((*SECOND, green("C"), ended(2)), Starting, ["spawn 3"], id="comes when the other is dead"),
            pytest.param((*SECOND, NotSpawned(2, "no")), Live, [], id="no such program: the old one goes on"),
            pytest.param((*SECOND, exits(2)), Stopping, [], id="it dies while it boots"),
            pytest.param((*SECOND, exits(2), ended(2)), Live, [], id="and is not tried again"),
            pytest.param((*SECOND, sick(2)), Stopping, ["stop 2"], id="it hangs while it boots"),
            pytest.param((*SECOND, *boots(2)[:2], sick(2)), Stopping, ["stop 2"], id="its smoke test fails"),
            pytest.param((*SECOND, exits(1)), Starting, [], id="the live one dies while the next one boots"),
            pytest.param((*SECOND, exits(1), *boots(2)), Stopping, ["switch 2"], id="which takes over"),
            pytest.param((*SECOND, exits(1), *boots(2), ended(1)), Live, [], id="and is alone"),
            pytest.param((*ROLLED, green("C")), Stopping, [], id="a request waits for the drained one's death"),
            pytest.param((*ROLLED, green("C"), ended(1)), Starting, ["spawn 3"], id="at most two are alive"),
            pytest.param((*ROLLED, green("B")), Stopping, [], id="what is live already is not next"),
            pytest.param((*GREEN, STOPPED), Closing, ["stop 1"], id="told to stop"),
            pytest.param((*GREEN, STOPPED, green("B")), Closing, [], id="and deaf from then on"),
            pytest.param((*GREEN, STOPPED, ended(1)), Over, [], id="stopped"),
            pytest.param((*ROLLED, STOPPED), Closing, ["stop 1", "stop 2"], id="what drains is stopped at once"),
            pytest.param((*SECOND, STOPPED, NotSpawned(2, "no"), ended(1)), Over, [], id="nothing was there"),
            pytest.param((STOPPED,), Over, [], id="stopped before anything began"),
        ],
    )  # fmt: skip
    def test_overlap(self, inputs: Inputs, state: type, deed: list[str]) -> None:
        told = Told(WEB, *inputs)
        assert (type(told.state), told.last_deeds) == (state, deed)

    @pytest.mark.parametrize(
        "inputs, state, deed",
        [
            pytest.param(ROLLED, Probation, ["switch 2"], id="the old one is kept"),
            pytest.param((*ROLLED, Woken("B")), Probation, [], id="until the time is over"),
            pytest.param((*ROLLED, Woken("B"), Woken("B")), Stopping, ["retire 1"], id="then it is drained"),
            pytest.param((*ROLLED, exits(2)), Stopping, ["switch 1"], id="it dies: back in the same step"),
            pytest.param((*ROLLED, exits(2), ended(2)), Live, [], id="and the old one is live again"),
            pytest.param((*ROLLED, sick(2)), Stopping, ["switch 1", "stop 2"], id="it hangs: first back, then stop"),
            pytest.param((*ROLLED, exits(1)), Stopping, [], id="the old one dies meanwhile"),
            pytest.param((*ROLLED, sick(1)), Stopping, ["stop 1"], id="the old one hangs meanwhile"),
            pytest.param((*ROLLED, green("B")), Probation, [], id="the same tree again"),
            pytest.param((*ROLLED, green("C")), Stopping, ["retire 1"], id="a newer one ends the probation"),
            pytest.param((*ROLLED, Changed("C"), green("D"), Changed("D")), Stopping, ["retire 1"], id="also late"),
            pytest.param((*ROLLED, STOPPED), Closing, ["stop 1", "stop 2"], id="told to stop"),
        ],
    )  # fmt: skip
    def test_probation(self, inputs: Inputs, state: type, deed: list[str]) -> None:
        told = Told(PATIENT, *inputs)
        assert (type(told.state), told.last_deeds) == (state, deed)

    @pytest.mark.parametrize(
        "inputs, state, deed",
        [
            pytest.param(SECOND, Stopping, ["retire 1"], id="the old one goes first"),
            pytest.param((*SECOND, ended(1)), Starting, ["spawn 2"], id="then comes the next one"),
            pytest.param((*SECOND, green("C"), ended(1)), Starting, ["spawn 2"], id="the newest of them"),
            pytest.param((*SECOND, ended(1), *boots(2)), Live, ["switch 2"], id="what waited is served"),
            pytest.param((*SECOND, ended(1), exits(2), ended(2)), Down, [], id="it fails: nobody is left"),
        ],
    )  # fmt: skip
    def test_stop_start(self, inputs: Inputs, state: type, deed: list[str]) -> None:
        told = Told(LONER, *inputs)
        assert (type(told.state), told.last_deeds) == (state, deed)

    @pytest.mark.parametrize(
        "inputs, state, deed",
        [
            pytest.param(SECOND, Reloading, ["reload 1"], id="the process is told to reload"),
            pytest.param((*SECOND, Ready(1, "READY=1")), Live, [], id="and is the new generation"),
            pytest.param((*SECOND, sick(1)), Live, [], id="not in time: it goes on as what it was"),
            pytest.param((*SECOND, green("C")), Reloading, [], id="one reload at a time"),
            pytest.param((*SECOND, green("C"), green("B")), Reloading, [], id="undone: what it reloads to already"),
            pytest.param((*SECOND, green("C"), Ready(1, "")), Reloading, ["reload 1"], id="then the next"),
            pytest.param((*SECOND, green("C"), sick(1)), Reloading, ["reload 1"], id="also after one that failed"),
            pytest.param((*SECOND, green("C"), green("B"), Ready(1, "")), Live, [], id="only if it still is wanted"),
            pytest.param((*SECOND, exits(1)), Stopping, [], id="it dies of it"),
            pytest.param((*SECOND, exits(1), ended(1)), Waiting, [], id="and is started anew"),
            pytest.param((*SECOND, STOPPED), Closing, ["stop 1"], id="told to stop"),
        ],
    )  # fmt: skip
    def test_signal(self, inputs: Inputs, state: type, deed: list[str]) -> None:
        told = Told(RELOADER, *inputs)
        assert (type(told.state), told.last_deeds) == (state, deed)

    @pytest.mark.parametrize("gone", [Spawned(1, 1), NotSpawned(1, ""), Ready(1, ""), Proved(1), sick(1), exits(1)])
    def test_what_is_said_of_a_generation_that_is_gone_changes_nothing(self, gone: lifecycle.Input) -> None:
        for inputs in (TAKEN, (*TAKEN, green("C")), (*TAKEN, green("C"), green("D")), (*TAKEN, STOPPED), CRASHED):
            state = Told(WEB, *inputs).state
            assert lifecycle.step(state, gone, 99.0) == (state, [])


def test_fifty_green_runs_in_a_row_make_at_most_two_generations_and_the_last_is_served() -> None:
    told = Told(WEB, *GREEN)
    for n in range(50):
        told.hear(green(f"T{n}"), after_s=0.02)
        told.hear(Spawned(2, 102), after_s=0.0)
    assert isinstance(told.state, Stopping)
    assert told.deeds == ["spawn 1", "prove 1", "switch 1", "spawn 2", "stop 2"]
    for each in (ended(2), *boots(3), ended(1)):
        told.hear(each)
    assert isinstance(told.state, Live)
    assert told.state.generation.tree == "T49"
    assert told.state.generation.number == 3


class TestWhatIsSaid:
    """Events and hooks."""

    def test_a_generation_that_comes_up(self) -> None:
        told = Told(WEB, green("A", at=0.5))
        said = []
        for each in boots(1):
            told.hear(each)
            said += [action for action in told.actions if isinstance(action, Emit | Hook)]
        assert [action.event for action in said if isinstance(action, Emit)] == [
            ServerStarting(server="web", generation=1, pid=101, tree="A"),
            ServerReady(server="web", generation=1, how="accepted a connection", took_ms=2000.0),
            ServerLive(server="web", generation=1, pid=101, sockets=(), took_ms=3500.0),
            ServerVerified(server="web", generation=1, tree="A"),
        ]
        assert [(hook.moment, hook.generation.pid) for hook in said if isinstance(hook, Hook)] == [("after_ready", 101)]

    def test_what_is_live_is_verified_once(self) -> None:
        told = Told(WEB, *FIRST, green("A"))
        assert told.said(ServerVerified) == [ServerVerified(server="web", generation=1, tree="A")]
        told.hear(green("A"))
        assert told.actions == []

    def test_a_tree_that_passes_while_it_boots_is_verified_when_it_is_live(self) -> None:
        told = Told(WEB, by_hand("A"), green("A"), *boots(1))
        assert [type(action.event) for action in told.actions if isinstance(action, Emit)] == [
            ServerLive, ServerVerified
        ]  # fmt: skip

    @pytest.mark.parametrize("bad", [exits(2), sick(2), NotSpawned(2, "no such file")])
    def test_a_candidate_that_fails_says_why_and_who_goes_on(self, bad: Exited | Failed | NotSpawned) -> None:
        told = Told(WEB, *SECOND, bad)
        assert told.said(ServerFailed) == [ServerFailed(server="web", generation=2, reason=bad.reason, serving=1)]
        assert Hook("on_failure", Generation(2, Request("B", True, 0.0), 5.0, process=2), bad.reason) in told.actions

    def test_one_that_dies_in_probation_says_that_the_old_one_goes_on(self) -> None:
        told = Told(PATIENT, *ROLLED, exits(2))
        assert told.said(ServerFailed) == [ServerFailed(server="web", generation=2, reason="exited", serving=1)]

    def test_a_live_one_that_dies_leaves_nobody(self) -> None:
        failed = ServerFailed(server="web", generation=1, reason="exited", serving=None)
        again = structs.replace(failed, retry_ms=FIRST_PAUSE_S * 1e3)
        assert Told(WEB, *GREEN, exits(1)).said(ServerFailed) == [again]
        assert Told(WEB, *SECOND, exits(1)).said(ServerFailed) == [failed]  # the candidate may soon be live

    def test_a_candidate_that_is_not_wanted_any_more_did_not_fail(self) -> None:
        told = Told(WEB, *SECOND, green("C"))
        assert told.said(ServerFailed) == []
        assert told.said(ServerDiscarded) == [
            ServerDiscarded(server="web", generation=2, reason="there is a newer one", serving=1)
        ]

    def test_the_old_one_drains_and_stops(self) -> None:
        told = Told(WEB, *ROLLED)
        assert told.said(ServerDraining) == [ServerDraining(server="web", generation=1)]
        told.hear(Ended(1, None, "KILL", killed=True, revisited=True))
        assert told.said(ServerStopped) == [
            ServerStopped(server="web", generation=1, exit_code=None, signal="KILL", killed=True, revisited=True)
        ]

    def test_a_reload_is_a_generation_like_others(self) -> None:
        told = Told(RELOADER, *SECOND)
        assert told.said(ServerStarting) == [ServerStarting(server="web", generation=2, pid=101, tree="B")]
        told.hear(Ready(1, "READY=1"))
        assert [type(action.event) for action in told.actions if isinstance(action, Emit)] == [
            ServerReady, ServerLive, ServerVerified
        ]  # fmt: skip
        assert [hook.generation.number for hook in told.actions if isinstance(hook, Hook)] == [2]

    def test_a_process_that_has_reloaded_stops_under_the_number_that_it_was_live_as(self) -> None:
        numbers = [
            [stopped.generation for stopped in Told(RELOADER, *inputs, STOPPED, ended(process)).said(ServerStopped)]
            for inputs, process in [
                (GREEN, 1),
                ((*SECOND, Ready(1, "")), 1),
                ((*SECOND, sick(1)), 1),
                ((*SECOND, Ready(1, ""), exits(1), ended(1), green("C")), 3),
            ]
        ]
        assert numbers == [[1], [2], [1], [3]]


class TestFilesThatChangeWhileItBoots:
    def test_a_verified_candidate_is_discarded_while_another_one_serves(self) -> None:
        told = Told(WEB, *SECOND, Changed("C"))
        assert told.last_deeds == ["stop 2"]
        assert told.said(ServerDiscarded) == [
            ServerDiscarded(server="web", generation=2, reason="files changed while it booted", serving=1)
        ]
        told.hear(ended(2))
        assert isinstance(told.state, Live)
        told.hear(green("C"))
        assert told.last_deeds == ["spawn 3"]

    def test_also_while_it_is_being_proved(self) -> None:
        assert Told(WEB, *SECOND, *boots(2)[:2], Changed("C"), Proved(2)).deeds[-1] == "stop 2"

    def test_it_goes_live_without_a_name_where_nobody_else_serves(self) -> None:
        told = Told(WEB, green("A"), Changed("B"), *boots(1))
        assert isinstance(told.state, Live)
        assert told.said(ServerVerified) == []
        told.hear(green("A"))
        assert isinstance(told.state, Live), "it lapses: A is not on disk"
        assert told.actions == []
        told.hear(green("B"))
        assert told.last_deeds == ["spawn 2"], "nobody knows what 1 has read"

    def test_one_by_hand_goes_on_without_a_name(self) -> None:
        told = Told(WEB, *GREEN, by_hand("B"), Changed("C"), *boots(2))
        assert told.last_deeds == ["switch 2", "retire 1"]
        assert told.said(ServerVerified) == []

    def test_files_that_do_not_concern_it_leave_it_alone(self) -> None:
        told = Told(WEB, *SECOND, Changed("B2", concerns=False), *boots(2))
        assert told.said(ServerVerified) == [ServerVerified(server="web", generation=2, tree="B")]

    def test_changed_and_changed_back_boots_again(self) -> None:
        told = Told(WEB, *GREEN, Changed("B"), green("B"), Changed("B"))
        assert told.last_deeds == ["stop 2"]
        told.hear(ended(2))
        assert told.last_deeds == ["spawn 3"]
        assert isinstance(told.state, Starting)
        assert told.state.candidate.request == Request("B", True, 0.0)

    def test_changed_back_later_it_boots_without_another_run(self) -> None:
        told = Told(WEB, *SECOND, Changed("C"), ended(2), Changed("B"))
        assert told.last_deeds == ["spawn 3"]

    @pytest.mark.parametrize("concerns", [True, False])
    @pytest.mark.parametrize(
        "inputs, deed",
        [
            (GREEN, "spawn 2"),
            (SECOND, "stop 2"),
            ((green("A"),), "stop 1"),
            ((*ROLLED, ended(1)), "spawn 3"),
            (CRASHED, "spawn 2"),
            ((*GREEN, exits(1, success=True), ended(1)), "spawn 2"),
        ],
    )
    def test_a_request_that_is_told_before_its_change_is_not_lost(
        self, inputs: Inputs, deed: str, concerns: bool
    ) -> None:
        told = Told(WEB)
        told.state = Down(Past(WEB, current=("A", "B")))
        for each in (*inputs, green("N")):
            told.hear(each)
        assert told.actions == []
        told.hear(Changed("N", concerns=concerns))
        assert told.last_deeds == [deed]

    def test_the_newer_of_two_that_were_put_aside_is_kept(self) -> None:
        told = Told(WEB, *GREEN, Changed("B"), green("B"), green("C"), Changed("D"), ended(2), Changed("C"))
        assert isinstance(told.state, Starting)
        assert told.state.candidate.tree == "C"

    def test_what_comes_next_and_is_not_on_disk_any_more_is_put_aside(self) -> None:
        told = Told(WEB, *ROLLED, green("C"), Changed("D"), ended(1))
        assert isinstance(told.state, Live)
        told.hear(Changed("C"))
        assert told.last_deeds == ["spawn 3"]

    def test_a_reload_that_comes_next_too(self) -> None:
        told = Told(RELOADER, *SECOND, green("C"), Changed("D"), Ready(1, ""))
        assert isinstance(told.state, Live)
        assert told.state.generation.tree is None, "it was reloading when files changed"

    def test_what_is_on_disk_comes_next_where_nobody_serves(self) -> None:
        told = Told(LONER, *SECOND, Changed("C"), ended(1))
        assert isinstance(told.state, Starting)
        assert told.state.candidate.request == Request(None, False, 0.0)

    def test_a_change_of_other_files_says_nothing_of_trees_that_nobody_knows(self) -> None:
        assert Told(WEB, *FIRST, Changed("A2", concerns=False), green("B")).last_deeds == ["spawn 2"]


class TestCrashes:
    @staticmethod
    def pause(told: Told) -> float:
        (wake,) = [action for action in told.actions if isinstance(action, Wake)]
        return round(wake.at - told.now, 6)

    def crash(self, told: Told, number: int, after_s: float = 1.0) -> float:
        """The live one dies and its processes are dead; how long the pause is then."""
        told.hear(exits(number), after_s)
        told.hear(ended(number), after_s=0.0)
        return self.pause(told)

    def back(self, told: Told, number: int, pause: float) -> None:
        told.hear(Woken("A"), after_s=pause + 1e-3)
        for each in boots(number):
            told.hear(each, after_s=0.0)

    def pauses(self, told: Told, count: int, healthy_s: float = 1.0) -> list[float]:
        pauses = []
        for number in range(1, count + 1):
            pauses.append(self.crash(told, number, healthy_s))
            self.back(told, number + 1, pauses[-1])
        return pauses

    def test_each_pause_is_half_as_long_again_up_to_30_s(self) -> None:
        pauses = self.pauses(Told(WEB, *GREEN), 13)
        assert pauses[:4] == [0.5, 0.75, 1.125, 1.6875]
        assert pauses[-3:] == [pytest.approx(28.832519, abs=1e-6), 30.0, 30.0]

    def test_a_minute_of_health_makes_up_for_it(self) -> None:
        assert self.pauses(Told(WEB, *GREEN), 3, healthy_s=60.0) == [0.5, 0.5, 0.5]
        assert self.pauses(Told(WEB, *GREEN), 3, healthy_s=59.0) == [0.5, 0.75, 1.125]

    def test_minutes_of_failing_to_boot_do_not(self) -> None:
        told = Told(WEB, *GREEN)
        pauses = [self.crash(told, 1)]
        for number in range(2, 5):
            told.hear(Woken("A"), after_s=pauses[-1])
            told.hear(Spawned(number, 7))
            told.hear(Failed(number, "not ready within 1 m"), after_s=60.0)
            told.hear(ended(number), after_s=0.0)
            pauses.append(self.pause(told))
        assert pauses == [0.5, 0.75, 1.125, 1.6875]

    def test_the_third_in_a_row_is_called_a_crash_loop(self) -> None:
        told, warned = Told(WEB, *GREEN), []
        for number in range(1, 4):
            told.hear(exits(number))
            warned.append([event.code for event in told.said(Warned) if isinstance(event, Warned)])
            told.hear(ended(number))
            self.back(told, number + 1, 30.0)
        assert warned == [[], [], ["server.crashing"]]

    def test_the_next_green_starts_it_at_once_and_forgets_them(self) -> None:
        told = Told(WEB, *CRASHED, green("B"))
        assert told.last_deeds == ["spawn 2"]
        for each in boots(2):
            told.hear(each)
        assert self.crash(told, 2) == 0.5

    @pytest.mark.parametrize(
        "on_disk, request_", [("A", ("A", True)), ("B", ("B", False)), (None, (None, False))]
    )  # fmt: skip
    def test_it_comes_back_as_what_is_on_disk_then(
        self, on_disk: str | None, request_: tuple[str | None, bool]
    ) -> None:
        told = Told(WEB, *CRASHED, Woken(on_disk))
        assert isinstance(told.state, Starting)
        assert (told.state.candidate.tree, told.state.candidate.request.verified) == request_

    def test_it_is_not_taken_for_what_has_changed_while_the_tree_was_looked_at(self) -> None:
        told = Told(WEB, *CRASHED, Changed("B"), Woken("A"))
        assert isinstance(told.state, Starting)
        assert not told.state.candidate.request.verified

    def test_an_alarm_that_is_too_early_is_not_heeded(self) -> None:
        told = Told(WEB, *CRASHED)
        told.hear(Woken("A"), after_s=-0.6)
        assert isinstance(told.state, Waiting)

    def test_a_reload_that_kills_is_tried_again_as_what_it_was_to_be(self) -> None:
        told = Told(RELOADER, *SECOND, exits(1), ended(1), Woken("B"))
        assert isinstance(told.state, Starting)
        assert told.state.candidate.request.verified
        assert told.state.candidate.tree == "B"

    @pytest.mark.parametrize(
        "server, success, state",
        [
            (WEB, False, Waiting),
            (WEB, True, Down),
            (STUBBORN, False, Waiting),
            (STUBBORN, True, Waiting),
            (MORTAL, False, Down),
            (MORTAL, True, Down),
        ],
    )
    def test_whether_it_comes_back_is_for_the_policy_to_say(self, server: Server, success: bool, state: type) -> None:
        assert type(Told(server, *GREEN, exits(1, success=success), ended(1)).state) is state
        both = Told(server, *SECOND, exits(1, success=success), exits(2), ended(1), ended(2))
        assert type(both.state) is state, "the live one died while a candidate booted that failed"

    def test_a_first_candidate_that_fails_waits_for_the_next_green(self) -> None:
        assert isinstance(Told(STUBBORN, green("A"), exits(1), ended(1)).state, Down)


EDITED = Configured(replace(WEB, edition="another"))


class TestSettings:
    def test_what_is_live_goes_on_when_they_change(self) -> None:
        told = Told(WEB, *GREEN, EDITED)
        assert isinstance(told.state, Live)
        assert told.actions == []

    def test_a_request_for_the_served_tree_replaces_what_was_started_with_others(self) -> None:
        assert isinstance(Told(WEB, *GREEN, green("A")).state, Live)
        state = Told(WEB, *GREEN, EDITED, green("A")).state
        assert isinstance(state, Starting)
        assert state.candidate.edition == "another"

    def test_undone_they_have_not_changed(self) -> None:
        assert isinstance(Told(WEB, *GREEN, EDITED, Configured(WEB), green("A")).state, Live)

    def test_a_candidate_is_started_again_with_them(self) -> None:
        state = Told(WEB, *SECOND, EDITED, ended(2)).state
        assert isinstance(state, Starting)
        assert (state.candidate.number, state.candidate.tree, state.candidate.edition) == (3, "B", "another")
        assert state.serving is not None

    def test_one_that_reloads_itself_is_stopped_and_started_for_them(self) -> None:
        edited = Configured(replace(RELOADER, edition="another"))
        told = Told(RELOADER, *GREEN, edited, green("B"))
        assert isinstance(told.state, Stopping)
        assert isinstance(Told(RELOADER, *GREEN, edited, green("B"), ended(1)).state, Starting)

    def test_another_strategy_is_that_of_the_next_restart(self) -> None:
        assert isinstance(Told(WEB, *GREEN, Configured(LONER), green("B")).state, Stopping)
        assert isinstance(Told(LONER, *GREEN, Configured(WEB), green("B")).state, Starting)

    def test_each_process_ends_under_its_own_number_whatever_the_strategy_is_then(self) -> None:
        reloaded = Told(RELOADER, *GREEN, green("B"), Ready(1, ""), Configured(WEB), green("C"), *boots(3), ended(1))
        assert [structs.asdict(event)["generation"] for event in reloaded.said(ServerStopped)] == [2], "as it was last"
        replaced = Told(WEB, *TAKEN[:-1], Configured(RELOADER), ended(1))
        assert [structs.asdict(event)["generation"] for event in replaced.said(ServerStopped)] == [1]

    def test_another_policy_is_in_force_at_once(self) -> None:
        assert isinstance(Told(WEB, *GREEN, Configured(MORTAL), exits(1), ended(1)).state, Down)

    def test_a_removed_one_finishes_what_it_has(self) -> None:
        told = Told(WEB, *GREEN, Removed())
        assert Retire(1) in told.actions
        assert isinstance(told.state, Closing)
        assert isinstance(Told(WEB, *GREEN, Removed(), ended(1)).state, Over)

    def test_unless_it_is_told_to_stop_meanwhile(self) -> None:
        assert Told(WEB, *GREEN, Removed(), STOPPED).actions == [Stop(1)]
        assert Told(WEB, *GREEN, Removed(), ended(1), STOPPED).actions == []

    def test_of_a_removed_one_the_candidate_is_stopped_at_once(self) -> None:
        actions = Told(WEB, *SECOND, Removed()).actions
        assert (Retire(1) in actions, Stop(2) in actions) == (True, True)


@dataclass
class Process:
    """What the world knows of one process tree."""

    at: float  # of the request that it was made for
    there: bool = False
    awaited: bool = True  # Ready is to come
    proving: bool = False
    was_live: bool = False
    name: int = 0  # its generation, as it is live
    told: bool = False  # to drain or to stop
    stopped: bool = False
    exited: bool = False
    lost: bool = False  # dead by itself, or given up
    tainted: bool = False  # files changed while it read them
    edition: str = ""

    @property
    def may_be_used(self) -> bool:
        return not (self.told or self.lost or self.awaited)


@dataclass
class World:
    """Processes, a disk and a clock around the machine; after each action it says whether invariant 2 holds.

    A tree is a letter for what concerns the server and a digit for the rest.
    """

    TREES: ClassVar = tuple(letter + digit for letter in "ABC" for digit in "12")

    server: Server
    now: float = 0.0
    disk: str = "A1"
    untold: list[Changed] = field(default_factory=list)
    current: list[str] = field(default_factory=list)
    alive: dict[int, Process] = field(default_factory=dict)
    dead: list[int] = field(default_factory=list)
    routed: int | None = None
    alarm: float | None = None
    over: bool = False
    stopped: bool = False
    passed: set[str] = field(default_factory=set)
    newest: Request | None = None  # of those that are verified
    since: float = 0.0  # a generation made for a request of that time, or a later one, serves the newest
    wishes: set[float] = field(default_factory=set)
    made_for: dict[int, float] = field(default_factory=dict)
    failed: float = -1.0  # the latest request whose generation failed
    events: list[AnyEvent] = field(default_factory=list)
    stood_down: set[int] = field(default_factory=set)  # those that made way before anybody took their place

    def __post_init__(self) -> None:
        self.state: lifecycle.State = Down(Past(self.server))
        self.overlaps = self.server.strategy == "overlap"

    def answers(self) -> list[lifecycle.Input]:
        """All that is awaited."""
        return [answer for number, process in self.alive.items() for answer in self._answers_of(number, process)]

    def alarms(self) -> list[lifecycle.Input]:
        return [Woken(self.disk), Woken(None)] if self.alarm is not None else []

    @staticmethod
    def _answers_of(number: int, process: Process) -> Iterator[lifecycle.Input]:
        if process.told or process.exited:
            yield ended(number)
        if not process.there:
            yield Spawned(number, 1)
        elif process.proving and not process.exited:
            yield Proved(number)
        elif process.awaited and not process.exited:
            yield Ready(number, "")

    def mishaps(self) -> list[lifecycle.Input]:
        """All that may go wrong, and what the watcher has seen."""
        mishaps: list[lifecycle.Input] = []
        for number, process in self.alive.items():
            if not process.there:
                mishaps += [NotSpawned(number, "")]
            elif not process.exited:
                mishaps += [Failed(number, ""), Exited(number, "", success=False), Exited(number, "", success=True)]
        return [*mishaps, *self.untold[:1]]

    def save(self, tree: str) -> None:
        """A tree comes to be on disk; the watcher will say so later. The same letter may have been changed and back."""
        concerns = tree[0] != self.disk[0] or tree == self.disk
        self.untold.append(Changed(tree, concerns=concerns))
        self.disk = tree

    def ask(self, tree: str, *, verified: bool) -> None:
        self.hear(Requested(Request(tree, verified, self.now + 0.5)))

    def hear(self, given: lifecycle.Input) -> None:
        """One step: the world changes, the machine decides, the world obeys."""
        self.now += 1.0
        before = self.state
        self._happens(given)
        self.state, actions = lifecycle.step(before, given, self.now)
        self._remember()
        self.events = []
        for action in actions:
            self._obey(action)
        self._remember()
        self._check(given)

    def _happens(self, given: lifecycle.Input) -> None:
        match given:
            case Requested(request):
                self.wishes.add(request.at)
                if request.verified:
                    self.newest, self.since = request, request.at
                    self.passed.add(str(request.tree))
            case Changed(tree, concerns):
                self.untold.remove(given)
                if concerns:
                    self.current = [tree]
                    for process in self.alive.values():
                        process.tainted |= not process.was_live or process.awaited
                elif self.current:
                    self.current.append(tree)
            case Spawned(number):
                self.alive[number].there = True
            case Ready(number):
                self.alive[number].awaited = False
            case Proved(number):
                self.alive[number].proving = False
            case Failed(number):
                process = self.alive[number]
                process.lost |= not (process.was_live and process.awaited)
                process.awaited &= not process.was_live
            case Exited(number):
                self.alive[number].exited = self.alive[number].lost = True
            case NotSpawned(number) | Ended(number):
                self.ending = self.alive.pop(number)
                self.dead.append(number)
            case Woken():
                assert self.alarm is not None
                self.now, self.alarm = max(self.now, self.alarm), None
            case Configured() | Removed() | Stopped():
                self._is_told(given)

    def _is_told(self, given: Configured | Removed | Stopped) -> None:
        if isinstance(given, Configured):
            self.server = given.server
            self.overlaps |= given.server.strategy == "overlap"
        else:
            self.over = True
            self.stopped |= isinstance(given, Stopped)

    def _obey(self, action: lifecycle.Action) -> None:
        match action:
            case Spawn(generation, beside):
                assert not self.over
                assert len(self.alive) < (2 if self.server.strategy == "overlap" else 1), "two are alive already"
                assert generation.number not in {*self.alive, *self.dead}
                assert beside == (self._serving() is not None)
                assert not generation.request.verified or generation.tree in {self.disk, *(self.current or self.passed)}
                assert generation.edition == self.server.edition
                process = Process(generation.request.at, name=generation.number, edition=generation.edition)
                self.alive[generation.number] = process
            case Prove(number):
                self.alive[number].proving = True
            case Switch(number):
                process = self.alive[number]
                assert process.may_be_used
                assert not process.proving
                process.was_live, self.routed = True, number
            case Retire(number) | Stop(number):
                process = self.alive[number]
                assert number != self.routed or self._may_go(process)
                if number == self.routed and not process.lost:
                    self.stood_down.add(number)
                process.told = True
                process.stopped |= isinstance(action, Stop)
            case Reload(number):
                process = self.alive[number]
                assert number == self.routed
                assert process.may_be_used
                assert process.edition == self.server.edition, "no process can give itself other settings"
                process.awaited, process.tainted = True, False
            case Wake(at):
                self.alarm = at
            case Emit(event):
                self._hear_of(event)
            case Hook(_, generation):
                assert generation.number

    def _may_go(self, process: Process) -> bool:
        is_stale = process.edition != self.server.edition
        without = self.server.strategy == "stop-start" or (self.server.strategy == "signal" and is_stale)
        return self.over or process.lost or without

    def _serving(self) -> int | None:
        """The generation that answers."""
        process = self.alive.get(self.routed or 0)
        return process.name if process and not (process.told or process.lost) else None

    def _hear_of(self, event: AnyEvent) -> None:
        self.events.append(event)
        match event:
            case ServerLive(generation=generation):
                assert self.routed is not None
                self.alive[self.routed].name = generation
                assert self._serving() == generation
            case ServerVerified(generation=generation, tree=tree):
                assert tree in self.passed
                assert generation == self._serving()
                assert not self.alive[self.routed or 0].tainted, "nobody knows what it has read"
            case ServerFailed(generation=generation, serving=serving):
                assert serving == self._serving()
                self.failed = max(self.failed, self.made_for.get(generation, -1.0))
            case ServerDiscarded(serving=serving):
                assert serving == self._serving()
            case _:
                pass

    def _generations(self) -> list[Generation]:
        return [part for part in asdict(self.state).values() if isinstance(part, Generation)]

    def _remember(self) -> None:
        """Which request each generation was made for; what is there already may do for the newest one, too."""
        self.made_for |= {generation.number: generation.request.at for generation in self._generations()}
        for generation in self._generations():
            request = generation.request
            if generation.edition != self.server.edition:
                continue
            if self.newest and request.verified and request.tree == self.newest.tree:
                self.since = min(self.since, request.at)
                self.wishes.add(request.at)

    def _check(self, given: lifecycle.Input) -> None:
        assert len(self.alive) <= (2 if self.overlaps else 1)
        assert sum(not process.was_live for process in self.alive.values()) <= 1
        self._check_stopped(given)
        if self.over:
            assert all(process.told or process.exited for process in self.alive.values()), "told, all of them"
            assert not self.stopped or all(process.stopped for process in self.alive.values()), "at once"
            assert isinstance(self.state, Closing if self.alive else Over)
            return
        self._check_always_a_server()
        assert self._newest_is_not_lost(), "the newest request is neither served, nor booting, nor next, nor failed"

    def _check_stopped(self, given: lifecycle.Input) -> None:
        stopped = [event.generation for event in self.events if isinstance(event, ServerStopped)]
        assert stopped == ([self.ending.name] if isinstance(given, Ended) else [])

    def _check_always_a_server(self) -> None:
        if self.routed is None or self._serving() is not None:
            return
        process = self.alive.get(self.routed)
        assert process is None or process.lost or self.routed in self.stood_down
        others = [p for number, p in self.alive.items() if number != self.routed and p.was_live]
        assert all(p.told or p.lost for p in others), "one that could answer is not asked to"

    def _newest_is_not_lost(self) -> bool:
        newest = self.newest
        if newest is None or (self.current and newest.tree not in self.current):
            return True
        coming = getattr(self.state, "next", None) or getattr(self.state, "retry", None)
        coming = coming.request if isinstance(coming, Retry) else coming
        fresh = [each.request for each in self._generations() if each.edition == self.server.edition]
        requests = [each.request for each in self._generations()] + ([coming] if coming else [])
        return (
            self.failed >= self.since
            or any(request.at in self.wishes and request.at >= self.since for request in requests)
            or any(each.verified and each.tree == newest.tree for each in (*fresh, *([coming] if coming else ())))
        )

    def calm_down(self) -> None:
        """All that is awaited comes, and nothing bad happens any more."""
        for _ in range(40):
            awaited = self.answers() or self.alarms()
            if not awaited:
                return
            self.hear(awaited[0])
        raise AssertionError(f"it never comes to rest: {self.state}")


SERVERS = st.builds(
    Server,
    name=st.just("web"),
    strategy=st.sampled_from(["overlap", "overlap", "stop-start", "signal"]),
    restart=st.sampled_from(["on-failure", "always", "never"]),
    probation=st.sampled_from([0.0, 2.0]),
    edition=st.sampled_from(["", "another"]),
)
DICE = st.integers(0, 99)
HISTORIES = st.lists(st.tuples(DICE, DICE), min_size=40, max_size=100)  # without a least size, they are five on average


def another(server: Server, choice: int) -> Server:
    """The same server after its table was edited."""
    policies: tuple[Literal["on-failure", "always", "never"], ...] = ("on-failure", "always", "never")
    strategies: tuple[Literal["overlap", "stop-start", "signal"], ...] = ("overlap", "stop-start", "signal")
    return replace(
        server,
        edition="another" if choice % 2 else "",
        strategy=strategies[choice // 2 % 3] if choice % 5 == 0 else server.strategy,
        restart=policies[choice // 2 % 3] if choice % 7 == 0 else server.restart,
        probation=2.0 if choice % 11 == 0 else server.probation,
    )


def go_on(world: World, dice: int, choice: int) -> None:
    """Something happens, or nothing for 0; mostly somebody answers. `choice` is any number."""
    tree = world.TREES[choice % len(world.TREES)]
    answers, others = world.answers(), world.mishaps() + world.alarms()
    if dice > 34 and answers:
        world.hear(answers[choice % len(answers)])
    elif 22 < dice <= 34 and others:
        world.hear(others[choice % len(others)])
    elif 10 < dice <= 22 or dice > 80:
        world.ask(world.disk if choice % 3 else tree, verified=choice % 4 != 0)
    elif 4 < dice <= 10:
        world.save(world.disk if choice % 4 == 0 else tree)
        if choice % 5:
            world.hear(world.untold[0])
    elif dice in (1, 4):
        world.hear(Configured(another(world.server, choice)))
    elif dice == 3:
        world.now += choice
    elif dice == 2 and choice > 90:
        world.hear(STOPPED if choice % 2 else Removed())


@settings(max_examples=300)
@given(SERVERS, HISTORIES)
def test_whatever_happens_there_is_always_a_server_and_no_request_is_lost(
    server: Server, history: list[tuple[int, int]]
) -> None:
    """Invariant 2. It ends at rest: live, or down because all has failed, or over because it was told to."""
    world = World(server)
    for dice, choice in history:
        go_on(world, dice, choice)
    world.calm_down()
    assert isinstance(world.state, Over if world.over else Live | Down)


@given(SERVERS, HISTORIES)
def test_what_is_said_of_the_dead_changes_nothing(server: Server, history: list[tuple[int, int]]) -> None:
    world = World(server)
    for dice, choice in history:
        go_on(world, dice, choice)
        for number in world.dead:
            for late in (Spawned(number, 1), Ready(number, ""), Proved(number), sick(number), exits(number)):
                assert lifecycle.step(world.state, late, world.now) == (world.state, [])


class TestDiagram:
    DOC = Path(__file__).parent.parent / "docs/lifecycle.md"

    def test_the_page_is_what_the_machine_does(self) -> None:
        assert self.DOC.read_text() == diagram.page(), "python tests/diagram.py > docs/lifecycle.md"

    def test_every_state_and_every_input_is_in_it(self) -> None:
        edges = diagram.explore()
        assert {edge.source for edge in edges} | {edge.target for edge in edges} == set(diagram.STATES)
        assert {edge.given for edge in edges} == set(diagram.INPUTS)

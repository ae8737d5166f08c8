"""The machine of a server, history by history, and as a property over random ones."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotpipe.events import ServerFailed, ServerLive, ServerVerified
from hotpipe.server import lifecycle
from hotpipe.server.lifecycle import (
    Closing,
    Down,
    Emit,
    Ended,
    Expired,
    Live,
    NotSpawned,
    Over,
    Ready,
    Request,
    Requested,
    Server,
    Spawn,
    Spawned,
    Starting,
    Stop,
    Stopped,
    Stopping,
)

WEB = Server("web", ())


def wanted(tree: str | None, *, verified: bool = True) -> Requested:
    return Requested(Request(tree, verified, 0.0))


FIRST = (wanted("T1", verified=False), Spawned(1, 100))
LIVE = (*FIRST, Ready(1, "accepted a connection"))
ENDED = Ended(1, 0, None, killed=False)


def after(*inputs: lifecycle.Input) -> tuple[lifecycle.State, Sequence[lifecycle.Action]]:
    """The state after `inputs`, one a second, and what the last of them led to."""
    state: lifecycle.State = Down(WEB)
    actions: Sequence[lifecycle.Action] = ()
    for now, each in enumerate(inputs):
        state, actions = lifecycle.step(state, each, float(now))
    return state, actions


def deeds(actions: Sequence[lifecycle.Action]) -> list[str]:
    """`spawn N` and `stop N`, without what is only said."""
    said = {Spawn: "spawn", Stop: "stop"}
    numbers = [
        (a, a.generation.number if isinstance(a, Spawn) else a.number) for a in actions if not isinstance(a, Emit)
    ]
    return [f"{said[type(action)]} {number}" for action, number in numbers]


def told(actions: Sequence[lifecycle.Action], kind: type) -> list[object]:
    return [action.event for action in actions if isinstance(action, Emit) and isinstance(action.event, kind)]


@pytest.mark.parametrize(
    "inputs, state, deed",
    [
        (FIRST[:1], Starting, ["spawn 1"]),
        (FIRST, Starting, []),
        (LIVE, Live, []),
        ((*LIVE, wanted("T2")), Stopping, ["stop 1"]),
        ((*LIVE, wanted(None)), Stopping, ["stop 1"]),
        ((*LIVE, wanted("T1", verified=False)), Stopping, ["stop 1"]),
        ((*LIVE, wanted("T1")), Live, []),
        ((*LIVE, wanted("T2"), ENDED), Starting, ["spawn 2"]),
        ((*LIVE, wanted("T2"), wanted("T3"), ENDED), Starting, ["spawn 2"]),
        ((*LIVE, ENDED), Down, []),
        ((*LIVE, ENDED, wanted("T2")), Starting, ["spawn 2"]),
        ((*FIRST, wanted("T1")), Starting, []),
        ((*FIRST, wanted("T2")), Stopping, ["stop 1"]),
        ((*FIRST, ENDED), Down, []),
        ((*FIRST, Expired(1, "late")), Stopping, ["stop 1"]),
        ((*FIRST, Expired(1, "late"), ENDED), Down, []),
        ((FIRST[0], NotSpawned(1, "no program")), Down, []),
        ((*LIVE, Stopped()), Closing, ["stop 1"]),
        ((*LIVE, Stopped(), wanted("T2")), Closing, []),
        ((*LIVE, Stopped(), ENDED), Over, []),
        ((*LIVE, wanted("T2"), Stopped(), ENDED), Over, []),
        ((Stopped(),), Over, []),
    ],
)
def test_each_history_leads_to_its_state_and_deed(
    inputs: tuple[lifecycle.Input, ...], state: type, deed: list[str]
) -> None:
    reached, actions = after(*inputs)
    assert type(reached) is state
    assert deeds(actions) == deed


def test_the_newest_of_the_requests_that_came_during_a_restart_is_served() -> None:
    state, _ = after(*LIVE, wanted("T2"), wanted("T3"), wanted("T4"), ENDED)
    assert isinstance(state, Starting)
    assert state.candidate.tree == "T4"


def test_the_same_tree_is_only_marked_verified_and_once() -> None:
    state, actions = after(*LIVE, wanted("T1"))
    assert told(actions, ServerVerified) == [ServerVerified(server="web", generation=1, tree="T1")]
    assert lifecycle.step(state, wanted("T1"), 9.0)[1] == []


def test_a_tree_that_passes_while_it_boots_is_verified_when_it_is_live() -> None:
    _, actions = after(*FIRST, wanted("T1"), LIVE[-1])
    assert [type(a.event) for a in actions if isinstance(a, Emit)][-2:] == [ServerLive, ServerVerified]


def test_a_server_that_ends_by_itself_is_reported_with_its_reason() -> None:
    failed = told(after(*LIVE, Ended(1, None, "SEGV", killed=False))[1], ServerFailed)
    assert failed == [ServerFailed(server="web", generation=1, reason="killed by SIGSEGV", serving=None)]
    failed = told(after(*FIRST, Ended(1, 3, None, killed=False))[1], ServerFailed)
    assert failed == [
        ServerFailed(server="web", generation=1, reason="exited with status 3 before it was ready", serving=None)
    ]


def test_answers_of_an_earlier_generation_change_nothing() -> None:
    state, _ = after(*LIVE, ENDED, wanted("T2"))
    for late in (Spawned(1, 1), Ready(1, ""), Expired(1, ""), ENDED, NotSpawned(1, "")):
        assert lifecycle.step(state, late, 9.0) == (state, [])


def answers(state: lifecycle.State) -> list[lifecycle.Input]:
    """What the world may say of the generation that is alive."""
    match state:
        case Starting(_, generation, _):
            number = generation.number
            return [Spawned(number, 1), Ready(number, ""), Expired(number, ""), Ended(number, 1, None, killed=False)]
        case Live(_, generation) | Stopping(_, generation) | Closing(_, generation):
            return [Ended(generation.number, 0, None, killed=False)]
        case _:
            return []


@given(st.data())
def test_at_most_one_generation_is_alive_and_no_request_is_lost(data: st.DataObject) -> None:
    state: lifecycle.State = Down(WEB)
    alive: set[int] = set()
    newest: str | None = None
    for count in range(data.draw(st.integers(1, 30))):
        requests: list[lifecycle.Input] = [wanted(f"T{count}"), wanted(f"T{count}", verified=False)]
        each = data.draw(st.sampled_from([*requests, *answers(state)]))
        if isinstance(each, Requested):
            newest = each.request.tree
        if isinstance(each, Ended):
            alive.discard(each.number)
        before = state
        state, actions = lifecycle.step(state, each, float(count))
        alive |= {action.generation.number for action in actions if isinstance(action, Spawn)}
        assert len(alive) <= 1
        failed = isinstance(each, Ended | Expired) and not isinstance(before, Stopping)
        newest = None if failed else newest
        assert newest in {None, promised(state)}, "the newest request is neither served, nor starting, nor next"


def promised(state: lifecycle.State) -> str | None:
    """The tree that is served, or will be."""
    match state:
        case Starting(_, generation, _) | Live(_, generation):
            return generation.tree
        case Stopping(next=Request() as request):
            return request.tree
        case _:
            return None

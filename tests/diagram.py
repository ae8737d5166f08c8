"""Draws the machine of a server: explores it from Down, and prints docs/lifecycle.md.

    python tests/diagram.py > docs/lifecycle.md

The search is breadth-first over representative inputs: two trees, all strategies and policies, everything that can be
said of the processes that a state knows. States that differ in numbers and times alone are one.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from inspect import getdoc
from itertools import product
from typing import Any, NamedTuple, get_args

from msgspec.structs import replace

from hotpipe.server import lifecycle
from hotpipe.server.lifecycle import (
    Changed,
    Configured,
    Down,
    Ended,
    Exited,
    Failed,
    Generation,
    NotSpawned,
    Past,
    Proved,
    Ready,
    Removed,
    Request,
    Requested,
    Server,
    Spawned,
    Stopped,
    Woken,
)

STATES = tuple(kind.__name__ for kind in get_args(lifecycle.State))
INPUTS = tuple(kind.__name__ for kind in get_args(lifecycle.Input))
LATER_S = 1e6  # so long after each step comes the next: every alarm is due

HEAD = """\
# The lifecycle of a server

Generated from `hotpipe/server/lifecycle.py` by `tests/diagram.py`, which explores the machine; a test holds this page
to it. Edges are labelled with the inputs that can lead there, under one strategy and policy or another. Left out are
inputs that stay in the same kind of state, and from the drawing `Stopped` and `Removed`: they lead to `Closing`, or to
`Over` where nothing runs.
"""


class Edge(NamedTuple):
    """An input that leads from one state to another, or back to the same."""

    source: str
    given: str
    target: str


def explore() -> set[Edge]:
    """All edges that can be reached from Down."""
    edges: set[Edge] = set()
    for strategy, restart, probation in product(
        ("overlap", "stop-start", "signal"), ("on-failure", "always", "never"), (0.0, 2.0)
    ):
        edges |= _explored(Down(Past(Server("web", (), strategy, restart, probation))))
    return edges


def _explored(first: lifecycle.State) -> set[Edge]:
    edges: set[Edge] = set()
    open_: deque[tuple[lifecycle.State, float]]
    seen, open_ = {_shape(first)}, deque([(first, 0.0)])
    while open_:
        state, now = open_.popleft()
        for given in _inputs(state):
            after, _ = lifecycle.step(state, given, now)
            edges.add(Edge(type(state).__name__, type(given).__name__, type(after).__name__))
            if (shape := _shape(after)) not in seen:
                seen.add(shape)
                open_.append((after, now + LATER_S))
    return edges


def _inputs(state: lifecycle.State) -> Iterator[lifecycle.Input]:
    for tree in "AB":
        yield Requested(Request(tree, True, 0.0))
        yield Changed(tree)
        yield Changed(tree, concerns=False)
    yield Requested(Request(None, False, 0.0))
    yield Woken("A")
    yield from (Configured(replace(state.past.server, edition=edition)) for edition in ("", "another"))
    yield Removed()
    yield Stopped()
    for number in _processes(state):
        yield from (Spawned(number, 1), NotSpawned(number, ""), Ready(number, ""), Proved(number), Failed(number, ""))
        yield from (Exited(number, "", success) for success in (False, True))
        yield Ended(number, 0, None, killed=False)


def _processes(state: lifecycle.State) -> Sequence[int]:
    """The numbers of the processes that the state knows of, in a fixed order."""
    parts = [getattr(state, field) for field in state.__struct_fields__]
    numbers = [part.process for part in parts if isinstance(part, Generation)]
    return list(dict.fromkeys([*numbers, *getattr(state, "dying", ())]))


def _shape(state: lifecycle.State) -> tuple[Any, ...]:
    """What tells a state from others: neither numbers nor times, and of crashes only whether there were some."""
    places = {number: place for place, number in enumerate(_processes(state))}

    def shape(part: object) -> Any:
        match part:
            case Request(tree, verified):
                return tree, verified
            case lifecycle.Retry(request):
                return "retry", request.tree, request.verified
            case Generation(_, request, process=process):
                return request.tree, request.verified, places[process], state.past.is_stale(part)
            case Past(current=current, lapsed=lapsed, crashes=crashes):
                return tuple(sorted(set(current))), shape(lapsed), bool(crashes)
            case tuple():
                return len(part)
            case _:
                return None

    return type(state).__name__, *(shape(getattr(state, field)) for field in state.__struct_fields__)


def page() -> str:
    """The whole of docs/lifecycle.md."""
    edges = {edge for edge in explore() if edge.source != edge.target}
    drawn = {edge for edge in edges if edge.given not in {Stopped.__name__, Removed.__name__}}
    arrows = [
        f"    {source} --> {target}: {', '.join(given)}"
        for source, target in product(STATES, STATES)
        if (given := _inputs_between(drawn, source, target))
    ]
    rows = [f"| `{state}` | {_meaning(state)} | {_ways_out(edges, state)} |" for state in STATES]
    diagram = ["```mermaid", "stateDiagram-v2", "    [*] --> Down", *arrows, "    Over --> [*]", "```"]
    table = ["| state | meaning | on input → state |", "|---|---|---|", *rows]
    return "\n".join([HEAD, *diagram, "", *table, "", "| input | meaning |", "|---|---|", *_input_rows(), ""])


def _inputs_between(edges: set[Edge], source: str, target: str) -> list[str]:
    return [given for given in INPUTS if Edge(source, given, target) in edges]


def _ways_out(edges: set[Edge], state: str) -> str:
    """Inputs that lead to the same states are told together."""
    ways: dict[tuple[str, ...], list[str]] = {}
    for given in INPUTS:
        targets = tuple(target for target in STATES if Edge(state, given, target) in edges)
        ways.setdefault(targets, []).append(given)
    ways.pop((), None)
    return "<br>".join(f"{_names(given)} → {_names(targets)}" for targets, given in ways.items()) or "none"


def _names(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _input_rows() -> list[str]:
    return [f"| `{name}` | {_meaning(name)} |" for name in INPUTS]


def _meaning(name: str) -> str:
    """The first paragraph of the docstring."""
    doc = getdoc(getattr(lifecycle, name)) or ""
    return " ".join(doc.partition("\n\n")[0].split())


if __name__ == "__main__":
    print(page(), end="")  # noqa: T201

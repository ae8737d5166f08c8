"""The stages as a graph: which a change concerns, which can start, and in what order. Pure.

A change *concerns* a stage if it touches its inputs, or those of a stage that it needs, however far away.
"""

from collections.abc import Collection, Iterable, Mapping

from msgspec import Struct

from hotpipe.tree.globs import Globs


class Node(Struct, frozen=True):
    """One stage as the plan sees it. `inputs`: null for every watched file; `usual_ms`: how long it takes, if known."""

    name: str
    needs: tuple[str, ...] = ()
    inputs: Globs | None = None
    allow_failure: bool = False
    mutates: bool = False
    usual_ms: float | None = None


class Graph(Struct, frozen=True):
    """All stages, in the order written. `wanted_by` turns `needs` around; `rank` sorts those that could start."""

    nodes: dict[str, Node]
    jobs: int = 1
    fail_fast: bool = True
    wanted_by: dict[str, tuple[str, ...]] = {}
    rank: dict[str, tuple[float, ...]] = {}

    @property
    def stages(self) -> frozenset[str]:
        return frozenset(self.nodes)

    def in_order(self, stages: Collection[str]) -> list[str]:
        """Some of the stages, in the order written."""
        return [name for name in self.nodes if name in stages]


def graph(nodes: Iterable[Node], *, jobs: int = 1, fail_fast: bool = True) -> Graph:
    """The graph of these stages; every name in `needs` must be one of them, and there must be no cycle."""
    known = {node.name: node for node in nodes}
    wanted_by = {name: tuple(other for other in known if name in known[other].needs) for name in known}
    return Graph(known, jobs, fail_fast, wanted_by, _rank(known, wanted_by, jobs))


def concerned(graph: Graph, paths: Collection[str]) -> frozenset[str]:
    """The stages that a change of these paths concerns."""
    touched: dict[int, bool] = {}  # by list of globs: many stages share few
    own = []
    for node in graph.nodes.values():
        at = id(node.inputs)
        if at not in touched:
            touched[at] = bool(paths) if node.inputs is None else any(map(node.inputs.matches, paths))
        if touched[at]:
            own.append(node.name)
    return with_dependents(graph, own)


def own(node: Node, paths: Iterable[str]) -> frozenset[str]:
    """Those of the paths that are inputs of the stage itself."""
    return frozenset(path for path in paths if node.inputs is None or node.inputs.matches(path))


def with_own(graph: Graph, known: Mapping[str, frozenset[str]], paths: Collection[str]) -> dict[str, frozenset[str]]:
    """What is `known` of some stages, and those of the paths that are inputs of each. Equal sets are one as far as
    possible: a switch of branches can mean thousands of paths for each of many stages."""
    new: dict[int, frozenset[str]] = {}  # by list of globs
    sums: dict[tuple[int, int], frozenset[str]] = {}
    found = {}
    for name, before in known.items():
        node = graph.nodes[name]
        at = id(node.inputs)
        if at not in new:
            new[at] = own(node, paths)
        if (id(before), at) not in sums:
            sums[id(before), at] = before | new[at] if new[at] else before
        found[name] = sums[id(before), at]
    return found


def with_dependents(graph: Graph, stages: Iterable[str]) -> frozenset[str]:
    """These stages, and those that need them, however far away. A name that is not known counts for itself."""
    found = set(stages)
    waiting = list(found)
    while waiting:
        new = set(graph.wanted_by.get(waiting.pop(), ())) - found
        found |= new
        waiting.extend(new)
    return frozenset(found)


def with_needed(needs: Mapping[str, tuple[str, ...]], stages: Iterable[str]) -> tuple[str, ...]:
    """These stages, and those that they need, however far away. One that mutates may have passed when what it needs is
    still to run again on what it wrote."""
    found = dict.fromkeys(stages)
    waiting = list(found)
    while waiting:
        new = dict.fromkeys(need for need in needs[waiting.pop()] if need not in found)
        found |= new
        waiting.extend(new)
    return tuple(found)


def ready(graph: Graph, waiting: Collection[str], passed: Collection[str]) -> list[str]:
    """Those of the waiting stages that could start, the one that should be first first."""
    able = [name for name in waiting if all(need in passed for need in graph.nodes[name].needs)]
    return sorted(able, key=graph.rank.__getitem__)


def blocked(graph: Graph, waiting: Collection[str], failed: Collection[str]) -> dict[str, str]:
    """The waiting stages that cannot run any more: {stage: the failed one that it needs, however far away}."""
    found: dict[str, str] = {}
    for name in graph.in_order(failed):
        for stage in with_dependents(graph, (name,)) - {name}:
            if stage in waiting:
                found.setdefault(stage, name)
    return {name: found[name] for name in graph.in_order(found)}


def _rank(
    nodes: Mapping[str, Node], wanted_by: Mapping[str, tuple[str, ...]], jobs: int
) -> dict[str, tuple[float, ...]]:
    """What decides the time of the whole goes first, then the quick ones; as written where durations are not known.

    With one job the order decides nothing but how soon the first verdicts come: the quick ones first.
    """
    order = {name: float(at) for at, name in enumerate(nodes)}
    usual = {name: node.usual_ms for name, node in nodes.items() if node.usual_ms is not None}
    if len(usual) < len(nodes):
        return {name: (at,) for name, at in order.items()}
    critical = _critical(nodes, wanted_by, usual) if jobs > 1 else frozenset[str]()
    return {name: (float(name not in critical), usual[name], at) for name, at in order.items()}


def _critical(
    nodes: Mapping[str, Node], wanted_by: Mapping[str, tuple[str, ...]], usual: Mapping[str, float]
) -> frozenset[str]:
    """The stages on the longest way through the graph."""
    before, after = dict[str, float](), dict[str, float]()
    order = _topological(nodes, wanted_by)
    for name in order:
        before[name] = max((before[need] + usual[need] for need in nodes[name].needs), default=0.0)
    for name in reversed(order):
        after[name] = usual[name] + max((after[other] for other in wanted_by[name]), default=0.0)
    longest = max((before[name] + after[name] for name in order), default=0.0)
    return frozenset(name for name in order if before[name] + after[name] >= longest - 1e-6)


def _topological(nodes: Mapping[str, Node], wanted_by: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Each stage after those that it needs (Kahn, 1962)."""
    missing = {name: len(set(node.needs)) for name, node in nodes.items()}
    free = [name for name, count in missing.items() if not count]
    for name in free:
        for other in wanted_by[name]:
            missing[other] -= 1
            if not missing[other]:
                free.append(other)
    return free

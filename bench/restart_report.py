"""What bench/restart tells: outcomes as tables for a terminal and for Markdown, as JSON, and what the goals are."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from measure import goal, quantile, table
from restart_load import Request
from restart_ways import Restart

LONGEST_ABOVE_MS, OVERHEAD_MS, KEEP_ALIVE_MS = 100.0, 25.0, 1.0
SHARED = ("hotpipe", "stop, then start")  # the ways that all servers have


@dataclass
class Outcome:
    """What one way of replacing one server gave; `broken` says why it ended early."""

    server: str
    way: str
    steady: list[Request] = field(default_factory=list)
    during: list[Request] = field(default_factory=list)
    beside: list[Request] = field(default_factory=list)  # while the server boots alone beside the live one
    restarts: list[Restart] = field(default_factory=list)
    calm_restarts: list[Restart] = field(default_factory=list)
    boots_s: list[float] = field(default_factory=list)
    calm_boots_s: list[float] = field(default_factory=list)
    broken: str = ""

    @property
    def failed(self) -> Counter[str]:
        """All that failed, during restarts or not, by what was wrong."""
        return Counter(r.error for r in (*self.steady, *self.during, *self.beside) if r.error)

    @property
    def retried(self) -> int:
        return sum(r.retried for r in self.during)

    @property
    def above_ms(self) -> float:
        """How much longer the longest request was than the longest one in the steady state."""
        return share_ms(self.during, 1.0) - share_ms(self.steady, 1.0)

    @property
    def overhead_ms(self) -> float:
        """A restart above a boot under the same load, in the median."""
        return median_ms(r.took_s for r in self.restarts) - median_ms(self.boots_s)

    @property
    def calm_overhead_ms(self) -> float:
        """The same without load."""
        return median_ms(r.took_s for r in self.calm_restarts) - median_ms(self.calm_boots_s)


def share_ms(requests: Sequence[Request], share: float) -> float:
    """A quantile of how long they took."""
    return quantile([r.took_s for r in requests], share) * 1e3


def median_ms(seconds: Iterable[float]) -> float:
    """Of seconds; NaN of nothing."""
    return quantile(seconds, 0.5) * 1e3


@dataclass(frozen=True)
class Table:
    """Rows under a head, to be aligned for a terminal or written as Markdown."""

    title: str
    head: list[str]
    rows: list[list[str]]

    def plain(self) -> str:
        return f"{self.title}\n\n{table(self.head, self.rows)}\n"

    def markdown(self) -> str:
        lines = [self.head, ["---", *["---:"] * (len(self.head) - 1)], *self.rows]
        return "\n".join([*(f"| {' | '.join(line)} |" for line in lines)]) + "\n"


def side_by_side(outcomes: list[Outcome]) -> Table:
    """A row a server, the ways next to each other."""
    ways = list(dict.fromkeys("its own way" if o.way not in SHARED else o.way for o in outcomes))
    head = ["server", *(f"{way}: {what}" for way in ways for what in ("failed", "longest ms"))]
    rows = []
    for server in dict.fromkeys(o.server for o in outcomes):
        found = {o.way if o.way in SHARED else "its own way": o for o in outcomes if o.server == server}
        rows.append([server, *(cell for way in ways for cell in _brief(found.get(way)))])
    return Table("Failed requests and the longest one", head, rows)


def _brief(o: Outcome | None) -> list[str]:
    if o is None:
        return ["–", "–"]
    return [f"{o.failed.total()} of {len(o.during):,}", shown(share_ms(o.during, 1.0))]


def in_full(outcomes: list[Outcome]) -> Table:
    """Ours and the neighbours', a row each."""
    head = [
        "server",
        "way",
        "restarts",
        "requests",
        "failed",
        "retried",
        "p99 ms",
        "longest ms",
        "above steady",
        "new after ms",
    ]
    rows = []
    for o in outcomes:
        counts = [len(o.restarts), len(o.during), o.failed.total(), o.retried]
        times = [share_ms(o.during, 0.99), share_ms(o.during, 1.0), o.above_ms, median_ms(r.took_s for r in o.restarts)]
        rows.append([o.server, o.way, *(f"{n:,}" for n in counts), *map(shown, times)])
    return Table("What clients notice", head, rows)


def boots(outcomes: list[Outcome]) -> Table:
    """What hotpipe adds to the server's own boot."""
    head = [
        "from trigger to live, ms",
        "under load: live",
        "p95",
        "own boot",
        "hotpipe adds",
        "without load: live",
        "own boot",
        "hotpipe adds",
    ]
    rows = []
    for o in outcomes:
        took_s, calm_s = [r.took_s for r in o.restarts], [r.took_s for r in o.calm_restarts]
        loaded = (median_ms(took_s), quantile(took_s, 0.95) * 1e3, median_ms(o.boots_s), o.overhead_ms)
        rows.append(
            [o.server, *map(shown, (*loaded, median_ms(calm_s), median_ms(o.calm_boots_s), o.calm_overhead_ms))]
        )
    return Table("What hotpipe adds to the server's own boot", head, rows)


def steady(outcomes: list[Outcome]) -> Table:
    """What the restarts are compared with, and what a second program costs alone."""
    head = ["ms", "steady: median", "p99", "longest", "boots beside: p99", "longest", "restarts: p99", "longest"]
    rows = []
    for o in outcomes:
        times = [share_ms(o.steady, 0.5)]
        times += [share_ms(phase, share) for phase in (o.steady, o.beside, o.during) for share in (0.99, 1.0)]
        rows.append([o.server, *map(shown, times)])
    return Table("The steady state, and what a second boot costs alone", head, rows)


def broken(outcomes: list[Outcome]) -> list[str]:
    """Ways that did not get through, and what failed."""
    lines = [f"{o.server}, {o.way}: ENDED EARLY: {o.broken}" for o in outcomes if o.broken]
    return lines + [f"{o.server}, {o.way}: failed: {_counted(o.failed)}" for o in outcomes if o.failed]


def _counted(errors: Counter[str]) -> str:
    return ", ".join(f"{count} {error}" for error, count in errors.most_common())


def shown(ms: float) -> str:
    """Enough digits, and a dash for nothing."""
    return "–" if math.isnan(ms) else f"{ms:,.0f}" if abs(ms) >= 100 else f"{ms:.1f}"


def verdicts(ours: list[Outcome]) -> list[str]:
    """The goals of the hand-over."""
    if not any(o.restarts for o in ours):
        return ["nothing was restarted"]
    failed, total = sum(o.failed.total() for o in ours), sum(len(o.during) for o in ours)
    restarts = sum(len(o.restarts) for o in ours)
    through = failed == 0 and not any(o.broken for o in ours)
    measured = [o for o in ours if not o.broken]
    lines = [goal(f"{failed} of {total:,} requests failed over {restarts:,} restarts; none may", reached=through)]
    for what, figure, most in (
        ("the longest request {:.1f} ms above the steady state", lambda o: o.above_ms, LONGEST_ABOVE_MS),
        ("live {:.1f} ms later than after the server's own boot", lambda o: o.overhead_ms, OVERHEAD_MS),
    ):
        worst = max(measured, key=figure, default=ours[0])
        said = f"{what.format(figure(worst))} at worst ({worst.server}); at most {most:g}"
        lines.append(goal(said, reached=figure(worst) <= most))
    return lines


def keep_alive_verdict(median_s: float) -> str:
    """Its goal."""
    said = (
        f"uvicorn --fd answers kept connections after {median_s * 1e3:.3f} ms in the median; at most {KEEP_ALIVE_MS:g}"
    )
    return goal(said, reached=median_s * 1e3 <= KEEP_ALIVE_MS)


def as_json(o: Outcome) -> dict[str, Any]:
    """The figures of one way, and every restart."""
    return {
        "server": o.server,
        "way": o.way,
        "broken": o.broken,
        "requests": len(o.during),
        "failed": dict(o.failed),
        "retried": o.retried,
        "steady_ms": {str(share): share_ms(o.steady, share) for share in (0.5, 0.99, 1.0)},
        "beside_ms": {str(share): share_ms(o.beside, share) for share in (0.5, 0.99, 1.0)},
        "during_ms": {str(share): share_ms(o.during, share) for share in (0.5, 0.99, 1.0)},
        "live_ms": [r.took_s * 1e3 for r in o.restarts],
        "boot_ms": [s * 1e3 for s in o.boots_s],
        "calm_live_ms": [r.took_s * 1e3 for r in o.calm_restarts],
        "calm_boot_ms": [s * 1e3 for s in o.calm_boots_s],
    }

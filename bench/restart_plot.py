"""The picture of bench/restart: each request as a dot, over a few restarts, ours above the neighbours'."""

import bisect
import math
from pathlib import Path
from typing import Any

from restart_load import Request
from restart_report import Outcome, share_ms

RESTARTS_SHOWN, LONGEST_SHOWN_S = 4, 5.0
LEAD_S = 0.3
COLOURS = ("#2166ac", "#35a08c")  # of generations, in turn
RED, GREY, INK = "#d6292e", "#9aa3ad", "#2b3038"
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.edgecolor": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#e6e9ec",
    "axes.axisbelow": True,
}
LEGEND = (
    "a dot: a request, by when it began; a line from it: until the answer, if that took long · colours: the"
    " generations that answered, in turn · red ×: failed · dashed: a restart is asked for"
)
SLOW_S = 0.1


def draw(outcomes: list[Outcome], file: Path) -> None:
    """Write the PNG: a column a server, a row a way. Nothing, if nothing was restarted."""
    import matplotlib as mpl  # noqa: PLC0415 - only who wants a picture needs it

    mpl.use("agg")
    import matplotlib.pyplot as plt  # noqa: PLC0415

    columns = chosen(outcomes)
    if not columns:
        return
    rows = max(map(len, columns))
    span_s = min(LONGEST_SHOWN_S, max(map(_span_s, (o for column in columns for o in column))))
    with mpl.rc_context(STYLE):
        size = (6.2 * len(columns) + 0.4, 2.15 * rows + 1.2)
        figure, grid = plt.subplots(
            rows, len(columns), sharex=True, sharey=True, figsize=size, squeeze=False, layout="constrained"
        )
        for at, column in enumerate(columns):
            for panel, outcome in zip(grid[:, at], column, strict=False):
                _panel(panel, outcome, span_s)
            for panel in grid[len(column) :, at]:
                panel.set_visible(False)
            grid[len(column) - 1, at].set_xlabel("seconds")
            grid[len(column) - 1, at].tick_params(labelbottom=True)
        for panel in grid[:, 0]:
            panel.set_ylabel("request took")
        figure.suptitle(
            "Restarts under load: how long requests take", fontsize=14, fontweight="bold", x=0.012, ha="left"
        )
        figure.supxlabel(LEGEND, fontsize=9, color="#5b6570", x=0.012, ha="left")
        figure.savefig(file, dpi=130, metadata={"Software": None})
        plt.close(figure)


def chosen(outcomes: list[Outcome]) -> list[list[Outcome]]:
    """At most two servers, those with most ways: `uvicorn --reload` and gunicorn's HUP are worth a look."""
    by_server: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        if outcome.restarts and outcome.during:
            by_server.setdefault(outcome.server, []).append(outcome)
    kinds = {server.split()[0]: found for server, found in by_server.items()}  # one gunicorn is enough
    return sorted(kinds.values(), key=len, reverse=True)[:2]


def _span_s(outcome: Outcome) -> float:
    shown = outcome.restarts[:RESTARTS_SHOWN]
    return shown[-1].live - shown[0].asked + 3 * LEAD_S


def _panel(panel: Any, outcome: Outcome, span_s: float) -> None:
    began = outcome.restarts[0].asked - LEAD_S
    shown = [r for r in (*outcome.steady, *outcome.during, *outcome.beside) if 0 <= r.start - began < span_s]
    generations = _generations(outcome)
    for parity, colour in enumerate(COLOURS):
        dots = [r for r in shown if not r.error and generations[r.body] % 2 == parity]
        panel.scatter(*_places(dots, began), s=5, color=colour, alpha=0.55, linewidths=0)
        starts, took_ms = _places([r for r in dots if r.took_s > SLOW_S], began)
        ends = [start + ms / 1e3 for start, ms in zip(starts, took_ms, strict=True)]
        panel.hlines(took_ms, starts, ends, color=colour, alpha=0.35, linewidth=0.8)
    failures = [r for r in shown if r.error]
    panel.scatter(*_places(failures, began), s=42, marker="x", color=RED, linewidths=1.6, zorder=3)
    for restart in outcome.restarts:
        if restart.asked - began < span_s:
            panel.axvline(restart.asked - began, color=GREY, linewidth=0.9, linestyle=(0, (4, 3)), zorder=0)
    panel.set_yscale("log")
    panel.set_ylim(0.15, 3000)
    panel.set_yticks([1, 10, 100, 1000], ["1 ms", "10 ms", "100 ms", "1 s"])
    panel.minorticks_off()
    panel.set_xlim(0, span_s)
    panel.tick_params(length=0)
    panel.set_title(f"{outcome.server}: {outcome.way}", loc="left", fontsize=10, fontweight="bold")
    failed = outcome.failed.total()
    said = (
        f"{len(outcome.restarts)} restarts: longest {share_ms(outcome.during, 1.0):,.0f} ms, {failed or 'none'} failed"
    )
    panel.set_title(said, loc="right", fontsize=9, color=RED if failed else "#5b6570")


def _places(requests: list[Request], began: float) -> tuple[list[float], list[float]]:
    return [r.start - began for r in requests], [r.took_s * 1e3 for r in requests]


def _generations(outcome: Outcome) -> dict[str, int]:
    """Of whom an answer came, by its body: how many restarts had been asked for when it was first heard of."""
    first: dict[str, float] = {}
    for r in (*outcome.steady, *outcome.during, *outcome.beside):
        first[r.body] = min(first.get(r.body, math.inf), r.start + r.took_s)
    asked = [restart.asked for restart in outcome.restarts]
    return {body: bisect.bisect(asked, at) for body, at in first.items()}

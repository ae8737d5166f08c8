"""The lines of the stages: how each ended, or how far it is. Pure."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from rich.segment import Segment

from hotpipe.ui import words
from hotpipe.ui.tui.band import seconds
from hotpipe.ui.tui.ink import Ink, Line, padded, piece, width
from hotpipe.ui.tui.looks import stages as names
from hotpipe.ui.view import StageView, View

NAME = 20  # columns of the longest name
_BAR = 14
_DURATION = 9
_MARKS = {
    "passed": ("✓", "green"),
    "cached": ("✓", "green"),
    "failed": ("✗", "bad"),
    "timed_out": ("✗", "bad"),
    "cancelled": ("↻", "yellow"),
    "skipped": ("·", "dim"),
    "running": ("●", "blue"),
    "waiting": ("·", "dim"),
}
_ORDER = ("failed", "timed_out", "running", "cancelled", "waiting", "passed", "cached", "skipped")


@dataclass(frozen=True, slots=True)
class Stages:
    """What is needed to draw them."""

    view: View
    ink: Ink
    now: float
    column: int  # columns of the names

    def lines(self, rows: int) -> list[Line]:
        """At most so many lines; what does not fit is counted, and what failed or is at work is not left out."""
        every = [self._stage(name) for name in names(self.view)]
        if len(every) <= rows:
            return [self._line(stage) for stage in every]
        if rows <= 0:
            return []
        first = sorted(every, key=lambda stage: _ORDER.index(state(stage)))[: rows - 1]
        chosen = {stage.name for stage in first}
        rest = [stage for stage in every if stage.name not in chosen]
        return [*(self._line(stage) for stage in every if stage.name in chosen), _counted(rest, len(chosen))]

    def _stage(self, name: str) -> StageView:
        known = self.view.run.stages if self.view.run else {}
        return known.get(name) or StageView(name)

    def _line(self, stage: StageView) -> Line:
        mark, colour = _MARKS[_shown(stage)]
        line = [piece(f" {mark} ", colour), piece(padded(stage.name, self.column)), piece(" ")]
        return [*line, *self._told(stage)]

    def _told(self, stage: StageView) -> Line:
        if stage.status is None:
            return self._progress(stage) if stage.began is not None else [piece("waiting".rjust(_DURATION), "dim")]
        took = "" if stage.status in {"skipped", "cached"} else words.duration(stage.took_ms)
        line = [piece(f"{took:>{_DURATION}}", "dim"), piece("  ")]
        outcome = words.outcome(stage, self.view.run.number if self.view.run else 0)
        return [*line, *self._failure(stage, outcome)] if stage.has_failed() else [*line, piece(outcome, "dim")]

    def _failure(self, stage: StageView, outcome: str) -> Line:
        finding = next(iter(stage.foremost()), None)
        if finding is None:
            return [piece(outcome or words.ended(stage.exit_code), "yellow" if stage.allowed else "red")]
        place = [self.ink.place(finding, words.where(finding)), piece(" ")] if finding.path else []
        message = " ".join(filter(None, (finding.code, finding.message)))
        return [*place, piece(message), piece(f"  {outcome}" if outcome else "", "dim")]

    def _progress(self, stage: StageView) -> Line:
        passed = self.now - (stage.began or self.now)
        line = [piece(f"{seconds(passed):>{_DURATION}}", "blue"), piece("  ")]
        usual_s = self.view.usual_ms.get(stage.name, 0.0) / 1_000
        kept = [piece(f"  since run {stage.since}", "dim")] if stage.kept else []
        if not usual_s:
            return [*line, *kept]
        about = f"  usually {words.duration(usual_s * 1_000)}"
        return [*line, *_bar(passed / usual_s), piece(about, "dim"), *kept]


def state(stage: StageView) -> str:
    """Its status, or whether it is at work or waits."""
    if stage.status is not None:
        return stage.status
    return "running" if stage.began is not None else "waiting"


def _shown(stage: StageView) -> str:
    """What may fail, and has, is no reason to worry."""
    return "cancelled" if stage.allowed and stage.has_failed() else state(stage)


def _bar(part: float) -> Line:
    """Never full before it is over."""
    done = min(_BAR - 1, int(part * _BAR))
    return [piece("━" * done, "blue"), piece("─" * (_BAR - done), "dim")]


def _counted(rest: Iterable[StageView], shown: int) -> Line:
    counts = Counter(map(state, rest))
    told = ", ".join(f"{counts[each]:,} {each.replace('_', ' ')}" for each in _ORDER if counts[each])
    return [piece(f"   {'and ' if shown else ''}{told}", "dim")]


def column(view: View) -> int:
    """So that stages and servers stand in line."""
    longest = max((width([Segment(name)]) for name in (*names(view), *view.servers)), default=0)
    return min(NAME, longest)

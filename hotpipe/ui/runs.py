"""What the plain face tells of runs: their stages, their verdicts.

Stages that did not have to run are held back until there is something to say, and then counted rather than listed. A
run that gave way to the next one is held back, too: the next one's first line says it.
"""

from collections.abc import Iterator, Sequence

from hotpipe.events import AnyEvent, RunFinished, RunStarted, StageFinished, StageStarted, StageStatus, Stamp
from hotpipe.ui import words
from hotpipe.ui.failures import failures, still
from hotpipe.ui.servers import ServerLines
from hotpipe.ui.style import Style
from hotpipe.ui.view import RunView, StageView, View

_COLUMN = 10  # so that durations stand in line before all stages are known
_FEW = 2  # cached stages that have a line each
_UNTOLD = frozenset({"skipped", "cancelled"})  # the line of the run says it
_MARKS: dict[StageStatus, tuple[str, str]] = {
    "passed": ("✓", "green"),
    "failed": ("✗", "red"),
    "timed_out": ("✗", "red"),
    "cancelled": ("↻", "yellow"),
    "cached": ("✓", "green"),
    "skipped": ("·", "dim"),
}


class RunLines:
    """The lines about runs."""

    def __init__(self, style: Style, view: View, servers: ServerLines) -> None:
        self._style = style
        self._view = view
        self._servers = servers
        self._cached: list[StageView] = []  # not told yet
        self._told: dict[str, StageStatus] = {}  # stages since the last run that followed no superseded one
        self._superseded: RunFinished | None = None  # not told yet
        self._in_full: dict[str, int] = {}  # stages whose failure has been shown, and what it was
        self._going_on: dict[int, list[str]] = {}  # stages of each run in this batch that began in an earlier one
        self.rejected = ""  # the configuration that is not valid, if it is not
        self._dot = style.paint(" · ", "dim")

    def look_ahead(self, events: Sequence[AnyEvent]) -> None:
        """What a run takes over from the one before stands in its first line."""
        self._going_on = {}
        for event in events:
            if isinstance(event, StageStarted) and event.kept:
                self._going_on.setdefault(event.run, []).append(event.stage)

    def started(self, stamp: Stamp, event: RunStarted) -> Iterator[str]:
        self._cached.clear()
        if self._superseded is None:
            self._told.clear()
        before, self._superseded = self._superseded, None
        if self._style.quiet:
            return
        paint = self._style.paint
        about = f" {paint(words.listed(event.changed), 'cyan')}" if event.changed else ""
        when = f"{about}{self._dot}{paint(words.clock(stamp), 'dim')}"
        if before is None:
            yield ""
            run = "check" if self._view.started is None else f"run {event.run}"  # there is only one
            yield f"{paint(f'▶ {run}', 'bold')}{when}"
        else:
            gave_way = paint(f"run {before.run} superseded after {words.duration(before.took_ms)}", "yellow")
            names = self._going_on.get(event.run, [])
            goes_on = f", {words.listed(names)} go{'es' if len(names) == 1 else ''} on" if names else ""
            yield f"{paint(f'↻ run {event.run}', 'bold')}{when}{self._dot}{gave_way}{goes_on}"

    def pending(self) -> Iterator[str]:
        """The verdict on a run that no other one has followed so far."""
        superseded, self._superseded = self._superseded, None
        if superseded is not None:
            took = words.duration(superseded.took_ms)
            yield self._style.paint(f"↻ superseded after {took}: the tree changed", "yellow")

    def told_so_far(self) -> Iterator[str]:
        """The cached stages that have not been told yet."""
        if self._view.run is not None:
            yield from self._told_cached(self._view.run)

    def stage(self, event: StageFinished) -> Iterator[str]:
        run = self._view.run
        if run is None or (event.status in _UNTOLD and not self._style.verbose):
            return
        stage = run.stage(event.stage)
        if self._stands_above(event):
            return
        if event.status == "cached" and not self._style.verbose:
            self._cached.append(stage)
            return
        yield from self._told_cached(run)
        self._told[stage.name] = _came_to(event.status)
        yield self._line(run, stage)

    def _stands_above(self, event: StageFinished) -> bool:
        """Whether this is what was told of the stage in a run that gave way to this one."""
        is_told = self._told.get(event.stage) == _came_to(event.status)
        return is_told and bool(event.why) and not self._style.verbose

    def _told_cached(self, run: RunView) -> Iterator[str]:
        cached, self._cached = self._cached, []
        self._told |= {stage.name: "passed" for stage in cached}
        if len(cached) <= _FEW:
            yield from (self._line(run, stage) for stage in cached)
            return
        names = self._style.paint(words.listed([stage.name for stage in cached]), "dim")
        yield f"  {self._style.paint('✓', 'green')} {words.count(len(cached), 'stage')} cached{self._dot}{names}"

    def _line(self, run: RunView, stage: StageView) -> str:
        mark, colour = _MARKS[stage.status or "skipped"]
        colour = "yellow" if stage.flaky or stage.allowed else colour
        width = max(_COLUMN, *map(len, run.stages))
        took = "" if stage.why and not stage.took_ms else words.duration(stage.took_ms)
        told = words.outcome(stage, run.number)
        if stage.allowed and (first := next(iter(stage.foremost()), None)):
            told = f"{told}, first {self._style.place(first)}"
        line = f"  {self._style.paint(mark, colour)} {stage.name:<{width}} {self._style.paint(f'{took:>9}', 'dim')}"
        return f"{line}  {told}" if told else line

    def finished(self, event: RunFinished) -> Iterator[str]:
        run = self._view.run
        if event.status == "superseded" or run is None:
            self._superseded = event
            return
        if not self._style.quiet:
            yield from self._told_cached(run)
        took = words.duration(event.took_ms)
        if event.status == "green":
            verdict = f"{self._style.paint('✓ green', 'green')} in {took}"
            yield f"{verdict}{self._spared(run)}{self._remarks(run)}{self._servers.already_serving(run)}"
            return
        yield from self._failures(run)
        if not self._style.quiet:
            yield from self._not_run(run)
        blame = ", ".join(map(words.blame, run.failures()))
        verdict = f"{self._style.paint(f'✗ red: {blame}', 'red')} in {took}"
        yield f"{verdict}{self._remarks(run)}{self._servers.still_serving()}"

    def _failures(self, run: RunView) -> Iterator[str]:
        """In full, but for those that stand there already: what has changed did not concern them."""
        before, self._in_full = self._in_full, {stage.name: stage.digest() for stage in run.failures()}
        known = {s.name for s in run.failures() if s.why and before.get(s.name) == self._in_full[s.name]}
        yield from failures([stage for stage in run.failures() if stage.name not in known], self._style)
        yield from (still(stage, self._style) for stage in run.failures() if stage.name in known)

    def _not_run(self, run: RunView) -> Iterator[str]:
        """What a failure kept from being known."""
        names = [stage.name for stage in run.stages.values() if stage.status in _UNTOLD]
        if names and not self._style.verbose:
            yield self._style.paint(f"not known: {words.listed(names)}", "dim")

    def _remarks(self, run: RunView) -> str:
        """What does not decide the verdict, but should not be forgotten."""
        told = [f"{words.blame(stage)} (allowed)" for stage in run.allowed()]
        told += [f"{stage.name} flaky" for stage in run.flaky()]
        told += [f"{self.rejected} is not valid, and not in force"] if self.rejected else []
        return f"{self._dot}{self._style.paint(', '.join(told), 'yellow')}" if told else ""

    def _spared(self, run: RunView) -> str:
        """What was not asked about: a green run is no word on it."""
        names = [stage.name for stage in run.stages.values() if stage.status == "skipped"]
        return f"{self._dot}{self._style.paint(f'{words.listed(names)} skipped', 'dim')}" if names else ""


def _came_to(status: StageStatus) -> StageStatus:
    return "passed" if status == "cached" else status

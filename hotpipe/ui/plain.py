"""The plain face: one line a step, what failed in full and last, nothing twice.

Output of stages is kept until the stage's run is over and shown only if it failed; with `verbose` it is shown as it
comes, and not again. What is said of runs stands in `runs.py` and `failures.py`, of servers in `servers.py`.
"""

from collections.abc import Iterator, Sequence

from hotpipe.escapes import plain
from hotpipe.events import (
    AnyEvent,
    ChangeDetected,
    ConfigRejected,
    ConfigReloaded,
    Ending,
    GatePaused,
    GateResumed,
    RunFinished,
    RunStarted,
    ServerDiscarded,
    ServerDraining,
    ServerFailed,
    ServerLive,
    ServerOutput,
    ServerStarting,
    ServerStatus,
    ServerStopped,
    ServerVerified,
    StageFinished,
    StageOutput,
    StageStarted,
    Stamp,
    Stamped,
    TriggerTouched,
    Warned,
    WatchReady,
    WebReady,
)
from hotpipe.ui import words
from hotpipe.ui.runs import RunLines
from hotpipe.ui.servers import ServerLines
from hotpipe.ui.style import Style
from hotpipe.ui.view import View

__all__ = ["Plain", "Style"]

_MOST_ERRORS = 20  # of a configuration
_BETWEEN_RUNS = (RunStarted, ChangeDetected, ServerOutput)  # may stand between a run that gave way and the next


class Plain:
    """The face for a terminal that scrolls, a log file, a CI."""

    def __init__(self, style: Style) -> None:
        self._style = style
        self._view = View()
        self._watching = False
        self._servers = ServerLines(style, self._view)
        self._runs = RunLines(style, self._view, self._servers)

    def render(self, batch: Sequence[Stamped]) -> str:
        events = [stamped.event for stamped in batch]
        self._servers.look_ahead(events)
        self._runs.look_ahead(events)
        lines: list[str] = []
        for stamped in batch:
            self._view.apply(stamped.event)
            told = list(self._lines(stamped.stamp, stamped.event))
            if told and not isinstance(stamped.event, _BETWEEN_RUNS):
                lines.extend(self._runs.pending())
            lines.extend(told)
        lines.extend(self._runs.pending())
        return "".join(f"{line}\n" for line in lines)

    def _lines(self, stamp: Stamp, event: AnyEvent) -> Iterator[str]:
        match event:
            case RunFinished():
                yield from self._runs.finished(event)
            case Warned():
                yield self._style.paint(f"! {plain(event.message)}", "yellow")  # it may name a file
                if event.hint:
                    yield f"  hint: {plain(event.hint)}"
            case WebReady():
                yield f"dashboard: {event.url}"
            case ConfigRejected():
                yield from self._rejected(event)
            case ConfigReloaded():
                self._runs.rejected = ""
                if not self._style.quiet:
                    yield self._style.paint(f"{event.path} has changed and is in force", "dim")
            case ServerOutput():
                yield from self._servers.output(event)
            case ServerFailed() | ServerLive() | ServerVerified():
                yield from self._servers.told(event)
            case RunStarted():
                yield from self._servers.not_shown()
                yield from self._runs.started(stamp, event)
            case Ending():
                yield self._style.paint("stopping… (once more kills)", "dim")
            case _ if not self._style.quiet:
                yield from self._progress(event)
            case _:
                pass

    def _progress(self, event: AnyEvent) -> Iterator[str]:
        match event:
            case WatchReady():
                yield self._style.paint(self._watched(event), "dim")
            case GatePaused():
                yield self._style.paint("paused: changes start no runs until `hotpipe resume`", "yellow")
            case GateResumed():
                yield self._style.paint("resumed", "dim")
            case ChangeDetected() if self._style.verbose:
                yield self._style.paint(f"{event.cause}: {words.listed(event.paths)}", "dim")
            case TriggerTouched() if not self._view.servers:
                yield from self._runs.told_so_far()
                yield self._style.paint(f"  touched {event.path}", "dim")
            case StageStarted() if event.kept and self._style.verbose:
                yield self._style.paint(f"  {event.stage} goes on: what has changed does not concern it", "dim")
            case StageOutput() if self._style.verbose:
                yield f"  {self._style.paint(f'{event.stage} │', 'dim')} {self._style.said(event.text)}"
            case StageFinished():
                yield from self._runs.stage(event)
            case ServerDiscarded():
                rest = f"{self._style.paint(' · ', 'dim')}generation {event.serving} goes on serving"
                given_up = f"{event.server} discarded generation {event.generation}: {event.reason}"
                yield f"{self._style.paint(given_up, 'dim')}{rest if event.serving else ''}"
            case ServerStarting() | ServerDraining() | ServerStatus() | ServerStopped() if self._style.verbose:
                yield self._style.paint(f"{event.server} {words.step(event)}", "dim")
            case _:
                pass

    def _watched(self, event: WatchReady) -> str:
        """Who checks once does not watch; and another set may be told of when the next run has begun already."""
        verb = "" if self._view.started is None else "now watching " if self._watching else "watching "
        self._watching = True
        files, folders = words.count(event.files, "file"), words.count(event.dirs, "folder")
        return f"{verb}{files} in {folders} ({words.duration(event.took_ms)})"

    def _rejected(self, event: ConfigRejected) -> Iterator[str]:
        self._runs.rejected = event.path
        yield ""
        yield self._style.paint(f"── {event.path} has changed and is not valid:", "red")
        for error in event.errors[:_MOST_ERRORS]:
            yield from (f"  {line}" for line in error.splitlines())
        if len(event.errors) > _MOST_ERRORS:
            yield f"  and {len(event.errors) - _MOST_ERRORS:,} more"
        yield self._style.paint("! what was in force stays in force", "yellow")

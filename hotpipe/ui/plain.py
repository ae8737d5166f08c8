"""The plain face: one line a step, what failed in full and last, nothing twice.

Output of stages is kept until the stage's run is over and shown only if it failed; with `verbose` it is shown as it
comes, and not again. A server's output is always shown as it comes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from hotpipe.events import (
    AnyEvent,
    ChangeDetected,
    RunFinished,
    RunStarted,
    ServerFailed,
    ServerLive,
    ServerOutput,
    ServerStarting,
    ServerStopped,
    ServerVerified,
    StageFinished,
    StageOutput,
    StageStatus,
    Stamp,
    Stamped,
    Warned,
    WatchReady,
)
from hotpipe.ui.view import RunView, ServerView, StageView, View

_SHORT_TREE = 8  # characters of a tree id that are shown
_MOST_PATHS = 3
_MARKS: dict[StageStatus, tuple[str, str]] = {
    "passed": ("✓", "green"),
    "failed": ("✗", "red"),
    "timed_out": ("✗", "red"),
    "cancelled": ("↻", "yellow"),
    "cached": ("✓", "green"),
    "skipped": ("·", "dim"),
}
_ASCII = str.maketrans({"✓": "+", "✗": "x", "↻": "~", "·": "-", "▶": ">", "│": "|", "─": "-", "●": "*", "…": "."})
_CODES = {"green": "32", "red": "31", "yellow": "33", "cyan": "36", "dim": "2", "bold": "1", "blue": "34"}


@dataclass(frozen=True, slots=True)
class Style:
    """How much is shown, and with what means."""

    colour: bool = False
    unicode: bool = True
    verbose: bool = False
    quiet: bool = False


class Plain:
    """The face for a terminal that scrolls, a log file, a CI."""

    def __init__(self, style: Style) -> None:
        self._style = style
        self._view = View()

    def render(self, batch: Sequence[Stamped]) -> str:
        lines: list[str] = []
        for stamped in batch:
            self._view.apply(stamped.event)
            lines.extend(self._lines(stamped.stamp, stamped.event))
        return "".join(f"{line}\n" for line in lines)

    def _lines(self, stamp: Stamp, event: AnyEvent) -> Iterator[str]:
        match event:
            case RunFinished():
                yield from self._run_finished(event)
            case Warned():
                yield self._paint(f"! {event.message}", "yellow")
                if event.hint:
                    yield f"  {event.hint}"
            case ServerOutput():
                yield f"{self._paint(f'{event.server} │', 'blue')} {event.text}"
            case ServerFailed() | ServerLive() | ServerVerified() | ServerStarting() | ServerStopped():
                yield from self._server(event)
            case _ if not self._style.quiet:
                yield from self._progress(stamp, event)
            case _:
                pass

    def _progress(self, stamp: Stamp, event: AnyEvent) -> Iterator[str]:
        match event:
            case WatchReady():
                files, folders = _count(event.files, "file"), _count(event.dirs, "folder")
                yield self._paint(f"watching {files} in {folders} ({_duration(event.took_ms)})", "dim")
            case ChangeDetected() if self._style.verbose:
                yield self._paint(f"{event.cause}: {_listed(event.paths)}", "dim")
            case RunStarted():
                yield ""
                about = f" {self._paint(_listed(event.changed), 'cyan')}" if event.changed else ""
                yield f"{self._paint(f'▶ run {event.run}', 'bold')}{about}{self._paint(f' · {_clock(stamp)}', 'dim')}"
            case StageOutput() if self._style.verbose:
                yield f"  {self._paint(f'{event.stage} │', 'dim')} {event.text}"
            case StageFinished() if event.status != "skipped" or self._style.verbose:
                yield self._stage(event)
            case _:
                pass

    def _stage(self, event: StageFinished) -> str:
        mark, colour = _MARKS[event.status]
        names = self._view.run.stages if self._view.run else {}
        width = max(map(len, names), default=0)
        said = {"failed": _exit(event.exit_code), "timed_out": "timed out", "passed": ""}.get(
            event.status, event.status
        )
        took = self._paint(f"{_duration(event.took_ms):>8}", "dim")
        return f"  {self._paint(mark, colour)} {event.stage:<{width}} {took}  {said}".rstrip()

    def _run_finished(self, event: RunFinished) -> Iterator[str]:
        run = self._view.run
        took = _duration(event.took_ms)
        if event.status == "superseded" or run is None:
            if not self._style.quiet:
                yield self._paint("↻ the tree changed meanwhile", "yellow")
        elif event.status == "green":
            yield f"{self._paint('✓ green', 'green')} in {took}"
        else:
            if not self._style.verbose:
                yield from self._failures(run)
            names = ", ".join(stage.name for stage in run.failures())
            yield f"{self._paint(f'✗ red: {names} failed', 'red')} in {took}{self._still_served()}"

    def _failures(self, run: RunView) -> Iterator[str]:
        for stage in run.failures():
            yield ""
            yield self._paint(f"── {stage.name}: {stage.command}", "bold")
            yield from _output(stage)
            yield ""

    def _server(
        self, event: ServerFailed | ServerLive | ServerVerified | ServerStarting | ServerStopped
    ) -> Iterator[str]:
        name = self._paint(event.server, "blue")
        server = self._view.servers[event.server]
        match event:
            case ServerLive():
                where = ", ".join(address.addr for address in event.sockets)
                live = self._paint(f"● live{f' on {where}' if where else ''}", "green")
                yield f"{name} {live} · {self._generation(server)} · {_duration(event.took_ms)}"
            case ServerVerified():
                if not self._style.quiet:
                    yield f"{name} {self._paint('✓ verified', 'green')} · {self._generation(server)}"
            case ServerFailed():
                rest = f"generation {event.serving} goes on serving" if event.serving else "nothing is served"
                failed = self._paint(f"✗ generation {event.generation}: {event.reason}", "red")
                yield f"{name} {failed} · {rest}"
            case ServerStarting() | ServerStopped() if self._style.verbose:
                word = "starting" if isinstance(event, ServerStarting) else "stopped"
                yield self._paint(f"{event.server} {word} generation {event.generation}", "dim")
            case _:
                pass

    def _still_served(self) -> str:
        served = [f"{s.name}: {self._generation(s)}" for s in self._view.servers.values() if s.generation]
        return f" · still serving {'; '.join(served)}" if served else ""

    def _generation(self, server: ServerView) -> str:
        tree = f"tree {server.tree[:_SHORT_TREE]}" if server.tree else "tree unknown"
        verified = "" if server.verified else self._paint(", unverified", "yellow")
        return f"generation {server.generation}, {tree}{verified}"

    def _paint(self, text: str, colour: str) -> str:
        if not self._style.unicode:
            text = text.translate(_ASCII)
        return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if self._style.colour and text else text


def _output(stage: StageView) -> Iterator[str]:
    if stage.lost:
        yield f"({_count(stage.lost, 'earlier line')} not shown)"
    yield from stage.output
    if not stage.output:
        yield f"(no output; {'timed out' if stage.status == 'timed_out' else _exit(stage.exit_code)})"


def _exit(code: int | None) -> str:
    if code is None:
        return ""
    return f"killed by signal {-code}" if code < 0 else f"exit status {code}"


def _duration(took_ms: float) -> str:
    if took_ms < 1000:
        return f"{took_ms:.0f} ms"
    return (
        f"{took_ms / 1000:.2f} s" if took_ms < 60_000 else f"{took_ms // 60_000:.0f} m {took_ms % 60_000 / 1000:.0f} s"
    )


def _listed(paths: Sequence[str]) -> str:
    shown = ", ".join(paths[:_MOST_PATHS])
    return f"{shown} and {len(paths) - _MOST_PATHS} more" if len(paths) > _MOST_PATHS else shown


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _clock(stamp: Stamp) -> str:
    return f"{datetime.fromisoformat(stamp.time).astimezone():%H:%M:%S}"

"""The plain face: one line a step, what failed in full and last, nothing twice.

Output of stages is kept until the stage's run is over and shown only if it failed; with `verbose` it is shown as it
comes, and not again. A server's output is shown as it comes; below a failure only the beginning of it, so that the
failure stays in sight, and the end of it if the server dies.
"""

import re
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from hotpipe.events import (
    AnyEvent,
    ChangeDetected,
    ConfigRejected,
    ConfigReloaded,
    Ending,
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
    StageStatus,
    Stamp,
    Stamped,
    TriggerTouched,
    Warned,
    WatchReady,
)
from hotpipe.ui.view import RunView, ServerView, StageView, View

_SHORT_TREE = 8  # characters of a tree id that are shown
_MOST_PATHS = 3
_COLUMN = 10  # so that durations stand in line before all stages are known
_MOST_BELOW_RED = 20  # lines that a live server may write below a failure
_LAST_WORDS = 100  # lines that are shown of what was held back, where the server died
_NOBODY = "nobody answers until the next green run, or `hotpipe restart`; connections wait"
_UNTOLD = frozenset({"skipped", "cancelled"})  # the line of the run says it
_WEB = re.compile(r"(https?)\d*")
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


@dataclass(slots=True)
class Held:
    """What a server wrote below a failure: how many lines are shown, and the last of those that are not."""

    shown: int = 0
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=_LAST_WORDS))
    lost: int = 0

    def add(self, text: str) -> None:
        self.lost += len(self.lines) == _LAST_WORDS
        self.lines.append(text)


class Plain:
    """The face for a terminal that scrolls, a log file, a CI."""

    def __init__(self, style: Style) -> None:
        self._style = style
        self._view = View()
        self._held: dict[str, Held] = {}  # of each server that writes while a failure is in sight
        self._born_verified: set[tuple[str, int]] = set()
        self._dot = self._paint(" · ", "dim")

    def render(self, batch: Sequence[Stamped]) -> str:
        events = [stamped.event for stamped in batch]
        self._born_verified = _generations(events, ServerLive) & _generations(events, ServerVerified)
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
                    yield f"  hint: {event.hint}"
            case ConfigReloaded(path=path):
                yield self._paint(f"● {path} has changed, and is in force", "cyan")
            case ConfigRejected(path=path, errors=errors):
                yield self._paint(f"✗ {path} has changed, and cannot be used; what was in force stays so", "red")
                yield from (f"  {error}" for error in errors)
            case ServerOutput():
                yield from self._server_output(event)
            case ServerFailed() | ServerLive() | ServerVerified():
                yield from self._server(event)
            case RunStarted():
                yield from self._run_started(stamp, event)
            case Ending():
                yield self._paint("stopping… (once more kills)", "dim")
            case _ if not self._style.quiet:
                yield from self._progress(event)
            case _:
                pass

    def _run_started(self, stamp: Stamp, event: RunStarted) -> Iterator[str]:
        for server, held in self._held.items():
            if held.lines:
                yield self._paint(f"{server} │ ({_count(len(held.lines) + held.lost, 'line')} not shown)", "dim")
        self._held.clear()
        if not self._style.quiet:
            yield ""
            about = f" {self._paint(_listed(event.changed), 'cyan')}" if event.changed else ""
            yield f"{self._paint(f'▶ run {event.run}', 'bold')}{about}{self._dot}{self._paint(_clock(stamp), 'dim')}"

    def _progress(self, event: AnyEvent) -> Iterator[str]:
        match event:
            case WatchReady():
                files, folders = _count(event.files, "file"), _count(event.dirs, "folder")
                yield self._paint(f"watching {files} in {folders} ({_duration(event.took_ms)})", "dim")
            case ChangeDetected() if self._style.verbose:
                yield self._paint(f"{event.cause}: {_listed(event.paths)}", "dim")
            case TriggerTouched() if not self._view.servers:
                yield self._paint(f"  touched {event.path}", "dim")
            case StageOutput() if self._style.verbose:
                yield f"  {self._paint(f'{event.stage} │', 'dim')} {_said(event.text)}"
            case StageFinished() if event.status not in _UNTOLD or self._style.verbose:
                yield self._stage(event)
            case ServerDiscarded():
                rest = f"{self._dot}generation {event.serving} goes on serving" if event.serving else ""
                given_up = f"{event.server} discarded generation {event.generation}: {event.reason}"
                yield f"{self._paint(given_up, 'dim')}{rest}"
            case ServerStarting() | ServerDraining() | ServerStatus() | ServerStopped() if self._style.verbose:
                yield self._paint(f"{event.server} {_step(event)}", "dim")
            case _:
                pass

    def _stage(self, event: StageFinished) -> str:
        mark, colour = _MARKS[event.status]
        names = self._view.run.stages if self._view.run else {}
        width = max(_COLUMN, *map(len, names), len(event.stage))
        said = {"failed": _exit(event.exit_code), "timed_out": "timed out", "passed": ""}.get(
            event.status, event.status
        )
        took = self._paint(f"{_duration(event.took_ms):>9}", "dim")
        return f"  {self._paint(mark, colour)} {event.stage:<{width}} {took}{f'  {said}' if said else ''}"

    def _run_finished(self, event: RunFinished) -> Iterator[str]:
        run = self._view.run
        took = _duration(event.took_ms)
        if event.status == "superseded" or run is None:
            yield self._paint(f"↻ superseded after {took}: the tree changed", "yellow")
        elif event.status == "green":
            yield f"{self._paint('✓ green', 'green')} in {took}{self._already_served(run)}"
        else:
            if not self._style.verbose:
                yield from self._failures(run)
            yield f"{self._paint(f'✗ red: {_blame(run)}', 'red')} in {took}{self._still_served()}"

    def _failures(self, run: RunView) -> Iterator[str]:
        yield ""
        for stage in run.failures():
            yield f"{self._paint(f'── {stage.name}:', 'red')} {self._paint(stage.command, 'bold')}"
            yield from map(_said, _output(stage))
            yield ""

    def _server_output(self, event: ServerOutput) -> Iterator[str]:
        """All of it, but only so much of what a live server writes while a failure is in sight."""
        bar = self._paint(f"{self._whose(event)} │", "blue")
        held = self._held.setdefault(event.server, Held())
        if not self._is_red() or self._view.servers[event.server].generation != event.generation:
            held.shown = 0
        elif held.shown == _MOST_BELOW_RED:
            if not held.lines:
                rest = "more is held back until the next run, so that the failure stays in sight; -v shows it"
                yield f"{bar} {self._paint(rest, 'dim')}"
            held.add(event.text)
            return
        held.shown += 1
        yield f"{bar} {_said(event.text)}"

    def _whose(self, event: ServerOutput) -> str:
        """The server's name, with the generation where more than one of it is alive."""
        alive = self._view.servers[event.server].generations if event.server in self._view.servers else ()
        return f"{event.server}·{event.generation}" if len(alive) > 1 else event.server

    def _is_red(self) -> bool:
        return not self._style.verbose and self._view.run is not None and self._view.run.status == "red"

    def _server(self, event: ServerFailed | ServerLive | ServerVerified) -> Iterator[str]:
        name = self._paint(event.server, "blue")
        server = self._view.servers[event.server]
        born_verified = (event.server, event.generation) in self._born_verified
        match event:
            case ServerLive():
                server.known(event.generation).verified |= born_verified
                where = f"{self._dot}{_where(server)}" if server.sockets else ""
                live = self._paint("● live", "green")
                yield f"{name} {live}{where}{self._dot}{self._generation(server)}{self._dot}{_duration(event.took_ms)}"
            case ServerVerified() if not (self._style.quiet or born_verified):
                yield f"{name} {self._paint('✓ verified', 'green')}{self._dot}{self._generation(server)}"
            case ServerFailed():
                yield from self._held_back(event.server)
                failed = self._paint(f"✗ generation {event.generation}: {event.reason}", "red")
                yield f"{name} {failed}{self._dot}{self._who_goes_on(event)}"
            case _:
                pass

    def _who_goes_on(self, failed: ServerFailed) -> str:
        if failed.serving is not None:
            return f"generation {failed.serving} goes on serving"
        server = self._view.servers[failed.server]
        booting = max((number for number in server.generations if number > failed.generation), default=None)
        if booting is not None:
            return f"nobody answers until generation {booting} is live"
        return _NOBODY if failed.retry_ms is None else f"started again in {_duration(failed.retry_ms)}"

    def _held_back(self, server: str) -> Iterator[str]:
        """The last words of a server that died."""
        held = self._held.pop(server, Held())
        bar = self._paint(f"{server} │", "blue")
        if held.lost:
            yield f"{bar} ({_count(held.lost, 'earlier line')} not shown)"
        yield from (f"{bar} {_said(text)}" for text in held.lines)

    def _already_served(self, run: RunView) -> str:
        same = [s.name for s in self._view.servers.values() if s.generation and s.verified and s.tree == run.tree]
        return f"{self._dot}{', '.join(same)} already serve{'s' if len(same) == 1 else ''} it" if same else ""

    def _still_served(self) -> str:
        serving = [s for s in self._view.servers.values() if s.generation]
        parts = (f"{s.name} still serves {self._generation(s)}" for s in serving)
        return "".join(f"{self._dot}{part}" for part in parts)

    def _generation(self, server: ServerView) -> str:
        tree = f", tree {server.tree[:_SHORT_TREE]}" if server.tree else ""
        verified = "" if server.verified else f" {self._paint('(unverified)', 'yellow')}"
        return f"generation {server.generation}{tree}{verified}"

    def _paint(self, text: str, colour: str) -> str:
        if not self._style.unicode:
            text = text.translate(_ASCII)
        return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if self._style.colour and text else text


def _said(text: str) -> str:
    """A program's line: what a progress bar left of it, and no colour of it on the next one."""
    text = text.rpartition("\r")[2]
    return f"{text}\x1b[0m" if "\x1b[" in text else text


def _generations(events: Sequence[AnyEvent], kind: type[ServerLive] | type[ServerVerified]) -> set[tuple[str, int]]:
    return {(event.server, event.generation) for event in events if isinstance(event, kind)}


def _step(event: ServerStarting | ServerDraining | ServerStatus | ServerStopped) -> str:
    """What a generation goes through, in words."""
    match event:
        case ServerStarting():
            return f"starting generation {event.generation}"
        case ServerDraining():
            return f"draining generation {event.generation}"
        case ServerStatus():
            return f"generation {event.generation} says: {event.text}"
        case ServerStopped():
            return f"stopped generation {event.generation}"


def _where(server: ServerView) -> str:
    """The addresses of a server, as a terminal makes them links."""
    return ", ".join(
        f"{scheme[1]}://{socket.addr}" if (scheme := _WEB.fullmatch(socket.name)) else socket.addr
        for socket in server.sockets
    )


def _blame(run: RunView) -> str:
    return ", ".join(f"{s.name} {'timed out' if s.status == 'timed_out' else 'failed'}" for s in run.failures())


def _output(stage: StageView) -> Iterator[str]:
    if stage.lost:
        yield f"({_count(stage.lost, 'earlier line')} not shown)"
    yield from stage.output
    if not stage.output:
        yield f"(no output; {'timed out' if stage.status == 'timed_out' else _exit(stage.exit_code)})"


def _exit(code: int | None) -> str:
    if code is None:
        return ""
    return f"killed by {_signal_name(-code)}" if code < 0 else f"exit status {code}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def _duration(took_ms: float) -> str:
    if took_ms < 999.5:
        return f"{took_ms:.0f} ms"
    if took_ms < 59_995:
        return f"{took_ms / 1000:.2f} s"
    minutes, seconds = divmod(round(took_ms / 1000), 60)
    return f"{minutes} m {seconds} s"


def _listed(paths: Sequence[str]) -> str:
    shown = ", ".join(paths[:_MOST_PATHS])
    return f"{shown} and {len(paths) - _MOST_PATHS} more" if len(paths) > _MOST_PATHS else shown


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _clock(stamp: Stamp) -> str:
    return f"{datetime.fromisoformat(stamp.time).astimezone():%H:%M:%S}"

"""How the plain face says things: durations, counts, how a stage ended. Pure."""

import signal
from collections.abc import Iterator, Sequence
from datetime import datetime

from hotpipe.escapes import colours_only, plain, visible
from hotpipe.events import ServerDraining, ServerStarting, ServerStatus, ServerStopped, StageFinding, Stamp
from hotpipe.ui.view import StageView

_MOST_PATHS = 3


def said(text: str) -> str:
    """A program's line: what a progress bar has left of it, and of its colours none on the next one."""
    return colours_only(visible(text))


def outcome(stage: StageView, run: int) -> str:
    """What the line of a stage says beyond its mark and its name."""
    why = stage.why
    match stage.status:
        case "failed" | "timed_out":
            parts = [_failed(stage), problems(stage)]
        case "passed":
            parts = ["flaky: passed after a retry" if stage.flaky else "", _some(stage.count("warning"), "warning")]
        case _:
            parts, why = [f"{stage.status}: {why}" if why else stage.status or ""], ""
    parts.append(f"since run {stage.since}" if stage.since and stage.since != run else "")
    return "; ".join(filter(None, (", ".join(filter(None, parts)), why)))


def _failed(stage: StageView) -> str:
    if stage.allowed:
        return "timed out (allowed)" if stage.status == "timed_out" else "failed (allowed)"
    if stage.status == "timed_out":
        return "timed out"
    told = stage.exit_code is not None and stage.exit_code > 0 and problems(stage)
    return "" if told else ended(stage.exit_code)


def problems(stage: StageView) -> str:
    """2 errors, 1 warning."""
    counts = (_some(stage.count("error"), "error"), _some(stage.count("warning"), "warning"))
    return ", ".join(filter(None, counts))


def _some(number: int, noun: str) -> str:
    return count(number, noun) if number else ""


def where(finding: StageFinding) -> str:
    """path:line:column, as far as they are known."""
    return ":".join(str(part) for part in (finding.path, finding.line, finding.column) if part is not None)


def blame(stage: StageView) -> str:
    """A failed stage in the verdict on its run."""
    return f"{stage.name} {'timed out' if stage.status == 'timed_out' else 'failed'}"


def still(stage: StageView) -> str:
    """A failure that was told before."""
    return f"{stage.name} still {'times out' if stage.status == 'timed_out' else 'fails'}"


def silence(stage: StageView) -> str:
    """In place of the output that there is not."""
    return f"(no output; {'timed out' if stage.status == 'timed_out' else ended(stage.exit_code)})"


def output(stage: StageView) -> Iterator[str]:
    if stage.lost:
        yield f"({count(stage.lost, 'earlier line')} not shown)"
    yield from stage.output
    if not stage.output:
        yield silence(stage)


def step(event: ServerStarting | ServerDraining | ServerStatus | ServerStopped) -> str:
    """What a generation goes through."""
    match event:
        case ServerStarting():
            return f"starting generation {event.generation}"
        case ServerDraining():
            return f"draining generation {event.generation}"
        case ServerStatus():
            return f"generation {event.generation} says: {event.text}"
        case ServerStopped():
            return f"stopped generation {event.generation}"


def ended(code: int | None) -> str:
    if code is None:
        return ""
    return f"killed by {_signal_name(-code)}" if code < 0 else f"exit status {code}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def duration(took_ms: float) -> str:
    if took_ms < 999.5:
        return f"{took_ms:.0f} ms"
    if took_ms < 59_995:
        return f"{took_ms / 1000:.2f} s"
    minutes, seconds = divmod(round(took_ms / 1000), 60)
    return f"{minutes} m {seconds} s"


def name(text: str) -> str:
    """On one line, and nothing that a terminal would obey: files are called anything."""
    return text if text.isprintable() else " ".join(plain(text).split())


def listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(name, names[:_MOST_PATHS]))
    return f"{shown} and {len(names) - _MOST_PATHS:,} more" if len(names) > _MOST_PATHS else shown


def count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def clock(stamp: Stamp) -> str:
    return f"{datetime.fromisoformat(stamp.time).astimezone():%H:%M:%S}"

"""Events as lines of logs. Pure, but for what it remembers of who is at work."""

from hotpipe.events import (
    AnyEvent,
    ServerDiscarded,
    ServerDraining,
    ServerFailed,
    ServerLive,
    ServerOutput,
    ServerReady,
    ServerStarting,
    ServerStatus,
    ServerStopped,
    ServerVerified,
    StageFinished,
    StageOutput,
    StageStarted,
    Stamped,
    Stream,
)
from hotpipe.logs.line import Line, Mark, Source

_MARKS: dict[Stream, Mark] = {"stdout": "out", "stderr": "err"}
_TREE_LENGTH = 12


class Telling:
    """What is told again of an earlier run (a stage that is cached, or whose verdict stands) is in the log already."""

    def __init__(self) -> None:
        self._working: set[str] = set()

    def line(self, stamped: Stamped) -> tuple[Source, Line] | None:
        """The line of an event, and in whose log it belongs; none where it belongs in none."""
        event, time = stamped.event, stamped.stamp.time
        match event:
            case ServerOutput(server=name, generation=number, stream=stream, text=text):
                return Source("server", name), Line(time, number, _MARKS[stream], text)
            case StageOutput(run=run, stage=name, stream=stream, text=text):
                return (Source("stage", name), Line(time, run, _MARKS[stream], text)) if name in self._working else None
            case StageStarted(run=run, stage=name):
                self._working.add(name)
                return Source("stage", name), Line(time, run, "---", _started(event))
            case StageFinished(run=run, stage=name):
                self._working.discard(name)
                return Source("stage", name), Line(time, run, "---", _finished(event))
            case _:
                return _of_server(event, time)


def _of_server(event: AnyEvent, time: str) -> tuple[Source, Line] | None:
    text = _boundary(event)
    if text is None:
        return None
    source = Source("server", getattr(event, "server", ""))
    return source, Line(time, getattr(event, "generation", 0), "---", text)


def _started(event: StageStarted) -> str:
    return f"goes on: {_flat(event.command)}" if event.kept else f"started: {_flat(event.command)}"


def _finished(event: StageFinished) -> str:
    status = f"exit status {event.exit_code}" if event.status == "failed" and event.exit_code is not None else ""
    notes = [note for note in (status, event.why, "flaky" * event.flaky, "allowed to" * event.allowed) if note]
    took = f" after {seconds(event.took_ms)}" if event.took_ms else ""
    return _flat(f"{event.status}{took}{': ' * bool(notes)}{', '.join(notes)}")


def _boundary(event: AnyEvent) -> str | None:
    match event:
        case ServerStarting(pid=pid, tree=tree):
            return f"starting: pid {pid}, tree {_short(tree)}"
        case ServerReady(how=how, took_ms=took_ms):
            return _flat(f"ready after {seconds(took_ms)}: {how}")
        case ServerLive(took_ms=took_ms, sockets=sockets):
            listed = ", ".join(f"{socket.name} {socket.addr}" for socket in sockets)
            return _flat(f"live after {seconds(took_ms)}{': ' * bool(listed)}{listed}")
        case ServerVerified(tree=tree):
            return f"verified: tree {_short(tree)}"
        case ServerStatus(text=text):
            return _flat(f"says: {text}")
        case ServerDraining():
            return "draining"
        case ServerDiscarded(reason=reason):
            return _flat(f"discarded: {reason}")
        case ServerFailed(reason=reason):
            return _flat(f"failed: {reason}")
        case ServerStopped(exit_code=code, signal=signal, killed=killed):
            how = f"by SIG{signal}" if signal else f"exit status {code}"
            return f"stopped: {how}{', killed' * killed}"
        case _:
            return None


def seconds(took_ms: float) -> str:
    return f"{took_ms / 1e3:.2f} s" if took_ms < 10_000 else f"{took_ms / 1e3:.0f} s"


def _short(tree: str | None) -> str:
    return (tree or "unknown")[:_TREE_LENGTH]


def _flat(text: str) -> str:
    """One line: a command may have several."""
    return " ".join(text.split("\n")) if "\n" in text else text

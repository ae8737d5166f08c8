"""What the plain face tells of servers: their output, who is live, who goes on.

Below a failure only the beginning of a live server's output is shown, and the end of it if the server dies.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from hotpipe.events import AnyEvent, ServerFailed, ServerLive, ServerOutput, ServerVerified
from hotpipe.ui import words
from hotpipe.ui.pages import page
from hotpipe.ui.style import Style
from hotpipe.ui.view import RunView, ServerView, View

_SHORT_TREE = 8  # characters of a tree id that are shown
_MOST_BELOW_RED = 20  # lines that a live server may write below a failure
_LAST_WORDS = 100  # lines that are shown of what was held back, where the server died
_NOBODY = "nobody answers until the next green run, or `hotpipe restart`; connections wait"


@dataclass(slots=True)
class Held:
    """What a server wrote below a failure: how many lines are shown, and the last of those that are not."""

    shown: int = 0
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=_LAST_WORDS))
    lost: int = 0

    def add(self, text: str) -> None:
        self.lost += len(self.lines) == _LAST_WORDS
        self.lines.append(text)


class ServerLines:
    """The lines about servers."""

    def __init__(self, style: Style, view: View) -> None:
        self._style = style
        self._view = view
        self._held: dict[str, Held] = {}  # of each server that writes while a failure is in sight
        self._born_verified: set[tuple[str, int]] = set()
        self._dot = style.paint(" · ", "dim")

    def look_ahead(self, events: Sequence[AnyEvent]) -> None:
        """What goes live and is verified in one breath has one line."""
        self._born_verified = _generations(events, ServerLive) & _generations(events, ServerVerified)

    def not_shown(self) -> Iterator[str]:
        """How much was held back since the last run."""
        for server, held in self._held.items():
            if held.lines:
                lines = words.count(len(held.lines) + held.lost, "line")
                yield self._style.paint(f"{server} │ ({lines} not shown)", "dim")
        self._held.clear()

    def output(self, event: ServerOutput) -> Iterator[str]:
        """All of it, but only so much of what a live server writes while a failure is in sight."""
        bar = self._style.paint(f"{self._whose(event)} │", "blue")
        held = self._held.setdefault(event.server, Held())
        if not self._is_red() or self._view.servers[event.server].generation != event.generation:
            held.shown = 0
        elif held.shown == _MOST_BELOW_RED:
            if not held.lines:
                rest = "more is held back until the next run, so that the failure stays in sight; -v shows it"
                yield f"{bar} {self._style.paint(rest, 'dim')}"
            held.add(event.text)
            return
        held.shown += 1
        yield f"{bar} {self._style.said(event.text)}"

    def _whose(self, event: ServerOutput) -> str:
        """The server's name, with the generation where more than one of it is alive."""
        alive = self._view.servers[event.server].generations if event.server in self._view.servers else ()
        return f"{event.server}·{event.generation}" if len(alive) > 1 else event.server

    def _is_red(self) -> bool:
        return not self._style.verbose and self._view.run is not None and self._view.run.status == "red"

    def told(self, event: ServerFailed | ServerLive | ServerVerified) -> Iterator[str]:
        name = self._style.paint(event.server, "blue")
        server = self._view.servers[event.server]
        born_verified = (event.server, event.generation) in self._born_verified
        match event:
            case ServerLive():
                server.known(event.generation).verified |= born_verified
                where = f"{self._dot}{_where(server)}" if server.sockets else ""
                live = self._style.paint("● live", "green")
                took = words.duration(event.took_ms)
                yield f"{name} {live}{where}{self._dot}{self._generation(server)}{self._dot}{took}"
            case ServerVerified() if not (self._style.quiet or born_verified):
                yield f"{name} {self._style.paint('✓ verified', 'green')}{self._dot}{self._generation(server)}"
            case ServerFailed():
                yield from self._held_back(event.server)
                failed = self._style.paint(f"✗ generation {event.generation}: {event.reason}", "red")
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
        return _NOBODY if failed.retry_ms is None else f"started again in {words.duration(failed.retry_ms)}"

    def _held_back(self, server: str) -> Iterator[str]:
        """The last words of a server that died."""
        held = self._held.pop(server, Held())
        bar = self._style.paint(f"{server} │", "blue")
        if held.lost:
            yield f"{bar} ({words.count(held.lost, 'earlier line')} not shown)"
        yield from (f"{bar} {self._style.said(text)}" for text in held.lines)

    def already_serving(self, run: RunView) -> str:
        same = [s.name for s in self._view.servers.values() if s.generation and s.verified and s.tree == run.tree]
        return f"{self._dot}{', '.join(same)} already serve{'s' if len(same) == 1 else ''} it" if same else ""

    def still_serving(self) -> str:
        serving = [s for s in self._view.servers.values() if s.generation]
        parts = (f"{s.name} still serves {self._generation(s)}" for s in serving)
        return "".join(f"{self._dot}{part}" for part in parts)

    def _generation(self, server: ServerView) -> str:
        tree = f", tree {server.tree[:_SHORT_TREE]}" if server.tree else ""
        verified = "" if server.verified else f" {self._style.paint('(unverified)', 'yellow')}"
        return f"generation {server.generation}{tree}{verified}"


def _generations(events: Sequence[AnyEvent], kind: type[ServerLive] | type[ServerVerified]) -> set[tuple[str, int]]:
    return {(event.server, event.generation) for event in events if isinstance(event, kind)}


def _where(server: ServerView) -> str:
    """The addresses of a server, as a terminal makes them links."""
    return ", ".join(page(socket) or socket.addr for socket in server.sockets)

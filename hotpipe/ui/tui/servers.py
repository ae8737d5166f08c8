"""The lines of the servers: what is being served, and what comes next. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from rich.segment import Segment

from hotpipe.ui import words
from hotpipe.ui.pages import page
from hotpipe.ui.tui.band import on_the_way
from hotpipe.ui.tui.ink import Line, padded, piece
from hotpipe.ui.view import ServerView, View

_SHORT_TREE = 8  # characters of a tree's id that are shown


@dataclass(frozen=True, slots=True)
class ServerLines:
    """What is needed to draw them."""

    view: View
    now: float
    column: int

    def lines(self, rows: int) -> list[Line]:
        """At most so many lines: those with something to say first, the others counted."""
        every = list(self.view.servers.values())
        if len(every) <= rows:
            return [self._line(server) for server in every]
        if rows <= 0:
            return []
        chosen = {server.name for server in sorted(every, key=_calm)[: rows - 1]}
        rest = len(every) - len(chosen)
        counted: Line = [piece(f"   {'and ' if chosen else ''}{words.count(rest, 'server')} more", "dim")]
        return [*(self._line(server) for server in every if server.name in chosen), counted]

    def _line(self, server: ServerView) -> Line:
        mark, colour = _mark(server)
        parts = list(self._parts(server))
        line = [piece(f" {mark} ", colour), piece(padded(server.name, self.column)), piece(" ")]
        line += parts[:1]
        for part in parts[1:]:
            line += [piece(" · ", "dim"), part]
        return line

    def _parts(self, server: ServerView) -> Iterator[Segment]:
        if server.failure is not None:
            yield from self._candidate(server)  # before what has failed: that may be long
            yield piece(f"generation {server.failure.generation}: {server.failure.reason}", "red")
        if server.generation is not None:
            yield from self._serving(server)
        elif not (server.candidate and server.candidate.starting is not None):
            yield piece(self._nobody(server), "yellow" if server.failure else "dim")
        if server.failure is None:
            yield from self._candidate(server)
        yield from _draining(server)
        yield from _addresses(server)

    def _serving(self, server: ServerView) -> Iterator[Segment]:
        tree = f", tree {server.tree[:_SHORT_TREE]}" if server.tree else ""
        goes_on = " goes on serving" if server.failure else ""
        yield piece(f"generation {server.generation}{tree}{goes_on}")
        if not server.verified:
            yield piece("unverified", "yellow")
        if server.behind:
            yield piece(f"{words.count(server.behind, 'save')} behind{self._why_behind()}", "yellow")

    def _why_behind(self) -> str:
        run = self.view.run
        if self.view.paused:
            return ": paused"
        if run is not None and (run.failures() or run.status == "red"):
            return ": checks are red"
        return ": checking" if run is not None and run.status is None else ""

    def _nobody(self, server: ServerView) -> str:
        waits = "; connections wait" if server.sockets else ""
        if server.failure is not None and server.failure.retry_ms is not None:
            return f"nobody answers{waits}; started again in {words.duration(server.failure.retry_ms)}"
        return f"nobody answers{waits}" if server.failure or server.past else f"not started yet{waits}"

    def _candidate(self, server: ServerView) -> Iterator[Segment]:
        if server.candidate is not None and server.candidate.starting is not None:
            yield piece(on_the_way(server.candidate, self.now), "blue")


def _draining(server: ServerView) -> Iterator[Segment]:
    draining = [each for each in server.generations.values() if each.draining is not None]
    if draining:
        yield piece(f"generation {draining[0].number} is draining", "dim")


def _addresses(server: ServerView) -> Iterator[Segment]:
    if server.sockets:
        yield piece(", ".join(page(socket) or socket.addr for socket in server.sockets), "cyan")


def _mark(server: ServerView) -> tuple[str, str]:
    if server.failure is not None:
        return "✗", "bad"
    if server.generation is not None:
        return "●", "green" if server.verified and not server.behind else "yellow"
    return ("●", "blue") if server.candidate else ("○", "dim")


def _calm(server: ServerView) -> int:
    """Least for what needs the most attention."""
    return 0 if server.failure else 1 if server.candidate else 2 if server.behind else 3

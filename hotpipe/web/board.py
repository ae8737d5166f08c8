"""What all open pages are shown: the view, and its pieces as JSON.

How it works: events are folded into the view at once, and pieces are made from it only when a page asks. Each page has
a `Follower`, which knows what it has sent; it takes what has changed since, so a slow page costs nobody memory. Output
is not copied: a follower has a place in each source's output, and what has left that meanwhile is counted.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import anyio
import msgspec

from hotpipe.events import ServerOutput, Stamped
from hotpipe.ui.view import ServerView, StageView, View
from hotpipe.web.picture import encoded, sections

MOST_LINES = 1_000  # of one source in one message
_LONGEST = 4_000  # characters of a line
_NOT_FOR_PAGES = frozenset({"output.dropped"})  # each page counts its own
_Line = tuple[str, int | None]


class Chunk(msgspec.Struct, frozen=True):
    """More lines of one source, each with its generation; `fresh`: what was there before is of another run."""

    of: str
    fresh: bool
    skipped: int
    lines: tuple[_Line, ...]


class Message(msgspec.Struct, frozen=True):
    """What has changed. `now` is CLOCK_MONOTONIC in seconds, as all times in it."""

    now: float
    set: dict[str, msgspec.Raw]
    lines: tuple[Chunk, ...]


class Board:
    """The picture that all followers share."""

    def __init__(self) -> None:
        self.view = View()
        self.closed = False
        self.version = 0
        self._editor = ""
        self._pieces: dict[str, tuple[int, bytes]] = {}  # with the version in which each became so
        self._stale = True
        self._changed = anyio.Event()

    def take(self, batch: Iterable[Stamped]) -> None:
        """Heed what has happened."""
        for stamped in batch:
            if getattr(stamped.event, "code", None) not in _NOT_FOR_PAGES:
                self.view.apply(stamped.event, stamped.stamp.mono)
        self._wake()

    def know(self, usual_ms: dict[str, float]) -> None:
        """How long each stage takes."""
        self.view.usual_ms = usual_ms
        self._wake()

    def name(self, editor: str) -> None:
        """What opens the place of a finding."""
        self._editor = editor
        self._wake()

    def close(self) -> None:
        """Nothing will happen any more."""
        self.closed = True
        self._changed.set()

    async def changed(self) -> None:
        """Wait until something happens after the last `pieces`."""
        if not self._stale and not self.closed:
            await self._changed.wait()

    def pieces(self) -> dict[str, tuple[int, bytes]]:
        """As of now."""
        if self._stale:
            self._stale = False
            self._changed = anyio.Event()
            self._make()
        return self._pieces

    def _make(self) -> None:
        self.version += 1
        before, self._pieces = self._pieces, {}
        for name, section in sections(self.view, self._editor):
            made = encoded(section)
            version, known = before.get(name, (0, b""))
            self._pieces[name] = (version, known) if made == known else (self.version, made)

    def _wake(self) -> None:
        self._stale = True
        self._changed.set()


@dataclass(frozen=True, slots=True)
class _Place:
    """How far a source was read; the source itself is kept, so that no other one can pass for it."""

    source: StageView | ServerView
    line: int


class Follower:
    """One page, and what it has been told."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._version = 0
        self._places: dict[str, _Place] = {}

    def message(self, now: float) -> bytes:
        """All that is new to it, as JSON."""
        pieces = self._board.pieces()
        news = {name: msgspec.Raw(made) for name, (version, made) in pieces.items() if version > self._version}
        self._version = self._board.version
        return encoded_message(Message(now, news, tuple(self._chunks())))

    def is_behind(self) -> bool:
        """Whether there is output that it has not been told."""
        return any(self._place(name, source).line < _length(source) for name, source in _sources(self._board.view))

    def _chunks(self) -> Iterator[Chunk]:
        sources = dict(_sources(self._board.view))
        self._places = {name: place for name, place in self._places.items() if name in sources}
        for name, source in sources.items():
            place = self._place(name, source)
            length = _length(source)
            fresh = name not in self._places or self._places[name].source is not source
            if length > place.line or fresh:
                first = max(place.line, length - MOST_LINES, source.lost)
                yield Chunk(name, fresh, first - place.line, _lines(source, length - first))
            self._places[name] = _Place(source, length)

    def _place(self, name: str, source: StageView | ServerView) -> _Place:
        place = self._places.get(name)
        return place if place is not None and place.source is source else _Place(source, 0)


def encoded_message(message: Message) -> bytes:
    """Its pieces are JSON already; a line may be text that is not valid."""
    try:
        return msgspec.json.encode(message)
    except UnicodeEncodeError:
        lines = tuple(msgspec.Raw(encoded(chunk)) for chunk in message.lines)
        return msgspec.json.encode({"now": message.now, "set": message.set, "lines": lines})


def _sources(view: View) -> Iterator[tuple[str, StageView | ServerView]]:
    if view.run is not None:
        yield from ((f"stage:{name}", stage) for name, stage in view.run.stages.items())
    yield from ((f"server:{name}", server) for name, server in view.servers.items())


def _length(source: StageView | ServerView) -> int:
    return source.lost + len(source.output)


def _lines(source: StageView | ServerView, number: int) -> tuple[_Line, ...]:
    """The last ones."""
    output: Sequence[Any] = source.output
    last = list(islice(reversed(output), number))
    return tuple(map(_line, reversed(last)))


def _line(line: str | ServerOutput) -> _Line:
    text, generation = (line, None) if isinstance(line, str) else (line.text, line.generation)
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}… ({len(text) - _LONGEST:,} more characters)"
    return text, generation

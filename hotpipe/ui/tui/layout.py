"""The whole screen: which lines stand where in so many rows and columns. Pure.

How it works: the band, the notice and the keys have their rows; of what is left, stages and servers get as many as they
want, but leave at least `_LOG_SHARE` to the pane. Where rows are few, each part gives up its own: any size will do.
"""

import os
from dataclasses import dataclass, field

from hotpipe.ui import words
from hotpipe.ui.tui import stages
from hotpipe.ui.tui.band import Band, band
from hotpipe.ui.tui.ink import Ink, Line, clean, piece, width
from hotpipe.ui.tui.looks import NOTHING, Choice, Looks, by_itself
from hotpipe.ui.tui.pane import Pane, pane
from hotpipe.ui.tui.servers import ServerLines
from hotpipe.ui.tui.stages import Stages
from hotpipe.ui.tui.together import Together
from hotpipe.ui.view import View

_TALL = 24  # rows from which on the band has three of them
_AIRY = 30  # and an empty row stands around stages and servers
_LOG_SHARE = 0.4
_LEAST_LOG = 4
_FOOTER = (
    ("r", "run"),
    ("R", "restart"),
    ("f", "failures"),
    ("l", "logs"),
    ("p", "pause"),
    ("o", "open"),
    ("a", "attach"),
    ("?", "help"),
    ("q", "quit"),
)


@dataclass(slots=True)
class Scene:
    """All that is drawn from; `before` is what the pane has shown by itself."""

    view: View
    looks: Looks = field(default_factory=Looks)
    together: Together = field(default_factory=Together)
    before: Choice = NOTHING

    def choice(self) -> Choice:
        """What the pane shows."""
        self.before = by_itself(self.view, self.before)
        return self.looks.chosen or self.before


@dataclass(frozen=True, slots=True)
class Drawn:
    """The lines of a screen, and what of the pane's is in sight: `first` and so many `rows`, of those before `end`.

    `tail` is the `Looks.top` that shows its end.
    """

    lines: list[Line]
    choice: Choice
    first: int
    rows: int
    end: int
    tail: int | None


def draw(scene: Scene, size: os.terminal_size, ink: Ink, now: float) -> Drawn:
    """The screen as it should be; `now` is CLOCK_MONOTONIC, in seconds."""
    columns, rows = max(1, size.columns), max(1, size.lines)
    air: list[Line] = [[]] if rows >= _AIRY else []
    top = [*_band(band(scene.view, now), columns, 3 if rows >= _TALL else 1), *air]
    bottom = [*_notice(scene, columns, now), _footer(scene.view, columns)] if rows >= 5 else []
    head = [*_head(scene.view, ink, now, rows - len(top) - len(bottom) - len(air)), *air]
    choice = scene.choice()
    shown = pane(scene.view, choice, scene.together, ink)
    room = max(0, rows - len(top) - len(head) - len(bottom) - 1)
    first = shown.first(scene.looks.top, room)
    body = [_title(shown, scene.looks, columns, first + room), *shown.drawn(first, room, columns)] if room else []
    lines = [*top, *head, *body]
    lines += [[] for _ in range(rows - len(lines) - len(bottom))]
    tail = None if shown.is_log else max(0, shown.end - room)
    return Drawn([*lines, *bottom], choice, first, room, shown.end, tail)


def _band(told: Band, columns: int, rows: int) -> list[Line]:
    text: Line = [piece(f" {told.word} ", told.colour), piece(f" {told.rest}", told.colour)]
    empty: Line = [piece(" " * columns, told.colour)]
    room = columns - width(text)
    middle = [*text, piece(" " * room, told.colour)] if room > 0 else text
    return [middle] if rows == 1 else [empty, middle, empty]


def _head(view: View, ink: Ink, now: float, rows: int) -> list[Line]:
    """Stages, then servers."""
    room = rows - max(_LEAST_LOG, int(rows * _LOG_SHARE)) if rows > _LEAST_LOG else rows
    column = stages.column(view)
    wanted = len(view.servers)
    of_stages = Stages(view, ink, now, column).lines(max(0, room - min(wanted, max(1, room // 2))) if wanted else room)
    return [*of_stages, *ServerLines(view, now, column).lines(room - len(of_stages))]


def _title(shown: Pane, looks: Looks, columns: int, below: int) -> Line:
    """A rule with the log's name in it."""
    name = f" {clean(shown.title[: columns * 2])} " if shown.title else ""
    count = words.count(shown.end, "line") if shown.is_log else "Esc goes back"
    told = "scrolled, End follows" if looks.top is not None and shown.is_log and below < shown.end else count
    left: Line = [piece("──", "dim"), piece(name, "bold")]
    right: Line = [piece(f" {told} ", "yellow" if told.startswith("scrolled") else "dim"), piece("──", "dim")]
    room = columns - width(left) - width(right)
    return [*left, piece("─" * room, "dim"), *right] if room >= 0 else left


def _notice(scene: Scene, columns: int, now: float) -> list[Line]:
    """What a key has done, else what should be known of."""
    view, looks = scene.view, scene.looks
    if looks.message and now < looks.until:
        return [[piece(f" {looks.message}", "bold")]]
    if view.errors:
        first = clean(view.errors[0].partition("\n")[0])
        return [[piece(f" the configuration is not valid, and not in force: {first}", "red"), *_more(len(view.errors))]]
    if view.warnings and view.warnings[-1] is not looks.seen:
        return [[piece(f" ! {view.warnings[-1].message}", "yellow"), *_more(len(view.warnings))]]
    if view.dashboard and not looks.typed:
        return [_dashboard(view.dashboard, columns)]
    return []


def _dashboard(address: str, columns: int) -> Line:
    """Its address whole, if there is any room for it: without its end it opens nothing."""
    line: Line = [piece(" dashboard: "), piece(address, "cyan"), piece("  (o)", "dim")]
    return line if width(line) <= columns else [piece(address, "cyan")]


def _more(number: int) -> Line:
    return [piece(f"  ({number - 1} more: w)" if number > 1 else "  (w)", "dim")]


def _footer(view: View, columns: int) -> Line:
    """As many keys as fit, the last two before all others."""
    line: Line = []
    last = _keys(_FOOTER[-2:], view)
    for key in _FOOTER[:-2]:
        more = _keys((key,), view)
        if width(line) + width(more) + width(last) > columns:
            break
        line += more
    return [*line, *last]


def _keys(keys: tuple[tuple[str, str], ...], view: View) -> Line:
    line: Line = []
    for key, does in keys:
        name = "go on" if key == "p" and view.paused else does
        line += [piece(f" {key}", "key"), piece(f" {name} ", "dim")]
    return line

"""Lines of styled text, and how they become escapes on this terminal.

Invariant: nothing that anybody else has written reaches the terminal but printable characters and colours, and no line
is wider than the screen.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from rich.ansi import AnsiDecoder
from rich.cells import cell_len, set_cell_size
from rich.color import ColorSystem
from rich.segment import Segment
from rich.style import Style as Rich

from hotpipe.escapes import colours_only, plain, visible, without_links
from hotpipe.events import StageFinding
from hotpipe.ui.style import Style

Line = list[Segment]
_MOST_EACH = 4  # characters for one column: accents take none
_MOST_RAW = 20  # with a colour of its own for each
_TAB = 8
_COLOUR = re.compile(r"\x1b\[([0-9;:]*)m")
# What turns the direction of what follows, and ends of line that are none: UAX #9, UAX #14.
_UNSEEN = re.compile("[\n\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")
_ASCII = str.maketrans(
    {"✓": "+", "✗": "x", "↻": "~", "·": "-", "▶": ">", "─": "-", "━": "=", "●": "*", "○": "o", "…": ">", "→": ">"}
)

STYLES: Mapping[str, Rich] = {
    "": Rich.null(),
    "dim": Rich(dim=True),
    "bold": Rich(bold=True),
    "green": Rich(color="green"),
    "red": Rich(color="red"),
    "yellow": Rich(color="yellow"),
    "blue": Rich(color="blue"),
    "cyan": Rich(color="cyan"),
    "key": Rich(bold=True),
    "bad": Rich(color="red", bold=True),
    "on green": Rich(color="#ffffff", bgcolor="#1a7f37", bold=True),
    "on red": Rich(color="#ffffff", bgcolor="#c4242e", bold=True),
    "on blue": Rich(color="#ffffff", bgcolor="#0b5cc0", bold=True),
    "on grey": Rich(color="#ffffff", bgcolor="#5a636d", bold=True),
}
_REVERSE = Rich(reverse=True)


def piece(text: str, style: str = "") -> Segment:
    """A part of a line, in one of the styles above."""
    return Segment(clean(text), STYLES[style])


def clean(text: str) -> str:
    """One line of printable text."""
    if text.isascii() and text.isprintable():
        return text
    return _UNSEEN.sub("", plain(text).replace("\n", " ").expandtabs(_TAB))


def width(line: Line) -> int:
    """In columns."""
    return sum(cell_len(part.text) for part in line)


def padded(text: str, columns: int) -> str:
    """Just so many columns of it, cut or filled."""
    text = clean(text[: columns * _MOST_EACH])
    return set_cell_size(text, columns) if cell_len(text) <= columns else f"{set_cell_size(text, columns - 1)}…"


def said(raw: str, columns: int) -> Line:
    """A line that a program has written, in its colours: what of it can be seen in so many columns."""
    if raw.isascii() and raw.isprintable():
        return [Segment(raw[: columns + 1])]
    text = without_links(colours_only(visible(raw)[: columns * _MOST_RAW]))
    line: Line = []
    style, column = Rich.null(), 0
    for place, part in enumerate(_COLOUR.split(text)):
        if place % 2:
            style = _after(style, part)
        elif part:
            shown = _UNSEEN.sub("", _without_tabs(part, column))
            column += len(shown)
            line.append(Segment(shown, style))
    return line


def _without_tabs(text: str, column: int) -> str:
    return f"{' ' * (column % _TAB)}{text}".expandtabs(_TAB)[column % _TAB :] if "\t" in text else text


@lru_cache(1_000)
def _after(style: Rich, sgr: str) -> Rich:
    """What a control sequence makes of a style."""
    decoder = AnsiDecoder()
    decoder.style = style
    decoder.decode_line(f"\x1b[{sgr.replace(':', ';')}m")
    return decoder.style


@lru_cache(1_000)
def _linked(uri: str) -> Rich:
    """Kept, for Rich gives each a random identity, and a line would never be the same as before."""
    return STYLES["cyan"] + Rich(link=uri)


@dataclass(frozen=True, slots=True)
class Ink:
    """What this terminal makes of styles."""

    style: Style
    depth: ColorSystem = ColorSystem.STANDARD

    @classmethod
    def of(cls, style: Style, environ: Mapping[str, str]) -> "Ink":
        """As the terminal says of itself."""
        if environ.get("COLORTERM", "").lower() in {"truecolor", "24bit"}:
            return cls(style, ColorSystem.TRUECOLOR)
        return cls(style, ColorSystem.EIGHT_BIT if "256" in environ.get("TERM", "") else ColorSystem.STANDARD)

    def place(self, finding: StageFinding, where: str) -> Segment:
        """Where a finding is, to be clicked on where the terminal has links."""
        links = self.style.links
        if links is None or not finding.path:
            return piece(where, "cyan")
        opened = links.to("", finding.path, finding.line, finding.column)
        uri = opened.partition("\x1b]8;;")[2].partition("\x1b")[0]
        return Segment(clean(where), _linked(uri)) if uri else piece(where, "cyan")

    def escapes(self, line: Line, columns: int) -> str:
        """The line as it is written: cut to so many columns, and the rest of the row erased."""
        line = self._fitting(line, columns)
        drawn = "".join(map(self._drawn, line))
        return drawn if width(line) >= columns else f"{drawn}\x1b[K"

    def _fitting(self, line: Line, columns: int) -> Line:
        if not self.style.unicode:
            line = [Segment(_ascii(part.text), part.style) for part in line]
        if width(line) <= columns:
            return line
        cut = Segment.adjust_line_length(line, max(0, columns - 1), pad=False)
        ground = cut[-1].style if cut and cut[-1].style and cut[-1].style.bgcolor else None  # a band has no gaps
        return [*cut, Segment(self._ellipsis(), ground)]

    def _ellipsis(self) -> str:
        return "…" if self.style.unicode else ">"

    def _drawn(self, part: Segment) -> str:
        if not part.style:
            return part.text
        style = part.style if self.style.colour else _colourless(part.style)
        return style.render(part.text, color_system=self.depth)


def _colourless(style: Rich) -> Rich:
    """What stands out by its background still stands out."""
    return style.without_color + _REVERSE if style.bgcolor else style.without_color


def _ascii(text: str) -> str:
    return text.translate(_ASCII).encode("ascii", "replace").decode()

"""A terminal for pictures: a tmux session, what stands in it, and that as HTML, in the colours of a terminal.

tmux is asked for its screen as text with escapes (`capture-pane -e`), rich reads these, and a browser draws them.
"""

import html
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.ansi import AnsiDecoder
from rich.color import Color
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from rich.terminal_theme import TerminalTheme
from rich.text import Text

PATIENCE_S = 30
_LOOK_S = 0.05
_CONSOLE = Console()
_SOFT = 12  # steps from one colour to another
_INKS = (1, 2, 3, 4, 5, 6, 9, 10, 11, 12, 14)
_BANDS = ("#1a7f37", "#c4242e", "#0b5cc0", "#5a636d")  # of hotpipe's terminal face
_FONT_PX, _ROW_PX = 14.5, 19
_DARK = ["f0625c", "57c46e", "deb04a", "62a0f8", "c882dc", "50bec8", "bec2c8"]
_LIGHT = ["ff827a", "78dc8c", "f0c86e", "82b4ff", "dca0f0", "78d7e1", "f0f2f5"]
_PAPER, _GREY, _INK = "16181d", "767c86", "d6d9de"
PAGE = f"""<!doctype html><meta charset="utf-8"><style>
body {{ margin: 0; padding: 0; background: #{_PAPER}; display: inline-block; }}
.window {{ background: #{_PAPER}; color: #{_INK}; }}
.title {{ background: #2a2d35; color: #a8adb6; font: 12px/22px "DejaVu Sans", sans-serif; text-align: center; }}
pre {{ margin: 0; padding: 8px 12px; font: {_FONT_PX}px "DejaVu Sans Mono", monospace; }}
pre div {{ height: {_ROW_PX}px; line-height: {_ROW_PX}px; white-space: pre; }}
pre span {{ display: inline-block; height: {_ROW_PX}px; vertical-align: top; }}
</style><body></body>"""


def _triplet(colour: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(colour)
    return red, green, blue


_THEME = TerminalTheme(
    _triplet(_PAPER),
    _triplet(_INK),
    [_triplet(colour) for colour in (_PAPER, *_DARK)],
    [_triplet(colour) for colour in (_GREY, *_LIGHT)],
)


@dataclass(frozen=True, slots=True)
class Shown:
    """What stands in a terminal: rows with escapes, and where the cursor is, if it can be seen."""

    title: str
    rows: tuple[str, ...]
    cursor: tuple[int, int] | None = None

    @property
    def text(self) -> str:
        return "\n".join(line.plain for line in self._lines())

    def html(self) -> str:
        lines = self._lines()
        if self.cursor is not None:
            column, row = self.cursor
            lines[row].pad_right(max(0, column + 1 - len(lines[row])))
            lines[row].stylize("reverse", column, column + 1)
        rows = "".join(f"<div>{''.join(map(_span, line.render(_CONSOLE)))}</div>" for line in lines)
        return f'<div class="window"><div class="title">{html.escape(self.title)}</div><pre>{rows}</pre></div>'

    def _lines(self) -> list[Text]:
        """What one row leaves switched on holds for the next: tmux says nothing twice."""
        decoder = AnsiDecoder()
        return [decoder.decode_line(row) for row in self.rows]


def colours() -> list[tuple[int, ...]]:
    """At most 256 that pictures are made of: each ink on the background, and white on the bands, with soft edges."""
    black, white = tuple(_THEME.background_color), (255, 255, 255)
    inks = [tuple(_THEME.foreground_color), *(tuple(_THEME.ansi_colors[number]) for number in _INKS)]
    grounds = [*(tuple(Color.parse(band).get_truecolor()) for band in _BANDS), _triplet("2a2d35")]
    on_black = (_between(black, ink, step / _SOFT) for ink in inks for step in range(1, _SOFT + 1))
    on_bands = (_between(ground, white, step / _SOFT) for ground in grounds for step in range(_SOFT + 1))
    return [black, *dict.fromkeys((*on_black, *on_bands))][:256]


def _between(one: tuple[int, ...], other: tuple[int, ...], share: float) -> tuple[int, ...]:
    return tuple(round(a + (b - a) * share) for a, b in zip(one, other, strict=True))


def _span(part: Segment) -> str:
    style = part.style or Style.null()
    ink, paper = _rgb(style.color, foreground=True), _rgb(style.bgcolor, foreground=False)
    if style.reverse:
        ink, paper = paper, ink
    if style.dim:
        ink = tuple((part * 6 + other * 4) // 10 for part, other in zip(ink, paper, strict=True))
    css = f"color:rgb{ink}" + (f";background:rgb{paper}" if paper != _THEME.background_color else "")
    css += ";font-weight:bold" * bool(style.bold) + ";text-decoration:underline" * bool(style.underline)
    return f'<span style="{css}">{html.escape(part.text.rstrip(chr(10)))}</span>'


def _rgb(color: Color | None, *, foreground: bool) -> tuple[int, ...]:
    return tuple((color or Color.default()).get_truecolor(_THEME, foreground))


class Window:
    """A terminal of so many columns and rows, with a shell in `folder`."""

    def __init__(self, title: str, folder: Path, size: tuple[int, int], env: Mapping[str, str]) -> None:
        self._title = title
        self._socket = f"pictures-{os.getpid()}-{time.monotonic_ns()}"
        self._env = dict(env)
        shell = ("env", "PS1=$ ", "LC_ALL=C.UTF-8", "dash", "-i")
        columns, rows = map(str, size)
        self._tmux("-f", os.devnull, "new-session", "-d", "-x", columns, "-y", rows, "-c", str(folder), *shell)
        self._tmux("set-option", "-g", "status", "off")
        self._tmux("resize-window", "-x", columns, "-y", rows)
        self.until(lambda shown: "$" in shown.text)

    def type(self, text: str) -> None:
        self._tmux("send-keys", "-l", "--", text)

    def key(self, name: str) -> None:
        self._tmux("send-keys", name)

    def run(self, command: str) -> None:
        self.type(command)
        self.key("Enter")

    def shown(self) -> Shown:
        rows = self._tmux("capture-pane", "-p", "-e", "-N").rstrip("\n").split("\n")
        x, y, is_seen, height = map(int, self._told("#{cursor_x} #{cursor_y} #{cursor_flag} #{pane_height}").split())
        rows += [""] * (height - len(rows))
        return Shown(self._title, tuple(rows), (x, y) if is_seen else None)

    def until(self, is_so: Callable[[Shown], bool]) -> Shown:
        end = time.monotonic() + PATIENCE_S
        while not is_so(shown := self.shown()):
            if time.monotonic() > end:
                raise SystemExit(f"never seen:\n{shown.text}")
            time.sleep(_LOOK_S)
        return shown

    def close(self) -> None:
        subprocess.run(("tmux", "-L", self._socket, "kill-server"), check=False)

    def _told(self, variables: str) -> str:
        return self._tmux("display-message", "-p", variables)

    def _tmux(self, *arguments: str) -> str:
        command = ("tmux", "-L", self._socket, *arguments)
        return subprocess.run(command, env=self._env, capture_output=True, check=True, text=True).stdout

"""How much a face shows, and with what means: colours, signs, links."""

from dataclasses import dataclass

from hotpipe.escapes import plain, visible
from hotpipe.events import StageFinding
from hotpipe.ui import words
from hotpipe.ui.links import Links

_ASCII = str.maketrans({"✓": "+", "✗": "x", "↻": "~", "·": "-", "▶": ">", "│": "|", "─": "-", "●": "*", "…": "."})
_CODES = {"green": "32", "red": "31", "yellow": "33", "cyan": "36", "dim": "2", "bold": "1", "blue": "34"}


@dataclass(frozen=True, slots=True)
class Style:
    """What the user and the terminal want."""

    colour: bool = False
    unicode: bool = True
    verbose: bool = False
    quiet: bool = False
    links: Links | None = None

    def paint(self, text: str, colour: str) -> str:
        if not self.unicode:
            text = text.translate(_ASCII)
        return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if self.colour and text else text

    def said(self, text: str) -> str:
        """A program's line, without escape sequences where no colours are wanted."""
        return words.said(text) if self.colour or self.links else plain(visible(text))

    def place(self, finding: StageFinding) -> str:
        """Where a finding is, to be clicked on."""
        text = self.paint(words.where(finding), "cyan")
        if self.links is None or not finding.path:
            return text
        return self.links.to(text, finding.path, finding.line, finding.column)

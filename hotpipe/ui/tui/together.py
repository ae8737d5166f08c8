"""What all servers write, in the order in which it comes."""

from collections import deque

from hotpipe.events import ServerOutput
from hotpipe.ui.view import MOST_CHARACTERS, MOST_LINES


class Together:
    """Bounded as the output of each of them is; `lost` counts the lines before those that are kept."""

    def __init__(self) -> None:
        self.lines: deque[ServerOutput] = deque()
        self.lost = 0
        self._characters = 0

    def add(self, line: ServerOutput) -> None:
        self.lines.append(line)
        self._characters += len(line.text)
        while len(self.lines) > MOST_LINES or self._characters > MOST_CHARACTERS:
            self._characters -= len(self.lines.popleft().text)
            self.lost += 1

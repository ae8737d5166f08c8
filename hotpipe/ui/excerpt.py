"""The beginning and the end of what a stage wrote, in bounded memory, and a line of it as readable text."""

import re
from collections import deque
from collections.abc import Iterator
from itertools import chain, islice

from hotpipe.escapes import plain, visible
from hotpipe.ui import words

HEAD_LINES = 200
HEAD_CHARACTERS = 100_000
TAIL_LINES = 2_000
TAIL_CHARACTERS = 1_000_000

_NO_CHARACTERS = re.compile(r"[\ud800-\udfff\ufffe\uffff]")  # XML 1.0, section 2.2, has no place for them


def readable(line: str) -> str:
    """One line of text without escape sequences and control characters, valid in UTF-8 and in XML 1.0."""
    text = plain(visible(line)).replace("\n", "")
    return _NO_CHARACTERS.sub("\ufffd", text)


class Excerpt:
    """The first lines and the last ones; what lies between them is counted."""

    def __init__(self) -> None:
        self._head: list[str] = []
        self._head_room = HEAD_CHARACTERS
        self._tail: deque[str] = deque()
        self._tail_room = TAIL_CHARACTERS
        self._lost = 0

    def __bool__(self) -> bool:
        return bool(self._head or self._tail)

    def add(self, line: str) -> None:
        """Take the next line."""
        if not self._tail and len(self._head) < HEAD_LINES and len(line) <= self._head_room:
            self._head.append(line)
            self._head_room -= len(line)
            return
        self._tail.append(line)
        self._tail_room -= len(line)
        while len(self._tail) > TAIL_LINES or self._tail_room < 0:
            self._tail_room += len(self._tail.popleft())
            self._lost += 1

    def lines(self) -> Iterator[str]:
        """All that is left, as it was written."""
        yield from self._head
        if self._lost:
            yield f"({words.count(self._lost, 'line')} not shown)"
        yield from self._tail

    def last(self, lines: int, characters: int) -> list[str]:
        """The end of it, readable: at most so many lines, and of those as many as fit."""
        kept: list[str] = []
        for line in islice(chain(reversed(self._tail), reversed(self._head)), lines):
            text = readable(line)
            characters -= len(text) + 1
            if characters < 0:
                break
            kept.append(text)
        return kept[::-1]

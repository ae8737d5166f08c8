"""Python's tracebacks: unittest's, and the one that ends a program. Pure."""

import re
from collections.abc import Iterable, Iterator

from hotpipe.gate.dialect.base import NONE, Finding, Lines
from hotpipe.gate.dialect.case import FRAME, Case
from hotpipe.gate.dialect.places import Places


class Traceback:
    """unittest's failures; and the exception that ended a Python program."""

    _HEADER = re.compile(r"(?:FAIL|ERROR): (\S{1,400}) \(")
    _LINE_ABOVE = "=" * 70
    _FINAL = 10  # lines that may follow an exception that has ended the program

    def __init__(self, places: Places) -> None:
        self._places = places
        self._case: Case | None = None
        self._in_frames = False
        self._after = 0

    def wants(self, text: str) -> bool:
        return self._case is not None or '"' in text or text[:1] in {"F", "E"}

    def waits(self) -> bool:
        return self._case is not None

    def read(self, lines: Lines) -> Iterable[Finding] | None:
        text = lines.now
        if lines.before[0] == self._LINE_ABOVE and (header := self._HEADER.match(text)):
            found = self._closed()
            self._case = Case("unittest", header[1])
            return found
        if frame := FRAME.match(text):
            return self._frame(frame[1], int(frame[2]))
        return self._told_more(self._case, text) if self._case else None

    def left(self) -> Iterable[Finding]:
        return NONE

    def end(self) -> Iterable[Finding]:
        return self._closed()

    def last_words(self) -> Iterator[Finding]:
        if self._case and self._case.message:
            yield self._case.finding()

    def _closed(self) -> list[Finding]:
        """What a test runner told; an exception without a name waits for the end."""
        if self._case is None or not self._case.name:
            return []
        case, self._case = self._case, None
        return [case.finding()]

    def _frame(self, path: str, line: int) -> Iterable[Finding]:
        if self._case is None or (not self._in_frames and not self._case.name):
            self._case = Case("python", "")
        self._case.at(self._places, path, line)
        self._in_frames = True
        return NONE

    def _told_more(self, case: Case, text: str) -> Iterable[Finding] | None:
        self._after += 1
        if not case.name and self._after > self._FINAL:
            self._case = None  # the program lives on
            return None
        if text == self._LINE_ABOVE or (case.name and case.message and text[:20] == "-" * 20):
            return self._closed() or None
        if not self._in_frames or text[:1] in {"", " "}:
            return NONE if self._in_frames else None
        case.message, self._in_frames, self._after = text, False, 0
        return NONE

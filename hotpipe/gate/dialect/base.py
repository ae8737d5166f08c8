"""What all dialects share: a finding, the lines that are read, severities, codes at the end of a message. Pure.

Expressions are anchored and each part excludes the sign that ends it, so that none goes back and forth over a line.
"""

import re
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec

from hotpipe.events import Severity

NONE: Sequence["Finding"] = ()


class Finding(msgspec.Struct, frozen=True):
    """A place that a stage's output names; stage.finding of docs/events.md tells its fields."""

    tool: str
    severity: Severity
    path: str | None
    line: int | None
    column: int | None
    code: str | None
    message: str


class Lines:
    """The line that is read, and the three before it."""

    def __init__(self) -> None:
        self.now = ""
        self.before: deque[str] = deque(("", "", ""), maxlen=3)  # the newest first


class Dialect(Protocol):
    """One way of writing that takes more than a line."""

    def wants(self, text: str) -> bool:
        """Whether a look at this line can be of use; costs next to nothing."""

    def waits(self) -> bool:
        """Whether it needs to see every line that comes."""

    def read(self, lines: Lines) -> Iterable[Finding] | None:
        """What is complete with this line; None where the line is not this dialect's."""

    def left(self) -> Iterable[Finding]:
        """What is complete because the line was somebody else's."""

    def end(self) -> Iterable[Finding]:
        """What is complete because nothing more comes."""


SEVERITIES: dict[str, Severity] = {
    "fatal error": "error", "fatal": "error", "error": "error", "warning": "warning", "note": "note",
    "info": "note", "information": "note", "style": "note", "remark": "note", "hint": "note", "help": "note",
}  # fmt: skip

PLACE = re.compile(r"((?:[A-Za-z]:[\\/])?[^:\s][^:]{0,400}):(\d{1,7}):(?:(\d{1,6}):)?(?:\d{1,7}:\d{1,6}:)? (?=\S)")
RULE = re.compile(r"([A-Z]{1,10}[0-9]{1,5}|invalid-syntax)(:?) +(\[\*\] )?")
CODE = re.compile(r"\[(-?[A-Za-z][\w/.,=+-]{0,80})\]")
NAMED = re.compile(r"[^\x00-\x1f]*\.[A-Za-z][\w+-]{0,11}|(?:.*/)?[A-Z]?[A-Za-z]{0,20}file")


def severity(word: str) -> Severity:
    return SEVERITIES.get(word.lower(), "note")


def ending(message: str, opening: str, shape: re.Pattern[str]) -> tuple[str, str | None]:
    """A message and the code that ends it."""
    place = message.rfind(opening)
    if place > 0 and message[place - 1] == " " and (code := shape.fullmatch(message, place)):
        return message[:place], code[1]
    return message, None

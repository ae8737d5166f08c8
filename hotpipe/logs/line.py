"""Whose a log is, and a line of it: `2026-01-02T03:04:05.678Z 12 out text`.

The second word is the run, or the generation; the third is the stream, or `---` where hotpipe itself speaks.
"""

import os
import re
from collections.abc import Iterable
from typing import Literal, NamedTuple, cast

Kind = Literal["server", "stage"]
Mark = Literal["out", "err", "---"]
_FILE = re.compile(r"(server|stage)-([A-Za-z0-9._-]+)\.log(?:\.[0-9])?")
_LINE = re.compile(r"(\d{4}-\d\d-\d\dT\S+Z) (\d+) (out|err|---) (.*)", re.DOTALL)
_UNITS = {"stage": "run", "server": "generation"}


class Source(NamedTuple):
    """A stage or a server that has a log."""

    kind: Kind
    name: str

    @property
    def file(self) -> str:
        return f"{self.kind}-{self.name}.log"

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


class Line(NamedTuple):
    """A line of a log. `time` is UTC in RFC 3339, `number` that of the run or the generation."""

    time: str
    number: int
    mark: Mark
    text: str

    def written(self) -> bytes:
        line = f"{self.time} {self.number} {self.mark} {self.text}\n"
        return line.encode("utf-8", "backslashreplace")

    def shown(self, source: Source) -> str:
        """As it is read without the columns before it."""
        return f"--- {_UNITS[source.kind]} {self.number} {self.text}" if self.mark == "---" else self.text


def parsed(raw: bytes) -> Line:
    """A line as it stands in a file; one that hotpipe did not write is taken as it is."""
    text = raw.decode("utf-8", "replace")
    found = _LINE.fullmatch(text)
    if not found:
        return Line("", 0, "out", text)
    return Line(found[1], int(found[2]), cast(Mark, found[3]), found[4])


def sources(folder: str) -> list[Source]:
    """Whose logs there are, servers first."""
    try:
        files = os.listdir(folder)
    except OSError:
        return []
    return sorted({Source(cast(Kind, found[1]), found[2]) for found in _matches(files)})


def _matches(files: Iterable[str]) -> list[re.Match[str]]:
    return [found for file in files if (found := _FILE.fullmatch(file))]

"""Recognises findings in what a stage writes: one line after another, by the shapes that tools give them. Pure.

Invariant: a line costs a bounded time whatever is in it, and the findings of a stage a bounded space.

How it works: standard output and standard error have a `_Reading` each, which offers a line to one dialect after
another (`dialect/`); the first that knows the line has it. They keep what a later line needs; `end` asks them for what
they still hold. What has been found before is not told again.
"""

from collections.abc import Iterable, Iterator

from hotpipe.escapes import plain, visible
from hotpipe.events import Stream
from hotpipe.gate.dialect.base import Dialect, Finding, Lines
from hotpipe.gate.dialect.places import Places
from hotpipe.gate.dialect.pytests import Pytest
from hotpipe.gate.dialect.runners import GoTest, Panic
from hotpipe.gate.dialect.several import Arrow, Group, Typed
from hotpipe.gate.dialect.single import single
from hotpipe.gate.dialect.tracebacks import Traceback

__all__ = ["MOST", "Finder", "Finding"]

MOST = 1_000  # findings of one stage: nobody reads more, and memory stays flat
_WIDEST = 2_000  # characters of a line that are looked at
_LONGEST = 500  # characters of a message that are kept
_STYLED = _WIDEST * 3  # characters with colours and links still in


class Finder:
    """Finds what one stage's output names; a new one for each time that the stage runs."""

    def __init__(self, root: str, cwd: str) -> None:
        """`root` is the project's, absolute; `cwd` the stage's folder, relative to it."""
        places = Places(root, cwd)
        self._readings: dict[Stream, _Reading] = {"stdout": _Reading(places), "stderr": _Reading(places)}
        self._seen: set[Finding] = set()

    def add(self, stream: Stream, text: str) -> list[Finding]:
        """Take in one line, without its newline; the findings that are complete with it."""
        if len(self._seen) >= MOST:
            return []
        return self._new(self._readings[stream].line(text))

    def end(self) -> list[Finding]:
        """The stage has ended: what was still held back."""
        found = [finding for reading in self._readings.values() for finding in self._new(reading.end())]
        if not self._seen:  # an exception that ended the program, not one that it logged and lived with
            found += self._new(final for reading in self._readings.values() for final in reading.last_words())
        return found

    def _new(self, found: Iterable[Finding]) -> list[Finding]:
        fresh = []
        for finding in found:
            if finding not in self._seen and len(self._seen) < MOST:
                self._seen.add(finding)
                fresh.append(finding)
        return fresh


_BEGINNINGS = ("==", "--", "FAIL", "ERROR", "panic: ", "thread '", "vet: ")


def _is_promising(text: str) -> bool:
    """Whether a line can be, or begin, anything at all; most lines of most logs cannot."""
    colon = text.find(":")
    if colon >= 0 and text[colon + 1 : colon + 2].isdigit():
        before = text[:colon]
        return "." in before or before.endswith("file") or (text[0] == " " and before.strip().isdigit())
    if text[:1] in {" ", "\t"}:
        return 'File "' in text or "--- " in text
    return (colon >= 0 and ("): " in text or ", col " in text)) or text.startswith(_BEGINNINGS) or text[1:3] == ":\\"


class _Reading:
    """One stream, read from its first line to its last."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._traceback = Traceback(places)
        self._dialects: tuple[Dialect, ...] = (
            Pytest(places), self._traceback, GoTest(places), Panic(), Arrow(), Group(), Typed(),
        )  # fmt: skip
        self._lines = Lines()
        self._attentive = False  # a dialect waits for more

    def line(self, text: str) -> Iterable[Finding]:
        if not text.isprintable():  # a finding goes to terminals, of `hotpipe wait` for one, and to pages
            text = plain(visible(text[:_STYLED]))
        text = text[:_WIDEST].rstrip()
        found: list[Finding] = []
        if self._attentive or _is_promising(text):
            self._lines.now = text
            found = self._understood(self._lines)
            self._attentive = any(dialect.waits() for dialect in self._dialects)
        self._lines.before.appendleft(text)
        return map(self._placed, found) if found else ()

    def _understood(self, lines: Lines) -> list[Finding]:
        found: list[Finding] = []
        for dialect in self._dialects:
            if dialect.wants(lines.now):
                more = dialect.read(lines)
                if more is not None:
                    found += more
                    return found
                found += dialect.left()
        if one := single(lines.now):
            found.append(one)
        return found

    def end(self) -> Iterator[Finding]:
        for dialect in self._dialects:
            yield from map(self._placed, dialect.end())

    def last_words(self) -> Iterator[Finding]:
        yield from map(self._placed, self._traceback.last_words())

    def _placed(self, finding: Finding) -> Finding:
        path = self._places.relative(finding.path) if finding.path else None
        return Finding(
            tool=finding.tool,
            severity=finding.severity,
            path=path,
            line=finding.line or None,
            column=finding.column or None,  # pylint counts them from 0
            code=finding.code or None,
            message=finding.message.strip()[:_LONGEST],
        )

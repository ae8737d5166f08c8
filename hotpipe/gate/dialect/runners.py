"""The reports of go test and cargo test. Pure."""

import re
from collections.abc import Iterable

from hotpipe.gate.dialect.base import NONE, Finding, Lines
from hotpipe.gate.dialect.places import Places


class GoTest:
    """go test: what a test logged is told if the test has failed; and panics."""

    _RESULT = re.compile(r" *--- (FAIL|PASS|SKIP): (\S{1,400})")
    _RUN = re.compile(r"=== (?:RUN|CONT|NAME|PAUSE) +(\S{1,400})")
    _SAID = re.compile(r"\s+([^:\s]{1,400}\.go):(\d{1,7}): (.+)")
    _STACK = re.compile(r"\t([^:\s][^:]{0,400}\.go):(\d{1,7})(?: \+0x[0-9a-f]+)?$")
    _MOST_HELD = 1_000

    def __init__(self, places: Places) -> None:
        self._places = places
        self._test = ""
        self._failed = False
        self._held: dict[str, list[Finding]] = {}  # of tests that are still running, with -v
        self._holds = 0  # all in all
        self._panic = ""

    def wants(self, text: str) -> bool:
        if text[:1] in {" ", "\t"}:
            return bool(self._test or self._panic) or "--- " in text
        return text[:4] in {"--- ", "=== ", "pani", "FAIL", "ok  "}

    def waits(self) -> bool:
        return bool(self._test or self._panic or self._held)

    def read(self, lines: Lines) -> Iterable[Finding] | None:
        text = lines.now
        if result := self._RESULT.match(text):
            return self._ended(result[2], result[1])
        if text.startswith("=== ") and (run := self._RUN.match(text)):
            self._test, self._failed = run[1], False
            return NONE
        if text.startswith("panic: "):
            self._panic = text
            return NONE
        if text.startswith(("FAIL", "ok  ")):  # the package's verdict
            self._test = self._panic = ""
            self._held.clear()
            self._holds = 0
            return None
        return self._stack(text) if self._panic else self._said(text)

    def left(self) -> Iterable[Finding]:
        return NONE

    end = left

    def _ended(self, test: str, how: str) -> Iterable[Finding]:
        self._test, self._failed = test, how == "FAIL"
        held = self._held.pop(test, [])
        self._holds -= len(held)
        return held if self._failed else NONE

    def _said(self, text: str) -> Iterable[Finding] | None:
        said = self._SAID.match(text)
        if not said:
            return None
        found = Finding("go", "error", said[1], int(said[2]), None, None, f"{self._test}: {said[3]}")
        if self._failed:
            return [found]
        if self._holds < self._MOST_HELD:
            self._held.setdefault(self._test, []).append(found)
            self._holds += 1
        return NONE

    def _stack(self, text: str) -> Iterable[Finding] | None:
        place = self._STACK.match(text)
        if not place or not self._places.own(place[1]):
            return None
        panic, self._panic = self._panic, ""
        return [Finding("go", "error", place[1], int(place[2]), None, None, panic)]


class Panic:
    """cargo test: a thread that panicked, and its reason in the line below."""

    _AT = re.compile(r"thread '([^']{1,300})' (?:\(\d+\) )?panicked at ([^:]{1,400}):(\d{1,7}):(\d{1,6}):$")
    _QUOTED = re.compile(r"thread '([^']{1,300})' panicked at '(.*)', ([^:]{1,400}):(\d{1,7}):(\d{1,6})$")

    def __init__(self) -> None:
        self._held: Finding | None = None

    def wants(self, text: str) -> bool:
        return self._held is not None or text[:8] == "thread '"

    def waits(self) -> bool:
        return self._held is not None

    def read(self, lines: Lines) -> Iterable[Finding] | None:
        text = lines.now
        if held := self._held:
            self._held = None
            return [_panicked(held.message, text, held.path, (held.line, held.column))]
        if at := self._AT.match(text):
            self._held = _panicked(at[1], "", at[2], (int(at[3]), int(at[4])))
            return NONE
        if old := self._QUOTED.match(text):  # before Rust 1.73
            return [_panicked(old[1], old[2], old[3], (int(old[4]), int(old[5])))]
        return None

    def left(self) -> Iterable[Finding]:
        return NONE

    def end(self) -> Iterable[Finding]:
        held, self._held = self._held, None
        return [held] if held else NONE


def _panicked(thread: str, reason: str, path: str | None, place: tuple[int | None, int | None]) -> Finding:
    return Finding("cargo", "error", path, *place, None, f"{thread}: {reason}" if reason else thread)

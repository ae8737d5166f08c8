"""pytest's reports and its summary, however long or short they are made (--tb, -q, -ra). Pure."""

import re
from collections import Counter
from collections.abc import Iterable

import msgspec

from hotpipe.gate.dialect.base import NONE, Finding, Lines
from hotpipe.gate.dialect.case import FRAME, Case
from hotpipe.gate.dialect.places import Places

_PLACE = re.compile(r"((?:[A-Za-z]:[\\/])?[^:\s][^:]{0,400}):(\d{1,7}):(?: (.*))?$")
_SECTIONS = {
    "ERRORS": "failures",
    "FAILURES": "failures",
    "warnings summary": "warnings",
    "short test summary info": "summary",
}


class Pytest:
    """pytest's sections ERRORS, FAILURES, warnings, and its summary for what those did not tell."""

    _TITLE = re.compile(r"={2,}\s(.{1,200}?)\s={2,}$")
    _NAME = re.compile(r"_+ (?!_ )(.{1,500}) _+$")
    _CAPTURED = re.compile(r"-+ Captured .{1,100} -+$")
    _VERDICT = re.compile(r"\d+ (?:failed|passed|errors?|skipped|warnings?|deselected)\b.{0,200} in \d")
    _SUMMARY = re.compile(r"(?:FAILED|ERROR) ([^:]{1,400}?)(?:::(.+?))?(?: - (.*))?$")
    _WARNING = re.compile(r"  ([^:\s][^:]{0,400}):(\d{1,7}): (\w{0,80}Warning): (.+)")
    _RAISED = re.compile(r"[\w.]{1,200}(?:Error|Exception|Exit|Interrupt|Failed|Warning)\b")
    _MOST_TOLD = 2_000

    def __init__(self, places: Places) -> None:
        self._places = places
        self._section: str | None = None
        self._case: Case | None = None
        self._told: set[str] = set()  # names of tests, paths of modules
        self._nowhere: dict[str, Finding] = {}  # told without a place; the summary names at least the file
        self._loose: Counter[str] = Counter()  # reasons told without a name, as by --tb=line
        self._captured = self._in_reason = False

    def wants(self, text: str) -> bool:
        return self._section is not None or text[:2] == "=="

    def waits(self) -> bool:
        return self._section is not None

    def read(self, lines: Lines) -> Iterable[Finding] | None:
        text = lines.now
        if text[:2] == "==" and (title := self._TITLE.match(text)):
            return self._titled(title[1])
        match self._section:
            case "failures" if self._VERDICT.match(text):
                return self._titled("")
            case "failures":
                return self._failure(text)
            case "warnings":
                return self._warning(text)
            case "summary" if text.startswith(("FAILED ", "ERROR ")):
                return self._summed_up(text)
            case _:
                return None

    def left(self) -> Iterable[Finding]:
        return NONE

    def end(self) -> Iterable[Finding]:
        return [*self._closed(), *self._nowhere.values()]

    def _titled(self, title: str) -> Iterable[Finding]:
        found = self._closed()
        self._section = _SECTIONS.get(title)
        return found

    def _closed(self) -> list[Finding]:
        case, self._case = self._case, None
        self._captured = self._in_reason = False
        if case is None:
            return []
        if case.path is None and len(self._nowhere) < self._MOST_TOLD:
            self._nowhere[case.name] = case.finding()
            return []
        if len(self._told) < self._MOST_TOLD:
            self._told.add(case.name)
        return [case.finding()]

    def _failure(self, text: str) -> Iterable[Finding]:
        if text[:1] == "_" and (name := self._NAME.match(text)):
            found = self._closed()
            self._case = self._opened(name[1])
            return found
        if self._case is None:
            return self._without_case(text)
        self._captured = self._captured or self._CAPTURED.match(text) is not None
        if not self._captured:
            self._told_more(self._case, text)
        return NONE

    def _opened(self, title: str) -> Case:
        if title.startswith("ERROR collecting "):
            path = title.removeprefix("ERROR collecting ")
            return Case("pytest", path, path)
        return Case("pytest", re.sub(r"^ERROR at (?:setup|teardown) of ", "", title))

    def _told_more(self, case: Case, text: str) -> None:
        if text[:2] in {"E", "E "}:
            self._reason(case, text[2:])
            return
        was_reason, self._in_reason = self._in_reason, False
        if place := FRAME.match(text) or (_PLACE.match(text) if text[:1].strip() else None):
            case.at(self._places, place[1], int(place[2]))
        elif not was_reason and not case.message and self._RAISED.match(text):  # --tb=native
            case.message = text

    def _reason(self, case: Case, text: str) -> None:
        """The first line of the last reason: those before it are what it was caused by."""
        if frame := FRAME.match(text):  # of a syntax error, whose reason comes last
            case.at(self._places, frame[1], int(frame[2]))
            case.message = ""
        elif not self._in_reason or (not case.message and self._RAISED.match(text.strip())):
            case.message = text.strip()
        self._in_reason = True

    def _without_case(self, text: str) -> Iterable[Finding]:
        place = _PLACE.match(text)
        if not place or not place[3] or not self._places.own(place[1]):
            return NONE
        if len(self._loose) < self._MOST_TOLD:
            self._loose[place[3]] += 1
        return [Finding("pytest", "error", place[1], int(place[2]), None, None, place[3])]

    def _warning(self, text: str) -> Iterable[Finding] | None:
        said = self._WARNING.match(text)
        if not said or not self._places.own(said[1]):
            return NONE
        return [Finding("pytest", "warning", said[1], int(said[2]), None, said[3], said[4])]

    def _summed_up(self, text: str) -> Iterable[Finding] | None:
        said = self._SUMMARY.match(text)
        if not said:
            return None
        path, rest = said[1], text[said.end(1) :]
        name, reason = _name_and_reason(rest.removeprefix("::")) if rest.startswith("::") else ("", said[3] or "")
        name = name.replace("::", ".") or path
        if nowhere := self._nowhere.pop(name, None):
            return [msgspec.structs.replace(nowhere, path=path)]
        if name in self._told or self._was_loose(reason):
            return NONE
        return [Finding("pytest", "error", path, None, None, None, f"{name}: {reason or 'failed'}")]

    def _was_loose(self, reason: str) -> bool:
        start = reason.removesuffix("...")
        for said, times in self._loose.items():
            if times and (said == reason or (start != reason and said.startswith(start))):
                self._loose[said] -= 1
                return True
        return False


def _name_and_reason(text: str) -> tuple[str, str]:
    """A test's name may itself have ` - ` in its brackets."""
    bracket, dash = text.find("["), text.find(" - ")
    if 0 <= bracket < dash and (close := text.find("] - ", bracket)) >= 0:
        dash = close + 1
    return (text[:dash], text[dash + 3 :]) if dash >= 0 else (text, "")

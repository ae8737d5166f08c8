"""How test runners tell of a failure: many lines, of which one names the test, some places, one the reason. Pure."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator

import msgspec

from hotpipe.gate.dialects import NONE, Finding, Lines
from hotpipe.gate.places import Places

_FRAME = re.compile(r' +File "([^"]{1,400})", line (\d{1,7})')
_PLACE = re.compile(r"((?:[A-Za-z]:[\\/])?[^:\s][^:]{0,400}):(\d{1,7}):(?: (.*))?$")


class _Case:
    """One failure, as far as it has been told."""

    def __init__(self, tool: str, name: str, path: str | None = None) -> None:
        self.tool, self.name, self.path = tool, name, path
        self.line: int | None = None
        self.message = ""
        self._is_own = False

    def at(self, places: Places, path: str, line: int) -> None:
        """A frame: of those in the project the last is where one looks first."""
        own = places.own(path)
        if own or not self._is_own:
            if own or self.path is None:
                self.path, self.line = path, line
            self._is_own = own

    def finding(self) -> Finding:
        about = f"{self.name}: " if self.name else ""
        return Finding(self.tool, "error", self.path, self.line, None, None, f"{about}{self.message or 'failed'}")


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
        self._case: _Case | None = None
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

    def _opened(self, title: str) -> _Case:
        if title.startswith("ERROR collecting "):
            path = title.removeprefix("ERROR collecting ")
            return _Case("pytest", path, path)
        return _Case("pytest", re.sub(r"^ERROR at (?:setup|teardown) of ", "", title))

    def _told_more(self, case: _Case, text: str) -> None:
        if text[:2] in {"E", "E "}:
            self._reason(case, text[2:])
            return
        was_reason, self._in_reason = self._in_reason, False
        if place := _FRAME.match(text) or (_PLACE.match(text) if text[:1].strip() else None):
            case.at(self._places, place[1], int(place[2]))
        elif not was_reason and not case.message and self._RAISED.match(text):  # --tb=native
            case.message = text

    def _reason(self, case: _Case, text: str) -> None:
        """The first line of the last reason: those before it are what it was caused by."""
        if frame := _FRAME.match(text):  # of a syntax error, whose reason comes last
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


class Traceback:
    """unittest's failures; and the exception that ended a Python program."""

    _HEADER = re.compile(r"(?:FAIL|ERROR): (\S{1,400}) \(")
    _LINE_ABOVE = "=" * 70
    _FINAL = 10  # lines that may follow an exception that has ended the program

    def __init__(self, places: Places) -> None:
        self._places = places
        self._case: _Case | None = None
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
            self._case = _Case("unittest", header[1])
            return found
        if frame := _FRAME.match(text):
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
            self._case = _Case("python", "")
        self._case.at(self._places, path, line)
        self._in_frames = True
        return NONE

    def _told_more(self, case: _Case, text: str) -> Iterable[Finding] | None:
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
            return None
        return self._stack(text) if self._panic else self._said(text)

    def left(self) -> Iterable[Finding]:
        return NONE

    end = left

    def _ended(self, test: str, how: str) -> Iterable[Finding]:
        self._test, self._failed = test, how == "FAIL"
        held = self._held.pop(test, [])
        return held if self._failed else NONE

    def _said(self, text: str) -> Iterable[Finding] | None:
        said = self._SAID.match(text)
        if not said:
            return None
        found = Finding("go", "error", said[1], int(said[2]), None, None, f"{self._test}: {said[3]}")
        if self._failed:
            return [found]
        held = self._held.setdefault(self._test, [])
        if len(held) < self._MOST_HELD and len(self._held) < self._MOST_HELD:
            held.append(found)
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

"""How tools write a place in code and what is wrong there: one line, or a few that belong together. Pure.

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


_SEVERITIES: dict[str, Severity] = {
    "fatal error": "error", "fatal": "error", "error": "error", "warning": "warning", "note": "note",
    "info": "note", "information": "note", "style": "note", "remark": "note", "hint": "note", "help": "note",
}  # fmt: skip
_WORDS = "|".join(_SEVERITIES)
_PLACE = re.compile(r"((?:[A-Za-z]:[\\/])?[^:\s][^:]{0,400}):(\d{1,7}):(?:(\d{1,6}):)?(?:\d{1,7}:\d{1,6}:)? (?=\S)")
_SAID = re.compile(rf"({_WORDS})(?:\[([\w:/-]{{1,80}})\]:?|:) +", re.IGNORECASE)
_RULE = re.compile(r"([A-Z]{1,10}[0-9]{1,5}|invalid-syntax)(:?) +(\[\*\] )?")
_CODE = re.compile(r"\[(-?[A-Za-z][\w/.,=+-]{0,80})\]")
_ESLINT = re.compile(r"\[(Error|Warning)(?:/([^\]\s]{1,100}))?\]")


def single(text: str) -> Finding | None:
    """What one line says by itself: tsc, eslint's compact, and everything of the form `file:line:column: message`."""
    if "(" in text and (found := _typescript(text) or _compact(text)):
        return found
    return _plain(text.removeprefix("vet: ")) or _pretty_typescript(text)


_TSC = re.compile(r"\((\d{1,7}),(\d{1,6})\): (error|warning|message) (TS\d{1,6}): ")


def _typescript(text: str) -> Finding | None:
    place = _TSC.search(text)
    if not place or not place.start():
        return None
    line, column, severity, code = place.groups()
    return Finding("tsc", _severity(severity), text[: place.start()], int(line), int(column), code, text[place.end() :])


_TSC_PRETTY = re.compile(r"([^:\s][^:]{0,400}):(\d{1,7}):(\d{1,6}) - (error|warning|message) (TS\d{1,6}): ")


def _pretty_typescript(text: str) -> Finding | None:
    place = _TSC_PRETTY.match(text)
    if not place:
        return None
    return Finding("tsc", _severity(place[4]), place[1], int(place[2]), int(place[3]), place[5], text[place.end() :])


_COMPACT = re.compile(r"([^:\s][^:]{0,400}): line (\d{1,7}), col (\d{1,6}), (Error|Warning) - ")
_IN_BRACKETS = re.compile(r"\(([\w@/.-]{1,100})\)")


def _compact(text: str) -> Finding | None:
    place = _COMPACT.match(text)
    if not place:
        return None
    message, code = _ending(text[place.end() :], "(", _IN_BRACKETS)
    return Finding("eslint", _severity(place[4]), place[1], int(place[2]), int(place[3]), code, message)


def _plain(text: str) -> Finding | None:
    place = _PLACE.match(text)
    if not place:
        return None
    path, line, column = place[1], int(place[2]), int(place[3]) if place[3] else None
    rest = text[place.end() :]
    said = _SAID.match(rest)
    if not _is_file(path, sure=bool(said and column)) or _FRAME.fullmatch(rest):
        return None
    if said:
        return _with_severity(Finding("plain", _severity(said[1]), path, line, column, said[2], rest[said.end() :]))
    return _without_severity(Finding("plain", "error", path, line, column, None, rest))


def _with_severity(found: Finding) -> Finding:
    """mypy, rustc's short form, gcc, shellcheck."""
    message, code = (found.message, found.code) if found.code else _ending(found.message, "[", _CODE)
    tool = "cargo" if (found.path or "").endswith(".rs") else "go" if (found.path or "").endswith(".go") else "plain"
    return Finding(tool, found.severity, found.path, found.line, found.column, code, message)


def _without_severity(found: Finding) -> Finding:
    """ruff's concise form, flake8, pylint, eslint's unix form, go, Python's warnings."""
    path, line, column, message = found.path or "", found.line, found.column, found.message
    if rule := _RULE.match(message):
        rest = message[rule.end() :]
        tool = "ruff" if _is_ruff(rule, rest) else "plain"
        return Finding(tool, "error", path, line, column, rule[1], rest)
    if message.endswith("]") and (eslint := _ESLINT.match(message, message.rfind("["))):
        return Finding("eslint", _severity(eslint[1]), path, line, column, eslint[2], message[: eslint.start()])
    if path.endswith(".go"):
        return Finding("go", "error", path, line, column, None, message)
    if warning := _PYTHON_WARNING.match(message):
        return Finding("python", "warning", path, line, column, warning[1], message[warning.end() :])
    return found


def _is_ruff(rule: re.Match[str], message: str) -> bool:
    """What ruff says begins like a sentence, what pycodestyle and pyflakes say does not; pylint has a colon."""
    return rule[1] == "invalid-syntax" or (
        not rule[2] and rule[1] != "E999" and (message[:1] == "`" or message[:1].isupper())
    )


_FRAME = re.compile(r"in [\w.<>]{1,200}")  # a traceback's, as pytest writes it
_PYTHON_WARNING = re.compile(r"([A-Z]\w{0,80}Warning): ")
_NAMED = re.compile(r"[^\x00-\x1f]*\.[A-Za-z][\w+-]{0,11}|(?:.*/)?[A-Z]?[A-Za-z]{0,20}file")
_HOSTS = frozenset(
    {"com", "net", "org", "io", "dev", "local", "localhost", "internal", "lan", "test", "example", "svc"}
)


def _is_file(path: str, *, sure: bool) -> bool:
    """Whether this is a file's name rather than a time, a host or a sentence; `sure`: the rest of the line says so."""
    if "://" in path or not _NAMED.fullmatch(path):
        return False
    if "/" in path or "\\" in path:
        return sure or (" " not in path and not path.startswith("//"))
    if path.rpartition(".")[2].lower() in _HOSTS or "@" in path:
        return False
    return sure or not any(sign in path for sign in " \t[](){}<>\"'=,;")


def _severity(word: str) -> Severity:
    return _SEVERITIES.get(word.lower(), "note")


def _ending(message: str, opening: str, shape: re.Pattern[str]) -> tuple[str, str | None]:
    """A message and the code that ends it."""
    place = message.rfind(opening)
    if place > 0 and message[place - 1] == " " and (code := shape.fullmatch(message, place)):
        return message[:place], code[1]
    return message, None


class Arrow:
    """rustc, clippy and ruff: what is wrong stands above, `  --> file:line:column` below."""

    _PLACE = re.compile(r" *--> ([^:\s][^:]{0,400}):(\d{1,7}):(\d{1,6})$")
    _RUST = re.compile(r"(error|warning)(?:\[([\w:]{1,40})\])?: (.+)")
    _RUFF = re.compile(r"([A-Z]{1,10}[0-9]{1,5}|[a-z]{2,20}(?:-[a-z]{1,20}){1,8}):? (?:\[\*\] )?(.+)")

    def wants(self, text: str) -> bool:
        return "--> " in text

    def waits(self) -> bool:
        return False

    def read(self, lines: Lines) -> Iterable[Finding] | None:
        place = self._PLACE.match(lines.now)
        if not place:
            return None
        where = place[1], int(place[2]), int(place[3])
        for above in lines.before:  # a message may take more than a line
            if rust := self._RUST.match(above):
                return [Finding("cargo", _severity(rust[1]), *where, rust[2], rust[3])]
            if ruff := self._RUFF.match(above):
                return [Finding("ruff", "error", *where, ruff[1], ruff[2])]
            if above.startswith(("note:", "help:", " ")) or not above:  # more of what was told already
                break
        return NONE

    def left(self) -> Iterable[Finding]:
        return NONE

    end = left


class Group:
    """eslint and ruff's grouped form: a line with the file, below it indented lines with places in it."""

    _ITEM = re.compile(r" +(\d{1,7}):(\d{1,6}) +(?=\S)")
    _LEVEL = re.compile(r"(error|warning) +(?=\S)")
    _LAST = re.compile(r" {2}([\w@/.-]{1,100})")

    def __init__(self) -> None:
        self._path: str | None = None
        self._above = ""  # the last line of the group so far

    def wants(self, text: str) -> bool:
        return text[:2] == "  " and ":" in text

    def waits(self) -> bool:
        return False

    def read(self, lines: Lines) -> Iterable[Finding] | None:
        item = self._ITEM.match(lines.now)
        if not item:
            return None
        if not self._path or lines.before[0] is not self._above:
            self._path = _header(lines.before[0])
        if not self._path:
            return None
        self._above = lines.now
        rest = lines.now[item.end() :]
        if level := self._LEVEL.match(rest):
            message, code = _last_column(rest[level.end() :])
            return [Finding("eslint", _severity(level[1]), self._path, int(item[1]), int(item[2]), code, message)]
        if rule := _RULE.match(rest):
            message = rest[rule.end() :]
            return [Finding("ruff", "error", self._path, int(item[1]), int(item[2]), rule[1], message)]
        return None

    def left(self) -> Iterable[Finding]:
        return NONE

    end = left


def _header(text: str) -> str | None:
    """The file that a line names, if that is all that it does."""
    path = text.removesuffix(":")
    return path if path[:1].strip() and (":" not in path[2:]) and _NAMED.fullmatch(path) else None


def _last_column(text: str) -> tuple[str, str | None]:
    """eslint's message and rule: two spaces or more stand between."""
    message, between, rule = text.rpartition("  ")
    return (message, rule) if between and " " not in rule else (text, None)


class Typed:
    """mypy and pyright: a message that goes on in the lines below, with its code at the very end."""

    _MYPY = re.compile(
        r"((?:[A-Za-z]:[\\/])?[^:\s][^:]{0,400}\.pyi?):(\d{1,7}):(?:(\d{1,6}):)?(?:\d{1,7}:\d{1,6}:)? "
        r"(error|warning|note): "
    )
    _PYRIGHT = re.compile(
        r" +((?:[A-Za-z]:[\\/])?[^:\s][^:]{0,400}):(\d{1,7}):(\d{1,6}) - (error|warning|information): "
    )
    _REPORT = re.compile(r"\((report\w{1,60})\)")
    _MOST_MORE = 8  # lines that a message may take
    _NARROWEST = 78  # mypy --pretty breaks a line only where the next word would not fit

    def __init__(self) -> None:
        self._held: Finding | None = None
        self._more = 0
        self._width = 0  # of the last line

    def wants(self, text: str) -> bool:
        return self._held is not None or ": " in text

    def waits(self) -> bool:
        return self._held is not None

    def read(self, lines: Lines) -> Iterable[Finding] | None:
        text = lines.now
        before = self._held
        if place := self._MYPY.match(text):
            return self._begun("mypy", place, _ending(text[place.end() :], "[", _CODE), before)
        if place := self._PYRIGHT.match(text):
            return self._begun("pyright", place, _ending(text[place.end() :], "(", self._REPORT), before)
        return self._goes_on(before, text) if before else None

    def left(self) -> Iterable[Finding]:
        held, self._held = self._held, None
        return [held] if held else NONE

    end = left

    def _begun(
        self, tool: str, place: re.Match[str], said: tuple[str, str | None], before: Finding | None
    ) -> list[Finding]:
        column = int(place[3]) if place[3] else None
        found = Finding(tool, _severity(place[4]), place[1], int(place[2]), column, said[1], said[0])
        self._held, self._more, self._width = (None if found.code else found), 0, len(place.string)
        return [each for each in (before, found if found.code else None) if each]

    def _goes_on(self, held: Finding, text: str) -> Iterable[Finding] | None:
        self._more += 1
        if held.tool == "pyright":
            if text[:4].strip() or self._more > self._MOST_MORE:
                return None
            _, code = _ending(text, "(", self._REPORT)
            return self._completed(msgspec.structs.replace(held, code=code)) if code else NONE
        was_full = self._width + 1 + len(text.partition(" ")[0]) >= self._NARROWEST
        if not was_full or not text or text[0] == " " or self._more > self._MOST_MORE or _PLACE.match(text):
            return None
        self._width = len(text)
        message, code = _ending(f"{held.message.rstrip()} {text}", "[", _CODE)
        self._held = msgspec.structs.replace(held, message=message, code=code)
        return self._completed(self._held) if code else NONE

    def _completed(self, found: Finding) -> list[Finding]:
        self._held = None
        return [found]

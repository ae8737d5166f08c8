"""What takes a few lines that belong together: rustc and ruff, eslint, mypy and pyright. Pure."""

import re
from collections.abc import Iterable

import msgspec

from hotpipe.gate.dialect.base import CODE, NAMED, NONE, PLACE, RULE, Finding, Lines, ending, severity


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
                return [Finding("cargo", severity(rust[1]), *where, rust[2], rust[3])]
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
            return [Finding("eslint", severity(level[1]), self._path, int(item[1]), int(item[2]), code, message)]
        if rule := RULE.match(rest):
            message = rest[rule.end() :]
            return [Finding("ruff", "error", self._path, int(item[1]), int(item[2]), rule[1], message)]
        return None

    def left(self) -> Iterable[Finding]:
        return NONE

    end = left


def _header(text: str) -> str | None:
    """The file that a line names, if that is all that it does."""
    path = text.removesuffix(":")
    return path if path[:1].strip() and (":" not in path[2:]) and NAMED.fullmatch(path) else None


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
            return self._begun("mypy", place, ending(text[place.end() :], "[", CODE), before)
        if place := self._PYRIGHT.match(text):
            return self._begun("pyright", place, ending(text[place.end() :], "(", self._REPORT), before)
        return self._goes_on(before, text) if before else None

    def left(self) -> Iterable[Finding]:
        held, self._held = self._held, None
        return [held] if held else NONE

    end = left

    def _begun(
        self, tool: str, place: re.Match[str], said: tuple[str, str | None], before: Finding | None
    ) -> list[Finding]:
        column = int(place[3]) if place[3] else None
        found = Finding(tool, severity(place[4]), place[1], int(place[2]), column, said[1], said[0])
        self._held, self._more, self._width = (None if found.code else found), 0, len(place.string)
        return [each for each in (before, found if found.code else None) if each]

    def _goes_on(self, held: Finding, text: str) -> Iterable[Finding] | None:
        self._more += 1
        if held.tool == "pyright":
            if text[:4].strip() or self._more > self._MOST_MORE:
                return None
            _, code = ending(text, "(", self._REPORT)
            return self._completed(msgspec.structs.replace(held, code=code)) if code else NONE
        was_full = self._width + 1 + len(text.partition(" ")[0]) >= self._NARROWEST
        if not was_full or not text or text[0] == " " or self._more > self._MOST_MORE or PLACE.match(text):
            return None
        self._width = len(text)
        message, code = ending(f"{held.message.rstrip()} {text}", "[", CODE)
        self._held = msgspec.structs.replace(held, message=message, code=code)
        return self._completed(self._held) if code else NONE

    def _completed(self, found: Finding) -> list[Finding]:
        self._held = None
        return [found]

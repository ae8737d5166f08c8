"""What one line says by itself: tsc, eslint, ruff, go, gcc and all that write `file:line:column: message`. Pure."""

import re

from hotpipe.gate.dialect.base import CODE, NAMED, PLACE, RULE, SEVERITIES, Finding, ending, severity

_WORDS = "|".join(SEVERITIES)
_SAID = re.compile(rf"({_WORDS})(?:\[([\w:/-]{{1,80}})\]:?|:) +", re.IGNORECASE)
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
    line, column, level, code = place.groups()
    return Finding("tsc", severity(level), text[: place.start()], int(line), int(column), code, text[place.end() :])


_TSC_PRETTY = re.compile(r"([^:\s][^:]{0,400}):(\d{1,7}):(\d{1,6}) - (error|warning|message) (TS\d{1,6}): ")


def _pretty_typescript(text: str) -> Finding | None:
    place = _TSC_PRETTY.match(text)
    if not place:
        return None
    return Finding("tsc", severity(place[4]), place[1], int(place[2]), int(place[3]), place[5], text[place.end() :])


_COMPACT = re.compile(r"([^:\s][^:]{0,400}): line (\d{1,7}), col (\d{1,6}), (Error|Warning) - ")
_IN_BRACKETS = re.compile(r"\(([\w@/.-]{1,100})\)")


def _compact(text: str) -> Finding | None:
    place = _COMPACT.match(text)
    if not place:
        return None
    message, code = ending(text[place.end() :], "(", _IN_BRACKETS)
    return Finding("eslint", severity(place[4]), place[1], int(place[2]), int(place[3]), code, message)


def _plain(text: str) -> Finding | None:
    place = PLACE.match(text)
    if not place:
        return None
    path, line, column = place[1], int(place[2]), int(place[3]) if place[3] else None
    rest = text[place.end() :]
    said = _SAID.match(rest)
    if not _is_file(path, sure=bool(said and column)) or _FRAME.fullmatch(rest):
        return None
    if said:
        return _with_severity(Finding("plain", severity(said[1]), path, line, column, said[2], rest[said.end() :]))
    return _without_severity(Finding("plain", "error", path, line, column, None, rest))


def _with_severity(found: Finding) -> Finding:
    """mypy, rustc's short form, gcc, shellcheck."""
    message, code = (found.message, found.code) if found.code else ending(found.message, "[", CODE)
    tool = "cargo" if (found.path or "").endswith(".rs") else "go" if (found.path or "").endswith(".go") else "plain"
    return Finding(tool, found.severity, found.path, found.line, found.column, code, message)


def _without_severity(found: Finding) -> Finding:
    """ruff's concise form, flake8, pylint, eslint's unix form, go, Python's warnings."""
    path, line, column, message = found.path or "", found.line, found.column, found.message
    if rule := RULE.match(message):
        rest = message[rule.end() :]
        tool = "ruff" if _is_ruff(rule, rest) else "plain"
        return Finding(tool, "error", path, line, column, rule[1], rest)
    if message.endswith("]") and (eslint := _ESLINT.match(message, message.rfind("["))):
        return Finding("eslint", severity(eslint[1]), path, line, column, eslint[2], message[: eslint.start()])
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
_HOSTS = frozenset(
    {"com", "net", "org", "io", "dev", "local", "localhost", "internal", "lan", "test", "example", "svc"}
)


def _is_file(path: str, *, sure: bool) -> bool:
    """Whether this is a file's name rather than a time, a host or a sentence; `sure`: the rest of the line says so."""
    if "://" in path or not NAMED.fullmatch(path):
        return False
    if "/" in path or "\\" in path:
        return sure or (" " not in path and not path.startswith("//"))
    if path.rpartition(".")[2].lower() in _HOSTS or "@" in path:
        return False
    return sure or not any(sign in path for sign in " \t[](){}<>\"'=,;")

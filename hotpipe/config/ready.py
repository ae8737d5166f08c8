"""Readiness as the configuration writes it, and the durations in which it is measured.

What `written` gives, `of` reads back as the same.
"""

import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from hotpipe.config.listen import KeyPath, WrongPartsError, nearest

_UNITS = {"ms": Decimal("0.001"), "s": Decimal(1), "m": Decimal(60), "h": Decimal(3600)}
_DURATION = re.compile(r"([0-9]{1,24}(?:\.[0-9]{1,24})?)(ms|s|m|h)")
_PATH = re.compile(r"/[!-~]*")  # what a request line can hold, RFC 9112
_LOWEST_STATUS, _HIGHEST_STATUS = 100, 599
_TABLES = {"http": '{ http = "/healthz" }', "log": '{ log = "regex" }', "after": '{ after = "2s" }'}
_FORMS = f'"auto", "notify", {_TABLES["http"]}, {_TABLES["log"]} or {_TABLES["after"]}'


class Duration(float):
    """Seconds; written `"250ms"`, `"2s"`, `"5m"`, `"1h"`."""

    @classmethod
    def of(cls, text: object) -> "Duration":
        """Raises ValueError for anything but such a text."""
        found = _DURATION.fullmatch(text) if isinstance(text, str) else None
        if not found:
            raise ValueError('must be a duration such as "250ms", "2s" or "5m"')
        return cls(Decimal(found[1]) * _UNITS[found[2]])

    def __str__(self) -> str:
        exact = Decimal(repr(float(self)))
        unit = next((u for u in ("h", "m", "s") if exact and not exact % _UNITS[u]), "ms")
        return f"{(exact / _UNITS[unit]).normalize():f}{unit}"


@dataclass(frozen=True, slots=True)
class Ready:
    """How a server shows that it can serve; what is not asked for is empty."""

    how: Literal["auto", "notify", "http", "log", "after"] = "auto"
    http: str = ""
    status: int = 200
    log: str = ""
    after: float = 0.0

    @classmethod
    def of(cls, written: object) -> "Ready":
        """From one of the forms of the contract; raises ValueError."""
        match written:
            case "auto" | "notify":
                return cls(written)
            case dict():
                return cls._of_table(written)
            case _:
                raise ValueError(f"must be {_FORMS}{_meant(written)}")

    @classmethod
    def _of_table(cls, table: Mapping[str, object]) -> "Ready":
        faults, values = list(_table_faults(table)), dict[str, Any]()
        for key in filter(_CHECKS.__contains__, table):
            try:
                values[key] = _CHECKS[key](table[key])
            except ValueError as error:
                faults.append(((key,), str(error)))
        if faults:
            raise WrongPartsError(faults)
        return cls(_asked(table)[0], **values)

    def written(self) -> str | dict[str, str | int]:
        """As the configuration has it, all of it said."""
        match self.how:
            case "http":
                return {"http": self.http, "status": self.status}
            case "log":
                return {"log": self.log}
            case "after":
                return {"after": str(Duration(self.after))}
            case _:
                return self.how


def _asked(table: Mapping[str, object]) -> list[Literal["http", "log", "after"]]:
    forms: tuple[Literal["http", "log", "after"], ...] = ("http", "log", "after")
    return [form for form in forms if form in table]


def _table_faults(table: Mapping[str, object]) -> Iterator[tuple[KeyPath, str]]:
    unknown, asked = table.keys() - _CHECKS.keys(), _asked(table)
    for key in sorted(unknown):
        yield (key,), f"unknown key{nearest(key, _CHECKS)}"
    if len(asked) > 1:
        yield (), f"{' and '.join(asked)} exclude each other; write one of them"
    elif not asked and not unknown:
        yield (), f"must be {_FORMS}"
    if "status" in table and asked in (["log"], ["after"]):
        yield ("status",), f"goes with http only, not with {asked[0]}"


def _meant(written: object) -> str:
    """The way out for a text that is none of the forms."""
    word = str(written)
    if word in _TABLES:
        return f"; write {_TABLES[word]}"
    if word.startswith("/"):
        return f'; write {{ http = "{word}" }}'
    return f'; write {{ after = "{word}" }}' if _DURATION.fullmatch(word) else nearest(word, ("auto", "notify"))


def _path(written: object) -> str:
    if not isinstance(written, str) or not _PATH.fullmatch(written):
        example = f"; write {f'/{written}'!r}" if isinstance(written, str) and _PATH.fullmatch(f"/{written}") else ""
        raise ValueError(f'must be a path such as "/healthz", without spaces and percent-encoded{example}')
    return written


def _status(written: object) -> int:
    if not isinstance(written, int) or not _LOWEST_STATUS <= written <= _HIGHEST_STATUS:
        raise ValueError(f"must be an HTTP status, an integer from {_LOWEST_STATUS} to {_HIGHEST_STATUS}")
    return written


def _regex(written: object) -> str:
    if not isinstance(written, str):
        raise ValueError("must be a string, a regular expression that a line of output matches")
    try:
        with warnings.catch_warnings(action="ignore"):  # what a later Python may read otherwise is none of ours
            re.compile(written)
    except re.error as error:
        near = f", at {written[error.pos :]!r}" if error.pos is not None and written[error.pos :] else ""
        raise ValueError(f"is no regular expression: {error}{near}") from error
    except (OverflowError, RecursionError) as error:
        raise ValueError(f"is no regular expression: {error}") from error
    return written


_CHECKS: dict[str, Callable[[object], object]] = {
    "http": _path,
    "status": _status,
    "log": _regex,
    "after": Duration.of,
}

DURATION_SCHEMA: dict[str, Any] = {"type": "string", "pattern": f"^{_DURATION.pattern}$"}
_STATUS_SCHEMA = {"type": "integer", "minimum": _LOWEST_STATUS, "maximum": _HIGHEST_STATUS}


def _form(key: str, of: dict[str, Any], **more: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {key: of, **more}, "required": [key], "additionalProperties": False}


READY_SCHEMA: dict[str, Any] = {
    "title": "Ready",
    "anyOf": [
        {"enum": ["auto", "notify"]},
        _form("http", {"type": "string", "pattern": f"^{_PATH.pattern}$"}, status=_STATUS_SCHEMA),
        _form("log", {"type": "string", "format": "regex"}),
        _form("after", DURATION_SCHEMA),
    ],
}

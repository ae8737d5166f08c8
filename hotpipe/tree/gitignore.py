"""One line of an ignore file as a pattern: what it asks of a folder, and of a name in it.

Patterns and names are matched as git sees them, as bytes: a `str` called "octets" holds one byte in each character.
Sources: gitignore(5), and git's wildmatch.c where the manual is silent. `foo**/bar` does not match `foobar` or
`foo/x/bar`: the manual says so, though git 2.39 does otherwise.
"""

from __future__ import annotations

import itertools
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of one ignore file. `line` counts from 1 (for `[watch] ignore`, in its list); 0 where there is none."""

    source: str
    line: int
    pattern: str


class _Mark(Enum):
    """What a pattern has besides characters; the value is its regular expression."""

    STAR = "[^/]*"
    SLASH = "/"
    FOLDERS = "(?:.*/)?"
    SOME_FOLDERS = ".*/"


# A token is a mark, or the octets that may stand in one place.
_Token = _Mark | str
_SEPARATORS = (_Mark.SLASH, _Mark.FOLDERS, _Mark.SOME_FOLDERS)
_ANY = "".join(chr(octet) for octet in range(256) if chr(octet) not in "\0/")

# gitignore(5) and wildmatch.c of git: stars between slashes are folders; `**\/` lacks the way to mean no folder at all.
_TOKEN = re.compile(
    r"""(?P<folders>(?<![^/])\*\*+(?:/|\Z)) | (?P<some_folders>(?<![^/])\*\*+\\/) | (?P<star>\*+) | (?P<slash>\\?/)
    | (?P<any>\?) | (?P<set>\[[!^]?) | \\(?P<escaped>.) | (?P<literal>[^\\])""",
    re.DOTALL | re.VERBOSE,
)
_SET_ITEM = re.compile(
    r"""\[:(?P<named>[^]]*):]
    | (?:\\(?P<escaped>.)|(?P<first>[^\\])) (?:-(?!])(?:\\(?P<escaped_last>.)|(?P<last>[^\\])))?""",
    re.DOTALL | re.VERBOSE,
)
# git's sane_ctype, not C's: no form feed among the spaces.
_NAMED_SETS = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "blank": " \t",
    "cntrl": "\x01-\x1f\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": " \t\n\r",
    "upper": "A-Z",
    "xdigit": "0-9A-Fa-f",
}
_MOST_SPELLINGS = 32


class _MalformedError(Exception):
    """git lets such a pattern match nothing."""


@dataclass(frozen=True, slots=True)
class Name:
    """What a pattern asks of a name, in octets. Exactly one of `names`, `suffixes` and `odd` is not empty."""

    names: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = ()
    odd: str = ""
    """A regular expression."""
    starts: str = ""
    """The octets that an odd name may start with; empty if they are many."""

    def fits(self, octets: str) -> bool:
        if self.odd:
            return fullmatch(self.odd)(octets) is not None
        return octets in self.names or octets.endswith(self.suffixes)


@dataclass(frozen=True, slots=True)
class Line:
    """A rule in two parts. `head` is a regular expression for the folder, from the source's on; None: any folder."""

    rule: Rule
    negated: bool
    only_dirs: bool
    head: str | None
    name: Name


@lru_cache(maxsize=4096)
def fullmatch(expression: str) -> Callable[[str], object]:
    return re.compile(expression, re.DOTALL).fullmatch


def to_octets(text: str) -> str:
    return text if text.isascii() else os.fsencode(text).decode("latin-1")


def parse_lines(source: str, numbered: Iterable[tuple[int, bytes]]) -> Iterator[Line]:
    """The lines that can match something. Like git: a CR at the end is dropped, and NUL ends a line."""
    for number, raw in numbered:
        if not raw.startswith(b"#"):
            written = _without_trailing_spaces(raw.removesuffix(b"\r").partition(b"\0")[0])
            yield from _parsed(Rule(source, number, os.fsdecode(written)))


def _without_trailing_spaces(line: bytes) -> bytes:
    kept = line.rstrip(b" ")
    backslashes = len(kept) - len(kept.rstrip(b"\\"))
    return line[: len(kept) + backslashes % 2]


def _parsed(rule: Rule) -> Iterator[Line]:
    octets = to_octets(rule.pattern)
    body = octets.removeprefix("!")
    glob = body.removesuffix("/")
    try:
        tokens = list(_tokens(glob.removeprefix("/")))
    except _MalformedError:
        return
    if "/" not in glob:
        tokens.insert(0, _Mark.FOLDERS)
    cut = max((at for at, token in enumerate(tokens, 1) if token in _SEPARATORS), default=0)
    head = None if tokens[:cut] == [_Mark.FOLDERS] else _expression(tokens[:cut])
    if tokens[cut:]:
        yield Line(rule, body != octets, glob != body, head, _name(tokens[cut:]))


def _tokens(glob: str) -> Iterator[_Token]:
    at = 0
    while at < len(glob):
        found = _TOKEN.match(glob, at)
        if found is None:
            raise _MalformedError
        at = found.end()
        match found.lastgroup:
            case "folders":
                yield from (_Mark.FOLDERS,) if found[0].endswith("/") else (_Mark.FOLDERS, _Mark.STAR)
            case "some_folders":
                yield _Mark.SOME_FOLDERS
            case "star":
                yield _Mark.STAR
            case "slash":
                yield _Mark.SLASH
            case "any":
                yield _ANY
            case "set":
                members, at = _members(glob, at)
                yield _allowed(members, negated=len(found[0]) > 1)
            case _:
                yield found["escaped"] or found["literal"]


def _members(glob: str, at: int) -> tuple[set[str], int]:
    """What the set that opens before `at` names, and where the pattern goes on. A `]` that comes first is a member."""
    members: set[str] = set()
    opening = at
    while at == opening or not glob.startswith("]", at):
        item = _SET_ITEM.match(glob, at)
        if item is None:
            raise _MalformedError
        members |= _range(item) if item["named"] is None else _named(item["named"])
        at = item.end()
    return members, at + 1


def _range(item: re.Match[str]) -> set[str]:
    first = item["escaped"] or item["first"]
    last = item["escaped_last"] or item["last"] or first
    return {first} | {chr(octet) for octet in range(ord(first), ord(last) + 1)}


def _named(name: str) -> set[str]:
    if name not in _NAMED_SETS:
        raise _MalformedError
    return set(re.findall(f"[{_NAMED_SETS[name]}]", _ANY))


def _allowed(members: set[str], *, negated: bool) -> str:
    allowed = "".join(octet for octet in _ANY if (octet in members) != negated)
    if not allowed:
        raise _MalformedError
    return allowed


def _name(tokens: list[_Token]) -> Name:
    if names := _spellings(tokens):
        return Name(names)
    if tokens[0] is _Mark.STAR and (suffixes := _spellings(tokens[1:])):
        return Name(suffixes=suffixes)
    starts = tokens[0] if isinstance(tokens[0], str) and len(tokens[0]) <= _MOST_SPELLINGS else ""
    return Name(odd=_committed(_expression(tokens)), starts=starts)


def _spellings(tokens: Sequence[_Token]) -> tuple[str, ...]:
    """Every text that the tokens allow; nothing if there are too many, or no tokens."""
    places = [token for token in tokens if isinstance(token, str)]
    few = math.prod(map(len, places)) <= _MOST_SPELLINGS
    return tuple(map("".join, itertools.product(*places))) if few and 0 < len(places) == len(tokens) else ()


def _expression(tokens: Sequence[_Token]) -> str:
    return "".join(token.value if isinstance(token, _Mark) else _one_of(token) for token in tokens)


def _committed(expression: str) -> str:
    """The same for one name, but each star except for the last settles for its first fit: no exponential search."""
    first, *pieces = expression.split(_Mark.STAR.value)
    middle = "".join(f"(?>{_Mark.STAR.value}?{piece})" for piece in pieces[:-1])
    return first + middle + "".join(f"{_Mark.STAR.value}{piece}" for piece in pieces[-1:])


def _one_of(allowed: str) -> str:
    if len(allowed) == 1:
        return re.escape(allowed)
    if len(allowed) > len(_ANY) // 2:
        return f"[^/{re.escape(''.join(sorted(set(_ANY) - set(allowed))))}]"
    return f"[{re.escape(allowed)}]"

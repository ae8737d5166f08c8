"""Reads the configuration, and says on which line a key stands."""

import os
import re
import tomllib
from ast import literal_eval
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hotpipe.config import model
from hotpipe.config.find import OWN, SHARED, find, text_of
from hotpipe.config.model import Config, KeyPath
from hotpipe.errors import ConfigError, Problem, UsageError

__all__ = ["OWN", "SHARED", "Project", "find", "load"]

_WORD = re.compile(
    r"""
    \"{3} (?:\\.|[^\\])*? \"{3,5} | '{3} .*? '{3,5}     # strings of several lines may end in quotes of their own
    | "(?:\\.|[^"\\])*" | '[^']*' | \#[^\n]* | [\w-]+ | [^\S\n]+ | .
    """,
    re.DOTALL | re.VERBOSE,
)
_OPENING, _CLOSING = frozenset("[{"), frozenset("]}")
_HEADER = frozenset("[].")
_KEY_PATH = re.compile(r"\('.*'(?:,|, '.*')?\)")  # how tomllib names a key that is there twice
_ERROR_LINE = re.compile(r"\(at line (\d+), column \d+\)|\(at end of document\)")


@dataclass(frozen=True, slots=True)
class Project:
    """A configuration with the folder that its paths are relative to, and the file it came from (both absolute)."""

    root: str
    file: str
    config: Config

    def path(self, relative: str) -> str:
        """A path of the configuration, absolute."""
        return os.path.normpath(os.path.join(self.root, relative))


def load(given: str | None, cwd: str) -> Project:
    """The project at `given`, else the one found from `cwd` upward; raises UsageError, ConfigError."""
    file = os.path.abspath(os.path.join(cwd, given)) if given else find(cwd)
    shown, text = _shown(file, cwd), text_of(file)
    parsed = model.parse(_tables(file, shown, text))
    if isinstance(parsed, Config):
        return Project(os.path.dirname(file), file, parsed)
    prefix = _prefix(file)
    lines = _lines(text)
    problems = [Problem(shown, _line(lines, (*prefix, *f.at)), _dotted(f.at), f.message) for f in parsed]
    raise ConfigError(sorted(problems, key=lambda problem: problem.line))


def _tables(file: str, shown: str, text: str) -> dict[str, Any]:
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = _ERROR_LINE.search(str(error))
        line = int(found[1]) if found and found[1] else text.count("\n") + 1
        message = _KEY_PATH.sub(lambda path: _dotted(literal_eval(path[0])), _ERROR_LINE.sub("", str(error)).strip())
        raise ConfigError([Problem(shown, line, "", f"not valid TOML: {message}")]) from error
    except (ValueError, RecursionError) as error:  # an integer of thousands of digits, arrays in arrays without end
        raise ConfigError([Problem(shown, 0, "", f"cannot be read: {error}")]) from error
    return _own_tables(file, shown, text, tables)


def _own_tables(file: str, shown: str, text: str, tables: dict[str, Any]) -> dict[str, Any]:
    """What concerns hotpipe: all of its own file, one table of the shared one."""
    prefix = _prefix(file)
    for depth, key in enumerate(prefix, 1):
        if key not in tables:
            raise UsageError(f"{shown} has no table [{'.'.join(prefix)}]", hint=f"add it, or write a {OWN}")
        inner: object = tables[key]
        if not isinstance(inner, dict):
            at = prefix[:depth]
            raise ConfigError([Problem(shown, _line(_lines(text), at), _dotted(at), "must be a table")])
        tables = inner
    return tables


def _prefix(file: str) -> KeyPath:
    return ("tool", "hotpipe") if os.path.basename(file) == SHARED else ()


def _shown(file: str, cwd: str) -> str:
    relative = os.path.relpath(file, cwd)
    return file if relative.startswith("..") else relative


def _dotted(at: KeyPath) -> str:
    return ".".join(part if re.fullmatch(r"[\w-]+", part) else f'"{part}"' for part in at)


def _lines(text: str) -> dict[KeyPath, int]:
    """The line (1-based) on which each table and key is first named, in TOML that tomllib has accepted."""
    lines: dict[KeyPath, int] = {}
    table: KeyPath = ()
    for statement in _statements(text):
        if statement[0][0] == "[":
            table = tuple(_key(word) for word, _ in statement if word not in _HEADER)
            _name(lines, table, 0, statement[0][1])
        else:
            _scan(lines, table, statement)
    return lines


def _scan(lines: dict[KeyPath, int], table: KeyPath, statement: list[tuple[str, int]]) -> None:
    """The keys of `key = value`, and those of the inline tables in the value."""
    around: list[tuple[str, KeyPath]] = []  # the brackets that are open, and the key that each belongs to
    at, in_key = table, True
    for word, line in statement:
        if word == "=":
            in_key = False
        elif word in _OPENING:
            around.append((word, at))
            in_key = word == "{"
        elif word in _CLOSING:
            around.pop()
            in_key = False
        elif word == ",":
            bracket, at = around[-1]
            in_key = bracket == "{"
        elif in_key and word != ".":
            at = (*at, _key(word))
            _name(lines, at, len(table), line)


def _name(lines: dict[KeyPath, int], at: KeyPath, known: int, line: int) -> None:
    for depth in range(known + 1, len(at) + 1):
        lines.setdefault(at[:depth], line)


def _key(word: str) -> str:
    if word[0] not in "\"'":
        return word
    key: str = tomllib.loads(f"key = {word}")["key"]
    return key


def _statements(text: str) -> Iterator[list[tuple[str, int]]]:
    """The words of each header and each `key = value`, with their lines."""
    statement: list[tuple[str, int]] = []
    line, depth = 1, 0
    for found in _WORD.finditer(text):
        word = found[0]
        depth += (word in _OPENING) - (word in _CLOSING)
        if word == "\n" and not depth and statement:
            yield statement
            statement = []
        elif not word.isspace() and word[0] != "#":
            statement.append((word, line))
        line += word.count("\n")
    if statement:
        yield statement


def _line(lines: dict[KeyPath, int], at: KeyPath) -> int:
    """The line of the key, or of the nearest table around it; 0 where neither is written."""
    return next((lines[at[:depth]] for depth in range(len(at), 0, -1) if at[:depth] in lines), 0)

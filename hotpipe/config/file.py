"""Finds the configuration, reads it, and says on which line a key stands.

The file is `hotpipe.toml`, or `[tool.hotpipe]` in `pyproject.toml`, in the working directory or the nearest folder
above. Its folder is the project's root.
"""

import os
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hotpipe.config import model
from hotpipe.config.model import Config, KeyPath
from hotpipe.errors import ConfigError, Problem, UsageError

OWN, SHARED = "hotpipe.toml", "pyproject.toml"

_HEADER = re.compile(r"\s*\[\[?\s*([^\[\]]+?)\s*\]\]?\s*(?:#.*)?")
_KEY = re.compile(r"""\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=(.*)""")
_PART = re.compile(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""")
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
    text = _text(file)
    parsed = model.parse(_tables(file, text))
    if isinstance(parsed, Config):
        return Project(os.path.dirname(file), file, parsed)
    prefix = _prefix(file)
    lines = _lines(text)
    problems = [Problem(_shown(file, cwd), _line(lines, (*prefix, *f.at)), _dotted(f.at), f.message) for f in parsed]
    raise ConfigError(sorted(problems, key=lambda problem: problem.line))


def find(cwd: str) -> str:
    """The nearest configuration file from `cwd` upward; raises UsageError where there is none."""
    folder = os.path.abspath(cwd)
    while True:
        own, shared = os.path.join(folder, OWN), os.path.join(folder, SHARED)
        if os.path.exists(own):
            return own
        if os.path.exists(shared) and "hotpipe" in _tool_tables(shared):
            return shared
        above = os.path.dirname(folder)
        if above == folder:
            break
        folder = above
    raise UsageError(
        f"no {OWN} in {cwd} or above, nor [tool.hotpipe] in a {SHARED}",
        hint=f"write a {OWN}, or name one with --config FILE",
    )


def _tool_tables(file: str) -> dict[str, Any]:
    try:
        tool = tomllib.loads(_text(file)).get("tool")
    except (UsageError, tomllib.TOMLDecodeError):
        return {}  # it is others' file: they will say what is wrong with it
    return tool if isinstance(tool, dict) else {}


def _text(file: str) -> str:
    try:
        with open(file, encoding="utf-8") as opened:
            return opened.read()
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"cannot read {file}: it is not UTF-8 (byte {error.start})") from error


def _tables(file: str, text: str) -> dict[str, Any]:
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = _ERROR_LINE.search(str(error))
        line = int(found[1]) if found and found[1] else text.count("\n") + 1
        message = _ERROR_LINE.sub("", str(error)).strip()
        raise ConfigError([Problem(file, line, "", f"not valid TOML: {message}")]) from error
    for key in _prefix(file):
        inner = tables.get(key)
        tables = inner if isinstance(inner, dict) else {}
    return tables


def _prefix(file: str) -> KeyPath:
    return ("tool", "hotpipe") if os.path.basename(file) == SHARED else ()


def _shown(file: str, cwd: str) -> str:
    relative = os.path.relpath(file, cwd)
    return file if relative.startswith("..") else relative


def _dotted(at: KeyPath) -> str:
    return ".".join(part if re.fullmatch(r"[\w-]+", part) else f'"{part}"' for part in at)


def _lines(text: str) -> dict[KeyPath, int]:
    """The line (1-based) on which each table and key begins. Good for TOML that has been parsed without an error."""
    lines: dict[KeyPath, int] = {}
    table: KeyPath = ()
    for number, line in _statements(text):
        if header := _HEADER.fullmatch(line):
            table = _parts(header[1])
            lines.setdefault(table, number)
        elif key := _KEY.fullmatch(line):
            at = (*table, *_parts(key[1]))
            for depth in range(len(table) + 1, len(at) + 1):
                lines.setdefault(at[:depth], number)
    return lines


def _line(lines: dict[KeyPath, int], at: KeyPath) -> int:
    """The line of the key, or of the nearest table around it; 0 where neither is written."""
    return next((lines[at[:depth]] for depth in range(len(at), 0, -1) if at[:depth] in lines), 0)


def _parts(dotted: str) -> KeyPath:
    return tuple(part.strip("\"'") for part in _PART.findall(dotted))


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Each line that is not the inside of a multi-line string or array, with its number."""
    closing, depth = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        if closing:
            closing = "" if closing in line else closing
            continue
        if not depth:
            yield number, line
        bare = (
            re.sub(r'"(?:\\.|[^"\\])*"(?!")|\'[^\']*\'(?!\')|#.*', "", line)
            if '"""' not in line and "'''" not in line
            else line
        )
        for quotes in ('"""', "'''"):
            if line.count(quotes) % 2:
                closing = quotes
        depth = max(0, depth + bare.count("[") + bare.count("{") - bare.count("]") - bare.count("}"))

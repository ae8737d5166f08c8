"""Which paths a list of globs means: the `inputs` of a server.

The globs are lines of gitignore(5), except that a list picks paths instead of ignoring them: what is written below a
folder's line can take back a part of the folder. Invariant: of the lines that match a path or a folder above it, the
last one written decides, so `["src/", "!src/generated/", "src/generated/keep.py"]` means what it says.

A list of negated lines alone means all the rest, as with ripgrep's `--glob`; an empty list means nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from hotpipe.tree.gitignore import Line, Rule, parse_lines, to_octets
from hotpipe.tree.rules import Folder, Scope, Source


class Globs:
    """A list of globs; each counts from the project's root."""

    __slots__ = ("_rest", "_scope")

    def __init__(self, patterns: Iterable[str]) -> None:
        lines = tuple(parse_lines("inputs", enumerate(map(os.fsencode, patterns), 1)))
        self._scope = Scope((), (Source("", lines[::-1]),))
        self._rest = bool(lines) and all(line.negated for line in lines)

    def matches(self, path: str) -> bool:
        """Whether the file at `path` is meant: relative to the root, "/" between names, as from `os.fsdecode`."""
        last = max(self._lines(path), key=lambda line: line.rule.line, default=None)
        return self._rest if last is None else not last.negated

    def deciding(self, path: str) -> Rule | None:
        """The line that decides whether the file at `path` is meant; None where none matches."""
        last = max(self._lines(path), key=lambda line: line.rule.line, default=None)
        return None if last is None else last.rule

    def _lines(self, path: str) -> Iterator[Line]:
        """The strongest line for each folder on the way, and for the file."""
        *folders, name = path.split("/")
        where = ""
        for folder in folders:
            yield from self._decisive(where, folder, is_dir=True)
            where += f"{to_octets(folder)}/"
        yield from self._decisive(where, name, is_dir=False)

    def _decisive(self, where: str, name: str, *, is_dir: bool) -> Iterator[Line]:
        line = Folder(self._scope, where).decisive(name, is_dir)
        if line is not None:
            yield line

"""The rules in force in one folder, as quick as the walk of a big tree needs them: half a microsecond an entry.

How it works. A file of rules is a `Source`, lines that count from one folder on. A `Scope` is a stack of sources,
shared by all folders below that have no ignore file of their own. In a scope a folder picks the lines whose folder
pattern fits, and what is left concerns names only: `_Rules`, shared by all folders that pick the same lines. They tell
by a few dict lookups that nothing can match, which is the answer for nearly every entry of a tree.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from hotpipe.tree.gitignore import Line, Name, fullmatch, parse_lines, to_octets


@dataclass(frozen=True, slots=True)
class Source:
    """The lines of one ignore file, strongest first. They count from the folder `base` on: octets, "" or "a/b/"."""

    base: str
    lines: tuple[Line, ...]


class _Rules:
    """The lines that concern names of one kind in a folder, strongest first, and what tells quickly that none does."""

    __slots__ = ("_anywhere", "_names", "_starts", "_suffixes", "lines")

    def __init__(self, lines: tuple[Line, ...]) -> None:
        self.lines = lines
        names = [line.name for line in lines]
        self._names = frozenset(itertools.chain.from_iterable(name.names for name in names))
        self._suffixes = _by_last_octet(itertools.chain.from_iterable(name.suffixes for name in names))
        self._starts = _by_first_octet(name for name in names if name.starts)
        self._anywhere = _any_of([name.odd for name in names if name.odd and not name.starts])

    def may_match(self, octets: str) -> bool:
        if octets in self._names:
            return True
        suffixes = self._suffixes.get(octets[-1])
        if suffixes is not None and octets.endswith(suffixes):
            return True
        starts = self._starts.get(octets[0])
        if starts is not None and starts(octets) is not None:
            return True
        return self._anywhere is not None and self._anywhere(octets) is not None

    def decisive(self, octets: str) -> Line | None:
        """The strongest line that matches."""
        return next((line for line in self.lines if line.name.fits(octets)), None)


def _by_last_octet(suffixes: Iterable[str]) -> dict[str, tuple[str, ...]]:
    grouped: defaultdict[str, tuple[str, ...]] = defaultdict(tuple)
    for suffix in dict.fromkeys(suffixes):
        grouped[suffix[-1]] += (suffix,)
    return dict(grouped)


def _by_first_octet(odd: Iterable[Name]) -> dict[str, Callable[[str], object] | None]:
    grouped: defaultdict[str, list[str]] = defaultdict(list)
    for name in odd:
        for octet in name.starts:
            grouped[octet].append(name.odd)
    return {octet: _any_of(expressions) for octet, expressions in grouped.items()}


def _any_of(expressions: list[str]) -> Callable[[str], object] | None:
    return fullmatch("|".join(dict.fromkeys(expressions))) if expressions else None


class Scope:
    """The sources in force somewhere, strongest first: the fixed ones, then those that nearer folders add to."""

    __slots__ = ("_bound", "_fixed", "_lines", "_rules", "_sources")

    def __init__(self, fixed: tuple[Source, ...], sources: tuple[Source, ...]) -> None:
        self._fixed = fixed
        self._sources = sources
        placed = [(source.base, line) for source in fixed + sources for line in source.lines]
        self._lines = [line for _, line in placed]
        self._bound = [
            (at, len(base), fullmatch(line.head)) for at, (base, line) in enumerate(placed) if line.head is not None
        ]
        self._rules: dict[tuple[int, ...], tuple[_Rules, _Rules]] = {}

    def under(self, own: tuple[Source, ...]) -> Scope:
        """The scope of a folder that has these ignore files of its own."""
        return Scope(self._fixed, own + self._sources) if own else self

    def rules(self, where: str) -> tuple[_Rules, _Rules]:
        """The rules for files and those for folders, in the folder `where`: octets, "" or "a/b/"."""
        picked = tuple(at for at, base, fits in self._bound if fits(where[base:]) is not None)
        found = self._rules.get(picked)
        if found is None:
            found = self._rules[picked] = self._compiled(set(picked))
        return found

    def _compiled(self, picked: set[int]) -> tuple[_Rules, _Rules]:
        lines = tuple(line for at, line in enumerate(self._lines) if line.head is None or at in picked)
        return _Rules(tuple(line for line in lines if not line.only_dirs)), _Rules(lines)


class Folder:
    """The rules in force for the entries of one folder. `ignores` is quick enough for every entry of a big tree."""

    __slots__ = ("_files", "_folders", "_scope", "_where", "known", "path")

    def __init__(self, scope: Scope, where: str, path: str = "") -> None:
        self.path = path
        self.known: dict[str, Folder] = {}
        self._scope = scope
        self._where = where
        self._files, self._folders = scope.rules(where)

    def ignores(self, name: str, is_dir: bool) -> bool:  # noqa: FBT001 - the answer of os.DirEntry.is_dir, passed on
        rules = self._folders if is_dir else self._files
        octets = name if name.isascii() else to_octets(name)
        if not rules.may_match(octets):
            return False
        line = rules.decisive(octets)
        return line is not None and not line.negated

    def decisive(self, name: str, is_dir: bool) -> Line | None:  # noqa: FBT001 - as above
        """The strongest line that matches the entry."""
        return (self._folders if is_dir else self._files).decisive(to_octets(name))

    def inside(self, name: str, read: Callable[[str, str], tuple[Source, ...]]) -> Folder:
        """The folder `name` in this one; `read` gives its ignore files, and is not called if it is ignored."""
        where = f"{self._where}{to_octets(name)}/"
        path = f"{self.path}/{name}" if self.path else name
        return Folder(_SHUT if self.ignores(name, is_dir=True) else self._scope.under(read(path, where)), where, path)


_SHUT = Scope((), (Source("", tuple(parse_lines("", [(0, b"*")]))),))
"""In an ignored folder all is ignored."""

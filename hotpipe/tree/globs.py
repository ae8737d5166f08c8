"""Which paths a list of globs means: the `inputs` of a stage or a server.

The globs are lines of gitignore(5), except that a list picks paths instead of ignoring them: what is written below a
folder's line can take back a part of the folder. Invariant: of the lines that match a path or a folder above it, the
last one written decides, so `["src/", "!src/generated/", "src/generated/keep.py"]` means what it says.

A list of negated lines alone means all the rest, as with ripgrep's `--glob`; an empty list means nothing.

How it works: a folder is decided once. What is left for the files in it is a `Verdict`: all, none, or a test of the
name by those few lines that can still change the answer; folders with the same lines share it.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from hotpipe.tree.gitignore import Line, Rule, fullmatch, parse_lines, to_octets
from hotpipe.tree.rules import Folder, Scope, Source

_ANY_NAME = "[^/]*"
_MOST_FOLDERS = 50_000  # that are remembered


@dataclass(frozen=True, slots=True)
class Verdict:
    """Which names (octets) in a folder are meant: those that `test` says, or all or none of them."""

    rest: bool
    test: Callable[[str], bool] | None = None

    def means(self, octets: str) -> bool:
        return self.rest if self.test is None else self.test(octets)


EVERYTHING = Verdict(rest=True)


@dataclass(frozen=True, slots=True)
class _Place:
    """A folder: its path in octets ("" or "a/b/"), and the strongest line for it or a folder above (0: none)."""

    where: str
    strongest: int
    meant: bool
    verdict: Verdict


@dataclass(slots=True)
class _Known:
    """What has been decided so far."""

    places: dict[str, _Place] = field(default_factory=dict)
    verdicts: dict[tuple[int, int, bool], Verdict] = field(default_factory=dict)


class Globs:
    """A list of globs; each counts from the project's root."""

    __slots__ = ("_known", "_rest", "_scope")

    def __init__(self, patterns: Iterable[str]) -> None:
        lines = tuple(parse_lines("inputs", enumerate(map(os.fsencode, patterns), 1)))
        self._scope = Scope((), (Source("", lines[::-1]),))
        self._rest = bool(lines) and all(line.negated for line in lines)
        self._known = _Known()

    def matches(self, path: str) -> bool:
        """Whether the file at `path` is meant: relative to the root, "/" between names, as from `os.fsdecode`."""
        folder, _, name = path.rpartition("/")
        return self.verdict(folder).means(to_octets(name))

    def verdict(self, folder: str) -> Verdict:
        """Which files right in `folder` ("" is the root) are meant."""
        place = self._known.places.get(folder)
        return (place or self._place(folder)).verdict

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

    def _place(self, folder: str) -> _Place:
        if len(self._known.places) >= _MOST_FOLDERS:
            self._known.places.clear()
        above, _, name = folder.rpartition("/")
        place = self._known.places.get(above) if folder else None
        if place is not None:
            return self._remember(folder, self._below(place, name))
        place, path = self._remember("", self._decided("", 0, self._rest)), ""
        for name in folder.split("/") if folder else ():
            path = f"{path}/{name}" if path else name
            place = self._remember(path, self._below(place, name))
        return place

    def _remember(self, folder: str, place: _Place) -> _Place:
        self._known.places[folder] = place
        return place

    def _below(self, place: _Place, name: str) -> _Place:
        octets = to_octets(name)
        line = self._scope.rules(place.where)[1].decisive(octets)
        where = f"{place.where}{octets}/"
        if line is None or line.rule.line < place.strongest:
            return self._decided(where, place.strongest, place.meant)
        return self._decided(where, line.rule.line, not line.negated)

    def _decided(self, where: str, strongest: int, meant: bool) -> _Place:  # noqa: FBT001 - what it is decided to be
        rules = self._scope.rules(where)[0]
        key = (id(rules), strongest, meant)  # the scope keeps its rules for good
        verdict = self._known.verdicts.get(key)
        if verdict is None:
            stronger = [line for line in rules.lines if line.rule.line > strongest]
            verdict = self._known.verdicts[key] = _verdict(stronger, meant)
        return _Place(where, strongest, meant, verdict)


def _verdict(lines: Sequence[Line], rest: bool) -> Verdict:  # noqa: FBT001 - the answer where no line fits
    """What `lines`, strongest first, say of names."""
    deciding: list[Line] = []
    for line in lines:
        if line.name.odd == _ANY_NAME:
            rest = not line.negated
            break
        deciding.append(line)
    while deciding and deciding[-1].negated != rest:  # it says what is said anyway
        deciding.pop()
    if not deciding:
        return Verdict(rest)
    blocks = tuple((_any_fits(tuple(block)), not out) for out, block in itertools.groupby(deciding, _is_negated))

    def test(octets: str) -> bool:
        for fits, answer in blocks:
            if fits(octets):
                return answer
        return rest

    return Verdict(rest, test)


def _is_negated(line: Line) -> bool:
    return line.negated


def _any_fits(lines: Sequence[Line]) -> Callable[[str], bool]:
    names = frozenset(name for line in lines for name in line.name.names)
    suffixes = tuple(suffix for line in lines for suffix in line.name.suffixes)
    odd = [line.name.odd for line in lines if line.name.odd]
    if not odd:
        return lambda octets: octets in names or octets.endswith(suffixes)
    fits = fullmatch("|".join(odd))
    return lambda octets: octets in names or octets.endswith(suffixes) or fits(octets) is not None

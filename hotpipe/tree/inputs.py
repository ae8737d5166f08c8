"""Which files each list of globs means, and the identity of what they hold.

Invariant: after `fill` or `update`, `identity` of a list is `identity.tree_id` of the fingerprints of exactly those
entries that the list means; None is every watched file, and its identity the tree's.

How it works: the fingerprints are copied, folder by folder, so that nothing here looks at a snapshot that a refresh is
changing meanwhile. Each list, however many stages share it, has one sum; a changed file is taken out of the sums of the
lists that mean it, and put back as it is now.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from hotpipe.tree.gitignore import to_octets
from hotpipe.tree.globs import EVERYTHING, Globs
from hotpipe.tree.identity import Entry, tree_id

_List = tuple[str, ...] | None
_Files = dict[str, int]  # name to fingerprint


@dataclass(slots=True)
class _Sum:
    """A list of globs (None: everything), and what its files add up to; `paths` once somebody has asked."""

    globs: Globs | None
    total: int = 0
    paths: tuple[str, ...] | None = None

    def means(self, path: str) -> bool:
        return self.globs is None or self.globs.matches(path)


class Inputs:
    """The files that `lists` mean, for as long as somebody tells what has changed. Not for two threads at once."""

    def __init__(self, lists: Iterable[_List]) -> None:
        self._sums = {globs: _Sum(None if globs is None else Globs(globs)) for globs in lists}
        self._folders: dict[str, _Files] = {}

    def fill(self, entries: Mapping[str, Entry]) -> None:
        """Begin again, with all of `entries`."""
        self._folders = _by_folder(entries)
        held = [_Held(*item) for item in self._folders.items()]
        for one in self._sums.values():
            one.total, one.paths = sum(folder.total_of(one.globs) for folder in held), None

    def update(self, entries: Mapping[str, Entry], changed: Iterable[str]) -> frozenset[str]:
        """Take `changed` paths as they are in `entries` now; one that is not there is gone. Those that were not known
        to be so are returned."""
        found = {path: entries.get(path) for path in changed}
        return frozenset(path for path, entry in found.items() if self._put(path, entry and entry.fingerprint))

    def identity(self, globs: _List) -> str:
        """32 hexadecimal digits for the files that `globs`, one of the lists, mean now."""
        return tree_id(self._sums[globs].total)

    def paths(self, globs: _List) -> tuple[str, ...]:
        """The files that `globs`, one of the lists, mean now: sorted, as from `os.fsdecode`."""
        one = self._sums[globs]
        if one.paths is None:
            one.paths = tuple(sorted(self._meant(one.globs)))
        return one.paths

    def _put(self, path: str, fingerprint: int | None) -> bool:
        """Whether that is news."""
        folder, _, name = path.rpartition("/")
        files = self._folders.setdefault(folder, {})
        known = files.pop(name, None)
        if fingerprint is not None:
            files[name] = fingerprint
        if not files:
            del self._folders[folder]
        if fingerprint != known:
            comes_or_goes = fingerprint is None or known is None
            for one in self._sums.values():
                if one.means(path):
                    one.total += (fingerprint or 0) - (known or 0)
                    one.paths = None if comes_or_goes else one.paths
        return fingerprint != known

    def _meant(self, globs: Globs | None) -> Iterator[str]:
        for folder, files in self._folders.items():
            prefix = f"{folder}/" if folder else ""
            verdict = EVERYTHING if globs is None else globs.verdict(folder)
            yield from (prefix + name for name in files if verdict.means(to_octets(name)))


class _Held:
    """The files right in a folder, ready to be asked about by one list after another."""

    __slots__ = ("_by_octets", "_folder", "_total")

    def __init__(self, folder: str, files: _Files) -> None:
        self._folder = folder
        self._by_octets = [(to_octets(name), fingerprint) for name, fingerprint in files.items()]
        self._total = sum(files.values())

    def total_of(self, globs: Globs | None) -> int:
        """What those that `globs` mean add up to."""
        verdict = EVERYTHING if globs is None else globs.verdict(self._folder)
        if verdict.test is None:
            return self._total if verdict.rest else 0
        test = verdict.test
        return sum([fingerprint for octets, fingerprint in self._by_octets if test(octets)])


def _by_folder(entries: Mapping[str, Entry]) -> dict[str, _Files]:
    folders: defaultdict[str, _Files] = defaultdict(dict)
    for path, entry in entries.items():
        folder, _, name = path.rpartition("/")
        folders[folder][name] = entry.fingerprint
    return dict(folders)

"""A burst: what has happened in the tree since the last silence, and when it is over.

A burst is over after a silence that grows with it: half a millisecond after a single whole save, `settle` after a few,
up to `LONGEST_QUIET_S` after hundreds, because who writes so many (an archive, a generator) also pauses. It is over
at the latest after `MOST_S`, so that a file written without end does not hold up the others; one that keeps growing
quickly may take up to `MOST_GROWING_S`.
"""

import math
from collections.abc import Iterable

from hotpipe.tree.suspect import Suspect

MOST_S = 0.5
MOST_GROWING_S = 10.0
LONGEST_QUIET_S = 0.15
_EACH_S = 0.005  # a path more: who makes less than 200 a second is not waited for
_WHOLE_S = 0.0005  # of silence after a single whole save; epoll waits at least 1 ms, and its stragglers come within
_CALM_S = 0.1
_ONE_SAVE = 3  # paths at most: a scratch file, a backup, the file itself
_MUCH = 100  # paths to expect in a new folder, which may be filled before it is under watch, or when events were lost
_SOON = 16  # paths to expect where one burst follows upon another: the first may have been taken for a single save
_MANIFESTS = frozenset({
    "package.json", "package-lock.json", "npm-shrinkwrap.json", "yarn.lock", "pnpm-lock.yaml", "bun.lock",
    "pyproject.toml", "uv.lock", "poetry.lock", "pdm.lock", "Pipfile", "Pipfile.lock",
    "Cargo.toml", "Cargo.lock", "go.mod", "go.sum", "Gemfile", "Gemfile.lock", "composer.json", "composer.lock",
})  # fmt: skip
"""Package tools write these in pairs; between npm's two lie 1 to 6 ms."""


class Burst:
    """All times are in seconds of one monotonic clock; `after` is the end of the burst before."""

    def __init__(self, settle_s: float, after: float = -math.inf) -> None:
        self.paths: dict[str, Suspect] = {}
        self.began = self.last = math.inf
        self.fresh = False
        """Whether anything has come that nobody has looked at."""
        self._settle_s = settle_s
        self._after = after
        self._more = 0

    def add(self, suspects: Iterable[Suspect], now: float) -> None:
        """These have just been heard of."""
        for suspect in suspects:
            self.paths[suspect.path] = suspect
            self._stir(now)
            if (suspect.is_dir and suspect.write != "gone") or suspect.path.rpartition("/")[2] in _MANIFESTS:
                self._more = _MUCH

    def find(self, paths: Iterable[str], now: float) -> None:
        """Somebody looked, and these differ. What no event has told of may be a part of more."""
        self.add([Suspect(path, is_dir=False) for path in paths if path not in self.paths], now)

    def lose(self, now: float) -> None:
        """Events were lost."""
        self._more = _MUCH
        self._stir(now)

    def left_s(self, now: float) -> float:
        """How long it goes on if nothing more comes; not positive: it is over."""
        return min(self.last + self._quiet_s(), self.began + self._most_s()) - now if self.fresh else 0.0

    def is_late(self, now: float) -> bool:
        """Whether it has gone on for as long as it may, whatever comes."""
        return now >= self.began + self._most_s()

    @property
    def is_one_save(self) -> bool:
        """One file, written whole, after a time of calm, is no burst: it need not wait."""
        if self._more or len(self.paths) > _ONE_SAVE or not self._is_calm():
            return False
        ways = [suspect.write for suspect in self.paths.values() if not suspect.is_dir]
        return len(ways) == len(self.paths) and ways.count("whole") <= 1 and "open" not in ways

    def _is_calm(self) -> bool:
        return self.began - self._after > _CALM_S

    def _most_s(self) -> float:
        return min(MOST_S + len(self.paths) * _EACH_S, MOST_GROWING_S)

    def _quiet_s(self) -> float:
        if self.is_one_save:
            return min(self._settle_s, _WHOLE_S)
        more = self._more if self._is_calm() else max(self._more, _SOON)
        grown_s = self._settle_s * math.sqrt(max(len(self.paths), more, 1))
        return max(self._settle_s, min(grown_s, LONGEST_QUIET_S))

    def _stir(self, now: float) -> None:
        self.began, self.last, self.fresh = min(self.began, now), now, True

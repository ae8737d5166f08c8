"""Opens the files that findings name, in the user's editor, when somebody clicks on one.

Invariant: only a file that a finding has named and that lies in the project, whatever links lead to it, is opened; and
at most `OPENINGS` in `OPENINGS_S` seconds.
"""

import os
from collections.abc import Callable, Iterable, Sequence

import msgspec

from hotpipe.editor import Editor, Spot

OPENINGS = 10
OPENINGS_S = 10.0
MOST_PLACES = 2_000  # files that findings have named


class Open(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is asked for; line and column count from 1."""

    path: str
    line: int | None = None
    column: int | None = None


class Desk:
    """The project's `root`, and the editor that is there; `start` is given its argv."""

    def __init__(self, root: str, editor: Editor | None, start: Callable[[Sequence[str]], None]) -> None:
        self._root = os.path.realpath(root)
        self._editor = editor
        self._start = start
        self._places: dict[str, None] = {}
        self._taken: list[float] = []

    @property
    def editor(self) -> str:
        """Its name; empty: there is none."""
        return self._editor.name if self._editor is not None else ""

    def remember(self, paths: Iterable[str]) -> None:
        """Findings name these. Also later they can be opened: who clicks is slower than a run."""
        for path in paths:
            self._places.pop(path, None)
            self._places[path] = None
        while len(self._places) > MOST_PLACES:
            del self._places[next(iter(self._places))]

    def open(self, asked: Open, now: float) -> int:
        """Open it; returns what came of it, as a status of HTTP."""
        spot = self._spot(asked)
        if spot is None:
            return 404
        if self._editor is None:
            return 409
        if not self._is_turn(now):
            return 429
        try:
            self._start(self._editor.argv(spot))
        except OSError:
            return 500
        return 204

    def _spot(self, asked: Open) -> Spot | None:
        if asked.path not in self._places or not asked.path.isprintable():
            return None
        file = os.path.realpath(os.path.join(self._root, asked.path))
        if not file.startswith(os.path.join(self._root, "")) or not os.path.isfile(file):
            return None
        return Spot(file, max(1, asked.line or 1), max(1, asked.column or 1))

    def _is_turn(self, now: float) -> bool:
        self._taken = [at for at in self._taken if now - at < OPENINGS_S]
        if len(self._taken) >= OPENINGS:
            return False
        self._taken.append(now)
        return True

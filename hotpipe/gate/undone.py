"""Who undoes run after run: the arithmetic by which a stage that writes watched files is found out. Pure.

A run is undone when something that it read is written while it goes on: by somebody who edits, or by a stage. Who
edits has, as a rule, also edited the file while nothing ran. So files that change only during runs are laid to the
stages much sooner. A name that is new in each run tells nothing: then it takes longest.
"""

from collections.abc import Collection

from msgspec import Struct
from msgspec.structs import replace

PATIENCE = 3  # runs in a row that files may undo which nobody has edited in between
PATIENCE_WITH_AUTHORS = 8  # the same where somebody has
PATIENCE_WITH_STRANGERS = 12  # and where it is other files each time
LONGEST_REST_S = 600.0


class Undone(Struct, frozen=True):
    """How often in a row runs were undone: `same` times by just the files `by`, `any` times by whatever files.
    `suspects` are the stages that were at work each time, `edited` the files that changed while nothing ran."""

    by: frozenset[str] = frozenset()
    same: int = 0
    any: int = 0
    suspects: frozenset[str] = frozenset()
    edited: frozenset[str] = frozenset()

    def once_more(self, paths: Collection[str], ran: Collection[str]) -> "Undone":
        """After a run in which the stages `ran` was undone by `paths`."""
        by, first = frozenset(paths), not self.any
        suspects = frozenset(ran) if first else self.suspects & frozenset(ran)
        return replace(self, by=by, same=self.same + 1 if by == self.by else 1, any=self.any + 1, suspects=suspects)

    def by_hand(self, paths: Collection[str]) -> "Undone":
        """After a change while nothing ran."""
        return Undone(edited=self.edited.union(paths))

    def settled(self) -> "Undone":
        """After a run that stands."""
        return Undone(edited=self.edited)

    @property
    def excess(self) -> int:
        """How many runs beyond patience; below 1, there is nothing to say."""
        patience = PATIENCE_WITH_AUTHORS if self.by & self.edited else PATIENCE
        return max(self.same - patience, self.any - PATIENCE_WITH_STRANGERS) + 1

    @property
    def rest_s(self) -> float:
        """How long to wait before the next run: never for ever, for it may have been somebody's last save."""
        return min(2.0 ** min(self.excess - 1, 16), LONGEST_REST_S)

    def accusation(self) -> tuple[str, str]:
        """What to say, and the way out."""
        files, runs = some(self.by), max(self.same, self.any if self.same < PATIENCE else 0)
        if len(self.suspects) == 1:
            (stage,) = self.suspects
            message = f"stage {stage!r} writes {files} while it runs: none of the last {runs} runs counts"
            way_out = f"mutates = true under [stage.{stage}]; else add the file to ignore under [watch]"
            return message, f"if that is its work, say so: {way_out}"
        who = f" (by {' or '.join(sorted(self.suspects))}?)" if self.suspects else ""
        message = f"{files}: written during {runs} runs in a row{who}, none of which counts"
        return message, "if a stage writes it, give that stage mutates = true, or add the file to ignore under [watch]"


def some(paths: Collection[str]) -> str:
    """The first few of them."""
    first, more = sorted(paths)[:3], len(paths) - 3
    return f"{', '.join(first)} and {more} more" if more > 0 else ", ".join(first)

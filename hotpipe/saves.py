"""How many saves ago a tree was on disk. Pure."""

from hotpipe.events import AnyEvent, ChangeDetected, RunStarted, ServerStarting

_MOST_TREES = 1_000


class Saves:
    """Counts them, and remembers which tree was there when."""

    def __init__(self) -> None:
        self.count = 0
        self._seen: dict[str, int] = {}

    def apply(self, event: AnyEvent) -> None:
        """Take in one event."""
        match event:
            case ChangeDetected():
                self.count += 1
            case RunStarted(tree=tree):
                self._see(tree)
            case ServerStarting(tree=str(tree)) if tree not in self._seen:
                self._see(tree)
            case _:
                pass

    def since(self, tree: str | None) -> int:
        """How many there were since that tree was on disk; 0 where that is not known."""
        return self.count - self._seen.get(tree or "", self.count)

    def is_there(self, tree: str) -> bool:
        """Whether that tree is on disk, as far as anybody has told."""
        return self._seen.get(tree) == self.count

    def _see(self, tree: str) -> None:
        self._seen.pop(tree, None)
        self._seen[tree] = self.count
        while len(self._seen) > _MOST_TREES:
            del self._seen[next(iter(self._seen))]

"""What is on the screen, and the least that has to be written to make it what it should be. Pure."""

_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"  # synchronised update: who knows it shows all at once, others ignore it


class Frame:
    """The rows as they were written last."""

    def __init__(self) -> None:
        self._rows: list[str] = []

    def forget(self) -> None:
        """Nobody knows what is on the screen."""
        self._rows = []

    def update(self, rows: list[str]) -> str:
        """What makes the screen show these rows; empty where it does."""
        before, self._rows = self._rows, rows
        if len(before) != len(rows):
            before = [""] * len(rows)
            return f"{_BEGIN}\x1b[2J{_changes(before, rows)}{_END}"
        changes = _changes(before, rows)
        return f"{_BEGIN}{changes}{_END}" if changes else ""


def _changes(before: list[str], after: list[str]) -> str:
    pairs = enumerate(zip(before, after, strict=True), 1)
    return "".join(f"\x1b[{row};1H{new}" for row, (old, new) in pairs if old != new)

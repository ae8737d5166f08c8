"""Which stage comes next. Pure."""

from collections.abc import Sequence


def following(stages: Sequence[str], stage: str | None) -> str | None:
    """The stage after `stage` in the order written; the first one after None; None after the last."""
    place = 0 if stage is None else stages.index(stage) + 1
    return stages[place] if place < len(stages) else None


def after(stages: Sequence[str], stage: str) -> tuple[str, ...]:
    """All stages that come after `stage`."""
    return tuple(stages[stages.index(stage) + 1 :])

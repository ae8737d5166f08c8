"""What the gate says of the tree that it knows of. Pure."""

from typing import Literal, NamedTuple

from hotpipe.gate.state import Idle, Running, State, Touching, Untouched


class Verdict(NamedTuple):
    """What a run came to. It stands: nothing that concerns it has changed since."""

    status: Literal["green", "red"]
    run: int


def standing(state: State) -> Verdict | None:
    """The verdict; null where some stage has none that stands, or a change waits for its run."""
    match state:
        case Idle(past) if past.runs:  # where nothing is left to do, every stage has one
            return Verdict("red" if past.failed else "green", past.runs)
        case Untouched(_, run) | Running(_, run) | Touching(_, run) if run.told in ("green", "red"):
            return Verdict(run.told, run.number)
        case _:
            return None

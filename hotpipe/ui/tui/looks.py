"""What the user has chosen to see, and which logs there are to choose from. Pure."""

from dataclasses import dataclass, replace
from typing import Literal

from hotpipe.events import Warned
from hotpipe.ui.view import View

Kind = Literal["servers", "server", "stage", "failures", "warnings", "help", "nothing"]


@dataclass(frozen=True, slots=True)
class Choice:
    """What stands in the pane below: a log (of all servers, of a server or stage of that name), or a list."""

    kind: Kind
    name: str = ""


HELP, FAILURES, WARNINGS, NOTHING = Choice("help"), Choice("failures"), Choice("warnings"), Choice("nothing")


@dataclass(frozen=True, slots=True)
class Looks:
    """`chosen`: none, as long as the pane follows what happens. `seen` is the last warning that the user has looked at.

    `top` is the line that stands first in the pane, counted from the first that was ever written; none: it follows.
    """

    chosen: Choice | None = None
    top: int | None = None
    message: str = ""
    until: float = 0.0  # when the message goes, CLOCK_MONOTONIC in seconds; infinite: when a key is pressed
    seen: Warned | None = None
    typed: bool = False  # a key was pressed: what greets the user goes

    def choosing(self, choice: Choice | None) -> "Looks":
        """Another log, from its end."""
        return replace(self, chosen=choice, top=None)


def logs(view: View) -> list[Choice]:
    """All that can be looked at, in their order."""
    servers = [Choice("server", name) for name in view.servers]
    together = [Choice("servers")] if len(servers) > 1 else []
    return [*together, *servers, *(Choice("stage", name) for name in stages(view))]


def stages(view: View) -> list[str]:
    """The names of all stages, in their order, and those that only the run knows."""
    known = view.run.stages if view.run else ()
    return list(dict.fromkeys((*view.stages, *known)))


def by_itself(view: View, before: Choice) -> Choice:
    """What is shown where the user has chosen nothing: a failure until it is mended, else what the servers say."""
    failed = view.run.failures() if view.run else []
    if failed:
        return before if before.name in {stage.name for stage in failed} else Choice("stage", failed[0].name)
    there = logs(view)
    if view.verdict == "red" and view.run is not None and view.run.status is None and before in there:
        return before
    if view.servers:
        return there[0]
    return _at_work(view) or (before if before in there else there[0] if there else NOTHING)


def _at_work(view: View) -> Choice | None:
    """The stage that was started last and has not ended."""
    running = [stage for stage in view.run.stages.values() if stage.status is None] if view.run else []
    return Choice("stage", running[-1].name) if running else None


def following(view: View, now: Choice, steps: int) -> Choice | None:
    """The log after (or before) this one; none after the last: the pane chooses by itself again."""
    there = logs(view)
    if not there:
        return None
    if now not in there:
        return there[0 if steps > 0 else -1]
    place = there.index(now) + steps
    return there[place] if 0 <= place < len(there) else None

"""What is worth a word to somebody who looks elsewhere: green turns red, red turns green, a server goes, comes back.

Pure. Invariant: nothing is told twice. The first verdict is none of a change, a run that gave way is none at all, and a
server that dies again and again on the same tree is told of as gone, as back, as dying, and then no more.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from hotpipe.events import (
    AnyEvent,
    ConfigReloaded,
    Ending,
    RunFinished,
    RunStarted,
    ServerFailed,
    ServerLive,
    ServerStarting,
    ServerVerified,
    StageFinding,
    StageFinished,
    Stamped,
)

HEALTHY_S = 60.0  # so long alive, and a death is a new one
_LONGEST = 200  # characters
_MOST_NAMES = 3
_RED = frozenset({"failed", "timed_out"})


class Notice(msgspec.Struct, frozen=True):
    """`about` is a server's name, empty for the checks. Texts are one printable line each: no control characters."""

    about: str
    title: str
    body: str
    good: bool = False


@dataclass(slots=True)
class _Server:
    """What was told of a server; `stale`: its next generation failed, and the one before it goes on."""

    told: Literal["well", "stale", "down", "dying"] = "well"
    trees: dict[int, str | None] = field(default_factory=dict)  # of its last generations
    back: str | None = ""  # the tree that it was told to be back with
    live_at: float = 0.0


class Notices:
    """Folds events into notices; `project` is what the user knows it by."""

    def __init__(self, project: str) -> None:
        self._project = project
        self._verdict: Literal["green", "red"] | None = None
        self._failed: list[str] = []  # stages of the current run
        self._first: dict[str, StageFinding] = {}  # of each of its stages
        self._blamed: tuple[str, ...] = ()  # stages of the last red run, while nothing is green
        self._servers: dict[str, _Server] = {}
        self._ending = False

    def apply(self, stamped: Stamped) -> Notice | None:
        """Take in one event."""
        event = stamped.event
        match event:
            case RunStarted() | StageFinding() | StageFinished():
                self._note(event)
            case RunFinished(status="green" | "red" as status) if not self._ending:
                return self._judged(status)
            case ServerStarting():
                trees = self._server(event.server).trees
                trees[event.generation] = event.tree
                for old in list(trees)[:-3]:
                    del trees[old]
            case ServerFailed() if not self._ending:
                return self._server_failed(self._server(event.server), event, stamped.stamp.mono)
            case ServerLive():
                return self._server_live(self._server(event.server), event, stamped.stamp.mono)
            case ServerVerified() if self._server(event.server).told == "stale":
                self._server(event.server).told = "well"
                return self._notice(event.server, f"generation {event.generation} is what is wanted, and has passed")
            case ConfigReloaded():
                named = {each.name for each in event.servers}
                self._servers = {name: each for name, each in self._servers.items() if name in named}
            case Ending():
                self._ending = True
            case _:
                pass
        return None

    @property
    def title(self) -> str:
        """How things stand, for a title; empty while nothing is known."""
        down = [name for name, each in self._servers.items() if each.told != "well"]
        if wrong := [*self._blamed, *down]:
            return self._titled("✗", wrong)
        return _line(f"✓ {self._project}") if self._verdict or self._servers else ""

    def _note(self, event: AnyEvent) -> None:
        match event:
            case RunStarted():
                self._failed, self._first = [], {}
            case StageFinding(severity="error"):
                known = self._first.get(event.stage)
                if known is None or known.severity != "error":
                    self._first[event.stage] = event
            case StageFinding():
                self._first.setdefault(event.stage, event)
            case StageFinished(status=status, allowed=False) if status in _RED:
                self._failed.append(event.stage)
            case _:
                pass

    def _judged(self, status: Literal["green", "red"]) -> Notice | None:
        before, self._verdict = self._verdict, status
        self._blamed = tuple(self._failed) if status == "red" else ()
        if before is None or before == status:
            return None
        if status == "green":
            return Notice("", _line(f"✓ {self._project}"), "green again", good=True)
        first = next((self._first[name] for name in self._failed if name in self._first), None)
        return Notice("", self._titled("✗", self._failed), _line(_place(first)) if first else "red")

    def _server_failed(self, server: _Server, event: ServerFailed, now: float) -> Notice | None:
        told, server.told = server.told, self._worse(server, event, now)
        if server.told == told:
            return None
        goes_on = "" if event.serving is None else f"; generation {event.serving} goes on serving"
        keeps = "keeps dying: " if server.told == "dying" else ""
        said = f"{keeps}generation {event.generation}: {event.reason}{goes_on}"
        return Notice(event.server, self._titled("✗", [event.server]), _line(said))

    def _worse(self, server: _Server, event: ServerFailed, now: float) -> Literal["stale", "down", "dying"]:
        again = server.trees.get(event.generation) == server.back and now - server.live_at < HEALTHY_S
        if server.told == "dying" and again:
            return "dying"
        if event.serving is not None:
            return "down" if server.told == "down" else "stale"
        return "dying" if again and server.told == "well" else "down"

    def _server_live(self, server: _Server, event: ServerLive, now: float) -> Notice | None:
        tree, server.live_at = server.trees.get(event.generation), now
        if server.told == "well" or (server.told == "dying" and tree == server.back):
            return None
        server.told, server.back = "well", tree
        return self._notice(event.server, f"generation {event.generation} is live")

    def _notice(self, server: str, body: str) -> Notice:
        return Notice(server, _line(f"✓ {server} · {self._project}"), _line(body), good=True)

    def _titled(self, mark: str, names: list[str]) -> str:
        more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        return _line(f"{mark} {', '.join(names[:_MOST_NAMES])}{more} · {self._project}")

    def _server(self, name: str) -> _Server:
        return self._servers.setdefault(name, _Server())


def latest(notices: Iterable[Notice]) -> list[Notice]:
    """The last of those that are about the same."""
    return list({notice.about: notice for notice in notices}.values())


def _place(finding: StageFinding) -> str:
    at = ":".join(str(part) for part in (finding.path, finding.line) if part is not None)
    return " ".join(filter(None, (at, finding.code, finding.message)))


def _line(text: str) -> str:
    """What a stage wrote must neither steer a terminal nor fill the screen."""
    clean = " ".join("".join(sign if sign.isprintable() else " " for sign in text[: _LONGEST * 4]).split())
    return clean if len(clean) <= _LONGEST else f"{clean[: _LONGEST - 1]}…"

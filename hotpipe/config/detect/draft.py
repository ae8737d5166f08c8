"""What is proposed for a project: stages, servers, and why. Nothing here is a configuration yet."""

import re
from collections.abc import Collection
from dataclasses import dataclass, field, replace

LAST_PORT = 65_535
_ODD = re.compile(r"[^A-Za-z0-9_-]+")
_LONGEST = 60  # characters of a name, which is part of those of files, too


def name_of(text: str, taken: Collection[str] = ()) -> str:
    """A name of the configuration for a folder or a program, unlike those that are `taken`; without dots, which TOML
    would take for tables."""
    name = _ODD.sub("-", text)[:_LONGEST].strip("-") or "part"
    return next(one for one in (name, *(f"{name}-{count}" for count in range(2, len(taken) + 3))) if one not in taken)


def port_of(written: str | None, usual: int) -> int:
    """A port as it stands in a source; the usual one where there is none, or the number is no port."""
    port = int(written) if written else usual
    return port if 0 < port <= LAST_PORT else usual


@dataclass(frozen=True, slots=True)
class StageDraft:
    """A stage. `because` says what it was seen by; one that is `missing` something is written commented out.

    `options` are further lines, commented out: what somebody may want to turn on.
    """

    name: str
    run: str
    because: str
    inputs: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    cwd: str = "."
    cache: bool = True
    options: tuple[str, ...] = ()
    missing: str = ""


@dataclass(frozen=True, slots=True)
class ServerDraft:
    """A server. `port` is the one to listen on, `takes_socket` whether it is hotpipe that listens; `log` is what it
    prints when it can serve. `notes` are lines of comment."""

    name: str
    run: str
    because: str
    port: int = 8000
    takes_socket: bool = True
    env: dict[str, str] = field(default_factory=dict)
    cwd: str = "."
    inputs: tuple[str, ...] = ()
    needs: tuple[str, ...] | None = None
    is_built: bool = False
    log: str = ""
    notes: tuple[str, ...] = ()
    missing: str = ""


@dataclass(frozen=True, slots=True)
class Draft:
    """All that is proposed: each server is a choice, the best first. `ignore` are lines for `[watch]`, `unseen` what
    was looked for in vain."""

    stages: tuple[StageDraft, ...] = ()
    servers: tuple[tuple[ServerDraft, ...], ...] = ()
    ignore: tuple[str, ...] = ()

    def __add__(self, other: "Draft") -> "Draft":
        return Draft(self.stages + other.stages, self.servers + other.servers, self.ignore + other.ignore)

    def active(self) -> tuple[StageDraft, ...]:
        """The stages that can run."""
        return tuple(stage for stage in self.stages if not stage.missing)

    def choose(self, chosen: tuple[ServerDraft, ...]) -> "Draft":
        """With one server for each choice."""
        return replace(self, servers=tuple((server,) for server in chosen))

"""What `hotpipe status` is told: the events folded into where everything stands. Pure."""

from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from hotpipe.control.protocol import Failure, Run, Server, Socket
from hotpipe.events import (
    Address,
    AnyEvent,
    RunFinished,
    RunStarted,
    ServerDiscarded,
    ServerDraining,
    ServerFailed,
    ServerLive,
    ServerStarting,
    ServerStopped,
    ServerVerified,
)

_replace = msgspec.structs.replace


class _Generation(msgspec.Struct, frozen=True):
    pid: int
    tree: str | None
    verified: bool = False


class Standing:
    """Where the gate's newest run and each server stand."""

    def __init__(self, servers: Mapping[str, Iterable[Address]]) -> None:
        """`servers` says where each of them listens."""
        self.run: Run | None = None
        self._servers: dict[str, Server] = {}
        self._generations: dict[tuple[str, int], _Generation] = {}
        self.know(servers)

    @property
    def servers(self) -> tuple[Server, ...]:
        """In the order of the configuration."""
        return tuple(self._servers.values())

    def know(self, servers: Mapping[str, Iterable[Address]]) -> None:
        """These are the servers from now on, and where they listen. What happens to others is not told any more."""
        sockets = {name: tuple(Socket(each.name, each.addr) for each in servers[name]) for name in servers}
        self._servers = {
            name: _replace(self._servers.get(name, Server(name=name, state="stopped")), sockets=sockets[name])
            for name in servers
        }
        self._generations = {key: each for key, each in self._generations.items() if key[0] in servers}

    def apply(self, event: AnyEvent) -> None:
        """Take in one event."""
        if getattr(event, "server", None) in self._servers.keys() | {None}:
            self._apply(event)

    def _apply(self, event: AnyEvent) -> None:
        match event:
            case RunStarted(run=run, tree=tree):
                self.run = Run(run=run, status="running", tree=tree)
            case RunFinished(status=status) if self.run is not None:
                self.run = _replace(self.run, status=status)
            case ServerStarting(server=name, generation=number):
                self._generations[name, number] = _Generation(event.pid, event.tree)
                if self._servers[name].generation is None:
                    self._servers[name] = _replace(self._servers[name], state="starting")
            case ServerLive(server=name, generation=number):
                self._servers[name] = _replace(self._servers[name], failure=None)
                self._serve(name, number)
            case ServerVerified(server=name, generation=number):
                self._generations[name, number] = _replace(self._generations[name, number], verified=True)
                self._serve(name, self._servers[name].generation)
            case ServerFailed(server=name, serving=serving):
                failure = Failure(event.generation, event.reason)
                self._servers[name] = _replace(self._servers[name], failure=failure)
                self._serve(name, serving, otherwise="failed")
            case ServerDiscarded(server=name, serving=serving):
                self._serve(name, serving)
            case ServerDraining(server=name, generation=number) if number == self._servers[name].generation:
                self._servers[name] = _replace(self._servers[name], state="draining")
            case ServerStopped(server=name, generation=number):
                self._generations.pop((name, number), None)
                if number == self._servers[name].generation:
                    self._serve(name, None)
            case _:
                pass

    def _serve(
        self,
        name: str,
        number: int | None,
        otherwise: Literal["stopped", "failed"] = "stopped",
    ) -> None:
        before = self._servers[name]
        serving = self._generations.get((name, number)) if number is not None else None
        if serving is None:
            state = before.state if before.state == "failed" else otherwise
            self._servers[name] = Server(name=name, state=state, sockets=before.sockets, failure=before.failure)
            return
        self._servers[name] = _replace(
            before,
            state="live",
            generation=number,
            pid=serving.pid,
            tree=serving.tree,
            verified=serving.verified,
        )

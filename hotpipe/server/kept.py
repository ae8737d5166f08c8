"""The TCP connections that a process had when new ones were led away from it, and whether it was asked on them since.

Clients with a pool, as browsers are, stay with the process that they know: then the old one answers, and not the new.

Invariant: none is added later. What the kernel does not tell (no diag, unix sockets) is nothing, and `was_revisited`
stays false; so it does for a connection that was opened, asked on and closed between two looks.
"""

from collections.abc import Collection, Iterable

import anyio

from hotpipe.server import diag

_FEW = 64  # up to so many connections, to look at each is cheaper than to have the kernel list all (diag.py)
_LOOK_S = 0.05


class Kept:
    """Those of one process."""

    def __init__(self) -> None:
        self.connections: tuple[diag.Connection, ...] = ()  # that were there at the last look
        self.was_revisited = False  # a request has come, or more of one
        self._asked: dict[bytes, int] = {}  # how much had come when new ones were led away

    def begin(self, ports: Collection[int], connections: Iterable[diag.Connection]) -> None:
        """These are all that it has on these ports; it gets no more there."""
        others = [each for each in self.connections if each.local[1] not in ports]
        asked = {each.mark: self._asked[each.mark] for each in others}
        self.connections = (*others, *connections)
        self._asked = {each.mark: each.bytes_received for each in self.connections} | asked
        self.was_revisited = False

    def look(self) -> None:
        """How they are now."""
        if self.connections:
            self.connections = self._seen_again()
        if any(each.bytes_received > self._asked[each.mark] for each in self.connections):
            self.was_revisited = True

    async def until_revisited(self) -> None:
        """Look now and then; returns also when none is left."""
        while self.connections and not self.was_revisited:
            await anyio.sleep(_LOOK_S)
            self.look()

    def _seen_again(self) -> tuple[diag.Connection, ...]:
        if len(self.connections) <= _FEW:
            found = diag.look_again(self.connections)
            return self.connections if found is None else tuple(found)
        return tuple(
            each for each in on_ports({each.local[1] for each in self.connections}) if each.mark in self._asked
        )


def on_ports(ports: Iterable[int]) -> list[diag.Connection]:
    """All that are open at the servers' ends."""
    return [connection for port in ports for connection in diag.connections(port) or ()]

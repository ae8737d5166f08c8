"""When a generation that gets no new connections has done its work, and the moment in which to stop it.

How it works: first its accept queue is empty and stays so; then each request that was running when new connections
were led away has been answered (`drained`). On kept-alive connections further requests may come for ever. A server
that stops at once would tear one of these in two, so a moment is sought in which it works on none (`halted_at_rest`):
the process stands still (SIGSTOP), and what it has read, it has answered. A request that it has not read yet does not
count: its client finds a kept connection closed before any answer, and asks again on a new one, as all clients must
(RFC 9112, 9.3.1).

Over unix sockets nobody can tell work from idleness: there the connections must be closed.
"""

import anyio

from hotpipe.process.system import Processes, Running
from hotpipe.server import diag
from hotpipe.server.cutover import Cutover

_LOOK_S = 0.004  # a jiffy: the kernel's times are no finer
_CALM_S = 0.02  # the queue must stay empty for so long: a handshake may be under way
_STANDSTILL_S = 0.001  # until a signal has reached all threads
_LONGEST_SEARCH_S = 1.0
_YOUNG_MS = 250  # a client that has just connected is about to ask something


async def drained(cutover: Cutover, number: int) -> None:
    """Returns when nothing that the generation was asked is unanswered. Whoever calls bounds it."""
    await _queue_empty(cutover, number)
    unanswered = {connection.mark for connection in cutover.connections(number)}
    while unanswered or cutover.unix_connections(number):
        unanswered &= {each.mark for each in cutover.connections(number) if is_owed(each)}
        await anyio.sleep(_LOOK_S)


async def halted_at_rest(cutover: Cutover, number: int, processes: Processes, child: Running) -> None:
    """Returns while the child stands still and works on no request; after a second in any case, as it is then."""
    rest = _Rest()
    with anyio.move_on_after(_LONGEST_SEARCH_S):
        while True:
            if rest.holds(cutover.connections(number)):
                processes.halt(child)
                await anyio.sleep(_STANDSTILL_S)
                if rest.holds(cutover.connections(number)):
                    return
                processes.resume(child)
            await anyio.sleep(_LOOK_S)


def is_owed(connection: diag.Connection) -> bool:
    """An answer is due on it, or a request is about to come."""
    if not connection.bytes_received:
        return connection.last_sent_ms < _YOUNG_MS
    return diag.is_busy(connection)


class _Rest:
    """Remembers how much each connection had received when it was last idle: only what came after is unanswered."""

    def __init__(self) -> None:
        self._answered: dict[bytes, int] = {}

    def holds(self, connections: list[diag.Connection]) -> bool:
        """No request has been read, as a whole or in part, and not been answered."""
        for each in connections:
            if not is_owed(each):
                self._answered[each.mark] = each.bytes_received
        return all(self._rests(each) for each in connections)

    def _rests(self, each: diag.Connection) -> bool:
        read = each.bytes_received - each.rqueue
        return not each.wqueue and self._answered.get(each.mark) == read


async def _queue_empty(cutover: Cutover, number: int) -> None:
    empty_since = anyio.current_time()
    while anyio.current_time() - empty_since < _CALM_S:
        if cutover.waiting(number):
            empty_since = anyio.current_time()
        await anyio.sleep(_LOOK_S)

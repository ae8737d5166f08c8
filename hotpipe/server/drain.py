"""When a generation that gets no new connections has done its work.

How it works: first its accept queue is empty and stays so; then each request that was running when new connections
were led away has been answered. Who comes back on a kept-alive connection does not prolong that: see `turnaway`.

Over unix sockets nobody can tell work from idleness: there the connections must be closed.
"""

from collections.abc import Mapping

import anyio

from hotpipe.server import diag
from hotpipe.server.cutover import Cutover

_LOOK_S = 0.004  # a jiffy: the kernel's times are no finer
_CALM_S = 0.02  # the queue must stay empty for so long: a handshake may be under way
_PAUSE_MS = 250  # an answer that is sent in pieces may pause for so long
_YOUNG_MS = 250  # a client that has just connected is about to ask something


async def drained(cutover: Cutover, number: int) -> None:
    """Returns when nothing that the generation was asked is unanswered. Whoever calls bounds it."""
    await _queue_empty(cutover, number)
    asked = {each.mark: each.bytes_received for each in cutover.connections(number)}
    unanswered = set(asked)
    turns = _Turns()
    while unanswered or cutover.unix_connections(number):
        looked_at = cutover.connections(number)
        owed = (each for each in looked_at if is_owed(each) or _may_stream(each, asked))
        unanswered &= {each.mark for each in owed if not turns.are_enough(each)}
        await anyio.sleep(_LOOK_S)


def is_owed(connection: diag.Connection) -> bool:
    """An answer is due on it, or a request is about to come."""
    if not connection.bytes_received:
        return connection.last_sent_ms < _YOUNG_MS
    return diag.is_busy(connection)


def _may_stream(connection: diag.Connection, asked: Mapping[bytes, int]) -> bool:
    """No further request has come, and the answer to the last one was being sent a moment ago: more may follow."""
    same = asked.get(connection.mark) == connection.bytes_received
    return same and connection.bytes_sent > 0 and connection.last_sent_ms < _PAUSE_MS


class _Turns:
    """Counts whose turn it was on a connection that is busy at each look, because one request chases the other.

    Once the client sends after the server has sent, the server had answered. Twice: the first may be `100 Continue`.
    """

    def __init__(self) -> None:
        self._taken: dict[bytes, tuple[int, int]] = {}  # how many turns; how much its side had sent before the next one

    def are_enough(self, each: diag.Connection) -> bool:
        """What the client had asked at the first look has been answered."""
        sent_by_side = each.bytes_sent, each.bytes_received
        count, before = self._taken.get(each.mark, (0, each.bytes_sent))
        if sent_by_side[count % 2] > before:
            count += 1
            before = sent_by_side[count % 2]
        self._taken[each.mark] = (count, before)
        return count >= 4


async def _queue_empty(cutover: Cutover, number: int) -> None:
    empty_since = anyio.current_time()
    while anyio.current_time() - empty_since < _CALM_S:
        if cutover.waiting(number):
            empty_since = anyio.current_time()
        await anyio.sleep(_LOOK_S)

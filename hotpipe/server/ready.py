"""When a server is ready, by whatever evidence the configuration asks for.

`auto`: it has accepted a connection. How it works: connect by the private way, send nothing, and read the length of
the accept queue on our own copy of the listening socket. Only accept(2) makes a queue shorter, so any server shows
itself in this way, and a prefork master that does not accept does not. (gunicorn says READY=1 before its application
is imported.)
"""

import contextlib
import socket
import ssl
from collections.abc import Callable

import anyio
import anyio.to_thread

from hotpipe.config.model import Ready
from hotpipe.server.listener import Listener
from hotpipe.server.signs import Signs

ALIVE_S = 1.0  # a server without stream sockets that says nothing is ready when it has lived this long
_LOOK_S = 0.002
_SURE = 3  # empty looks in a row that prove that our own connection is not merely still on its way
_ASK_AGAIN_S = 0.05
_ANSWER_S = 10.0


async def evidence(ready: Ready, signs: Signs) -> str:
    """Returns once it can serve, and says how we know; waits without end otherwise."""
    match ready.how:
        case "notify":
            await signs.said_ready.wait()
            return "READY=1"
        case "http":
            return await _answers(ready, signs)
        case "log":
            await signs.matched.wait()
            return f"a line that matches {ready.log!r}"
        case "after":
            await anyio.sleep(ready.after)
            return f"alive for {ready.after:g} s"
        case "auto":
            return await _accepts(signs)


def missing(ready: Ready, signs: Signs, within: str) -> str:
    """What it has not shown in that time, for the report."""
    match ready.how:
        case "notify":
            return f"it sent no READY=1 within {within}"
        case "http":
            return f"no {ready.status} to GET {ready.http} within {within}: {signs.last_answer}"
        case "log":
            return f"it wrote no line that matches {ready.log!r} within {within}"
        case _ if is_accepting(ready, signs):
            return f"it accepted no connection within {within}"
        case _:
            return f"it was to live for {max(ready.after, ALIVE_S):g} s, and ready_timeout is {within}"


def is_accepting(ready: Ready, signs: Signs) -> bool:
    """Whether a connection that it accepts is the evidence."""
    return ready.how == "auto" and any(listener.listen.is_stream for listener in signs.listeners)


async def _accepts(signs: Signs) -> str:
    pairs = [pair for pair in zip(signs.listeners, signs.members, strict=False) if pair[0].listen.is_stream]
    if not pairs or not (signs.alone or all(listener.is_private for listener, _ in pairs)):
        with anyio.move_on_after(ALIVE_S):
            await signs.said_ready.wait()
            return "READY=1"
        return f"alive for {ALIVE_S:g} s"
    for listener, member in pairs:
        await _accepted(listener, member)
    return "accepted a connection"


async def _accepted(listener: Listener, member: socket.socket) -> None:
    longest, empty = 0, 0
    with await _knock(listener, member):
        while (now := listener.waiting(member)) >= longest and empty < _SURE:
            longest = now
            empty = empty + 1 if now == 0 else 0
            await anyio.sleep(_LOOK_S)


async def _knock(listener: Listener, member: socket.socket) -> socket.socket:
    """Be in the queue; a full one is tried again."""
    while True:
        with contextlib.suppress(OSError, TimeoutError):
            return await listener.connect(member)
        await anyio.sleep(_ASK_AGAIN_S)


async def _answers(ready: Ready, signs: Signs) -> str:
    pairs = zip(signs.listeners, signs.members, strict=False)
    streams = [pair for pair in pairs if pair[0].listen.is_stream]
    listener, member = next((pair for pair in streams if pair[0].listen.type in {"http", "https"}), streams[0])
    while True:
        with await _knock(listener, member) as client:
            ask = _request(client, listener, ready.http)
            signs.last_answer = await anyio.to_thread.run_sync(ask, abandon_on_cancel=True)
        if signs.last_answer == f"it answered {ready.status}":
            return f"GET {ready.http}: {ready.status}"
        await anyio.sleep(_ASK_AGAIN_S)


def _request(client: socket.socket, listener: Listener, path: str) -> Callable[[], str]:
    """Ask once over this connection; gives what came of it."""

    def ask() -> str:
        import http.client  # noqa: PLC0415 - start-up time: few are asked, and this is a thread

        try:
            own = client.dup()  # whoever waits for us may give up, and close his
            own.settimeout(_ANSWER_S)
            with own, _wrapped(own) if listener.listen.type == "https" else own as channel:
                connection = http.client.HTTPConnection("localhost")
                connection.sock = channel
                connection.request("GET", path, headers={"Connection": "close", "User-Agent": "hotpipe"})
                return f"it answered {connection.getresponse().status}"
        except (OSError, http.client.HTTPException) as error:
            return f"no answer ({str(error) or type(error).__name__})"

    return ask


def _wrapped(client: socket.socket) -> ssl.SSLSocket:
    """A candidate's certificate is not ours to judge."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(client, server_hostname="localhost")

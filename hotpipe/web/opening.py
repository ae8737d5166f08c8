"""What the dashboard needs before anything is started: the extra, a socket on loopback, the token.

Nothing here loads Starlette or uvicorn.
"""

import contextlib
import errno
import importlib.util
import ipaddress
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass

from hotpipe.config.model import Web
from hotpipe.errors import SocketError, UsageError
from hotpipe.web import token

VARIABLE = "HOTPIPE_WEB"
"""Tells a server where the dashboard is: `http://127.0.0.1:7777`, without the token."""
_NEEDED = ("starlette", "uvicorn")
_BACKLOG = 64


@dataclass(frozen=True, slots=True)
class Opened:
    """The listening socket, its origin (`http://127.0.0.1:7777`), and what lets a page act."""

    listening: socket.socket
    origin: str
    token: str

    @property
    def url(self) -> str:
        """What to open. A fragment is sent to nobody, not even to us: the page reads it."""
        return f"{self.origin}/#token={self.token}"


def require() -> None:
    """Raises UsageError where the extra is not installed."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        hint = "install the extra: pip install 'hotpipe[web]'"
        raise UsageError(f"--web needs {' and '.join(missing)}, which this Python has not", hint)


@contextlib.contextmanager
def opened(web: Web, folder: str) -> Iterator[Opened]:
    """Hold the socket, and tell the servers to come; raises SocketError. The token is kept in `folder`."""
    with _listening(web) as listening:
        host, port = listening.getsockname()[:2]
        origin = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        with _told(origin):
            yield Opened(listening, origin, token.of(folder))


@contextlib.contextmanager
def _told(origin: str) -> Iterator[None]:
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = origin
    try:
        yield
    finally:
        os.environ.pop(VARIABLE)
        if before is not None:
            os.environ[VARIABLE] = before


def _listening(web: Web) -> socket.socket:
    with contextlib.ExitStack() as undo:
        try:
            found = socket.getaddrinfo(*web.address, type=socket.SOCK_STREAM)
            family, kind, protocol, _, address = found[0]
            listening = undo.enter_context(socket.socket(family, kind, protocol))
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(_BACKLOG)
        except OSError as error:
            message = f"cannot listen on {web.listen} for the dashboard: {error.strerror or error}"
            raise SocketError(message, _way_out(error)) from error
        if not ipaddress.ip_address(listening.getsockname()[0]).is_loopback:  # what localhost may mean in /etc/hosts
            raise SocketError(f"{web.listen} is not on loopback", hint='write [web] listen = "127.0.0.1:7777"')
        undo.pop_all()
    return listening


def _way_out(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return 'another hotpipe may have its dashboard there: [web] listen = "127.0.0.1:0" takes a free port'
    if error.errno == errno.EACCES:
        return 'ports below 1024 are for root: write [web] listen = "127.0.0.1:7777"'
    return "see [web] listen"

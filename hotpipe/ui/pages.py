"""Which sockets have a web page behind them. Pure."""

import re

from hotpipe.events import Address

_WEB = re.compile(r"(https?)\d*")


def page(socket: Address) -> str | None:
    """Where a browser finds what is behind a socket; None: its name says of no web server."""
    scheme = _WEB.fullmatch(socket.name)
    return f"{scheme[1]}://{socket.addr}" if scheme else None

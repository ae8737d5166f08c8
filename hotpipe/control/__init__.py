"""The control socket: one request a line, one answer a line, both JSON (`protocol`).

`listener` is the end of a running hotpipe, `client` that of the verbs which talk to it: those start without an event
loop, so nothing here imports `listener`.
"""

from hotpipe.control.client import Link, ask, links, talk
from hotpipe.control.protocol import (
    Failing,
    Finding,
    Pausing,
    Request,
    Rerunning,
    Restarting,
    Run,
    Server,
    Socket,
    Status,
    Stopping,
    Waited,
)

__all__ = [
    "Failing",
    "Finding",
    "Link",
    "Pausing",
    "Request",
    "Rerunning",
    "Restarting",
    "Run",
    "Server",
    "Socket",
    "Status",
    "Stopping",
    "Waited",
    "ask",
    "links",
    "talk",
]

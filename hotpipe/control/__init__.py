"""The control socket: one request a line, one answer a line, both JSON (`protocol`).

`listener` is the end of a running hotpipe, `client` that of the verbs which talk to it: those start without an event
loop, so nothing here imports `listener`.
"""

from hotpipe.control.client import ask, talk
from hotpipe.control.protocol import (
    Request,
    Restarting,
    Run,
    Server,
    Socket,
    Status,
    Stopping,
)

__all__ = ["Request", "Restarting", "Run", "Server", "Socket", "Status", "Stopping", "ask", "talk"]

"""A WSGI server's application: answers with its generation and its process id."""

import os
from collections.abc import Callable
from typing import Any


def app(_: dict[str, Any], start: Callable[[str, list[tuple[str, str]]], Any]) -> list[bytes]:
    """One page for every path; the process id is asked for anew, since a master may import this and fork then."""
    body = f"{os.environ.get('HOTPIPE_GENERATION', '0')} {os.getpid()}\n".encode()
    start("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]

"""aiohttp on the socket that was handed over as descriptor 3."""

import os
import socket

from aiohttp import web


async def page(_: web.Request) -> web.Response:
    """The generation and the process id."""
    return web.Response(text=f"{os.environ.get('HOTPIPE_GENERATION', '0')} {os.getpid()}\n")


app = web.Application()
app.router.add_get("/", page)
web.run_app(app, sock=socket.socket(fileno=3), access_log=None, print=None)

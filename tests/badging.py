"""The badge as hotpipe serves it, on a port of its own, and what happens told by the test; and a page to put it in."""

import asyncio
import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette

from hotpipe.clock import stamp
from hotpipe.editor import Editor
from hotpipe.events import (
    Address,
    AnyEvent,
    ChangeDetected,
    Listening,
    RunFinished,
    RunStarted,
    ServerLive,
    ServerStarting,
    ServerStopped,
    ServerVerified,
    StageFinding,
    StageFinished,
    StageStarted,
    Stamped,
    Started,
    TriggerTouched,
    WatchReady,
)
from hotpipe.web.badge import Badge
from hotpipe.web.desk import Desk
from hotpipe.web.origins import Origins

PATIENCE_S = 40
EDITOR = Editor("edit", ("edit", "{file}:{line}:{column}"))


class Served:
    """An ASGI application behind uvicorn, in a thread of its own."""

    def __init__(self, app: Any, port: int = 0) -> None:
        self._socket = socket.create_server(("127.0.0.1", port))
        self.port = self._socket.getsockname()[1]
        config = uvicorn.Config(app, log_config=None, lifespan="off", ws="none", timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._server.serve([self._socket]))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.run_until_complete(asyncio.sleep(0.1))  # transports are closed by callbacks of their own
        self._loop.close()

    def call(self, function: Any, *arguments: Any) -> None:
        """In its loop."""
        done = threading.Event()
        self._loop.call_soon_threadsafe(lambda: (function(*arguments), done.set()))
        assert done.wait(PATIENCE_S)

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(PATIENCE_S)
        self._socket.close()


class Told:
    """A badge, and what it is told."""

    def __init__(self, root: Path, origins: Origins | None = None, editor: Editor | None = EDITOR, port: int = 0):
        self.opened: list[Sequence[str]] = []
        self.badge = Badge(origins or Origins(), Desk(str(root), editor, self.opened.append))
        self.served = Served(Starlette(routes=self.badge.routes), port)
        self.port = self.served.port
        self._seq = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def tell(self, *events: AnyEvent) -> None:
        stamped = []
        for event in events:
            self._seq += 1
            stamped.append(Stamped(stamp(self._seq), event))
        self.served.call(self.badge.take, stamped)

    def close(self) -> None:
        self.served.call(self.badge.close)
        self.served.close()

    # What happens, in short.

    def start(self, page: str, *, stages: Sequence[str] = ("lint",)) -> None:
        """hotpipe runs, and has a server `web` whose socket is that of `page`."""
        servers = (Listening("web", (Address("http", page.removeprefix("http://")),)),)
        self.tell(
            Started(version="1", pid=1, root="/", role="watch", stages=tuple(stages), servers=servers),
            WatchReady(dirs=1, files=1, took_ms=1),
        )  # fmt: skip

    def live(self, generation: int, tree: str, page: str, pid: int = 0) -> None:
        pid = pid or 100 + generation
        sockets = (Address("http", page.removeprefix("http://")),)
        self.tell(
            ServerStarting(server="web", generation=generation, pid=pid, tree=tree),
            ServerLive(server="web", generation=generation, pid=pid, sockets=sockets, took_ms=1),
            ServerVerified(server="web", generation=generation, tree=tree),
        )
        if generation > 1 and pid == 100 + generation:
            self.stop(generation - 1)

    def stop(self, generation: int, *, revisited: bool = False) -> None:
        stopped = ServerStopped(
            server="web", generation=generation, exit_code=0, signal=None, killed=False, revisited=revisited
        )
        self.tell(stopped)

    def save(self, run: int, *paths: str) -> None:
        """Files are saved, and a run begins; its tree is called after it."""
        self.tell(
            ChangeDetected(paths=paths, cause="event"),
            RunStarted(run=run, tree=f"t{run}", changed=paths),
            StageStarted(run=run, stage="lint", command="lint"),
        )

    def green(self, run: int, *servers: str) -> None:
        """The run is over; the triggers of these servers are touched."""
        self.tell(
            StageFinished(run=run, stage="lint", status="passed", exit_code=0, took_ms=1),
            *(TriggerTouched(run=run, server=name, path=".trigger", tree=f"t{run}") for name in servers),
            RunFinished(run=run, status="green", took_ms=1),
        )

    def red(self, run: int, *findings: tuple[str | None, int, str]) -> None:
        self.tell(
            *(
                StageFinding(
                    run=run, stage="lint", tool="ruff", severity="error", path=path, line=line, column=2, code="E1",
                    message=message,
                )
                for path, line, message in findings
            ),
            StageFinished(run=run, stage="lint", status="failed", exit_code=1, took_ms=1, findings=len(findings)),
            RunFinished(run=run, status="red", took_ms=1),
        )  # fmt: skip


class Listener:
    """A page's stream, without a browser."""

    def __init__(self, port: int, query: str = "", origin: str | None = None, **headers: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
        sent = headers | ({"Origin": origin} if origin is not None else {})
        self._connection.request("GET", f"/badge/events?{query}", headers=sent)
        self.response = self._connection.getresponse()

    def next(self) -> tuple[str, dict[str, Any]]:
        """The next message: its kind, and what it says."""
        kind = ""
        while line := self.response.readline():
            if line.startswith(b"event: "):
                kind = line[7:].strip().decode()
            elif line.startswith(b"data: "):
                return kind, json.loads(line[6:])
        return "", {}

    def until(self, kind: str, **fields: object) -> dict[str, Any]:
        """The next message of that kind with these fields; a dictionary stands for some of its own."""
        while True:
            told, message = self.next()
            assert told, f"no {kind} with {fields}"
            if told == kind and _has(message, fields):
                return message

    def close(self) -> None:
        self._connection.close()


def _has(message: dict[str, Any], fields: dict[str, Any]) -> bool:
    return all(
        _has(message[key] or {}, value) if isinstance(value, dict) else message.get(key, ...) == value
        for key, value in fields.items()
    )


def ask(port: int, method: str, path: str, body: bytes | None = None, **headers: str) -> http.client.HTTPResponse:
    """One request; `_` in the names of headers stands for `-`."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    with contextlib.closing(connection):
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        response.read()
        return response


class Site:
    """A small http server whose pages the test writes: path -> (headers, body); counts who asked for what."""

    def __init__(self) -> None:
        self.pages: dict[str, tuple[dict[str, str], str]] = {}
        self.asked: list[str] = []
        self.gates: dict[str, threading.Event] = {}  # who asks for these waits
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.answer(self)

            def log_message(self, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path = request.path.partition("?")[0]
        self.asked.append(path)
        if path in self.gates:
            self.gates[path].wait(PATIENCE_S)
        headers, body = self.pages.get(path, ({"status": "404"}, ""))
        content = body.encode()
        request.send_response(int(headers.get("status", "200")))
        for name, value in (
            {"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store"} | headers
        ).items():
            if name != "status":
                request.send_header(name, value)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        with contextlib.suppress(ConnectionError):
            request.wfile.write(content)

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join(PATIENCE_S)
        self._server.server_close()

"""A server with a breakpoint, and who runs into it."""

import socket
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from running import PATIENCE_S, free_port

PAUSING = """
import http.server, os, socket
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        answer = 20
        if self.path == "/debug":
            breakpoint()
        self.send_response(200); self.end_headers(); self.wfile.write(b"answer %d" % answer)
class Server(http.server.HTTPServer):
    def __init__(self):
        super().__init__(("", 0), Handler, bind_and_activate=False)
        self.socket = socket.socket(fileno=3)
        self.server_name, self.server_port = "x", 1
Server().serve_forever()
"""


class Asking(threading.Thread):
    """A request in the background, whose answer may take long."""

    def __init__(self, port: int, path: str) -> None:
        super().__init__(daemon=True)
        self._port, self._path, self.answer = port, path, ""
        self.start()

    def run(self) -> None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self._port), PATIENCE_S) as client:
            client.sendall(f"GET {self._path} HTTP/1.0\r\n\r\n".encode())
            while chunk := client.recv(1 << 16):
                self.answer += chunk.decode()

    def answered(self) -> str:
        self.join(PATIENCE_S)
        return self.answer.rpartition("\r\n")[2]


@pytest.fixture
def pausing(tmp_path: Path) -> tuple[Path, int]:
    """A server with a breakpoint, and its port."""
    port = free_port()
    (tmp_path / "server.py").write_text(PAUSING)
    (tmp_path / "hotpipe.toml").write_text(f'[server.web]\nrun = "python server.py"\nlisten = ["http::{port}"]\n')
    return tmp_path, port

"""The hand-over under load, with real servers that know nothing of hotpipe: not one request fails.

bench/restart measures the same, with more servers and a hundred restarts; the servers here are its own.
Pains kept: "port still in use after a restart" (air #683, nodemon #1316), "double restarts" (nodemon #508).
"""

import json
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from restart_servers import SERVERS, Server
from running import PATIENCE_S, Start

HAMMER = Path(__file__).parent / "hammer.py"
RESTARTS = 5
FRESH, POOLED = 4, 4

SMALL = [server for server in SERVERS if not server.build]


def project(folder: Path, server: Server, *more: str) -> Path:
    """A folder with a configuration for the server, and nothing to check."""
    folder.mkdir()
    env = "\n".join(f'{key} = "{value}"' for key, value in server.env.items())
    lines = (
        "[server.web]",
        f"run = {json.dumps(shlex.join(server.argv).replace(chr(39), ''))}",
        f"cwd = {json.dumps(os.path.relpath(server.cwd, folder))}",
        'listen = ["http::0"]',
        'probation = "50ms"',
        *more,
        "[server.web.env]",
        env,
    )
    (folder / "hotpipe.toml").write_text("\n".join(lines))
    return folder


@contextmanager
def hammered(addr: str) -> Iterator[dict[str, Any]]:
    """Under load; what came of it is in the dictionary afterwards."""
    host, _, port = addr.rpartition(":")
    command = (sys.executable, HAMMER, host, port, str(FRESH), str(POOLED))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as hammer:
        result: dict[str, Any] = {}
        yield result
        out, _ = hammer.communicate(timeout=PATIENCE_S)
        result |= json.loads(out)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("server", SMALL, ids=lambda server: server.name)
def test_not_one_request_fails(server: Server, tmp_path: Path, start: Start) -> None:
    if missing := server.missing():
        pytest.skip(missing)
    folder = project(tmp_path / "p", server)
    hotpipe = start(folder, "serve")
    addr = hotpipe.until("server.live", generation=1)["sockets"][0]["addr"]
    with hammered(addr) as result:
        for generation in range(2, 2 + RESTARTS):
            (folder / ".trigger").touch()
            hotpipe.until("server.live", generation=generation)
            hotpipe.until("server.stopped", generation=generation - 1)
    assert result["failures"] == {}
    assert result["requests"] > RESTARTS
    assert len(result["bodies"]) >= RESTARTS, "hardly any generation was reached"
    assert not hotpipe.of("server.failed")
    assert not any(event["killed"] for event in hotpipe.of("server.stopped"))


def test_backlog_is_ours_again_after_each_start(tmp_path: Path, start: Start) -> None:
    """What `ss -ltn` shows, whatever backlog the server has asked for."""
    largest = int(Path("/proc/sys/net/core/somaxconn").read_text())
    for number, server in enumerate(SMALL):
        if server.missing():
            continue
        hotpipe = start(project(tmp_path / str(number), server), "serve")
        port = int(hotpipe.until("server.live")["sockets"][0]["addr"].rpartition(":")[2])
        assert backlog_of(port) == min(4096, largest), server.name
        hotpipe.interrupt()


def backlog_of(port: int) -> int:
    """The Send-Q of a listening socket, as ss(8) from iproute2 prints it."""
    try:
        shown = subprocess.run(["ss", "-Hltn", f"sport = :{port}"], capture_output=True, text=True, check=True).stdout
    except FileNotFoundError:
        pytest.skip("there is no ss here (Debian: iproute2)")
    return int(shown.split()[2])


def test_a_client_that_waits_for_the_first_start_is_answered(tmp_path: Path, start: Start) -> None:
    server = next(server for server in SMALL if server.name == "uvicorn")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    folder = project(tmp_path / "p", server)
    text = (folder / "hotpipe.toml").read_text().replace("http::0", f"http::{port}")
    (folder / "hotpipe.toml").write_text(text)
    hotpipe = start(folder, "serve")
    with hammered(f"127.0.0.1:{port}") as result:
        hotpipe.until("server.live", generation=1)
    assert set(result["failures"]) <= {f"ConnectionRefusedError [Errno 111] Connect call failed ('127.0.0.1', {port})"}

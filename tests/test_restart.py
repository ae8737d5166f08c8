"""The hand-over under load, with real servers that know nothing of hotpipe: not one request fails.

bench/restart measures the same, with more servers and a hundred restarts; the servers here are its own.
Pains kept: "port still in use after a restart" (air #683, nodemon #1316), "double restarts" (nodemon #508).
"""

import http.client
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from restart_servers import SERVERS, Server
from running import BIN, HOTPIPE, INTERRUPTED, PATIENCE_S, Hotpipe, Start, environment

HAMMER = Path(__file__).parent / "hammer.py"
PROJECTS = Path(__file__).parent / "projects"
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


# --- versions that are no good: PM2 #2478 #3078, icinga2 #3440 (the new version is kept or killed at random) ---------

MOODY = f"{sys.executable} -I -S {PROJECTS / 'moody.py'} {{fd}}"
BAD = {
    "exits": ("", "exited with status 1 before it was ready"),
    "hangs": ('ready_timeout = "300ms"', "accepted no connection within 300ms"),
    "ill to the probe": (
        'ready = { http = "/health" }\nready_timeout = "300ms"',
        "no 200 to GET /health within 300ms: it answered 500",
    ),
    "ill to the smoke test": (f"smoke = [{json.dumps(f'{sys.executable} ask.py {{url}}/')}]", "smoke test"),
    "dies": ('probation = "30s"', "exited with status 1"),
}
ASK = "import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=5).read()"


@pytest.mark.parametrize("kind", BAD)
def test_a_version_that_is_no_good_never_takes_the_old_one_down(kind: str, tmp_path: Path, start: Start) -> None:
    more, reason = BAD[kind]
    (tmp_path / "mood").write_text("well")
    (tmp_path / "ask.py").write_text(ASK)
    (tmp_path / "hotpipe.toml").write_text(f'[server.web]\nrun = "{MOODY}"\nlisten = ["http::0"]\n{more}\n')
    hotpipe = start(tmp_path, "serve")
    live = hotpipe.until("server.live")
    with hammered(live["sockets"][0]["addr"]) as result:
        for generation in range(2, 5):
            (tmp_path / "mood").write_text(kind.partition(" ")[0])
            (tmp_path / ".trigger").touch()
            failed = hotpipe.until("server.failed", generation=generation)
            assert reason in failed["reason"]
            assert failed["serving"] == 1
            hotpipe.until("server.stopped", generation=generation)
    assert result["failures"] == {}
    served = {int(pid) for pid in result["bodies"]}
    assert live["pid"] in served
    assert kind == "dies" or served == {live["pid"]}


def test_of_fifty_green_saves_in_a_second_the_last_is_served_by_at_most_two(tmp_path: Path, start: Start) -> None:
    """Pain kept: "double restarts" (nodemon #508 #763, watchdog #1123)."""
    (tmp_path / "mood").write_text("well")
    (tmp_path / "hotpipe.toml").write_text(
        f'[stage.check]\nrun = "true"\n[server.web]\nrun = "{MOODY}"\nlisten = ["http::0"]\nprobation = "100ms"\n'
    )
    hotpipe = start(tmp_path, "watch")
    hotpipe.until("server.live")
    hotpipe.until("server.verified")
    for number in range(50):
        (tmp_path / "mood").write_text(f"well{' ' * number}\n")
        time.sleep(0.02)
    (tmp_path / "mood").write_text("well, at last")
    tree = hotpipe.until("run.finished", status="green") and green_tree(hotpipe, "mood")
    hotpipe.until("server.verified", tree=tree)
    alive = most = 0
    for event in hotpipe.seen:
        alive += {"server.starting": 1, "server.stopped": -1}.get(event["type"], 0)
        most = max(most, alive)
    assert most <= 2


def green_tree(hotpipe: Hotpipe, changed: str) -> str:
    """The tree of the last green run: the one after which nothing comes for a second."""
    while True:
        count = len(hotpipe.of("change.detected")) + len(hotpipe.of("run.started"))
        time.sleep(1)
        runs = hotpipe.of("run.started")
        if count == len(hotpipe.of("change.detected")) + len(runs):
            return runs[-1]["tree"]


def test_streams_that_never_end_do_not_hold_up_the_new_version(tmp_path: Path, start: Start) -> None:
    """Pain kept: "the restart hangs for ever (SSE, WebSocket)" (uvicorn #2943 #936, nodemon #1633)."""
    shutil.copy(PROJECTS / "streams.py", tmp_path)
    (tmp_path / "hotpipe.toml").write_text(
        f'[server.web]\nrun = "{BIN / "uvicorn"} streams:app --fd {{fd}} --log-level warning"\nlisten = ["http::0"]\n'
        'probation = "0s"\ndrain_timeout = "300ms"\nstop_timeout = "500ms"\n'
    )
    hotpipe = start(tmp_path, "serve")
    old = hotpipe.until("server.live")
    host, _, port = old["sockets"][0]["addr"].rpartition(":")
    with (
        socket.create_connection((host, int(port)), PATIENCE_S) as events,
        socket.create_connection((host, int(port)), PATIENCE_S) as echo,
    ):
        events.sendall(b"GET /sse HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"tick" in receive_until(events, b"tick")
        echo.sendall(
            b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        assert b"101 Switching" in receive_until(echo, b"\r\n\r\n")
        (tmp_path / ".trigger").touch()
        new = hotpipe.until("server.live", generation=2)
        with urllib.request.urlopen(f"http://{host}:{port}/", timeout=PATIENCE_S) as answer:
            assert int(answer.read()) == new["pid"]
        stopped = hotpipe.until("server.stopped", generation=1)
        assert stopped["killed"], "uvicorn waits for its streams for ever; the stop ladder does not"


def receive_until(stream: socket.socket, end: bytes) -> bytes:
    got = b""
    while end not in got:
        got += stream.recv(4096)
    return got


def test_keep_alive_requests_are_not_delayed(tmp_path: Path, start: Start) -> None:
    """`uvicorn --fd` without TCP_NODELAY takes 44 ms for each (facts.md). The bound is generous; bench/ measures."""
    hotpipe = start(project(tmp_path / "p", next(s for s in SMALL if s.name == "uvicorn")), "serve")
    host, _, port = hotpipe.until("server.live")["sockets"][0]["addr"].rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=PATIENCE_S)
    took = []
    for _ in range(51):
        began = time.perf_counter()
        connection.request("GET", "/")
        connection.getresponse().read()
        took.append(time.perf_counter() - began)
    connection.close()
    assert sorted(took)[25] < 0.03


TELL = """
import json, os, sys
found = [sorted(map(int, os.listdir("/proc/self/fd"))), dict(os.environ)]
json.dump(found, open(sys.argv[1], "w"))
"""


def test_children_get_their_sockets_at_3_whatever_is_open_in_hotpipe(tmp_path: Path, start: Start) -> None:
    """Pain kept: "the socket's protocol is easy to get wrong" (systemd's activation, actix-website #11)."""
    (tmp_path / "tell.py").write_text(TELL)
    (tmp_path / "mood").write_text("well")
    python = f"{sys.executable} -I -S"
    (tmp_path / "hotpipe.toml").write_text(
        f"""
[stage.tell]
run = "{python} tell.py .hotpipe/stage.json"
[server.web]
run = "{python} tell.py .hotpipe/server.json; exec {MOODY}"
listen = ["http::0", {{ name = "admin", tcp = "0" }}]
ready = {{ http = "/" }}
smoke = ["{python} tell.py .hotpipe/smoke.json"]
[server.web.hooks]
before_start = "{python} tell.py .hotpipe/hook.json"
"""
    )
    occupy = (
        "import os, sys; [os.dup2(0, n, inheritable=True) for n in range(3, 10)]; os.execvp(sys.argv[1], sys.argv[1:])"
    )
    hotpipe = start(tmp_path, "watch", launcher=(sys.executable, "-c", occupy))
    hotpipe.until("server.live")
    hotpipe.until("server.verified")
    told = {
        each: json.loads((tmp_path / f".hotpipe/{each}.json").read_text())
        for each in ("stage", "server", "smoke", "hook")
    }
    listing = 1  # listdir's own descriptor
    assert len(told["server"][0]) == 3 + 2 + listing
    assert told["server"][0][:5] == [0, 1, 2, 3, 4]
    env = told["server"][1]
    assert (env["LISTEN_FDS"], env["LISTEN_FDNAMES"]) == ("2", "http:admin")
    assert env["HOTPIPE_SERVER"] == "web"
    for each in ("stage", "smoke", "hook"):
        assert len(told[each][0]) == 3 + listing, each
        assert not {"LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET"} & told[each][1].keys(), each


def test_a_reader_that_has_stopped_reading_does_not_keep_hotpipe_from_ending(tmp_path: Path) -> None:
    """Less, a terminal after Ctrl-S, a stuck log collector: the pipe is full, and the server goes on talking."""
    noisy = f"{sys.executable} -I -S -c 'while 1: print(\"x\" * 1000)'"
    (tmp_path / "hotpipe.toml").write_text(f"[server.web]\nrun = {json.dumps(noisy)}\nready = {{ after = '100ms' }}\n")
    with subprocess.Popen(
        [*HOTPIPE, "serve"], cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as hotpipe:
        assert hotpipe.stdout is not None
        assert hotpipe.stdout.read(10)
        time.sleep(1)  # for the pipe to fill
        hotpipe.send_signal(signal.SIGINT)
        assert hotpipe.wait(PATIENCE_S) == INTERRUPTED

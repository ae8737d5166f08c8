"""hotpipe killed by SIGKILL at any moment: the next one starts and serves, and nothing of an earlier one lives.

Pains kept: "orphans and zombies" (watchdog #609, nodemon #1025), "a stale pid file" (tableflip #59).
HOTPIPE_ROUNDS sets how often (default 8; the closing notes tell of 200).
"""

import os
import random
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from running import INTERRUPTED, PATIENCE_S, Start, free_port

ROUNDS = int(os.environ.get("HOTPIPE_ROUNDS", "8"))
LONGEST_LIFE_S = 2.0
FAMILY = Path(__file__).parent / "projects" / "family.py"


def project(folder: Path, port: int) -> Path:
    folder.mkdir()
    server = f"{sys.executable} -I -S {FAMILY}"
    (folder / "hotpipe.toml").write_text(
        f"""
[stage.check]
run = "sleep 0.1; : of this project"
[server.web]
run = "{server} {{fd}}"
listen = ["http::{port}"]
probation = "200ms"
stop_timeout = "300ms"
"""
    )
    (folder / "file").write_text("0")
    return folder


def is_alive(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def of_this_project(folder: Path) -> list[psutil.Process]:
    """Everything alive that was started in the folder, by its working directory, but for a hotpipe itself."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.cwd() == str(folder) and is_alive(process) and "hotpipe" not in process.cmdline():
                found.append(process)
    return found


@pytest.mark.timeout(60 + 15 * ROUNDS)
def test_the_next_start_serves_and_nothing_of_an_earlier_one_lives(tmp_path: Path, start: Start) -> None:
    port = free_port()
    folder = project(tmp_path / "p", port)
    chance = random.Random(ROUNDS)
    earlier: list[psutil.Process] = []
    for number in range(ROUNDS):
        hotpipe = start(folder, "watch")
        if number % 2:  # the others are killed at any moment, also before they serve
            live = hotpipe.until("server.live")
            assert live["sockets"][0]["addr"] == f"127.0.0.1:{port}"
            hotpipe.until("server.verified")
            assert not [process for process in earlier if is_alive(process)]
        save_for(chance.uniform(0.0, LONGEST_LIFE_S), folder, chance)
        if number == ROUNDS - 1:
            assert hotpipe.interrupt() == INTERRUPTED
            break
        hotpipe.process.send_signal(signal.SIGKILL)
        hotpipe.process.wait(PATIENCE_S)
        earlier = of_this_project(folder)
    assert of_this_project(folder) == []


def save_for(time_s: float, folder: Path, chance: random.Random) -> None:
    """Somebody is at work meanwhile."""
    deadline = time.monotonic() + time_s
    while (left := deadline - time.monotonic()) > 0:
        (folder / "file").write_text(str(chance.random()))
        time.sleep(min(0.3, left))

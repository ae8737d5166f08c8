"""Programs that a scenario starts: each in a session of its own, marked, bounded, and found whatever it became."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

COOKIE = "STALE_DESK"
PATIENCE_S = 15.0
STEP_S = 0.01
STOP_S = 3.0


class Program:
    """A tool at work on the project, in a session of its own."""

    def __init__(self, argv: Sequence[str], cwd: Path, env: Mapping[str, str], log: Path) -> None:
        self._log = log
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                argv, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )

    def wait(self) -> int | None:
        """Its exit code; None if it does not end."""
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(PATIENCE_S)
        return None

    def kill(self) -> None:
        """As kill -9 does: the tool, and nothing else."""
        self._process.kill()
        self._process.wait()

    def interrupt(self) -> None:
        """As Ctrl-C in a terminal does: the whole group."""
        os.killpg(self._process.pid, signal.SIGINT)

    def end(self) -> None:
        """As whoever has seen enough does."""
        if self._process.poll() is None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_S)
        self._process.kill()
        self._process.wait()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def said(self) -> str:
        return self._log.read_text(errors="replace")


def strays(desk: Path, root: Path) -> list[int]:
    """Living processes that were started for this world."""
    cookie = f"{COOKIE}={desk}".encode()
    return [pid for pid in psutil.pids() if pid != os.getpid() and _belongs(pid, cookie, root)]


def _belongs(pid: int, cookie: bytes, root: Path) -> bool:
    with suppress(OSError, psutil.Error):
        if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return False
        marked = cookie in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        return marked or Path(os.readlink(f"/proc/{pid}/cwd")).is_relative_to(root)
    return False


def until(condition: Callable[[], bool], seconds: float = PATIENCE_S) -> bool:
    """Whether it came true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(STEP_S)
    return True


def environment(folder: Path, path: str) -> dict[str, str]:
    """A home of its own, no telemetry, nobody's git configuration."""
    home = folder / "home"
    home.mkdir(parents=True, exist_ok=True)
    git = dict.fromkeys(("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"), "somebody")
    git |= dict.fromkeys(("GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"), "somebody@example.org")
    quiet = {"TURBO_TELEMETRY_DISABLED": "1", "DO_NOT_TRACK": "1", "npm_config_update_notifier": "false"}
    inherited = {name: os.environ[name] for name in ("PYTHONPATH", "LANG") if name in os.environ}
    own = {"PATH": path, "HOME": str(home), "GIT_CONFIG_GLOBAL": "/dev/null", "SHELL": "/bin/sh", "CI": ""}
    return {**inherited, **git, **quiet, **own, "NO_COLOR": "1", "PYTHONDONTWRITEBYTECODE": "1"}

"""How long it takes until hotpipe watches, with each face; and until the verbs that are asked often have answered.

    python bench/startup.py [RUNS]

For `watch`: from exec to the start of the first stage, which the stage's log tells to the millisecond; what is saved
before that is part of the first run, after that it starts one. The project has 100 files. All times are medians.
"""

import os
import pty
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

RUNS = 10
PATIENCE_S = 30
HOTPIPE = (sys.executable, "-m", "hotpipe")
FACES = (("--tui",), ("--plain",), ("--json",), ("--plain", "--web"))
CONFIG = '[stage.one]\nrun = "true"\n[server.web]\nrun = "sleep 1000"\nready = { after = "1ms" }\n'


os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed hotpipe is compiled


def project(folder: Path) -> None:
    (folder / "hotpipe.toml").write_text(CONFIG, encoding="utf-8")
    for number in range(100):
        (folder / f"module_{number}.py").write_text("x = 1\n", encoding="utf-8")


def watching_ms(folder: Path, *face: str) -> float:
    """From exec to the first stage, in a terminal of its own."""
    log = folder / ".hotpipe/logs/stage-one.log"
    log.unlink(missing_ok=True)
    began = time.time()
    pid, terminal = pty.fork()
    if not pid:
        os.chdir(folder)
        os.environ["TERM"] = "xterm-256color"
        os.execv(HOTPIPE[0], (*HOTPIPE, "watch", *face))
    os.set_blocking(terminal, False)
    try:
        first = _first_line(log, terminal)
    finally:
        os.kill(pid, signal.SIGINT)
        _drained(terminal, pid)
    return (datetime.fromisoformat(first.split()[0]).timestamp() - began) * 1e3


def _first_line(log: Path, terminal: int) -> str:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        _read(terminal)
        if log.exists() and "\n" in (text := log.read_text(encoding="utf-8")):
            return text.partition("\n")[0]
        time.sleep(0.005)
    raise TimeoutError(log)


def _drained(terminal: int, pid: int) -> None:
    while not os.waitpid(pid, os.WNOHANG)[0]:
        _read(terminal)
        time.sleep(0.005)
    os.close(terminal)


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:
        return b""


def answering_ms(folder: Path, *arguments: str) -> float:
    began = time.perf_counter()
    subprocess.run((*HOTPIPE, *arguments), cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - began) * 1e3


def told(name: str, measured: Callable[[], float], runs: int) -> None:
    measured()  # compiles, and fills the page cache
    times = sorted(measured() for _ in range(runs))
    print(f"{name:<28} {statistics.median(times):>7.0f} ms   ({times[0]:.0f} to {times[-1]:.0f})", flush=True)


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        project(folder)
        for face in FACES:
            told(f"watch {' '.join(face)}", lambda face=face: watching_ms(folder, *face), runs)
        told("--version", lambda: answering_ms(folder, "--version"), runs)
        with subprocess.Popen((*HOTPIPE, "watch", "--json"), cwd=folder, stdout=subprocess.DEVNULL) as hotpipe:
            while subprocess.run((*HOTPIPE, "status"), cwd=folder, check=False, capture_output=True).returncode:
                time.sleep(0.1)
            told("status", lambda: answering_ms(folder, "status"), runs)
            hotpipe.send_signal(signal.SIGINT)


if __name__ == "__main__":
    main()

"""How long the verbs take that talk to a running hotpipe: `python bench/verbs.py [TIMES]`.

Each is a process of its own, from its start to its end, beside a hotpipe that is idle.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HOTPIPE = [sys.executable, "-m", "hotpipe"]
CONFIG = """
[stage.a]
run = "true"
[server.web]
run = ["{python}", "-c", "import socket; s = socket.socket(fileno=3)\\nwhile True: s.accept()[0].close()"]
listen = ["http::0"]
"""
VERBS = (
    "--version",
    "status",
    "status --json",
    "wait",
    "wait --green --live",
    "logs",
    "logs a",
    "rerun a",
    "pause",
    "resume",
    "restart",
    "completion bash",
    "config",
)


def main() -> None:
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "hotpipe.toml").write_text(CONFIG.format(python=sys.executable))
        run(folder, "watch", "--daemon")
        try:
            run(folder, "wait", "--live")
            nothing = statistics.median(took_ms([sys.executable, "-c", "pass"], folder) for _ in range(times))
            print(f"{'python -c pass':24} {nothing:6.0f} ms")
            print(f"{'':24} {'median':>9} {'most':>9} {'processor time':>16}")
            for verb in VERBS:
                before = cpu_ms()
                took = [took_ms([*HOTPIPE, *verb.split()], folder) for _ in range(times)]
                report(verb, took, (cpu_ms() - before) / times)
        finally:
            run(folder, "stop")


def report(verb: str, took: list[float], cpu: float) -> None:
    print(f"{'hotpipe ' + verb:24} {statistics.median(took):6.0f} ms {max(took):6.0f} ms {cpu:13.0f} ms")


def cpu_ms() -> float:
    """Of all children that have ended; wall time says nothing on busy cores."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (used.ru_utime + used.ru_stime) * 1e3


def took_ms(command: list[str], folder: str) -> float:
    began = time.perf_counter()
    subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, check=True, env=os.environ)
    return (time.perf_counter() - began) * 1e3


def run(folder: str, *verb: str) -> None:
    subprocess.run([*HOTPIPE, *verb], cwd=folder, stdout=subprocess.DEVNULL, check=True)


if __name__ == "__main__":
    main()

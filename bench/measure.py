"""What the benchmarks share: programs that are started, watched and ended again, and how figures are shown."""

import json
import math
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import psutil

HOTPIPE = str(Path(sys.executable).with_name("hotpipe"))
_STOP_PATIENCE_S = 5.0
_CPUCLOCK_SCHED = 2  # <linux/posix-timers.h>


class Program:
    """A program under measurement, in a session of its own; `with` ends it and all that descends from it."""

    def __init__(self, argv: Sequence[str], cwd: Path, log: Path, *, feed: str = "") -> None:
        """Start it: output goes to `log`, and `feed` is its standard input."""
        self.log = log
        with log.open("wb") as out:
            self.spawned_at = time.monotonic()
            self._process = subprocess.Popen(
                argv, cwd=cwd, env=environment(), stdin=subprocess.PIPE, stdout=out, stderr=out, start_new_session=True
            )
        assert self._process.stdin is not None
        self._process.stdin.write(feed.encode())
        self._process.stdin.close()
        self._root = psutil.Process(self._process.pid)

    def __enter__(self) -> "Program":
        return self

    def __exit__(self, *_: object) -> None:
        family = self._family()
        if self._process.poll() is None:
            os.killpg(self._process.pid, 15)
        for member in psutil.wait_procs(family, _STOP_PATIENCE_S)[1]:
            member.kill()
        self._process.wait()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def cpu_s(self) -> float:
        """CPU time of the living process tree, in seconds, to the nanosecond and with the threads that have ended."""
        return sum(_cpu_s(member.pid) for member in self._family())

    def own_cpu_s(self) -> float:
        """CPU time of the process itself, without what it has started."""
        return _cpu_s(self.pid)

    def events(self) -> list[dict[str, Any]]:
        """What `hotpipe --json` has said up to now."""
        lines = self.log.read_bytes().split(b"\n")[:-1]  # the last one may still be being written
        return [json.loads(line) for line in lines if line.startswith(b"{")]

    def last(self, kind: str) -> float:
        """When hotpipe last said so; before all times where it never did."""
        return max((float(event["mono"]) for event in self.events() if event["type"] == kind), default=0.0)

    def wait_for(self, kind: str, timeout_s: float, *, after: float = 0.0) -> dict[str, Any]:
        """The first event of a kind later than `after`; raises TimeoutError with what hotpipe wrote instead."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end and self.alive:
            for event in self.events():
                if event["type"] == kind and event["mono"] > after:
                    return event
            time.sleep(0.02)
        raise TimeoutError(f"no {kind} within {timeout_s} s; the last output: {self.log.read_text()[-800:]}")

    def memory_mb(self) -> dict[str, float]:
        """VmRSS, Pss and VmHWM (the peak of VmRSS) of the process itself, in MB of 10^6 bytes: proc_pid_status(5)."""
        text = "".join(Path(f"/proc/{self.pid}/{file}").read_text() for file in ("status", "smaps_rollup"))
        sizes = {name: re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE) for name in ("VmRSS", "Pss", "VmHWM")}
        return {name: int(found[1]) * 1024 / 1e6 for name, found in sizes.items() if found}

    def inotify_watches(self) -> int:
        """How many the process holds: proc_pid_fdinfo(5)."""
        return sum(_lines_with("inotify wd:", file) for file in Path(f"/proc/{self.pid}/fdinfo").iterdir())

    def _family(self) -> list[psutil.Process]:
        try:
            return [self._root, *self._root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return [self._root]


def environment() -> dict[str, str]:
    """What programs are started with."""
    env = os.environ | {"SHELL": "/bin/sh", "NO_UPDATE_NOTIFIER": "1"}
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed program has its byte code
    return env


def _cpu_s(pid: int) -> float:
    """The process's own CPU clock, numbered as clock_getcpuclockid(3) does; ticks of 10 ms would be too coarse here."""
    try:
        return time.clock_gettime(~pid << 3 | _CPUCLOCK_SCHED)
    except OSError:
        return 0.0


def _lines_with(text: str, file: Path) -> int:
    try:
        return file.read_text().count(text)
    except OSError:
        return 0


def idle_cpu(programs: dict[str, Program], seconds: float) -> dict[str, float]:
    """Percent of one core that each took over the next `seconds`."""
    before = {name: program.cpu_s() for name, program in programs.items()}
    began = time.monotonic()
    time.sleep(seconds)
    took_s = time.monotonic() - began
    return {name: 100 * (program.cpu_s() - before[name]) / took_s for name, program in programs.items()}


# --- figures and tables -----------------------------------------------------------------------------------------------


def quantile(values: Iterable[float], share: float) -> float:
    """The smallest value that at least `share` of all do not exceed; NaN of nothing."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


def spread(values: Sequence[float]) -> list[str]:
    """Median, p95 and maximum of seconds, as milliseconds."""
    return [f"{quantile(values, share) * 1e3:.1f}" for share in (0.5, 0.95, 1.0)] if values else ["–"] * 3


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The first column to the left, all others to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return "\n".join(_line(row, widths) for row in (head, ["-" * width for width in widths], *rows))


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(cells, widths, strict=True)
    return "  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)])


def goal(text: str, *, reached: bool) -> str:
    """One line of verdict."""
    return f"goal {'reached' if reached else 'NOT REACHED'}: {text}"


class Report:
    """Prints as it goes, and keeps what it printed."""

    def __init__(self) -> None:
        self.text = ""

    def add(self, text: str = "") -> None:
        print(text, flush=True)
        self.text += text + "\n"


# --- the machine ------------------------------------------------------------------------------------------------------


def machine() -> str:
    """Where the figures come from."""
    release = ".".join(platform.release().split(".")[:2])
    return f"{platform.system()} {release}, {os.cpu_count()} CPUs, Python {platform.python_version()}"


def load() -> str:
    """The load average: what else was going on."""
    return "load average {:.2f} {:.2f} {:.2f}".format(*os.getloadavg())


def version(program: str, *arguments: str) -> str:
    """The first version number that a program writes when asked."""
    asked = [program, *(arguments or ("--version",))]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=False)
    found = re.search(r"\d+(\.\d+)+", done.stdout + done.stderr)
    return found[0] if found else "of unknown version"


def find(program: str) -> str | None:
    """Its path: beside this Python, or on PATH."""
    beside = Path(sys.executable).with_name(program)
    return str(beside) if beside.exists() else shutil.which(program)

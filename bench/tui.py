"""What the terminal face costs: processor time and memory under a flood, and the time to its first picture.

    python bench/tui.py [SECONDS]

A server prints 10,000 lines a second. hotpipe runs in a pseudo-terminal of 100 columns and 30 rows, that is read as
fast as it writes; the processor time of all of it is told as a share of one core, beside that of the plain face, and
how many lines a second have come to the log of the server: the number of the last one says it.
"""

import fcntl
import os
import pty
import re
import signal
import struct
import sys
import tempfile
import termios
import threading
import time
from pathlib import Path

import psutil

LINES = 10_000  # a second
SIZE = struct.pack("HHHH", 30, 100, 0, 0)
SERVER = f"""
import sys, time
began, told = time.monotonic(), 0
while True:
    due = int((time.monotonic() - began) * {LINES})
    for told in range(told + 1, due + 1):
        sys.stdout.write(f"\\x1b[32mINFO\\x1b[0m  request {{told}} GET /things/{{told % 97}} 200 in 3 ms\\n")
    sys.stdout.flush()
    time.sleep(0.01)
"""
CONFIG = f'[stage.one]\nrun = "true"\n[server.web]\nrun = "{sys.executable} flood.py"\nready = {{ after = "100ms" }}\n'


class Terminal:
    """A hotpipe in a pseudo-terminal."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.began = time.monotonic()
        self.first: float | None = None
        self.bytes = 0
        self.pid, self._reader = pty.fork()
        if not self.pid:
            os.chdir(folder)
            os.environ["TERM"] = "xterm-256color"
            os.execv(sys.executable, (sys.executable, "-m", "hotpipe", "watch", *arguments))
        fcntl.ioctl(self._reader, termios.TIOCSWINSZ, SIZE)
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        seen = b""
        while True:
            try:
                read = os.read(self._reader, 65_536)
            except OSError:
                return
            if not read:
                return
            self.bytes += len(read)
            seen = seen[-200:] + read
            if self.first is None and (b"CHECKING" in seen or b"GREEN" in seen or b"green" in seen):
                self.first = time.monotonic() - self.began

    def end(self) -> None:
        os.kill(self.pid, signal.SIGINT)
        os.waitpid(self.pid, 0)
        self._thread.join()
        os.close(self._reader)


def measured(folder: Path, seconds: float, *arguments: str) -> str:
    """One row of the table."""
    hotpipe = Terminal(folder, *arguments)
    process = psutil.Process(hotpipe.pid)
    time.sleep(5)
    memory, lines = process.memory_info().rss, logged(folder)
    spent, began = sum(process.cpu_times()[:2]), time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - began
    share, rate = (sum(process.cpu_times()[:2]) - spent) / took, (logged(folder) - lines) / took
    grown = process.memory_info().rss
    hotpipe.end()
    first = f"{hotpipe.first * 1000:.0f} ms" if hotpipe.first else "never"
    sizes = f"{memory / 1e6:>8.1f} {grown / 1e6:>8.1f}"
    return f"{share:>7.1%} {sizes} {first:>9} {hotpipe.bytes / 1e6:>9.1f} {rate:>8,.0f}"


def logged(folder: Path) -> int:
    """The number of the last line in the log."""
    numbers = re.findall(r"request (\d+)", (folder / ".hotpipe/logs/server-web.log").read_text(encoding="utf-8"))
    return int(numbers[-1])


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    print(f"{'face':<14} {'CPU':>7} {'MB':>8} {'MB later':>8} {'verdict':>9} {'MB shown':>9} {'lines/s':>8}")
    for name, arguments in (("--tui", ("--tui",)), ("--plain", ("--plain",))):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "hotpipe.toml").write_text(CONFIG, encoding="utf-8")
            Path(folder, "flood.py").write_text(SERVER, encoding="utf-8")
            print(f"{name:<14} {measured(Path(folder), seconds, *arguments)}")


if __name__ == "__main__":
    main()

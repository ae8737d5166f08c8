"""A project whose checks obey the driver: they say when they start and what they read, and wait where they are told to.

How it works: beside the project stands a desk, a folder. A check appends each of its steps to `desk/log` (one write a
line); where `desk/hold-NAME` exists it waits before it reads its folder, and where `desk/linger-NAME` exists after
that, for a line from the FIFO `desk/go-NAME`. So each interleaving with a save is made, not waited for. Every process
that is started carries the desk's path in its environment, or works inside of the project: by that, strays are found
and ended.
"""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from stale_programs import COOKIE, PATIENCE_S, STOP_S, Program, environment, strays, until

__all__ = ["APP", "CHECK", "LINT", "NOTES", "PATIENCE_S", "Program", "Run", "Task", "World", "strays", "until", "world"]

IGNORED = ".turbo/\n.wireit/\n.task/\n.moon/cache/\n.hotpipe/\n.trigger*\ntmp/\nnode_modules/\n"
CHECK_SH = """\
# sh check.sh NAME FOLDER: reads all texts of the folder, and fails if one of them is bad.
cd "$(dirname "$0")"
desk={desk}
say() {{ echo "$name $$ $*" >> "$desk/log"; }}
name=$1
say started
if [ -e "$desk/hold-$name" ]; then read -r _ < "$desk/go-$name"; fi
seen=$(cat "$2"/*.txt | tr '\\n' ' ')
say read "$seen"
if [ -e "$desk/linger-$name" ]; then read -r _ < "$desk/go-$name"; fi
if [ -e "$desk/writes-$name" ]; then echo "good $$" > "$2/made.txt"; fi
case "$seen" in *bad*) say failed; exit 1 ;; esac
say passed
"""


@dataclass(frozen=True)
class Task:
    """A check of the project, and the folder that is all it reads."""

    name: str
    folder: str

    def command(self, to_root: str = ".") -> str:
        """For a shell in a folder from which the root is `to_root`."""
        return f"sh {to_root}/check.sh {self.name} {self.folder}"


CHECK, LINT = Task("check", "src"), Task("lint", "docs")
APP, NOTES = "src/app.txt", "docs/notes.txt"


@dataclass
class Run:
    """One run of a check, as it told of itself: what it read, and how it ended ("" if it did not, or not yet)."""

    task: str
    pid: int
    seen: str | None = None
    verdict: str = ""

    @property
    def alive(self) -> bool:
        if self.verdict:
            return False
        with suppress(psutil.Error):
            return psutil.Process(self.pid).status() != psutil.STATUS_ZOMBIE
        return False


class World:
    """The project below `folder`/project, in git; what the driver does to it, and what it sees."""

    def __init__(self, folder: Path, path: str) -> None:
        self.root, self.desk = folder / "project", folder / "desk"
        self.env = environment(folder, path) | {COOKIE: str(self.desk)}
        for made in (self.root / CHECK.folder, self.root / LINT.folder, self.desk):
            made.mkdir(parents=True)
        (self.desk / "log").touch()
        self._go = {task: self._fifo(f"go-{task.name}") for task in (CHECK, LINT)}
        self._programs: list[Program] = []
        self._saves = 0

    def _fifo(self, name: str) -> int:
        os.mkfifo(self.desk / name)
        return os.open(self.desk / name, os.O_RDWR | os.O_NONBLOCK)  # both ends, so that no check waits to open it

    def prepare(self, files: Mapping[str, str], content: str = "good 0") -> None:
        """Write the tool's files, and commit everything."""
        texts = {APP: f"{content}\n", NOTES: "good 0\n", "check.sh": CHECK_SH.format(desk=self.desk)}
        for path, text in {**texts, ".gitignore": IGNORED, **files}.items():
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            (self.root / path).write_text(text)
        self.git("init", "-q", "-b", "main")
        self.commit("first")

    def commit(self, message: str) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "--no-verify", "-m", message)

    def git(self, *arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=self.root, env=self.env, check=True, capture_output=True)

    def save(self, path: str, text: str) -> None:
        """As most editors do: beside the tree, then moved into place. One event."""
        prepared = self.desk / "prepared"
        prepared.write_text(f"{text}\n")
        prepared.rename(self.root / path)

    def fresh(self) -> str:
        """A content that nobody has seen yet, and that is good."""
        self._saves += 1
        return f"good {self._saves:04}"

    def text(self, path: str) -> str:
        return (self.root / path).read_text()

    # What the checks are told.

    def set(self, *flags: str) -> None:
        """`hold-NAME`, `linger-NAME`, `writes-NAME`; what a release of before has left lets nobody go."""
        for flag in flags:
            for task, fifo in self._go.items():
                if flag.endswith(f"-{task.name}"):
                    _drain(fifo)
            (self.desk / flag).touch()

    def release(self, *tasks: Task) -> None:
        """Whoever waits goes on, and nobody of these tasks (none: of any) will wait any more."""
        for task in tasks or (CHECK, LINT):
            for flag in ("hold", "linger"):
                (self.desk / f"{flag}-{task.name}").unlink(missing_ok=True)
            os.write(self._go[task], b"\n" * 64)

    # What they did.

    def runs(self, task: Task = CHECK) -> list[Run]:
        """All runs of a check up to now, in the order of their starts."""
        runs: dict[int, Run] = {}
        for line in (self.desk / "log").read_text().splitlines():
            name, pid, word, *rest = line.split(maxsplit=3)
            if word == "started":
                runs[int(pid)] = Run(name, int(pid))
            elif word == "read":
                runs[int(pid)].seen = " ".join(rest)
            else:
                runs[int(pid)].verdict = word
        return [run for run in runs.values() if run.task == task.name]

    def has_passed_on(self, content: str, task: Task = CHECK) -> bool:
        return any(run.verdict == "passed" and content in (run.seen or "").strip() for run in self.runs(task))

    # Processes.

    def start(self, argv: Sequence[str]) -> Program:
        log = self.desk / f"said-{len(self._programs)}"
        self._programs.append(Program(argv, self.root, self.env, log))
        return self._programs[-1]

    def end_strays(self) -> None:
        """Kill what was left running: by the cookie, or by where it works."""
        for pid in strays(self.desk, self.root):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until(lambda: not strays(self.desk, self.root), STOP_S)

    def close(self) -> None:
        for program in self._programs:
            program.end()
        self.end_strays()
        for fifo in self._go.values():
            os.close(fifo)


def _drain(fifo: int) -> None:
    with suppress(BlockingIOError):
        os.read(fifo, 1 << 12)


@contextmanager
def world(folder: Path, path: str) -> Iterator[World]:
    """A new one below `folder`; in the end nothing of it runs any more."""
    made = World(folder, path)
    try:
        yield made
    finally:
        made.close()

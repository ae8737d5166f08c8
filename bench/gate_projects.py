"""Projects for bench/gate: their stages, their files, how they are saved; and programs that run once and are timed."""

import json
import os
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measure import Program, environment

PATIENCE_S = 60.0


@dataclass(frozen=True)
class Graph:
    """Stages that do nothing: `run` as it is written in TOML, side by side or each after the one above it."""

    run: str
    jobs: int
    in_a_row: bool = False
    count: int = 200

    def __str__(self) -> str:
        return f"run = {self.run}, jobs = {self.jobs}{', in a row' if self.in_a_row else ''}"

    @property
    def argv(self) -> tuple[str, ...]:
        """What hotpipe starts for a stage."""
        return ("/bin/true",) if self.run.startswith("[") else ("/bin/sh", "-c", "exec true")

    def config(self) -> str:
        needs = "" if self.in_a_row else "needs = []\n"
        stages = (
            f'[stage.stage-{n}]\nrun = {self.run}\ninputs = ["src/**"]\n{needs if n else ""}' for n in range(self.count)
        )
        return f"[gate]\njobs = {self.jobs}\n{''.join(stages)}"


def plant(root: Path, config: str, files: Iterable[str] = ("src/app.py", "notes.txt")) -> Path:
    """A git repository with this configuration."""
    root.mkdir()
    subprocess.run(["git", "init", "--quiet", str(root)], check=True)
    (root / ".gitignore").write_text(".hotpipe/\n.trigger*\n")
    (root / "hotpipe.toml").write_text(config)
    for number, file in enumerate(files):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(f"value = {number}\n" * 20)
    return root


def many_files(count: int) -> list[str]:
    """In folders of 40."""
    return [f"src/part{number // 400}/inner{number // 40 % 10}/file{number}.py" for number in range(count)]


def save(root: Path, path: str, content: str) -> float:
    """Replace a file, as editors do atomically. Returns the moment before."""
    prepared = root.with_name(f"{root.name}.prepared")
    prepared.write_text(content)
    began = time.monotonic()
    prepared.rename(root / path)
    return began


def new() -> str:
    """Content that never was there."""
    return f"value = {time.monotonic_ns()}\n"


# --- programs that run once -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ran:
    """A program that has run to its end. `cpu_s` is its own and that of all it has waited for."""

    began: float
    wall_s: float
    cpu_s: float
    code: int
    output: str

    def moment(self, kind: str) -> float:
        """When hotpipe said so first, in seconds from the program's start."""
        events = (json.loads(line) for line in self.output.splitlines())
        return next(float(event["mono"]) for event in events if event["type"] == kind) - self.began


def ran(argv: Sequence[str], root: Path, env: dict[str, str] | None = None) -> Ran:
    """Run it; raises AssertionError with what it wrote where it fails."""
    log = root.with_name(f"{root.name}.log")
    with log.open("wb") as out:
        actions = [(os.POSIX_SPAWN_DUP2, out.fileno(), 1), (os.POSIX_SPAWN_DUP2, out.fileno(), 2)]
        before = Path.cwd()
        os.chdir(root)
        try:
            began = time.monotonic()
            pid = os.posix_spawnp(argv[0], argv, environment() | (env or {}), file_actions=actions)
            _, status, used = os.wait4(pid, 0)
            wall_s = time.monotonic() - began
        finally:
            os.chdir(before)
    code = os.waitstatus_to_exitcode(status)
    done = Ran(began, wall_s, used.ru_utime + used.ru_stime, code, log.read_text(errors="replace"))
    assert not code, f"{argv} ended with {code}: {done.output[-800:]}"
    return done


def bare(argv: Sequence[str], count: int, jobs: int) -> float:
    """Seconds that it takes to start this program `count` times and wait for it, `jobs` at once."""
    began, alive = time.monotonic(), 0
    env = dict(os.environ)
    null = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in range(3)]
    for _ in range(count):
        if alive == jobs:
            os.wait()
            alive -= 1
        os.posix_spawn(argv[0], argv, env, file_actions=null, setsid=True)
        alive += 1
    for _ in range(alive):
        os.wait()
    return time.monotonic() - began


# --- what a running hotpipe says --------------------------------------------------------------------------------------


def verdict(program: Program, after: float) -> dict[str, Any]:
    """The verdict of the run that followed a save."""
    return program.wait_for("run.finished", PATIENCE_S, after=after)


def between(program: Program, began: float, ended: float) -> list[dict[str, Any]]:
    """What was said between two moments."""
    return [event for event in program.events() if began <= event["mono"] <= ended]


def first(events: Iterable[dict[str, Any]], kind: str) -> float:
    """When it was said first."""
    return next(float(event["mono"]) for event in events if event["type"] == kind)


def with_run(number: int, root: Path) -> list[int]:
    """The processes that stages of this run have started, and that are still alive."""
    marks = (f"HOTPIPE_RUN={number}\0".encode(), f"PWD={root}\0".encode())
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and _has(entry, marks)]


def _has(entry: Path, marks: Iterable[bytes]) -> bool:
    try:
        environ = (entry / "environ").read_bytes()  # empty where it is a zombie
    except OSError:
        return False
    return all(mark in environ + b"\0" for mark in marks)

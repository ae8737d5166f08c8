"""How hotpipe does on large trees: one that is nearly all ignored, and one in which every file counts.

(a) 2,000 files that count in 200 folders, and 98,000 ignored ones in 9,000 folders: node_modules at the root and in
    packages of a monorepo, nested as package managers nest them. Time to watch.ready, memory, inotify watches.
(b) 50,000 files that count in 2,500 folders. 30 saves of files all over it, at random times: while nothing happens,
    while the stage runs, and while the sweep that confirms a green run goes on. Each save to stage.started.

The trees are fresh, so the kernel has them in its cache; a start after boot has to wait for the disk besides.
"""

import argparse
import contextlib
import math
import os
import random
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measure import HOTPIPE, Program, Report, goal, idle_cpu, load, machine, quantile, spread, table, version

READY_S, MEMORY_MB, SAVE_MS = 0.5, 45.0, 50.0
STARTS = 5
SAVES, SAVE_GAP_S = 30, (0.0, 1.6)
IDLE_S = 15.0
PATIENCE_S = 60.0
STAGE_S = 0.4
CONFIG = f"""
[stage.check]
run = "sleep {STAGE_S}"
"""


@dataclass(frozen=True)
class Shape:
    """How many files and folders a tree has that count, and how many that are ignored."""

    files: int
    folders: int
    ignored_files: int = 0
    ignored_folders: int = 0


MOSTLY_IGNORED = Shape(2_000, 200, 98_000, 9_000)
ALL_RELEVANT = Shape(50_000, 2_500)


@dataclass(frozen=True)
class Tree:
    """A tree on disk: its root, the files that count (relative), and how many folders count (with the root)."""

    root: Path
    files: list[str]
    folders: int


def plant(root: Path, shape: Shape) -> Tree:
    """Make a tree: a git repository with a configuration and one stage."""
    root.mkdir()
    subprocess.run(["git", "init", "--quiet", str(root)], check=True)
    (root / ".gitignore").write_text("node_modules/\n*.log\n")
    (root / "hotpipe.toml").write_text(CONFIG)
    folders = sorted(_folders("src", shape.folders - 1))
    files = list(_files(folders, shape.files - 2, "py"))
    packages = [*random.sample(folders, min(3, len(folders))), ""]
    ignored = [f for at in packages for f in _modules(at, shape.ignored_folders // len(packages))]
    _write(root, folders + ignored, [*files, *(_files(ignored, shape.ignored_files, "js") if ignored else ())])
    return Tree(root, files, len(folders) + 1)


def _folders(top: str, count: int) -> Iterator[str]:
    """`count` folders, `top` the first of them; each has up to five below it."""
    for number in range(count):
        yield top + "".join(f"/part{at}" for at in _way(number))


def _way(number: int) -> list[int]:
    """From the root of a tree in which each node has five children to its node `number`."""
    way = []
    while number:
        number, at = divmod(number - 1, 5)
        way.append(at)
    return way[::-1]


def _modules(folder: str, count: int) -> list[str]:
    """A node_modules of `count` folders in `folder`: packages of nine folders, every tenth with modules of its own."""
    top = os.path.join(folder, "node_modules")
    found = [top]
    for number in range((count - 1) // 10 + 1):
        inside = f"/package{number - 1}/node_modules" if number % 10 == 1 else ""
        package = f"{top}{inside}/package{number}"
        found += [*([top + inside] if inside else []), *_folders(package, 9)]
    return found[:count]


def _files(folders: list[str], count: int, suffix: str) -> Iterator[str]:
    for number in range(count):
        yield f"{folders[number % len(folders)]}/file{number // len(folders)}.{suffix}"


def _write(root: Path, folders: list[str], files: list[str]) -> None:
    for folder in folders:
        os.makedirs(root / folder, exist_ok=True)
    for number, file in enumerate(files):
        (root / file).write_text(f"value = {number}\n" * random.randint(5, 150))


@contextlib.contextmanager
def gate(tree: Tree, log: Path) -> Iterator[Program]:
    """A `hotpipe gate` on the tree."""
    with Program((HOTPIPE, "gate", "--json"), tree.root, log) as program:
        yield program


# --- starting ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Start:
    """What a start gave; the last three from after the first run. `ready` is the event."""

    ready: dict[str, Any]
    ready_s: float
    memory_mb: dict[str, float]
    memory_after_run_mb: dict[str, float]
    watches: int
    cpu_s: float


def start(program: Program) -> Start:
    """Wait for watch.ready and for the first run's end."""
    ready = program.wait_for("watch.ready", PATIENCE_S)
    memory_mb, cpu_s = program.memory_mb(), program.cpu_s()
    program.wait_for("run.finished", PATIENCE_S)
    ready_s = ready["mono"] - program.spawned_at
    return Start(ready, ready_s, memory_mb, program.memory_mb(), program.inotify_watches(), cpu_s)


def start_table(started: list[Start], tree: Tree) -> str:
    """All starts, one a row."""
    head = ["start:", "ready s", "of it walking", "CPU s", "files", "folders", "watches", "they should be"]
    rows = []
    for number, s in enumerate(started, 1):
        seconds = (s.ready_s, s.ready["took_ms"] / 1e3, s.cpu_s)
        counts = (s.ready["files"], s.ready["dirs"], s.watches, tree.folders)
        rows.append([str(number), *(f"{figure:.3f}" for figure in seconds), *map(str, counts)])
    return table(head, rows)


def memory_table(started: Start) -> str:
    """MB of 10^6 bytes."""
    sizes = {"at watch.ready": started.memory_mb, "after the first run": started.memory_after_run_mb}
    rows = [[when, *(f"{mb:.1f}" for mb in size.values())] for when, size in sizes.items()]
    return table(["MB:", "VmRSS", "Pss", "peak (VmHWM)"], rows)


# --- saving while it is busy ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Save:
    """One save of one file, which no other save touches."""

    path: str
    at: float


def save_at_random(tree: Tree) -> list[Save]:
    """Save files all over the tree, at random times."""
    saves = []
    for path in random.sample(tree.files, SAVES):
        time.sleep(random.uniform(*SAVE_GAP_S))
        prepared = tree.root.with_name("prepared")
        prepared.write_text(f"value = {time.monotonic_ns()}\n")
        saves.append(Save(path, time.monotonic()))
        prepared.rename(tree.root / path)
    return saves


def answered(save: Save, events: list[dict[str, Any]]) -> float:
    """Seconds from the save to the start of a stage that knows of it; infinity where there was none."""
    later = iter([event for event in events if event["mono"] > save.at])
    next((event for event in later if event["type"] == "change.detected" and save.path in event["paths"]), None)
    started_at = next((event["mono"] for event in later if event["type"] == "stage.started"), math.inf)
    return float(started_at - save.at)


def meanwhile(save: Save, events: list[dict[str, Any]]) -> str:
    """What hotpipe was doing at the time of a save."""
    doing = {"run.started": "stage", "stage.started": "stage", "stage.finished": "confirming sweep"}
    before = [
        event["type"] for event in events if event["mono"] < save.at and event["type"] in {*doing, "run.finished"}
    ]
    return doing.get(before[-1], "nothing")


def save_table(waits: dict[str, list[float]]) -> str:
    """By what was going on."""
    every = {**dict(sorted(waits.items())), "all": [wait for found in waits.values() for wait in found]}
    rows = [[doing, str(len(found)), *spread(found)] for doing, found in every.items()]
    return table(["ms from save to stage.started, during:", "saves", "median", "p95", "max"], rows)


# --- the two trees ----------------------------------------------------------------------------------------------------


def mostly_ignored(folder: Path, report: Report) -> None:
    """Part (a)."""
    tree = plant(folder / "a", MOSTLY_IGNORED)
    report.add(f"\n(a) {described(MOSTLY_IGNORED)}; {load()}\n")
    started = []
    for _ in range(STARTS):
        with gate(tree, folder / "log") as program:
            started.append(start(program))
    ready_s = quantile([s.ready_s for s in started], 0.5)
    peak_mb = max(size["VmHWM"] for s in started for size in (s.memory_mb, s.memory_after_run_mb))
    report.add(f"{start_table(started, tree)}\n\n{memory_table(started[-1])}\n")
    report.add(goal(f"watching after {ready_s:.3f} s (median); at most {READY_S}", reached=ready_s <= READY_S))
    report.add(goal(f"a peak of {peak_mb:.1f} MB; at most {MEMORY_MB:g}", reached=peak_mb <= MEMORY_MB))
    exact = all(s.watches == tree.folders for s in started)
    report.add(goal(f"watches for the {tree.folders} folders that count, and no other", reached=exact))


def all_relevant(folder: Path, report: Report) -> None:
    """Part (b)."""
    tree = plant(folder / "b", ALL_RELEVANT)
    report.add(f"\n(b) {described(ALL_RELEVANT)}; {load()}\n")
    with gate(tree, folder / "log") as program:
        started = start(program)
        saves = save_at_random(tree)
        time.sleep(2.0)
        events = program.events()
        waits: dict[str, list[float]] = {}
        for save in saves:
            waits.setdefault(meanwhile(save, events), []).append(answered(save, events))
        report.add(f"{start_table([started], tree)}\n\n{memory_table(started)}\n\n{save_table(waits)}\n")
        idle = idle_cpu({"": program}, IDLE_S)[""]
        in_the_end_mb = program.memory_mb()["VmRSS"]
        report.add(f"idle CPU over {IDLE_S:g} s: {idle:.3f} % of one core; VmRSS in the end {in_the_end_mb:.1f} MB")
    longest_ms = max(wait for found in waits.values() for wait in found) * 1e3
    report.add(
        goal(f"the longest wait of a save {longest_ms:.1f} ms; at most {SAVE_MS:g}", reached=longest_ms <= SAVE_MS)
    )


def described(shape: Shape) -> str:
    """In words."""
    ignored = f", and {shape.ignored_files:,} ignored ones in {shape.ignored_folders:,}" if shape.ignored_files else ""
    return f"{shape.files:,} files in {shape.folders:,} folders{ignored}"


def main() -> None:
    """Parse the command line, measure, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("a", "b"), help="one of the two trees")
    parser.add_argument("--dir", help="where the trees are planted: 500 MB, taken away in the end")
    parser.add_argument("--out", type=Path, help="write the report to this file, too")
    options = parser.parse_args()
    report = Report()
    report.add(f"{machine()}; hotpipe {version(HOTPIPE)}; {load()}")
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.dir) as folder:
        for name, part in {"a": mostly_ignored, "b": all_relevant}.items():
            if options.only in {None, name}:
                part(Path(folder), report)
    report.add(f"\n{load()}")
    if options.out:
        options.out.write_text(report.text, encoding="utf-8")


if __name__ == "__main__":
    main()

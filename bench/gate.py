"""What the gate costs beside the work of its stages: hotpipe's own figures, and other tools' where they are to be had.

(a) 200 stages that do nothing: the wall time of a run, less that of the bare processes (posix_spawn and wait, as many
    at once), for each stage; and hotpipe's own CPU time. Each run follows a save that no run has seen before.
(b) 200 stages of which nothing has to run: a whole `hotpipe check`, and saves in a running gate: of a file that
    concerns no stage, and of one that is put back to what was green before.
(c) A save while a stage is at work: until its processes are dead and the next run's stage is started.
(d) 10,000 files: from one save to the run that names the new tree, and a whole `hotpipe check`.

Times are those of hotpipe's events, on the clock of the saves. The figures are medians and p95s of many repetitions.
"""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from gate_peers import COUNT, Peer, peers
from gate_projects import PATIENCE_S, Graph, bare, between, first, many_files, new, plant, ran, save, verdict, with_run
from measure import HOTPIPE, Program, Report, goal, load, machine, quantile, table, version

STAGE_MS, CHECK_MS, WATCH_MS, CANCEL_MS, TREE_MS = 5.0, 150.0, 60.0, 30.0, 60.0
FILES = 10_000
GRAPHS = (
    *(Graph(run, jobs) for run in ('["true"]', '"true"') for jobs in (1, 2)),
    Graph('["true"]', 2, in_a_row=True),
)
LONG = {
    "sleep 60": 'run = ["sleep", "60"]',
    "sh -c 'sleep 60 & wait'": "run = \"sh -c 'sleep 60 & wait'\"",
    "a Python that sleeps": f"run = ['{sys.executable}', '-c', 'import time; time.sleep(60)']",
}
IN_A_ROW = 8  # saves during a run; a dozen, and hotpipe suspects that a stage makes them
CALM_S = 0.05  # what follows a run is over by then


@dataclass
class Figure:
    """Many measurements of one thing, in seconds, and the goal for median and p95 (ms; null: there is none).
    `cpu_s` is hotpipe's own CPU time, of each."""

    name: str
    goal_ms: float | None = None
    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)

    def row(self) -> list[str]:
        figures = [quantile(self.wall_s, share) for share in (0.5, 0.95)] + [quantile(self.cpu_s, 0.5)]
        wanted = "" if self.goal_ms is None else f"{self.goal_ms:g}"
        return [self.name, *(_ms(figure) for figure in figures), wanted, str(len(self.wall_s))]

    def verdict(self) -> str:
        """Whether the goal is reached."""
        median, p95 = (quantile(self.wall_s, share) * 1e3 for share in (0.5, 0.95))
        said = f"{self.name}: {median:.1f} ms (p95 {p95:.1f}); at most {self.goal_ms:g}"
        return goal(said, reached=self.goal_ms is None or median <= self.goal_ms)


HEAD = ["ms", "median", "p95", "CPU, median", "goal", "times"]


class Bench(NamedTuple):
    """Where to measure, and how often."""

    folder: Path
    runs: int
    checks: int
    saves: int


@contextmanager
def gate(bench: Bench, root: Path) -> Iterator[Program]:
    """A `hotpipe gate` whose first run is over."""
    with Program((HOTPIPE, "gate", "--json"), root, bench.folder / f"{root.name}.events") as program:
        verdict(program, 0.0)
        time.sleep(CALM_S)
        yield program


# --- (a) what a stage costs -------------------------------------------------------------------------------------------


def overheads(bench: Bench) -> list[Figure]:
    """Of each graph, and the bare processes beside it."""
    return [figure for number, graph in enumerate(GRAPHS) for figure in overhead(bench, graph, f"graph{number}")]


def overhead(bench: Bench, graph: Graph, name: str) -> tuple[Figure, Figure]:
    root = plant(bench.folder / name, graph.config())
    mine = Figure(f"each of {graph.count} stages, {graph}", STAGE_MS)
    theirs = Figure(f"  (of that taken off: the bare process, {' '.join(graph.argv)})")
    jobs = 1 if graph.in_a_row else graph.jobs
    with gate(bench, root) as program:
        for _ in range(bench.runs):
            theirs.wall_s.append(bare(graph.argv, graph.count, jobs) / graph.count)
            used = program.own_cpu_s()
            saved = save(root, "src/app.py", new())
            ended = verdict(program, saved)["mono"]
            time.sleep(CALM_S)
            began = first(between(program, saved, ended), "run.started")
            mine.wall_s.append((ended - began) / graph.count - theirs.wall_s[-1])
            mine.cpu_s.append((program.own_cpu_s() - used) / graph.count)
    return mine, theirs


# --- (b) when nothing has to run --------------------------------------------------------------------------------------


def cached(bench: Bench) -> list[Figure]:
    """Of a whole check, and of saves."""
    root = plant(bench.folder / "cached", Graph('["true"]', 2).config())
    ran((HOTPIPE, "check", "--json"), root)
    whole = Figure("hotpipe check, 200 stages cached, from start to exit", CHECK_MS)
    bench_checks(whole, bench.checks, root)
    python = Figure("  (the Python that it runs in: python -I -c pass)")
    for _ in range(bench.checks):
        done = ran((sys.executable, "-I", "-c", "pass"), root)
        python.wall_s.append(done.wall_s)
        python.cpu_s.append(done.cpu_s)
    return [whole, python, *cached_saves(bench, root)]


def bench_checks(figure: Figure, count: int, root: Path, until: str = "") -> None:
    """Whole checks, to their exit or until an event."""
    for _ in range(count):
        done = ran((HOTPIPE, "check", "--json"), root)
        figure.wall_s.append(done.moment(until) if until else done.wall_s)
        figure.cpu_s.append(done.cpu_s)


def cached_saves(bench: Bench, root: Path) -> Iterator[Figure]:
    contents = [new(), new()]
    with gate(bench, root) as program:
        for content in contents:  # both are green before
            verdict(program, save(root, "src/app.py", content))
            time.sleep(CALM_S)
        nothing = Figure("save of a file that concerns no stage, to the verdict", WATCH_MS)
        back = Figure("save that puts a file back, 200 stages cached, to the verdict", WATCH_MS)
        for number in range(bench.saves):
            timed_save(program, root, nothing, ("notes.txt", new()))
            timed_save(program, root, back, ("src/app.py", contents[number % 2]))
    yield nothing
    yield back


def timed_save(program: Program, root: Path, figure: Figure, what: tuple[str, str]) -> None:
    """One save, to the verdict on it."""
    used = program.own_cpu_s()
    saved = save(root, *what)
    figure.wall_s.append(verdict(program, saved)["mono"] - saved)
    time.sleep(CALM_S)
    figure.cpu_s.append(program.own_cpu_s() - used)


# --- (c) a save while a stage is at work ------------------------------------------------------------------------------


def cancelled(bench: Bench) -> Iterator[Figure]:
    """Each kind of long stage."""
    for number, (name, run) in enumerate(LONG.items()):
        root = plant(bench.folder / f"long{number}", f"[stage.long]\n{run}\n")
        figure = Figure(f"save during `{name}`, to the next run's stage", CANCEL_MS)
        for _ in range(0, bench.saves, IN_A_ROW):
            with Program((HOTPIPE, "gate", "--json"), root, bench.folder / f"{root.name}.events") as program:
                for _ in range(IN_A_ROW):
                    save_during(program, root, figure)
        yield figure


def save_during(program: Program, root: Path, figure: Figure) -> None:
    """One save, of a file of its own: one that changes again and again only while a stage runs is laid to the stage."""
    time.sleep(random.uniform(0.15, 0.4))
    started = program.wait_for("stage.started", PATIENCE_S, after=program.last("run.started"))
    used = program.own_cpu_s()
    saved = save(root, f"src/{time.monotonic_ns()}.py", new())
    following = program.wait_for("stage.started", PATIENCE_S, after=saved)
    left = with_run(started["run"], root)
    assert not left, f"of run {started['run']} there are still {left}"
    figure.wall_s.append(following["mono"] - saved)
    figure.cpu_s.append(program.own_cpu_s() - used)


# --- (d) many files ---------------------------------------------------------------------------------------------------


def large(bench: Bench) -> Iterator[Figure]:
    """Of a tree with many files that count."""
    files = many_files(FILES)
    root = plant(bench.folder / "large", '[stage.first]\nrun = ["true"]\n', files)
    named = Figure(f"save of one of {FILES:,} files, to the run that names the tree", TREE_MS)
    judged = Figure("  to its verdict, which a sweep of them all confirms")
    with gate(bench, root) as program:
        for path in random.choices(files, k=bench.saves):
            timed_save(program, root, judged, (path, new()))
            saved = program.events()[-1]["mono"] - judged.wall_s[-1]
            named.wall_s.append(first(between(program, saved, float("inf")), "run.started") - saved)
    yield named
    yield judged
    begun = Figure(f"hotpipe check, {FILES:,} files, from start to run.started")
    bench_checks(begun, bench.checks, root, "run.started")
    yield begun


# --- others -----------------------------------------------------------------------------------------------------------


def beside(bench: Bench, peer: Peer) -> Figure | str:
    """The whole of its run; or why there is none."""
    if peer.program is None:
        return f"skipped {peer.name}: not on this machine"
    root = peer.plant(bench.folder / peer.name.split()[0].strip(","))
    figure = Figure(f"{peer.name} {version(peer.program)}, {COUNT} tasks, from start to exit")
    try:
        for warm_up in (True, *(False,) * max(bench.checks // 2, 3)):
            done = ran(peer.argv, root, peer.env)
            if not warm_up:
                figure.wall_s.append(done.wall_s)
                figure.cpu_s.append(done.cpu_s)
    except AssertionError as error:
        return f"skipped {peer.name}: {error}"
    return figure


def own(bench: Bench) -> list[Figure]:
    """hotpipe, measured as they are: from start to exit."""
    root = plant(bench.folder / "own", Graph('["true"]', 2).config())
    figures = []
    for name, more in {"hotpipe check": ("--no-cache",), "hotpipe check, all cached": ()}.items():
        figures.append(figure := Figure(f"{name}, {COUNT} stages, from start to exit"))
        for warm_up in (True, *(False,) * max(bench.checks // 2, 3)):
            done = ran((HOTPIPE, "check", "--json", *more), root)
            if not warm_up:
                figure.wall_s.append(done.wall_s)
                figure.cpu_s.append(done.cpu_s)
    return figures


# --- the report -------------------------------------------------------------------------------------------------------

PARTS: dict[str, tuple[str, Callable[[Bench], list[Figure]]]] = {
    "stages": ("What a stage costs beside its process", overheads),
    "cached": ("When nothing has to run", cached),
    "cancel": ("A save while a stage is at work", lambda bench: list(cancelled(bench))),
    "large": ("Many files", lambda bench: list(large(bench))),
}


def measure(bench: Bench, parts: list[str], report: Report) -> None:
    """The parts that are asked for, each as a table with its verdicts."""
    report.add(f"{machine()}; {load()}")
    for part in parts:
        if part in PARTS:
            title, figures_of = PARTS[part]
            figures = figures_of(bench)
            goals = [figure.verdict() for figure in figures if figure.goal_ms is not None]
            show(report, title, figures, goals)
    if "others" in parts:
        found = [*own(bench), *(beside(bench, peer) for peer in peers())]
        skipped = [each for each in found if isinstance(each, str)]
        show(report, "Beside others", [each for each in found if isinstance(each, Figure)], skipped)


def show(report: Report, title: str, figures: list[Figure], said: list[str]) -> None:
    report.add(f"\n## {title}\n\n```text\n{table(HEAD, [figure.row() for figure in figures])}\n```\n")
    report.add("\n".join([*(f"- {line}" for line in said), f"- {load()}"]))


def _ms(seconds: float) -> str:
    return "–" if seconds != seconds else f"{seconds * 1e3:.2f}"  # noqa: PLR0124 - NaN


def main() -> None:
    """Parse the command line, measure, report."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer of everything")
    parser.add_argument("--only", nargs="+", choices=[*PARTS, "others"], help="these parts")
    parser.add_argument("--dir", help="where the temporary folder goes")
    parser.add_argument("--markdown", type=Path, help="write the report to this file, too")
    options = parser.parse_args()
    report = Report()
    counts = {"runs": 4, "checks": 8, "saves": 12} if options.quick else {"runs": 10, "checks": 25, "saves": 40}
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.dir) as folder:
        measure(Bench(Path(folder).resolve(), **counts), options.only or [*PARTS, "others"], report)
    if options.markdown:
        title = f"# What the gate costs\n\nMeasured by `bench/gate.py`:\n\n```text\n{__doc__.strip()}\n```\n\n"
        options.markdown.write_text(title + report.text, encoding="utf-8")


if __name__ == "__main__":
    main()

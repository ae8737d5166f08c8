"""From a save to the moment the first stage's command runs, and what waiting for it costs: hotpipe beside other tools.

How it works: every tool watches a project of its own, all alike, and runs the same command, `echo > ../started`, in one
sh. That is a FIFO: a start is the moment in which something arrives there. All tools run at once; each round saves once
in every project, in random order and one after the other, so that whatever else the machine does hits all alike.

A save is new content renamed into place (prepared outside of the project, so that it is one event) or written in place
(open, write, close). The clock starts before the rename, or before the open.
"""

import argparse
import contextlib
import math
import os
import random
import selectors
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from measure import HOTPIPE, Program, Report, find, goal, idle_cpu, load, machine, quantile, spread, table, version

MEDIAN_MS, IDLE_PERCENT = 10.0, 0.4
COMMAND = "echo > ../started"
WATCHED = "package/app.py"
GAP_S = (0.3, 0.7)  # between two saves in one project
PATIENCE_S = 0.25  # for one tool's answer before the next one's turn; later ones count all the same
AFTERMATH_S = 0.04  # what a tool does when its command has ended should not slow down the next one
BURST_FILES, BURST_S = 6, 1.0
MISSED_S = 2.0
CONFIG = f"""
[stage.first]
run = "{COMMAND}"
"""
AT_ONCE = """
[watch]
settle = "0ms"
"""
SERVED = """
[server.held]
run = ["{python}", "../server.py"]
listen = ["http::0"]
"""
SERVER = """
import socket
listening = socket.socket(fileno=3)
listening.setblocking(True)
while True:
    listening.accept()[0].close()
"""


@dataclass(frozen=True)
class Tool:
    """A way to run COMMAND whenever a file below the working directory is saved; `feed` is its standard input."""

    name: str
    program: str
    argv: tuple[str, ...]
    feed: str = ""
    config: str = ""


def tools() -> list[Tool]:
    """All of them with default settings, and with the quickest documented ones where these differ.

    nodemon's --delay is 0 anyway; entr, and the command line of watchfiles, have nothing to set.
    """
    served = CONFIG + SERVED.format(python=find("python"))
    inotifywait = "inotifywait -qr{} -e close_write,moved_to,create,delete . {}"
    loop = f"while {inotifywait.format('', '>/dev/null')}; do sh -c '{COMMAND}'; done"
    monitor = f"{inotifywait.format('m', '')} | while read -r _; do sh -c '{COMMAND}'; done"
    return [
        Tool("hotpipe gate", "hotpipe", (HOTPIPE, "gate", "--json"), config=CONFIG),
        Tool("hotpipe gate, settle 0ms", "hotpipe", (HOTPIPE, "gate", "--json"), config=AT_ONCE + CONFIG),
        Tool("hotpipe watch, with a server", "hotpipe", (HOTPIPE, "watch", "--json"), config=served),
        Tool("entr", "entr", ("entr", "-n", "-s", COMMAND), feed="\n".join(project_files())),
        Tool("nodemon", "nodemon", ("nodemon", "--watch", ".", "--ext", "py", "--exec", COMMAND)),
        Tool("watchexec", "watchexec", ("watchexec", COMMAND)),
        Tool("watchexec --debounce 0ms", "watchexec", ("watchexec", "--debounce", "0ms", COMMAND)),
        Tool("watchfiles", "watchfiles", (find("watchfiles") or "", f"sh -c '{COMMAND}'", ".")),
        Tool("while inotifywait; do", "inotifywait", ("sh", "-c", loop)),
        Tool("inotifywait -m | while read", "inotifywait", ("sh", "-c", monitor)),
    ]


def project_files() -> list[str]:
    """A small project's, relative to its root."""
    return [WATCHED, *(f"{folder}/module_{n}.py" for folder in ("package", "package/inner", "tests") for n in range(8))]


# --- saving -----------------------------------------------------------------------------------------------------------


def rename(target: Path, prepared: Path, content: str) -> float:
    """Save as editors do atomically. Returns the moment before."""
    prepared.write_text(content)
    began = time.monotonic()
    prepared.rename(target)
    return began


def in_place(target: Path, _: Path, content: str) -> float:
    """Truncate and write. Returns the moment before."""
    began = time.monotonic()
    target.write_text(content)
    return began


SAVES: dict[str, Callable[[Path, Path, str], float]] = {"rename": rename, "in place": in_place}
NEIGHBOURS = ("entr", "nodemon", "watchexec", "watchfiles")  # with their default settings
AFTER_QUIET, BURST = "after quiet", "burst"


class Save(NamedTuple):
    """One save: what it is counted under, and when it was (monotonic seconds)."""

    label: str
    at: float


@dataclass
class Contestant:
    """A tool at work on its project, with all saves so far and all starts of its command."""

    tool: Tool
    folder: Path
    program: Program
    saves: list[Save] = field(default_factory=list)
    starts: list[float] = field(default_factory=list)
    bursts: list[float] = field(default_factory=list)
    due: float = 0.0

    def save(self, kind: str, label: str) -> None:
        """Save the watched file; the content is always new."""
        content = f"value = {time.monotonic_ns()}\n"
        began = SAVES[kind](self.folder / "project" / WATCHED, self.folder / "prepared", content)
        self.saves.append(Save(label, began))
        self.due = began + random.uniform(*GAP_S)

    def answered(self) -> bool:
        """Whether the command has started since the last save."""
        return bool(self.starts and self.saves) and self.starts[-1] > self.saves[-1].at

    def latencies(self, *labels: str) -> list[float]:
        """Seconds from each save to the first start after it; a save that got none is left out."""
        found = []
        for save, following in zip(self.saves, [*self.saves[1:], Save("", float("inf"))], strict=True):
            end = min(following.at, save.at + MISSED_S)
            found += [start - save.at for start in self.starts if save.label in labels and save.at < start < end][:1]
        return found

    def missed(self, *labels: str) -> int:
        """How many saves got no start of their own."""
        return sum(save.label in labels for save in self.saves) - len(self.latencies(*labels))

    def burst(self, pause: Callable[[float], None]) -> None:
        """Save several files within some milliseconds, as `save all` and formatters do; the last save is noted."""
        began = time.monotonic()
        for path in project_files()[1:BURST_FILES]:
            rename(self.folder / "project" / path, self.folder / "prepared", f"value = {time.monotonic_ns()}\n")
            pause(0.001)
        self.save("rename", BURST)
        self.due = began + BURST_S
        self.bursts.append(began)

    def runs_per_burst(self) -> list[int]:
        """How often the command started for each burst."""
        return [sum(began < start < began + BURST_S for start in self.starts) for began in self.bursts]


class Race:
    """All tools that are on this machine, side by side."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self._selector = stack.enter_context(selectors.DefaultSelector())
        self.skipped: list[str] = []
        self.contestants: list[Contestant] = []
        for number, tool in enumerate(tools()):
            if find(tool.program) is None:
                self.skipped.append(f"{tool.name}: not on this machine")
            else:
                self.contestants.append(self._begin(tool, folder / str(number), stack))

    def _begin(self, tool: Tool, folder: Path, stack: contextlib.ExitStack) -> Contestant:
        project = _project(folder, tool.config)
        os.mkfifo(folder / "started")
        fifo = os.open(folder / "started", os.O_RDWR | os.O_NONBLOCK)  # both ends, so that no writer ever waits
        stack.callback(os.close, fifo)
        program = stack.enter_context(Program(tool.argv, project, folder / "log", feed=tool.feed))
        contestant = Contestant(tool, folder, program)
        self._selector.register(fifo, selectors.EVENT_READ, contestant)
        return contestant

    def listen(self, seconds: float, done: Callable[[], bool] = lambda: False) -> None:
        """Note starts, for so long or until `done`."""
        end = time.monotonic() + seconds
        while (left_s := end - time.monotonic()) > 0 and not done():
            ready = self._selector.select(left_s)
            now = time.monotonic()
            for key, _ in ready:
                key.data.starts += [now] * len(os.read(key.fd, 1 << 12))

    def warm_up(self) -> None:
        """Save until each has answered once; one that never does is out."""
        self.listen(2.0)
        waiting = self.contestants
        for _ in range(8):
            for contestant in waiting:
                contestant.save("rename", "warm-up")
            self.listen(1.0)
            waiting = [contestant for contestant in waiting if not contestant.answered()]
        for contestant in waiting:
            said = contestant.program.log.read_text()[-300:]
            self.skipped.append(f"{contestant.tool.name}: never answered; it wrote {said!r}")
        self.contestants = [c for c in self.contestants if c not in waiting]
        for contestant in self.contestants:
            contestant.saves.clear()

    def round(self, kind: str, label: str) -> None:
        """One save in each project, in random order."""
        for contestant in random.sample(self.contestants, len(self.contestants)):
            self.listen(contestant.due - time.monotonic())
            contestant.save(kind, label)
            self.listen(PATIENCE_S, contestant.answered)
            self.listen(AFTERMATH_S)

    def bursts(self) -> None:
        """One burst in each project, and time for all answers to it."""
        for contestant in random.sample(self.contestants, len(self.contestants)):
            contestant.burst(self.listen)
            self.listen(PATIENCE_S)
        self.listen(BURST_S)

    def idle(self, seconds: float) -> dict[str, float]:
        """Let `seconds` pass without a save; percent of a core that each took in the second half of them."""
        self.listen(seconds / 2)
        return idle_cpu({c.tool.name: c.program for c in self.contestants}, seconds / 2)


def _project(folder: Path, config: str) -> Path:
    project = folder / "project"
    for path in project_files():
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        (project / path).write_text("value = 0\n")
    if config:
        (project / "hotpipe.toml").write_text(config)
    (folder / "server.py").write_text(SERVER)
    return project


# --- the report -------------------------------------------------------------------------------------------------------


def latency_table(race: Race) -> str:
    """Milliseconds from save to start."""
    columns = [f"{kind}: {what}" for kind in SAVES for what in ("median", "p95", "max")]
    rows = []
    for c in race.contestants:
        figures = [figure for kind in SAVES for figure in spread(c.latencies(kind))]
        rows.append([c.tool.name, *figures, f"{c.missed(*SAVES)} of {sum(save.label in SAVES for save in c.saves)}"])
    return table(["ms from save to start:", *columns, "missed"], rows)


def idle_table(race: Race, idle: list[dict[str, float]]) -> str:
    """First saves after a pause, and what the pause cost."""
    rows = []
    for c in race.contestants:
        first = " ".join(f"{latency * 1e3:.1f}" for latency in c.latencies(AFTER_QUIET))
        rows.append([c.tool.name, first or "–", " ".join(f"{percent[c.tool.name]:.3f}" for percent in idle)])
    return table(["idle:", "ms from the first save to start", "CPU, % of one core"], rows)


def burst_table(race: Race) -> str:
    """Whether quickness is paid for with needless runs, or with runs on half a burst and none on the whole."""
    rows = []
    for c in race.contestants:
        runs = " ".join(map(str, c.runs_per_burst()))
        rows.append([c.tool.name, runs, f"{c.missed(BURST)} of {len(c.bursts)}"])
    head = [f"{BURST_FILES} files saved in 5 to 10 ms:", "starts for each such burst", "none after its last save"]
    return table(head, rows)


def phase_table(contestant: Contestant) -> str:
    """Where hotpipe's own milliseconds go, by the `mono` of its events; each line counts from the save."""
    moments: dict[str, list[float]] = {"change.detected": [], "run.started": [], "stage.started": []}
    for event in contestant.program.events():
        moments.get(event["type"], []).append(event["mono"])
    moments["the command runs"] = contestant.starts
    rows = []
    for name, times in moments.items():
        answers = [next((at for at in times if at > save.at), math.nan) - save.at for save in contestant.saves]
        rows.append([name, *spread(answers)])
    return table([f"{contestant.tool.name}, ms from save to:", "median", "p95", "max"], rows)


def verdicts(race: Race, idle: list[dict[str, float]]) -> list[str]:
    """Reached or not."""
    medians = {c.tool.name: quantile(c.latencies(*SAVES), 0.5) * 1e3 for c in race.contestants}
    ours = [name for name in medians if name.startswith("hotpipe")]
    others = [name for name in medians if name in NEIGHBOURS]
    bare = [f"{name} {medians[name]:.1f}" for name in medians if name not in (*ours, *others)]
    mine = medians["hotpipe gate"]
    lines = [goal(f"a median of {mine:.1f} ms over all saves; at most {MEDIAN_MS:g}", reached=mine <= MEDIAN_MS)]
    if others:
        best = min(others, key=lambda name: medians[name])
        said = f"the lowest of all tools as they come; the best other one: {best}, {medians[best]:.1f} ms"
        lines.append(goal(said, reached=mine < medians[best]))
        lines.append(f"(without any settling, one start for each file of a burst: {', '.join(bare)} ms)")
    for name in ours:
        percent = quantile([period[name] for period in idle], 0.5)
        said = f"idle CPU of {name} {percent:.3f} %; at most {IDLE_PERCENT}"
        lines.append(goal(said, reached=percent <= IDLE_PERCENT))
    return lines


def ended(race: Race) -> list[str]:
    """Tools that did not live to the end, with the last that they said."""
    gone = [c for c in race.contestants if not c.program.alive]
    return [f"{c.tool.name} ENDED by itself; it wrote {c.program.log.read_text()[-600:]!r}" for c in gone]


def versions() -> str:
    """Of the tools that are here."""
    programs = {tool.program: find(tool.program) for tool in tools()}
    asked = {"entr": ("--help",), "inotifywait": ("--help",)}
    return ", ".join(f"{Path(n).name} {version(path, *asked.get(n, ()))}" for n, path in programs.items() if path)


def measure(options: argparse.Namespace, report: Report) -> None:
    """The whole benchmark."""
    report.add(f"{machine()}; {load()}\n{versions()}")
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.dir) as folder, contextlib.ExitStack() as stack:
        race = Race(Path(folder), stack)
        race.warm_up()
        for kind in random.sample([*SAVES] * options.saves, options.saves * len(SAVES)):
            race.round(kind, kind)
        for _ in range(options.bursts):
            race.bursts()
        idle = []
        for _ in range(options.pauses):
            idle.append(race.idle(options.quiet))
            race.round("rename", AFTER_QUIET)
        race.listen(1.0)
        report.add(f"\n{latency_table(race)}\n\n{burst_table(race)}\n")
        report.add(f"{options.pauses} times {options.quiet:g} s without a save; CPU over the second half of each\n")
        report.add(f"{idle_table(race, idle)}\n\n{phase_table(race.contestants[0])}\n")
        skipped = [f"skipped {skipped}" for skipped in race.skipped]
        report.add("\n".join([*verdicts(race, idle), *ended(race), *skipped, load()]))


def main() -> None:
    """Parse the command line, measure, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--saves", type=int, help="of each kind in each project (50; quick: 12)")
    parser.add_argument("--bursts", type=int, help="of several files each (6; quick: 2)")
    parser.add_argument("--quiet", type=float, help="length of a pause in seconds (20; quick: 8)")
    parser.add_argument("--pauses", type=int, help="how many of them (3; quick: 1)")
    parser.add_argument("--quick", action="store_true", help="fewer of everything: about 40 s")
    parser.add_argument("--dir", help="where the temporary folder goes")
    parser.add_argument("--out", type=Path, help="write the report to this file, too")
    options = parser.parse_args()
    for name, (usual, quick) in {"saves": (50, 12), "bursts": (6, 2), "quiet": (20.0, 8.0), "pauses": (3, 1)}.items():
        if getattr(options, name) is None:
            setattr(options, name, quick if options.quick else usual)
    report = Report()
    measure(options, report)
    if options.out:
        options.out.write_text(report.text, encoding="utf-8")


if __name__ == "__main__":
    main()

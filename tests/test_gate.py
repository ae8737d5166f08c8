"""The gate with real stages: one hotpipe process that checks a real folder while it is being edited."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import psutil
import pytest

from hotpipe.config.file import Project
from hotpipe.config.model import Config
from hotpipe.events import AnyEvent, RunFinished, TriggerTouched
from hotpipe.gate.loop import Gate as GateLoop
from hotpipe.gate.loop import Setting
from hotpipe.process.system import System
from hotpipe.tree.identity import Entry
from hotpipe.tree.ignore import Ignore
from hotpipe.tree.sweep import Snapshot

PATIENCE_S = 30.0
Event = dict[str, Any]


class Gate:
    """`hotpipe gate --json` in a folder, and the events that it prints."""

    def __init__(self, folder: Path, config: str) -> None:
        (folder / "hotpipe.toml").write_text(config, encoding="utf-8")
        self.folder = folder
        command = [sys.executable, "-m", "hotpipe", "gate", "--json"]
        self.process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE)
        self.events: list[Event] = []

    def until(self, wanted: Callable[[Event], bool]) -> Event:
        """The next event that is wanted."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.events.append(json.loads(line))
            if wanted(self.events[-1]):
                return self.events[-1]
        raise AssertionError(f"hotpipe ended before that: {self.events[-5:]}")

    def until_run(self, status: str) -> Event:
        return self.until(lambda event: event["type"] == "run.finished" and event["status"] == status)

    def of_type(self, kind: str) -> list[Event]:
        return [event for event in self.events if event["type"] == kind]

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        rest, _ = self.process.communicate(timeout=PATIENCE_S)
        self.events.extend(map(json.loads, rest.splitlines()))


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Callable[[str], Gate]]:
    started: list[Gate] = []

    def start(config: str) -> Gate:
        started.append(Gate(tmp_path, config))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.stop()
        if each.process.stdout is not None:
            each.process.stdout.close()


def tree_of(folder: Path) -> str:
    snapshot = Snapshot(str(folder), (".",), Ignore(str(folder), never=(".trigger",)))
    snapshot.refresh({""})
    return snapshot.tree


def test_stages_run_in_the_order_written_and_stop_at_the_first_failure(
    tmp_path: Path, gate: Callable[[str], Gate]
) -> None:
    (tmp_path / "a.txt").write_text("bad")
    running = gate('[stage.z]\nrun = "true"\n[stage.a]\nrun = "grep good a.txt"\n[stage.b]\nrun = "true"')
    running.until_run("red")
    statuses = [(event["stage"], event["status"]) for event in running.of_type("stage.finished")]
    assert statuses == [("z", "passed"), ("a", "failed"), ("b", "skipped")]
    assert not (tmp_path / ".trigger").exists()
    (tmp_path / "a.txt").write_text("good")
    green = running.until_run("green")
    record = json.loads((tmp_path / ".trigger").read_text())
    assert record == record | {
        "v": 1, "run": green["run"], "tree": tree_of(tmp_path), "server": None, "changed": ["a.txt"]
    }  # fmt: skip


def test_output_is_streamed_line_by_line_while_the_stage_runs(tmp_path: Path, gate: Callable[[str], Gate]) -> None:
    os.mkfifo(tmp_path / "go")
    running = gate('[stage.a]\nrun = "echo one; read line < go; echo two >&2"')
    first = running.until(lambda event: event["type"] == "stage.output")
    assert (first["stream"], first["text"]) == ("stdout", "one")
    (tmp_path / "go").write_text("now\n")
    second = running.until(lambda event: event["type"] == "stage.output")
    assert (second["stream"], second["text"]) == ("stderr", "two")


def test_a_relevant_save_cancels_the_run_whose_processes_are_dead_before_the_next_begins(
    tmp_path: Path, gate: Callable[[str], Gate]
) -> None:  # watchexec #960
    script = "setsid sleep 300 & sleep 301 & echo $$ $! > {pids}; trap '' TERM; echo up; wait; sleep 302"
    running = gate(f'[stage.a]\nrun = "test -e done || {{ {script.format(pids="/dev/stdout")}; }}"')
    running.until(lambda event: event["type"] == "stage.output" and event["text"] == "up")
    pids = [int(pid) for event in running.of_type("stage.output")[:1] for pid in event["text"].split()]
    kin = [process for pid in pids for process in psutil.Process(pid).children(recursive=True)]
    (tmp_path / "done").touch()
    running.until(lambda event: event["type"] == "run.started" and event["run"] == 2)
    assert not [pid for pid in pids if psutil.pid_exists(pid)]
    assert not [process for process in kin if process.is_running()]
    running.until_run("green")


def test_an_irrelevant_save_does_not_disturb_the_run(tmp_path: Path, gate: Callable[[str], Gate]) -> None:
    # go-task #2715, turborepo #13115
    (tmp_path / ".gitignore").write_text("*.log\nbuild/\n")
    os.mkfifo(tmp_path / "go")
    running = gate('[stage.a]\nrun = "echo up; read line < go"')
    running.until(lambda event: event["type"] == "stage.output")
    (tmp_path / "noise.log").write_text("x")
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "out").write_text("x")
    (tmp_path / "go").write_text("now\n")
    running.until_run("green")
    running.stop()
    assert [event["status"] for event in running.of_type("run.finished")] == ["green"]
    assert not running.of_type("change.detected")


def test_a_save_that_changes_nothing_starts_nothing(tmp_path: Path, gate: Callable[[str], Gate]) -> None:
    # watchexec #204 #367, cargo-watch #272
    (tmp_path / "a.txt").write_text("same")
    (tmp_path / "b.txt").write_text("old")
    running = gate('[stage.a]\nrun = "true"')
    running.until_run("green")
    (tmp_path / "a.txt").write_text("same")
    (tmp_path / "a.txt").touch()
    (tmp_path / "b.txt").write_text("new")
    running.until_run("green")
    assert [event["paths"] for event in running.of_type("change.detected")] == [["b.txt"]]


def test_a_stage_out_of_time_is_stopped_and_the_run_is_red(gate: Callable[[str], Gate]) -> None:
    running = gate('[stage.a]\nrun = "sleep 300"\ntimeout = "100ms"')
    running.until_run("red")
    assert [event["status"] for event in running.of_type("stage.finished")] == ["timed_out"]


def test_stages_read_an_empty_standard_input_and_get_their_environment_and_folder(
    tmp_path: Path, gate: Callable[[str], Gate]
) -> None:
    (tmp_path / "sub").mkdir()
    running = gate('[stage.a]\nrun = "cat; pwd; echo $COLOUR"\ncwd = "sub"\nenv = { COLOUR = "blue" }')
    running.until_run("green")
    assert [event["text"] for event in running.of_type("stage.output")] == [str(tmp_path / "sub"), "blue"]


def test_a_stage_that_writes_watched_files_each_time_is_named_and_does_not_spin(
    tmp_path: Path, gate: Callable[[str], Gate]
) -> None:  # watchexec #40, tilt #3404
    running = gate('[stage.a]\nrun = "date +%N > stamp.txt; sleep 0.05"')
    warning = running.until(lambda event: event["type"] == "warning")
    assert warning["code"] == "run.undone"
    assert "stamp.txt" in warning["message"]
    assert not (tmp_path / ".trigger").exists()


def test_no_trigger_ever_names_a_tree_that_is_not_good_while_somebody_edits(
    tmp_path: Path, gate: Callable[[str], Gate]
) -> None:
    """Invariant 1 with everything real: random saves at random moments of real runs."""
    (tmp_path / "sub").mkdir()
    names, contents = ("a.txt", "sub/b.txt"), ("good1", "good2", "bad11")
    for name in names:
        (tmp_path / name).write_text("good1")
    reads = "cat a.txt sub/b.txt > /dev/null; ! grep -q bad a.txt && sleep 0.0{} && ! grep -q bad sub/b.txt"
    running = gate(f'[stage.one]\nrun = "{reads.format(1)}"\n[stage.two]\nrun = "{reads.format(2)}"')
    running.until_run("green")
    dice = random.Random(1)
    good = {tree_of(tmp_path)}
    for _ in range(150):
        name, content = dice.choice(names), dice.choice(contents)
        if dice.random() < 0.5:
            (tmp_path / name).write_text(content)
        else:
            (tmp_path / f"{name}~").write_text(content)
            os.replace(tmp_path / f"{name}~", tmp_path / name)
        if not any("bad" in (tmp_path / each).read_text() for each in names):
            good.add(tree_of(tmp_path))
        time.sleep(dice.choice((0.0, 0.003, 0.01, 0.03, 0.08)))  # not to wait for anything: the moment is the input
    (tmp_path / "a.txt").write_text("good3")
    (tmp_path / "sub/b.txt").write_text("good3")
    last = tree_of(tmp_path)
    running.until(lambda event: event["type"] == "trigger.touched" and event["tree"] == last)
    touched = {event["tree"] for event in running.of_type("trigger.touched")}
    assert touched <= good | {last}
    assert len(touched) > 1


def test_a_path_that_is_not_there_is_told_and_watched_when_it_comes(
    tmp_path: Path, gate: Callable[[str], Gate]
) -> None:
    running = gate('[watch]\npaths = ["src"]\n[stage.a]\nrun = "true"')
    assert running.until(lambda event: event["type"] == "warning")["code"] == "watch.nothing"
    running.until_run("green")
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.py").touch()
    assert running.until(lambda event: event["type"] == "change.detected")["paths"] == ["src/a.py"]


def test_a_link_is_no_place_to_watch_and_that_is_told(tmp_path: Path, gate: Callable[[str], Gate]) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "src").symlink_to("elsewhere")
    running = gate('[watch]\npaths = ["src"]\n[stage.a]\nrun = "true"')
    warning = running.until(lambda event: event["type"] in {"warning", "run.finished"})
    assert (warning["code"], "symbolic link" in warning["hint"]) == ("watch.nothing", True)


def touched_since(running: Gate, seen: int) -> list[tuple[str, int]]:
    return [(event["server"], event["run"]) for event in running.events[seen:] if event["type"] == "trigger.touched"]


def record(folder: Path, server: str) -> Event:
    found: Event = json.loads((folder / f".trigger-{server}").read_text())
    return found


def test_a_change_that_concerns_one_server_touches_the_trigger_of_that_one(
    tmp_path: Path, gate: Callable[[str], Gate]
) -> None:
    for name in ("src", "docs"):
        (tmp_path / name).mkdir()
    running = gate(
        '[stage.a]\nrun = "true"\n'
        '[server.web]\nrun = "true"\ninputs = ["src/**", "!src/generated/**"]\n'
        '[server.docs]\nrun = "true"\ninputs = ["docs/"]'
    )
    running.until_run("green")
    assert touched_since(running, 0) == [("web", 1), ("docs", 1)]
    docs_at_first = os.stat(tmp_path / ".trigger-docs")
    seen = len(running.events)
    (tmp_path / "src" / "a.py").touch()
    running.until_run("green")
    assert [server for server, _ in touched_since(running, seen)] == ["web"]
    assert os.stat(tmp_path / ".trigger-docs") == docs_at_first
    seen = len(running.events)
    (tmp_path / "src" / "generated").mkdir()
    (tmp_path / "src" / "generated" / "a.py").touch()
    running.until_run("green")
    assert touched_since(running, seen) == []
    (tmp_path / "docs" / "a.md").touch()
    last = running.until_run("green")
    assert touched_since(running, seen) == [("docs", last["run"])]
    assert record(tmp_path, "docs")["changed"] == ["docs/a.md", "src/a.py", "src/generated/a.py"]
    assert record(tmp_path, "docs")["run"] == last["run"]


def test_a_red_run_touches_the_triggers_of_servers_that_do_not_need_what_failed(
    tmp_path: Path, gate: Callable[[str], Gate]
) -> None:
    (tmp_path / "a.txt").write_text("bad")
    running = gate(
        '[stage.lint]\nrun = "! grep ugly a.txt"\n[stage.test]\nrun = "! grep bad a.txt"\n'
        '[server.web]\nrun = "true"\nneeds = ["lint"]\n[server.api]\nrun = "true"'
    )
    running.until_run("red")
    if not touched_since(running, 0):  # early, or as soon as the run is over
        running.until(lambda event: event["type"] == "trigger.touched")
    bad = record(tmp_path, "web")["tree"]
    (tmp_path / "a.txt").write_text("ugly")
    running.until_run("red")
    (tmp_path / "b.txt").touch()
    running.until_run("red")
    assert touched_since(running, 0) == [("web", 1)]
    assert record(tmp_path, "web")["tree"] == bad
    seen = len(running.events)
    (tmp_path / "a.txt").write_text("good")
    green = running.until_run("green")
    assert touched_since(running, seen) == [("web", green["run"]), ("api", green["run"])]
    web, api = record(tmp_path, "web"), record(tmp_path, "api")
    assert web["tree"] == api["tree"] != bad
    assert web["changed"] == api["changed"] == ["a.txt", "b.txt"]


def test_a_trigger_that_cannot_be_written_does_not_hold_up_that_of_another_server(
    tmp_path: Path, gate: Callable[[str], Gate]
) -> None:
    (tmp_path / ".trigger-web").mkdir()
    running = gate('[server.web]\nrun = "true"\n[server.api]\nrun = "true"')
    assert running.until(lambda event: event["type"] == "warning")["code"] == "trigger.unwritable"
    assert touched_since(running, 0) == [("api", 1)]
    (tmp_path / ".trigger-web").rmdir()
    running.until(lambda event: event["type"] == "trigger.touched")
    assert touched_since(running, 0) == [("api", 1), ("web", 1)]


def test_a_fixer_that_fails_on_what_is_no_more_there_runs_once_more(
    tmp_path: Path, gate: Callable[[str], Gate]
) -> None:
    (tmp_path / "a.txt").write_text("bad")
    os.mkfifo(tmp_path / "go")
    running = gate(
        '[stage.fix]\nrun = "grep -q good a.txt; r=$?; echo up; read x < go; exit $r"\n'
        'inputs = ["a.txt"]\nmutates = true'
    )
    running.until(lambda event: event["type"] == "stage.output")
    (tmp_path / "a.txt").write_text("good")
    running.until(lambda event: event["type"] == "change.detected")
    (tmp_path / "go").write_text("now\n")
    running.until(lambda event: event["type"] == "stage.output" and event["text"] == "up")
    (tmp_path / "go").write_text("now\n")
    assert running.until(lambda event: event["type"] == "run.finished")["status"] == "green"


def test_a_server_waits_for_what_a_fixer_that_it_needs_has_made_of_the_stages_before(
    tmp_path: Path, gate: Callable[[str], Gate]
) -> None:
    (tmp_path / "a.txt").write_text("ugly")
    running = gate(
        '[stage.lint]\nrun = "grep -q fixed a.txt || exit 0; sleep 1; exit 1"\ninputs = ["a.txt"]\n'
        '[stage.fix]\nrun = "echo fixed > a.txt"\ninputs = ["a.txt"]\nmutates = true\n'
        '[gate]\njobs = 2\n[server.web]\nrun = "true"\nneeds = ["fix"]\n'
    )
    assert running.until(lambda event: event["type"] == "run.finished")["status"] == "red"
    assert not running.of_type("trigger.touched")


class Overtaken:
    """A tree that changes when a sweep has just been told, and says so at once: the word of it is still on its way."""

    def __init__(self) -> None:
        self.trees = ["T1", "T2"]
        self.sweeps = 0
        self.entries: dict[str, Entry] = {}

    @property
    def tree(self) -> str:
        return self.trees[min(self.sweeps, 1)]

    async def confirm(self) -> str:
        found = self.tree
        self.sweeps += 1
        return found

    def still(self) -> bool:
        return True


@pytest.mark.anyio
async def test_a_change_that_is_still_in_the_inbox_keeps_the_trigger_from_being_touched(tmp_path: Path) -> None:
    project = Project(str(tmp_path), str(tmp_path / "hotpipe.toml"), Config())
    told: list[AnyEvent] = []

    def emit(event: AnyEvent) -> None:
        told.append(event)
        if isinstance(event, RunFinished) and event.status == "green":
            loop.stop()

    loop = GateLoop(project, {None: ".trigger"}, Setting(System(), emit))
    loop.request("T1")
    with anyio.fail_after(PATIENCE_S):
        await loop.run(Overtaken())
    assert [event.tree for event in told if isinstance(event, TriggerTouched)] == ["T2"]

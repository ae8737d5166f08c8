"""A check of which nothing has to run: it says what the loop would have said, and is no less careful."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from gating import Checked, check, project
from running import HOTPIPE, INTERRUPTED, PATIENCE_S, environment

from hotpipe.config import file
from hotpipe.config.file import Project
from hotpipe.gate import state, straight
from hotpipe.gate.cache import FOLDER
from hotpipe.tree import index as remembered

CONFIG = """
[stage.lint]
run = "cat a.txt; echo 'a.txt:1:2: E501 too long' >&2"
[stage.test]
run = ["true"]
inputs = ["*.txt"]
"""
BY_THE_LOOP = {"NOTIFY_SOCKET": "/nobody"}  # whoever is to be told of progress gets the loop


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project that is green, and old enough for its files' stamps to be trusted."""
    folder = project(tmp_path, CONFIG, {"a.txt": "text\n"})
    aged(folder)
    assert check(folder).code == 0
    return folder


def aged(folder: Path) -> None:
    """Let the kernel's clock go on by more than a tick."""
    newest = max(path.stat().st_ctime_ns for path in folder.iterdir() if path.is_file())
    while time.time_ns() - newest < 50_000_000:
        time.sleep(0.005)


def essence(done: Checked) -> list[dict[str, object]]:
    """What was said, without when."""
    when = {"seq", "time", "mono", "took_ms"}
    return [{key: value for key, value in event.items() if key not in when} for event in done.events]


def test_it_says_what_the_loop_says(root: Path) -> None:
    straightly, by_the_loop = check(root), check(root, env=BY_THE_LOOP)
    assert straightly.statuses == {"lint": "cached", "test": "cached"}
    assert sorted(straightly.texts("lint")) == ["a.txt:1:2: E501 too long", "text"]  # of two streams
    assert essence(straightly) == essence(by_the_loop)
    assert [event["seq"] for event in straightly.events] == [*range(1, len(straightly.events) + 1)]


def test_it_loads_no_loop(root: Path) -> None:
    code = "import sys; from hotpipe import cli; sys.argv[1:] = ['check', '-q']; cli.run(); "
    code += "print({'anyio', 'asyncio', 'psutil', 'hotpipe.app'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, env=environment(), capture_output=True, check=True)
    assert done.stdout.splitlines()[-1] == b"set()"


@pytest.mark.parametrize("option", ["--no-cache", "--trigger"])
def test_who_asks_for_more_gets_the_loop(root: Path, option: str) -> None:
    done = check(root, option)
    assert done.code == 0
    assert ("cached" in done.statuses.values()) == (option == "--trigger")
    assert bool(done.of("trigger.touched")) == (option == "--trigger")


def test_what_is_not_remembered_runs(root: Path) -> None:
    (root / "a.txt").write_text("another\n")
    assert check(root).statuses == {"lint": "passed", "test": "passed"}
    (root / "b.py").write_text("")
    assert check(root).statuses == {"lint": "passed", "test": "passed"}  # what `test` needs is another


def test_what_is_put_back_is_remembered(root: Path) -> None:
    (root / "a.txt").write_text("another\n")
    check(root)
    (root / "a.txt").write_text("text\n")
    assert set(check(root).statuses.values()) == {"cached"}


def test_a_damaged_pass_is_none(root: Path) -> None:
    for entry in (root / FOLDER).iterdir():
        entry.write_bytes(entry.read_bytes()[:-1])
    assert set(check(root).statuses.values()) == {"passed"}


@pytest.fixture
def mine(root: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The project, to be checked in this process, with the environment that was there when it was green."""
    wanted = environment()
    for name in os.environ.keys() - wanted.keys():
        monkeypatch.delenv(name)
    for name, value in wanted.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(root)
    return file.load(None, str(root))


class Meddled(straight.Attempt):
    """Somebody writes a file just before it is swept."""

    def performed(self, action: state.Action) -> state.Input | bool:
        if isinstance(action, state.Confirm):
            Path("a.txt").write_text("text\n")
        return super().performed(action)


def test_a_file_that_is_written_before_the_sweep_ends_the_attempt(mine: Project) -> None:
    assert straight.check(mine, FOLDER) is not None
    assert not Meddled(mine, os.path.join(mine.root, FOLDER)).is_green(None)  # although its content is what it was


def test_while_git_writes_the_tree_nothing_is_said(mine: Project) -> None:
    subprocess.run(["git", "init", "--quiet"], check=True)
    while straight.check(mine, FOLDER) is None:  # for a moment after a move of HEAD, too
        time.sleep(0.02)
    Path(".git/index.lock").touch()
    assert straight.check(mine, FOLDER) is None


def test_a_tree_without_files_wants_the_loop_for_its_warning(tmp_path: Path) -> None:
    folder = project(tmp_path, '[watch]\npaths = ["src"]\n[stage.one]\nrun = "true"')
    for _ in range(2):
        assert [event["code"] for event in check(folder).of("warning")] == ["watch.nothing"]


def test_a_stage_without_files_wants_the_loop_for_its_warning(tmp_path: Path) -> None:
    folder = project(tmp_path, '[stage.one]\nrun = "true"\ninputs = ["*.java"]')
    for _ in range(2):
        assert [event["code"] for event in check(folder).of("warning")] == ["stage.nothing"]


def test_whoever_reads_no_more_does_not_make_it_red(root: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*HOTPIPE, "check"], cwd=root, env=environment(), stdout=writer, stderr=-1, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_whoever_ends_it_gets_no_verdict(root: Path, number: signal.Signals) -> None:
    """130, as the loop says it: a git hook that took the end for a green one would let the commit pass."""
    index = root / remembered._NAME
    index.unlink(missing_ok=True)
    os.mkfifo(index)
    with subprocess.Popen([*HOTPIPE, "check"], cwd=root, env=environment(), stderr=subprocess.PIPE) as running:
        with index.open("wb"):  # waits for somebody to read it
            running.send_signal(number)
            assert running.wait(PATIENCE_S) == INTERRUPTED
        assert running.stderr.read().strip() == b""

"""The graph of stages with real processes: order, failures, retries, what is cached, who mutates, who is cancelled."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from gating import UNPRIVILEGED, Checked, Event, MakeTap, check, project, statuses, such
from running import Hotpipe, Start, is_alive


def config(*, gate: str = "", **stages: str) -> str:
    """Stages by name: `run`, and further lines of TOML after it."""
    parts = (f"[stage.{name}]\nrun = {text}\n" for name, text in stages.items())
    return f"[gate]\njobs = 3\n{gate}\n" + "".join(parts)


def told(hotpipe: Hotpipe, run: int) -> dict[str, str]:
    """What the stages came to in a run."""
    return statuses([event for event in hotpipe.of("stage.finished") if event["run"] == run])


# Order and failures.


def test_stages_without_needs_run_at_once_and_the_rest_when_theirs_have_passed(
    tmp_path: Path, start: Start, tap: MakeTap
) -> None:
    stages = {
        "a": "'echo up; read w < go-a'\nneeds = []",
        "b": "'echo up; read w < go-b'\nneeds = []",
        "both": "'echo up'\nneeds = ['a', 'b']",
        "below": "'echo up'",
    }
    folder = project(tmp_path / "web", config(**stages))
    go = {name: tap(folder, f"go-{name}") for name in "ab"}
    hotpipe = start(folder, "gate")
    assert {hotpipe.until("stage.output")["stage"] for _ in range(2)} == {"a", "b"}
    go["a"].let()
    hotpipe.until("stage.finished", stage="a")
    assert not such(hotpipe.of("stage.started"), "stage.started", stage="both")
    go["b"].let()
    hotpipe.until("run.finished", status="green")
    assert [event["stage"] for event in hotpipe.of("stage.finished")] == ["a", "b", "both", "below"]


def test_no_more_than_jobs_are_at_work_at_once(tmp_path: Path) -> None:
    run = "'''mkdir at-work.$$; ls -d at-work.* 2>/dev/null | wc -l; sleep 0.05; rmdir at-work.$$'''\nneeds = []"
    stages = {f"s{number}": run for number in range(9)}
    text = config(**stages) + "[watch]\nignore = ['at-work.*']"
    done = check(project(tmp_path, text), "--no-cache")
    assert done.code == 0
    assert {int(event["text"]) for event in done.of("stage.output")} <= {1, 2, 3}


SLOW = "'trap \"\" TERM; sleep 1000 & echo $!; wait; sleep 1000'\nneeds = []"


def test_the_first_failure_cancels_the_rest(tmp_path: Path, start: Start, tap: MakeTap) -> None:
    stages = {"slow": SLOW, "bad": "'read w < go; exit 3'\nneeds = []", "after": "'true'\nneeds = ['slow']"}
    folder = project(tmp_path / "web", config(**stages))
    go = tap(folder, "go")
    hotpipe = start(folder, "gate")
    pid = int(hotpipe.until("stage.output", stage="slow")["text"])
    go.let()
    hotpipe.until("run.finished", status="red")
    assert told(hotpipe, 1) == {"slow": "cancelled", "bad": "failed", "after": "skipped"}
    assert not is_alive(pid)


def test_keep_going_runs_all_that_does_not_need_what_has_failed(tmp_path: Path) -> None:
    stages = {
        "bad": "'exit 3'\nneeds = []",
        "below": "'true'\nneeds = ['bad']",
        "further": "'true'\nneeds = ['below']",
        "other": "'sleep 0.2; echo fine'\nneeds = []",
        "more": "'true'\nneeds = ['other']",
    }
    folder = project(tmp_path, config(**stages))
    done = check(folder, "--keep-going")
    kept = {"bad": "failed", "below": "skipped", "further": "skipped", "other": "passed", "more": "passed"}
    assert (done.code, done.statuses) == (1, kept)
    assert {event["why"] for event in done.of("stage.finished", status="skipped")} == {
        "bad, which it needs, has failed"
    }
    again = check(folder, "--keep-going")
    assert again.statuses == kept | {"other": "cached", "more": "cached"}


def test_a_stage_that_is_allowed_to_fail_leaves_the_run_green_and_is_run_again(tmp_path: Path) -> None:
    stages = {"odd": "'echo ran; exit 3'\nneeds = []\nallow_failure = true", "next": "'true'\nneeds = ['odd']"}
    folder = project(tmp_path, config(**stages))
    for expected in ("passed", "cached"):
        done = check(folder, "--trigger")
        assert done.code == 0
        assert done.of("stage.finished", stage="odd")[0]["allowed"]
        assert done.texts("odd") == ["ran"]
        assert done.statuses == {"odd": "failed", "next": expected}
    assert (folder / ".trigger").exists()


def test_a_pass_after_a_retry_is_flaky_and_is_not_remembered(tmp_path: Path) -> None:
    flaky = "'echo try; test -e .hotpipe/tried || { touch .hotpipe/tried; exit 3; }'\nretries = 2"
    folder = project(tmp_path, config(flaky=flaky))
    first, second, third = (check(folder) for _ in range(3))
    assert [done.of("stage.finished")[0]["flaky"] for done in (first, second, third)] == [True, False, False]
    assert [done.statuses["flaky"] for done in (first, second, third)] == ["passed", "passed", "cached"]
    assert first.texts("flaky") == ["try", "hotpipe: attempt 1 failed with status 3; attempt 2 of 3:", "try"]
    assert second.texts("flaky") == third.texts("flaky") == ["try"]


def test_who_never_passes_is_tried_as_often_as_it_says(tmp_path: Path) -> None:
    done = check(project(tmp_path, config(bad="'echo try; exit 3'\nretries = 2")))
    assert (done.code, done.texts("bad").count("try")) == (1, 3)


def test_a_time_limit_holds_for_each_attempt(tmp_path: Path) -> None:
    slow = "'test -e .hotpipe/tried || { touch .hotpipe/tried; sleep 1000; }'\nretries = 1\ntimeout = '500ms'"
    done = check(project(tmp_path, config(slow=slow)))
    assert done.code == 0
    assert done.of("stage.finished")[0]["flaky"]
    assert "hotpipe: attempt 1 timed out; attempt 2 of 2:" in done.texts("slow")


def test_who_is_cancelled_between_two_attempts_is_not_tried_again(tmp_path: Path, start: Start) -> None:
    folder = project(tmp_path / "web", config(a="'echo try; test -e good || ! sleep 0.05'\nretries = 100"))
    hotpipe = start(folder, "gate")
    hotpipe.until("stage.output")
    (folder / "good").touch()
    hotpipe.until("run.finished", status="green")
    assert told(hotpipe, 1) == {"a": "cancelled"}
    assert told(hotpipe, 2) == {"a": "passed"}


# What is remembered.


def test_who_is_never_cached_runs_when_it_is_fired_and_is_kept_when_not(tmp_path: Path, start: Start) -> None:
    stages = {"a": "'echo ran'\ninputs = ['a']\ncache = false\nneeds = []", "b": "'true'\ninputs = ['b']\nneeds = []"}
    folder = project(tmp_path / "web", config(**stages), {"a": "1", "b": "1"})
    hotpipe = start(folder, "gate")
    hotpipe.until("run.finished", status="green")
    (folder / "b").write_text("2")
    hotpipe.until("run.finished", status="green")
    (folder / "a").write_text("2")
    hotpipe.until("run.finished", status="green")
    (folder / "a").write_text("1")
    hotpipe.until("run.finished", status="green")
    assert [told(hotpipe, run)["a"] for run in (1, 2, 3, 4)] == ["passed", "cached", "passed", "passed"]
    assert hotpipe.interrupt() == 130
    assert check(folder).statuses == {"a": "passed", "b": "cached"}


def test_a_second_check_replays_output_and_findings(tmp_path: Path) -> None:
    run = "'''echo 'src/a.py:1:2: error: odd [rule]'; echo out; echo err >&2; printf '\\377\\n'; printf last'''"
    folder = project(tmp_path, config(a=run))
    first, second = check(folder), check(folder)
    assert (first.statuses, second.statuses) == ({"a": "passed"}, {"a": "cached"})
    for stream in ("stdout", "stderr"):
        assert texts(second, stream) == texts(first, stream) != []
    assert [finding(event) for event in second.of("stage.finding")] == [
        finding(event) for event in first.of("stage.finding")
    ]
    assert len(first.of("stage.finding")) == 1


def texts(done: Checked, stream: str) -> list[str]:
    return [event["text"] for event in done.of("stage.output", stream=stream)]


def finding(event: Event) -> Event:
    return {key: value for key, value in event.items() if key not in {"seq", "time", "mono"}}


def test_bad_repaired_while_it_runs_and_bad_again_is_red(tmp_path: Path, start: Start, tap: MakeTap) -> None:
    # What passed was not what was there when the stage began: wireit #1183, turborepo #1146
    folder = project(tmp_path / "web", config(a="'echo up; read w < go; ! grep bad page'\n"), {"page": "bad"})
    go = tap(folder, "go")
    hotpipe = start(folder, "gate")
    hotpipe.until("stage.output")
    (folder / "page").write_text("good")
    hotpipe.until("stage.finished", status="cancelled")
    (folder / "page").write_text("bad")
    go.let()
    go.let()
    hotpipe.until("run.finished", status="red")
    assert hotpipe.interrupt() == 130
    go.let()
    assert check(folder).code == 1
    assert not (folder / ".trigger").exists()


def test_bad_hidden_from_the_stage_alone_is_not_remembered_as_good(tmp_path: Path) -> None:
    """The stage itself looks away: it puts a good file in the place of the bad one, and puts it back."""
    hide = "'''mv page page~; echo good > page; ! grep bad page; s=$?; mv page~ page; exit $s'''"
    folder = project(tmp_path, config(a=hide) + "[watch]\nignore = ['*~']", {"page": "bad"})
    first = check(folder)
    assert not such(first.events, "run.finished", status="green")
    second = check(folder)
    assert second.statuses["a"] != "cached"


def test_what_was_killed_in_the_middle_runs_again(tmp_path: Path, start: Start, tap: MakeTap) -> None:
    # turborepo #9421 #12505
    folder = project(tmp_path / "web", config(a="'echo ran'\nneeds = []", b="'echo up; read w < go'"))
    go = tap(folder, "go")
    hotpipe = start(folder, "gate")
    hotpipe.until("stage.output", stage="b")
    hotpipe.process.send_signal(signal.SIGKILL)
    hotpipe.wait()
    go.let()
    again = start(folder, "gate")
    again.until("stage.output", stage="b")
    go.let()
    again.until("run.finished", status="green")
    assert told(again, 1)["b"] == "passed"


def test_another_command_or_environment_is_another_pass(tmp_path: Path) -> None:
    folder = project(tmp_path, config(a="'echo one $WORD'"))
    assert check(folder).statuses == {"a": "passed"}
    assert check(folder, env={"WORD": "x"}).statuses == {"a": "passed"}
    assert check(folder).statuses == {"a": "cached"}
    project(folder, config(a="'echo two $WORD'"))
    assert check(folder).texts("a") == ["two"]
    project(folder, config(a="'echo two $WORD'\nenv = { WORD = 'y' }"))
    assert check(folder).texts("a") == ["two y"]
    project(folder, config(a="'echo one $WORD'"))
    assert check(folder).statuses == {"a": "cached"}


def test_an_upgraded_package_or_program_is_another_pass(tmp_path: Path) -> None:
    """A venv's site-packages, and a tool found through PATH."""
    folder = project(tmp_path / "web", config(a="'tool'\ninputs = ['page']"), {"page": ""})
    packages = folder / ".venv" / "lib" / "python3.11" / "site-packages"
    packages.mkdir(parents=True)
    (folder / ".venv" / "pyvenv.cfg").write_text("home = /usr/bin\n")
    (tmp_path / "bin").mkdir()
    tool = tmp_path / "bin" / "tool"
    tool.write_text("#!/bin/sh\necho 1\n")
    tool.chmod(0o755)
    env = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    assert check(folder, env=env).texts("a") == ["1"]
    assert check(folder, env=env).statuses == {"a": "cached"}
    (packages / "thing-2.0.dist-info").mkdir()
    assert check(folder, env=env).statuses == {"a": "passed"}
    tool.write_text("#!/bin/sh\necho 2\n")
    assert check(folder, env=env).texts("a") == ["2"]
    assert check(folder, env=env).statuses == {"a": "cached"}


def entries(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / ".hotpipe" / "cache").iterdir() if len(path.name) == 32)


@pytest.mark.parametrize("harm", ["torn", "flipped", "empty", "swapped", "a folder", "a fifo"])
def test_a_damaged_entry_is_a_miss(tmp_path: Path, harm: str) -> None:
    folder = project(tmp_path, config(a="'echo a'\nneeds = []", b="'echo b'\nneeds = []"))
    check(folder)
    one, other = entries(folder)
    harms: dict[str, Callable[[Path, bytes], object]] = {
        "torn": lambda path, content: path.write_bytes(content[:-3]),
        "flipped": lambda path, content: path.write_bytes(content[:-3] + bytes([content[-3] ^ 1]) + content[-2:]),
        "empty": lambda path, content: path.write_bytes(b""),
        "swapped": lambda path, content: path.write_bytes((other if path == one else one).read_bytes()),
        "a folder": lambda path, content: (path.unlink(), path.mkdir()),
        "a fifo": lambda path, content: (path.unlink(), os.mkfifo(path)),
    }
    harms[harm](one, one.read_bytes())
    done = check(folder)
    assert done.code == 0
    assert sorted(done.statuses.values()) == ["cached", "passed"]
    assert (done.texts("a"), done.texts("b")) == (["a"], ["b"])


def test_the_cache_keeps_its_bound(tmp_path: Path, start: Start) -> None:
    # wireit #71
    run = "'''cat page; head -c 20000 /dev/zero | tr '\\0' x'''\n"
    folder = project(tmp_path / "web", config(gate="cache_size = '200KB'", a=run), {"page": "0"})
    hotpipe = start(folder, "gate")
    for number in range(40):
        hotpipe.until("run.finished", status="green")
        (folder / "page").write_text(str(number + 1))
    hotpipe.until("run.finished", status="green")
    assert hotpipe.interrupt() == 130
    total = sum(path.stat().st_size for path in entries(folder))
    assert 0 < total <= 220_000
    assert check(folder).statuses == {"a": "cached"}


def test_no_cache_neither_reads_nor_writes(tmp_path: Path) -> None:
    folder = project(tmp_path, config(a="'echo a'"))
    assert check(folder, "--no-cache").statuses == {"a": "passed"}
    assert not (folder / ".hotpipe" / "cache").exists()
    assert check(folder).statuses == {"a": "passed"}
    before = [(path, path.stat()) for path in entries(folder)]
    assert check(folder, "--no-cache").statuses == {"a": "passed"}
    assert [(path, path.stat()) for path in entries(folder)] == before


# What is in the way.

PLAIN = {"a": "'echo a'\nneeds = []", "b": "'echo b'\nneeds = []"}


@pytest.mark.parametrize("place", [".hotpipe", ".hotpipe/cache"])
@pytest.mark.parametrize("how", ["a file", "read-only", "a dangling link"])
def test_where_nothing_can_be_remembered_a_warning_says_so_once_and_all_else_works(
    tmp_path: Path, place: str, how: str
) -> None:
    folder = project(tmp_path, config(**PLAIN))
    (folder / place).parent.mkdir(exist_ok=True)
    if how == "a file":
        (folder / place).write_text("in its place")
    elif how == "a dangling link":
        (folder / place).symlink_to(tmp_path / "nowhere" / "at all")
    else:
        (folder / place).mkdir()
        (folder / place).chmod(0o555)
    for _ in range(2):
        done = check(folder, launcher=UNPRIVILEGED)
        assert (done.code, done.statuses) == (0, {"a": "passed", "b": "passed"}), done
        assert [event["code"] for event in done.of("warning")] == ["cache.unavailable"]


def test_a_gate_whose_cache_becomes_forbidden_goes_on_with_one_warning(tmp_path: Path, start: Start) -> None:
    folder = project(tmp_path / "web", config(**PLAIN), {"page": "0"})
    hotpipe = start(folder, "gate", launcher=UNPRIVILEGED)
    hotpipe.until("run.finished", status="green")
    (folder / ".hotpipe" / "cache").chmod(0o555)
    for number in range(1, 4):
        (folder / "page").write_text(str(number))
        hotpipe.until("run.finished", status="green")
    assert [event["code"] for event in hotpipe.of("warning")] == ["cache.unavailable"]
    (folder / ".hotpipe" / "cache").chmod(0o755)


def test_a_stage_may_remove_the_folder_of_all_that_is_remembered(tmp_path: Path, start: Start) -> None:
    stages = {name: f"'rm -rf .hotpipe/c* .hotpipe/history.db; cat page; echo {name}'" for name in "ab"}
    folder = project(tmp_path / "web", config(**stages), {"page": "0"})
    hotpipe = start(folder, "gate")
    hotpipe.until("run.finished", status="green")
    (folder / "page").write_text("1")
    hotpipe.until("run.finished", status="green")
    assert not hotpipe.of("warning")
    assert hotpipe.interrupt() == 130
    assert hotpipe.said() == ""


# No file may have any length: setrlimit(2), RLIMIT_FSIZE. Pipes may.
WITHOUT_ROOM = (
    sys.executable,
    "-c",
    "import os, resource as r, sys; r.setrlimit(r.RLIMIT_FSIZE, (0, 0)); os.execv(sys.argv[1], sys.argv[1:])",
)


def test_where_no_file_can_be_written_nothing_is_taken_for_a_pass(tmp_path: Path) -> None:
    lists = "'echo b; test -z \"$HOTPIPE_CHANGED_FILES\"'\nneeds = []"
    folder = project(tmp_path, config(a="'echo a'\nneeds = []", b=lists), {"page": "0"})
    for _ in range(2):
        done = check(folder, launcher=WITHOUT_ROOM)
        assert (done.code, done.statuses) == (0, {"a": "passed", "b": "passed"}), done
        assert [event["code"] for event in done.of("warning")] == ["cache.unavailable"]
        assert not [path for path in (folder / ".hotpipe" / "cache").iterdir() if path.stat().st_size]


@pytest.mark.parametrize("room_kb", range(4, 44, 4))
def test_on_a_disk_that_fills_nothing_half_written_is_taken_for_a_pass(tmp_path: Path, room_kb: int) -> None:
    folder = project(tmp_path, config(a="'seq 3000'\nneeds = []", b="'echo b'\nneeds = []"))
    place = folder / ".hotpipe"
    place.mkdir()
    mount = ("mount", "-t", "tmpfs", "-o", f"size={room_kb}k,nr_inodes=30", "hotpipe-test", place)
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a small disk")
    try:
        for _ in range(3):
            done = check(folder)
            assert done.code == 0, done
            assert set(done.statuses.values()) <= {"passed", "cached"}
            assert done.texts("a") == [str(number) for number in range(1, 3001)]
            assert [event["code"] for event in done.of("warning")] in ([], ["cache.unavailable"])
    finally:
        subprocess.run(["umount", place], check=True)


# Those that mutate.

FORMAT = "'for f in *.txt; do ! grep -q BAD $f || sed -i s/BAD/good/ $f; done'"
READ = "'cat a.txt b.txt; ! grep BAD a.txt b.txt'"
FILES = {"a.txt": "BAD a\n", "b.txt": "good b\n"}


def texts_of(hotpipe: Hotpipe, stage: str) -> list[str]:
    return [event["text"] for event in such(hotpipe.of("stage.output"), "stage.output", stage=stage)]


def test_a_formatter_and_what_follows_are_one_green_run_on_the_formatted_tree(tmp_path: Path, start: Start) -> None:
    folder = project(tmp_path / "web", config(fmt=FORMAT + "\nmutates = true", lint=READ, test=READ), FILES)
    hotpipe = start(folder, "gate")
    touched = hotpipe.until("trigger.touched")
    hotpipe.until("run.finished", status="green")
    assert (folder / "a.txt").read_text() == "good a\n"
    assert len(hotpipe.of("run.started")) == 1
    assert texts_of(hotpipe, "lint") == texts_of(hotpipe, "test") == ["good a", "good b"]
    assert json.loads((folder / ".trigger").read_text())["tree"] == touched["tree"]
    (started,) = check(folder).of("run.started")
    assert started["tree"] == touched["tree"]
    (folder / "b.txt").write_text("BAD b\n")
    hotpipe.until("run.finished", status="green")
    assert [event["status"] for event in hotpipe.of("run.finished")] == ["green", "green"]
    assert check(folder).statuses == {"fmt": "cached", "lint": "cached", "test": "cached"}


def test_a_fixer_that_never_settles_is_bounded_and_named(tmp_path: Path, start: Start) -> None:
    stages = {"fix": "'echo fix; date +%N >> a.txt'\nmutates = true", "lint": "'true'"}
    folder = project(tmp_path / "web", config(**stages), FILES)
    hotpipe = start(folder, "gate")
    warned = hotpipe.until("warning")
    assert warned["code"] == "stage.unsettled"
    assert "'fix'" in warned["message"]
    assert "a.txt" in warned["message"]
    hotpipe.until("run.finished", status="green")
    assert texts_of(hotpipe, "fix").count("fix") == 3
    assert len(hotpipe.of("run.started")) == 1


def test_a_fixer_that_does_not_say_so_is_found_out_and_cannot_loop(tmp_path: Path, start: Start) -> None:
    # watchexec #40, tilt #3404
    stages = {"lint": "'true'", "fix": "'date +%N >> a.txt'", "last": "'true'"}
    folder = project(tmp_path / "web", config(**stages), FILES)
    hotpipe = start(folder, "gate")
    warned = hotpipe.until("warning")
    assert warned["code"] == "run.undone"
    assert "a.txt" in warned["message"]
    assert "fix" in warned["message"]
    assert len(hotpipe.of("run.started")) <= 4
    time.sleep(3.5)  # not to wait for anything: this is the time in which nothing much may happen
    assert len(hotpipe.of("run.started")) <= 7
    number = hotpipe.of("run.started")[-1]["run"]
    began = time.monotonic()
    (folder / "b.txt").write_text("by hand")
    while hotpipe.until("run.started")["run"] <= number:
        pass
    assert time.monotonic() - began < 1.5
    assert not (folder / ".trigger").exists()


def test_a_fixer_beside_another_stage_has_that_one_look_again(tmp_path: Path, start: Start, tap: MakeTap) -> None:
    stages = {
        "fix": "'read w < go; sed -i s/BAD/good/ a.txt'\nmutates = true\nneeds = []",
        "lint": "'cat a.txt; ! grep -q BAD a.txt'\nneeds = []\ninputs = ['a.txt']",
    }
    folder = project(tmp_path / "web", config(gate="fail_fast = false", **stages), FILES)
    go = tap(folder, "go")
    hotpipe = start(folder, "gate")
    hotpipe.until("stage.output", text="BAD a")
    for _ in range(4):
        go.let()
    hotpipe.until("run.finished", status="green")
    assert texts_of(hotpipe, "lint")[-1] == "good a"
    assert told(hotpipe, hotpipe.of("run.started")[-1]["run"]) == {"fix": "passed", "lint": "passed"}


def test_what_the_user_saves_while_a_fixer_runs_is_checked_by_all(tmp_path: Path, start: Start, tap: MakeTap) -> None:
    fix = "'echo up; read w < go; sed -i s/BAD/good/ a.txt'\nmutates = true"
    folder = project(tmp_path / "web", config(fix=fix, lint=READ, test=READ), FILES)
    go = tap(folder, "go")
    hotpipe = start(folder, "gate")
    hotpipe.until("stage.output", stage="fix")
    (folder / "b.txt").write_text("saved\n")
    hotpipe.until("change.detected")
    for _ in range(4):
        go.let()
    hotpipe.until("run.finished", status="green")
    for stage in ("lint", "test"):
        assert texts_of(hotpipe, stage)[-2:] == ["good a", "saved"]


def test_what_a_fixer_overwrites_is_checked_as_it_is_in_the_end(tmp_path: Path, start: Start, tap: MakeTap) -> None:
    fix = "'cp a.txt .hotpipe/copy; echo up; read w < go; cp .hotpipe/copy a.txt'\nmutates = true"
    folder = project(tmp_path / "web", config(fix=fix, lint=READ), {"a.txt": "old\n", "b.txt": ""})
    go = tap(folder, "go")
    hotpipe = start(folder, "gate")
    hotpipe.until("stage.output", stage="fix")
    (folder / "a.txt").write_text("new\n")
    hotpipe.until("change.detected")
    for _ in range(4):
        go.let()
    hotpipe.until("run.finished", status="green")
    assert texts_of(hotpipe, "lint")[-1] == (folder / "a.txt").read_text().strip() == "old"


def test_what_is_saved_while_a_fixer_looks_at_other_files_is_fixed_too(
    tmp_path: Path, start: Start, tap: MakeTap
) -> None:
    loop = "for f in {changed}; do ! grep -q BAD $f || sed -i s/BAD/good/ $f; done"
    fix = f"'echo up; read w < go; {loop}'\nmutates = true\ninputs = ['*.txt']"
    folder = project(tmp_path / "web", config(fix=fix), {"a.txt": "good a\n", "b.txt": "good b\n"})
    go = tap(folder, "go")
    go.let()
    hotpipe = start(folder, "gate")
    hotpipe.until("run.finished", status="green")
    (folder / "a.txt").write_text("good, too\n")
    hotpipe.until("stage.output", run=2, text="up")
    (folder / "b.txt").write_text("BAD b\n")
    hotpipe.until("change.detected", paths=["b.txt"])
    for _ in range(4):
        go.let()
    hotpipe.until("run.finished", status="green")
    assert (folder / "b.txt").read_text() == "good b\n"


def test_a_failure_on_what_is_there_no_more_is_none_of_the_fixer(tmp_path: Path, start: Start, tap: MakeTap) -> None:
    fix = "'! grep BAD a.txt; s=$?; echo up; read w < go; exit $s'\nmutates = true"
    folder = project(tmp_path / "web", config(fix=fix), {"a.txt": "BAD\n"})
    go = tap(folder, "go")
    hotpipe = start(folder, "gate")
    hotpipe.until("stage.output", text="up")
    (folder / "a.txt").write_text("good\n")
    hotpipe.until("change.detected")
    for _ in range(4):
        go.let()
    hotpipe.until("run.finished", status="green")


# Who is cancelled, and who is kept.


def held(name: str) -> str:
    run = f"echo $$; read w < go-{name}; ! grep -q bad {name}.txt"
    return f"'{run}'\nneeds = []\ninputs = ['{name}.txt']"


def test_a_save_cancels_only_what_it_concerns(tmp_path: Path, start: Start, tap: MakeTap) -> None:
    # go-task #2715, turborepo #13115
    stages = {name: held(name) for name in "abc"} | {"end": "'true'\nneeds = ['a', 'b']\ninputs = ['end.txt']"}
    folder = project(tmp_path / "web", config(**stages), {f"{name}.txt": "good" for name in "abc"})
    go = {name: tap(folder, f"go-{name}") for name in "abc"}
    hotpipe = start(folder, "gate")
    pids = {each["stage"]: int(each["text"]) for each in (hotpipe.until("stage.output") for _ in range(3))}
    go["c"].let()
    hotpipe.until("stage.finished", stage="c", status="passed")
    (folder / "a.txt").write_text("good, too")
    hotpipe.until("run.started", run=2)
    new = int(hotpipe.until("stage.output", stage="a", run=2)["text"])
    assert not is_alive(pids["a"])
    assert is_alive(pids["b"])
    assert new != pids["a"]
    go["b"].let()
    hotpipe.until("stage.finished", stage="b", run=2)
    assert not such(hotpipe.of("stage.started"), "stage.started", stage="end")
    go["a"].let()
    hotpipe.until("run.finished", status="green")
    assert told(hotpipe, 1) == {"a": "cancelled", "c": "passed"}
    assert told(hotpipe, 2) == {"a": "passed", "b": "passed", "c": "cached", "end": "passed"}
    started = [(event["stage"], event["run"], event["kept"]) for event in hotpipe.of("stage.started")]
    assert started[3:] == [("b", 2, True), ("a", 2, False), ("end", 2, False)]


def test_a_stage_waits_until_the_old_one_of_its_name_is_dead(tmp_path: Path, start: Start) -> None:
    stubborn = "'''test -e stop || { trap \"sleep 0.3; echo gone\" TERM; echo up; sleep 1000 & wait; }; echo new'''"
    folder = project(tmp_path / "web", config(a=stubborn))
    hotpipe = start(folder, "gate")
    hotpipe.until("stage.output", text="up")
    (folder / "stop").touch()
    hotpipe.until("run.finished", status="green")
    assert [event["text"] for event in hotpipe.of("stage.output") if event["run"] == 1] == ["up", "gone", "new"]
    assert [event["text"] for event in hotpipe.of("stage.output") if event["run"] == 2] == ["new"]


def test_a_failure_that_nothing_concerns_stands_and_the_run_is_red_again(tmp_path: Path, start: Start) -> None:
    stages = {name: f"'! grep -q bad {name}.txt'\nneeds = []\ninputs = ['{name}.txt']" for name in "ab"}
    folder = project(tmp_path / "web", config(gate="fail_fast = false", **stages), {"a.txt": "bad", "b.txt": "1"})
    hotpipe = start(folder, "gate")
    hotpipe.until("run.finished", status="red")
    (folder / "b.txt").write_text("2")
    hotpipe.until("run.finished", status="red")
    assert told(hotpipe, 2) == {"a": "failed", "b": "passed"}
    assert len(such(hotpipe.of("stage.started"), "stage.started", stage="a")) == 1
    (folder / "a.txt").write_text("good")
    hotpipe.until("run.finished", status="green")
    assert told(hotpipe, 3) == {"a": "passed", "b": "cached"}


NAMES = ("a", "b", "c", "d")
NEEDS = {"a": [], "b": [], "c": ["a"], "d": ["b", "c"]}
READS = {"a": ["a", "x"], "b": ["b"], "c": ["c"], "d": ["d", "x"]}


def reader(name: str, dice: random.Random) -> str:
    files = [f"{each}.txt" for each in READS[name]]
    run = f"sleep 0.0{dice.randint(0, 6)}; ! grep -q bad {' '.join(files)}"
    return f"'{run}'\nneeds = {NEEDS[name]}\ninputs = {files}"


@pytest.mark.parametrize("seed", range(4))
def test_after_the_last_save_the_verdict_is_that_of_the_tree(tmp_path: Path, start: Start, seed: int) -> None:
    """Saves at random moments of real runs, five rounds a seed; then what is told is what a plain look says."""
    dice = random.Random(seed)
    stages = {name: reader(name, dice) for name in NAMES}
    gate = f"fail_fast = {dice.choice(['true', 'false'])}"
    files = {f"{name}.txt": "good" for name in (*NAMES, "x")}
    folder = project(tmp_path / "web", config(gate=gate, **stages), files)
    hotpipe = start(folder, "gate")
    hotpipe.until("run.finished", status="green")
    for number in range(5):
        for _ in range(dice.randint(1, 6)):
            save(folder / f"{dice.choice((*NAMES, 'x'))}.txt", f"{dice.choice(('bad', 'good'))} {dice.random()}", dice)
            time.sleep(dice.choice((0.0, 0.005, 0.02, 0.06)))  # not to wait for anything: the moment is the input
        save(folder / "end.txt", str(number), dice)
        check_the_last_verdict(hotpipe, folder)


def save(path: Path, content: str, dice: random.Random) -> None:
    if dice.random() < 0.5:
        path.write_text(content)
    else:
        path.with_suffix(".new").write_text(content)
        path.with_suffix(".new").replace(path)


def check_the_last_verdict(hotpipe: Hotpipe, folder: Path) -> None:
    """What is told of the run on the tree that is on disk is what a plain look at its files says."""
    (started,) = check(folder, "--no-cache").of("run.started")
    run = hotpipe.until("run.started", tree=started["tree"])["run"]
    last = hotpipe.until("run.finished", run=run)
    is_good = {name: "bad" not in "".join((folder / f"{n}.txt").read_text() for n in READS[name]) for name in NAMES}
    assert last["status"] == ("green" if all(is_good.values()) else "red")
    for stage, status in told(hotpipe, run).items():
        if status in {"passed", "cached", "failed"}:
            assert is_good[stage] == (status != "failed"), stage

"""What a single stage may do: write too much or too oddly, close its output, leave others behind, die, not be there."""

import json
import random
import re
import resource
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from gating import Checked, MakeTap, check, project, such
from running import HOTPIPE, Start, environment, is_alive

from hotpipe.events import Stream
from hotpipe.process.lines import CREDIT_S, LINES_PER_S, LONGEST_LINE, Lines

MEGA = 1_000_000
MOST_MEMORY_KB = 150_000


def stage(run: str, **more: str) -> str:
    keys = "".join(f"{key} = {value}\n" for key, value in more.items())
    return f"[stage.a]\nrun = '''{run}'''\n{keys}"


def checked(folder: Path, run: str, *arguments: str, **more: str) -> Checked:
    """What came of this one stage; nobody may be left behind."""
    return check(project(folder, stage(run, **more)), *arguments)


# However much, and whatever.

FLOODS = {
    "short lines": "yes | head -c 200M",
    "no newline": "head -c 200M /dev/zero | tr '\\0' x",
    "findings": "yes 'src/a.py:12:3: error: this is a finding of mine' | head -c 50M",
    "binary": "head -c 50M /dev/urandom",
    "returns": "head -c 50M /dev/zero | tr '\\0' '\\r'",
    "both streams": "(yes 1 | head -c 50M) & yes 2 | head -c 50M >&2; wait",
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
def test_megabytes_of_whatever_cost_little_time_and_space_and_the_end_is_shown(tmp_path: Path, flood: str) -> None:
    project(tmp_path, stage(f"{flood}; echo; sleep 1; grep VmHWM /proc/$PPID/status"))
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    with (tmp_path / "events.jsonl").open("w") as out:
        done = subprocess.run([*HOTPIPE, "check", "--json"], cwd=tmp_path, env=environment(), stdout=out, check=False)
    # Of processor time, for others are at work here: 1 to 4 s; without any bound, an hour.
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 20
    assert done.returncode == 0
    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    (peak,) = (line for line in lines if "VmHWM:" in line)
    assert int(re.sub(r"\D", "", json.loads(peak)["text"])) < MOST_MEMORY_KB


def test_a_save_is_noticed_while_a_stage_floods(tmp_path: Path, start: Start) -> None:
    folder = project(tmp_path / "web", stage("test -e calm || yes"))
    hotpipe = start(folder, "gate")
    hotpipe.until("stage.output")
    (folder / "calm").touch()
    hotpipe.until("stage.finished", status="cancelled")
    hotpipe.until("run.finished", status="green")


class Paper:
    """What comes of bytes, with a clock that only the test moves."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.now = 0.0
        self.lines = Lines("stdout", self.write, lambda: self.now)

    def write(self, stream: Stream, text: str) -> None:
        self.texts.append(text)

    def flood(self, *, lines: int) -> None:
        for number in range(lines):
            self.lines.add(b"%d\n" % number)


ALLOWANCE = int(CREDIT_S * LINES_PER_S)


def test_a_burst_comes_whole() -> None:
    paper = Paper()
    paper.flood(lines=ALLOWANCE // 2)
    assert paper.texts == [str(number) for number in range(ALLOWANCE // 2)]
    assert paper.lines.pause_s is None


def test_what_comes_too_fast_is_held_and_given_when_it_is_calm() -> None:
    paper = Paper()
    paper.flood(lines=ALLOWANCE)
    known = len(paper.texts)
    assert known < ALLOWANCE
    assert paper.lines.pause_s is not None
    paper.now += 1.0
    paper.lines.add(b"")
    shown, (notice, *rest) = paper.texts[:known], paper.texts[known:]
    lost = ALLOWANCE - known - len(rest)
    assert notice.startswith(f"hotpipe: {lost} lines (")
    assert [*shown, *rest] == [*map(str, range(known)), *map(str, range(known + lost, ALLOWANCE))]
    assert paper.lines.pause_s is None


def test_no_line_is_torn_by_what_is_left_out() -> None:
    dice, paper = random.Random(1), Paper()
    line = "src/a.py:12:3: é error\n".encode()
    written = line * (2 * ALLOWANCE)
    while written:
        size = dice.randint(1, 16_000)
        paper.lines.add(written[:size])
        written, paper.now = written[size:], paper.now + dice.choice((0.0, 0.0, 0.01))
    paper.lines.end()
    assert {text for text in paper.texts if not text.startswith("hotpipe: ")} == {line.decode().strip()}
    assert len(paper.texts) < 2 * ALLOWANCE


def test_of_one_endless_line_the_pieces_are_few_and_the_end_is_there() -> None:
    paper = Paper()
    for _ in range(10_000):
        paper.lines.add(b"x" * 16_000)
    paper.lines.add(b"\nthe end\n")
    paper.lines.end()
    assert paper.texts[-1] == "the end"
    assert sum(map(len, paper.texts)) < 60 * MEGA
    assert max(map(len, paper.texts)) <= LONGEST_LINE


# Its output and its input.


def test_its_own_end_counts_and_not_that_of_its_output(tmp_path: Path, start: Start, tap: MakeTap) -> None:
    folder = project(tmp_path / "web", stage("echo up; exec >&- 2>&-; read word < go; exit 3"))
    go = tap(folder, "go")
    hotpipe = start(folder, "gate")
    hotpipe.until("stage.output")
    go.let()
    assert hotpipe.until("stage.finished")["exit_code"] == 3


def test_who_reads_its_input_is_at_the_end_at_once(tmp_path: Path) -> None:
    done = checked(tmp_path, "cat; read word; echo $?; test -t 0; echo $?")
    assert (done.code, done.texts("a")) == (0, ["1", "1"])


def test_two_stages_never_mix_within_a_line(tmp_path: Path, start: Start, tap: MakeTap) -> None:
    half = "for n in $(seq 50); do printf {0}; read word < tap-{0}; echo {0}; done"
    stages = (f'[stage.{name}]\nneeds = []\nrun = "{half.format(name)}"\n' for name in ("one", "two"))
    folder = project(tmp_path / "web", "[gate]\njobs = 2\n" + "".join(stages))
    taps = [tap(folder, f"tap-{name}") for name in ("one", "two")]
    hotpipe = start(folder, "gate")
    for _ in range(50):
        for each in taps:
            each.let()
    hotpipe.until("run.finished", status="green")
    said = [(event["stage"], event["text"]) for event in hotpipe.of("stage.output")]
    assert sorted(said) == [("one", "oneone")] * 50 + [("two", "twotwo")] * 50


# What it leaves behind.


def test_a_daemon_in_its_session_ends_with_it(tmp_path: Path, start: Start) -> None:
    folder = project(tmp_path / "web", stage("sleep 1000 & echo $!"))
    hotpipe = start(folder, "gate")
    pid = int(hotpipe.until("stage.output")["text"])
    hotpipe.until("run.finished", status="green")
    assert not is_alive(pid)


def test_a_daemon_that_holds_its_output_is_not_waited_for(tmp_path: Path) -> None:
    done = checked(tmp_path, "setsid sh -c 'echo daemon; sleep 1000' & echo stage")
    assert done.code == 0
    assert "stage" in done.texts("a")


DEAF = """trap '' TERM; (setsid sh -c 'echo $$; sleep 1000 & echo $!; wait' &); (sh -c 'echo $$; sleep 1000' &)
sleep 1000 & echo $!; wait; sleep 1000"""


def test_who_ignores_the_signal_and_forks_twice_is_dead_before_the_next_run(tmp_path: Path, start: Start) -> None:
    # watchexec #960
    folder = project(tmp_path / "web", stage(f"test -e good || {{ {DEAF}\n}}"))
    hotpipe = start(folder, "gate")
    pids = [int(hotpipe.until("stage.output")["text"]) for _ in range(4)]
    (folder / "good").touch()
    hotpipe.until("run.started", run=2)
    assert not [pid for pid in pids if is_alive(pid)]
    hotpipe.until("run.finished", status="green")


# How it ends.


@pytest.mark.parametrize("name", ["KILL", "SEGV", "TERM", "PIPE", "USR1"])
def test_who_is_killed_has_failed_and_the_signal_is_told(tmp_path: Path, name: str) -> None:
    done = checked(tmp_path, f"kill -{name} $$; sleep 1000")
    assert done.code == 1
    assert done.of("stage.finished")[0]["exit_code"] == -signal.Signals[f"SIG{name}"]


@pytest.mark.parametrize("run", ["no-such-program --at-all", "./data", "./noshebang", "./nowhere/program"])
@pytest.mark.parametrize("form", ["text", "argv"])
def test_who_is_not_there_has_failed_and_says_so(tmp_path: Path, run: str, form: str) -> None:
    config = f'[stage.a]\nrun = "{run}"' if form == "text" else f"[stage.a]\nrun = {run.split()!r}"
    project(tmp_path, config, {"data": "x", "noshebang": "x"})
    (tmp_path / "noshebang").chmod(0o755)
    done = check(tmp_path)
    assert done.code == 1
    assert done.of("stage.finished")[0]["exit_code"] in {126, 127}
    assert done.texts("a")


def test_a_folder_that_is_gone_is_told_and_honoured_when_it_is_back(tmp_path: Path, start: Start) -> None:
    folder = project(tmp_path / "web", stage("pwd", cwd='"sub"'), {"sub/x": ""})
    hotpipe = start(folder, "gate")
    hotpipe.until("run.finished", status="green")
    shutil.rmtree(folder / "sub")
    hotpipe.until("run.finished", status="red")
    assert any("there is no folder" in event["text"] for event in hotpipe.of("stage.output"))
    project(folder, stage("pwd", cwd='"sub"'), {"sub/x": "again"})
    hotpipe.until("run.finished", status="green")


def test_a_folder_that_goes_while_the_stage_runs_ends_nobody(tmp_path: Path, start: Start, tap: MakeTap) -> None:
    folder = project(tmp_path / "web", stage("echo up; read word < ../go; pwd", cwd='"sub"'), {"sub/x": ""})
    tap(folder, "go")
    hotpipe = start(folder, "gate")
    hotpipe.until("stage.output")
    shutil.rmtree(folder / "sub")
    hotpipe.until("stage.finished", status="cancelled")
    hotpipe.until("run.finished", status="red")


def test_out_of_time_all_attempts_count_and_nobody_lives_on(tmp_path: Path) -> None:
    done = checked(tmp_path, "sleep 1000 & echo $!; wait", timeout='"300ms"', retries="1")
    assert done.code == 1
    assert done.statuses == {"a": "timed_out"}
    pids = [int(text) for text in done.texts("a") if text.isdigit()]
    assert len(pids) == 2
    assert not [pid for pid in pids if is_alive(pid)]
    assert "hotpipe: attempt 1 timed out; attempt 2 of 2:" in done.texts("a")


def test_without_time_for_all_batches_it_has_not_passed(tmp_path: Path) -> None:
    deaf = '(trap "" TERM; sleep 1000 & wait; sleep 1000) & sleep 0.1'
    files = {f"x/{'y' * 240}-{number:03}": "" for number in range(700)}
    project(tmp_path, stage(f"echo batch; {deaf}; : {{changed}}", inputs='["/x/"]', timeout='"600ms"'), files)
    done = check(tmp_path)
    assert (done.code, done.statuses) == (1, {"a": "timed_out"})


def test_a_flood_counts_for_the_time_limit(tmp_path: Path) -> None:
    done = checked(tmp_path, "yes", timeout='"500ms"')
    assert (done.code, done.statuses) == (1, {"a": "timed_out"})


def test_the_record_of_a_flood_is_replayed_in_part(tmp_path: Path) -> None:
    first = checked(tmp_path, "yes | head -c 20M; echo the end")
    again = check(tmp_path)
    assert (first.statuses, again.statuses) == ({"a": "passed"}, {"a": "cached"})
    assert again.texts("a")[-1] == "the end"
    assert len(such(again.events, "stage.output")) <= 5_001

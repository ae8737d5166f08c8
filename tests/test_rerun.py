"""`hotpipe rerun`, `restart --wait`, `pause` and `resume`: what users ask of a running hotpipe."""

import sys
from pathlib import Path

import pytest
from gating import project
from running import Start
from verbs import verb

STAGES = '[stage.lint]\nrun = "echo linted"\n[stage.test]\nrun = "echo tested; ! grep -q bad word"\nneeds = []\n'
SERVER = f'[server.web]\nrun = ["{sys.executable}", "page.py"]\nlisten = ["http::0"]\n'
PAGE = (Path(__file__).parent / "projects/page.py").read_text()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return project(tmp_path, STAGES + SERVER, {"word": "good", "page.py": PAGE, "page.txt": "one"})


class TestRerun:
    def test_all_stages_whatever_is_remembered(self, folder: Path, start: Start) -> None:
        hotpipe = start(folder, "gate")
        hotpipe.until("run.finished")
        done = verb(folder, "rerun", "--wait")
        assert (done.returncode, done.stdout) == (0, "rerunning lint\nrerunning test\nrun 2: green\n")
        assert {event["stage"] for event in hotpipe.of("stage.started") if event["run"] == 2} == {"lint", "test"}

    def test_one_stage(self, folder: Path, start: Start) -> None:
        hotpipe = start(folder, "watch")
        hotpipe.until("run.finished")
        assert verb(folder, "rerun", "test").stdout == "rerunning test\n"
        hotpipe.until("run.finished")
        assert [event["stage"] for event in hotpipe.of("stage.started") if event["run"] == 2] == ["test"]

    def test_beside_a_server_half(self, folder: Path, start: Start) -> None:
        gate, serve = start(folder, "gate"), start(folder, "serve")
        gate.until("run.finished"), serve.until("server.live")
        assert verb(folder, "rerun", "test", "--wait").stdout == "rerunning test\nrun 2: green\n"

    def test_a_red_one_that_is_waited_for_exits_1(self, folder: Path, start: Start) -> None:
        (folder / "word").write_text("bad")
        start(folder, "gate").until("run.finished")
        done = verb(folder, "rerun", "test", "--wait")
        assert (done.returncode, done.stderr) == (1, "hotpipe: run 2 is red: test\n  test: failed\n")

    def test_an_unknown_stage_reruns_none(self, folder: Path, start: Start) -> None:
        hotpipe = start(folder, "gate")
        hotpipe.until("run.finished")
        done = verb(folder, "rerun", "lint", "tset")
        assert (done.returncode, done.stderr) == (
            2,
            "hotpipe: there is no stage 'tset'; did you mean 'test'?; the stages are lint, test\n",
        )
        assert [event["run"] for event in hotpipe.of("run.started")] == [1]

    @pytest.mark.parametrize("asked", ["rerun", "pause", "resume"])
    def test_a_server_half_alone_has_no_gate(self, folder: Path, start: Start, asked: str) -> None:
        start(folder, "serve").until("server.live")
        done = verb(folder, asked)
        assert (done.returncode, done.stderr) == (
            1,
            "hotpipe: no gate runs in this project\nhint: start one with `hotpipe gate`\n",
        )

    @pytest.mark.parametrize("asked", ["rerun", "pause", "resume", "wait"])
    def test_nothing_runs(self, folder: Path, asked: str) -> None:
        done = verb(folder, asked)
        assert (done.returncode, done.stderr) == (
            1,
            "hotpipe: no hotpipe runs in this project\nhint: start one with `hotpipe watch`\n",
        )


class TestRestart:
    def test_waits_until_the_next_generation_is_live(self, folder: Path, start: Start) -> None:
        start(folder, "watch").until("server.live")
        for generation in (2, 3, 4):
            done = verb(folder, "restart", "--wait")
            assert (done.returncode, done.stdout) == (0, f"restarting web\nweb: generation {generation} is live\n")

    def test_one_that_fails_is_named(self, folder: Path, start: Start) -> None:
        start(folder, "serve").until("server.live")
        (folder / "page.py").write_text("import sys; sys.exit(7)")
        done = verb(folder, "restart", "web", "--wait")
        assert (done.returncode, done.stdout) == (1, "restarting web\n")
        assert done.stderr.startswith("hotpipe: web: generation 2: exited with status 7")

    def test_by_name_beside_a_gate(self, folder: Path, start: Start) -> None:
        gate, serve = start(folder, "gate"), start(folder, "serve")
        gate.until("run.finished"), serve.until("server.live")
        assert verb(folder, "restart", "web").stdout == "restarting web\n"
        serve.until("server.live")


class TestPause:
    def test_saves_start_no_run_until_it_is_over(self, folder: Path, start: Start) -> None:
        hotpipe = start(folder, "gate")
        hotpipe.until("run.finished")
        assert verb(folder, "pause").stdout == "paused: saves start no run until `hotpipe resume`\n"
        (folder / "word").write_text("better")
        hotpipe.until("change.detected")
        assert "paused: saves start no run" in verb(folder, "status").stdout
        assert [event["run"] for event in hotpipe.of("run.started")] == [1]
        assert verb(folder, "resume").stdout == "resumed: saves start runs again\n"
        hotpipe.until("run.finished", run=2)
        assert "paused" not in verb(folder, "status").stdout

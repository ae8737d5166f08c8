"""`hotpipe check` on a part: stages by name, what is staged, what has changed since a revision."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from repository import Repository
from running import Start, environment

from hotpipe.config import chosen
from hotpipe.config.model import Config, parse

HOTPIPE = (sys.executable, "-m", "hotpipe")

pytestmark = pytest.mark.usefixtures("temporary")


def check(folder: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    settings = {name: value for name, value in os.environ.items() if name.startswith("GIT_") or name == "TMPDIR"}
    return subprocess.run(
        [*HOTPIPE, "check", *arguments],
        cwd=folder,
        env=environment() | settings | env,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def events(done: subprocess.CompletedProcess[str], kind: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return [event for event in found if event["type"] == kind]


def output(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [event["text"] for event in events(done, "stage.output")]


def statuses(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    return {event["stage"]: event["status"] for event in events(done, "stage.finished")}


class TestNamedStages:
    @staticmethod
    def needs(stages: dict[str, list[str] | None], *names: str) -> dict[str, tuple[str, ...]]:
        tables = {name: {"run": "x"} | ({} if needs is None else {"needs": needs}) for name, needs in stages.items()}
        config = parse({"stage": tables})
        assert isinstance(config, Config)
        return chosen.only(config, names).needs()

    def test_what_is_written_as_needed_is_run_too(self) -> None:
        stages = {"build": [], "lint": [], "test": ["build"], "ship": ["test", "lint"]}
        assert self.needs(stages, "test") == {"build": (), "test": ("build",)}
        assert list(self.needs(stages, "ship")) == ["build", "lint", "test", "ship"]

    def test_the_stage_above_is_not_but_the_order_stays(self) -> None:
        stages: dict[str, list[str] | None] = dict.fromkeys(("lint", "types", "test"))
        assert self.needs(stages, "test") == {"test": ()}
        assert self.needs(stages, "test", "lint") == {"lint": (), "test": ("lint",)}

    def test_a_stage_that_was_free_of_another_stays_free(self) -> None:
        stages = {"lint": [], "build": [], "test": None}
        assert self.needs(stages, "lint", "test") == {"lint": (), "test": ()}

    def test_needs_of_what_is_pulled_in_count(self) -> None:
        stages = {"gen": [], "lint": None, "test": ["lint"], "all": ["test"]}
        assert self.needs(stages, "all") == {"lint": (), "test": ("lint",), "all": ("test",)}

    def test_hundreds_in_a_row_are_no_trouble(self) -> None:
        names = [f"s{number}" for number in range(300)]
        assert self.needs(dict.fromkeys(names), names[0], names[-1]) == {names[0]: (), names[-1]: (names[0],)}

    def test_from_the_command_line(self, tmp_path: Path) -> None:
        text = '[stage.a]\nrun = "true"\n[stage.b]\nrun = "true"\n[stage.c]\nrun = "true"\nneeds = ["a"]\n'
        (tmp_path / "hotpipe.toml").write_text(text)
        assert list(statuses(check(tmp_path, "c", "--json"))) == ["a", "c"]
        assert list(statuses(check(tmp_path, "b", "--json"))) == ["b"]


class TestUsage:
    @pytest.mark.parametrize(
        "arguments, said",
        [
            (["--staged", "--changed-since", "HEAD"], "--staged and --changed-since exclude each other"),
            (["--staged", "--trigger"], "--trigger needs all stages"),
            (["--changed-since", "HEAD", "--trigger"], "--trigger needs all stages"),
            (["--changed-since", "gone"], "git knows no revision 'gone'"),
            (["--staged", "gone"], "there is no stage 'gone'"),
        ],
    )
    def test_what_cannot_be_ends_with_2(self, repository: Repository, arguments: list[str], said: str) -> None:
        repository.commit({"hotpipe.toml": '[stage.one]\nrun = "touch ran"\n'})
        done = check(repository.path, *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr
        assert not (repository.path / "ran").exists()

    @pytest.mark.parametrize("arguments", [["--staged"], ["--changed-since", "HEAD"]])
    def test_without_a_repository(self, tmp_path: Path, arguments: list[str]) -> None:
        (tmp_path / "hotpipe.toml").write_text('[stage.one]\nrun = "true"\n')
        done = check(tmp_path, *arguments)
        assert done.returncode == 2
        assert "is in no git work tree" in done.stderr


class TestStaged:
    def test_what_is_staged_is_checked_whatever_the_work_tree_holds(self, repository: Repository) -> None:
        repository.commit({"hotpipe.toml": '[stage.one]\nrun = "grep good file"\n', "file": "x"})
        repository.stage({"file": "good"})
        repository.write({"file": "bad"})
        assert check(repository.path, "--staged").returncode == 0
        repository.git("add", "-A")
        repository.write({"file": "good"})
        assert check(repository.path, "--staged").returncode == 1

    def test_the_configuration_is_the_one_in_the_index(self, repository: Repository) -> None:
        repository.stage({"hotpipe.toml": '[stage.one]\nrun = "echo index"\n'})
        repository.write({"hotpipe.toml": "not TOML"})
        done = check(repository.path, "--staged", "--json")
        assert (done.returncode, output(done)) == (0, ["index"])

    def test_a_mistake_in_it_is_told_by_its_name(self, repository: Repository) -> None:
        repository.commit({"hotpipe.toml": "[stage.one]\nrn = 1\n"})
        done = check(repository.path, "--staged")
        assert done.returncode == 2
        assert "\nhotpipe.toml:2: stage.one.rn: unknown key" in f"\n{done.stderr}"

    @pytest.mark.parametrize("ignored", ["hotpipe.toml", "other"])
    def test_one_that_is_not_tracked_counts_as_it_is_on_disk(self, repository: Repository, ignored: str) -> None:
        repository.stage({".gitignore": f"{ignored}\n", "in/file": "x"})
        repository.write({"hotpipe.toml": '[stage.one]\nrun = "pwd; ls"\n'})
        done = check(repository.path / "in", "--staged", "--json")
        assert done.returncode == 0
        where, *listed = output(done)
        assert "hotpipe-staged-" in where
        assert "in" in listed

    def test_below_the_top_and_beside_what_is_ignored(self, repository: Repository) -> None:
        run = 'run = ".venv/bin/tool; cat ../shared; pwd"\n'
        repository.write({"sub/hotpipe.toml": f"[stage.one]\n{run}", ".gitignore": ".venv/\n", "shared": "shared\n"})
        repository.git("add", "-A")
        repository.write({"sub/.venv/bin/tool": "#!/bin/sh\necho tool\n"})
        (repository.path / "sub/.venv/bin/tool").chmod(0o755)
        done = check(repository.path / "sub", "--staged", "--json")
        assert output(done)[:2] == ["tool", "shared"]
        assert output(done)[2].endswith("/sub")

    def test_a_stage_hears_nothing_of_the_repository_that_the_hook_is_of(self, repository: Repository) -> None:
        repository.stage({"hotpipe.toml": '[stage.one]\nrun = "env; git status"\n'})
        hook = {"GIT_INDEX_FILE": ".git/index", "GIT_PREFIX": "", "GIT_DIR": ".git"}
        done = check(repository.path, "--staged", "--json", **hook)
        assert not [line for line in output(done) if line.startswith(tuple(hook))]
        assert done.returncode == 1  # the copy is no repository: nothing can be written to the real one
        done = check(repository.path, "--json", **hook)
        assert not [line for line in output(done) if line.startswith(tuple(hook))]
        assert done.returncode == 0

    def test_tests_import_what_is_staged_though_the_work_tree_is_installed(self, repository: Repository) -> None:
        packages = ".venv/lib/python3.11/site-packages"
        script = f"import site; site.addsitedir('{packages}'); import pkg; print(pkg.said)"
        stage = f'[stage.one]\nrun = ["python3", "-c", "{script}"]\n'
        repository.write({"hotpipe.toml": stage, ".gitignore": ".venv/\n", "src/pkg.py": "said = 'staged'"})
        repository.git("add", "-A")
        repository.write({"src/pkg.py": "said = 'work tree'", ".venv/pyvenv.cfg": ""})
        repository.write({f"{packages}/pkg.pth": f"{repository.path}/src\n"})
        assert output(check(repository.path, "--json")) == ["work tree"]
        assert output(check(repository.path, "--staged", "--json")) == ["staged"]

    def test_the_tree_is_the_one_of_a_clean_work_tree(self, repository: Repository) -> None:
        config = '[stage.one]\nrun = "cat .venv/x ../.env .env"\n'
        repository.write({".gitignore": ".venv/\n.env*\n", "in/hotpipe.toml": config, "in/file": "x"})
        repository.commit({"in/[a] *b\n.py": "x"})
        repository.write({"in/.venv/x": "x", ".env": "x", "in/.env": "x", "in/.env [new\nline]": "x"})
        trees = [
            [event["tree"] for event in events(check(repository.path / "in", *arguments, "--json"), "run.started")]
            for arguments in ([], ["--staged"])
        ]
        assert trees[0] == trees[1] != []

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_one_that_is_ended_leaves_nothing_and_is_not_green(
        self, repository: Repository, temporary: Path, start: Start, monkeypatch: pytest.MonkeyPatch, number: int
    ) -> None:
        repository.stage({"hotpipe.toml": '[stage.one]\nrun = "pwd; exec sleep 1000"\n'})
        launcher = ("env", f"TMPDIR={temporary}")
        running = start(repository.path, "check", "--staged", launcher=launcher)
        copy = Path(running.until("stage.output")["text"])
        assert copy.parent == temporary
        running.process.send_signal(number)
        assert running.wait() == 130
        assert list(temporary.iterdir()) == []

    def test_one_that_is_killed_is_tidied_up_after_by_the_next(
        self, repository: Repository, temporary: Path, start: Start
    ) -> None:
        repository.stage({"hotpipe.toml": '[stage.one]\nrun = "pwd; test -e go || exec sleep 1000"\n'})
        running = start(repository.path, "check", "--staged", launcher=("env", f"TMPDIR={temporary}"))
        copy = Path(running.until("stage.output")["text"])
        beside = check(repository.path, "--staged", "none")  # while it runs, its copy stays
        assert (beside.returncode, copy.exists()) == (2, True)
        running.process.kill()
        running.wait()
        assert copy.exists()
        repository.stage({"go": "x"})
        assert check(repository.path, "--staged").returncode == 0
        assert list(temporary.iterdir()) == []


FOUR = """\
[stage.python]
run = "echo python $HOTPIPE_CHANGED_FILES"
inputs = ["**/*.py"]
needs = []
[stage.docs]
run = "echo docs {changed}"
inputs = ["*.md"]
needs = []
"""


class TestTheGatesPart:
    """`Job.changed` and `Job.cache`, and `fail_fast = false`."""

    def test_stages_none_of_whose_inputs_are_staged_are_skipped_and_say_why(self, repository: Repository) -> None:
        repository.commit({"hotpipe.toml": FOUR, "a.py": "x", "a.md": "x", "b c.md": "x"})
        repository.write({"b c.md": "y", "a.py": "y"})
        repository.git("add", "b c.md")
        done = check(repository.path, "--staged", "--json")
        assert done.returncode == 0
        assert statuses(done) == {"python": "skipped", "docs": "passed"}
        assert output(done) == ["docs b c.md"]
        (skipped,) = [event for event in events(done, "stage.finished") if event["stage"] == "python"]
        assert skipped["why"]

    def test_stages_none_of_whose_inputs_have_changed_since_are_skipped(self, repository: Repository) -> None:
        repository.commit({"hotpipe.toml": FOUR, "a.py": "x", "a.md": "x"})
        repository.commit({"a.md": "y"})
        assert statuses(check(repository.path, "--changed-since", "HEAD~1", "--json")) == {
            "python": "skipped",
            "docs": "passed",
        }
        done = check(repository.path, "--changed-since", "HEAD", "--json")
        assert set(statuses(done).values()) == {"skipped"}
        assert done.returncode == 0

    def test_a_name_with_a_line_end_fires_its_stage(self, repository: Repository) -> None:
        repository.commit({"hotpipe.toml": FOUR})
        repository.write({"new\nline.py": "x"})
        assert statuses(check(repository.path, "--changed-since", "HEAD", "--json"))["python"] == "passed"

    def test_what_passed_is_remembered_in_the_project_but_not_with_no_cache(self, repository: Repository) -> None:
        config = '[stage.one]\nrun = "echo ran"\n[watch]\nignore = ["hotpipe.toml"]\n'
        repository.commit({"hotpipe.toml": config, ".gitignore": ".hotpipe/\n"})
        repository.write({"file": "x"})
        repository.git("add", "-A")
        assert statuses(check(repository.path, "--staged", "--no-cache", "--json")) == {"one": "passed"}
        assert not (repository.path / ".hotpipe/cache").exists()
        assert statuses(check(repository.path, "--staged", "--json")) == {"one": "passed"}
        assert statuses(check(repository.path, "--staged", "--json")) == {"one": "cached"}
        assert statuses(check(repository.path, "--staged", "--no-cache", "--json")) == {"one": "passed"}

    def test_a_pass_on_some_files_is_not_taken_for_one_on_all(self, repository: Repository) -> None:
        config = '[stage.one]\nrun = "! grep bad {changed}"\ninputs = ["*.txt"]\n'
        repository.commit({"hotpipe.toml": config, ".gitignore": ".hotpipe/\n", "a.txt": "bad", "b.txt": "x"})
        repository.write({"b.txt": "y"})
        repository.git("add", "-A")
        assert statuses(check(repository.path, "--staged", "--json")) == {"one": "passed"}
        assert statuses(check(repository.path, "--changed-since", "HEAD", "--json")) == {"one": "passed"}
        assert statuses(check(repository.path, "--json")) == {"one": "failed"}

    def test_keep_going_runs_what_does_not_need_the_failed_stage(self, tmp_path: Path) -> None:
        text = '[stage.bad]\nrun = "false"\n[stage.after]\nrun = "true"\n[stage.free]\nrun = "sleep 0.2"\nneeds = []\n'
        (tmp_path / "hotpipe.toml").write_text(text)
        done = check(tmp_path, "--keep-going", "--json")
        assert done.returncode == 1
        assert statuses(done) == {"bad": "failed", "after": "skipped", "free": "passed"}

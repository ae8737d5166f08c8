"""The command line as scripts see it: exit codes, what goes where, and that nothing stays behind."""

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from hotpipe import __version__
from hotpipe.cli import VERBS

PATIENCE_S = 60.0
GREEN = '[stage.one]\nrun = "echo first"\n[stage.two]\nrun = "echo second"\n'
RED = '[stage.one]\nrun = "echo the reason; exit 3"\n[stage.two]\nrun = "touch two"\n'
SERVER = '[server.web]\nrun = "serve"\n'

NEEDING_NONE = ("init", "listen", "completion", "doctor")
ARGUMENTS = {"hook": "hook install", "why": "why x"}
OF_A_PROJECT = tuple(verb for verb in VERBS if verb not in NEEDING_NONE)
COMMANDS = tuple(ARGUMENTS.get(verb, verb) for verb in OF_A_PROJECT)


@pytest.fixture
def environment() -> dict[str, str]:
    """Nobody's settings for colours."""
    return {key: value for key, value in os.environ.items() if key not in {"NO_COLOR", "FORCE_COLOR"}}


Hotpipe = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def hotpipe(tmp_path: Path, environment: dict[str, str]) -> Hotpipe:
    """Runs `hotpipe ARGUMENTS…` in the project to its end."""

    def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "hotpipe", *arguments],
            **{"cwd": tmp_path, "env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options,
            check=False,
            text=True,
            timeout=PATIENCE_S,
        )

    return run


class Running:
    """A hotpipe that goes on, read event by event."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def until(self, kind: str, **fields: object) -> dict[str, Any]:
        """The next event of that type with these fields."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            event: dict[str, Any] = json.loads(line)
            if event["type"] == kind and fields.items() <= event.items():
                return event
        raise AssertionError(f"ended with {self.process.wait(PATIENCE_S)} before {kind} {fields}")

    def end(self) -> int:
        """Its exit code, when it has ended."""
        self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode


@contextmanager
def running(project: Path, *arguments: str) -> Iterator[Running]:
    command = [sys.executable, "-m", "hotpipe", *arguments, "--json"]
    process = subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, text=True)
    try:
        yield Running(process)
    finally:
        process.kill()
        process.communicate()


def plant(root: Path, files: Mapping[str, str]) -> None:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


def eventually(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


class TestHelp:
    def test_version(self, hotpipe: Hotpipe) -> None:
        done = hotpipe("--version")
        assert (done.returncode, done.stdout, done.stderr) == (0, f"hotpipe {__version__}\n", "")

    def test_help_lists_every_verb_with_a_whole_sentence(self, hotpipe: Hotpipe) -> None:
        done = hotpipe("--help")
        assert (done.returncode, done.stderr) == (0, "")
        listed = done.stdout.partition("Commands:\n")[2].split("\n")
        assert [line.split()[0] for line in listed if line] == list(VERBS)
        assert all(line.endswith(".") for line in listed if line)

    @pytest.mark.parametrize("verb", OF_A_PROJECT)
    def test_each_verb_explains_itself_without_a_project(self, hotpipe: Hotpipe, verb: str) -> None:
        done = hotpipe(*verb.split(), "--help")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"Usage: python -m hotpipe {verb.split(maxsplit=1)[0]} [OPTIONS]")
        assert "--config FILE" in done.stdout


class TestUsage:
    """What cannot be meant ends with 2, on standard error, and starts nothing."""

    @pytest.mark.parametrize(
        "arguments, said",
        [
            (["wacht"], "no such command 'wacht'; did you mean 'watch'?"),
            (["check", "--jsn"], "No such option"),
            (["check", "--json", "--plain"], "--json and --plain exclude each other"),
            (["check", "--config"], "requires an argument"),
            (["check", "--config", "gone.toml"], "gone.toml: No such file or directory"),
            (["check", "tow"], "there is no stage 'tow'; did you mean 'two'?; the stages are one, two"),
            (["check", "--trigger", "one"], "--trigger needs all stages"),
            (["serve"], "hotpipe.toml has no server"),
            (["trigger", "web"], "there is no server 'web'"),
        ],
        ids=lambda part: "_".join(part) if isinstance(part, list) else "",
    )
    def test_it_is_said_why(self, hotpipe: Hotpipe, tmp_path: Path, arguments: list[str], said: str) -> None:
        plant(tmp_path, {"hotpipe.toml": GREEN})
        done = hotpipe(*arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr
        assert os.listdir(tmp_path) == ["hotpipe.toml"]

    @pytest.mark.parametrize("command", COMMANDS)
    def test_without_a_configuration_it_says_what_to_do(self, hotpipe: Hotpipe, tmp_path: Path, command: str) -> None:
        done = hotpipe(*command.split())
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == (
            f"hotpipe: no hotpipe.toml in {tmp_path} or above, nor [tool.hotpipe] in a pyproject.toml\n"
            "hint: `hotpipe init` writes a hotpipe.toml; or name one with --config FILE\n"
        )

    @pytest.mark.parametrize("command", [each for each in COMMANDS if each != "logs"])  # it reads what is there
    def test_all_that_is_wrong_with_the_configuration_comes_at_once(
        self, hotpipe: Hotpipe, tmp_path: Path, command: str
    ) -> None:
        plant(tmp_path, {"hotpipe.toml": '[stage.one]\nrun = "touch started"\ntimout = "5s"\n[server.web]\nrun = 3\n'})
        done = hotpipe(*command.split())
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == (
            "hotpipe: 2 problems in the configuration; nothing was started\n"
            "hotpipe.toml:3: stage.one.timout: unknown key; did you mean 'timeout'?\n"
            "hotpipe.toml:5: server.web.run: expected a string or an array of strings, got an integer\n"
        )
        assert os.listdir(tmp_path) == ["hotpipe.toml"]

    @pytest.mark.parametrize("verb", ["check", "watch"])
    def test_a_configuration_with_nothing_to_do_is_an_error(self, hotpipe: Hotpipe, tmp_path: Path, verb: str) -> None:
        plant(tmp_path, {"hotpipe.toml": ""})
        done = hotpipe(verb)
        assert (done.returncode, "hint: write [stage.test]" in done.stderr) == (2, True)

    def test_a_working_directory_that_is_gone_is_said(self, hotpipe: Hotpipe, tmp_path: Path) -> None:
        gone = tmp_path / "gone"
        gone.mkdir()
        script = f'rmdir {gone} && exec "$0" -m hotpipe check'
        done = subprocess.run(
            ["sh", "-c", script, sys.executable],
            cwd=gone,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
            check=False,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        assert done.returncode == 2
        assert "hotpipe: the working directory is gone\n" in done.stderr


class TestCheck:
    def test_green_is_0(self, hotpipe: Hotpipe, tmp_path: Path) -> None:
        plant(tmp_path, {"hotpipe.toml": GREEN})
        done = hotpipe("check")
        assert (done.returncode, done.stderr) == (0, "")
        assert "✓ green in" in done.stdout
        assert "first" not in done.stdout

    def test_red_is_1_and_shows_why(self, hotpipe: Hotpipe, tmp_path: Path) -> None:
        plant(tmp_path, {"hotpipe.toml": RED})
        done = hotpipe("check")
        assert (done.returncode, done.stderr) == (1, "")
        assert done.stdout.count("the reason") == 2  # in the command, and once where it is printed
        assert not (tmp_path / "two").exists()

    def test_stages_by_name_run_in_the_order_of_the_file(self, hotpipe: Hotpipe, tmp_path: Path) -> None:
        plant(tmp_path, {"hotpipe.toml": GREEN + '[stage.three]\nrun = "false"\n'})
        done = hotpipe("check", "two", "one", "-v")
        assert done.returncode == 0
        assert done.stdout.index("first") < done.stdout.index("second")

    def test_it_works_from_a_folder_below(self, hotpipe: Hotpipe, tmp_path: Path) -> None:
        plant(tmp_path, {"hotpipe.toml": '[stage.one]\nrun = "test -f hotpipe.toml"\n', "in/deep/x": ""})
        assert hotpipe("check", cwd=tmp_path / "in/deep").returncode == 0

    def test_json_is_all_that_is_printed(self, hotpipe: Hotpipe, tmp_path: Path) -> None:
        plant(tmp_path, {"hotpipe.toml": RED})
        done = hotpipe("check", "--json")
        events = [json.loads(line) for line in done.stdout.splitlines()]
        assert (done.returncode, done.stderr) == (1, "")
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
        assert (events[-1]["type"], events[-1]["status"]) == ("run.finished", "red")
        assert [event["stage"] for event in events if event.get("status") == "skipped"] == ["two"]

    def test_it_touches_no_trigger_unless_told(self, hotpipe: Hotpipe, tmp_path: Path) -> None:
        plant(tmp_path, {"hotpipe.toml": GREEN})
        assert hotpipe("check").returncode == 0
        assert not (tmp_path / ".trigger").exists()
        assert hotpipe("check", "--trigger").returncode == 0
        record = json.loads((tmp_path / ".trigger").read_text())
        assert (record["v"], record["run"], record["server"]) == (1, 1, None)
        assert record["tree"]

    def test_and_none_when_red(self, hotpipe: Hotpipe, tmp_path: Path) -> None:
        plant(tmp_path, {"hotpipe.toml": RED})
        assert hotpipe("check", "--trigger").returncode == 1
        assert not (tmp_path / ".trigger").exists()

    @pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
    def test_a_terminal_that_lacks_a_character_ends_nothing(
        self, hotpipe: Hotpipe, tmp_path: Path, environment: dict[str, str], encoding: str
    ) -> None:
        plant(tmp_path, {"hotpipe.toml": '[stage.one]\nrun = "echo ☕; false"\n'})
        done = hotpipe("check", env={**environment, "PYTHONIOENCODING": encoding})
        assert (done.returncode, done.stderr) == (1, "")
        assert "x red: one failed" in done.stdout
        assert r"\u2615" in done.stdout


class TestConfig:
    def test_prints_toml_with_all_defaults(self, hotpipe: Hotpipe, tmp_path: Path) -> None:
        plant(tmp_path, {"hotpipe.toml": GREEN})
        printed = tomllib.loads(hotpipe("config").stdout)
        assert printed["watch"] == {"paths": ["."], "ignore": [], "settle": "5ms", "poll": "auto"}
        assert list(printed["stage"]) == ["one", "two"]

    def test_prints_the_same_as_json(self, hotpipe: Hotpipe, tmp_path: Path) -> None:
        plant(tmp_path, {"hotpipe.toml": GREEN + SERVER})
        assert json.loads(hotpipe("config", "--json").stdout) == tomllib.loads(hotpipe("config").stdout)

    def test_what_it_prints_is_a_configuration(self, hotpipe: Hotpipe, tmp_path: Path) -> None:
        plant(tmp_path, {"hotpipe.toml": GREEN + SERVER + 'listen = ["http::0"]\n'})
        first = hotpipe("config").stdout
        plant(tmp_path, {"again/hotpipe.toml": first})
        assert hotpipe("config", "--config", "again/hotpipe.toml").stdout == first

    def test_the_schema_needs_no_project(self, hotpipe: Hotpipe) -> None:
        done = hotpipe("config", "--schema")
        assert done.returncode == 0
        assert json.loads(done.stdout)["$ref"] == "#/$defs/Config"


class TestTrigger:
    def test_touches_every_trigger(self, hotpipe: Hotpipe, tmp_path: Path) -> None:
        plant(tmp_path, {"hotpipe.toml": SERVER + SERVER.replace("web", "api")})
        done = hotpipe("trigger")
        assert (done.returncode, done.stdout) == (0, "touched .trigger-web\ntouched .trigger-api\n")
        record = json.loads((tmp_path / ".trigger-api").read_text())
        assert (record["server"], record["tree"]) == ("api", None)  # nobody vouches for what is on disk

    def test_or_those_that_are_named(self, hotpipe: Hotpipe, tmp_path: Path) -> None:
        plant(tmp_path, {"hotpipe.toml": SERVER + SERVER.replace("web", "api")})
        assert hotpipe("trigger", "api").stdout == "touched .trigger-api\n"
        assert not (tmp_path / ".trigger-web").exists()

    def test_an_unknown_server_touches_none(self, hotpipe: Hotpipe, tmp_path: Path) -> None:
        plant(tmp_path, {"hotpipe.toml": SERVER})
        done = hotpipe("trigger", "web", "wbe")
        assert (done.returncode, done.stdout) == (2, "")
        assert "there is no server 'wbe'; did you mean 'web'?" in done.stderr
        assert not (tmp_path / ".trigger").exists()

    def test_one_that_cannot_be_written_is_1_with_the_way_out(self, hotpipe: Hotpipe, tmp_path: Path) -> None:
        plant(tmp_path, {"hotpipe.toml": SERVER, ".trigger/x": ""})
        done = hotpipe("trigger")
        assert done.returncode == 1
        assert "hint: a folder stands in its place: remove" in done.stderr


@pytest.mark.parametrize("verb", ["config", "completion bash", "--version"])
def test_output_that_finds_no_room_is_no_defect(hotpipe: Hotpipe, tmp_path: Path, verb: str) -> None:
    plant(tmp_path, {"hotpipe.toml": GREEN})
    with Path("/dev/full").open("w") as full:
        done = hotpipe(*verb.split(), stdout=full)
    assert (done.returncode, done.stderr.splitlines()) == (
        1,
        ["hotpipe: cannot write the output: No space left on device", "hint: free some space where it goes: df(1)"],
    )


def test_a_locale_that_lacks_a_character_of_a_command_is_no_defect(
    hotpipe: Hotpipe, tmp_path: Path, environment: dict[str, str]
) -> None:
    run = "test $(printf é✓$WORD | od -An -tx1 | tr -d ' ') = c3a9e29c93c3bc"
    plant(tmp_path, {"hotpipe.toml": f'[stage.one]\nrun = "{run}"\nenv = {{ WORD = "ü" }}\n'})
    done = hotpipe("check", env={**environment, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"})
    assert done.returncode == 0, done.stdout


class TestDefects:
    """What hotpipe did not foresee is its own fault: 3, and a traceback to send."""

    def test_the_traceback_lies_under_the_projects_root_and_its_path_is_printed(
        self, hotpipe: Hotpipe, tmp_path: Path, environment: dict[str, str]
    ) -> None:
        plant(tmp_path, {"hotpipe.toml": GREEN, "in/x": "", "broken/tomli_w.py": "# an installation that is damaged\n"})
        done = hotpipe("config", cwd=tmp_path / "in", env={**environment, "PYTHONPATH": str(tmp_path / "broken")})
        assert (done.returncode, done.stdout) == (3, "")
        said, where = done.stderr.splitlines()
        assert said == "hotpipe: internal error, a defect of hotpipe: module 'tomli_w' has no attribute 'dumps'"
        log = Path(where.removeprefix("its traceback: "))
        assert log.parent == tmp_path / ".hotpipe/logs"
        assert log.read_text().startswith(f"hotpipe {__version__}, Python {sys.version.split()[0]}")
        assert "Traceback (most recent call last)" in log.read_text()

    def test_only_the_last_ones_are_kept(self, hotpipe: Hotpipe, tmp_path: Path, environment: dict[str, str]) -> None:
        old = {f".hotpipe/logs/crash-20250101T0000{second}Z-1.txt": "" for second in range(10, 40)}
        plant(tmp_path, {"hotpipe.toml": GREEN, "broken/tomli_w.py": "", **old})
        done = hotpipe("config", env={**environment, "PYTHONPATH": str(tmp_path / "broken")})
        kept = sorted((tmp_path / ".hotpipe/logs").iterdir())
        assert len(kept) == 20
        assert str(kept[-1]) in done.stderr

    def test_where_it_cannot_be_written_it_is_printed(
        self, hotpipe: Hotpipe, tmp_path: Path, environment: dict[str, str]
    ) -> None:
        plant(tmp_path, {"hotpipe.toml": GREEN, ".hotpipe": "", "broken/tomli_w.py": ""})
        done = hotpipe("config", env={**environment, "PYTHONPATH": str(tmp_path / "broken")})
        assert done.returncode == 3
        assert "Traceback (most recent call last)" in done.stderr
        assert done.stderr.endswith("its traceback: above\n")


ENDLESS = '[stage.long]\nrun = "echo $$; exec sleep 100000"\n'
STUBBORN = """\
[server.web]
run = "trap 'touch asked' TERM; echo $$; while :; do sleep 100000 & wait; done"
stop_timeout = "1h"
"""


def insist(process: subprocess.Popen[str]) -> bool:
    """Ctrl-C once more, if it still runs."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    return process.poll() is not None


class TestEnding:
    @pytest.mark.parametrize(
        "number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 0), (signal.SIGHUP, 0)], ids=["INT", "TERM", "HUP"]
    )
    @pytest.mark.parametrize("verb", ["watch", "gate"])
    def test_a_signal_ends_a_long_stage_and_all_its_processes(
        self, tmp_path: Path, verb: str, number: int, code: int
    ) -> None:
        plant(tmp_path, {"hotpipe.toml": ENDLESS})
        with running(tmp_path, verb) as session:
            stage = int(session.until("stage.output")["text"])
            session.process.send_signal(number)
            assert session.end() == code
        assert not psutil.pid_exists(stage)

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_a_check_that_was_ended_is_no_green_one(self, tmp_path: Path, number: int) -> None:
        plant(tmp_path, {"hotpipe.toml": ENDLESS})
        with running(tmp_path, "check") as session:
            stage = int(session.until("stage.output")["text"])
            session.process.send_signal(number)
            assert session.end() == 130
        assert not psutil.pid_exists(stage)

    def test_a_signal_while_nothing_runs(self, tmp_path: Path) -> None:
        plant(tmp_path, {"hotpipe.toml": GREEN})
        with running(tmp_path, "gate") as session:
            session.until("run.finished", status="green")
            session.process.send_signal(signal.SIGINT)
            assert session.end() == 130

    def test_the_second_signal_kills_at_once_what_ignores_the_first(self, tmp_path: Path) -> None:
        plant(tmp_path, {"hotpipe.toml": STUBBORN})
        with running(tmp_path, "serve") as session:
            server = psutil.Process(int(session.until("server.output")["text"]))
            family = [server, *server.children()]
            session.process.send_signal(signal.SIGINT)
            eventually((tmp_path / "asked").exists)
            assert server.is_running()
            eventually(lambda: insist(session.process))  # at once would be taken for an echo of the first
            assert session.end() == 130
        assert psutil.wait_procs(family, timeout=PATIENCE_S)[1] == []

    def test_once_green_waits_for_green(self, tmp_path: Path) -> None:
        plant(tmp_path, {"hotpipe.toml": '[stage.one]\nrun = "test -f wanted"\n'})
        with running(tmp_path, "gate", "--once-green") as session:
            session.until("run.finished", status="red")
            plant(tmp_path, {"wanted": "x"})
            session.until("trigger.touched")
            session.until("run.finished", status="green")
            assert session.end() == 0
        assert (tmp_path / ".trigger").exists()

    @pytest.mark.parametrize("verb", ["check", "gate"])
    def test_a_reader_that_goes_away_ends_it_quietly(self, tmp_path: Path, verb: str) -> None:
        plant(tmp_path, {"hotpipe.toml": '[stage.one]\nrun = "yes | head -n 200000"\n'})
        script = f'"$0" -m hotpipe {verb} --json 2>said; echo $? >code'
        reader = subprocess.Popen(["sh", "-c", script, sys.executable], cwd=tmp_path, stdout=subprocess.PIPE)
        assert reader.stdout is not None
        first = reader.stdout.readline()
        reader.stdout.close()
        assert reader.wait(PATIENCE_S) == 0
        assert json.loads(first)["seq"] == 1
        assert ((tmp_path / "code").read_text(), (tmp_path / "said").read_text()) == ("0\n", "")


class TestVerdict:
    """Whoever waits for the exit code gets the right one."""

    def test_a_red_check_exits_1_though_nobody_reads_what_it_says(self, tmp_path: Path) -> None:
        plant(tmp_path, {"hotpipe.toml": '[stage.a]\nrun = "echo hi; sleep 0.2; echo there; exit 1"'})
        command = f"{sys.executable} -m hotpipe check -v | true; echo ${{PIPESTATUS[0]}}"
        done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert done.stdout == "1\n"

    def test_a_check_whose_trigger_cannot_be_written_exits_1(self, hotpipe: Hotpipe, tmp_path: Path) -> None:
        plant(tmp_path, {"hotpipe.toml": GREEN, ".trigger/in-its-place": ""})
        done = hotpipe("check", "--trigger")
        assert done.returncode == 1
        assert "a folder stands in its place" in done.stdout

    def test_an_ignored_hangup_stays_ignored(self, tmp_path: Path) -> None:  # nohup(1)
        plant(tmp_path, {"hotpipe.toml": GREEN})
        command = ["nohup", sys.executable, "-m", "hotpipe", "gate", "--json"]
        with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
            gate = Running(process)
            gate.until("run.finished", status="green")
            process.send_signal(signal.SIGHUP)
            plant(tmp_path, {"another": "file"})
            gate.until("run.finished", status="green")
            process.send_signal(signal.SIGTERM)
            assert gate.end() == 0

    def test_sigquit_kills_at_once_and_leaves_nothing(self, tmp_path: Path) -> None:
        plant(tmp_path, {"hotpipe.toml": '[stage.a]\nrun = "trap : TERM; echo $$; while :; do sleep 1; done"'})
        with running(tmp_path, "gate") as gate:
            stage = int(gate.until("stage.output")["text"])
            gate.process.send_signal(signal.SIGQUIT)
            assert gate.end() == 130
        assert not psutil.pid_exists(stage) or psutil.Process(stage).status() == psutil.STATUS_ZOMBIE

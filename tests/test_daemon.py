"""A daemon that has come up is told apart from one that has not, by exit code and words. With real processes."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

PATIENCE_S = 30.0
OUTLINE = """
import os, signal, sys, threading
from hotpipe.daemon import Daemon, Started, daemonize
from hotpipe.errors import HotpipeError, UsageError

print("before")
sys.stdout.write("unfinished ")
try:
    started = daemonize({root!r})
except HotpipeError as error:
    print(f"{{error.exit_code}} {{error}} ({{error.hint}})")
    sys.exit(error.exit_code)
match started:
    case Daemon(pid, log):
        print(pid)
        sys.exit(0)
with open("daemon.pid", "w") as file:
    file.write(str(os.getpid()))
{what}
"""

# Buffered, as it is by default: what is in a buffer when a process forks must not be written twice.
ENVIRONMENT = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"} | {
    "PYTHONPATH": str(Path(__file__).parent.parent)
}
Launch = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    """Runs a program that becomes a daemon, and ends that daemon with the test."""

    def run(what: str, **options: object) -> subprocess.CompletedProcess[str]:
        program = OUTLINE.format(root=str(tmp_path), what=textwrap.dedent(what))
        return subprocess.run(
            [sys.executable, "-c", program],
            cwd=tmp_path,
            env=ENVIRONMENT,
            check=False,
            text=True,
            timeout=PATIENCE_S,
            **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT} | options,
        )

    yield run
    pid = tmp_path / "daemon.pid"
    if pid.exists() and psutil.pid_exists(int(pid.read_text())):
        os.kill(int(pid.read_text()), signal.SIGKILL)


def log(project: Path) -> str:
    return (project / ".hotpipe/logs/hotpipe.log").read_text()


class TestStart:
    def test_whoever_started_it_is_let_go_when_it_says_ok(self, launch: Launch, tmp_path: Path) -> None:
        done = launch("open('up', 'w').close(); started.ok(); signal.pause()")
        assert done.returncode == 0
        assert (tmp_path / "up").exists()
        assert done.stdout == f"before\nunfinished {(tmp_path / 'daemon.pid').read_text()}\n"

    def test_and_not_before(self, launch: Launch, tmp_path: Path) -> None:
        """It waits for a word that comes from outside."""
        os.mkfifo(tmp_path / "word")
        program = OUTLINE.format(root=str(tmp_path), what="open('word').read(); started.ok(); signal.pause()")
        with subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=tmp_path,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
        ) as process:
            word = os.open(tmp_path / "word", os.O_WRONLY)  # opens when the daemon reads
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.1)
            os.close(word)
            assert process.wait(PATIENCE_S) == 0

    def test_its_own_error_and_exit_code_are_passed_on(self, launch: Launch) -> None:
        done = launch("started.failed('port 8000 is taken', 2, 'take another')")
        assert (done.returncode, done.stdout) == (2, "before\nunfinished 2 port 8000 is taken (take another)\n")

    def test_an_error_on_its_way_out_is_passed_on(self, launch: Launch) -> None:
        done = launch("""\
            with started:
                raise UsageError('no', hint='yes')""")
        assert (done.returncode, done.stdout) == (2, "before\nunfinished 2 no (yes)\n")

    @pytest.mark.parametrize(
        "end",
        [
            "os._exit(0)",
            "os.kill(os.getpid(), 9)",
            "raise SystemError('ouch')",
            "started.__exit__(None, None, None); signal.pause()",
        ],
    )
    def test_one_that_ends_without_a_word_is_3_and_names_its_log(
        self, launch: Launch, tmp_path: Path, end: str
    ) -> None:
        done = launch(end)
        said = f"3 the daemon died before it had started (its last words: {tmp_path}/.hotpipe/logs/hotpipe.log)"
        assert (done.returncode, done.stdout) == (3, f"before\nunfinished {said}\n")
        assert ("ouch" in end) == ("ouch" in log(tmp_path))

    def test_a_log_that_cannot_be_written_is_said_before_anything_is_started(
        self, launch: Launch, tmp_path: Path
    ) -> None:
        (tmp_path / ".hotpipe").touch()
        done = launch("")
        assert done.returncode == 1
        assert "hotpipe.log: Not a directory (run it without --daemon)" in done.stdout
        assert not (tmp_path / "daemon.pid").exists()

    def test_one_whose_starter_was_interrupted_does_not_go_on(self, launch: Launch, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "word")
        os.mkfifo(tmp_path / "end")
        what = """
        open('word').read()
        try:
            started.ok()
        except HotpipeError as error:
            open('end', 'w').write(str(error))
        """
        program = OUTLINE.format(root=str(tmp_path), what=textwrap.dedent(what))
        with subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=tmp_path,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            word = os.open(tmp_path / "word", os.O_WRONLY)
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=PATIENCE_S)
            os.close(word)
            assert (tmp_path / "end").read_text() == "who started this daemon has not waited for it"


class TestDaemon:
    def test_has_no_terminal_and_can_get_none(self, launch: Launch, tmp_path: Path) -> None:
        """A session of its own, which it does not lead: setsid(2), daemon(7)."""
        launch("started.ok(); signal.pause()")
        pid = int((tmp_path / "daemon.pid").read_text())
        assert os.getsid(pid) not in (pid, os.getsid(0))
        assert psutil.Process(pid).terminal() is None
        assert os.readlink(f"/proc/{pid}/fd/0") == os.devnull

    def test_writes_to_its_log_behind_what_is_there(self, launch: Launch, tmp_path: Path) -> None:
        for _ in range(2):
            launch("print('☕ said', flush=True); print('err', file=sys.stderr); os.system('echo child'); started.ok()")
        assert log(tmp_path) == "☕ said\nerr\nchild\n" * 2
        assert (tmp_path / ".hotpipe/logs/hotpipe.log").stat().st_mode & 0o777 == 0o600

    def test_writes_nothing_that_was_said_before(self, launch: Launch, tmp_path: Path) -> None:
        launch("sys.__stdout__.flush(); started.ok()")
        assert log(tmp_path) == ""

    def test_holds_nothing_of_its_starters(self, launch: Launch, tmp_path: Path) -> None:
        """`x=$(hotpipe watch --daemon)` ends: nobody holds the pipe."""
        launch("started.ok(); signal.pause()")
        pid = int((tmp_path / "daemon.pid").read_text())
        targets = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
        assert [target for target in targets if target.startswith("pipe:")] == []

    @pytest.mark.parametrize("closed", ["<&-", ">&-", "<&- >&- 2>&-"])
    def test_closed_standard_descriptors_do_no_harm(self, tmp_path: Path, closed: str) -> None:
        what = "print('said'); started.ok(); os._exit(0)"
        program = OUTLINE.format(root=str(tmp_path), what=what)
        done = subprocess.run(
            ["sh", "-c", f'"$0" -c "$1" {closed}', sys.executable, program.replace("sys.stdout.write", "print")],
            cwd=tmp_path,
            env=ENVIRONMENT,
            check=False,
            timeout=PATIENCE_S,
        )
        assert (done.returncode, log(tmp_path)) == (0, "said\n")

    def test_leaves_no_zombie_with_whoever_started_it(self, tmp_path: Path) -> None:
        program = OUTLINE.format(root=str(tmp_path), what="started.ok(); os._exit(0)")
        counted = program.replace("print(pid)", "import psutil; print(psutil.Process().children())")
        done = subprocess.run(
            [sys.executable, "-c", counted],
            cwd=tmp_path,
            env=ENVIRONMENT,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            timeout=PATIENCE_S,
        )
        assert done.stdout.endswith("unfinished []\n")

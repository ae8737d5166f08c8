"""What a hotpipe killed by SIGKILL leaves behind is found and ended, and nothing else is. With real processes."""

import ctypes
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotpipe.process import birth
from hotpipe.process.child import Child
from hotpipe.process.command import COOKIE, Command
from hotpipe.process.journal import Journal, leftovers, recover

PATIENCE_S = 30.0
NOBODY = 65534
PR_SET_CHILD_SUBREAPER, PR_GET_CHILD_SUBREAPER = 36, 37  # <sys/prctl.h>

# Each writes the pids of what must not outlive the next start to $PIDS; the last of them when it is ready.
LEFT = {
    "a program": 'echo $$ >>"$PIDS"; exec sleep 1000',
    "a deaf one": 'trap "" TERM; echo $$ >>"$PIDS"; while :; do sleep 1; done',
    "a job": 'sleep 1000 & echo $! >>"$PIDS"; wait',
    "a job whose leader has ended": 'sleep 1000 & echo $! >>"$PIDS"; exit',
    "a double fork": '(sleep 1000 & echo $! >>"$PIDS"); sleep 1000',
    "a group of its own": 'set -m; sleep 1000 & echo $! >>"$PIDS"; wait',
    "a daemon": """(setsid sh -c 'echo $$ >>"$PIDS"; exec sleep 1000' &); exit""",
    "a deaf daemon": """(setsid sh -c 'trap "" TERM; echo $$ >>"$PIDS"; while :; do sleep 1; done' &); exit""",
    "no environment": """env -i PIDS="$PIDS" sh -c 'echo $$ >>"$PIDS"; exec sleep 1000'""",
    "no environment, in a session of its own": (
        """env -i PIDS="$PIDS" setsid sh -c 'echo $$ >>"$PIDS"; exec sleep 1000' & wait"""
    ),
}


def mark() -> str:
    """As System makes them."""
    return f"{os.getpid()}.{os.urandom(6).hex()}."


@contextmanager
def owner(act: Callable[[], None]) -> Iterator[int]:
    """A process that does `act` and waits; killed by SIGKILL at the end at the latest."""
    pid = os.fork()
    if not pid:
        try:
            act()
            signal.pause()
        finally:
            os._exit(1)
    try:
        yield pid
    finally:
        kill(pid)


def kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        pass


def spawn(run: str, cookie: str, pids: Path) -> Child:
    return Child(Command(run, os.getcwd(), {**os.environ, "PIDS": str(pids)}), cookie)


def spawning(folder: Path, *runs: str) -> Callable[[], None]:
    def act() -> None:
        its_mark = mark()
        journal = Journal(str(folder), its_mark)
        for number, run in enumerate(runs):
            journal.spawned(spawn(run, f"{its_mark}{number};", folder / "pids").pid)
        (folder / "spawned").touch()

    return act


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def pids(folder: Path, count: int) -> list[int]:
    """What the programs wrote, when all of them have."""
    file = folder / "pids"
    until(lambda: file.exists() and file.read_text().count("\n") == count and (folder / "spawned").exists())
    return [int(word) for word in file.read_text().split()]


def is_alive(pid: int) -> bool:
    return birth.start_of(pid) is not None


def journals(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if name.startswith("spawned-")]


@pytest.fixture(autouse=True)
def _orphans_are_not_ours() -> Iterator[None]:
    """Other tests make this process adopt orphans; what it adopts would be its own, which `recover` spares."""
    libc, before = ctypes.CDLL(None), ctypes.c_int()
    libc.prctl(PR_GET_CHILD_SUBREAPER, ctypes.byref(before), 0, 0, 0)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
    yield
    libc.prctl(PR_SET_CHILD_SUBREAPER, before.value, 0, 0, 0)


@pytest.fixture
def stranger() -> Iterator[psutil.Process]:
    """A process with which nobody here has anything to do, leading a session as servers do."""
    script = "setsid sh -c 'echo $$; exec sleep 1000 >&-' &"
    process = psutil.Process(int(subprocess.run(["sh", "-c", script], stdout=subprocess.PIPE, check=True).stdout))
    yield process
    process.kill()


def forge(folder: Path, child: psutil.Process, /, **changes: Any) -> Path:
    """The journal of a dead owner that names `child`, but for the changes."""
    with subprocess.Popen(["sleep", "1000"]) as dead:
        whose = birth.Birth.of(dead.pid)
        assert whose is not None
        dead.kill()
    start = birth.start_of(child.pid)
    header = {**msgspec.structs.asdict(whose), "mark": "12345.0123456789ab.", **changes}
    path = folder / "spawned-forged.json"
    path.write_text(f"{json.dumps(header)}\n{json.dumps([{'pid': child.pid, 'start': changes.get('child', start)}])}\n")
    path.chmod(0o600)
    return path


class TestLeftBehind:
    @pytest.mark.parametrize("run", LEFT.values(), ids=LEFT)
    def test_the_next_start_ends_it_and_says_what_it_was(self, tmp_path: Path, run: str) -> None:
        with owner(spawning(tmp_path, run)) as killed:
            left = pids(tmp_path, 1)
            kill(killed)
            assert set(left) <= {process.pid for process in leftovers(str(tmp_path))}
            ended = recover(str(tmp_path))
        assert set(left) <= {one.pid for one in ended}
        assert all(one.ended and one.name for one in ended)
        assert not any(map(is_alive, left))
        assert journals(tmp_path) == []

    def test_all_at_once(self, tmp_path: Path) -> None:
        with owner(spawning(tmp_path, *LEFT.values())) as killed:
            left = pids(tmp_path, len(LEFT))
            kill(killed)
            recover(str(tmp_path))
        assert not any(map(is_alive, left))
        assert (recover(str(tmp_path)), leftovers(str(tmp_path))) == ([], [])

    def test_asks_before_it_kills(self, tmp_path: Path) -> None:
        # Its stderr has lost its reader, and sh would report the end of each sleep there.
        polite = """exec 2>/dev/null; trap 'echo farewell >"$PIDS.said"; exit' TERM; echo $$ >>"$PIDS"
            while :; do sleep 0.01; done"""
        with owner(spawning(tmp_path, polite)) as killed:
            pids(tmp_path, 1)
            kill(killed)
            recover(str(tmp_path))
        assert (tmp_path / "pids.said").read_text() == "farewell\n"

    def test_whatever_the_moment_of_the_kill(self, tmp_path: Path) -> None:
        its_mark = mark()

        def coming_and_going() -> None:
            journal = Journal(str(tmp_path), its_mark)
            os.write(started, b"x")
            for number in range(1000):
                child = spawn("sleep 1000", f"{its_mark}{number};", tmp_path / "pids")
                journal.spawned(child.pid)
                if number % 3:
                    os.kill(child.pid, signal.SIGKILL)
                    os.waitpid(child.pid, 0)
                    child.close()
                    journal.gone(child.pid)

        for _ in range(20):
            read, started = os.pipe()
            with owner(coming_and_going) as killed:
                os.read(read, 1)
                time.sleep(random.uniform(0, 0.05))  # the moment is what varies; nothing waits for it
                kill(killed)
            os.close(read), os.close(started)
            assert all(one.ended for one in recover(str(tmp_path)))
            assert [p.pid for p in psutil.process_iter() if its_mark in environment(p)] == []
            assert journals(tmp_path) == []

    def test_also_what_never_came_into_the_journal(self, tmp_path: Path) -> None:
        def unnoted() -> None:
            its_mark = mark()
            Journal(str(tmp_path), its_mark)
            spawn(LEFT["a program"], f"{its_mark}1;", tmp_path / "pids")
            (tmp_path / "spawned").touch()

        with owner(unnoted) as killed:
            [left] = pids(tmp_path, 1)
            kill(killed)
            assert [one.pid for one in recover(str(tmp_path))] == [left]


def environment(process: psutil.Process) -> str:
    try:
        return process.environ().get(COOKIE, "")
    except psutil.Error:
        return ""


class TestNobodyElse:
    """A process is never signalled because of a number alone."""

    def test_while_the_owner_lives_its_processes_do(self, tmp_path: Path) -> None:
        with owner(spawning(tmp_path, LEFT["a program"])) as alive:
            [child] = pids(tmp_path, 1)
            assert (leftovers(str(tmp_path)), recover(str(tmp_path))) == ([], [])
            assert is_alive(child)
            assert len(journals(tmp_path)) == 1
            kill(alive)
            assert [one.pid for one in recover(str(tmp_path))] == [child]

    def test_the_forged_journal_of_these_tests_would_be_believed(
        self, tmp_path: Path, stranger: psutil.Process
    ) -> None:
        forge(tmp_path, stranger)
        assert leftovers(str(tmp_path)) == [stranger]

    @pytest.mark.parametrize("change", [{"child": 1}, {"boot": "another"}, {"space": "pid:[1]"}], ids=str)
    def test_not_who_got_the_number_later_nor_in_another_boot_nor_in_another_container(
        self, tmp_path: Path, stranger: psutil.Process, change: dict[str, object]
    ) -> None:
        path = forge(tmp_path, stranger, **change)
        assert (leftovers(str(tmp_path)), recover(str(tmp_path))) == ([], [])
        assert stranger.is_running()
        assert path.exists() == ("space" in change)  # its owner may live in there

    @pytest.mark.parametrize("mode", [0o620, 0o602])
    def test_not_whom_a_journal_names_that_others_could_have_written(
        self, tmp_path: Path, stranger: psutil.Process, mode: int
    ) -> None:
        forge(tmp_path, stranger).chmod(mode)
        assert (leftovers(str(tmp_path)), recover(str(tmp_path))) == ([], [])

    @pytest.mark.skipif(os.geteuid() != 0, reason="takes root: it gives a file away")
    def test_not_whom_another_users_journal_names(self, tmp_path: Path, stranger: psutil.Process) -> None:
        os.chown(forge(tmp_path, stranger), NOBODY, NOBODY)
        assert (leftovers(str(tmp_path)), recover(str(tmp_path))) == ([], [])

    def test_not_whom_a_link_to_a_journal_names(self, tmp_path: Path, stranger: psutil.Process) -> None:
        forge(tmp_path, stranger).rename(tmp_path / "elsewhere")
        (tmp_path / "spawned-forged.json").symlink_to("elsewhere")
        assert leftovers(str(tmp_path)) == []

    @pytest.mark.parametrize("short", ["", "1."])
    def test_not_everybody_because_the_mark_is_empty(
        self, tmp_path: Path, stranger: psutil.Process, short: str
    ) -> None:
        forge(tmp_path, stranger, mark=short, child=1)
        assert leftovers(str(tmp_path)) == []

    def test_not_those_from_whom_the_new_hotpipe_itself_descends(self, tmp_path: Path) -> None:
        """A server that hotpipe ran starts the next hotpipe when the first one has been killed."""
        script = "from hotpipe.process.journal import recover; print([one.pid for one in recover('.')])"
        again = f"""exec 2>/dev/null; echo $$ >>"$PIDS"; while kill -0 $OWNER; do sleep 0.01; done
            {sys.executable} -c "{script}" >said; mv said done; sleep 1000"""

        def act() -> None:
            os.chdir(tmp_path)
            os.environ.update(OWNER=str(os.getpid()), PYTHONPATH=str(Path(__file__).parent.parent))
            spawning(tmp_path, again, LEFT["a program"])()

        with owner(act) as killed:
            server, other = pids(tmp_path, 2)
            kill(killed)
            try:
                until((tmp_path / "done").exists)
                assert (tmp_path / "done").read_text() in {f"[{other}]\n", f"[{server}]\n"}
                assert is_alive(server) != is_alive(other)
            finally:
                for left in (server, other):
                    if is_alive(left):
                        os.killpg(left, signal.SIGKILL)

    def test_not_its_relatives_either_if_it_carries_the_mark_itself(
        self, tmp_path: Path, stranger: psutil.Process
    ) -> None:
        """Whoever started a terminal in a stage once is not to lose all its windows when hotpipe starts in one."""
        its_mark = mark()
        forge(tmp_path, stranger, mark=its_mark, child=1)
        script = "from hotpipe.process.journal import leftovers; print([one.pid for one in leftovers('.')])"

        def found(cookie: str) -> list[int]:
            env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent), COOKIE: cookie}
            done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=env, stdout=-1, check=True)
            return [int(pid) for pid in json.loads(done.stdout)]

        with subprocess.Popen(["sleep", "1000"], env={**os.environ, COOKIE: f"{its_mark}1;"}) as window:
            try:
                assert (found("another.0123456789ab.1;"), found(f"{its_mark}2;")) == ([window.pid], [])
            finally:
                window.kill()

    @given(content=st.binary(max_size=300))
    def test_not_because_of_garbage(self, content: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "spawned-1.json")
            path.write_bytes(content)
            path.chmod(0o600)
            assert (leftovers(folder), recover(folder)) == ([], [])
            assert os.listdir(folder) == []

    @given(cut=st.integers(0, 400), end=st.binary(max_size=5))
    def test_not_because_of_a_journal_that_was_cut_off(self, cut: int, end: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            this = psutil.Process()
            path = forge(Path(folder), this)
            path.write_bytes(path.read_bytes()[:cut] + end)
            assert recover(folder) == []

    def test_a_fifo_or_a_folder_in_its_place_holds_nobody_up(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "spawned-1.json")
        (tmp_path / "spawned-2.json").mkdir()
        assert recover(str(tmp_path)) == []
        assert recover(str(tmp_path / "missing")) == []


class TestJournal:
    def test_is_ours_alone_and_gone_at_the_end(self, tmp_path: Path) -> None:
        journal = Journal(str(tmp_path), "12.abcdef.")
        assert (tmp_path / "spawned-12.abcdef.json").stat().st_mode & 0o777 == 0o600
        journal.close()
        assert os.listdir(tmp_path) == []

    def test_knows_who_is_there_at_each_moment(self, tmp_path: Path, stranger: psutil.Process) -> None:
        journal = Journal(str(tmp_path), "12.abcdef.")

        def noted() -> list[int]:
            line = (tmp_path / "spawned-12.abcdef.json").read_bytes().split(b"\n")[1]
            return [child["pid"] for child in json.loads(line)]

        assert noted() == []
        journal.spawned(os.getpid())
        journal.spawned(stranger.pid)
        assert noted() == [os.getpid(), stranger.pid]
        journal.gone(os.getpid())
        journal.gone(1)
        assert noted() == [stranger.pid]
        journal.close()

    def test_comes_back_when_somebody_removes_it(self, tmp_path: Path, stranger: psutil.Process) -> None:
        """`git clean -dfx`."""
        journal = Journal(str(tmp_path), "12.abcdef.")
        (tmp_path / "spawned-12.abcdef.json").unlink()
        journal.spawned(stranger.pid)
        assert str(stranger.pid) in (tmp_path / "spawned-12.abcdef.json").read_text()
        journal.close()

    def test_without_a_folder_or_without_room_nothing_fails(self, tmp_path: Path) -> None:
        import resource

        def without_room() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
            for folder in (tmp_path, tmp_path / "missing"):
                descriptors = os.listdir("/proc/self/fd")
                journal = Journal(str(folder), "12.abcdef.")
                for _ in range(5):
                    journal.spawned(os.getpid())
                    journal.gone(os.getpid())
                assert os.listdir("/proc/self/fd") == descriptors
                journal.close()
            os._exit(0)

        child = os.fork()
        if not child:
            try:
                without_room()
            finally:
                os._exit(1)
        assert os.waitpid(child, 0)[1] == 0

    def test_that_filled_up_in_the_middle_still_knows_the_mark(self, tmp_path: Path) -> None:
        """Room for the first line only: the children are found by what they carry."""
        import resource

        def short_of_room() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (250, 250))
            spawning(tmp_path, *[LEFT["a program"]] * 8)()

        with owner(short_of_room) as killed:
            left = pids(tmp_path, 8)
            kill(killed)
            assert sorted(left) == sorted(one.pid for one in recover(str(tmp_path)))

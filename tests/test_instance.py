"""One hotpipe per role and project, whatever becomes of the one before. The others here are real processes."""

import errno
import json
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotpipe.errors import AlreadyRunning, HotpipeError
from hotpipe.instance import Role, Running, claim, running
from hotpipe.process import birth

PATIENCE_S = 30.0
NOBODY = 65534
ROLES: tuple[Role, ...] = ("watch", "gate", "serve")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="takes root: it becomes somebody else, or mounts")


class Other:
    """A forked process that runs `act`, and says what came of it."""

    def __init__(self, act: Callable[[], str]) -> None:
        read, write = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            _say(write, act)
        os.close(write)
        self._read = read

    def said(self) -> str:
        """What `act` returned, or the error that it raised."""
        return os.read(self._read, 1 << 16).decode()

    def end(self) -> None:
        os.close(self._read)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def _say(write: int, act: Callable[[], str]) -> None:
    try:
        said = act()
    except BaseException as error:  # noqa: BLE001 - whatever it is, the test wants to see it
        said = f"{type(error).__name__}: {error}"
    os.write(write, said.encode() or b"nothing")
    signal.pause()
    os._exit(0)


KEPT = []  # what a forked process holds until it is killed


def holding(root: Path, role: Role) -> Callable[[], str]:
    def act() -> str:
        KEPT.append(claim(str(root), role))
        return os.path.basename(KEPT[-1].pid_file)

    return act


@contextmanager
def other(act: Callable[[], str]) -> Iterator[Other]:
    process = Other(act)
    try:
        yield process
    finally:
        process.end()


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that other users may enter."""
    folder = Path(tempfile.mkdtemp(prefix="hotpipe-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


class TestRoles:
    @pytest.mark.parametrize("first, second", [(a, b) for a in ROLES for b in ROLES if {a, b} != {"gate", "serve"}])
    def test_a_second_one_is_refused_and_told_who_the_first_is(self, tmp_path: Path, first: Role, second: Role) -> None:
        with other(holding(tmp_path, first)) as holder:
            assert holder.said() == "hotpipe.pid"
            with pytest.raises(AlreadyRunning) as refused:
                claim(str(tmp_path), second)
            assert str(refused.value) == f"hotpipe {first} (pid {holder.pid}) already runs in this project"
            assert (refused.value.hint, refused.value.exit_code) == ("end it with `hotpipe stop`", 1)

    @pytest.mark.parametrize("first, second", [("gate", "serve"), ("serve", "gate")])
    def test_gate_and_serve_go_side_by_side_under_names_of_their_own(
        self, tmp_path: Path, first: Role, second: Role
    ) -> None:
        with other(holding(tmp_path, first)) as holder:
            holder.said()
            with claim(str(tmp_path), second) as beside:
                assert beside.pid_file == f"{tmp_path}/.hotpipe/hotpipe-{second}.pid"
                assert beside.socket == f"{tmp_path}/.hotpipe/control-{second}.sock"
                assert beside.warnings == ()
                assert [(one.pid, one.role) for one in running(str(tmp_path))] == [
                    (holder.pid, first),
                    (os.getpid(), second),
                ]

    def test_watch_is_refused_beside_either_of_two(self, tmp_path: Path) -> None:
        with other(holding(tmp_path, "serve")) as serve, other(holding(tmp_path, "gate")) as gate:
            serve.said(), gate.said()
            with pytest.raises(AlreadyRunning, match=rf"hotpipe gate \(pid {gate.pid}\)"):
                claim(str(tmp_path), "watch")

    def test_the_first_is_named_even_without_its_pid_file(self, tmp_path: Path) -> None:
        with other(holding(tmp_path, "serve")) as holder:
            holder.said()
            (tmp_path / ".hotpipe/hotpipe.pid").unlink()
            with pytest.raises(AlreadyRunning, match=rf"hotpipe serve \(pid {holder.pid}\)"):
                claim(str(tmp_path), "watch")

    @pytest.mark.parametrize("role", ROLES)
    def test_where_the_files_are_removed_it_is_claimed_again(self, tmp_path: Path, role: Role) -> None:
        def act() -> str:
            KEPT.append(held := claim(str(tmp_path), role))
            shutil.rmtree(tmp_path / ".hotpipe")
            (tmp_path / ".hotpipe").mkdir()
            held.restore()
            return os.path.basename(held.pid_file)

        with other(act) as holder:
            assert holder.said() == "hotpipe.pid"
            assert [(one.pid, one.role) for one in running(str(tmp_path))] == [(holder.pid, role)]
            with pytest.raises(AlreadyRunning, match=rf"hotpipe {role} \(pid {holder.pid}\)"):
                claim(str(tmp_path), role)

    def test_who_has_claimed_it_since_keeps_it(self, tmp_path: Path) -> None:
        with claim(str(tmp_path), "gate") as first:
            shutil.rmtree(tmp_path / ".hotpipe")
            with other(holding(tmp_path, "watch")) as second:
                second.said()
                first.restore()
                assert [one.pid for one in running(str(tmp_path))] == [second.pid]

    def test_what_was_not_removed_is_still_held(self, tmp_path: Path) -> None:
        with claim(str(tmp_path), "watch") as held:
            held.restore()
            with other(holding(tmp_path, "watch")) as second:
                assert second.said().startswith("AlreadyRunning")

    def test_two_projects_do_not_know_each_other(self, tmp_path: Path) -> None:
        (tmp_path / "one").mkdir()
        (tmp_path / "two").mkdir()
        with claim(str(tmp_path / "one"), "watch"), claim(str(tmp_path / "two"), "watch") as second:
            assert second.pid_file.endswith("two/.hotpipe/hotpipe.pid")

    def test_when_it_ends_the_next_one_has_it(self, tmp_path: Path) -> None:
        for role in ROLES:
            with claim(str(tmp_path), role) as held:
                assert held.socket == f"{tmp_path}/.hotpipe/control.sock"
        assert os.listdir(tmp_path / ".hotpipe") == ["lock"]


class TestDeath:
    def test_after_sigkill_at_any_moment_the_next_one_has_the_role_and_the_plain_names(self, tmp_path: Path) -> None:
        def again_and_again() -> str:
            os.write(started, b"x")
            while True:
                claim(str(tmp_path), random.choice(ROLES)).close()

        for _ in range(40):
            read, started = os.pipe()
            with other(again_and_again):
                os.read(read, 1)
                time.sleep(random.uniform(0, 0.003))  # the moment is what varies; nothing waits for it
            os.close(read), os.close(started)
            with claim(str(tmp_path), "watch") as held:
                assert os.path.basename(held.pid_file) == "hotpipe.pid"
                assert [one.pid for one in running(str(tmp_path))] == [os.getpid()]
            assert set(os.listdir(tmp_path / ".hotpipe")) <= {"lock", "hotpipe.pid.tmp"}

    def test_what_a_killed_one_left_under_a_roles_names_goes_with_the_role(self, tmp_path: Path) -> None:
        folder = tmp_path / ".hotpipe"
        folder.mkdir()
        for name in ("hotpipe-gate.pid", "control-gate.sock", "hotpipe-serve.pid", "control-serve.sock"):
            (folder / name).touch()
        with claim(str(tmp_path), "gate"):
            assert {"hotpipe-serve.pid", "control-serve.sock"} == {n for n in os.listdir(folder) if "-" in n}
        with claim(str(tmp_path), "watch"):
            assert not [name for name in os.listdir(folder) if "-" in name]

    def test_of_fifty_at_once_exactly_one_wins_and_all_others_name_it(self, tmp_path: Path) -> None:
        read, write = os.pipe()

        def at_the_signal() -> str:
            os.close(write)
            os.read(read, 1)
            return holding(tmp_path, "watch")()

        crowd = [Other(at_the_signal) for _ in range(50)]
        os.close(read), os.close(write)
        try:
            said = {process.pid: process.said() for process in crowd}
        finally:
            for process in crowd:
                process.end()
        [winner] = [pid for pid, word in said.items() if word == "hotpipe.pid"]
        del said[winner]
        assert set(said.values()) == {f"AlreadyRunning: hotpipe watch (pid {winner}) already runs in this project"}


class TestPidFile:
    def test_says_pid_start_role_and_boot_and_is_only_ours_to_read(self, tmp_path: Path) -> None:
        with claim(str(tmp_path), "gate") as held:
            said = json.loads(Path(held.pid_file).read_text())
            fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
            assert said["pid"] == os.getpid()
            assert said["start"] == int(fields[19])
            assert said["role"] == "gate"
            assert said["boot"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
            assert stat.S_IMODE(os.stat(held.pid_file).st_mode) == 0o600
            assert stat.S_IMODE((tmp_path / ".hotpipe/lock").stat().st_mode) == 0o600

    def test_is_left_alone_at_the_end_if_it_is_no_longer_ours(self, tmp_path: Path) -> None:
        with claim(str(tmp_path), "gate") as held:
            Path(held.pid_file).write_text("somebody else's")
        assert Path(held.pid_file).read_text() == "somebody else's"

    @pytest.mark.parametrize(
        "change", [{"start": 1}, {"boot": "another"}, {"space": "pid:[1]"}, {"pid": 2**22 + 1}], ids=str
    )
    def test_of_a_process_that_has_gone_counts_for_nothing(self, tmp_path: Path, change: dict[str, object]) -> None:
        with claim(str(tmp_path), "watch") as held:
            mine = running(str(tmp_path))[0]
            Path(held.pid_file).write_bytes(msgspec.json.encode(msgspec.structs.replace(mine, **change)))
            assert running(str(tmp_path)) == []

    def test_of_a_zombie_counts_for_nothing(self, tmp_path: Path) -> None:
        with subprocess.Popen(["true"]) as process:
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            assert birth.Birth.of(process.pid) is None

    @given(content=st.binary(max_size=200) | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(repr))
    def test_with_any_other_content_counts_for_nothing(self, content: bytes | str) -> None:
        with tempfile.TemporaryDirectory() as root:
            os.mkdir(f"{root}/.hotpipe")
            Path(root, ".hotpipe/hotpipe.pid").write_bytes(content if isinstance(content, bytes) else content.encode())
            assert running(root) == []

    def test_that_is_a_fifo_or_a_folder_holds_nobody_up(self, tmp_path: Path) -> None:
        (tmp_path / ".hotpipe/hotpipe-gate.pid").mkdir(parents=True)
        os.mkfifo(tmp_path / ".hotpipe/hotpipe.pid")
        assert running(str(tmp_path)) == []


class TestWithout:
    """No traceback: an error that names the way out, or a warning where hotpipe can go on."""

    def test_a_file_in_the_folders_place(self, tmp_path: Path) -> None:
        (tmp_path / ".hotpipe").touch()
        with pytest.raises(HotpipeError, match=r"cannot open .*/\.hotpipe/lock: ") as refused:
            claim(str(tmp_path), "watch")
        assert "something else stands in its place" in refused.value.hint

    @as_root
    def test_a_lock_of_another_user_names_that_one(self, shared: Path) -> None:
        claim(str(shared), "watch").close()

        def as_nobody() -> str:
            os.setuid(NOBODY)
            with pytest.raises(HotpipeError) as refused:
                claim(str(shared), "watch")
            return f"{refused.value}\n{refused.value.hint}"

        with other(as_nobody) as process:
            assert process.said() == (
                f"cannot open {shared}/.hotpipe/lock: Permission denied\n"
                "it belongs to root: make it writable for this user, or run hotpipe as that one"
            )

    @as_root
    def test_a_folder_that_may_not_be_written_is_a_warning(self, shared: Path) -> None:
        def as_nobody() -> str:
            os.setuid(NOBODY)
            held = claim(str(shared), "serve")
            return f"{held.socket} {[(warning.code, warning.hint) for warning in held.warnings]}"

        with other(as_nobody) as process:
            hint = "it belongs to root: make it writable for this user, or run hotpipe as that one"
            assert process.said() == f"None {[('lock.unavailable', hint)]}"

    @as_root
    @pytest.mark.parametrize(
        "options, code", [("ro", "lock.unavailable"), ("size=4k", "pid_file.unwritable")], ids=["read-only", "full"]
    )
    def test_a_disk_that_takes_nothing_is_a_warning(self, tmp_path: Path, options: str, code: str) -> None:
        script = f"mount -t tmpfs -o {options} none {tmp_path} && cd {tmp_path} && {{ yes >rest || :; }} 2>/dev/null"
        claims = "from hotpipe.instance import claim; print([w.code for w in claim('.', 'watch').warnings])"
        done = subprocess.run(
            ["unshare", "-m", "sh", "-c", f'{script}; exec "$0" -c "$1"', sys.executable, claims],
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
        )
        if "unshare" in done.stderr or "mount" in done.stderr:
            pytest.skip(f"cannot mount here: {done.stderr.strip()}")
        assert (done.stdout, done.stderr) == (f"['{code}']\n", "")

    def test_a_quota_that_is_used_up_is_a_warning(self, tmp_path: Path) -> None:
        import resource

        def without_room() -> str:
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
            held = claim(str(tmp_path), "watch")
            return f"{[warning.code for warning in held.warnings]} {os.listdir(tmp_path / '.hotpipe')}"

        with other(without_room) as process:
            assert process.said() == "['pid_file.unwritable'] ['lock']"

    def test_a_file_system_without_locks_is_a_warning(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def unknown(*_: object) -> None:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

        monkeypatch.setattr("fcntl.lockf", unknown)  # there is no such file system to be had in a test
        with claim(str(tmp_path), "watch") as held:
            assert [warning.code for warning in held.warnings] == ["lock.unavailable"]
            assert "No locks available" in held.warnings[0].message
            assert isinstance(running(str(tmp_path))[0], Running)


@contextmanager
def asleep() -> Iterator[tuple[subprocess.Popen[bytes], birth.Birth]]:
    with subprocess.Popen(["sleep", "1000"]) as process:
        try:
            alive = birth.Birth.of(process.pid)
            assert alive is not None
            yield process, alive
        finally:
            process.kill()


class TestBirth:
    def test_waits_for_the_end_of_that_very_process(self) -> None:
        with asleep() as (_, alive):
            assert not alive.wait(0.01)
            assert alive.send(signal.SIGTERM)
            assert alive.wait(PATIENCE_S)
            assert not alive.send(signal.SIGTERM)

    def test_signals_nobody_who_has_only_the_number(self) -> None:
        with asleep() as (process, alive):
            assert not msgspec.structs.replace(alive, start=alive.start - 1).send(signal.SIGKILL)
            assert process.poll() is None

"""The trigger: replaced in one step or not at all, and read with tolerance whatever somebody put there."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotpipe import trigger
from hotpipe.errors import TriggerError
from hotpipe.trigger import Prepared, Record, mark, read, write

RECORD = Record(run=12, tree="abc", server="web", changed=("app.py",), at="2026-01-02T03:04:05.678Z")
LINE = b'{"v":1,"run":12,"tree":"abc","server":"web","changed":["app.py"],"at":"2026-01-02T03:04:05.678Z"}\n'
NOBODY = 65_534


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / ".trigger")


@pytest.fixture(params=["a real one", "/dev/full"])
def full_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A disk with room for the old trigger alone; /dev/full says the same where mounting is not allowed."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", disk]
    mounted = request.param == "a real one" and not subprocess.run(mount, check=False, capture_output=True).returncode
    (disk / ".trigger").write_bytes(LINE)
    if not mounted:
        (disk / f".trigger.{os.getpid()}.tmp").symlink_to("/dev/full")
    yield disk
    if mounted:
        subprocess.run(["umount", disk], check=True)


def files(path: str) -> list[str]:
    return sorted(os.listdir(os.path.dirname(path)))


class TestWriting:
    def test_it_is_one_line_of_json_as_the_contract_says(self, path: str) -> None:
        write(path, RECORD)
        assert Path(path).read_bytes() == LINE

    def test_what_is_written_is_read_back(self, path: str) -> None:
        write(path, RECORD)
        assert read(path) == (RECORD, "")

    def test_it_is_replaced_and_never_changed_in_place(self, path: str) -> None:
        write(path, Record(run=1))
        with open(path, "rb") as old:
            write(path, RECORD)
            assert json.loads(old.read())["run"] == 1  # who has the old one open still reads all of it
        assert read(path).record == RECORD

    def test_nothing_is_left_beside_it(self, path: str) -> None:
        write(path, RECORD)
        assert files(path) == [".trigger"]

    def test_until_it_is_committed_the_old_one_stands(self, path: str) -> None:
        write(path, Record(run=1))
        prepared = Prepared(path, RECORD)
        assert read(path).record == Record(run=1)
        prepared.discard()
        assert (read(path).record, files(path)) == (Record(run=1), [".trigger"])

    def test_discarding_after_the_commit_takes_nothing_back(self, path: str) -> None:
        prepared = Prepared(path, RECORD)
        prepared.commit()
        prepared.discard()
        assert read(path).record == RECORD

    def test_the_time_is_utc_in_rfc_3339_with_milliseconds(self) -> None:
        assert len(trigger.now()) == len("2026-01-02T03:04:05.678Z")
        assert trigger.now().endswith("Z")


class TestFailing:
    """A trigger that cannot be written stays as it was, and nothing is left behind."""

    def test_a_folder_in_its_place(self, path: str) -> None:
        os.makedirs(f"{path}/in")
        with pytest.raises(TriggerError) as raised:
            write(path, RECORD)
        assert raised.value.message == f"cannot write the trigger {path}: Is a directory"
        assert raised.value.hint == f"a folder stands in its place: remove {path}"
        assert (files(path), os.listdir(path)) == ([".trigger"], ["in"])

    def test_a_folder_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(TriggerError, match="No such file or directory"):
            write(str(tmp_path / "gone/.trigger"), RECORD)

    def test_a_full_disk(self, full_disk: Path) -> None:
        with pytest.raises(TriggerError) as raised:
            write(str(full_disk / ".trigger"), Record(changed=("x" * 5000,)))
        assert "No space left on device" in raised.value.message
        assert raised.value.hint == "free some space on that disk; hotpipe tries again each second"
        assert os.listdir(full_disk) == [".trigger"]
        assert (full_disk / ".trigger").read_bytes() == LINE

    def test_a_limit_on_file_sizes(self, path: str) -> None:
        write(path, RECORD)
        said = elsewhere(path, "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (5, 5))")
        assert said == "cannot write the trigger .trigger: File too large\n\n"
        assert (Path(path).read_bytes(), files(path)) == (LINE, [".trigger"])

    def test_no_permission(self, path: str) -> None:
        write(path, RECORD)
        os.chmod(os.path.dirname(path), 0o555)
        leave_root = f"os.setgroups([]), os.setgid({NOBODY}), os.setuid({NOBODY})"
        said = elsewhere(path, f"import os; os.getuid() or ({leave_root})")
        os.chmod(os.path.dirname(path), 0o755)
        assert said == "cannot write the trigger .trigger: Permission denied\nmake . writable for this user\n"
        assert (Path(path).read_bytes(), files(path)) == (LINE, [".trigger"])


def elsewhere(path: str, first: str) -> str:
    """What a write says in another process that has done `first`; as it leaves root, it imports all it needs before."""
    script = f"""
from hotpipe import trigger
from hotpipe.errors import TriggerError
{first}
try:
    trigger.write(".trigger", trigger.Record(run=99))
except TriggerError as error:
    print(error.message, error.hint, sep="\\n")
"""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{script}"],
        cwd=os.path.dirname(path),
        env={**os.environ, "PYTHONPATH": str(Path(trigger.__file__).parent.parent)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout


class TestReading:
    """Whatever stands there is a request to restart, so nothing of it may raise."""

    @pytest.mark.parametrize("content", [b"", b"\n", b" \t\r\n"])
    def test_empty_is_a_plain_touch(self, path: str, content: bytes) -> None:
        Path(path).write_bytes(content)
        assert read(path) == (None, "")

    @pytest.mark.parametrize(
        "content",
        [
            b"restart please",
            b"\x00" * 64,
            bytes(range(256)),
            b"\xff\xfe{}",
            b"null",
            b"[]",
            b"3",
            b'"x"',
            LINE[:-10],
            LINE + LINE,
            b'{"run":"12"}',
            b'{"tree":7}',
            b'{"changed":"app.py"}',
            b'{"tree":"\xff"}',
            b'{"tree":"\\ud800"}',
            b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
            b"{" * 1_000_000,
        ],
        ids=lambda content: repr(content[:20]),
    )
    def test_garbage_is_a_touch_with_a_fault(self, path: str, content: bytes) -> None:
        Path(path).write_bytes(content)
        record, fault = read(path)
        assert record is None
        assert fault.startswith("holds no record: ")

    @given(st.binary(max_size=60) | st.binary(max_size=9).map(lambda noise: LINE[:20] + noise + LINE[20:]))
    def test_no_bytes_raise(self, tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
        path = tmp_path_factory.getbasetemp() / "bytes"
        path.write_bytes(content)
        record, fault = read(str(path))
        assert record is None or not fault

    def test_a_huge_file_is_not_read_to_its_end(self, path: str) -> None:
        with open(path, "wb") as file:
            file.truncate(1 << 40)  # sparse
        assert read(path).fault.startswith("holds no record: ")

    def test_a_folder_in_its_place(self, path: str) -> None:
        os.mkdir(path)
        assert read(path) == (None, "cannot be read: Is a directory")

    def test_no_file_at_all(self, path: str) -> None:
        assert read(path) == (None, "cannot be read: No such file or directory")

    def test_a_fifo_in_its_place_holds_up_nobody(self, path: str) -> None:
        os.mkfifo(path)
        assert read(path) == (None, "")
        writer = os.open(path, os.O_RDWR)
        assert read(path) == (None, "")
        os.close(writer)

    @pytest.mark.parametrize(
        "content, record",
        [
            (b"{}", Record()),
            (b'{"v":1,"run":3,"tree":null}', Record(run=3)),
            (b'{"tree":"abc","added":{"later":[1,2]}}', Record(tree="abc")),
            (b'{"v":2,"tree":"abc"}', Record(v=2, tree="abc")),
            (b'\n\n  {"tree":"abc"}  \r\n', Record(tree="abc")),
        ],
    )
    def test_what_is_missing_more_or_newer_does_not_matter(self, path: str, content: bytes, record: Record) -> None:
        Path(path).write_bytes(content)
        assert read(path) == (record, "")


class TestMark:
    def test_no_file_has_none(self, path: str) -> None:
        assert mark(path) is None

    def test_reading_leaves_it(self, path: str) -> None:
        write(path, RECORD)
        before = mark(path)
        read(path)
        assert mark(path) == before

    def test_touch_changes_it(self, path: str) -> None:
        write(path, RECORD)
        os.utime(path, (1, 1))
        before = mark(path)
        subprocess.run(["touch", path], check=True)
        assert mark(path) != before

    def test_writing_the_same_again_changes_it(self, path: str) -> None:
        write(path, RECORD)
        before = mark(path)
        write(path, RECORD)
        assert mark(path) != before

"""The log files: complete, bounded, and no trouble to anybody; and `hotpipe logs`, which shows them."""

import errno
import json
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from gating import project
from running import HOTPIPE, INTERRUPTED, PATIENCE_S, Start, environment

from hotpipe.bus import FOR_ALL, Bus
from hotpipe.events import (
    Address,
    AnyEvent,
    ServerFailed,
    ServerLive,
    ServerOutput,
    ServerStarting,
    StageFinished,
    StageOutput,
    StageStarted,
    Stamp,
    Stamped,
    Warned,
)
from hotpipe.logs import write
from hotpipe.logs.line import Line, Source, parsed, sources
from hotpipe.logs.read import Log, Reader
from hotpipe.logs.record import AGAIN_S, Logs, keep

WEB, LINT = Source("server", "web"), Source("stage", "lint")
TIME = "2026-01-02T03:04:05.678Z"


def stamped(*events: AnyEvent, time: str = TIME) -> list[Stamped]:
    return [Stamped(Stamp(seq=seq, time=time, mono=1.0), event) for seq, event in enumerate(events, 1)]


def said(text: str, server: str = "web") -> ServerOutput:
    return ServerOutput(server=server, generation=3, stream="stdout", text=text)


_open: list[Log | Reader] = []


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    while _open:
        _open.pop().close()


def opened(folder: Path, source: Source = WEB) -> Log:
    _open.append(log := Log(str(folder), source))
    return log


def reader(folder: Path) -> Reader:
    _open.append(found := Reader(str(folder), None))
    return found


def text(line: Line) -> str:
    return line.text


def texts(folder: Path, source: Source = WEB) -> list[str]:
    return list(map(text, opened(folder, source).lines()))


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class TestLines:
    def test_a_log_is_readable_by_itself(self, tmp_path: Path) -> None:
        over = StageFinished(run=12, stage="lint", status="failed", exit_code=1, took_ms=1230.0)
        Logs(str(tmp_path)).write(
            stamped(
                StageStarted(run=12, stage="lint", command="ruff\ncheck"),
                StageOutput(run=12, stage="lint", stream="stderr", text="a.py:1:1: wrong"),
                over,
            )
        )
        assert (tmp_path / "stage-lint.log").read_text() == (
            f"{TIME} 12 --- started: ruff check\n"
            f"{TIME} 12 err a.py:1:1: wrong\n"
            f"{TIME} 12 --- failed after 1.23 s: exit status 1\n"
        )

    def test_what_becomes_of_a_generation_stands_between_its_lines(self, tmp_path: Path) -> None:
        sockets = (Address("http", "127.0.0.1:8000"),)
        Logs(str(tmp_path)).write(
            stamped(
                ServerStarting(server="web", generation=3, pid=42, tree="0123456789abcdef"),
                said("hello"),
                ServerLive(server="web", generation=3, pid=42, sockets=sockets, took_ms=120.0),
                ServerFailed(server="web", generation=4, reason="exit status 1", serving=3),
            )
        )
        assert texts(tmp_path) == [
            "starting: pid 42, tree 0123456789ab",
            "hello",
            "live after 0.12 s: http 127.0.0.1:8000",
            "failed: exit status 1",
        ]

    def test_what_is_told_again_of_an_earlier_run_is_not_written_again(self, tmp_path: Path) -> None:
        cached = StageFinished(run=2, stage="lint", status="cached", exit_code=0, took_ms=0.0, why="as in run 1")
        Logs(str(tmp_path)).write(
            stamped(StageOutput(run=2, stage="lint", stream="stdout", text="of an earlier run"), cached)
        )
        assert texts(tmp_path, LINT) == ["cached: as in run 1"]

    @pytest.mark.parametrize("text", ["", "a b", "\t", "\x1b[31mred", "\r\x00\x85\u2028", "💥", "--- not ours"])
    def test_any_text_comes_back_as_it_was(self, text: str) -> None:
        line = Line(TIME, 3, "err", text)
        assert line.written().count(b"\n") == 1
        assert parsed(line.written()[:-1]) == line

    @pytest.mark.parametrize("raw", [b"", b"what?", b"\xff\xfe", b"2026-01-02T03:04:05.678Z x out y"])
    def test_a_line_of_somebody_else_is_shown_as_it_is(self, raw: bytes) -> None:
        assert parsed(raw).text == raw.decode(errors="replace")

    def test_names_are_told_from_rotations_of_others(self, tmp_path: Path) -> None:
        for file in (
            "stage-x.log",
            "stage-x.log.1",
            "stage-x.log.1.log",
            "server-x.log.2",
            "hotpipe.log",
            "stage-.log",
        ):
            (tmp_path / file).touch()
        assert list(map(str, sources(str(tmp_path)))) == ["server:x", "stage:x", "stage:x.log.1"]


class TestRotation:
    def test_no_file_is_larger_than_it_may_be_and_no_line_is_torn_or_lost(self, tmp_path: Path) -> None:
        path = str(tmp_path / "server-web.log")
        lines = [b"%04d %s\n" % (number, b"x" * (number % 17)) for number in range(100)]
        for start in range(0, 100, 7):
            assert write.append(path, b"".join(lines[start : start + 7]), largest=250) is None
        files = [path + suffix for suffix in (".3", ".2", ".1", "")]
        kept = b"".join(Path(file).read_bytes() for file in files)
        assert b"".join(lines).endswith(kept)
        assert len(kept) > 700
        assert all(os.path.getsize(file) <= 250 for file in files)
        assert len(os.listdir(tmp_path)) == 4

    def test_a_line_larger_than_a_file_has_a_file_of_its_own(self, tmp_path: Path) -> None:
        path = str(tmp_path / "server-web.log")
        write.append(path, b"a\n" + b"b" * 100 + b"\nc\n", largest=10)
        assert [Path(path + suffix).read_bytes()[:2] for suffix in (".2", ".1", "")] == [b"a\n", b"bb", b"c\n"]

    def test_one_that_has_grown_too_large_is_rotated_when_it_is_opened(self, tmp_path: Path) -> None:
        path = tmp_path / "server-web.log"
        path.write_bytes(b"old\n" * 10)
        write.append(str(path), b"new\n", largest=10)
        assert path.read_bytes() == b"new\n"

    def test_it_is_for_its_owner_alone(self, tmp_path: Path) -> None:
        before = os.umask(0)
        try:
            write.append(str(tmp_path / "logs" / "server-web.log"), b"x\n")
        finally:
            os.umask(before)
        assert stat.S_IMODE(os.stat(tmp_path / "logs" / "server-web.log").st_mode) == 0o600


class TestFaults:
    """It never raises, one warning says so, and it goes on as soon as it can."""

    def test_a_folder_that_is_removed_is_made_again(self, tmp_path: Path) -> None:
        logs = Logs(str(tmp_path / "logs"))
        logs.write(stamped(said("one")))
        (tmp_path / "logs" / "server-web.log").unlink()
        (tmp_path / "logs").rmdir()
        assert logs.write(stamped(said("two"))) == []
        assert texts(tmp_path / "logs") == ["two"]

    @pytest.mark.parametrize("obstacle", ["folder", "fifo", "file above"])
    def test_something_else_in_its_place(self, tmp_path: Path, obstacle: str) -> None:
        folder, clock = tmp_path / "logs", Clock()
        blocked = folder if obstacle == "file above" else folder / "server-web.log"
        blocked.parent.mkdir(exist_ok=True)
        {"folder": blocked.mkdir, "fifo": lambda: os.mkfifo(blocked), "file above": blocked.touch}[obstacle]()
        logs = Logs(str(folder), clock)
        (warning,) = logs.write(stamped(said("one"), said("two")))
        assert (warning.code, "cannot write" in warning.message) == ("log.unwritable", True)
        assert logs.write(stamped(said("three"))) == []
        blocked.rmdir() if obstacle == "folder" else blocked.unlink()
        assert logs.write(stamped(said("four"))) == []  # too soon
        clock.now += AGAIN_S + 1
        logs.write(stamped(said("five")))
        assert texts(folder) == ["4 lines before this could not be written", "five"]

    def test_nothing_is_added_to_what_a_link_leads_to(self, tmp_path: Path) -> None:
        (tmp_path / "mine").write_text("mine")
        (tmp_path / "server-web.log").symlink_to("mine")
        (warning,) = Logs(str(tmp_path)).write(stamped(said("one")))
        assert (warning.code, (tmp_path / "mine").read_text()) == ("log.unwritable", "mine")

    def test_one_that_cannot_be_written_is_no_reason_not_to_write_another(self, tmp_path: Path) -> None:
        (tmp_path / "server-web.log").mkdir()
        Logs(str(tmp_path)).write(stamped(said("one"), said("two", server="api")))
        assert texts(tmp_path, Source("server", "api")) == ["two"]

    def test_a_full_disk_tears_no_line(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        room, really = [20], os.write

        def short_of_room(descriptor: int, text: bytes) -> int:
            if not room[0]:
                raise OSError(errno.ENOSPC, "No space left on device")
            written = really(descriptor, text[: room[0]])
            room[0] -= written
            return written

        path = str(tmp_path / "server-web.log")
        write.append(path, b"before\n")
        monkeypatch.setattr(os, "write", short_of_room)
        unwritten = write.append(path, b"one\n" * 10)
        assert unwritten is not None
        assert (unwritten.rest, unwritten.error.errno) == (b"one\n" * 10, errno.ENOSPC)
        assert Path(path).read_bytes() == b"before\n"

    @pytest.mark.anyio
    async def test_what_comes_too_fast_for_the_disk_is_counted_in_the_log(self, tmp_path: Path) -> None:
        bus = Bus()
        inbox = bus.subscribe(FOR_ALL._replace(lines=10))
        for number in range(15):
            bus.emit(said(str(number)))
        bus.close()
        await keep(str(tmp_path), inbox, bus.emit)
        *lines, last = texts(tmp_path / ".hotpipe" / "logs")
        assert (lines, last) == (
            [*map(str, range(10))],
            "5 lines of output came too fast to show, here or in another log",
        )

    @pytest.mark.anyio
    async def test_a_burst_that_faces_lose_is_written_whole(self, tmp_path: Path) -> None:
        bus = Bus()
        inbox = bus.subscribe(FOR_ALL)
        for number in range(150_000):
            bus.emit(said(str(number)))
        bus.close()
        with anyio.fail_after(PATIENCE_S):
            await keep(str(tmp_path), inbox, bus.emit)
        assert texts(tmp_path / ".hotpipe" / "logs")[-1] == "149999"

    def test_its_own_warning_is_no_line(self, tmp_path: Path) -> None:
        Logs(str(tmp_path)).write(stamped(Warned(code="log.unwritable", message="x")))
        assert os.listdir(tmp_path) == []


class TestReading:
    def fill(self, folder: Path, count: int, source: Source = WEB, second: int = 0) -> None:
        for number in range(count):
            line = Line(f"2026-01-02T03:04:{second + number:02d}.000Z", 1, "out", f"{source.name} {number}")
            write.append(str(folder / source.file), line.written(), largest=200)

    def test_the_last_lines_reach_over_rotations(self, tmp_path: Path) -> None:
        self.fill(tmp_path, 12)
        assert [line.text for line in opened(tmp_path).last(10)] == [f"web {n}" for n in range(2, 12)]

    def test_several_are_merged_by_time(self, tmp_path: Path) -> None:
        self.fill(tmp_path, 3)
        self.fill(tmp_path, 2, LINT, second=1)
        told = [line.text for _, line in reader(tmp_path).last(10)]
        assert [text for text in told if "web" in text] == ["web 0", "web 1", "web 2"]
        assert told[0] == "web 0"
        assert told[-1] in ("web 2", "lint 1")
        assert len(reader(tmp_path).last(2)) == 2

    def test_a_follower_misses_nothing_and_sees_nothing_twice(self, tmp_path: Path) -> None:
        """Whatever happens between two looks: lines, several rotations, all of it gone."""
        log, seen = opened(tmp_path), list[str]()
        path = str(tmp_path / WEB.file)
        for number in range(200):
            write.append(path, Line(TIME, 1, "out", str(number)).written(), largest=100)
            if number % 5 in (0, 3):  # at most three files since the last look
                seen += [line.text for line in log.lines()]
            if number == 100:
                for file in tmp_path.iterdir():
                    file.unlink()
        seen += [line.text for line in log.lines()]
        assert seen == [str(number) for number in range(200)]

    def test_a_follower_that_has_begun_with_the_last_lines_goes_on_after_them(self, tmp_path: Path) -> None:
        self.fill(tmp_path, 7)
        both = reader(tmp_path)
        last = both.last(2)
        self.fill(tmp_path, 2, LINT)
        assert [line.text for _, line in (*last, *both.lines())] == ["web 5", "web 6", "lint 0", "lint 1"]

    def test_one_that_was_emptied_is_read_from_its_beginning(self, tmp_path: Path) -> None:
        log, path = opened(tmp_path), tmp_path / WEB.file
        path.write_text("one\ntwo\n")
        assert [line.text for line in log.lines()] == ["one", "two"]
        os.truncate(path, 0)
        assert [line.text for line in log.lines()] == []
        path.write_text("three\n")
        assert [line.text for line in log.lines()] == ["three"]


# With everything real.

COUNTING = """
import socket
for number in range(50_000): print(f"{number:05d}", "x" * 150)
print("up", flush=True)
listening = socket.socket(fileno=3)
while True: listening.accept()[0].close()
"""
SPEAKING = """
import socket
print("\\x1b[31mred", flush=True)
listening = socket.socket(fileno=3)
while True: listening.accept()[0].close()
"""
CONFIG = """
[stage.lint]
run = "cat word"
[server.web]
run = ["{python}", "count.py"]
listen = ["http::0"]
stop_timeout = "1s"
"""


def logs(folder: Path, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [*HOTPIPE, "logs", *arguments]
    options = {"capture_output": True, "env": environment()} | options
    return subprocess.run(command, cwd=folder, text=True, timeout=PATIENCE_S, check=False, **options)


@pytest.fixture
def counting(tmp_path: Path) -> Path:
    config = CONFIG.format(python=sys.executable)
    return project(tmp_path, config, {"count.py": COUNTING, "word": "good\n"})


def test_fifty_thousand_lines_at_once_are_all_there_and_in_order(counting: Path, start: Start) -> None:
    """Also over a rotation: they are 9 MB."""
    hotpipe = start(counting, "serve")
    hotpipe.until("server.ready")  # which no face loses, as it may lose lines
    hotpipe.interrupt()
    shown = logs(counting, "web", "-n", "all").stdout.splitlines()
    assert [line[:5] for line in shown if line.endswith("x")] == [f"{number:05d}" for number in range(50_000)]
    assert (counting / ".hotpipe/logs/server-web.log.1").exists()


def test_the_output_of_a_daemon_is_bounded_as_well(counting: Path) -> None:
    own = counting / ".hotpipe/logs/hotpipe.log"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"old\n" * (write.LARGEST // 4 + 1))
    run = partial(subprocess.run, cwd=counting, env=environment(), check=True, timeout=PATIENCE_S, capture_output=True)
    run([*HOTPIPE, "gate", "--daemon"])
    run([*HOTPIPE, "wait"])
    (counting / "word").write_text("second")
    run([*HOTPIPE, "wait"])
    run([*HOTPIPE, "stop"])
    assert "run 2" in own.read_text()
    assert own.stat().st_size < 10_000
    assert own.with_name("hotpipe.log.1").read_text().startswith("old\n")


def test_a_daemon_leaves_the_output_that_another_one_has_rotated(tmp_path: Path) -> None:
    own = tmp_path / "hotpipe.log"
    other = (
        "import os, sys; from hotpipe.logs import record; os.rename(*sys.argv[1:3]); record.bound_output(sys.argv[1])"
    )
    with own.open("a") as output:
        command = (sys.executable, "-c", f"{other}; print('here')", str(own), f"{own}.1")
        subprocess.run(command, stdout=output, env=environment(), check=True, timeout=PATIENCE_S)
    assert own.read_text() == "here\n"


class Following:
    """`hotpipe logs -f`, and what it prints."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        command = [*HOTPIPE, "logs", "-f", *arguments]
        self.process = subprocess.Popen(command, cwd=folder, env=environment(), stdout=subprocess.PIPE, text=True)
        self._watchdog = threading.Timer(PATIENCE_S, self.process.kill)
        self._watchdog.start()

    def until(self, part: str) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if part in line:
                return
        pytest.fail(f"it ended without {part}")

    def close(self) -> None:
        self._watchdog.cancel()
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


@pytest.fixture
def follow() -> Iterator[Callable[..., Following]]:
    started: list[Following] = []

    def begin(folder: Path, *arguments: str) -> Following:
        started.append(Following(folder, *arguments))
        return started[-1]

    yield begin
    for each in started:
        each.close()


class TestLogs:
    def test_shows_all_by_time_behind_names_also_when_hotpipe_has_ended(self, counting: Path, start: Start) -> None:
        (counting / "count.py").write_text(SPEAKING)
        hotpipe = start(counting, "watch")
        hotpipe.until("server.verified")
        hotpipe.interrupt()
        shown = logs(counting)
        assert shown.returncode == 0
        lines = shown.stdout.splitlines()
        assert "web  | red" in lines
        assert "lint | good" in lines
        assert any(line.startswith("lint | --- run 1 started: cat word") for line in lines)
        assert any(line.startswith("web  | --- generation 1 verified: tree ") for line in lines)
        assert "\x1b" not in shown.stdout

    def test_of_one_alone_without_its_name(self, counting: Path) -> None:
        write.append(str(counting / ".hotpipe/logs/stage-lint.log"), Line(TIME, 1, "out", "good").written())
        assert logs(counting, "lint").stdout == "good\n"
        assert logs(counting, "lint", "-t").stdout == f"{TIME} good\n"
        assert json.loads(logs(counting, "lint", "--json").stdout) == {
            "stage": "lint", "time": TIME, "number": 1, "mark": "out", "text": "good"
        }  # fmt: skip

    def test_an_ambiguous_name_means_both(self, counting: Path) -> None:
        for kind in ("stage", "server"):
            file = counting / f".hotpipe/logs/{kind}-x.log"
            write.append(str(file), Line(TIME, 1, "out", f"of a {kind}").written())
        assert sorted(logs(counting, "x").stdout.splitlines()) == ["server:x | of a server", "stage:x  | of a stage"]
        assert logs(counting, "stage:x").stdout == "of a stage\n"

    def test_an_unknown_name_is_an_error_that_knows_the_nearest(self, counting: Path) -> None:
        wrong = logs(counting, "lnit")
        assert wrong.returncode == 2
        assert "there is no stage and no server 'lnit'; did you mean 'lint'?; there are lint, web" in wrong.stderr

    def test_nothing_written_yet_is_nothing_to_show(self, counting: Path) -> None:
        assert (logs(counting, "lint").stdout, logs(counting).stdout) == ("", "")

    @pytest.mark.parametrize("colour", [True, False])
    def test_colours_where_they_are_wanted(self, counting: Path, colour: bool) -> None:
        write.append(str(counting / ".hotpipe/logs/stage-lint.log"), Line(TIME, 1, "out", "\x1b[31mred").written())
        wanted = environment() | ({"FORCE_COLOR": "1"} if colour else {"FORCE_COLOR": "1", "NO_COLOR": "1"})
        expected = "\x1b[36mlint |\x1b[0m \x1b[31mred\x1b[0m\n" if colour else "lint | red\n"
        assert logs(counting, env=wanted).stdout == expected

    def test_following_goes_on_over_another_hotpipe_until_ctrl_c(
        self, counting: Path, start: Start, follow: Callable[..., Following]
    ) -> None:
        following = follow(counting)
        for word in ("first", "second"):
            (counting / "word").write_text(f"{word}\n")
            hotpipe = start(counting, "gate")
            following.until(f"lint | {word}")
            hotpipe.interrupt()
        following.process.send_signal(signal.SIGINT)
        assert following.process.wait(PATIENCE_S) == INTERRUPTED

    def test_following_ends_quietly_when_nobody_reads(self, counting: Path) -> None:
        write.append(str(counting / ".hotpipe/logs/stage-lint.log"), Line(TIME, 1, "out", "good").written())
        command = f"{' '.join(HOTPIPE)} logs -f | head -n1; echo ${{PIPESTATUS[0]}}"
        done = subprocess.run(
            ["bash", "-c", command],
            check=False,
            cwd=counting,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        assert (done.stdout, done.stderr) == ("lint | good\n0\n", "")

"""The whole program, as a user runs it: in processes of its own, on real servers, in a terminal."""

import http.client
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import textwrap
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from running import HOTPIPE, PATIENCE_S, Hotpipe, Start, environment, is_alive
from terminal import Tmux, closed, needs_tmux

TESTS = Path(__file__).parent
PROJECTS = TESTS / "projects"
REPOSITORY = TESTS.parent
PYTHON = f"{sys.executable} -I -S"  # starts in 20 ms
INTERRUPTED = 130


def get(addr: str, path: str = "/") -> str:
    with urllib.request.urlopen(f"http://{addr}{path}", timeout=PATIENCE_S) as answer:
        return answer.read().decode()


def address(live: dict[str, Any]) -> str:
    return live["sockets"][0]["addr"]


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def trace(file: Path) -> tuple[bytes, int, int, int]:
    """All that tells whether a file was touched."""
    found = file.stat()
    return file.read_bytes(), found.st_ino, found.st_mtime_ns, found.st_ctime_ns


def project(folder: Path, config: str, **files: str) -> Path:
    """A small project; `page` as the name of a server means the one that shows page.txt."""
    folder.mkdir(exist_ok=True)
    (folder / "hotpipe.toml").write_text(textwrap.dedent(config))
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)
    return folder


PAGE_SERVER = f"""
[server.web]
run    = "exec {PYTHON} {PROJECTS / "page.py"}"
listen = ["http::0"]
"""
GOOD_PAGES = """
[stage.good]
run = "grep -q good page.txt"
"""


# --- the main job --------------------------------------------------------------------------------------------------


@pytest.fixture
def hello(tmp_path: Path) -> Path:
    """A copy of examples/hello with a configuration of its own."""
    folder = tmp_path / "hello"
    shutil.copytree(REPOSITORY / "examples" / "hello", folder, ignore=shutil.ignore_patterns(".*", "__pycache__"))
    return project(
        folder,
        """
        [stage.lint]
        run = "ruff check --isolated --no-cache ."
        [stage.test]
        run = "pytest -p no:cacheprovider"
        [server.web]
        run    = ["uvicorn", "app:app", "--fd", "{fd}"]
        listen = ["http::0"]
        """,
    )


def save_red_then_green(hello: Path, gate: Hotpipe, serve: Hotpipe) -> None:
    """What the README promises: red keeps the old page, green brings the new one."""
    gate.until("run.finished", status="green")
    live = serve.until("server.live")
    serve.until("server.verified")
    addr, pid = address(live), live["pid"]
    assert f"<dd>{pid}</dd>" in get(addr)
    gate.until("trigger.touched")
    touched = trace(hello / ".trigger")

    replace(hello / "greeting.py", "return f", "return return f")
    gate.until("stage.finished", stage="lint", status="failed")
    gate.until("run.finished", status="red")
    assert f"<dd>{pid}</dd>" in get(addr)
    assert trace(hello / ".trigger") == touched

    replace(hello / "app.py", "Edit <code>greeting.py</code>", "Mend <code>greeting.py</code>")
    replace(hello / "greeting.py", "return return f", "return f")
    tree = gate.until("trigger.touched")["tree"]
    new = serve.until("server.live")
    assert serve.until("server.verified")["tree"] == tree
    page = get(addr)
    assert "Mend <code>greeting.py</code>" in page
    assert f"<dd>{new['pid']}</dd>" in page
    assert f"<dd>{tree[:8]}</dd>" in page
    serve.until("server.stopped", generation=live["generation"])
    assert not is_alive(pid)


# cargo-watch #75 #88, watchexec #83, air #746 #860: a failing build kills the server
def test_watch_serves_what_is_green_and_only_that(hello: Path, start: Start) -> None:
    hotpipe = start(hello, "watch")
    save_red_then_green(hello, hotpipe, hotpipe)
    assert hotpipe.interrupt() == INTERRUPTED


def test_gate_and_serve_do_the_same_in_two_processes(hello: Path, start: Start) -> None:
    serve = start(hello, "serve")
    gate = start(hello, "gate")
    save_red_then_green(hello, gate, serve)
    assert gate.interrupt() == INTERRUPTED
    assert serve.interrupt() == INTERRUPTED


def test_an_application_that_nobody_here_wrote(tmp_path: Path, start: Start) -> None:
    """pypiserver from PyPI, under gunicorn."""
    folder = tmp_path / "pypiserver"
    shutil.copytree(PROJECTS / "pypiserver", folder, ignore=shutil.ignore_patterns(".*", "__pycache__"))
    hotpipe = start(folder, "watch")
    addr = address(hotpipe.until("server.live"))
    hotpipe.until("server.verified")
    touched = trace(folder / ".trigger")

    for old, new, stage in (
        ("return GREETING", "return return GREETING", "compile"),
        ("return return GREETING", "return TYPO", "check"),
    ):
        replace(folder / "app.py", old, new)
        hotpipe.until("stage.finished", stage=stage, status="failed")
        hotpipe.until("run.finished", status="red")
        assert get(addr, "/greeting") == "hello from the first generation"
        assert json.loads(get(addr, "/teapot/json"))["info"]["version"] == "1.0"
        assert trace(folder / ".trigger") == touched

    replace(folder / "app.py", "return TYPO", "return GREETING.replace('first', 'second')")
    hotpipe.until("server.live", generation=2)
    assert get(addr, "/greeting") == "hello from the second generation"
    assert get(addr, "/packages/teapot-1.0.zip") == "short and stout\n"
    with pytest.raises(urllib.error.HTTPError, match="Not Found"):
        get(addr, "/packages/coffee-1.0.zip")
    assert [one["generation"] for one in hotpipe.of("server.starting")] == [1, 2]


def test_the_configuration_of_this_repository_is_green(tmp_path: Path, start: Start) -> None:
    """`make watch` serves the example only if this is so. In a copy, because somebody may be editing here."""
    folder = tmp_path / "repository"
    shutil.copytree(REPOSITORY / "examples", folder / "examples", ignore=shutil.ignore_patterns(".*", "__pycache__"))
    for name in ("hotpipe.toml", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, folder)
    (folder / ".venv").symlink_to(sys.prefix)
    hotpipe = start(folder, "check")
    assert hotpipe.wait() == 0, hotpipe.seen
    passed = dict.fromkeys(("lint", "types", "test"), "passed")
    assert {one["stage"]: one["status"] for one in hotpipe.of("stage.finished")} == passed
    assert not (folder / ".trigger").exists()


# cargo-watch #75, air #683: nobody is refused during a restart
def test_nobody_is_refused_during_restarts(hello: Path, start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    hotpipe = start(hello, "serve")
    addr = address(hotpipe.until("server.live"))
    over = threading.Event()
    crowd = [Client(addr, over, stays=stays) for stays in (True, False) * 4]
    for generation in range(2, 7):
        subprocess.run([*HOTPIPE, "trigger"], cwd=hello, env=environment(), check=True, capture_output=True)
        hotpipe.until("server.live", generation=generation)
    over.set()
    for client in crowd:
        client.join(PATIENCE_S)
    answered, cut = sum(client.answered for client in crowd), sum(client.cut for client in crowd)
    with capsys.disabled():
        sys.stdout.write(f" [{answered} answered, {cut} cut off in flight] ")
    assert [client.refused for client in crowd if client.refused] == []
    assert answered > len(crowd)


class Client(threading.Thread):
    """Asks until it is over, on one connection as long as it lasts, or on a new one each time."""

    def __init__(self, addr: str, over: threading.Event, *, stays: bool) -> None:
        super().__init__()
        self.addr, self.over, self.stays = addr, over, stays
        self.answered = self.cut = 0
        self.refused: list[OSError] = []
        self.start()

    def run(self) -> None:
        while not self.over.is_set():
            connection = http.client.HTTPConnection(self.addr, timeout=PATIENCE_S)
            try:
                connection.connect()
            except OSError as error:
                self.refused.append(error)
                continue
            try:
                self.ask(connection)
                while self.stays and not self.over.is_set():
                    self.ask(connection)
            except (OSError, http.client.HTTPException):
                self.cut += 1
            finally:
                connection.close()

    def ask(self, connection: http.client.HTTPConnection) -> None:
        connection.request("GET", "/healthz")
        assert connection.getresponse().read() == b"ok"
        self.answered += 1


# --- starting and ending -------------------------------------------------------------------------------------------


def test_a_taken_port_starts_nothing_and_names_who_holds_it(tmp_path: Path, start: Start) -> None:
    holder = start(project(tmp_path / "first", PAGE_SERVER, page_txt="good"), "serve")
    taken = address(holder.until("server.live"))
    config = f"""
        [server.api]
        run    = "touch started"
        listen = ["http::0"]
        [server.web]
        run    = "touch started"
        listen = ["http::{taken}"]
    """
    second = start(project(tmp_path / "second", config), "serve")
    assert second.wait() == 1
    name = psutil.Process(holder.process.pid).name()
    assert f"cannot listen on {taken}: the port is taken by {name} (pid {holder.process.pid})" in second.said()
    assert "hint: stop it, or change the port in listen" in second.said()
    assert second.seen == []
    assert not (tmp_path / "second" / "started").exists()


def test_sigterm_ends_with_success(tmp_path: Path, start: Start) -> None:
    hotpipe = start(project(tmp_path / "web", PAGE_SERVER, page_txt="good"), "serve")
    hotpipe.until("server.live")
    hotpipe.process.terminate()
    assert hotpipe.wait() == 0
    assert hotpipe.of("server.stopped")


def test_when_nobody_reads_any_more_everything_stops(tmp_path: Path) -> None:
    """As in `hotpipe watch | head`."""
    folder = project(tmp_path / "web", GOOD_PAGES + PAGE_SERVER, page_txt="good")
    command = (*HOTPIPE, "watch", "--json")
    with subprocess.Popen(
        command, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as one:
        events = map(json.loads, one.stdout)
        live = next(event for event in events if event["type"] == "server.live")
        one.stdout.close()
        (folder / "page.txt").write_text("good, too")
        assert one.wait(PATIENCE_S) == 0
        assert one.stderr.read() == b""
    assert not is_alive(live["pid"])


# --- faults --------------------------------------------------------------------------------------------------------

_DROP = 24  # PR_CAPBSET_DROP, <linux/prctl.h>
_DAC_OVERRIDE = 1  # CAP_DAC_OVERRIDE, <linux/capability.h>
# As the tests' user, who may be root, but without root's right to write where the mode forbids it.
UNPRIVILEGED = (
    sys.executable,
    "-c",
    f"import ctypes as c, os, sys; c.CDLL(None).prctl({_DROP}, {_DAC_OVERRIDE}); os.execv(sys.argv[1], sys.argv[1:])",
)
APART = GOOD_PAGES + PAGE_SERVER + 'trigger = "apart/.trigger"\n[watch]\nignore = ["apart/"]\n'


def save_against(obstacle: Callable[[], None], removal: Callable[[], None], hotpipe: Hotpipe, folder: Path) -> str:
    """A save that is green, but cannot touch the trigger before the obstacle is removed. Returns the warning's hint."""
    addr = address(hotpipe.until("server.live"))
    hotpipe.until("server.verified")
    hotpipe.until("run.finished", status="green")
    old = trace(folder / "apart" / ".trigger")
    obstacle()
    (folder / "page.txt").write_text("good, too")
    hotpipe.until("run.finished", status="green")
    warned = hotpipe.until("warning", code="trigger.unwritable")
    assert str(folder / "apart" / ".trigger") in warned["message"]
    assert trace(folder / "apart" / ".trigger") == old
    assert get(addr).endswith(" good")
    assert os.listdir(folder / "apart").count(".trigger") == 1
    removal()
    hotpipe.until("server.verified")
    assert get(addr).endswith(" good, too")
    assert len(hotpipe.of("run.started")) == 2
    # A full disk has other victims, too.
    others = {"cache.unavailable", "log.unwritable"}
    told = [one["code"] for one in hotpipe.of("warning") if one["code"] not in others]
    assert told == ["trigger.unwritable"]
    return str(warned["hint"])


def test_a_trigger_in_a_forbidden_folder_is_touched_once_it_is_permitted(tmp_path: Path, start: Start) -> None:
    folder = project(tmp_path / "web", APART, page_txt="good")
    apart = folder / "apart"
    apart.mkdir()
    hotpipe = start(folder, "watch", launcher=UNPRIVILEGED)
    hint = save_against(lambda: apart.chmod(0o555), lambda: apart.chmod(0o755), hotpipe, folder)
    assert hint == f"make {apart} writable for this user"


def test_a_full_disk_leaves_the_old_trigger_until_there_is_space(tmp_path: Path, start: Start) -> None:
    folder = project(tmp_path / "web", APART, page_txt="good")
    (folder / "apart").mkdir()
    with small_disk(folder / "apart") as is_mounted:
        hotpipe = start(folder, "watch")
        fill, free = full_disk(folder / "apart") if is_mounted else size_limit(hotpipe.process.pid)
        hint = save_against(fill, free, hotpipe, folder)
        assert hint == ("free some space on that disk; hotpipe tries again each second" if is_mounted else "")
        assert hotpipe.interrupt() == INTERRUPTED


@contextmanager
def small_disk(place: Path) -> Iterator[bool]:
    """Mount one of 64 KiB at `place`, where this user may do that."""
    command = ("mount", "-t", "tmpfs", "-o", "size=64k", "hotpipe-test", place)
    mounted = subprocess.run(command, capture_output=True, check=False)
    try:
        yield mounted.returncode == 0
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", place], check=True)


def full_disk(place: Path) -> tuple[Callable[[], None], Callable[[], None]]:
    filler = place / "filler"

    def fill() -> None:
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(bytes(1024)):
                pass
        assert shutil.disk_usage(place).free == 0

    return fill, filler.unlink


def size_limit(pid: int) -> tuple[Callable[[], None], Callable[[], None]]:
    """The next best: no file that this process writes may have any length (setrlimit(2), RLIMIT_FSIZE)."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)

    def limit(soft: int) -> Callable[[], None]:
        return lambda: resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard)) and None

    return limit(0), limit(hard)


def test_without_a_disk_to_mount_a_size_limit_shows_the_same(tmp_path: Path, start: Start) -> None:
    folder = project(tmp_path / "web", APART, page_txt="good")
    (folder / "apart").mkdir()
    hotpipe = start(folder, "watch")
    save_against(*size_limit(hotpipe.process.pid), hotpipe, folder)


def test_a_folder_in_the_place_of_the_trigger_delays_the_touch(tmp_path: Path, start: Start) -> None:
    folder = project(tmp_path / "web", GOOD_PAGES + PAGE_SERVER, page_txt="good")
    (folder / ".trigger").mkdir()
    hotpipe = start(folder, "watch")
    warned = hotpipe.until("warning", code="trigger.unwritable")
    assert warned["hint"] == f"a folder stands in its place: remove {folder / '.trigger'}"
    hotpipe.until("run.finished", status="green")
    (folder / ".trigger").rmdir()
    tree = hotpipe.until("trigger.touched")["tree"]
    assert hotpipe.until("server.verified")["tree"] == tree
    assert len(hotpipe.of("run.started")) == 1


def test_a_stage_whose_program_is_missing_is_red_until_it_is_there(tmp_path: Path, start: Start) -> None:
    config = '[stage.odd]\nrun = ["./odd", "page.txt"]\n' + PAGE_SERVER
    folder = project(tmp_path / "web", config, page_txt="good")
    hotpipe = start(folder, "watch")
    addr = address(hotpipe.until("server.live"))
    assert hotpipe.until("stage.finished")["exit_code"] == 127
    hotpipe.until("run.finished", status="red")
    assert "there is no program './odd'" in hotpipe.of("stage.output")[0]["text"]
    assert get(addr).endswith(" good")
    (folder / "new").write_text("#!/bin/sh\n")
    (folder / "new").chmod(0o755)
    (folder / "new").rename(folder / "odd")
    hotpipe.until("run.finished", status="green")
    hotpipe.until("server.verified")


def test_when_the_project_vanishes_the_server_stays(tmp_path: Path, start: Start) -> None:
    folder = project(tmp_path / "web", GOOD_PAGES + PAGE_SERVER, page_txt="good")
    hotpipe = start(folder, "watch")
    addr = address(hotpipe.until("server.live"))
    hotpipe.until("server.verified")
    while folder.exists():  # hotpipe may write into what is being emptied
        shutil.rmtree(folder, ignore_errors=True)
    hotpipe.until("run.finished", status="red")
    # The stage may begin while the folder, emptied, is still being removed.
    missing = (f"there is no folder {folder}", "No such file or directory")
    assert any(each in one["text"] for one in hotpipe.of("stage.output") for each in missing)
    assert get(addr).endswith(" good")
    before = psutil.Process(hotpipe.process.pid).cpu_times()
    time.sleep(1)  # time in which a loop that spins would use a whole second
    after = psutil.Process(hotpipe.process.pid).cpu_times()
    assert after.user + after.system - before.user - before.system < 0.5
    assert hotpipe.interrupt() == INTERRUPTED
    assert "Traceback" not in hotpipe.said()


# --- in a terminal -------------------------------------------------------------------------------------------------


def test_when_its_own_folder_is_removed_it_is_still_the_only_one_and_can_be_asked(tmp_path: Path, start: Start) -> None:
    folder = project(tmp_path / "project", GOOD_PAGES, page_txt="good")
    start(folder, "watch").until("run.finished", status="green")
    shutil.rmtree(folder / ".hotpipe")  # git clean -dfx
    until = time.monotonic() + PATIENCE_S
    while run(folder, "status").returncode:
        assert time.monotonic() < until
    second = run(folder, "watch", "--once-green")
    assert (second.returncode, "already runs in this project" in second.stderr) == (1, True)


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (*HOTPIPE, *arguments),
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Tmux]:
    with closed(Tmux(tmp_path, 150, 50)) as opened:
        yield opened


def pid_of(addr: str) -> int:
    return int(get(addr).split()[0])


def live_address(screen: str) -> str:
    return re.search(r"● live.*?(127\.0\.0\.1:\d+)", screen)[1]


RED, GREEN = 31, 32  # ISO 6429


def is_painted(colour: int, text: str, terminal: Tmux) -> bool:
    """tmux may write other attributes in between."""
    return re.search(rf"\x1b\[{colour}m(?:\x1b\[\d+m)*{re.escape(text)}", terminal.screen("-e")) is not None


# watchexec #874 #743, air PR 895: colours lost
@needs_tmux
def test_in_a_terminal_there_are_colours_and_one_ctrl_c_stops_all(tmp_path: Path, terminal: Tmux) -> None:
    folder = project(tmp_path / "web", GOOD_PAGES + PAGE_SERVER, page_txt="good")
    terminal.run(f"cd {folder} && {' '.join(HOTPIPE)} watch --plain")
    terminal.until("✓ green")
    served = pid_of(live_address(terminal.until("● live")))
    assert is_painted(GREEN, "✓ green", terminal)
    assert is_painted(GREEN, "● live", terminal)
    (folder / "page.txt").write_text("bad")
    terminal.until("✗ red: good failed")
    assert is_painted(RED, "✗ red: good failed", terminal)
    terminal.type("C-c")
    terminal.run("echo status=$?")
    assert "Traceback" not in terminal.until(f"status={INTERRUPTED}")
    assert not is_alive(served)


@needs_tmux
def test_no_color_is_heeded_in_a_terminal(tmp_path: Path, terminal: Tmux) -> None:
    folder = project(tmp_path / "web", GOOD_PAGES, page_txt="good")
    terminal.run(f"cd {folder} && NO_COLOR=1 {' '.join(HOTPIPE)} check")
    terminal.until("✓ green in")
    assert "\x1b[" not in terminal.screen("-e")


# uvicorn #2943 #936, nodemon #1633: the end hangs for ever
@needs_tmux
def test_a_second_ctrl_c_kills_a_server_that_will_not_go(tmp_path: Path, terminal: Tmux) -> None:
    config = f"""
        [server.web]
        run    = "echo $$ > ../pid; exec {PYTHON} {PROJECTS / "stubborn.py"}"
        listen = ["http::0"]
        stop_timeout = "1h"
    """
    folder = project(tmp_path / "web", config)
    terminal.run(f"cd {folder} && {' '.join(HOTPIPE)} watch --plain")
    terminal.until("● live")
    stubborn = int((tmp_path / "pid").read_text())
    terminal.type("C-c")
    terminal.until("not yet")
    assert is_alive(stubborn)
    limit = time.monotonic() + PATIENCE_S
    while is_alive(stubborn) and time.monotonic() < limit:  # at once would be taken for an echo of the first
        terminal.type("C-c")
        time.sleep(0.1)
    terminal.run("echo status=$?")
    terminal.until(f"status={INTERRUPTED}")
    assert not is_alive(stubborn)

"""`hotpipe wait`: no answer is older than its question. With real processes."""

import contextlib
import json
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from gating import MakeTap, project
from running import PATIENCE_S, Hotpipe, Start
from verbs import begin, ended, verb

from hotpipe import trigger
from hotpipe.control import Request, links
from hotpipe.control.standing import Standing
from hotpipe.events import AnyEvent, RunFinished, RunStarted, RunStatus, ServerFailed, ServerStarting
from hotpipe.gate.verdict import Verdict
from hotpipe.waiting import Shared, Waiting

STAGE = '[stage.a]\nrun = "cat word; grep -q good word"\ninputs = ["word"]\n'
PAGE = Path(__file__).parent / "projects/page.py"
SERVER = '[server.web]\nrun = ["{python}", "page.py"]\nlisten = ["http::0"]\nprobation = "0ms"\n'
SERVED = STAGE + SERVER.format(python=sys.executable)
ILL = 'import sys; sys.exit("it is ill")'


def made(folder: Path, config: str = STAGE, word: str = "good", **files: str) -> Path:
    more = {"page.py": PAGE.read_text(), "page.txt": "one"} if "[server" in config else {}
    return project(folder, config, {"word": word, **more, **files})


def wait(folder: Path, **asked: Any) -> dict[str, Any]:
    """As the verb asks, in this process."""
    (link,) = links(str(folder))
    return link.ask(Request(verb="wait", timeout_s=PATIENCE_S, **asked), PATIENCE_S + 10)


@contextlib.contextmanager
def busy(processes: int) -> Iterator[None]:
    spinning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for each in spinning:
            each.kill()
            each.wait()


def read_by(hotpipe: Hotpipe, run: int) -> str:
    """What the stage has read in that run."""
    hotpipe.until("run.finished", run=run)
    return next(event["text"] for event in reversed(hotpipe.of("stage.output")) if event["run"] == run)


class TestVerdict:
    @pytest.mark.parametrize(
        "word, said",
        [("good", (0, "run 1: green\n", "")), ("bad", (1, "", "hotpipe: run 1 is red: a\n  a: failed\n"))],
        ids=["green", "red"],
    )
    def test_of_what_is_on_disk(self, tmp_path: Path, start: Start, word: str, said: tuple[int, str, str]) -> None:
        start(made(tmp_path, word=word), "gate").until("run.finished")
        done = verb(tmp_path, "wait")
        assert (done.returncode, done.stdout, done.stderr) == said

    def test_is_waited_for_while_the_run_goes_on(self, tmp_path: Path, start: Start, tap: MakeTap) -> None:
        config = '[stage.a]\nrun = "echo up; read word < go"\n[watch]\nignore = ["go"]\n'
        hotpipe = start(made(tmp_path, config), "gate")
        go = tap(tmp_path, "go")
        hotpipe.until("stage.output", text="up")
        waiting = begin(tmp_path, "wait")
        assert waiting.poll() is None
        go.let()
        assert ended(waiting) == (0, "run 1: green\n", "")

    def test_at_once_after_the_start_is_that_of_the_first_run(self, tmp_path: Path, start: Start) -> None:
        hotpipe = start(made(tmp_path), "gate")
        hotpipe.until("hotpipe.started")
        assert wait(tmp_path)["run"]["status"] == "green"

    def test_green_is_waited_for_over_a_red_run(self, tmp_path: Path, start: Start) -> None:
        hotpipe = start(made(tmp_path, word="bad"), "gate")
        hotpipe.until("run.finished", status="red")
        waiting = begin(tmp_path, "wait", "--green")
        (tmp_path / "word").write_text("worse and bad")
        hotpipe.until("run.finished", status="red")
        (tmp_path / "word").write_text("good")
        assert ended(waiting) == (0, "run 3: green\n", "")

    def test_what_is_red_is_named_when_the_time_is_over(self, tmp_path: Path, start: Start) -> None:
        config = '[stage.a]\nrun = "echo app.py:3:1: it is wrong; exit 1"\n'
        start(made(tmp_path, config), "gate").until("run.finished", status="red")
        done = verb(tmp_path, "wait", "--green", "--timeout", "100ms")
        assert (done.returncode, done.stderr) == (
            1,
            "hotpipe: not green within 100ms: run 1 is red: a\n  a: app.py:3:1: it is wrong\n",
        )

    def test_what_runs_still_is_named_when_the_time_is_over(self, tmp_path: Path, start: Start) -> None:
        hotpipe = start(made(tmp_path, '[stage.a]\nrun = "echo up; sleep 300"\n'), "gate")
        hotpipe.until("stage.output")
        done = verb(tmp_path, "wait", "--timeout", "100ms")
        assert (done.returncode, done.stderr) == (1, "hotpipe: no verdict within 100ms: run 1 is running\n")

    def test_a_paused_gate_is_told(self, tmp_path: Path, start: Start) -> None:
        hotpipe = start(made(tmp_path), "gate")
        hotpipe.until("run.finished")
        assert verb(tmp_path, "pause").returncode == 0
        (tmp_path / "word").write_text("good again")
        done = verb(tmp_path, "wait", "--timeout", "100ms")
        assert done.returncode == 1
        assert done.stderr.startswith("hotpipe: the gate is paused: nothing runs before `hotpipe resume`\n")
        waiting = begin(tmp_path, "wait")
        assert verb(tmp_path, "resume").returncode == 0
        assert ended(waiting)[:2] == (0, "run 2: green\n")

    def test_a_configuration_that_is_not_in_force_is_told(self, tmp_path: Path, start: Start) -> None:
        hotpipe = start(made(tmp_path), "gate")
        hotpipe.until("run.finished")
        (tmp_path / "hotpipe.toml").write_text("[stage.a]\nrun = 1\n")
        hotpipe.until("config.rejected")
        assert "not in force, for it is not valid: hotpipe.toml:2" in verb(tmp_path, "wait").stderr

    def test_an_edited_configuration_counts_as_well(self, tmp_path: Path, start: Start) -> None:
        start(made(tmp_path), "gate").until("run.finished")
        (tmp_path / "hotpipe.toml").write_text('[stage.b]\nrun = "exit 1"\n')
        assert " is red: b" in verb(tmp_path, "wait").stderr

    def test_ends_with_hotpipe(self, tmp_path: Path, start: Start) -> None:
        hotpipe = start(made(tmp_path, '[stage.a]\nrun = "echo up; sleep 300"\n'), "gate")
        hotpipe.until("stage.output")
        waiting = begin(tmp_path, "wait")
        wait_until_somebody_waits(tmp_path)
        hotpipe.interrupt()
        code, _, err = ended(waiting)
        assert code == 1
        assert err in ("hotpipe: hotpipe ends\n", "hotpipe: hotpipe has ended meanwhile\n")

    def test_is_one_object_for_machines(self, tmp_path: Path, start: Start) -> None:
        start(made(tmp_path), "gate").until("run.finished")
        said = json.loads(verb(tmp_path, "wait", "--json").stdout)
        assert (said["reached"], said["run"]["run"], said["run"]["status"]) == (True, 1, "green")

    def test_without_a_gate_there_is_none(self, tmp_path: Path, start: Start) -> None:
        start(made(tmp_path, SERVED), "serve").until("server.live")
        done = verb(tmp_path, "wait")
        assert (done.returncode, done.stderr) == (
            1,
            "hotpipe: no gate runs in this project\nhint: start one with `hotpipe gate`\n",
        )

    @pytest.mark.parametrize("given", ["5", "soon", "-1s"])
    def test_a_time_that_is_none_is_refused(self, tmp_path: Path, given: str) -> None:
        done = verb(made(tmp_path), "wait", f"--timeout={given}")
        assert done.returncode == 2
        assert "must be a duration" in done.stderr


def wait_until_somebody_waits(folder: Path) -> None:
    """It has connected before us, so it is answered, or stands, before we are answered."""
    for _ in range(20):
        links(str(folder))
        threading.Event().wait(0.05)


class TestNoStaleVerdict:
    @pytest.mark.timeout(300)
    def test_two_hundred_saves_each_followed_by_a_wait(self, tmp_path: Path, start: Start) -> None:
        """On busy cores; every kind of save, and never a verdict on what was there before."""
        hotpipe = start(made(tmp_path), "gate")
        hotpipe.until("run.finished")
        dice = random.Random(7)
        with busy(2):
            for number in range(200):
                word = f"{dice.choice(['good', 'bad'])} {number}"
                save(tmp_path / "word", word, dice)
                answer = wait(tmp_path, patient=word.startswith("good"))
                assert answer["run"]["status"] == ("green" if word.startswith("good") else "red")
                assert read_by(hotpipe, answer["run"]["run"]) == word

    def test_the_verb_itself(self, tmp_path: Path, start: Start) -> None:
        start(made(tmp_path), "gate").until("run.finished")
        for number in range(5):
            (tmp_path / "word").write_text(f"bad {number}")
            assert verb(tmp_path, "wait").returncode == 1
            (tmp_path / "word").write_text(f"good {number}")
            assert verb(tmp_path, "wait", "--green").returncode == 0

    def test_in_a_folder_that_is_polled(self, tmp_path: Path, start: Start) -> None:
        hotpipe = start(made(tmp_path, f'{STAGE}[watch]\npoll = "always"\n'), "gate")
        hotpipe.until("run.finished")
        for number in range(5):
            for word in (f"bad {number}", f"good {number}"):
                (tmp_path / "word").write_text(word)
                assert read_by(hotpipe, wait(tmp_path)["run"]["run"]) == word


def save(path: Path, word: str, dice: random.Random) -> None:
    """As editors do: in place, beside and renamed, or removed first."""
    match dice.randrange(3):
        case 0:
            path.write_text(f"{word}\n")
        case 1:
            path.with_name("word~").write_text(f"{word}\n")
            path.with_name("word~").rename(path)
        case 2:
            path.unlink()
            path.write_text(f"{word}\n")


class TestMany:
    def test_a_hundred_wait_at_once_and_status_is_answered_meanwhile(
        self, tmp_path: Path, start: Start, tap: MakeTap
    ) -> None:
        config = '[stage.a]\nrun = "echo up; read word < go"\n[watch]\nignore = ["go"]\n'
        hotpipe = start(made(tmp_path, config), "gate")
        go = tap(tmp_path, "go")
        hotpipe.until("stage.output", text="up")
        with ThreadPoolExecutor(100) as pool:
            waiting = [pool.submit(wait, tmp_path) for _ in range(100)]
            assert verb(tmp_path, "status").returncode == 0
            assert not any(each.done() for each in waiting)
            go.let()
            assert {each.result()["run"]["status"] for each in waiting} == {"green"}

    @pytest.mark.anyio
    async def test_who_asks_while_one_looks_waits_for_the_next_look_and_shares_it(self) -> None:
        looks, going = [0], anyio.Event()

        async def look() -> None:
            looks[0] += 1
            await going.wait()

        shared = Shared(look)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(shared)
            await anyio.wait_all_tasks_blocked()
            for _ in range(50):
                tasks.start_soon(shared)
            await anyio.wait_all_tasks_blocked()
            assert looks == [1]
            going.set()
        assert looks == [2]

    @pytest.mark.anyio
    async def test_a_look_that_is_given_up_counts_for_nobody(self) -> None:
        looks, going = [0], anyio.Event()

        async def look() -> None:
            looks[0] += 1
            await going.wait()

        shared, first = Shared(look), anyio.CancelScope()

        async def leave_early() -> None:
            with first:
                await shared()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(leave_early)
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(shared)
            await anyio.wait_all_tasks_blocked()
            first.cancel()
            going.set()
        assert looks == [2]


class TestLive:
    def test_every_server_serves_what_has_passed(self, tmp_path: Path, start: Start) -> None:
        start(made(tmp_path, SERVED), "watch").until("hotpipe.started")
        done = verb(tmp_path, "wait", "--live")
        assert (done.returncode, done.stdout) == (0, "run 1: green\nweb: generation 1 is live\n"), done.stderr
        (tmp_path / "page.txt").write_text("two")
        done = verb(tmp_path, "wait", "--green", "--live")
        assert (done.returncode, done.stdout) == (0, "run 2: green\nweb: generation 2 is live\n"), done.stderr

    def test_twenty_saves_and_each_time_the_new_one_answers(self, tmp_path: Path, start: Start) -> None:
        hotpipe = start(made(tmp_path, SERVED), "watch")
        address = hotpipe.until("server.live")["sockets"][0]["addr"]
        for number in range(20):
            (tmp_path / "page.txt").write_text(str(number))
            assert verb(tmp_path, "wait", "--green", "--live").returncode == 0
            assert page(address) == str(number)

    def test_a_gate_and_a_server_half_side_by_side(self, tmp_path: Path, start: Start) -> None:
        made(tmp_path, SERVED)
        gate, serve = start(tmp_path, "gate"), start(tmp_path, "serve")
        gate.until("run.finished"), serve.until("server.live")
        for number in range(5):
            (tmp_path / "page.txt").write_text(str(number))
            done = verb(tmp_path, "wait", "--live")
            assert done.returncode == 0, done.stderr
            assert page(serve.of("server.live")[-1]["sockets"][0]["addr"]) == str(number)

    def test_one_that_does_not_come_up_is_named(self, tmp_path: Path, start: Start) -> None:
        start(made(tmp_path, SERVED), "watch").until("server.verified")
        (tmp_path / "page.py").write_text(ILL)
        done = verb(tmp_path, "wait", "--live")
        assert done.returncode == 1
        assert "web has failed: generation 2: exited with status 1" in done.stderr

    def test_what_failed_before_the_save_that_mends_it_is_forgotten(self, tmp_path: Path, start: Start) -> None:
        hotpipe = start(made(tmp_path, SERVED), "watch")
        hotpipe.until("server.verified")
        for number in range(5):
            (tmp_path / "page.py").write_text(f"{ILL} # {number}")
            assert verb(tmp_path, "wait", "--live").returncode == 1
            (tmp_path / "page.py").write_text(f"{PAGE.read_text()} # {number}")
            done = verb(tmp_path, "wait", "--live")
            assert done.returncode == 0, done.stderr

    def test_a_save_that_is_undone_is_served_by_who_served_it_before(self, tmp_path: Path, start: Start) -> None:
        start(made(tmp_path, SERVED), "watch").until("server.verified")
        (tmp_path / "page.py").write_text(ILL)
        assert verb(tmp_path, "wait", "--live").returncode == 1
        (tmp_path / "page.py").write_text(PAGE.read_text())
        done = verb(tmp_path, "wait", "--live")
        assert (done.returncode, done.stdout) == (0, "run 3: green\nweb: generation 1 is live\n"), done.stderr

    def test_a_server_half_alone_has_to_be_live_and_no_more(self, tmp_path: Path, start: Start) -> None:
        start(made(tmp_path, SERVED), "serve").until("hotpipe.started")
        done = verb(tmp_path, "wait", "--live")
        assert (done.returncode, done.stdout) == (0, "web: generation 1 is live\n"), done.stderr


def page(address: str) -> str:
    import urllib.request

    with urllib.request.urlopen(f"http://{address}", timeout=PATIENCE_S) as answer:
        text: str = answer.read().decode()
        return text.split(" ", 1)[1]


class Heedful:
    """A gate whose verdict is an old one until it has heeded what it was told."""

    verdict: Verdict | None = Verdict("green", 1)

    async def heard(self) -> None:
        self.verdict = Verdict("red", 2)


def folded(*events: AnyEvent) -> Standing:
    standing = Standing({"web": ()})
    for event in events:
        standing.apply(event, "2026-01-02T03:04:05.000Z")
    return standing


def ran(run: int, status: RunStatus) -> list[AnyEvent]:
    return [RunStarted(run=run, tree="T", changed=()), RunFinished(run=run, status=status, took_ms=1.0)]


@pytest.mark.anyio
async def test_what_the_gate_has_not_heeded_yet_counts() -> None:
    gate: Any = Heedful()
    waiting = Waiting(folded(*ran(1, "green"), *ran(2, "red")), gate, anyio.lowlevel.checkpoint)
    waiting.begin()
    answer = await waiting.answer(Request(verb="wait", timeout_s=PATIENCE_S), {})
    assert (answer.reached, answer.why) == (False, ("run 2 is red",))


@pytest.mark.anyio
@pytest.mark.parametrize(
    "tree, at, is_over",
    [("T", "2026-01-02T03:04:04Z", True), ("U", "2026-01-02T03:04:04Z", False), ("T", "2026-01-02T03:04:06Z", False)],
    ids=["of what the trigger names", "of another tree", "before it was touched again"],
)
async def test_only_a_failure_of_what_the_trigger_names_now_ends_a_wait(
    tmp_path: Path, tree: str, at: str, is_over: bool
) -> None:
    path = str(tmp_path / ".trigger")
    trigger.write(path, trigger.Record(tree=tree, at=at))
    starting = ServerStarting(server="web", generation=1, pid=1, tree="T")
    failed = ServerFailed(server="web", generation=1, reason="ill", serving=None)
    waiting = Waiting(folded(starting, failed), None, anyio.lowlevel.checkpoint)
    answer = await waiting.answer(Request(verb="wait", until="served", timeout_s=0.2), {"web": path})
    assert (answer.reached, answer.timed_out) == (False, not is_over)

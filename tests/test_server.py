"""The server half with real sockets and real children: what they inherit, when they are ready, how they are replaced.

Most children are puppets (tests/projects/puppet.py): they do what the test tells them, when it tells them.
"""

import json
import os
import socket
import struct
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from play import (
    HTTP,
    NEVER,
    PATIENCE_S,
    PROJECTS,
    PUPPET,
    PYTHON,
    REQUEST,
    Play,
    Puppet,
    answer,
    answers,
    is_alive,
    play,
    puppet,
    received,
    server,
    until_dead,
    visits,
)

from hotpipe import trigger
from hotpipe.config.model import Duration, Hooks, Listen, Ready, Server
from hotpipe.events import (
    ServerDiscarded,
    ServerDraining,
    ServerFailed,
    ServerLive,
    ServerOutput,
    ServerReady,
    ServerStarting,
    ServerStatus,
    ServerStopped,
    ServerVerified,
    Warned,
)
from hotpipe.server import diag, lifecycle

BIN = Path(sys.executable).parent
NEVER_READY = Duration(0.1)
SOON = Duration(0.3)
BOTH = pytest.mark.parametrize("strategy", ["overlap", "stop-start"])

pytestmark = pytest.mark.anyio


# --- what a generation inherits --------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def backlog(stage: Play) -> int:
    """What `ss -ltn` shows as Send-Q: tcpi_sacked of a listening socket, <linux/tcp.h>."""
    info = stage.cutover.listeners[0].live.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    return int(struct.unpack_from("I", info, 28)[0])


def largest_backlog() -> int:
    return int(Path("/proc/sys/net/core/somaxconn").read_text())


# systemfd #4 #13 #34, actix-website #11: the socket's protocol is easy to get wrong
@pytest.mark.parametrize("run", [PUPPET, f"{' '.join(PUPPET)}"], ids=["argv", "shell"])
async def test_a_generation_inherits_its_sockets_by_the_protocol_of_systemd(
    tmp_path: Path, run: str | tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LISTEN_FDNAMES", "those:of:hotpipe:itself")
    monkeypatch.setenv("NOTIFY_SOCKET", "/that/of/hotpipe/itself")
    listen = (Listen.of("http::0"), Listen.of({"name": "admin", "tcp": "0"}), Listen.of("http::[::1]:0"))
    async with play(
        tmp_path, puppet(tmp_path, listen=listen) if run == PUPPET else shell(tmp_path, run, listen)
    ) as stage:
        child = await stage.puppet()
        assert child.fds == [3, 4, 5]
        assert [where[1] for where in child.addresses] == stage.ports
        assert child.env["LISTEN_FDS"] == "3"
        assert child.env["LISTEN_PID"] == str(child.pid)
        assert child.env["LISTEN_FDNAMES"] == "http:admin:http2"
        assert child.env["NOTIFY_SOCKET"].startswith("@")
        assert (await stage.seen.until(ServerStarting)).pid == child.pid


def shell(folder: Path, run: Any, listen: tuple[Listen, ...]) -> Server:
    return server(run, listen, env={"STRINGS": str(folder / "strings")})


async def test_a_server_without_sockets_is_told_of_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"):
        monkeypatch.setenv(name, "1")
    async with play(tmp_path, puppet(tmp_path, listen=())) as stage:
        child = await stage.puppet()
        assert child.fds == []
        assert not [name for name in child.env if name.startswith("LISTEN_")]
        assert (await stage.seen.until(ServerReady)).how == "alive for 1 s"


async def test_a_generation_knows_which_it_is(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path)) as stage:
        first = await stage.serving()
        stage.green("t1")
        second = await stage.serving()
    told = [
        tuple(child.env[f"HOTPIPE_{name}"] for name in ("SERVER", "GENERATION", "TREE")) for child in (first, second)
    ]
    assert told == [("web", "1", "on disk"), ("web", "2", "t1")]


async def test_env_and_cwd_are_the_servers_own(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    env = {"STRINGS": str(tmp_path / "strings"), "COLOUR": "green", "HOTPIPE_SERVER": "not to be believed"}
    async with play(tmp_path, puppet(tmp_path, env=env, cwd="sub")) as stage:
        child = await stage.puppet()
        assert child.cwd == str(tmp_path / "sub")
        assert child.env["COLOUR"] == "green"
        assert child.env["HOTPIPE_SERVER"] == "web"


async def test_only_the_known_placeholders_are_replaced(tmp_path: Path) -> None:
    listen = (Listen.of("http::0"), Listen.of({"name": "admin", "tcp": "0"}))
    words = ("{fd}", "{fd:http}", "{fd:admin}", "{host}", "{port}", "{addr}", "{url}")
    others = ("{}", "{fd:}", "{FD}", "{hosts}", "${port:-1}", "{{fd}}", '{"a": {"b": 1}}', "a{1,2}b")
    async with play(tmp_path, puppet(tmp_path, *words, *others, listen=listen)) as stage:
        child = await stage.puppet()
        port = str(stage.ports[0])
        here = ["127.0.0.1", port, f"127.0.0.1:{port}", f"http://127.0.0.1:{port}"]
        assert child.argv[: len(words)] == ["3", "3", "4", *here]
        assert child.argv[len(words) :] == ["{}", "{fd:}", "{FD}", "{hosts}", "${port:-1}", "{3}", *others[-2:]]


async def test_without_a_socket_there_is_nothing_to_fill_in(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path, "{host}", "{url}", listen=())) as stage:
        assert (await stage.puppet()).argv == ["{host}", "{url}"]


@pytest.mark.parametrize("order", ["serve", "serve-unblocked"])
async def test_a_server_is_live_when_it_accepts_and_not_before(tmp_path: Path, order: str) -> None:
    async with play(tmp_path, puppet(tmp_path)) as stage:
        child = await stage.puppet()
        early = [await stage.connect() for _ in range(20)]
        assert not stage.seen.of(ServerReady)
        await child.do(order)
        live = await stage.seen.until(ServerLive)
        assert (live.generation, live.pid, live.sockets) == (1, child.pid, stage.cutover.addresses)
        assert await answers(early) == ["1"] * 20
        assert await stage.ask() == "1"


async def test_a_server_is_live_only_when_all_its_sockets_are(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path, listen=HTTP * 2)) as stage:
        child = await stage.puppet()
        await child.do("accept 0")
        with anyio.fail_after(PATIENCE_S):
            while stage.listeners[1].waiting(stage.cutover.listeners[1].live) < 1:  # noqa: ASYNC110 - the kernel tells nobody
                await anyio.sleep(0.001)
        assert not stage.seen.of(ServerReady)
        await child.do("accept 1")
        await stage.seen.until(ServerLive)


async def test_who_never_accepts_is_given_up(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path, ready_timeout=NEVER_READY)) as stage:
        started = await stage.seen.until(ServerStarting)  # on a busy machine it is given up before it can say anything
        failed = await stage.seen.until(ServerFailed)
        assert failed.reason == "it accepted no connection within 100ms; does its run use the socket, {fd}?"
        assert failed.serving is None
        await stage.seen.until(ServerStopped)
        assert not is_alive(started.pid)


async def test_a_knock_that_a_failed_generation_left_behind_does_not_make_the_next_one_ready(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path, ready_timeout=NEVER_READY)) as stage:
        for number in (1, 2, 3):
            assert (await stage.seen.until(ServerFailed)).generation == number
            await stage.seen.until(ServerStopped)
            stage.green(f"t{number}")
        assert not stage.seen.of(ServerReady)


async def test_a_server_may_block_where_its_predecessor_did_not(tmp_path: Path) -> None:
    """O_NONBLOCK belongs to what all generations share: open(2), "open file description"."""
    async with play(tmp_path, puppet(tmp_path, strategy="stop-start")) as stage:
        await stage.serving("serve-unblocked")
        stage.green("t1")
        await stage.serving("serve")
        assert [await stage.ask() for _ in range(3)] == ["2"] * 3


async def test_a_server_that_shuts_its_socket_down_leaves_it_open_for_the_next(tmp_path: Path) -> None:
    async with play(
        tmp_path, puppet(tmp_path, strategy="stop-start", listen=(Listen.of(f"http::{free_port()}"),))
    ) as stage:
        first = await stage.serving()
        await first.do("shut")
        stage.green("t1")
        await stage.serving()
        assert await stage.ask() == "2"


APPLICATION = """
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})
"""
BARE = {"PYTHONPATH": ".", "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.mark.parametrize(
    "run",
    [
        (str(BIN / "uvicorn"), "app:app", "--fd", "{fd}", "--lifespan", "off"),
        (str(BIN / "gunicorn"), "--no-control-socket", "app:app"),
    ],
    ids=["uvicorn", "gunicorn"],
)
async def test_the_backlog_is_ours_whatever_the_server_asks_for(tmp_path: Path, run: tuple[str, ...]) -> None:
    (tmp_path / "app.py").write_text(APPLICATION)
    async with play(tmp_path, server(run, env=BARE)) as stage:
        for generation in (1, 2):
            await stage.seen.until(ServerLive, generation=generation)
            assert backlog(stage) == min(4096, largest_backlog())
            stage.green(f"t{generation}")


async def test_a_small_backlog_of_the_servers_own_is_widened(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path)) as stage:
        child = await stage.puppet()
        await child.do("backlog 5")
        assert backlog(stage) == 5
        await child.do("serve")
        await stage.seen.until(ServerLive)
        assert backlog(stage) == min(4096, largest_backlog())


async def test_a_prefork_master_whose_workers_cannot_boot_is_not_ready(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("raise RuntimeError('this cannot be imported')\n")
    run = (str(BIN / "gunicorn"), "--no-control-socket", "app:app")
    async with play(tmp_path, server(run, env=BARE)) as stage:
        failed = await stage.seen.until(ServerFailed)
        assert failed.reason == "exited with status 3 before it was ready"
        assert not stage.seen.of(ServerReady)
        assert any("this cannot be imported" in line.text for line in stage.seen.of(ServerOutput))


# --- restarts --------------------------------------------------------------------------------------------------------


def by_gate(path: Path) -> None:
    trigger.write(str(path), trigger.Record(run=2, tree="t2", server="web", at=trigger.now()))


def by_touch(path: Path) -> None:
    os.utime(path)


def by_echo(path: Path) -> None:
    path.write_text("x\n")


def by_truncation(path: Path) -> None:
    path.write_text("")


def by_recreation(path: Path) -> None:
    record = path.read_bytes()
    path.unlink()
    path.write_bytes(record)


def by_bytes(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\0garbage")


def by_another_shape(path: Path) -> None:
    path.write_text('{"v":1,"run":"many","tree":[]}\n')


def by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def by_removal(path: Path) -> None:
    path.rmdir() if path.is_dir() else path.unlink()


TOUCHES = [by_gate, by_touch, by_echo, by_truncation, by_recreation, by_bytes, by_another_shape, by_folder]
FAULTY = {by_echo, by_bytes, by_another_shape, by_folder}


# nodemon #508 #763, watchdog #1123: double restarts
@pytest.mark.parametrize("touch", TOUCHES)
async def test_one_touch_is_one_restart(tmp_path: Path, touch: Callable[[Path], None]) -> None:
    async with play(tmp_path, puppet(tmp_path)) as stage:
        await stage.serving()
        stage.green("t1")
        await stage.serving()
        touch(stage.trigger)
        third = await stage.serving()
        assert third.env["HOTPIPE_TREE"] == ("t2" if touch is by_gate else "on disk")
        assert [warned.code for warned in stage.seen.of(Warned)] == ["trigger.unreadable"] * (touch in FAULTY)
        by_removal(stage.trigger)
        stage.green("t3")
        assert (await stage.serving()).env["HOTPIPE_GENERATION"] == "4"


async def test_a_touch_is_not_noticed_again_at_a_later_look(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path)) as stage:
        await stage.serving()
        by_echo(stage.trigger)
        await stage.serving()
        await anyio.sleep(1.2)  # the trigger is looked at once a second: time for a second restart to show itself
        assert len(stage.seen.of(ServerStarting)) == 2


async def test_what_a_trigger_said_before_we_came_starts_nothing(tmp_path: Path) -> None:
    by_gate(tmp_path / ".trigger")
    async with play(tmp_path, puppet(tmp_path, start="green")) as stage:
        by_touch(stage.trigger)
        assert (await stage.serving()).env["HOTPIPE_TREE"] == "on disk"
        assert len(stage.seen.of(ServerStarting)) == 1
        assert not stage.seen.of(ServerVerified)


async def test_a_removed_trigger_is_no_touch(tmp_path: Path) -> None:
    by_gate(tmp_path / ".trigger")
    async with play(tmp_path, puppet(tmp_path)) as stage:
        await stage.serving()
        by_removal(stage.trigger)
        stage.green("t1")
        assert (await stage.serving()).env["HOTPIPE_GENERATION"] == "2"


async def test_a_tree_that_is_served_already_is_only_verified(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path)) as stage:
        await stage.serving()
        stage.green("on disk")
        verified = await stage.seen.until(ServerVerified)
        assert (verified.generation, verified.tree) == (1, "on disk")
        stage.green("another")
        assert (await stage.serving()).env["HOTPIPE_GENERATION"] == "2"
        await stage.seen.until(ServerVerified, generation=2)


async def test_with_start_green_nothing_runs_before_the_first_green(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path, start="green")) as stage:
        waiting = await stage.connect()
        stage.green("t1")
        first = await stage.serving()
        assert (first.env["HOTPIPE_GENERATION"], first.env["HOTPIPE_TREE"]) == ("1", "t1")
        assert await answers([waiting]) == ["1"]


# cargo-watch #75, air #683: nobody is refused while the server is down
async def test_clients_that_come_while_the_server_is_down_wait_and_are_served(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path, strategy="stop-start")) as stage:
        first = await stage.serving()
        stage.green("t1")
        second = await stage.puppet()
        assert not is_alive(first.pid)
        waiting = [await stage.connect() for _ in range(50)]
        await second.do("serve")
        assert await answers(waiting) == ["2"] * 50


async def test_a_server_that_exits_is_reported_and_comes_back_with_the_next_touch(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path)) as stage:
        first = await stage.serving()
        await first.order("exit 7")
        failed = await stage.seen.until(ServerFailed)
        assert (failed.generation, failed.reason, failed.serving) == (1, "exited with status 7", None)
        waiting = await stage.connect()
        by_echo(stage.trigger)
        await stage.serving()
        assert await answers([waiting]) == ["2"]


async def test_a_server_that_dies_before_it_is_ready_says_so(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path)) as stage:
        child = await stage.puppet()
        await child.do("say the port is purple")
        await child.order("exit 1")
        assert (await stage.seen.until(ServerOutput)).text == "the port is purple"
        assert (await stage.seen.until(ServerFailed)).reason == "exited with status 1 before it was ready"


async def test_a_server_that_cannot_be_spawned_is_tried_again_at_the_next_touch(tmp_path: Path) -> None:
    program = tmp_path / "serve"
    async with play(tmp_path, server(("./serve",), env={"STRINGS": str(tmp_path / "strings")})) as stage:
        failed = await stage.seen.until(ServerFailed)
        assert "there is no program './serve'" in failed.reason
        program.write_text(f"#!/bin/sh\nexec {' '.join(PUPPET)}\n")
        program.chmod(0o755)
        by_echo(stage.trigger)
        assert (await stage.serving()).env["HOTPIPE_GENERATION"] == "2"


# watchexec #960: the shell dies, the real child lives; watchdog #609, nodemon #1025: orphans
async def test_nobody_of_the_old_generation_is_left_when_the_new_one_starts(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path, strategy="stop-start", stop_timeout=Duration(0.1))) as stage:
        first = await stage.serving()
        brood = await first.do("brood")
        await first.do("deaf")
        assert all(is_alive(pid) for pid in brood)
        stage.green("t1")
        stopped = await stage.seen.until(ServerStopped)
        assert (stopped.signal, stopped.killed) == ("KILL", True)
        assert not [pid for pid in (first.pid, *brood) if is_alive(pid)]
        await stage.serving()


async def test_a_server_that_heeds_its_stop_signal_is_not_killed(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path, stop_signal="INT")) as stage:
        await stage.serving()
        stage.loop.stop()
        stopped = await stage.seen.until(ServerStopped)
        assert (stopped.signal, stopped.killed) == ("INT", False)
        assert not stage.seen.of(ServerFailed)


@BOTH
async def test_what_a_server_says_while_it_stops_is_heard(tmp_path: Path, strategy: str) -> None:
    async with play(tmp_path, puppet(tmp_path, strategy=strategy)) as stage:
        child = await stage.serving()
        await child.do("polite")
        stage.green("t1")
        await stage.serving()
        stopped = await stage.seen.until(ServerStopped)
        assert (stopped.exit_code, stopped.killed) == (0, False)
        assert [line.text for line in stage.seen.of(ServerOutput)] == ["farewell"]


async def test_a_touch_during_a_start_is_not_lost(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path)) as stage:
        first = await stage.puppet()
        stage.green("t1")
        second = await stage.serving()
        assert second.env["HOTPIPE_TREE"] == "t1"
        assert not is_alive(first.pid)


async def test_a_touch_during_a_stop_is_not_lost(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path, strategy="stop-start")) as stage:
        first = await stage.serving()
        await first.do("linger")
        stage.green("t1")
        await stage.seen.until(ServerOutput, text="not yet")
        by_echo(stage.trigger)
        await stage.seen.until(Warned)
        await first.order("exit 0")
        second = await stage.serving()
        assert (second.env["HOTPIPE_GENERATION"], second.env["HOTPIPE_TREE"]) == ("2", "on disk")


@pytest.mark.parametrize("by_hand", [True, False])
async def test_after_many_touches_the_newest_content_is_served(tmp_path: Path, by_hand: bool) -> None:
    page = tmp_path / "page.txt"
    page.write_text("0")
    async with play(tmp_path, server((*PYTHON, str(PROJECTS / "page.py")))) as stage:
        await stage.seen.until(ServerLive)
        for number in range(1, 31):
            page.write_text(f"{number}")
            by_echo(stage.trigger) if by_hand else stage.green(f"t{number}")
            await anyio.sleep(0.01 * (number % 3))  # now within one look at the trigger, now beyond it
        with anyio.fail_after(PATIENCE_S):
            while await served(stage) != "30":
                pass


async def served(stage: Play) -> str:
    """The page as a client gets it; a client that is cut off by a restart asks again."""
    with suppress(ConnectionResetError), await stage.requesting() as client:
        return (await answer(client)).rpartition(" ")[2]
    return ""


async def test_the_sockets_are_free_again_in_the_end(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path)) as stage:
        child = await stage.serving()
    assert not is_alive(child.pid)
    with socket.create_server(stage.listeners[0].target):
        pass


# --- overlap: the candidate boots beside the one that serves ---------------------------------------------------------

PROGRAM = " ".join(PYTHON)
SMOKE = f"{PROGRAM} {PROJECTS / 'ask.py'} {{url}}/"


class Barrier:
    """A command that ends when the test says so."""

    def __init__(self, folder: Path) -> None:
        path = folder / "barrier"
        os.mkfifo(path)
        self.command = f"echo at the barrier; head -c 1 {path}"
        self._end = os.open(path, os.O_RDWR | os.O_CLOEXEC)  # both ends: opening it waits for nobody, fifo(7)

    def lift(self) -> None:
        os.write(self._end, b"x")

    def close(self) -> None:
        os.close(self._end)


@pytest.fixture
def barrier(tmp_path: Path) -> Iterator[Barrier]:
    made = Barrier(tmp_path)
    yield made
    made.close()


# cargo-watch #75 #88, watchexec #83, air #746: a failing build kills the server
async def test_the_old_one_answers_until_the_new_one_is_ready(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path)) as stage:
        first = await stage.serving()
        async with stage.visited() as visitor:
            stage.green("t1")
            second = await stage.puppet()
            await visits(visitor)
            assert set(visitor.answers) == {"1"}
            assert is_alive(first.pid)
            await second.do("serve")
            await stage.seen.until(ServerLive, generation=2)
            await stage.seen.until(ServerStopped, generation=1)
            await visits(visitor)
            visitor.answers.clear()
        assert set(visitor.answers) == {"2"}
        assert not visitor.failures


async def test_only_the_smoke_test_reaches_the_candidate(tmp_path: Path, barrier: Barrier) -> None:
    async with play(tmp_path, puppet(tmp_path, smoke=(SMOKE, barrier.command))) as stage:
        stage.greeting = REQUEST
        await (await stage.puppet()).do("http 200")
        waiting = await stage.requesting()
        await stage.seen.until(ServerOutput, generation=1, text="smoke was answered 1")
        await stage.seen.until(ServerOutput, text="at the barrier")
        assert not has_answer(waiting)
        barrier.lift()
        await stage.seen.until(ServerLive, generation=1)
        assert await answers([waiting]) == ["1"]
        async with stage.visited() as visitor:
            stage.green("t1")
            await (await stage.puppet()).do("http 200")
            await stage.seen.until(ServerOutput, generation=2, text="smoke was answered 2")
            await stage.seen.until(ServerOutput, text="at the barrier")
            await visits(visitor)
            assert set(visitor.answers) == {"1"}
            barrier.lift()
            await stage.seen.until(ServerLive, generation=2)
        assert not visitor.failures
        assert not stage.seen.of(ServerFailed)


def has_answer(client: socket.socket) -> bool:
    with suppress(BlockingIOError):
        return bool(client.recv(1, socket.MSG_PEEK))
    return False


BAD: dict[str, tuple[dict[str, Any], str, str]] = {
    "exits": ({}, "exit 3", "exited with status 3 before it was ready"),
    "hangs": ({"ready_timeout": Duration(3)}, "deaf", "it accepted no connection within 3s; does its run use"),
    "answers 500": (
        {"ready": Ready("http", http="/healthz"), "ready_timeout": Duration(3)},
        "http 500",
        "no 200 to GET /healthz within 3s: it answered 500",
    ),
    "says nothing": ({"ready": Ready("notify"), "ready_timeout": Duration(3)}, "serve", "it sent no READY=1 within 3s"),
    "fails its smoke test": ({"smoke": (f"{SMOKE} || exit 9",)}, "http 500", "smoke test `"),
    "cannot run beside": ({}, "fail OSError: [Errno 98] Address already in use", 'set strategy = "stop-start"'),
}


# PM2 #2478 #3078: the new version is killed or kept at random
@pytest.mark.parametrize("more, order, reason", BAD.values(), ids=BAD)
async def test_the_old_one_answers_throughout_where_the_new_one_is_bad(
    tmp_path: Path, more: dict[str, Any], order: str, reason: str
) -> None:
    async with play(tmp_path, puppet(tmp_path, stop_timeout=SOON, **more)) as stage:
        stage.greeting = REQUEST
        first = await stage.puppet()
        await first.do("http 200")
        await first.do("notify READY=1")
        await stage.seen.until(ServerLive)
        async with stage.visited() as visitor:
            stage.green("t1")
            second = await stage.puppet()
            await second.order(order)
            failed = await stage.seen.until(ServerFailed)
            assert (failed.generation, failed.serving) == (2, 1)
            assert reason in failed.reason
            await stage.seen.until(ServerStopped, generation=2)
            assert not is_alive(second.pid)
        assert set(visitor.answers) == {"1"}
        assert not visitor.failures
        assert is_alive(first.pid)
        assert len(stage.seen.of(ServerLive)) == 1


async def test_a_candidate_that_shows_itself_and_dies_at_once_harms_nobody(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path, probation=NEVER)) as stage:
        await stage.serving()
        for number in range(2, 6):
            stage.green(f"t{number}")
            candidate = await stage.puppet()
            await candidate.order("accept 0")
            await candidate.order("exit 1")
            failed = await stage.seen.until(ServerFailed)
            assert (failed.generation, failed.serving) == (number, 1)
            await stage.seen.until(ServerStopped, generation=number)
            assert await stage.ask() == "1"


async def test_what_is_asked_of_a_process_that_has_just_ended_is_asked_in_vain(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path)) as stage:
        await stage.serving()
        stage.green("t1")
        candidate = await stage.puppet()
        process = stage.loop._processes[2]
        await candidate.order("exit 1")
        await stage.seen.until(ServerStopped, generation=2)
        process.prove(stage.disk.settle)
        process.reload()
        process.retire()
        process.stop()


async def test_one_that_dies_in_probation_gives_the_traffic_back(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path, probation=NEVER)) as stage:
        first = await stage.serving()
        async with stage.visited() as visitor:
            stage.green("t1")
            second = await stage.serving("accept 0")
            stranded = [await stage.connect() for _ in range(20)]
            await second.order("exit 1")
            failed = await stage.seen.until(ServerFailed)
            assert (failed.generation, failed.reason, failed.serving) == (2, "exited with status 1", 1)
            assert await answers(stranded) == ["1"] * 20
            await stage.seen.until(ServerStopped, generation=2)
        assert set(visitor.answers) == {"1"}
        assert not visitor.failures
        assert stage.loop._state == lifecycle.Live(stage.loop._state.past, stage.loop._state.generation)
        assert is_alive(first.pid)
        assert len(stage.seen.of(ServerStarting)) == 2
        stage.green("t2")
        assert (await stage.serving()).generation == 3


async def test_who_waits_for_the_dead_is_answered_before_it_is_buried(tmp_path: Path, barrier: Barrier) -> None:
    async with play(tmp_path, puppet(tmp_path, probation=NEVER, hooks=Hooks(after_stop=barrier.command))) as stage:
        await stage.serving()
        stage.green("t1")
        second = await stage.serving("accept 0")
        stranded = [await stage.connect() for _ in range(5)]
        await second.order("exit 1")
        await stage.seen.until(ServerOutput, generation=2, text="at the barrier")
        assert await answers(stranded) == ["1"] * 5
        assert not stage.seen.of(ServerStopped)
        barrier.lift()
        await stage.seen.until(ServerStopped, generation=2)
        barrier.lift()


async def test_one_that_falls_silent_in_probation_gives_the_traffic_back(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path, probation=NEVER)) as stage:
        await stage.serving()
        stage.green("t1")
        second = await stage.serving()
        assert await stage.ask() == "2"
        await second.do("notify WATCHDOG=trigger")
        failed = await stage.seen.until(ServerFailed)
        assert (failed.generation, failed.reason, failed.serving) == (2, "it said WATCHDOG=trigger", 1)
        assert await stage.ask() == "1"
        await stage.seen.until(ServerStopped, generation=2)
        assert await stage.ask() == "1"


async def test_after_probation_the_old_one_goes(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path, probation=SOON)) as stage:
        await stage.serving()
        stage.green("t1")
        await stage.serving()
        assert not stage.seen.of(ServerDraining)
        assert (await stage.seen.until(ServerStopped)).generation == 1
        assert stage.seen.of(ServerDraining)[0].generation == 1
        assert await stage.ask() == "2"


async def test_an_old_one_that_dies_in_probation_is_not_missed(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path, probation=NEVER)) as stage:
        first = await stage.serving()
        stage.green("t1")
        await stage.serving()
        await first.order("exit 1")
        assert (await stage.seen.until(ServerStopped)).generation == 1
        assert await stage.ask() == "2"
        assert not stage.seen.of(ServerFailed)


async def test_a_green_in_probation_ends_it(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path, probation=NEVER)) as stage:
        await stage.serving()
        stage.green("t1")
        await stage.serving()
        stage.green("t2")
        third = await stage.puppet()
        assert [event.generation for event in stage.seen.of(ServerStopped)] == [1]
        assert await stage.ask() == "2"
        await third.do("serve")
        await stage.seen.until(ServerLive, generation=3)
        assert await stage.ask() == "3"


# --- drain -----------------------------------------------------------------------------------------------------------


@BOTH
async def test_a_request_in_flight_is_answered_by_the_one_that_took_it(tmp_path: Path, strategy: str) -> None:
    async with play(tmp_path, puppet(tmp_path, strategy=strategy, drain_timeout=NEVER)) as stage:
        first = await stage.serving("hold")
        client = await stage.requesting()
        await first.do("held")
        stage.green("t1")
        if strategy == "overlap":
            await stage.serving()
            assert await stage.ask() == "2"
        await stage.seen.until(ServerDraining, generation=1)
        later = await stage.connect()
        assert is_alive(first.pid)
        await first.do("release")
        assert await answers([client]) == ["1"]
        if strategy == "stop-start":
            await stage.serving()
        assert await answers([later]) == ["2"]
        assert not (await stage.seen.until(ServerStopped)).killed


# uvicorn #2943 #936, nodemon #1633: the restart hangs for ever
async def test_a_request_that_is_never_answered_does_not_keep_the_old_one(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path, drain_timeout=SOON, stop_timeout=SOON)) as stage:
        first = await stage.serving("hold", "deaf")
        client = await stage.requesting()
        await first.do("held")
        stage.green("t1")
        await stage.serving()
        stopped = await stage.seen.until(ServerStopped)
        assert (stopped.generation, stopped.signal, stopped.killed) == (1, "KILL", True)
        assert not is_alive(first.pid)
        assert await stage.ask() == "2"
        client.close()


@pytest.mark.skipif(diag.connections(1) is None, reason="this kernel does not answer NETLINK_SOCK_DIAG")
@pytest.mark.parametrize("comes_back", [True, False])
async def test_its_end_says_whether_it_was_asked_on_a_connection_from_before(tmp_path: Path, comes_back: bool) -> None:
    """A browser keeps its connections, and so the page that it loads anew in the probation is the old one's."""
    async with play(tmp_path, puppet(tmp_path, probation=NEVER)) as stage:
        first = await stage.serving("hold")
        with await stage.requesting() as client:
            await first.do("held")
            stage.green("t1")
            await stage.serving()
            with anyio.fail_after(PATIENCE_S):
                while comes_back and not stage.cutover.was_revisited(1):  # also if that connection is closed soon
                    client.send(REQUEST)
                    await anyio.sleep(0.005)
            await first.do("release")
        stage.green("t2")
        assert (await stage.seen.until(ServerStopped)).revisited is comes_back


@pytest.mark.parametrize("talks_last", ["server", "client"])
async def test_a_connection_without_end_does_not_keep_the_old_one(tmp_path: Path, talks_last: str) -> None:
    """Server-sent events, and a WebSocket whose client waits for an answer."""
    async with play(tmp_path, puppet(tmp_path, drain_timeout=Duration(1))) as stage:
        await stage.serving("stream")
        with await stage.requesting() as client:
            assert await received(client) == b"1\n"
            if talks_last == "client":
                client.send(b"are you there?")
            stage.green("t1")
            await stage.serving()
            assert await stage.ask() == "2"
            stopped = await stage.seen.until(ServerStopped)
            assert (stopped.generation, stopped.killed) == (1, False)
            with suppress(ConnectionResetError):
                assert await received(client) == b""


async def test_hotpipes_end_does_not_wait_for_a_drain(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path, drain_timeout=NEVER)) as stage:
        first = await stage.serving("hold")
        with await stage.requesting():
            await first.do("held")
            stage.green("t1")
            await stage.serving()
            await stage.seen.until(ServerDraining)
            stage.loop.stop()
            await stage.seen.until(ServerStopped, generation=1)


async def test_one_that_dies_while_it_drains_leaves_nobody_waiting(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path, drain_timeout=NEVER)) as stage:
        first = await stage.serving("accept 0")
        queued = [await stage.connect() for _ in range(5)]
        stage.green("t1")
        await stage.serving()
        await stage.seen.until(ServerDraining, generation=1)
        await first.order("exit 1")
        assert await answers(queued) == ["2"] * 5


# --- what is on disk changes while a candidate boots -----------------------------------------------------------------


async def test_a_candidate_that_may_have_read_a_later_tree_is_discarded(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path)) as stage:
        await stage.serving()
        stage.save("t1")
        second = await stage.puppet()
        stage.disk.write("t2")
        discarded = await stage.seen.until(ServerDiscarded)
        assert (discarded.generation, discarded.serving) == (2, 1)
        await stage.seen.until(ServerStopped, generation=2)
        assert not is_alive(second.pid)
        assert await stage.ask() == "1"
        stage.green("t2")
        third = await stage.serving()
        assert third.env["HOTPIPE_TREE"] == "t2"
        assert [event.generation for event in stage.seen.of(ServerLive)] == [1, 3]
        assert not stage.seen.of(ServerFailed)


async def test_a_change_that_nobody_has_told_yet_is_asked_for_before_the_switch(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path)) as stage:
        await stage.serving()
        stage.save("t1")
        second = await stage.puppet()
        stage.disk.write_unseen("t2")
        await second.do("serve")
        assert (await stage.seen.until(ServerDiscarded)).generation == 2
        await stage.seen.until(ServerStopped, generation=2)
        assert len(stage.seen.of(ServerLive)) == 1


async def test_a_change_that_is_none_of_its_inputs_does_not_undo_a_candidate(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path, inputs=("src/**",))) as stage:
        await stage.serving()
        stage.save("t1", "src/app.py")
        second = await stage.puppet()
        stage.disk.write("t2", "docs/index.md")
        await second.do("serve")
        await stage.seen.until(ServerLive, generation=2)
        assert (await stage.seen.until(ServerVerified)).tree == "t1"
        assert not stage.seen.of(ServerDiscarded)


@pytest.mark.parametrize("trees", [("t2", "t1"), ("t1",)], ids=["there and back", "the same again"])
async def test_a_tree_that_came_back_is_booted_again(tmp_path: Path, trees: tuple[str, ...]) -> None:
    """What was read in between, nobody knows."""
    async with play(tmp_path, puppet(tmp_path)) as stage:
        await stage.serving()
        stage.save("t1")
        await stage.puppet()
        for tree in trees:
            stage.disk.write(tree)
        third = await stage.serving()
        assert (third.generation, third.env["HOTPIPE_TREE"]) == (3, "t1")
        assert (await stage.seen.until(ServerVerified)).generation == 3
        assert stage.seen.of(ServerDiscarded)[0].generation == 2


async def test_where_nobody_serves_a_candidate_goes_live_unverified(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path, start="green")) as stage:
        stage.save("t1")
        first = await stage.puppet()
        stage.disk.write("t2")
        await first.do("serve")
        await stage.seen.until(ServerLive, generation=1)
        assert not stage.seen.of(ServerVerified)
        stage.green("t2")
        assert (await stage.serving()).env["HOTPIPE_TREE"] == "t2"
        assert (await stage.seen.until(ServerVerified)).generation == 2


async def boot_and_write(stage: Play, tree: str) -> Puppet:
    """A candidate for what is on disk; and while it boots, app.db is written."""
    stage.green(stage.disk.tree)
    candidate = await stage.puppet()
    stage.disk.write(tree, "app.db")
    return candidate


# watchexec #40, tilt #3404: a command triggers itself for ever
async def test_a_server_that_writes_what_is_watched_goes_live_in_the_end(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path)) as stage:
        await stage.serving()
        stage.disk.write("t1")
        for number in (2, 3):
            await boot_and_write(stage, f"written by {number}")
            assert (await stage.seen.until(ServerDiscarded)).generation == number
        fourth = await boot_and_write(stage, "written by 4")
        warned = await stage.seen.until(Warned)
        assert warned.code == "server.writes"
        assert "app.db" in warned.message
        await fourth.do("serve")
        await stage.seen.until(ServerLive, pid=fourth.pid)
        await stage.seen.until(ServerStopped, generation=1)


async def test_what_is_written_while_nobody_boots_is_not_taken_for_the_servers_own(tmp_path: Path) -> None:
    """Somebody who saves one file during three boots in a row must not lose sight of it for ever."""
    async with play(tmp_path, puppet(tmp_path)) as stage:
        await stage.serving()
        stage.disk.write("t1")
        for number in (2, 3, 4):
            candidate = await boot_and_write(stage, f"written during {number}")
        await candidate.do("serve")
        await stage.seen.until(ServerLive, pid=candidate.pid)
        await stage.seen.until(ServerStopped, generation=1)
        stage.disk.write("t2", "app.db")
        await boot_and_write(stage, "t3")
        assert (await stage.seen.until(ServerDiscarded, generation=5)).serving == 4


# --- a live one dies -------------------------------------------------------------------------------------------------


async def crash(stage: Play, victim: Puppet, status: int = 1) -> ServerFailed:
    await victim.order(f"exit {status}")
    failed = await stage.seen.until(ServerFailed)
    await stage.seen.until(ServerStopped, generation=victim.generation)
    return failed


async def test_after_a_crash_clients_wait_for_the_next_one(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path)) as stage:
        first = await stage.serving("accept 0")
        queued = await stage.connect()
        failed = await crash(stage, first, 7)
        assert (failed.generation, failed.reason, failed.serving) == (1, "exited with status 7", None)
        later = await stage.connect()
        second = await stage.serving()
        assert second.env["HOTPIPE_TREE"] == "on disk"
        assert await answers([queued, later]) == ["2", "2"]
        assert not stage.seen.of(Warned)


async def test_the_third_crash_in_a_row_is_called_a_loop(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path)) as stage:
        for number in (1, 2, 3):
            assert not stage.seen.of(Warned)
            assert (await crash(stage, await stage.serving())).generation == number
        warned = await stage.seen.until(Warned)
        assert warned.code == "server.crashing"
        stage.green("t1")
        assert (await stage.serving()).env["HOTPIPE_TREE"] == "t1"


async def test_a_green_run_does_not_wait_for_the_next_attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "FIRST_PAUSE_S", 3600)
    monkeypatch.setattr(lifecycle, "LONGEST_PAUSE_S", 3600)
    async with play(tmp_path, puppet(tmp_path)) as stage:
        await crash(stage, await stage.serving())
        client = await stage.connect()
        stage.green("t1")
        await stage.serving()
        assert await answers([client]) == ["2"]


@pytest.mark.parametrize(
    "restart, status, comes_back",
    [
        ("on-failure", 0, False),
        ("on-failure", 1, True),
        ("never", 1, False),
        ("always", 0, True),
    ],
)
async def test_restart_says_which_end_calls_for_another_start(
    tmp_path: Path, restart: str, status: int, comes_back: bool
) -> None:
    async with play(tmp_path, puppet(tmp_path, restart=restart)) as stage:
        await crash(stage, await stage.serving(), status)
        assert isinstance(stage.loop._state, lifecycle.Waiting if comes_back else lifecycle.Down)
        if comes_back:
            assert (await stage.serving()).generation == 2
        else:
            stage.green("t1")
            assert (await stage.serving()).env["HOTPIPE_TREE"] == "t1"


async def test_a_live_one_that_dies_while_another_boots_is_replaced_by_it(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path)) as stage:
        first = await stage.serving("accept 0")
        stage.green("t1")
        second = await stage.puppet()
        queued = await stage.connect()
        assert (await crash(stage, first)).serving is None
        later = await stage.connect()
        await second.do("serve")
        assert await answers([queued, later]) == ["2", "2"]


# --- strategy signal -------------------------------------------------------------------------------------------------


async def test_a_server_that_reloads_itself_keeps_its_process(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path, strategy="signal", signal="USR1")) as stage:
        child = await stage.serving("hear USR1", "serve")
        async with stage.visited() as visitor:
            stage.green("t1")
            await stage.seen.until(ServerOutput, text="heard")
            await child.do("become 2")
            live = await stage.seen.until(ServerLive)
            assert (live.generation, live.pid) == (2, child.pid)
        assert await stage.ask() == "2"
        assert not visitor.failures
        assert (await stage.seen.until(ServerVerified)).generation == 2
        assert not stage.seen.of(ServerStopped)


async def test_a_reload_that_fails_is_reported_and_the_next_one_tried(tmp_path: Path) -> None:
    more = {"strategy": "signal", "ready": Ready("notify"), "ready_timeout": Duration(3)}
    async with play(tmp_path, puppet(tmp_path, **more)) as stage:
        child = await stage.serving("hear HUP", "serve", "notify READY=1")
        stage.green("t1")
        await stage.seen.until(ServerOutput, text="heard")
        await child.do("notify RELOADING=1 MONOTONIC_USEC=1")
        failed = await stage.seen.until(ServerFailed)
        assert (failed.generation, failed.reason, failed.serving) == (2, "it sent no READY=1 within 3s", 1)
        assert await stage.ask() == "1"
        stage.green("t2")
        await stage.seen.until(ServerOutput, text="heard")
        await child.do("notify RELOADING=1 MONOTONIC_USEC=2")
        await child.do("notify READY=1")
        live = await stage.seen.until(ServerLive)
        assert (live.generation, live.pid) == (3, child.pid)


async def test_a_reload_that_takes_long_to_begin_is_waited_for(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path, strategy="signal", ready=Ready("notify"))) as stage:
        child = await stage.serving("hear HUP", "serve", "notify READY=1")
        stage.green("t1")
        await stage.seen.until(ServerOutput, text="heard")
        await anyio.sleep(1.3)  # the wait for READY=1 begins a second after the signal: now somebody waits
        await child.do("notify RELOADING=1 MONOTONIC_USEC=1")
        assert len(stage.seen.of(ServerLive)) == 1
        await child.do("notify READY=1")
        assert (await stage.seen.until(ServerLive)).generation == 2


async def test_a_server_that_dies_of_its_reload_is_started_again(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path, strategy="signal")) as stage:
        first = await stage.serving()
        stage.green("t1")
        failed = await stage.seen.until(ServerFailed)
        assert (failed.reason, failed.serving) == ("killed by SIGHUP", None)
        client = await stage.connect()
        second = await stage.serving()
        assert second.pid != first.pid
        assert await answers([client]) == [second.env["HOTPIPE_GENERATION"]]


# --- environment and descriptors -------------------------------------------------------------------------------------

OURS = ("LISTEN_", "NOTIFY_", "WATCHDOG_", "HOTPIPE_")


def ours(env: Mapping[str, str]) -> set[str]:
    return {name for name in env if name.startswith(OURS)} - {"HOTPIPE_REQUIRE"}  # conftest.py's


@pytest.fixture
def crowded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """hotpipe itself was given sockets, a supervisor, and descriptors 3 and up that are open and inheritable."""
    for name in ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.setenv(name, "hotpipe's own")
    extra = [os.open(os.devnull, os.O_RDONLY) for _ in range(12)]
    for descriptor in extra:
        os.set_inheritable(descriptor, True)
    yield
    for descriptor in extra:
        os.close(descriptor)


def witness(word: str) -> str:
    return f"{PROGRAM} {PROJECTS / 'witness.py'} {word}"


async def test_children_get_what_the_contract_says_and_nothing_else(tmp_path: Path, crowded: None) -> None:
    listen = tuple(map(Listen.of, ("http::0", "unix::web.sock", "udp::0")))
    hooks = Hooks(**{moment: witness(moment) for moment in Hooks.__struct_fields__})
    more = {"listen": listen, "hooks": hooks, "smoke": (witness("smoke"),), "watchdog": Duration(60)}
    async with play(tmp_path, puppet(tmp_path, **more)) as stage:
        child = await stage.serving()
        assert child.fds == [3, 4, 5]
        assert [child.addresses[0][1], child.addresses[2][1]] == [stage.ports[0], stage.listeners[2].port]
        assert ours(child.env) == {
            *("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "WATCHDOG_USEC"),
            *("HOTPIPE_GENERATION", "HOTPIPE_SERVER", "HOTPIPE_TREE", "HOTPIPE_SPAWN"),
        }
        assert child.env["LISTEN_FDNAMES"] == "http:unix:udp"
        assert child.env["LISTEN_FDS"] == "3"
        assert child.env["LISTEN_PID"] == str(child.pid)
        assert child.env["WATCHDOG_USEC"] == "60000000"
        second = await again(stage)
        assert second.fds == [3, 4, 5]
        assert second.env["NOTIFY_SOCKET"] != child.env["NOTIFY_SOCKET"]
        await stage.seen.until(ServerStopped, generation=1)
        await crash(stage, second)
    told = [json.loads(line.text) for line in stage.seen.of(ServerOutput)]
    assert {each["word"] for each in told} == {"smoke", *Hooks.__struct_fields__}
    for each in told:
        identity = {"HOTPIPE_GENERATION", "HOTPIPE_SERVER", "HOTPIPE_TREE", "HOTPIPE_SPAWN"}
        of_hooks = {"HOTPIPE_HOOK", "HOTPIPE_REASON"} if each["word"] != "smoke" else set()
        assert (each["fds"], ours(each["env"])) == ([0, 1, 2], identity | of_hooks), each["word"]


async def again(stage: Play) -> Puppet:
    stage.green("t1")
    return await stage.serving()


async def test_each_socket_is_handed_over(tmp_path: Path) -> None:
    listen = tuple(map(Listen.of, ("http::0", "unix::web.sock", "udp::0")))
    async with play(tmp_path, puppet(tmp_path, listen=listen)) as stage:
        await stage.serving()
        assert [await stage.ask(0), await stage.ask(1), await ask_datagram(stage, 2)] == ["1"] * 3
        stage.green("t1")
        second = await stage.puppet()
        assert [await stage.ask(0), await stage.ask(1), await ask_datagram(stage, 2)] == ["1"] * 3
        await second.do("serve")
        await stage.seen.until(ServerLive, generation=2)
        assert [await stage.ask(0), await stage.ask(1), await ask_datagram(stage, 2)] == ["2"] * 3


async def ask_datagram(stage: Play, place: int) -> str:
    with await stage.connect(place) as client:
        client.send(b"?")
        return (await received(client)).decode()


# --- hooks -----------------------------------------------------------------------------------------------------------


async def test_hooks_run_at_their_moments(tmp_path: Path) -> None:
    log = tmp_path / "log"
    tell = f'echo "$HOTPIPE_GENERATION $HOTPIPE_HOOK {{port}} $HOTPIPE_REASON" >> {log}'
    async with play(
        tmp_path, puppet(tmp_path, hooks=Hooks(**dict.fromkeys(Hooks.__struct_fields__, ("true", tell))))
    ) as stage:
        port = stage.ports[0]
        await stage.serving()
        stage.green("t1")
        await (await stage.puppet()).order("exit 3")
        await stage.seen.until(ServerStopped, generation=2)
        stage.green("t2")
        third = await stage.puppet()
        assert f"3 before_start {port} " in log.read_text().splitlines(), "the server was started before its hook"
        await third.do("serve")
        await stage.seen.until(ServerStopped, generation=1)
    said = log.read_text().splitlines()
    assert [line for line in said if line.startswith("1")] == [
        f"1 {moment} {port} " for moment in ("before_start", "after_ready", "before_stop", "after_stop")
    ]
    assert said.index(f"2 before_start {port} ") < said.index(f"2 after_stop {port} ")
    assert f"2 on_failure {port} exited with status 3 before it was ready" in said
    assert f"2 before_stop {port} " not in said


async def test_a_hook_that_fails_before_the_start_keeps_the_old_one(tmp_path: Path) -> None:
    hooks = Hooks(before_start="test $HOTPIPE_GENERATION != 2 || exit 5")
    async with play(tmp_path, puppet(tmp_path, hooks=hooks)) as stage:
        await stage.serving()
        async with stage.visited() as visitor:
            stage.green("t1")
            failed = await stage.seen.until(ServerFailed)
            assert (failed.generation, failed.serving) == (2, 1)
            assert failed.reason.startswith("hook before_start: `test")
            assert failed.reason.endswith("exited with status 5")
        assert set(visitor.answers) == {"1"}
        assert not visitor.failures
        stage.green("t2")
        assert (await stage.serving()).generation == 3


async def test_a_hook_that_hangs_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    hooks = Hooks(before_stop="echo stuck; sleep 3600")
    async with play(tmp_path, puppet(tmp_path, hooks=hooks, stop_timeout=Duration(1))) as stage:
        await stage.serving()
        stage.green("t1")
        await stage.serving()
        await stage.seen.until(ServerStopped, generation=1)
        warned = await stage.seen.until(Warned)
        assert (warned.code, warned.message) == (
            "hook.failed",
            "web: hook before_stop: `echo stuck; sleep 3600` took longer than 1 s",
        )


async def test_hotpipes_end_does_not_wait_for_a_hook_before_a_start(tmp_path: Path, barrier: Barrier) -> None:
    async with play(tmp_path, puppet(tmp_path, hooks=Hooks(before_start=barrier.command))) as stage:
        await stage.seen.until(ServerOutput, text="at the barrier")
    assert not stage.seen.of(ServerStarting)


# --- what servers say of themselves: sd_notify(3) --------------------------------------------------------------------


async def test_a_server_says_how_it_is(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path)) as stage:
        child = await stage.serving()
        await child.do("notify STATUS=fine")
        assert await stage.seen.until(ServerStatus) == ServerStatus(server="web", generation=1, text="fine")


async def test_ready_may_be_said(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path, ready=Ready("notify"))) as stage:
        child = await stage.puppet()
        await child.do("serve")
        await child.do("notify STATUS=nearly")
        await stage.seen.until(ServerStatus)
        assert not stage.seen.of(ServerReady)
        await child.do("notify READY=1")
        assert (await stage.seen.until(ServerReady)).how == "READY=1"


async def test_a_candidate_may_ask_for_more_time(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path, ready=Ready("notify"), ready_timeout=Duration(2))) as stage:
        child = await stage.puppet()
        await child.do("notify EXTEND_TIMEOUT_USEC=3600000000")
        await anyio.sleep(2.2)  # longer than ready_timeout
        assert not stage.seen.of(ServerFailed)
        await child.do("notify READY=1")
        await stage.seen.until(ServerLive)


async def test_a_live_one_without_signs_of_life_is_taken_for_dead(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path, watchdog=SOON)) as stage:
        child = await stage.serving()
        failed = await stage.seen.until(ServerFailed)
        assert (failed.reason, failed.serving) == ("it sent no WATCHDOG=1 for 0.3 s", None)
        assert (await stage.seen.until(ServerStopped)).generation == 1
        assert not is_alive(child.pid)
        assert (await stage.puppet()).generation == 2


async def test_signs_of_life_keep_it_alive(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path, watchdog=Duration(1))) as stage:
        child = await stage.serving()
        for _ in range(8):
            await anyio.sleep(0.2)
            await child.do("notify WATCHDOG=1")
        assert not stage.seen.of(ServerFailed)
        await child.do("notify WATCHDOG_USEC=0")
        await anyio.sleep(1.2)
        assert not stage.seen.of(ServerFailed)


async def test_a_server_may_have_another_main_process(tmp_path: Path) -> None:
    """Daemons fork and go on in the child: MAINPID=, and the end of the parent is not that of the server."""
    async with play(tmp_path, puppet(tmp_path, drain_timeout=NEVER)) as stage:
        child = await stage.serving()
        heir = await child.do("bequeath")
        await until_dead(child.pid)
        await child.do("hold")
        client = await stage.requesting()
        await child.do("held")
        assert not stage.seen.of(ServerFailed)
        stage.green("t1")
        await stage.serving()
        await stage.seen.until(ServerDraining, generation=1)
        await child.do("release")
        assert await answers([client]) == ["1"]
        await stage.seen.until(ServerStopped, generation=1)
        assert not is_alive(heir)


async def test_the_end_of_another_main_process_is_the_servers(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path)) as stage:
        child = await stage.serving()
        heir = await child.do("bequeath")
        await child.order("exit 0")
        failed = await stage.seen.until(ServerFailed)
        assert failed.reason == f"its main process, pid {heir}, ended"
        assert (await stage.serving()).generation == 2


# --- many touches, and the end ---------------------------------------------------------------------------------------


def alive_here() -> list[int]:
    """The children of this process that serve pages: proc_pid_task(5)."""
    found = []
    for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        with suppress(OSError):
            if "page.py" in Path(f"/proc/{pid}/cmdline").read_text():  # a zombie's is empty
                found.append(int(pid))
    return found


@BOTH
async def test_of_fifty_touches_within_a_second_the_last_is_served_and_never_are_three_alive(
    tmp_path: Path, strategy: str
) -> None:
    page, most = tmp_path / "page.txt", 0
    page.write_text("0")

    async def count() -> None:
        nonlocal most
        while True:
            most = max(most, len(alive_here()))
            await anyio.sleep(0.002)

    async with play(tmp_path, server((*PYTHON, str(PROJECTS / "page.py")), strategy=strategy)) as stage:
        await stage.seen.until(ServerLive)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(count)
            for number in range(1, 51):
                page.write_text(f"{number}")
                stage.save(f"t{number}")
                await anyio.sleep(0.02)
            await stage.seen.until(ServerVerified, tree="t50")
            tasks.cancel_scope.cancel()
        assert await served(stage) == "50"
        assert most == (2 if strategy == "overlap" else 1)


async def test_what_is_told_after_the_end_harms_nobody(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path)) as stage:
        await stage.serving()
    stage.loop.changed(("app.py",), "t2")
    stage.loop.restart()
    stage.loop.stop()


async def test_a_server_of_many_threads_heeds_its_stop_signal_each_time(tmp_path: Path) -> None:
    """It is stopped while it stands still: which thread wakes first must not decide whether its handler runs."""
    async with play(tmp_path, puppet(tmp_path)) as stage:
        await stage.serving("polite", *["serve"] * 4)
        for number in range(1, 7):
            stage.green(f"t{number}")
            await stage.serving("polite", *["serve"] * 4)
            stopped = await stage.seen.until(ServerStopped)
            assert (stopped.generation, stopped.exit_code, stopped.killed) == (number, 0, False)


async def test_another_main_process_is_heard(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path)) as stage:
        child = await stage.serving()
        await child.do("bequeath")
        await until_dead(child.pid)
        await child.do("say still here")
        assert (await stage.seen.until(ServerOutput)).text == "still here"

"""The server half with real sockets and real children: what they inherit, when they are ready, how they are replaced.

Most children are puppets (tests/projects/puppet.py): they do what the test tells them, when it tells them.
"""

import os
import socket
import struct
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from play import (
    AT_ONCE,
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
from hotpipe.server import lifecycle

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
    info = stage.cutover._public[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
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
            while stage.listeners[1].waiting(stage.cutover._public[1]) < 1:
                await anyio.sleep(0.001)  # the knock at the second one
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


# --- restarts ------------------------------------------------------------------------------------------------------


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


async def test_what_a_server_says_while_it_stops_is_heard(tmp_path: Path) -> None:
    async with play(tmp_path, puppet(tmp_path)) as stage:
        child = await stage.serving()
        await child.do("polite")
        stage.green("t1")
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

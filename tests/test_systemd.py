"""What hotpipe says of itself to systemd: histories of events and the exact lines that follow, over real sockets."""

import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from hotpipe.bus import Bus
from hotpipe.events import (
    AnyEvent,
    Ending,
    RunFinished,
    RunStarted,
    ServerDiscarded,
    ServerDraining,
    ServerFailed,
    ServerLive,
    ServerOutput,
    ServerStarting,
    ServerStopped,
    ServerVerified,
    StageFinished,
    Stamp,
    Stamped,
    WatchReady,
)
from hotpipe.server import notify
from hotpipe.server.notify import NotifySocket
from hotpipe.ui.systemd import LONGEST_STATUS, Link, Upward, speak

PATIENCE_S = 30
SECOND = 1_000_000
WATCHED = WatchReady(dirs=1, files=2, took_ms=3.0)
MONO = 5.25
RELOADING = ["RELOADING=1", "MONOTONIC_USEC=5250000"]
STOPPING = ["STOPPING=1", "STATUS=stopping"]

History = list[tuple[AnyEvent, list[str]]]


def starting(generation: int, server: str = "web", tree: str | None = "t") -> ServerStarting:
    return ServerStarting(server=server, generation=generation, pid=100 + generation, tree=tree)


def live(generation: int, server: str = "web") -> ServerLive:
    return ServerLive(server=server, generation=generation, pid=100 + generation, sockets=(), took_ms=1.0)


def verified(generation: int, server: str = "web") -> ServerVerified:
    return ServerVerified(server=server, generation=generation, tree="t")


def failed(generation: int, serving: int | None, reason: str = "no answer", server: str = "web") -> ServerFailed:
    return ServerFailed(server=server, generation=generation, reason=reason, serving=serving)


def discarded(generation: int, serving: int | None) -> ServerDiscarded:
    return ServerDiscarded(server="web", generation=generation, reason="there is a newer one", serving=serving)


def draining(generation: int) -> ServerDraining:
    return ServerDraining(server="web", generation=generation)


def stopped(generation: int) -> ServerStopped:
    return ServerStopped(server="web", generation=generation, exit_code=0, signal=None, killed=False)


def run_started(run: int) -> RunStarted:
    return RunStarted(run=run, tree="t", changed=())


def stage(run: int, name: str, status: Any) -> StageFinished:
    return StageFinished(run=run, stage=name, status=status, exit_code=1, took_ms=1.0)


def run_finished(run: int, status: Any) -> RunFinished:
    return RunFinished(run=run, status=status, took_ms=1.0)


def stamped(event: AnyEvent, mono: float = MONO) -> Stamped:
    return Stamped(Stamp(seq=1, time="", mono=mono), event)


def status(text: str) -> list[str]:
    return [f"STATUS={text}"]


UP: History = [
    (starting(1), status("web: generation 1 is starting")),
    (live(1), ["READY=1", *status("web: generation 1 is live, unverified")]),
    (verified(1), status("web: generation 1 is live")),
]

HISTORIES: dict[str, tuple[tuple[str, ...], History]] = {
    "a gate is ready when it watches": (
        (),
        [
            (WATCHED, ["READY=1"]),
            (run_started(1), status("run 1 is going on")),
            (stage(1, "lint", "passed"), []),
            (stage(1, "test", "failed"), []),
            (run_finished(1, "red"), status("run 1 red: test")),
            (run_started(2), status("run 2 is going on")),
            (run_finished(2, "superseded"), status("run 2 superseded")),
            (run_started(3), status("run 3 is going on")),
            (run_finished(3, "green"), status("run 3 green")),
            (WATCHED, []),
            (Ending(), STOPPING),
        ],
    ),
    "a gate with servers is not ready when it watches": (
        ("web",),
        [(WATCHED, status("web: nobody serves"))],
    ),
    "ready once, when the server is live": (
        ("web",),
        [*UP, (Ending(), STOPPING), (Ending(), []), (stopped(1), [])],
    ),
    "ready when all servers are live": (
        ("web", "api"),
        [
            (starting(1), status("web: generation 1 is starting; api: nobody serves")),
            (live(1), status("web: generation 1 is live, unverified; api: nobody serves")),
            (starting(1, "api"), status("web: generation 1 is live, unverified; api: generation 1 is starting")),
            (starting(2), status("web: generation 2 is starting, generation 1 is live, unverified; "
                                 "api: generation 1 is starting")),
            (live(1, "api"), ["READY=1", *status("web: generation 2 is starting, generation 1 is live, unverified; "
                                                 "api: generation 1 is live, unverified")]),
            (live(2), status("web: generation 2 is live, unverified; api: generation 1 is live, unverified")),
        ],
    ),
    "a first start that fails is not ready": (
        ("web",),
        [
            (starting(1), status("web: generation 1 is starting")),
            (failed(1, None), status("web: generation 1 failed: no answer, nobody serves")),
            (stopped(1), []),
            (starting(2), status("web: generation 2 is starting")),
            (live(2), ["READY=1", *status("web: generation 2 is live, unverified")]),
        ],
    ),
    "overlap: reloading until the next one is live": (
        ("web",),
        [
            *UP,
            (starting(2), [*RELOADING, *status("web: generation 2 is starting, generation 1 is live")]),
            (live(2), ["READY=1", *status("web: generation 2 is live, unverified")]),
            (verified(2), status("web: generation 2 is live")),
            (draining(1), []),
            (stopped(1), []),
        ],
    ),
    "overlap: reloading until the next one has failed": (
        ("web",),
        [
            *UP,
            (starting(2), [*RELOADING, *status("web: generation 2 is starting, generation 1 is live")]),
            (failed(2, 1), ["READY=1", *status("web: generation 2 failed: no answer, generation 1 is live")]),
            (stopped(2), []),
            (starting(3), [*RELOADING, *status("web: generation 3 is starting, generation 1 is live")]),
        ],
    ),
    "overlap: a candidate that is not wanted any more": (
        ("web",),
        [
            *UP,
            (starting(2), [*RELOADING, *status("web: generation 2 is starting, generation 1 is live")]),
            (discarded(2, 1), ["READY=1", *status("web: generation 1 is live")]),
            (stopped(2), []),
        ],
    ),
    "probation: the new one dies and the old one goes on": (
        ("web",),
        [
            *UP,
            (starting(2), [*RELOADING, *status("web: generation 2 is starting, generation 1 is live")]),
            (live(2), ["READY=1", *status("web: generation 2 is live, unverified")]),
            (failed(2, 1), status("web: generation 2 failed: no answer, generation 1 is live")),
            (stopped(2), []),
        ],
    ),
    "stop-start: reloading though nobody is live for a moment": (
        ("web",),
        [
            *UP,
            (draining(1), []),
            (stopped(1), status("web: nobody serves")),
            (starting(2), [*RELOADING, *status("web: generation 2 is starting")]),
            (failed(2, None), ["READY=1", *status("web: generation 2 failed: no answer, nobody serves")]),
            (stopped(2), []),
            (starting(3), status("web: generation 3 is starting")),
            (live(3), status("web: generation 3 is live, unverified")),
        ],
    ),
    "the live one dies while the next one starts": (
        ("web",),
        [
            *UP,
            (starting(2), [*RELOADING, *status("web: generation 2 is starting, generation 1 is live")]),
            (failed(1, None), status("web: generation 2 is starting, generation 1 failed: no answer")),
            (live(2), ["READY=1", *status("web: generation 2 is live, unverified")]),
        ],
    ),
    "a crash is no reload, and three of them are a loop": (
        ("web",),
        [
            *UP,
            (failed(1, None), status("web: generation 1 failed: no answer, nobody serves")),
            (stopped(1), []),
            (starting(2), status("web: generation 2 is starting")),
            (failed(2, None), status("web: generation 2 failed: no answer, nobody serves")),
            (starting(3), status("web: generation 3 is starting")),
            (live(3), status("web: generation 3 is live, unverified")),
            (failed(3, None),
             status("web: crash loop, died 3 times, generation 3 failed: no answer, nobody serves")),
            (starting(4), status("web: crash loop, died 3 times, generation 4 is starting")),
            (failed(4, None),
             status("web: crash loop, died 4 times, generation 4 failed: no answer, nobody serves")),
            (starting(5, tree="another"), status("web: generation 5 is starting")),
        ],
    ),
    "two servers reload at once": (
        ("web", "api"),
        [
            (live(1), status("web: generation 1 is live, unverified; api: nobody serves")),
            (live(1, "api"), ["READY=1", *status("web: generation 1 is live, unverified; "
                                                 "api: generation 1 is live, unverified")]),
            (starting(2), [*RELOADING, *status("web: generation 2 is starting, generation 1 is live, unverified; "
                                               "api: generation 1 is live, unverified")]),
            (starting(2, "api"), status("web: generation 2 is starting, generation 1 is live, unverified; "
                                        "api: generation 2 is starting, generation 1 is live, unverified")),
            (live(2), status("web: generation 2 is live, unverified; "
                             "api: generation 2 is starting, generation 1 is live, unverified")),
            (live(2, "api"), ["READY=1", *status("web: generation 2 is live, unverified; "
                                                 "api: generation 2 is live, unverified")]),
        ],
    ),
    "what a program writes is no news": (
        ("web",),
        [(ServerOutput(server="web", generation=1, stream="stdout", text="READY=1"), [])],
    ),
    "a reason of several lines is one line": (
        ("web",),
        [(failed(1, None, "no\nREADY=1\x1b[31m\ud800"),
          status("web: generation 1 failed: no READY=1?[31m?, nobody serves"))],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HISTORIES)
def test_what_is_said_of_each_event(name: str) -> None:
    servers, history = HISTORIES[name]
    upward = Upward(servers)
    assert [(event, upward.fold(stamped(event))) for event, _ in history] == history


def test_a_death_after_a_minute_of_health_is_the_first_again() -> None:
    upward = Upward(("web",))
    for at in (0.0, 100.0):
        upward.fold(stamped(live(1), at))
        upward.fold(stamped(failed(1, None), at + 60.0))
    upward.fold(stamped(live(1), 200.0))
    assert upward.fold(stamped(failed(1, None), 260.0)) == status("web: generation 1 failed: no answer, nobody serves")


def test_a_status_is_never_too_long_to_be_heeded() -> None:
    (said,) = Upward(("web",)).fold(stamped(failed(1, None, "\U0001f525" * 5000)))
    assert len(said) == len("STATUS=") + LONGEST_STATUS
    assert len(said.encode()) < notify.LONGEST // 2


EVENTS = st.one_of(
    st.builds(starting, st.integers(1, 4), st.sampled_from(["web", "api"])),
    st.builds(live, st.integers(1, 4), st.sampled_from(["web", "api"])),
    st.builds(failed, st.integers(1, 4), st.none() | st.integers(1, 4), st.text()),
    st.builds(discarded, st.integers(1, 4), st.none()),
    st.builds(draining, st.integers(1, 4)),
    st.builds(stopped, st.integers(1, 4)),
    st.builds(run_started, st.integers(1, 4)),
    st.builds(run_finished, st.integers(1, 4), st.sampled_from(["green", "red", "superseded"])),
    st.just(WATCHED),
)


@given(st.sets(st.sampled_from(["web", "api"])), st.lists(EVENTS))
def test_ready_and_reloading_take_turns_and_all_is_said_in_single_lines(servers: set[str], events: list[Any]) -> None:
    upward = Upward(sorted(servers))
    said = [line for event in [*events, Ending(), *events] for line in upward.fold(stamped(event))]
    assert all(line.isprintable() for line in said)
    turns = [line for line in said if line in {"READY=1", "RELOADING=1", "STOPPING=1"}]
    assert turns.pop() == "STOPPING=1"
    assert turns == (["READY=1", "RELOADING=1"] * len(turns))[: len(turns)]


# --- the environment ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "env, link",
    [
        ({}, None),
        ({"NOTIFY_SOCKET": ""}, None),
        ({"NOTIFY_SOCKET": "@"}, None),
        ({"NOTIFY_SOCKET": "relative"}, None),
        ({"NOTIFY_SOCKET": "vsock:2:1234"}, None),
        ({"WATCHDOG_USEC": "2000000"}, None),
        ({"NOTIFY_SOCKET": "/run/n"}, Link(b"/run/n")),
        ({"NOTIFY_SOCKET": "@n"}, Link(b"\0n")),
        ({"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "2000000"}, Link(b"/n", 1.0)),
        ({"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "7"}, Link(b"/n", 1.0)),
        ({"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "8"}, Link(b"/n")),
        ({"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "0"}, Link(b"/n")),
        ({"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "-1"}, Link(b"/n")),
        ({"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "soon"}, Link(b"/n")),
        ({"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "18446744073709551615"}, Link(b"/n")),
        ({"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "1"}, Link(b"/n", 0.001)),
    ],
)
def test_the_environment_says_where_to_speak(env: Mapping[str, str], link: Link | None) -> None:
    assert Link.of(env, 7) == link


# --- over real sockets --------------------------------------------------------------------------------------------


@contextmanager
def receiver(where: str) -> Iterator[socket.socket]:
    """A NOTIFY_SOCKET as systemd has it."""
    address = "\0" + where[1:] if where.startswith("@") else where
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiving:
        receiving.bind(address)
        receiving.settimeout(PATIENCE_S)
        yield receiving


def received(receiving: socket.socket) -> list[list[str]]:
    """All that has come."""
    receiving.setblocking(False)
    found = []
    while True:
        try:
            found.append(receiving.recv(10_000).decode().split("\n"))
        except BlockingIOError:
            return found


@asynccontextmanager
async def speaking(link: Link, *servers: str) -> AsyncIterator[Bus]:
    """Ends within a moment, whatever the receiver does."""
    bus = Bus()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(speak, link, Upward(servers), bus.subscribe())
        yield bus
        bus.close()


async def emit(bus: Bus, *events: AnyEvent) -> None:
    """And let the face see them."""
    for event in events:
        bus.emit(event)
    for _ in range(5):
        await anyio.lowlevel.checkpoint()


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["a path", "an abstract name"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "a path":
        return str(tmp_path / "notify")
    if sys.platform != "linux":
        pytest.skip("only Linux has abstract names")
    return f"@hotpipe-test/{os.getpid()}"


def link_to(where: str, **more: str) -> Link:
    link = Link.of({"NOTIFY_SOCKET": where, **more}, os.getpid())
    assert link is not None
    return link


@pytest.mark.anyio
async def test_systemd_hears_each_line(where: str) -> None:
    with receiver(where) as receiving:
        async with speaking(link_to(where), "web") as bus:
            await emit(bus, starting(1), live(1), verified(1), Ending())
        assert received(receiving) == [
            ["STATUS=web: generation 1 is starting"],
            ["READY=1", "STATUS=web: generation 1 is live, unverified"],
            ["STATUS=web: generation 1 is live"],
            STOPPING,
        ]


@pytest.mark.anyio
async def test_the_end_is_said_though_the_bus_closes_at_once(where: str) -> None:
    with receiver(where) as receiving:
        async with speaking(link_to(where)) as bus:
            bus.emit(WATCHED)
            bus.emit(Ending())
        assert received(receiving) == [["READY=1"], STOPPING]


@pytest.mark.anyio
async def test_nobody_listens_and_nothing_comes_of_it(where: str) -> None:
    async with speaking(link_to(where, WATCHDOG_USEC="2000")) as bus:
        await emit(bus, WATCHED, run_started(1))
        with receiver(where) as receiving:
            await emit(bus, run_finished(1, "green"))
            assert ["STATUS=run 1 green"] in received(receiving)
        await emit(bus, Ending())


@pytest.mark.anyio
async def test_an_address_that_cannot_be_one_harms_nothing() -> None:
    async with speaking(link_to("/" + "x" * 5000)) as bus:
        await emit(bus, WATCHED, Ending())


@pytest.mark.anyio
async def test_a_receiver_that_does_not_read_holds_nothing_up(where: str) -> None:
    with receiver(where) as receiving:
        async with speaking(link_to(where)) as bus:
            await emit(bus, WATCHED, *(run_started(number) for number in range(1000)), Ending())
        assert received(receiving)[0] == ["READY=1"]


@pytest.mark.anyio
async def test_what_a_slow_receiver_had_no_room_for_is_said_again(where: str) -> None:
    with receiver(where) as receiving:
        async with speaking(link_to(where)) as bus:
            await emit(bus, *(run_started(number) for number in range(1000)), WATCHED, run_finished(999, "green"))
            assert ["STATUS=run 999 green"] not in received(receiving)
            with anyio.fail_after(PATIENCE_S):
                await anyio.wait_readable(receiving)
            assert received(receiving) == [["READY=1", "STATUS=run 999 green"]]


def faked(test: Callable[[], Awaitable[None]]) -> None:
    """Run it on a clock that jumps to whatever is awaited next."""
    anyio.run(test, backend="trio", backend_options={"clock": MockClock(autojump_threshold=0)})


def test_signs_of_life_come_twice_as_often_as_they_are_due(where: str) -> None:
    heard: list[list[str]] = []

    async def ten_minutes() -> None:
        async with speaking(link_to(where, WATCHDOG_USEC=str(60 * SECOND)), "web") as bus:
            await emit(bus, live(1))
            for _ in range(600):
                await anyio.sleep(1)
                heard.extend(received(receiving))

    with receiver(where) as receiving:
        faked(ten_minutes)
    assert heard.count(["WATCHDOG=1"]) in {20, 21}
    assert len(heard) == heard.count(["WATCHDOG=1"]) + 1


def test_time_is_asked_for_while_the_first_start_takes_long(where: str) -> None:
    heard: list[list[str]] = []

    async def minutes() -> None:
        async with speaking(link_to(where), "web") as bus:
            for events in ((WATCHED, starting(1)), (live(1), verified(1)), (starting(2),)):
                await emit(bus, *events)
                for _ in range(62):
                    await anyio.sleep(1)
                    heard.extend(received(receiving))
                heard.append(["enough"])

    with receiver(where) as receiving:
        faked(minutes)
    extended = [index for index, lines in enumerate(heard) if lines == [f"EXTEND_TIMEOUT_USEC={15 * SECOND}"]]
    assert len(extended) == 12
    assert extended[-1] < heard.index(["enough"])


@pytest.mark.parametrize(
    "events, is_starting",
    [
        ((), True),
        ((WATCHED,), True),
        ((run_started(1),), True),
        ((run_finished(1, "red"),), False),  # it waits for people: systemd's own patience decides
        ((run_started(1), run_finished(1, "red")), False),
        ((run_started(1), run_finished(1, "superseded")), True),
        ((run_started(1), run_finished(1, "red"), run_started(2)), True),
        ((starting(1),), True),
        ((starting(1), failed(1, None)), False),
        ((starting(1), failed(1, None), starting(2)), True),
        ((starting(1), live(1)), False),
        ((Ending(),), False),
    ],
)
def test_a_start_is_under_way_as_long_as_something_is_done_for_it(events: Any, is_starting: bool) -> None:
    upward = Upward(("web",))
    for event in events:
        upward.fold(stamped(event))
    assert upward.is_starting == is_starting


SERVICE = """
import os, sys
import anyio
from hotpipe.bus import Bus
from hotpipe.events import Ending, ServerLive, ServerStarting
from hotpipe.ui.systemd import Link, Upward, speak

async def main():
    bus = Bus()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(speak, Link.of(os.environ, os.getpid()), Upward(["web"]), bus.subscribe())
        for generation in (1, 2):
            bus.emit(ServerStarting(server="web", generation=generation, pid=1, tree="t"))
            await anyio.to_thread.run_sync(sys.stdin.readline)
            bus.emit(ServerLive(server="web", generation=generation, pid=1, sockets=(), took_ms=1.0))
        bus.emit(Ending())
        bus.close()

anyio.run(main)
"""


@pytest.mark.anyio
async def test_a_service_is_understood_by_whoever_started_it() -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux names the sender of a datagram")
    heard: list[notify.Message] = []
    strangers: list[int] = []
    with closing(NotifySocket.open("hotpipe")) as receiving, service(receiving.address) as process:
        async with anyio.create_task_group() as tasks:
            is_it = process.pid.__eq__
            tasks.start_soon(receiving.messages, is_it, heard.append, strangers.append)
            with anyio.fail_after(PATIENCE_S):
                await until(lambda: notify.Status("web: generation 1 is starting") in heard)
                assert notify.Ready() not in heard
                assert process.stdin is not None
                process.stdin.write(b"\n")
                process.stdin.flush()
                await until(lambda: any(isinstance(message, notify.Reloading) for message in heard))
                process.stdin.write(b"\n")
                process.stdin.flush()
                await until(lambda: notify.Stopping() in heard and notify.Status("stopping") in heard)
            tasks.cancel_scope.cancel()
    flags = [message for message in heard if isinstance(message, notify.Ready | notify.Reloading | notify.Stopping)]
    assert [type(message).__name__ for message in flags] == ["Ready", "Reloading", "Ready", "Stopping"]
    assert isinstance(flags[1], notify.Reloading)
    assert flags[1].monotonic_usec is not None
    assert strangers == []
    assert process.returncode == 0


@contextmanager
def service(address: str) -> Iterator["subprocess.Popen[bytes]"]:
    env = {**os.environ, "NOTIFY_SOCKET": address, "WATCHDOG_USEC": str(SECOND // 50)}
    with subprocess.Popen([sys.executable, "-c", SERVICE], env=env, stdin=subprocess.PIPE) as process:
        yield process


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - what is heard rings no bell
        await anyio.sleep(0.005)

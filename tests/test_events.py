"""The JSON Lines stream is pinned byte by byte, and docs/events.md tells all of it."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import msgspec
import pytest

from hotpipe.events import (
    Address,
    AnyEvent,
    ChangeDetected,
    ConfigRejected,
    ConfigReloaded,
    GatePaused,
    GateResumed,
    Listening,
    RunFinished,
    RunStarted,
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
    StageFinding,
    StageFinished,
    StageOutput,
    StageStarted,
    Stamp,
    Stamped,
    Started,
    TriggerTouched,
    Warned,
    WatchReady,
    WebReady,
    printable,
    to_json,
)

TESTS = Path(__file__).parent
GOLDEN = TESTS / "golden/events.jsonl"
DOC = TESTS.parent / "docs/events.md"
KINDS: tuple[type[AnyEvent], ...] = get_args(AnyEvent)
STAMP = Stamp(seq=7, time="2026-01-02T03:04:05.678Z", mono=123.456789)
TREE = "c33c87cf5a6e4f3d9b1c2d3e4f5a6b7c"

EVENTS: list[AnyEvent] = [
    Started(
        version="1.2.3",
        pid=4242,
        root="/home/me/café",
        role="watch",
        stages=("lint", "test"),
        servers=(Listening("web", (Address("http", "127.0.0.1:8000"),)),),
    ),
    WatchReady(dirs=2, files=6, took_ms=4.25),
    ChangeDetected(paths=("app.py", "café/☕.py"), cause="event"),
    RunStarted(run=3, tree=TREE, changed=("app.py",)),
    StageStarted(run=3, stage="test", command="pytest -q"),
    StageOutput(run=3, stage="test", stream="stdout", text='\x1b[32mok\x1b[0m "quoted"\tand \\'),
    StageFinding(
        run=3,
        stage="test",
        tool="pytest",
        severity="error",
        path="tests/test_app.py",
        line=12,
        column=None,
        code="AssertionError",
        message="assert 1 == 2",
    ),
    StageFinished(run=3, stage="test", status="failed", exit_code=1, took_ms=353.0, findings=1),
    RunFinished(run=3, status="red", took_ms=663.125),
    GatePaused(),
    GateResumed(),
    TriggerTouched(run=4, server="web", path=".trigger", tree=TREE),
    ServerStarting(server="web", generation=2, pid=4711, tree=None),
    ServerOutput(server="web", generation=2, stream="stderr", text="Application startup complete."),
    ServerReady(server="web", generation=2, how="accepted a connection", took_ms=198.5),
    ServerLive(
        server="web",
        generation=2,
        pid=4711,
        sockets=(Address("http", "127.0.0.1:8000"), Address("admin", "[::1]:8001")),
        took_ms=201.0,
    ),
    ServerVerified(server="web", generation=2, tree=TREE),
    ServerDraining(server="web", generation=1),
    ServerDiscarded(server="web", generation=3, reason="files changed while it booted", serving=2),
    ServerStatus(server="web", generation=2, text="3 workers, café"),
    ServerStopped(server="web", generation=1, exit_code=None, signal="KILL", killed=True, revisited=True),
    ServerFailed(server="web", generation=3, reason="exited with status 1 before it was ready", serving=2),
    WebReady(url="http://127.0.0.1:7777/#token=abc"),
    ConfigReloaded(
        path="hotpipe.toml", stages=("lint",), servers=(Listening("web", (Address("http", "127.0.0.1:8000"),)),)
    ),
    ConfigRejected(path="hotpipe.toml", errors=("hotpipe.toml:4: stage.lint.rn: unknown key; did you mean 'run'?",)),
    Warned(code="trigger.unreadable", message="the trigger .trigger holds no record", hint="write JSON"),
]


def tag(kind: type[AnyEvent]) -> str:
    return str(kind.__struct_config__.tag)


def golden() -> list[bytes]:
    return GOLDEN.read_bytes().splitlines()


class TestGolden:
    def test_every_event_has_its_line(self) -> None:
        assert [json.loads(line)["type"] for line in golden()] == [tag(kind) for kind in KINDS]

    @pytest.mark.parametrize("event", EVENTS, ids=lambda event: tag(type(event)))
    def test_it_is_written_to_the_byte_as_it_always_was(self, event: AnyEvent) -> None:
        (line,) = [line for line in golden() if json.loads(line)["type"] == tag(type(event))]
        assert to_json(Stamped(STAMP, event)) == line

    @pytest.mark.parametrize("event", EVENTS, ids=lambda event: tag(type(event)))
    def test_it_is_read_back_as_the_same_event(self, event: AnyEvent) -> None:
        assert msgspec.json.decode(msgspec.json.encode(event), type=AnyEvent) == event

    def test_events_cannot_be_changed(self) -> None:
        assert all(kind.__struct_config__.frozen for kind in KINDS)


class TestText:
    """Whatever a program prints and however a file is named: a line of JSON, and one line of it."""

    @pytest.mark.parametrize(
        "text", ["\n", "\r\n", "\x00", "\x1b]0;title\x07", "\u2028", "\udcff", "a\udce4\udcffb", "💥"]
    )
    def test_cannot_break_the_stream(self, text: str) -> None:
        events = [
            StageOutput(run=1, stage="test", stream="stdout", text=text),
            ChangeDetected(paths=(text,), cause="sweep"),
            ServerLive(server=text, generation=1, pid=1, sockets=(Address(text, text),), took_ms=1.0),
        ]
        for event in events:
            line = to_json(Stamped(STAMP, event))
            assert b"\n" not in line
            assert json.loads(line)["type"] == tag(type(event))

    @pytest.mark.parametrize(
        "path, shown", [("app.py", "app.py"), ("café", "café"), ("caf\udce9.py", r"caf\xe9.py"), ("\udcff", r"\xff")]
    )
    def test_paths_are_shown_as_what_they_are(self, path: str, shown: str) -> None:
        assert printable(path) == shown
        assert json.loads(to_json(Stamped(STAMP, ChangeDetected(paths=(path,), cause="poll"))))["paths"] == [shown]


def section(heading: str) -> str:
    """What docs/events.md says under a heading, up to the next of its level or above."""
    level = heading.partition(" ")[0]
    _, _, rest = f"\n{DOC.read_text()}".partition(f"\n{heading}\n")
    return re.split(rf"\n#{{1,{len(level)}}} ", rest)[0]


def rows(heading: str) -> Iterator[tuple[str, str]]:
    """The first two columns of the section's table, without the backquotes."""
    for row in re.findall(r"^\| `.*\|$", section(heading), re.MULTILINE):
        name, second, *_ = (cell.strip() for cell in row.strip("|").replace("\\|", "¦").split("|"))
        yield name.strip("`"), second


def in_words(kind: Any) -> str:
    """A field's type as the doc has it."""
    options = get_args(kind)
    if get_origin(kind) is Literal:
        return " ¦ ".join(f'`"{option}"`' for option in options)
    if get_origin(kind) is tuple:
        return {str: "array of strings", Address: "array of addresses", Listening: "array of servers"}[options[0]]
    if type(None) in options:
        return f"{in_words(options[0])} or null"
    return {str: "string", int: "integer", float: "number", bool: "boolean"}[kind]


def fields(kind: type[msgspec.Struct]) -> list[tuple[str, str]]:
    return [(field.name, in_words(field.type)) for field in msgspec.structs.fields(kind)]


class TestDoc:
    @pytest.mark.parametrize("kind", KINDS, ids=tag)
    def test_it_tells_every_field_of_every_event_and_its_type(self, kind: type[AnyEvent]) -> None:
        assert list(rows(f"### `{tag(kind)}`")) == fields(kind)

    def test_it_tells_of_no_event_that_does_not_exist(self) -> None:
        assert re.findall(r"^### `(.*)`$", DOC.read_text(), re.MULTILINE) == [tag(kind) for kind in KINDS]

    def test_it_tells_what_all_lines_have_in_common(self) -> None:
        assert list(rows("## What every line has")) == [*fields(Stamp), ("type", "string")]

    def test_it_tells_what_an_address_is(self) -> None:
        assert list(rows("## An address")) == fields(Address)

    def test_it_tells_what_a_server_is_that_is_listened_for(self) -> None:
        assert list(rows("## A server that is listened for")) == fields(Listening)

    def test_it_tells_the_meaning_of_every_warning(self) -> None:
        sources = (TESTS.parent / "hotpipe").rglob("*.py")
        codes = {code for source in sources for code in re.findall(r'code="([^"]+)"', source.read_text())}
        assert codes
        assert {name for name, _ in rows("## The codes of warnings")} == codes

    def test_its_example_is_what_hotpipe_prints(self) -> None:
        (example,) = re.findall(r"```jsonl\n(.*?)```", DOC.read_text(), re.DOTALL)
        seen = 0
        for line in example.splitlines():
            told = json.loads(line)
            stamp = msgspec.convert({key: told[key] for key in ("v", "seq", "time", "mono")}, Stamp)
            event = msgspec.convert(
                {key: told[key] for key in told if key not in {"v", "seq", "time", "mono"}}, AnyEvent
            )
            assert to_json(Stamped(stamp, event)) == line.encode()
            assert stamp.seq > seen
            seen = stamp.seq
        assert seen

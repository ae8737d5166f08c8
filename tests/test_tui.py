"""The terminal face without a terminal: what stands where on the screen, what keys mean, what is written again."""

import os
import select
import unicodedata
from collections.abc import Collection, Iterator

import anyio
import anyio.to_thread
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from hotpipe.errors import UsageError
from hotpipe.events import (
    Address,
    AnyEvent,
    ChangeDetected,
    ConfigRejected,
    Ending,
    GatePaused,
    GateResumed,
    Listening,
    RunFinished,
    RunStarted,
    ServerFailed,
    ServerLive,
    ServerOutput,
    ServerStarting,
    ServerVerified,
    StageFinding,
    StageFinished,
    StageOutput,
    StageStarted,
    StageStatus,
    Started,
    Warned,
    WebReady,
)
from hotpipe.ui.links import Links
from hotpipe.ui.style import Style
from hotpipe.ui.tui import looks
from hotpipe.ui.tui.controls import Controls
from hotpipe.ui.tui.fit import is_ci, unfit
from hotpipe.ui.tui.frame import Frame
from hotpipe.ui.tui.ink import Ink, said
from hotpipe.ui.tui.keys import MOST_AT_ONCE, Decoder
from hotpipe.ui.tui.layout import Drawn, Scene, draw
from hotpipe.ui.tui.looks import Choice, Looks
from hotpipe.ui.tui.parting import parting
from hotpipe.ui.tui.picture import Picture
from hotpipe.ui.tui.terminal import Terminal
from hotpipe.ui.tui.together import Together
from hotpipe.ui.view import MOST_LINES, View

SIZES = [(1, 1), (20, 5), (40, 10), (80, 24), (200, 60)]
INK = Ink(Style(colour=True))
SOCKETS = (Address("http", "127.0.0.1:8000"),)


def started(*stages: str, servers: Collection[str] = (), role: str = "watch") -> Started:
    listening = tuple(Listening(name, SOCKETS) for name in servers)
    return Started(version="1", pid=1, root="/p", role=role, stages=stages, servers=listening)


def begun(run: int = 1, tree: str = "3f2a91c0aa") -> RunStarted:
    return RunStarted(run=run, tree=tree, changed=())


def over(status: str, run: int = 1) -> RunFinished:
    return RunFinished(run=run, status=status, took_ms=663.0)


def starts(name: str) -> StageStarted:
    return StageStarted(run=1, stage=name, command=f"run {name}")


def ends(name: str, status: StageStatus = "passed", **rest: object) -> StageFinished:
    code = {"passed": 0, "failed": 1}.get(status)
    return StageFinished(run=1, stage=name, status=status, exit_code=code, took_ms=120.0, **rest)


def wrote(name: str, text: str) -> StageOutput:
    return StageOutput(run=1, stage=name, stream="stdout", text=text)


def said_by(server: str, text: str) -> ServerOutput:
    return ServerOutput(server=server, generation=1, stream="stdout", text=text)


def found(name: str, message: str = "undefined name 'x'", path: str = "app.py") -> StageFinding:
    place = {"path": path, "line": 12, "column": 5, "code": "F821"}
    return StageFinding(run=1, stage=name, tool="ruff", severity="error", message=message, **place)


def boots(number: int = 1, server: str = "web") -> ServerStarting:
    return ServerStarting(server=server, generation=number, pid=1, tree="3f2a91c0aa")


def live(number: int = 1, server: str = "web") -> ServerLive:
    return ServerLive(server=server, generation=number, pid=1, sockets=SOCKETS, took_ms=1.0)


SAVED = ChangeDetected(paths=("app.py",), cause="event")
VERIFIED = ServerVerified(server="web", generation=1, tree="3f2a91c0aa")
GREEN = (started("lint", "test"), begun(), starts("lint"), ends("lint"), starts("test"), ends("test"), over("green"))
RED = (
    *(started("lint", "test"), begun(), starts("lint"), wrote("lint", "the reason"), found("lint")),
    *(ends("lint", "failed", findings=1), ends("test", "skipped", why="lint has failed"), over("red")),
)


def scene(*events: AnyEvent, usual_ms: dict[str, float] | None = None) -> Scene:
    """Each event half a second after the one before."""
    after = Scene(View(usual_ms or {}))
    for number, event in enumerate(events):
        after.view.apply(event, number / 2)
        if isinstance(event, ServerOutput):
            after.together.add(event)
    return after


def screen(what: Scene, columns: int = 80, rows: int = 24, now: float = 10.0) -> Drawn:
    return draw(what, os.terminal_size((columns, rows)), INK, now)


def lines(drawn: Drawn) -> list[str]:
    return ["".join(part.text for part in line).rstrip() for line in drawn.lines]


def shown(*events: AnyEvent, columns: int = 80, rows: int = 24) -> str:
    return "\n".join(lines(screen(scene(*events), columns, rows)))


def band(*events: AnyEvent) -> str:
    return lines(screen(scene(*events)))[1]


class TestTheBand:
    def test_green_says_which_run_how_long_and_how_much(self) -> None:
        assert band(*GREEN) == " GREEN  run 1 · 663 ms · 2 stages"

    def test_red_says_what_to_look_at_first(self) -> None:
        assert band(*RED) == " RED  lint: app.py:12:5 F821 undefined name 'x'"

    def test_red_is_said_before_the_run_is_over(self) -> None:
        assert band(*RED[:-1]).startswith(" RED  lint")

    def test_a_run_that_goes_on_says_how_far_it_is(self) -> None:
        assert band(started("a", "b"), begun(), starts("a"), ends("a"), starts("b")).startswith(" CHECKING  1 of 2 · b")

    def test_a_verdict_on_what_is_no_longer_on_disk_is_none(self) -> None:
        assert band(*GREEN, SAVED).startswith(" CHANGED")
        assert band(*RED, SAVED).startswith(" CHANGED")

    def test_a_pause_hides_no_change(self) -> None:
        assert "has changed since" not in band(*GREEN, GatePaused())
        assert band(*GREEN, GatePaused(), SAVED).startswith(" PAUSED  run 1 was green, and something has changed since")
        assert band(*GREEN, GatePaused(), GateResumed()).startswith(" GREEN")

    def test_green_checks_with_a_server_that_is_down_are_not_green(self) -> None:
        failed = ServerFailed(server="web", generation=2, reason="exit status 1", serving=1)
        assert band(*GREEN, boots(), live(), boots(2), failed).startswith(" FAILED  web: exit status 1")
        down = ServerFailed(server="web", generation=1, reason="exit status 1", serving=None)
        assert band(*GREEN, boots(), down).startswith(" DOWN  web")

    def test_a_next_attempt_is_told_before_what_failed(self) -> None:
        failed = ServerFailed(server="web", generation=2, reason="exit status 1", serving=1)
        told = band(*GREEN, boots(), live(), boots(2), failed, boots(3))
        assert told.startswith(" FAILED  web: generation 3 is starting 4.5 s · generation 2: exit status 1")

    def test_a_stage_that_may_fail_turns_nothing_red_and_is_not_forgotten(self) -> None:
        allowed = ends("lint", "failed", allowed=True)
        assert band(started("lint"), begun(), starts("lint"), allowed, over("green")).endswith("lint failed (allowed)")

    def test_a_server_half_alone_says_what_is_live(self) -> None:
        alone = started(servers=("web",), role="serve")
        assert band(alone).startswith(" STARTING  web")
        assert band(alone, boots(), live()) == " LIVE  web generation 1"

    def test_the_end_is_said(self) -> None:
        assert band(*GREEN, Ending()).startswith(" STOPPING")

    def test_it_has_its_colour_across_the_whole_width(self) -> None:
        for line in screen(scene(*GREEN), columns=50).lines[:3]:
            assert sum(cell_len(part.text) for part in line if part.style.bgcolor) == 50

    def test_that_its_text_is_cut_is_said_in_its_colour(self) -> None:
        (middle,) = Text.from_ansi(INK.escapes(screen(scene(*RED), columns=20).lines[1], 20)).split("\n")
        assert middle.plain.endswith("…")
        assert all(middle.get_style_at_offset(Console(), place).bgcolor for place in range(20))


class TestStages:
    def test_each_has_its_line_and_they_stand_in_line(self) -> None:
        text = shown(*RED)
        assert " ✗ lint    120 ms  app.py:12:5 F821 undefined name 'x'  1 error" in text
        assert " · test            skipped: lint has failed" in text

    def test_one_at_work_is_measured_against_its_usual_time(self) -> None:
        at_work = scene(started("lint"), begun(), starts("lint"), usual_ms={"lint": 4_000.0})
        line = next(line for line in lines(screen(at_work, now=3.0)) if "● lint" in line)
        assert line == " ● lint     2.0 s  ━━━━━━━───────  usually 4.00 s"

    def test_a_bar_is_not_full_before_it_is_over(self) -> None:
        at_work = scene(started("lint"), begun(), starts("lint"), usual_ms={"lint": 4_000.0})
        assert "━─  usually" in "\n".join(lines(screen(at_work, now=3_000.0)))

    def test_those_that_wait_are_there(self) -> None:
        assert " · test   waiting" in shown(started("lint", "test"), begun(), starts("lint"))

    def test_of_many_those_that_failed_or_are_at_work_have_a_line_and_the_rest_is_counted(self) -> None:
        names = [f"s{number:03}" for number in range(200)]
        passed = [event for name in names[:150] for event in (starts(name), ends(name))]
        text = shown(started(*names), begun(), *passed, starts("s180"), starts("s170"), ends("s170", "failed"))
        assert " ✗ s170" in text
        assert " ● s180" in text
        assert "\n   and 39 waiting, 150 passed\n" in text

    def test_a_place_is_a_link_where_the_terminal_has_links(self) -> None:
        ink = Ink(Style(colour=True, links=Links("/p")))
        drawn = draw(scene(*RED), os.terminal_size((80, 24)), ink, 10.0)
        assert "file:///p/app.py" in "".join(ink.escapes(line, 80) for line in drawn.lines)

    def test_and_the_same_one_in_each_picture(self) -> None:
        ink = Ink(Style(colour=True, links=Links("/p")))
        pictures = [draw(scene(*RED), os.terminal_size((80, 24)), ink, 10.0) for _ in range(2)]
        assert len({"".join(ink.escapes(line, 80) for line in drawn.lines) for drawn in pictures}) == 1


class TestServers:
    def test_what_is_served_is_named(self) -> None:
        text = shown(started(servers=("web",)), begun(), boots(), live(), VERIFIED)
        assert " ● web generation 1, tree 3f2a91c0 · http://127.0.0.1:8000" in text

    def test_so_is_what_nobody_has_checked(self) -> None:
        assert "unverified" in shown(started(servers=("web",)), begun(), boots(), live())

    def test_and_how_far_it_is_behind_and_why(self) -> None:
        behind = (*GREEN[:-1], over("green"), boots(), live(), VERIFIED, SAVED)
        red = (
            begun(2, "other"),
            StageStarted(run=2, stage="lint", command="x"),
            ends("lint", "failed"),
            over("red", 2),
        )
        assert "1 save behind: checks are red" in shown(*behind, *red, columns=120)

    def test_a_failure_has_its_reason_and_who_goes_on(self) -> None:
        failed = ServerFailed(server="web", generation=2, reason="exit status 3", serving=1)
        text = shown(started(servers=("web",)), begun(), boots(), live(), VERIFIED, boots(2), failed, columns=120)
        assert " ✗ web generation 2: exit status 3 · generation 1, tree 3f2a91c0 goes on serving" in text

    def test_a_next_attempt_stands_before_what_failed_which_may_be_long(self) -> None:
        failed = ServerFailed(server="web", generation=2, reason="exit status 3", serving=1)
        serves = (started(servers=("web",)), begun(), boots(), live(), VERIFIED, boots(2), failed, boots(3))
        text = shown(*serves, columns=120)
        assert "generation 3 is starting 6.5 s · generation 2: exit status 3 · generation 1, tree" in text

    def test_where_nobody_answers_connections_wait(self) -> None:
        failed = ServerFailed(server="web", generation=1, reason="exit status 3", serving=None)
        text = shown(started(servers=("web",)), begun(), boots(), failed, columns=120)
        assert "generation 1: exit status 3 · nobody answers; connections wait" in text

    def test_a_candidate_is_shown_beside_what_serves(self) -> None:
        text = shown(started(servers=("web",)), begun(), boots(), live(), VERIFIED, boots(2), columns=120)
        assert "generation 1, tree 3f2a91c0 · generation 2 is starting" in text


class TestThePane:
    SERVED = (started("lint", servers=("web",)), said_by("web", "hello"))

    def test_it_shows_what_the_server_says(self) -> None:
        assert screen(scene(*self.SERVED)).choice == Choice("server", "web")
        assert "\nhello" in shown(*self.SERVED)

    def test_all_servers_together_where_there_are_several(self) -> None:
        text = shown(started(servers=("web", "api")), said_by("web", "from web"), said_by("api", "from api"))
        assert "web from web\napi from api" in text

    def test_a_failure_by_itself_until_it_is_mended(self) -> None:
        what = scene(*self.SERVED, *RED[1:])
        assert screen(what).choice == Choice("stage", "lint")
        assert "the reason" in "\n".join(lines(screen(what)))
        what.view.apply(begun(2, "other"))
        assert screen(what).choice == Choice("stage", "lint"), "it does not flicker while the mended tree is checked"
        what.view.apply(over("green", 2))
        assert screen(what).choice == Choice("server", "web")

    def test_not_where_the_user_has_chosen_something(self) -> None:
        what = scene(*self.SERVED, *RED[1:])
        what.looks = Looks(Choice("server", "web"))
        assert screen(what).choice == Choice("server", "web")

    def test_it_follows_the_end(self) -> None:
        text = shown(*self.SERVED, *(said_by("web", f"line {number}") for number in range(100)))
        assert "line 99" in text
        assert "line 50" not in text

    def test_what_was_scrolled_to_stays_while_more_comes(self) -> None:
        what = scene(*self.SERVED, *(said_by("web", f"line {number}") for number in range(100)))
        what.looks = Looks(top=50)
        before = lines(screen(what))
        what.view.apply(said_by("web", "more"))
        body = slice(6, -1)
        assert lines(screen(what))[body] == before[body]
        assert "scrolled, End follows" in before[5]
        assert before[6] == "line 49"

    def test_until_it_is_gone(self) -> None:
        what = scene(*self.SERVED, *(said_by("web", f"line {number}") for number in range(MOST_LINES + 500)))
        what.looks = Looks(top=50)
        drawn = screen(what)
        assert drawn.first == 501
        assert "line 500" in "\n".join(lines(drawn))

    def test_all_that_servers_write_together_is_bounded(self) -> None:
        together = Together()
        for number in range(MOST_LINES + 10):
            together.add(said_by("web", str(number)))
        assert (len(together.lines), together.lost) == (MOST_LINES, 10)

    def test_failures_have_their_findings_and_their_output(self) -> None:
        what = scene(*RED)
        what.looks = Looks(looks.FAILURES)
        text = "\n".join(lines(screen(what)))
        assert "lint  1 error  run lint\n  app.py:12:5 F821 undefined name 'x'\n\nthe reason" in text

    def test_a_silent_failure_says_how_it_ended(self) -> None:
        text = shown(started("lint"), begun(), starts("lint"), ends("lint", "failed"), over("red"))
        assert "(no output; exit status 1)" in text


class TestNotices:
    def test_the_last_warning_is_shown_and_the_others_counted(self) -> None:
        warned = [Warned(code="x", message=f"warning {number}") for number in (1, 2, 3)]
        text = shown(*GREEN, *warned)
        assert " ! warning 3  (2 more: w)" in text
        assert "warning 1" not in text

    def test_an_invalid_configuration_comes_first(self) -> None:
        text = shown(
            *GREEN, Warned(code="x", message="warning"), ConfigRejected(path="hotpipe.toml", errors=("line 3",))
        )
        assert "not valid, and not in force: line 3" in text
        assert "warning" not in text

    def test_keys_that_do_not_fit_give_way_to_help_and_quit(self) -> None:
        assert lines(screen(scene(*GREEN), columns=30))[-1] == " r run  ? help  q quit"


class Asked:
    """What was asked for."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def rerun(self, stages: Collection[str] = ()) -> tuple[str, ...]:
        self.calls.append("rerun")
        return ("lint", "test")

    def restart(self, servers: Collection[str] = ()) -> tuple[str, ...]:
        raise UsageError("there is no server", hint="write one")

    def pause(self) -> None:
        self.calls.append("pause")

    def resume(self) -> None:
        self.calls.append("resume")

    def page(self) -> str | None:
        return None

    def quit(self) -> None:
        self.calls.append("quit")


class Typing:
    """A scene that keys are typed at."""

    def __init__(self, *events: AnyEvent) -> None:
        self.asked = Asked()
        self.scene = scene(*events)
        self.controls = Controls(self.scene, self.asked)

    def type(self, *keys: str) -> str:
        for key in keys:
            self.controls.press(key, screen(self.scene))
        return "\n".join(lines(screen(self.scene, now=0.0)))


LONG = [said_by("web", f"line {number}") for number in range(100)]


class TestKeysDo:
    @pytest.mark.parametrize("key, call", [("r", "rerun"), ("ctrl-r", "rerun"), ("p", "pause"), ("q", "quit")])
    def test_what_they_say(self, key: str, call: str) -> None:
        typing = Typing(*GREEN)
        typing.type(key)
        assert typing.asked.calls == [call]

    def test_what_came_of_it_is_told(self) -> None:
        assert " running lint, test" in Typing(*GREEN).type("r")
        assert " there is no server; write one" in Typing(*GREEN).type("R")

    def test_p_goes_on_where_it_is_paused(self) -> None:
        typing = Typing(*GREEN, GatePaused())
        assert "p go on" in typing.type("p")
        assert typing.asked.calls == ["resume"]

    def test_q_again_does_not_kill(self) -> None:
        typing = Typing(*GREEN, Ending())
        typing.type("q")
        assert typing.asked.calls == []

    def test_l_goes_through_all_logs_and_back_to_none_chosen(self) -> None:
        typing = Typing(started("lint", "test", servers=("web", "api")))
        seen = []
        for _ in range(6):
            seen.append(screen(typing.scene).choice.name)
            typing.type("l")
        assert seen == ["", "web", "api", "lint", "test", ""]

    def test_a_number_chooses_a_log(self) -> None:
        typing = Typing(started("lint", "test", servers=("web",)))
        typing.type("3")
        assert typing.scene.looks.chosen == Choice("stage", "test")
        typing.type("9")
        assert typing.scene.looks.chosen == Choice("stage", "test")

    def test_help_and_back(self) -> None:
        typing = Typing(*GREEN)
        assert "run the stages now" in typing.type("?")
        assert "run the stages now" not in typing.type("esc")
        assert "run the stages now" not in typing.type("?", "?")

    def test_the_address_of_the_dashboard_is_shown_until_a_key_is_pressed_and_then_in_the_help(self) -> None:
        address = f"http://127.0.0.1:7777/#token={'x' * 43}"
        typing = Typing(*GREEN, WebReady(url=address))
        assert f"\n{address}\n" in typing.type(), "whole in 80 columns"
        assert f" dashboard: {address}  (o)\n" in "\n".join(lines(screen(typing.scene, columns=120)))
        assert address not in typing.type("esc")
        assert address in typing.type("?")

    def test_what_is_to_be_copied_stays_until_a_key_is_pressed(self) -> None:
        typing = Typing(*GREEN)
        typing.controls.keep("open http://127.0.0.1:8000")
        assert "open http" in "\n".join(lines(screen(typing.scene, now=1e9)))
        assert "open http" not in typing.type("end")

    def test_warnings_that_were_looked_at_are_put_away(self) -> None:
        typing = Typing(*GREEN, Warned(code="x", message="mind this", hint="so"))
        assert "hint: so" in typing.type("w")
        assert "mind this" not in typing.type("w")

    def test_scrolling_goes_up_and_comes_back_to_follow(self) -> None:
        typing = Typing(started("lint", servers=("web",)), *LONG)
        assert "line 99" not in typing.type("pgup")
        assert typing.type("home").find("line 0\n") > 0
        assert "line 99" not in typing.type("end", "up")
        assert "line 99" in typing.type("down")
        assert typing.scene.looks.top is None

    def test_scrolling_never_leaves_the_log(self) -> None:
        typing = Typing(started("lint", servers=("web",)), *LONG)
        assert "line 0\n" in typing.type(*["pgup"] * 50)
        assert "line 99" in typing.type(*["pgdn"] * 50)

    def test_lists_scroll_too(self) -> None:
        typing = Typing(*RED, *(Warned(code="x", message=f"warning {number}") for number in range(50)))
        assert "warning 0" in typing.type("w", "G")
        assert "warning 49" in typing.type("g")

    @given(
        st.lists(st.sampled_from(["up", "down", "pgup", "pgdn", "home", "end", "l", "f", "w", "?", "esc", "tab", "7"]))
    )
    def test_any_keys_leave_a_picture(self, keys: list[str]) -> None:
        assert len(Typing(*RED, *LONG).type(*keys).splitlines()) <= 24


ESCAPES = "\x1b[31mred\x1b[0m \x1b[2J\x1b[10;10H\x1b]0;title\x07\x1bPq\x1b\\\x9b2J\x9d"
HOSTILE = [
    ESCAPES * 20,
    "\ttabs\tand\tmore",
    "漢字かな交じり文" * 20,
    "👩‍👩‍👧‍👦🏳️‍🌈" * 30,
    "e" + "\u0301" * 5_000,
    "\u202eevil\u2066\u2069",
    "x" * 100_000,
    "\x1b[32m" * 30_000,
    "a\rb\r\r",
    "\x00\x07\x08\x0b\x0c\x1b",
    "\ud800",
    "\u2028\u2029\u200b\ufeff",
]


class TestHostileOutput:
    @pytest.mark.parametrize("columns, rows", SIZES)
    @pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
    def test_it_stays_in_its_place(self, text: str, columns: int, rows: int) -> None:
        name = text[:300]
        events = (
            *(started(name, servers=(name,)), begun(), starts(name), wrote(name, text), found(name, text, text)),
            *(ends(name, "failed", findings=1, why=text), over("red"), boots(server=name), said_by(name, text)),
            *(ServerFailed(server=name, generation=1, reason=text, serving=None), Warned(code="x", message=text)),
        )
        what = scene(*events)
        for choice in (None, Choice("server", name), looks.FAILURES, looks.WARNINGS, looks.HELP):
            what.looks = Looks(choice)
            drawn = screen(what, columns, rows)
            assert len(drawn.lines) <= rows
            for line in drawn.lines:
                self.check(INK.escapes(line, columns), columns)

    def check(self, written: str, columns: int) -> None:
        """Only colours, links and the end of the row are written beside text, and no more than fits."""
        text = written.removesuffix("\x1b[K")
        rest = "".join(part.partition("m")[2] if at else part for at, part in enumerate(text.split("\x1b[")))
        assert not [character for character in rest if unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"}]
        assert not set(rest) & set("\u202a\u202b\u202d\u202e\u2066\u2067\u2068\u2069")
        assert cell_len(rest) <= columns

    @given(st.text(), st.integers(1, 40))
    def test_any_line_fits(self, text: str, columns: int) -> None:
        self.check(INK.escapes(said(text, columns), columns), columns)

    def test_colours_are_kept(self) -> None:
        assert INK.escapes(said("\x1b[31mred\x1b[0m plain", 80), 80).startswith("\x1b[31mred\x1b[0m plain")

    def test_each_character_may_have_a_colour_of_its_own(self) -> None:
        line = "".join(f"\x1b[38;2;{100 + number};200;200m{number % 10}" for number in range(150))
        assert "".join(part.text for part in said(line, 150)) == "0123456789" * 15

    def test_what_cannot_be_seen_of_a_line_is_not_looked_at(self) -> None:
        assert len(said("\x1b[31ma" * 10_000, 80)) < 400

    def test_links_are_their_text(self) -> None:
        assert INK.escapes(said("see \x1b]8;;https://x/y\x1b\\here\x1b]8;;\x1b\\!", 80), 80) == "see here!\x1b[K"

    def test_of_a_progress_bar_its_last_state_is_left(self) -> None:
        assert INK.escapes(said("10 %\r20 %\r", 80), 80) == "20 %\x1b[K"

    def test_tabs_stand_where_they_stood(self) -> None:
        assert INK.escapes(said("ab\tc\td", 80), 80) == "ab      c       d\x1b[K"

    def test_what_is_cut_says_so(self) -> None:
        assert INK.escapes(said("abcdefgh", 5), 5) == "abcd…"

    def test_without_unicode_only_ascii_is_written(self) -> None:
        ink = Ink(Style(colour=True, unicode=False))
        drawn = draw(scene(*RED, said_by("web", "漢字 ✓")), os.terminal_size((80, 24)), ink, 1.0)
        assert all(ink.escapes(line, 80).isascii() for line in drawn.lines)

    def test_without_colours_the_band_stands_out_all_the_same(self) -> None:
        ink = Ink(Style(colour=False))
        line = ink.escapes(screen(scene(*GREEN)).lines[1], 80)
        assert line.startswith("\x1b[1;7m GREEN")
        assert "3" not in line.partition("GREEN")[0]

    @pytest.mark.parametrize("warned", [(), (Warned(code="x", message="beware"),)], ids=["", "warned"])
    def test_the_screen_is_never_overfull(self, warned: tuple[AnyEvent, ...]) -> None:
        names = [f"stage-{number}" for number in range(200)]
        for events in (GREEN, RED, (started(*names, servers=names),), (*RED, *LONG)):
            for rows in (*range(1, 33), 60):
                assert len(screen(scene(*events, *warned), 80, rows).lines) == rows


class TestKeysAreDecoded:
    @given(st.lists(st.binary()))
    def test_any_bytes_will_do(self, pieces: list[bytes]) -> None:
        decoder = Decoder()
        for piece in pieces:
            assert all(isinstance(key, str) and key for key in decoder.feed(piece))
            decoder.flush()

    @given(
        st.lists(st.sampled_from([b"\x1b[A", b"\x1b[6~", b"r", b"\x1bOB", b"\x1b[1;5C", "é".encode()]), max_size=9),
        st.data(),
    )
    def test_however_they_are_cut(self, typed: list[bytes], data: st.DataObject) -> None:
        whole, names = b"".join(typed), Decoder().feed(b"".join(typed))
        decoder, cut = Decoder(), data.draw(st.integers(0, len(whole)))
        assert decoder.feed(whole[:cut]) + decoder.feed(whole[cut:]) == names
        assert len(names) == len(typed)

    @pytest.mark.parametrize(
        "typed, names",
        [
            (b"r", ["r"]),
            (b"R?", ["R", "?"]),
            (b"\x12", ["ctrl-r"]),
            (b"\t\x1b[Z", ["tab", "backtab"]),
            (b"\x1b[A\x1b[B\x1bOA", ["up", "down", "up"]),
            (b"\x1b[5~\x1b[6~\x1b[H\x1b[F\x1b[1~\x1b[4~", ["pgup", "pgdn", "home", "end", "home", "end"]),
            (b"\x1b[1;5A", ["up"]),
            (b"\x1b[200~rrq\x1b[A\x1b[201~p", ["p"]),
            (b"\x1b]11;rgb:0/0/0\x07l", ["l"]),
            (b"\x1bPr\x1b\\l", ["l"]),
            (b"\x1bq\x1b[99x\x00", []),
            (b"\xff\xfe", []),
        ],
    )
    def test_as_terminals_send_them(self, typed: bytes, names: list[str]) -> None:
        assert Decoder().feed(typed) == names

    def test_escape_alone_is_a_key_when_nothing_follows(self) -> None:
        decoder = Decoder()
        assert decoder.feed(b"\x1b") == []
        assert decoder.waits
        assert decoder.flush() == ["esc"]
        assert not decoder.waits

    def test_what_is_pasted_is_none_also_in_pieces(self) -> None:
        decoder = Decoder()
        pieces = [b"\x1b[200~q", b"q\x1b", b"[20", b"1~r"]
        assert [key for piece in pieces for key in decoder.feed(piece)] == ["r"]

    def test_nor_is_a_flood(self) -> None:
        assert Decoder().feed(b"q" * (MOST_AT_ONCE + 1)) == []

    def test_a_sequence_that_never_ends_is_given_up(self) -> None:
        decoder = Decoder()
        for _ in range(100):
            decoder.feed(b"\x1b]" + b"x" * 100)
        decoder.feed(b"\x07")
        assert decoder.feed(b"r") == ["r"]


class TestWhatIsWritten:
    def test_only_rows_that_differ(self) -> None:
        frame = Frame()
        frame.update(["a", "b", "c"])
        assert frame.update(["a", "B", "c"]) == "\x1b[?2026h\x1b[2;1HB\x1b[?2026l"
        assert frame.update(["a", "B", "c"]) == ""

    def test_all_of_them_where_the_screen_is_not_known(self) -> None:
        frame = Frame()
        first = frame.update(["a", "b"])
        frame.forget()
        assert frame.update(["a", "b"]) == first
        assert "\x1b[2J" in first

    def test_and_where_it_has_another_size(self) -> None:
        frame = Frame()
        frame.update(["a", "b"])
        assert "\x1b[2J" in frame.update(["a", "b", "c"])


class TestATerminalThatIsRead:
    @pytest.fixture
    def pty(self) -> Iterator[tuple[int, Terminal]]:
        """What a terminal shows is read from its other end."""
        ours, theirs = os.openpty()
        yield ours, Terminal(os.ttyname(theirs))
        os.close(ours)
        os.close(theirs)

    def seen(self, ours: int, size: int) -> str:
        text = b""
        while len(text) < size and select.select([ours], [], [], 30)[0]:
            text += os.read(ours, 65_536)
        return text.decode()

    @pytest.mark.anyio
    async def test_late_has_its_pictures_whole_and_titles_between_them(self, pty: tuple[int, Terminal]) -> None:
        ours, terminal = pty
        terminal.enter()
        entered = os.read(ours, 100).decode()
        assert entered.endswith("\x1b[2J")
        picture, title = "\x1b[31mx\x1b[m" * 30_000, "\x1b]2;red\x07"
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(terminal.write, picture)
            await anyio.wait_all_tasks_blocked()
            assert terminal.aside(title)
            assert await anyio.to_thread.run_sync(self.seen, ours, len(picture)) == picture
        await terminal.write("next")
        assert self.seen(ours, len(title) + 4) == f"{title}next"

    def test_takes_no_titles_while_somebody_else_has_it(self, pty: tuple[int, Terminal]) -> None:
        _, terminal = pty
        terminal.enter()
        assert terminal.aside("x")
        terminal.lend()
        assert not terminal.aside("x")


class TestWhichServerIsMeant:
    @pytest.mark.parametrize(
        "chosen, prompts, server",
        [
            (None, (), "api"),
            (None, ("web", "api", "web"), "web"),
            (None, ("gone",), "api"),
            (Choice("server", "db"), ("web",), "db"),
            (Choice("stage", "lint"), ("web",), "web"),
        ],
    )
    def test_by_a_key(self, chosen: Choice | None, prompts: tuple[str, ...], server: str) -> None:
        view = View()
        view.apply(started("lint", servers=("api", "web", "db")))
        for name in prompts:
            view.apply(Warned(code="server.prompt", message=f"{name} waits for input: (Pdb)"))
        picture = Picture(view, Together(), Asked(), Style())
        picture.rows(os.terminal_size((80, 24)), 1.0)
        for key in {"db": "4", "lint": "5"}.get(chosen.name if chosen else "", ""):
            picture.press(key)
            picture.rows(os.terminal_size((80, 24)), 1.0)
        assert picture.server() == server


class TestWhatStays:
    def test_the_verdict_as_lines_tell_it(self) -> None:
        assert parting(scene(*GREEN).view, Style()) == "✓ green in 663 ms\n"

    def test_with_what_failed(self) -> None:
        text = parting(scene(*RED).view, Style())
        assert "── lint: run lint (1 error)\nthe reason\n" in text
        assert "✗ red: lint failed in 663 ms" in text

    def test_nothing_where_nothing_happened(self) -> None:
        assert parting(View(), Style()) == ""


class TestWhere:
    def test_not_without_a_terminal(self) -> None:
        assert unfit({"TERM": "xterm"}) != ""

    @pytest.mark.parametrize(
        "value, is_one", [("true", True), ("1", True), ("false", False), ("0", False), ("", False)]
    )
    def test_ci_is_known_by_its_variable(self, value: str, is_one: bool) -> None:
        assert is_ci({"CI": value}) is is_one
        assert is_ci({"GITHUB_ACTIONS": value}) is is_one

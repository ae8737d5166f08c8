"""The plain face, compared as text: one line a step, what failed in full and last, nothing twice."""

import re
from typing import ClassVar

import pytest

from hotpipe.events import (
    Address,
    AnyEvent,
    Cause,
    ChangeDetected,
    ConfigRejected,
    ConfigReloaded,
    GatePaused,
    GateResumed,
    RunFinished,
    RunStarted,
    RunStatus,
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
    Severity,
    StageFinding,
    StageFinished,
    StageOutput,
    StageStarted,
    StageStatus,
    Stamp,
    Stamped,
    Started,
    TriggerTouched,
    Warned,
    WatchReady,
)
from hotpipe.ui.links import Links, links
from hotpipe.ui.plain import Plain, Style
from hotpipe.ui.view import MOST_FINDINGS, MOST_LINES, View

USUAL = Style()
TREE, OTHER = "c33c87cf5a6e", "927d550d1b2c"
STARTED = Started(version="1", pid=1, root="/p", role="watch", stages=(), servers=())
STAMP = Stamp(seq=1, time="2026-01-02T03:04:05.678Z", mono=1.0)


def shown(*events: AnyEvent, style: Style = USUAL, whole: bool = True) -> str:
    """What the face prints; the clock of whoever runs the tests is left out."""
    face = Plain(style)
    face.render([Stamped(STAMP, STARTED)])
    batches = [[Stamped(STAMP, event) for event in events]] if whole else [[Stamped(STAMP, e)] for e in events]
    return re.sub(r"\d\d:\d\d:\d\d", "HH:MM:SS", "".join(map(face.render, batches)))


def text(*lines: str) -> str:
    return "".join(f"{line}\n" for line in lines)


def started(run: int = 1, *changed: str, tree: str = TREE) -> RunStarted:
    return RunStarted(run=run, tree=tree, changed=changed)


def finished(status: RunStatus = "green", run: int = 1, took_ms: float = 663.4) -> RunFinished:
    return RunFinished(run=run, status=status, took_ms=took_ms)


def stage(
    name: str, status: StageStatus = "passed", *output: str, code: int | None = 0, took_ms: float = 15.2
) -> list[AnyEvent]:
    """All events of one stage."""
    return [
        StageStarted(run=1, stage=name, command=f"run {name}"),
        *(StageOutput(run=1, stage=name, stream="stdout", text=line) for line in output),
        StageFinished(run=1, stage=name, status=status, exit_code=code, took_ms=took_ms),
    ]


def red(*output: str) -> list[AnyEvent]:
    return [started(), *stage("test", "failed", *output, code=1), finished("red")]


def finding(
    line: int | None = 3, message: str = "odd", severity: Severity = "error", **more: str | int
) -> StageFinding:
    given = {"run": 1, "stage": "lint", "tool": "ruff", "path": "app.py", "column": 5, "code": "F401"} | more
    return StageFinding(severity=severity, line=line, message=message, **given)  # type: ignore[arg-type]


def lint(*findings: StageFinding, output: int | list[str] = 1, **ended: object) -> list[AnyEvent]:
    """All events of a stage that finds something; `output` is its lines, or how many."""
    lines = [f"line {n}" for n in range(output)] if isinstance(output, int) else output
    end = {"status": "failed", "exit_code": 1, "took_ms": 15.2, "findings": len(findings)} | ended
    return [
        StageStarted(run=1, stage="lint", command="ruff check"),
        *(StageOutput(run=1, stage="lint", stream="stdout", text=line) for line in lines),
        *findings,
        StageFinished(run=1, stage="lint", **end),  # type: ignore[arg-type]
    ]


def cached(*names: str, run: int = 1, why: str = "it has passed on just this content") -> list[AnyEvent]:
    return [StageFinished(run=run, stage=name, status="cached", exit_code=0, took_ms=0.0, why=why) for name in names]


def live(
    generation: int = 1, tree: str | None = TREE, *sockets: Address, verified: bool = False, server: str = "web"
) -> list[AnyEvent]:
    """All events of a generation that comes up; without sockets, with the usual one."""
    sockets = sockets or (Address("http", "127.0.0.1:8000"),)
    return [
        ServerStarting(server=server, generation=generation, pid=7, tree=tree),
        ServerReady(server=server, generation=generation, how="accepted a connection", took_ms=190.0),
        ServerLive(server=server, generation=generation, pid=7, sockets=sockets, took_ms=198.0),
        *([ServerVerified(server=server, generation=generation, tree=tree or "")] if verified else []),
    ]


def says(line: str, generation: int = 1, server: str = "web") -> ServerOutput:
    return ServerOutput(server=server, generation=generation, stream="stderr", text=line)


class TestStages:
    def test_a_green_run(self) -> None:
        events = [WatchReady(dirs=1, files=1234, took_ms=4.0), started(), *stage("lint"), *stage("test", took_ms=2416)]
        assert shown(*events, finished(took_ms=2770)) == text(
            "watching 1,234 files in 1 folder (4 ms)",
            "",
            "▶ run 1 · HH:MM:SS",
            "  ✓ lint           15 ms",
            "  ✓ test          2.42 s",
            "✓ green in 2.77 s",
        )

    def test_a_green_run_says_what_it_did_not_look_at(self) -> None:
        spared = [
            StageFinished(run=1, stage=name, status="skipped", exit_code=None, took_ms=0, why="none of its inputs")
            for name in ("types", "test")
        ]
        assert shown(started(), *spared, *stage("lint"), finished(took_ms=20)) == text(
            "",
            "▶ run 1 · HH:MM:SS",
            "  ✓ lint           15 ms",
            "✓ green in 20 ms · types, test skipped",
        )

    def test_durations_stand_in_line_whatever_they_are(self) -> None:
        events = [
            e for n, ms in enumerate([0.3, 999.4, 999.6, 59_994, 59_996, 3_599_000]) for e in stage(f"s{n}", took_ms=ms)
        ]
        assert shown(started(), *events).splitlines()[2:] == [
            "  ✓ s0              0 ms",
            "  ✓ s1            999 ms",
            "  ✓ s2            1.00 s",
            "  ✓ s3           59.99 s",
            "  ✓ s4           1 m 0 s",
            "  ✓ s5         59 m 59 s",
        ]

    def test_what_has_changed_stands_in_the_headline(self) -> None:
        assert shown(started(2, "app.py")) == text("", "▶ run 2 app.py · HH:MM:SS")
        assert shown(started(2, *"abcde")) == text("", "▶ run 2 a, b, c and 2 more · HH:MM:SS")

    def test_a_files_name_is_nothing_that_a_terminal_obeys(self) -> None:
        assert shown(started(2, "a\x1b]52;c;QQ==\x07\n\x9b2Jb.py")) == text("", "▶ run 2 a b.py · HH:MM:SS")

    def test_a_failure_is_shown_in_full_last_and_once(self) -> None:
        events = [started(), *stage("lint", "passed", "all is well"), *stage("test", "failed", "E  1 == 2", "", code=1)]
        skipped = StageFinished(run=1, stage="deploy", status="skipped", exit_code=None, took_ms=0)
        assert shown(*events, skipped, finished("red")) == text(
            "",
            "▶ run 1 · HH:MM:SS",
            "  ✓ lint           15 ms",
            "  ✗ test           15 ms  exit status 1",
            "",
            "── test: run test",
            "E  1 == 2",
            "",
            "",
            "not known: deploy",
            "✗ red: test failed in 663 ms",
        )

    def test_how_it_ended_is_said_in_words(self) -> None:
        assert "  ✗ test           15 ms  killed by SIGKILL\n" in shown(started(), *stage("test", "failed", code=-9))
        assert "  ✗ test           15 ms  killed by signal 40\n" in shown(started(), *stage("test", "failed", code=-40))
        timed_out = shown(started(), *stage("test", "timed_out", code=None), finished("red"))
        assert "  ✗ test           15 ms  timed out\n" in timed_out
        assert "(no output; timed out)\n" in timed_out
        assert timed_out.endswith("✗ red: test timed out in 663 ms\n")

    def test_a_failure_without_a_word_says_so(self) -> None:
        assert "── test: run test\n(no output; exit status 1)\n" in shown(*red())

    def test_of_very_long_output_the_end_is_shown(self) -> None:
        said = shown(*red(*map(str, range(MOST_LINES + 7)))).splitlines()
        place = said.index("── test: run test")
        assert said[place + 1 : place + 3] == ["(7 earlier lines not shown)", "7"]
        assert said[-3] == str(MOST_LINES + 6)

    def test_superseded_is_one_line(self) -> None:
        events = [
            started(1, "a"),
            *stage("test", "cancelled", "half", code=None),
            finished("superseded"),
            started(2, "b"),
        ]
        assert shown(*events) == text(
            "",
            "▶ run 1 a · HH:MM:SS",
            "↻ run 2 b · HH:MM:SS · run 1 superseded after 663 ms",
        )

    def test_output_of_an_earlier_run_is_not_shown_with_a_later_one(self) -> None:
        again = [started(2), *stage("test", "failed", "new", code=1), finished("red", 2)]
        second = shown(*red("old"), *again).partition("▶ run 2")[2]
        assert "new" in second
        assert "old" not in second

    def test_a_progress_bar_is_shown_as_it_was_left(self) -> None:
        assert "\n100 %\n" in shown(*red("1 %\r50 %\r100 %"))

    def test_a_colour_that_is_left_open_ends_with_its_line(self) -> None:
        assert "\n\x1b[31mred\x1b[0m\n" in shown(*red("\x1b[31mred"), style=Style(colour=True))

    def test_without_colours_a_program_has_none_either(self) -> None:  # what it wrote for a terminal may be replayed
        assert "\nred\n" in shown(*red("\x1b[31mred\x1b[0m"))
        assert "│ red\n" in shown(ServerOutput(server="web", generation=1, stream="stdout", text="\x1b[31mred\x1b[0m"))

    def test_no_program_moves_the_cursor(self) -> None:
        text = "\x1b[1A\x1b[2Kup\x1b]0;title\x07\x1b[?1049h\x1bc"
        assert "│ up\n" in shown(
            ServerOutput(server="web", generation=1, stream="stdout", text=text),
            style=Style(links=TestLinks.linked.links),
        )

    def test_warnings_say_the_way_out(self) -> None:
        assert shown(Warned(code="x", message="no watches left", hint="sudo sysctl y")) == text(
            "! no watches left", "  hint: sudo sysctl y"
        )
        assert shown(Warned(code="x", message="odd")) == "! odd\n"
        assert shown(Warned(code="x", message="cannot read \x1b]0;x\x07y", hint="rm \x9b2Jy")) == text(
            "! cannot read y", "  hint: rm y"
        )

    def test_what_follows_from_the_rest_is_not_printed(self) -> None:
        change = ChangeDetected(paths=("a",), cause="event")
        touched = TriggerTouched(run=1, server="web", path=".trigger", tree=TREE)
        assert shown(ServerStarting(server="web", generation=1, pid=1, tree=None), change, touched) == ""

    def test_a_gate_without_servers_says_what_it_touched(self) -> None:
        assert shown(TriggerTouched(run=1, server=None, path=".trigger", tree=TREE)) == "  touched .trigger\n"


class TestVerbose:
    style = Style(verbose=True)

    def test_output_streams_and_is_not_repeated(self) -> None:
        assert shown(*red("the reason"), style=self.style) == text(
            "",
            "▶ run 1 · HH:MM:SS",
            "  test │ the reason",
            "  ✗ test           15 ms  exit status 1",
            "✗ red: test failed in 663 ms",
        )

    def test_tells_of_changes_and_of_what_is_skipped_cancelled_started_and_stopped(self) -> None:
        cause: Cause = "sweep"
        events: list[AnyEvent] = [
            started(),
            ChangeDetected(paths=("a", "b"), cause=cause),
            StageFinished(run=1, stage="test", status="skipped", exit_code=None, took_ms=0),
            *stage("lint", "cancelled", code=None),
            ServerStarting(server="web", generation=1, pid=1, tree=None),
            ServerStopped(server="web", generation=1, exit_code=0, signal=None, killed=False),
        ]
        assert shown(*events, style=self.style) == text(
            "",
            "▶ run 1 · HH:MM:SS",
            "sweep: a, b",
            "  · test            0 ms  skipped",
            "  ↻ lint           15 ms  cancelled",
            "web starting generation 1",
            "web stopped generation 1",
        )

    def test_a_server_may_write_as_much_as_it_likes(self) -> None:
        lines = [f"line {number}" for number in range(500)]
        said = shown(*live(), *red("x"), *map(says, lines), style=self.style)
        assert [line.removeprefix("web │ ") for line in said.splitlines()[-500:]] == lines


def last_lines(said: str) -> list[str]:
    return said.splitlines()[2:]


class TestFindings:
    def test_the_line_of_a_stage_counts_them(self) -> None:
        found = [finding(), finding(4), finding(5, severity="warning"), finding(6, severity="note")]
        assert "  ✗ lint           15 ms  2 errors, 1 warning\n" in shown(started(), *lint(*found))

    def test_how_it_ended_is_said_as_well_where_that_is_unusual(self) -> None:
        killed = shown(started(), *lint(finding(), exit_code=-9))
        assert "  ✗ lint           15 ms  killed by SIGKILL, 1 error\n" in killed
        late = shown(started(), *lint(finding(), status="timed_out", exit_code=None), finished("red"))
        assert "  ✗ lint           15 ms  timed out, 1 error\n" in late
        assert late.endswith("✗ red: lint timed out in 663 ms\n")

    def test_a_stage_that_passed_has_warnings_but_no_errors(self) -> None:
        passed = lint(finding(), finding(4, severity="warning"), status="passed", exit_code=0)
        assert "  ✓ lint           15 ms  1 warning\n" in shown(started(), *passed)

    def test_output_that_is_all_in_sight_is_followed_by_no_list(self) -> None:
        said = shown(started(), *lint(finding(), output=["app.py:3:5: F401 odd"]), finished("red"))
        assert last_lines(said) == [
            "  ✗ lint           15 ms  1 error",
            "",
            "── lint: ruff check (1 error)",
            "app.py:3:5: F401 odd",
            "",
            "✗ red: lint failed in 663 ms",
        ]

    def test_nor_if_it_writes_its_places_apart_from_their_files(self) -> None:
        stylish = ["app.py", "  3:5  error  odd  F401"]
        assert "finding" not in shown(started(), *lint(finding(), output=stylish), finished("red"))

    def test_below_long_output_stands_what_to_look_at_first(self) -> None:
        found = [finding(7, "careful", "warning"), finding(), finding(None, "no place", code=None, column=None)]
        said = shown(started(), *lint(*found, output=100), finished("red")).splitlines()
        assert said[-7:] == [
            "line 99",
            "",
            "── 2 findings:",
            "app.py:3:5 F401 odd",
            "app.py no place",
            "",
            "✗ red: lint failed in 663 ms",
        ]

    def test_warnings_are_listed_where_there_are_no_errors(self) -> None:
        said = shown(started(), *lint(finding(7, "careful", "warning"), output=100), finished("red"))
        assert "── 1 finding:\napp.py:7:5 F401 careful\n" in said

    def test_not_if_the_end_of_the_output_names_all_of_them(self) -> None:
        output = [*map(str, range(100)), "src/app.py:3: odd", "app.py:4:5: odd"]
        assert "finding" not in shown(started(), *lint(finding(), finding(4), output=output), finished("red"))
        assert "── 3 findings:" in shown(
            started(), *lint(finding(), finding(4), finding(9), output=output), finished("red")
        )

    def test_of_many_the_first_are_listed(self) -> None:
        said = shown(started(), *lint(*map(finding, range(1, 41)), output=100), finished("red")).splitlines()
        assert said[-13] == "── the first 10 of 40 findings:"
        assert said[-12:-2] == [f"app.py:{n}:5 F401 odd" for n in range(1, 11)]

    def test_each_of_several_stages_has_its_share(self) -> None:
        more = [finding(n, stage="types", code=None) for n in range(50, 80)]
        events = [*lint(*map(finding, range(1, 41)), output=100), *more, *stage("unit", "failed", code=1)]
        types = StageFinished(run=1, stage="types", status="failed", exit_code=1, took_ms=1, findings=30)
        said = shown(started(), *events, types, finished("red")).splitlines()
        assert "lint app.py:3:5 F401 odd" in said
        assert "types app.py:52:5 odd" in said
        assert "types app.py:53:5 odd" not in said

    def test_with_verbose_the_list_stands_below_what_has_been_shown(self) -> None:
        said = shown(started(), *lint(finding(), output=100), finished("red"), style=Style(verbose=True)).splitlines()
        assert said.count("  lint │ line 99") == 1
        assert "line 99" not in said
        assert said[-4:-1] == ["── 1 finding:", "app.py:3:5 F401 odd", ""]

    def test_a_very_long_message_has_one_line(self) -> None:
        said = shown(started(), *lint(finding(3, "x" * 1000), output=100), finished("red")).splitlines()
        assert said[-3] == f"app.py:3:5 F401 {'x' * 160}..."

    def test_what_an_attempt_found_before_the_last_one_does_not_count(self) -> None:
        assert "  1 error\n" in shown(started(), *lint(finding(), finding(4), findings=1))
        flaky = shown(started(), *lint(finding(3, "x", "warning"), findings=0, status="passed", flaky=True))
        assert flaky.endswith("  ✓ lint           15 ms  flaky: passed after a retry\n")

    def test_the_view_remembers_only_so_many(self) -> None:
        view = View()
        for event in (started(), *map(finding, range(3 * MOST_FINDINGS))):
            view.apply(event)
        assert view.run is not None
        assert [f.line for f in view.run.stages["lint"].findings] == list(range(MOST_FINDINGS))


class TestNotDecisive:
    """What may fail, and what passed at last."""

    def test_an_allowed_failure_makes_no_run_red_but_is_mentioned(self) -> None:
        said = shown(started(), *lint(finding(), allowed=True, output=100), finished())
        assert last_lines(said) == [
            "  ✗ lint           15 ms  failed (allowed), 1 error, first app.py:3:5",
            "✓ green in 663 ms · lint failed (allowed)",
        ]

    def test_nor_is_it_to_blame_where_another_one_failed(self) -> None:
        said = shown(started(), *lint(finding(), allowed=True), *stage("test", "failed", "x", code=1), finished("red"))
        assert said.endswith("── test: run test\nx\n\n✗ red: test failed in 663 ms · lint failed (allowed)\n")

    def test_one_that_timed_out(self) -> None:
        said = shown(started(), *lint(allowed=True, status="timed_out", exit_code=None), finished())
        assert "  timed out (allowed)\n" in said
        assert said.endswith("✓ green in 663 ms · lint timed out (allowed)\n")

    def test_flaky_stands_in_the_verdict(self) -> None:
        said = shown(started(), *lint(status="passed", exit_code=0, flaky=True), finished(), style=Style(colour=True))
        assert "\x1b[33m✓\x1b[0m lint" in said
        assert said.endswith("\x1b[33mlint flaky\x1b[0m\n")


class TestCached:
    def test_one_or_two_have_a_line_each(self) -> None:
        assert last_lines(shown(started(), *cached("lint", "types"), *stage("test"), finished())) == [
            "  ✓ lint                  cached: it has passed on just this content",
            "  ✓ types                 cached: it has passed on just this content",
            "  ✓ test           15 ms",
            "✓ green in 663 ms",
        ]

    def test_more_are_counted(self) -> None:
        names = [f"stage{n}" for n in range(200)]
        assert last_lines(shown(started(), *cached(*names), finished(), whole=False)) == [
            "  ✓ 200 stages cached · stage0, stage1, stage2 and 197 more",
            "✓ green in 663 ms",
        ]

    def test_verbose_lists_them_all(self) -> None:
        said = shown(started(), *cached(*"abcde"), finished(), style=Style(verbose=True))
        assert said.count("cached: it has passed") == 5

    def test_quiet_lists_none(self) -> None:
        assert shown(started(), *cached(*"abcde"), finished(), style=Style(quiet=True)) == "✓ green in 663 ms\n"

    def test_of_a_run_that_gave_way_they_are_not_told(self) -> None:
        again = cached("a", "b", run=2)
        said = shown(started(), *cached("a"), finished("superseded"), started(2), *again, finished(run=2))
        assert said.count("✓ a") == 1
        assert said.count("✓ b") == 1


class TestSuperseded:
    def test_the_next_run_s_first_line_says_it_and_what_goes_on(self) -> None:
        goes_on = [StageStarted(run=2, stage=name, command="x", kept=True) for name in ("test", "types")]
        change = ChangeDetected(paths=("b",), cause="event")
        between = [finished("superseded"), change, says("bye")]
        said = shown(*live(verified=True), started(1, "a"), *between, started(2, "a", "b"), *goes_on)
        assert said.splitlines()[-3:] == [
            "▶ run 1 a · HH:MM:SS",
            "web │ bye",
            "↻ run 2 a, b · HH:MM:SS · run 1 superseded after 663 ms, test, types go on",
        ]

    def test_where_no_run_follows_at_once_it_has_a_line_of_its_own(self) -> None:
        said = shown(started(1), finished("superseded"), started(2), whole=False)
        assert said.splitlines()[2:] == ["↻ superseded after 663 ms: the tree changed", "", "▶ run 2 · HH:MM:SS"]

    def test_before_the_warning_that_explains_it(self) -> None:
        said = shown(started(), finished("superseded"), Warned(code="run.undone", message="by itself"))
        assert said.splitlines()[2:] == ["↻ superseded after 663 ms: the tree changed", "! by itself"]

    def test_what_still_holds_is_not_told_again(self) -> None:
        why = "nothing that concerns it has changed since run 1"
        still = StageFinished(run=2, stage="lint", status="failed", exit_code=1, took_ms=0.0, why=why)
        again = [*cached("types", run=2, why=why), still]
        first = [started(1, "a"), *lint(), *stage("types"), finished("superseded")]
        chain = [*first, started(2), *again, *stage("test"), finished("red", 2)]
        said = shown(*chain).splitlines()
        assert said[1:7] == [
            "▶ run 1 a · HH:MM:SS",
            "  ✗ lint           15 ms  exit status 1",
            "  ✓ types          15 ms",
            "↻ run 2 · HH:MM:SS · run 1 superseded after 663 ms",
            "  ✓ test           15 ms",
            "",
        ]
        assert said[-1] == "✗ red: lint failed in 663 ms"
        assert why in shown(*chain, started(3), *again).partition("▶ run 3")[2]
        assert why in shown(*chain, style=Style(verbose=True))

    def test_nor_what_was_cached_before_and_still_is(self) -> None:
        first = [started(1, "a"), *cached("types"), *stage("test"), finished("superseded")]
        assert shown(*first, started(2), *cached("types", run=2), finished(run=2)).count("✓ types") == 1

    def test_but_what_is_different_now_is(self) -> None:
        why = "it has passed on just this content"
        first = [started(1, "a"), *lint(), finished("superseded")]
        said = shown(*first, started(2), *cached("lint", run=2, why=why), finished(run=2))
        assert said.count("✓ lint") == 1
        assert shown(*first, started(2), *lint()).count("✗ lint") == 2

    def test_quiet_says_nothing_if_a_run_follows(self) -> None:
        assert shown(started(), finished("superseded"), started(2), style=Style(quiet=True)) == ""


class TestKept:
    """A stage whose process, or whose verdict, outlives its run."""

    begun: ClassVar[list[AnyEvent]] = [
        started(1, "a"),
        StageStarted(run=1, stage="test", command="pytest"),
        StageOutput(run=1, stage="test", stream="stdout", text="before"),
        StageFinding(
            run=1, stage="test", tool="x", severity="error", path="a", line=1, column=1, code=None, message="early"
        ),
        finished("superseded"),
        started(2, "a", "b"),
    ]
    goes_on = StageStarted(run=2, stage="test", command="pytest", kept=True)
    failed: ClassVar[list[AnyEvent]] = [
        StageOutput(run=2, stage="test", stream="stdout", text="after"),
        StageFinished(run=2, stage="test", status="failed", exit_code=1, took_ms=9000, findings=1),
        finished("red", 2),
    ]

    def test_it_brings_what_it_has_written(self) -> None:
        said = shown(*self.begun, self.goes_on, *self.failed)
        assert "  ✗ test          9.00 s  1 error, since run 1\n" in said
        assert "── test: pytest (1 error)\nbefore\nafter\n\n" in said

    def test_also_over_several_runs(self) -> None:
        between = [finished("superseded", 2), started(3)]
        again = StageStarted(run=3, stage="test", command="pytest", kept=True)
        said = shown(*self.begun, self.goes_on, *between, again, *self.failed)
        assert "since run 1\n" in said
        assert "before\nafter\n" in said

    def test_one_that_starts_anew_brings_nothing(self) -> None:
        said = shown(*self.begun, StageStarted(run=2, stage="test", command="pytest"), *self.failed)
        assert "before" not in said
        assert "since" not in said

    def test_after_a_verdict_nothing_is_brought_any_more(self) -> None:
        view = View()
        for event in (*self.begun, finished("green", 2), started(3), self.goes_on):
            view.apply(event)
        assert view.run is not None
        assert not view.run.stages["test"].output

    def test_verbose_says_that_it_goes_on(self) -> None:
        said = shown(*self.begun, self.goes_on, style=Style(verbose=True))
        assert said.endswith("  test goes on: what has changed does not concern it\n")

    why = "nothing that concerns it has changed since run 1"

    def again(self, *output: str, findings: int = 0) -> list[AnyEvent]:
        """It still fails, as the gate tells it."""
        lines = [StageOutput(run=2, stage="test", stream="stdout", text=line) for line in output]
        end = {"status": "failed", "exit_code": 1, "took_ms": 0.0, "why": self.why, "findings": findings}
        return [started(2, "README.md"), *lines, StageFinished(run=2, stage="test", **end)]

    def test_a_failure_that_still_holds_is_not_shown_in_full_again(self) -> None:
        said = shown(*red("the reason"), *self.again("the reason"), finished("red", 2))
        assert said.partition("▶ run 2")[2].splitlines()[1:] == [
            f"  ✗ test                  exit status 1; {self.why}",
            "── test still fails, as shown above",
            "✗ red: test failed in 663 ms",
        ]

    def test_it_says_where(self) -> None:
        found = finding(3, "odd", run=2, stage="test")
        began, *rest = self.again("the reason", findings=1)
        said = shown(*red("the reason"), began, found, *rest, finished("red", 2))
        assert "── test still fails: app.py:3:5 F401 odd\n" in said

    def test_a_failure_beside_it_is_shown_in_full(self) -> None:
        other = stage("lint", "failed", "another reason", code=1)
        said = shown(*red("the reason"), *self.again("the reason"), *other, finished("red", 2)).partition("▶ run 2")[2]
        assert "── lint: run lint\nanother reason\n\n── test still fails" in said
        assert "the reason\n" not in said.replace("another reason\n", "")

    @pytest.mark.parametrize("between", [[], [finished("superseded")], [*stage("test"), finished()]])
    def test_one_that_was_not_shown_is(self, between: list[AnyEvent]) -> None:
        first = red("the reason")[:-1]
        said = shown(*first, *between, *self.again("the reason"), finished("red", 2))
        assert "── test: run test\nthe reason\n\n" in said

    def test_another_failure_of_that_stage_is_shown(self) -> None:
        said = shown(*red("the reason"), *self.again("another one"), finished("red", 2))
        assert "── test: run test\nanother one\n\n" in said

    def test_one_that_was_run_again_is_shown_though_it_says_the_same(self) -> None:
        again = [started(2, "app.py"), *red("the reason")[1:]]
        assert shown(*red("the reason"), *again).count("── test: run test\nthe reason\n") == 2


class TestWatching:
    def test_another_set_is_told_as_what_is_watched_now(self) -> None:
        another = WatchReady(dirs=2, files=3, took_ms=5.0)
        said = shown(WatchReady(dirs=1, files=1, took_ms=4.0), another)
        assert said == text("watching 1 file in 1 folder (4 ms)", "now watching 3 files in 2 folders (5 ms)")

    def test_a_pause_says_the_way_out(self) -> None:
        expected = text("paused: changes start no runs until `hotpipe resume`", "resumed")
        assert shown(GatePaused(), GateResumed()) == expected

    def test_who_checks_once_neither_watches_nor_counts(self) -> None:
        events = [WatchReady(dirs=1, files=2, took_ms=4.0), started(), *stage("lint"), finished()]
        said = Plain(USUAL).render([Stamped(STAMP, event) for event in events]).splitlines()
        assert said[0] == "2 files in 1 folder (4 ms)"
        assert said[2].startswith("▶ check · ")


class TestConfiguration:
    rejected = ConfigRejected(path="hotpipe.toml", errors=("hotpipe.toml:3: inputz: unknown key\nhint: inputs", "two"))

    def test_one_that_is_not_valid_changes_nothing(self) -> None:
        expected = text(
            "",
            "── hotpipe.toml has changed and is not valid:",
            "  hotpipe.toml:3: inputz: unknown key",
            "  hint: inputs",
            "  two",
            "! what was in force stays in force",
        )
        assert shown(self.rejected) == expected
        assert shown(self.rejected, style=Style(quiet=True)) == expected

    @pytest.mark.parametrize("style", [Style(), Style(quiet=True)])
    def test_a_verdict_under_one_that_is_out_of_date_says_so(self, style: Style) -> None:
        run = (started(), finished("green"))
        assert "green in 663 ms · hotpipe.toml is not valid, and not in force" in shown(
            self.rejected, *run, style=style
        )
        assert "not in force" not in shown(self.rejected, ConfigReloaded(path="hotpipe.toml"), *run, style=style)[-40:]

    def test_very_many_errors_do_not_flood(self) -> None:
        said = shown(ConfigRejected(path="x", errors=("e",) * 100))
        assert said.count("  e\n") == 20
        assert "  and 80 more\n" in said

    def test_one_that_is_valid_is_a_line(self) -> None:
        assert shown(ConfigReloaded(path="hotpipe.toml")) == "hotpipe.toml has changed and is in force\n"


class TestLinks:
    linked = Style(links=Links("/pro ject", "box", tells_line=True))

    def said(self, *output: str, style: Style = linked, **more: str | int) -> str:
        return shown(started(), *lint(finding(**more), output=[*output]), finished("red"), style=style)

    def test_places_in_the_output_lead_to_the_file(self) -> None:
        link = "\x1b]8;;file://box/pro%20ject/app.py#3\x1b\\app.py:3:5\x1b]8;;\x1b\\"
        assert f"\n{link}: F401 odd\n" in self.said("app.py:3:5: F401 odd")
        assert f"\n --> {link}\n" in self.said(" --> app.py:3:5")

    def test_from_whatever_folder_they_were_written(self) -> None:
        uri = "file://box/pro%20ject/src/app.py#3"
        for written in ("app.py:3", "./app.py:3", "src/app.py:3:5", "/pro/src/app.py:3"):
            assert f"\x1b]8;;{uri}\x1b\\{written}\x1b]8;;" in self.said(f"see {written} !", path="src/app.py")

    def test_what_is_no_finding_is_no_link(self) -> None:
        assert "\x1b]" not in self.said("app.py:4:5: x", "other.py:3:5", "myapp.py:3", "http://app.py:3000", "12:30:45")

    def test_a_line_with_links_of_its_own_stays_as_it_is(self) -> None:
        own = "\x1b]8;;x:y\x07app.py:3:5\x1b]8;;\x07"
        assert f"\n{own}\n" in self.said(own)

    def test_places_in_the_list(self) -> None:
        said = self.said(*map(str, range(100)))
        assert "\x1b]8;;file://box/pro%20ject/app.py#3\x1b\\app.py:3:5\x1b]8;;\x1b\\ F401 odd\n" in said

    def test_without_links_there_is_none(self) -> None:
        assert "\x1b" not in self.said("app.py:3:5: F401 odd", *map(str, range(100)), style=USUAL)

    def test_how_a_terminal_wants_them(self) -> None:
        def uri(**environ: str) -> str:
            found = links(environ, "/p", "box")
            assert found is not None
            return found.to("", "é#?.py", 3, 5).removeprefix("\x1b]8;;").partition("\x1b")[0]

        assert uri(VTE_VERSION="7200") == "file://box/p/%C3%A9%23%3F.py"
        assert uri(TERM="xterm-kitty") == "file://box/p/%C3%A9%23%3F.py#3"
        assert uri(TERM_PROGRAM="vscode", TERM_PROGRAM_VERSION="1.90.0") == "file:///p/%C3%A9%23%3F.py#3,5"

    @pytest.mark.parametrize(
        "environ, expected",
        [
            ("", False),
            ("TERM=xterm-256color", False),
            ("TERM=xterm-kitty", True),
            ("TERM=alacritty", True),
            ("TERM_PROGRAM=iTerm.app TERM_PROGRAM_VERSION=3.0.15", False),
            ("TERM_PROGRAM=iTerm.app TERM_PROGRAM_VERSION=3.5.1", True),
            ("TERM_PROGRAM=WezTerm TERM_PROGRAM_VERSION=20200608-110940-3fb3a61", False),
            ("TERM_PROGRAM=WezTerm TERM_PROGRAM_VERSION=20240203-110809-5046fc22", True),
            ("TERM_PROGRAM=vscode TERM_PROGRAM_VERSION=1.71.2", False),
            ("TERM_PROGRAM=vscode TERM_PROGRAM_VERSION=1.100.0", True),
            ("TERM_PROGRAM=ghostty", True),
            ("TERM_PROGRAM=Apple_Terminal", False),
            ("VTE_VERSION=4999", False),
            ("VTE_VERSION=5000", True),
            ("VTE_VERSION=garbage", False),
            ("KONSOLE_VERSION=220400", True),
            ("WT_SESSION=x", True),
            ("WT_SESSION=x CI=true", False),
            ("WT_SESSION=x FORCE_HYPERLINK=0", False),
            ("FORCE_HYPERLINK=1", True),
            ("FORCE_HYPERLINK=1 CI=true", True),
        ],
    )
    def test_which_terminals_have_them(self, environ: str, expected: bool) -> None:
        given = dict(part.split("=") for part in environ.split())
        assert (links(given, "/p", "box") is not None) == expected


class TestQuiet:
    style = Style(quiet=True)

    def test_of_a_green_run_the_verdict_alone(self) -> None:
        events = [WatchReady(dirs=1, files=1, took_ms=1), started(), *stage("test", "passed", "x"), finished()]
        assert shown(*events, style=self.style) == "✓ green in 663 ms\n"

    def test_failures_in_full_and_what_is_served(self) -> None:
        assert shown(*live(), *red("the reason"), style=self.style) == text(
            "web ● live · http://127.0.0.1:8000 · generation 1, tree c33c87cf (unverified) · 198 ms",
            "",
            "── test: run test",
            "the reason",
            "",
            "✗ red: test failed in 663 ms · web still serves generation 1, tree c33c87cf (unverified)",
        )

    def test_a_check_that_proves_nothing_is_not_silent(self) -> None:
        assert shown(started(), finished("superseded"), style=self.style) == text(
            "↻ superseded after 663 ms: the tree changed"
        )


class TestServers:
    def test_the_first_start_is_unverified_until_the_run_is_green(self) -> None:
        verified = ServerVerified(server="web", generation=1, tree=TREE)
        assert shown(*live(), started(), finished(), verified, whole=False) == text(
            "web ● live · http://127.0.0.1:8000 · generation 1, tree c33c87cf (unverified) · 198 ms",
            "",
            "▶ run 1 · HH:MM:SS",
            "✓ green in 663 ms",
            "web ✓ verified · generation 1, tree c33c87cf",
        )

    def test_a_restart_after_a_green_run_is_one_line(self) -> None:
        stopped = ServerStopped(server="web", generation=1, exit_code=0, signal=None, killed=False)
        again = shown(*live(), stopped, *live(2, OTHER, verified=True)).splitlines()[1:]
        assert again == ["web ● live · http://127.0.0.1:8000 · generation 2, tree 927d550d · 198 ms"]

    def test_a_green_run_on_what_is_served_says_that_nothing_restarts(self) -> None:
        said = shown(*live(verified=True), started(), finished())
        assert said.endswith("✓ green in 663 ms · web already serves it\n")
        both = shown(*live(verified=True), *live(verified=True, server="api"), started(), finished())
        assert both.endswith("✓ green in 663 ms · web, api already serve it\n")
        assert shown(*live(verified=True), started(tree=OTHER), finished()).endswith("✓ green in 663 ms\n")

    def test_a_red_run_says_what_is_still_served(self) -> None:
        assert shown(*live(verified=True), *red("x")).endswith(
            "✗ red: test failed in 663 ms · web still serves generation 1, tree c33c87cf\n"
        )

    def test_and_after_a_server_died_that_nothing_is(self) -> None:
        died = ServerFailed(server="web", generation=1, reason="exited with status 1", serving=None)
        assert shown(*live(), died, *red("x")).endswith("✗ red: test failed in 663 ms\n")

    def test_web_sockets_are_links_and_others_addresses(self) -> None:
        sockets = [
            Address("http2", "[::1]:80"),
            Address("https", "h:443"),
            Address("admin", "h:1"),
            Address("tcp", "h:2"),
        ]
        assert " · http://[::1]:80, https://h:443, h:1, h:2 · " in shown(*live(1, TREE, *sockets))

    def test_a_server_without_sockets_is_live_nowhere(self) -> None:
        bare = ServerLive(server="worker", generation=1, pid=1, sockets=(), took_ms=1000)
        assert shown(bare) == "worker ● live · generation 1 (unverified) · 1.00 s\n"

    def test_a_new_version_that_fails_says_who_goes_on(self) -> None:
        failed = ServerFailed(server="web", generation=2, reason="exited with status 1 before it was ready", serving=1)
        assert shown(*live(), says("Traceback", 2), failed).splitlines()[1:] == [
            "web │ Traceback",
            "web ✗ generation 2: exited with status 1 before it was ready · generation 1 goes on serving",
        ]

    def test_while_two_are_alive_each_line_says_whose_it_is(self) -> None:
        boots = ServerStarting(server="web", generation=2, pid=8, tree=OTHER)
        said = shown(*live(), boots, says("bye"), says("hello", 2)).splitlines()
        assert said[1:] == ["web·1 │ bye", "web·2 │ hello"]

    def test_or_that_nobody_does(self) -> None:
        failed = ServerFailed(server="web", generation=1, reason="killed by SIGSEGV", serving=None)
        assert (
            shown(failed)
            == "web ✗ generation 1: killed by SIGSEGV · nobody answers until the next green run, or `hotpipe restart`; "
            "connections wait\n"
        )

    def test_or_that_one_that_boots_will(self) -> None:
        boots = ServerStarting(server="web", generation=2, pid=8, tree=OTHER)
        died = ServerFailed(server="web", generation=1, reason="killed by SIGSEGV", serving=None)
        assert shown(*live(), boots, died).endswith("SIGSEGV · nobody answers until generation 2 is live\n")

    def test_one_that_was_live_may_come_back_by_itself(self) -> None:
        died = ServerFailed(server="web", generation=1, reason="killed by SIGSEGV", serving=None, retry_ms=500.0)
        assert shown(*live(), died).endswith("SIGSEGV · started again in 500 ms\n")

    def test_what_a_switch_consists_of_is_for_those_who_ask(self) -> None:
        again = [
            *live(2, OTHER),
            ServerDraining(server="web", generation=1),
            ServerStopped(server="web", generation=1, exit_code=0, signal=None, killed=False),
            ServerStatus(server="web", generation=2, text="3 workers"),
        ]
        line = "web ● live · http://127.0.0.1:8000 · generation 2, tree 927d550d (unverified) · 198 ms"
        assert shown(*live(), *again).splitlines()[1:] == [line]
        assert shown(*live(), *again, style=Style(verbose=True)).splitlines()[2:] == [
            "web starting generation 2",
            line,
            "web draining generation 1",
            "web stopped generation 1",
            "web generation 2 says: 3 workers",
        ]

    def test_a_candidate_that_is_not_wanted_any_more_is_one_line(self) -> None:
        given_up = ServerDiscarded(server="web", generation=2, reason="there is a newer one", serving=1)
        assert shown(given_up) == ("web discarded generation 2: there is a newer one · generation 1 goes on serving\n")
        first = ServerDiscarded(server="web", generation=1, reason="there is a newer one", serving=None)
        assert shown(first) == "web discarded generation 1: there is a newer one\n"
        assert shown(first, style=Style(quiet=True)) == ""

    def test_after_a_fall_back_it_is_the_old_generation_that_is_served_and_its_tree(self) -> None:
        died = ServerFailed(server="web", generation=2, reason="exited with status 1", serving=1)
        served = "web still serves generation 1, tree c33c87cf"
        assert shown(*live(verified=True), *live(2, OTHER), died, *red("x")).endswith(f"{served}\n")
        assert shown(*live(), *live(2, OTHER, verified=True), died, *red("x")).endswith(f"{served} (unverified)\n")
        verified = ServerVerified(server="web", generation=1, tree=TREE)
        assert shown(*live(), *live(2, OTHER), died, verified, *red("x"), whole=False).endswith(f"{served}\n")

    def test_what_is_live_may_be_verified_while_the_next_one_boots(self) -> None:
        boots = ServerStarting(server="web", generation=2, pid=8, tree=OTHER)
        verified = ServerVerified(server="web", generation=1, tree=TREE)
        assert "web ✓ verified · generation 1, tree c33c87cf\n" in shown(*live(), boots, verified, whole=False)

    def test_a_process_that_reloads_itself_is_one_generation_after_another(self) -> None:
        died = ServerFailed(server="web", generation=3, reason="not ready within 30 s", serving=2)
        said = shown(*live(), *live(2, OTHER), ServerStarting(server="web", generation=3, pid=7, tree="3"), died)
        assert said.endswith("web ✗ generation 3: not ready within 30 s · generation 2 goes on serving\n")

    def test_each_of_several_servers_is_told_of_for_itself(self) -> None:
        died = ServerFailed(server="api", generation=2, reason="exited with status 1", serving=1)
        both = [*live(verified=True), *live(server="api"), *live(2, OTHER, server="api"), died]
        assert shown(*both, *red("x")).endswith(
            " · web still serves generation 1, tree c33c87cf"
            " · api still serves generation 1, tree c33c87cf (unverified)\n"
        )


class TestLongLogs:
    """A failure stays in sight, whatever the live server writes below it."""

    def test_below_a_failure_a_live_server_may_write_little(self) -> None:
        said = (
            shown(*live(), *red("x"), *(says(f"GET /{n}") for n in range(500))).partition("✗ red")[2].splitlines()[1:]
        )
        assert said == [
            *(f"web │ GET /{n}" for n in range(20)),
            "web │ more is held back until the next run, so that the failure stays in sight; -v shows it",
        ]

    def test_the_next_run_says_how_much_was_not_shown_and_shows_all_again(self) -> None:
        flood = [says(f"GET /{n}") for n in range(500)]
        said = shown(*live(), *red("x"), *flood, started(2), *flood).splitlines()
        assert said.count("web │ (480 lines not shown)") == 1
        assert said[-500:] == [f"web │ GET /{n}" for n in range(500)]

    def test_after_a_green_run_nothing_is_held_back(self) -> None:
        flood = [says(f"GET /{n}") for n in range(500)]
        assert shown(*live(), started(), finished(), *flood).count("GET") == 500

    def test_a_server_that_dies_has_its_last_words(self) -> None:
        flood = [says(f"GET /{n}") for n in range(500)]
        stopped = ServerStopped(server="web", generation=1, exit_code=1, signal=None, killed=False)
        died = ServerFailed(server="web", generation=1, reason="exited with status 1", serving=None, retry_ms=500.0)
        said = shown(*live(), *red("x"), *flood, says("Traceback"), died, stopped, started(2)).splitlines()
        assert said[-104:-103] == ["web │ (381 earlier lines not shown)"]
        assert said[-4:] == [
            "web │ Traceback",
            "web ✗ generation 1: exited with status 1 · started again in 500 ms",
            "",
            "▶ run 2 · HH:MM:SS",
        ]

    def test_a_candidate_may_say_all_that_it_has_to_say(self) -> None:
        boot = [says(f"boot {n}", 2) for n in range(500)]
        assert shown(*live(), *red("x"), *boot).count("boot") == 500

    def test_each_server_for_itself(self) -> None:
        flood = [says(f"GET /{n}") for n in range(500)]
        said = shown(*live(), *live(server="api"), *red("x"), *flood, says("hello", server="api"))
        assert said.endswith("api │ hello\n")


EVERYTHING: list[AnyEvent] = [
    WatchReady(dirs=1, files=1, took_ms=1),
    *live(),
    *red("x"),
    *(says("y") for _ in range(30)),
    started(2, "app.py"),
    *stage("test"),
    finished(),
    ServerVerified(server="web", generation=1, tree=TREE),
    started(3),
    *lint(finding(), output=100),
    *lint(finding(), allowed=True),
    *cached("a", "b", "c"),
    finished("superseded"),
    Warned(code="x", message="odd", hint="y"),
    ServerDiscarded(server="web", generation=2, reason="there is a newer one", serving=1),
    ServerFailed(server="web", generation=1, reason="gone", serving=None),
    started(4),
    finished("superseded"),
    started(5),
    *lint(finding(3, "x" * 500), output=100),
    *stage("test", "failed", code=1),
    *cached("a", "b", "c"),
    finished("red"),
    TestConfiguration.rejected,
    ConfigReloaded(path="hotpipe.toml"),
]


class TestMeans:
    """Colour and signs, where the terminal has them."""

    def test_without_colour_there_is_no_escape(self) -> None:
        assert "\x1b" not in shown(*EVERYTHING)

    def test_colour_changes_nothing_but_the_colour(self) -> None:
        coloured = shown(*EVERYTHING, style=Style(colour=True))
        assert re.sub(r"\x1b\[\d*m", "", coloured) == shown(*EVERYTHING)

    def test_colours_mean_what_they_do_everywhere(self) -> None:
        style = Style(colour=True)
        assert "\x1b[32m✓ green\x1b[0m" in shown(started(), finished(), style=style)
        assert "\x1b[31m✗ red: test failed\x1b[0m" in shown(*red("x"), style=style)
        assert "\x1b[33m(unverified)\x1b[0m" in shown(*live(), style=style)

    def test_every_colour_ends_with_its_line(self) -> None:
        for line in shown(*EVERYTHING, style=Style(colour=True)).splitlines():
            assert line.count("\x1b[0m") * 2 == line.count("\x1b[")

    def test_without_unicode_all_signs_are_ascii(self) -> None:
        said = shown(*EVERYTHING, style=Style(unicode=False, colour=True))
        assert said.isascii()
        for sign in ("+ green in", "x red: test failed", "~ superseded", "> run 2 ", "web |", "* live", "-- test:"):
            assert sign in re.sub(r"\x1b\[\d*m", "", said)

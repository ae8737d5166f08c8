"""`--github`, read as GitHub's runner reads it: which lines it takes for commands, and what it makes of them."""

import os
import re
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reporting import begun, check, ended, finding, output, over, project, stage, stamped

from hotpipe.events import AnyEvent
from hotpipe.ui.annotations import Places
from hotpipe.ui.github import GitHub, Step
from hotpipe.ui.plain import Style
from hotpipe.ui.results import Results
from hotpipe.ui.summary import summary

TOKEN = "0123456789abcdef"
KNOWN = {
    "error",
    "warning",
    "notice",
    "group",
    "endgroup",
    "stop-commands",
    "add-mask",
    "set-output",
    "set-env",
    "debug",
}
NOISE = """
import sys
sys.stdout.buffer.write(bytes(range(256)) + b"\\n```\\n##[error]x\\nthe reason\\n")
sys.exit(3)
"""
HERE = Places("/repo/sub", "/repo")


class Command(NamedTuple):
    name: str
    properties: dict[str, str]
    message: str


def executed(text: str) -> list[Command]:
    """What actions/runner would execute (ActionCommand.cs, ActionCommandManager.cs), and leave its log with."""
    commands: list[Command] = []
    token = None
    for line in re.split("\r\n|\r|\n", text):
        found = parsed(line, KNOWN | {token or "error"})
        if found is None:
            continue
        if token is not None:
            token = None if found.name == token else token
        elif found.name == "stop-commands":
            token = found.message
        else:
            commands.append(found)
    assert token is None, "commands stay stopped"
    return commands


def parsed(line: str, known: set[str]) -> Command | None:
    new = re.match(r"\s*::(.*?)::(.*)", line, re.DOTALL)
    old = re.search(r"##\[(.*?)\](.*)", line, re.DOTALL)
    for found, between, escapes in ((new, ",", "\r\n:,"), (old, ";", "\r\n];")):
        name, _, listed = found[1].partition(" ") if found else ("", "", "")
        if found and name.lower() in known:
            pairs = (pair.split("=", 1) for pair in listed.split(between) if "=" in pair)
            return Command(name, {k: unescaped(v, escapes) for k, v in pairs}, unescaped(found[2], "\r\n"))
    return None


def unescaped(text: str, escapes: str) -> str:
    for character in f"{escapes}%":
        text = text.replace(f"%{ord(character):02X}", character)
    return text


def shown(*events: AnyEvent, style: Style | None = None, places: Places = HERE, to: str | None = None) -> str:
    return GitHub(style or Style(), Step(places, to, TOKEN)).render(stamped(*events))


def annotated(*events: AnyEvent, places: Places = HERE) -> list[Command]:
    return [c for c in executed(shown(begun(), *events, places=places)) if c.name in {"error", "warning", "notice"}]


def markdown(*events: AnyEvent, most_bytes: int = 100_000) -> str:
    results = Results()
    for each in stamped(*events):
        results.apply(each)
    return summary(results, most_bytes)


class TestLog:
    def test_the_output_of_each_stage_stands_in_a_group_of_its_own_where_the_stage_ends(self) -> None:
        text = shown(
            begun(), *output("a", "from a"), *output("b", "from b"), *output("a", "more of a"),
            ended("a"), ended("b", "failed", 1), ended("c"), over(),
        )  # fmt: skip
        assert re.sub(r"\d\d:\d\d:\d\d", "HH:MM:SS", text).splitlines() == [
            "",
            "▶ check · HH:MM:SS",
            "  ✓ a             1.23 s",
            "::group::a",
            "from a",
            "more of a",
            "::endgroup::",
            "  ✗ b             1.23 s  exit status 1",
            "::group::b",
            "from b",
            "::endgroup::",
            "  ✓ c             1.23 s",
            "",
            "── b: ",
            "(its output stands above, in the group 'b')",
            "",
            "✗ red: b failed in 2.42 s",
            "::error title=b failed::exit status 1%0Afrom b",
        ]

    def test_a_failure_that_said_nothing_is_no_group(self) -> None:
        text = shown(begun(), *stage("a", "failed", code=1), over())
        assert "::group::" not in text
        assert "(no output; exit status 1)" in text

    def test_quiet_shows_the_output_of_failures_only(self) -> None:
        events = [*stage("a", "passed", *output("a", "x")), *stage("b", "failed", *output("b", "y"), code=1)]
        text = shown(begun(), *events, over(), style=Style(quiet=True))
        assert [c.message for c in executed(text) if c.name == "group"] == ["b"]
        assert "x" not in text.split("::group::")[0]

    def test_verbose_shows_each_line_as_it_comes_and_not_again(self) -> None:
        face = GitHub(Style(verbose=True), Step(HERE, None, TOKEN))
        assert face.render(stamped(begun(), *output("a", "one"))).endswith("a │ one\n")
        assert "one" not in face.render(stamped(ended("a"), over("green")))

    def test_colours_end_with_their_line_and_a_progress_bar_leaves_its_last_state(self) -> None:
        text = shown(begun(), *stage("a", "passed", *output("a", "\x1b[31mred", "10 %\r99 %\r")))
        assert "\n\x1b[31mred\x1b[0m\n99 %\n" in text

    def test_long_output_is_bounded(self) -> None:
        text = shown(begun(), *stage("a", "passed", *output("a", *["x" * 1_000] * 10_000)))
        assert len(text) < 1_300_000
        assert "lines not shown)" in text


class TestNothingElseIsExecuted:
    @pytest.mark.parametrize(
        "line",
        [
            "::error::x", "  \t::error::x", "\u2003::error::x", "##[error]x", "words ##[add-mask]x",
            "a\r::set-env name=a::b",
            "::stop-commands::x", "::endgroup::", "::ERROR file=a::x", "\x0b::error::", "##[stop-commands]x",
        ],
    )  # fmt: skip
    @pytest.mark.parametrize("style", [Style(), Style(verbose=True), Style(quiet=True)])
    def test_a_command_that_a_stage_writes(self, line: str, style: Style) -> None:
        text = shown(begun(), *stage("a", "failed", *output("a", "first", line), code=1), over(), style=style)
        assert {c.name for c in executed(text)} <= {"group", "endgroup", "error"}
        assert [c.properties for c in executed(text) if c.name == "error"] == [{"title": "a failed"}]

    def test_plain_output_is_shown_without_the_brackets_for_it(self) -> None:
        text = shown(begun(), *stage("a", "passed", *output("a", "tests/a.py::test_b", "[x] a :: b", "## [c]")))
        assert "stop-commands" not in text

    @given(
        st.lists(st.text(st.sampled_from("ab:# []\r\n\t\x0b\x1b%,=\u2003\ufeff\u0085") | st.characters(), max_size=20)),
        st.text(st.sampled_from("a:,%\r\n#[]="), min_size=1, max_size=12),
    )
    def test_whatever_is_written_and_whatever_names_are(self, lines: list[str], name: str) -> None:
        lines = [f"{start}{line}" for line in lines for start in ("", "::error::", "##[error]", "\r::warning::")]
        found = finding(name, "\n".join(lines), at=(name, 1, 1), code=name)
        for style in (Style(), Style(verbose=True)):
            text = shown(begun(), *stage(name, "failed", *output(name, *lines), found, code=1), over(), style=style)
            commands = [c for c in executed(text) if c.name not in {"group", "endgroup"}]
            assert [(c.name, sorted(c.properties)) for c in commands] == [("error", ["col", "file", "line", "title"])]

    def test_each_run_has_a_token_that_nobody_can_know(self) -> None:
        tokens = {Step.of({}, "/").token for _ in range(5)}
        assert len(tokens) == 5
        assert all(len(token) == 32 for token in tokens)


class TestAnnotations:
    def test_a_finding_of_a_failed_stage_is_an_annotation_at_its_place(self) -> None:
        found = finding("lint", "100%: a,b\nsecond", at=("a:b,c%.py", 3, 7))
        assert annotated(*stage("lint", "failed", found, code=1), over()) == [
            Command(
                "error",
                {"file": "sub/a:b,c%.py", "line": "3", "col": "7", "title": "lint: ruff"},
                "100%: a,b\nsecond (F401)",
            )
        ]

    def test_its_form_is_that_of_the_toolkit(self) -> None:
        text = shown(
            begun(), *stage("a", "failed", finding("a", "50%\r\n", at=("x:1,2.py", 3, None), code=None)), over()
        )
        assert text.splitlines()[-1] == "::error file=sub/x%3A1%2C2.py,line=3,title=a%3A ruff::50%25%0A"

    @pytest.mark.parametrize(
        "ends, kinds",
        [
            ({"status": "failed"}, ["error", "warning", "notice"]),
            ({"status": "timed_out"}, ["error", "warning", "notice"]),
            ({"status": "failed", "allowed": True}, ["warning", "warning"]),
            ({"status": "passed"}, ["warning", "warning"]),
            ({"status": "cached"}, ["warning", "warning"]),
            ({"status": "cancelled"}, []),
        ],
    )
    def test_its_kind_is_its_severity_but_an_error_only_where_the_stage_failed(
        self, ends: dict, kinds: list[str]
    ) -> None:
        found = [finding(severity="note"), finding(severity="warning"), finding(severity="error")]
        assert [c.name for c in annotated(*found, ended("lint", **ends), over())] == kinds

    def test_a_failure_without_an_error_is_one_with_the_last_words(self) -> None:
        events = [*output("a", *map(str, range(20))), finding("a", severity="warning"), ended("a", "failed", 3)]
        first, second = annotated(*events, over())
        assert first.properties == {"title": "a failed"}
        assert first.message.split("\n") == ["exit status 3", *map(str, range(10, 20))]
        assert second.name == "warning"

    def test_a_failure_that_is_allowed_is_a_warning(self) -> None:
        (one,) = annotated(ended("a", "failed", 3, allowed=True), over("green"))
        assert (one.name, one.properties["title"], one.message) == ("warning", "a failed, and may", "exit status 3")

    def test_the_first_of_each_stage_come_first_and_no_more_than_github_shows(self) -> None:
        many = [finding("lint", f"lint {n}", severity) for n in range(30) for severity in ("error", "warning", "note")]
        events = [*stage("lint", "failed", *many, code=1), *stage("test", "failed", finding("test", "test 0"), code=1)]
        shown = annotated(*events, over())
        errors = [c.message.removesuffix(" (F401)") for c in shown if c.name == "error"]
        assert errors == ["lint 0", "test 0", *(f"lint {n}" for n in range(1, 9))]
        assert [sum(c.name == kind for c in shown) for kind in ("error", "warning", "notice")] == [10, 10, 10]

    def test_a_void_run_is_an_error_and_its_findings_are_not_told(self) -> None:
        (one,) = annotated(*stage("a", "failed", finding("a"), code=1), over("superseded"))
        assert one == Command(
            "error", {"title": "hotpipe"}, "The tree changed while it was checked, so the run proves nothing."
        )

    def test_without_a_line_there_is_no_column_and_without_a_path_no_line(self) -> None:
        found = [finding(at=("a.py", None, 7)), finding(at=(None, 3, 7))]
        first, second = annotated(*found, ended("lint", "failed", 1), over())
        assert first.properties == {"file": "sub/a.py", "title": "lint: ruff"}
        assert second.properties == {"title": "lint: ruff"}

    def test_a_message_is_cut_before_the_runner_cuts_it(self) -> None:
        (one,) = annotated(finding(message="\U0001f600" * 9_000), ended("lint", "failed", 1), over())
        assert len(one.message.encode("utf-16-le")) // 2 <= 4_096  # .NET counts in UTF-16

    @pytest.mark.parametrize(
        "places, path, expected",
        [
            (HERE, "a.py", "sub/a.py"),
            (HERE, "../lib/b.py", "lib/b.py"),
            (HERE, "/repo/sub/x/c.py", "sub/x/c.py"),
            (HERE, "/usr/lib/d.py", "/usr/lib/d.py"),
            (HERE, "/repository/e.py", "/repository/e.py"),
            (HERE, "../../f.py", "../../f.py"),
            (Places("/repo", "/repo"), "a.py", "a.py"),
            (Places("/repo/sub", ""), "a.py", "a.py"),
            (Places("/repo/sub", "/elsewhere"), "a.py", "a.py"),
        ],
    )
    def test_files_are_named_from_the_repositorys_root(self, places: Places, path: str, expected: str) -> None:
        assert places.named(path) == expected

    def test_the_workspace_may_be_reached_through_a_link(self, tmp_path: Path) -> None:
        (tmp_path / "repo" / "sub").mkdir(parents=True)
        (tmp_path / "link").symlink_to("repo")
        step = Step.of({"GITHUB_WORKSPACE": f"{tmp_path}/link/"}, f"{tmp_path}/repo/sub")
        assert step.places.named("a.py") == "sub/a.py"


class TestSummary:
    def test_a_table_of_the_stages_then_what_failed(self) -> None:
        text = markdown(
            begun(), *stage("lint", "cached", why="its inputs have passed", took_ms=0.0),
            *stage("unit", "failed", *output("unit", "the reason"), finding("unit", "a < b"), code=1, findings=1),
            *stage("flaky", "passed", flaky=True), *stage("soft", "failed", code=2, allowed=True),
            *stage("late", "skipped", why="unit failed"), over(),
        )  # fmt: skip
        assert text.splitlines() == [
            "### hotpipe: ❌ red in 2.42 s",
            "",
            "| stage | status | duration | findings |",
            "| --- | --- | ---: | ---: |",
            r"| lint | ✅ cached (its inputs have passed) | 0 ms |  |",
            r"| unit | ❌ failed (exit status 1) | 1.23 s | 1 |",
            r"| flaky | ✅ passed (flaky) | 1.23 s |  |",
            r"| soft | ❌ failed (exit status 2, allowed) | 1.23 s |  |",
            r"| late | ⏭️ skipped (unit failed) |  |  |",
            "",
            "#### unit: exit status 1",
            "",
            r"- app.py\:3\:7\: a \< b (F401)",
            "",
            "```text",
            "the reason",
            "```",
            "",
            "#### soft: exit status 2",
        ]

    def test_no_output_ends_its_fence(self) -> None:
        lines = output("a", "```", "</details>", "`````", "\x1b[31m| x |")
        text = markdown(begun(), *stage("a", "failed", *lines, code=1), over())
        assert text.endswith("\n``````text\n```\n</details>\n`````\n| x |\n``````\n")

    def test_no_name_breaks_the_table(self) -> None:
        text = markdown(begun(), *stage("a|b\n<img src=x>`c`", "passed", why="x | y"), over("green"))
        assert text.splitlines()[-1] == r"| a\|b \<img src=x\>\`c\` | ✅ passed (x \| y) | 1.23 s |  |"

    @pytest.mark.parametrize("most_bytes", [0, 10, 60, 200, 500, 3_000, 20_000, 100_000])
    def test_it_is_no_longer_than_it_may_be_and_no_fence_stays_open(self, most_bytes: int) -> None:
        stages = [e for n in range(50) for e in stage(f"s{n}", "failed", *output(f"s{n}", *["é" * 90] * 200), code=1)]
        text = markdown(begun(), *stages, over(), most_bytes=most_bytes)
        assert len(text.encode()) <= most_bytes
        assert text.count("```") % 2 == 0
        assert not text or "The rest is left out" in text

    def test_it_is_added_to_what_stands_there(self, tmp_path: Path) -> None:
        file = tmp_path / "summary"
        file.write_text("before\n")
        shown(begun(), *stage("a", "passed"), over("green"), to=str(file))
        assert file.read_text().startswith("before\n### hotpipe: ✅ green in 2.42 s\n")

    def test_where_others_have_filled_it_nothing_is_added_and_it_is_said(self, tmp_path: Path) -> None:
        file = tmp_path / "summary"
        file.write_bytes(b"x" * 1024 * 1024)
        text = shown(begun(), *stage("a", "passed"), over("green"), to=str(file))
        assert text.endswith(f"! cannot write the job summary {file}: other summaries of this step fill it\n")
        assert file.stat().st_size == 1024 * 1024


class TestCheck:
    def test_a_real_run(self, tmp_path: Path) -> None:
        (tmp_path / "sub").mkdir()
        project(
            tmp_path / "sub",
            good="print('::warning::not mine')",
            bad=NOISE,
            later="",
        )
        env = {"GITHUB_WORKSPACE": str(tmp_path), "GITHUB_STEP_SUMMARY": str(tmp_path / "summary")}
        done = check(tmp_path / "sub", "--github", "--junit", "r.xml", env=env)
        assert done.returncode == 1
        commands = executed(done.stdout)
        assert [c.name for c in commands] == ["group", "endgroup", "group", "endgroup", "error"]
        assert commands[-1].properties == {"title": "bad failed"}
        assert commands[-1].message.endswith("```\n##[error]x\nthe reason")
        text = (tmp_path / "summary").read_text()
        assert "| bad | ❌ failed (exit status 3) |" in text
        assert text.endswith("the reason\n````\n")
        assert (tmp_path / "sub" / "r.xml").exists()

    def test_without_a_runner_it_annotates_and_writes_nothing(self, tmp_path: Path) -> None:
        project(tmp_path, a="raise SystemExit(1)")
        before = set(os.listdir(tmp_path))
        done = check(tmp_path, "--github")
        assert "::error title=a failed::exit status 1\n" in done.stdout
        assert set(os.listdir(tmp_path)) - {".hotpipe"} == before

    @pytest.mark.parametrize("place", ["missing/summary", ".", "/proc/summary"])
    def test_a_summary_that_cannot_be_written_is_a_warning(self, tmp_path: Path, place: str) -> None:
        project(tmp_path, a="")
        done = check(tmp_path, "--github", env={"GITHUB_STEP_SUMMARY": str(tmp_path / place)})
        assert done.returncode == 0
        assert "! cannot write the job summary" in done.stdout

    def test_json_excludes_it(self, tmp_path: Path) -> None:
        project(tmp_path, a="open('started', 'w')")
        done = check(tmp_path, "--github", "--json")
        assert (done.returncode, done.stdout) == (2, "")
        assert "--json and --github exclude each other" in done.stderr
        assert not (tmp_path / "started").exists()

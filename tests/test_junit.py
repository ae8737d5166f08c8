"""`--junit FILE`: what is in it, read by those who read such files, and that it is written whatever a stage prints."""

import os
import re
import resource
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import junitparser
import pytest
from hypothesis import given
from hypothesis import strategies as st
from junitparser import xunit2
from lxml import etree
from reporting import TREE, begun, check, ended, finding, output, over, project, stage, stamped
from running import HOTPIPE, environment

from hotpipe.errors import UsageError
from hotpipe.events import AnyEvent, Ending, StageStarted, Stamped
from hotpipe.ui import excerpt
from hotpipe.ui.excerpt import Excerpt, readable
from hotpipe.ui.jsonl import JsonLines
from hotpipe.ui.junit import JUnit
from hotpipe.ui.junit_xml import to_xml
from hotpipe.ui.plain import Plain, Style
from hotpipe.ui.results import Results

SCHEMA = etree.RelaxNG(etree.parse(Path(__file__).parent / "schema" / "junit.rng"))
ANYTHING = st.characters(exclude_categories=())  # surrogates, too
ALL = """
import sys
out = sys.stdout.buffer
out.write(b"\\x1b[31mred\\x1b[0m ]]> <&>\\"' \\x00\\x01\\x0b\\xff \\xed\\xa0\\x80 \\xef\\xbf\\xbf caf\\xc3\\xa9\\n")
out.write(bytes(range(256)) + b"\\n::error::x\\n\\x1b]0;title")
"""


class Silent:
    """A face that shows nothing, and what it was told."""

    def __init__(self) -> None:
        self.told: list[AnyEvent] = []

    def render(self, batch: Sequence[Stamped]) -> str:
        self.told += [each.event for each in batch]
        return ""


def xml(*events: AnyEvent) -> etree._Element:
    """The report of these events, which is as the schema says."""
    results = Results()
    for each in stamped(*events):
        results.apply(each)
    return valid(to_xml(results))


def valid(text: bytes) -> etree._Element:
    root = etree.fromstring(text)
    SCHEMA.assertValid(root)
    return root


def case(root: etree._Element, name: str) -> etree._Element:
    (found,) = root.xpath("//testcase[@name=$name]", name=name)
    return found


def said(found: etree._Element) -> str:
    """What kind of end the testcase has, and the reason."""
    ends = [child for child in found if child.tag != "system-out"]
    return " ".join(f"{child.tag} {child.get('type', '')}: {child.get('message')}" for child in ends)


class TestStages:
    def test_a_stage_is_a_testcase_with_its_time_in_seconds(self) -> None:
        root = xml(begun(), *stage("lint", "passed", took_ms=1_234.5), over("green", 2_420.0))
        assert dict(case(root, "lint").attrib) == {"classname": "hotpipe", "name": "lint", "time": "1.234"}
        (suite,) = root
        assert dict(suite.attrib) == {
            "name": "hotpipe", "tests": "1", "failures": "0", "errors": "0", "skipped": "0", "time": "2.420",
            "timestamp": "2026-01-02T03:04:05",
        }  # fmt: skip

    @pytest.mark.parametrize(
        "events, expected",
        [
            (stage("s", "passed", code=0), ""),
            (stage("s", "cached", why="its inputs have passed"), ""),
            (stage("s", "passed", flaky=True), "flakyFailure flaky: passed only after a retry"),
            (stage("s", "failed", code=3), "failure failed: exit status 3"),
            (stage("s", "failed", code=-9), "failure failed: killed by SIGKILL"),
            (stage("s", "failed", code=-40), "failure failed: killed by signal 40"),
            (stage("s", "timed_out"), "failure timeout: timed out"),
            (stage("s", "failed", code=1, allowed=True), "skipped : exit status 1, which allow_failure permits"),
            (stage("s", "timed_out", allowed=True), "skipped : timed out, which allow_failure permits"),
            (stage("s", "skipped"), "skipped : not started, because another stage failed"),
            (stage("s", "skipped", why="lint failed"), "skipped : lint failed"),
            (stage("s", "cancelled"), "skipped : cancelled before it was over"),
            (stage("s", "cancelled", why="lint failed"), "skipped : lint failed"),
            ([StageStarted(run=1, stage="s", command="x")], "skipped : not finished when hotpipe was told to end"),
        ],
    )
    def test_each_end_has_its_element(self, events: list[AnyEvent], expected: str) -> None:
        assert said(case(xml(begun(), *events, over()), "s")) == expected

    def test_what_is_counted_is_what_stands_there(self) -> None:
        root = xml(
            begun(), *stage("a", "failed", code=1), *stage("b", "timed_out"), *stage("c", "skipped"),
            *stage("d", "failed", code=1, allowed=True), *stage("e", "passed"), *stage("f", "cached"), over(),
        )  # fmt: skip
        (suite,) = root
        assert [suite.get(name) for name in ("tests", "failures", "errors", "skipped")] == ["6", "2", "0", "2"]
        properties = {each.get("name"): each.get("value") for each in suite.find("properties")}
        assert properties["tree"] == TREE
        assert properties["status"] == "red"
        assert properties["stage.f"] == "cached"

    def test_a_failure_tells_its_findings_the_first_error_first_and_then_the_end_of_the_output(self) -> None:
        between = [
            finding(message="looks odd", severity="warning", code=None),
            *output("lint", "Found 2", "\x1b[31mbye\x1b[0m"),
            finding(message="unused import\nremove it", at=("a b.py", 3, None)),
            finding(message="no place", at=(None, None, None), code=None),
        ]
        failure = case(xml(begun(), *stage("lint", "failed", *between, code=1), over()), "lint").find("failure")
        assert failure.get("message") == "a b.py:3: unused import\nremove it (F401)"
        assert failure.text.split("\n") == [
            "a b.py:3: unused import", "remove it (F401)", "no place", "app.py:3:7: looks odd", "", "Found 2", "bye",
        ]  # fmt: skip

    def test_a_failure_that_said_nothing_says_how_it_ended(self) -> None:
        failure = case(xml(begun(), *stage("s", "failed", code=7), over()), "s").find("failure")
        assert failure.text == "exit status 7"

    def test_a_run_that_proves_nothing_does_not_read_as_green(self) -> None:
        superseded = xml(begun(), *stage("a", "passed"), over("superseded"))
        stopped = xml(begun(), *stage("a", "passed"), Ending())
        before_it_began = xml(Ending())
        for root, kind in ((superseded, "superseded"), (stopped, "stopped"), (before_it_began, "stopped")):
            assert root.get("errors") == "1"
            assert said(case(root, "hotpipe check")).startswith(f"error {kind}: ")

    def test_what_was_of_an_earlier_run_is_gone(self) -> None:
        root = xml(begun(), *stage("old", "failed", code=1), over(), begun(), *stage("new", "passed"), over("green"))
        assert [each.get("name") for each in root.iter("testcase")] == ["new"]


class TestText:
    @pytest.mark.parametrize(
        "line, expected",
        [
            ("\x1b[1;31mred\x1b[0m", "red"),
            ("\x9b31mred", "red"),
            ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x07", "link"),
            ("\x1b]0;never closed", ""),
            ("\x1b(Bplain\x1b=", "plain"),
            ("10 %\r100 %", "100 %"),
            ("windows\r", "windows"),
            ("a\x00b\x07c\td\x7f\x85", "abc\td"),
            ("\ud800 \ufffe \uffff \U0001f600", "� � � \U0001f600"),
            ("]]> <&>", "]]> <&>"),
        ],
    )
    def test_a_line_is_left_with_its_text(self, line: str, expected: str) -> None:
        assert readable(line) == expected

    @given(st.lists(st.text(ANYTHING, max_size=30), max_size=5), st.text(ANYTHING, min_size=1))
    def test_whatever_is_written_the_report_can_be_read(self, lines: list[str], name: str) -> None:
        found = finding(stage=name, message="".join(lines), at=("".join(lines), 1, 1), code=name)
        root = xml(begun(), *stage(name, "failed", found, *output(name, *lines), code=1), over())
        assert root.find(".//testcase").get("name") == readable(name)
        assert len(lines) == (root.findtext(".//system-out") or "").count("\n")

    @pytest.mark.parametrize(
        "line", ["\x1b]" * 30_000, "\x1b[" * 30_000, "\x1bP" * 30_000, "\x1b" * 60_000, "\r" * 60_000]
    )
    def test_a_hostile_line_costs_no_more_than_its_length(self, line: str) -> None:
        began = time.process_time()
        readable(line)
        assert time.process_time() - began < 2  # the square of its length would be minutes


class TestExcerpt:
    def test_short_output_stays_whole(self) -> None:
        kept = Excerpt()
        lines = [str(number) for number in range(excerpt.HEAD_LINES + excerpt.TAIL_LINES)]
        for line in lines:
            kept.add(line)
        assert list(kept.lines()) == lines

    def test_of_long_output_the_beginning_and_the_end_are_kept_and_the_rest_is_counted(self) -> None:
        kept = Excerpt()
        for number in range(10_000):
            kept.add(str(number))
        lines = list(kept.lines())
        assert lines[:201] == [*map(str, range(200)), "(7,800 lines not shown)"]
        assert lines[201:] == [str(number) for number in range(8_000, 10_000)]

    def test_huge_lines_are_bounded_too(self) -> None:
        kept = Excerpt()
        for number in range(1_000):
            kept.add(f"{number:03}" + "x" * 65_000)
        assert sum(map(len, kept.lines())) < excerpt.HEAD_CHARACTERS + excerpt.TAIL_CHARACTERS + 50
        assert list(kept.lines())[-1].startswith("999")

    def test_the_last_lines_are_those_that_fit(self) -> None:
        kept = Excerpt()
        for number in range(3_000):
            kept.add(str(number))
        assert kept.last(3, 1_000) == ["2997", "2998", "2999"]
        assert kept.last(100, 11) == ["2998", "2999"]
        short = Excerpt()
        short.add("one")
        short.add("\x1b[1mtwo")
        assert short.last(100, 1_000) == ["one", "two"]


class TestFile:
    def test_it_is_there_when_the_verdict_is_shown(self, tmp_path: Path) -> None:
        file = tmp_path / "r.xml"
        face = JUnit(Plain(Style()), str(file))
        face.render(stamped(begun(), *stage("a", "passed")))
        assert not file.exists()
        assert "green" in face.render(stamped(over("green")))
        assert said(case(valid(file.read_bytes()), "a")) == ""
        assert os.listdir(tmp_path) == ["r.xml"]

    def test_one_who_is_told_to_end_leaves_what_there_is_and_then_how_the_stages_ended(self, tmp_path: Path) -> None:
        file = tmp_path / "r.xml"
        face = JUnit(Silent(), str(file))
        face.render(stamped(begun(), StageStarted(run=1, stage="a", command="x"), *output("a", "half"), Ending()))
        first = valid(file.read_bytes())
        assert said(case(first, "a")) == "skipped : not finished when hotpipe was told to end"
        assert first.findtext(".//system-out") == "half\n"
        face.render(stamped(*output("a", "bye"), ended("a", "cancelled")))
        second = valid(file.read_bytes())
        assert said(case(second, "a")) == "skipped : cancelled before it was over"
        assert second.findtext(".//system-out") == "half\nbye\n"

    def test_what_was_not_begun_by_then_is_not_left_out(self, tmp_path: Path) -> None:
        face = JUnit(Silent(), str(tmp_path / "r.xml"))
        face.expect(("a", "b", "c"))
        begins = StageStarted(run=1, stage="b", command="x")
        face.render(stamped(begun(), *stage("a", "passed"), begins, Ending()))
        root = valid((tmp_path / "r.xml").read_bytes())
        assert [each.get("name") for each in root.iter("testcase")] == ["a", "b", "c", "hotpipe check"]
        assert said(case(root, "b")) == "skipped : not finished when hotpipe was told to end"
        assert said(case(root, "c")) == "skipped : not started when hotpipe was told to end"

    def test_one_that_cannot_be_written_is_a_warning_and_remembered(self, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        told = Silent()
        face = JUnit(told, str(tmp_path / "out" / "r.xml"))
        (tmp_path / "out").rmdir()
        face.render(stamped(begun(), over("green")))
        assert face.failed
        warning = told.told[-1]
        assert warning.code == "report.unwritable"
        assert warning.message.endswith("r.xml: No such file or directory")

    @pytest.mark.parametrize(
        "path, message",
        [
            ("", "is a folder"),
            ("a-folder", "is a folder"),
            ("missing/r.xml", "there is no folder"),
            ("file/r.xml", "there is no folder"),
            ("/proc/r.xml", "no file can be written in /proc"),
            ("/dev/null", "is not a regular file"),
            ("r" * 300, "no file can be written"),
        ],
    )
    def test_a_place_where_none_can_be_written_is_a_usage_error(
        self, tmp_path: Path, path: str, message: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "a-folder").mkdir()
        (tmp_path / "file").touch()
        with pytest.raises(UsageError, match=re.escape(message)):
            JUnit(Silent(), path)
        assert sorted(os.listdir(tmp_path)) == ["a-folder", "file"]

    def test_a_link_leads_to_the_file_and_stays(self, tmp_path: Path) -> None:
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "r.xml").symlink_to("elsewhere/r.xml")
        JUnit(Silent(), str(tmp_path / "r.xml")).render(stamped(begun(), over("green")))
        assert (tmp_path / "r.xml").is_symlink()
        valid((tmp_path / "elsewhere" / "r.xml").read_bytes())

    def test_it_wraps_any_face(self, tmp_path: Path) -> None:
        events = stamped(begun(), *stage("a", "passed"), over("green"))
        assert JUnit(JsonLines(), str(tmp_path / "r.xml")).render(events) == JsonLines().render(events)


class TestCheck:
    def test_a_real_run_is_read_by_junitparser(self, tmp_path: Path) -> None:
        project(tmp_path, good="print('fine')", bad="print('the reason'); raise SystemExit(3)", later="")
        done = check(tmp_path, "--junit", "r.xml")
        assert done.returncode == 1
        (suite,) = junitparser.JUnitXml.fromfile(str(tmp_path / "r.xml"))
        assert (suite.tests, suite.failures, suite.skipped, suite.errors) == (3, 1, 1, 0)
        good, bad, later = suite
        assert (good.name, good.is_passed, good.system_out) == ("good", True, "fine\n")
        assert (bad.result[0].message, bad.result[0].text) == ("exit status 3", "the reason")
        assert later.is_skipped
        valid((tmp_path / "r.xml").read_bytes())

    def test_a_flaky_stage_is_read_as_surefire_writes_it(self) -> None:
        text = etree.tostring(xml(begun(), *stage("a", "passed", flaky=True), over("green")))
        ((found,),) = xunit2.JUnitXml.fromstring(text)
        assert found.is_passed
        assert [type(each) for each in found.interim_result] == [xunit2.FlakyFailure]

    def test_a_stage_that_is_out_of_time_is_a_failure_of_that_type(self, tmp_path: Path) -> None:
        project(tmp_path, slow="import time; print('up', flush=True); time.sleep(300)")
        with (tmp_path / "hotpipe.toml").open("a") as config:
            config.write('timeout = "1s"\n')
        assert check(tmp_path, "--junit", "r.xml").returncode == 1
        found = case(valid((tmp_path / "r.xml").read_bytes()), "slow")
        assert said(found) == "failure timeout: timed out"
        assert found.findtext("failure") == "up"

    def test_whatever_bytes_a_stage_writes_the_file_can_be_read(self, tmp_path: Path) -> None:
        project(tmp_path, noise=ALL)
        assert check(tmp_path, "--junit", "r.xml").returncode == 0
        found = case(valid((tmp_path / "r.xml").read_bytes()), "noise").findtext("system-out")
        first, *_ = found.split("\n")
        assert first == "red ]]> <&>\"' � ��� � café".replace("� café", "� café")
        assert "::error::x" in found.split("\n")

    def test_the_path_is_relative_to_where_the_user_is_and_all_faces_can_have_it(self, tmp_path: Path) -> None:
        project(tmp_path, a="")
        (tmp_path / "sub").mkdir()
        done = check(tmp_path, "--junit", "r.xml", "--json", cwd=tmp_path / "sub")
        assert done.returncode == 0
        assert done.stdout.startswith('{"v":1,')
        assert case(valid((tmp_path / "sub" / "r.xml").read_bytes()), "a") is not None

    def test_nothing_is_started_where_it_could_not_be_written(self, tmp_path: Path) -> None:
        project(tmp_path, a="open('started', 'w')")
        done = check(tmp_path, "--junit", "missing/r.xml")
        assert done.returncode == 2
        assert done.stderr == (
            f"hotpipe: --junit: there is no folder {tmp_path}/missing\nhint: mkdir -p {tmp_path}/missing\n"
        )
        assert not (tmp_path / "started").exists()

    def test_the_report_is_no_part_of_the_tree(self, tmp_path: Path) -> None:
        project(tmp_path, a="")
        trees = []
        for name in ("r [1]!.xml", "r [1]!.xml"):
            check(tmp_path, "--junit", name)
            trees.append(valid((tmp_path / name).read_bytes()).xpath("string(//property[@name='tree']/@value)"))
        assert trees[0] == trees[1]

    def test_a_full_disk_makes_no_green_run_red_but_the_exit_code_tells(self, tmp_path: Path) -> None:
        project(tmp_path, a="print('x' * 9000)")
        (tmp_path / "r.xml").write_text("old")
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))  # noqa: E731
        done = check(tmp_path, "--junit", "r.xml", preexec_fn=limit)
        assert done.returncode == 1
        assert "✓ green" in done.stdout
        assert f"! cannot write the report {tmp_path}/r.xml: File too large" in done.stdout
        assert (tmp_path / "r.xml").read_text() == "old"
        assert not list(tmp_path.glob("*.tmp"))

    def test_it_is_written_although_nobody_reads_what_is_shown(self, tmp_path: Path) -> None:
        project(tmp_path, a="for n in range(100): print(n, flush=True)", b="raise SystemExit(1)")
        reader, writer = os.pipe()
        os.close(reader)
        try:
            done = check(tmp_path, "-v", "--junit", "r.xml", stdout=writer, capture_output=False)
        finally:
            os.close(writer)
        assert done.returncode == 1
        root = valid((tmp_path / "r.xml").read_bytes())
        assert said(case(root, "b")) == "failure failed: exit status 1"

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_an_interrupted_check_leaves_a_report_that_says_so(self, tmp_path: Path, number: signal.Signals) -> None:
        project(tmp_path, a="print('done')", b="import time; open('up', 'w'); print('up', flush=True); time.sleep(300)")
        (tmp_path / ".gitignore").write_text("up\n")
        command = [*HOTPIPE, "check", "-v", "--junit", "r.xml"]
        with subprocess.Popen(command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, text=True) as running:
            assert any("b │ up" in line for line in running.stdout)
            running.send_signal(number)
            running.communicate(timeout=60)
        root = valid((tmp_path / "r.xml").read_bytes())
        assert said(case(root, "a")) == ""
        assert said(case(root, "b")) == "skipped : cancelled before it was over"
        assert said(case(root, "hotpipe check")).startswith("error stopped: ")

    def test_memory_is_flat_whatever_a_stage_writes(self, tmp_path: Path) -> None:
        project(tmp_path, loud="import sys\nfor n in range(600_000): print(n, 'x' * 94)\nprint('the end')")
        assert check(tmp_path, "--junit", "r.xml", "--github", preexec_fn=_little_memory).returncode == 0
        text = case(valid((tmp_path / "r.xml").read_bytes()), "loud").findtext("system-out")
        assert text.startswith("0 xxx")
        assert text.endswith("the end\n")
        assert (tmp_path / "r.xml").stat().st_size < 1_500_000


def _little_memory() -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (200_000_000, 200_000_000))

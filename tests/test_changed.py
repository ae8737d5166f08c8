"""`{changed}` and HOTPIPE_CHANGED_FILES: each stage looks at what has changed since it last passed."""

import json
import os
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from gating import UNPRIVILEGED, check, project
from running import Start

from hotpipe.gate.command import filled, shown

HOSTILE = (
    "plain.txt", "with space.txt", "it's.txt", 'say "hi".txt', "new\nline.txt", "-n", "--help", "-", "--",
    "$(touch pwned).txt", "`touch pwned`.txt", "a;touch pwned;.txt", "&touch pwned&", "*.txt", "[ab]?.txt",
    "{changed}", "{a,b}", "%s\\n.txt", "back\\slash.txt", "ends\\", "tab\there.txt", "return\r", "\x1b[31mred.txt",
    "été 日本.txt", "bad-\udcff\udcfe.txt", "dir with space/-x.txt", "-dir/$HOME", "~root", "#comment", "!bang", "''",
)  # fmt: skip
RECORDER = Path(__file__).parent / "projects" / "recorder.py"
COMMAND = f"{sys.executable} -IS {RECORDER}"
FORMS = {
    "text": f'"{COMMAND} {{changed}}"',
    "argv": json.dumps([*COMMAND.split(), "{changed}"]),
}


class Note(NamedTuple):
    """What the stage was called with, once."""

    args: list[str]
    listed: str | None


class Notes:
    """What stage `a` notes, in a file beside the project."""

    def __init__(self, folder: Path) -> None:
        self._seen = folder / "seen"

    def stage(self, run: str, *more: str) -> str:
        return "\n".join((f"[stage.a]\nrun = {run}\nenv = {{ SEEN = '{self._seen}' }}", *more, ""))

    def take(self) -> list[Note]:
        """What it has noted since the last question."""
        lines = self._seen.read_text().splitlines() if self._seen.exists() else []
        self._seen.unlink(missing_ok=True)
        return [Note(**json.loads(line)) for line in lines]

    def taken(self) -> list[str]:
        """The arguments of its one call."""
        (note,) = self.take()
        return note.args


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    return Notes(tmp_path)


def seen_from(cwd: str, names: tuple[str, ...]) -> list[str]:
    paths = (os.path.relpath(name, cwd) for name in names)
    return sorted(f"./{path}" if path.startswith("-") else path for path in paths)


@pytest.mark.parametrize("cwd", [".", "sub", "-dir"])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_whatever_a_file_is_called_it_is_one_argument_and_nothing_runs(
    tmp_path: Path, notes: Notes, form: str, cwd: str
) -> None:
    config = notes.stage(form, "inputs = ['/*', '/*/*', '!/hotpipe.toml', '!/sub/']", f'cwd = "{cwd}"')
    folder = project(tmp_path / "web", config, {**dict.fromkeys(HOSTILE, ""), "sub/x": ""})
    done = check(folder)
    assert done.code == 0, done.events
    (note,) = notes.take()
    assert sorted(note.args) == seen_from(cwd, HOSTILE)
    assert sorted(unquoted(note.listed or "")) == seen_from(cwd, HOSTILE)
    assert not list(folder.rglob("pwned"))
    assert not list((folder / ".hotpipe" / "changed").iterdir())


def unquoted(listed: str) -> list[str]:
    """As one reads what git has quoted: core.quotePath of git-config(1), with bytes above 0x7f as they are."""
    return [_unquoted(line) for line in listed.split("\n")[:-1]]


def _unquoted(line: str) -> str:
    if not line.startswith('"'):
        return line
    octets = os.fsencode(line[1:-1]).decode("latin-1").encode("unicode_escape").replace(b"\\\\", b"\\")
    return os.fsdecode(octets.decode("unicode_escape").encode("latin-1"))


@pytest.mark.parametrize("name", ["bad-\udcff", "new\nline", "\x1b[31m"])
def test_an_odd_name_alone_is_shown_and_its_pass_is_remembered(tmp_path: Path, notes: Notes, name: str) -> None:
    config = notes.stage(FORMS["text"], "inputs = ['/*', '!/hotpipe.toml']")
    folder = project(tmp_path / "web", config, {name: ""})
    assert [check(folder).statuses["a"] for _ in range(2)] == ["passed", "cached"]
    assert notes.taken() == [name]


def test_only_the_name_itself_is_replaced(tmp_path: Path, notes: Notes) -> None:
    run = ["{changed}", "pre{changed}", "${changed}", "%{changed}", "{ changed }", "{changed:x}", "{}"]
    config = notes.stage(json.dumps([*COMMAND.split(), *run]), 'inputs = ["a b"]')
    check(project(tmp_path / "web", config, {"a b": ""}))
    assert notes.taken() == ["a b", "pre'a b'", *run[2:]]


def test_a_text_keeps_what_the_shell_means(tmp_path: Path) -> None:
    run = "'''changed=shell; echo ${changed} %{changed} '$''{changed}'; f() { echo $# {changed}; }; f 1 2'''"
    done = check(project(tmp_path / "web", f'[stage.a]\nrun = {run}\ninputs = ["x y"]', {"x y": ""}))
    assert done.texts("a") == ["shell %{changed} $x y", "2 x y"]


def test_twenty_thousand_files_are_each_named_once_in_several_batches(tmp_path: Path, notes: Notes) -> None:
    names = [f"folder-{number % 40}/a file of some length {number}.txt" for number in range(20_000)]
    config = notes.stage(FORMS["text"], "inputs = ['*.txt']")
    folder = project(tmp_path / "web", config)
    for number in range(40):
        (folder / f"folder-{number}").mkdir()
    for name in names:
        (folder / name).touch()
    assert check(folder).code == 0
    calls = notes.take()
    assert len(calls) > 1
    assert sorted(path for call in calls for path in call.args) == sorted(names)
    assert all((call.listed or "").count("\n") == 20_000 for call in calls)


@pytest.mark.parametrize("is_bad", [0, 1, 2])
def test_all_batches_are_run_and_any_can_fail_the_stage(tmp_path: Path, notes: Notes, is_bad: int) -> None:
    names = [f"{folder}/{'x' * 240}-{number:03}" for folder in "abc" for number in range(330)]
    files = dict.fromkeys(names, "good") | {names[is_bad * 494]: "bad"}
    folder = project(tmp_path / "web", notes.stage(FORMS["argv"], "inputs = ['/?/']"), files)
    done = check(folder)
    assert (done.code, done.statuses) == (1, {"a": "failed"})
    calls = notes.take()
    assert len(calls) == 3
    assert sorted(path for call in calls for path in call.args) == sorted(names)


def test_two_places_and_a_long_command_stay_below_what_an_argument_may_hold() -> None:
    paths = [f"{'x' * 100} {number}" for number in range(5_000)]
    texts = [
        text for text in filled(f"{'#' * 100_000}\ncat {{changed}} -- {{changed}}", paths) if isinstance(text, str)
    ]
    assert max(len(text.encode()) for text in texts) < 1 << 17
    assert sum(text.count("xx 4999") for text in texts) == 2
    assert len(shown("cat {changed}", paths)) < 100


def test_one_name_that_is_longer_than_the_room_is_still_named() -> None:
    paths = ["/".join(["y" * 200] * 19)] * 2
    assert len(list(filled("#" * 130_000 + " {changed}", paths))) == 2


def test_a_stage_without_a_place_for_them_gets_the_list_all_the_same(tmp_path: Path, notes: Notes) -> None:
    check(
        project(tmp_path / "web", notes.stage(f'"{COMMAND}"', "inputs = ['*.py']"), {"a.py": "", "b.py": "", "c": ""})
    )
    assert notes.take() == [Note([], "a.py\nb.py\n")]


def test_after_a_pass_what_has_changed_since_and_after_a_failure_since_the_last_pass(
    tmp_path: Path, notes: Notes, start: Start
) -> None:
    files = dict.fromkeys(("a.py", "b.py", "c.py", "d.txt"), "good")
    folder = project(tmp_path / "web", notes.stage(FORMS["text"], "inputs = ['*.py']"), files)
    hotpipe = start(folder, "gate")
    hotpipe.until("run.finished", status="green")
    assert notes.taken() == ["a.py", "b.py", "c.py"]
    (folder / "b.py").write_text("good, too")
    hotpipe.until("run.finished", status="green")
    assert notes.taken() == ["b.py"]
    (folder / "c.py").write_text("bad")
    hotpipe.until("run.finished", status="red")
    assert notes.taken() == ["c.py"]
    (folder / "a.py").write_text("good again")
    hotpipe.until("run.finished", status="red")
    assert notes.taken() == ["a.py", "c.py"]
    (folder / "c.py").write_text("good again")
    hotpipe.until("run.finished", status="green")
    assert notes.taken() == ["a.py", "c.py"]
    (folder / "d.txt").write_text("of no concern")
    hotpipe.until("run.finished", status="green")
    assert notes.take() == []


def test_what_is_deleted_is_not_named_and_where_nothing_is_left_all_are(
    tmp_path: Path, notes: Notes, start: Start
) -> None:
    files = dict.fromkeys(("a.py", "b.py", "c.py"), "good")
    folder = project(tmp_path / "web", notes.stage(FORMS["text"], "inputs = ['*.py']"), files)
    hotpipe = start(folder, "gate")
    hotpipe.until("run.finished", status="green")
    notes.take()
    (folder / "b.py").write_text("bad")
    hotpipe.until("run.finished", status="red")
    notes.take()
    (folder / "b.py").unlink()
    hotpipe.until("run.finished", status="green")
    assert notes.taken() == ["a.py", "c.py"]  # all that there is: nothing is left of what has changed
    (folder / "a.py").write_text("good, too")
    (folder / "c.py").rename(folder / "d.py")
    hotpipe.until("run.finished", status="green")
    assert sorted({path for note in notes.take() for path in note.args}) == ["a.py", "d.py"]


def test_without_any_file_it_is_not_run_and_passes(tmp_path: Path, notes: Notes) -> None:
    done = check(project(tmp_path / "web", notes.stage(FORMS["text"], "inputs = ['*.none']")))
    assert (done.code, notes.take()) == (0, [])


def test_a_cancelled_run_leaves_nothing_out_of_the_next(tmp_path: Path, notes: Notes, start: Start) -> None:
    files = dict.fromkeys(("a.py", "b.py", "c.py"), "good")
    wait = f"{COMMAND} {{changed}} && test ! -e hold"
    folder = project(
        tmp_path / "web", notes.stage(f"'sh -c \"while test -e hold; do sleep 0.01; done\"; {wait}'"), files
    )
    hotpipe = start(folder, "gate")
    hotpipe.until("run.finished", status="green")
    notes.take()
    (folder / "hold").touch()
    hotpipe.until("stage.started")
    (folder / "a.py").write_text("good, too")
    hotpipe.until("stage.started")
    (folder / "hold").unlink()
    hotpipe.until("run.finished", status="green")
    assert notes.take()[-1].args == ["a.py"]


def test_another_hotpipe_names_all_unless_all_has_passed(tmp_path: Path, notes: Notes) -> None:
    # What has changed since a pass is not on disk: it is only known for as long as hotpipe runs.
    folder = project(
        tmp_path / "web", notes.stage(FORMS["text"], "inputs = ['*.py']"), {"a.py": "good", "b.py": "good"}
    )
    assert check(folder).statuses == {"a": "passed"}
    assert check(folder).statuses == {"a": "cached"}
    (folder / "a.py").write_text("good, too")
    assert check(folder).statuses == {"a": "passed"}
    assert [note.args for note in notes.take()] == [["a.py", "b.py"]] * 2


def test_after_a_cached_pass_only_what_has_changed_since(tmp_path: Path, notes: Notes, start: Start) -> None:
    folder = project(
        tmp_path / "web", notes.stage(FORMS["text"], "inputs = ['*.py']"), {"a.py": "good", "b.py": "good"}
    )
    check(folder)
    hotpipe = start(folder, "gate")
    assert hotpipe.until("stage.finished")["status"] == "cached"
    hotpipe.until("run.finished", status="green")
    (folder / "a.py").write_text("good, too")
    hotpipe.until("run.finished", status="green")
    assert [note.args for note in notes.take()] == [["a.py", "b.py"], ["a.py"]]


@pytest.mark.parametrize("obstacle", ["a file", "no permission"])
def test_where_the_list_cannot_be_written_stages_run_without_it(tmp_path: Path, notes: Notes, obstacle: str) -> None:
    folder = project(tmp_path / "web", notes.stage(FORMS["text"], "inputs = ['*.py']"), {"a.py": "good"})
    (folder / ".hotpipe").mkdir()
    if obstacle == "a file":
        (folder / ".hotpipe" / "changed").write_text("in its place")
    else:
        (folder / ".hotpipe").chmod(0o555)
    done = check(folder, launcher=UNPRIVILEGED if obstacle == "no permission" else ())
    assert done.code == 0, done
    assert notes.take() == [Note(["a.py"], None)]

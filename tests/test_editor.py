"""Which editor opens a place, with what words, and that it is the user's from then on."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest

from hotpipe.editor import Spot, choose
from hotpipe.process import detached

SPOT = Spot("/p/a b.py", 12, 3)
WINDOW = {"DISPLAY": ":0"}


def argv(environ: Mapping[str, str], *installed: str) -> tuple[str, ...] | None:
    editor = choose(environ, lambda name: f"/usr/bin/{name}" if name in installed else None)
    return editor.argv(SPOT) if editor is not None else None


@pytest.mark.parametrize(
    "said,expected",
    [
        ("code -g {file}:{line}:{column}", ("code", "-g", "/p/a b.py:12:3")),
        ("cursor", ("cursor", "-g", "/p/a b.py:12:3")),
        ("/opt/idea", ("/opt/idea", "--line", "12", "--column", "3", "/p/a b.py")),
        ("mine --new", ("mine", "--new", "/p/a b.py")),
        ("mine '{file}' $(x);{line}", ("mine", "/p/a b.py", "$(x);12")),
    ],
)
def test_what_the_user_says_counts(said: str, expected: tuple[str, ...]) -> None:
    assert argv({"HOTPIPE_EDITOR": said, "VISUAL": "subl"}, "subl", "code") == expected


def test_a_file_that_is_called_like_a_placeholder_is_not_replaced_again() -> None:
    editor = choose({"HOTPIPE_EDITOR": "e {file}:{line}"}, lambda name: None)
    assert editor is not None
    assert editor.argv(Spot("/p/{line}.py", 7)) == ("e", "/p/{line}.py:7")


@pytest.mark.parametrize(
    "environ,installed,expected",
    [
        ({"EDITOR": "code --wait"}, "code", ("code", "-g", "/p/a b.py:12:3")),
        ({"VISUAL": "subl -n -w", "EDITOR": "vim"}, "subl", ("subl", "/p/a b.py:12:3")),
        ({"EDITOR": "emacsclient"}, "emacsclient", ("emacsclient", "-n", "+12:3", "/p/a b.py")),
        ({"TERM_PROGRAM": "vscode", "EDITOR": "subl"}, "code", ("code", "-g", "/p/a b.py:12:3")),
        ({"TERM_PROGRAM": "vscode", "CURSOR_TRACE_ID": "1"}, "cursor", ("cursor", "-g", "/p/a b.py:12:3")),
        ({"TERM_PROGRAM": "zed"}, "zeditor", ("zeditor", "/p/a b.py:12:3")),
        ({"EDITOR": "vim", **WINDOW}, "zed", ("zed", "/p/a b.py:12:3")),
        ({"EDITOR": "code'", **WINDOW}, "kate", ("kate", "-l", "12", "-c", "3", "/p/a b.py")),
    ],
)
def test_else_the_one_around_or_the_usual_one_or_one_that_is_there(
    environ: Mapping[str, str], installed: str, expected: tuple[str, ...]
) -> None:
    assert argv(environ, installed, "vim") == expected


@pytest.mark.parametrize("said", ["vim", "nano", "nvim -f", "emacsclient -t", "emacsclient -nw", "hx", "", "   "])
def test_an_editor_in_a_terminal_cannot_be_opened_from_a_page(said: str) -> None:
    assert argv({"EDITOR": said}, "vim", "nano", "nvim", "emacsclient", "hx", "code") is None


def test_without_a_screen_no_editor_is_guessed() -> None:
    assert argv({}, "code") is None
    assert argv(WINDOW, "code") == ("code", "-g", "/p/a b.py:12:3")


_STARTED = """
import os, sys, time
with open(sys.argv[2] + ".new", "w") as file:
    ours = [os.readlink(f"/proc/self/fd/{number}") for number in (0, 1, 2)]
    print(os.getpid(), os.getppid(), os.getsid(0), *ours, *sys.argv[1:2], sep="\\n", file=file)
os.rename(sys.argv[2] + ".new", sys.argv[2])
time.sleep(60)
"""
_HOTPIPE = """
import os, sys, time
from hotpipe.process import detached
from hotpipe.process.system import System
System()
detached.start((sys.executable, "-c", sys.argv[1], "$(touch x); -rf", sys.argv[2]))
while not os.path.exists(sys.argv[2]):
    time.sleep(0.01)
print(os.getpid(), *open(f"/proc/self/task/{os.getpid()}/children").read().split(), sep="\\n")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="nobody is adopted elsewhere")
def test_an_editor_is_nobodys_child_and_says_nothing(tmp_path: Path) -> None:
    told = tmp_path / "told"
    command = (sys.executable, "-c", _HOTPIPE, _STARTED, str(told))
    hotpipe = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True, timeout=40)
    pid, parent, session, *streams, word = told.read_text().splitlines()
    try:
        own, *children = hotpipe.stdout.split()
        assert children == []
        assert parent != own
        assert session not in {own, str(os.getsid(0))}
        assert streams == [os.devnull] * 3
        assert word == "$(touch x); -rf"
        assert not (tmp_path / "x").exists()
    finally:
        psutil.Process(int(pid)).kill()


def test_orphans_are_adopted_again_afterwards(tmp_path: Path) -> None:
    script = """if True:
        import ctypes
        from hotpipe.process import detached
        from hotpipe.process.system import System
        System()
        detached.start(("true",))
        adopts = ctypes.c_int()
        ctypes.CDLL(None).prctl(37, ctypes.byref(adopts), 0, 0, 0)
        print(adopts.value)
    """
    said = subprocess.run((sys.executable, "-c", script), check=True, capture_output=True, text=True, timeout=40)
    assert said.stdout == "1\n"


def test_a_program_that_is_not_there_disturbs_nobody() -> None:
    detached.start(("/nowhere/at/all", "x"))

"""Who looks elsewhere is told when green turns red and back, once, and what is told can do no harm."""

import os
import re
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from running import HOTPIPE, PATIENCE_S, environment

from hotpipe.events import (
    AnyEvent,
    ConfigReloaded,
    Ending,
    Listening,
    RunFinished,
    RunStarted,
    RunStatus,
    ServerFailed,
    ServerLive,
    ServerStarting,
    ServerVerified,
    Severity,
    StageFinding,
    StageFinished,
    Stamp,
    Stamped,
)
from hotpipe.ui import desktop
from hotpipe.ui.notices import HEALTHY_S, Notice, Notices, latest
from hotpipe.ui.titles import Means

# --- what is worth a word ------------------------------------------------------------------------------------------


class Story:
    """What is told of events that happen at given times."""

    def __init__(self) -> None:
        self.notices = Notices("shop")
        self.told: list[Notice] = []
        self.now = 0.0

    def tell(self, *events: AnyEvent) -> "Story":
        for event in events:
            notice = self.notices.apply(Stamped(Stamp(v=1, seq=1, time="", mono=self.now), event))
            self.told += [notice] if notice else []
        return self

    def later(self, seconds: float) -> "Story":
        self.now += seconds
        return self

    @property
    def bodies(self) -> list[str]:
        return [notice.body for notice in self.told]


def run(status: RunStatus, *failed: str) -> list[AnyEvent]:
    stages = [StageFinished(run=1, stage=name, status="failed", exit_code=1, took_ms=1, flaky=False) for name in failed]
    return [
        RunStarted(run=1, tree="t", changed=()),
        *stages,
        RunFinished(run=1, status=status, took_ms=1),
    ]


def found(message: str, severity: Severity = "error", stage: str = "lint") -> StageFinding:
    return StageFinding(
        run=1,
        stage=stage,
        tool="ruff",
        severity=severity,
        path="app.py",
        line=12,
        column=1,
        code="F401",
        message=message,
    )


def starts(generation: int, tree: str = "t") -> ServerStarting:
    return ServerStarting(server="web", generation=generation, pid=1, tree=tree)


def live(generation: int) -> ServerLive:
    return ServerLive(server="web", generation=generation, pid=1, sockets=(), took_ms=1)


def fails(generation: int, serving: int | None = None) -> ServerFailed:
    return ServerFailed(server="web", generation=generation, reason="exit status 1", serving=serving, retry_ms=None)


GREEN, RED = run("green"), run("red", "lint")


def test_green_that_turns_red_and_back_is_told_once_each() -> None:
    story = Story().tell(*GREEN, *GREEN, *RED, *RED, *run("red", "test"), *GREEN, *GREEN)
    assert [(notice.title, notice.good) for notice in story.told] == [("✗ lint · shop", False), ("✓ shop", True)]


@pytest.mark.parametrize("first", [GREEN, RED], ids=["green", "red"])
def test_the_first_verdict_is_no_change(first: list[AnyEvent]) -> None:
    assert Story().tell(*first).told == []


def test_a_first_red_that_turns_green_is_told() -> None:
    assert Story().tell(*RED, *GREEN).bodies == ["green again"]


def test_a_run_that_gave_way_is_no_verdict() -> None:
    story = Story().tell(*GREEN, *run("superseded", "lint"), *GREEN)
    assert story.told == []
    assert story.notices.title == "✓ shop"


def test_a_failure_that_may_be_is_not_blamed() -> None:
    may = StageFinished(run=1, stage="audit", status="failed", exit_code=1, took_ms=1, flaky=False, allowed=True)
    began, *rest = RED
    assert [notice.title for notice in Story().tell(*GREEN, began, may, *rest).told] == ["✗ lint · shop"]


def test_the_first_error_says_where() -> None:
    began, *rest = RED
    story = Story().tell(*GREEN, began, found("a warning", "warning"), found("'os' is unused"), found("more"), *rest)
    assert story.bodies == ["app.py:12 F401 'os' is unused"]


def test_of_many_stages_the_first_are_named() -> None:
    story = Story().tell(*GREEN, *run("red", "a", "b", "c", "d", "e"))
    assert story.told[0].title == "✗ a, b, c and 2 more · shop"


def test_what_a_stage_wrote_cannot_steer_a_terminal_and_is_short() -> None:
    began, *rest = RED
    evil = "\x1b]0;owned\x07 \x9b31m \u202e\nnext\udcff" + "x" * 10_000
    body = Story().tell(*GREEN, began, found(evil), *rest).told[0].body
    assert body.isprintable()
    assert body.startswith("app.py:12 F401 ]0;owned 31m next xxx")
    assert len(body) == 200
    body.encode()


def test_a_server_that_fails_and_comes_back_is_told_once_each() -> None:
    story = Story().tell(starts(1), live(1), starts(2, "u"), fails(2, serving=1), starts(3, "v"), fails(3, serving=1))
    assert story.notices.title == "✗ web · shop"
    story.tell(starts(4, "w"), live(4))
    assert story.bodies == ["generation 2: exit status 1; generation 1 goes on serving", "generation 4 is live"]
    assert story.notices.title == "✓ shop"


def test_a_server_that_cannot_start_is_told() -> None:
    assert Story().tell(starts(1), fails(1), starts(2), fails(2)).bodies == ["generation 1: exit status 1"]


def test_when_the_one_that_went_on_dies_too_that_is_told() -> None:
    story = Story().tell(starts(1), live(1), starts(2, "u"), fails(2, serving=1), fails(1))
    assert story.bodies[1:] == ["generation 1: exit status 1"]


def test_what_is_live_and_wanted_again_is_no_failure_any_more() -> None:
    undone = ServerVerified(server="web", generation=1, tree="t")
    story = Story().tell(starts(1), live(1), starts(2, "u"), fails(2, serving=1), undone, undone)
    assert story.bodies[1:] == ["generation 1 is what is wanted, and has passed"]


def test_a_server_that_keeps_dying_is_told_so_and_then_no_more() -> None:
    story = Story().tell(starts(1), live(1), fails(1))
    for generation in range(2, 30):
        story.later(2).tell(starts(generation), live(generation)).later(1).tell(fails(generation))
    assert story.bodies == [
        "generation 1: exit status 1",
        "generation 2 is live",
        "keeps dying: generation 2: exit status 1",
    ]
    story.tell(starts(30, "mended"), live(30))
    assert story.bodies[3:] == ["generation 30 is live"]


def test_a_server_that_was_well_for_long_dies_anew() -> None:
    story = Story().tell(starts(1), live(1), fails(1), starts(2), live(2)).later(HEALTHY_S).tell(fails(2))
    assert story.bodies[2:] == ["generation 2: exit status 1"]


def test_the_end_is_no_failure() -> None:
    assert Story().tell(*GREEN, starts(1), live(1), Ending(), fails(1), *RED).told == []


def test_a_server_that_is_gone_is_forgotten() -> None:
    story = Story().tell(*GREEN, starts(1), fails(1))
    story.tell(ConfigReloaded(path="hotpipe.toml", stages=(), servers=(Listening("other", ()),)))
    assert story.notices.title == "✓ shop"


def test_of_what_comes_at_once_the_last_counts() -> None:
    one, other, last = Notice("", "a", "1"), Notice("web", "b", "2"), Notice("", "c", "3", good=True)
    assert latest([one, other, last]) == [last, other]


# --- how -----------------------------------------------------------------------------------------------------------

HOSTILE = Notice("", "--version; touch /tmp/x", '<b>"$(touch x)" & <a href="x">y</a>')
HERE = {"DISPLAY": ":0"}


def installed(*names: str) -> Callable[[str], str | None]:
    return lambda name: f"/bin/{name}" if name in names else None


def test_on_linux_texts_are_no_options_and_no_markup() -> None:
    *options, title, body = desktop.command(HOSTILE, HERE, "linux", installed("notify-send"))
    assert options[0] == "notify-send"
    assert options[-1] == "--"
    assert title == HOSTILE.title
    assert body == '&lt;b&gt;"$(touch x)" &amp; &lt;a href="x"&gt;y&lt;/a&gt;'


def test_on_macos_texts_are_no_part_of_the_script() -> None:
    command = desktop.command(HOSTILE, {}, "darwin", installed("osascript"))
    assert command[0] == "osascript"
    assert command[-2:] == (HOSTILE.title, HOSTILE.body)
    assert all(HOSTILE.title not in part and HOSTILE.body not in part for part in command[:-2])


@pytest.mark.parametrize(
    "environ, platform, programs",
    [
        ({}, "linux", ("notify-send",)),
        (HERE, "linux", ()),
        ({**HERE, "SSH_CONNECTION": "1 2 3 4"}, "linux", ("notify-send",)),
        ({"SSH_TTY": "/dev/pts/1"}, "darwin", ("osascript",)),
        ({}, "darwin", ()),
    ],
    ids=["no display", "not installed", "from afar", "from afar on macOS", "not installed on macOS"],
)
def test_without_a_desktop_nothing_is_run(environ: dict[str, str], platform: str, programs: tuple[str, ...]) -> None:
    assert desktop.command(HOSTILE, environ, platform, installed(*programs)) == ()


@pytest.mark.parametrize(
    "environ, means",
    [
        ({"TERM": "xterm-256color"}, Means(title=True)),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, Means(title=True, notice=True)),
        ({"TERM": "xterm-kitty"}, Means(title=True, notice=True)),
        ({"TERM": "tmux-256color", "TMUX": "x", "TERM_PROGRAM": "tmux"}, Means(title=True)),
        ({"TERM": "screen-256color", "TMUX": "x"}, Means(title=True)),
        ({"TERM": "xterm-kitty", "TMUX": "x"}, Means(title=True)),
        ({"TERM": "screen", "STY": "x"}, Means()),
        ({"TERM": "linux"}, Means()),
        ({"TERM": "dumb", "INSIDE_EMACS": "30"}, Means()),
        ({"TERM": "xterm", "INSIDE_EMACS": "30,vterm"}, Means()),
        ({"TERM_PROGRAM": "WezTerm"}, Means()),
        ({}, Means()),
    ],
    ids=lambda value: " ".join(f"{k}={v}" for k, v in value.items()) or "nothing" if isinstance(value, dict) else "",
)
def test_a_terminal_gets_what_it_takes(environ: dict[str, str], means: Means) -> None:
    assert Means.of(environ) == means


# --- with everything real ------------------------------------------------------------------------------------------


class Seen:
    """`hotpipe watch` in a terminal of its own, and all that it writes there."""

    def __init__(self, folder: Path, env: dict[str, str], *arguments: str) -> None:
        self._ours, theirs = os.openpty()
        self.written = b""
        # The first terminal that the leader of a session opens becomes its own: tty_ioctl(4), "Controlling terminal".
        script = 'terminal=$1; shift; exec "$@" <>"$terminal" >&0 2>&0'
        command = ("sh", "-c", script, "sh", os.ttyname(theirs), *HOTPIPE, "watch", *arguments)
        self.process = subprocess.Popen(
            command, cwd=folder, env={**environment(), **env}, stdin=subprocess.DEVNULL, start_new_session=True
        )
        self._theirs: int | None = theirs  # held until it is over: reading would fail before the other side is opened
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                self.written += os.read(self._ours, 65_536)
            except OSError:  # EIO: nobody has the other side any more
                return

    def until(self, wanted: Callable[[], bool]) -> None:
        limit = time.monotonic() + PATIENCE_S
        while not wanted():
            if time.monotonic() > limit:
                pytest.fail(f"not in {self.written!r}")
            time.sleep(0.02)

    def says(self, text: str) -> None:
        self.until(lambda: text.encode() in self.written)

    def end(self) -> None:
        self.process.terminate()
        assert self.process.wait(PATIENCE_S) == 0
        self._hang_up()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._hang_up()
        os.close(self._ours)

    def _hang_up(self) -> None:
        """Read all that is left."""
        if self._theirs is not None:
            os.close(self._theirs)
            self._theirs = None
        self._reader.join(PATIENCE_S)


RECORDER = """\
#!{python} -IS
import sys
with open({log!r}, "a") as log:
    log.write("|".join(sys.argv[-2:]) + "\\n")
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    config = """
        [stage.good]
        run = "grep -q good page.txt || { echo 'page.txt:1:1: <bad> & worse'; exit 1; }"
    """
    (folder / "hotpipe.toml").write_text(textwrap.dedent(config))
    (folder / "page.txt").write_text("good")
    return folder


@pytest.fixture
def told(tmp_path: Path) -> Path:
    """What the notify-send in the folder `bin` was told."""
    (tmp_path / "bin").mkdir()
    log = tmp_path / "told"
    log.touch()
    program(tmp_path, RECORDER.format(python=sys.executable, log=str(log)))
    return log


def program(tmp_path: Path, text: str) -> None:
    file = tmp_path / "bin" / "notify-send"
    file.write_text(text)
    file.chmod(0o755)


@pytest.fixture
def watch(tmp_path: Path, project: Path, told: Path) -> Iterator[Callable[..., Seen]]:
    running: list[Seen] = []

    def started(**env: str) -> Seen:
        path = f"{tmp_path / 'bin'}:{environment()['PATH']}"
        running.append(Seen(project, {"PATH": path, "TERM": "xterm-256color", **env}, "--plain"))
        running[-1].says("green")
        return running[-1]

    yield started
    for one in running:
        one.close()


def test_the_desktop_is_told_when_green_turns_red_and_back(
    project: Path, told: Path, watch: Callable[..., Seen]
) -> None:
    hotpipe = watch(DISPLAY=":0", TERM="xterm-kitty")
    (project / "page.txt").write_text("bad")
    hotpipe.until(lambda: told.read_text() == "✗ good · shop|page.txt:1 &lt;bad&gt; &amp; worse\n")
    (project / "page.txt").write_text("good again")
    hotpipe.until(lambda: told.read_text().endswith("\n✓ shop|green again\n"))
    hotpipe.end()
    assert b"\x1b]9;" not in hotpipe.written  # told once


def titles(hotpipe: Seen) -> list[str]:
    return [found.decode() for found in re.findall(rb"\x1b\]2;([^\x07]*)\x07|\x1b\[2[23];0t", hotpipe.written)]


def test_the_terminal_has_a_title_as_long_as_hotpipe_runs(project: Path, watch: Callable[..., Seen]) -> None:
    hotpipe = watch(TERM="xterm-kitty")
    (project / "page.txt").write_text("bad")
    hotpipe.says("\x1b]9;✗ good · shop: page.txt:1 <bad> & worse\x07")
    (project / "page.txt").write_text("good again")
    hotpipe.says("\x1b]9;✓ shop: green again\x07")
    hotpipe.end()
    assert titles(hotpipe) == ["", "✓ shop", "✗ good · shop", "✓ shop", ""]
    assert hotpipe.written.index(b"\x1b[22;0t") < hotpipe.written.index(b"\x1b[23;0t")


@pytest.mark.parametrize("notify_send", ["#!/bin/sh\nexit 1\n", "no program\n"], ids=["fails", "is broken"])
def test_what_the_desktop_does_not_take_the_terminal_tells(
    notify_send: str, tmp_path: Path, project: Path, watch: Callable[..., Seen]
) -> None:
    program(tmp_path, notify_send)
    hotpipe = watch(DISPLAY=":0", TERM="xterm-kitty")
    (project / "page.txt").write_text("bad")
    hotpipe.says("\x1b]9;✗ good")
    hotpipe.end()
    assert b"notify" not in hotpipe.written


def test_a_desktop_that_hangs_holds_nobody_up(tmp_path: Path, project: Path, watch: Callable[..., Seen]) -> None:
    program(tmp_path, f"#!/bin/sh\n: > {tmp_path}/hangs\nexec sleep 1000\n")
    hotpipe = watch(DISPLAY=":0")
    (project / "page.txt").write_text("bad")
    hotpipe.until((tmp_path / "hangs").exists)
    (project / "page.txt").write_text("good again")
    hotpipe.says("run 3")
    hotpipe.end()


def test_who_does_not_want_to_be_told_is_not(project: Path, told: Path, watch: Callable[..., Seen]) -> None:
    with (project / "hotpipe.toml").open("a") as config:
        config.write("[notify]\ndesktop = false\nterminal = false\n")
    hotpipe = watch(DISPLAY=":0", TERM="xterm-kitty")
    (project / "page.txt").write_text("bad")
    hotpipe.says("red")
    hotpipe.end()
    assert told.read_text() == ""
    assert b"\x1b]9" not in hotpipe.written
    assert titles(hotpipe) == []


def test_in_a_ci_nobody_is_told(project: Path, told: Path, watch: Callable[..., Seen]) -> None:
    hotpipe = watch(DISPLAY=":0", TERM="xterm-kitty", CI="true")
    (project / "page.txt").write_text("bad")
    hotpipe.says("red")
    hotpipe.end()
    assert told.read_text() == ""
    assert b"\x1b]9" not in hotpipe.written
    assert titles(hotpipe) == []

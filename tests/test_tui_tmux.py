"""The terminal face in a real terminal: what is seen, what keys do, and that the terminal is given back."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from pausing import Asking, pausing  # noqa: F401 - a fixture
from running import HOTPIPE, environment, is_alive
from terminal import COMMAND, Tmux, needs_tmux, tmux  # noqa: F401 - a fixture

pytestmark = [needs_tmux, pytest.mark.timeout(300)]

# A linter of one line: what is BAD has a place.
LINT = """awk '/BAD/ { print FILENAME ":" NR ":5: error: bad name"; bad = 1 } END { exit bad }' app.py"""
CONFIG = f'''
[stage.lint]
run = """{LINT}"""
inputs = ["*.py"]
[stage.test]
run = "echo all is well"
inputs = ["*.py"]
[server.web]
run = "sh serve.sh"
ready = {{ after = "50ms" }}
'''
SERVE = 'i=0; while [ $i -lt 200 ]; do i=$((i+1)); echo "request $i"; done; echo served; exec sleep 1000\n'
STUBBORN = "trap '' TERM; echo served; while :; do sleep 1; done\n"
GOOD, BAD = "x = 1\n", "\nx = BAD\n"
MODES = "stty -a | tr ' ;' '\\n\\n' | grep -x -e icanon -e echo -e isig -e ixon | tr '\\n' '/'"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "hotpipe.toml").write_text(CONFIG)
    (tmp_path / "serve.sh").write_text(SERVE)
    (tmp_path / "app.py").write_text(GOOD)
    return tmp_path


@pytest.fixture
def watching(project: Path, tmux: Tmux) -> Tmux:  # noqa: F811
    """`hotpipe watch`, green and served."""
    tmux.run(f"echo before; {COMMAND} watch")
    tmux.until("GREEN  run 1", "generation 1", "served", "q quit")
    return tmux


def is_as_it_was(tmux: Tmux) -> None:  # noqa: F811
    """The normal screen, the cursor, and modes in which a shell can be used."""
    tmux.when(lambda _: tmux.told("#{alternate_on} #{cursor_flag}") == "0 1", "left")
    tmux.run(f"clear; {MODES}")
    tmux.until("ixon/isig/icanon/echo/")


def status(project: Path) -> str:
    done = subprocess.run((*HOTPIPE, "status"), cwd=project, env=environment(), capture_output=True, check=False)
    return done.stdout.decode()


class TestWhatIsSeen:
    def test_a_break_is_red_with_its_place_and_mending_it_is_green(self, project: Path, watching: Tmux) -> None:
        (project / "app.py").write_text(BAD)
        watching.until("RED  lint: app.py:2:5", "✗ lint", "bad name", "1 save behind: checks are red", "── lint: awk")
        (project / "app.py").write_text(GOOD + "y = 2\n")
        watching.until("GREEN  run 3", "generation 2", "── web", without="behind")

    def test_any_size_will_do(self, watching: Tmux) -> None:
        for columns, rows in ((20, 5), (2, 2), (40, 12), (200, 60)):
            watching.resize(columns, rows)
            watching.until("GREEN"[: max(0, columns - 2)])
        watching.until("q quit", "request 180")
        watching.resize(100, 30)
        watching.until("GREEN  run 1", "q quit", "served")

    def test_the_title_tells_the_verdict_and_is_given_back(self, project: Path, watching: Tmux) -> None:
        watching.when(lambda _: watching.told("#{pane_title}").startswith("✓"), "entitled")
        (project / "app.py").write_text(BAD)
        watching.when(lambda _: watching.told("#{pane_title}").startswith("✗"), "entitled")
        watching.type("q")
        watching.when(lambda _: watching.told("#{pane_title}")[0] not in "✓✗", "given back")

    def test_children_see_the_terminals_size(self, project: Path, tmux: Tmux) -> None:  # noqa: F811
        (project / "serve.sh").write_text("while :; do stty size <&1; sleep 0.1; done")
        tmux.run(f"{COMMAND} watch")
        tmux.until("GREEN  run 1", "\n30 100\n")
        tmux.resize(90, 28)
        tmux.until("\n28 90\n")


class TestKeys:
    def test_r_runs_again(self, watching: Tmux) -> None:
        watching.type("r")
        watching.until("GREEN  run 2")

    def test_capital_r_restarts(self, watching: Tmux) -> None:
        watching.type("R")
        watching.until("restarting web", "generation 2")

    def test_f_shows_failures_and_escape_goes_back(self, project: Path, watching: Tmux) -> None:
        watching.type("f")
        watching.until("nothing has failed")
        (project / "app.py").write_text(BAD)
        watching.until("── failures", "  app.py:2:5 bad name", "RED")
        watching.type("Escape")
        watching.until("── lint: awk", without="── failures")

    def test_l_goes_from_log_to_log(self, watching: Tmux) -> None:
        watching.type("l")
        watching.until("── lint: awk")
        watching.type("l")
        watching.until("── test: echo all is well", "\nall is well")
        watching.type("l")
        watching.until("── web")

    def test_p_pauses_and_goes_on(self, project: Path, watching: Tmux) -> None:
        watching.type("p")
        watching.until("PAUSED  run 1 was green", "p go on")
        (project / "app.py").write_text(BAD)
        watching.until("PAUSED  run 1 was green, and something has changed since", "1 save behind: paused")
        watching.type("p")
        watching.until("RED  lint", "p pause")

    def test_scrolling(self, watching: Tmux) -> None:
        watching.type("PageUp")
        watching.until("scrolled, End follows", without="served")
        watching.type("g")
        watching.until("\nrequest 1\n", "scrolled")
        watching.type("Down")
        watching.until("\nrequest 2\n", without="request 1\n")
        watching.type("End")
        watching.until("served", without="scrolled")

    def test_help(self, watching: Tmux) -> None:
        watching.type("?")
        watching.until("restart the servers, without checks")

    def test_o_tells_where_to_look_where_there_is_no_display(self, watching: Tmux) -> None:
        watching.type("o")
        watching.until("there is no page to open")

    def test_what_is_pasted_does_nothing(self, watching: Tmux) -> None:
        watching.type("-l", "\x1b[200~qqRRr\x1b[201~?")
        assert "GREEN  run 1" in watching.until("restart the servers, without checks")


class TestTheTerminalIsGivenBack:
    def test_after_q_with_the_verdict_where_it_stays(self, project: Path, watching: Tmux) -> None:
        (project / "app.py").write_text(BAD)
        watching.until("RED", "unverified" if "unverified" in watching.screen() else "behind")
        watching.type("q")
        watching.until(
            "before\n", "── lint: awk", "app.py:2:5: error: bad name", "✗ red: lint failed", without="q quit"
        )
        is_as_it_was(watching)

    def test_after_control_c(self, watching: Tmux) -> None:
        watching.type("C-c")
        watching.until("before\n", "✓ green in", without="q quit")
        is_as_it_was(watching)

    def test_after_a_second_control_c_that_kills(self, project: Path, tmux: Tmux) -> None:  # noqa: F811
        (project / "serve.sh").write_text(STUBBORN)
        tmux.run(f"{COMMAND} watch")
        tmux.until("GREEN  run 1", "served", "generation 1")
        tmux.type("C-c")
        tmux.until("STOPPING")
        tmux.type("C-c")
        is_as_it_was(tmux)

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT], ids=["TERM", "HUP", "QUIT"])
    def test_after_a_signal(self, watching: Tmux, number: signal.Signals) -> None:
        watching.hotpipe().send_signal(number)
        is_as_it_was(watching)

    def test_after_a_defect(self, project: Path, tmux: Tmux) -> None:  # noqa: F811
        broken = "import hotpipe.ui.tui.picture as it; it.draw = None; from hotpipe.cli import main; main()"
        tmux.run(f"{sys.executable} -c '{broken}' watch")
        tmux.until("internal error")
        is_as_it_was(tmux)

    def test_while_it_stands_still(self, project: Path, watching: Tmux) -> None:
        watching.type("C-z")
        watching.until("hotpipe stands still", "Stopped")
        is_as_it_was(watching)
        watching.run("fg")
        watching.until("GREEN  run 1", "q quit")
        (project / "app.py").write_text(BAD)
        watching.until("RED  lint: app.py:2:5")
        watching.type("?")
        watching.until("restart the servers, without checks")

    def test_while_it_is_in_the_background(self, project: Path, watching: Tmux) -> None:
        watching.type("C-z")
        watching.until("Stopped")
        watching.run("clear; bg")
        watching.until("[1]")
        (project / "app.py").write_text(BAD)
        watching.run("echo it is m''ine")
        watching.until("it is mine", without="q quit")
        watching.run("fg")
        watching.until("RED  lint: app.py:2:5", "q quit")

    def test_to_nobody_where_it_is_gone(self, watching: Tmux) -> None:
        hotpipe = watching.hotpipe()
        assert watching.close() == []
        assert not is_alive(hotpipe.pid)


class TestAStuckTerminal:
    def test_it_holds_up_nobody(self, project: Path, watching: Tmux) -> None:
        watching.type("C-s")
        watching.resize(90, 28)
        (project / "app.py").write_text(BAD)
        watching.when(lambda _: "red" in status(project), "red")
        (project / "app.py").write_text(GOOD + "y = 2\n")
        watching.when(lambda _: "green" in status(project), "green")
        watching.type("C-q")
        watching.until("GREEN  run 3", "q quit")

    def test_it_does_not_keep_hotpipe_from_ending(self, watching: Tmux) -> None:
        watching.type("C-s")
        watching.type("q")
        is_as_it_was(watching)


class TestAttach:
    """From the terminal face and back."""

    @pytest.fixture
    def debugged(self, pausing: tuple[Path, int], tmux: Tmux) -> tuple[Tmux, Asking]:  # noqa: F811
        """Somebody at the server's prompt, in a project that is elsewhere, and the one that waits for his answer."""
        folder, port = pausing
        (folder / "elsewhere").mkdir()
        (folder / "click.py").write_text("raise SystemExit('not mine')")
        tmux.run(f"cd elsewhere; {COMMAND} watch --config ../hotpipe.toml")
        tmux.until("generation 1", "q quit")
        request = Asking(port, "/debug")
        tmux.until("web waits for input: (Pdb)")
        tmux.type("a")
        tmux.until("attached to web, generation 1", "(Pdb)", without="q quit")
        return tmux, request

    def test_a_breakpoint_is_answered(self, debugged: tuple[Tmux, Asking]) -> None:
        tmux, request = debugged  # noqa: F811
        tmux.run("p answer + 1")
        tmux.until("\n21\n")
        tmux.run("answer = 55")
        tmux.run("c")
        assert request.answered() == "answer 55"
        tmux.type("C-]")
        tmux.until("web is detached", "generation 1", "q quit", "(Pdb) p answer + 1")
        tmux.type("?")
        tmux.until("restart the servers, without checks")
        tmux.type("q")
        is_as_it_was(tmux)

    def test_no_key_ends_or_stops_hotpipe_meanwhile(self, debugged: tuple[Tmux, Asking]) -> None:
        tmux, _ = debugged  # noqa: F811
        hotpipe = tmux.hotpipe()
        tmux.type("C-z")
        tmux.type("C-\\")
        tmux.type("C-c")
        tmux.until("web is detached", "generation 1", "q quit")
        assert is_alive(hotpipe.pid)
        tmux.type("C-c")
        is_as_it_was(tmux)

    def test_nor_does_one_that_comes_before_it_is_attached(self, watching: Tmux) -> None:
        hotpipe = watching.hotpipe()
        watching.type("a")
        watching.when(lambda _: watching.told("#{alternate_on}") == "0", "lent")
        watching.type("C-c")
        watching.until("web is detached", "q quit")
        assert is_alive(hotpipe.pid)

    def test_what_is_killed_leaves_no_trace(self, debugged: tuple[Tmux, Asking]) -> None:
        tmux, _ = debugged  # noqa: F811
        next(each for each in tmux.hotpipe().children() if "attach" in each.cmdline()).kill()
        tmux.until("hotpipe attach web: status -9", "generation 1", "q quit")
        tmux.type("C-c")
        is_as_it_was(tmux)

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT], ids=["TERM", "QUIT"])
    def test_when_hotpipe_ends_so_does_it(self, debugged: tuple[Tmux, Asking], number: signal.Signals) -> None:
        tmux, _ = debugged  # noqa: F811
        hotpipe = tmux.hotpipe()
        hotpipe.send_signal(number)
        tmux.when(lambda _: not is_alive(hotpipe.pid), "ended")
        is_as_it_was(tmux)

    def test_what_it_says_is_told(self, project: Path, tmux: Tmux) -> None:  # noqa: F811
        with (project / "hotpipe.toml").open("a") as file:
            file.write("tty = false\n")
        tmux.run(f"{COMMAND} watch")
        tmux.until("GREEN  run 1", "generation 1", "served")
        tmux.type("a")
        tmux.until("web has no terminal", "q quit")


class TestWhereThereIsNoScreen:
    @pytest.mark.parametrize("how", ["{} watch < /dev/null", "TERM=dumb {} watch", "CI=true {} watch", "{} watch -v"])
    def test_lines_are_shown(self, project: Path, tmux: Tmux, how: str) -> None:  # noqa: F811
        tmux.run(how.format(COMMAND))
        tmux.until("● live ·", without="q quit")  # what came before may have scrolled away

    def test_nor_in_the_background_and_it_is_not_stopped(self, project: Path, tmux: Tmux) -> None:  # noqa: F811
        tmux.run(f"{COMMAND} watch &")
        tmux.until("● live ·")
        tmux.run("clear; jobs")
        tmux.until("Running")
        tmux.run("kill %1")  # not every shell hangs up on what is in the background

    @pytest.mark.parametrize("how", ["{} < /dev/null{}", "({}{}) | cat", "TERM=dumb {}{}"])
    def test_who_asks_for_one_is_told(self, project: Path, tmux: Tmux, how: str) -> None:  # noqa: F811
        tmux.run(how.format(f"{COMMAND} watch --tui", "; echo status $?"))
        tmux.until("Error: --tui: ", "status 2")

    def test_faces_exclude_each_other(self, project: Path, tmux: Tmux) -> None:  # noqa: F811
        tmux.run(f"{COMMAND} watch --tui --plain; echo status $?")
        tmux.until("--plain and --tui exclude each other", "status 2")

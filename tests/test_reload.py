"""A configuration that changes while hotpipe runs: `hotpipe watch` and `serve` with real servers, under load."""

import json
import os
import socket
import subprocess
import sys
import threading
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from answering import eventually
from running import HOTPIPE, PATIENCE_S, Hotpipe, Start, environment, free_port, is_alive

TESTS = Path(__file__).parent
WORD = f"exec {sys.executable} -I -S {TESTS / 'projects' / 'word.py'}"
GOOD = '[stage.good]\nrun = "grep -q good page.txt"\ninputs = ["page.txt"]\n'


def server(name: str = "web", word: str = "one", *more: str, listen: str = '"http::0"') -> str:
    """One that answers with its word."""
    lines = (f"run = {json.dumps(WORD)}", f"listen = [{listen}]", 'inputs = ["page.txt"]', 'probation = "0s"', *more)
    return "\n".join((f"[server.{name}]", *lines, f'env = {{ WORD = "{word}" }}', ""))


def configure(folder: Path, *parts: str) -> None:
    """As an editor that is careful saves it."""
    beside = folder / "hotpipe.toml~"
    beside.write_text("\n".join(parts))
    beside.replace(folder / "hotpipe.toml")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "project"
    made.mkdir()
    (made / "page.txt").write_text("good")
    return made


def address(live: dict[str, Any], place: int = 0) -> str:
    return str(live["sockets"][place]["addr"])


def get(addr: str) -> str:
    with urllib.request.urlopen(f"http://{addr}", timeout=PATIENCE_S) as answer:
        return answer.read().decode()


def is_refused(addr: str) -> bool:
    host, _, port = addr.rpartition(":")
    with socket.socket() as client:
        return client.connect_ex((host, int(port))) != 0


class Crowd:
    """Clients that ask again and again, each time on a new connection: how often they heard which word, and what went
    wrong."""

    def __init__(self, addr: str) -> None:
        self.words: Counter[str] = Counter()
        self.failures: list[str] = []
        self._addr = addr
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(3)]

    def __enter__(self) -> "Crowd":
        for thread in self._threads:
            thread.start()
        self.hears(1)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)

    def hears(self, count: int = 10) -> None:
        """So many more answers have come."""
        wanted = self.words.total() + count
        eventually(lambda: self.words.total() >= wanted or bool(self.failures))

    def _ask(self) -> None:
        while not self._over.is_set():
            try:
                self.words[get(self._addr)] += 1
            except OSError as error:
                self.failures.append(repr(error))


def watched(start: Start, folder: Path, *parts: str, verb: str = "watch") -> tuple[Hotpipe, dict[str, Any]]:
    """Running, with its servers live, and verified where somebody checks."""
    configure(folder, *parts)
    hotpipe = start(folder, verb)
    live = [hotpipe.until("server.live") for part in parts if part.startswith("[server.")]
    if verb == "watch":
        for _ in live:
            hotpipe.until("server.verified")
    return hotpipe, live[0]


def status(folder: Path) -> dict[str, Any]:
    command = (*HOTPIPE, "status", "--json")
    shown = subprocess.run(command, cwd=folder, env=environment(), check=True, capture_output=True)
    return json.loads(shown.stdout)  # type: ignore[no-any-return]


# --- a server's settings ---------------------------------------------------------------------------------------------


def test_a_changed_environment_answers_after_the_next_green_run_and_no_request_fails(
    folder: Path, start: Start
) -> None:
    hotpipe, live = watched(start, folder, GOOD, server())
    with Crowd(address(live)) as crowd:
        configure(folder, GOOD, server(word="two"))
        assert hotpipe.until("config.reloaded")["path"] == "hotpipe.toml"
        new = hotpipe.until("server.live")
        assert hotpipe.until("server.verified")["generation"] == new["generation"] == 2
        hotpipe.until("server.stopped", generation=1)
        assert get(address(live)) == "two"
    assert new["sockets"] == live["sockets"]
    assert not crowd.failures
    assert crowd.words.keys() == {"one", "two"}
    assert [run["status"] for run in hotpipe.of("run.finished")].count("green") == 2


def test_a_stage_that_fails_keeps_what_is_live_until_it_is_mended(folder: Path, start: Start) -> None:
    hotpipe, live = watched(start, folder, GOOD, server())
    configure(folder, GOOD, '[stage.bad]\nrun = "false"', server(word="two"))
    hotpipe.until("config.reloaded")
    hotpipe.until("run.finished", status="red")
    assert get(address(live)) == "one"
    configure(folder, GOOD, server(word="two"))
    assert hotpipe.until("server.live")["generation"] == 2
    assert get(address(live)) == "two"


def test_what_only_matters_later_restarts_nothing(folder: Path, start: Start) -> None:
    hotpipe, live = watched(start, folder, GOOD, server())
    configure(folder, GOOD, server("web", "one", 'stop_timeout = "3s"', 'drain_timeout = "1s"', 'restart = "never"'))
    hotpipe.until("config.reloaded")
    hotpipe.until("run.finished", status="green")
    os.kill(live["pid"], 9)
    failed = hotpipe.until("server.failed")
    assert failed["retry_ms"] is None, "restart = never is in force"
    assert len(hotpipe.of("server.starting")) == 1


def test_nothing_is_said_of_a_configuration_that_says_the_same(folder: Path, start: Start) -> None:
    hotpipe, _ = watched(start, folder, GOOD, server())
    configure(folder, "# a comment", GOOD, server())
    hotpipe.until("change.detected")
    configure(folder, GOOD, server(word="two"))
    hotpipe.until("server.live", generation=2)
    assert len(hotpipe.of("config.reloaded")) == 1


def test_a_setting_that_is_undone_before_anything_was_restarted_is_no_change(folder: Path, start: Start) -> None:
    hotpipe, live = watched(start, folder, server(), verb="serve")
    configure(folder, server(word="two"))
    hotpipe.until("config.reloaded")
    warned = hotpipe.until("warning")
    assert (warned["code"], "hotpipe restart" in warned["hint"]) == ("server.stale", True)
    configure(folder, server())
    hotpipe.until("config.reloaded")
    (folder / ".trigger").write_text(json.dumps({"v": 1, "run": 1, "tree": status(folder)["servers"][0]["tree"]}))
    hotpipe.until("server.verified")
    assert status(folder)["servers"][0]["pid"] == live["pid"]


def test_serve_alone_waits_for_the_trigger(folder: Path, start: Start) -> None:
    hotpipe, live = watched(start, folder, server(), verb="serve")
    with Crowd(address(live)) as crowd:
        configure(folder, server(word="two"))
        hotpipe.until("config.reloaded")
        assert hotpipe.until("warning")["code"] == "server.stale"
        assert get(address(live)) == "one"
        (folder / ".trigger").touch()
        hotpipe.until("server.live", generation=2)
        assert get(address(live)) == "two"
    assert not crowd.failures


def test_the_served_tree_named_again_replaces_what_was_started_otherwise(folder: Path, start: Start) -> None:
    hotpipe, live = watched(start, folder, server(), verb="serve")
    configure(folder, '[watch]\npaths = ["page.txt"]\n', server(word="two"))
    hotpipe.until("config.reloaded")
    (folder / ".trigger").touch()
    assert hotpipe.until("server.live", generation=2)["sockets"] == live["sockets"]


def test_a_server_that_is_down_is_tried_again_at_once(folder: Path, start: Start) -> None:
    configure(folder, GOOD, server().replace("exec ", "nothing-like-this "))
    hotpipe = start(folder, "watch")
    hotpipe.until("server.failed")
    hotpipe.until("run.finished")
    configure(folder, '[stage.bad]\nrun = "false"', server())
    assert get(address(hotpipe.until("server.live"))) == "one"


# --- files that cannot be used ---------------------------------------------------------------------------------------


def test_an_invalid_file_is_told_once_and_the_last_good_one_stays(folder: Path, start: Start) -> None:
    hotpipe, live = watched(start, folder, GOOD, server())
    configure(folder, GOOD, server(word="two").replace("listen", "lisen"))
    rejected = hotpipe.until("config.rejected")
    assert rejected["path"] == "hotpipe.toml"
    assert rejected["errors"] == ["hotpipe.toml:7: server.web.lisen: unknown key; did you mean 'listen'?"]
    assert get(address(live)) == "one"
    (folder / "hotpipe.toml").touch()
    configure(folder, GOOD, server(word="two"))
    hotpipe.until("config.reloaded")
    assert hotpipe.until("server.live")["generation"] == 2
    assert len(hotpipe.of("config.rejected")) == 1


def test_one_that_is_mended_by_undoing_is_said_to_be_in_force_again(folder: Path, start: Start) -> None:
    hotpipe, live = watched(start, folder, GOOD, server())
    configure(folder, "[watch")
    assert "not valid TOML" in hotpipe.until("config.rejected")["errors"][0]
    configure(folder, GOOD, server())
    hotpipe.until("config.reloaded")
    assert is_alive(live["pid"])


def test_a_file_that_stays_away_is_told_and_may_come_back(folder: Path, start: Start) -> None:
    hotpipe, live = watched(start, folder, GOOD, server())
    (folder / "hotpipe.toml").unlink()
    assert "No such file" in hotpipe.until("config.rejected")["errors"][0]
    assert get(address(live)) == "one"
    configure(folder, GOOD, server(word="two"))
    hotpipe.until("config.reloaded")
    hotpipe.until("server.live", generation=2)


def test_something_else_in_its_place_holds_nobody_up(folder: Path, start: Start) -> None:
    hotpipe, live = watched(start, folder, GOOD, server())
    os.mkfifo(folder / "fifo")
    (folder / "fifo").replace(folder / "hotpipe.toml")
    assert "no regular file" in hotpipe.until("config.rejected")["errors"][0]
    assert get(address(live)) == "one"
    (folder / "hotpipe.toml").unlink()
    configure(folder, GOOD, server(word="two"))
    hotpipe.until("server.live", generation=2)


def test_an_empty_file_stops_no_server(folder: Path, start: Start) -> None:
    hotpipe, live = watched(start, folder, GOOD, server())
    configure(folder, "")
    assert "there is nothing to do" in hotpipe.until("config.rejected")["errors"][0]
    assert get(address(live)) == "one"


def test_a_file_that_is_still_being_written_is_waited_for(folder: Path, start: Start) -> None:
    hotpipe, _ = watched(start, folder, GOOD, server("api"), server("web"))
    with (folder / "hotpipe.toml").open("w") as file:
        file.write(GOOD + server("api"))
        file.flush()
        hotpipe.until("change.detected")
        file.write(server("web", "two"))
    hotpipe.until("config.reloaded")
    hotpipe.until("server.live", server="web", generation=2)
    assert len(hotpipe.of("config.reloaded")) == 1


def test_a_port_in_use_is_told_and_nothing_of_the_rest_is_applied(folder: Path, start: Start) -> None:
    hotpipe, live = watched(start, folder, GOOD, server())
    with socket.create_server(("127.0.0.1", 0)) as holder:
        taken = holder.getsockname()[1]
        free = free_port()
        configure(folder, GOOD, server(word="two"), server("api", listen=f'"http::{free}", "http::{taken}"'))
        (error,) = hotpipe.until("config.rejected")["errors"]
        assert f"cannot listen on 127.0.0.1:{taken}: the port is taken" in error
        assert is_refused(f"127.0.0.1:{free}")
        assert get(address(live)) == "one"
    os.utime(folder / "hotpipe.toml")
    hotpipe.until("config.reloaded")
    assert address(hotpipe.until("server.live", server="api")) == f"127.0.0.1:{free}"


# --- servers and sockets come and go ---------------------------------------------------------------------------------


def test_a_server_is_added_and_the_other_one_notices_nothing(folder: Path, start: Start) -> None:
    hotpipe, live = watched(start, folder, GOOD, server())
    with Crowd(address(live)) as crowd:
        configure(folder, GOOD, server(), server("api", "two"))
        api = hotpipe.until("server.live", server="api")
        hotpipe.until("server.verified", server="api")
        assert get(address(api)) == "two"
        hotpipe.until("run.finished", status="green", run=hotpipe.of("trigger.touched")[-1]["run"])
    assert [touched["server"] for touched in hotpipe.of("trigger.touched")] == ["web", "api"]
    assert not crowd.failures
    assert is_alive(live["pid"])
    shown = {one["name"]: one["sockets"][0]["addr"] for one in status(folder)["servers"]}
    assert shown == {"web": address(live), "api": address(api)}


def test_a_server_is_removed_and_its_socket_closed(folder: Path, start: Start) -> None:
    hotpipe, _ = watched(start, folder, GOOD, server(), server("api", "two"))
    addresses = {one["name"]: one["sockets"][0]["addr"] for one in status(folder)["servers"]}
    configure(folder, GOOD, server())
    hotpipe.until("server.draining", server="api")
    hotpipe.until("server.stopped", server="api")
    assert [one["name"] for one in status(folder)["servers"]] == ["web"]
    assert is_refused(addresses["api"])
    assert get(addresses["web"]) == "one"


def test_a_renamed_server_keeps_its_port_and_nobody_is_refused(folder: Path, start: Start) -> None:
    hotpipe, live = watched(start, folder, GOOD, server())
    with Crowd(address(live)) as crowd:
        configure(folder, GOOD, server("site", "two"))
        site = hotpipe.until("server.live", server="site")
        hotpipe.until("server.stopped", server="web")
        assert get(address(live)) == "two"
    assert address(site) == address(live)
    assert not crowd.failures


def test_one_that_comes_back_goes_on_counting(folder: Path, start: Start) -> None:
    hotpipe, live = watched(start, folder, GOOD, server())
    with Crowd(address(live)) as crowd:
        configure(folder, GOOD, server("site", "two"))
        hotpipe.until("server.live", server="site")
        configure(folder, GOOD, server("web", "three"))
        assert hotpipe.until("server.live", server="web")["generation"] > 1
        hotpipe.until("server.stopped", server="site")
        assert get(address(live)) == "three"
    assert not crowd.failures


def test_a_second_listen_comes_and_goes_while_the_first_stays(folder: Path, start: Start) -> None:
    hotpipe, live = watched(start, folder, GOOD, server())
    with Crowd(address(live)) as crowd:
        configure(folder, GOOD, server(listen='"http::0", "http::0"'))
        both = hotpipe.until("server.live", generation=2)
        hotpipe.until("server.verified", generation=2)
        assert address(both) == address(live)
        assert get(address(both, 1)) == "one"
        hotpipe.until("server.stopped", generation=1)
        configure(folder, GOOD, server())
        hotpipe.until("server.live", generation=3)
        hotpipe.until("server.stopped", generation=2)
        assert is_refused(address(both, 1))
    assert not crowd.failures


def test_a_unix_socket_beside_it(folder: Path, start: Start) -> None:
    hotpipe, live = watched(start, folder, GOOD, server())
    configure(folder, GOOD, server(listen='"http::0", "unix::s"'))
    hotpipe.until("server.live", generation=2)
    assert (folder / "s").is_socket()
    configure(folder, GOOD, server())
    hotpipe.until("server.stopped", generation=2)
    assert not (folder / "s").exists()
    assert get(address(live)) == "one"


# --- what is watched, and when a file counts -------------------------------------------------------------------------


def test_other_paths_are_watched(folder: Path, start: Start) -> None:
    (folder / "src").mkdir()
    hotpipe, _ = watched(start, folder, '[watch]\npaths = ["page.txt"]', GOOD, server())
    configure(folder, '[watch]\npaths = ["page.txt", "src"]', GOOD, server())
    hotpipe.until("config.reloaded")
    hotpipe.until("watch.ready")
    hotpipe.until("run.finished", status="green")
    (folder / "src" / "new.py").write_text("")
    hotpipe.until("change.detected", paths=["src/new.py"])
    hotpipe.until("run.finished", status="green")


def test_what_is_written_while_the_watchers_change_is_not_lost(folder: Path, start: Start) -> None:
    (folder / "src").mkdir()
    hotpipe, _ = watched(start, folder, '[watch]\npaths = ["page.txt"]', GOOD, server())
    configure(folder, '[watch]\npaths = ["."]', GOOD, server())
    (folder / "page.txt").write_text("bad")
    hotpipe.until("config.reloaded")
    hotpipe.until("run.finished", status="red")
    (folder / "page.txt").write_text("good again")
    hotpipe.until("run.finished", status="green")
    hotpipe.until("server.verified")


def test_another_trigger_is_heeded(folder: Path, start: Start) -> None:
    hotpipe, _ = watched(start, folder, server(), verb="serve")
    configure(folder, server("web", "one", 'trigger = ".go"'))
    hotpipe.until("config.reloaded")
    (folder / ".go").touch()
    hotpipe.until("server.live", generation=2)


def test_only_its_own_table_of_a_shared_file_counts(folder: Path, start: Start) -> None:
    def shared(*parts: str) -> str:
        return "\n".join(parts).replace("[stage", "[tool.hotpipe.stage").replace("[server", "[tool.hotpipe.server")

    file = folder / "pyproject.toml"
    file.write_text(shared(GOOD, server()))
    hotpipe = start(folder, "watch")
    live = hotpipe.until("server.live")
    hotpipe.until("server.verified")
    file.write_text(shared("[tool.other]\nx = 1", GOOD, server()))
    hotpipe.until("change.detected")
    hotpipe.until("run.finished")
    file.write_text(shared("[tool.other]\nx = 2", GOOD, server(word="two")))
    assert hotpipe.until("config.reloaded")["path"] == "pyproject.toml"
    hotpipe.until("server.live", generation=2)
    assert get(address(live)) == "two"
    assert len(hotpipe.of("config.reloaded")) == 1


def test_a_file_of_another_name(folder: Path, start: Start) -> None:
    named = folder / "other.toml"
    named.write_text("[watch]\npaths = ['page.txt']\n" + GOOD + server())
    hotpipe = start(folder, "watch", "--config", "other.toml")
    hotpipe.until("server.verified")
    named.write_text("[watch]\npaths = ['page.txt']\n" + GOOD + server(word="two"))
    assert hotpipe.until("config.reloaded")["path"] == "other.toml"
    assert get(address(hotpipe.until("server.live", generation=2))) == "two"

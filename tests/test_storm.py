"""Everything that a user can ask for, again and again between saves, of a real hotpipe: in the end all comes right."""

import random
import time
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from running import PATIENCE_S, Start
from test_end_to_end import PAGE_SERVER, address
from verbs import verb

from hotpipe.control import client
from hotpipe.control.protocol import Request

CONFIG = """
[stage.slow]
run = "sleep 0.0{pause}; grep -q good page.txt"
[stage.quick]
run = "! grep -q bad page.txt"
inputs = ["page.txt"]
needs = []
"""
REQUESTS = (
    *(Request(verb=verb) for verb in ("pause", "resume", "rerun", "restart")),
    Request(verb="rerun", stages=("quick",)),
)
pytestmark = pytest.mark.timeout(300)


class Storm:
    """What is done to one hotpipe, and when, as the seed says."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._page = folder / "page.txt"
        self._choose = random.Random(seed)
        self._saves = 0
        self._acts: list[Callable[[], None]] = [self._save_any] * 8 + [self._vanish, self._configure]
        self._acts += [partial(self._ask, request) for request in REQUESTS for _ in range(2)]
        self._configure()
        self.save("good")

    def save(self, word: str) -> str:
        """What is written: it is never the same."""
        self._saves += 1
        self._page.write_text(text := f"{word} {self._saves}")
        return text

    def rage(self) -> None:
        for _ in range(80):
            self._choose.choice(self._acts)()
            time.sleep(self._choose.choice((0, 0.001, 0.02, 0.1)))

    def _save_any(self) -> None:
        self.save(self._choose.choice(("good", "good", "bad", "neither")))

    def _vanish(self) -> None:
        """As an editor saves that is not careful."""
        text = self._page.read_text()
        self._page.unlink()
        time.sleep(self._choose.random() / 50)
        self._page.write_text(text)

    def _configure(self) -> None:
        (self._folder / "hotpipe.toml").write_text(PAGE_SERVER + CONFIG.replace("{pause}", str(self._saves % 10)))

    def _ask(self, request: Request) -> None:
        client.ask(str(self._folder), request)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("word, verdict", [("good", 0), ("bad", 1)])
def test_what_is_on_disk_in_the_end_is_judged_and_served(
    tmp_path: Path, start: Start, seed: int, word: str, verdict: int
) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    storm = Storm(folder, seed)
    hotpipe = start(folder, "watch")
    hotpipe.until("server.live")
    storm.rage()
    page = storm.save(word)
    assert verb(folder, "resume").returncode == 0
    waited = verb(folder, "wait", "--live", f"--timeout={PATIENCE_S}s")
    assert waited.returncode == verdict, waited
    if word == "good":
        assert served(address(hotpipe.of("server.live")[-1])) == page
    assert hotpipe.process.poll() is None


def served(addr: str) -> str:
    with urllib.request.urlopen(f"http://{addr}", timeout=PATIENCE_S) as answer:
        return answer.read().decode().partition(" ")[2]

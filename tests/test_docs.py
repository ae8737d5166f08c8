"""The documentation holds: its configurations are valid, its examples run, its links lead somewhere."""

import re
import shutil
import signal
import subprocess
import threading
import tomllib
import urllib.request
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import pages
import pytest
import reference
from pages import DOCS, PAGES, ROOT, anchors, blocks, files, links
from running import BIN, HOTPIPE, PATIENCE_S, Start, environment

from hotpipe.config import model

TABLES = {"watch", "gate", "stage", "server", "web", "notify"}
RUN_HERE = ("uvicorn", "gunicorn", "flask", "node", "several_servers")
GENERATED = "python docs/reference.py"


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def configurations(page: Path) -> list[dict[str, Any]]:
    """What a page shows of hotpipe.toml, or of pyproject.toml."""
    read = [tomllib.loads(block.text) for block in blocks(page) if block.language == "toml"]
    own = [tables.get("tool", {}).get("hotpipe", tables) for tables in read]
    return [tables for tables in own if tables.keys() & TABLES]


def listening_anywhere(name: str, text: str) -> str:
    """With a free port in place of the page's, so that tests run beside each other."""
    return re.sub(r"http::80\d\d", "http::0", text) if name == "hotpipe.toml" else text


class TestConfigurations:
    @pytest.mark.parametrize("page", PAGES, ids=named)
    def test_each_one_that_is_shown_is_valid(self, page: Path) -> None:
        for tables in configurations(page):
            assert isinstance(model.parse(tables), model.Config), model.parse(tables)

    def test_there_are_some(self) -> None:
        assert sum(map(len, map(configurations, PAGES))) > 10


@pytest.mark.parametrize("name", RUN_HERE)
def test_a_how_to_serves_and_replaces_what_it_shows(name: str, tmp_path: Path, start: Start) -> None:
    if not shutil.which("curl"):
        pytest.skip("no curl, with which the smoke tests ask")
    shown = files(DOCS / f"howto/{name}.md")
    for file, text in shown.items():
        (tmp_path / file).write_text(listening_anywhere(file, text))
    code = next(file for file in shown if file != "hotpipe.toml")
    server = next(iter(tomllib.loads(shown["hotpipe.toml"])["server"]))  # the one that `code` is of
    hotpipe = start(tmp_path, "watch")
    live = hotpipe.until("server.live", server=server)
    hotpipe.until("run.finished", status="green")
    with urllib.request.urlopen(f"http://{live['sockets'][0]['addr']}/", timeout=30) as answer:
        assert answer.status == 200
    (tmp_path / code).write_text(f"{shown[code]}\n)\n")
    hotpipe.until("run.finished", status="red")
    (tmp_path / code).write_text(f"{shown[code]}\n\n")
    assert hotpipe.until("server.live", server=server)["generation"] > 1


class TestTutorial:
    """Its files, what init makes of them, its edits (blocks of diff), and what the terminal shows, up to times."""

    PAGE = DOCS / "tutorial.md"

    def test_init_says_and_writes_what_it_shows(self, tmp_path: Path) -> None:
        said = self.init(tmp_path)
        shown, *_ = [block.text for block in blocks(self.PAGE) if "$ hotpipe init" in block.text]
        assert said.splitlines()[1:] == shown.splitlines()[2:]  # the line before these has the folder
        (table,) = [block.text for block in blocks(self.PAGE) if block.language == "toml"]
        assert tomllib.loads((tmp_path / "hotpipe.toml").read_text()) == tomllib.loads(table)

    def test_what_it_shows_is_what_one_sees(self, tmp_path: Path) -> None:
        self.init(tmp_path)
        config = tmp_path / "hotpipe.toml"
        config.write_text(listening_anywhere(config.name, config.read_text()))
        shown = [block for block in blocks(self.PAGE) if not block.file]
        begin = next(place for place, block in enumerate(shown) if block.text.startswith("watching"))
        for block in shown[:begin]:
            if block.language == "diff":
                edit(config, block.text)
        with Terminal(tmp_path) as terminal:
            for block in shown[begin:]:
                if block.language == "diff":
                    edit(tmp_path / "app.py", block.text)
                elif block.language == "text":
                    terminal.shows(block.text)
                elif "curl" in block.text and block.language == "console":
                    assert terminal.answer() == block.text.splitlines()[1] + "\n"

    def init(self, folder: Path) -> str:
        """In a project of these files, with its programs in .venv."""
        for file, text in files(self.PAGE).items():
            (folder / file).write_text(text)
        (folder / ".venv/bin").mkdir(parents=True)
        for program in ("ruff", "pytest", "uvicorn"):
            (folder / ".venv/bin" / program).symlink_to(BIN / program)
        init = (*HOTPIPE, "init")
        return subprocess.check_output(init, cwd=folder, env=environment(), stdin=subprocess.DEVNULL, text=True)


class Terminal:
    """`hotpipe watch --plain` in a folder, and what it has written."""

    def __init__(self, folder: Path) -> None:
        self._said: list[str] = []
        self._shown = 0
        self._arrived = threading.Condition()
        self._process = subprocess.Popen(
            [*HOTPIPE, "watch", "--plain"],
            cwd=folder,
            env=environment() | {"PYTHONUTF8": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self._reader = threading.Thread(target=self._read)

    def __enter__(self) -> Self:
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGINT)
        self._process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        self._process.stdout.close()

    def _read(self) -> None:
        for line in self._process.stdout:
            with self._arrived:
                self._said.append(line.rstrip("\n"))
                self._arrived.notify_all()

    def shows(self, text: str) -> None:
        """Waits until each line of `text` has been written, since the lines of the text before."""
        wanted = set(map(without_numbers, text.splitlines()))
        with self._arrived:
            self._arrived.wait_for(lambda: wanted <= self._new(), PATIENCE_S)
            assert wanted - self._new() == set()
            self._shown = len(self._said)

    def _new(self) -> set[str]:
        return set(map(without_numbers, self._said[self._shown :]))

    def answer(self) -> str:
        """What the server that is live answers."""
        url = next(found[0] for line in self._said if (found := re.search(r"http://[\d.]+:\d+", line)))
        with urllib.request.urlopen(f"{url}/", timeout=PATIENCE_S) as answer:
            return str(answer.read().decode())


def without_numbers(line: str) -> str:
    """What is the same each time: no times, ids, durations and ports; nor how much space stands before them."""
    line = re.sub(r"tree [0-9a-f]{8}", "tree T", line)
    line = re.sub(r"[\d.]+ m?s\b", "T", re.sub(r"\d\d:\d\d:\d\d", "T", line))
    return re.sub(r" +", " ", re.sub(r"127.0.0.1:\d+", "A", line))


def edit(file: Path, diff: str) -> None:
    """Replaces the lines that a diff takes away with those that it brings."""
    old, new = ("".join(f"{line[1:]}\n" for line in diff.splitlines() if line[0] == sign) for sign in "-+")
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


class TestLinks:
    @pytest.mark.parametrize("page", PAGES, ids=named)
    def test_within_the_repository_lead_to_something(self, page: Path) -> None:
        for link in links(page):
            target, _, anchor = link.partition("#")
            if not urlsplit(link).scheme:
                found = page.parent / target if target else page
                assert found.exists(), link
                assert not anchor or anchor in anchors(found), link

    @pytest.mark.parametrize("page", PAGES, ids=named)
    def test_out_of_it_are_encrypted_and_well_formed(self, page: Path) -> None:
        for link in links(page):
            parts = urlsplit(link)
            if parts.scheme and parts.hostname not in {"127.0.0.1", "localhost"}:
                assert parts.scheme == "https", link
                assert re.fullmatch(r"([a-z0-9-]+\.)+[a-z]{2,}", parts.netloc), link

    def test_every_page_is_in_the_index(self) -> None:
        shown = {(DOCS / link).resolve() for link in links(DOCS / "index.md") if not urlsplit(link).scheme}
        assert {page for page in PAGES if page.is_relative_to(DOCS)} - shown == {DOCS / "index.md"}

    def test_an_anchor_is_named_as_code_hosts_name_it(self, tmp_path: Path) -> None:
        page = tmp_path / "x.md"
        page.write_text("# `[server.NAME]`, a b\n\n## Why not X?\n\n## Why not X?\n")
        assert anchors(page) == {"servername-a-b", "why-not-x", "why-not-x-1"}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_a_picture_says_in_words_what_it_shows(page: Path) -> None:
    for said in re.findall(r"!\[([^]]*)\]\(", pages.prose(page)):
        assert len(said.split()) >= 3, page


class TestReadme:
    """Its figures are those that docs/ measured."""

    TEXT = (ROOT / "README.md").read_text()

    def test_it_counts_what_was_blessed_or_lost(self) -> None:
        measured = {tool: verdicts for tool, *verdicts in rows("stale_green") if len(verdicts) == 11}
        tools, counts = table(self.TEXT[self.TEXT.index("| hotpipe | wireit") :])[:3:2]
        for tool, count in zip(tools, counts, strict=True):
            wrong, right = map(measured[tool].count, ("WRONG", "right"))
            assert count == f"{wrong} of {wrong + right}", tool

    def test_no_request_failed_and_the_longest_took_so_long(self) -> None:
        assert "0 of 1,947,832" in self.TEXT
        assert "0 of 1,947,832" in (DOCS / "restart.md").read_text()
        _, _, ours, _, stopped, _, reloaded = next(row for row in rows("restart") if row[0] == "uvicorn")
        assert f"| {ours} ms; {reloaded} ms with `uvicorn --reload`, {stopped} ms stopped, then started |" in self.TEXT

    def test_a_save_is_noticed_after_so_long(self) -> None:
        assert "| 4.7 ms (" in self.TEXT
        assert "its stage started after 4.7 ms" in (DOCS / "design.md").read_text()

    @pytest.mark.parametrize("column, digits", [(2, 2), (3, 1)], ids=["warm", "edit"])
    def test_a_real_project_takes_so_long(self, column: int, digits: int) -> None:
        took = {row[0]: float(row[column].split()[0]) for row in rows("project")[2:] if row[column] != "–"}
        ours, hook = took["hotpipe check"], took["pre-commit run --all-files"]
        shell = took["sh -c 'ruff && mypy && pytest'"]
        assert f"| {ours:.{digits}f} s; {shell:.1f} s in a shell, {hook:.1f} s with pre-commit |" in self.TEXT

    def test_it_is_read_in_a_few_minutes(self) -> None:
        assert self.TEXT.count("\n") < 150


def rows(page: str) -> list[list[str]]:
    """Of all tables of a page."""
    return table((DOCS / f"{page}.md").read_text())


def table(text: str) -> list[list[str]]:
    """Row by row, cell by cell."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]


@pytest.mark.parametrize("file", reference.WRITTEN, ids=named)
def test_what_is_read_off_the_code_is_current(file: Path) -> None:
    assert file.read_text() == reference.WRITTEN[file](), GENERATED


def test_no_page_is_in_a_block_that_never_ends() -> None:
    for page in PAGES:
        assert "```" not in pages.prose(page), page

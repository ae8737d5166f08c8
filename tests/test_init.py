"""`hotpipe init`: for each kind of project, what it writes checks green and serves at once; and what it never does."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from running import BIN, HOTPIPE, PATIENCE_S, Start, environment, free_port

from hotpipe.config import file

TEST = "def test_it() -> None:\n    assert True\n"
ASGI = """\
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

WORD = "first"


async def page(request):
    return PlainTextResponse(WORD)


app = Starlette(routes=[Route("/", page)])
"""
ASGI_FACTORY = f"{ASGI.partition('app = ')[0]}def create_app():\n    return Starlette(routes=[Route('/', page)])\n"
FLASK = """\
from flask import Flask

WORD = "first"
app = Flask(__name__)


@app.get("/")
def page():
    return WORD
"""
FLASK_FACTORY = """\
from flask import Flask

WORD = "first"


def create_app(test_config=None):
    app = Flask(__name__)
    app.add_url_rule("/", view_func=lambda: WORD)
    return app
"""
AIOHTTP = """\
from aiohttp import web

WORD = "first"


async def page(request):
    return web.Response(text=WORD)


app = web.Application()
app.add_routes([web.get("/", page)])

if __name__ == "__main__":
    web.run_app(app, port=PORT)
"""
NODE = """\
const http = require("node:http");
const word = "first";
const server = http.createServer((request, response) => response.end(word));
server.listen(WHERE);
process.on("SIGTERM", () => server.close());
"""
GO = """\
package main

import (
	"io"
	"log"
	"net"
	"net/http"
	"os"
)

const word = "first"

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, word) })
	if os.Getenv("LISTEN_FDS") == "" {
		log.Fatal(http.ListenAndServe(":8080", nil))
	}
	listener, err := net.FileListener(os.NewFile(3, "http"))
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.Serve(listener, nil))
}
"""
PYPROJECT = """\
[project]
name = "shop"
version = "1"

[tool.ruff]
line-length = 100

[tool.pytest.ini_options]
testpaths = ["tests"]
"""


@dataclass(frozen=True)
class Kind:
    """A freshly made project, the programs that are installed, and the file whose `first` is edited."""

    files: dict[str, str]
    programs: tuple[str, ...]
    edited: str
    run: str
    own_port: bool = False
    stages: tuple[str, ...] = field(default=())


KINDS = {
    "starlette in main.py, with uvicorn": Kind(
        {"main.py": ASGI, "tests/test_it.py": TEST, "pyproject.toml": PYPROJECT},
        ("uvicorn", "ruff", "pytest"),
        "main.py",
        "uvicorn main:app --fd {fd}",
        stages=("lint", "test"),
    ),
    "a factory below src, with uvicorn": Kind(
        {"src/shop/__init__.py": "", "src/shop/main.py": ASGI_FACTORY, "pyproject.toml": PYPROJECT},
        ("uvicorn", "ruff"),
        "src/shop/main.py",
        "uvicorn --factory shop.main:create_app --fd {fd}",
        stages=("lint",),
    ),
    "starlette, with hypercorn": Kind(
        {"app.py": ASGI, "requirements.txt": "starlette\nhypercorn\n"},
        ("hypercorn",),
        "app.py",
        "hypercorn -b fd://{fd} app:app",
        stages=("syntax",),
    ),
    "flask, with gunicorn": Kind(
        {"app.py": FLASK, "requirements.txt": "flask\ngunicorn\npytest\n", "tests/test_it.py": TEST},
        ("gunicorn", "flask", "pytest"),
        "app.py",
        "gunicorn --threads 4 app:app",
        stages=("test",),
    ),
    "flask's own server": Kind(
        {"shop/__init__.py": FLASK_FACTORY, "requirements.txt": "flask\n"},
        ("flask",),
        "shop/__init__.py",
        "flask --app shop:create_app run --no-reload",
        stages=("syntax",),
    ),
    "a flask factory, with gunicorn": Kind(
        {"shop/__init__.py": FLASK_FACTORY, "requirements.txt": "flask\n"},
        ("gunicorn",),
        "shop/__init__.py",
        "gunicorn --threads 4 'shop:create_app()'",
        stages=("syntax",),
    ),
    "aiohttp, with gunicorn": Kind(
        {"main.py": AIOHTTP.replace("PORT", "8080"), "requirements.txt": "aiohttp\n"},
        ("gunicorn",),
        "main.py",
        "gunicorn -k aiohttp.GunicornWebWorker main:app",
        stages=("syntax",),
    ),
    "aiohttp on a port of its own": Kind(
        {"main.py": AIOHTTP, "requirements.txt": "aiohttp\n"},
        ("python",),
        "main.py",
        "python main.py",
        own_port=True,
        stages=("syntax",),
    ),
    "aiohttp on the socket": Kind(
        {"main.py": f"import socket\n{AIOHTTP.replace('port=PORT', 'sock=socket.socket(fileno=3)')}"},
        ("python",),
        "main.py",
        "python main.py",
        stages=("syntax",),
    ),
    "node on a port of its own": Kind(
        {
            "package.json": '{"scripts": {"start": "node server.js"}}',
            "server.js": NODE.replace("WHERE", "PORT"),
            "it.test.js": 'require("node:test")("it", () => {});\n',
        },
        ("node",),
        "server.js",
        "node server.js",
        own_port=True,
        stages=("test",),
    ),
    "node on the socket": Kind(
        {"package.json": '{"main": "server.js"}', "server.js": NODE.replace("WHERE", "{ fd: 3 }")},
        ("node",),
        "server.js",
        "node server.js",
        stages=("syntax",),
    ),
    "a backend and a frontend": Kind(
        {
            "backend/pyproject.toml": PYPROJECT,
            "backend/main.py": ASGI,
            "backend/tests/test_it.py": TEST,
            "frontend/package.json": '{"scripts": {"lint": "node --check lint.js"}}',
            "frontend/lint.js": "",
        },
        ("uvicorn", "ruff", "pytest", "node", "npm"),
        "backend/main.py",
        "uvicorn main:app --fd {fd}",
        stages=("backend-lint", "backend-test", "frontend-lint"),
    ),
    "targets of make": Kind(
        {
            "Makefile": f"test:\n\ttrue\n\nserve:\n\texec {sys.executable} server\n",
            "server": f"{AIOHTTP}\nweb.run_app(app, port=PORT)\n".replace('if __name__ == "__main__":', "if False:"),
        },
        ("make",),
        "server",
        "make serve",
        own_port=True,
        stages=("test",),
    ),
}
if shutil.which("go"):  # no part of what CI must have
    KINDS["go on the socket"] = Kind(
        {"go.mod": "module example.org/shop\n\ngo 1.21\n", "main.go": GO},
        ("go",),
        "main.go",
        "./.hotpipe/bin/shop",
        stages=("vet", "test", "build"),
    )


STAND_INS = {"npm": "echo"}  # what a script of package.json does is not what is tested


def made(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def installed(folder: Path, programs: tuple[str, ...]) -> str:
    """A PATH with these programs, and the system's own."""
    folder.mkdir()
    for name in programs:
        beside = BIN / name
        found = str(beside) if beside.exists() else shutil.which(name) or STAND_INS.get(name)
        if found is None:
            pytest.skip(f"no {name}")
        (folder / name).write_text(f'#!/bin/sh\nexec {found} "$@"\n')
        (folder / name).chmod(0o755)
    return f"{folder}:/usr/bin:/bin"


def hotpipe(folder: Path, *arguments: str, path: str = "", said: str = "") -> "subprocess.CompletedProcess[str]":
    env = environment() | ({"PATH": path} if path else {})
    command = [*HOTPIPE, *arguments]
    return subprocess.run(
        command, cwd=folder, env=env, input=said, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )


def answer(port: int) -> str:
    """The page; who opens a port of its own is live a second after its start, and on a busy machine not there yet."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        with suppress(urllib.error.URLError):
            return _page(port)
        time.sleep(0.05)
    pytest.fail(f"nobody answers on port {port}")


def _page(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=PATIENCE_S) as page:
        return page.read().decode()


def served(live: dict[str, Any], port: int) -> str:
    return answer(int(live["sockets"][0]["addr"].rpartition(":")[2]) if live["sockets"] else port)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_what_it_writes_checks_green_serves_and_restarts(kind: Kind, tmp_path: Path, start: Start) -> None:
    port = free_port()
    files = {name: text.replace("PORT", str(port)) for name, text in kind.files.items()}
    folder = made(tmp_path / "shop", files)
    path = installed(tmp_path / "bin", kind.programs)
    done = hotpipe(folder, "init", "--yes", path=path)
    assert done.returncode == 0, done.stderr
    found = file.load(None, str(folder)).config
    assert tuple(found.stage) == kind.stages
    (server,) = found.server.values()
    assert server.run == kind.run
    assert bool(server.listen) is not kind.own_port
    toml = folder / "hotpipe.toml"
    assert ("a new one that fails never takes the place of the old" in toml.read_text()) is not kind.own_port

    checked = hotpipe(folder, "check", path=path)
    assert checked.returncode == 0, checked.stdout

    toml.write_text(re.sub(r'"http::\d+"', '"http::0"', toml.read_text()))  # beside other tests
    watch = start(folder, "watch", launcher=("env", f"PATH={path}"))
    assert served(watch.until("server.live"), port) == "first"
    watch.until("run.finished", status="green")
    edited = folder / kind.edited
    edited.write_text(edited.read_text().replace("first", "second"))
    assert served(watch.until("server.live", generation=2), port) == "second"


def test_a_configuration_that_is_there_is_left_alone(tmp_path: Path) -> None:
    made(tmp_path, {"hotpipe.toml": "[stage.mine]\nrun = 'true'\n", "main.py": ""})
    done = hotpipe(tmp_path, "init", "--yes")
    assert done.returncode == 2
    assert f"{tmp_path}/hotpipe.toml is there already; nothing was written" in done.stderr
    assert "hotpipe init --force" in done.stderr
    assert sorted(os.listdir(tmp_path)) == ["hotpipe.toml", "main.py"]
    assert (tmp_path / "hotpipe.toml").read_text() == "[stage.mine]\nrun = 'true'\n"


def test_force_adds_what_is_lacking_and_keeps_every_byte(tmp_path: Path) -> None:
    mine = b"# mine\r\n[stage.lint]  # odd   spacing\r\nrun='true'"
    made(tmp_path, {"main.py": ASGI, "test_main.py": TEST, "ruff.toml": ""})
    (tmp_path / "hotpipe.toml").write_bytes(mine)
    done = hotpipe(tmp_path, "init", "--yes", "--force")
    assert done.returncode == 0, done.stderr
    now = (tmp_path / "hotpipe.toml").read_bytes()
    assert now.startswith(mine + b"\r\n")
    assert b"\n" not in now.replace(b"\r\n", b"")
    assert (tmp_path / "hotpipe.toml.bak").read_bytes() == mine
    found = file.load(None, str(tmp_path)).config
    assert (tuple(found.stage), tuple(found.server)) == (("lint", "test"), ("web",))
    assert found.stage["lint"].run == "true"


def test_force_where_nothing_is_lacking_changes_nothing(tmp_path: Path) -> None:
    made(tmp_path, {"main.py": ASGI, "test_main.py": TEST})
    hotpipe(tmp_path, "init", "--yes")
    before = {path.name: (path.read_bytes(), path.stat().st_ino) for path in tmp_path.iterdir()}
    done = hotpipe(tmp_path, "init", "--yes", "--force")
    assert "lacks nothing: left as it is" in done.stdout
    assert {path.name: (path.read_bytes(), path.stat().st_ino) for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("text", ["stage = { lint = { run = 'true' } }\n", "[stage.lint\n", "[stage.lint]\nrunn = 1\n"])
def test_force_leaves_alone_what_nothing_can_be_added_to(tmp_path: Path, text: str) -> None:
    made(tmp_path, {"main.py": ASGI, "test_main.py": TEST, "hotpipe.toml": text})
    done = hotpipe(tmp_path, "init", "--yes", "--force")
    assert done.returncode in (1, 2)
    assert "internal" not in done.stderr
    assert (tmp_path / "hotpipe.toml").read_text() == text
    assert sorted(os.listdir(tmp_path)) == ["hotpipe.toml", "main.py", "test_main.py"]


def test_a_configuration_in_pyproject_gets_no_second_one(tmp_path: Path) -> None:
    made(tmp_path, {"pyproject.toml": "[tool.hotpipe.stage.lint]\nrun = 'true'\n"})
    done = hotpipe(tmp_path, "init", "--yes", "--force")
    assert done.returncode == 2
    assert f"the configuration is [tool.hotpipe] in {tmp_path}/pyproject.toml" in done.stderr
    assert os.listdir(tmp_path) == ["pyproject.toml"]
    assert "[server.web]" in hotpipe(tmp_path, "init", "--print").stdout


def test_print_writes_nothing_and_nothing_else_to_standard_output(tmp_path: Path) -> None:
    made(tmp_path, {"main.py": ASGI})
    done = hotpipe(tmp_path, "init", "--print")
    assert done.returncode == 0
    assert os.listdir(tmp_path) == ["main.py"]
    (tmp_path / "hotpipe.toml").write_text(done.stdout)
    assert "web" in file.load(None, str(tmp_path)).config.server


def test_print_shows_what_force_would_write(tmp_path: Path) -> None:
    made(tmp_path, {"main.py": ASGI, "hotpipe.toml": "# mine\n"})
    done = hotpipe(tmp_path, "init", "--print", "--force")
    assert done.stdout.startswith("# mine\n")
    assert "[server.web]" in done.stdout
    assert (tmp_path / "hotpipe.toml").read_text() == "# mine\n"


def test_an_empty_folder_gets_an_example_that_is_green(tmp_path: Path) -> None:
    done = hotpipe(tmp_path, "init", "--yes")
    assert "no linter, type checker or tests were found" in done.stdout
    assert "no server was found" in done.stdout
    assert tuple(file.load(None, str(tmp_path)).config.stage) == ("check",)
    assert hotpipe(tmp_path, "check").returncode == 0


def test_in_a_subfolder_it_writes_at_the_top_of_the_work_tree_and_says_so(tmp_path: Path) -> None:
    made(tmp_path, {"pyproject.toml": PYPROJECT, "src/shop/deep/__init__.py": "", ".git/HEAD": ""})
    done = hotpipe(tmp_path / "src/shop/deep", "init", "--yes")
    assert f"wrote {tmp_path}/hotpipe.toml" in done.stdout
    assert "next: hotpipe watch" in done.stdout


def test_a_folder_that_is_a_project_itself_is_its_own_root(tmp_path: Path) -> None:
    made(tmp_path, {"backend/pyproject.toml": PYPROJECT, "frontend/package.json": "{}", ".git/HEAD": ""})
    done = hotpipe(tmp_path / "backend", "init", "--yes")
    assert f"wrote {tmp_path}/backend/hotpipe.toml" in done.stdout
    assert "for the whole repository instead: hotpipe init .." in done.stdout
    done = hotpipe(tmp_path / "backend", "init", "--yes", "..")
    assert f"wrote {tmp_path}/hotpipe.toml" in done.stdout
    assert done.stdout.endswith("next: hotpipe watch\n")
    done = hotpipe(tmp_path / "backend", "init", "--yes", "../frontend")
    assert done.stdout.endswith("next: cd ../frontend && hotpipe watch\n")


def test_git_ignores_what_hotpipe_leaves_behind_and_each_line_is_there_once(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / ".gitignore").write_bytes(b"/build\r\n.hotpipe/")
    hotpipe(tmp_path, "init", "--yes")
    now = (tmp_path / ".gitignore").read_bytes()
    assert now == b"/build\r\n.hotpipe/\r\n\r\n# hotpipe\r\n.trigger*\r\n"


@pytest.mark.parametrize("ignored", [".*\n", ".t*\n/.hotpipe\n", "*\n"])
@pytest.mark.parametrize("by_git", [True, False])
def test_what_other_rules_ignore_already_is_not_written(tmp_path: Path, ignored: str, by_git: bool) -> None:
    if by_git:
        subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / ".gitignore").write_text(ignored)
    hotpipe(tmp_path, "init", "--yes")
    assert (tmp_path / ".gitignore").read_text() == ignored


def test_what_is_ignored_for_this_clone_alone_counts_too(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / ".git/info/exclude").write_text(".trigger*\n.hotpipe/\n")
    done = hotpipe(tmp_path, "init", "--yes")
    assert "gitignore" not in done.stdout
    assert not (tmp_path / ".gitignore").exists()


@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("setpriv"), reason="nothing is forbidden to root")
def test_where_it_may_not_write_it_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    folder = made(tmp_path / "shop", {"main.py": ASGI})
    folder.chmod(0o555)
    done = _in_chains(folder, "init", "--yes")
    folder.chmod(0o755)
    assert done.returncode == 1
    assert f"cannot write {folder}/hotpipe.toml: Permission denied; nothing was written" in done.stderr
    assert "hint: make" in done.stderr
    assert os.listdir(folder) == ["main.py"]


def test_on_a_full_disk_nothing_is_half_written(tmp_path: Path) -> None:
    made(tmp_path, {"main.py": ASGI, ".gitignore": "/build\n"})
    limited = f"ulimit -f 0; trap '' XFSZ; exec {sys.executable} -m hotpipe init --yes"
    done = subprocess.run(
        ["bash", "-c", limited], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "hotpipe.toml: File too large; nothing was written" in done.stderr
    assert sorted(os.listdir(tmp_path)) == [".gitignore", "main.py"]
    assert (tmp_path / ".gitignore").read_text() == "/build\n"


def test_a_folder_in_the_place_of_gitignore_is_no_internal_error(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").mkdir()
    done = hotpipe(tmp_path, "init", "--yes")
    assert done.returncode == 1
    assert f"cannot read {tmp_path}/.gitignore" in done.stderr
    assert os.listdir(tmp_path) == [".gitignore"]


def _in_chains(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Without root's right to write everywhere."""
    bound = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else ()
    command = [*bound, *HOTPIPE, *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )


class Terminal:
    """`hotpipe init` at a terminal."""

    def __init__(self, folder: Path) -> None:
        ours, its = os.openpty()
        self.process = subprocess.Popen(
            [*HOTPIPE, "init"], cwd=folder, env=environment(), stdin=its, stdout=its, stderr=its, start_new_session=True
        )
        os.close(its)
        self._terminal = ours
        self.seen = ""

    def until(self, text: str) -> None:
        while text not in self.seen:
            self.seen += os.read(self._terminal, 4096).decode()

    def write(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def interrupt(self) -> None:
        """As often as it takes: CPython misses a signal that comes right before read(2)."""
        for _ in range(PATIENCE_S):
            self.process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(1)
                return

    def wait(self) -> int:
        code = self.process.wait(PATIENCE_S)
        os.close(self._terminal)
        return code


def test_at_a_terminal_it_asks_where_there_is_a_choice(tmp_path: Path) -> None:
    made(tmp_path, {"main.py": ASGI})
    terminal = Terminal(tmp_path)
    terminal.until("which one")
    assert "1) uvicorn main:app --fd {fd}" in terminal.seen
    terminal.write("2\n")
    terminal.until("next: hotpipe watch")
    assert terminal.wait() == 0
    assert file.load(None, str(tmp_path)).config.server["web"].run == "hypercorn -b fd://{fd} main:app"


def test_ctrl_c_at_a_question_leaves_nothing(tmp_path: Path) -> None:
    made(tmp_path, {"main.py": ASGI})
    terminal = Terminal(tmp_path)
    terminal.until("which one")
    terminal.interrupt()
    assert terminal.wait() == 130
    assert os.listdir(tmp_path) == ["main.py"]

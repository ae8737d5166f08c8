"""`hotpipe watch --web` with a real application and its middleware, and somebody who looks at its page."""

import sys
from pathlib import Path
from typing import Any

import pytest
from looking import Tab, browser, colour, lives, mark, open_tab, panel, shows, wait_for  # noqa: F401 - fixtures
from running import Hotpipe, Start, free_port

pytest.importorskip("hotpipe.web.serving", reason="there is no dashboard yet")
pytestmark = pytest.mark.timeout(240)

ASGI = """
from pathlib import Path
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from hotpipe.asgi import Hotpipe

GREETING = "first"
PAGE = "<!doctype html><link rel=stylesheet href=/site.css><h1>{}</h1>"
POLICY = {"Content-Security-Policy": "default-src 'self'"}

app = Starlette(routes=[
    Route("/", lambda request: HTMLResponse(PAGE.format(GREETING), headers=POLICY)),
    Route("/site.css", lambda request: Response(Path("site.css").read_text(), media_type="text/css")),
])
app.add_middleware(Hotpipe)
"""
WSGI = """
from pathlib import Path
from flask import Flask, Response
from hotpipe.wsgi import Hotpipe

GREETING = "first"
app = Flask(__name__)
app.wsgi_app = Hotpipe(app.wsgi_app)
app.add_url_rule("/", endpoint="page", view_func=lambda:
    "<!doctype html><link rel=stylesheet href=/site.css><h1>%s</h1>" % GREETING)
app.add_url_rule("/site.css", endpoint="style", view_func=lambda:
    Response(Path("site.css").read_text(), mimetype="text/css"))
"""
SERVERS = {
    "uvicorn": (ASGI, "uvicorn app:app --fd {fd}"),
    "gunicorn": (WSGI, "gunicorn --no-control-socket app:app"),
}
CONFIG = """
[web]
listen = "127.0.0.1:%d"

[stage.lint]
run = "! grep -n WRONG app.py | sed 's/:.*/:1: error: it is wrong/; s/^/app.py:/' | grep ."

[server.web]
run = "%s"
listen = ["http::0"]
"""


class Project:
    """A folder, and the hotpipe that runs there."""

    def __init__(self, folder: Path, start: Start, server: str) -> None:
        self.folder = folder
        self._start = start
        app, run = SERVERS[server]
        self.web = free_port()
        self.write("app.py", app)
        self.write("site.css", "h1 { color: rgb(255, 0, 0) }")
        self.write("hotpipe.toml", CONFIG % (self.web, f"{sys.executable} -m {run}"))
        editor = folder.parent / "edit"
        editor.write_text('#!/bin/sh\nprintf "%s" "$*" > "$0.new"\nmv "$0.new" "$0.told"\n')
        editor.chmod(0o755)
        self.told = folder.parent / "edit.told"
        self._editor = f"HOTPIPE_EDITOR={editor} {{file}}:{{line}}"
        self.hotpipe, self.url = self.watch()

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def replace(self, old: str, new: str) -> None:
        self.write("app.py", (self.folder / "app.py").read_text().replace(old, new))

    def watch(self) -> tuple[Hotpipe, str]:
        hotpipe = self._start(self.folder, "watch", "--web", launcher=("env", self._editor))
        hotpipe.until("web.ready")
        (socket,) = hotpipe.until("server.live")["sockets"]
        hotpipe.until("server.verified")
        return hotpipe, f"http://{socket['addr']}"


@pytest.fixture(params=sorted(SERVERS))
def project(request: pytest.FixtureRequest, tmp_path: Path, start: Start) -> Project:
    folder = tmp_path / "project"
    folder.mkdir()
    return Project(folder, start, request.param)


def says(page: Any, text: str) -> None:
    page.locator("h1", has_text=text).wait_for()


def test_a_day_at_work(project: Project, open_tab: Tab) -> None:  # noqa: F811
    page = open_tab(project.url, "gen 1")

    project.replace('"first"', '"second"')
    says(page, "second")
    shows(page, "gen 2")
    assert page.evaluate("document.querySelector('script[data-generation]').dataset.generation") == "2"

    mark(page)
    project.write("site.css", "h1 { color: rgb(0, 0, 255) }")
    shows(page, "gen 3")
    wait_for(lambda: colour(page) == "rgb(0, 0, 255)")
    assert lives(page)

    project.replace('"second"', '"WRONG"')
    shows(page, "lint: app.py:")
    says(page, "second")
    assert lives(page)
    assert "You see generation 3; 1 save behind: checks are red" in panel(page)
    page.locator(".panel li button").click()
    wait_for(project.told.exists)
    line = 1 + (project.folder / "app.py").read_text().splitlines().index('GREETING = "WRONG"')
    assert project.told.read_text() == f"{project.folder / 'app.py'}:{line}"

    project.replace('"WRONG"', '"third"')
    says(page, "third")
    shows(page, "gen 4")
    assert not lives(page)


def test_hotpipe_is_started_anew(project: Project, open_tab: Tab) -> None:  # noqa: F811
    config = project.folder / "hotpipe.toml"
    port = project.url.rpartition(":")[2]
    page = open_tab(project.url, "gen 1")
    mark(page)
    project.hotpipe.interrupt()
    shows(page, "hotpipe is not running")
    assert lives(page)
    config.write_text(config.read_text().replace("http::0", f"http::{port}"))
    project.replace('"first"', '"second"')
    project.watch()
    says(page, "second")
    shows(page, "gen 1")


def test_a_generation_that_does_not_come_up_leaves_the_page_as_it_is(project: Project, open_tab: Tab) -> None:  # noqa: F811
    page = open_tab(project.url, "gen 1")
    mark(page)
    project.replace('GREETING = "first"', 'raise SystemExit("no")')
    shows(page, "gen 2: ")
    says(page, "first")
    assert lives(page)

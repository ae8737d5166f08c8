"""`hotpipe watch --web` with a real application and its middleware, and somebody who looks at its page."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from editing import recorded, recorder
from looking import Tab, colour, lives, mark, open_tab, panel, shows, wait_for  # noqa: F401 - a fixture
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
UVICORN = "uvicorn app:app --fd {fd} --timeout-keep-alive 60"
SERVERS = {
    "uvicorn": (ASGI, UVICORN),
    "gunicorn": (WSGI, "gunicorn --no-control-socket app:app"),
}
# Who makes the page says so in it.
BY = """
import os
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route
from hotpipe.asgi import Hotpipe

GREETING = "first"
BY = os.environ["HOTPIPE_GENERATION"]
PAGE = f"<!doctype html><h1 data-by={BY}>{GREETING}</h1>"

app = Starlette(routes=[Route("/", lambda request: HTMLResponse(PAGE + TAG))])
"""
TAGGED = {
    "by the middleware": 'TAG = ""\napp.add_middleware(Hotpipe)\n',
    "by hand": "TAG = f\"<script src={os.environ['HOTPIPE_WEB']}/hotpipe.js></script>\"\n",
}
# Whether the badge has ever said of a page that it was what another generation had made.
LIES = """
const looked = () => {
  const badge = document.querySelector("[data-hotpipe]"), page = document.querySelector("h1");
  const pill = badge && badge.shadowRoot.querySelector(".pill");
  const [, told] = (pill && /^✓gen (\\d+)$/.exec(pill.textContent)) || [];
  if (page && told && told !== page.dataset.by) sessionStorage.lie = pill.textContent + " over " + page.dataset.by;
  requestAnimationFrame(looked);
};
looked();
"""
CONFIG = """
[web]
listen = "127.0.0.1:%d"

[stage.lint]
run = "! grep -n WRONG app.py | sed 's/:.*/:1: error: it is wrong/; s/^/app.py:/' | grep ."

[server.web]
run = "%s"
listen = ["http::0"]
ready_timeout = "10s"
"""


class Project:
    """A folder, and the hotpipe that runs there."""

    def __init__(self, folder: Path, start: Start, app: str, run: str) -> None:
        folder.mkdir()
        self.folder = folder
        self._start = start
        self.web = free_port()
        self.write("app.py", app)
        self.write("site.css", "h1 { color: rgb(255, 0, 0) }")
        self.write("hotpipe.toml", CONFIG % (self.web, f"{sys.executable} -m {run}"))
        self._editor = f"HOTPIPE_EDITOR={recorder(folder.parent)} {{file}}:{{line}}"
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
    return Project(tmp_path / "project", start, *SERVERS[request.param])


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
    line = 1 + (project.folder / "app.py").read_text().splitlines().index('GREETING = "WRONG"')
    assert recorded(project.folder.parent) == [f"{project.folder / 'app.py'}:{line}"]

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


@pytest.mark.parametrize("tagged", sorted(TAGGED))
def test_a_page_that_the_old_generation_answers_still_is_never_taken_for_the_new_ones(
    tmp_path: Path,
    start: Start,
    open_tab: Tab,  # noqa: F811
    tagged: str,
) -> None:
    """A browser reloads on the connection that it has, and for the time of the probation that is the old one's."""
    project = Project(tmp_path / "project", start, BY + TAGGED[tagged], UVICORN)
    page = open_tab(project.url, "gen 1")
    page.add_init_script(LIES)
    page.reload()
    for number, (old, new) in enumerate([("first", "second"), ("second", "third"), ("third", "fourth")], start=1):
        project.replace(f'"{old}"', f'"{new}"')
        assert project.hotpipe.until("server.stopped", generation=number)["revisited"] is True
        says(page, new)
        page.locator(".pill", has_text=re.compile(f"^✓gen {number + 1}$")).wait_for()
    assert page.evaluate("sessionStorage.lie") is None

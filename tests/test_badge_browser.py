"""The badge in a real browser, in pages as users have them."""

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from badging import PATIENCE_S, Site, Told
from looking import OPENS, Tab, colour, lives, mark, open_tab, panel, shows, wait_for  # noqa: F401 - a fixture

from hotpipe.events import ConfigRejected, ServerFailed, ServerStarting
from hotpipe.web.origins import Origins

pytestmark = pytest.mark.timeout(180)
FLAT = re.compile("^✓gen 2$")
WORKER = """
addEventListener("install", () => skipWaiting());
addEventListener("activate", (event) => event.waitUntil(clients.claim()));
const kept = caches.open("kept");
addEventListener("fetch", (event) => event.request.mode === "navigate" && event.respondWith((async () => {
  const found = await (await kept).match(event.request);
  if (found) return found;
  const answer = await fetch(event.request);
  await (await kept).put(event.request, answer.clone());
  return answer;
})()));
"""
REGISTERED = """async () => {
  await navigator.serviceWorker.register("/worker.js");
  await navigator.serviceWorker.ready;
}"""
CLOSED = "document.querySelector('[data-hotpipe]').shadowRoot === null"


@pytest.fixture
def site() -> Iterator[Site]:
    running = Site()
    yield running
    running.close()


@pytest.fixture
def tab(open_tab: Tab, site: Site) -> Tab:  # noqa: F811
    """Opens the site's page."""
    return lambda wait="gen 1": open_tab(site.url, wait)


@pytest.fixture
def told(tmp_path: Path, site: Site) -> Iterator[Told]:
    """Generation 1 of the site's server is live, and green."""
    (tmp_path / "app.py").touch()
    running = begin(Told(tmp_path), site)
    site.pages["/"] = ({}, html(running))
    site.pages["/site.css"] = ({"Content-Type": "text/css"}, "h1 { color: rgb(255, 0, 0) }")
    yield running
    running.close()


def begin(told: Told, site: Site) -> Told:
    told.start(site.url)
    told.save(1, "app.py")
    told.green(1, "web")
    told.live(1, "t1", site.url)
    return told


def html(
    told: Told, attributes: str = "", head: str = '<link rel="stylesheet" href="/site.css">', body: str = ""
) -> str:
    script = f'<script src="{told.url}/hotpipe.js" {attributes}></script>'
    return f"<!doctype html><html><head>{head}<title>t</title></head><body><h1>hello</h1>{body}{script}</body></html>"


# What it says.


def test_it_says_which_generation_is_served(told: Told, tab: Tab) -> None:
    page = tab()
    assert page.locator(".pill").inner_text() == "✓gen 1"
    assert panel(page).startswith("You see generation 1: checks are green")


def test_it_says_that_checks_are_running_and_what_they_have_found(told: Told, tab: Tab, tmp_path: Path) -> None:
    page = tab()
    told.save(2, "app.py")
    shows(page, "checking 0/1")
    told.red(2, ("app.py", 12, "undefined name <b>x</b>"), (None, 1, "no place"))
    shows(page, "lint: app.py:12:2 E1 undefined name <b>x</b>")
    text = panel(page)
    assert "You see generation 1; 1 save behind: checks are red" in text
    assert "lint failed: 2 findings" in text
    page.locator(".panel li button").click()
    wait_for(lambda: told.opened == [("edit", f"{tmp_path}/app.py:12:2")])


def test_it_says_that_a_generation_boots_and_that_it_failed(told: Told, site: Site, tab: Tab) -> None:
    page = tab()
    told.tell(ServerStarting(server="web", generation=2, pid=102, tree="t2"))
    shows(page, "starting gen 2")
    told.tell(ServerFailed(server="web", generation=2, reason="exit status 3", serving=1))
    shows(page, "gen 2: exit status 3")
    assert "You see generation 1" in panel(page)


def test_it_says_that_the_configuration_is_wrong(told: Told, tab: Tab) -> None:
    page = tab()
    told.tell(ConfigRejected(path="hotpipe.toml", errors=("hotpipe.toml:3: stage.lint.run: wrong",)))
    shows(page, "hotpipe.toml:3: stage.lint.run: wrong")


def test_without_an_editor_it_shows_the_place_to_copy(tmp_path: Path, site: Site, tab: Tab) -> None:
    told = begin(Told(tmp_path, editor=None), site)
    site.pages["/"] = ({}, html(told))
    page = tab()
    told.save(2, "app.py")
    told.red(2, ("app.py", 12, "no"))
    shows(page, "lint: app.py:12")
    panel(page)
    assert page.locator("code").inner_text() == "app.py:12:2"
    told.close()


def test_an_editor_that_cannot_be_opened_is_said(told: Told, tab: Tab) -> None:
    page = tab()
    told.save(2, "app.py")
    told.red(2, ("gone.py", 12, "no"))
    shows(page, "lint: gone.py:12")
    panel(page)
    page.locator(".panel li button").click()
    page.locator(".panel", has_text="it is no file of this project").wait_for()


def test_an_unknown_page_is_told_so(tmp_path: Path, site: Site, tab: Tab) -> None:
    told = Told(tmp_path)
    told.start("http://127.0.0.1:9")
    site.pages["/"] = ({}, html(told))
    tab(wait=f"hotpipe does not know {site.url}")
    told.close()


def test_the_keyboard_reaches_it_and_a_click_hides_it_until_it_is_red(told: Told, tab: Tab) -> None:
    page = tab()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.locator(".panel").wait_for()
    page.keyboard.press("Escape")
    page.locator(".panel").wait_for(state="hidden")
    panel(page)
    page.get_by_role("button", name="hide until it is red").click()
    page.locator(".pill").wait_for(state="hidden")
    told.save(2, "app.py")
    told.red(2, ("app.py", 12, "no"))
    page.locator(".pill").wait_for()


def test_what_has_changed_is_said_to_those_who_do_not_see(told: Told, tab: Tab) -> None:
    page = tab()
    told.save(2, "app.py")
    told.red(2, ("app.py", 12, "no"))
    shows(page, "lint: app.py:12")
    status = page.locator("[role=status]")
    assert (status.get_attribute("aria-live"), status.inner_text()) == ("polite", "hotpipe: lint: app.py:12:2 E1 no")
    assert page.locator(".pill").get_attribute("aria-expanded") == "false"


def test_it_is_dragged_to_another_corner_and_stays_there(told: Told, tab: Tab) -> None:
    page = tab()
    box = page.locator(".pill").bounding_box()
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    page.mouse.down()
    page.mouse.move(40, 40, steps=5)
    page.mouse.up()
    moved = page.locator(".pill").bounding_box()
    assert (moved["x"] < 100, moved["y"] < 100) == (True, True)
    assert page.locator(".panel").is_hidden()
    page.reload()
    shows(page, "gen 1")
    assert page.locator(".pill").bounding_box()["y"] < 100


@pytest.mark.parametrize("position", ["top-left", "bottom-left", "top-right", "nonsense"])
def test_its_corner_can_be_chosen(told: Told, site: Site, tab: Tab, position: str) -> None:
    site.pages["/"] = ({}, html(told, f'data-position="{position}"'))
    page = tab()
    box, size = page.locator(".pill").bounding_box(), page.viewport_size
    vertical = "top" if box["y"] < size["height"] / 2 else "bottom"
    horizontal = "left" if box["x"] < size["width"] / 2 else "right"
    assert f"{vertical}-{horizontal}" == (position if position != "nonsense" else "bottom-right")


def test_where_it_is_to_be_quiet_it_shows_what_is_wrong_alone(told: Told, site: Site, tab: Tab) -> None:
    site.pages["/"] = ({}, html(told, "data-quiet"))
    page = tab(wait="")
    page.locator(".pill", has_text="gen 1").wait_for(state="attached")
    assert page.locator(".pill").is_hidden()
    told.save(2, "app.py")
    told.red(2, ("app.py", 12, "no"))
    page.locator(".pill").wait_for()


# It leaves the page alone.


def test_the_page_cannot_see_into_it_nor_style_it_nor_find_it_among_its_globals(
    told: Told,
    site: Site,
    browser: Any,
) -> None:
    head = "<style>* { display: none !important }</style><script>window.known = Object.keys(window)</script>"
    site.pages["/"] = ({}, html(told, head=head))
    page = browser.new_page()
    page.goto(site.url)
    page.wait_for_function("document.querySelector('[data-hotpipe]') !== null")
    assert page.evaluate(CLOSED)
    assert page.evaluate("Object.keys(window).filter((name) => !known.includes(name))") == ["known"]
    style = "getComputedStyle(document.querySelector('[data-hotpipe]'))"
    assert page.evaluate(f"{style}.position") == "fixed"
    assert page.evaluate(f"{style}.display") != "none"
    page.close()


@pytest.mark.parametrize(
    "policy",
    [
        "default-src 'none'; script-src {0}; connect-src {0}; style-src 'self'",
        "default-src 'none'; script-src {0}; connect-src {0}; require-trusted-types-for 'script'",
    ],
)
def test_a_strict_policy_does_not_keep_it_from_working(told: Told, site: Site, tab: Tab, policy: str) -> None:
    site.pages["/"] = ({"Content-Security-Policy": policy.format(told.url)}, html(told))
    page = tab()
    assert page.locator(".pill").evaluate("(pill) => getComputedStyle(pill).borderRadius") == "14px"


def test_a_policy_that_forbids_it_to_ask_is_named(told: Told, site: Site, tab: Tab) -> None:
    policy = f"script-src {told.url} 'unsafe-inline'; connect-src 'self'"
    site.pages["/"] = ({"Content-Security-Policy": policy}, html(told))
    tab(wait="the page's CSP forbids connect-src")


def test_twice_is_once(told: Told, site: Site, tab: Tab) -> None:
    body = f'<script src="{told.url}/hotpipe.js"></script>'
    site.pages["/"] = ({}, html(told, body=body, head=body))
    page = tab()
    assert page.locator("[data-hotpipe]").count() == 1


def test_frames_have_none(told: Told, site: Site, tab: Tab) -> None:
    site.pages["/frame"] = ({}, html(told))
    site.pages["/"] = ({}, html(told, body='<iframe src="/frame"></iframe>'))
    page = tab()
    frame = page.frames[1]
    frame.wait_for_load_state()
    assert frame.evaluate("document.querySelector('[data-hotpipe]')") is None
    site.pages["/frame"] = ({}, html(told, "data-frames"))
    page.reload()
    page.frame_locator("iframe").locator(".pill").wait_for()


@pytest.mark.parametrize(
    "kind,document",
    [
        ("image/svg+xml", '<svg xmlns="http://www.w3.org/2000/svg"><script href="{}/hotpipe.js"/><rect/></svg>'),
        ("text/html", "<frameset><frame></frameset>"),
    ],
)
def test_documents_of_other_kinds_do_not_break(told: Told, site: Site, tab: Tab, kind: str, document: str) -> None:
    site.pages["/"] = ({"Content-Type": kind}, document.format(told.url))
    tab(wait="")


def test_it_works_in_xhtml(told: Told, site: Site, tab: Tab) -> None:
    page = (
        '<html xmlns="http://www.w3.org/1999/xhtml"><body><h1>x</h1><script src="{}/hotpipe.js"></script></body></html>'
    )
    site.pages["/"] = ({"Content-Type": "application/xhtml+xml"}, page.format(told.url))
    tab()


def test_it_comes_back_into_a_page_that_replaces_all_it_has(told: Told, tab: Tab) -> None:
    page = tab()
    page.evaluate("document.documentElement.replaceChildren(document.createElement('body'))")
    told.save(2, "app.py")
    shows(page, "checking")


# The page anew.


def test_a_new_generation_reloads_the_page_once(told: Told, site: Site, tab: Tab) -> None:
    page = tab()
    mark(page)
    told.save(2, "app.py")
    told.green(2, "web")
    shows(page, "gen 1")
    assert lives(page)
    told.live(2, "t2", site.url)
    shows(page, "gen 2")
    assert not lives(page)
    assert panel(page).startswith("You see generation 2")
    told.save(3, "x")
    shows(page, "checking")
    assert site.asked.count("/") == 2


def test_a_page_that_says_an_older_generation_is_reloaded_once(told: Told, site: Site, tab: Tab) -> None:
    """A cache may say it for ever."""
    told.save(2, "app.py")
    told.green(2, "web")
    told.live(2, "t2", site.url)
    site.pages["/"] = ({}, html(told, 'data-server="web" data-generation="1"'))
    page = tab(wait="")
    wait_for(lambda: site.asked.count("/") == 2)
    shows(page, "gen 2")
    told.save(3, "x")
    shows(page, "checking")
    assert site.asked.count("/") == 2


def test_an_earlier_generation_that_answers_still_is_said_until_it_is_gone(told: Told, site: Site, tab: Tab) -> None:
    """A browser asks again on the connections that it has: for the time of the probation, those lead to the old one."""
    site.pages["/"] = ({}, html(told, 'data-server="web" data-generation="1"'))
    page = tab()
    told.live(2, "t2", site.url, pid=200)  # and the first one is alive
    shows(page, "an earlier generation answers still")
    assert panel(page).startswith("You see generation 1; generation 2 is live")
    assert site.asked.count("/") == 2
    site.pages["/"] = ({}, html(told, 'data-server="web" data-generation="2"'))
    told.stop(1)
    shows(page, "gen 2")
    assert site.asked.count("/") == 3


@pytest.mark.parametrize(
    "script",
    [
        "history.replaceState(null, '', '#' + Math.random())",
        "history.replaceState(null, '', '/?at=' + Math.random())",
        "sessionStorage.clear()",
    ],
)
def test_no_page_is_reloaded_for_ever(told: Told, site: Site, tab: Tab, script: str) -> None:
    """It says an older generation whatever is done, as one that a service worker keeps, and hides that it was here."""
    told.save(2, "app.py")
    told.green(2, "web")
    told.live(2, "t2", site.url)
    site.pages["/"] = ({}, html(told, 'data-server="web" data-generation="1"', body=f"<script>{script}</script>"))
    tab(wait="new version: reload")
    assert site.asked.count("/") < 10


class TestAPageThatDoesNotSayWhoMadeIt:
    """A browser asks again on the connections that it has; the server half knows whether the old one was asked."""

    def test_it_is_made_anew_once_the_old_one_is_gone_if_that_was_asked(self, told: Told, site: Site, tab: Tab) -> None:
        page = tab()
        told.live(2, "t2", site.url, pid=200)  # and the first one is alive
        shows(page, "gen 2 is live")
        assert panel(page).startswith("You see generation 2 or an earlier one")
        assert site.asked.count("/") == 2
        mark(page)
        told.stop(1, revisited=True)
        page.wait_for_function("window.alive !== true")
        shows(page, "✓gen 2")
        assert panel(page).startswith("You see generation 2: ")
        told.save(3, "x")
        shows(page, "checking")
        assert site.asked.count("/") == 3

    def test_it_stays_if_that_was_not_asked(self, told: Told, site: Site, tab: Tab) -> None:
        page = tab()
        told.live(2, "t2", site.url, pid=200)
        shows(page, "gen 2 is live")
        mark(page)
        told.stop(1)
        page.locator(".pill", has_text=FLAT).wait_for()
        assert lives(page)

    def test_one_that_was_opened_later_is_none_of_the_old_ones(self, told: Told, site: Site, tab: Tab) -> None:
        told.live(2, "t2", site.url, pid=200)
        told.stop(1, revisited=True)
        page = tab(wait="gen 2")
        told.save(3, "x")
        shows(page, "checking")
        assert site.asked.count("/") == 1

    def test_one_whose_script_came_when_the_old_one_was_gone_is_made_anew(
        self, told: Told, site: Site, tab: Tab
    ) -> None:
        told.live(2, "t2", site.url, pid=200)
        site.gates["/late"] = threading.Event()
        site.pages["/late"] = ({"Content-Type": "text/javascript"}, "")
        site.pages["/"] = ({}, html(told, body='<script src="/late"></script>'))

        def stop() -> None:
            wait_for(lambda: "/late" in site.asked)
            told.stop(1, revisited=True)
            site.gates["/late"].set()

        stopping = threading.Thread(target=stop)
        stopping.start()
        tab(wait="gen 2")
        stopping.join()
        wait_for(lambda: site.asked.count("/") == 2)

    def test_what_comes_from_a_cache_each_time_is_made_anew_once(self, told: Told, site: Site, tab: Tab) -> None:
        """So it does from a service worker, which nobody can ask how old its pages are."""
        site.pages["/worker.js"] = ({"Content-Type": "text/javascript"}, WORKER)
        page = tab()
        page.evaluate(REGISTERED)
        told.live(2, "t2", site.url, pid=200)
        shows(page, "gen 2 is live")
        mark(page)
        told.stop(1, revisited=True)
        page.wait_for_function("window.alive !== true")
        page.locator(".pill", has_text=FLAT).wait_for()
        mark(page)
        told.save(3, "x")
        shows(page, "checking")
        assert lives(page)

    def test_where_it_is_never_to_reload_it_does_not_say_what_nobody_knows(
        self, told: Told, site: Site, tab: Tab
    ) -> None:
        told.live(2, "t2", site.url, pid=200)
        site.pages["/"] = ({}, html(told, 'data-reload="never"'))
        page = tab(wait="gen 2 is live")
        mark(page)
        told.stop(1, revisited=True)
        told.save(3, "site.css")
        shows(page, "checking")
        told.green(3)
        shows(page, "gen 2 is live")
        assert lives(page)


def test_a_page_that_was_made_before_the_switch_is_reloaded(told: Told, site: Site, tab: Tab) -> None:
    """It does not say which generation made it, and its script comes late."""
    site.gates["/late"] = threading.Event()
    site.pages["/late"] = ({"Content-Type": "text/javascript"}, "")
    site.pages["/"] = ({}, html(told, body='<script src="/late"></script>'))

    def switch() -> None:
        wait_for(lambda: "/late" in site.asked)
        told.save(2, "app.py")
        told.green(2, "web")
        told.live(2, "t2", site.url)
        site.gates["/late"].set()

    switching = threading.Thread(target=switch)
    switching.start()
    tab(wait="gen 2")
    switching.join()
    wait_for(lambda: site.asked.count("/") == 2)


def test_a_rollback_reloads_too(told: Told, site: Site, tab: Tab) -> None:
    told.save(2, "site.css")
    told.green(2, "web")
    told.live(2, "t2", site.url)
    page = tab(wait="gen 2")
    mark(page)
    told.tell(ServerFailed(server="web", generation=2, reason="killed by SIGSEGV", serving=1))
    page.wait_for_function("window.alive !== true")


def test_where_it_is_to_ask_it_shows_a_button(told: Told, site: Site, tab: Tab) -> None:
    site.pages["/"] = ({}, html(told, 'data-reload="ask"'))
    page = tab()
    mark(page)
    told.save(2, "app.py")
    told.green(2, "web")
    told.live(2, "t2", site.url)
    shows(page, "new version: reload")
    assert lives(page)
    page.locator(".pill").click()
    shows(page, "gen 2")
    assert not lives(page)


def test_where_it_is_never_to_reload_it_says_what_one_sees(told: Told, site: Site, tab: Tab) -> None:
    site.pages["/"] = ({}, html(told, 'data-reload="never"'))
    page = tab()
    mark(page)
    told.save(2, "app.py")
    told.green(2, "web")
    told.live(2, "t2", site.url)
    shows(page, "gen 2")
    assert lives(page)
    assert panel(page).startswith("You see generation 1")


# Stylesheets.


def test_a_stylesheet_is_swapped_without_a_reload(told: Told, site: Site, tab: Tab) -> None:
    page = tab()
    mark(page)
    assert colour(page) == "rgb(255, 0, 0)"
    told.save(2, "static/site.css")
    site.pages["/site.css"] = ({"Content-Type": "text/css"}, "h1 { color: rgb(0, 0, 255) }")
    told.green(2, "web")
    told.live(2, "t2", site.url)
    page.wait_for_function("getComputedStyle(document.querySelector('h1')).color === 'rgb(0, 0, 255)'")
    page.wait_for_function("document.querySelectorAll('link').length === 1")
    shows(page, "gen 2")
    assert lives(page)
    assert panel(page).startswith("You see generation 2")


def test_one_that_concerns_no_server_is_swapped_at_green(told: Told, site: Site, tab: Tab) -> None:
    page = tab()
    mark(page)
    for run, channel in ((2, 10), (3, 20)):
        told.save(run, "site.css")
        shows(page, "checking")
        site.pages["/site.css"] = ({"Content-Type": "text/css"}, f"h1 {{ color: rgb(0, 0, {channel}) }}")
        told.green(run)
        page.wait_for_function(f"getComputedStyle(document.querySelector('h1')).color === 'rgb(0, 0, {channel})'")
        page.wait_for_function("document.querySelectorAll('link').length === 1")
    assert lives(page)


def test_a_stylesheet_that_is_gone_leaves_the_old_one(told: Told, site: Site, tab: Tab) -> None:
    page = tab()
    mark(page)
    told.save(2, "site.css")
    del site.pages["/site.css"]
    asked = site.asked.count("/site.css")
    told.green(2)
    wait_for(lambda: site.asked.count("/site.css") == asked + 1)
    page.wait_for_function("document.querySelectorAll('link').length === 1")
    assert colour(page) == "rgb(255, 0, 0)"
    assert lives(page)


def test_a_stylesheet_with_something_else_is_a_reload(told: Told, site: Site, tab: Tab) -> None:
    page = tab()
    mark(page)
    told.save(2, "site.css", "app.py")
    told.green(2, "web")
    told.live(2, "t2", site.url)
    shows(page, "gen 2")
    assert not lives(page)


def test_one_that_only_another_imports_is_a_reload(told: Told, site: Site, tab: Tab) -> None:
    site.pages["/site.css"] = ({"Content-Type": "text/css"}, '@import url("part.css");')
    site.pages["/part.css"] = ({"Content-Type": "text/css"}, "h1 { color: rgb(1, 1, 1) }")
    page = tab()
    mark(page)
    told.save(2, "part.css")
    told.green(2)
    page.wait_for_function("window.alive !== true")
    shows(page, "gen 1")


def test_a_file_that_the_page_does_not_use_is_none_of_its_business(told: Told, site: Site, tab: Tab) -> None:
    page = tab()
    mark(page)
    told.save(2, "README.md", "other.css", "other.js")
    shows(page, "checking")
    told.green(2)
    shows(page, "gen 1")
    assert lives(page)
    assert site.asked.count("/") == 1


def test_a_websocket_of_the_page_stays_open(told: Told, site: Site, tab: Tab) -> None:
    import websockets.sync.server as ws

    server = ws.serve(lambda connection: [connection.send(message) for message in connection], "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    page = tab()
    mark(page)
    page.evaluate(
        """(port) => new Promise((done) => {
            window.socket = new WebSocket("ws://127.0.0.1:" + port);
            socket.onopen = done;
            socket.onmessage = (event) => { window.heard = event.data; };
        })""",
        server.socket.getsockname()[1],
    )
    told.save(2, "site.css")
    told.green(2, "web")
    told.live(2, "t2", site.url)
    shows(page, "gen 2")
    page.evaluate("socket.send('still here')")
    page.wait_for_function("window.heard === 'still here'")
    assert lives(page)
    page.close()
    server.shutdown()
    thread.join(PATIENCE_S)


# It survives.


def test_hotpipe_goes_and_comes_back(tmp_path: Path, site: Site, tab: Tab) -> None:
    told = begin(Told(tmp_path), site)
    site.pages["/"] = ({}, html(told))
    page = tab()
    mark(page)
    told.close()
    shows(page, "hotpipe is not running")
    assert lives(page)
    again = begin(Told(tmp_path, port=told.port), site)
    page.wait_for_function("window.alive !== true")  # generation 1 of another hotpipe is another one
    shows(page, "gen 1")
    assert site.asked.count("/") == 2
    again.close()


def test_it_is_told_what_it_has_missed_when_only_the_stream_has_broken(told: Told, site: Site, tab: Tab) -> None:
    page = tab()
    mark(page)
    page.context.set_offline(True)
    shows(page, "gen 1")
    told.save(2, "app.py")
    told.green(2, "web")
    told.live(2, "t2", site.url)
    page.context.set_offline(False)
    page.wait_for_function("window.alive !== true")
    shows(page, "gen 2")


@pytest.mark.parametrize("caching,kept", [("max-age=60", False), ("no-cache", True)])
def test_a_page_that_comes_back_from_the_history_is_an_old_one(
    told: Told, site: Site, tab: Tab, caching: str, kept: bool
) -> None:
    """From the cache, or as it was left (it may be, for it holds no connection then)."""
    away = "" if kept else '<script>addEventListener("unload", () => {})</script>'  # such a page is not kept
    site.pages["/"] = ({"Cache-Control": caching, "Permissions-Policy": "unload=(self)"}, html(told, head=away))
    site.pages["/next"] = ({}, html(told))
    page = tab()
    page.evaluate("addEventListener('pageshow', (event) => { sessionStorage.kept = event.persisted; })")
    page.goto(f"{site.url}/next")
    shows(page, "gen 1")
    told.save(2, "app.py")
    told.green(2, "web")
    told.live(2, "t2", site.url)
    shows(page, "gen 2")
    asked = site.asked.count("/")
    page.go_back()
    shows(page, "gen 2")
    wait_for(lambda: site.asked.count("/") == asked + 1)
    assert page.evaluate("sessionStorage.kept === 'true'") is kept


def test_eight_tabs_of_one_browser_are_all_told(told: Told, site: Site, tab: Tab) -> None:
    """Six connections are all that a browser has for a host."""
    first = tab()
    pages = [first, *(first.context.new_page() for _ in range(7))]
    for page in pages[1:]:
        page.add_init_script(OPENS)
        page.goto(site.url)
        shows(page, "gen 1")
    told.save(2, "app.py")
    told.green(2, "web")
    told.live(2, "t2", site.url)
    for page in pages:
        page.bring_to_front()
        shows(page, "gen 2")


def test_a_page_behind_a_proxy_needs_its_origin_named(tmp_path: Path, site: Site, tab: Tab) -> None:
    told = Told(tmp_path, Origins("", (site.url,)))
    begin(told, Elsewhere())  # type: ignore[arg-type]
    site.pages["/"] = ({}, html(told))
    tab()
    told.close()


class Elsewhere:
    url = "http://127.0.0.1:9"

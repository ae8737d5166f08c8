"""A user who looks at the badge, in a real browser."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from badging import PATIENCE_S

# The badge's root is closed, to pages; a test must see what a user sees.
OPENS = """
const attach = Element.prototype.attachShadow;
Element.prototype.attachShadow = function (options) { return attach.call(this, { ...options, mode: "open" }); };
"""
Tab = Callable[..., Any]


@pytest.fixture
def open_tab(browser: Any) -> Iterator[Tab]:
    """Opens pages, each in a window of its own, and waits for what the badge shows; an error in one fails the test."""
    contexts, errors = [], []

    def opened(url: str, wait: str = "gen 1", **options: Any) -> Any:
        context = browser.new_context(**options)
        contexts.append(context)
        context.set_default_timeout(PATIENCE_S * 1000)
        page = context.new_page()
        page.add_init_script(OPENS)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(url)
        if wait:
            shows(page, wait)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert errors == []


def shows(page: Any, text: str) -> None:
    """Wait until the badge says that."""
    page.locator(".pill", has_text=text).wait_for()


def panel(page: Any) -> str:
    page.locator(".pill").click()
    return str(page.locator(".panel").inner_text())


def mark(page: Any) -> None:
    """A variable that lives for as long as the page does."""
    page.evaluate("window.alive = true")


def lives(page: Any) -> bool:
    return bool(page.evaluate("window.alive === true"))


def colour(page: Any) -> str:
    return str(page.evaluate("getComputedStyle(document.querySelector('h1')).color"))


def wait_for(condition: Callable[[], bool]) -> None:
    """What no browser tells."""
    ticks = threading.Event()
    for _ in range(PATIENCE_S * 20):
        if condition():
            return
        ticks.wait(0.05)
    assert condition()

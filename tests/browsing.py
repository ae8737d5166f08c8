"""A browser for the tests: Debian's chromium, driven by Playwright, which brings none of its own.

Playwright's loop runs in the test's thread for as long as `browser` lives, which is to the end of the file: no test of
anyio's plugin can stand in the same file.
"""

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # most tests need none, and it may not be installed
    from playwright.sync_api import Browser

_ARGUMENTS = (
    "--no-sandbox",  # the tests' user may be root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_KEEPS = ("--disable-back-forward-cache",)  # Playwright's, and no user's


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """A browser with a fresh profile."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("there is no chromium here")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=_ARGUMENTS, ignore_default_args=_KEEPS)
        yield opened
        opened.close()

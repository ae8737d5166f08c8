"""Pictures of the dashboard for the docs, of real runs in a project that is made up here:

    python bench/screenshots.py [FOLDER]

needs the extras `web` and `dev`, and a chromium. FOLDER is docs/images unless given; SCENES=red,many takes
these scenes, WHOLE=1 all of the page.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

REPOSITORY = Path(__file__).parent.parent
IMAGES = REPOSITORY / "docs" / "images"
ARGUMENTS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-sync"
WIDE, NARROW = (1200, 900), (390, 844)
PATIENCE_S = 30
GOOD = 'def greet(name: str) -> str:\n    """Say hello."""\n    return f"Hello, {name}"\n'
BAD = GOOD.replace("{name}", "{nam}") + "\n\nimport os, sys\n"
CONFIG = """
[stage.lint]
run = "ruff check --isolated --no-cache --output-format concise ."
[stage.types]
run = "sleep 0.7; echo 'Success: no issues found in 1 source file'"
needs = []
[stage.test]
run = "pytest -q -p no:cacheprovider"
needs = []
[server.web]
run = "exec python -u server.py {fd}"
listen = ["http::0"]
[web]
listen = "127.0.0.1:0"
"""
SERVER = """
import http.server
import socket
import sys

print("\\033[32mINFO\\033[0m:     started, on descriptor", sys.argv[1])
server = http.server.ThreadingHTTPServer(("", 0), http.server.SimpleHTTPRequestHandler, bind_and_activate=False)
server.socket = socket.socket(fileno=int(sys.argv[1]))
server.serve_forever()
"""
MANY = "".join(f'[stage.check-{n:02}]\nrun = "sleep 0.{n % 7}{n}; echo {n}"\nneeds = []\n' for n in range(1, 31))


@contextmanager
def project(config: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "hello"
        folder.mkdir()
        (folder / "hotpipe.toml").write_text(config)
        (folder / "greeting.py").write_text(GOOD)
        (folder / "server.py").write_text(SERVER)
        (folder / "test_greeting.py").write_text(
            'from greeting import greet\n\n\ndef test_it():\n    assert greet("Ada") == "Hello, Ada"\n'
        )
        yield folder


@contextmanager
def hotpipe(folder: Path) -> Iterator[str]:
    """Watching; what to open."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with (folder.parent / "log").open("w+") as log:
        command = [sys.executable, "-m", "hotpipe", "watch", "--web", "--no-color"]
        running = subprocess.Popen(command, cwd=folder, env={**os.environ, "PATH": path}, stdout=log, stderr=log)
        try:
            yield until(lambda: re.search(r"dashboard: (\S+)", Path(log.name).read_text()))[1]
        finally:
            running.send_signal(signal.SIGINT)
            running.wait(PATIENCE_S)


def until(found: Callable[[], re.Match[str] | None]) -> re.Match[str]:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if match := found():
            return match
        time.sleep(0.05)
    raise SystemExit("hotpipe does not begin")


def settled(page: Page, word: str) -> None:
    page.wait_for_selector(f'#band[data-state="{word}"]', timeout=PATIENCE_S * 1000)


def saves(page: Page, folder: Path) -> None:
    """A morning's work."""
    settled(page, "green")
    for number in range(9):
        before = page.inner_text("#detail")
        is_bad = number in {2, 3, 6}
        (folder / "greeting.py").write_text(f"{BAD if is_bad else GOOD}# {number}\n")
        page.wait_for_function("before => document.getElementById('detail').textContent !== before", arg=before)
        settled(page, "red" if is_bad else "green")


def red(page: Page, folder: Path) -> None:
    saves(page, folder)
    (folder / "greeting.py").write_text(BAD)
    settled(page, "red")


def checking(page: Page, folder: Path) -> None:
    saves(page, folder)
    (folder / "greeting.py").write_text(GOOD + "# now\n")
    settled(page, "checking")
    page.wait_for_timeout(500)


def fresh(page: Page, _folder: Path) -> None:
    settled(page, "green")


def unknown(page: Page, _folder: Path) -> None:
    page.evaluate("sessionStorage.clear()")
    page.reload()
    page.wait_for_selector("#notice:not([hidden])")


SCENES: dict[str, tuple[Callable[[Page, Path], None], str, str, tuple[int, int]]] = {
    "green": (saves, CONFIG, "light", WIDE),
    "red": (red, CONFIG, "dark", WIDE),
    "narrow": (red, CONFIG, "light", NARROW),
    "checking": (checking, CONFIG, "light", WIDE),
    "many": (fresh, MANY + CONFIG[CONFIG.index("[server") :], "dark", WIDE),
    "empty": (fresh, CONFIG, "light", WIDE),
    "unknown": (unknown, CONFIG, "light", WIDE),
}
FOR_THE_DOCS = "green,red,narrow"


def main() -> None:
    images = Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES
    images.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS.split())
        for name in os.environ.get("SCENES", FOR_THE_DOCS).split(","):
            scene, config, scheme, (width, height) = SCENES[name]
            context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": height})
            page = context.new_page()
            page.on("console", lambda message: print("console:", message.text))
            with project(config) as folder, hotpipe(folder) as url:
                page.goto(url)
                scene(page, folder)
                if name not in {"checking", "unknown"}:
                    page.wait_for_timeout(2500)  # the history comes a little later
                page.screenshot(path=images / f"dashboard-{name}.png", full_page="WHOLE" in os.environ)
                context.close()
        browser.close()


if __name__ == "__main__":
    main()

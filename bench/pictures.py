"""Pictures of the terminal and the badge for the docs, of real runs in a project that is made up here:

    python bench/pictures.py [FOLDER]

needs the extras `web` and `dev`, tmux, dash, curl, and a chromium. FOLDER is docs/images unless given;
SCENES=badge,film takes these. bench/screenshots.py has those of the dashboard.
"""

import io
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from filming import PAGE, PATIENCE_S, Shown, Window, colours
from PIL import Image
from playwright.sync_api import Page, sync_playwright
from screenshots import ARGUMENTS, IMAGES

COLUMNS = 92
WIDTH, HEIGHT = 600, 450  # of a page with the badge
FRAME_S = 0.2
HOLD_S = 4.0  # of the last frame, before it begins again
GREETING = 'def greet(name: str) -> str:\n    return f"Hello, {name}!"\n'
FILES = {
    "greeting.py": GREETING,
    "test_greeting.py": """\
from greeting import greet


def test_it_greets_by_name() -> None:
    assert "Ada" in greet("Ada")
""",
    "app.py": """\
from hotpipe.asgi import Hotpipe
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.routing import Route

from greeting import greet


async def index(request):
    return PlainTextResponse(greet("world") + "\\n")


async def page(request):
    return HTMLResponse(PAGE.format(greet("world")))


PAGE = "<style>body {{ font: 17px/1.6 'DejaVu Sans', sans-serif; margin: 34px 40px; }} h1 {{ font-size: 30px }}</style>\
<title>Hello</title><h1>{}</h1><p>The page of the server, as its last good version makes it.</p>"
app = Starlette(routes=[Route("/", index), Route("/page", page)])
app.add_middleware(Hotpipe)
""",
}
_QUICK = {"PYTHONDONTWRITEBYTECODE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
CONFIG = """
[stage.lint]
run = "ruff check ."
[stage.types]
run = "mypy greeting.py test_greeting.py"
needs = []
[stage.test]
run = "pytest -q"
needs = []
[server.web]
run = "uvicorn app:app --fd {fd}"
listen = ["http::PORT"]
[web]
listen = "127.0.0.1:0"
"""


@dataclass(slots=True)
class Scene:
    """A project with hotpipe in a window, and a shell in another one."""

    folder: Path
    hotpipe: Window
    shell: Window
    port: int

    def save(self, text: str) -> None:
        (self.folder / "greeting.py").write_text(text)

    def becomes(self, *words: str) -> Shown:
        return self.hotpipe.until(lambda shown: all(word in shown.text for word in words))


@dataclass(slots=True)
class Film:
    """What both windows of a scene show, again and again; equal frames are one that lasts longer."""

    scene: Scene
    frames: list[tuple[tuple[Shown, ...], float]] = field(default_factory=list)

    def take(self) -> None:
        began = time.monotonic()
        shown = (self.scene.hotpipe.shown(), self.scene.shell.shown())
        time.sleep(max(0.0, FRAME_S - (time.monotonic() - began)))
        took = time.monotonic() - began
        if self.frames and self.frames[-1][0] == shown:
            took += self.frames.pop()[1]
        self.frames.append((shown, took))

    def wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.take()

    def until(self, *words: str) -> None:
        end = time.monotonic() + PATIENCE_S
        while not self.frames or not all(word in self.frames[-1][0][0].text for word in words):
            self.take()
            if time.monotonic() > end:
                raise SystemExit(f"never {words}:\n{self.frames[-1][0][0].text}")

    def say(self, command: str) -> None:
        """Typed as somebody types."""
        for place in range(0, len(command), 6):
            self.scene.shell.type(command[place : place + 6])
            self.take()
        self.scene.shell.key("Enter")
        self.wait(0.6)


@contextmanager
def scene(rows: int, options: str = "") -> Iterator[Scene]:
    with tempfile.TemporaryDirectory() as made, ExitStack() as ending:
        folder, port = Path(made) / "hello", _free()
        folder.mkdir()
        for name, text in FILES.items():
            (folder / name).write_text(text)
        (folder / "hotpipe.toml").write_text(CONFIG.replace("PORT", str(port)))
        windows = []
        for title, height in (("hotpipe watch", rows), ("another terminal", 9)):
            windows.append(Window(title, folder, (COLUMNS, height), _environment()))
            ending.callback(windows[-1].close)
        opened = Scene(folder, *windows, port)
        opened.hotpipe.run(f"clear; hotpipe watch {options}")
        opened.hotpipe.until(lambda shown: "GREEN" in shown.text and "unverified" not in shown.text)
        opened.shell.run("clear")
        yield opened
        opened.hotpipe.key("q")
        time.sleep(3)


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("HOME", "PYTHONPATH") if name in os.environ}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**kept, "PATH": path, "TERM": "xterm-256color", "COLORTERM": "truecolor", **_QUICK}


def _free() -> int:
    for port in range(8000, 8100):
        with socket.socket() as trial:
            if trial.connect_ex(("127.0.0.1", port)):
                return port
    raise SystemExit("no port is free from 8000 to 8099")


def green(page: Page, images: Path) -> None:
    with scene(19) as one:
        one.save(GREETING.replace("Hello", "Good morning"))
        one.becomes("GREEN", "web   generation 2")
        one.hotpipe.until(lambda shown: "draining" not in shown.text)
        _keep(_picture(page, (one.hotpipe.shown(),)), images / "tui-green.png")


def red(page: Page, images: Path) -> None:
    with scene(26) as one:
        one.save(GREETING.replace(", {name}", "").replace('f"', '"'))
        one.becomes("RED", "test_greeting.py:5", "behind")
        time.sleep(0.5)
        _keep(_picture(page, (one.hotpipe.shown(),)), images / "tui-red.png")


def badge(page: Page, images: Path) -> None:
    with scene(19, "--web") as one:
        page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
        page.goto(f"http://127.0.0.1:{one.port}/page")
        page.wait_for_timeout(1500)
        one.save(GREETING.replace("{name}", "{nam}") + "\n\nimport os\n")
        one.becomes("RED")
        page.wait_for_timeout(1000)
        # Its root is closed: no selector leads to the pill, which sits in the corner.
        page.mouse.click(WIDTH - 60, HEIGHT - 26)
        page.wait_for_timeout(500)
        page.screenshot(path=images / "badge.png")


def film(page: Page, images: Path) -> None:
    with scene(15) as one:
        taken = Film(one)
        ask = f"curl 127.0.0.1:{one.port}"
        taken.wait(0.8)
        taken.say(ask)
        taken.say("sed -i 's/{name}/{nam}/' greeting.py  # a mistake")
        taken.until("RED")
        taken.wait(1.6)
        taken.say(f"{ask}  # the old version answers")
        taken.wait(0.6)
        taken.say("sed -i 's/Hello, {nam}/Good morning, {name}/' greeting.py")
        taken.until("GREEN", "web   generation 2")
        taken.wait(0.6)
        taken.say(ask)
    pictures = [(Image.open(io.BytesIO(_picture(page, shown))), took) for shown, took in taken.frames]
    _animate(pictures, images / "save.gif")


def _picture(page: Page, shown: tuple[Shown, ...]) -> bytes:
    page.set_viewport_size({"width": 900, "height": 900})
    page.set_content(PAGE)
    page.evaluate("html => document.body.innerHTML = html", "".join(one.html() for one in shown))
    return page.locator("body").screenshot()


def _keep(png: bytes, file: Path) -> None:
    """In few colours: that is much smaller, and nobody sees it."""
    Image.open(io.BytesIO(png)).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(file, optimize=True)


def _animate(pictures: list[tuple[Image.Image, float]], file: Path) -> None:
    """In the colours that a terminal has: what stands still is the same in each frame, and takes no room."""
    palette = Image.new("P", (1, 1))
    palette.putpalette([part for colour in colours() for part in colour])
    frames = [one.convert("RGB").quantize(palette=palette, dither=Image.Dither.NONE) for one, _ in pictures]
    lasts = [round(took * 100) * 10 for _, took in pictures]  # a GIF counts in hundredths
    lasts[-1] += round(HOLD_S * 1000)
    frames[0].save(file, save_all=True, append_images=frames[1:], duration=lasts, loop=0, optimize=True)


SCENES: dict[str, Callable[[Page, Path], None]] = {"green": green, "red": red, "badge": badge, "film": film}


def main() -> None:
    images = Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES
    images.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS.split())
        for name in os.environ.get("SCENES", ",".join(SCENES)).split(","):
            context = browser.new_context(device_scale_factor=2)
            SCENES[name](context.new_page(), images)
            context.close()
        browser.close()


if __name__ == "__main__":
    main()

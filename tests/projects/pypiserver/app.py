"""pypiserver, which nobody here wrote, with one route more."""

from pathlib import Path

import pypiserver

GREETING = "hello from the first generation"
app = pypiserver.app(roots=[Path(__file__).parent / "packages"], disable_fallback=True)


@app.route("/greeting")
def greeting() -> str:
    return GREETING

"""httpbin, which nobody here wrote, with one route more."""

from httpbin import app

GREETING = "hello from the first generation"


@app.route("/greeting")
def greeting() -> str:
    return GREETING

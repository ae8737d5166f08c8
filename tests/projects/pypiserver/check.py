"""What must hold before this is served."""

import json
from wsgiref.util import setup_testing_defaults

from app import app


def get(path: str) -> tuple[str, bytes]:
    """The status and the body of a page."""
    environ, seen = {"PATH_INFO": path}, []
    setup_testing_defaults(environ)
    body = b"".join(app(environ, lambda status, headers, exc_info=None: seen.append(status)))
    return seen[0], body


assert get("/greeting")[0] == "200 OK", "the greeting fails"
assert get("/packages/coffee-1.0.zip")[0] == "404 Not Found", "it has coffee"
assert json.loads(get("/teapot/json")[1])["info"]["version"] == "1.0", "the teapot is lost"

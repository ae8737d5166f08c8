"""hotpipe.asgi and hotpipe.wsgi: the badge's tag in pages, and in nothing else."""

import asyncio
import gzip
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from http.client import HTTPConnection, HTTPResponse
from typing import Any

import flask
import pytest
import waitress
from badging import PATIENCE_S, Served
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

import hotpipe.asgi
import hotpipe.wsgi
from hotpipe.tag import Request, Tag, allowing, tag

WEB = "http://127.0.0.1:7777"
SCRIPT = b'<script async src="http://127.0.0.1:7777/hotpipe.js" data-server="web" data-generation="4"></script>'
TAG = Tag(WEB, "web", "4")
ENVIRON = {"HOTPIPE_WEB": WEB, "HOTPIPE_SERVER": "web", "HOTPIPE_GENERATION": "4"}
PAGE = b"<!doctype html><title>t</title><script>let x = '</body>'</script><body>hello</body></html>"
BROWSER = Request("GET", {"sec-fetch-dest": "document"})
HTML = ("Content-Type", "text/html; charset=utf-8")


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> None:
    """As hotpipe starts a server."""
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)


# Which responses, and what is said of them.


def test_a_page_gets_the_tag_and_says_its_length() -> None:
    response = TAG.response(BROWSER, 200, [HTML, ("content-length", "10"), ("X-Y", "z")])
    assert response is not None
    assert response.tag == SCRIPT
    assert response.headers == [HTML, ("content-length", str(10 + len(SCRIPT))), ("X-Y", "z")]


def test_the_validators_of_another_text_go() -> None:
    response = TAG.response(BROWSER, 200, [HTML, ("ETag", '"1"'), ("Last-Modified", "now"), ("Accept-Ranges", "bytes")])
    assert response is not None
    assert response.headers == [HTML]


def test_a_head_says_the_length_that_a_get_would_have() -> None:
    response = TAG.response(Request("HEAD", {}), 200, [HTML, ("Content-Length", "10")])
    assert response is not None
    assert response.tag == b""
    assert response.headers[1] == ("Content-Length", str(10 + len(SCRIPT)))


@pytest.mark.parametrize("status", [200, 201, 403, 404, 422, 500, 503])
def test_error_pages_are_pages(status: int) -> None:
    assert TAG.response(BROWSER, status, [HTML]) is not None


@pytest.mark.parametrize("status", [101, 103, 204, 205, 206, 304])
def test_what_has_no_text_of_its_own_is_left(status: int) -> None:
    assert TAG.response(BROWSER, status, [HTML]) is None


@pytest.mark.parametrize(
    "header",
    [
        ("Content-Type", "application/json"),
        ("Content-Type", "text/event-stream"),
        ("Content-Type", "application/xhtml+xml"),
        ("Content-Type", "text/html; charset=utf-16"),
        ("Content-Type", "text/html; charset=UTF-32LE"),
        ("Content-Encoding", "gzip"),
        ("Content-Encoding", "br"),
        ("Content-Disposition", 'attachment; filename="a.html"'),
    ],
)
def test_what_is_no_plain_page_is_left(header: tuple[str, str]) -> None:
    assert TAG.response(BROWSER, 200, [HTML, header]) is None


@pytest.mark.parametrize(
    "method,headers",
    [
        ("GET", {"sec-fetch-dest": "empty"}),
        ("GET", {"sec-fetch-dest": "image"}),
        ("GET", {"hx-request": "true"}),
        ("GET", {"x-requested-with": "XMLHttpRequest"}),
        ("GET", {"range": "bytes=0-"}),
        ("PUT", {}),
    ],
)
def test_what_a_script_asks_for_is_left(method: str, headers: dict[str, str]) -> None:
    assert TAG.response(Request(method, headers), 200, [HTML]) is None


def test_the_names_of_servers_are_quoted() -> None:
    response = Tag(WEB, 'a"><b>é', "1").response(BROWSER, 200, [HTML])
    assert response is not None
    assert b'data-server="a&quot;&gt;&lt;b&gt;&#233;"' in response.tag


@pytest.mark.parametrize("web", ["", "javascript:alert(1)", 'http://x"onload=', "//x", "http://x y", "http://h/path"])
def test_without_the_address_of_a_page_there_is_no_tag(web: str) -> None:
    assert tag({"HOTPIPE_WEB": web}) is None


@pytest.mark.parametrize(
    "policy,expected",
    [
        ("img-src *", "img-src *"),
        ("default-src 'self'", f"default-src 'self'; script-src 'self' {WEB}; connect-src 'self' {WEB}"),
        ("default-src 'none'", f"default-src 'none'; script-src {WEB}; connect-src {WEB}"),
        ("script-src 'self'", f"script-src 'self' {WEB}"),
        ("Script-Src 'none'; connect-src 'self';", f"Script-Src {WEB}; connect-src 'self' {WEB}"),
        ("script-src 'self'; script-src-elem 'self'", f"script-src 'self'; script-src-elem 'self' {WEB}"),
        ("script-src a; script-src b", f"script-src a {WEB}; script-src b"),
        ("script-src a, connect-src b", f"script-src a {WEB},connect-src b {WEB}"),
        ("", ""),
    ],
)
def test_a_policy_gives_the_badge_leave_and_nobody_else(policy: str, expected: str) -> None:
    assert allowing(policy, WEB) == expected


def test_the_tag_bears_the_nonce_of_the_pages_scripts() -> None:
    policy = "style-src 'nonce-no'; script-src 'strict-dynamic' 'nonce-yes'"
    response = TAG.response(BROWSER, 200, [HTML, ("Content-Security-Policy", policy)])
    assert response is not None
    assert b'nonce="yes"' in response.tag


def test_a_policy_that_only_reports_stays() -> None:
    header = ("Content-Security-Policy-Report-Only", "script-src 'none'")
    response = TAG.response(BROWSER, 200, [HTML, header])
    assert response is not None
    assert response.headers[1] == header


# In production.


def test_without_hotpipe_the_application_is_what_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOTPIPE_WEB", raising=False)

    def app(*arguments: object) -> Any: ...

    assert hotpipe.asgi.Hotpipe(app) is app
    assert hotpipe.wsgi.Hotpipe(app) is app


@pytest.mark.parametrize("module", ["asgi", "wsgi"])
def test_it_loads_nothing_of_hotpipe_and_nothing_else(module: str) -> None:
    script = f"""if True:
        import sys
        before = set(sys.modules)
        import hotpipe.{module}
        new = {{name.partition(".")[0] for name in set(sys.modules) - before}} - set(sys.stdlib_module_names)
        print(sorted(new), sorted(name for name in sys.modules if name.startswith("hotpipe.")))
    """
    said = subprocess.run((sys.executable, "-c", script), check=True, capture_output=True, text=True, timeout=60)
    assert said.stdout.strip() == f"['hotpipe'] {sorted([f'hotpipe.{module}', 'hotpipe.tag'])}"


# Any pieces.

PIECES = st.lists(st.binary(max_size=20), max_size=6)


@given(pieces=PIECES, html=st.booleans())
def test_asgi_whatever_the_pieces_the_whole_has_the_tag_once(pieces: list[bytes], html: bool) -> None:
    kind = b"text/html" if html else b"text/plain"

    async def app(scope: Any, receive: Any, send: Any) -> None:
        length = str(sum(map(len, pieces))).encode()
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-type", kind), (b"content-length", length)],
            }
        )
        for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body"})

    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "headers": []}
    asyncio.run(hotpipe.asgi._Tagged(app, TAG)(scope, None, send))  # type: ignore[arg-type]
    whole = b"".join(message.get("body", b"") for message in sent[1:])
    assert whole == b"".join(pieces) + (SCRIPT if html else b"")
    assert dict(sent[0]["headers"])[b"content-length"] == str(len(whole)).encode()
    assert [message.get("body", b"") for message in sent[1:-1]] == pieces  # none is held back
    assert [message.get("more_body", False) for message in sent[1:]] == [True] * len(pieces) + [False]


@given(pieces=PIECES, html=st.booleans(), late=st.booleans(), written=st.binary(max_size=9))
def test_wsgi_whatever_the_pieces_the_whole_has_the_tag_once(
    pieces: list[bytes], html: bool, late: bool, written: bytes
) -> None:
    kind = "text/html" if html else "text/plain"
    closed = []

    class Body:
        def __init__(self, start: Callable[[], None]) -> None:
            self.start = start

        def __iter__(self) -> Iterator[bytes]:
            if late:
                self.start()
            yield from pieces

        def close(self) -> None:
            closed.append(True)

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        def start() -> None:
            length = str(len(written) + sum(map(len, pieces)))
            start_response("200 OK", [("Content-Type", kind), ("Content-Length", length)])(written)

        if not late:
            start()
        return Body(start)

    sent: list[bytes] = []
    started: list[Any] = []

    def start_response(status: str, headers: Any) -> Any:
        started.append(headers)
        return sent.append

    body = hotpipe.wsgi._Tagged(app, TAG)({"REQUEST_METHOD": "GET"}, start_response)
    sent.extend(body)
    body.close()  # type: ignore[attr-defined]
    assert b"".join(sent) == written + b"".join(pieces) + (SCRIPT if html else b"")
    assert dict(started[0])["Content-Length"] == str(len(b"".join(sent)))
    assert closed == [True]


def test_wsgi_an_error_page_in_place_of_a_page_that_failed() -> None:
    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        try:
            raise ValueError
        except ValueError:
            start_response("500 Sorry", [("Content-Type", "text/html")], sys.exc_info())
        return [b"sorry"]

    started = []
    body = hotpipe.wsgi._Tagged(app, TAG)({"REQUEST_METHOD": "GET"}, lambda *told: started.append(told))  # type: ignore[arg-type,return-value]
    assert b"".join(body) == b"sorry" + SCRIPT
    assert len(started[1]) == 3


# With real servers.


def starlette(folder: Any) -> Any:
    pages = folder / "pages.html"
    pages.write_bytes(PAGE)

    async def numbers() -> Any:
        for number in range(3):
            yield f"<p>{number}"

    async def told() -> Any:
        yield "data: <html></body>\n\n"

    def packed(request: Any) -> Response:
        return Response(gzip.compress(PAGE), headers={"Content-Encoding": "gzip"}, media_type="text/html")

    routes = [
        Route("/page", lambda request: HTMLResponse(PAGE)),
        Route("/file", lambda request: FileResponse(pages)),
        Route("/stream", lambda request: StreamingResponse(numbers(), media_type="text/html")),
        Route("/events", lambda request: StreamingResponse(told(), media_type="text/event-stream")),
        Route("/json", lambda request: JSONResponse("</body>")),
        Route("/text", lambda request: PlainTextResponse("</body>")),
        Route("/packed", packed),
        Route("/none", lambda request: Response(status_code=204)),
    ]
    app = Starlette(routes=routes)
    app.add_middleware(hotpipe.asgi.Hotpipe)
    return app


def flasked(folder: Any) -> Any:
    (folder / "pages.html").write_bytes(PAGE)
    app = flask.Flask("test")
    packed = {"Content-Encoding": "gzip", "Content-Type": "text/html"}
    app.add_url_rule("/page", view_func=lambda: PAGE, endpoint="1")
    app.add_url_rule("/file", view_func=lambda: flask.send_file(folder / "pages.html"), endpoint="2")
    app.add_url_rule("/stream", view_func=lambda: (f"<p>{number}" for number in range(3)), endpoint="3")
    events = flask.Response
    app.add_url_rule(
        "/events", view_func=lambda: events("data: <html></body>\n\n", mimetype="text/event-stream"), endpoint="4"
    )
    app.add_url_rule("/json", view_func=lambda: flask.jsonify("</body>"), endpoint="5")
    app.add_url_rule("/text", view_func=lambda: events("</body>", mimetype="text/plain"), endpoint="6")
    app.add_url_rule("/packed", view_func=lambda: (gzip.compress(PAGE), packed), endpoint="7")
    app.add_url_rule("/none", view_func=lambda: ("", 204), endpoint="8")
    app.wsgi_app = hotpipe.wsgi.Hotpipe(app.wsgi_app)  # type: ignore[method-assign]
    return app


@pytest.fixture(params=["uvicorn", "waitress", "gunicorn"])
def port(request: pytest.FixtureRequest, served: None, tmp_path: Any) -> Iterator[int]:
    """A real server with all kinds of responses."""
    start = {"uvicorn": _uvicorn, "waitress": _waitress, "gunicorn": _gunicorn}[request.param]
    yield from start(tmp_path)


def _uvicorn(folder: Any) -> Iterator[int]:
    running = Served(starlette(folder))
    yield running.port
    running.close()


def _waitress(folder: Any) -> Iterator[int]:
    server = waitress.create_server(flasked(folder), host="127.0.0.1", port=0)
    thread = threading.Thread(target=server.run)
    thread.start()
    yield int(server.effective_port)
    server.trigger.pull_trigger(partial(server.asyncore.close_all, map=server._map))  # in its own thread
    server.task_dispatcher.shutdown()
    thread.join(PATIENCE_S)


def _gunicorn(folder: Any) -> Iterator[int]:
    """In a process of its own: it wants the main thread."""
    script = "import pathlib, test_middleware; app = test_middleware.flasked(pathlib.Path('.').resolve())"
    (folder / "served.py").write_text(script)
    command = (sys.executable, "-m", "gunicorn", "--bind=127.0.0.1:0", "--no-control-socket", "served:app")
    with subprocess.Popen(command, cwd=folder, env=_beside(), stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = next(line for line in process.stderr if "Listening at" in line)
        yield int(line.rsplit(":", 1)[1].split()[0].rstrip("/"))
        process.terminate()
        process.stderr.read()


def _beside() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": ":".join([os.path.dirname(__file__), *sys.path])}


def get(port: int, path: str, method: str = "GET", **headers: str) -> tuple[HTTPResponse, bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response, body


def test_what_a_real_server_sends(port: int) -> None:
    """All in one, for a server is slow to start."""
    for path in ("/page", "/file"):
        response, body = get(port, path)
        assert body == PAGE + SCRIPT
        assert response.headers["Content-Length"] == str(len(body))
        assert response.headers["ETag"] is None
        head, nothing = get(port, path, "HEAD")
        assert (head.headers["Content-Length"], nothing) == (str(len(body)), b"")
    assert get(port, "/stream")[1] == b"<p>0<p>1<p>2" + SCRIPT
    assert get(port, "/events")[1] == b"data: <html></body>\n\n"
    assert get(port, "/json")[1].strip() == b'"</body>"'
    assert get(port, "/text")[1] == b"</body>"
    assert gzip.decompress(get(port, "/packed")[1]) == PAGE
    assert get(port, "/none")[1] == b""
    missing, body = get(port, "/missing")
    assert (missing.status, body.count(SCRIPT)) == (404, 1 if "html" in missing.headers["Content-Type"] else 0)
    assert get(port, "/page", Sec_Fetch_Dest="empty")[1] == PAGE
    part, body = get(port, "/file", Range="bytes=0-3")
    assert (part.status, body) == (206, PAGE[:4])


def test_websockets_and_lifespan_go_through_as_they_are(served: None) -> None:
    passed = []

    async def app(*arguments: Any) -> None:
        passed.append(arguments)

    tagged = hotpipe.asgi.Hotpipe(app)
    for kind in ("websocket", "lifespan"):
        scope, receive, send = {"type": kind}, object(), object()
        asyncio.run(tagged(scope, receive, send))  # type: ignore[arg-type]
        assert [each is other for each, other in zip(passed.pop(), (scope, receive, send), strict=True)] == [True] * 3


def test_a_file_that_the_server_would_send_is_sent_by_the_application(served: None) -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["extensions"])

    of_files = ("http.response.pathsend", "http.response.zerocopysend")
    extensions: dict[str, Any] = {name: {} for name in (*of_files, "http.response.trailers")}
    scope = {"type": "http", "method": "GET", "headers": [], "extensions": extensions}
    asyncio.run(hotpipe.asgi.Hotpipe(app)(scope, None, None))  # type: ignore[arg-type]
    assert seen == [{"http.response.trailers": {}}]
    assert len(extensions) == 3


def test_headers_that_can_be_read_but_once_are_sent(served: None) -> None:
    """ASGI asks for an iterable."""
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": iter([(b"content-type", b"text/css")])})

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "headers": []}
    asyncio.run(hotpipe.asgi.Hotpipe(app)(scope, None, send))  # type: ignore[arg-type]
    assert list(sent[0]["headers"]) == [(b"content-type", b"text/css")]

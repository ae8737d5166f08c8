"""The dashboard's server: who may ask for what, and what they get. With a real hotpipe, over real HTTP."""

import http.client
import json
import os
import re
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from editing import recorded, recorder, was_started
from running import PATIENCE_S, Hotpipe, Start, free_port

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

CONFIG = """
[stage.test]
run = "cat page.txt; grep -q good page.txt"
[web]
listen = "127.0.0.1:0"
"""
FINDING = CONFIG.replace('run = "', "run = \"echo 'page.txt:1:3: error: no good word'; exit 1; ")
SERVER = """
[server.app]
run = "echo dashboard at $HOTPIPE_WEB; exec sleep 1000"
"""
TOKEN = "X-Hotpipe-Token"


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Client:
    """Who asks: by default as curl does with the right token."""

    port: int
    token: str
    always: dict[str, str] = field(default_factory=dict)

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, method: str, path: str, body: bytes | str | None = None, **headers: str | None) -> Answer:
        with closing(self.connected()) as connection:
            given = {
                TOKEN: self.token,
                **self.always,
                **{name.replace("_", "-"): value for name, value in headers.items()},
            }
            connection.request(method, path, body, {name: value for name, value in given.items() if value is not None})
            answer = connection.getresponse()
            return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())

    def get(self, path: str, **headers: str | None) -> Answer:
        return self.ask("GET", path, **headers)

    def post(self, path: str, told: object = None, **headers: str | None) -> Answer:
        given: dict[str, str | None] = {"Content_Type": "application/json", **headers}
        return self.ask("POST", path, json.dumps(told or {}), **given)

    def connected(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)

    @contextmanager
    def stream(self) -> Iterator[Iterator[dict[str, Any]]]:
        with closing(self.connected()) as connection:
            connection.request("GET", "/api/stream", headers={TOKEN: self.token})
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            yield (json.loads(line[6:]) for line in answer if line.startswith(b"data: "))


def client_of(hotpipe: Hotpipe) -> Client:
    url = hotpipe.until("web.ready")["url"]
    found = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/#token=([A-Za-z0-9_-]{43})", url)
    assert found, url
    return Client(int(found[1]), found[2])


def write(folder: Path, config: str = CONFIG, page: str = "good") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "hotpipe.toml").write_text(config)
    (folder / "page.txt").write_text(f"{page}\n")
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write(tmp_path / "project")


@pytest.fixture
def watching(project: Path, start: Start) -> Hotpipe:
    return start(project, "watch", "--web")


@pytest.fixture
def client(watching: Hotpipe) -> Client:
    return client_of(watching)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Of a hotpipe for all tests that only ask."""
    hotpipe = Hotpipe(write(tmp_path_factory.mktemp("shared") / "project"), "watch", "--web")
    yield client_of(hotpipe)
    assert not hotpipe.close()


def folded(messages: Iterator[dict[str, Any]], **wanted: object) -> dict[str, Any]:
    """What is known once the head has these values."""
    known: dict[str, Any] = {}
    for message in messages:
        known |= message["set"]
        if all(known["head"][name] == value for name, value in wanted.items()):
            return known
    pytest.fail(f"the stream ended without {wanted}: {known}")


ALL_PATHS = ("/", "/main.js", "/dashboard.css", "/icon-off.svg", "/api/past", "/api/stream", "/nothing", "/api/nothing")
ACTING = ("/api/rerun", "/api/restart", "/api/pause", "/api/resume", "/api/open")


class TestWhoMayAsk:
    def test_the_page_itself_needs_no_token_and_holds_none(self, shared: Client) -> None:
        answer = shared.get("/", **{TOKEN: None})
        assert answer.status == 200
        assert answer.headers["content-type"].startswith("text/html")
        assert shared.token.encode() not in answer.body

    @pytest.mark.parametrize("token", [None, "", "x" * 43, "é", "A" * 10_000])
    def test_without_the_token_nothing_is_told_and_nothing_done(
        self, client: Client, watching: Hotpipe, token: str | None
    ) -> None:
        watching.until("run.finished")
        for path in ("/api/past", "/api/stream", "/api/nothing"):
            assert client.get(path, **{TOKEN: token}).status == 401
        for path in ACTING:
            assert client.post(path, **{TOKEN: token}).status == 401
        assert client.post("/api/pause").status == 200
        watching.until("gate.paused")
        assert len(watching.of("gate.paused")) == 1

    @pytest.mark.parametrize(
        "host", ["evil.test", "evil.test:{port}", "127.0.0.1", "127.0.0.1:1", "127.0.0.1.:{port}", ""]
    )
    def test_a_name_that_only_points_here_is_not_answered(self, client: Client, host: str) -> None:
        for path in ALL_PATHS:
            answer = client.get(path, Host=host.format(port=client.port))
            assert answer.status == 421
        assert client.post("/api/rerun", Host=host.format(port=client.port)).status == 421

    @pytest.mark.parametrize("host", ["127.0.0.1:{port}", "localhost:{port}", "LOCALHOST:{port}", "[::1]:{port}"])
    def test_the_names_of_loopback_are(self, shared: Client, host: str) -> None:
        named = host.format(port=shared.port)
        assert shared.get("/api/past", Host=named, Origin=f"http://{named}").status == 200

    @pytest.mark.parametrize(
        "origin",
        ["http://evil.test", "null", "http://127.0.0.1:1", "https://127.0.0.1:{port}", "http://localhost:{port}", ""],
    )
    def test_a_page_of_another_origin_is_refused(self, shared: Client, origin: str) -> None:
        named = origin.format(port=shared.port)
        for path in ALL_PATHS:
            assert shared.get(path, Origin=named).status == 403
        for path in ACTING:
            assert shared.post(path, Origin=named).status == 403

    @pytest.mark.parametrize("site", ["cross-site", "same-site", "whatever"])
    def test_so_is_what_the_browser_says_another_site_has_asked_for(self, shared: Client, site: str) -> None:
        for path in ALL_PATHS:
            assert shared.get(path, Sec_Fetch_Site=site).status == 403
            assert shared.get(path, Sec_Fetch_Site=site, Sec_Fetch_Mode="no-cors").status == 403
        for path in ACTING:
            assert shared.post(path, Sec_Fetch_Site=site, Sec_Fetch_Mode="navigate").status == 403

    def test_a_link_from_elsewhere_leads_to_the_bare_page(self, shared: Client) -> None:
        assert shared.get("/", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate").status == 200
        assert shared.get("/api/past", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate").status == 403

    @pytest.mark.parametrize("site", ["same-origin", "none"])
    def test_its_own_page_may_ask(self, shared: Client, site: str) -> None:
        assert shared.post("/api/pause", Origin=shared.origin, Sec_Fetch_Site=site).status == 200


class TestWhatIsAsked:
    @pytest.mark.parametrize(
        "kind", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/jsonx"]
    )
    def test_only_json_acts_because_forms_need_no_preflight(self, shared: Client, kind: str | None) -> None:
        for path in ACTING:
            assert shared.post(path, Content_Type=kind).status == 415

    def test_json_may_name_its_charset(self, shared: Client) -> None:
        assert shared.post("/api/pause", Content_Type="Application/JSON; charset=utf-8").status == 200

    @pytest.mark.parametrize("body", ["{", "[]", '"x"', '{"stages": "test"}', '{"stages": [1]}', '{"more": 1}', "\xff"])
    def test_a_body_that_is_not_understood_is_refused(self, shared: Client, body: str) -> None:
        answer = shared.ask("POST", "/api/rerun", body.encode("latin-1"), Content_Type="application/json")
        assert answer.status == 400
        assert answer.json()["error"]

    def test_a_body_that_is_too_long_is_refused_unread(self, shared: Client) -> None:
        told = shared.post("/api/rerun", {"stages": ["x" * 70_000]})
        assert told.status == 413
        with closing(shared.connected()) as connection:
            headers = {TOKEN: shared.token, "Content-Type": "application/json", "Content-Length": "99999999999999"}
            connection.request("POST", "/api/rerun", b"{", headers)
            assert connection.getresponse().status == 413

    def test_so_is_one_that_does_not_say_how_long_it_is(self, shared: Client) -> None:
        with closing(shared.connected()) as connection:
            headers = {TOKEN: shared.token, "Content-Type": "application/json"}
            chunks = (b" " * 10_000 for _ in range(10))
            connection.request("POST", "/api/rerun", chunks, headers, encode_chunked=True)
            assert connection.getresponse().status == 413

    @pytest.mark.parametrize(
        "path",
        [
            "/../hotpipe.toml",
            "/..%2fguard.py",
            "/%2e%2e/guard.py",
            "/static/main.js",
            "//etc/passwd",
            "/index.html/..",
            "/.",
            "/main.js/",
        ],
    )
    def test_no_path_leads_out_of_the_page(self, shared: Client, path: str) -> None:
        assert shared.get(path).status in {307, 404}
        assert b"hotpipe" not in shared.get(path).body

    def test_what_reads_cannot_be_posted_to_and_what_acts_not_read(self, shared: Client) -> None:
        for path in ("/", "/main.js", "/api/past", "/api/stream"):
            assert shared.post(path).status == 405
        for path in ACTING:
            assert shared.get(path).status == 405
            assert shared.ask("PUT", path, "{}", Content_Type="application/json").status == 405
        assert shared.ask("OPTIONS", "/api/rerun").status == 405

    def test_nothing_lets_other_origins_read(self, shared: Client) -> None:
        for answer in (shared.get("/api/past"), shared.ask("OPTIONS", "/api/rerun", Origin="http://evil.test")):
            assert not [name for name in answer.headers if name.startswith("access-control")]

    @pytest.mark.parametrize(
        "method, path, headers",
        [
            *[("GET", path, {}) for path in ALL_PATHS if path != "/api/stream"],
            ("GET", "/", {"Host": "evil.test"}),
            ("GET", "/", {"Origin": "http://evil.test"}),
            ("GET", "/api/past", {TOKEN: None}),
            ("POST", "/api/rerun", {}),
            ("POST", "/", {"Content_Type": "application/json"}),
        ],
    )
    def test_every_answer_keeps_browsers_from_misusing_it(
        self, shared: Client, method: str, path: str, headers: dict[str, str | None]
    ) -> None:
        told = shared.ask(method, path, **headers).headers
        policy = told["content-security-policy"]
        for part in (
            "default-src 'none'",
            "script-src 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'none'",
        ):
            assert part in policy
        assert "unsafe" not in policy
        assert told["x-content-type-options"] == "nosniff"
        assert told["referrer-policy"] == "no-referrer"
        assert told["cross-origin-resource-policy"] == "same-origin"
        assert told["cache-control"] == "no-store"
        assert "server" not in told


class TestButtons:
    def test_rerun_runs_all_stages_or_those_that_are_named(self, client: Client, watching: Hotpipe) -> None:
        watching.until("run.finished", status="green")
        assert client.post("/api/rerun").json() == {"stages": ["test"]}
        watching.until("stage.started", stage="test")
        watching.until("run.finished", status="green")
        assert client.post("/api/rerun", {"stages": ["test"]}).json() == {"stages": ["test"]}
        watching.until("stage.started", stage="test")

    def test_what_cannot_be_done_says_why(self, client: Client) -> None:
        answer = client.post("/api/rerun", {"stages": ["nope"]})
        assert answer.status == 409
        assert "nope" in answer.json()["error"]

    def test_pause_and_resume(self, client: Client, watching: Hotpipe) -> None:
        assert client.post("/api/pause").status == 200
        watching.until("gate.paused")
        assert client.post("/api/resume").status == 200
        watching.until("gate.resumed")

    def test_restart_replaces_the_server(self, tmp_path: Path, start: Start) -> None:
        hotpipe = start(write(tmp_path / "served", CONFIG + SERVER), "watch", "--web")
        client = client_of(hotpipe)
        hotpipe.until("server.live", generation=1)
        assert client.post("/api/restart", {"servers": ["app"]}).json() == {"servers": ["app"]}
        hotpipe.until("server.live", generation=2)

    def test_a_server_is_told_where_the_dashboard_is_but_not_the_token(self, tmp_path: Path, start: Start) -> None:
        hotpipe = start(write(tmp_path / "served", CONFIG + SERVER), "watch", "--web")
        client = client_of(hotpipe)
        assert hotpipe.until("server.output", server="app")["text"] == f"dashboard at {client.origin}"

    def test_a_stage_is_not_told_for_the_badge_would_be_in_the_pages_that_it_tests(
        self, tmp_path: Path, start: Start
    ) -> None:
        """And what has passed without it, or with it, is remembered for both."""
        config = CONFIG.replace("cat page.txt", "cat page.txt; echo dashboard at ${HOTPIPE_WEB:-nowhere}")
        watching = start(write(tmp_path / "told", config), "watch", "--web")
        assert watching.until("stage.output", text="dashboard at nowhere")

    def test_where_no_gate_runs_there_is_nothing_to_pause(self, tmp_path: Path, start: Start) -> None:
        config = CONFIG[CONFIG.index("[web]") :] + SERVER
        client = client_of(start(write(tmp_path / "served", config), "serve", "--web"))
        assert client.post("/api/pause").status == 409


class TestEditor:
    """More of which files are opened: tests/test_badge.py, for there is one desk."""

    @pytest.fixture
    def client(self, project: Path, tmp_path: Path, start: Start) -> Client:
        write(project, FINDING)
        write(tmp_path / "elsewhere")
        hotpipe = start(project, "watch", "--web", launcher=("env", f"HOTPIPE_EDITOR={recorder(tmp_path)} {{file}}"))
        client = client_of(hotpipe)
        hotpipe.until("run.finished", status="red")
        return client

    def test_it_opens_what_a_finding_names(self, client: Client, project: Path, tmp_path: Path) -> None:
        assert client.post("/api/open", {"path": "page.txt", "line": 1, "column": None}).json() == {}
        assert recorded(tmp_path) == [str(project / "page.txt")]

    @pytest.mark.parametrize("path", ["hotpipe.toml", "./page.txt", "../elsewhere/page.txt", "/etc/passwd", "", "x\0y"])
    def test_and_nothing_else(self, client: Client, tmp_path: Path, path: str) -> None:
        answer = client.post("/api/open", {"path": path})
        assert answer.status == 404
        assert answer.json()["error"] == "no finding names a file of the project that is called so"
        assert not was_started(tmp_path)

    def test_it_is_no_way_to_open_a_hundred_windows(self, client: Client) -> None:
        statuses = [client.post("/api/open", {"path": "page.txt"}).status for _ in range(50)]
        assert statuses[0] == 200
        assert statuses[-1] == 429

    def test_where_there_is_no_editor_it_says_what_names_one(self, project: Path, start: Start) -> None:
        hotpipe = start(write(project, FINDING), "watch", "--web")
        client = client_of(hotpipe)
        hotpipe.until("run.finished", status="red")
        answer = client.post("/api/open", {"path": "page.txt"})
        assert (answer.status, answer.json()["hint"]) == (409, "set HOTPIPE_EDITOR")


class TestBadge:
    """Its own rules: tests/test_badge.py. Here: that it is there, behind the same Host."""

    def test_any_page_may_load_the_script_and_ours_alone_the_stream(self, tmp_path: Path, start: Start) -> None:
        server = SERVER + 'listen = ["http::0"]\nready = { after = "10ms" }\n'
        hotpipe = start(write(tmp_path / "served", CONFIG + server), "watch", "--web")
        client = client_of(hotpipe)
        own = f"http://{hotpipe.until('server.live')['sockets'][0]['addr']}"
        script = client.get("/hotpipe.js", Sec_Fetch_Site="cross-site", Origin="http://evil.test", **{TOKEN: None})
        assert script.status == 200
        assert script.headers["cross-origin-resource-policy"] == "cross-origin"
        assert client.get("/hotpipe.js", Host="evil.test").status == 421
        assert client.get("/badge/events", Origin="http://evil.test").status == 403
        with closing(client.connected()) as connection:
            connection.request("GET", "/badge/events", headers={"Origin": own, "Sec-Fetch-Site": "same-site"})
            answer = connection.getresponse()
            assert answer.status == 200
            assert answer.getheader("Access-Control-Allow-Origin") == own
            assert answer.readline() == b"event: hello\n"


class TestStream:
    def test_it_begins_with_the_whole_picture(self, client: Client, watching: Hotpipe) -> None:
        watching.until("run.finished", status="green")
        with client.stream() as messages:
            first = next(messages)
        assert first["set"]["head"]["state"] == "green"
        assert first["set"]["head"]["stages"] == ["test"]
        assert first["set"]["stage:test"]["status"] == "passed"
        assert first["lines"] == [{"of": "stage:test", "fresh": True, "skipped": 0, "lines": [["good", None]]}]

    def test_then_tells_what_changes_and_only_that(self, client: Client, watching: Hotpipe, project: Path) -> None:
        watching.until("run.finished", status="green")
        with client.stream() as messages:
            next(messages)
            (project / "page.txt").write_text("bad\n")
            known = folded(messages, state="red")
            assert known["head"]["blame"] == "test failed"
            assert known["stage:test"]["status"] == "failed"
            assert client.post("/api/pause").status == 200
            assert set(next(messages)["set"]) == {"head"}

    def test_hostile_output_is_data(self, tmp_path: Path, start: Start) -> None:
        hostile = r"printf '<script>alert(1)</script>\033]0;title\007\n\n\ndata: {}\n\377\n'"
        config = CONFIG.replace('"cat page.txt; grep -q good page.txt"', f"'''{hostile}'''")
        hotpipe = start(write(tmp_path / "hostile", config), "watch", "--web")
        client = client_of(hotpipe)
        hotpipe.until("run.finished", status="green")
        with client.stream() as messages:
            (chunk,) = next(messages)["lines"]
        texts = [text for text, _ in chunk["lines"]]
        assert texts[0] == "<script>alert(1)</script>\x1b]0;title\x07"
        assert texts[1:4] == ["", "", "data: {}"]

    def test_a_flood_is_cut_and_counted(self, tmp_path: Path, start: Start) -> None:
        config = CONFIG.replace('"cat page.txt; grep -q good page.txt"', '"seq 1 20000"')
        hotpipe = start(write(tmp_path / "flood", config), "watch", "--web")
        client = client_of(hotpipe)
        hotpipe.until("run.finished", status="green")
        with client.stream() as messages:
            (chunk,) = next(messages)["lines"]
        assert len(chunk["lines"]) == 1000
        assert chunk["lines"][-1] == ["20000", None]
        assert chunk["skipped"] > 0

    def test_their_number_is_bounded(self, client: Client) -> None:
        opened = []
        try:
            for _ in range(32):
                stream = client.stream()
                next(stream.__enter__())
                opened.append(stream)
            assert self.status(client) == 503
            opened.pop().__exit__(None, None, None)
            again(lambda: client.stream().__enter__())
        finally:
            for stream in opened:
                stream.__exit__(None, None, None)

    def status(self, client: Client) -> int:
        """Of one more, whose end nobody awaits."""
        with closing(client.connected()) as connection:
            connection.request("GET", "/api/stream", headers={TOKEN: client.token})
            return connection.getresponse().status

    def test_they_end_in_order(self, client: Client, watching: Hotpipe) -> None:
        watching.until("run.finished")
        with socket.create_connection(("127.0.0.1", client.port), PATIENCE_S) as connected:
            request = f"GET /api/stream HTTP/1.1\r\nHost: 127.0.0.1:{client.port}\r\n{TOKEN}: {client.token}\r\n\r\n"
            connected.sendall(request.encode())
            told = connected.recv(65_536)
            watching.interrupt()
            while part := connected.recv(65_536):
                told += part
        assert told.endswith(b"0\r\n\r\n")  # the last chunk: RFC 9112, 7.1

    def test_hotpipe_ends_although_streams_are_open_and_nobody_reads_them(
        self, client: Client, watching: Hotpipe
    ) -> None:
        watching.until("run.finished")
        with client.stream() as read, client.stream() as unread:
            next(read)
            next(unread)
            ended = threading.Thread(target=lambda: list(read))
            ended.start()
            began = time.monotonic()
            watching.interrupt()
            ended.join(PATIENCE_S)
            assert not ended.is_alive()
            assert time.monotonic() - began < 10  # a hang bound: it takes 0.3 s


def again(act: Any) -> None:
    """Until it does not fail: what a client has closed, the server hears a little later."""
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            act()
            return
        except AssertionError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)


class TestConnections:
    def test_a_flood_of_them_takes_nothing_from_stages_and_servers(self, project: Path, start: Start) -> None:
        """Each would have its descriptor before any could be closed."""
        write(project, CONFIG + SERVER)
        hotpipe = start(project, "watch", "--web", launcher=("sh", "-c", 'ulimit -n 256; exec "$@"', "sh"))
        client = client_of(hotpipe)
        hotpipe.until("server.live")
        with ExitStack() as held:
            for _ in range(600):
                held.enter_context(said_nothing(client.port))
            (project / "page.txt").write_text("good again\n")
            hotpipe.until("change.detected")
            assert hotpipe.until("run.finished", run=2)["status"] == "green"
            hotpipe.until("server.live", generation=2)
        assert hotpipe.said() == ""

    def test_those_that_ask_for_nothing_make_way_for_who_asks(self, client: Client) -> None:
        with client.stream() as stream, ExitStack() as held:
            next(stream)
            for _ in range(200):
                held.enter_context(said_nothing(client.port))
            assert client.get("/").status == 200
            client.post("/api/pause")
            assert folded(stream, paused=True)


@contextmanager
def said_nothing(port: int) -> Iterator[None]:
    """A connection on which half a request has come; it may not be accepted yet, or be closed already."""
    with socket.socket() as half:
        half.setblocking(False)
        half.connect_ex(("127.0.0.1", port))
        with suppress(OSError):
            half.send(b"GET / HTTP/1.1\r\nHost: 127.0")
        yield


class TestPast:
    def test_it_tells_of_runs_stages_and_restarts(self, tmp_path: Path, start: Start) -> None:
        hotpipe = start(write(tmp_path / "served", CONFIG + SERVER), "watch", "--web")
        client = client_of(hotpipe)
        hotpipe.until("run.finished", status="green")
        hotpipe.until("server.live")
        again(lambda: self.has_all(client))

    def has_all(self, client: Client) -> None:
        past = client.get("/api/past").json()
        assert [run["status"] for run in past["runs"]] == ["green"]
        assert [stage["stage"] for stage in past["stages"]] == ["test"]
        assert [restart["outcome"] for restart in past["restarts"]] == ["live"]
        assert past["flaky"] == []

    def test_a_damaged_history_is_an_empty_one(self, client: Client, project: Path, watching: Hotpipe) -> None:
        watching.until("run.finished")
        again(lambda: self.has_runs(client))
        (project / ".hotpipe" / "history.db").write_bytes(b"no database" * 1000)
        assert client.get("/api/past").json() == {"runs": [], "stages": [], "restarts": [], "flaky": []}

    def has_runs(self, client: Client) -> None:
        assert client.get("/api/past").json()["runs"]


class TestToken:
    def test_it_is_kept_for_its_owner_alone_and_survives_a_restart(
        self, project: Path, client: Client, watching: Hotpipe, start: Start
    ) -> None:
        kept = project / ".hotpipe" / "web.token"
        assert kept.read_text().strip() == client.token
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        watching.interrupt()
        assert client_of(start(project, "watch", "--web")).token == client.token

    @pytest.mark.parametrize("mode, text", [(0o644, "A" * 43), (0o600, "short"), (0o600, ""), (0o620, "A" * 43)])
    def test_one_that_others_may_know_or_that_is_none_is_replaced(
        self, project: Path, start: Start, mode: int, text: str
    ) -> None:
        kept = project / ".hotpipe" / "web.token"
        kept.parent.mkdir()
        kept.write_text(text)
        kept.chmod(mode)
        client = client_of(start(project, "watch", "--web"))
        assert client.token != text
        assert kept.read_text().strip() == client.token
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600

    def test_a_link_in_its_place_is_neither_read_nor_followed(
        self, project: Path, tmp_path: Path, start: Start
    ) -> None:
        other = tmp_path / "other"
        other.write_text("B" * 43)
        other.chmod(0o600)
        (project / ".hotpipe").mkdir()
        (project / ".hotpipe" / "web.token").symlink_to(other)
        assert client_of(start(project, "watch", "--web")).token != "B" * 43
        assert other.read_text() == "B" * 43


class TestBeginning:
    def test_a_port_in_use_is_told_before_anything_starts(self, project: Path, start: Start) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            write(project, CONFIG.replace(":0", f":{port}"))
            hotpipe = start(project, "watch", "--web")
            assert hotpipe.wait() == 1
        assert f"cannot listen on 127.0.0.1:{port} for the dashboard" in hotpipe.said()
        assert "[web] listen" in hotpipe.said()
        assert not hotpipe.of("run.started")

    def test_nothing_is_loaded_for_it_but_what_holds_the_address_until_hotpipe_is_watching(self) -> None:
        """What is loaded later, in a thread, is `hotpipe.web.serving`."""
        loads = "import hotpipe.app, hotpipe.web.dashboard, hotpipe.web.opening, sys; print(*sys.modules)"
        loaded = subprocess.run([sys.executable, "-c", loads], check=True, capture_output=True, text=True).stdout
        found = {name for name in loaded.split() if name.startswith(("hotpipe.web", "starlette", "uvicorn"))}
        assert found == {"hotpipe.web", "hotpipe.web.dashboard", "hotpipe.web.opening", "hotpipe.web.token"}

    def test_without_the_flag_there_is_no_dashboard(self, project: Path, start: Start) -> None:
        port = free_port()
        write(project, CONFIG.replace(":0", f":{port}"))
        hotpipe = start(project, "watch")
        hotpipe.until("run.finished")
        with socket.socket() as knocking:
            assert knocking.connect_ex(("127.0.0.1", port)) != 0
        assert not hotpipe.of("web.ready")

    def test_without_the_extra_it_says_what_to_install(self, project: Path, start: Start, tmp_path: Path) -> None:
        # As if it were not installed: no finder finds it.
        block = tmp_path / "without"
        block.mkdir()
        (block / "sitecustomize.py").write_text(
            "import importlib.util as u\nf = u.find_spec\n"
            "u.find_spec = lambda n, *a: None if n == 'starlette' else f(n, *a)\n"
        )
        path = os.pathsep.join(filter(None, (str(block), os.environ.get("PYTHONPATH"))))
        hotpipe = start(project, "watch", "--web", launcher=("env", f"PYTHONPATH={path}"))
        assert hotpipe.wait() == 2
        assert "pip install 'hotpipe[web]'" in hotpipe.said()

    def test_another_address_in_the_configuration_waits_for_the_next_start(
        self, project: Path, watching: Hotpipe, client: Client
    ) -> None:
        write(project, CONFIG.replace(":0", f":{free_port()}"))
        assert watching.until("warning", code="web.unchanged")["hint"]
        watching.until("config.reloaded")
        assert client.get("/api/past").status == 200

    def test_the_gate_alone_has_one_too(self, project: Path, start: Start) -> None:
        client = client_of(start(project, "gate", "--web"))
        with client.stream() as messages:
            assert folded(messages, state="green")["head"]["role"] == "gate"

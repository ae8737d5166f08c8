"""The badge's routes: who may ask, what a page is told, which files are opened."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from badging import EDITOR, PATIENCE_S, Listener, Told, ask

from hotpipe.events import Address, ConfigRejected, Ending, ServerFailed, StageOutput
from hotpipe.web.desk import OPENINGS, Desk, Open
from hotpipe.web.origins import Origins
from hotpipe.web.seats import MOST, MOST_OF_ONE, Seats

PAGE = "http://127.0.0.1:8000"


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    """A badge for a project at tmp_path."""
    running = Told(tmp_path)
    yield running
    running.close()


def origins(*sockets: tuple[str, str], named: tuple[str, ...] = ()) -> Origins:
    return Origins("box", named, {"web": [Address(name, addr) for name, addr in sockets]})


# Whose page it is.


@pytest.mark.parametrize(
    "socket,origin",
    [
        (("http", "127.0.0.1:8000"), "http://127.0.0.1:8000"),
        (("http", "127.0.0.1:8000"), "http://localhost:8000"),
        (("http", "127.0.0.1:8000"), "http://LOCALHOST:8000"),
        (("http", "127.0.0.1:8000"), "http://[::1]:8000"),
        (("http", "127.0.0.1:8000"), "http://tenant.localhost:8000"),
        (("http", "127.0.0.5:8000"), "http://127.0.0.5:8000"),
        (("http2", "127.0.0.1:8000"), "http://localhost:8000"),
        (("http", "[::1]:8000"), "http://[::1]:8000"),
        (("http", "0.0.0.0:8000"), "http://localhost:8000"),
        (("http", "0.0.0.0:8000"), "http://box:8000"),
        (("http", "[::]:8000"), "http://box:8000"),
        (("http", "192.168.1.5:8000"), "http://192.168.1.5:8000"),
        (("http", "127.0.0.1:80"), "http://localhost"),
        (("https", "127.0.0.1:443"), "https://localhost"),
        (("https", "127.0.0.1:8443"), "https://localhost:8443"),
        (("tcp", "127.0.0.1:8000"), "https://localhost:8000"),
        (("admin", "127.0.0.1:8001"), "http://localhost:8001"),
    ],
)
def test_a_page_of_a_servers_socket_is_known(socket: tuple[str, str], origin: str) -> None:
    assert origins(socket).server(origin) == "web"


@pytest.mark.parametrize(
    "socket,origin",
    [
        (("http", "127.0.0.1:8000"), "http://127.0.0.1:8001"),
        (("http", "127.0.0.1:8000"), "https://127.0.0.1:8000"),
        (("https", "127.0.0.1:8000"), "http://127.0.0.1:8000"),
        (("http", "127.0.0.1:8000"), "http://localhost"),
        (("http", "127.0.0.1:8000"), "http://evil.example:8000"),
        (("http", "127.0.0.1:8000"), "http://localhost.evil.example:8000"),
        (("http", "127.0.0.1:8000"), "http://evillocalhost:8000"),
        (("http", "127.0.0.1:8000"), "http://127.0.0.1.evil.example:8000"),
        (("http", "127.0.0.1:8000"), "http://box:8000"),
        (("http", "0.0.0.0:8000"), "http://192.168.1.5:8000"),
        (("http", "0.0.0.0:8000"), "http://0.0.0.0:8000"),
        (("http", "192.168.1.5:8000"), "http://localhost:8000"),
        (("http", "127.0.0.1:8000"), "http://x@127.0.0.1:8000"),
        (("http", "127.0.0.1:8000"), "http://127.0.0.1:8000/"),
        (("http", "127.0.0.1:8000"), "http://127.0.0.1:8000\n"),
        (("http", "127.0.0.1:8000"), "null"),
        (("http", "127.0.0.1:8000"), ""),
        (("http", "127.0.0.1:8000"), None),
        (("udp", "127.0.0.1:8000"), "http://127.0.0.1:8000"),
        (("unix", "/run/app.sock"), "http://localhost"),
    ],
)
def test_any_other_page_is_a_strangers(socket: tuple[str, str], origin: str | None) -> None:
    assert not origins(socket).allows(origin)


def test_a_page_that_the_user_named_is_allowed_and_is_no_servers() -> None:
    named = origins(("http", "127.0.0.1:8000"), named=("https://app.test",))
    assert named.allows("https://app.test")
    assert named.allows("https://app.test:443")
    assert named.server("https://app.test") is None
    assert not named.allows("https://app.test:8443")
    assert not named.allows("http://app.test")


# The routes.


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:9", None])
@pytest.mark.parametrize("method,path", [("GET", "/badge/events"), ("POST", "/badge/open"), ("OPTIONS", "/badge/open")])
def test_a_stranger_is_told_nothing(told: Told, method: str, path: str, origin: str | None) -> None:
    told.start(PAGE)
    answer = ask(told.port, method, path, **({"Origin": origin} if origin else {}))
    assert answer.status == 403
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]
    assert answer.headers["Vary"] == "Origin"


def test_two_origins_are_one_too_many(told: Told) -> None:
    told.start(PAGE)
    assert ask(told.port, "GET", "/badge/events", Origin=PAGE, origin="http://evil.example").status == 403


def test_a_page_of_ours_may_read(told: Told) -> None:
    told.start(PAGE)
    listener = Listener(told.port, origin=PAGE)
    headers = listener.response.headers
    listener.close()
    assert listener.response.status == 200
    assert headers["Access-Control-Allow-Origin"] == PAGE
    assert headers["Vary"] == "Origin"
    assert headers["Content-Type"].startswith("text/event-stream")
    assert "Access-Control-Allow-Credentials" not in headers


def test_a_browser_that_asks_before_it_asks_is_given_leave_for_pages_of_ours_alone(told: Told) -> None:
    told.start(PAGE)
    answer = ask(told.port, "OPTIONS", "/badge/events", Origin=PAGE, Access_Control_Request_Private_Network="true")
    assert answer.status == 204
    assert answer.headers["Access-Control-Allow-Origin"] == PAGE
    assert answer.headers["Access-Control-Allow-Private-Network"] == "true"


def test_the_script_is_for_any_page_and_is_not_sent_twice(told: Told) -> None:
    first = ask(told.port, "GET", "/hotpipe.js", Origin="http://evil.example")
    assert first.status == 200
    assert first.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert first.headers["Content-Type"].startswith("text/javascript")
    assert "Access-Control-Allow-Origin" not in first.headers
    assert ask(told.port, "GET", "/hotpipe.js", If_None_Match=first.headers["ETag"]).status == 304


def test_the_script_is_small_and_holds_no_secret() -> None:
    script = Path(__file__).parents[1] / "hotpipe" / "web" / "hotpipe.js"
    content = script.read_text()
    assert len(content.encode()) < 22_000
    assert "innerHTML" not in content
    assert "eval" not in content


# What a page is told.


@pytest.fixture
def page(told: Told) -> Iterator[Listener]:
    """A page of generation 1, which is live."""
    told.start(PAGE)
    told.save(1, "app.py")
    told.green(1, "web")
    told.live(1, "t1", PAGE)
    listener = Listener(told.port, "generation=1", PAGE)
    yield listener
    listener.close()


def test_the_first_words_are_who_hotpipe_is_and_what_the_page_shows(page: Listener) -> None:
    kind, hello = page.next()
    assert kind == "hello"
    assert hello["yours"] == 1
    assert hello["editor"] == "edit"
    assert hello["token"]
    kind, state = page.next()
    assert (kind, state["checks"], state["server"]["generation"], state["changed"]) == ("state", "green", 1, [])


def test_a_red_run_names_its_findings(told: Told, page: Listener) -> None:
    told.save(2, "app.py")
    assert page.until("state", checks="running")["stages"] == 1
    told.red(2, ("app.py", 12, "undefined name"))
    (failure,) = page.until("state", checks="red")["failures"]
    assert failure["stage"] == "lint"
    assert failure["findings"] == [{"path": "app.py", "line": 12, "column": 2, "text": "E1 undefined name"}]


def test_a_page_is_told_how_far_behind_it_is(told: Told, page: Listener) -> None:
    told.save(2, "app.py")
    told.save(3, "app.py")
    told.red(3)
    assert page.until("state", checks="red")["server"]["behind"] == 2


def test_a_restart_brings_what_has_changed_with_it(told: Told, page: Listener) -> None:
    told.save(2, "site.css")
    told.save(3, "print.css")
    told.green(3, "web")
    waiting = page.until("state", checks="green", server={"generation": 1, "behind": 2})
    assert waiting["changed"] == []  # what is served is to be another one soon
    told.live(2, "t3", PAGE)
    assert page.until("state", server={"generation": 2})["changed"] == ["site.css", "print.css"]


def test_changes_that_concern_no_server_are_told_when_they_are_green(told: Told, page: Listener) -> None:
    page.until("state", checks="green")
    told.save(2, "site.css")
    assert page.until("state", checks="running")["changed"] == []
    told.green(2)
    assert page.until("state", checks="green")["changed"] == ["site.css"]


def test_what_was_told_is_not_told_again(told: Told, page: Listener) -> None:
    page.until("state", checks="green")
    told.save(2, "site.css")
    told.green(2)
    page.until("state", changed=["site.css"])
    told.save(3, "print.css")
    told.green(3)
    assert page.until("state", checks="green", changed=["print.css"])


def test_a_page_that_was_away_is_told_what_it_has_missed(told: Told, page: Listener) -> None:
    epoch = page.until("hello")["epoch"]
    place = page.until("state", checks="green")["fresh"]
    page.close()
    told.save(2, "site.css")
    told.green(2)
    again = Listener(told.port, f"generation=1&epoch={epoch}&place={place}", PAGE)
    assert again.until("state")["changed"] == ["site.css"]
    again.close()


def test_of_another_hotpipes_places_nothing_is_known(told: Told, page: Listener) -> None:
    page.close()
    again = Listener(told.port, "generation=1&epoch=other&place=0", PAGE)
    assert again.until("state")["changed"] is None
    again.close()


def test_a_page_of_an_earlier_generation_is_told_what_has_changed_since(told: Told, page: Listener) -> None:
    told.save(2, "site.css")
    told.green(2, "web")
    told.live(2, "t2", PAGE)
    late = Listener(told.port, "generation=1", PAGE)
    assert late.until("hello")["yours"] == 1
    assert late.until("state")["changed"] == ["site.css"]
    late.close()


def test_a_process_that_reloads_itself_goes_on_saying_its_first_number(told: Told, page: Listener) -> None:
    told.save(2, "app.py")
    told.green(2, "web")
    told.live(2, "t2", PAGE, pid=101)  # that of generation 1
    late = Listener(told.port, "generation=1", PAGE)
    assert late.until("hello")["yours"] == 2
    late.close()


def test_a_page_is_told_whether_one_that_is_gone_has_answered_still(told: Told, page: Listener) -> None:
    assert page.until("hello")["gone_ms"] is None
    told.live(2, "t2", PAGE, pid=200)
    assert page.until("state", server={"generation": 2})["server"]["others"] == [1]
    told.stop(1, revisited=True)
    assert page.until("state", server={"others": []})["server"]["revisited"] == 1
    told.live(3, "t3", PAGE)  # and the second one stops
    assert page.until("state", server={"generation": 3, "others": []})["server"]["revisited"] == 1
    late = Listener(told.port, "", PAGE)
    assert 0 <= late.until("hello")["gone_ms"] < 1000 * PATIENCE_S
    late.close()


def test_what_a_generation_without_a_name_holds_is_not_known(told: Told, page: Listener) -> None:
    told.save(2, "site.css")
    told.live(2, "unheard-of", PAGE)
    late = page.until("state", changed=None)
    assert late["server"]["generation"] == 2


def test_too_many_files_are_not_known(told: Told, page: Listener) -> None:
    told.save(2, *(f"{number}.css" for number in range(201)))
    told.green(2)
    assert page.until("state", checks="green", changed=None)


def test_output_is_no_news(told: Told, page: Listener) -> None:
    page.until("state", checks="green")
    told.tell(*(StageOutput(run=1, stage="lint", stream="stdout", text="x") for _ in range(1000)))
    told.tell(Ending())
    assert page.next()[1]["ending"]
    assert told.badge._view.run is not None
    assert not told.badge._view.run.stages["lint"].output  # nor is it kept


def test_a_flood_of_news_is_told_in_few_messages(told: Told, page: Listener) -> None:
    page.until("state", checks="green")
    for run in range(2, 302):
        told.save(run, "app.py")
    told.red(301)
    states = 1
    while page.next()[1].get("checks") != "red":
        states += 1
    assert states < 100


def test_a_server_that_did_not_come_up_and_a_configuration_that_is_wrong_are_told(told: Told, page: Listener) -> None:
    told.tell(ServerFailed(server="web", generation=2, reason="exit status 1", serving=1))
    server = page.until("state", server={"failed": 2})["server"]
    assert (server["failure"], server["generation"]) == ("exit status 1", 1)
    told.tell(ConfigRejected(path="hotpipe.toml", errors=("hotpipe.toml:3: no",)))
    assert page.until("state", errors=["hotpipe.toml:3: no"])


def test_the_page_of_a_proxy_belongs_to_the_only_server(tmp_path: Path) -> None:
    proxied = Told(tmp_path, Origins("", ("https://app.test",)))
    proxied.start(PAGE)
    proxied.live(1, "t1", PAGE)
    listener = Listener(proxied.port, origin="https://app.test")
    assert listener.until("state")["server"]["name"] == "web"
    listener.close()
    proxied.close()


def test_names_of_files_that_are_not_text_are_told_too(told: Told, page: Listener) -> None:
    told.save(2, "app.py")
    told.red(2, ("b\udcffd.py", 1, "no"))
    assert page.until("state", checks="red")["failures"][0]["findings"][0]["path"] == "b\udcffd.py"


def test_a_browsers_first_tabs_rest_when_it_has_many(told: Told) -> None:
    told.start(PAGE)
    first, *others = [Listener(told.port, origin=PAGE) for _ in range(MOST_OF_ONE + 1)]
    stranger = Listener(told.port, origin=PAGE, **{"User-Agent": "another"})
    assert first.until("rest") == {}
    told.tell(Ending())
    for listener in (*others, stranger):
        assert listener.until("state", ending=True)
        listener.close()
    first.close()


def test_there_are_never_more_seats_than_that() -> None:
    async def fill() -> list[bool]:
        seats = Seats()
        taken = [seats.take(str(number)) for number in range(MOST + 3)]
        return [seat.is_lost for seat in taken]

    import anyio

    assert anyio.run(fill) == [True] * 3 + [False] * MOST


def test_the_streams_end_with_hotpipe(told: Told, page: Listener) -> None:
    page.until("state")
    told.served.call(told.badge.close)
    assert page.until("end") == {}
    assert page.next() == ("", {})


# Files.


@pytest.fixture
def project(told: Told, tmp_path: Path) -> Told:
    """With a finding in each of its files, and a page that has been told of them."""
    (tmp_path / "app.py").touch()
    (tmp_path / "-rf").touch()
    (tmp_path / "out").symlink_to("/etc")
    (tmp_path / "loop").symlink_to("app.py")
    (tmp_path / "other.py").touch()
    told.start(PAGE)
    told.save(1, "app.py")
    names = ("app.py", "-rf", "out/passwd", "loop", "gone.py")
    told.red(1, *((name, 3, "no") for name in names))
    return told


def opened(project: Told, path: str, **more: object) -> int:
    listener = Listener(project.port, origin=PAGE)
    token = listener.until("hello")["token"]
    listener.until("state", checks="red")
    listener.close()
    body = json.dumps({"path": path, **more}).encode()
    answer = ask(project.port, "POST", "/badge/open", body, Origin=PAGE, X_Hotpipe_Open=token)
    assert answer.headers["Access-Control-Allow-Origin"] == PAGE
    return answer.status


def test_a_click_opens_the_place_in_the_editor(project: Told, tmp_path: Path) -> None:
    assert opened(project, "app.py", line=3, column=7) == 204
    assert project.opened == [("edit", f"{tmp_path}/app.py:3:7")]


def test_a_name_that_looks_like_an_option_is_none(project: Told, tmp_path: Path) -> None:
    assert opened(project, "-rf") == 204
    assert project.opened == [("edit", f"{tmp_path}/-rf:1:1")]


def test_a_link_inside_the_project_is_followed(project: Told, tmp_path: Path) -> None:
    assert opened(project, "loop") == 204
    assert project.opened == [("edit", f"{tmp_path}/app.py:1:1")]


@pytest.mark.parametrize(
    "path", ["out/passwd", "/etc/passwd", "../../etc/passwd", "gone.py", "other.py", "", ".", "app.py\n", "./app.py"]
)
def test_what_no_finding_has_named_or_is_elsewhere_is_not_opened(project: Told, path: str) -> None:
    assert opened(project, path) == 404
    assert project.opened == []


@pytest.mark.parametrize("token", ["", "x", "é"])
def test_without_the_token_nothing_is_opened(project: Told, token: str) -> None:
    body = b'{"path": "app.py"}'
    assert ask(project.port, "POST", "/badge/open", body, Origin=PAGE, X_Hotpipe_Open=token).status == 401
    assert project.opened == []


@pytest.mark.parametrize("body", [b"", b"[]", b'{"path": 3}', b'{"path": "app.py", "run": "rm"}', b" " * 9_000])
def test_what_is_not_understood_is_refused(project: Told, body: bytes) -> None:
    listener = Listener(project.port, origin=PAGE)
    token = listener.until("hello")["token"]
    listener.close()
    assert ask(project.port, "POST", "/badge/open", body, Origin=PAGE, X_Hotpipe_Open=token).status == 400


def test_nobody_opens_a_hundred_windows(tmp_path: Path) -> None:
    (tmp_path / "app.py").touch()
    desk = Desk(str(tmp_path), EDITOR, lambda argv: None)
    desk.remember(["app.py"])
    assert [desk.open(Open("app.py"), 0.0) for _ in range(OPENINGS + 1)] == [204] * OPENINGS + [429]
    assert desk.open(Open("app.py"), 11.0) == 204


def test_without_an_editor_there_is_none_to_open(tmp_path: Path) -> None:
    (tmp_path / "app.py").touch()
    desk = Desk(str(tmp_path), None, lambda argv: None)
    desk.remember(["app.py"])
    assert (desk.editor, desk.open(Open("app.py"), 0.0)) == ("", 409)


def test_a_program_that_cannot_be_started_is_told(tmp_path: Path) -> None:
    def refuse(argv: object) -> None:
        raise PermissionError

    (tmp_path / "app.py").touch()
    desk = Desk(str(tmp_path), EDITOR, refuse)
    desk.remember(["app.py"])
    assert desk.open(Open("app.py"), 0.0) == 500

import asyncio

import pytest

from app import Message, app
from greeting import greet


def talk(scope: Message, *incoming: Message) -> list[Message]:
    """Run the application once, as a server would, and return what it sent."""
    waiting = list(incoming)
    sent: list[Message] = []

    async def receive() -> Message:
        return waiting.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    return sent


def get(path: str) -> tuple[int, str]:
    start, body = talk({"type": "http", "method": "GET", "path": path})
    return start["status"], body["body"].decode()


@pytest.mark.parametrize("hour", [0, 5, 12, 18])
def test_everybody_is_greeted_by_name(hour: int) -> None:
    assert "Ada" in greet("Ada", hour)


def test_the_greeting_follows_the_hour() -> None:
    assert len({greet("Ada", hour) for hour in (0, 5, 12, 18)}) == 4


def test_the_page_shows_which_generation_of_which_tree_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOTPIPE_GENERATION", "42")
    monkeypatch.setenv("HOTPIPE_TREE", "0123456789abcdef")
    status, page = get("/")
    assert status == 200
    assert "<dd>42</dd>" in page
    assert "<dd>01234567</dd>" in page


def test_the_health_check_is_short() -> None:
    assert get("/healthz") == (200, "ok")


def test_other_paths_are_not_found() -> None:
    assert get("/nowhere")[0] == 404


def test_start_and_stop_are_acknowledged() -> None:
    sent = talk({"type": "lifespan"}, {"type": "lifespan.startup"}, {"type": "lifespan.shutdown"})
    assert [message["type"] for message in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]

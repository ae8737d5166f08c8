"""The bus: everything gets its place in one order, and a slow face loses lines of output, never anything else."""

from datetime import UTC, datetime
from itertools import pairwise

import anyio
import pytest

from hotpipe.bus import MOST_OUTPUT, NO_OUTPUT, Bus, Inbox
from hotpipe.events import AnyEvent, RunStarted, ServerOutput, StageOutput, Stamped, Warned

pytestmark = pytest.mark.anyio


def started(run: int) -> RunStarted:
    return RunStarted(run=run, tree="t", changed=())


def line(text: str) -> StageOutput:
    return StageOutput(run=1, stage="test", stream="stdout", text=text)


async def taken(inbox: Inbox) -> list[Stamped]:
    """All that there is in an inbox that has been closed."""
    return [stamped async for batch in inbox.batches() for stamped in batch]


def events(stamped: list[Stamped]) -> list[AnyEvent]:
    return [each.event for each in stamped]


async def test_whom_output_does_not_concern_gets_all_else() -> None:
    hub = Bus()
    inbox = hub.subscribe(NO_OUTPUT)
    for event in (started(1), line("a"), started(2)):
        hub.emit(event)
    hub.close()
    assert events(await taken(inbox)) == [started(1), started(2)]


async def test_every_face_gets_every_event_in_order() -> None:
    hub = Bus()
    faces = [hub.subscribe(), hub.subscribe()]
    emitted: list[AnyEvent] = [started(1), line("a"), started(2)]
    for event in emitted:
        hub.emit(event)
    hub.close()
    assert [events(await taken(face)) for face in faces] == [emitted, emitted]


async def test_a_face_sees_nothing_from_before_it_came() -> None:
    hub = Bus()
    hub.emit(started(1))
    late = hub.subscribe()
    hub.emit(started(2))
    hub.close()
    (only,) = await taken(late)
    assert (only.event, only.stamp.seq) == (started(2), 2)


async def test_stamps_count_up_from_one_and_time_never_goes_back() -> None:
    hub = Bus()
    face = hub.subscribe()
    for run in range(100):
        hub.emit(started(run))
    hub.close()
    stamps = [stamped.stamp for stamped in await taken(face)]
    assert [stamp.seq for stamp in stamps] == list(range(1, 101))
    assert all(before.mono <= after.mono for before, after in pairwise(stamps))
    assert all(datetime.fromisoformat(stamp.time).tzinfo == UTC and stamp.time.endswith("Z") for stamp in stamps)


async def test_a_face_waits_for_what_comes_and_ends_when_the_bus_closes() -> None:
    hub = Bus()
    face, batches = hub.subscribe(), []

    async def watch() -> None:
        async for batch in face.batches():
            batches.append(events(batch))
            arrived.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        for run in range(3):
            arrived = anyio.Event()
            hub.emit(started(run))
            hub.emit(line("with it"))
            with anyio.fail_after(30):
                await arrived.wait()
        hub.close()
    assert batches == [[started(run), line("with it")] for run in range(3)]


async def test_closing_an_empty_bus_ends_its_faces() -> None:
    hub = Bus()
    face = hub.subscribe()
    hub.close()
    assert await taken(face) == []


async def test_a_face_that_does_not_keep_up_loses_output_beyond_the_limit_and_is_told_how_much() -> None:
    hub = Bus()
    face = hub.subscribe()
    for number in range(MOST_OUTPUT + 7):
        hub.emit(line(str(number)))
    hub.close()
    *kept, last = events(await taken(face))
    assert kept == [line(str(number)) for number in range(MOST_OUTPUT)]
    assert last == Warned(code="output.dropped", message="7 lines of output came too fast to show")


async def test_it_never_loses_anything_else() -> None:
    hub = Bus()
    face = hub.subscribe()
    for number in range(MOST_OUTPUT + 1):
        hub.emit(ServerOutput(server="web", generation=1, stream="stderr", text=str(number)))
    for run in range(MOST_OUTPUT):
        hub.emit(started(run))
    hub.close()
    assert [event.run for event in events(await taken(face)) if isinstance(event, RunStarted)] == list(
        range(MOST_OUTPUT)
    )


async def test_a_slow_face_costs_the_others_nothing() -> None:
    hub = Bus()
    slow, quick, lines = hub.subscribe(), hub.subscribe(), 0
    reading = quick.batches()
    for number in range(2 * MOST_OUTPUT):
        hub.emit(line(str(number)))
        if number % 1000 == 999:
            lines += len(await anext(reading))
    hub.close()
    assert lines == 2 * MOST_OUTPUT
    assert len(await taken(slow)) == MOST_OUTPUT + 1


async def test_once_it_has_caught_up_it_gets_everything_again() -> None:
    hub = Bus()
    face = hub.subscribe()
    reading = face.batches()
    for number in range(MOST_OUTPUT + 1):
        hub.emit(line(str(number)))
    assert len(await anext(reading)) == MOST_OUTPUT + 1
    for number in range(MOST_OUTPUT):
        hub.emit(line(str(number)))
    assert events(await anext(reading)) == [line(str(number)) for number in range(MOST_OUTPUT)]

"""The loop of the terminal face: what happens goes into the view, keys into the looks, and both onto the screen.

How it works: one task folds events, one reads keys, one heeds signals, one draws. A picture is made in a thread, for it
takes longer than the loop may stand still, and nobody folds meanwhile. The task that draws waits for the terminal, and
draws what is there by then: what came in between is never seen, and nothing queues. rich is loaded when the watcher is
at work: nothing waits for it but the first picture.
"""

import os
import signal
import time
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from hotpipe.actions import Actions
from hotpipe.bus import Inbox
from hotpipe.events import Ending, RunFinished, RunStarted, ServerOutput, ServerStarting, Stamped
from hotpipe.history import History
from hotpipe.instance import FOLDER
from hotpipe.ui.plain import Plain
from hotpipe.ui.show import show
from hotpipe.ui.style import Style
from hotpipe.ui.tui import trips
from hotpipe.ui.tui.frame import Frame
from hotpipe.ui.tui.keys import Decoder
from hotpipe.ui.tui.parting import parting
from hotpipe.ui.tui.terminal import Terminal
from hotpipe.ui.tui.together import Together
from hotpipe.ui.view import View

if TYPE_CHECKING:
    from hotpipe.ui.tui.picture import Picture

_BREATH_S = 0.04  # between two looks at what has happened
_PACE_S = 0.1  # between two pictures, unless a key was pressed
_SHARE = 12  # so many times longer than making one
_ESC_S = 0.05  # a lone ESC is one if nothing follows for so long
_LOOK_AGAIN_S = 0.3  # whether the terminal is ours again
_HEAD_START_S = 0.5  # for the watcher, before rich is loaded
_TICK_S = 0.2  # between two pictures where nothing but time passes
_LONGEST_PACE_S = 1.0
_FIRST = "\x1b[1;1H\x1b[1m STARTING\x1b[m"  # until there is a picture
_STILL = "hotpipe stands still: servers go on, saves are not noticed until it does too (fg)\n"


class Tui:
    """The terminal face; `file` is the project's configuration."""

    def __init__(self, style: Style, file: str) -> None:
        self._style = style
        self._file = file
        self._terminal: Terminal | None = None
        self._session: _Session | None = None
        self._is_over = False

    async def run(self, inbox: Inbox, actions: Actions) -> None:
        """Show what happens until the inbox is closed, then tell how it ended in the normal screen."""
        try:
            self._terminal = Terminal()
        except OSError:  # closed since it was looked at
            await show(Plain(self._style), inbox)
            return
        self._session = session = _Session(self._terminal, actions, self._style, self._file)
        try:
            await session.run(inbox)
        finally:
            self._is_over = True
            self._terminal.leave()
        self._terminal.print(parting(session.view, self._style))

    def leave(self) -> None:
        """The terminal as it was, at once: for whoever ends the process without a way back."""
        if self._session is not None:
            self._session.visit.end()
        if self._terminal is not None:
            self._terminal.leave()

    def aside(self, sequence: str) -> bool:
        """With the next picture; after the last one, at once."""
        if self._session is None or self._terminal is None or not self._terminal.is_ours():
            return False
        if self._is_over:
            self._terminal.print(sequence)
            return True
        return self._session.aside(sequence)


class _Session:
    """From the first picture to the last."""

    def __init__(self, terminal: Terminal, actions: Actions, style: Style, file: str) -> None:
        self.visit = trips.Visit(file)
        self.view = View()
        self._together = Together()
        self._terminal = terminal
        self._actions = actions
        self._style = style
        self._frame = Frame()
        self._picture: Picture | None = None
        self._history = History(os.path.join(os.path.dirname(file), FOLDER))
        self._knows_usual = False  # how long stages take
        self._folding = anyio.Lock()
        self._is_at_work = anyio.Event()
        self._changed = anyio.Event()  # something is to be drawn
        self._hurry = anyio.Event()  # and at once
        self._is_away = False  # somebody else has the terminal

    async def run(self, inbox: Inbox) -> None:
        self._terminal.enter()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._obey_signals)
            tasks.start_soon(self._draw)
            tasks.start_soon(self._read, tasks)
            await self._fold(inbox)
            tasks.cancel_scope.cancel()

    def aside(self, sequence: str) -> bool:
        """Write it with the next picture, if there will be one."""
        self._changed.set()
        return self._terminal.aside(sequence)

    # What happens.

    async def _fold(self, inbox: Inbox) -> None:
        async for batch in inbox.batches():
            async with self._folding:
                for stamped in batch:
                    self._take(stamped)
            self._changed.set()
            await anyio.sleep(0 if inbox.closed else _BREATH_S)

    def _take(self, stamped: Stamped) -> None:
        event = stamped.event
        self.view.apply(event, stamped.stamp.mono)
        match event:
            case ServerOutput():
                if len(self.view.servers) > 1:
                    self._together.add(event)
            case RunStarted() | ServerStarting() | Ending():
                self._is_at_work.set()
            case RunFinished():
                self._knows_usual = False
            case _:
                pass

    # What is drawn.

    async def _draw(self) -> None:
        await self._terminal.write(_FIRST)
        with anyio.move_on_after(_HEAD_START_S):
            await self._is_at_work.wait()
        self._picture = await anyio.to_thread.run_sync(self._load)
        while not self._terminal.is_gone:
            if await self._is_ours():
                took_s = await self._draw_once(self._picture)
                await self._rest(self._picture, took_s)

    def _load(self) -> "Picture":
        from hotpipe.ui.tui.picture import Picture  # noqa: PLC0415 - start-up time: it loads rich

        return Picture(self.view, self._together, self._actions, self._style)

    async def _draw_once(self, picture: "Picture") -> float:
        """How long making it took, in seconds; what the terminal took does not count."""
        if not self._knows_usual:
            self._knows_usual = True
            self.view.usual_ms = await anyio.to_thread.run_sync(self._history.medians)
        began = time.monotonic()
        async with self._folding:
            rows = await anyio.to_thread.run_sync(picture.rows, self._terminal.size(), began)
        took_s = time.monotonic() - began
        await self._terminal.write(self._frame.update(rows))
        return took_s

    async def _rest(self, picture: "Picture", took_s: float) -> None:
        """Until there is something to draw; after a key was pressed at once, else in time."""
        with anyio.move_on_after(min(_LONGEST_PACE_S, max(_PACE_S, _SHARE * took_s))):
            await self._hurry.wait()
        with anyio.move_on_after(_TICK_S if picture.moves(time.monotonic()) else None):
            await self._changed.wait()
        self._changed, self._hurry = anyio.Event(), anyio.Event()

    async def _is_ours(self) -> bool:
        """Whether the terminal can be drawn on, which is taken back where it has been given away."""
        if self._is_away or not (self._terminal.is_entered or self._terminal.is_ours()):
            await anyio.sleep(_LOOK_AGAIN_S)
            return False
        if not self._terminal.is_entered:
            self._frame.forget()
            self._terminal.enter()
        return True

    # What is typed.

    async def _read(self, tasks: TaskGroup) -> None:
        decoder = Decoder()
        while not self._terminal.is_gone:
            if self._is_away or not self._terminal.is_ours():
                await anyio.sleep(_LOOK_AGAIN_S)
                continue
            for key in await self._typed(decoder):
                await self._press(key, tasks)
            self._changed.set()
            self._hurry.set()

    async def _typed(self, decoder: Decoder) -> list[str]:
        with anyio.move_on_after(_ESC_S if decoder.waits else None):
            return decoder.feed(await self._terminal.read())
        return decoder.flush()

    async def _press(self, key: str, tasks: TaskGroup) -> None:
        picture = self._picture
        if picture is None:
            return
        if key == "o":
            tasks.start_soon(self._browse, picture)
        elif key == "a":
            await self._attach(picture)
        else:
            picture.press(key)

    async def _browse(self, picture: "Picture") -> None:
        address = self._actions.page()
        if address:
            picture.keep(await trips.browse(address, os.environ))
        else:
            picture.say("there is no page to open")
        self._changed.set()

    async def _attach(self, picture: "Picture") -> None:
        server = picture.server()
        if server is None:
            picture.say("there is no server to attach to")
            return
        self._is_away = True
        self._terminal.lend()
        try:
            fault = await self.visit.to(server)
        finally:
            self._is_away = False
        picture.say(fault or f"{server} is detached")

    # What the shell and the terminal want.

    async def _obey_signals(self) -> None:
        with anyio.open_signal_receiver(signal.SIGWINCH, signal.SIGTSTP, signal.SIGCONT) as received:
            async for number in received:
                if number == signal.SIGWINCH:
                    self._actions.resized()
                if number == signal.SIGTSTP and not self._is_away:
                    self._stand_still()
                elif number == signal.SIGCONT and not self._is_away:
                    self._terminal.leave()  # after SIGSTOP it was never left; _is_ours takes it back
                self._frame.forget()
                self._changed.set()
                self._hurry.set()

    def _stand_still(self) -> None:
        """Stop as the shell expects it: by SIGTSTP itself, which the kernel discards where no shell could wake it."""
        self._terminal.leave()
        self._terminal.print(_STILL)
        before = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, before)

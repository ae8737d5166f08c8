"""The ptys that children write to where the user looks at a terminal, and what goes to and fro on them.

Invariant: no child has one as its controlling terminal. Each is the leader of a session, and where one with a
controlling terminal exits, the kernel hangs it up: SIGHUP to the foreground group, POSIX `_exit`, "Consequences of
Process Termination"; tty_ioctl(4), TIOCNOTTY. Daemons would die of that, and gunicorn's heir after USR2, whose parent
is such a leader. So the other ends are opened with O_NOCTTY (openpty(3) does), here, and handed down as descriptors.
"""

import contextlib
import os
import re
import termios
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import anyio

from hotpipe.escapes import plain, visible
from hotpipe.events import Emit, Stream, Warned

Ends = tuple[int, int]  # ours, and the child's

_OPEN_LINE = 4_096  # bytes of a line without an end that are known
_MOST_HELD = 1 << 18  # bytes for one who reads slowly
_PATIENCE_S = 1.0  # with a program that does not read what is typed
_LOOK_AGAIN_S = 0.02

_PROMPT = re.compile(
    r"\((?:Pdb(?:\+\+)?|ipdb|dlv|byebug|rdbg|ruby|gdb|lldb|jdb|rdb:\d+)\)"
    r"|(?:ipdb|debug|ghci|mysql|sqlite)>|>>>|DB<\d+>|In \[\d+\]:"
    r"|(?:\[\d+\] )?(?:pry|irb|iex)\([^()]{0,80}\)[:\d]{0,20}[>*]"
)
_LONGEST_PROMPT = 200


class Window(NamedTuple):
    """The size of a terminal, in characters."""

    rows: int
    columns: int

    @classmethod
    def of(cls, descriptor: int) -> "Window":
        """Raises OSError where that is no terminal."""
        columns, rows = os.get_terminal_size(descriptor)
        return cls(rows, columns)


class Terminals:
    """Where ptys come from, and of what size; if there are none, that is said once."""

    def __init__(self, window: Window, emit: Emit) -> None:
        self.window = window
        self._emit = emit
        self._has_warned = False

    def open(self, count: int) -> list[Ends] | None:
        """So many, or None where that many cannot be had."""
        made: list[Ends] = []
        try:
            for _ in range(count):
                made.append(os.openpty())
                resize(made[-1][1:], self.window)
        except OSError as error:
            for end in (end for ends in made for end in ends):
                os.close(end)
            self._warn(error.strerror or str(error))
            return None
        return made

    def _warn(self, why: str) -> None:
        if not self._has_warned:
            message = f"no terminal can be had for a child, so it writes to pipes: {why}"
            hint = "`hotpipe doctor` shows the limits; HOTPIPE_PTY=0 does without terminals"
            self._emit(Warned(code="pty.unavailable", message=message, hint=hint))
        self._has_warned = True


def resize(descriptors: Iterable[int], window: Window) -> None:
    """Tell terminals their size; nobody is told of a terminal that is gone."""
    for descriptor in descriptors:
        with contextlib.suppress(termios.error):
            termios.tcsetwinsize(descriptor, window)


def prompt_in(line: str) -> str:
    """The prompt of a debugger or an interpreter that a line without an end is; nothing where it is none. Pure."""
    if len(line) > _LONGEST_PROMPT:
        return ""
    text = plain(visible(line)).strip()
    return text if _PROMPT.fullmatch(text) else ""


class Tap:
    """What is written on a terminal, for one who may be slow: then the oldest of it is left out."""

    def __init__(self) -> None:
        self._held: deque[bytes] = deque()
        self._size = 0
        self._is_closed = False
        self._news = anyio.Event()

    def add(self, chunk: bytes) -> None:
        self._held.append(chunk)
        self._size += len(chunk)
        while self._size > _MOST_HELD and len(self._held) > 1:
            self._size -= len(self._held.popleft())
        self._news.set()

    def close(self) -> None:
        """Nothing more comes."""
        self._is_closed = True
        self._news.set()

    async def next(self) -> bytes:
        """What has come since; empty at the end."""
        while not self._held and not self._is_closed:
            self._news = anyio.Event()
            await self._news.wait()
        chunk, self._size = b"".join(self._held), 0
        self._held.clear()
        return chunk


class Terminal:
    """A child at its terminal: what it writes, whether it waits for an answer, and the answer."""

    def __init__(self, typed: int) -> None:
        """What is written to the descriptor `typed` is what the child reads."""
        self.on_prompt: Callable[[str], None] = lambda _: None
        self._typed: int | None = typed
        self._open: dict[Stream, bytes] = {"stderr": b"", "stdout": b""}
        self._taps: list[Tap] = []
        self.prompt = ""  # at which it waits

    @property
    def is_open(self) -> bool:
        """The child may be heard still."""
        return self._typed is not None

    @property
    def open_line(self) -> bytes:
        """What it has written of a line that has no end yet."""
        return b"".join(self._open.values())

    def heard(self, stream: Stream, chunk: bytes) -> None:
        """The child has written that."""
        self.prompt = ""
        *lines, rest = chunk.rsplit(b"\n", 1)
        self._open[stream] = (rest if lines else self._open[stream] + rest)[-_OPEN_LINE:]
        for tap in self._taps:
            tap.add(chunk)

    def waits(self, line: str) -> None:
        """Nothing has come for a while after the beginning of a line."""
        self.prompt = prompt_in(line)
        if self.prompt:
            self.on_prompt(self.prompt)

    @contextlib.contextmanager
    def tapped(self) -> Iterator[Tap]:
        """Hear what comes from now on, after the line that has no end yet."""
        tap = Tap()
        if self.open_line:
            tap.add(self.open_line)
        if not self.is_open:
            tap.close()
        self._taps.append(tap)
        try:
            yield tap
        finally:
            self._taps.remove(tap)

    async def type(self, keys: bytes) -> None:
        """What a program that does not read has no room for is lost."""
        until = time.monotonic() + _PATIENCE_S
        while keys and self._typed is not None and time.monotonic() < until:
            try:
                keys = keys[os.write(self._typed, keys) :]
            except BlockingIOError:
                await anyio.sleep(_LOOK_AGAIN_S)
            except OSError:  # nobody has its other end open any more
                return

    def close(self) -> None:
        """The child is gone, or not heard any more."""
        self._typed = None
        for tap in self._taps:
            tap.close()

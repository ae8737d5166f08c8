"""What a program writes to one pipe, as lines of valid text; of what comes faster than anyone reads, only the end.

Invariant: whatever comes, a second of it costs a part of a second, and the space is bounded. A flood would else keep
the loop from everything else: `yes` writes five million lines a second.

How it works: there is credit for so many seconds of ordinary output, and each chunk is charged for its lines and bytes.
Where there is none left, chunks are not read at all, but kept; of them only the last lines. These are given when there
is credit again, or the program has ended, with a word on how many are left out before them.
"""

import codecs
import time
from collections.abc import Callable

from hotpipe.events import Stream

OnLine = Callable[[Stream, str], None]
LONGEST_LINE = 1 << 16  # characters; what is longer comes in pieces
LINES_PER_S = 25_000  # an eighth to a quarter of a core, with all that is made of a line
BYTES_PER_S = 10_000_000
CREDIT_S = 5.0  # a burst of 100,000 lines, five megabytes, comes whole
QUIET_S = 0.3  # after which whoever has begun a line may wait for an answer to it
_LAST = 1_000  # lines of what was held that are given
_MOST_HELD = 1 << 18  # bytes


class Lines:
    """Cuts what is written to a pipe into lines, each given to `on_line`; `clock` in seconds."""

    def __init__(self, stream: Stream, on_line: OnLine, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream: Stream = stream
        self._on_line = on_line
        self._clock = clock
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._open = ""
        self._credit_s = CREDIT_S
        self._seen_at = clock()
        self._held = bytearray()
        self._lost_lines = self._lost_bytes = 0
        self.on_wait: Callable[[str], None] | None = None
        """Told a line that has begun, once if it does not go on for `QUIET_S`."""
        self._may_wait = False

    def add(self, chunk: bytes) -> None:
        """Take what was read; empty: time has passed."""
        silent_s = self._gain()
        if self.on_wait is not None:
            self._listen(chunk, silent_s, self.on_wait)
        if self._credit_s <= 0:
            self._hold(chunk)
            return
        self._give_held()
        self._give(chunk)

    def end(self) -> None:
        """Nothing more comes."""
        self._give_held()
        rest = self._open + self._decoder.decode(b"", final=True)
        self._open = ""
        if rest:
            self._on_line(self._stream, rest)

    @property
    def pause_s(self) -> float | None:
        """After how long `add` is to be called at the latest."""
        if self._held:
            return max(0.0, -self._credit_s) + 0.001
        return QUIET_S if self._may_wait and self._open else None

    def _gain(self) -> float:
        """Seconds since the last time."""
        now = self._clock()
        silent_s, self._seen_at = now - self._seen_at, now
        self._credit_s = min(CREDIT_S, self._credit_s + silent_s)
        return silent_s

    def _listen(self, chunk: bytes, silent_s: float, on_wait: Callable[[str], None]) -> None:
        if chunk:
            self._may_wait = True
        elif self._may_wait and self._open and silent_s > QUIET_S / 2:  # it was asked for by another clock
            self._may_wait = False
            on_wait(self._open)

    def _hold(self, chunk: bytes) -> None:
        self._held += chunk
        if len(self._held) > 2 * _MOST_HELD:
            self._lose(len(self._held) - _MOST_HELD)

    def _lose(self, size: int) -> None:
        """Leave out the first bytes of what is held, to the end of a line where there is one."""
        size = self._held.find(b"\n", size) + 1 or size
        self._lost_lines += self._held.count(b"\n", 0, size)
        self._lost_bytes += size
        del self._held[:size]

    def _give_held(self) -> None:
        if not self._held:
            return
        last = self._held.rsplit(b"\n", _LAST + 1)
        if len(last) > _LAST + 1:
            self._lose(len(last[0]))
        if self._lost_bytes:
            self._say_lost()
        held, self._held = bytes(self._held), bytearray()
        self._give(held)

    def _say_lost(self) -> None:
        self._lost_bytes += len(self._open)  # of whose line the end is missing: it could be mistaken for one
        self._open = ""
        self._decoder.reset()
        left_out = f"{self._lost_lines} lines ({self._lost_bytes} bytes) came too fast and are left out here"
        self._on_line(self._stream, f"hotpipe: {left_out}")
        self._lost_lines = self._lost_bytes = 0

    def _give(self, chunk: bytes) -> None:
        self._credit_s -= chunk.count(b"\n") / LINES_PER_S + len(chunk) / BYTES_PER_S
        *lines, self._open = (self._open + self._decoder.decode(chunk)).split("\n")
        for line in lines:
            self._on_line(self._stream, self._last_piece(line).rstrip("\r"))
        self._open = self._last_piece(self._open)

    def _last_piece(self, line: str) -> str:
        """Give all but the last piece of a long line."""
        while len(line) > LONGEST_LINE:
            self._on_line(self._stream, line[:LONGEST_LINE])
            line = line[LONGEST_LINE:]
        return line

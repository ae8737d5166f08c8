"""Takes what stages and servers write from the bus, and puts it into their logs."""

import contextlib
import os
import stat
import time
from collections.abc import Callable, Iterable

import anyio
import anyio.to_thread

from hotpipe.bus import Inbox
from hotpipe.events import Emit, Stamped, Warned
from hotpipe.logs import FOLDER, write
from hotpipe.logs.line import Line, Source
from hotpipe.logs.tell import Telling

GATHER_S = 0.05  # so often lines are written; whoever follows a log sees them as much later
AGAIN_S = 5.0  # after a log could not be written
_OUTPUT = "hotpipe.log"


async def keep(root: str, inbox: Inbox, emit: Emit) -> None:
    """Write what comes, until `inbox` is closed; in a thread, so that nobody waits for the disk."""
    logs = Logs(os.path.join(root, FOLDER))
    async for batch in inbox.batches():
        for warning in await anyio.to_thread.run_sync(logs.write, batch):
            emit(warning)
        with anyio.move_on_after(GATHER_S):
            await inbox.closing.wait()


class Logs:
    """The logs of all stages and servers, in `folder`."""

    def __init__(self, folder: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._clock = clock
        self._telling = Telling()
        self._missing: dict[Source, int] = {}
        self._again_at: dict[Source, float] = {}
        self._is_warned = False

    def write(self, batch: Iterable[Stamped]) -> list[Warned]:
        """Put a batch into the logs; never raises. Blocks on the disk."""
        warnings: list[Warned] = []
        for source, lines in self._pages(batch).items():
            if self._clock() < self._again_at.get(source, 0.0):
                self._miss(source, len(lines))
            elif (fault := self._append(source, lines)) is not None and not self._is_warned:
                self._is_warned = True
                warnings.append(fault)
        bound_output(os.path.join(self._folder, _OUTPUT))
        return warnings

    def _pages(self, batch: Iterable[Stamped]) -> dict[Source, list[Line]]:
        pages: dict[Source, list[Line]] = {}
        for stamped in batch:
            match stamped.event:
                case Warned(code="output.dropped", message=message):  # to this reader; nobody knows whose they were
                    lost = Line(stamped.stamp.time, 0, "---", f"{message}, here or in another log")
                    for lines in pages.values():
                        lines.append(lost)
                case _ if (told := self._telling.line(stamped)) is not None:
                    pages.setdefault(told[0], []).append(told[1])
                case _:
                    pass
        return pages

    def _append(self, source: Source, lines: list[Line]) -> Warned | None:
        if missing := self._missing.pop(source, 0):
            first = lines[0]
            lines.insert(0, Line(first.time, first.number, "---", f"{missing} lines before this could not be written"))
        path = os.path.join(self._folder, source.file)
        unwritten = write.append(path, b"".join(line.written() for line in lines))
        if unwritten is None:
            return None
        self._miss(source, max(missing - 1, 0) + unwritten.rest.count(b"\n"))
        self._again_at[source] = self._clock() + AGAIN_S
        return _warning(path, unwritten.error)

    def _miss(self, source: Source, lines: int) -> None:
        self._missing[source] = self._missing.get(source, 0) + lines


def bound_output(path: str) -> None:
    """Rotate the log at `path` if it is a daemon's own output and has grown too large; leave an old one, which another
    daemon of this project has rotated."""
    with contextlib.suppress(OSError):
        ours = os.fstat(1)
        if not stat.S_ISREG(ours.st_mode):
            return
        if _is_at(path, ours) and ours.st_size > write.LARGEST:
            write.rotate(path)
        elif not any(_is_at(f"{path}.{number}", ours) for number in range(1, write.OLD + 1)):
            return
        with write.opened(path) as log:
            for descriptor in (1, 2):
                os.dup2(log, descriptor)


def _is_at(path: str, file: os.stat_result) -> bool:
    with contextlib.suppress(OSError):
        return os.path.samestat(file, os.stat(path))
    return False


def _warning(path: str, error: OSError) -> Warned:
    message = f"cannot write {path}: {error.strerror or error}; lines are missing there until it can be written again"
    return Warned(code="log.unwritable", message=message, hint="free some space there, or make it writable; see df(1)")

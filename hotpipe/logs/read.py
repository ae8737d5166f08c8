"""Reads logs: their ends, and what comes after that, across rotations.

Invariant: nothing is shown twice, and nothing is left out that was on disk when somebody looked.
"""

import contextlib
import heapq
import os
import stat
from collections import deque
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from hotpipe.logs.line import Line, Source, parsed, sources
from hotpipe.logs.write import OLD

_CHUNK = 1 << 20
Told = tuple[Source, Line]


class Log:
    """One log, read from where it stood when it was opened."""

    def __init__(self, folder: str, source: Source) -> None:
        self.source = source
        self._path = os.path.join(folder, source.file)
        self._file: BinaryIO | None = None
        self._rest = b""

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def lines(self) -> Iterator[Line]:
        """All that there is, or has come since: oldest first."""
        if self._file is None:
            yield from self._go_on(_newest_first(self._path))
            return
        yield from self._read(self._file)
        if _stands_at(self._path, self._file):
            return
        yield from self._read(self._file)  # nobody writes to it any more: it was moved after the last line
        yield from self._go_on(_since(self._file, _newest_first(self._path)))

    def last(self, most: int) -> list[Line]:
        """The last lines of all that there is, before anything else was read."""
        raw: list[bytes] = []
        for file in _newest_first(self._path):
            with contextlib.nullcontext() if self._file is None else file:
                *lines, rest = file.read().split(b"\n")
                if self._file is None:
                    self._file, self._rest = file, rest
                raw[:0] = lines[-(most - len(raw)) :] if len(raw) < most else ()
        return [parsed(each) for each in raw]

    def _go_on(self, newest_first: list[BinaryIO]) -> Iterator[Line]:
        for file in reversed(newest_first):
            self.close()
            if self._rest:  # a line without an end: its hotpipe was killed
                yield parsed(self._rest)
            self._file, self._rest = file, b""
            yield from self._read(file)

    def _read(self, file: BinaryIO) -> Iterator[Line]:
        if os.fstat(file.fileno()).st_size < file.tell():  # somebody has emptied it
            file.seek(0)
            self._rest = b""
        while chunk := file.read(_CHUNK):
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            yield from map(parsed, lines)


class Reader:
    """Several logs as one: those of `wanted`, or of whoever has one (none)."""

    def __init__(self, folder: str, wanted: Iterable[Source] | None) -> None:
        self._folder = folder
        self._wanted = None if wanted is None else tuple(wanted)
        self._logs: dict[Source, Log] = {}

    @property
    def sources(self) -> list[Source]:
        return list(self._logs)

    def close(self) -> None:
        for log in self._logs.values():
            log.close()

    def lines(self) -> Iterator[Told]:
        """What there is, or has come since, by time."""
        self._look()
        return _merged((log.source, log.lines()) for log in self._logs.values())

    def last(self, most: int) -> list[Told]:
        """The last lines of all logs together."""
        self._look()
        return list(deque(_merged((log.source, log.last(most)) for log in self._logs.values()), most))

    def _look(self) -> None:
        for source in self._wanted if self._wanted is not None else sources(self._folder):
            if source not in self._logs:
                self._logs[source] = Log(self._folder, source)


def _merged(logs: Iterable[tuple[Source, Iterable[Line]]]) -> Iterator[Told]:
    return heapq.merge(*(_named(source, lines) for source, lines in logs), key=lambda told: told[1].time)


def _named(source: Source, lines: Iterable[Line]) -> Iterator[Told]:
    return ((source, line) for line in lines)


def _newest_first(path: str) -> list[BinaryIO]:
    """The files of a log. One that is moved meanwhile is met again, further down, and not taken twice."""
    files: list[BinaryIO] = []
    for suffix in ("", *(f".{number}" for number in range(1, OLD + 1))):
        with contextlib.suppress(OSError):
            file = open(f"{path}{suffix}", "rb", opener=_without_waiting)  # noqa: SIM115 - whoever reads closes it
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode) and not any(_is_same(file, other) for other in files):
                files.append(file)
            else:
                file.close()
    return files


def _since(known: BinaryIO, newest_first: list[BinaryIO]) -> list[BinaryIO]:
    """Those that are newer than the known one; all where it is gone."""
    for place, file in enumerate(newest_first):
        if _is_same(known, file):
            for old in newest_first[place:]:
                old.close()
            return newest_first[:place]
    return newest_first


def _is_same(one: BinaryIO, other: BinaryIO) -> bool:
    return os.path.samestat(os.fstat(one.fileno()), os.fstat(other.fileno()))


def _stands_at(path: str, file: BinaryIO) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(file.fileno()))
    except OSError:
        return os.fstat(file.fileno()).st_nlink > 0 and not os.path.exists(f"{path}.1")


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)

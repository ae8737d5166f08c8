"""`--daemon`: hotpipe goes on without a terminal, and whoever started it learns whether it has come up.

How it works: fork, setsid, fork again (daemon(7)); the grandchild is adopted by init and can never get a terminal. A
pipe connects it to the process that the user started, which waits for one line: that it has started, or why not. If the
pipe ends without one, the daemon has died. Nothing may have started a thread or taken a lock before: neither survives a
fork.
"""

import contextlib
import fcntl
import os
import sys
from dataclasses import dataclass
from types import TracebackType
from typing import NoReturn, Self

import msgspec

from hotpipe.errors import HotpipeError

INTERNAL_ERROR = 3
_LOG = os.path.join(".hotpipe", "logs", "hotpipe.log")
_FIRST_FREE = 3  # standard descriptors may have been closed: nothing of ours may take their numbers
_LONGEST = 1 << 20  # bytes of what a daemon says about its start


@dataclass(frozen=True, slots=True)
class Daemon:
    """What the process that the user started gets: the daemon has started, and there is nothing left to do."""

    pid: int
    log: str


class _Word(msgspec.Struct, frozen=True, kw_only=True):
    """What the daemon says of itself: the exit code is 0 if it has started."""

    exit_code: int
    pid: int = 0
    message: str = ""
    hint: str = ""


class Started:
    """What the daemon itself gets: it says once how its start went. In `with`, an error on the way out is said too."""

    def __init__(self, pipe: int) -> None:
        self._pipe: int | None = pipe

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, HotpipeError):
            self.failed(error.message, error.exit_code, error.hint)
        self._hang_up()

    def ok(self) -> None:
        """The lock is taken and the sockets are open. Raises HotpipeError where nobody waits for that any more: a user
        who has pressed Ctrl-C meanwhile wants no daemon."""
        try:
            self._say(_Word(exit_code=0, pid=os.getpid()))
        except BrokenPipeError as error:
            raise HotpipeError("who started this daemon has not waited for it") from error

    def failed(self, message: str, exit_code: int, hint: str = "") -> None:
        """It has not come up: the user sees `message` and gets `exit_code`."""
        with contextlib.suppress(BrokenPipeError):
            self._say(_Word(exit_code=exit_code or INTERNAL_ERROR, message=message, hint=hint))

    def _say(self, word: _Word) -> None:
        if self._pipe is None:
            return
        try:
            with open(self._pipe, "wb") as pipe:
                pipe.write(msgspec.json.encode(word) + b"\n")
        finally:
            self._pipe = None

    def _hang_up(self) -> None:
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None


def daemonize(root: str) -> Started | Daemon:
    """Return twice: `Started` in the daemon, and `Daemon` in the calling process as soon as the daemon has said ok.

    Raises HotpipeError, in the calling process only: with the daemon's own message and exit code where it has said
    why it could not start, with exit code 3 where it died without a word, with 1 where its log cannot be opened.
    """
    log = os.path.join(root, _LOG)
    output = _open_log(log)
    heard, said = map(_out_of_the_way, os.pipe2(os.O_CLOEXEC))
    _flush()
    try:
        child = os.fork()
    except OSError as error:
        raise HotpipeError(f"cannot start a daemon: {error.strerror}") from error
    if child:
        os.close(said)
        os.close(output)
        os.waitpid(child, 0)
        return _verdict(heard, log)
    os.close(heard)
    _detach()
    _redirect(output)
    return Started(said)


def _open_log(log: str) -> int:
    try:
        os.makedirs(os.path.dirname(log), exist_ok=True)
        return _out_of_the_way(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise HotpipeError(f"cannot write {log}: {error.strerror}", hint="run it without --daemon") from error


def _out_of_the_way(descriptor: int) -> int:
    if descriptor >= _FIRST_FREE:
        return descriptor
    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE)
    finally:
        os.close(descriptor)


def _flush() -> None:
    """What is in a buffer would be written by each process anew."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with contextlib.suppress(OSError, ValueError):
                stream.flush()


def _detach() -> None:
    """A session without a terminal, and not its leader, who alone could get one: setsid(2)."""
    try:
        os.setsid()
        child = os.fork()
    except OSError:
        _vanish(INTERNAL_ERROR)
    if child:
        _vanish(0)


def _vanish(status: int) -> NoReturn:
    """End at once: buffers and exit functions belong to the process that was forked."""
    os._exit(status)


def _redirect(output: int) -> None:
    nothing = _out_of_the_way(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.close(nothing)
    os.close(output)
    # One line at a time, in the log's own encoding: a terminal's, or none where they had been closed, no longer counts.
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)


def _verdict(heard: int, log: str) -> Daemon:
    with open(heard, "rb") as pipe:
        said = pipe.readline(_LONGEST)
    try:
        word = msgspec.json.decode(said, type=_Word)
    except msgspec.DecodeError:
        raise _error("the daemon died before it had started", INTERNAL_ERROR, f"its last words: {log}") from None
    if word.exit_code:
        raise _error(word.message, word.exit_code, word.hint)
    return Daemon(word.pid, log)


def _error(message: str, exit_code: int, hint: str) -> HotpipeError:
    error = HotpipeError(message, hint=hint)
    error.exit_code = exit_code
    return error

"""Ask the hotpipes that run in a project: blocking, with nothing but the standard library's sockets."""

import contextlib
import os
import socket
import time
from typing import Any

from hotpipe.control import protocol
from hotpipe.control.address import FOLDER, NAMES, reachable
from hotpipe.control.protocol import Request
from hotpipe.errors import HotpipeError, NotRunning, UsageError

_CHUNK = 1 << 16
_LOOK_AGAIN_S = 0.01


class Link:
    """The way to one running hotpipe; `status` is what it has said of itself."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.status: dict[str, Any] = {}

    def ask(self, request: Request, timeout_s: float = 10.0) -> dict[str, Any]:
        """The fields of its answer; raises NotRunning where none comes in time, HotpipeError where it refuses."""
        line = _answer(self._path, protocol.encode(request), timeout_s)
        if not line:
            raise NotRunning
        return protocol.outcome(line)


def links(root: str) -> list[Link]:
    """The hotpipes that answer: one, or two where a gate and a server half run side by side. Raises HotpipeError."""
    found: list[Link] = []
    for name in NAMES:
        link = Link(os.path.join(root, FOLDER, name))
        with contextlib.suppress(NotRunning):
            link.status = link.ask(Request(verb="status"))
            found.append(link)
    return found


def ask(root: str, request: Request, timeout_s: float = 10.0) -> list[dict[str, Any]]:
    """The fields of each answer: one, or two where a gate and a server half run side by side.

    One that gives no answer in time is left out. Raises NotRunning where none is left, HotpipeError where one refuses.
    """
    folder = os.path.join(root, FOLDER)
    line = protocol.encode(request)
    answers = [_answer(os.path.join(folder, name), line, timeout_s) for name in NAMES]
    given = [answer for answer in answers if answer]
    if not given:
        raise NotRunning
    return [protocol.outcome(answer) for answer in given]


def talk(root: str, request: Request, timeout_s: float = 10.0) -> tuple[dict[str, Any], socket.socket, bytes]:
    """Of the first that agrees: the fields of its answer, the connection, and what has come on it after the answer.

    Raises NotRunning where none runs, HotpipeError where all refuse.
    """
    refusals: list[HotpipeError] = []
    for name in NAMES:
        with contextlib.suppress(OSError):
            control = _connected(os.path.join(root, FOLDER, name), timeout_s)
            try:
                control.sendall(protocol.encode(request))
                line, _, rest = _line(control, time.monotonic() + timeout_s).partition(b"\n")
                answer = protocol.outcome(line)
            except HotpipeError as error:
                control.close()
                refusals.append(error)
            except BaseException:
                control.close()
                raise
            else:
                control.settimeout(None)
                return answer, control, rest
    # One that has no such server says less than the one that has it, and says why not.
    raise next((each for each in refusals if not isinstance(each, UsageError)), (refusals or [NotRunning()])[-1])


def _answer(path: str, line: bytes, timeout_s: float) -> bytes:
    """The line that comes back; nothing where nobody is there, or nobody answers in time."""
    with contextlib.suppress(OSError), _connected(path, timeout_s) as control:
        with contextlib.suppress(OSError):  # it may have answered and hung up before it read all
            control.sendall(line)
        return _line(control, time.monotonic() + timeout_s)
    return b""


def _connected(path: str, timeout_s: float) -> socket.socket:
    control = socket.socket(socket.AF_UNIX)
    control.settimeout(timeout_s)
    try:
        with reachable(path) as name:
            _connect(control, name, time.monotonic() + timeout_s)
    except PermissionError as error:
        control.close()
        raise HotpipeError(f"{path} belongs to another user", hint="ask as that one") from error
    except BaseException:
        control.close()
        raise
    return control


def _connect(control: socket.socket, name: str, until: float) -> None:
    while True:
        try:
            return control.connect(name)
        except BlockingIOError:  # its queue is full: a unix socket with a timeout does not wait for that, unix(7)
            if time.monotonic() > until:
                raise
            time.sleep(_LOOK_AGAIN_S)


def _line(control: socket.socket, until: float) -> bytes:
    line = b""
    while b"\n" not in line:
        control.settimeout(max(0.001, until - time.monotonic()))
        chunk = control.recv(_CHUNK)
        if not chunk:
            return b""
        line += chunk
    return line

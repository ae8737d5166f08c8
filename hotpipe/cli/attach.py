"""`hotpipe attach`: the user's terminal in the place of a server's, over the control socket.

How it works: after one line of answer the connection carries bytes both ways. The user's terminal is raw meanwhile, for
the server's own does the rest: it echoes, edits lines, and ends them with CR LF.
"""

import contextlib
import os
import select
import signal
import socket
import sys
import termios
import time
import tty
from collections.abc import Iterator
from typing import Any

import click

from hotpipe.cli import asking
from hotpipe.config.model import nearest
from hotpipe.control import Request
from hotpipe.errors import HotpipeError, UsageError

_STDIN, _STDOUT = 0, 1
_CHUNK = 1 << 14
_LEAVE = b"\x1d\x03"  # Ctrl-], as telnet(1); and Ctrl-C, for who is in a hurry means this program, not the server
_GRACE_S = 5.0  # for the answer to what came through a pipe
_QUIET_S = 1.0  # after which no more of an answer is to be expected
_ENDING = (signal.SIGTERM, signal.SIGHUP)
_SANE = b"\x1b[?2004l\x1b[0m\r\n"  # what a line editor and colours may have left behind


@click.command(short_help="Type to a server: answer its debugger, say.")
@click.argument("server", required=False)
@asking.config_option
def command(config_file: str | None, server: str | None) -> None:
    """Type to SERVER, and see what it writes, at the newest generation or one that waits for an answer.

    Ctrl-] and Ctrl-C leave; the server goes on. What comes through a pipe is sent, and its answer shown.
    """
    name = _chosen(config_file, server)
    answer, line, rest = asking.talk(config_file, Request(verb="attach", server=name))
    with line, _ended_by_signals():
        click.echo(_greeting(answer), err=not os.isatty(_STDOUT))
        with _raw():
            _relay(line, rest)


def _chosen(config_file: str | None, server: str | None) -> str:
    answers = asking.ask(config_file, Request(verb="status"))
    known = [each["name"] for answer in answers for each in answer.get("servers", ())]
    if not known:
        raise HotpipeError("what runs in this project has no server", hint="start one with `hotpipe serve`")
    if server is None and len(known) > 1:
        raise UsageError(f"attach to which server? There are {', '.join(known)}")
    if server is not None and server not in known:
        raise UsageError(f"there is no server {server!r}{nearest(server, known)}; the servers are {', '.join(known)}")
    return server or str(known[0])


def _greeting(answer: dict[str, Any]) -> str:
    name, generation = answer.get("server"), answer.get("generation")
    where = f"generation {generation} (pid {answer.get('pid')})" if generation else "which does not run: wait"
    return f"attached to {name}, {where}; Ctrl-] leaves, the server goes on"


def _relay(line: socket.socket, shown: bytes) -> None:
    """Until the user leaves, or nobody is at the other end."""
    until = float("inf")  # there is no more to be sent: how long an answer is waited for
    quiet_s: float | None = None
    poll = select.poll()
    poll.register(line, select.POLLIN)
    poll.register(_STDIN, select.POLLIN)
    _show(shown)
    while time.monotonic() < until:
        ready = {descriptor for descriptor, _ in poll.poll(None if quiet_s is None else quiet_s * 1e3)}
        if not ready:
            return
        if line.fileno() in ready and not _show(_received(line)):
            return
        if _STDIN in ready:
            keys, leaves = _typed()
            _send(line, keys)
            if leaves:
                return
            if not keys:
                poll.unregister(_STDIN)
                until, quiet_s = time.monotonic() + _GRACE_S, _QUIET_S


def _typed() -> tuple[bytes, bool]:
    """The keys, and whether the user leaves after them. No keys: there will be no more."""
    try:
        keys = os.read(_STDIN, _CHUNK)
    except OSError:  # the terminal is gone, or was never there
        return b"", False
    if not os.isatty(_STDIN):
        return keys, False
    ends = [place for place in map(keys.find, (_LEAVE[:1], _LEAVE[1:])) if place >= 0]
    return (keys[: min(ends)], True) if ends else (keys, not keys)


def _send(line: socket.socket, keys: bytes) -> None:
    with contextlib.suppress(OSError):  # what it said last is still to be read
        line.sendall(keys)


def _received(line: socket.socket) -> bytes:
    with contextlib.suppress(ConnectionError):
        return line.recv(_CHUNK)
    return b""


def _show(chunk: bytes) -> bool:
    """Whether there was anything, and somebody who reads it."""
    rest = chunk if os.isatty(_STDOUT) else chunk.replace(b"\r\n", b"\n")
    try:
        while rest:
            rest = rest[os.write(_STDOUT, rest) :]
    except OSError:
        return False
    return bool(chunk)


@contextlib.contextmanager
def _raw() -> Iterator[None]:
    """Each key is the server's; afterwards the terminal is as it was, whatever has happened."""
    if not os.isatty(_STDIN):
        yield
        return
    before = termios.tcgetattr(_STDIN)
    try:
        tty.setraw(_STDIN, termios.TCSADRAIN)
        yield
    finally:
        with contextlib.suppress(termios.error):  # the terminal is gone
            termios.tcsetattr(_STDIN, termios.TCSADRAIN, before)
        if os.isatty(_STDOUT):
            _show(_SANE)


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """As by an exception, so that the terminal is put in order."""
    before = {number: signal.signal(number, _end) for number in _ENDING}
    try:
        yield
    finally:
        for number, action in before.items():
            signal.signal(number, action)


def _end(number: int, _: object) -> None:
    sys.exit(128 + number)

"""The terminal: its alternate screen, its modes, and that it is given back as it was.

Invariant: nothing here waits for the terminal. One that is stuck (Ctrl-S) or that nobody reads takes no writes, and one
that is closed takes none any more; for neither hotpipe stands still. So it is opened anew: O_NONBLOCK on the
descriptors that hotpipe was started with would be the shell's, too. Such a terminal takes a part of a picture, cut
anywhere: nobody else in this process may write to it then, so what they have to say is an `aside`.
"""

import contextlib
import os
import select
import signal
import termios
import time
from collections import deque

import anyio

from hotpipe.ui.tui.fit import is_foreground

_ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[?2004h\x1b[2J"  # alternate screen, no cursor, no wrapping, pastes are marked
_LEAVE = "\x1b\\\x1b[?2026l\x1b[m\x1b[?2004l\x1b[?7h\x1b[?25h\x1b[?1049l"  # ST first: a write may have been cut short
_PATIENCE_S = 1.0  # for a terminal that takes nothing, when it is to be left
_SPELL = 65_536
_MOST_ASIDES = 100  # where it takes nothing
_SMALLEST = os.terminal_size((20, 5))


class Terminal:
    """The terminal that hotpipe was started from; raises OSError where there is none."""

    def __init__(self, device: str = "/dev/tty") -> None:
        self._device = os.open(device, os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        self._usual = termios.tcgetattr(self._device)
        self.is_entered = False
        self.is_gone = False
        self._is_lent = False
        self._asides: deque[str] = deque(maxlen=_MOST_ASIDES)

    def size(self) -> os.terminal_size:
        """As it is now; a terminal that does not know says 0."""
        try:
            size = os.get_terminal_size(self._device)
        except OSError:
            return _SMALLEST
        return size if size.columns and size.lines else os.terminal_size((80, 24))

    def is_ours(self) -> bool:
        """Whether keys come to this process, and what it writes is looked at."""
        return is_foreground(self._device)

    def enter(self) -> None:
        """Take the whole screen; not in the background. The keys of job control go on working: ISIG stays on."""
        self._take_back()
        try:
            modes = termios.tcgetattr(self._device)
        except termios.error:
            self.is_gone = True
            return
        modes[3] &= ~(termios.ICANON | termios.ECHO | termios.IEXTEN)
        modes[6][termios.VMIN], modes[6][termios.VTIME] = 1, 0
        self._set(modes)
        self.is_entered = True
        self._say(_ENTER)

    def leave(self) -> None:
        """All as it was. May be called at any time, and again; does not raise."""
        self._take_back()
        if not self.is_entered:
            return
        self.is_entered, is_ours = False, self.is_ours()
        if is_ours:
            self._go_on()
        self._say(_LEAVE)
        if is_ours:  # else the modes are those of whoever has it by now
            self._set(self._usual)

    def lend(self) -> None:
        """To a program that reads keys, until `enter` or `leave`: none of them ends or stops hotpipe meanwhile."""
        self.leave()
        modes = list(self._usual)
        modes[3] = self._usual[3] & ~(termios.ISIG | termios.ICANON | termios.ECHO | termios.IEXTEN)
        self._is_lent = True
        self._set(modes)

    def print(self, text: str) -> None:
        """Into the normal screen, after what was still to be said beside the other one."""
        if not self.is_entered:
            self._say("".join(self._asides) + text)
            self._asides.clear()

    def aside(self, sequence: str) -> bool:
        """Write what changes no picture (a title, say) before the next one; whether it will be."""
        if self.is_entered:
            self._asides.append(sequence)
        return self.is_entered

    async def write(self, text: str) -> None:
        """Returns when it is written, however long the terminal is stuck; or when the screen is not ours any more."""
        if self.is_entered:
            text = "".join(self._asides) + text
            self._asides.clear()
        rest = memoryview(text.encode("utf-8", "replace"))
        while rest and self.is_entered and not self.is_gone:
            try:
                rest = rest[os.write(self._device, rest[:_SPELL]) :]
            except BlockingIOError:
                await anyio.wait_writable(self._device)
            except OSError:
                self.is_gone = True

    async def read(self) -> bytes:
        """What is typed; nothing, where that is for somebody else, or there is no terminal any more."""
        while not self.is_gone:
            try:
                await anyio.wait_readable(self._device)
                if not self.is_ours():  # it would stop the process
                    return b""
                if typed := os.read(self._device, 4_096):
                    return typed
                self.is_gone = True
            except BlockingIOError:
                continue
            except OSError:
                self.is_gone = True
        return b""

    def _say(self, text: str) -> None:
        """At once, or not at all."""
        rest, end = memoryview(text.encode("utf-8", "replace")), time.monotonic() + _PATIENCE_S
        ready = select.poll()
        ready.register(self._device, select.POLLOUT)
        while rest and not self.is_gone and time.monotonic() < end:
            try:
                rest = rest[os.write(self._device, rest) :]
            except BlockingIOError:
                ready.poll(50)
            except OSError:
                self.is_gone = True

    def _take_back(self) -> None:
        """With the modes that it had, whatever has become of them; a Ctrl-C too many is not for hotpipe."""
        if self._is_lent and self.is_ours():
            with contextlib.suppress(termios.error):
                termios.tcflush(self._device, termios.TCIFLUSH)
            self._set(self._usual)
        self._is_lent = False

    def _set(self, modes: list[int | list[bytes | int]]) -> None:
        """Without waiting for what is still to be written. With SIGTTOU blocked, the background may: tcsetattr(3p)."""
        masked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
        try:
            termios.tcsetattr(self._device, termios.TCSANOW, modes)
        except (OSError, termios.error):
            self.is_gone = True
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, masked)

    def _go_on(self) -> None:
        """After Ctrl-S nothing would come through. Without IXON Linux goes on: n_tty_set_termios()."""
        modes = list(self._usual)
        modes[0] &= ~termios.IXON
        self._set(modes)

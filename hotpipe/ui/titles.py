"""What a terminal can be told beside what it shows: its title, and a notification (OSC 9).

How it works: the controlling terminal is opened anew and never blocks, and each sequence is one write(2), which nobody
else's can come between: the kernel takes one writer at a time (tty_write_lock in drivers/tty/tty_io.c). But a picture
may take several, cut anywhere: a face that draws some is given the sequence, as an aside. What the terminal has no room
for is dropped; the next change says how things stand.
"""

import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_TITLED = (
    "xterm", "tmux", "rxvt", "alacritty", "foot", "konsole", "contour", "ghostty", "wezterm", "iterm", "mintty",
    "gnome", "vte", "st-",
)  # fmt: skip
_NOTIFIED_KINDS = ("xterm-kitty", "xterm-ghostty", "foot", "wezterm")
_NOTIFIED_PROGRAMS = frozenset({"iTerm.app", "WezTerm", "ghostty"})
_PUSH, _POP = "\x1b[22;0t", "\x1b[23;0t"  # XTPUSHTITLE, XTPOPTITLE of xterm's ctlseqs


Aside = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Means:
    """What a terminal takes; what it does not, it would show."""

    title: bool = False
    notice: bool = False

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "Means":
        """As far as its names tell. A multiplexer has a title of its own, and passes no notice on."""
        kind, inside = environ.get("TERM", ""), bool(environ.get("TMUX") or environ.get("STY"))
        if environ.get("INSIDE_EMACS") or environ.get("STY"):
            return cls()
        titled = kind.startswith(_TITLED) or bool(environ.get("TMUX") and kind.startswith("screen"))
        named = kind.startswith(_NOTIFIED_KINDS) or environ.get("TERM_PROGRAM") in _NOTIFIED_PROGRAMS
        return cls(titled, titled and named and not inside)


class Terminal:
    """The terminal that hotpipe was started from, for as long as `with` lasts; then its title is as it was."""

    def __init__(self, means: Means, device: str = "/dev/tty", aside: Aside | None = None) -> None:
        """`aside` is who writes instead, where a face has the terminal to itself."""
        self._means = means
        self._title = ""
        self._aside = aside
        self._device: int | None = None
        if aside is None and (means.title or means.notice):
            with contextlib.suppress(OSError):  # there is none
                self._device = os.open(device, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        self.forget()
        if self._device is not None:
            os.close(self._device)

    def entitle(self, title: str) -> None:
        """Give it this title, which must be printable; the one before is kept for `forget`."""
        if (
            self._means.title
            and title != self._title
            and self._say(f"{'' if self._title else _PUSH}\x1b]2;{title}\x07")
        ):
            self._title = title

    def forget(self) -> None:
        """Give it the title that it had."""
        if self._title and self._say(_POP):
            self._title = ""

    def notify(self, text: str) -> None:
        """Have it tell the user, who may look elsewhere; `text` must be printable."""
        if self._means.notice:
            self._say(f"\x1b]9;{text}\x07")

    def _say(self, sequence: str) -> bool:
        """Whether it was taken. Not from the background: where `stty tostop` is set, that would stop hotpipe."""
        if self._aside is not None:
            return self._aside(sequence)
        if self._device is None or not _is_foreground(self._device):
            return False
        try:
            return os.write(self._device, sequence.encode()) > 0
        except OSError:  # no room, or no terminal any more
            return False


def _is_foreground(device: int) -> bool:
    try:
        return os.tcgetpgrp(device) == os.getpgrp()
    except OSError:
        return False

"""Whether the terminal face has a terminal that it can use. Loads nothing: most verbs ask this and go on without it."""

import os
import sys
from collections.abc import Mapping
from typing import TextIO

_NO_CURSOR = frozenset({"", "dumb", "unknown"})


def unfit(environ: Mapping[str, str]) -> str:
    """What is in the way of the terminal face; empty: nothing."""
    for name, stream in (("standard output", sys.stdout), ("standard input", sys.stdin)):
        if not _is_terminal(stream):
            return f"{name} is no terminal"
    if environ.get("TERM", "") in _NO_CURSOR:
        return f"a terminal of the kind {environ.get('TERM') or '(TERM is not set)'} cannot move its cursor"
    if not is_foreground(0) or not is_foreground(1):
        return "it does not run in the foreground of its terminal"
    return _not_addressed()


def is_foreground(descriptor: int) -> bool:
    """Whether that is the terminal that this process belongs to, and what is typed there is for it.

    Anybody else who reads from it, or sets its modes, is stopped: SIGTTIN, SIGTTOU.
    """
    try:
        return os.tcgetpgrp(descriptor) == os.getpgrp()
    except OSError:  # ENOTTY: another session's
        return False


def is_ci(environ: Mapping[str, str]) -> bool:
    """Whether what is written goes into a log, terminal or not."""
    return any(environ.get(name, "").lower() not in {"", "0", "false"} for name in ("CI", "GITHUB_ACTIONS"))


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()


def _not_addressed() -> str:
    """A terminal that terminfo(5) does not know is taken for one like xterm: newer ones all are."""
    try:
        import curses  # noqa: PLC0415 - start-up time
    except ImportError:  # a Python that was built without it
        return ""
    try:
        curses.setupterm()
    except (curses.error, OSError):
        return ""
    return "" if curses.tigetstr("cup") else f"TERM={os.environ.get('TERM')} cannot move its cursor"

"""The command that shows a notice on the desktop. Pure: the environment is passed in.

Texts go as arguments, never through a shell, and where they would be read as markup or as options, they are not.
"""

import html
import shutil
from collections.abc import Callable, Mapping

from hotpipe.ui.notices import Notice

Which = Callable[[str], str | None]
_SCRIPT = ("on run argv", "display notification (item 2 of argv) with title (item 1 of argv)", "end run")


def command(notice: Notice, environ: Mapping[str, str], platform: str, which: Which = shutil.which) -> tuple[str, ...]:
    """The argv; none where there is no desktop, or nothing that talks to it. Through SSH the desktop is elsewhere."""
    if environ.get("SSH_CONNECTION") or environ.get("SSH_TTY"):
        return ()
    if platform == "darwin":
        return _osascript(notice) if which("osascript") else ()
    has_display = environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY")
    return _notify_send(notice) if has_display and which("notify-send") else ()


def _osascript(notice: Notice) -> tuple[str, ...]:
    """osascript(1): arguments behind the script are those of `run`."""
    script = (part for line in _SCRIPT for part in ("-e", line))
    return ("osascript", *script, notice.title, notice.body)


def _notify_send(notice: Notice) -> tuple[str, ...]:
    """notify-send(1); the body has markup: Desktop Notifications Specification 1.2, "Markup"."""
    urgency = "low" if notice.good else "normal"
    options = ("--app-name=hotpipe", f"--urgency={urgency}", "--hint=int:transient:1")
    return ("notify-send", *options, "--", notice.title, html.escape(notice.body, quote=False))

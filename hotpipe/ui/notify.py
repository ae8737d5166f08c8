"""Tells notices: on the desktop, or else by the terminal; and keeps the terminal's title true.

Invariant: nothing here delays or ends anything. A program that is missing, fails or hangs is no trouble of the user's.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import anyio

from hotpipe.bus import Inbox
from hotpipe.config.model import Notify
from hotpipe.errors import SpawnError
from hotpipe.process.command import Command, environment
from hotpipe.process.system import Processes
from hotpipe.ui import desktop
from hotpipe.ui.notices import Notice, Notices, latest
from hotpipe.ui.titles import Aside, Means, Terminal
from hotpipe.ui.tui.fit import is_ci

_PATIENCE_S = 5.0
_GRACE_S = 1.0


@dataclass(frozen=True, slots=True)
class Around:
    """What is there to tell with; `wanted` is what the configuration says now, `root` the project's folder.

    `aside` writes to the terminal where a face has it to itself.
    """

    wanted: Callable[[], Notify]
    processes: Processes
    root: str
    environ: Mapping[str, str]
    aside: Aside | None = None

    def means(self) -> Means:
        """Of the terminal; none where standard output goes elsewhere, as a daemon's does."""
        is_shown = sys.stdout is not None and sys.stdout.isatty()
        return Means.of(self.environ) if is_shown else Means()


async def tell(around: Around, notices: Notices, inbox: Inbox) -> None:
    """Tell what `notices` makes of the events, until the inbox is closed. A CI has nobody to tell."""
    if is_ci(around.environ):
        return
    with Terminal(around.means(), aside=around.aside) as terminal:
        async for batch in inbox.batches():
            due = latest(filter(None, map(notices.apply, batch)))
            if around.wanted().terminal:
                terminal.entitle(notices.title)
            else:
                terminal.forget()
            for notice in due:
                await _tell(around, notice, terminal)


async def _tell(around: Around, notice: Notice, terminal: Terminal) -> None:
    """Once: by the terminal only where the desktop could not."""
    wanted = around.wanted()
    argv = desktop.command(notice, around.environ, sys.platform) if wanted.desktop else ()
    if argv and await _succeeds(around, argv):
        return
    if wanted.terminal:
        terminal.notify(f"{notice.title}: {notice.body}")


async def _succeeds(around: Around, argv: tuple[str, ...]) -> bool:
    try:
        child = around.processes.spawn(Command(argv, around.root, environment()))
    except SpawnError:
        return False
    try:
        with anyio.move_on_after(_PATIENCE_S):
            return (await child.finish(lambda *_: None)).returncode == 0
        return False
    finally:
        with anyio.CancelScope(shield=True):
            if child.exit is None:
                await around.processes.stop(child, "TERM", _GRACE_S)
            else:
                await around.processes.tidy(child)

"""One picture after the other: the scene, drawn for the terminal. Loads rich."""

import math
import os

from hotpipe.actions import Actions
from hotpipe.ui.style import Style
from hotpipe.ui.tui.controls import Controls
from hotpipe.ui.tui.ink import Ink
from hotpipe.ui.tui.layout import Drawn, Scene, draw
from hotpipe.ui.tui.looks import NOTHING
from hotpipe.ui.tui.together import Together
from hotpipe.ui.view import View

_AFTER_S = 0.3  # so that a message that is to go is seen to be gone


class Picture:
    """The scene of these, and what of it was drawn last."""

    def __init__(self, view: View, together: Together, actions: Actions, style: Style) -> None:
        self._scene = Scene(view, together=together)
        self._drawn = Drawn([], NOTHING, 0, 0, 0, None)
        self._controls = Controls(self._scene, actions)
        self._ink = Ink.of(style, os.environ)

    def rows(self, size: os.terminal_size, now: float) -> list[str]:
        """The rows of the screen, with their escapes."""
        self._drawn = draw(self._scene, size, self._ink, now)
        return [self._ink.escapes(line, size.columns) for line in self._drawn.lines]

    def press(self, key: str) -> None:
        self._controls.press(key, self._drawn)

    def say(self, message: str) -> None:
        self._controls.say(message)

    def keep(self, message: str) -> None:
        self._controls.keep(message)

    def moves(self, now: float) -> bool:
        """Whether it changes by itself: something is at work, or a message is to go."""
        view, looks = self._scene.view, self._scene.looks
        at_work = view.run is not None and view.run.status is None
        told = now < looks.until + _AFTER_S < math.inf
        return at_work or told or any(server.candidate for server in view.servers.values())

    def server(self) -> str | None:
        """The one that a key means: whose log is shown, else who asked for input last, else the first."""
        view, choice = self._scene.view, self._drawn.choice
        chosen = choice.name if choice.kind == "server" else asking(view)
        return chosen if chosen in view.servers else next(iter(view.servers), None)


def asking(view: View) -> str:
    """The server that has come to a prompt last; empty: none has."""
    prompts = (warning.message for warning in reversed(view.warnings) if warning.code == "server.prompt")
    return next(prompts, "").partition(" ")[0]  # "web waits for input: (Pdb)"

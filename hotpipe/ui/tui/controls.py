"""What each key does: another look at things, or something that hotpipe is asked for."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from hotpipe.actions import Actions
from hotpipe.errors import HotpipeError
from hotpipe.ui import words
from hotpipe.ui.tui import looks
from hotpipe.ui.tui.layout import Drawn, Scene
from hotpipe.ui.tui.looks import Choice, Looks

_MESSAGE_S = 4.0
_LISTS = {"f": looks.FAILURES, "w": looks.WARNINGS, "?": looks.HELP}
_STEPS = {"l": 1, "tab": 1, "backtab": -1}
_STARTS, _ENDS = {"home", "g"}, {"end", "G"}


class Controls:
    """The keys that need nothing but `Actions`; what they change is the scene's looks."""

    def __init__(self, scene: Scene, actions: Actions) -> None:
        self._scene = scene
        self._actions = actions
        self._asks: dict[str, Callable[[], str]] = {
            "r": self._rerun,
            "ctrl-r": self._rerun,
            "R": self._restart,
            "p": self._pause,
            "q": self._quit,
        }

    def press(self, key: str, drawn: Drawn) -> None:
        """`drawn` is what the user sees."""
        self._heed()
        if key in self._asks:
            self.say(self._asked(self._asks[key]))
        elif key in _LISTS:
            self._list(_LISTS[key])
        elif key == "esc":
            self._choose(None)
        elif key in _STEPS:
            self._choose(looks.following(self._scene.view, drawn.choice, _STEPS[key]))
        elif key in "123456789":
            self._choose_nth(int(key), looks.logs(self._scene.view))
        else:
            self._scroll(key, drawn)

    def say(self, message: str) -> None:
        """Show it for a while."""
        self._set(replace(self._scene.looks, message=message, until=time.monotonic() + _MESSAGE_S))

    def keep(self, message: str) -> None:
        """Show it until a key is pressed: an address is to be copied."""
        self._set(replace(self._scene.looks, message=message, until=math.inf))

    def _heed(self) -> None:
        """Somebody is there: what has waited for that goes."""
        before = self._scene.looks
        until = 0.0 if before.until == math.inf else before.until
        self._set(replace(before, typed=True, until=until))

    def _set(self, changed: Looks) -> None:
        self._scene.looks = changed

    def _choose(self, choice: Choice | None) -> None:
        self._set(replace(self._scene.looks.choosing(choice), message=""))

    def _choose_nth(self, number: int, there: Sequence[Choice]) -> None:
        if number <= len(there):
            self._choose(there[number - 1])

    def _list(self, choice: Choice) -> None:
        """The same key again closes it."""
        self._choose(None if self._scene.looks.chosen == choice else choice)
        warnings = self._scene.view.warnings
        if choice == looks.WARNINGS and warnings:
            self._set(replace(self._scene.looks, seen=warnings[-1]))

    def _scroll(self, key: str, drawn: Drawn) -> None:
        if key in _STARTS or key in _ENDS:
            self._set(replace(self._scene.looks, top=0 if key in _STARTS else drawn.tail))
            return
        page = max(1, drawn.rows - 1)
        steps = {"up": -1, "k": -1, "down": 1, "j": 1, "pgup": -page, "pgdn": page, " ": page}.get(key)
        if steps is not None:
            top = max(0, drawn.first + steps)
            self._set(replace(self._scene.looks, top=top if top + drawn.rows < drawn.end else drawn.tail))

    def _asked(self, ask: Callable[[], str]) -> str:
        try:
            return ask()
        except HotpipeError as error:
            return f"{error.message}; {error.hint}" if error.hint else error.message

    def _rerun(self) -> str:
        return f"running {words.listed(self._actions.rerun()) or 'nothing'}"

    def _restart(self) -> str:
        return f"restarting {words.listed(self._actions.restart()) or 'nothing'}"

    def _pause(self) -> str:
        if self._scene.view.paused:
            self._actions.resume()
            return "saves are checked again"
        self._actions.pause()
        return "paused: saves start no runs until p"

    def _quit(self) -> str:
        if self._scene.view.ending:
            return "stopping; Ctrl-C kills at once"
        self._actions.quit()
        return ""

"""A changed configuration is applied if it is valid; otherwise that is said, and the last good one stays in force.

Invariant: the same content is told once. What was rejected for a reason outside of the file (a port in use) is tried
again whenever the file is written, the same content or not.
"""

import os
from collections.abc import Callable
from dataclasses import replace

from hotpipe import trigger
from hotpipe.config import file
from hotpipe.config.file import Project
from hotpipe.config.find import without_waiting
from hotpipe.errors import ConfigError, HotpipeError
from hotpipe.events import ConfigRejected, ConfigReloaded, Emit
from hotpipe.tree.lone import Lone
from hotpipe.trigger import Mark

Apply = Callable[[Project], ConfigReloaded]
"""Puts a project's configuration in force, and says what that is; raises HotpipeError where it cannot be done, and then
all is as it was."""


class Reload:
    """The configuration of one project. `run` it in a task."""

    def __init__(self, project: Project, apply: Apply, emit: Emit) -> None:
        self._project = project
        self._name = os.path.basename(project.file)
        self._apply = apply
        self._emit = emit
        self._lone = Lone(project.file, project.config.watch.poll)
        self._looked: tuple[Mark | None] | None = None  # both who watches the tree, and who watches the file, may tell
        self._rejected: tuple[bytes | None, tuple[str, ...]] | None = None

    @property
    def project(self) -> Project:
        """With the configuration that is in force."""
        return self._project

    async def run(self) -> None:
        """Apply each change, until cancelled."""
        self.look()  # it may have changed since it was read
        await self._lone.run(self.look)

    def look_unless_unfinished(self) -> None:
        """Apply what the file says now; one that is being written, or is away, is left to `run`."""
        if self._lone.is_whole():
            self.look()

    def look(self) -> None:
        """Apply what the file says now, if that is not in force."""
        mark, content = trigger.mark(self._project.file), _content(self._project.file)
        if self._looked == (mark,):
            return
        self._looked = (mark,)
        try:
            read = file.load(self._project.file, self._project.root)
            if read.config == self._project.config and self._rejected is None:
                return
            project = replace(self._project, config=read.config)
            reloaded = self._apply(project)
            self._project = project
        except HotpipeError as error:
            self._reject(content, _lines(error))
            return
        self._rejected = None
        self._emit(reloaded)

    def _reject(self, content: bytes | None, errors: tuple[str, ...]) -> None:
        if self._rejected != (content, errors):
            self._rejected = (content, errors)
            self._emit(ConfigRejected(path=self._name, errors=errors))


def _content(path: str) -> bytes | None:
    try:
        with open(path, "rb", opener=without_waiting) as opened:
            return opened.read()
    except OSError:
        return None


def _lines(error: HotpipeError) -> tuple[str, ...]:
    """As at the start."""
    if isinstance(error, ConfigError):
        return tuple(map(str, error.problems))
    return (f"{error.message} ({error.hint})" if error.hint else error.message,)

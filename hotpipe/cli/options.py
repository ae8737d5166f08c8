"""The options that the verbs have in common, and what they mean."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from hotpipe.cli import asking
from hotpipe.config import file
from hotpipe.config.file import Project
from hotpipe.errors import UsageError
from hotpipe.ui.face import Face, Screen
from hotpipe.ui.jsonl import JsonLines
from hotpipe.ui.links import Links, links
from hotpipe.ui.plain import Plain, Style
from hotpipe.ui.tui.fit import is_ci, unfit

_F = TypeVar("_F", bound=Callable[..., Any])
config_option = asking.config_option


@dataclass(frozen=True, slots=True)
class Shown:
    """How the user wants to see what happens."""

    json: bool
    no_color: bool
    quiet: bool
    verbose: bool
    tui: bool = False
    plain: bool = False

    def screen(self, project: Project) -> Face | Screen:
        """The face for a verb that goes on running: the terminal's where it has one, unless the user wants lines.

        Raises click.UsageError where --tui cannot be had.
        """
        reason = unfit(os.environ)
        if self.tui and reason:
            raise click.UsageError(f"--tui: {reason}")
        wants_lines = self.json or self.plain or self.quiet or self.verbose or is_ci(os.environ)
        if reason or (wants_lines and not self.tui):
            return self.face(project.root)
        from hotpipe.ui.tui.screen import Tui

        return Tui(self.style(project.root), project.file)

    def face(self, root: str) -> Face:
        """The face for it; `root` is the project's."""
        return JsonLines() if self.json else Plain(self.style(root))

    def style(self, root: str) -> Style:
        """How much of it, in what colours."""
        return Style(self._colour(), _speaks_unicode(), self.verbose, self.quiet, self._links(root))

    @property
    def ttys(self) -> bool:
        """Children write to a terminal where the user looks at one; NO_COLOR they read themselves."""
        wanted = os.environ.get("HOTPIPE_PTY") != "0" and os.environ.get("TERM") != "dumb"
        return wanted and not self.json and _is_terminal()

    def _links(self, root: str) -> Links | None:
        """Only with colours: who wants none wants no escapes either."""
        forced = os.environ.get("FORCE_HYPERLINK")
        return links(os.environ, root, os.uname().nodename) if self._colour() and (forced or _is_terminal()) else None

    def _colour(self) -> bool:
        """https://no-color.org, and FORCE_COLOR as in the node and Python worlds."""
        if self.no_color or os.environ.get("NO_COLOR"):
            return False
        return bool(os.environ.get("FORCE_COLOR")) or (_is_terminal() and os.environ.get("TERM") != "dumb")


def face_options(function: _F) -> _F:
    """--config, --json, --plain, --no-color, -q, -v."""
    for option in reversed(
        (
            config_option,
            click.option("--json", is_flag=True, help="Events as JSON Lines on stdout, and nothing else there."),
            click.option("--plain", is_flag=True, help="Line by line, also in a terminal."),
            click.option("--no-color", is_flag=True, help="Without colours; so does NO_COLOR=1."),
            click.option("-q", "--quiet", is_flag=True, help="Only verdicts, failures and servers."),
            click.option("-v", "--verbose", is_flag=True, help="All output, as it comes."),
        )
    ):
        function = option(function)
    return function


def screen_option(function: _F) -> _F:
    """--tui, for the verbs that go on running."""
    tui = "The whole screen, and keys (the default in a terminal; -q, -v and CI=1 mean --plain)."
    return click.option("--tui", is_flag=True, help=tui)(function)


def shown(given: dict[str, Any]) -> Shown:
    """From the values of `face_options`; raises click.UsageError where they contradict."""
    tui = given.get("tui", False)
    faces = [
        f"--{name}" for name, is_given in (("json", given["json"]), ("plain", given["plain"]), ("tui", tui)) if is_given
    ]
    if len(faces) > 1:
        raise click.UsageError(f"{' and '.join(faces)} exclude each other")
    if given["quiet"] and given["verbose"]:
        raise click.UsageError("-q and -v exclude each other")
    if given["no_color"]:
        os.environ["NO_COLOR"] = "1"  # the word is meant for children, too
    return Shown(given["json"], given["no_color"], given["quiet"], given["verbose"], tui, given["plain"])


def project(config_file: str | None) -> Project:
    """The project that the user means; raises UsageError, ConfigError."""
    try:
        here = os.getcwd()
    except FileNotFoundError as error:
        raise UsageError("the working directory is gone", hint="cd to one that exists") from error
    return file.load(config_file, here)


def _is_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()  # None: it was closed, as in `hotpipe check >&-`


def _speaks_unicode() -> bool:
    return sys.stdout is not None and "utf" in (sys.stdout.encoding or "").lower()

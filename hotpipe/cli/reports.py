"""The reports of `hotpipe check`: --junit and --github, as faces around the one that the user sees."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from hotpipe.cli.options import Shown
from hotpipe.config.file import Project
from hotpipe.ui.face import Face

if TYPE_CHECKING:
    from hotpipe.ui.junit import JUnit

_F = TypeVar("_F", bound=Callable[..., Any])
_SPECIAL = re.compile(r"([\\*?\[\]!#\s])")  # of gitignore(5)


def report_options(function: _F) -> _F:
    """--junit, --github."""
    junit = click.option("--junit", metavar="FILE", help="Write a JUnit report to FILE when the run is over.")
    github = click.option("--github", is_flag=True, help="Groups, annotations and a job summary for GitHub Actions.")
    return junit(github(function))


@dataclass(frozen=True, slots=True)
class Reported:
    """The face that shows a run and writes its reports."""

    face: Face
    junit: "JUnit | None" = None

    def expect(self, project: Project) -> None:
        """These stages are to be run."""
        if self.junit is not None:
            self.junit.expect(project.config.stage)

    def unwatched(self, project: Project) -> Project:
        """The project without the report: it is no part of the tree that it reports on."""
        inside = os.path.relpath(self.junit.path, os.path.realpath(project.root)) if self.junit else os.pardir
        if inside.split(os.sep)[0] == os.pardir:
            return project
        name = _SPECIAL.sub(r"\\\1", inside)
        watch = project.config.watch
        watch = msgspec.structs.replace(watch, ignore=(*watch.ignore, f"/{name}", f"/{name}.*.tmp"))
        return replace(project, config=msgspec.structs.replace(project.config, watch=watch))

    def exit_code(self, of_the_run: int) -> int:
        """1 also where the report was not written: whoever reads it next would read an old one."""
        return of_the_run or int(self.junit is not None and self.junit.failed)


def reported(shown: Shown, given: dict[str, Any], root: str) -> Reported:
    """From the values of `report_options`, for the project in `root`; raises UsageError where a report cannot be
    written."""
    if given["github"] and shown.json:
        raise click.UsageError("--json and --github exclude each other: --json prints nothing but events")
    face = _github(shown, root) if given["github"] else shown.face(root)
    if given["junit"] is None:
        return Reported(face)
    from hotpipe.ui.junit import JUnit

    junit = JUnit(face, given["junit"])
    return Reported(junit, junit)


def _github(shown: Shown, root: str) -> Face:
    from hotpipe.ui.github import GitHub, Step

    return GitHub(shown.style(root), Step.of(os.environ, root))

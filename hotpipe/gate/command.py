"""What a stage starts: its command with the files that changed filled in, in as many batches as the system wants.

`{changed}` stands for paths relative to the stage's folder: quoted in a text for sh, one argument each where it is an
element of an argv. Each batch stays below what a single argument may hold (MAX_ARG_STRLEN of Linux, 128 KiB, see
execve(2)), as with xargs(1). HOTPIPE_CHANGED_FILES names a file with the same paths, one a line.
"""

import os
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from hotpipe.config.file import Project
from hotpipe.config.model import Stage
from hotpipe.process.command import Command, environment

_CHANGED = re.compile(r"(?<![$%])\{changed\}")
_WHOLE = "{changed}"
_LISTED = "HOTPIPE_CHANGED_FILES"
_OF_SERVERS = (
    "HOTPIPE_WEB"  # by which the badge gets into pages, and no key has it: a test's result must not depend on it
)
_MOST_BYTES = 120_000
_MOST_SHOWN = 5  # paths; how many there are is enough to know of more
_AS_IS = re.compile(r"[^\x00-\x1f\x7f\"\\][^\x00-\x1f\x7f]*")  # git quotes the others, too
_ESCAPES = {"\n": "\\n", "\t": "\\t", "\r": "\\r", '"': '\\"', "\\": "\\\\"}


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be run for a stage, one command after another; none where there is nothing to look at."""

    commands: tuple[Command, ...]
    shown: str


def job(project: Project, name: str, run: int, paths: Sequence[str], listed: str | None) -> Job:
    """The job of a stage. `paths`, relative to the root, are what it is to look at; the file `listed` says so."""
    stage = project.config.stage[name]
    env = {"HOTPIPE_STAGE": name, "HOTPIPE_RUN": str(run)}
    if listed is not None:
        env[_LISTED] = listed
    inherited = environment()
    inherited.pop(_OF_SERVERS, None)
    env = {**inherited, **env, **stage.env}
    relative = relative_to(stage.cwd, paths)
    tty: Literal["output", "nothing"] = "output" if stage.tty else "nothing"  # it reads an empty standard input
    commands = (Command(text, project.path(stage.cwd), env, tty=tty) for text in filled(stage.run, relative))
    return Job(tuple(commands), shown(stage.run, relative))


def relative_to(cwd: str, paths: Sequence[str]) -> list[str]:
    """Paths as seen from a folder (both relative to the root); none of them looks like an option."""
    if os.path.normpath(cwd) != ".":
        paths = [os.path.relpath(path, cwd) for path in paths]
    return [f"./{path}" if path.startswith("-") else path for path in paths]


def wants_files(run: str | tuple[str, ...]) -> bool:
    """Whether a command has a place for the files that changed."""
    return any(_CHANGED.search(text) for text in ([run] if isinstance(run, str) else run))


def looks_at_part(stage: Stage) -> bool:
    """Whether a stage, by its own words, looks at nothing but the files that it is given."""
    texts = (stage.run,) if isinstance(stage.run, str) else stage.run
    return wants_files(stage.run) or any(_LISTED in text for text in texts)


def filled(run: str | tuple[str, ...], paths: Sequence[str]) -> Iterator[str | tuple[str, ...]]:
    """The commands, with each path in one of them; a command without a place for them is one command."""
    if not wants_files(run):
        yield run
        return
    texts = [run] if isinstance(run, str) else run
    places = sum(len(_CHANGED.findall(text)) for text in texts)
    room = _MOST_BYTES - sum(len(os.fsencode(text)) for text in texts)
    for batch in _batches(paths, max(room // places, 1)):
        yield _with(run, batch)


def shown(run: str | tuple[str, ...], paths: Sequence[str]) -> str:
    """The command for people: with the paths where they are few."""
    if len(paths) <= _MOST_SHOWN:
        run = _with(run, paths)
    text = run if isinstance(run, str) else shlex.join(run)
    return _CHANGED.sub(f"{{{len(paths)} files}}", text)


def written(paths: Sequence[str]) -> bytes:
    """The paths, one a line; what would break a line is written in C's way in double quotes, as git does it."""
    return b"".join(os.fsencode(_line(path)) + b"\n" for path in paths)


def _line(path: str) -> str:
    if _AS_IS.fullmatch(path):
        return path
    escaped = (_ESCAPES.get(char, char if char >= " " and char != "\x7f" else f"\\{ord(char):03o}") for char in path)
    return f'"{"".join(escaped)}"'


def _batches(paths: Sequence[str], room: int) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for path in paths:
        needed = len(os.fsencode(shlex.quote(path))) + 1
        if batch and size + needed > room:
            yield batch
            batch, size = [], 0
        batch.append(path)
        size += needed
    if batch:
        yield batch


def _with(run: str | tuple[str, ...], paths: Sequence[str]) -> str | tuple[str, ...]:
    quoted = " ".join(map(shlex.quote, paths))
    if isinstance(run, str):
        return _CHANGED.sub(lambda _: quoted, run)
    return tuple(part for text in run for part in (paths if text == _WHOLE else [_CHANGED.sub(lambda _: quoted, text)]))

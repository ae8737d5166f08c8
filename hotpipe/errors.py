"""Everything that hotpipe raises on purpose.

    HotpipeError             message, hint (the way out), exit code 1
    ├── UsageError           2: the command line asks for what cannot be
    │   └── ConfigError      2: every problem of the configuration at once
    ├── SocketError          1: a listening socket cannot be opened
    ├── SpawnError           1: a program cannot be started
    ├── TriggerError         1: the trigger file cannot be written
    ├── AlreadyRunning       1: another hotpipe has this role in the project
    └── NotRunning           1: no hotpipe runs in the project, and so none can be asked

Whatever else escapes is a defect: exit code 3, its traceback in `.hotpipe/logs/`.
"""

from collections.abc import Sequence
from dataclasses import dataclass


class HotpipeError(Exception):
    """An expected failure: says what is wrong, and in `hint` what to do about it."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(HotpipeError):
    """The request itself is wrong."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault of a configuration file, at `file:line` (line 0 where it is not known)."""

    file: str
    line: int
    key: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"{where}: {self.key}: {self.message}" if self.key else f"{where}: {self.message}"


class ConfigError(UsageError):
    """The configuration cannot be used; `problems` lists all that is wrong with it."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


class SocketError(HotpipeError):
    """A listening socket cannot be opened."""


class SpawnError(HotpipeError):
    """A program cannot be started."""


class TriggerError(HotpipeError):
    """The trigger file cannot be written."""


class AlreadyRunning(HotpipeError):  # noqa: N818 - what a user is told, not what went wrong
    """Another hotpipe has this role in the project; the message names its verb and its pid."""


class NotRunning(HotpipeError):  # noqa: N818 - what a user is told, not what went wrong
    """Nobody is there to be asked."""

    def __init__(self) -> None:
        super().__init__("no hotpipe runs in this project", hint="start one with `hotpipe watch`")

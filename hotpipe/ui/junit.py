"""`--junit FILE`: a report of the run in the form that Jenkins, GitLab and others read, beside what another face shows.

The file is replaced in one step, when the run is over; and when hotpipe is told to end, with what there is by then.
"""

import contextlib
import os
from collections.abc import Iterable, Sequence

from hotpipe.errors import UsageError
from hotpipe.events import Ending, RunFinished, StageFinished, Stamped, Warned
from hotpipe.ui.face import Face
from hotpipe.ui.junit_xml import to_xml
from hotpipe.ui.results import Results


class JUnit(Face):
    """A face that also writes the report; `failed` once that was not possible."""

    def __init__(self, face: Face, path: str) -> None:
        """Raises UsageError where no file can be written at `path`."""
        self._face = face
        self.path = _checked(path)
        self._results = Results()
        self.failed = False

    def expect(self, stages: Iterable[str]) -> None:
        """These are to be run: what is told of nobody is not left out."""
        self._results.expected = tuple(stages)

    def render(self, batch: Sequence[Stamped]) -> str:
        due = [self._take(stamped) for stamped in batch]
        if any(due) and (warning := self._write()) is not None:
            batch = [*batch, Stamped(batch[-1].stamp, warning)]
        return self._face.render(batch)

    def _take(self, stamped: Stamped) -> bool:
        """Whether the report is to be written now."""
        self._results.apply(stamped)
        match stamped.event:
            case RunFinished() | Ending():
                return True
            case StageFinished():  # after the end was told: once more, with how that stage ended
                return self._results.stopped
            case _:
                return False

    def _write(self) -> Warned | None:
        try:
            _replace(self.path, to_xml(self._results))
        except OSError as error:
            self.failed = True
            message = f"cannot write the report {self.path}: {error.strerror}"
            return Warned(code="report.unwritable", message=message, hint="what stands there now is not of this run")
        return None


def _checked(path: str) -> str:
    """The path, absolute, if a file can be written there; raises UsageError."""
    real = os.path.realpath(path)
    folder = os.path.dirname(real)
    if os.path.isdir(real):
        raise UsageError(f"--junit: {path or real} is a folder", hint="name a file in it")
    if os.path.exists(real) and not os.path.isfile(real):
        raise UsageError(f"--junit: {path} is not a regular file", hint="it is replaced, and so it must be one")
    if not os.path.isdir(folder):
        raise UsageError(f"--junit: there is no folder {folder}", hint=f"mkdir -p {folder}")
    try:
        open(_beside(real), "wb").close()
        os.unlink(_beside(real))
    except OSError as error:
        raise UsageError(f"--junit: no file can be written in {folder}: {error.strerror}") from error
    return real


def _replace(path: str, content: bytes) -> None:
    """In one step: who reads it sees a whole report or none."""
    try:
        with open(_beside(path), "wb") as file:
            file.write(content)
        os.replace(_beside(path), path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(_beside(path))
        raise


def _beside(path: str) -> str:
    return f"{path}.{os.getpid()}.tmp"

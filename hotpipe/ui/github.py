"""`--github`: what the plain face shows, made for the log of a GitHub Actions step, with annotations and a job summary.

How it works: the output of a stage is kept until the stage is over and then shown in a group of the log, so that
parallel stages do not mix; the plain face only says which group. With `verbose` it comes as it is written, and in no
group. When the run is over, the findings become annotations, and the summary is appended to the file that
$GITHUB_STEP_SUMMARY names.

Invariant: nothing but this face's own lines is executed. The runner takes `::name …::` at the beginning of a line for a
command, and `##[name …]` anywhere in it (actions/runner, ActionCommand.cs), so text with one of these stands between
`::stop-commands::TOKEN` and `::TOKEN::`. The token is one that no stage can know, and one a run: the runner keeps each
as a secret to be masked (ActionCommandManager.cs).
"""

import errno
import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from hotpipe.escapes import visible
from hotpipe.events import AnyEvent, RunFinished, StageFinished, StageOutput, Stamped, Warned
from hotpipe.ui.annotations import Places, annotations, command
from hotpipe.ui.excerpt import readable
from hotpipe.ui.face import Face
from hotpipe.ui.plain import Plain, Style
from hotpipe.ui.results import Results, StageResult
from hotpipe.ui.summary import summary

_LARGEST_SUMMARY = 100_000  # bytes of ours
_LIMIT = 1024 * 1024  # of all summaries of one step: AttachmentSizeLimit in actions/runner, FileCommandManager.cs
_MAY_BE_COMMAND = re.compile(r"(?:^|[\r\n])[^\S\r\n]*::|##\[")  # .NET ends a line at a carriage return, too


@dataclass(frozen=True, slots=True)
class Step:
    """The step of a job in which hotpipe runs; `summary` is the file for it, if any."""

    places: Places
    summary: str | None = None
    token: str = field(default_factory=lambda: secrets.token_hex(16))

    @classmethod
    def of(cls, environ: Mapping[str, str], root: str) -> "Step":
        """As the runner describes it (docs.github.com/actions/reference/workflows-and-actions/variables)."""
        workspace = environ.get("GITHUB_WORKSPACE")
        places = Places(os.path.realpath(root), os.path.realpath(workspace) if workspace else "")
        return cls(places, environ.get("GITHUB_STEP_SUMMARY") or None)


class GitHub(Face):
    """The face for GitHub Actions."""

    def __init__(self, style: Style, step: Step) -> None:
        self._style = style
        self._step = step
        self._plain = Plain(style)
        self._results = Results()

    def render(self, batch: Sequence[Stamped]) -> str:
        return "".join(text for stamped in batch for text in self._texts(stamped))

    def _texts(self, stamped: Stamped) -> Iterator[str]:
        self._results.apply(stamped)
        match stamped.event:
            case StageOutput() if not self._style.verbose:
                pass
            case StageFinished() if not self._style.verbose:
                yield from self._stage_finished(stamped, self._results.stage(stamped.event.stage))
            case RunFinished():
                yield self._shown(stamped)
                yield from map(str, annotations(self._results, self._step.places))
                yield self._summary(stamped)
            case _:
                yield self._shown(stamped)

    def _stage_finished(self, stamped: Stamped, stage: StageResult) -> Iterator[str]:
        told = bool(stage.output) and (not self._style.quiet or stage.failed)
        if told:
            yield self._shown(stamped, _see_group(stage, stamped))
        yield self._shown(stamped)
        if told:
            yield command("group", readable(stage.name))
            yield self._inert("".join(f"{_line(line)}\n" for line in stage.output.lines()))
            yield command("endgroup")

    def _shown(self, stamped: Stamped, event: AnyEvent | None = None) -> str:
        """What the plain face says to it, or to `event` in its place."""
        return self._inert(self._plain.render([Stamped(stamped.stamp, event or stamped.event)]))

    def _inert(self, text: str) -> str:
        if not _MAY_BE_COMMAND.search(text):
            return text
        return f"{command('stop-commands', self._step.token)}{text}{command(self._step.token)}"

    def _summary(self, stamped: Stamped) -> str:
        """Append it; what is to be said of that."""
        if self._step.summary is None:
            return ""
        try:
            _append(self._step.summary, self._results)
        except OSError as error:
            message = f"cannot write the job summary {self._step.summary}: {error.strerror}"
            return self._shown(stamped, Warned(code="summary.unwritable", message=message))
        return ""


def _append(path: str, results: Results) -> None:
    """As much as there is room for: the runner would throw away what is too long, all of it."""
    with open(path, "ab") as file:
        text = summary(results, min(_LIMIT - file.tell(), _LARGEST_SUMMARY))
        if not text:
            raise OSError(errno.EFBIG, "other summaries of this step fill it")
        file.write(text.encode("utf-8", "replace"))


def _see_group(stage: StageResult, stamped: Stamped) -> StageOutput:
    """In place of the output, which the plain face would repeat below a red run."""
    run = stamped.event.run if isinstance(stamped.event, StageFinished) else 0
    text = f"(its output stands above, in the group {stage.name!r})"
    return StageOutput(run=run, stage=stage.name, stream="stdout", text=text)


def _line(text: str) -> str:
    """As GitHub's log can show it: colours are, and end with the line."""
    text = visible(text)
    return f"{text}\x1b[0m" if "\x1b[" in text else text

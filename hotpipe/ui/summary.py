"""A run in Markdown, for GitHub's job summary. Pure; nothing that a stage wrote can break out of its place."""

import re
from collections.abc import Iterable, Iterator

from hotpipe.events import StageStatus
from hotpipe.ui import words
from hotpipe.ui.excerpt import readable
from hotpipe.ui.results import Results, StageResult, sentence

_MARKS: dict[StageStatus, str] = {
    "passed": "✅", "failed": "❌", "timed_out": "❌", "cancelled": "🚫", "cached": "✅", "skipped": "⏭️"
}  # fmt: skip
_HEADLINES = {"green": "✅ green", "red": "❌ red", "superseded": "🚫 superseded: the tree changed meanwhile"}
_MOST_FINDINGS = 20  # of a stage
_LAST_LINES = 100  # of a failed stage's output
_LAST_CHARACTERS = 8_000
_SPECIAL = re.compile(r"([\\`*_\[\]<>|~&#$@!:])")
_FENCES = re.compile("`+")
_LEFT_OUT = "\nThe rest is left out: it would be too long.\n"


def summary(results: Results, most_bytes: int) -> str:
    """The stages as a table, then what failed; what does not fit in so many bytes of UTF-8 is left out, and it says so.

    Empty where not even the headline fits.
    """
    most_bytes -= len(_LEFT_OUT)
    said = ""
    for part in _parts(results):
        most_bytes -= len(part.encode("utf-8", "replace"))
        if most_bytes < 0:
            return f"{said}{_LEFT_OUT}" if said else ""
        said += part
    return said


def _parts(results: Results) -> Iterator[str]:
    if results.finished is None:
        return
    took = words.duration(results.finished.took_ms)
    yield f"### hotpipe: {_HEADLINES[results.finished.status]} in {took}\n\n"
    yield "| stage | status | duration | findings |\n| --- | --- | ---: | ---: |\n"
    for stage in results.stages.values():
        yield _row(stage)
    for stage in results.stages.values():
        if stage.failed or stage.forgiven:
            yield _failure(stage)


def _row(stage: StageResult) -> str:
    finished = stage.finished
    if finished is None:
        return f"| {_text(stage.name)} | not finished | | |\n"
    took = "" if finished.status == "skipped" else words.duration(finished.took_ms)
    return (
        f"| {_text(stage.name)} | {_MARKS[finished.status]} {_status(stage)} | {took} | {finished.findings or ''} |\n"
    )


def _status(stage: StageResult) -> str:
    if stage.finished is None:
        return ""
    status = stage.finished.status.replace("_", " ")
    notes = (
        stage.ended if status == "failed" else "",
        "allowed" if stage.forgiven else "",
        "flaky" if stage.finished.flaky else "",
        stage.finished.why,
    )
    said = ", ".join(filter(None, notes))
    return _text(f"{status} ({said})") if said else status


def _failure(stage: StageResult) -> str:
    """Its findings and the end of its output: one piece, so that a fence is never left open."""
    findings = "".join(f"- {_text(sentence(finding))}\n" for finding in stage.findings[:_MOST_FINDINGS])
    output = stage.output.last(_LAST_LINES, _LAST_CHARACTERS)
    parts = (findings, _fenced(output) if output else "")
    return f"\n#### {_text(stage.name)}: {_text(stage.ended)}\n" + "".join(f"\n{part}" for part in parts if part)


def _fenced(lines: Iterable[str]) -> str:
    """Between fences that are longer than any in it (CommonMark 0.31.2, section 4.5)."""
    text = "\n".join(lines)
    fence = "`" * max(3, 1 + max(map(len, _FENCES.findall(text)), default=0))
    return f"{fence}text\n{text}\n{fence}\n"


def _text(text: str) -> str:
    """Markdown that shows just this, in one line: any punctuation may be escaped (CommonMark 0.31.2, section 2.4)."""
    return _SPECIAL.sub(r"\\\1", " ".join(map(readable, text.split("\n"))))

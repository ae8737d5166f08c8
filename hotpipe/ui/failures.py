"""What is shown of a red run's failures: each one's output in full, and below long output what to look at first.

Nothing twice: where the end of the output names all those places itself, or all of it is in sight, no list follows.
"""

from collections.abc import Iterator
from itertools import islice

from hotpipe.events import StageFinding
from hotpipe.ui import words
from hotpipe.ui.links import Places
from hotpipe.ui.style import Style
from hotpipe.ui.view import RunView, StageView

_SCREEN = 30  # lines that are in sight without scrolling back
_MOST_LISTED = 10
_WIDEST = 160  # characters of a message in the list


def failures(run: RunView, style: Style) -> Iterator[str]:
    """All of it, an empty line at its beginning and its end. With `verbose` the output has been shown as it came."""
    blamed = [] if style.verbose else run.failures()
    firsts = _firsts(run)
    listed = firsts and not _in_sight(run, firsts)
    if blamed or listed:
        yield ""
    for stage in blamed:
        yield from _block(stage, style)
        yield ""
    if listed:
        yield from _list(run, firsts, style)
        yield ""


def _block(stage: StageView, style: Style) -> Iterator[str]:
    told = words.problems(stage)
    rest = f" {style.paint(f'({told})', 'dim')}" if told else ""
    yield f"{style.paint(f'── {stage.name}:', 'red')} {style.paint(stage.command, 'bold')}{rest}"
    lines = map(style.said, words.output(stage))
    places = Places(stage.findings)
    links = style.links
    yield from (links.within(line, places) for line in lines) if links and places else lines


def _firsts(run: RunView) -> list[tuple[StageView, StageFinding]]:
    """The first findings of each stage, so many that all have their share."""
    blamed = run.failures()
    share = max(1, _MOST_LISTED // max(1, len(blamed)))
    return [(stage, finding) for stage in blamed for finding in stage.foremost()[:share]][:_MOST_LISTED]


def _in_sight(run: RunView, firsts: list[tuple[StageView, StageFinding]]) -> bool:
    """Whether the last screen of output names all of those places."""
    room, seen = _SCREEN, ""
    for stage in reversed(run.failures()):
        if room <= 0:
            break
        seen += "\n".join(islice(reversed(stage.output), room))[: _SCREEN * 1_000]
        room -= len(stage.output) + 2
    return room > 0 or all(_mark(finding) in seen for _, finding in firsts)


def _mark(finding: StageFinding) -> str:
    """What a line that names the place has in it, from whatever folder it was written."""
    name = (finding.path or "").rpartition("/")[2]
    return f"{name}:{finding.line}" if finding.line else finding.message[:_WIDEST]


def _list(run: RunView, firsts: list[tuple[StageView, StageFinding]], style: Style) -> Iterator[str]:
    several = len(run.failures()) > 1
    total = sum(len(stage.foremost()) for stage in run.failures())
    some = f"the first {len(firsts)} of " if total > len(firsts) else ""
    yield style.paint(f"── {some}{words.count(total, 'finding')}:", "red")
    for stage, finding in firsts:
        of = f"{style.paint(stage.name, 'dim')} " if several else ""
        code = f"{finding.code} " if finding.code else ""
        at = f"{style.place(finding)} " if finding.path else ""
        message = style.said(finding.message)
        yield f"{of}{at}{code}{message if len(message) <= _WIDEST else f'{message[:_WIDEST]}...'}"

"""What is shown of failures: each one's output in full, and below long output what to look at first.

Nothing twice: where the end of the output names all those places itself, or all of it is in sight, no list follows.
"""

from collections.abc import Iterator, Sequence
from itertools import islice

from hotpipe.events import StageFinding
from hotpipe.ui import words
from hotpipe.ui.links import Places
from hotpipe.ui.style import Style
from hotpipe.ui.view import StageView

_SCREEN = 30  # lines that are in sight without scrolling back
_MOST_LISTED = 10
_WIDEST = 160  # characters of a message in the list


def failures(blamed: Sequence[StageView], style: Style) -> Iterator[str]:
    """All of it, an empty line at its beginning and its end. With `verbose` the output has been shown as it came."""
    in_full = [] if style.verbose else blamed
    firsts = _firsts(blamed)
    listed = firsts and not _in_sight(blamed, firsts)
    if in_full or listed:
        yield ""
    for stage in in_full:
        yield from _block(stage, style)
        yield ""
    if listed:
        yield from _list(blamed, firsts, style)
        yield ""


def still(stage: StageView, style: Style) -> str:
    """A failure that stands above already, in one line."""
    head = style.paint(f"── {words.still(stage)}", "red")
    first = next(iter(stage.foremost()), None)
    if first is None:
        return f"{head}, as shown above"
    return f"{head}: {f'{style.place(first)} ' if first.path else ''}{_message(first, style)}"


def _block(stage: StageView, style: Style) -> Iterator[str]:
    told = words.problems(stage)
    rest = f" {style.paint(f'({told})', 'dim')}" if told else ""
    yield f"{style.paint(f'── {stage.name}:', 'red')} {style.paint(stage.command, 'bold')}{rest}"
    lines = map(style.said, words.output(stage))
    places = Places(stage.findings)
    links = style.links
    yield from (links.within(line, places) for line in lines) if links and places else lines


def _firsts(blamed: Sequence[StageView]) -> list[tuple[StageView, StageFinding]]:
    """The first findings of each stage, so many that all have their share."""
    share = max(1, _MOST_LISTED // max(1, len(blamed)))
    return [(stage, finding) for stage in blamed for finding in stage.foremost()[:share]][:_MOST_LISTED]


def _in_sight(blamed: Sequence[StageView], firsts: list[tuple[StageView, StageFinding]]) -> bool:
    """Whether the last screen of output names all of those places."""
    room, seen = _SCREEN, ""
    for stage in reversed(blamed):
        if room <= 0:
            break
        seen += "\n".join(islice(reversed(stage.output), room))[: _SCREEN * 1_000]
        room -= len(stage.output) + 2
    return room > 0 or all(_mark(finding) in seen for _, finding in firsts)


def _mark(finding: StageFinding) -> str:
    """What a line that names the place has in it, from whatever folder it was written."""
    name = (finding.path or "").rpartition("/")[2]
    return f"{name}:{finding.line}" if finding.line else finding.message[:_WIDEST]


def _list(blamed: Sequence[StageView], firsts: list[tuple[StageView, StageFinding]], style: Style) -> Iterator[str]:
    several = len(blamed) > 1
    total = sum(len(stage.foremost()) for stage in blamed)
    some = f"the first {len(firsts)} of " if total > len(firsts) else ""
    yield style.paint(f"── {some}{words.count(total, 'finding')}:", "red")
    for stage, finding in firsts:
        of = f"{style.paint(stage.name, 'dim')} " if several else ""
        at = f"{style.place(finding)} " if finding.path else ""
        yield f"{of}{at}{_message(finding, style)}"


def _message(finding: StageFinding, style: Style) -> str:
    code = f"{finding.code} " if finding.code else ""
    message = style.said(finding.message)
    return f"{code}{message if len(message) <= _WIDEST else f'{message[:_WIDEST]}...'}"

"""What stands in the pane below: a log, or a list of failures, warnings or keys. Only what is in sight is drawn."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from rich.segment import Segment

from hotpipe.ui import words
from hotpipe.ui.tui.ink import Ink, Line, piece, said
from hotpipe.ui.tui.looks import Choice
from hotpipe.ui.tui.together import Together
from hotpipe.ui.view import ServerView, StageView, View

_MOST_FINDINGS = 50  # of a stage, in the list of failures
KEYS = (
    ("r", "run the stages now"),
    ("R", "restart the servers, without checks"),
    ("f", "failures: findings and output of what failed"),
    ("l, Tab", "the next log; Shift-Tab: the one before; 1 to 9: that one"),
    ("↑ ↓ PgUp PgDn", "scroll, as do j and k; g, Home: the beginning; G, End: follow the end"),
    ("p", "pause: saves start no runs; p again goes on"),
    ("o", "open the page, or the dashboard of --web, in a browser"),
    ("a", "attach the terminal to the server, for a debugger say"),
    ("w", "warnings, and what is wrong with the configuration"),
    ("Esc", "back to what is shown by itself"),
    ("q", "quit, as Ctrl-C does; Ctrl-Z stands still"),
)


@dataclass(frozen=True, slots=True)
class Pane:
    """Lines, of which the first `lost` are gone; `line` draws one of them in so many columns."""

    title: str
    lines: Sequence[object]
    line: Callable[[int, int], Line]
    lost: int = 0
    is_log: bool = True  # of which the end is what one wants

    @property
    def end(self) -> int:
        return self.lost + len(self.lines)

    def first(self, top: int | None, rows: int) -> int:
        """The line that stands first where `top` is to (none: where it stands by itself), all of them counted."""
        last = max(self.lost, self.end - rows)
        if top is None:
            return last if self.is_log else self.lost
        return max(self.lost, min(top, last))

    def drawn(self, first: int, rows: int, columns: int) -> list[Line]:
        here = first - self.lost
        return [self.line(number, columns) for number in range(here, min(here + rows, len(self.lines)))]


def pane(view: View, choice: Choice, together: Together, ink: Ink) -> Pane:
    """The one that is chosen."""
    match choice.kind:
        case "servers":
            return _servers(together)
        case "server" if choice.name in view.servers:
            return _server(view.servers[choice.name])
        case "stage":
            return _stage(view, choice.name)
        case "failures":
            return _list("failures", list(_failures(view, ink)))
        case "warnings":
            return _list("warnings", list(_warnings(view)))
        case "help":
            return _list("keys", list(_help(view)))
        case _:
            return _list("", [])


def _list(title: str, lines: list[Line | str]) -> Pane:
    def line(number: int, columns: int) -> Line:
        it = lines[number]
        return said(it, columns) if isinstance(it, str) else it

    return Pane(title, lines, line, is_log=False)


def _servers(together: Together) -> Pane:
    def line(number: int, columns: int) -> Line:
        it = together.lines[number]
        return [piece(f"{it.server} ", "blue"), *said(it.text, columns)]

    return Pane("all servers", together.lines, line, together.lost)


def _server(server: ServerView) -> Pane:
    """With the generation where more than one of it is alive."""
    alive = len(server.generations) > 1

    def line(number: int, columns: int) -> Line:
        it = server.output[number]
        return [*([piece(f"{it.generation} ", "blue")] if alive else []), *said(it.text, columns)]

    return Pane(server.name, server.output, line, server.lost)


def _stage(view: View, name: str) -> Pane:
    stage = view.run.stages.get(name) if view.run else None
    title = f"{name}: {stage.command}" if stage is not None and stage.command else name
    if stage is None or not stage.output:
        silence = words.silence(stage) if stage is not None and stage.has_failed() else "(no output)"
        return _list(title, [[piece(silence, "dim")]])
    return Pane(title, stage.output, lambda number, columns: said(stage.output[number], columns), stage.lost)


def _failures(view: View, ink: Ink) -> Iterator[Line | str]:
    failed = [*view.run.failures(), *view.run.allowed()] if view.run else []
    if not failed:
        yield [piece("nothing has failed", "dim")]
    for stage in failed:
        yield [piece(stage.name, "bad"), piece(f"  {words.outcome(stage, 0)}"), piece(f"  {stage.command}", "dim")]
        yield from _findings(stage, ink)
        yield []
        yield from words.output(stage)
        yield []


def _findings(stage: StageView, ink: Ink) -> Iterator[Line]:
    for finding in islice(stage.foremost(), _MOST_FINDINGS):
        place: list[Segment] = [ink.place(finding, words.where(finding)), piece(" ")] if finding.path else []
        yield [piece("  "), *place, piece(" ".join(filter(None, (finding.code, finding.message))))]
    if len(stage.foremost()) > _MOST_FINDINGS:
        yield [piece(f"  and {len(stage.foremost()) - _MOST_FINDINGS:,} more", "dim")]


def _warnings(view: View) -> Iterator[Line]:
    for error in view.errors:
        yield from ([piece(line, "red")] for line in error.splitlines())
    for warning in reversed(view.warnings):
        yield [piece(warning.message, "yellow")]
        if warning.hint:
            yield [piece(f"  hint: {warning.hint}", "dim")]
    if not (view.errors or view.warnings):
        yield [piece("no warnings", "dim")]


def _help(view: View) -> Iterator[Line]:
    for key, does in KEYS:
        yield [piece(f"  {key:<15}", "key"), piece(does)]
    if view.dashboard:
        yield from ([], [piece("  the dashboard:")], [piece(view.dashboard, "cyan")])  # a row of its own: it is long

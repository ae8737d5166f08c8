"""What stands in the normal screen when the terminal face has left: the last verdict, as the plain face tells it."""

from collections.abc import Iterator

from hotpipe.events import RunFinished
from hotpipe.ui.runs import RunLines
from hotpipe.ui.servers import ServerLines
from hotpipe.ui.style import Style
from hotpipe.ui.view import View


def parting(view: View, style: Style) -> str:
    """Lines of text; none, where there is nothing to tell."""
    return "".join(f"{line}\n" for line in _lines(view, style))


def _lines(view: View, style: Style) -> Iterator[str]:
    run = view.run
    if run is not None and run.status in {"green", "red"}:
        over = RunFinished(run=run.number, status=run.status, took_ms=run.took_ms)
        yield from RunLines(style, view, ServerLines(style, view)).finished(over)
    elif run is not None:
        yield style.paint(f"↻ run {run.number} was not finished", "yellow")
    for error in view.errors:
        yield style.paint(f"! {error}", "yellow")
    for server in view.servers.values():
        if server.failure is not None:
            yield style.paint(
                f"✗ {server.name}: generation {server.failure.generation}: {server.failure.reason}", "red"
            )

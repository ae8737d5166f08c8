"""`hotpipe logs`: what stages and servers have written, whether hotpipe runs or not."""

import json
import os
import select
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import click

from hotpipe.cli import asking, completing
from hotpipe.config.listen import nearest
from hotpipe.errors import UsageError
from hotpipe.escapes import colours_only, plain, visible
from hotpipe.logs import FOLDER
from hotpipe.logs.line import Line, Source, sources
from hotpipe.logs.read import Reader, Told

_LAST = 1000
_LOOK_MS = 100  # so often whoever follows looks; hotpipe itself writes every 50 ms
_PALETTE = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)  # SGR: cyan, yellow, green, magenta, blue; then bright


def _count(_: click.Context, __: click.Parameter, given: str) -> int | None:
    if given == "all":
        return None
    if not given.isdecimal():
        raise click.BadParameter(f"{given!r} is neither a number of lines nor 'all'")
    return int(given)


@click.command(short_help="What stages and servers have written.")
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=completing.logs)
@asking.config_option
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option("-n", "--lines", default=str(_LAST), callback=_count, help=f"The last LINES; 'all'. Default: {_LAST}.")
@click.option("-t", "--timestamps", is_flag=True, help="When each line was written.")
@click.option("--json", "as_json", is_flag=True, help="One object a line.")
@click.option("--no-color", is_flag=True, help="Without colours; so does NO_COLOR=1.")
def command(
    names: tuple[str, ...],
    config_file: str | None,
    *,
    follow: bool,
    lines: int | None,
    timestamps: bool,
    as_json: bool,
    no_color: bool,
) -> int:
    """What stages and servers have written, by time: NAME is one of them, or stage:NAME, server:NAME.

    It is read from .hotpipe/logs, so it is there also when hotpipe has ended.
    """
    folder = os.path.join(asking.root(config_file), FOLDER)
    wanted = _wanted(folder, config_file, names) if names else None
    reader = Reader(folder, wanted)
    show = _as_json if as_json else _Shown(_colour(no_color), timestamps, len(wanted or ()) == 1)
    try:
        _write(show, reader.lines() if lines is None else reader.last(lines))
        while follow and _is_read():
            _write(show, reader.lines())
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python's own flush at exit would fail too, with status 120
    finally:
        reader.close()
    return 0


def _wanted(folder: str, config_file: str | None, names: Iterable[str]) -> list[Source]:
    """The logs that are meant: of those that exist, or that the configuration lets expect. Raises UsageError."""
    known = {str(source): source for source in (*sources(folder), *completing.sources(config_file))}
    wanted: list[Source] = []
    for name in names:
        meant = [known[name]] if name in known else [source for source in known.values() if source.name == name]
        if not meant:
            plain = sorted({source.name for source in known.values()})
            listed = f"; there are {', '.join(plain)}" if plain else ""
            raise UsageError(f"there is no stage and no server {name!r}{nearest(name, plain)}{listed}")
        wanted += [source for source in meant if source not in wanted]
    return wanted


@dataclass(slots=True)
class _Shown:
    """Lines as people read them, each behind the name of whose it is unless there is only one."""

    colour: bool
    timestamps: bool
    is_alone: bool
    _width: int = 0
    _seen: list[Source] | None = None

    def __call__(self, told: list[Told]) -> str:
        self._seen = seen = self._seen or []
        for source, _ in told:
            if source not in seen:
                seen.append(source)
        self._width = max((len(self._name(source)) for source in seen), default=0)
        return "".join(self._line(source, line) for source, line in told)

    def _line(self, source: Source, line: Line) -> str:
        text = visible(line.shown(source))
        text = colours_only(text) if self.colour else plain(text)
        time = f"{line.time} " if self.timestamps else ""
        return f"{self._prefix(source)}{self._dim(time)}{self._dim(text) if line.mark == '---' else text}\n"

    def _prefix(self, source: Source) -> str:
        if self.is_alone:
            return ""
        prefix = f"{self._name(source):<{self._width}} |"
        colour = _PALETTE[(self._seen or []).index(source) % len(_PALETTE)]
        return f"\x1b[{colour}m{prefix}\x1b[0m " if self.colour else f"{prefix} "

    def _name(self, source: Source) -> str:
        is_ambiguous = any(other.name == source.name and other != source for other in self._seen or ())
        return str(source) if is_ambiguous else source.name

    def _dim(self, text: str) -> str:
        return f"\x1b[2m{text}\x1b[0m" if self.colour and text else text


def _as_json(told: list[Told]) -> str:
    return "".join(
        json.dumps({source.kind: source.name, **line._asdict()}, ensure_ascii=False) + "\n" for source, line in told
    )


def _write(show: Callable[[list[Told]], str], told: Iterable[Told]) -> None:
    """In pieces: all of a log is much."""
    piece: list[Told] = []
    for each in told:
        piece.append(each)
        if len(piece) == _LAST:
            _put(show(piece))
            piece = []
    _put(show(piece))


def _put(text: str) -> None:
    if text and sys.stdout is not None:
        sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace"))
        sys.stdout.buffer.flush()


def _is_read() -> bool:
    """Wait a moment; whether anybody can still read what is written."""
    if sys.stdout is None:
        return False
    gone = select.poll()
    gone.register(sys.stdout.fileno(), 0)
    return not gone.poll(_LOOK_MS)


def _colour(no_color: bool) -> bool:
    """https://no-color.org, and FORCE_COLOR as in the node and Python worlds."""
    if no_color or os.environ.get("NO_COLOR"):
        return False
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    return bool(os.environ.get("FORCE_COLOR")) or (is_terminal and os.environ.get("TERM") != "dumb")

"""`hotpipe listen`: opens sockets and becomes the program that they are for, a drop-in for systemfd."""

import contextlib
import errno
import os
import re
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NoReturn

import click

from hotpipe.config.model import Listen, Server
from hotpipe.errors import SpawnError
from hotpipe.server import inherit

_SH = "/bin/sh"
_TYPED = re.compile(r"[A-Za-z]+::")
_IGNORED_BY_PYTHON = ("SIGPIPE", "SIGXFSZ")  # and so, through exec, by programs that do not expect it


class _NotFoundError(SpawnError):
    exit_code = 127  # as of env(1) and the shell


class _NotExecutableError(SpawnError):
    exit_code = 126


@dataclass(frozen=True, slots=True)
class _Voice:
    """Speaks to standard error as systemfd does."""

    quiet: bool
    colour: bool

    def say(self, text: str) -> None:
        if not self.quiet:
            prefix, said = click.style("~>", dim=True, bold=True), click.style(text, fg="cyan")
            with contextlib.suppress(OSError):  # nobody reads it: the program is to run all the same
                click.echo(f"{prefix} {said}", err=True, color=self.colour)


def _parsed(_context: click.Context, parameter: click.Parameter, specs: tuple[str, ...]) -> tuple[Listen, ...]:
    """systemfd's specs: what has no type, but a slash, is a path."""
    typed = (f"unix::{spec}" if "/" in spec and not _TYPED.match(spec) else spec for spec in specs)
    try:
        return tuple(map(Listen.of, typed))
    except ValueError as error:
        raise click.BadParameter(str(error), param=parameter) from error


@click.command(
    short_help="Open sockets and run a program with them, as systemfd does.",
    context_settings={"allow_interspersed_args": False},
)
@click.option(
    "-s",
    "--socket",
    "listens",
    multiple=True,
    callback=_parsed,
    metavar="SPEC",
    help="[TYPE::][HOST:]PORT (0: a free one) or unix::PATH. TYPE: tcp (the default), http, https, udp. Repeatable.",
)
@click.option(
    "-b",
    "--backlog",
    type=click.IntRange(1, 2**31 - 1),
    default=4096,
    show_default=True,
    metavar="N",
    help="How many connections wait while nobody accepts.",
)
@click.option("--no-pid", is_flag=True, help="Without LISTEN_PID: for a CMD that starts the real server itself.")
@click.option("--no-reuse", is_flag=True, help="Without SO_REUSEADDR and SO_REUSEPORT.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing.")
@click.option("--color", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True)
@click.argument("program", metavar="-- CMD...", nargs=-1, required=True, type=click.UNPROCESSED)
def command(
    *,
    listens: tuple[Listen, ...],
    backlog: int,
    no_pid: bool,
    no_reuse: bool,
    quiet: bool,
    color: str,
    program: tuple[str, ...],
) -> NoReturn:
    """Open the sockets, and become CMD with them: from descriptor 3 up, with LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES.

    Sockets that were handed to hotpipe itself are not handed on.
    """
    file, voice = _found(program[0]), _Voice(quiet, _COLOURED[color]())
    wanted = [replace(listen, backlog=backlog) for listen in listens]
    opened = [inherit.open_socket(listen, () if no_reuse else inherit.SHARED) for listen in wanted]
    if not opened:
        voice.say("warning: no sockets created")
    for descriptor, (listen, held) in enumerate(zip(wanted, opened, strict=True), inherit.FIRST):
        voice.say(f"socket {_described(listen, inherit.address_of(held))} -> fd #{descriptor}")
    names = Server(run=program, listen=listens).socket_names()
    env = inherit.announced(os.environ, names, None if no_pid else os.getpid())
    inherit.hand_on(opened)
    _become(file, program, env)


def _described(listen: Listen, address: str) -> str:
    match listen.type:
        case "http" | "https":
            return f"{listen.type}://{address}/"
        case "udp":
            return f"{address} (udp)"
        case _:
            return f"{address} ({listen.type} listener)"


def _found(name: str) -> str:
    """The file that execvp(3) would run, before anything is opened for it."""
    if found := shutil.which(name):
        return found
    there = name if "/" in name and os.path.exists(name) else shutil.which(name, mode=os.F_OK)
    if there:
        hint = f"chmod +x {shlex.quote(there)}" if os.path.isfile(there) else ""
        raise _NotExecutableError(f"cannot run {there}: it is not executable", hint)
    hint = f"install {name}, or mend PATH" if name and "/" not in name else ""
    raise _NotFoundError(f"cannot run {shlex.join([name])}: there is no such program", hint)


def _become(file: str, program: tuple[str, ...], env: Mapping[str, str]) -> NoReturn:
    for name in _IGNORED_BY_PYTHON:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
    try:
        _exec(file, program, env)
    except FileNotFoundError as error:
        raise _NotFoundError(f"cannot run {file}: the interpreter that its first line names does not exist") from error
    except OSError as error:
        raise _NotExecutableError(f"cannot run {file}: {error.strerror}") from error


def _exec(file: str, program: tuple[str, ...], env: Mapping[str, str]) -> NoReturn:
    try:
        os.execve(file, program, env)  # noqa: S606 - this is what the verb does
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            raise
        # A script without a first line #!: so does execvp(3), and so systemfd.
        os.execve(_SH, (_SH, file, *program[1:]), env)  # noqa: S606


def _wants_colour() -> bool:
    """https://no-color.org, and FORCE_COLOR, as for the other verbs."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or (_is_terminal() and os.environ.get("TERM") != "dumb")


def _is_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()  # None: it was closed, as in `hotpipe listen 2>&-`


_COLOURED: Mapping[str, Callable[[], bool]] = {
    "auto": _wants_colour,
    "always": lambda: True,
    "never": lambda: False,
}

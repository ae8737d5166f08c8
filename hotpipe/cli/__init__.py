"""The command line: one module a verb, and the error boundary around them all."""

import contextlib
import errno
import gc
import importlib
import os
import sys
from datetime import UTC, datetime

import click

from hotpipe import __version__
from hotpipe.errors import ConfigError, HotpipeError

VERBS = (
    "init",
    "watch",
    "gate",
    "serve",
    "check",
    "trigger",
    "status",
    "wait",
    "logs",
    "restart",
    "attach",
    "rerun",
    "pause",
    "resume",
    "stop",
    "listen",
    "config",
    "hook",
    "why",
    "doctor",
    "completion",
)
_INTERNAL_ERROR = 3
_FULL = frozenset((errno.ENOSPC, errno.EDQUOT))
_MOST_CRASHES = 20  # files that are kept
_INTERRUPTED = 130


class _Verbs(click.Group):
    """Imports the module of a verb when it is asked for: `hotpipe --version` need not load what `watch` needs."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            from hotpipe.config.model import nearest

            ctx.fail(f"no such command {cmd_name!r}{nearest(cmd_name, VERBS)}")
        command: click.Command = importlib.import_module(f"hotpipe.cli.{cmd_name}").command
        return command


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="hotpipe", message="%(prog)s %(version)s")
def cli() -> None:
    """Check every save; restart the server, behind a socket that stays open, only when all is green.

    Begin with `hotpipe init`, which writes a hotpipe.toml; then `hotpipe watch`.
    """


def main() -> None:
    """Run the command line and exit with the code that docs/design.md lists."""
    gc.disable()  # what is loaded stays: to look through it again and again is a fifth of a start. app.run enables it
    sys.exit(run())


def run() -> int:
    """Run the command line and return the exit code."""
    try:
        result = cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _INTERRUPTED
    except HotpipeError as error:
        return _expected(error)
    except Exception as error:  # noqa: BLE001 - this is the error boundary
        return _expected(found) if (found := _only_expected(error)) else _unexpected(error)
    return result if isinstance(result, int) else 0


def _expected(error: HotpipeError) -> int:
    if isinstance(error, ConfigError):
        count = len(error.problems)
        click.echo(
            f"hotpipe: {count} problem{'s' if count > 1 else ''} in the configuration; nothing was started", err=True
        )
        click.echo(error.message, err=True)
    else:
        click.echo(f"hotpipe: {error.message}", err=True)
    if error.hint:
        click.echo(f"hint: {error.hint}", err=True)
    return error.exit_code


def _only_expected(error: Exception) -> HotpipeError | None:
    """The one expected error that task groups have wrapped. A disk that is full is nobody's defect."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    if isinstance(error, OSError) and error.errno in _FULL:
        return HotpipeError(f"cannot write the output: {error.strerror}", hint="free some space where it goes: df(1)")
    return error if isinstance(error, HotpipeError) else None


def _unexpected(error: Exception) -> int:
    import traceback

    text = "".join(traceback.format_exception(error))
    try:
        folder = os.path.join(_root(), ".hotpipe", "logs")
        file = os.path.join(folder, f"crash-{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{os.getpid()}.txt")
        os.makedirs(folder, exist_ok=True)
        with open(file, "w", encoding="utf-8") as log:
            log.write(f"hotpipe {__version__}, Python {sys.version}\n{' '.join(sys.argv)}\n\n{text}")
        _forget_old_crashes(folder)
    except OSError:
        click.echo(text, err=True)
        file = "above"
    click.echo(f"hotpipe: internal error, a defect of hotpipe: {error}\nits traceback: {file}", err=True)
    return _INTERNAL_ERROR


def _forget_old_crashes(folder: str) -> None:
    """Their names sort by time."""
    crashes = sorted(name for name in os.listdir(folder) if name.startswith("crash-"))
    for name in crashes[:-_MOST_CRASHES]:
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(folder, name))


def _root() -> str:
    """The project's root, or the working directory where there is no project. Raises OSError where there is neither."""
    from hotpipe.config.file import find

    try:
        return os.path.dirname(find(os.getcwd()))
    except HotpipeError:
        return os.getcwd()

"""`hotpipe stop`: end what runs in this project, and wait until it has ended."""

import signal
import time

import click

from hotpipe import control, instance
from hotpipe.cli import asking
from hotpipe.config import file
from hotpipe.control import Request
from hotpipe.errors import HotpipeError, NotRunning, UsageError
from hotpipe.instance import Running

_PATIENCE_S = 60.0  # at least
_ANSWER_S = 5.0


@click.command(short_help="End the running hotpipe of this project.")
@asking.config_option
def command(config_file: str | None) -> None:
    """End the running hotpipe of this project with all that it has started, and wait for it."""
    root = asking.root(config_file)
    found = instance.running(root)  # before they are told: they remove their pid files
    answered = _tell(root, found)
    if not found and not answered:
        asking.check(config_file)
        raise NotRunning
    for one in found:
        if one.pid not in answered:
            _terminate(one)
    _wait(found, _patience_s(config_file))
    for pid in answered - {one.pid for one in found}:
        click.echo(f"told hotpipe (pid {pid}) to stop")  # without a pid file there is nothing to wait for


def _tell(root: str, found: list[Running]) -> set[int]:
    """Ask over the control sockets; the pids that will end."""
    try:
        answers = control.ask(root, Request(verb="stop"), timeout_s=_ANSWER_S)
    except NotRunning:
        return set()
    except HotpipeError:  # whatever answers there: who can be signalled need not be asked
        if not found:
            raise
        return set()
    return {int(answer.get("pid", 0)) for answer in answers}


def _terminate(one: Running) -> None:
    try:
        one.send(signal.SIGTERM)
    except PermissionError as error:
        raise HotpipeError(f"{one} belongs to another user", hint="stop it as that one") from error


def _wait(found: list[Running], patience_s: float) -> None:
    until = time.monotonic() + patience_s
    for one in found:
        if not one.wait(until - time.monotonic()):
            hint = f"kill -9 {one.pid}; the next hotpipe ends what that one leaves behind"
            raise HotpipeError(f"{one} has not ended within {patience_s:g} s", hint=hint)
        click.echo(f"stopped {one}")


def _patience_s(config_file: str | None) -> float:
    """Servers are ended side by side, but a hook or a slow disk may put them in a row."""
    try:
        servers = file.load(config_file, ".").config.server.values()
    except UsageError:
        return _PATIENCE_S
    return max(_PATIENCE_S, sum(server.drain_timeout + server.stop_timeout for server in servers))

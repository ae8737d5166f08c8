"""What the verbs that talk to a running hotpipe have in common. They load neither loop nor faces: start-up time."""

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from hotpipe.config.find import find
from hotpipe.errors import HotpipeError, NotRunning, UsageError

if TYPE_CHECKING:
    from socket import socket

    from hotpipe.control import Link, Request

config_option = click.option("--config", "config_file", metavar="FILE", help="Configuration file.")


def root(config_file: str | None) -> str:
    """The project's root, whatever its configuration says just now; raises UsageError where there is none."""
    return os.path.dirname(found(config_file))


def found(config_file: str | None) -> str:
    """The configuration file, absolute, not read yet; raises UsageError where there is none."""
    cwd = here()
    return os.path.abspath(config_file) if config_file else find(cwd)


def ask(config_file: str | None, request: "Request") -> list[dict[str, Any]]:
    """The answers of the hotpipes that run in the project.

    Raises HotpipeError where one runs that does not answer, ConfigError where none runs and none could, NotRunning.
    """
    from hotpipe import control

    with _explained(config_file) as project:
        return control.ask(project, request)


def gate(config_file: str | None) -> "Link | None":
    """The way to whoever runs the stages; raises as `ask` does."""
    return _half(config_file, "gate")


def server_half(config_file: str | None) -> "Link | None":
    """The way to whoever runs the servers; raises as `ask` does."""
    return _half(config_file, "serve")


def gate_or_refuse(config_file: str | None) -> "Link":
    """Raises as `ask` does, and HotpipeError where no gate runs."""
    if (found := gate(config_file)) is None:
        raise HotpipeError("no gate runs in this project", hint="start one with `hotpipe gate`")
    return found


def _half(config_file: str | None, role: str) -> "Link | None":
    from hotpipe import control

    with _explained(config_file) as project:
        found = control.links(project)
        if not found:
            raise NotRunning
    return next((link for link in found if link.status.get("role") in ("watch", role)), None)


@contextlib.contextmanager
def _explained(config_file: str | None) -> Iterator[str]:
    """The project's root; where nobody answers there, why not."""
    project = root(config_file)
    try:
        yield project
    except NotRunning:
        from hotpipe import instance

        if silent := instance.running(project):
            raise HotpipeError(f"{silent[0]} runs, but does not answer", hint="end it with `hotpipe stop`") from None
        check(config_file)
        raise


def talk(config_file: str | None, request: "Request") -> "tuple[dict[str, Any], socket, bytes]":
    """What the hotpipe answers that agrees, the connection to it, and what has come on it since. Raises as `ask`."""
    from hotpipe import control

    return control.talk(root(config_file), request)


def check(config_file: str | None) -> None:
    """Raises ConfigError where the configuration is the reason why nothing runs."""
    from hotpipe.config import file

    file.load(config_file, here())


def here() -> str:
    """The working directory; raises UsageError where it is gone."""
    try:
        return os.getcwd()
    except FileNotFoundError as error:
        raise UsageError("the working directory is gone", hint="cd to one that exists") from error

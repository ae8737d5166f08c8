"""`hotpipe status`: what runs, and what it serves."""

import json
from typing import Any

import click
import msgspec

from hotpipe.cli import asking
from hotpipe.control import Request, Server, Status
from hotpipe.errors import HotpipeError

_TITLES = ("server", "generation", "pid", "tree", "verified", "state", "sockets")
_TREE_LENGTH = 12  # characters of a tree's id, as git shortens its own
_NONE = "-"


@click.command(short_help="What runs in this project, and what it serves.")
@asking.config_option
@click.option("--json", "as_json", is_flag=True, help="One object a line for each hotpipe that runs.")
def command(config_file: str | None, as_json: bool) -> None:
    """What runs in this project, and what it serves. Exits 0 if a hotpipe runs, 1 if none does."""
    for answer in asking.ask(config_file, Request(verb="status")):
        click.echo(json.dumps(answer) if as_json else _described(_status(answer)))


def _status(answer: dict[str, Any]) -> Status:
    try:
        return msgspec.convert(answer, Status)
    except msgspec.ValidationError as error:
        raise HotpipeError(f"the running hotpipe answers in another version: {error}", hint="restart it") from error


def _described(status: Status) -> str:
    lines = [f"hotpipe {status.role} (pid {status.pid}) in {_printable(status.root)}"]
    if status.run:
        lines.append(f"run {status.run.run}: {status.run.status}")
    if status.servers:
        lines += _table([_TITLES, *map(_row, status.servers)])
        lines += [_failure(server) for server in status.servers if server.failure]
    return "\n".join(lines)


def _failure(server: Server) -> str:
    failed = server.failure
    goes_on = f"; generation {server.generation} goes on serving" if server.generation else ""
    return f"{server.name}: generation {failed.generation}: {failed.reason}{goes_on}" if failed else ""


def _row(server: Server) -> tuple[str, ...]:
    return (
        server.name,
        str(server.generation or _NONE),
        str(server.pid or _NONE),
        (server.tree or _NONE)[:_TREE_LENGTH],
        ("yes" if server.verified else "no") if server.generation else _NONE,
        server.state,
        ", ".join(f"{socket.name} {_printable(socket.addr)}" for socket in server.sockets) or _NONE,
    )


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _printable(path: str) -> str:
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")

"""`hotpipe status`: what runs, and what it serves."""

import json
from typing import Any

import click
import msgspec

from hotpipe.cli import asking, waiting
from hotpipe.control import Request, Run, Server, Status
from hotpipe.errors import HotpipeError

_TITLES = ("server", "generation", "pid", "tree", "verified", "state", "sockets")
_TREE_LENGTH = 12  # characters of a tree's id, as git shortens its own
_NONE = "-"
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))


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
    since = f", for {_long(status.uptime_s)}" if status.uptime_s else ""
    lines = [f"hotpipe {status.role} (pid {status.pid}{since}) in {_printable(status.root)}"]
    if status.dashboard:
        lines.append(f"dashboard: {status.dashboard}")
    if status.run:
        lines += _of_run(status.run, status.verdict)
    if status.paused:
        lines.append("paused: saves start no run until `hotpipe resume`")
    lines += [f"not in force, for it is not valid: {error}" for error in status.errors]
    if status.servers:
        lines += _table([_TITLES, *map(_row, status.servers)])
        lines += [note for server in status.servers for note in _notes(server)]
    return "\n".join(lines)


def _of_run(run: Run, verdict: Run | None) -> list[str]:
    last = verdict if verdict is not None and run.status in ("running", "superseded") else None
    before = f" (run {last.run} before it: {last.status})" if last else ""
    return [f"run {run.run}: {run.status}{before}", *waiting.findings(run)]


def _notes(server: Server) -> list[str]:
    """What the table has no column for."""
    notes = []
    if server.failure:
        goes_on = f"; generation {server.generation} goes on serving" if server.generation else ""
        notes.append(f"{server.name}: generation {server.failure.generation}: {server.failure.reason}{goes_on}")
    if server.booting and server.generation:
        notes.append(f"{server.name}: generation {server.booting} boots")
    if server.behind:
        saves = "1 save" if server.behind == 1 else f"{server.behind} saves"
        notes.append(f"{server.name}: {saves} behind what is on disk")
    return notes


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


def _long(seconds: float) -> str:
    """Its two largest units: `2 h 5 min`."""
    parts: list[str] = []
    for size, unit in _UNITS:
        count, seconds = divmod(seconds, size)
        parts += [f"{count:.0f} {unit}"] if count or parts else []
    return " ".join([*parts, f"{seconds:.0f} s"][:2])


def _printable(path: str) -> str:
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")

"""`hotpipe restart`: ask the running hotpipe for new generations."""

import click

from hotpipe.cli import asking
from hotpipe.config.model import nearest
from hotpipe.control import Request
from hotpipe.errors import HotpipeError, UsageError


@click.command(short_help="Ask the running hotpipe to restart servers.")
@click.argument("servers", metavar="[SERVER]...", nargs=-1)
@asking.config_option
def command(config_file: str | None, servers: tuple[str, ...]) -> None:
    """Restart these servers (default: all) on what is on disk, without checks. Does not wait until they are live."""
    known = _known(config_file)
    for name in servers:
        if name not in known:
            listed = f"; the servers are {', '.join(known)}" if known else ""
            raise UsageError(f"there is no server {name!r}{nearest(name, known)}{listed}")
    if not known:
        raise HotpipeError("what runs in this project has no server", hint="start one with `hotpipe serve`")
    for answer in asking.ask(config_file, Request(verb="restart", servers=servers)):
        for name in answer.get("servers", ()):
            click.echo(f"restarting {name}")


def _known(config_file: str | None) -> list[str]:
    """The servers of the hotpipes that run: a changed configuration may not be in force yet."""
    answers = asking.ask(config_file, Request(verb="status"))
    return [server["name"] for answer in answers for server in answer.get("servers", ())]

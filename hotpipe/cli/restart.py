"""`hotpipe restart`: ask the running hotpipe for new generations."""

import click

from hotpipe.cli import asking, completing, waiting
from hotpipe.config.listen import nearest
from hotpipe.control import Link, Request
from hotpipe.errors import HotpipeError, UsageError


@click.command(short_help="Ask the running hotpipe to restart servers.")
@click.argument("servers", metavar="[SERVER]...", nargs=-1, shell_complete=completing.servers)
@asking.config_option
@click.option("--wait", is_flag=True, help="Until they are live: exits 0, or 1 if one has failed.")
@waiting.timeout_option
def command(config_file: str | None, servers: tuple[str, ...], *, wait: bool, timeout: float) -> int:
    """Restart these servers (default: all) on what is on disk, without checks."""
    link = asking.server_half(config_file)
    known = [] if link is None else [server["name"] for server in link.status.get("servers", ())]
    for name in servers:
        if name not in known:
            listed = f"; the servers are {', '.join(known)}" if known else ""
            raise UsageError(f"there is no server {name!r}{nearest(name, known)}{listed}")
    if link is None or not known:
        raise HotpipeError("what runs in this project has no server", hint="start one with `hotpipe serve`")
    if wait:
        return _waited(link, servers or tuple(known), timeout)
    for name in link.ask(Request(verb="restart", servers=servers)).get("servers", ()):
        click.echo(f"restarting {name}")
    return 0


def _waited(link: Link, servers: tuple[str, ...], timeout_s: float) -> int:
    for name in servers:
        click.echo(f"restarting {name}")
    answer = waiting.late(link, Request(verb="restart", servers=servers, timeout_s=timeout_s or 0.001))
    for name, generation in answer.get("live", {}).items():
        click.echo(f"{name}: generation {generation} is live")
    for name, why in answer.get("failed", {}).items():
        click.echo(f"hotpipe: {name}: {why}", err=True)
    return 1 if answer.get("failed") else 0

"""`hotpipe trigger`: a restart without checks."""

import click

from hotpipe import trigger
from hotpipe.cli import completing, options
from hotpipe.config.model import nearest
from hotpipe.errors import UsageError


@click.command(short_help="Touch the trigger by hand: a restart without checks.")
@click.argument("servers", metavar="[SERVER]...", nargs=-1, shell_complete=completing.servers)
@options.config_option
def command(config_file: str | None, servers: tuple[str, ...]) -> None:
    """Touch the triggers of these servers (default: of all). What is served then is shown as unverified."""
    project = options.project(config_file)
    triggers = project.config.triggers()
    for name in servers:
        if name not in triggers:
            known = [known for known in triggers if known]
            raise UsageError(f"there is no server {name!r}{nearest(name, known)}")
    for server, path in triggers.items():
        if server in servers or not servers:
            trigger.write(project.path(path), trigger.Record(server=server, at=trigger.now()))
            click.echo(f"touched {path}")

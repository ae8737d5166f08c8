"""`hotpipe resume`: saves start runs again."""

import click

from hotpipe.cli import asking
from hotpipe.control import Request


@click.command(short_help="Let saves start runs again.")
@asking.config_option
def command(config_file: str | None) -> None:
    """Let saves start runs again; what has changed since `hotpipe pause` starts one now."""
    asking.gate_or_refuse(config_file).ask(Request(verb="resume"))
    click.echo("resumed: saves start runs again")

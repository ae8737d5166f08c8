"""`hotpipe config`: what the configuration comes to."""

import json

import click
import tomli_w

from hotpipe.cli import options
from hotpipe.config import model


@click.command(short_help="Print the resolved configuration, or its JSON Schema.")
@options.config_option
@click.option("--json", "as_json", is_flag=True, help="As JSON instead of TOML.")
@click.option("--schema", is_flag=True, help="The JSON Schema of hotpipe.toml.")
def command(config_file: str | None, as_json: bool, schema: bool) -> None:
    """Print the configuration with all defaults filled in."""
    if schema:
        from hotpipe.config import schema as published

        click.echo(json.dumps(published.schema(), indent=2))
        return
    tables = model.to_tables(options.project(config_file).config)
    click.echo(json.dumps(tables, indent=2) if as_json else tomli_w.dumps(tables).rstrip())

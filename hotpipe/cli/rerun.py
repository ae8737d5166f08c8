"""`hotpipe rerun`: run stages now, whatever is remembered of them."""

import click

from hotpipe.cli import asking, completing, waiting
from hotpipe.config.listen import nearest
from hotpipe.control import Request
from hotpipe.errors import HotpipeError, UsageError


@click.command(short_help="Run stages now, whatever is remembered of them.")
@click.argument("stages", metavar="[STAGE]...", nargs=-1, shell_complete=completing.stages)
@asking.config_option
@click.option("--wait", is_flag=True, help="Until there is a verdict: exits 0 if it is green, else 1.")
@waiting.timeout_option
def command(config_file: str | None, stages: tuple[str, ...], *, wait: bool, timeout: float) -> int:
    """Run these stages (default: all) and what needs them now, whatever is remembered of them."""
    gate = asking.gate_or_refuse(config_file)
    known = gate.status.get("stages", ())
    for name in stages:
        if name not in known:
            listed = f"; the stages are {', '.join(known)}" if known else ""
            raise UsageError(f"there is no stage {name!r}{nearest(name, known)}{listed}")
    if not known:
        raise HotpipeError("what runs in this project has no stage", hint='write [stage.test] with run = "pytest"')
    for name in gate.ask(Request(verb="rerun", stages=stages)).get("stages", ()):
        click.echo(f"rerunning {name}")
    wanted = waiting.Wanted(timeout_s=timeout)
    return waiting.told(wanted, wanted.reached(config_file)) if wait else 0

"""`hotpipe why`: is a path watched, which rule decides, and what does a change of it set going?"""

import os

import click
import msgspec

from hotpipe.cli import asking
from hotpipe.config import file
from hotpipe.config.file import Project
from hotpipe.gate import configured
from hotpipe.gate.why import Effect, Explanation, explain, locate, of_own
from hotpipe.tree.ignore import Ignore

_MARKS = {True: "●", False: "·"}


@click.command(short_help="Say whether a path is watched, and what it concerns.")
@asking.config_option
@click.option("--json", "as_json", is_flag=True, help="One object a line for each path.")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
def command(config_file: str | None, as_json: bool, paths: tuple[str, ...]) -> None:
    """Is PATH watched, which rule decides that, and which stages and servers does a change of it concern?"""
    here = asking.here()
    project = file.load(config_file, here)
    ignore = Ignore(project.root, extra=project.config.watch.ignore, never=tuple(project.config.triggers().values()))
    for number, path in enumerate(paths):
        place = locate(path, project.root, here, ignore)
        found = explain(place, project.config, ignore)
        found = of_own(found) if place.path == configured.own(project) else found
        if as_json:
            click.echo(msgspec.json.encode(found).decode())
        else:
            click.echo("\n" * bool(number) + _described(found, project))


def _described(found: Explanation, project: Project) -> str:
    there = {"missing": " (not there)", "folder": "/", "link": " (a link)"}.get(found.kind, "")
    lines = [f"{found.path.rstrip('/')}{there}", _row("watched" if found.watched else "not watched", "", found.why)]
    if found.watched and found.kind == "folder":
        lines.append(_row("files", "", f"{found.files} watched"))
    lines += _effects("stages", found.stages)
    lines += _effects("servers", found.servers)
    if found.watched and not project.config.stage and not project.config.server:
        lines.append(_row("", "", f"{os.path.basename(project.file)} has neither a stage nor a server"))
    return "\n".join(lines)


def _effects(title: str, effects: tuple[Effect, ...]) -> list[str]:
    width = max((len(effect.name) for effect in effects), default=0)
    titles = [title, *[""] * len(effects)]
    return [
        _row(title, f"{_MARKS[effect.fires]} {effect.name.ljust(width)}  ", effect.why)
        for title, effect in zip(titles, effects, strict=False)
    ]


def _row(title: str, name: str, why: str) -> str:
    return f"  {title:<11}  {name}{why}"

"""`hotpipe doctor`: what this machine and this project can do, and the way out where they cannot."""

import os

import click
import msgspec

from hotpipe.cli import asking
from hotpipe.doctor import machine, project
from hotpipe.doctor.judge import Finding, Mark, is_unusable, judge

_MARKS: dict[Mark, tuple[str, str]] = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "bad": ("✗", "red")}


@click.command(short_help="Examine this machine and this project.")
@asking.config_option
@click.option("--json", "as_json", is_flag=True, help="One object a line for each finding.")
@click.option("--no-color", is_flag=True, help="Without colours; so does NO_COLOR=1.")
def command(config_file: str | None, as_json: bool, no_color: bool) -> int:
    """Examine this machine and this project. Exits 1 if something keeps hotpipe from working, 0 else."""
    findings = judge(machine.examine(), project.examine(config_file, asking.here()))
    plain = no_color or bool(os.environ.get("NO_COLOR"))
    for finding in findings:
        click.echo(msgspec.json.encode(finding).decode() if as_json else _line(finding), color=False if plain else None)
    if not as_json:
        click.echo(f"\n{_summary(findings)}", color=False if plain else None)
    return int(is_unusable(findings))


def _line(finding: Finding) -> str:
    sign, colour = _MARKS[finding.mark]
    first, *more = finding.message.splitlines()
    lines = [f"{click.style(sign, fg=colour, bold=True)} {first}", *(f"  {line}" for line in more)]
    if finding.hint:
        lines.append(click.style(f"  → {finding.hint}", dim=True))
    return "\n".join(lines)


def _summary(findings: list[Finding]) -> str:
    bad = sum(finding.mark == "bad" for finding in findings)
    warnings = sum(finding.mark == "warning" for finding in findings)
    if bad:
        return f"{bad} thing{'s' if bad > 1 else ''} must be mended"
    if warnings:
        return f"hotpipe works; {warnings} thing{'s' if warnings > 1 else ''} could be better"
    return "all is well"

"""Waiting for the running hotpipe, as `wait`, `rerun --wait` and `restart --wait` do it."""

import sys
import time
from dataclasses import dataclass
from typing import Any

import click
import msgspec

from hotpipe.cli import asking
from hotpipe.control import Link, Request, Run, Waited
from hotpipe.errors import HotpipeError, NotRunning

_SLACK_S = 10.0  # for the answer, beyond the time that it may take
_NEVER_S = 0.001  # no time at all: what is not so at once is late


def _duration(_: click.Context, __: click.Parameter, given: str) -> float:
    from hotpipe.config.ready import Duration

    try:
        return float(Duration.of(given))
    except ValueError as error:
        raise click.BadParameter(f"{given!r} {error}") from error


timeout_option = click.option(
    "--timeout", default="60s", metavar="DURATION", callback=_duration, help="How long at most. Default: 60s."
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is waited for: a verdict (`green`: no other than that), and servers that serve what has it (`live`)."""

    green: bool = False
    live: bool = False
    timeout_s: float = 60.0

    def reached(self, config_file: str | None) -> list[Waited]:
        """The answers; the last says whether it has come to that. Raises HotpipeError."""
        gate, servers = asking.gate(config_file), asking.server_half(config_file) if self.live else None
        if gate is None and not self.live:
            asking.gate_or_refuse(config_file)
        until = time.monotonic() + self.timeout_s
        answers: list[Waited] = []
        if gate is not None:
            note(gate)
            answers.append(self._ask(gate, Request(verb="wait", patient=self.green), until))
        if self.live and (not answers or answers[-1].reached):
            if servers is None:
                raise HotpipeError("what runs in this project has no server", hint="start one with `hotpipe serve`")
            checked = gate is not None
            asked = Request(verb="wait", until="served", patient=self.green, checked=checked)
            answers.append(self._ask(servers, asked, until))
        return answers

    def _ask(self, link: Link, request: Request, until: float) -> Waited:
        left_s = max(until - time.monotonic(), _NEVER_S)
        answer = late(link, msgspec.structs.replace(request, timeout_s=left_s))
        try:
            return msgspec.convert(answer, Waited)
        except msgspec.ValidationError as error:
            raise HotpipeError(f"the running hotpipe answers in another version: {error}", hint="restart it") from error


def late(link: Link, request: Request) -> dict[str, Any]:
    """An answer that takes its time; raises HotpipeError where hotpipe ends meanwhile."""
    try:
        return link.ask(request, request.timeout_s + _SLACK_S)
    except NotRunning:
        raise HotpipeError("hotpipe has ended meanwhile") from None


def note(gate: Link) -> None:
    """What whoever waits should know: on standard error, for it is no answer."""
    if gate.status.get("paused"):
        click.echo("hotpipe: the gate is paused: nothing runs before `hotpipe resume`", err=True)
    for error in gate.status.get("errors", ()):
        click.echo(f"hotpipe: not in force, for it is not valid: {error}", err=True)


def told(wanted: Wanted, answers: list[Waited]) -> int:
    """Say what has come of it; the exit code."""
    from hotpipe.config.ready import Duration

    last = answers[-1]
    if last.reached:
        for line in _reached(answers):
            click.echo(line)
        return 0
    late_by = f"{_wanted(wanted)} within {Duration(wanted.timeout_s)}: " if last.timed_out else ""
    click.echo(f"hotpipe: {late_by}{'; '.join(last.why)}", err=True)
    for line in findings(last.run) if last.run is not None and last.run.status == "red" else ():
        click.echo(line, err=True)
    return 1


def findings(run: Run) -> list[str]:
    """The first finding of each failing stage, a line each."""
    lines = []
    for failing in run.failing:
        first, more = failing.first, failing.findings - 1
        if first is None:
            lines.append(f"  {failing.stage}: {failing.status.replace('_', ' ')}")
            continue
        place = ":".join(str(part) for part in (first.path, first.line, first.column) if part is not None)
        others = f" (and {more} more)" if more > 0 else ""
        lines.append(f"  {failing.stage}: {place}{': ' * bool(place)}{first.message.splitlines()[0]}{others}")
    return lines


def _reached(answers: list[Waited]) -> list[str]:
    verdict = next((answer.run for answer in answers if answer.run is not None), None)
    lines = [f"run {verdict.run}: {verdict.status}"] if verdict else []
    if len(answers) > 1 or verdict is None:
        lines += [f"{server.name}: generation {server.generation} is live" for server in answers[-1].servers]
    return lines


def _wanted(wanted: Wanted) -> str:
    if wanted.live:
        return "not all servers are live"
    return "not green" if wanted.green else "no verdict"


def as_json(answers: list[Waited]) -> int:
    """The last answer, as it came; the exit code."""
    sys.stdout.write(msgspec.json.encode(answers[-1]).decode() + "\n")
    return 0 if answers[-1].reached else 1

"""Replacing servers under load: what clients notice of it, with hotpipe and with its neighbours.

For each server: hotpipe restarts it again and again while 16 clients open a connection for each request and 16 keep
theirs (restart_load.py). Then the neighbours do: the server stopped and started again on a socket that stays open, as
systemfd with cargo-watch or watchexec does it, and the server's own way, if it has one.

The load is the same before the restarts: that is the steady state. How long the server takes to boot is measured beside
the restarts, on a socket of its own: with nothing else going on, and under the same load, since a second program costs
time on a small machine. It ends with its first accept; a restart, with the event `server.live`.
"""

import argparse
import bisect
import json
import random
import re
import shlex
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import restart_load
import restart_plot
from measure import HOTPIPE, Report, load, machine, version
from restart_load import Request
from restart_report import (
    Outcome,
    Table,
    as_json,
    boots,
    broken,
    in_full,
    keep_alive_verdict,
    share_ms,
    side_by_side,
    steady,
    verdicts,
)
from restart_servers import QUICK, SERVERS, Server
from restart_ways import Hotpipe, StopStart, Tuning, Way, WayError, boot, own_way

WARM_UP_S = 1.0
STEADY_S = 4.0
NOTES = """\
A kept connection that was closed while it was idle, or before the first byte of an answer, is replaced and the
request sent again, once, as browsers do: retried. Everything else is a failure: refused, reset or closed on a new
connection, an answer cut short, a status other than 200, no answer within 10 s. A server's own boot is the time from
its spawn to its first accept, on a socket of its own and without hotpipe, measured beside the restarts and under the
same load; hotpipe's figure is the time from the touch of the trigger to `server.live`. The steady state is the same
load before the restarts."""
GAP_S = (0.05, 0.15)  # between two restarts
AFTERMATH_S = 0.2
KEEP_ALIVE_REQUESTS = 3000


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    restarts: int
    neighbours: int  # restarts of theirs
    boots: int  # of the server alone, among the restarts
    calm_boots: int  # without load, and as many restarts
    think_ms: float
    clients: int
    tuning: Tuning


# --- measuring --------------------------------------------------------------------------------------------------------


class Loaded:
    """The load on a port, while `with` lasts; then each request is found in the list of the phase that it began in."""

    def __init__(self, port: int, plan: Plan, folder: Path) -> None:
        self._out = folder / "requests"
        self._phases: list[tuple[float, list[Request]]] = []
        script = (sys.executable, restart_load.__file__, "--port", str(port), "--out", str(self._out))
        options = ("--clients", str(plan.clients), "--think", str(plan.think_ms))
        # A session of its own: Ctrl-C is for us, and the end of its standard input for the load.
        self._process = subprocess.Popen((*script, *options), stdin=subprocess.PIPE, start_new_session=True)

    def __enter__(self) -> "Loaded":
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(2 * restart_load.TIMEOUT_S)
        finally:
            self._process.kill()
            self._process.wait()
        if self._process.returncode:
            raise WayError(f"the load ended with {self._process.returncode}")
        self._sort(restart_load.read(self._out))

    def phase(self, requests: list[Request]) -> None:
        """From now on, requests belong there."""
        self._phases.append((time.monotonic(), requests))

    def _sort(self, requests: list[Request]) -> None:
        starts = [start for start, _ in self._phases]
        for request in requests:
            if at := bisect.bisect(starts, request.start):  # 0: warming up
                self._phases[at - 1][1].append(request)


def measure(server: Server, way: Way, plan: Plan, folder: Path) -> Outcome:
    """Restart it under load, and tell what its clients saw."""
    outcome, ours = Outcome(server.name, way.name), isinstance(way, Hotpipe)
    try:
        with way:
            if ours:
                calm(server, way, plan, outcome)
            with Loaded(way.port, plan, folder) as loaded:
                time.sleep(WARM_UP_S)
                loaded.phase(outcome.steady)
                time.sleep(STEADY_S)
                loaded.phase(outcome.during)
                every = plan.restarts // plan.boots
                for number in range(plan.restarts if ours else plan.neighbours):
                    restart(way, outcome)
                    if ours and number % every == every - 1:
                        loaded.phase(outcome.beside)
                        outcome.boots_s.append(boot(server, folder / "alone"))
                        loaded.phase(outcome.during)
                time.sleep(AFTERMATH_S)
    except (WayError, subprocess.TimeoutExpired) as error:
        outcome.broken = str(error)
    return outcome


def calm(server: Server, way: Way, plan: Plan, outcome: Outcome) -> None:
    """Boots and restarts in turn, while nothing else goes on."""
    for _ in range(plan.calm_boots):
        outcome.calm_boots_s.append(boot(server, Path("/dev/null")))
        outcome.calm_restarts.append(way.restart())
        way.settle()


def restart(way: Way, outcome: Outcome) -> None:
    """One, until nothing of the old generation is left, and a pause."""
    outcome.restarts.append(way.restart())
    way.settle()
    time.sleep(random.uniform(*GAP_S))


def ways(server: Server, plan: Plan, top: Path) -> Iterator[tuple[Way, Path]]:
    """All ways to replace it, each with a folder of its own; ours first."""
    makers: list[Callable[[Path], Way | None]] = [
        lambda at: Hotpipe(server, at, plan.tuning),
        lambda at: StopStart(server, at),
        lambda at: own_way(server, at),
    ]
    for make in makers:
        with tempfile.TemporaryDirectory(dir=top) as folder:
            if (way := make(Path(folder))) is not None:
                yield way, Path(folder)


def keep_alive(plan: Plan, top: Path) -> str:
    """The verdict on one request after another over one connection, under hotpipe and with nothing else going on."""
    with tempfile.TemporaryDirectory(dir=top) as folder:
        way = Hotpipe(SERVERS[0], Path(folder), plan.tuning)
        with way, socket.create_connection(("127.0.0.1", way.port)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return keep_alive_verdict(statistics.median(_asked(connection) for _ in range(KEEP_ALIVE_REQUESTS)))


def _asked(connection: socket.socket) -> float:
    began = time.monotonic()
    connection.sendall(b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n")
    received = b""
    while not received.partition(b"\r\n\r\n")[2].endswith(b"\n"):
        received += (more := connection.recv(1 << 16))
        if not more:
            raise WayError(f"a kept connection was closed after {received!r}")
    return time.monotonic() - began


# --- the command line -------------------------------------------------------------------------------------------------


def main() -> None:
    """Parse the command line, measure, report."""
    options = parsed()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that what was started is ended
    restarts = options.restarts or (10 if options.quick else 100)
    plan = Plan(
        restarts=restarts,
        neighbours=options.neighbours or (5 if options.quick else 20),
        boots=min(restarts, 5 if options.quick else 20),
        calm_boots=3 if options.quick else 10,
        think_ms=options.think,
        clients=options.clients,
        tuning=Tuning(options.hotpipe, options.probation),
    )
    report = Report()
    report.add(f"{machine()}; hotpipe {version(HOTPIPE)}; {load()}")
    report.add(f"{described(plan)}\n")
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        servers, skipped = chosen(options.only or (QUICK if options.quick else None))
        for line in skipped:
            report.add(line)
        if options.keep_alive_latency:
            report.add(keep_alive(plan, Path(folder)))
            return
        outcomes = [
            measured(server, way, plan, at) for server in servers for way, at in ways(server, plan, Path(folder))
        ]
        ours = [o for o in outcomes if o.way == Hotpipe.name]
        tables = [side_by_side(outcomes), in_full(outcomes), boots(ours), steady(ours)]
        verdict = [*verdicts(ours), *([keep_alive(plan, Path(folder))] if SERVERS[0] in servers else [])]
    for part in tables:
        report.add(f"\n{part.plain()}")
    report.add("\n".join([*verdict, *broken(outcomes), "", load()]))
    write(options, plan, outcomes, Findings(tables, [*verdict, *broken(outcomes), *skipped], servers))


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [server.name for server in SERVERS]
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=f"of: {', '.join(names)}")
    parser.add_argument("--quick", action="store_true", help=f"10 restarts of {', '.join(QUICK)}")
    parser.add_argument("--restarts", type=int, help="by hotpipe, of each server (100)")
    parser.add_argument("--neighbours", type=int, help="restarts in each other way (20)")
    parser.add_argument("--clients", type=int, default=16, help="of each of the two kinds (16)")
    parser.add_argument("--think", type=float, default=20.0, help="ms between two requests of a client (20)")
    parser.add_argument("--probation", default="100ms", help="how long hotpipe keeps the old generation (100ms)")
    parser.add_argument("--hotpipe", default=HOTPIPE, help="another program to measure in hotpipe's place")
    parser.add_argument(
        "--keep-alive-latency", action="store_true", help="only the latency of uvicorn --fd, kept alive"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="all figures")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="a PNG: what requests see, over time")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="the report, for docs/")
    return parser.parse_args()


def chosen(only: Sequence[str] | None) -> tuple[list[Server], list[str]]:
    """The servers that are here, and why others are not measured."""
    wanted = [server for server in SERVERS if only is None or server.name in only]
    reasons = {server.name: server.missing() for server in wanted}
    skipped = [f"{name}: not measured: {reason}" for name, reason in reasons.items() if reason]
    return [server for server in wanted if not reasons[server.name]], skipped


def described(plan: Plan) -> str:
    """What the load is."""
    most = 2 * plan.clients * 1e3 / plan.think_ms
    return (
        f"{plan.clients} clients with a connection per request and {plan.clients} that keep theirs, each with"
        f" {plan.think_ms:g} ms of thought (±50 %) between two requests: at most {most:,.0f} requests a second, so that"
        " the clients do not fill the machine and a long request is the server's doing"
    )


def measured(server: Server, way: Way, plan: Plan, folder: Path) -> Outcome:
    """Measure, and say on standard error how it went."""
    began = time.monotonic()
    outcome = measure(server, way, plan, folder)
    said = outcome.broken or f"{outcome.failed.total()} failed, longest {share_ms(outcome.during, 1.0):.0f} ms"
    print(f"{server.name}, {way.name}: {said} ({time.monotonic() - began:.0f} s)", file=sys.stderr)
    return outcome


@dataclass(frozen=True)
class Findings:
    """What is told in the end."""

    tables: list[Table]
    lines: list[str]
    servers: list[Server]


def write(options: argparse.Namespace, plan: Plan, outcomes: list[Outcome], findings: Findings) -> None:
    """The files that were asked for."""
    if options.json:
        options.json.write_text(json.dumps([as_json(o) for o in outcomes], indent=1) + "\n")
    if options.plot:
        restart_plot.draw(outcomes, options.plot)
    if options.markdown:
        options.markdown.write_text(markdown(options, plan, findings), encoding="utf-8")


def filled(text: str) -> str:
    """Wrapped; a command is not torn at its hyphens."""
    return textwrap.fill(text, 118, break_on_hyphens=False)


def general(machine: str) -> str:
    """Without what says more of the host than of the kernel."""
    return re.sub(r"(Linux \d+\.\d+)[^,]*", r"\1", machine)


def markdown(options: argparse.Namespace, plan: Plan, findings: Findings) -> str:
    """The report as a page."""
    versions = ", ".join(dict.fromkeys(f"{s.comes_with} {s.version()}" for s in findings.servers))
    picture = ""
    if options.plot:
        picture = f"![How long requests take while servers are replaced]({options.plot.name})\n\n"
    made = f"Made by `python bench/restart.py {shlex.join(sys.argv[1:])}` on {general(machine())}, with {versions}."
    return (
        f"# Replacing servers under load\n\n{filled(made)}\n\n{filled(f'{described(plan)}. {NOTES}')}\n\n{picture}"
        + "\n".join(f"## {part.title}\n\n{part.markdown()}" for part in findings.tables)
        + "\n## Goals\n\n"
        + "".join(f"- {line}\n" for line in findings.lines)
    )


if __name__ == "__main__":
    main()

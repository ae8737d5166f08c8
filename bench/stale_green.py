"""Which tools bless a tree that was never checked, or lose what they were told: hotpipe beside its neighbours.

Each scenario (bench/stale_scenarios.py) is played to each tool that it concerns, in a project of its own, with checks
that wait for the driver. Several tools are driven at once; the waits of one are the work of another. Peers are
installed into bench/.peers first (bench/peers.py). Everything is bounded, and nothing is left behind.
"""

import argparse
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import peers
from measure import HOTPIPE, load, machine, version
from stale_report import Results
from stale_scenarios import SCENARIOS, Outcome, play
from stale_tools import Tool, tools
from stale_world import world

AT_ONCE = 4
OVER = threading.Event()  # somebody wants it to end: no further scenario is begun


def drive(tool: Tool, keys: set[str], folder: Path, path: str) -> dict[tuple[str, str], Outcome]:
    """All scenarios that concern the tool, one after the other."""
    outcomes = {}
    for scenario in SCENARIOS:
        if scenario.key in keys and scenario.plays(tool) and not OVER.is_set():
            began = time.monotonic()
            with world(folder / f"{tool.name.replace(' ', '')}-{scenario.key}", path) as made:
                outcome = outcomes[scenario.key, tool.name] = play(scenario, tool, made)
            took_s = time.monotonic() - began
            print(f"{scenario.key:2} {tool.name}: {outcome.verdict}: {outcome.told} [{took_s:.1f} s]", file=sys.stderr)
    return outcomes


def results(keys: set[str], names: set[str]) -> Results:
    """Play everything."""
    there = peers.provide()
    wanted = [tool for tool in tools() if not names or tool.name in names]
    had = [tool for tool in wanted if not tool.program or tool.program in there.versions]
    skipped = [f"{tool.name}: not had: {there.missing[tool.program]}" for tool in wanted if tool not in had]
    found = Results([scenario for scenario in SCENARIOS if scenario.key in keys], had)
    found.head, found.skipped = _head(there), (*skipped, *there.notes)
    with tempfile.TemporaryDirectory(prefix="stale-") as folder, ThreadPoolExecutor(AT_ONCE) as pool:
        try:
            for outcomes in pool.map(lambda tool: drive(tool, keys, Path(folder), there.path), had):
                found.outcomes |= outcomes
        finally:
            OVER.set()
    return found


def _head(there: peers.Peers) -> list[str]:
    git = subprocess.run(["git", "--version"], capture_output=True, text=True, check=True).stdout.split()[2]
    made = f"Made by `python bench/stale_green.py --markdown docs/stale_green.md` on {machine()}, git {git}, {load()}."
    return [made, f"With hotpipe {version(HOTPIPE)}, {there.told()}."]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--markdown", type=Path, help="write the tables there, too")
    parser.add_argument("--only", default="", help="these scenarios: a,b,g2")
    parser.add_argument("--tools", default="", help="these tools, by name, with commas")
    given = parser.parse_args()
    keys = set(filter(None, given.only.split(","))) or {scenario.key for scenario in SCENARIOS}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that nothing is left behind
    began = time.monotonic()
    found = results(keys, set(filter(None, given.tools.split(","))))
    print(f"{found.plain()}\n\ntook {time.monotonic() - began:.0f} s")
    if given.markdown:
        given.markdown.write_text(found.markdown())


if __name__ == "__main__":
    main()

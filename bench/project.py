"""How long a verdict takes on a real project, starlette with ruff, mypy and pytest: hotpipe beside other ways.

All ways run the same three commands in the same checkout with the same caches, one way after the other, in rounds:
cold (no cache of any tool), warm (nothing has changed since), edit (one line of one source file has). The tests are
those of five files: the whole suite needs 12 s, and would hide everything else. The requirements are the project's own
pins. For `hotpipe watch` it is the time from the save to the verdict of a hotpipe that is already there.
"""

import argparse
import math
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from statistics import median

import peers
from measure import HOTPIPE, Program, load, machine, table, version

PROJECT = "starlette==0.46.2"
REQUIREMENTS = (
    "anyio==4.9.0",
    "httpx==0.28.1",
    "itsdangerous==2.2.0",
    "jinja2==3.1.6",
    "mypy==1.15.0",
    "pytest==8.3.5",
    "python-multipart==0.0.20",
    "pyyaml==6.0.2",
    "ruff==0.11.2",
    "trio==0.29.0",
    "types-PyYAML==6.0.12.20250326",
    "types-contextvars==2.4.7.3",
    "types-dataclasses==0.6.6",
    "typing_extensions==4.12.2",
)
TESTED = ("applications", "authentication", "requests", "responses", "routing")
COMMANDS = {
    "lint": "ruff check starlette tests",
    "types": "mypy starlette",
    "test": f"python -m pytest -q {' '.join(f'tests/test_{name}.py' for name in TESTED)}",
}
EDITED = "starlette/routing.py"
CACHES = (".mypy_cache", ".ruff_cache", ".pytest_cache", ".hotpipe", ".nox")
PATIENCE_S = 180.0

# --- the project, as each way wants it --------------------------------------------------------------------------------

_HOTPIPE = "".join(f'[stage.{name}]\nrun = "{command}"\nneeds = []\n' for name, command in COMMANDS.items())
_HOOK = "  - {{id: {0}, name: {0}, entry: {1}, language: system, pass_filenames: false, always_run: true}}\n"
_PRE_COMMIT = "repos:\n- repo: local\n  hooks:\n" + "".join(_HOOK.format(*each) for each in COMMANDS.items())
_SESSION = "\n\n@nox.session(venv_backend='none')\ndef {}(session):\n    session.run(*{!r}.split())\n"
_NOX = "import nox\n" + "".join(_SESSION.format(*each) for each in COMMANDS.items())
FILES = {
    "hotpipe.toml": _HOTPIPE,
    ".pre-commit-config.yaml": _PRE_COMMIT,
    "noxfile.py": _NOX,
    ".gitignore": "__pycache__/\n.trigger*\n" + "".join(f"{cache}/\n" for cache in CACHES),
}


@cache
def requirements() -> Path:
    """The sdist and a venv with what its checks need, below bench/.peers; returns the venv."""
    peers.FOLDER.mkdir(exist_ok=True)
    venv = peers.FOLDER / "starlette-venv"
    pip = (str(venv / "bin/pip"), "--disable-pip-version-check")
    if not (venv / ".pins").exists() or (venv / ".pins").read_text() != repr(REQUIREMENTS):
        run(sys.executable, "-m", "venv", str(venv))
        run(*pip, "install", "-q", *REQUIREMENTS)
        (venv / ".pins").write_text(repr(REQUIREMENTS))
    if not sdist().exists():
        run(*pip, "download", "-q", "--no-binary", ":all:", "--no-deps", "-d", str(peers.FOLDER), PROJECT)
    return venv


def sdist() -> Path:
    return peers.FOLDER / f"{PROJECT.replace('==', '-')}.tar.gz"


def run(*argv: str, cwd: Path | None = None) -> None:
    """Raises RuntimeError with what it said, if it fails."""
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: exit {done.returncode}: {(done.stdout + done.stderr)[-1500:]}")


def unpack(folder: Path) -> Path:
    """A checkout of the project, in git, with what each way wants."""
    with tarfile.open(sdist()) as packed:
        packed.extractall(folder, filter="data")
    root = folder / PROJECT.replace("==", "-")
    for name, text in FILES.items():
        (root / name).write_text(text)
    run("git", "init", "-q", cwd=root)
    run("git", "add", "-A", cwd=root)
    who = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.org")
    run("git", *who, "commit", "-q", "-m", "as released", cwd=root)
    return root


# --- the ways ---------------------------------------------------------------------------------------------------------


@dataclass
class Checkout:
    """The project, and how often it was edited."""

    root: Path
    edits: int = 0
    source: str = field(init=False)

    def __post_init__(self) -> None:
        self.source = (self.root / EDITED).read_text()

    def forget(self) -> None:
        """No cache of any tool is left."""
        for found in (*(self.root / name for name in CACHES), *self.root.rglob("__pycache__")):
            shutil.rmtree(found, ignore_errors=True)

    def edit(self) -> float:
        """Save another constant in one source file. Returns the moment before."""
        self.edits += 1
        began = time.monotonic()
        (self.root / EDITED).write_text(f"{self.source}\nEDITED = {self.edits}\n")
        return began


def ways(there: peers.Peers) -> dict[str, Sequence[str]]:
    """Those that are had here; {as it is called: its argv}."""
    found = {
        "sh -c 'ruff && mypy && pytest'": ("", ("sh", "-c", " && ".join(COMMANDS.values()))),
        "pre-commit run --all-files": ("pre-commit", ("pre-commit", "run", "--all-files")),
        "prek run --all-files": ("prek", ("prek", "run", "--all-files")),
        "nox -R": ("nox", ("nox", "-R")),
        "hotpipe check": ("", (HOTPIPE, "check")),
    }
    helped = subprocess.run([HOTPIPE, "check", "--help"], capture_output=True, text=True, timeout=20, check=False)
    if "--no-cache" in helped.stdout:
        found["hotpipe check --no-cache"] = ("", (HOTPIPE, "check", "--no-cache"))
    return {name: argv for name, (program, argv) in found.items() if not program or program in there.versions}


Times = dict[tuple[str, str], list[float]]


def once(argv: Sequence[str], checkout: Checkout) -> float:
    """Seconds from the start of the program to its end; NaN if it is red, though nothing is wrong with the project."""
    began = time.monotonic()
    try:
        run(*argv, cwd=checkout.root)
    except RuntimeError as error:
        print(error, file=sys.stderr, flush=True)
        return math.nan
    return time.monotonic() - began


def round_of(name: str, argv: Sequence[str], checkout: Checkout, times: Times) -> None:
    """Cold, warm, edit."""
    checkout.forget()
    times[name, "cold"].append(once(argv, checkout))
    times[name, "warm"].append(once(argv, checkout))
    checkout.edit()
    times[name, "edit"].append(once(argv, checkout))


def watched(checkout: Checkout, folder: Path, rounds: int) -> list[float]:
    """Seconds from each save to the green that it leads to."""
    found = []
    with Program((HOTPIPE, "watch", "--json"), checkout.root, folder / "watch.log") as program:
        after = program.wait_for("run.finished", PATIENCE_S)["mono"]
        for _ in range(rounds):
            time.sleep(1.0)  # as somebody who reads the verdict
            began = checkout.edit()
            after = _green(program, max(began, after))
            found.append(after - began)
    return found


def _green(program: Program, after: float) -> float:
    while (ended := program.wait_for("run.finished", PATIENCE_S, after=after))["status"] == "superseded":
        after = ended["mono"]
    if ended["status"] != "green":
        raise RuntimeError(f"hotpipe watch was not green: {program.log.read_text()[-1500:]}")
    return float(ended["mono"])


# --- the report -------------------------------------------------------------------------------------------------------

COLUMNS = ("cold", "warm", "edit")


def rows(times: Times) -> list[list[str]]:
    """Medians of the green ones, and between what they lie, in seconds."""
    names = dict.fromkeys(name for name, _ in times)
    return [[name, *(_median(times.get((name, column))) for column in COLUMNS)] for name in names]


def _median(seconds: list[float] | None) -> str:
    if seconds is None:
        return "–"
    green = [each for each in seconds if not math.isnan(each)]
    missing = f" ({len(seconds) - len(green)} of {len(seconds)} not green)" if len(green) < len(seconds) else ""
    return (f"{median(green):.2f} ({min(green):.2f} to {max(green):.2f})" if green else "–") + missing


def measured(rounds: int, there: peers.Peers, progress: Callable[[str], None]) -> Times:
    times: Times = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="project-") as folder:
        checkout = Checkout(unpack(Path(folder)))
        for number in range(rounds):
            for name, argv in ways(there).items():
                progress(f"round {number + 1}: {name}")
                round_of(name, argv, checkout, times)
        progress("hotpipe watch")
        times["hotpipe watch, save to verdict", "edit"] = watched(checkout, Path(folder), rounds)
    return times


def head(rounds: int, there: peers.Peers) -> list[str]:
    with_these = ", ".join(
        f"{name} {there.versions[name]}" for name in ("pre-commit", "prek", "nox") if name in there.versions
    )
    tools = ", ".join(
        each.replace("==", " ") for each in REQUIREMENTS if each.split("==")[0] in {"ruff", "mypy", "pytest"}
    )
    return [
        f"Made by `python bench/project.py --rounds {rounds}` on {machine()}, {load()}.",
        f"{PROJECT.replace('==', ' ')} with {tools}; hotpipe {version(HOTPIPE)}, {with_these}.",
        f"Medians of {rounds}, in seconds. The tests are those of {len(TESTED)} files.",
        "pre-commit and prek run local hooks (`language: system`), nox sessions without venvs (`venv_backend='none'`):",
        "the same commands, one after the other. hotpipe's stages have `needs = []`, so that they may run at once.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--markdown", type=Path, help="write the table there, too")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that nothing is left behind
    there = peers.provide()
    os.environ["PATH"] = f"{requirements()}/bin{os.pathsep}{there.path}"
    times = measured(given.rounds, there, lambda text: print(text, file=sys.stderr, flush=True))
    said, names = head(given.rounds, there), ["seconds", *COLUMNS]
    print("\n".join([*said, "", table(names, rows(times))]))
    if given.markdown:
        lines = [names, ["---", *["---:"] * len(COLUMNS)], *rows(times)]
        text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        given.markdown.write_text(f"# A real project\n\n{' '.join(said)}\n\n{text}\n")


if __name__ == "__main__":
    main()

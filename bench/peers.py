"""The neighbours' programs, at pinned versions, installed into bench/.peers by their registries' own clients.

Each lot is installed once; a lot whose client is missing, or whose registry does not give it, is skipped with the
reason. Nothing outside of bench/.peers is written. Run alone, it installs and lists what is there.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = Path(__file__).parent / ".peers"
INSTALL_S = 600.0
Step = tuple[str, ...]


@dataclass(frozen=True)
class Lot:
    """Packages that are installed together: where, by which program, and which programs they bring (name: version)."""

    name: str
    client: str
    bin: str
    programs: Mapping[str, str]
    steps: Callable[[Path], list[Step]]
    env: Callable[[Path], dict[str, str]] = lambda _: {}
    note: str = ""


@dataclass(frozen=True)
class Peers:
    """What there is: {program: version}, why others are missing, and the PATH on which all are found."""

    versions: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    path: str = ""

    def told(self) -> str:
        """One line: what was run."""
        return ", ".join(f"{program} {version}" for program, version in sorted(self.versions.items()))


_NPM = {
    "chokidar": ("chokidar-cli", "3.0.0"),
    "lint-staged": ("lint-staged", "16.4.0"),
    "moon": ("@moonrepo/cli", "2.5.5"),
    "nodemon": ("nodemon", "3.1.14"),
    "turbo": ("turbo", "2.11.11"),
    "wireit": ("wireit", "0.14.13"),
}
_PYPI = {
    "nox": ("nox", "2026.10.20"),
    "pre-commit": ("pre-commit", "4.7.0"),
    "prek": ("prek", "0.5.11"),
    "watchfiles": ("watchfiles", "1.3.0"),
    "watchmedo": ("watchdog[watchmedo]", "7.1.0"),
}
_OLDER = "go-task 3.50.0 is not the newest: the module proxy does not give mvdan.cc/sh/x, which 3.54.0 needs"
_GO = {
    "air": ("github.com/air-verse/air", "1.67.4", ""),
    "reflex": ("github.com/cespare/reflex", "0.3.1", ""),
    "task": (
        "github.com/go-task/task/v3/cmd/task",
        "3.50.0",
        _OLDER,
    ),
}


def _npm(folder: Path) -> list[Step]:
    packages = (f"{package}@{version}" for package, version in _NPM.values())
    return [("npm", "install", "--prefix", str(folder), "--no-audit", "--no-fund", *packages)]


def _pypi(folder: Path) -> list[Step]:
    packages = (f"{package}=={version}" for package, version in _PYPI.values())
    return [(sys.executable, "-m", "venv", str(folder)), (f"{folder}/bin/pip", "install", "-q", *packages)]


def _go(module: str, version: str) -> Callable[[Path], list[Step]]:
    return lambda _: [("go", "install", f"{module}@v{version}")]


def _go_env(folder: Path) -> dict[str, str]:
    shared = folder.parent / "go"
    return {"GOBIN": f"{folder}/bin", "GOPATH": f"{shared}/path", "GOCACHE": f"{shared}/cache"}


def _cargo(folder: Path) -> list[Step]:
    return [("cargo", "install", "watchexec-cli", "--version", "2.8.0", "--root", str(folder))]


LOTS = (
    Lot("npm", "npm", "node_modules/.bin", {name: version for name, (_, version) in _NPM.items()}, _npm),
    Lot("py", sys.executable, "bin", {name: version for name, (_, version) in _PYPI.items()}, _pypi),
    *(
        Lot(f"go-{name}", "go", "bin", {name: version}, _go(module, version), _go_env, note)
        for name, (module, version, note) in _GO.items()
    ),
    Lot("cargo", "cargo", "bin", {"watchexec": "2.8.0"}, _cargo),
)


def provide() -> Peers:
    """Install what is not there yet; that takes minutes the first time."""
    versions: dict[str, str] = {}
    missing: dict[str, str] = {}
    notes: list[str] = []
    bins: list[str] = []
    for lot in LOTS:
        if reason := _install(lot):
            missing |= dict.fromkeys(lot.programs, reason)
        else:
            versions |= lot.programs
            bins.append(str(FOLDER / lot.name / lot.bin))
            notes += [lot.note] if lot.note else []
    return Peers(versions, missing, tuple(notes), os.pathsep.join([*bins, os.environ["PATH"]]))


def _install(lot: Lot) -> str:
    """Why it cannot be had; empty if it can."""
    folder = FOLDER / lot.name
    pins = folder / ".pins"
    wanted = repr(sorted(lot.programs.items()))
    if pins.exists() and pins.read_text() == wanted:
        return ""
    if shutil.which(lot.client) is None:
        return f"{lot.client} is not on this machine"
    folder.mkdir(parents=True, exist_ok=True)
    for step in lot.steps(folder):
        if reason := _failure(step, os.environ | lot.env(folder)):
            return reason
    pins.write_text(wanted)
    return ""


def _failure(step: Step, env: Mapping[str, str]) -> str:
    print(f"peers: {' '.join(step)}", file=sys.stderr, flush=True)
    try:
        done = subprocess.run(step, env=env, capture_output=True, text=True, timeout=INSTALL_S, check=False)
    except subprocess.TimeoutExpired:
        return f"{step[0]} did not install it within {INSTALL_S:.0f} s"
    said = (done.stderr or done.stdout).strip().splitlines()
    return f"{step[0]}: {said[-1] if said else 'failed'}" if done.returncode else ""


if __name__ == "__main__":
    found = provide()
    print(found.told())
    print(*(f"{program}: not had: {reason}" for program, reason in found.missing.items()), sep="\n")

"""What else runs two hundred tasks that do nothing, as far as `bench/peers.py` or somebody else installed it."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from gate_projects import plant
from measure import find
from peers import FOLDER

COUNT = 200
_NPM = FOLDER / "npm" / "node_modules"


@dataclass(frozen=True)
class Peer:
    """A tool: its program (null: it is not here), what to type, and the files that it wants. One `that_remembers` is
    measured when nothing has changed: nothing runs then."""

    name: str
    program: str | None
    arguments: tuple[str, ...]
    files: Callable[[], dict[str, str]]
    that_remembers: bool = False
    env: dict[str, str] = field(default_factory=dict)

    @property
    def argv(self) -> tuple[str, ...]:
        return (str(self.program), *self.arguments)

    def plant(self, root: Path) -> Path:
        """A project of its own."""
        plant(root, "")
        (root / "hotpipe.toml").unlink()
        for path, content in self.files().items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(content)
        if self.program is not None and str(_NPM) in self.program:
            (root / "node_modules").symlink_to(_NPM)
        return root


def peers() -> list[Peer]:
    """All that is known of here; those that are not on this machine have no program."""
    return [
        Peer("make -j2", find("make"), ("-j2", "-s", "all"), _makefile),
        Peer("go-task, 2 at once", _task(), ("--concurrency", "2", "--silent", "all"), _taskfile),
        Peer("pre-commit", find("pre-commit"), ("run", "--all-files"), _hooks),
        Peer("prek", _there(FOLDER / "py" / "bin" / "prek"), ("run", "--all-files"), _hooks),
        Peer("turbo, all cached", _npm("turbo"), ("run", "check"), _workspaces, that_remembers=True, env=_QUIET),
        Peer("wireit, all cached", _npm("wireit") and shutil.which("npm"), ("run", "all", "--silent"), _scripts, True),
    ]


_QUIET = {"TURBO_TELEMETRY_DISABLED": "1", "DO_NOT_TRACK": "1"}


def _npm(name: str) -> str | None:
    return _there(_NPM / ".bin" / name)


def _there(program: Path) -> str | None:
    return str(program) if program.exists() else None


def _task() -> str | None:
    """Not any `task`: another program has the name, too."""
    return shutil.which("go-task") or _there(FOLDER / "go-task" / "bin" / "task")


def _makefile() -> dict[str, str]:
    names = " ".join(_names())
    return {"Makefile": f".PHONY: all {names}\nall: {names}\n{names}:\n\t@true\n"}


def _taskfile() -> dict[str, str]:
    tasks = {"all": {"deps": list(_names())}, **{name: {"cmds": ["true"]} for name in _names()}}
    return {"Taskfile.yml": json.dumps({"version": "3", "tasks": tasks})}


def _hooks() -> dict[str, str]:
    common = {"language": "system", "entry": "true", "always_run": True, "pass_filenames": False}
    hooks = [{"id": name, "name": name, **common} for name in _names()]
    return {".pre-commit-config.yaml": json.dumps({"repos": [{"repo": "local", "hooks": hooks}]})}


def _workspaces() -> dict[str, str]:
    package = {"name": "root", "private": True, "packageManager": "npm@10.0.0", "workspaces": ["packages/*"]}
    each = {f"packages/{n}/package.json": json.dumps({"name": n, "scripts": {"check": "true"}}) for n in _names()}
    lock = {"name": "root", "lockfileVersion": 3, "packages": {}}
    turbo = {"tasks": {"check": {}}, "ui": "stream"}
    files = {"package.json": package, "package-lock.json": lock, "turbo.json": turbo}
    return {**{name: json.dumps(content) for name, content in files.items()}, **each}


def _scripts() -> dict[str, str]:
    wireit = {name: {"command": "true", "files": ["src/**"], "output": []} for name in _names()}
    all_of_them = {"all": {"dependencies": list(_names())}}
    package = {"scripts": dict.fromkeys((*wireit, "all"), "wireit"), "wireit": {**wireit, **all_of_them}}
    return {"package.json": json.dumps(package)}


def _names() -> list[str]:
    return [f"stage-{number}" for number in range(COUNT)]

"""How each tool is told to run the checks: its own files and command lines, with its own defaults.

A tool gets what its documentation shows for "run this command when these files change", and nothing else: no debounce,
no polling, no cache option. What differs from the defaults is said in `note`.
"""

import json
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from measure import HOTPIPE
from stale_world import CHECK, LINT, Task

Tasks = Sequence[Task]
Argv = tuple[str, ...]


def _nothing(_: Tasks) -> dict[str, str]:
    return {}


@dataclass(frozen=True)
class Tool:
    """One neighbour: `once` checks and exits, `watch` checks on each save, `staged` is its commit hook.

    `remembers`: `once` skips what it takes for checked. `several`: more than one task, each with its own inputs.
    """

    name: str
    program: str
    files: Callable[[Tasks], dict[str, str]] = _nothing
    once: Callable[[Tasks], Argv] | None = None
    watch: Callable[[Tasks], Argv] | None = None
    staged: Argv | None = None
    remembers: bool = False
    several: bool = False
    note: str = ""


# --- hotpipe ----------------------------------------------------------------------------------------------------------


def _hotpipe(extra: str = "") -> Callable[[Tasks], dict[str, str]]:
    def files(tasks: Tasks) -> dict[str, str]:
        return {"hotpipe.toml": "".join(map(stage, tasks))}

    def stage(task: Task) -> str:
        inputs = f'inputs = ["{task.folder}/**"]\nneeds = []\ncache = true\n'
        return f'[stage.{task.name}]\nrun = "{task.command()}"\n{inputs}{extra}\n'

    return files


@cache
def hotpipe_can_check_staged() -> bool:
    done = subprocess.run([HOTPIPE, "check", "--help"], capture_output=True, text=True, timeout=20, check=False)
    return "--staged" in done.stdout


def hotpipe() -> Tool:
    staged = (HOTPIPE, "check", *(["--staged"] if hotpipe_can_check_staged() else []))
    return Tool(
        "hotpipe",
        "",
        _hotpipe(),
        once=lambda _: (HOTPIPE, "check"),
        watch=lambda _: (HOTPIPE, "gate"),
        staged=staged,
        remembers=True,
        several=True,
        note="`hotpipe check`, `hotpipe gate`; stages with `inputs`, `needs = []`",
    )


def hotpipe_mutates() -> Tool:
    """For the one scenario in which the default is not what its documentation advises."""
    note = "as above, and `mutates = true`, as documented for fixers"
    return Tool("hotpipe, mutates", "", _hotpipe("mutates = true\n"), watch=lambda _: (HOTPIPE, "gate"), note=note)


# --- task runners that remember ---------------------------------------------------------------------------------------


def _json(content: object) -> str:
    return json.dumps(content, indent=2) + "\n"


def _wireit_files(tasks: Tasks) -> dict[str, str]:
    scripts = {task.name: {"command": task.command(), "files": [f"{task.folder}/**"], "output": []} for task in tasks}
    scripts["all"] = {"dependencies": [task.name for task in tasks]}
    package = {"name": "app", "version": "1.0.0", "private": True}
    return {"package.json": _json(package | {"scripts": dict.fromkeys(scripts, "wireit"), "wireit": scripts})}


def _turbo_files(tasks: Tasks) -> dict[str, str]:
    """Each task in a package of its own, as turborepo has it."""
    root = {"name": "app", "private": True, "packageManager": "npm@10.0.0", "workspaces": [t.folder for t in tasks]}
    files = {"package.json": _json(root), "turbo.json": _json({"tasks": {t.name: {"outputs": []} for t in tasks}})}
    lock: dict[str, object] = {"": {"name": "app", "workspaces": [t.folder for t in tasks]}}
    for task in tasks:
        package = {"name": task.folder, "version": "1.0.0", "scripts": {task.name: task.command("..")}}
        files[f"{task.folder}/package.json"] = _json(package)
        lock |= {
            task.folder: {"version": "1.0.0"},
            f"node_modules/{task.folder}": {"resolved": task.folder, "link": True},
        }
    return files | {"package-lock.json": _json({"name": "app", "lockfileVersion": 3, "packages": lock})}


def _moon_files(tasks: Tasks) -> dict[str, str]:
    lines = [
        f"  {t.name}:\n    command: {t.command()}\n    inputs: ['{t.folder}/**']\n    toolchains: system\n"
        for t in tasks
    ]
    workspace = "projects:\n  app: '.'\ntelemetry: false\n"
    return {".moon/workspace.yml": workspace, "moon.yml": "tasks:\n" + "".join(lines)}


def _task_files(tasks: Tasks) -> dict[str, str]:
    lines = [f"  {t.name}:\n    sources: ['{t.folder}/**']\n    cmds: ['{t.command()}']\n" for t in tasks]
    return {"Taskfile.yml": "version: '3'\ntasks:\n" + "".join(lines)}


def _names(*before: str) -> Callable[[Tasks], Argv]:
    return lambda tasks: (*before, *(task.name for task in tasks))


RUNNERS = (
    Tool(
        "wireit",
        "wireit",
        _wireit_files,
        once=lambda _: ("npm", "run", "all"),
        watch=lambda _: ("npm", "run", "all", "--watch"),
        remembers=True,
        several=True,
        note="`npm run all [--watch]`; `files`, `output: []`",
    ),
    Tool(
        "turbo",
        "turbo",
        _turbo_files,
        once=_names("turbo", "run"),
        watch=_names("turbo", "watch"),
        remembers=True,
        several=True,
        note="`turbo run`, `turbo watch`; a package a task",
    ),
    Tool(
        "moon",
        "moon",
        _moon_files,
        once=lambda tasks: ("moon", "run", *(f"app:{task.name}" for task in tasks)),
        remembers=True,
        several=True,
        note="`moon run`; `inputs` (no watch mode in this version)",
    ),
    Tool(
        "go-task",
        "task",
        _task_files,
        once=_names("task"),
        watch=_names("task", "--watch"),
        remembers=True,
        several=True,
        note="`task [--watch]`; `sources`",
    ),
)

# --- watchers of one command ------------------------------------------------------------------------------------------

_COMMAND = CHECK.command()
_AIR = f"""\
[build]
cmd = "{_COMMAND}"
full_bin = "true"
include_dir = ["{CHECK.folder}"]
include_ext = ["txt"]
"""


def _reflex_files(tasks: Tasks) -> dict[str, str]:
    return {"reflex.conf": "".join(f"-g '{task.folder}/*' -- {task.command()}\n" for task in tasks)}


def _always(*argv: str) -> Callable[[Tasks], Argv]:
    return lambda _: argv


WATCHERS = (
    Tool("nodemon", "nodemon", watch=_always("nodemon", "--watch", CHECK.folder, "--ext", "txt", "--exec", _COMMAND)),
    Tool("chokidar-cli", "chokidar", watch=_always("chokidar", f"{CHECK.folder}/**", "-c", _COMMAND)),
    Tool("watchfiles", "watchfiles", watch=_always("watchfiles", _COMMAND, CHECK.folder)),
    Tool(
        "watchmedo",
        "watchmedo",
        watch=_always("watchmedo", "shell-command", "-R", "-p", "**/*.txt", "-c", _COMMAND, CHECK.folder),
        note="`shell-command`, as its documentation shows it",
    ),
    Tool("air", "air", lambda _: {".air.toml": _AIR}, watch=_always("air"), note="the check is `build.cmd`"),
    Tool("reflex", "reflex", _reflex_files, watch=_always("reflex", "-c", "reflex.conf"), several=True),
    Tool("watchexec", "watchexec", watch=_always("watchexec", "-w", CHECK.folder, _COMMAND)),
)

# --- commit hooks -----------------------------------------------------------------------------------------------------

_HOOK = f"""\
repos:
- repo: local
  hooks:
  - id: check
    name: check
    language: system
    entry: {_COMMAND}
    pass_filenames: false
"""
HOOKS = (
    Tool("pre-commit", "pre-commit", lambda _: {".pre-commit-config.yaml": _HOOK}, staged=("pre-commit", "run")),
    Tool("prek", "prek", lambda _: {".pre-commit-config.yaml": _HOOK}, staged=("prek", "run")),
    Tool(
        "lint-staged",
        "lint-staged",
        lambda _: {".lintstagedrc.json": _json({"src/**": _COMMAND})},
        staged=("lint-staged",),
    ),
)


def tools() -> list[Tool]:
    """hotpipe first."""
    return [hotpipe(), hotpipe_mutates(), *RUNNERS, *WATCHERS, *HOOKS]


__all__ = ["CHECK", "LINT", "Tool", "hotpipe", "hotpipe_mutates", "tools"]

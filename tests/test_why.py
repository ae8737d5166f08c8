"""`hotpipe why`: what it says agrees with what the watcher, the gate and the servers do."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from running import HOTPIPE, environment

from hotpipe.tree.globs import Globs
from hotpipe.tree.ignore import Ignore
from hotpipe.tree.sweep import Snapshot

CONFIG = """
[watch]
paths = ["src", "docs", "keep.log", "one.txt", "link", "pipe", "vendor", "build"]
ignore = ["*.bak", "docs/*.md"]
[stage.lint]
run = "true"
inputs = ["src/**/*.py", "!src/gen/"]
[stage.test]
run = "true"
inputs = ["tests/"]
[stage.deploy]
run = "true"
inputs = []
[stage.docs]
run = "true"
needs = []
inputs = ["docs/"]
[server.web]
run = "true"
needs = ["test"]
inputs = ["src/"]
[server.admin]
run = "true"
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    for path in ("src/a.py", "src/b.txt", "src/gen/c.py", "docs/x.md", "docs/y.rst", "src/x.log", "src/keep.log"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("")
    for path in ("one.txt", "src/node_modules/x/i.js", "build/z", "elsewhere/f", "vendor/v.bak"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("")
    (root / "link").symlink_to("src")
    os.mkfifo(root / "src/pipe")
    (root / ".gitignore").write_text("build/\n*.log\n!keep.log\n")
    (root / "hotpipe.toml").write_text(CONFIG)
    return root


def ask(cwd: Path, *paths: str | bytes, code: int = 0, json_lines: bool = True) -> Any:
    command = [*HOTPIPE, "why", *(["--json"] if json_lines else []), *paths]
    asked = subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, timeout=60, check=False)
    assert asked.returncode == code, asked.stderr
    return [json.loads(line) for line in asked.stdout.splitlines()] if json_lines else asked.stdout.decode()


PATHS = "src, docs, keep.log, one.txt, link, pipe, vendor, build"
VERDICTS = [
    ("src/a.py", True, "no rule ignores it"),
    ("src/keep.log", True, ".gitignore:3, '!keep.log', re-includes it"),
    ("src/x.log", False, ".gitignore:2, '*.log', ignores it"),
    ("build/z", False, ".gitignore:1, 'build/', ignores the folder build"),
    ("docs/x.md", False, "[watch] ignore, entry 2, 'docs/*.md', ignores it"),
    ("src/node_modules/x/i.js", False, "the built-in line 'node_modules/' ignores the folder src/node_modules"),
    ("elsewhere/f", False, f"it lies outside of [watch] paths: {PATHS}"),
    ("one.txt", True, "[watch] paths names it"),
    ("link", True, "[watch] paths names it"),
    ("link/a.py", False, "it lies behind the symbolic link link, and what a link points to is not followed"),
    ("src/pipe", False, "it is neither file, folder nor link: sockets, pipes and devices are no part of a tree"),
    ("src/not/there.py", True, "no rule ignores it"),
    ("src/not/there.bak", False, "[watch] ignore, entry 1, '*.bak', ignores it"),
    ("..", False, "it lies outside of the project"),
    ("/etc/passwd", False, "it lies outside of the project"),
]


def test_it_says_whether_a_path_is_watched_and_what_decides(root: Path) -> None:
    found = ask(root, *(path for path, _, _ in VERDICTS))
    assert [(verdict["watched"], verdict["why"]) for verdict in found] == [(is_so, why) for _, is_so, why in VERDICTS]


def test_a_trigger_is_never_watched(root: Path) -> None:
    (root / "hotpipe.toml").write_text('[server.web]\nrun = "true"\n')
    (found,) = ask(root, ".trigger")
    assert (found["watched"], found["why"]) == (False, "it is a trigger: hotpipe writes it itself")


def test_the_rule_is_there_for_programs_too(root: Path) -> None:
    (found,) = ask(root, "build/z")
    assert found["rule"] == {"source": ".gitignore", "line": 1, "pattern": "build/", "matched": "build"}


def effects(found: dict[str, Any]) -> dict[str, tuple[bool, str]]:
    return {effect["name"]: (effect["fires"], effect["why"]) for effect in (*found["stages"], *found["servers"])}


def test_it_says_which_stages_and_servers_a_file_fires(root: Path) -> None:
    code, generated = ask(root, "src/a.py", "src/gen/c.py")
    assert effects(code) == {
        "lint": (True, "inputs: 'src/**/*.py'"),
        "test": (True, "it needs lint; no line of its inputs matches"),
        "deploy": (True, "it needs lint; no line of its inputs matches"),
        "docs": (False, "no line of its inputs matches"),
        "web": (True, "inputs: 'src/'; it waits until test is green"),
        "admin": (True, "every watched file is an input; it waits until lint, test, deploy, docs are green"),
    }
    assert effects(generated)["lint"] == (False, "its inputs take it away: '!src/gen/'")
    assert effects(generated)["test"] == (False, "no line of its inputs matches")


def test_of_a_folder_it_says_what_holds_for_the_files_in_it(root: Path) -> None:
    (found,) = ask(root, "src/")
    assert (found["kind"], found["watched"], found["files"]) == ("folder", True, 4)
    assert effects(found)["lint"] == (True, "1 of its 4 watched files is an input")
    assert effects(found)["docs"] == (False, "none of its 4 watched files is an input")


def test_of_the_root_it_counts_what_the_watcher_watches(root: Path) -> None:
    (found,) = ask(root, ".")
    snapshot = Snapshot(
        str(root),
        ["src", "docs", "one.txt", "link", "build", "vendor"],
        Ignore(str(root), extra=["*.bak", "docs/*.md"]),
    )
    snapshot.refresh({""})
    files = {"src/a.py", "src/b.txt", "src/gen/c.py", "src/keep.log", "docs/y.rst", "one.txt", "link"}
    assert set(snapshot.entries) == files
    assert found["files"] == len(files)


def test_the_same_path_in_every_way_of_writing_it(root: Path) -> None:
    (root.parent / "alias").symlink_to(root)
    ways = ("a.py", "./a.py", "../src/a.py", str(root / "src/a.py"), str(root.parent / "alias/src/a.py"))
    assert {found["path"] for found in ask(root / "src", *ways)} == {"src/a.py"}


def test_a_name_that_is_not_utf8(root: Path) -> None:
    (found,) = ask(root, b"src/caf\xe9.py")
    assert (found["path"], found["watched"], found["kind"]) == ("src/caf\\xe9.py", True, "missing")
    (root / os.fsdecode(b"src/caf\xe9.py")).write_text("")
    assert "src/caf\\xe9.py\n" in ask(root, b"src/caf\xe9.py", json_lines=False)


def test_people_get_a_page_and_a_line_between_two(root: Path) -> None:
    assert ask(root, "src/a.py", "elsewhere/f", json_lines=False).splitlines() == [
        "src/a.py",
        "  watched      no rule ignores it",
        "  stages       ● lint    inputs: 'src/**/*.py'",
        "               ● test    it needs lint; no line of its inputs matches",
        "               ● deploy  it needs lint; no line of its inputs matches",
        "               · docs    no line of its inputs matches",
        "  servers      ● web    inputs: 'src/'; it waits until test is green",
        "               ● admin  every watched file is an input; it waits until lint, test, deploy, docs are green",
        "",
        "elsewhere/f",
        f"  not watched  it lies outside of [watch] paths: {PATHS}",
    ]


def test_without_a_path_or_a_configuration_it_is_a_mistake(root: Path, tmp_path: Path) -> None:
    assert ask(root, code=2) == []
    assert ask(tmp_path, "x", code=2) == []


def test_a_list_of_globs_names_the_line_that_decides() -> None:
    globs = Globs(["src/", "!src/gen/", "src/gen/keep.py"])
    lines = {
        path: rule and rule.pattern
        for path in ("x", "src/a", "src/gen/x", "src/gen/keep.py")
        for rule in [globs.deciding(path)]
    }
    assert lines == {"x": None, "src/a": "src/", "src/gen/x": "!src/gen/", "src/gen/keep.py": "src/gen/keep.py"}

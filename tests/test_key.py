"""The cache key of a stage: all that can change what the stage says changes it, and nothing else does."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from hotpipe.config.model import Stage
from hotpipe.gate import key as key_module
from hotpipe.gate.key import Keys
from hotpipe.gate.programs import words_of

STAGE = Stage(run="check --all")
INHERITED = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "LANG": "C.UTF-8"}
INPUTS = "0" * 32


def key_of(
    root: Path,
    stage: Stage = STAGE,
    *,
    name: str = "lint",
    inherited: Mapping[str, str] = INHERITED,
    inputs: str = INPUTS,
    needs: tuple[str, ...] = ("a", "b"),
) -> str:
    """As it is for somebody who has not looked yet."""
    return Keys(str(root), inherited).key(name, stage, inputs, needs)


def program(path: Path, text: str = "#!/bin/sh\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_the_key_of_what_is_the_same_is_the_same_and_has_32_digits(tmp_path: Path) -> None:
    assert key_of(tmp_path) == key_of(tmp_path, needs=("b", "a"))
    assert len(bytes.fromhex(key_of(tmp_path))) == 16


@pytest.mark.parametrize(
    "different",
    [
        Stage(run="check --some"),
        Stage(run=("check", "--all")),
        Stage(run=("check --all",)),
        Stage(run="check --all", cwd="sub"),
        Stage(run="check --all", env={"A": "1"}),
        Stage(run="check --all", env={"TERM": "dumb"}),
    ],
    ids=str,
)
def test_the_command_its_folder_and_its_environment_change_it(tmp_path: Path, different: Stage) -> None:
    assert key_of(tmp_path, different) != key_of(tmp_path)


def test_the_name_the_inputs_the_needs_and_the_place_change_it(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    keys = {
        key_of(tmp_path),
        key_of(tmp_path, name="types"),
        key_of(tmp_path, inputs="1" * 32),
        key_of(tmp_path, needs=("a",)),
        key_of(tmp_path, needs=("a", "c")),
        key_of(tmp_path, needs=("ab",)),
        key_of(tmp_path / "sub"),
    }
    assert len(keys) == 7


def test_where_one_part_ends_and_the_next_begins_changes_it(tmp_path: Path) -> None:
    keys = {key_of(tmp_path, Stage(run=run)) for run in [("a", "b c"), ("a b", "c"), ("a", "b", "c"), "a b c"]}
    assert len(keys) == 4
    assert key_of(tmp_path, Stage(run="x", env={"A": "1B"})) != key_of(tmp_path, Stage(run="x", env={"A1": "B"}))


def test_another_version_system_or_user_changes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = key_of(tmp_path)
    for where, name, other in [
        (key_module, "_FORMAT", 99),
        (key_module.sys, "platform", "plan9"),
        (key_module.os, "uname", lambda: SimpleNamespace(machine="vax")),
        (key_module.os, "geteuid", lambda: 4711),
    ]:
        with monkeypatch.context() as patch:
            patch.setattr(where, name, other)
            assert key_of(tmp_path) != before, name


@pytest.mark.parametrize(
    "name", ["LANG", "PATH", "PYTHONPATH", "TZ", "CI", "NO_COLOR", "GITHUB_ACTIONS", "TERMINAL_TESTS", "SSH_HOST",
             "GIT_CONFIG_GLOBAL", "GIT_AUTHOR_NAME", "DISPLAY", "SSH_AUTH_SOCK"]
)  # fmt: skip
def test_the_environment_of_hotpipe_itself_changes_it(tmp_path: Path, name: str) -> None:
    assert key_of(tmp_path, inherited=INHERITED | {name: "other"}) != key_of(tmp_path)


VOLATILE = (
    "TERM", "TERM_PROGRAM", "TERM_PROGRAM_VERSION", "COLUMNS", "LINES", "SSH_CLIENT", "SSH_TTY", "WINDOWID", "TMUX",
    "TMUX_PANE", "PWD", "OLDPWD", "SHLVL", "_", "XDG_SESSION_ID", "LS_COLORS", "HOTPIPE_RUN", "HOTPIPE_SPAWN",
    "LISTEN_FDS", "LISTEN_PID", "NOTIFY_SOCKET", "INVOCATION_ID", "JOURNAL_STREAM", "VSCODE_PID", "GIT_INDEX_FILE",
    "GIT_DIR", "GIT_PREFIX", "GITHUB_RUN_ID", "GITHUB_SHA", "RUNNER_TEMP", "CI_JOB_ID", "PYTEST_CURRENT_TEST",
)  # fmt: skip


@pytest.mark.parametrize("name", VOLATILE)
def test_where_hotpipe_was_started_does_not_change_it(tmp_path: Path, name: str) -> None:
    assert key_of(tmp_path, inherited=INHERITED | {name: "other"}) == key_of(tmp_path)


@pytest.mark.parametrize("name", ["DISPLAY", "WAYLAND_DISPLAY", "SSH_AUTH_SOCK", "DBUS_SESSION_BUS_ADDRESS"])
def test_of_what_is_another_in_each_session_only_the_presence_counts(tmp_path: Path, name: str) -> None:
    with_one, with_another = (key_of(tmp_path, inherited=INHERITED | {name: value}) for value in ("1", "2"))
    assert with_one == with_another != key_of(tmp_path)


def test_who_commits_does_not_change_it_in_a_hook_of_git(tmp_path: Path) -> None:
    hook = INHERITED | {"GIT_EXEC_PATH": "/usr/lib/git-core", "GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_DATE": "@1 +0000"}
    assert key_of(tmp_path, inherited=hook) == key_of(tmp_path)


def test_what_the_command_names_is_never_left_out(tmp_path: Path) -> None:
    since = Stage(run="check --since $GITHUB_BASE_REF")
    keys = {key_of(tmp_path, since, inherited=INHERITED | {"GITHUB_BASE_REF": ref}) for ref in ("main", "next")}
    assert len(keys) == 2


def test_names_need_not_be_utf_8(tmp_path: Path) -> None:
    root = tmp_path / os.fsdecode(b"\xff")
    program(root / os.fsdecode(b"b\xff/run"))
    stage = Stage(run=os.fsdecode(b"./b\xff/run \xfe"), cwd=os.fsdecode(b"\xfd"), env={"A": "\udcff"})
    assert key_of(root, stage, inherited=INHERITED | {"B": "\udcfe"}, name="größe") != key_of(root, stage)


# Programs.


def assert_changes(root: Path, stage: Stage, change: Callable[[], object], path: str = "/usr/bin:/bin") -> None:
    inherited = INHERITED | {"PATH": path}
    before = key_of(root, stage, inherited=inherited)
    assert key_of(root, stage, inherited=inherited) == before
    change()
    assert key_of(root, stage, inherited=inherited) != before


COMMANDS = (
    "tool --all",
    "true && tool",
    "(cd sub; tool)|cat",
    "X=1 tool",
    'sh -c "true; tool"',
    "echo $(tool) `tool`",
    ("tool", "--all"),
    ("sh", "-c", "true;tool"),
    ("env", "A=1", "tool"),
    "if true\nthen tool\nfi",
    "tool 'an open quote",
)


@pytest.mark.parametrize("run", COMMANDS, ids=str)
def test_a_program_that_is_replaced_changes_it_wherever_it_stands(tmp_path: Path, run: str | tuple[str, ...]) -> None:
    tool = program(tmp_path / "bin/tool")
    root = tmp_path / "root"
    root.mkdir()
    path = f"{tool.parent}:/usr/bin:/bin"
    assert_changes(root, Stage(run=run), lambda: program(tool, "#!/bin/sh\nexit 1\n"), path)
    assert_changes(root, Stage(run=run), tool.unlink, path)
    assert_changes(root, Stage(run=run), lambda: program(tool), path)


@pytest.mark.parametrize("where", ["bin", "root/bin"])
def test_a_program_is_replaced_also_by_one_of_the_same_size_and_time(tmp_path: Path, where: str) -> None:
    tool = program(tmp_path / where / "tool", "#!/bin/sh\nexit 0\n")
    root = tmp_path / "root"
    root.mkdir(exist_ok=True)
    stamps = tool.stat()

    def replace() -> None:
        while tool.stat().st_ctime_ns == stamps.st_ctime_ns:  # kernel time stamps stand still for up to 10 ms
            program(tool, "#!/bin/sh\nexit 1\n")
            os.utime(tool, ns=(stamps.st_atime_ns, stamps.st_mtime_ns))

    assert_changes(root, Stage(run="tool"), replace, str(tool.parent))


def test_a_program_that_comes_earlier_in_path_changes_it(tmp_path: Path) -> None:
    program(tmp_path / "later/tool")
    (tmp_path / "earlier").mkdir()
    path = f"{tmp_path}/earlier:{tmp_path}/later"
    assert_changes(tmp_path, Stage(run="tool"), lambda: program(tmp_path / "earlier/tool"), path)


def test_the_path_of_the_stage_itself_is_the_one_that_counts(tmp_path: Path) -> None:
    tool = program(tmp_path / "own/tool")
    assert_changes(tmp_path, Stage(run="tool", env={"PATH": str(tool.parent)}), lambda: program(tool, "#!/bin/sh\n#\n"))


def test_a_script_of_the_project_is_known_by_its_content(tmp_path: Path) -> None:
    script = program(tmp_path / "tools/lint.py", "print(1)\n")
    script.chmod(0o644)
    stage = Stage(run="python3 tools/lint.py")
    before = key_of(tmp_path, stage)
    assert_changes(tmp_path, stage, lambda: script.write_text("print(2)\n"))
    script.write_text("print(1)\n")
    assert key_of(tmp_path, stage) == before


def test_a_path_counts_from_the_folder_of_the_stage_and_from_where_it_goes(tmp_path: Path) -> None:
    script = program(tmp_path / "app/tools/lint")
    assert_changes(tmp_path, Stage(run="./tools/lint", cwd="app"), lambda: program(script, "#!/bin/sh\n#1\n"))
    assert_changes(tmp_path, Stage(run="cd app && ./tools/lint"), lambda: program(script, "#!/bin/sh\n#2\n"))


@pytest.mark.parametrize("first", ["#!{0}", "#!/usr/bin/env interpreter", "#!/usr/bin/env -S interpreter -u"])
def test_a_replaced_interpreter_changes_it(tmp_path: Path, first: str) -> None:
    interpreter = program(tmp_path / "elsewhere/interpreter")
    root = tmp_path / "root"
    program(root / "check", f"{first.format(interpreter)}\nhello\n")
    path = f"{interpreter.parent}:/usr/bin:/bin"
    assert_changes(root, Stage(run="./check"), lambda: program(interpreter, "#!/bin/sh\n#1\n"), path)


def test_the_interpreter_of_a_long_line_of_pip_is_found(tmp_path: Path) -> None:
    interpreter = program(tmp_path / "elsewhere/python")
    program(tmp_path / "bin/check", f"#!/bin/sh\n'''exec' \"{interpreter}\" \"$0\" \"$@\"\n' '''\n")
    (root := tmp_path / "root").mkdir()
    assert_changes(root, Stage(run="check"), lambda: program(interpreter, "#!/bin/sh\n#1\n"), f"{tmp_path}/bin")


def test_what_a_shell_script_of_the_project_calls_counts(tmp_path: Path) -> None:
    tool = program(tmp_path / "bin/tool")
    root = tmp_path / "root"
    program(root / "check.sh", "#!/bin/sh\nset -e\n./other.sh\n")
    program(root / "other.sh", "#!/bin/bash -e\ntool --all\n./check.sh\n")
    path = f"{tool.parent}:/usr/bin:/bin"
    assert_changes(root, Stage(run="./check.sh"), lambda: program(tool, "#!/bin/sh\n#1\n"), path)


def test_links_may_lead_in_a_circle_and_words_anywhere(tmp_path: Path) -> None:
    (tmp_path / "a.py").symlink_to("b.py")
    (tmp_path / "b.py").symlink_to("a.py")
    os.mkfifo(tmp_path / "pipe.py")
    (tmp_path / "folder.py").mkdir()
    words = ("./a.py", "./pipe.py", "./folder.py", "x" * 5000, "/dev/zero.py/x", "a\0b/c", "//", "..", "./")
    assert key_of(tmp_path, Stage(run=words)) == key_of(tmp_path, Stage(run=words))


def test_words_are_those_of_sh_and_their_pieces() -> None:
    assert {"a b", "c", "d", "/opt/x"} <= set(words_of("'a b' && A=/opt/x c;d"))
    assert {"sh", "pytest", "ruff"} <= set(words_of(("sh", "-c", "pytest;ruff")))
    assert "-c" not in words_of("sh -c true")


# Environments.


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real virtual environment."""
    made = tmp_path_factory.mktemp("made") / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", made], check=True)
    return made


def packages_of(venv: Path) -> Path:
    return next(venv.glob("lib/python3*/site-packages"))


def upgrade(venv: Path, version: int) -> None:
    """As pip does it."""
    packages = packages_of(venv)
    before = packages.stat().st_ctime_ns
    for old in packages.glob("tool-*.dist-info"):
        old.rmdir()
    while packages.stat().st_ctime_ns == before:
        (packages / f"tool-{version}.dist-info").mkdir(exist_ok=True)
        (packages / "six.py").touch()
        (packages / "six.py").unlink()


@pytest.mark.parametrize(
    "run",
    ["{0}/bin/python -m tool", ("{0}/bin/tool", "x"), ". {0}/bin/activate && tool", "PATH={0}/bin:$PATH tool"],
    ids=str,
)
def test_an_upgraded_package_changes_it(tmp_path: Path, made: Path, run: str | tuple[str, ...]) -> None:
    program(made / "bin/tool", f"#!{made}/bin/python\n")
    run = run.format(made) if isinstance(run, str) else tuple(word.format(made) for word in run)
    assert_changes(tmp_path, Stage(run=run), lambda: upgrade(made, len(os.listdir(packages_of(made)))))


def test_an_upgraded_package_changes_it_behind_a_link(tmp_path: Path, made: Path) -> None:
    """As pipx installs programs; this one is no script that leads there by itself."""
    program(made / "bin/tool", "\x7fELF")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/tool").symlink_to(made / "bin/tool")
    assert_changes(tmp_path, Stage(run="tool"), lambda: upgrade(made, 100), f"{tmp_path}/bin")


def test_the_environment_of_the_project_counts_for_commands_that_do_not_name_it(tmp_path: Path, made: Path) -> None:
    shutil.copytree(made, tmp_path / ".venv", symlinks=True)
    (tmp_path / "app").mkdir()
    for stage in (Stage(run="make test"), Stage(run="uv run pytest", cwd="app")):
        version = len(stage.run) + 200
        assert_changes(tmp_path, stage, lambda version=version: upgrade(tmp_path / ".venv", version))


def test_an_environment_that_is_active_counts(tmp_path: Path, made: Path) -> None:
    inherited = INHERITED | {"VIRTUAL_ENV": str(made)}
    before = key_of(tmp_path, inherited=inherited)
    upgrade(made, 300)
    assert key_of(tmp_path, inherited=inherited) != before


def test_another_python_in_the_same_environment_changes_it(tmp_path: Path, made: Path) -> None:
    venv = tmp_path / ".venv"
    shutil.copytree(made, venv, symlinks=True)
    other = program(tmp_path / "elsewhere/bin/python3", "#!/bin/sh\n")

    def link() -> None:
        (venv / "bin/python").unlink()
        (venv / "bin/python").symlink_to(other)

    assert_changes(tmp_path, Stage(run=".venv/bin/python -m tool"), link)


@pytest.mark.parametrize("lock", [".package-lock.json", ".yarn-integrity", ".pnpm/lock.yaml", ".modules.yaml"])
@pytest.mark.parametrize("cwd", [".", "packages/app"])
def test_what_was_installed_for_node_changes_it(tmp_path: Path, lock: str, cwd: str) -> None:
    (tmp_path / "packages/app").mkdir(parents=True)
    program(tmp_path / "node_modules" / lock, "{}")
    assert_changes(
        tmp_path, Stage(run="npm test", cwd=cwd), lambda: (tmp_path / "node_modules" / lock).write_text("{1}")
    )


def test_what_chooses_a_version_changes_it(tmp_path: Path) -> None:
    for name in (".python-version", ".nvmrc", "rust-toolchain.toml"):
        assert_changes(tmp_path, STAGE, lambda name=name: (tmp_path / name).write_text("3.12"))


def test_a_toolchain_of_rustup_changes_it(tmp_path: Path) -> None:
    program(tmp_path / "cargo/bin/rustup")
    (tmp_path / "cargo/bin/cargo").symlink_to("rustup")
    manifest = tmp_path / "rustup/toolchains/stable/lib/rustlib/multirust-channel-manifest.toml"
    stage = Stage(run="cargo test", env={"RUSTUP_HOME": f"{tmp_path}/rustup", "PATH": f"{tmp_path}/cargo/bin"})
    assert_changes(tmp_path, stage, lambda: program(manifest, "1"))
    assert_changes(tmp_path, stage, lambda: program(manifest, "2"))


def test_a_version_that_a_shim_stands_for_changes_it(tmp_path: Path) -> None:
    program(tmp_path / "pyenv/shims/python")
    stage = Stage(run="python -m tool", env={"PATH": f"{tmp_path}/pyenv/shims"})
    assert_changes(tmp_path, stage, lambda: (tmp_path / "pyenv/version").write_text("3.12"))


# Looking again.


def test_it_is_looked_again_once_told_so(tmp_path: Path) -> None:
    tool = program(tmp_path / "tool")
    keys = Keys(str(tmp_path), INHERITED)
    before = keys.key("lint", Stage(run="./tool"), INPUTS, ())
    program(tool, "#!/bin/sh\nexit 1\n")
    keys.forget()
    assert keys.key("lint", Stage(run="./tool"), INPUTS, ()) != before


def test_it_is_looked_again_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = program(tmp_path / "tool")
    monkeypatch.setattr(key_module, "_FRESH_S", -1.0)
    keys = Keys(str(tmp_path), INHERITED)
    before = keys.key("lint", Stage(run="./tool"), INPUTS, ())
    program(tool, "#!/bin/sh\nexit 1\n")
    assert keys.key("lint", Stage(run="./tool"), INPUTS, ()) != before


def test_every_key_of_a_stage_is_covered_or_known_to_say_nothing_of_its_result() -> None:
    covered = {"run", "env", "cwd", "inputs", "needs"}
    how_it_is_run = {"timeout", "retries", "allow_failure", "mutates", "cache", "tty"}
    assert {field.name for field in msgspec.structs.fields(Stage)} == covered | how_it_is_run

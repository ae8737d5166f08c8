"""Completion, asked for as the shells ask: verbs, options, names from hotpipe.toml; and silence where there is none."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from gating import project
from running import PATIENCE_S, environment
from verbs import verb

CONFIG = (
    '[stage.lint]\nrun = "true"\n[stage.test]\nrun = "true"\n[server.web]\nrun = "serve"\n[server.api]\nrun = "serve"\n'
)
SHELLS = ("bash", "zsh", "fish")
# As readline calls what `complete -F` names: bash(1), Programmable Completion.
ASK = """
PATH="$2:$PATH"
source <(hotpipe completion bash) || exit 1
shift 2
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*" COMPREPLY=()
name=$(complete -p hotpipe | sed 's/.*-F \\([^ ]*\\).*/\\1/')
"$name" hotpipe "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    program = tmp_path / "bin" / "hotpipe"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nfrom hotpipe.cli import main\nmain()\n")
    program.chmod(0o755)
    return project(tmp_path, CONFIG)


def completed(folder: Path, *words: str) -> list[str]:
    """What bash offers for the last word."""
    command = ["bash", "-c", ASK, "bash", "-", str(folder / "bin"), "hotpipe", *words]
    done = subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


class TestBash:
    def test_verbs(self, folder: Path) -> None:
        assert completed(folder, "re") == ["restart", "rerun", "resume"]
        assert completed(folder, "wai") == ["wait"]

    def test_options(self, folder: Path) -> None:
        assert completed(folder, "wait", "--l") == ["--live"]

    @pytest.mark.parametrize(
        "words, offered",
        [
            (("rerun", ""), ["lint", "test"]),
            (("rerun", "t"), ["test"]),
            (("rerun", "lint", ""), ["test"]),
            (("check", ""), ["lint", "test"]),
            (("restart", ""), ["web", "api"]),
            (("trigger", "a"), ["api"]),
            (("logs", ""), ["web", "api", "lint", "test"]),
            (("completion", ""), ["bash", "zsh", "fish"]),
        ],
        ids=lambda part: " ".join(part) if isinstance(part, tuple) else "",
    )
    def test_names(self, folder: Path, words: tuple[str, ...], offered: list[str]) -> None:
        assert completed(folder, *words) == offered

    def test_nothing_that_the_shell_would_run(self, folder: Path) -> None:
        (folder / "hotpipe.toml").write_text('[stage."$(touch pwned)"]\n[stage."a;b"]\n[stage.good]\n')
        assert completed(folder, "rerun", "") == ["good"]

    def test_names_of_whoever_has_left_a_log(self, folder: Path) -> None:
        (folder / ".hotpipe/logs").mkdir(parents=True)
        (folder / ".hotpipe/logs/stage-gone.log").touch()
        assert completed(folder, "logs", "g") == ["gone"]

    def test_names_from_pyproject_toml(self, folder: Path) -> None:
        (folder / "hotpipe.toml").unlink()
        (folder / "pyproject.toml").write_text('[tool.hotpipe.stage.typed]\nrun = "mypy"\n')
        assert completed(folder, "rerun", "") == ["typed"]

    def test_names_of_a_configuration_that_is_named(self, folder: Path) -> None:
        (folder / "other.toml").write_text('[stage.other]\nrun = "true"\n')
        assert completed(folder, "rerun", "--config", "other.toml", "") == ["other"]

    @pytest.mark.parametrize(
        "config", [None, "[stage", "stage = 1", "\udcff"], ids=["none", "no TOML", "wrong", "bytes"]
    )
    def test_silence_where_there_is_none(self, folder: Path, config: str | None) -> None:
        (folder / "hotpipe.toml").unlink()
        if config is not None:
            (folder / "hotpipe.toml").write_bytes(os.fsencode(config))
        assert completed(folder, "rerun", "") == []


class TestScript:
    @pytest.mark.parametrize("shell", SHELLS)
    def test_is_printed_with_the_way_to_install_it(self, folder: Path, shell: str) -> None:
        done = verb(folder, "completion", shell)
        assert done.returncode == 0
        assert done.stdout.startswith("# To install: ")
        assert f"_HOTPIPE_COMPLETE={shell}_complete" in done.stdout

    @pytest.mark.parametrize("shell", [shell for shell in SHELLS if shutil.which(shell)])
    def test_is_understood_by_the_shell(self, folder: Path, shell: str) -> None:
        script = verb(folder, "completion", shell).stdout
        subprocess.run([shell, "-n"], input=script, text=True, check=True, timeout=PATIENCE_S)

    def test_is_that_of_the_users_shell(self, folder: Path) -> None:
        done = verb(folder, "completion", env=environment() | {"SHELL": "/usr/bin/fish"})
        assert "fish_complete" in done.stdout

    def test_of_another_shell_there_is_none(self, folder: Path) -> None:
        done = verb(folder, "completion", env=environment() | {"SHELL": "/bin/tcsh"})
        assert (done.returncode, done.stderr) == (
            2,
            "hotpipe: which shell? SHELL names 'tcsh'\nhint: hotpipe completion bash, zsh or fish\n",
        )

"""What `hotpipe check` says beyond its stages: of what a fixer mended, of inputs that match nothing."""

from pathlib import Path

import pytest
from gating import check, project

FIXER = '[stage.fix]\nrun = "sed -i s/bad/good/ {changed}"\ninputs = ["*.py"]\nmutates = true\n'


def codes(folder: Path) -> tuple[int, list[str]]:
    done = check(folder)
    return done.code, [event["code"] for event in done.of("warning")]


def test_a_green_run_in_which_a_fixer_had_something_to_mend_is_no_success(tmp_path: Path) -> None:
    """As with pre-commit: git commits, and CI checks out, the tree before it was mended."""
    project(tmp_path, FIXER, {"a.py": "bad\n", "b.py": "good\n"})
    done = check(tmp_path)
    assert (done.code, [event["status"] for event in done.of("run.finished")]) == (1, ["green"])
    (warning,) = done.of("warning", code="check.mended")
    assert warning["message"].startswith("a.py: written by a stage")
    assert (tmp_path / "a.py").read_text() == "good\n"
    assert codes(tmp_path) == (0, [])


def test_a_fixer_with_nothing_to_mend_is_as_good_as_any_stage(tmp_path: Path) -> None:
    project(tmp_path, FIXER, {"a.py": "good\n"})
    assert codes(tmp_path) == (0, [])


@pytest.mark.parametrize("inputs, told", [('["*.pyy"]', ["stage.nothing"]), ("[]", []), ('["*.py"]', [])])
def test_inputs_that_match_no_file_are_told_but_not_an_empty_list(tmp_path: Path, inputs: str, told: list[str]) -> None:
    project(tmp_path, f'[stage.lint]\nrun = "true"\ninputs = {inputs}\n', {"a.py": "x"})
    assert codes(tmp_path) == (0, told)


def test_what_hotpipe_keeps_in_a_project_keeps_itself_out_of_git(tmp_path: Path) -> None:
    project(tmp_path, '[stage.lint]\nrun = "true"\n')
    check(tmp_path)
    assert (tmp_path / ".hotpipe/.gitignore").read_text() == "*\n"
    (tmp_path / ".hotpipe/.gitignore").write_text("mine\n")
    check(tmp_path)
    assert (tmp_path / ".hotpipe/.gitignore").read_text() == "mine\n"

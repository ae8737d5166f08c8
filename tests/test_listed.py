"""The lists of changed files, and what killed gates leave of them."""

from pathlib import Path

from hotpipe.gate.listed import Listed


def test_what_somebody_else_put_there_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / ".hotpipe/changed"
    folder.mkdir(parents=True)
    foreign = {"README", "lint.99999999999999999999", "lint.²", "lint."}
    for name in foreign | {"lint.999999999"}:
        (folder / name).touch()
    living = Listed(str(tmp_path), "lint", ["a.py"])
    assert living.path is not None
    Listed.tidy(str(tmp_path))
    assert {path.name for path in folder.iterdir()} == foreign | {Path(living.path).name}
    living.remove()
    assert {path.name for path in folder.iterdir()} == foreign

"""What the gate remembers of its stages."""

from pathlib import Path

from hotpipe.config.file import Project
from hotpipe.config.model import Config, Stage
from hotpipe.gate.memory import Memory


def keys(folder: Path, stages: dict[str, Stage]) -> list[str]:
    """Of all stages, the last first: it asks for all that it needs."""
    project = Project(str(folder), str(folder / "hotpipe.toml"), Config(stage=stages))
    memory = Memory(project, None, None, lambda _: None)
    return [memory.key(name) for name in reversed(stages)]


def test_hundreds_of_stages_in_a_row_have_a_key_each(tmp_path: Path) -> None:
    stages = {f"s{number}": Stage(run="true") for number in range(1_500)}
    assert len(set(keys(tmp_path, stages))) == len(stages)


def test_a_key_is_another_if_a_stage_far_up_is(tmp_path: Path) -> None:
    stages = {name: Stage(run="true") for name in "abcd"}
    before, after = keys(tmp_path, stages), keys(tmp_path, stages | {"b": Stage(run="false")})
    assert [old == new for old, new in zip(before, after, strict=True)] == [False, False, False, True]

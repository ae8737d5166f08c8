"""What the gate reads of the tree may be newer than what it has been told of it."""

from pathlib import Path

import pytest

from hotpipe.config.file import Project
from hotpipe.config.model import Config, Stage
from hotpipe.gate import state
from hotpipe.gate.loop import Gate, Setting
from hotpipe.process.system import System
from hotpipe.tree.identity import Entry, Stat


def file(fingerprint: int) -> Entry:
    return Entry(Stat(0, 0, 0, 0, 0), fingerprint, racy=False)


class Tree:
    """At the end of a burst in which `a` was written, and written back."""

    tree = "T1"

    def __init__(self, **entries: Entry) -> None:
        self.entries = entries

    async def confirm(self) -> str:
        return self.tree

    def still(self) -> bool:
        return True


@pytest.mark.anyio
async def test_what_was_read_in_the_midst_of_a_burst_that_came_to_nothing_has_changed(tmp_path: Path) -> None:
    project = Project(str(tmp_path), str(tmp_path / "hotpipe.toml"), Config(stage={"lint": Stage(run="true")}))
    gate = Gate(project, {}, Setting(System(), lambda _: None))
    tree = Tree(a=file(1), b=file(1))
    gate._memory.fill(tree.entries)
    before = gate._memory.key("lint")
    gate._memory.fill({"a": file(2), "b": file(1)})  # a stage may be remembered by this key, which was never the tree's
    told = gate._noted(state.Changed((), ("a", "b"), "T1"), tree)
    assert told == state.Changed(("a",), ("b",), "T1")
    assert gate._memory.key("lint") == before
    gate.stop()
    await gate.run(tree)

"""Which files the inputs of stages mean, and what they add up to."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotpipe.tree import identity
from hotpipe.tree.globs import Globs
from hotpipe.tree.identity import Entry, Stat
from hotpipe.tree.inputs import Inputs

Lists = tuple[str, ...] | None
STAT = Stat(0o100644, 1, 1, 1, 1)
LISTS: tuple[Lists, ...] = (
    None,
    (),
    ("*.py",),
    ("src/**", "!src/gen/", "src/gen/keep.py"),
    ("!*.md",),
    ("src/*.p?", "!b*"),
    ("/[ab]*", "docs/"),
    ("größe/*",),
)


def entry(fingerprint: int) -> Entry:
    return Entry(STAT, fingerprint, False)


def meant(globs: Lists, entries: dict[str, Entry]) -> dict[str, Entry]:
    """What the module promises, in the plainest way."""
    return {path: held for path, held in entries.items() if globs is None or Globs(globs).matches(path)}


def summed(entries: dict[str, Entry]) -> str:
    return identity.tree_id(sum(held.fingerprint for held in entries.values()))


def assert_true(inputs: Inputs, entries: dict[str, Entry]) -> None:
    for globs in LISTS:
        expected = meant(globs, entries)
        assert inputs.paths(globs) == tuple(sorted(expected)), globs
        assert inputs.identity(globs) == summed(expected), globs


names = st.sampled_from(["a", "b.py", "src", "gen", "keep.py", "docs", "x.md", "größe", "\udcff.py"])
trees = st.dictionaries(
    st.lists(names, min_size=1, max_size=4).map("/".join), st.integers(1, 2**128 - 1).map(entry), max_size=12
)


@given(trees, st.lists(trees, max_size=3))
def test_each_list_is_right_at_first_and_after_every_change(
    first: dict[str, Entry], later: list[dict[str, Entry]]
) -> None:
    inputs = Inputs(LISTS)
    inputs.fill(first)
    assert_true(inputs, first)
    before = first
    for now in later:
        inputs.update(now, {path for path in before.keys() | now.keys() if before.get(path) != now.get(path)})
        assert_true(inputs, now)
        before = now


def test_every_file_adds_up_to_the_tree_as_it_is_on_disk(tmp_path: Path) -> None:
    paths = ["app.py", "src/a.py", "src/link", os.fsdecode(b"src/\xff.py")]
    (tmp_path / "src").mkdir()
    for path in paths:
        (tmp_path / path).write_text(path.encode("utf-8", "replace").decode())
    read = {path: identity.read(os.fsencode(tmp_path), path) for path in paths}
    entries = {path: held for path, held in read.items() if held is not None}
    inputs = Inputs([None, ("src/",)])
    inputs.fill(entries)
    assert inputs.identity(None) == summed(entries)
    assert inputs.paths(("src/",)) == tuple(sorted(paths[1:]))


def test_what_was_meant_to_be_filled_again_forgets_what_was_there() -> None:
    inputs = Inputs([None, ("*.py",)])
    inputs.fill({"a.py": entry(1), "b.py": entry(2)})
    assert inputs.paths(("*.py",)) == ("a.py", "b.py")
    inputs.fill({"b.py": entry(2)})
    assert inputs.paths(("*.py",)) == inputs.paths(None) == ("b.py",)
    assert inputs.identity(None) == identity.tree_id(2)


def test_a_snapshot_that_changes_afterwards_changes_nothing() -> None:
    entries = {"a.py": entry(1)}
    inputs = Inputs([None])
    inputs.fill(entries)
    entries["b.py"] = entry(2)
    assert inputs.paths(None) == ("a.py",)
    inputs.update(entries, ["b.py", "never.py"])
    assert inputs.paths(None) == ("a.py", "b.py")


def test_a_content_that_comes_back_has_its_identity_back() -> None:
    inputs = Inputs([("*.py",)])
    inputs.fill({"a.py": entry(5)})
    before = inputs.identity(("*.py",))
    inputs.update({"a.py": entry(6)}, ["a.py"])
    assert inputs.identity(("*.py",)) != before
    inputs.update({"a.py": entry(5)}, ["a.py", "a.py"])
    assert inputs.identity(("*.py",)) == before


def test_folders_may_be_deeper_than_calls_may() -> None:
    path = "/".join(["d"] * 1900 + ["a.py"])
    inputs = Inputs([("*.py",), ("d/**/d/*.py", "!d/d/x")])
    inputs.fill({path: entry(1)})
    inputs.update({}, [path])
    assert inputs.paths(("*.py",)) == inputs.paths(("d/**/d/*.py", "!d/d/x")) == ()


def test_a_list_that_was_never_named_is_an_error() -> None:
    with pytest.raises(KeyError):
        Inputs([None]).identity(("*.py",))

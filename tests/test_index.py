"""The stat cache on disk: what it says is what reading would say, or it says nothing."""

import os
from pathlib import Path

import pytest

from hotpipe.tree import index
from hotpipe.tree.ignore import Ignore
from hotpipe.tree.sweep import Snapshot

COUNT = 250
OLD_NS = 1_700_000_000_123_456_789


def snapshot(folder: Path, known: bool = True) -> Snapshot:
    made = Snapshot(str(folder), (".",), Ignore(str(folder)))
    if known:
        made.remember(index.load(str(folder)))
    made.refresh({""})
    return made


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Files that have long been there, and an index of them."""
    for number in range(COUNT):
        path = tmp_path / f"{number % 5}/file{number}"
        path.parent.mkdir(exist_ok=True)
        path.write_text(str(number))
    entries = snapshot(tmp_path, known=False).entries
    index.save(str(tmp_path), {path: entry._replace(racy=False) for path, entry in entries.items()})
    return tmp_path


def test_what_is_as_it_was_is_not_read_again(tree: Path) -> None:
    found = snapshot(tree)
    assert found.reads == 0
    assert found.tree == snapshot(tree, known=False).tree
    assert len(found.entries) == COUNT


@pytest.mark.parametrize("keeps_time", [False, True])
def test_what_was_written_is_read_again_even_with_its_old_time(tree: Path, keeps_time: bool) -> None:
    file = tree / "1/file1"
    before = file.stat()
    file.write_text("x")
    if keeps_time:
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    found = snapshot(tree)
    assert found.reads == 1
    assert found.tree == snapshot(tree, known=False).tree


def test_what_is_new_or_gone_or_moved_is_seen(tree: Path) -> None:
    (tree / "new").write_text("new")
    (tree / "2/file2").unlink()
    os.rename(tree / "3/file3", tree / "4/file3")
    os.rename(tree / "3/file8", tree / "3/file13")
    assert snapshot(tree).tree == snapshot(tree, known=False).tree


def test_a_file_that_another_one_took_the_place_of_is_read(tree: Path) -> None:
    one, other = tree / "0/file0", tree / "0/file5"
    other.write_text("5")
    os.replace(other, one)
    assert snapshot(tree).tree == snapshot(tree, known=False).tree


def test_what_is_racily_clean_is_not_kept(tree: Path) -> None:
    entries = snapshot(tree, known=False).entries
    index.save(str(tree), {path: entry._replace(racy=path == "1/file1") for path, entry in entries.items()})
    assert set(entries) - set(index.load(str(tree))) == {"1/file1"}


@pytest.mark.parametrize("at", [0, 20, 40, 100, -1])
def test_a_flipped_byte_is_found_out(tree: Path, at: int) -> None:
    file = tree / ".hotpipe/index"
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    file.write_bytes(content)
    assert index.load(str(tree)) == {}


@pytest.mark.parametrize("length", [0, 5, 16, 31, 32, 33, 1000])
def test_half_an_index_is_none(tree: Path, length: int) -> None:
    file = tree / ".hotpipe/index"
    file.write_bytes(file.read_bytes()[:length])
    assert index.load(str(tree)) == {}
    assert snapshot(tree).reads == COUNT


def test_names_that_are_no_text_are_kept(tree: Path) -> None:
    name = os.fsdecode(b"caf\xe9\n'\"")
    (tree / name).write_text("x")
    entries = snapshot(tree, known=False).entries
    index.save(str(tree), {path: entry._replace(racy=False) for path, entry in entries.items()})
    assert name in index.load(str(tree))


def test_where_it_cannot_be_written_nothing_happens(tree: Path) -> None:
    entries = snapshot(tree).entries
    (tree / ".hotpipe/index").unlink()
    (tree / ".hotpipe/index").mkdir()
    index.save(str(tree), entries)
    assert os.listdir(tree / ".hotpipe") == ["index"]
    (tree / ".hotpipe/index").rmdir()
    (tree / ".hotpipe").rmdir()
    (tree / ".hotpipe").write_text("")
    index.save(str(tree), entries)
    assert index.load(str(tree)) == {}


def test_a_few_files_need_none(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    index.save(str(tmp_path), snapshot(tmp_path).entries)
    assert not (tmp_path / ".hotpipe").exists()


def test_a_time_stamp_beyond_all_measure_is_not_kept_and_harms_no_other(tree: Path) -> None:  # tmpfs has them
    entries = snapshot(tree).entries
    far = entries["1/file1"]
    kept = {path: entry._replace(racy=False) for path, entry in entries.items()}
    kept["1/file1"] = far._replace(stat=far.stat._replace(mtime_ns=10**21), racy=False)
    index.save(str(tree), kept)
    assert index.load(str(tree)).keys() == kept.keys() - {"1/file1"}

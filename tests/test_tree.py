"""What is on disk, without events: the identity of files and trees, the snapshot, its sweep, the end of a burst."""

import os
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from hotpipe.tree import identity
from hotpipe.tree.identity import Entry, Stat
from hotpipe.tree.ignore import Ignore
from hotpipe.tree.sweep import Delta, Folders, Snapshot

NAMES = ("a.py", "b", ".gitignore", "caf\udce9", "new\nline")
LONG_AGO_NS = 1_600_000_000_123_456_789
WHOLE_SECOND_NS = 1_600_000_000_000_000_000
NOTHING = Delta()


def fresh(root: Path, *roots: str) -> Snapshot:
    """Read the tree from scratch, without the settings of whoever runs the tests."""
    snapshot = Snapshot(str(root), roots or (".",), Ignore(str(root), excludes=lambda _: None))
    snapshot.refresh({""})
    return snapshot


def plant(root: Path, **files: str) -> None:
    """`plant(root, a__b="…")` writes a/b."""
    for name, content in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def swept(snapshot: Snapshot) -> Delta:
    """What a sweep finds when no event came."""
    return snapshot.refresh(snapshot.differing())


def fingerprints(snapshot: Snapshot) -> dict[str, int]:
    return {path: entry.fingerprint for path, entry in snapshot.entries.items()}


def age(path: Path) -> None:
    """As if it had been written long ago: it is no longer racy when it is read."""
    os.utime(path, ns=(LONG_AGO_NS, LONG_AGO_NS), follow_symlinks=False)


# --- identity -----------------------------------------------------------------------------------------------------


def write(path: Path) -> None:
    path.write_text("something else")


def make_executable(path: Path) -> None:
    path.chmod(0o755)


def rename(path: Path) -> None:
    path.rename(path.with_name("renamed"))


def make_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("content")


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DIFFERENCES = [write, make_executable, rename, make_link, make_folder, Path.unlink]


@pytest.mark.parametrize("change", DIFFERENCES, ids=lambda change: change.__name__)
def test_what_differs_gives_another_tree(tmp_path: Path, change: Callable[[Path], None]) -> None:
    plant(tmp_path, file="content", other="other")
    before = fresh(tmp_path).tree
    change(tmp_path / "file")
    assert fresh(tmp_path).tree != before


def touch(path: Path) -> None:
    os.utime(path, ns=(LONG_AGO_NS, LONG_AGO_NS))


def write_the_same(path: Path) -> None:
    path.write_bytes(path.read_bytes())


def replace_by_the_same(path: Path) -> None:
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes())
    copy.rename(path)


def change_other_bits(path: Path) -> None:
    path.chmod(0o600)


SAMENESS = [touch, write_the_same, replace_by_the_same, change_other_bits]


@pytest.mark.parametrize("change", SAMENESS, ids=lambda change: change.__name__)
def test_a_save_that_changes_nothing_is_a_touch_and_the_tree_is_the_same(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    # watchexec #204 #367, cargo-watch #272
    plant(tmp_path, file="content")
    snapshot = fresh(tmp_path)
    before = snapshot.tree
    change(tmp_path / "file")
    assert snapshot.refresh({"file"}) == Delta(touched=("file",))
    assert snapshot.tree == before == fresh(tmp_path).tree


def test_a_path_and_its_content_are_told_apart(tmp_path: Path) -> None:
    plant(tmp_path, one__ab="c", two__a="bc")
    assert fresh(tmp_path, "one").tree != fresh(tmp_path, "two").tree


def test_two_files_that_swap_their_content_are_another_tree(tmp_path: Path) -> None:
    plant(tmp_path, a="1", b="2")
    before = fresh(tmp_path).tree
    plant(tmp_path, a="2", b="1")
    assert fresh(tmp_path).tree != before


def test_the_tree_does_not_depend_on_where_it_lies_or_in_which_order_it_was_written(tmp_path: Path) -> None:
    plant(tmp_path / "one", a="1", b__c="2", d="3")
    plant(tmp_path / "two", d="3", b__c="2", a="1")
    assert fresh(tmp_path / "one").tree == fresh(tmp_path / "two").tree


def test_an_empty_tree_has_an_id_too(tmp_path: Path) -> None:
    assert fresh(tmp_path).tree == "0" * 32


# --- links and things that are no files ---------------------------------------------------------------------------


def test_a_link_is_its_text_and_is_never_followed(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    plant(outside, secret="1")
    plant(root, file="1")
    links = {"folder": outside, "up": "..", "file-link": outside / "secret", "dangling": "nowhere", "loop": "loop"}
    for name, target in links.items():
        (root / name).symlink_to(target)
    snapshot = fresh(root)
    before = snapshot.tree
    assert set(snapshot.entries) == {"file", *links}
    plant(outside, secret="2", more="3")
    assert swept(snapshot) == NOTHING
    assert fresh(root).tree == before


def test_a_link_that_points_elsewhere_is_a_change(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("a")
    snapshot = fresh(tmp_path)
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("b")
    assert swept(snapshot) == Delta(changed=("link",))


def test_a_folder_that_becomes_a_link_takes_its_files_along(tmp_path: Path) -> None:
    root = tmp_path / "root"
    plant(root, src__a="1", src__deep__b="2")
    snapshot = fresh(root)
    (root / "src").rename(tmp_path / "moved")
    (root / "src").symlink_to(tmp_path / "moved")
    assert snapshot.refresh({"src"}) == Delta(changed=("src", "src/a", "src/deep/b"))
    assert set(snapshot.entries) == {"src"}
    assert snapshot.refresh({"src/a"}) == NOTHING  # a late event: never looked at through the link
    assert snapshot.tree == fresh(root).tree


def test_pipes_sockets_and_devices_are_no_part_of_a_tree_and_never_opened(tmp_path: Path) -> None:
    plant(tmp_path, file="1")
    before = fresh(tmp_path).tree
    os.mkfifo(tmp_path / "pipe")  # to open it for reading would wait for a writer
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        if os.geteuid() == 0:
            os.mknod(tmp_path / "device", stat.S_IFCHR | 0o600, os.makedev(5, 2))  # opening it makes a terminal
        snapshot = fresh(tmp_path)
    assert snapshot.tree == before
    assert snapshot.refresh({"pipe", "socket", "device"}) == NOTHING


def test_a_file_that_becomes_a_pipe_is_gone(tmp_path: Path) -> None:
    plant(tmp_path, file="1")
    snapshot = fresh(tmp_path)
    (tmp_path / "file").unlink()
    os.mkfifo(tmp_path / "file")
    assert swept(snapshot) == Delta(changed=("file",))
    assert snapshot.tree == "0" * 32


@pytest.mark.parametrize("name", ["caf\udce9", "new\nline", "\udcff", "tab\t", "'\"$(x)", "*", "[a]", " "])
@pytest.mark.parametrize("place", ["file", "folder"])
def test_any_name_that_the_kernel_takes_is_watched(tmp_path: Path, name: str, place: str) -> None:
    path = name if place == "file" else f"{name}/file"
    target = os.path.join(tmp_path, path)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    Path(target).write_text("1")
    snapshot = fresh(tmp_path)
    assert list(snapshot.entries) == [path]
    Path(target).write_text("2")
    assert swept(snapshot) == Delta(changed=(path,))


# --- what comes, goes and moves -----------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    plant(root, a__one="1", a__deep__two="2", b="3")
    return root


def move(source: str, target: str) -> Callable[[Path], None]:
    return lambda root: os.rename(root / source, root / target)


def and_back(root: Path) -> None:
    move("a", "c")(root)
    move("c", "a")(root)


def replaced_by_a_file(root: Path) -> None:
    move("a", "../a")(root)
    plant(root, a="file")


def replaced_and_back(root: Path) -> None:
    replaced_by_a_file(root)
    (root / "a").unlink()
    move("../a", "a")(root)


def moved_in(root: Path) -> None:
    plant(root.parent, new__deep__file="5")
    move("../new", "new")(root)


MOVES: dict[str, tuple[Callable[[Path], None], Delta]] = {
    "a file": (move("b", "c"), Delta(("b", "c"))),
    "a file over another": (move("b", "a/one"), Delta(("a/one", "b"))),
    "a folder": (move("a", "c"), Delta(("a/deep/two", "a/one", "c/deep/two", "c/one"))),
    "there and back": (and_back, NOTHING),
    "out of the tree": (move("a", "../a"), Delta(("a/deep/two", "a/one"))),
    "into the tree": (moved_in, Delta(("new/deep/file",))),
    "a folder replaced by a file": (replaced_by_a_file, Delta(("a", "a/deep/two", "a/one"))),
    "and back": (replaced_and_back, NOTHING),
}


@pytest.mark.parametrize("told", ["by events", "by a sweep"])
@pytest.mark.parametrize("change, expected", MOVES.values(), ids=MOVES.keys())
def test_a_move_is_what_it_leaves_and_what_it_brings(
    project: Path, change: Callable[[Path], None], expected: Delta, told: str
) -> None:
    snapshot = fresh(project)
    change(project)
    delta = snapshot.refresh({"a", "b", "c", "new"}) if told == "by events" else swept(snapshot)
    assert delta == expected
    assert snapshot.tree == fresh(project).tree


@pytest.mark.parametrize(
    "suspects",
    [{"x/y/z/file"}, {"x/y"}, {"x"}, {"x/y/z/file", "x"}, {"x/y/.gitignore"}, {"x/y/.gitignore", "x/y/z/file"}, {""}],
    ids=lambda suspects: " ".join(sorted(suspects)),
)
def test_whichever_event_of_a_new_folder_comes_first_all_of_it_is_found(project: Path, suspects: set[str]) -> None:
    snapshot = fresh(project)
    plant(project, x__y__z__file="1", x__y__z__ignored="2", x__other="3")
    (project / "x/y/.gitignore").write_text("ignored\n")
    snapshot.refresh(suspects)
    assert fingerprints(snapshot) == fingerprints(fresh(project))
    shutil.rmtree(project / "x")
    snapshot.refresh({"x"})
    assert fingerprints(snapshot) == fingerprints(fresh(project))


# --- editors ------------------------------------------------------------------------------------------------------


def vim(file: Path) -> Iterator[Path]:
    """With backupcopy=no: probe the folder, move the original away, write anew, drop the original."""
    probe, backup = file.with_name("4913"), file.with_name(f"{file.name}~")
    probe.touch()
    yield probe
    probe.unlink()
    file.rename(backup)
    yield backup
    file.write_text("saved")
    backup.unlink()
    yield file


def vs_code(file: Path) -> Iterator[Path]:
    with open(file, "w") as opened:
        yield file
        opened.write("saved")
    yield file


def jetbrains(file: Path) -> Iterator[Path]:
    written, old = file.with_name(f"{file.name}___jb_tmp___"), file.with_name(f"{file.name}___jb_old___")
    written.write_text("saved")
    yield written
    file.rename(old)
    written.rename(file)
    yield file
    old.unlink()
    yield old


def emacs(file: Path) -> Iterator[Path]:
    lock, auto = file.with_name(f".#{file.name}"), file.with_name(f"#{file.name}#")
    lock.symlink_to("user@host.1234:5678")  # dangling by design
    yield lock
    auto.write_text("sav")
    yield auto
    file.rename(file.with_name(f"{file.name}~"))
    file.write_text("saved")
    auto.unlink()
    lock.unlink()
    yield file


def sed_in_place(file: Path) -> Iterator[Path]:
    subprocess.run(["sed", "-i", "s/.*/saved/", file], check=True)
    yield file


@pytest.mark.parametrize("editor", [vim, vs_code, jetbrains, emacs, sed_in_place], ids=lambda editor: editor.__name__)
def test_an_editors_save_changes_its_file_alone(tmp_path: Path, editor: Callable[[Path], Iterator[Path]]) -> None:
    plant(tmp_path, **{"app.py": "text\n"})
    snapshot = fresh(tmp_path)
    changed: set[str] = set()
    for written in editor(tmp_path / "app.py"):
        delta = snapshot.refresh({written.name, "app.py"})
        changed |= {*delta.changed, *delta.touched}
    assert changed == {"app.py"}
    assert (tmp_path / "app.py").read_text().strip() == "saved"
    assert set(snapshot.entries) == {"app.py"}
    assert snapshot.tree == fresh(tmp_path).tree


# --- the racy rule ------------------------------------------------------------------------------------------------


def test_a_write_that_leaves_every_stamp_as_it_was_is_found_in_a_file_just_read(tmp_path: Path) -> None:
    """Twice within one tick of the kernel's clock: same size, same stamps. It cannot be made at will, only imitated."""
    file = tmp_path / "file"
    file.write_text("one")
    snapshot = fresh(tmp_path)
    entry = snapshot.entries["file"]
    assert entry.racy
    file.write_text("two")
    snapshot.entries["file"] = entry._replace(stat=Stat.of(os.lstat(file)))
    assert swept(snapshot) == Delta(changed=("file",))
    assert snapshot.tree == fresh(tmp_path).tree


@pytest.mark.parametrize(
    "stamp_ns, read_after_ns, racy",
    [
        (LONG_AGO_NS, 0, True),
        (LONG_AGO_NS, 10_000_000, True),
        (LONG_AGO_NS, 1_000_000_000, False),
        (WHOLE_SECOND_NS, 999_999_999, True),
        (WHOLE_SECOND_NS, 1_999_999_999, True),  # FAT counts every other second
        (WHOLE_SECOND_NS, 3_000_000_000, False),
        (LONG_AGO_NS, -1, True),  # a clock that was set back
    ],
)
def test_what_was_written_just_before_it_was_read_is_racy(stamp_ns: int, read_after_ns: int, racy: bool) -> None:
    found = Stat(mode=stat.S_IFREG, size=1, mtime_ns=stamp_ns, ctime_ns=stamp_ns, inode=1)
    assert identity._is_racy(found, stamp_ns + read_after_ns) is racy


def test_what_was_read_in_peace_is_not_read_again(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("one")
    snapshot = fresh(tmp_path)
    snapshot.entries["file"] = Entry(Stat.of(os.lstat(file)), fingerprint=7, racy=False)
    assert snapshot.differing() == set()
    assert snapshot.refresh({"file"}) == NOTHING
    assert snapshot.entries["file"].fingerprint == 7


@pytest.mark.parametrize("seen", ["mtime", "size", "inode", "mode"])
def test_a_sweep_sees_each_kind_of_write(tmp_path: Path, seen: str) -> None:
    file = tmp_path / "file"
    file.write_text("one")
    age(file)
    snapshot = fresh(tmp_path)
    snapshot.entries["file"] = snapshot.entries["file"]._replace(racy=False)
    if seen == "mode":
        file.chmod(0o755)
    elif seen == "inode":
        (tmp_path / "other").write_text("two")
        age(tmp_path / "other")
        (tmp_path / "other").rename(file)
    else:
        file.write_text("two" if seen == "mtime" else "longer")
        age(file)  # mtime set back as by `cp -p`, `tar` or `rsync`: ctime tells
    assert swept(snapshot).changed == ("file",)


# --- without permission -------------------------------------------------------------------------------------------

AS_NOBODY = """
import os, sys
from hotpipe.tree.ignore import Ignore
from hotpipe.tree.sweep import Snapshot
root = sys.argv[1]
os.setgroups([])
os.setgid(65534)
os.setuid(65534)  # only now: Python itself may lie where nobody may look
snapshot = Snapshot(root, ["."], Ignore(root, excludes=lambda _: None))
def show():
    snapshot.refresh(snapshot.differing() | {""})
    print(snapshot.tree, *sorted(snapshot.entries), flush=True)
show()
for _ in sys.stdin:
    show()
"""


@pytest.fixture
def seen_by_nobody(tmp_path: Path) -> Iterator[Callable[[], tuple[str, set[str]]]]:
    """A snapshot in a process without privileges: asks it for its tree and its files."""
    if os.geteuid() != 0:
        pytest.skip("only root can become nobody")
    for folder in (tmp_path, *tmp_path.parents[:3]):  # pytest's own, and that of its worker
        if "pytest-" in folder.as_posix():
            folder.chmod(0o711)
    root = tmp_path / "root"
    root.mkdir()
    reader = subprocess.Popen(
        [sys.executable, "-c", AS_NOBODY, root], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert reader.stdin is not None
    assert reader.stdout is not None
    told, said = reader.stdin, reader.stdout
    said.readline()

    def ask() -> tuple[str, set[str]]:
        print(file=told, flush=True)
        tree, *paths = said.readline().split()
        return tree, set(paths)

    with reader:
        yield ask
        told.close()


def test_a_file_that_may_not_be_read_counts_by_its_stamps(
    tmp_path: Path, seen_by_nobody: Callable[[], tuple[str, set[str]]]
) -> None:
    plant(tmp_path / "root", open="1", secret="1")
    (tmp_path / "root/secret").chmod(0)
    before, paths = seen_by_nobody()
    assert paths == {"open", "secret"}
    assert seen_by_nobody()[0] == before
    plant(tmp_path / "root", secret="other")
    assert seen_by_nobody()[0] != before


def test_a_folder_that_may_not_be_listed_does_not_end_the_walk(
    tmp_path: Path, seen_by_nobody: Callable[[], tuple[str, set[str]]]
) -> None:
    # watchfiles #147 #266
    root = tmp_path / "root"
    plant(root, a__file="1", b__closed__file="2", b__listed__file="3", c__file="4")
    (root / "b/closed").chmod(0)
    (root / "b/listed").chmod(0o744)  # names, but nothing about them
    assert seen_by_nobody()[1] == {"a/file", "c/file"}
    (root / "b/closed").chmod(0o755)
    (root / "b/listed").chmod(0o755)
    assert seen_by_nobody()[1] == {"a/file", "b/closed/file", "b/listed/file", "c/file"}


# --- while the tree is read ---------------------------------------------------------------------------------------


class Saboteur:
    """Changes the tree at the worst moment: when a folder has been put under watch, and before it is listed."""

    def __init__(self, root: Path, act: Callable[[Path], None], at: str) -> None:
        self.root = root
        self.act = act
        self.at = at

    def watch(self, folder: str) -> None:
        if folder == self.at:
            self.at = "done"
            self.act(self.root)

    def unwatch(self, folder: str) -> None:
        pass


def remove(path: str) -> Callable[[Path], None]:
    return lambda root: shutil.rmtree(root / path)


def swap_for_link(root: Path) -> None:
    move("a", "../moved")(root)
    (root / "a").symlink_to("../moved")


@pytest.mark.parametrize(
    "at, act",
    [("a", remove("a")), ("a/deep", remove("a")), ("a", remove("a/deep")), ("a", swap_for_link), ("", remove("a"))],
    ids=["itself", "its parent", "its child", "swapped for a link", "before it is known"],
)
def test_a_folder_that_vanishes_while_it_is_listed_does_no_harm(
    project: Path, at: str, act: Callable[[Path], None]
) -> None:
    saboteur = Saboteur(project, act, at)
    ignore = Ignore(str(project), excludes=lambda _: None)
    snapshot = Snapshot(str(project), ["."], ignore, Folders(saboteur.watch, saboteur.unwatch))
    snapshot.refresh({""})
    swept(snapshot)
    assert saboteur.at == "done"
    assert fingerprints(snapshot) == fingerprints(fresh(project))
    assert snapshot.tree == fresh(project).tree
    assert set(snapshot.folders) == set(fresh(project).folders)


def test_what_appears_after_a_folder_was_put_under_watch_is_listed(project: Path) -> None:
    saboteur = Saboteur(project, lambda root: plant(root, a__new="1"), "a")
    ignore = Ignore(str(project), excludes=lambda _: None)
    snapshot = Snapshot(str(project), ["."], ignore, Folders(saboteur.watch, saboteur.unwatch))
    snapshot.refresh({""})
    assert "a/new" in snapshot.entries


# --- rules that change --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("told", ["by an event", "by a sweep", "by an event of its folder"])
@pytest.mark.parametrize("place", ["", "a", "a/deep"])
@pytest.mark.parametrize("own", [False, True], ids=["", "that ignores itself"])
def test_an_ignore_file_is_obeyed_as_it_comes_changes_and_goes(project: Path, told: str, place: str, own: bool) -> None:
    plant(project, a__deep__build__x="4", a__deep__log="5")
    snapshot = fresh(project)
    file = project / place / ".gitignore"

    def obeyed() -> set[str]:
        path = os.path.relpath(file, project)
        snapshot.refresh(
            {"by an event": {path}, "by an event of its folder": {place}}.get(told) or snapshot.differing()
        )
        assert fingerprints(snapshot) == fingerprints(fresh(project))
        assert set(snapshot.folders) == set(fresh(project).folders)
        return set(snapshot.entries) - {path}

    everything = {"a/one", "a/deep/two", "b", "a/deep/build/x", "a/deep/log"}
    self_too = ".gitignore\n" if own else ""
    file.write_text(f"build/\nlog\n{self_too}")
    assert obeyed() == everything - {"a/deep/build/x", "a/deep/log"}
    file.write_text(f"log\n{self_too}")
    assert obeyed() == everything - {"a/deep/log"}
    file.unlink()
    assert obeyed() == everything


def test_a_changed_exclude_file_of_git_is_found_by_the_sweep(project: Path) -> None:
    plant(project, **{".git__HEAD": "ref: refs/heads/main\n", ".git__info__exclude": ""})
    snapshot = fresh(project)
    assert set(snapshot.entries) == {"a/one", "a/deep/two", "b"}
    plant(project, **{".git__info__exclude": "deep/\n"})
    assert swept(snapshot) == Delta(("a/deep/two",))
    plant(project, **{".git__info__exclude": ""})
    assert swept(snapshot) == Delta(("a/deep/two",))


def test_an_ignored_folder_is_neither_listed_nor_watched(project: Path) -> None:
    # watchfiles #288, notify #204, watchexec #377 #643
    plant(project, **{"node_modules__x__y": "1", ".git__objects__z": "2", "build__x": "3", ".gitignore": "build/\n"})
    watched: list[str] = []
    ignore = Ignore(str(project), excludes=lambda _: None)
    Snapshot(str(project), ["."], ignore, Folders(watched.append, watched.append)).refresh({""})
    assert sorted(watched) == ["", "a", "a/deep"]


# --- roots --------------------------------------------------------------------------------------------------------


def test_only_what_is_below_the_roots_counts(project: Path) -> None:
    assert set(fresh(project, "a").entries) == {"a/one", "a/deep/two"}
    assert set(fresh(project, "b", "a/deep").entries) == {"b", "a/deep/two"}
    assert set(fresh(project, "./a/", "a/deep", "a/deep/two").entries) == {"a/one", "a/deep/two"}
    assert set(fresh(project, "nowhere").entries) == set()


@pytest.mark.parametrize("roots", [("a",), ("a/deep",), ("a/deep/two",), ("a", "a/deep"), ("b", "a/deep"), ("a/x/y",)])
def test_roots_come_and_go_and_come_again(project: Path, roots: tuple[str, ...]) -> None:
    snapshot = fresh(project, *roots)
    for suspects in ({"a"}, {"a/deep", "a", "b"}, None):
        shutil.rmtree(project / "a")
        snapshot.refresh(suspects or snapshot.differing())
        assert fingerprints(snapshot) == fingerprints(fresh(project, *roots))
        plant(project, a__one="1", a__deep__two="22", a__x__y__z="4")
        snapshot.refresh(suspects or snapshot.differing())
        assert fingerprints(snapshot) == fingerprints(fresh(project, *roots)) != {}


def test_the_whole_tree_may_vanish_and_return(project: Path) -> None:
    snapshot = fresh(project)
    before = snapshot.tree
    project.rename(project.with_name("away"))
    assert swept(snapshot).changed == ("a/deep/two", "a/one", "b")
    project.with_name("away").rename(project)
    assert swept(snapshot).changed == ("a/deep/two", "a/one", "b")
    assert snapshot.tree == before


# --- however it was reached ---------------------------------------------------------------------------------------

PATHS = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map("/".join)
TEXTS = st.sampled_from(["", "1", "2", "b\n", "*\n!a.py\n", "!b\n", ".gitignore\n"])


class Tree(RuleBasedStateMachine):
    """Edits at random, of which events tell late, in part, twice or never; a sweep makes up for all of it."""

    place: Path  # set by the test

    @initialize()
    def begin(self) -> None:
        shutil.rmtree(self.place, ignore_errors=True)
        self.root = self.place / "root"
        self.root.mkdir(parents=True)
        self.snapshot = fresh(self.root)
        self.late: list[str] = []

    def on_disk(self, path: str) -> str:
        return os.path.join(self.root, path)

    def happened(self, *paths: str) -> None:
        self.late += paths

    @rule(path=PATHS, text=TEXTS)
    def write(self, path: str, text: str) -> None:
        target = self.on_disk(path)
        try:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(target, "w") as file:
                file.write(text)
        except OSError:
            return
        self.happened(path)

    @rule(path=PATHS)
    def remove(self, path: str) -> None:
        target = self.on_disk(path)
        if os.path.isdir(target) and not os.path.islink(target):
            shutil.rmtree(target)
        elif os.path.lexists(target):
            os.unlink(target)
        self.happened(path)

    @rule(old=PATHS, new=PATHS)
    def rename(self, old: str, new: str) -> None:
        try:
            os.rename(self.on_disk(old), self.on_disk(new))
        except OSError:
            return
        self.happened(old, new)

    @rule(path=PATHS, text=PATHS)
    def link(self, path: str, text: str) -> None:
        try:
            os.symlink(text, self.on_disk(path))
        except OSError:
            return
        self.happened(path)

    @rule(path=PATHS, mode=st.sampled_from([0o644, 0o755]))
    def change_mode(self, path: str, mode: int) -> None:
        if os.path.isfile(target := self.on_disk(path)) and not os.path.islink(target):
            os.chmod(target, mode)
            self.happened(path)

    @rule(chance=st.randoms(use_true_random=False), again=st.booleans())
    def some_events_arrive(self, chance: Random, again: bool) -> None:
        arrived = {path for path in self.late if chance.random() < 0.5}
        self.snapshot.refresh({path for path in arrived if self.snapshot.covers(path, is_dir=False)})
        self.late = [path for path in self.late if again or path not in arrived]

    @rule()
    def events_are_lost(self) -> None:
        self.late = []

    @rule()
    def sweep(self) -> None:
        for _ in range(2):  # a sweep may find an ignore file, and what that reveals or hides is read with it
            self.snapshot.refresh(self.snapshot.differing())
        expected = fresh(self.root)
        assert fingerprints(self.snapshot) == fingerprints(expected)
        assert self.snapshot.tree == expected.tree
        assert set(self.snapshot.folders) == set(expected.folders)

    @invariant()
    def the_id_is_that_of_the_entries(self) -> None:
        if hasattr(self, "snapshot"):
            assert self.snapshot.tree == identity.tree_id(sum(fingerprints(self.snapshot).values()))

    def teardown(self) -> None:
        if hasattr(self, "snapshot"):
            self.sweep()


def test_no_change_is_ever_missed(tmp_path: Path) -> None:
    # watchfiles #348, watchdog #654
    Tree.place = tmp_path / "machine"
    run_state_machine_as_test(
        Tree,
        settings=settings(max_examples=100, stateful_step_count=25, suppress_health_check=list(HealthCheck)),
    )

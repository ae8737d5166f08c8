"""Polling: which folders, why, how often; and the gate on a tree that is polled, as a user runs it."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from running import Start

from hotpipe.config.model import Watch
from hotpipe.tree import identity
from hotpipe.tree.ignore import Ignore
from hotpipe.tree.mounts import Layout, Mount
from hotpipe.tree.poll import Look, Polled, measured
from hotpipe.tree.sweep import Snapshot

WINDOWS = Mount(2, 1, "/mnt/c", "9p", "C:\\", "aname=drvfs;path=C:\\;uid=1000")
NAS = Mount(3, 1, "/p/assets", "nfs4", "nas:/assets", "")
DISK = Mount(1, 0, "/", "ext4", "/dev/sda", "")
SSH = Mount(4, 1, "/p/far", "fuse.sshfs", "host:", "")


def polled(layout: Layout, *folders: str, poll: str = "auto") -> Polled:
    found = Polled(Watch(poll=poll))
    found.survey(layout, set(), folders)
    return found


def test_on_a_deaf_file_system_every_folder_is_polled_and_the_way_out_is_told_once() -> None:
    found = polled(Layout(WINDOWS, {}), "", "a", "b")
    assert set(found.folders()) == {"", "a", "b"}
    (warning,) = found.warnings(3)
    assert warning.code == "watch.polling"
    assert warning.message == "9p at /mnt/c gives no events of what others write: 3 of 3 folders are polled, too"
    assert "Linux file system" in warning.hint
    assert found.warnings(3) == []


def test_only_the_folders_on_the_deaf_mount_are_polled_and_each_mount_is_told() -> None:
    found = polled(Layout(DISK, {"assets": NAS, "far": SSH}), "", "src", "assets", "assets/a", "far")
    assert set(found.folders()) == {"assets", "assets/a", "far"}
    told = {warning.message.partition(" gives")[0]: warning for warning in found.warnings(5)}
    assert told.keys() == {"nfs4 at /p/assets", "fuse.sshfs at /p/far"}
    assert "2 of 5 folders are" in told["nfs4 at /p/assets"].message
    assert "actimeo" in told["nfs4 at /p/assets"].hint
    assert "1 of 5 folders is" in told["fuse.sshfs at /p/far"].message
    assert "never" in told["fuse.sshfs at /p/far"].hint


@pytest.mark.parametrize("poll", ["always", "never"])
def test_mounts_matter_only_where_hotpipe_is_to_choose(poll: str) -> None:
    found = polled(Layout(WINDOWS, {}), "", "a", poll=poll)
    assert not found.folders()
    assert found.warnings(2) == []


def test_folders_that_come_and_go_are_polled_as_long_as_they_are_there() -> None:
    found = polled(Layout(DISK, {"assets": NAS}), "")
    found.enter("assets")
    found.enter("src")
    assert set(found.folders()) == {"assets"}
    found.leave("assets")
    assert not found.folders()


def test_what_is_mounted_or_unmounted_later_counts_from_then_on() -> None:
    found = polled(Layout(DISK, {}), "", "assets")
    assert not found.folders()
    found.survey(Layout(DISK, {"assets": NAS}), set(), ["", "assets"])
    assert set(found.folders()) == {"assets"}
    found.survey(Layout(DISK, {}), set(), ["", "assets"])
    assert not found.folders()


def test_a_folder_without_a_watch_is_polled_until_it_has_one_but_not_under_never() -> None:
    for poll, expected in (("auto", {"a"}), ("always", {"a"}), ("never", set[str]())):
        found = polled(Layout(DISK, {}), poll=poll)
        found.unhear("a")
        assert (set(found.folders()), found.unheard) == (expected, 1)
        found.heard("a")
        assert not found.folders()


def test_a_folder_with_a_mounted_file_in_it_is_polled() -> None:
    found = Polled(Watch())
    found.survey(Layout(DISK, {"app/config.py": SSH}), {"app"}, ["", "app", "app/x"])
    assert set(found.folders()) == {"app"}


def test_the_files_that_changed_last_are_remembered_and_no_more() -> None:
    found = polled(Layout(DISK, {"assets": NAS}), "", "assets")
    found.changed(["src.py", *(f"assets/{n}" for n in range(40)), "assets/30"])
    assert found.recent()[-1] == "assets/30"
    assert len(found.recent()) == 16
    assert "src.py" not in found.recent()


def test_what_a_sweep_finds_in_a_polled_folder_was_polled() -> None:
    found = polled(Layout(DISK, {"assets": NAS}), "", "assets")
    assert (found.cause(["assets/x"]), found.cause(["assets"]), found.cause(["x"])) == ("poll", "poll", "sweep")


@pytest.mark.parametrize(
    "took_s, busy_s, pause_s",
    [(0.001, 0.001, 0.2), (0.03, 0.03, 0.72), (8, 0.1, 8), (300, 4, 60)],
    ids=["small", "ten thousand files", "a slow network", "a huge tree"],
)
def test_a_look_costs_little_of_a_core_and_half_of_the_time_at_most(
    took_s: float, busy_s: float, pause_s: float
) -> None:
    assert Look(took_s, busy_s).pause_s == pytest.approx(pause_s)


def test_a_look_is_measured() -> None:
    found, look = measured(lambda: sum(range(100_000)))
    assert found == 4_999_950_000
    assert look.busy_s > 0
    assert look.took_s > 0


# --- the gate, on a tree that is polled ------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    (root / "src").mkdir(parents=True)
    (root / "src/app.py").write_text("1")
    write_config(root, "always")
    return root


def write_config(root: Path, poll: str, more: str = "") -> None:
    (root / "hotpipe.toml").write_text(f'[watch]\npoll = "{poll}"\n[stage.ok]\nrun = "true"\n{more}')


def save(root: Path) -> None:
    (root / "src/app.py").write_text("saved")


def save_atomically(root: Path) -> None:
    (root / "src/app.py.new~").write_text("replaced")
    os.replace(root / "src/app.py.new~", root / "src/app.py")


def add_folder(root: Path) -> None:
    (root / "new/deep").mkdir(parents=True)
    (root / "new/deep/file.py").write_text("2")


def rename_folder(root: Path) -> None:
    os.rename(root / "src", root / "lib")


def burst(root: Path) -> None:
    for n in range(200):
        (root / f"src/{n}.py").write_text(str(n))


SAVES: dict[str, tuple[Callable[[Path], None], set[str]]] = {
    "a save": (save, {"src/app.py"}),
    "an atomic save": (save_atomically, {"src/app.py"}),
    "a new folder": (add_folder, {"new/deep/file.py"}),
    "a renamed folder": (rename_folder, {"src/app.py", "lib/app.py"}),
    "a burst": (burst, {f"src/{n}.py" for n in range(200)}),
}


@pytest.mark.parametrize("change, paths", SAVES.values(), ids=SAVES.keys())
def test_a_polled_change_is_run_and_so_is_the_one_after_it(
    project: Path, start: Start, change: Callable[[Path], None], paths: set[str]
) -> None:
    running = start(project, "gate")
    running.until("run.finished", status="green")
    change(project)
    seen: set[str] = set()
    while not seen >= paths:
        seen.update(running.until("change.detected", cause="poll")["paths"])
    assert seen == paths
    running.until("run.finished", status="green")
    (project / "later.py").write_text("x")
    running.until("change.detected", cause="poll", paths=["later.py"])
    running.until("run.started", changed=["later.py"])
    running.until("run.finished", status="green")
    assert running.interrupt() == 130
    assert running.of("warning") == []


def inotify_descriptors(pid: int) -> int:
    count = 0
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # closed since it was listed
            count += os.readlink(f"/proc/{pid}/fd/{name}") == "anon_inode:inotify"
    return count


@pytest.mark.parametrize("poll, opened", [("always", 0), ("auto", 2), ("never", 2)])
def test_always_opens_no_inotify_and_the_others_do(project: Path, start: Start, poll: str, opened: int) -> None:
    """One of the tree, one of the configuration."""
    write_config(project, poll)
    running = start(project, "gate")
    running.until("run.finished", status="green")
    assert inotify_descriptors(running.process.pid) == opened


def test_a_changed_configuration_is_noticed_without_events_too(project: Path, start: Start) -> None:
    running = start(project, "gate")
    running.until("run.finished", status="green")
    write_config(project, "always", '[stage.two]\nrun = "true"\n')
    running.until("config.reloaded")
    running.until("stage.finished", stage="two", status="passed")


# --- a look lists no folder whose own stamps stand -------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Snapshot:
    """A tree of which each look has known for some time that no name has come or gone."""
    monkeypatch.setattr(identity, "_COARSE_TICK_NS", 0)  # as if all stamps were older than any tick
    (tmp_path / "a/deep").mkdir(parents=True)
    for path in ("a/one", "a/two", "a/deep/three", "b"):
        (tmp_path / path).write_text("1")
    (tmp_path / "a/.gitignore").write_text(".gitignore\nignored\n")
    snapshot = Snapshot(str(tmp_path), ["."], Ignore(str(tmp_path)))
    snapshot.refresh({""})
    while found := snapshot.differing_in(snapshot.folders):  # as long as stamps are racy
        snapshot.refresh(found)
    assert snapshot.differing_in(snapshot.folders) == set()
    assert set(snapshot._listed) == {"", "a", "a/deep"}
    return snapshot


def swap_for_a_folder(root: Path) -> None:
    (root / "b").unlink()
    (root / "b").mkdir()


CHANGES: dict[str, tuple[Callable[[Path], object], set[str]]] = {
    "nothing": (lambda root: None, set()),
    "a write": (lambda root: (root / "a/one").write_text("2"), {"a/one"}),
    "a new file": (lambda root: (root / "a/new").write_text(""), {"a/new"}),
    "a new folder": (lambda root: (root / "a/new").mkdir(), {"a/new"}),
    "a file less": (lambda root: (root / "a/two").unlink(), {"a/two"}),
    "a folder less": (lambda root: os.rename(root / "a/deep", root / "a/ignored"), {"a/deep", "a/deep/three"}),
    "a file renamed": (lambda root: os.rename(root / "a/one", root / "a/two"), {"a/one", "a/two"}),
    "a mode": (lambda root: (root / "b").chmod(0o755), {"b"}),
    "a folder for a file": (swap_for_a_folder, {"b"}),
    "an ignored file": (lambda root: (root / "a/ignored").write_text(""), set()),
    "an ignore file that ignores itself": (lambda root: (root / "a/.gitignore").write_text("x"), {"a"}),
    "a new ignore file": (lambda root: (root / "a/deep/.gitignore").write_text("x"), {"a/deep"}),
}


@pytest.mark.parametrize("change, found", CHANGES.values(), ids=CHANGES.keys())
def test_a_look_finds_what_differs_all_the_same(
    tree: Snapshot, tmp_path: Path, change: Callable[[Path], object], found: set[str]
) -> None:
    change(tmp_path)
    assert tree.differing_in(tree.folders) == found
    tree.refresh(found)
    while again := tree.differing_in(tree.folders):
        tree.refresh(again)
    assert tree.differing() == set()


def test_stamps_that_are_young_are_not_relied_on(tmp_path: Path) -> None:
    """A name that comes in the same tick leaves no trace in them."""
    (tmp_path / "a").mkdir()
    snapshot = Snapshot(str(tmp_path), ["."], Ignore(str(tmp_path)))
    snapshot.refresh({""})
    snapshot.differing_in(snapshot.folders)
    assert snapshot._listed == {}


def test_a_look_is_given_up_when_it_is_told_so(tree: Snapshot, tmp_path: Path) -> None:
    (tmp_path / "b").write_text("2")
    assert tree.differing_in(tree.folders, lambda: True) == set()
    assert tree.differing_at(["b"], lambda: True) == set()
    assert tree.differing_at(["b", "a/one", "not/there"]) == {"b"}

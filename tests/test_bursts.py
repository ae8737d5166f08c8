"""One change for each burst, on the final tree: branch switches, rebases, stashes, archives, package tools.

A branch switch that runs half a tree: node-sass #1614. Git is real here, and so is the watcher.
"""

import math
import os
import shutil
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from running import Start

from hotpipe.config.model import Watch
from hotpipe.events import AnyEvent, Warned
from hotpipe.tree import git as vcs
from hotpipe.tree.git import Hold
from hotpipe.tree.ignore import Ignore
from hotpipe.tree.inotify import Suspect
from hotpipe.tree.settle import LONGEST_QUIET_S, MOST_GROWING_S, MOST_S, Burst
from hotpipe.tree.sweep import Snapshot
from hotpipe.tree.watcher import Change, Watcher

PATIENCE_S = 60
FILES, FOLDERS = 800, 20
NOBODY = {
    **{f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
    "GIT_EDITOR": "true",
}


def git(folder: Path, *arguments: str, **settings: str) -> str:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    command = ("git", "-c", "protocol.file.allow=always", *arguments)
    done = subprocess.run(
        command, cwd=folder, env={**environment, **NOBODY, **settings}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (arguments, done.stderr)
    return done.stdout


def commit(folder: Path, message: str) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", message)


def fill(folder: Path, content: str, every: int = 1) -> None:
    for n in range(0, FILES, every):
        path = folder / f"src/{n % FOLDERS}/{n}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {content}\n" * 40)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Branches: `main`; `other`, another content of everything; `topic`, twenty commits beside `main`."""
    folder = tmp_path_factory.mktemp("planted") / "repository"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main")
    fill(folder, "base")
    commit(folder, "base")
    git(folder, "switch", "--quiet", "--create", "topic")
    for n in range(20):
        for each in range(5):
            (folder / f"src/{n}/new{each}.py").write_text(f"{n}\n")
        commit(folder, f"topic {n}")
    git(folder, "switch", "--quiet", "--create", "other", "main")
    fill(folder, "other")
    commit(folder, "other")
    git(folder, "switch", "--quiet", "main")
    fill(folder, "main", every=2)
    commit(folder, "main")
    return folder


@pytest.fixture
def repository(planted: Path, tmp_path: Path) -> Path:
    shutil.copytree(planted, tmp_path / "repository", symlinks=True)
    git(tmp_path / "repository", "status")  # the stamps of the copies are new to the index
    return tmp_path / "repository"


def on_disk(root: Path) -> str:
    snapshot = Snapshot(str(root), (".",), Ignore(str(root)))
    snapshot.refresh({""})
    return snapshot.tree


@dataclass
class Watched:
    root: Path
    trees: list[str] = field(default_factory=list)
    changed: list[tuple[str, ...]] = field(default_factory=list)
    events: list[AnyEvent] = field(default_factory=list)
    watcher: Watcher = field(init=False)

    def __post_init__(self) -> None:
        self.watcher = Watcher(str(self.root), Watch(), [], self.hear, self.events.append)

    def hear(self, change: Change) -> None:
        if change.delta.changed:
            self.trees.append(change.tree)
            self.changed.append(change.delta.changed)

    async def reported(self, count: int) -> None:
        """Until so many changes have been."""
        while len(self.trees) < count:  # noqa: ASYNC110 - an event for each would say less
            await anyio.sleep(0.001)

    async def caught_up(self) -> None:
        """Until all that is on disk has been reported."""
        with anyio.fail_after(PATIENCE_S):
            while await self.watcher.confirm() != on_disk(self.root) or not self.watcher.still():
                await anyio.lowlevel.checkpoint()


@asynccontextmanager
async def watching(root: Path) -> AsyncIterator[Watched]:
    watched = Watched(root)
    async with anyio.create_task_group() as tasks:
        await tasks.start(watched.watcher.run)
        yield watched
        tasks.cancel_scope.cancel()


# --- git --------------------------------------------------------------------------------------------------------------


def edit(folder: Path) -> None:
    fill(folder, "edited", every=3)
    (folder / "untracked").write_text("x")


def on_topic(folder: Path) -> None:
    git(folder, "switch", "--quiet", "topic")


def on_topic_and_edited(folder: Path) -> None:
    on_topic(folder)
    (folder / "src/0/new0.py").write_text("edited")


def stashed(folder: Path) -> None:
    edit(folder)
    git(folder, "stash", "--include-untracked")


def behind(folder: Path) -> None:
    git(folder, "clone", "--quiet", "--bare", str(folder), str(folder.parent / "upstream"))
    on_topic(folder)


def nothing(folder: Path) -> None:
    pass


UPSTREAM = ("../upstream", "main")
OPERATIONS: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "switch": (nothing, ("switch", "other")),
    "checkout": (nothing, ("checkout", "topic")),
    "checkout of paths": (nothing, ("checkout", "other", "--", "src")),
    "restore": (nothing, ("restore", "--source=other", ".")),
    "stash": (edit, ("stash", "--include-untracked")),
    "stash pop": (stashed, ("stash", "pop")),
    "reset": (edit, ("reset", "--hard", "other")),
    "merge": (nothing, ("merge", "topic")),
    "merge fast-forward": (nothing, ("merge", "--ff-only", "main")),
    "rebase": (on_topic, ("rebase", "main")),
    "rebase by patches": (on_topic, ("rebase", "--apply", "main")),
    "rebase with a stash": (on_topic_and_edited, ("rebase", "--autostash", "main")),
    "cherry-pick": (nothing, ("cherry-pick", "topic~10..topic")),
    "revert": (on_topic, ("revert", "--no-edit", "HEAD~8..HEAD")),
    "pull --rebase": (behind, ("pull", "--rebase", *UPSTREAM)),
    "pull": (behind, ("pull", "--no-rebase", *UPSTREAM)),
    "commit": (edit, ("commit", "--all", "--message", "x")),
    "status": (edit, ("status",)),
}
STANDS = {"merge fast-forward", "commit", "status"}


@pytest.mark.anyio
@pytest.mark.parametrize("name", OPERATIONS)
async def test_an_operation_of_git_is_one_change_to_the_final_tree(repository: Path, name: str) -> None:
    # node-sass #1614
    prepare, operation = OPERATIONS[name]
    prepare(repository)
    async with watching(repository) as watched:
        before = watched.watcher.tree
        await anyio.to_thread.run_sync(lambda: git(repository, *operation))
        await watched.caught_up()
        assert watched.trees == ([] if name in STANDS else [on_disk(repository)])
        assert (watched.watcher.tree == before) == (name in STANDS)


@pytest.mark.anyio
async def test_each_step_of_a_bisection_is_a_commit(repository: Path) -> None:
    git(repository, "switch", "--quiet", "topic")
    expected = []
    async with watching(repository) as watched:
        for step in (("start", "HEAD", "HEAD~19"), ("good",), ("good",), ("bad",), ("reset",)):
            await anyio.to_thread.run_sync(lambda step=step: git(repository, "bisect", *step))
            await watched.caught_up()
            expected.append(on_disk(repository))
    assert watched.trees == [tree for n, tree in enumerate(expected) if n == 0 or tree != expected[n - 1]]


def below_the_top(repository: Path) -> tuple[Path, Path]:
    return repository, repository / "src/0"


def in_a_linked_work_tree(repository: Path) -> tuple[Path, Path]:
    linked = repository.parent / "linked"
    git(repository, "worktree", "add", "--quiet", str(linked), "topic")
    return linked, linked


def in_a_submodule(repository: Path) -> tuple[Path, Path]:
    top = repository.parent / "top"
    top.mkdir()
    git(top, "init", "--quiet")
    git(top, "submodule", "--quiet", "add", str(repository), "sub")
    git(top / "sub", "branch", "other", "origin/other")
    commit(top, "top")
    return top / "sub", top


@pytest.mark.anyio
@pytest.mark.parametrize("place", [below_the_top, in_a_linked_work_tree, in_a_submodule])
async def test_wherever_the_repository_is(repository: Path, place: Callable[[Path], tuple[Path, Path]]) -> None:
    folder, root = place(repository)
    async with watching(root) as watched:
        await anyio.to_thread.run_sync(lambda: git(folder, "checkout", "--detach", "other"))
        await watched.caught_up()
        assert watched.trees == [on_disk(root)]
    age(folder)
    lock = Path(git(folder, "rev-parse", "--absolute-git-dir").strip(), "index.lock")
    lock.touch()
    places = [str(path.relative_to(root)) for path in root.rglob("*.py")][:2]
    assert Hold(str(root), watched.events.append).left_s(saved(root, *places), 0.0) > 0.0


@pytest.mark.anyio
async def test_nobody_who_looks_meanwhile_has_half_a_tree_reported(repository: Path) -> None:
    async with watching(repository) as watched, anyio.create_task_group() as tasks:

        async def look() -> None:
            while True:
                watched.watcher.still()
                await watched.watcher.confirm()

        tasks.start_soon(look)
        await anyio.to_thread.run_sync(lambda: git(repository, "switch", "other"))
        await watched.caught_up()
        assert watched.trees == [on_disk(repository)]
        tasks.cancel_scope.cancel()


def test_the_gate_runs_once_for_a_branch_switch(repository: Path, start: Start) -> None:
    (repository / "hotpipe.toml").write_text('[stage.a]\nrun = "true"\n')
    (repository / ".git/info/exclude").write_text(".trigger\n.hotpipe/\n")
    gate = start(repository, "gate")
    gate.until("run.finished", status="green")
    git(repository, "switch", "other")
    last = gate.until("run.started", run=2)
    gate.until("run.finished", status="green", run=2)
    gate.interrupt()
    never = (".trigger",)
    snapshot = Snapshot(str(repository), (".",), Ignore(str(repository), never=never))
    snapshot.refresh({""})
    assert last["tree"] == snapshot.tree
    assert len(gate.of("run.started")) == 2


def test_a_run_changes_neither_the_index_nor_the_stash(repository: Path, start: Start) -> None:
    stashed(repository)
    (repository / "hotpipe.toml").write_text('[stage.a]\nrun = "true"\n')
    fill(repository, "edited", every=5)
    for path in (repository / "src/1").iterdir():
        os.utime(path, (1, 1))  # whoever refreshed the index would note this
    index, stash = repository / ".git/index", git(repository, "stash", "list")
    before, stamps = index.read_bytes(), os.stat(index)
    gate = start(repository, "gate")
    gate.until("run.finished", status="green")
    fill(repository, "edited again", every=7)
    gate.until("run.finished", status="green")
    gate.interrupt()
    assert (index.read_bytes(), os.stat(index)) == (before, stamps)
    assert git(repository, "stash", "list") == stash != ""
    assert os.stat(index) == stamps


# --- what must not be held up -----------------------------------------------------------------------------------------


@pytest.fixture
def told() -> list[AnyEvent]:
    return []


@pytest.fixture
def hold(repository: Path, told: list[AnyEvent]) -> Hold:
    return Hold(str(repository), told.append)


def saved(root: Path, *paths: str) -> Burst:
    """The burst that saving these makes, at 0 by its clock."""
    for path in paths:
        (root / path).write_text("saved")
    burst = Burst(0.005)
    burst.add([Suspect(path, is_dir=False, write="whole") for path in paths], 0.0)
    return burst


ONE, TWO = ("src/0/0.py",), ("src/0/0.py", "src/1/1.py")


def age(folder: Path) -> None:
    """As if git had last moved anything a minute ago."""
    for name in ("index", "HEAD", "logs/HEAD", "logs/refs/stash"):
        path = Path(git(folder, "rev-parse", "--absolute-git-dir").strip(), name)
        if path.exists():
            os.utime(path, (path.stat().st_mtime - 60,) * 2)


def test_a_save_in_calm_is_not_held(repository: Path, hold: Hold) -> None:
    age(repository)
    assert hold.left_s(saved(repository, *ONE), 0.0) == 0.0
    assert hold.left_s(saved(repository, *TWO), 0.0) == 0.0


def test_several_files_right_after_git_wait_for_what_it_does_next(repository: Path, hold: Hold) -> None:
    age(repository)
    os.utime(repository / ".git/index")
    assert hold.left_s(saved(repository, *TWO), 0.0) > 0.0


def test_a_save_is_not_held_by_what_git_did_before_it(repository: Path, hold: Hold) -> None:
    git(repository, "commit", "--allow-empty", "--message", "x")
    wait_a_tick(repository)
    assert hold.left_s(saved(repository, *ONE), 0.0) == 0.0


def test_a_status_that_begins_after_the_save_does_not_hold_it(repository: Path, hold: Hold) -> None:
    age(repository)
    save = saved(repository, *ONE)
    wait_a_tick(repository)
    (repository / ".git/index.lock").touch()
    assert hold.left_s(save, 0.0) == 0.0


def test_a_status_that_goes_on_holds_a_save_for_a_moment_only(
    repository: Path, hold: Hold, told: list[AnyEvent]
) -> None:
    age(repository)
    (repository / ".git/index.lock").touch()
    save = saved(repository, *ONE)
    assert hold.left_s(save, 0.0) > 0.0
    assert hold.left_s(save, 0.3) == 0.0
    assert not told


def wait_a_tick(repository: Path) -> None:
    """Until the clock of the file system has moved on."""
    probe = repository / ".git/probe"
    probe.touch()
    first = probe.stat().st_ctime_ns
    while probe.stat().st_ctime_ns == first:
        probe.touch()


def test_a_rebase_that_stopped_for_editing_lets_saves_through_at_once(repository: Path, hold: Hold) -> None:
    on_topic(repository)
    git(repository, "rebase", "--interactive", "main", GIT_SEQUENCE_EDITOR="sed -i 1s/pick/edit/")
    assert (repository / ".git/rebase-merge").is_dir()
    wait_a_tick(repository)
    assert hold.left_s(saved(repository, *ONE), 0.0) == 0.0
    assert hold.left_s(saved(repository, *TWO), 0.0) > 0.0
    age(repository)
    assert hold.left_s(saved(repository, *TWO), 0.0) == 0.0


def test_a_commit_whose_message_is_being_written_holds_nothing(repository: Path, hold: Hold) -> None:
    age(repository)
    fill(repository, "edited", every=9)
    os.mkfifo(repository / ".git/opened")
    os.mkfifo(repository / ".git/written")
    editor = "sh -c 'echo > .git/opened; read line < .git/written; echo message > $0'"
    committing = threading.Thread(target=lambda: git(repository, "commit", "--all", GIT_EDITOR=editor))
    committing.start()
    (repository / ".git/opened").read_text()
    try:
        assert (repository / ".git/index.lock").stat().st_size > 0
        assert hold.left_s(saved(repository, *TWO), 0.0) == 0.0
    finally:
        (repository / ".git/written").write_text("\n")
        committing.join(PATIENCE_S)


@pytest.mark.anyio
async def test_saves_beside_a_git_status_without_end_are_each_reported(repository: Path) -> None:
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            git(repository, "status")

    async with watching(repository) as watched, anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.to_thread.run_sync, ask)
        for n in range(20):
            (repository / "src/0/0.py").write_text(f"{n}")
            with anyio.fail_after(PATIENCE_S):
                await watched.reported(n + 1)
        done.set()
    assert len(watched.trees) == 20


# --- locks that stay --------------------------------------------------------------------------------------------------


def test_a_stale_lock_holds_once_and_is_named(repository: Path, hold: Hold, told: list[AnyEvent]) -> None:
    age(repository)
    lock = repository / ".git/index.lock"
    lock.touch()
    burst = saved(repository, *TWO)
    assert hold.left_s(burst, 0.0) > 0.0
    assert hold.left_s(burst, vcs.PATIENCE_S - 0.1) > 0.0
    assert not told
    assert hold.left_s(burst, vcs.PATIENCE_S) == 0.0
    assert hold.left_s(saved(repository, *TWO), 0.0) == 0.0
    [warning] = told
    assert isinstance(warning, Warned)
    assert warning.code == "watch.locked"
    assert str(lock) in warning.message
    assert warning.hint.endswith(f"rm {lock}")
    lock.rename(lock.with_name("gone"))
    lock.touch()
    assert hold.left_s(saved(repository, *TWO), 0.0) > 0.0


def test_git_that_goes_on_writing_is_waited_for_but_not_for_ever(repository: Path, hold: Hold) -> None:
    age(repository)
    (repository / ".git/index.lock").touch()
    burst = saved(repository, *TWO)
    for second in range(int(vcs.MOST_S)):
        burst.add([Suspect("src/0/0.py", is_dir=False)], float(second))
        assert hold.left_s(burst, second + 0.9) > 0.0
    assert hold.left_s(burst, vcs.MOST_S) == 0.0


@pytest.mark.anyio
async def test_it_starts_when_the_lock_is_gone(repository: Path) -> None:
    """hotpipe is started while a branch switch is going on."""
    lock = repository / ".git/index.lock"
    lock.touch()
    watched = Watched(repository)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watched.watcher.run)
        await anyio.sleep(0.05)  # as long as it likes: it must not look yet
        assert not watched.watcher.snapshot.entries
        (repository / "src/0/0.py").write_text("switched")
        lock.unlink()
        await watched.caught_up()
        assert not watched.trees
        tasks.cancel_scope.cancel()


def test_a_time_stamp_from_the_future_and_a_damaged_git_file_hold_nothing(repository: Path, hold: Hold) -> None:
    age(repository)
    os.utime(repository / ".git/HEAD", (2**32, 2**32))
    (repository / "src/0/.git").write_bytes(b"gitdir: \xff\xfe/nowhere")
    (repository / "src/1/.git").write_bytes(b"")
    (repository / "src/1/.git").chmod(0)
    assert hold.left_s(saved(repository, *TWO), 0.0) == 0.0


def test_outside_of_any_repository_nothing_is_held(tmp_path: Path, told: list[AnyEvent]) -> None:
    (tmp_path / "a").mkdir()
    assert Hold(str(tmp_path), told.append).left_s(saved(tmp_path, "a/b", "c"), 0.0) == 0.0


@pytest.mark.parametrize("writing", [True, False])
def test_mercurial_holds_while_it_writes_the_tree(tmp_path: Path, told: list[AnyEvent], writing: bool) -> None:

    (tmp_path / ".hg").mkdir()
    (tmp_path / ".hg/wlock").symlink_to("machine:123")
    if writing:
        (tmp_path / ".hg/updatestate").touch()
    assert (Hold(str(tmp_path), told.append).left_s(saved(tmp_path, "a", "b"), 0.0) > 0.0) == writing


# --- other bursts -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    for n in range(3000):
        path = folder / f"package/{n % 40}/deep/{n}.js"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{n}\n" * 100)
    subprocess.run(["tar", "cf", "archive.tar", "package"], cwd=folder, check=True)
    return folder / "archive.tar"


def unpack(archive: Path, folder: Path) -> None:
    subprocess.run(["tar", "xf", str(archive)], cwd=folder, check=True)


@pytest.mark.anyio
async def test_an_archive_of_3000_files_is_one_change(tmp_path: Path, archive: Path) -> None:
    async with watching(tmp_path) as watched:
        await anyio.to_thread.run_sync(lambda: unpack(archive, tmp_path))
        await watched.caught_up()
        assert watched.trees == [on_disk(tmp_path)]


@pytest.mark.anyio
async def test_an_archive_over_what_is_there_is_few_changes(tmp_path: Path, archive: Path) -> None:
    """Its first file looks like a save, which is not waited with; on a busy machine those after it may look so, too."""
    unpack(archive, tmp_path)
    for path in tmp_path.rglob("*.js"):
        path.write_text("another")
    async with watching(tmp_path) as watched:
        await anyio.to_thread.run_sync(lambda: unpack(archive, tmp_path))
        await watched.caught_up()
        assert watched.trees[-1] == on_disk(tmp_path)
        assert len(frozenset().union(*watched.changed)) == 3000  # tar removes what it replaces, which may be seen first
        assert len(watched.changed) <= 10


def history(*saves: tuple[float, Suspect]) -> Burst:
    burst = Burst(0.005)
    for at, suspect in saves:
        burst.add([suspect], at)
    return burst


def whole(path: str) -> Suspect:
    return Suspect(path, is_dir=False, write="whole")


def many(count: int, every_s: float) -> Iterator[tuple[float, Suspect]]:
    return ((n * every_s, whole(str(n))) for n in range(count))


BURSTS: dict[str, tuple[Burst, float]] = {
    "one save": (history((0, whole("a"))), 0.0005),
    "one atomic save": (history((0, Suspect("a.new", is_dir=False, write="gone")), (0, whole("a"))), 0.0005),
    "still being written": (history((0, Suspect("a", is_dir=False))), 0.005),
    "four saves": (history(*many(4, 0)), 0.01),
    "a hundred saves": (history(*many(100, 0)), 0.05),
    "a hundred thousand": (history(*many(100_000, 0)), LONGEST_QUIET_S),
    "one of package.json and its lock": (history((0, whole("web/package.json"))), 0.05),
    "a new folder": (history((0, Suspect("a", is_dir=True))), 0.05),
    "a folder removed": (history((0, Suspect("a", is_dir=True, write="gone"))), 0.005),
    "one file without end": (history(*((n / 1000, whole("a")) for n in range(600))), MOST_S + 0.005),
    "files without end": (history(*many(20_000, 0.001)), MOST_GROWING_S),
    "nothing": (Burst(0.005), 0.0),
}


@pytest.mark.parametrize("name", BURSTS)
def test_a_burst_is_over_after_a_silence_that_grows_with_it(name: str) -> None:
    burst, over_at = BURSTS[name]
    now = 0.0 if burst.began == math.inf else burst.began
    assert now + burst.left_s(now) == pytest.approx(over_at)


def test_a_save_right_after_another_is_a_part_of_something() -> None:
    for after, over_at in ((-0.05, 0.02), (-0.2, 0.0005)):
        burst = Burst(0.005, after=after)
        burst.add([whole("a")], 0.0)
        assert burst.left_s(0.0) == pytest.approx(over_at)


def test_no_quiet_time_is_asked_for_where_the_configuration_says_none() -> None:
    burst = Burst(0.0)
    burst.add([whole(str(n)) for n in range(1000)], 1.0)
    assert burst.left_s(1.0) == 0.0

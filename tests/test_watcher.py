"""The watcher with real events: the kernel's own, and those of watchfiles as they are used elsewhere, run on Linux. And
without any, by polling.

Nobody sweeps in these tests unless asked to: what an event, or a look, fails to tell is never found.
"""

import errno
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import anyio
import anyio.lowlevel
import pytest
from msgspec.structs import replace

from hotpipe.config.model import Duration, Watch
from hotpipe.events import AnyEvent, Warned, WatchReady
from hotpipe.tree import mounts
from hotpipe.tree.ignore import Ignore
from hotpipe.tree.inotify import Inotify, Suspect
from hotpipe.tree.portable import Watchfiles
from hotpipe.tree.sweep import Snapshot
from hotpipe.tree.watcher import Change, Source, Watcher

pytestmark = pytest.mark.anyio

PATIENCE_S = 60
TRIGGER = ".trigger"
Open = Callable[[str], Source]


def polled(root: str) -> Source:
    """Stands for none: `watching` sets poll = "always"."""
    pytest.fail("it is to be polled, but opens a source of events")


@pytest.fixture(params=[Inotify, Watchfiles, polled], ids=["inotify", "watchfiles", "poll"])
def source(request: pytest.FixtureRequest) -> Open:
    opened: Open = request.param
    return opened


@pytest.fixture
def root(tmp_path: Path) -> Path:
    plant(tmp_path / "project", {"a/one": "1", "a/deep/two": "2", "b": "3"})
    return tmp_path / "project"


def plant(root: Path, files: dict[str, str]) -> None:
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content)


class Unswept(Watcher):
    sweep_s = 1e6


@dataclass
class Watched:
    """A watched tree, and all that the watcher said about it."""

    root: Path
    watch: Watch
    changes: list[Change] = field(default_factory=list)
    events: list[AnyEvent] = field(default_factory=list)
    opened: list[Source] = field(default_factory=list)
    bell: anyio.Event = field(default_factory=anyio.Event)
    watcher: Watcher = field(init=False)

    def attach(self, source: Open) -> None:
        self.watcher = Unswept(
            str(self.root), self.watch, [TRIGGER], self.changed, self.events.append, source=self.keep(source)
        )

    def keep(self, source: Open) -> Open:
        def opened(root: str) -> Source:
            self.opened.append(source(root))
            return self.opened[-1]

        return opened

    def changed(self, change: Change) -> None:
        self.changes.append(change)
        self.bell.set()
        self.bell = anyio.Event()

    @property
    def paths(self) -> set[str]:
        return {path for change in self.changes for path in (*change.delta.changed, *change.delta.touched)}

    @property
    def causes(self) -> set[str]:
        return {change.cause for change in self.changes}

    @property
    def warnings(self) -> list[Warned]:
        return [event for event in self.events if isinstance(event, Warned)]

    async def until(self, condition: Callable[[], bool]) -> None:
        with anyio.fail_after(PATIENCE_S):
            while not condition():
                with anyio.move_on_after(0.02):  # a refresh that finds nothing rings no bell
                    await self.bell.wait()

    async def caught_up(self) -> None:
        """Until the watcher knows what is on disk."""
        await self.until(lambda: self.watcher.tree == self.on_disk())

    def on_disk(self) -> str:
        snapshot = Snapshot(str(self.root), self.watch.paths, Ignore(str(self.root), never=(TRIGGER,)))
        snapshot.refresh({""})
        return snapshot.tree


@asynccontextmanager
async def watching(root: Path, source: Open, watch: Watch | None = None) -> AsyncIterator[Watched]:
    watch = watch or Watch()
    watched = Watched(root, replace(watch, poll="always") if source is polled else watch)
    watched.attach(source)
    async with anyio.create_task_group() as tasks:
        await tasks.start(watched.watcher.run)
        await anyio.wait_all_tasks_blocked()
        yield watched
        tasks.cancel_scope.cancel()


class Deaf:
    """A source that never says anything."""

    watches = 0

    def __init__(self, root: str) -> None:
        pass

    def watch(self, folder: str) -> None:
        pass

    def unwatch(self, folder: str) -> None:
        pass

    async def wait(self) -> None:
        await anyio.sleep_forever()

    def drain(self) -> tuple[set[Suspect], bool]:
        return set(), False

    def close(self) -> None:
        pass


# --- every change is noticed --------------------------------------------------------------------------------------


def fill(root: Path) -> None:
    plant(root.parent, {"new/deep/file": "5"})
    os.rename(root.parent / "new", root / "new")


def turn_back(root: Path) -> None:
    os.rename(root / "a", root / "c")
    os.rename(root / "c", root / "a")
    plant(root, {"a/deep/two": "turned"})


def recreate(root: Path) -> None:
    shutil.rmtree(root / "a")
    plant(root, {"a/deep/two": "recreated"})


def save_atomically(root: Path) -> None:
    plant(root, {"b.new": "saved"})
    os.replace(root / "b.new", root / "b")


CHANGES: dict[str, Callable[[Path], None]] = {
    "write": lambda root: plant(root, {"a/deep/two": "written"}),
    "create": lambda root: plant(root, {"a/new": "created"}),
    "create deep": lambda root: plant(root, {"x/y/z/new": "created"}),
    "delete": lambda root: (root / "b").unlink(),
    "delete a folder": lambda root: shutil.rmtree(root / "a"),
    "rename": lambda root: os.rename(root / "b", root / "c"),
    "rename a folder": lambda root: os.rename(root / "a", root / "c"),
    "there and back": turn_back,
    "move in": fill,
    "move out": lambda root: os.rename(root / "a", root.parent / "a"),
    "delete and create": recreate,
    "save atomically": save_atomically,
    "make executable": lambda root: (root / "b").chmod(0o755),
    "link": lambda root: (root / "link").symlink_to("b"),
    "not UTF-8": lambda root: plant(root, {"caf\udce9": "1"}),
    "newline": lambda root: plant(root, {"new\nline": "1"}),
    "new rules": lambda root: plant(root, {".gitignore": "deep/\n"}),
    "rules in a new folder": lambda root: plant(root, {"x/.gitignore": "no\n", "x/no": "1", "x/yes": "2"}),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
async def test_a_change_is_noticed_and_so_is_the_one_after_it(
    root: Path, source: Open, change: Callable[[Path], None]
) -> None:
    async with watching(root, source) as watched:
        change(root)
        await watched.caught_up()
        for folder in [path for path in root.rglob("*") if path.is_dir()]:
            plant(folder, {"later": "in every folder"})
        await watched.caught_up()


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_it_works_on_trio_too(root: Path, source: Open) -> None:
    async with watching(root, source) as watched:
        plant(root, {"x/y/new": "1"})
        await watched.caught_up()


async def test_all_forty_files_written_at_once_into_new_folders_are_noticed(root: Path, source: Open) -> None:
    # notify #124, chokidar #1112
    async with watching(root, source) as watched:
        for n in range(40):
            plant(root, {f"new{n}/b/c/file": str(n)})
            await anyio.lowlevel.checkpoint()  # the watcher works meanwhile, now here and now there
        expected = {f"new{n}/b/c/file" for n in range(40)}
        await watched.until(lambda: watched.paths >= expected)


async def test_ignore_files_are_obeyed_as_they_are_edited(root: Path, source: Open) -> None:
    async with watching(root, source) as watched:
        for text in ("deep/\n", "*\n!b\n", "*\n", ""):  # some ignore the ignore file itself
            plant(root, {".gitignore": text})
            await watched.caught_up()
        (root / ".gitignore").unlink()
        await watched.caught_up()


async def test_a_changed_exclude_file_of_git_is_found_when_it_matters(root: Path, source: Open) -> None:
    plant(root, {".git/HEAD": "ref: refs/heads/main\n", ".git/info/exclude": ""})
    async with watching(root, source) as watched:
        plant(root, {".git/info/exclude": "deep/\n"})
        with anyio.fail_after(PATIENCE_S):
            assert await watched.watcher.confirm() == watched.on_disk()
        assert watched.paths == {"a/deep/two"}


async def test_a_renamed_folder_reports_under_its_new_name(root: Path, source: Open) -> None:
    async with watching(root, source) as watched:
        os.rename(root / "a", root / "c")
        await watched.caught_up()
        watched.changes.clear()
        plant(root, {"c/deep/two": "written"})
        await watched.caught_up()
        assert watched.paths == {"c/deep/two"}


@pytest.mark.parametrize("paths", [("b",), ("a/one", "b")])
async def test_a_single_watched_file_is_heard_after_each_atomic_save(
    root: Path, source: Open, paths: tuple[str, ...]
) -> None:
    # watchexec #179 #878
    async with watching(root, source, Watch(paths=paths)) as watched:
        for n in range(4):
            plant(root, {"other": str(n), "b.new": f"saved {n}"})
            os.replace(root / "b.new", root / "b")
            await watched.caught_up()
    assert watched.paths == {"b"}


@pytest.mark.parametrize("path", ["a", "a/deep", "x/y/z", "a/deep/two"])
async def test_what_is_watched_may_come_late_go_and_come_again(root: Path, source: Open, path: str) -> None:
    async with watching(root, source, Watch(paths=(path,))) as watched:
        for n in range(3):
            plant(root, {"x/y/z/file": str(n), "a/deep/two": f"again {n}"})
            await watched.caught_up()
            shutil.rmtree(root / path.partition("/")[0])
            await watched.caught_up()


async def test_the_folder_in_which_it_is_awaited_may_go_and_come_again(root: Path, source: Open) -> None:
    (root / "empty").mkdir()
    async with watching(root, source, Watch(paths=("empty/x",))) as watched:
        (root / "empty").rmdir()
        plant(root, {"empty/x": "1"})
        await watched.caught_up()
        plant(root, {"empty/x": "2"})
        await watched.caught_up()


# --- what is not noticed ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", [Inotify, Watchfiles], indirect=True)
async def test_pruned_folders_take_no_watch(root: Path, source: Open) -> None:
    # watchfiles #288, notify #204, watchexec #377 #643
    plant(root, {"node_modules/x/y": "1", ".git/objects/z": "2", "build/x": "3", ".gitignore": "build/\n"})
    async with watching(root, source) as watched:
        assert watched.opened[0].watches == 3
        ready = [event for event in watched.events if isinstance(event, WatchReady)]
        assert [(event.dirs, event.files) for event in ready] == [(3, 4)]


async def test_noise_neither_reports_nor_delays(root: Path, source: Open) -> None:
    plant(root, {".gitignore": "*.log\n"})
    async with watching(root, source) as watched, anyio.create_task_group() as tasks:

        async def make_noise() -> None:
            while True:
                plant(root, {"noise.log": "x", TRIGGER: "x", "a/noise.log": "x"})
                await anyio.sleep(0.001)

        tasks.start_soon(make_noise)
        plant(root, {"b": "saved"})
        await watched.until(lambda: "b" in watched.paths)
        assert watched.paths == {"b"}
        tasks.cancel_scope.cancel()


async def test_a_burst_of_saves_is_one_change(root: Path) -> None:
    # nodemon #508 #763, watchdog #1123
    async with watching(root, Inotify, Watch(settle=Duration(0.05))) as watched:
        plant(root, {f"a/{n}": "saved" for n in range(20)})
        await watched.caught_up()
        assert [change.delta.changed for change in watched.changes] == [tuple(sorted(f"a/{n}" for n in range(20)))]


async def test_a_save_that_changes_nothing_is_told_apart(root: Path) -> None:
    async with watching(root, Inotify) as watched:
        plant(root, {"b": "3"})
        await watched.until(lambda: watched.paths == {"b"})
        assert [change.delta.changed for change in watched.changes] == [()]


# --- still and confirm --------------------------------------------------------------------------------------------


async def test_still_says_no_from_the_save_until_it_is_reported(root: Path) -> None:
    async with watching(root, Inotify) as watched:
        assert watched.watcher.still()
        plant(root, {"b": "saved"})
        assert not watched.watcher.still()
        await watched.until(lambda: "b" in watched.paths)
        await watched.until(watched.watcher.still)
        plant(root, {"node_modules/x": "ignored", TRIGGER: "1"})
        assert watched.watcher.still()


async def test_confirm_reports_what_no_event_has_told(root: Path) -> None:
    async with watching(root, Deaf) as watched:
        plant(root, {"b": "saved", "x/y": "new"})
        (root / "a/one").unlink()
        with anyio.fail_after(PATIENCE_S):
            assert await watched.watcher.confirm() == watched.on_disk()
        assert [(change.delta.changed, change.cause) for change in watched.changes] == [
            (("a/one", "b", "x/y"), "sweep")
        ]
        assert watched.watcher.still()


class Late(Snapshot):
    """A sweep that has looked, and cannot say so yet."""

    def arm(self) -> None:
        self.looked, self.may_tell = threading.Event(), threading.Event()

    def differing(self, given_up: Callable[[], bool] = lambda: False) -> set[str]:
        found = super().differing(given_up)
        self.looked.set()
        assert self.may_tell.wait(PATIENCE_S)
        return found


async def test_a_save_after_the_sweep_looked_is_not_taken_for_seen(root: Path) -> None:
    """The sweep of `confirm` looks; then two saves are noticed, of which one is being read as the sweep returns."""
    # pre-commit #2473, turborepo #1146, SCons #2701
    async with watching(root, Inotify, Watch(settle=Duration(0))) as watched, anyio.create_task_group() as tasks:
        sweep = watched.watcher.snapshot
        sweep.__class__ = Late
        assert isinstance(sweep, Late)
        sweep.arm()
        tasks.start_soon(watched.watcher.confirm)
        with anyio.fail_after(PATIENCE_S):
            await anyio.to_thread.run_sync(sweep.looked.wait)
        plant(root, {"a/one": "first"})
        await watched.until(lambda: "a/one" in watched.paths)  # `_unseen` is another set from here on
        plant(root, {"a/deep/two": "second"})
        assert not watched.watcher.still()
        sweep.may_tell.set()
        await watched.caught_up()
    assert watched.paths == {"a/one", "a/deep/two"}


@pytest.mark.parametrize("seed", range(3))
async def test_after_confirm_a_still_tree_is_what_is_on_disk(root: Path, seed: int) -> None:
    chance = Random(seed)
    plant(root, {f"many/{n % 10}/{n}": "0" for n in range(300)})
    async with watching(root, Inotify, Watch(settle=Duration(0.001))) as watched, anyio.create_task_group() as tasks:

        async def edit() -> None:
            for n in range(10**9):
                plant(root, {f"many/{chance.randrange(12)}/{chance.randrange(300)}": str(n)})
                if chance.random() < 0.1:
                    shutil.rmtree(root / f"many/{chance.randrange(12)}", ignore_errors=True)
                await anyio.sleep(chance.choice([0, 0, 0.001, 0.003, 0.02]))

        tasks.start_soon(edit)
        quiet = 0
        with anyio.fail_after(PATIENCE_S):
            while quiet < 15:
                await watched.watcher.confirm()
                if watched.watcher.still():  # from here on nothing waits, so nobody edits
                    assert watched.watcher.tree == watched.on_disk()
                    quiet += 1
        tasks.cancel_scope.cancel()


# --- where the kernel gives up ------------------------------------------------------------------------------------


class Counting(Inotify):
    """Counts how often the kernel's queue ran over."""

    overflows = 0

    def drain(self) -> tuple[set[Suspect], bool]:
        suspects, lost = super().drain()
        self.overflows += lost
        return suspects, lost


async def test_a_queue_that_runs_over_loses_nothing(root: Path) -> None:
    # watchfiles #348, watchdog #654
    async with watching(root, Counting) as watched:
        plant(root, {f"a/{n}": "" for n in range(20_000)})  # nobody drains: this does not wait
        plant(root, {"b": "edited last"})
        shutil.rmtree(root / "a/deep")
        plant(root, {"a/deep/two": "in a folder that is new, and nobody was told"})
        await watched.until(lambda: {"b", "a/deep/two", "a/19999"} <= watched.paths)
        await watched.until(watched.watcher.still)
        assert watched.watcher.tree == watched.on_disk()
        watched.changes.clear()
        plant(root, {"a/deep/two": "heard again"})
        await watched.until(lambda: watched.paths == {"a/deep/two"})
        assert getattr(watched.opened[0], "overflows", 0) > 0


class Limited(Inotify):
    """Two watches and no more."""

    def watch(self, folder: str) -> None:
        if self.watches >= 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        super().watch(folder)


def exhausted(root: str) -> Source:
    raise OSError(errno.EMFILE, "Too many open files")


@pytest.mark.parametrize(
    "source, code, sysctl",
    [
        (Limited, "watch.limit", "fs.inotify.max_user_watches="),
        (exhausted, "watch.polling", "fs.inotify.max_user_instances="),
    ],
    ids=["watches", "instances"],
)
async def test_where_no_watches_are_left_it_says_so_and_polls(root: Path, source: Open, code: str, sysctl: str) -> None:
    # watchfiles #207, watchdog #673, tilt #2079
    plant(root, {f"{n}/file": "" for n in range(5)})
    async with watching(root, source) as watched:
        assert [warning.code for warning in watched.warnings] == [code]
        assert sysctl in watched.warnings[0].hint
        for text in ("edited", "and again"):
            plant(root, {f"{n}/file": text for n in range(5)})
            await watched.caught_up()
        assert len(watched.warnings) == 1
    assert "poll" in watched.causes


@pytest.mark.parametrize("source", [Limited, exhausted], ids=["watches", "instances"])
async def test_under_never_nothing_is_polled_and_the_warning_says_so(root: Path, source: Open) -> None:
    plant(root, {f"{n}/file": "" for n in range(5)})
    async with watching(root, source, Watch(poll="never")) as watched:
        assert "nothing is polled" in watched.warnings[0].message
        plant(root, {"4/file": "edited"})
        await anyio.sleep(1)  # five looks' time
        assert watched.changes == []
        with anyio.fail_after(PATIENCE_S):
            assert await watched.watcher.confirm() == watched.on_disk()
    assert watched.causes == {"sweep"}


def mount(monkeypatch: pytest.MonkeyPatch, root: Path, **kinds: str) -> None:
    """Have the mount table say so."""
    table = root.parent / "mountinfo"
    lines = (f"{n} 1 0:{n} / {root}/{path} rw - {kind} src rw\n" for n, (path, kind) in enumerate(kinds.items(), 2))
    table.write_text("1 0 8:1 / / rw - ext4 /dev/sda rw\n" + "".join(lines))
    monkeypatch.setattr(mounts, "_TABLE", str(table))


async def test_a_folder_on_a_file_system_without_events_is_polled_and_no_other(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # watchfiles #169
    mount(monkeypatch, root, a="9p")
    async with watching(root, Deaf) as watched:
        assert [warning.code for warning in watched.warnings] == ["watch.polling"]
        assert watched.warnings[0].message.startswith(f"9p at {root}/a gives no events")
        for n in range(3):
            plant(root, {"b": "in a folder that is heard", "a/deep/two": str(n), f"a/x{n}/y": "in a new folder"})
            await watched.until(lambda n=n: f"a/x{n}/y" in watched.paths)
        await watched.until(lambda: "a/deep/two" in watched.paths)
        assert "b" not in watched.paths
    assert watched.causes == {"poll"}
    assert len(watched.warnings) == 1


async def test_events_count_where_it_polls_too(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NFS says what this machine writes."""
    mount(monkeypatch, root, a="nfs4")
    async with watching(root, Inotify) as watched:
        assert watched.opened[0].watches == 3
        for n in range(5):
            plant(root, {"a/one": str(n)})
            await watched.caught_up()
    assert "event" in watched.causes


async def test_what_is_mounted_while_it_watches_is_polled_from_then_on(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hotpipe.tree.watcher.SURVEY_S", 0.01)
    mount(monkeypatch, root)
    async with watching(root, Deaf) as watched:
        assert watched.warnings == []
        mount(monkeypatch, root, a="cifs")
        await watched.until(lambda: bool(watched.warnings))
        plant(root, {"a/one": "edited"})
        await watched.caught_up()


IN_NAMESPACE = """
import sys, anyio
from pathlib import Path
from hotpipe.config.model import Watch
from hotpipe.tree.watcher import Watcher
root = Path(sys.argv[1])
async def main():
    changed = anyio.Event()
    emit = lambda event: print(getattr(event, "code", "ready"), flush=True)
    watcher = Watcher(str(root), Watch(), [], lambda change: (print(*change.delta.changed), changed.set()), emit)
    async with anyio.create_task_group() as tasks:
        await tasks.start(watcher.run)
        for folder in sorted(root.iterdir()):
            (folder / "file").write_text("edited")
            await changed.wait()
            changed = anyio.Event()
        tasks.cancel_scope.cancel()
anyio.run(main)
"""


@pytest.mark.parametrize(
    "limit, said",
    [("max_inotify_watches", ["ready", "watch.limit"]), ("max_inotify_instances", ["watch.polling", "ready"])],
)
def test_it_polls_at_the_kernels_own_limits(tmp_path: Path, limit: str, said: list[str]) -> None:
    # A user namespace has limits of its own: nobody else's watches are touched.
    plant(tmp_path / "root", {f"{n}/file": "" for n in range(2)})
    enter = (
        "unshare",
        "-Ur",
        "sh",
        "-c",
        f'echo {2 if "watches" in limit else 0} >/proc/sys/user/{limit} && exec "$@"',
        "sh",
    )
    if subprocess.run([*enter, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs user namespaces, to lower the limit for the test alone")
    asked = subprocess.run(
        [*enter, sys.executable, "-c", IN_NAMESPACE, str(tmp_path / "root")],
        capture_output=True, text=True, timeout=PATIENCE_S, check=True,
    )  # fmt: skip
    assert asked.stdout.splitlines() == [*said, *(f"{n}/file" for n in range(2))]


# --- nothing is left behind ---------------------------------------------------------------------------------------


def kernel_watches() -> int:
    """inotify(7) watches of this process, as /proc has them."""
    count = 0
    for name in os.listdir("/proc/self/fdinfo"):
        try:
            count += Path("/proc/self/fdinfo", name).read_text().count("inotify wd:")
        except FileNotFoundError:  # that of the listing itself
            continue
    return count


async def test_watches_are_given_back_however_often_folders_come_and_go(root: Path) -> None:
    async with watching(root, Inotify) as watched:
        before = kernel_watches()
        for n in range(60):
            plant(root, {"x/y/file": str(n)})
            if n % 3 == 0:
                os.rename(root / "x", root / "z")
            elif n % 3 == 1:
                await watched.until(lambda: "x/y" in watched.watcher.snapshot.folders)
            for name in ("x", "z"):
                shutil.rmtree(root / name, ignore_errors=True)
            await watched.until(watched.watcher.still)
        await watched.caught_up()
        with anyio.fail_after(PATIENCE_S):
            await watched.watcher.confirm()
        source = watched.opened[0]
        assert isinstance(source, Inotify)
        assert kernel_watches() == before == source.watches == len(source._folders) == 3
        assert set(watched.watcher.snapshot.folders) == {"", "a", "a/deep"}
        assert set(watched.watcher.snapshot._obeyed) == {"", "a", "a/deep"}


async def test_a_folder_that_is_moved_away_and_back_is_told_to_have_been_touched(root: Path) -> None:
    """Its files' stamps say nothing of it, but a stage may have missed them for that moment."""
    plant(root, {"a/deep/one": "1"})
    async with watching(root, Inotify) as watched:
        os.rename(root / "a", root / "elsewhere")
        os.rename(root / "elsewhere", root / "a")
        await watched.until(lambda: bool(watched.changes))
        assert [(change.delta.changed, change.delta.touched) for change in watched.changes] == [((), ("a",))]


def replace_by_another(root: Path) -> None:
    os.rename(root / "a", root.parent / "a")
    plant(root, {"a/deep/two": "of another"})


LEAVINGS: dict[str, tuple[Callable[[Path], None], int]] = {
    "moved out": (lambda root: os.rename(root / "a", root.parent / "a"), 2),
    "replaced by another": (replace_by_another, 0),
    "renamed": (lambda root: os.rename(root / "a", root / "0"), 0),
    "ignored": (lambda root: plant(root, {".gitignore": "deep/\n"}), 1),
    "deleted": (lambda root: shutil.rmtree(root / "a"), 2),
}


@pytest.mark.parametrize("leave, given_back", LEAVINGS.values(), ids=LEAVINGS.keys())
async def test_a_folder_that_leaves_gives_its_watch_back(
    root: Path, leave: Callable[[Path], None], given_back: int
) -> None:
    async with watching(root, Inotify) as watched:
        before = kernel_watches()
        leave(root)
        await watched.caught_up()
        assert kernel_watches() == before - given_back


async def test_the_end_of_the_watch_leaves_nothing_open(root: Path, source: Open) -> None:
    async with watching(root, Deaf):  # what the loop opens for itself stays open
        pass
    descriptors = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        async with watching(root, source) as watched:
            plant(root, {"x/y": "1"})
            await watched.caught_up()
            shutil.rmtree(root / "x")
    await watched.until(lambda: len(os.listdir("/proc/self/fd")) <= descriptors)  # notify's own thread takes a moment
    assert "watchfiles" not in {thread.name for thread in threading.enumerate()}

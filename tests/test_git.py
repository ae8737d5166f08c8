"""What git says has changed, and what is in its index, of real repositories that stay as they are."""

import fcntl
import os
import shutil
import signal
import stat
from pathlib import Path

import pytest
from repository import Repository

from hotpipe import git
from hotpipe.errors import HotpipeError, UsageError
from hotpipe.git import Repository as Asked
from hotpipe.staged import staged

STRANGE = ("a b", "-rf", "q\"uo'te", "new\nline", "tab\t", "*?[x]", os.fsdecode(b"\xff\xfe"), "ä")

pytestmark = pytest.mark.usefixtures("temporary")


def since(repository: Repository, rev: str, root: str = ".") -> tuple[str, ...]:
    return Asked.of(str(repository.path / root)).changed_since(rev)


def content(folder: str) -> dict[str, str]:
    files = (file for file in Path(folder).rglob("*") if file.is_file() and not file.is_symlink())
    return {str(file.relative_to(folder)): file.read_text("latin-1") for file in files}


class TestChangedSince:
    def test_committed_staged_unstaged_deleted_and_untracked_paths_count(self, repository: Repository) -> None:
        base = repository.commit(dict.fromkeys(("same", "committed", "staged", "unstaged", "deleted", "gone"), "x"))
        repository.git("rm", "-q", "gone")
        repository.commit({"committed": "y", ".gitignore": "ignored\n"})
        repository.write({"staged": "y", "new": "y"})
        repository.git("add", "-A")
        repository.write({"unstaged": "y", "untracked/deep": "y", "ignored": "y"})
        (repository.path / "deleted").unlink()
        expected = {".gitignore", "committed", "staged", "unstaged", "deleted", "gone", "new", "untracked/deep"}
        assert set(since(repository, base)) == expected
        assert since(repository, "HEAD") == ("deleted", "new", "staged", "unstaged", "untracked/deep")

    def test_what_others_did_on_that_branch_meanwhile_does_not_count(self, repository: Repository) -> None:
        repository.commit({"theirs": "x", "mine": "x"})
        repository.git("checkout", "-q", "-b", "branch")
        repository.commit({"mine": "y"})
        repository.git("checkout", "-q", "main")
        repository.commit({"theirs": "y"})
        repository.git("checkout", "-q", "branch")
        assert since(repository, "main") == ("mine",)

    def test_histories_that_never_parted_are_compared_as_they_are(self, repository: Repository) -> None:
        repository.commit({"same": "x", "differs": "x"})
        repository.git("checkout", "-q", "--orphan", "other")
        assert since(repository, "main") == ()
        repository.commit({"differs": "y"})
        assert since(repository, "main") == ("differs",)

    def test_names_are_taken_as_they_are(self, repository: Repository) -> None:
        repository.commit(dict.fromkeys(STRANGE, "x"))
        repository.write(dict.fromkeys(STRANGE, "y") | {"un\ntracked": "y"})
        assert set(since(repository, "HEAD")) == {*STRANGE, "un\ntracked"}

    def test_only_what_is_below_the_root_relative_to_it(self, repository: Repository) -> None:
        repository.commit({"top": "x", "sub/in": "x", "subway": "x"})
        repository.write({"top": "y", "sub/in": "y", "subway": "y", "new": "y", "sub/new": "y"})
        assert since(repository, "HEAD", "sub") == ("in", "new")

    def test_a_rename_is_two_paths_whatever_the_settings(self, repository: Repository) -> None:
        repository.commit({"old": "many\nlines\nof\ntext\n"})
        repository.git("config", "diff.renames", "copies")
        repository.git("config", "diff.external", "false")
        repository.git("mv", "old", "new")
        assert since(repository, "HEAD") == ("new", "old")

    def test_what_was_only_touched_is_no_change_and_the_index_is_not_refreshed(self, repository: Repository) -> None:
        repository.commit({"file": "x"})
        os.utime(repository.path / "file", (1, 1))
        before = repository.kept()
        assert since(repository, "HEAD") == ()
        assert repository.kept() == before

    def test_a_link_a_mode_and_what_is_announced_count(self, repository: Repository) -> None:
        repository.commit({"mode": "x", "link": "x"})
        (repository.path / "mode").chmod(0o755)
        (repository.path / "link").unlink()
        (repository.path / "link").symlink_to("mode")
        repository.write({"announced": ""})
        repository.git("add", "-N", "announced")
        assert since(repository, "HEAD") == ("announced", "link", "mode")

    def test_an_unresolved_merge_is_a_change(self, conflict: Repository) -> None:
        assert since(conflict, "HEAD") == ("file",)

    @pytest.mark.parametrize("rev", ["gone", "", "-x", "--all", "main..main", "HEAD^{tree}:", "a b", "^main"])
    def test_an_unknown_revision_is_told(self, repository: Repository, rev: str) -> None:
        repository.commit({"file": "x"})
        with pytest.raises(UsageError, match="git knows no revision") as raised:
            since(repository, rev)
        assert "fetch --unshallow" in raised.value.hint

    def test_before_the_first_commit_there_is_no_revision(self, repository: Repository) -> None:
        with pytest.raises(UsageError, match="git knows no revision 'HEAD'"):
            since(repository, "HEAD")


@pytest.fixture
def conflict(repository: Repository) -> Repository:
    repository.commit({"file": "x"})
    repository.git("checkout", "-q", "-b", "other")
    repository.commit({"file": "y"})
    repository.git("checkout", "-q", "main")
    repository.commit({"file": "z"})
    assert repository.attempt("merge", "other").returncode
    return repository


class TestWithoutGit:
    def test_no_program(self, repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "/nowhere")
        with pytest.raises(UsageError, match="there is no program `git`") as raised:
            Asked.of(str(repository.path))
        assert raised.value.hint == "install git"

    def test_no_repository(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="is in no git work tree") as raised:
            Asked.of(str(tmp_path))
        assert "not a git repository" in raised.value.hint

    def test_a_bare_one_has_no_work_tree(self, repository: Repository, tmp_path: Path) -> None:
        repository.git("clone", "-q", "--bare", ".", str(tmp_path / "bare"))
        with pytest.raises(UsageError, match="is in no git work tree"):
            Asked.of(str(tmp_path / "bare"))

    def test_one_that_is_meant_for_elsewhere(
        self, repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("GIT_DIR", str(repository.path / ".git"))
        monkeypatch.setenv("GIT_WORK_TREE", str(repository.path))
        with pytest.raises(UsageError, match="is not in the git work tree"):
            Asked.of(str(tmp_path))

    def test_what_git_says_is_passed_on(self, repository: Repository) -> None:
        repository.commit({"file": "x"})
        (repository.path / ".git/index").write_bytes(b"no index at all, but long enough to be read as one")
        with pytest.raises(HotpipeError, match="git diff-index failed") as raised:
            Asked.of(str(repository.path)).staged()
        assert "index" in raised.value.hint


class TestStaged:
    def test_is_what_the_next_commit_will_hold(self, repository: Repository) -> None:
        repository.commit({"kept": "x", "gone": "x", "changed": "x", "both": "x"})
        repository.write({"changed": "staged", "both": "staged", "added/deep": "staged", **dict.fromkeys(STRANGE, "s")})
        repository.git("rm", "-q", "gone")
        repository.git("add", "-A")
        repository.write({"both": "unstaged", "kept": "unstaged", "untracked": "x"})
        before, tree = repository.kept(), content(str(repository.path))
        with staged(str(repository.path)) as copy:
            changed = {"changed": "staged", "both": "staged", "added/deep": "staged", **dict.fromkeys(STRANGE, "s")}
            assert content(copy.root) == {"kept": "x", **changed}
            assert set(copy.changed) == {"gone", *changed}
        assert repository.kept() == before
        assert content(str(repository.path)) == tree

    def test_is_gone_in_the_end_and_nobody_elses_business(self, repository: Repository, temporary: Path) -> None:
        with staged(str(repository.path)) as copy:
            assert stat.S_IMODE(os.stat(copy.top).st_mode) == 0o700
            assert Path(copy.top).parent == temporary
        assert list(temporary.iterdir()) == []

    def test_before_the_first_commit(self, repository: Repository) -> None:
        repository.write({"file": "x"})
        repository.git("add", "file")
        with staged(str(repository.path)) as copy:
            assert (content(copy.root), copy.changed) == ({"file": "x"}, ("file",))

    def test_below_the_top_the_rest_is_there_and_does_not_count(self, repository: Repository) -> None:
        repository.write({"sub/file": "x", "shared": "x"})
        repository.git("add", "-A")
        with staged(str(repository.path / "sub")) as copy:
            assert (content(copy.root), copy.changed) == ({"file": "x"}, ("file",))
            assert (Path(copy.root) / "../shared").read_text() == "x"

    def test_in_a_linked_work_tree(self, repository: Repository, tmp_path: Path) -> None:
        repository.commit({"file": "x"})
        repository.git("worktree", "add", "-q", str(tmp_path / "linked"))
        linked = Repository(tmp_path / "linked", new=False)
        linked.write({"file": "y"})
        linked.git("add", "file")
        with staged(str(linked.path)) as copy:
            assert (content(copy.root), copy.changed) == ({"file": "y"}, ("file",))
        with staged(str(repository.path)) as copy:
            assert (content(copy.root), copy.changed) == ({"file": "x"}, ())

    def test_links_and_modes_are_there(self, repository: Repository) -> None:
        repository.write({"run": "x"})
        (repository.path / "run").chmod(0o755)
        (repository.path / "link").symlink_to("run")
        (repository.path / "dangling").symlink_to("/nowhere/at all")
        repository.git("add", "-A")
        with staged(str(repository.path)) as copy:
            assert os.access(f"{copy.root}/run", os.X_OK)
            assert (os.readlink(f"{copy.root}/link"), os.readlink(f"{copy.root}/dangling")) == (
                "run",
                "/nowhere/at all",
            )

    def test_filters_apply_as_the_attributes_in_the_index_say(self, repository: Repository) -> None:
        repository.git("config", "filter.loud.smudge", "tr a-z A-Z")
        repository.git("config", "filter.loud.clean", "tr A-Z a-z")
        repository.write({"file": "text\n", ".gitattributes": "file filter=loud\n"})
        repository.git("add", "-A")
        repository.write({".gitattributes": ""})
        with staged(str(repository.path)) as copy:
            assert (Path(copy.root) / "file").read_text() == "TEXT\n"

    def test_what_is_only_announced_is_left_out(self, repository: Repository) -> None:
        repository.commit({"file": "x"})
        repository.write({"announced": "x"})
        repository.git("add", "-N", "announced")
        with staged(str(repository.path)) as copy:
            assert (content(copy.root), copy.changed) == ({"file": "x"}, ())

    def test_of_a_submodule_there_is_an_empty_folder(self, repository: Repository, tmp_path: Path) -> None:
        Repository(tmp_path / "other").commit({"inner": "x"})
        repository.git(
            "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(tmp_path / "other"), "sub"
        )
        with staged(str(repository.path)) as copy:
            assert sorted(os.listdir(copy.root)) == [".gitmodules", "sub"]
            assert os.listdir(f"{copy.root}/sub") == []
            assert copy.changed == (".gitmodules", "sub")

    def test_an_unresolved_merge_cannot_be_checked(self, conflict: Repository, temporary: Path) -> None:
        with pytest.raises(UsageError, match=r"the index has unmerged files: file$"), staged(str(conflict.path)):
            pass
        assert list(temporary.iterdir()) == []

    def test_the_index_that_git_hands_to_its_hook_counts(
        self, repository: Repository, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        repository.commit({"file": "x"})
        repository.write({"file": "y"})
        shutil.copy(repository.path / ".git/index", repository.path / ".git/other")
        monkeypatch.setenv("GIT_INDEX_FILE", ".git/other")  # relative to the top, as git(1) takes it
        monkeypatch.setenv("GIT_DIR", ".git")
        monkeypatch.chdir(repository.path)
        repository.git("add", "file")
        with staged(str(repository.path)) as copy:
            assert (content(copy.root), copy.changed) == ({"file": "y"}, ("file",))

    def test_a_full_disk_is_told_and_leaves_nothing(
        self, repository: Repository, temporary: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        repository.git("config", "filter.full.smudge", "echo no space left >&2; false")
        repository.git("config", "filter.full.required", "true")
        repository.write({"file": "x", ".gitattributes": "file filter=full\n"})
        repository.git("-c", "filter.full.clean=cat", "add", "-A")
        with pytest.raises(HotpipeError, match="git checkout-index failed") as raised, staged(str(repository.path)):
            pass
        assert "no space left" in raised.value.hint
        assert list(temporary.iterdir()) == []

    def test_no_place_for_a_copy(self, repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*arguments: object, **more: object) -> str:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("tempfile.mkdtemp", full)
        with pytest.raises(HotpipeError, match="No space left on device") as raised, staged(str(repository.path)):
            pass
        assert "TMPDIR" in raised.value.hint


class TestIgnored:
    """What git ignores is linked, because tools need it; what they write is not."""

    IGNORED = (
        ".venv\nnode_modules/\n*.env\n*.pyc\n__pycache__/\n.mypy_cache/\n.some_cache/\ntarget/\n.hotpipe/\ngen.py\n"
    )

    def test_installed_and_generated_things_are_linked_but_no_caches_and_outputs(self, repository: Repository) -> None:
        repository.commit({".gitignore": self.IGNORED, "src/a.py": "x"})
        linked = {".venv/bin/tool", "node_modules/x/i.js", "sub/node_modules/y/i.js", ".env", "src/gen.py", "new\n.env"}
        left_out = {"src/__pycache__/a.pyc", "b.pyc", ".mypy_cache/x", ".some_cache/x", "target/x", ".hotpipe/lock"}
        repository.write(dict.fromkeys([*linked, *left_out, "untracked"], "x"))
        with staged(str(repository.path)) as copy:
            for path in linked:
                assert (Path(copy.root) / path).read_text() == "x"
            for path in (*left_out, "untracked"):
                assert not os.path.lexists(f"{copy.root}/{path}")
            assert os.readlink(f"{copy.root}/.venv") == str(repository.path / ".venv")
        for path in (*linked, *left_out):
            assert (repository.path / path).read_text() == "x"

    def test_nothing_is_written_through_a_link_that_is_staged(self, repository: Repository, tmp_path: Path) -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        (repository.path / "data").symlink_to(outside)
        repository.commit({".gitignore": "*.env\n", "file": "x"})
        (repository.path / "data").unlink()
        (repository.path / "file").unlink()
        repository.write({"data/secret.env": "x", "file/secret.env": "x"})
        with staged(str(repository.path)) as copy:
            assert sorted(os.listdir(copy.root)) == [".gitignore", "data", "file"]
        assert os.listdir(outside) == []

    def test_python_looks_into_the_copy_for_what_is_installed_editable(
        self, repository: Repository, tmp_path: Path
    ) -> None:
        packages = ".venv/lib/python3.11/site-packages"
        finder = f"MAPPING = {{'flat': '{repository.path}/flat', 'x': '{tmp_path}/elsewhere/x'}}\n"
        repository.commit({".gitignore": ".venv/\n", "src/pkg/__init__.py": "", "flat/__init__.py": ""})
        repository.write(
            {
                ".venv/pyvenv.cfg": "",
                f"{packages}/one.pth": f"import os; x = 1\n{repository.path}/src\n{tmp_path}\n{repository.path}/gone\n",
                f"{packages}/__editable___flat_1_0_finder.py": finder,
            }
        )
        with staged(str(repository.path)) as copy:
            assert set(copy.python_path) == {f"{copy.top}/src", copy.top}


class TestLeftOvers:
    def test_the_copy_of_one_that_was_killed_goes_and_that_of_a_living_one_stays(
        self, repository: Repository, temporary: Path
    ) -> None:
        precious = temporary / "precious"
        precious.mkdir()
        dead, link = temporary / "hotpipe-staged-dead", temporary / "hotpipe-staged-link"
        (dead / "sub").mkdir(parents=True)
        (dead / "sub/link").symlink_to(precious)
        (temporary / "hotpipe-staged-file").write_text("x")
        link.symlink_to(precious)
        (precious / "file").write_text("x")
        repository.commit({"file": "x"})
        with staged(str(repository.path)) as first, staged(str(repository.path)) as second:
            assert not dead.exists()
            assert content(first.root) == content(second.root) == {"file": "x"}
        assert {entry.name for entry in temporary.iterdir()} == {"precious", link.name, "hotpipe-staged-file"}
        assert (precious / "file").read_text() == "x"

    def test_a_copy_that_vanishes_before_it_is_locked_is_made_again(
        self, repository: Repository, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        taken: list[str] = []

        def lock(descriptor: int, how: int) -> None:
            if not taken:
                taken.append(os.readlink(f"/proc/self/fd/{descriptor}"))
                os.rmdir(taken[0])

        monkeypatch.setattr(fcntl, "flock", lock)
        with staged(str(repository.path)) as copy:
            assert os.path.isdir(copy.top)
            assert copy.top not in taken

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_signals_end_it_in_order_and_mean_afterwards_what_they_meant(
        self, repository: Repository, temporary: Path, number: int
    ) -> None:
        before = signal.getsignal(number)
        with pytest.raises(KeyboardInterrupt), staged(str(repository.path)):
            os.kill(os.getpid(), number)
        assert list(temporary.iterdir()) == []
        assert signal.getsignal(number) == before


class TestForgetting:
    def test_is_what_git_calls_local(self, repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
        local = repository.git("rev-parse", "--local-env-vars").split()
        for name in (*local, "GIT_SSL_CAINFO"):
            monkeypatch.setenv(name, "x")
        git.forget()
        assert [name for name in os.environ if name in local] == []
        assert os.environ["GIT_SSL_CAINFO"] == "x"

    def test_git_is_the_caller_of_its_hooks(self, repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
        assert not git.is_calling()
        monkeypatch.setenv("GIT_PREFIX", "")
        assert git.is_calling()

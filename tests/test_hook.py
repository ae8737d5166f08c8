"""`hotpipe hook`: real commits and pushes through the hook."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from repository import Repository
from running import BIN

STAGE = '[stage.one]\nrun = "%s"\n'
GOOD = STAGE % "! grep -r bad --include=*.txt ."

pytestmark = pytest.mark.usefixtures("temporary", "found")


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """hotpipe is in PATH, and colours are nobody's."""
    monkeypatch.setenv("PATH", f"{BIN}:{os.environ['PATH']}")
    monkeypatch.setenv("NO_COLOR", "1")


def hook(repository: Repository, *arguments: str, code: int = 0, cwd: str = ".") -> str:
    done = subprocess.run(
        [BIN / "hotpipe", "hook", *arguments],
        cwd=repository.path / cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


def script(path: Path, text: str, mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(mode)
    return path


@pytest.fixture
def guarded(repository: Repository) -> Repository:
    """With the hook, and a stage that takes nothing bad."""
    repository.commit({"hotpipe.toml": GOOD, "file.txt": "x"})
    hook(repository, "install")
    return repository


def subject(repository: Repository) -> str:
    return repository.git("log", "-1", "--format=%s").strip()


class TestCommit:
    def test_red_is_blocked_and_green_is_allowed(self, guarded: Repository) -> None:
        guarded.write({"file.txt": "bad"})
        guarded.git("add", "-A")
        done = guarded.attempt("commit", "-m", "a bad one")
        assert (done.returncode, subject(guarded)) == (1, "x")
        assert "✗ red: one failed" in done.stdout + done.stderr
        guarded.write({"file.txt": "good"})
        guarded.git("commit", "-q", "-a", "-m", "a good one")
        assert subject(guarded) == "a good one"

    def test_what_is_committed_is_what_is_checked(self, guarded: Repository) -> None:
        guarded.write({"file.txt": "good", "other.txt": "x", "third.txt": "x"})
        guarded.git("add", "-A")
        guarded.write({"file.txt": "bad"})
        guarded.git("commit", "-q", "-m", "as staged")
        assert guarded.attempt("commit", "-q", "-a", "-m", "all").returncode == 1
        assert guarded.attempt("commit", "-q", "file.txt", "-m", "one file").returncode == 1
        guarded.write({"other.txt": "good"})
        guarded.git("commit", "-q", "other.txt", "-m", "the other")
        assert subject(guarded) == "the other"
        assert (guarded.path / "file.txt").read_text() == "bad"

    def test_an_edit_before_and_during_the_run_survives(self, guarded: Repository) -> None:
        """pre-commit #2473: what was edited while hooks ran was lost. Index, stash and refs stay byte for byte."""
        edit = f"echo during > '{guarded.path}/file.txt'; echo new > '{guarded.path}/untracked.txt'; false"
        guarded.write({"hotpipe.toml": STAGE % edit, "file.txt": "staged", "second.txt": "staged"})
        guarded.git("add", "-A")
        guarded.write({"second.txt": "before", "kept/untracked.txt": "x"})
        guarded.git("stash", "create")
        before = guarded.kept()
        assert guarded.attempt("commit", "-m", "blocked").returncode == 1
        assert guarded.kept() == before
        texts = {"file.txt": "during\n", "untracked.txt": "new\n", "second.txt": "before", "kept/untracked.txt": "x"}
        assert {name: (guarded.path / name).read_text() for name in texts} == texts
        assert guarded.git("show", ":file.txt", ":second.txt") == "stagedstaged"

    def test_the_first_commit_and_names_with_line_ends(self, repository: Repository) -> None:
        repository.write({"hotpipe.toml": GOOD})
        hook(repository, "install")
        repository.write({"new\nline.txt": "bad", "-x.txt": "x"})
        repository.git("add", "-A")
        assert repository.attempt("commit", "-m", "first").returncode == 1
        repository.write({"new\nline.txt": "x"})
        repository.git("add", "-A")
        repository.git("commit", "-q", "-m", "first")
        assert subject(repository) == "first"

    def test_in_a_linked_work_tree_and_from_below(self, guarded: Repository, tmp_path: Path) -> None:
        guarded.git("worktree", "add", "-q", str(tmp_path / "linked"))
        linked = Repository(tmp_path / "linked", new=False)
        linked.write({"sub/file.txt": "bad"})
        linked.git("add", "-A")
        below = linked.path / "sub"
        assert linked.attempt("commit", "-m", "y", cwd=below).returncode == 1
        linked.write({"sub/file.txt": "x"})
        assert linked.attempt("commit", "-a", "-m", "y", cwd=below).returncode == 0
        assert (subject(linked), subject(guarded)) == ("y", "x")

    @pytest.mark.parametrize("in_linked", [False, True])  # there git sets GIT_DIR alone: the top is where it starts us
    def test_a_project_below_the_top(self, repository: Repository, tmp_path: Path, in_linked: bool) -> None:
        repository.commit({"a b/hotpipe.toml": GOOD, "outside.txt": "bad"})
        hook(repository, "install", cwd="a b")
        if in_linked:
            repository.git("worktree", "add", "-q", str(tmp_path / "linked"))
        here = Repository(tmp_path / "linked", new=False) if in_linked else repository
        here.write({"a b/file.txt": "x"})
        here.git("add", "-A")
        here.git("commit", "-q", "-m", "y")
        here.write({"a b/file.txt": "bad"})
        assert here.attempt("commit", "-a", "-m", "z").returncode == 1
        assert subject(here) == "y"

    def test_a_configuration_of_another_name(self, repository: Repository) -> None:
        repository.commit({"it's.toml": GOOD, "file.txt": "x"})
        hook(repository, "install", "--config", "it's.toml")
        repository.write({"file.txt": "bad"})
        assert repository.attempt("commit", "-a", "-m", "z").returncode == 1
        repository.write({"file.txt": "y"})
        repository.git("commit", "-q", "-a", "-m", "y")

    def test_an_unusable_configuration_blocks(self, guarded: Repository) -> None:
        guarded.write({"hotpipe.toml": "nonsense"})
        done = guarded.attempt("commit", "-a", "-m", "y")
        assert done.returncode == 1  # git's; hotpipe's own was 2
        assert "hotpipe.toml:1" in done.stderr

    def test_without_hotpipe_it_says_what_to_do(self, guarded: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
        file = guarded.path / ".git/hooks/pre-commit"
        file.write_text(file.read_text().replace(str(BIN), "/gone away"))
        programs = guarded.path.parent / "bin"
        programs.mkdir()
        for name in ("git", "sh"):
            (programs / name).symlink_to(shutil.which(name) or "")
        monkeypatch.setenv("PATH", str(programs))
        guarded.write({"file.txt": "y"})
        done = guarded.attempt("commit", "-a", "-m", "y")
        assert (done.returncode, subject(guarded)) == (1, "x")
        assert "the pre-commit hook cannot find hotpipe: neither /gone away/hotpipe nor in PATH" in done.stderr
        assert "git commit --no-verify" in done.stderr

    def test_with_hotpipe_in_path_only(self, guarded: Repository) -> None:
        file = guarded.path / ".git/hooks/pre-commit"
        file.write_text(file.read_text().replace(str(BIN), "/gone"))
        guarded.write({"file.txt": "y"})
        guarded.git("commit", "-q", "-a", "-m", "y")
        assert subject(guarded) == "y"


class TestPush:
    @pytest.fixture
    def elsewhere(self, repository: Repository, tmp_path: Path) -> str:
        repository.git("init", "-q", "--bare", str(tmp_path / "bare"))
        return str(tmp_path / "bare")

    def test_the_work_tree_must_be_green(self, repository: Repository, elsewhere: str) -> None:
        repository.commit({"hotpipe.toml": GOOD, "file.txt": "bad"})
        hook(repository, "install", "pre-push")
        assert repository.attempt("push", elsewhere, "main").returncode == 1
        repository.write({"file.txt": "x"})
        assert repository.attempt("push", elsewhere, "main").returncode == 0

    def test_an_earlier_hook_gets_arguments_and_standard_input(self, repository: Repository, elsewhere: str) -> None:
        commit = repository.commit({"hotpipe.toml": GOOD})
        script(repository.path / ".git/hooks/pre-push", 'echo "$@" >seen; cat >>seen')
        hook(repository, "install", "pre-push")
        assert repository.attempt("push", elsewhere, "main").returncode == 0
        first, refs = (repository.path / "seen").read_text().splitlines()
        assert first == f"{elsewhere} {elsewhere}"
        assert refs.startswith(f"refs/heads/main {commit} refs/heads/main 000000")

    def test_stages_hear_nothing_of_the_push(self, repository: Repository, elsewhere: str) -> None:
        repository.commit({"hotpipe.toml": STAGE % "env >env; cat >stdin", ".gitignore": "env\nstdin\n"})
        hook(repository, "install", "pre-push")
        assert repository.attempt("push", elsewhere, "main").returncode == 0
        assert "GIT_PREFIX" not in (repository.path / "env").read_text()
        assert (repository.path / "stdin").read_text() == ""


class TestBesideOthers:
    def test_an_earlier_hook_comes_first_and_has_a_veto(self, repository: Repository) -> None:
        repository.commit({"hotpipe.toml": STAGE % "echo ours"})
        earlier = script(repository.path / ".git/hooks/pre-commit", "echo theirs >&2; exit 7")
        text = earlier.read_bytes()
        assert "is called first" in hook(repository, "install")
        done = repository.attempt("commit", "--allow-empty", "-m", "y")
        assert (done.returncode, subject(repository)) == (1, "x")
        assert "theirs" in done.stderr
        assert "✓" not in done.stdout + done.stderr
        script(repository.path / ".git/hooks/pre-commit.before-hotpipe", "exit 0")
        repository.stage({"file": "x"})
        assert "✓ one" in repository.attempt("commit", "-m", "y").stderr
        script(repository.path / ".git/hooks/pre-commit.before-hotpipe", text.decode().partition("\n")[2].strip())
        hook(repository, "uninstall")
        assert earlier.read_bytes() == text
        assert os.access(earlier, os.X_OK)
        assert sorted(os.listdir(earlier.parent)) == sorted({*os.listdir(earlier.parent), "pre-commit"})
        assert not (earlier.parent / "pre-commit.before-hotpipe").exists()

    def test_one_that_was_switched_off_stays_so(self, repository: Repository) -> None:
        repository.commit({"hotpipe.toml": GOOD})
        script(repository.path / ".git/hooks/pre-commit", "exit 1", mode=0o644)
        hook(repository, "install")
        repository.git("commit", "-q", "--allow-empty", "-m", "y")

    def test_a_link_stays_a_link(self, repository: Repository) -> None:
        script(repository.path / "tools/check", "echo linked >&2")
        repository.commit({"hotpipe.toml": GOOD})
        (repository.path / ".git/hooks/pre-commit").symlink_to("../../tools/check")
        hook(repository, "install")
        assert "linked" in repository.attempt("commit", "--allow-empty", "-m", "y").stderr
        hook(repository, "uninstall")
        assert os.readlink(repository.path / ".git/hooks/pre-commit") == "../../tools/check"

    def test_twice_changes_nothing_and_says_so(self, guarded: Repository) -> None:
        before = {file: file.read_bytes() for file in (guarded.path / ".git/hooks").iterdir()}
        assert "is installed already" in hook(guarded, "install")
        assert {file: file.read_bytes() for file in (guarded.path / ".git/hooks").iterdir()} == before

    def test_one_of_another_hotpipe_is_renewed(self, guarded: Repository) -> None:
        file = guarded.path / ".git/hooks/pre-commit"
        ours = file.read_text()
        file.write_text(ours.replace(str(BIN), "/old"))
        assert "renewed" in hook(guarded, "install")
        assert file.read_text() == ours
        assert not (guarded.path / ".git/hooks/pre-commit.before-hotpipe").exists()

    def test_that_of_another_project_in_the_same_repository_is_left_as_it_is(self, guarded: Repository) -> None:
        file = guarded.path / ".git/hooks/pre-commit"
        ours = file.read_text()
        (guarded.path / "web").mkdir()
        (guarded.path / "web/hotpipe.toml").write_text(GOOD)
        said = hook(guarded, "install", "--config", "web/hotpipe.toml", code=2)
        assert "another project's already: hotpipe check --staged" in said
        assert file.read_text() == ours

    def test_that_of_another_project_is_not_removed(self, guarded: Repository) -> None:
        file = guarded.path / ".git/hooks/pre-commit"
        (guarded.path / "web").mkdir()
        (guarded.path / "web/hotpipe.toml").write_text(GOOD)
        said = hook(guarded, "uninstall", "--config", "web/hotpipe.toml", code=2)
        assert "another project's: hotpipe check --staged\n" in said
        assert "hint: " in said
        assert file.exists()
        assert "removed" in hook(guarded, "uninstall")
        assert not file.exists()

    def test_uninstalling_what_is_not_ours_removes_nothing(self, repository: Repository) -> None:
        repository.commit({"hotpipe.toml": GOOD})
        assert "nothing to remove" in hook(repository, "uninstall")
        theirs = script(repository.path / ".git/hooks/pre-commit", "exit 0")
        assert "nothing to remove" in hook(repository, "uninstall")
        assert theirs.exists()

    def test_two_earlier_ones_are_one_too_many(self, guarded: Repository) -> None:
        hooks = guarded.path / ".git/hooks"
        (hooks / "pre-commit").rename(hooks / "pre-commit.before-hotpipe")
        script(hooks / "pre-commit", "exit 0")
        assert "an earlier one that was kept already" in hook(guarded, "install", code=2)

    def test_the_folder_is_the_one_that_git_uses(self, repository: Repository) -> None:
        repository.commit({"hotpipe.toml": GOOD, "file.txt": "x"})
        repository.git("config", "core.hooksPath", "my hooks")
        hook(repository, "install")
        assert os.access(repository.path / "my hooks/pre-commit", os.X_OK)
        repository.write({"file.txt": "bad"})
        assert repository.attempt("commit", "-a", "-m", "y").returncode == 1

    def test_hooks_that_all_repositories_share_are_left_alone(self, repository: Repository, tmp_path: Path) -> None:
        repository.commit({"hotpipe.toml": GOOD})
        repository.git("config", "core.hooksPath", str(tmp_path / "shared"))
        said = hook(repository, "install", code=2)
        assert "is not this repository's alone" in said
        assert "git config --local core.hooksPath" in said
        assert not (tmp_path / "shared").exists()

    @pytest.mark.parametrize("folder", [".husky", ".husky/_"])
    def test_husky_has_a_place_of_its_own_for_it(self, repository: Repository, folder: str) -> None:
        """husky 9 finds the user's script by the name of the hook, and writes its own anew at each `npm install`."""
        repository.commit({"hotpipe.toml": GOOD})
        repository.git("config", "core.hooksPath", folder)
        said = hook(repository, "install", code=2)
        assert "write the line `hotpipe check --staged` into .husky/pre-commit" in said

    def test_a_folder_that_is_a_file(self, repository: Repository) -> None:
        repository.commit({"hotpipe.toml": GOOD, "file": "x"})
        repository.git("config", "core.hooksPath", "file")
        assert "cannot write" in hook(repository, "install", code=1)

    def test_without_a_repository(self, tmp_path: Path) -> None:
        (tmp_path / "alone").mkdir()
        alone = Repository(tmp_path / "alone", new=False)
        alone.write({"hotpipe.toml": GOOD})
        assert "is in no git work tree" in hook(alone, "install", code=2)


class TestPreCommit:
    """The framework of that name."""

    @pytest.fixture
    def framework(self, repository: Repository, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
        program = shutil.which("pre-commit")
        if program is None:
            pytest.skip("pre-commit is not installed")
        monkeypatch.setenv("PRE_COMMIT_HOME", str(repository.path.parent / "framework"))
        local = "{id: t, name: theirs, language: system, entry: sh -c '! grep worse file.txt', pass_filenames: false}"
        config = f"repos: [{{repo: local, hooks: [{local}]}}]\n"
        repository.commit({"hotpipe.toml": GOOD, ".pre-commit-config.yaml": config, "file.txt": "x"})

        def run(*arguments: str) -> None:
            subprocess.run([program, *arguments], cwd=repository.path, check=True, capture_output=True, timeout=60)

        return run

    @pytest.mark.parametrize("first", ["hotpipe", "pre-commit"])
    def test_both_have_a_veto_whoever_came_first(
        self, repository: Repository, framework: Callable[..., None], first: str
    ) -> None:
        if first == "hotpipe":
            hook(repository, "install")
            framework("install")
        else:
            framework("install")
            hook(repository, "install")
        for text, said in (("bad", "red: one failed"), ("worse", "theirs"), ("x y", "")):
            repository.write({"file.txt": text})
            done = repository.attempt("commit", "-a", "-m", text)
            assert (done.returncode == 0) == (not said), done.stderr
            assert said in done.stderr
        assert subject(repository) == "x y"

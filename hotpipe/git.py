"""What hotpipe asks of git, through the `git` program: which paths differ, what is in the index, where hooks are.

Invariant: the user's repository is only read. Nothing is stashed, no ref, object or index is written, and not even the
stamps in the index are refreshed: where git would want that, it gets a copy. Names are bytes to git and are taken with
-z, so any name does.

Hooks and `git commit FILE` say by the environment (GIT_DIR, GIT_INDEX_FILE) which repository and index are meant; that
is honoured here. `forget` is for whoever starts programs that are not to hear of it: githooks(5).
"""

import contextlib
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from hotpipe.errors import HotpipeError, UsageError

_LOCAL = (  # git rev-parse --local-env-vars
    *("GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_COMMON_DIR", "GIT_CONFIG", "GIT_CONFIG_COUNT", "GIT_CONFIG_PARAMETERS"),
    *("GIT_DIR", "GIT_GRAFT_FILE", "GIT_IMPLICIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_INTERNAL_SUPER_PREFIX"),
    *("GIT_NO_REPLACE_OBJECTS", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX", "GIT_REPLACE_REF_BASE", "GIT_SHALLOW_FILE"),
    "GIT_WORK_TREE",
)
_QUIET = ("-c", "core.fsmonitor=false")  # no daemon, no hook
_NAMES = ("--name-only", "-z", "--no-renames", "--no-ext-diff", "--ignore-submodules=dirty", "--relative")
# What `git add -N` has announced is not in the next commit; diff-index counts it in unless it is told.
_STAGED = ("diff-index", "--cached", *_NAMES, "--ita-invisible-in-index")
_IGNORED = ("--others", "--ignored", "--exclude-standard", "--directory")
_ANNOUNCED = ("diff-index", "--cached", *_NAMES, "--ita-visible-in-index")


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository as seen from `root`, a folder in its work tree. `top`, `folder` and `index` are absolute."""

    root: str
    top: str
    folder: str
    index: str
    env: Mapping[str, str] = field(repr=False)

    @classmethod
    def of(cls, root: str) -> "Repository":
        """Raises UsageError where there is no git, or no work tree of it."""
        # With GIT_DIR alone, the working directory is the top of the work tree, as hooks have it: git(1).
        asked_in = os.curdir if "GIT_DIR" in os.environ and "GIT_WORK_TREE" not in os.environ else root
        env = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
        shown = _run(("rev-parse", "--show-toplevel"), asked_in, env)
        if shown.returncode:
            raise UsageError(f"{root} is in no git work tree", hint=_words(shown))
        top = _line(shown.stdout)
        folder = _line(_git(("rev-parse", "--absolute-git-dir"), asked_in, env))
        index = os.path.join(top, env.get("GIT_INDEX_FILE") or os.path.join(folder, "index"))
        root = os.path.realpath(root)
        if os.path.commonpath((root, top)) != top:
            raise UsageError(f"{root} is not in the git work tree {top}", hint="unset GIT_DIR and GIT_WORK_TREE")
        return cls(root, top, folder, index, {**env, "GIT_DIR": folder, "GIT_WORK_TREE": top, "GIT_INDEX_FILE": index})

    @property
    def prefix(self) -> str:
        """The root, relative to the top; "." where it is the top."""
        return os.path.relpath(self.root, self.top)

    def changed_since(self, rev: str) -> tuple[str, ...]:
        """The paths below the root, relative to it, in which the work tree differs from where `rev` and HEAD parted.

        Committed, staged, unstaged, deleted and untracked ones; not those that git ignores, nor the content of
        submodules and of repositories that are not tracked. What others have committed to the branch `rev` since is
        nobody's change here. Histories that have never parted (unrelated, or a shallow clone) are compared with `rev`
        itself. Raises UsageError where there is no such revision.
        """
        commit = self._commit(rev)
        parted = _line(self._asks("merge-base", commit, "HEAD")) or commit
        with self._own_index() as env:
            self._asks("update-index", "-q", "--refresh", env=env)  # what was only touched is no change
            differing = _names(self._git("diff-index", *_NAMES, parted, env=env))
        untracked = _names(self._git("ls-files", "-z", "--others", "--exclude-standard"))
        return tuple(sorted({*differing, *(path for path in untracked if not path.endswith("/"))}))

    def staged(self) -> tuple[str, ...]:
        """The paths below the root, relative to it, in which the index differs from HEAD."""
        return _names(self._git(*_STAGED, self._head()))

    def unmerged(self) -> tuple[str, ...]:
        """The paths that wait for a merge to be resolved, relative to the top."""
        entries = _names(self._git("ls-files", "-z", "--unmerged", "--full-name", cwd=self.top))
        return tuple(dict.fromkeys(entry.partition("\t")[2] for entry in entries))

    def ignored(self) -> tuple[str, ...]:
        """The files and folders in the work tree that git ignores, relative to the top; a folder ends in "/"."""
        return _names(self._git("ls-files", "-z", *_IGNORED, cwd=self.top))

    def check_out(self, folder: str) -> None:
        """Write what is in the index into an empty folder, through the filters (LFS, line endings) of gitattributes(5).

        What is only announced (`git add -N`) is left out; of a submodule there is an empty folder.
        """
        env = {**self.env, "GIT_WORK_TREE": folder}  # so that .gitattributes count as they are in the index
        self._git("checkout-index", "--all", "--force", "--quiet", cwd=folder, env=env)
        staged = set(_names(self._git(*_STAGED, self._head(), cwd=self.top)))
        for path in _names(self._git(*_ANNOUNCED, self._head(), cwd=self.top)):
            if path not in staged:
                with contextlib.suppress(OSError):
                    os.unlink(os.path.join(folder, path))

    def hooks(self) -> str:
        """The folder in which git looks for hooks, absolute: core.hooksPath counts, and linked work trees share one."""
        return os.path.join(self.top, _line(self._git("rev-parse", "--git-path", "hooks", cwd=self.top)))

    def common_folder(self) -> str:
        """The folder of the repository that all its work trees share, absolute."""
        return os.path.join(self.top, _line(self._git("rev-parse", "--git-common-dir", cwd=self.top)))

    def _commit(self, rev: str) -> str:
        found = (
            b"" if rev.startswith(("-", "^")) else self._asks("rev-parse", "--verify", "--quiet", f"{rev}^{{commit}}")
        )
        if not found:
            hint = "is it spelled as `git log` takes it? A shallow clone may lack it: git fetch --unshallow"
            raise UsageError(f"git knows no revision {rev!r}", hint=hint)
        return _line(found)

    def _head(self) -> str:
        """HEAD, or the empty tree before the first commit."""
        return _line(self._asks("rev-parse", "--verify", "--quiet", "HEAD^{commit}")) or _line(
            self._git("hash-object", "-t", "tree", os.devnull)
        )

    @contextlib.contextmanager
    def _own_index(self) -> Iterator[Mapping[str, str]]:
        """The environment for an index that may be written."""
        import shutil  # noqa: PLC0415 - with the next one, a tenth of the start-up time of a check
        import tempfile  # noqa: PLC0415

        with tempfile.TemporaryDirectory(prefix="hotpipe-index-") as folder:
            copy = os.path.join(folder, "index")
            with contextlib.suppress(FileNotFoundError):  # nothing was ever added
                shutil.copy2(self.index, copy)  # with its stamp: git takes what is no older for racily clean
            yield {**self.env, "GIT_INDEX_FILE": copy}

    def _git(self, *arguments: str, cwd: str = "", env: Mapping[str, str] | None = None) -> bytes:
        return _git(arguments, cwd or self.root, env or self.env)

    def _asks(self, *arguments: str, env: Mapping[str, str] | None = None) -> bytes:
        """Where a refusal is an answer, too: nothing."""
        done = _run(arguments, self.root, env or self.env)
        return b"" if done.returncode else done.stdout


def forget() -> None:
    """Let go of the repository and the commit that git told its hook of: programs that are started from now on find
    the one that they are in."""
    for name in _LOCAL:
        os.environ.pop(name, None)


def is_calling() -> bool:
    """Whether git has started this, as a hook or an alias: what the environment says of a repository is its word."""
    return "GIT_PREFIX" in os.environ


def _git(arguments: tuple[str, ...], cwd: str, env: Mapping[str, str]) -> bytes:
    """What git answers; raises HotpipeError with git's own words where it refuses."""
    done = _run(arguments, cwd, env)
    if done.returncode:
        raise HotpipeError(f"git {arguments[0]} failed", hint=_words(done))
    return done.stdout


def _run(arguments: tuple[str, ...], cwd: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[bytes]:
    command = ("git", *_QUIET, *arguments)
    try:
        return subprocess.run(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except FileNotFoundError as error:
        raise UsageError("this needs git, and there is no program `git`", hint="install git") from error


def _words(done: subprocess.CompletedProcess[bytes]) -> str:
    return f"git says: {os.fsdecode(done.stderr).strip() or 'nothing'}"


def _line(answer: bytes) -> str:
    """One name; it may hold line ends of its own."""
    return os.fsdecode(answer.removesuffix(b"\n"))


def _names(answer: bytes) -> tuple[str, ...]:
    return tuple(map(os.fsdecode, answer.split(b"\0")[:-1]))

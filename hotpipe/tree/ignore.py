"""Which paths are ignored: the reader of every `.gitignore`, `.ignore` and exclude file, and the only judge of a path.

Invariant: for the same rules the answer is git's (`git check-ignore --no-index`), byte for byte, and a path below an
ignored folder is ignored, whatever any rule says about the path itself. The root itself is never ignored.

Strength, falling: `UNCONDITIONAL` and the triggers; `[watch] ignore`; the folders' `.ignore` and `.gitignore`, deepest
folder first, up to the top of the git work tree; `info/exclude`; git's global excludes file; `BUILT_IN`.

Decisions where git gives no guidance:
- If git ignores the root (a project below a home folder whose repository ignores `*`), it is a tree of its own: the
  `.gitignore`, `.ignore` and `info/exclude` around it do not count. The global excludes file still does.
- Outside of git, `.gitignore` files in the tree count all the same.
- A repository nested in the tree is a folder like any other, and its `info/exclude` is not read.
"""

from __future__ import annotations

import codecs
import os
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import ClassVar

from hotpipe.tree.gitignore import Rule, parse_lines, to_octets
from hotpipe.tree.rules import Folder, Scope, Source

IGNORE_FILES = (".gitignore", ".ignore")
"""The ignore files of a folder, the weaker first."""

UNCONDITIONAL = (".git", ".hg/", ".svn/", ".jj/", ".bzr/", "CVS/", ".hotpipe/")
"""Lines that nothing can re-include. `.git` is also a file: in linked work trees and submodules."""

# A path ignored by mistake risks a stale green, one watched by mistake only a needless run. So names that sources have
# too stay out: target/, build/ and dist/ (a name cannot tell Rust's or Maven's from a package), env/ (virtualenv, uv
# and Python 3.13 put a .gitignore into theirs), .vscode/ (committed, and seldom written).
BUILT_IN = (
    *("__pycache__/", "*.py[co]", ".mypy_cache/", ".dmypy.json", ".ruff_cache/", ".pytest_cache/", ".hypothesis/"),
    *(".cache/", ".eslintcache", ".testmondata*", ".coverage", ".coverage.*", "htmlcov/", ".ipynb_checkpoints/"),
    "pytest-cache-files-*/",  # for a moment, then it is .pytest_cache
    *(".venv/", "venv/", ".tox/", ".nox/", ".eggs/", "*.egg-info/", "node_modules/", ".direnv/"),
    *(".DS_Store", "Thumbs.db", ".idea/"),
    # Editors and file systems: vim, emacs, Kate, JetBrains, GNOME, NFS and FUSE leave these for moments.
    *("*~", ".*.sw?", ".*.sw?x", "4913", ".#*", r"\#*#", ".*.kate-swp", "*___jb_tmp___", "*___jb_old___"),
    *("*.tmp", ".goutputstream-*", ".nfs*", ".fuse_hidden*"),
)
"""The weakest lines: a `!name` anywhere re-includes."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`path` is what `rule` matched: the path that was asked for, or the ignored folder above it."""

    ignored: bool
    rule: Rule | None
    path: str


def _listed(source: str, base: str, numbered: Iterable[tuple[int, bytes]]) -> tuple[Source, ...]:
    lines = tuple(parse_lines(source, numbered))[::-1]
    return (Source(base, lines),) if lines else ()


def _read(file: str, shown: str, base: str, flags: int = 0) -> tuple[Source, ...]:
    content = _content(file, flags)
    return _listed(shown, base, enumerate(content.removeprefix(codecs.BOM_UTF8).split(b"\n"), 1)) if content else ()


def _content(file: str, flags: int) -> bytes:
    """Nothing if there is no such file, or it cannot be read, or is a folder or a pipe."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | flags)
    except OSError:
        return b""
    try:
        return b"".join(iter(partial(os.read, descriptor, 1 << 16), b""))
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def _read_folder(folder: str, shown: str, base: str) -> tuple[Source, ...]:
    """The sources in a folder, strongest first. As for git, an ignore file that is a symbolic link does not count."""
    prefix = f"{shown}/" if shown else ""
    gitignore, ignore = (_read(f"{folder}/{name}", prefix + name, base, os.O_NOFOLLOW) for name in IGNORE_FILES)
    return ignore + gitignore


def global_excludes(folder: str) -> str | None:
    """The path of git's global excludes file for a repository in `folder`, as in gitignore(5); None: there is none.

    The file need not exist, and git need not be installed: then its default path counts.
    """
    configured = _configured_excludes(folder)
    if configured is not None:
        return os.path.join(folder, configured) if configured else None
    settings = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return os.path.join(settings, "git", "ignore") if os.path.isabs(settings) else None


def _configured_excludes(folder: str) -> str | None:
    # Started by a git hook, these would name the hook's repository.
    environment = {key: value for key, value in os.environ.items() if key not in {"GIT_DIR", "GIT_COMMON_DIR"}}
    command = ["git", "config", "-z", "--type=path", "--get", "core.excludesFile"]
    try:
        asked = subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return os.fsdecode(asked.stdout[:-1]) if asked.stdout else None


def _repository(folder: str) -> tuple[str, str] | None:
    """The top of the git work tree that `folder` is in, and the path of its `info/exclude`."""
    for top in _upwards(folder):
        if (git_dir := _git_dir(top)) is not None:
            common = _first_line(os.path.join(git_dir, "commondir")) or ""
            return top, os.path.normpath(os.path.join(git_dir, common, "info", "exclude"))
    return None


def _upwards(folder: str) -> Iterator[str]:
    yield folder
    while folder != (folder := os.path.dirname(folder)):
        yield folder


def _git_dir(top: str) -> str | None:
    """gitrepository-layout(5): `.git` is the repository, or a file that says where it is."""
    dot_git = os.path.join(top, ".git")
    said = _first_line(dot_git) or ""
    git_dir = os.path.join(top, said.removeprefix("gitdir: ")) if said.startswith("gitdir: ") else dot_git
    return git_dir if os.path.lexists(os.path.join(git_dir, "HEAD")) else None


def _first_line(file: str) -> str | None:
    try:
        with open(file, "rb") as raw:
            return os.fsdecode(raw.readline().rstrip(b"\r\n"))
    except OSError:
        return None


@dataclass(frozen=True, slots=True)
class _Surroundings:
    """What is in force at the root from outside of it. `base`: octets, the root from the top of the work tree on."""

    base: str
    sources: tuple[Source, ...]
    files: tuple[str, ...]


def _survey(root: str, excludes: Callable[[str], str | None]) -> _Surroundings:
    root = os.path.realpath(root)
    top, exclude = _repository(root) or (root, None)
    everywhere = excludes(top)
    said_everywhere = () if everywhere is None else _read(everywhere, everywhere, "")
    said_here = () if exclude is None else _read(exclude, os.path.relpath(exclude, root), "")
    found = _descend(top, root, said_here + said_everywhere)
    base, sources = ("", said_everywhere) if found is None else found
    return _Surroundings(base, sources, tuple(_outside(top, root, exclude, everywhere)))


def _descend(top: str, root: str, weak: tuple[Source, ...]) -> tuple[str, tuple[Source, ...]] | None:
    """The root's base, and the sources from the top of the work tree down to it; None if they ignore the root."""
    base, sources = "", weak
    for folder in _folders_above(top, root):
        sources = _read_folder(folder, os.path.relpath(folder, root), base) + sources
        name = os.path.relpath(root, folder).partition(os.sep)[0]
        if Folder(Scope((), sources), base).ignores(name, is_dir=True):
            return None
        base += to_octets(name) + "/"
    return base, sources


def _folders_above(top: str, root: str) -> list[str]:
    """From the top of the work tree down to the folder that the root is in."""
    return [folder for folder in _upwards(root) if folder.startswith(top) and folder != root][::-1]


def _outside(top: str, root: str, *others: str | None) -> Iterator[str]:
    yield from (os.path.join(folder, name) for folder in _folders_above(top, root) for name in IGNORE_FILES)
    yield from (file for file in others if file is not None)


@dataclass(frozen=True, slots=True)
class _Memory:
    """All that was read, from outside of the tree and, in the folders below `top`, from inside."""

    survey: Callable[[], _Surroundings]
    top: Callable[[], Folder]


class Ignore:
    """Judges paths below `root` (absolute). Paths are as from `os.fsdecode`, relative to the root, "/" between names.

    `extra` are the lines of `[watch] ignore`, `never` the paths of triggers, `builtin` the weakest lines (none: git's
    own answers), and `excludes` finds the global excludes file. Nothing is read before the first question, and no
    question raises for what is on disk. Any thread may ask, and one at a time may call `reload`.
    """

    IGNORE_FILES: ClassVar[tuple[str, ...]] = IGNORE_FILES

    def __init__(
        self,
        root: str,
        *,
        extra: Sequence[str] = (),
        never: Sequence[str] = (),
        builtin: Sequence[str] = BUILT_IN,
        excludes: Callable[[str], str | None] = global_excludes,
    ) -> None:
        self._root = root
        self._extra = extra
        self._never = never
        self._builtin = builtin
        self._excludes = excludes
        self._reloads = 0
        self._memory = self._blank()

    @property
    def files(self) -> tuple[str, ...]:
        """The ignore files outside of the tree that count or would if they existed, absolute. Changed: `reload("")`."""
        return self._memory.survey().files

    def ignored(self, path: str, is_dir: bool) -> bool:  # noqa: FBT001 - the answer of os.DirEntry.is_dir, passed on
        head, _, name = path.rpartition("/")
        return path != "" and self.folder(head).ignores(name, is_dir)

    def explain(self, path: str, is_dir: bool) -> Verdict:  # noqa: FBT001 - as above
        """The verdict on a path, with the rule that decides: also one that re-includes."""
        line = None
        for at in _down_to(path):
            head, _, name = at.rpartition("/")
            line = self.folder(head).decisive(name, is_dir or at != path)
            if line is not None and not line.negated:
                return Verdict(ignored=True, rule=line.rule, path=at)
        return Verdict(ignored=False, rule=None if line is None else line.rule, path=path)

    def folder(self, path: str) -> Folder:
        """The rules for the entries of a folder, "" being the root. In an ignored folder everything is ignored."""
        here = self._memory.top()
        for name in path.split("/") if path else ():
            here = here.known.get(name) or self._enter(here, name)
        return here

    def reload(self, folder: str) -> None:
        """Forget a folder and all below: an ignore file in it changed, it came or it went. "" also rereads `files`."""
        self._reloads += 1
        if not folder:
            self._memory = self._blank()
            return
        *above, name = folder.split("/")
        here: Folder | None = self._memory.top()
        for known in above:
            here = here and here.known.get(known)
        if here:
            here.known.pop(name, None)

    def _enter(self, parent: Folder, name: str) -> Folder:
        before = self._reloads
        child = parent.known[name] = parent.inside(name, self._read)
        # A reload in another thread may have come after the reading and before the child could be found and dropped.
        if before != self._reloads:
            parent.known.pop(name, None)
        return child

    def _read(self, path: str, base: str) -> tuple[Source, ...]:
        return _read_folder(f"{self._root}/{path}", path, base)

    def _blank(self) -> _Memory:
        survey = cache(partial(_survey, self._root, self._excludes))
        return _Memory(survey, cache(partial(self._top, survey)))

    def _top(self, survey: Callable[[], _Surroundings]) -> Folder:
        around = survey()
        base = around.base
        fixed = self._unconditional(base) + _listed("[watch] ignore", base, enumerate(map(os.fsencode, self._extra), 1))
        weakest = _listed("built in", base, ((0, os.fsencode(line)) for line in self._builtin))
        return Folder(Scope(fixed, self._read("", base) + around.sources + weakest), base)

    def _unconditional(self, base: str) -> tuple[Source, ...]:
        triggers = _listed("trigger", base, ((0, os.fsencode(literally(path))) for path in self._never))
        return _listed("built in", base, ((0, os.fsencode(line)) for line in UNCONDITIONAL)) + triggers


def _down_to(path: str) -> Iterator[str]:
    """ "a/b" gives "a", then "a/b"."""
    yield from (path[: slash.start()] for slash in re.finditer(r"/|\Z", path) if path)


def literally(path: str) -> str:
    """The gitignore line for exactly this path from the root."""
    return "/" + re.sub(r"[\\*?\[ ]", r"\\\g<0>", path)

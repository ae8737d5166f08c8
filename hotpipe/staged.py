"""What is in the index, in a folder of its own: what the next commit will be, whatever the work tree looks like.

Invariant: neither the work tree nor the index nor the stash is touched, so an edit that is made meanwhile survives
(pre-commit #2473), and what is checked is what is committed. When the context ends, by Ctrl-C and `kill` too, the
folder is gone.

How it works: `git checkout-index` writes the whole repository into a new folder below $TMPDIR, so that paths like
`../shared` lead where they should. What git ignores is linked into it, because tools need it: virtual environments,
node_modules, .env, generated sources. Left out are caches, since a tool would write what it found in the copy into the
cache of the work tree, and folders named like build outputs, since what was built came from the work tree.

A copy bears a lock (flock(2) on its folder) for as long as its hotpipe lives, so one that nobody holds is a left-over
of one that was killed, whatever process has its number today; the next hotpipe removes it.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from glob import escape, iglob

from hotpipe.editable import python_path
from hotpipe.errors import HotpipeError, UsageError
from hotpipe.git import Repository
from hotpipe.tree.globs import Globs
from hotpipe.tree.ignore import BUILT_IN, UNCONDITIONAL, literally

_PREFIX = "hotpipe-staged-"
_MOST_NAMED = 3
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# BUILT_IN is what nobody wants to watch. This part of it is installed, and tools run from it.
_INSTALLED = {".venv/", "venv/", ".tox/", ".nox/", ".eggs/", "*.egg-info/", "node_modules/", ".direnv/"}
_OUTPUTS = (
    *("build/", "dist/", "target/", "out/", "coverage/"),
    *(".next/", ".nuxt/", ".svelte-kit/", ".turbo/", ".gradle/"),
)
_LEFT_OUT = Globs((*UNCONDITIONAL, *(line for line in BUILT_IN if line not in _INSTALLED), *_OUTPUTS, ".*_cache/"))


@dataclass(frozen=True, slots=True)
class Staged:
    """A copy of the index. `top` is that of the copy, `root` the project's folder in it.

    `changed` is what is staged, relative to the root. `ignore` are lines for `[watch] ignore` that mean the links, so
    that the tree is the one that a clean work tree is. `python_path` is where Python is to look first.
    """

    top: str
    root: str
    changed: tuple[str, ...]
    ignore: tuple[str, ...]
    python_path: tuple[str, ...]


@contextlib.contextmanager
def staged(root: str) -> Iterator[Staged]:
    """A copy of the index of the repository that `root` is in; raises UsageError where there is none to be had."""
    repository = Repository.of(root)
    if unmerged := repository.unmerged():
        named = ", ".join(unmerged[:_MOST_NAMED]) + (" …" if len(unmerged) > _MOST_NAMED else "")
        raise UsageError(f"the index has unmerged files: {named}", hint="resolve them, `git add` them, and try again")
    remove_left_overs()
    with _folder() as top:
        repository.check_out(top)
        linked = tuple(_link(repository, top))
        copy = os.path.normpath(os.path.join(top, repository.prefix))
        os.makedirs(copy, exist_ok=True)  # nothing in it may be staged
        yield Staged(
            top,
            copy,
            changed=repository.staged(),
            ignore=tuple(literally(os.path.relpath(os.path.join(top, path), copy)) for path in linked),
            python_path=tuple(python_path(repository.top, top, linked)),
        )


def remove_left_overs() -> None:
    """Remove the copies of those that were killed."""
    for folder in iglob(os.path.join(escape(tempfile.gettempdir()), f"{_PREFIX}*")):
        with contextlib.suppress(OSError), _opened(folder) as descriptor:
            if os.fstat(descriptor).st_uid == os.getuid():
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _folder() -> Iterator[str]:
    """A new folder that is ours alone, and is gone in the end, whatever ends it."""
    with _signals_raise(), contextlib.ExitStack() as held:
        try:
            folder = _locked(held)
        except OSError as error:
            where = tempfile.gettempdir()
            message = f"cannot make a folder for the copy in {where}: {error.strerror}"
            raise HotpipeError(message, hint="TMPDIR names another place") from error
        try:
            yield folder
        finally:
            for number in _SIGNALS:  # it goes on ending as it is
                signal.signal(number, signal.SIG_IGN)
            shutil.rmtree(folder, ignore_errors=True)


def _locked(held: contextlib.ExitStack) -> str:
    while True:
        folder = os.path.realpath(tempfile.mkdtemp(prefix=_PREFIX))
        with contextlib.suppress(FileNotFoundError):
            descriptor = held.enter_context(_opened(folder))
            with contextlib.suppress(OSError):  # a file system without locks: then nobody else gets one either
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.path.isdir(folder):  # else another hotpipe took it for a left-over in between
            return folder


@contextlib.contextmanager
def _opened(folder: str) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _signals_raise() -> Iterator[None]:
    """What would end the process without a chance to tidy up raises KeyboardInterrupt, as Ctrl-C does."""
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number, way in before.items():
        if way is not signal.SIG_IGN:  # nohup(1)
            signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, way in before.items():
            signal.signal(number, way)


def _link(repository: Repository, copy: str) -> Iterator[str]:
    """Link what git ignores into the copy; yields the paths, relative to the top."""
    for entry in repository.ignored():
        path = entry.rstrip("/")
        if not _LEFT_OUT.matches(f"{path}/." if entry.endswith("/") else path) and _is_missing(copy, path):
            os.makedirs(os.path.join(copy, os.path.dirname(path)), exist_ok=True)
            os.symlink(os.path.join(repository.top, path), os.path.join(copy, path))
            yield path


def _is_missing(copy: str, path: str) -> bool:
    """Whether `path` is free in the copy, and leads nowhere else: what is staged may be a file or a link where the
    work tree has a folder."""
    at = copy
    for name in path.split("/")[:-1]:
        at = os.path.join(at, name)
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISDIR(os.lstat(at).st_mode):
                return False
    return not os.path.lexists(os.path.join(copy, path))

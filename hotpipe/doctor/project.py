"""Looks at a project: what is needed of the machine, and what is in the way. Changes nothing."""

import errno
import os
import re
import shlex
import shutil
import stat
from collections import Counter
from collections.abc import Iterator, Mapping

from hotpipe import instance
from hotpipe.config import file
from hotpipe.config.model import Config, Listen
from hotpipe.doctor.facts import Deaf, Missing, NoProject, Project, Taken
from hotpipe.errors import ConfigError, SocketError, UsageError
from hotpipe.events import printable
from hotpipe.server import sockets
from hotpipe.tree import mounts, poll
from hotpipe.tree.ignore import Ignore
from hotpipe.tree.mounts import Mount
from hotpipe.tree.walk import walk

_NO_ROOM = {errno.EROFS, errno.ENOSPC, errno.EDQUOT}  # then hotpipe runs, without lock and log
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_PLAIN = re.compile(r"[\w./+@%:,=-]+")  # a word in which the shell would replace nothing
_SHELLS_OWN = frozenset((
    "!", ".", ":", "[", "[[", "(", "{", "alias", "break", "case", "cd", "command", "continue", "echo", "eval", "exec",
    "exit", "export", "false", "for", "function", "getopts", "hash", "if", "jobs", "kill", "let", "local", "printf",
    "pwd", "read", "readonly", "return", "select", "set", "shift", "source", "test", "time", "times", "trap", "true",
    "type", "ulimit", "umask", "unalias", "unset", "until", "wait", "while",
))  # fmt: skip


def examine(config_file: str | None, cwd: str) -> Project | NoProject:
    """The project that `hotpipe` would find from `cwd`."""
    try:
        found = file.load(config_file, cwd)
    except ConfigError as error:
        return NoProject(error.message, "see `hotpipe config --schema`", is_broken=True)
    except UsageError as error:
        return NoProject(error.message, error.hint, is_broken=config_file is not None)
    return _examined(found)


def _examined(found: file.Project) -> Project:
    root, config = found.root, found.config
    running = instance.running(root)
    ignore = Ignore(root, extra=config.watch.ignore, never=tuple(config.triggers().values()))
    listed = [*walk(root, _folders(root, config), ignore)]
    serves = any(one.role != "gate" for one in running)
    unwritable, is_barred = _unwritable(os.path.join(root, instance.FOLDER))
    entries, size = _sizes(os.path.join(root, instance.FOLDER, "cache"))
    disk = os.statvfs(root)
    return Project(
        root=printable(root),
        file=os.path.basename(found.file),
        folders=len(listed),
        files=sum(len(each.files) for each in listed),
        stages=len(config.stage),
        servers=len(config.server),
        sockets=sum(len(server.listen) for server in config.server.values()),
        poll=config.watch.poll,
        deaf=tuple(_deaf(root, [each.folder for each in listed])),
        taken=() if serves else tuple(_taken(root, config)),
        missing=tuple(_missing(found)),
        running=tuple(map(str, running)),
        unwritable=unwritable,
        is_barred=is_barred,
        free_bytes=disk.f_bavail * disk.f_frsize,
        free_inodes=disk.f_favail if disk.f_files else None,
        cache_entries=entries,
        cache_bytes=size,
        cache_most=config.gate.cache_size,
    )


def _folders(root: str, config: Config) -> Iterator[str]:
    """The outermost of [watch] paths that are folders."""
    tops = sorted({"" if (top := os.path.normpath(path)) == "." else top for path in config.watch.paths})
    for top in tops:
        inside = any(not other or top.startswith(f"{other}/") for other in tops if other != top)
        if not inside and os.path.isdir(os.path.join(root, top)) and not os.path.islink(os.path.join(root, top)):
            yield top


def _deaf(root: str, folders: list[str]) -> Iterator[Deaf]:
    layout = mounts.of(root)
    counted: Counter[Mount] = Counter()
    for folder in folders:
        if (mount := layout.at(folder)) is not None and mount.is_deaf:
            counted[mount] += 1
    for mount, count in counted.items():
        yield Deaf(printable(str(mount)), count, poll.hint(mount))


def _taken(root: str, config: Config) -> Iterator[Taken]:
    for name, server in config.server.items():
        for listen in server.listen:
            try:
                _check(root, listen)
            except SocketError as error:
                yield Taken(name, printable(error.message), error.hint)


def _check(root: str, listen: Listen) -> None:
    """Raises SocketError where it cannot be listened on; leaves what is there."""
    if not listen.path:
        sockets.claim(listen)
        return
    path = os.path.join(root, listen.path)
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise SocketError(f"{listen.path} is no socket", hint="move it away, or change listen")
        if not sockets.is_refused(path):
            raise SocketError(f"somebody listens on {listen.path}", hint="stop it, or change the path in listen")
    except FileNotFoundError:
        if not os.path.isdir(os.path.dirname(path)):
            folder = os.path.dirname(listen.path)
            raise SocketError(f"there is no folder {folder}", hint=f"mkdir -p {shlex.quote(folder)}") from None
    except OSError as error:
        raise sockets.cannot_listen(listen, error) from error


def _missing(found: file.Project) -> Iterator[Missing]:
    stages = ((f"stage.{name}.run", stage.run, stage.cwd, stage.env) for name, stage in found.config.stage.items())
    servers = ((f"server.{name}.run", each.run, each.cwd, each.env) for name, each in found.config.server.items())
    for key, run, cwd, env in (*stages, *servers):
        program = run[0] if not isinstance(run, str) else first_word(run)
        if program and not _is_there(program, found.path(cwd), env):
            yield Missing(key, printable(program))


def first_word(run: str) -> str:
    """The program that a text for sh starts, or nothing where that cannot be told without a shell."""
    for word in run.split():
        if not _ASSIGNMENT.match(word):
            return word if _PLAIN.fullmatch(word) and word not in _SHELLS_OWN else ""
        if not _PLAIN.fullmatch(word):
            return ""  # a quoted value may hold blanks
    return ""


def _is_there(program: str, cwd: str, env: Mapping[str, str]) -> bool:
    if "/" in program:
        return shutil.which(os.path.join(cwd, program)) is not None
    return shutil.which(program, path=env.get("PATH", os.environ.get("PATH"))) is not None


def _unwritable(folder: str) -> tuple[str, bool]:
    """Why nothing can be written there, and whether hotpipe refuses to start then (`instance.claim`)."""
    there = folder if os.path.lexists(folder) else os.path.dirname(folder)
    if not os.path.isdir(there):
        return f"{printable(there)} is no folder", True
    if os.statvfs(there).f_flag & os.ST_RDONLY:
        return os.strerror(errno.EROFS), False
    if not os.access(there, os.W_OK | os.X_OK):
        return os.strerror(errno.EACCES), there == folder
    return "", False


def _sizes(folder: str) -> tuple[int, int]:
    """How many files there are below a folder, and their size."""
    count = size = 0
    for above, _, names in os.walk(folder):
        for name in names:
            try:
                size += os.lstat(os.path.join(above, name)).st_size
                count += 1
            except OSError:
                continue
    return count, size

"""What the facts mean: a list of findings, each with a way out. Pure.

A finding is bad only if hotpipe, or this project with it, cannot work; what costs speed or comfort is a warning.
"""

from collections.abc import Iterator
from typing import Literal

from msgspec import Struct

from hotpipe.doctor.facts import Inotify, Machine, NoProject, Project

Mark = Literal["ok", "warning", "bad"]

_FEW_DESCRIPTORS, _TOO_FEW_DESCRIPTORS = 256, 48
_LITTLE_SPACE, _TOO_LITTLE_SPACE = 200_000_000, 2_000_000  # bytes
_FEW_INODES = 1_000
_CROWDED = 0.9
_EDITORS_WATCHES = 524_288  # what editors ask for, too
_RESTRICTED = 2  # Yama's ptrace_scope from which on a parent may not look into its children


class Finding(Struct, frozen=True):
    """One line. `name` is for programs."""

    name: str
    mark: Mark
    message: str
    hint: str = ""


def judge(machine: Machine, project: Project | NoProject) -> list[Finding]:
    """Everything that was found, in the order in which it is shown."""
    return [*_machine(machine), *_watching(machine, project), *_restarting(machine), *_project(project)]


def is_unusable(findings: list[Finding]) -> bool:
    """Whether anything is bad."""
    return any(finding.mark == "bad" for finding in findings)


def _machine(machine: Machine) -> Iterator[Finding]:
    yield Finding("python", "ok", f"hotpipe {machine.hotpipe}, Python {machine.python}")
    yield _system(machine)
    yield _git(machine)
    yield _descriptors(machine)


def _system(machine: Machine) -> Finding:
    around = [f"WSL {machine.wsl}"] if machine.wsl else []
    around += [f"in a container ({machine.container})"] if machine.container else []
    around += [f"SELinux {machine.selinux}"] if machine.selinux else []
    said = ", ".join((f"{machine.system} {machine.release}", *around))
    if machine.system != "Linux":
        return Finding("system", "warning", f"{said}: no server is replaced without a gap here", "use Linux")
    if machine.wsl == 1:
        hint = "wsl --set-version DISTRIBUTION 2, in PowerShell"
        return Finding("system", "warning", f"{said}: it imitates Linux, and lacks much that servers need", hint)
    return Finding("system", "ok", said)


def _git(machine: Machine) -> Finding:
    if machine.git:
        return Finding("git", "ok", machine.git)
    message = "git is not installed: its core.excludesFile is not known, nor what is staged"
    return Finding("git", "warning", message, "install git, if the project uses it")


def _descriptors(machine: Machine) -> Finding:
    count = machine.descriptors
    message = f"{count:,} open files at once"
    if count < _TOO_FEW_DESCRIPTORS:
        return Finding("descriptors", "bad", f"only {message}: hotpipe cannot start anything", "ulimit -n 1024")
    if count < _FEW_DESCRIPTORS:
        return Finding("descriptors", "warning", f"only {message}: servers inherit that, too", "ulimit -n 1024")
    return Finding("descriptors", "ok", message)


# --- watching ---------------------------------------------------------------------------------------------------------


def _watching(machine: Machine, project: Project | NoProject) -> Iterator[Finding]:
    found = project if isinstance(project, Project) else None
    if found is not None and found.poll == "always":
        yield Finding("inotify", "ok", f'{found.folders:,} folders are polled, as poll = "always" asks for')
        return
    if machine.system == "Linux":
        yield _instances(machine.inotify, found)
        yield _watches(machine.inotify, found)
    for deaf in found.deaf if found is not None and found.poll == "auto" else ():
        message = f"{deaf.mount} gives no events of what others write: {_folders(deaf.folders)} polled, too"
        yield Finding("mounts", "warning", message, deaf.hint)
    if found is not None and found.poll == "auto" and not found.deaf:
        yield Finding("mounts", "ok", "every watched folder is on a file system that gives events")


def _folders(count: int) -> str:
    return "1 folder is" if count == 1 else f"{count:,} folders are"


def _instances(inotify: Inotify, project: Project | None) -> Finding:
    most, used = inotify.max_instances, inotify.used_instances
    hint = f"sudo sysctl fs.inotify.max_user_instances={max(1024, most * 2)}"
    if inotify.error:
        message = f"no inotify instance can be had ({inotify.error}): {_instead('everything is', project)}"
        return Finding("inotify.instances", "warning", message, hint)
    if used is None:
        return Finding("inotify.instances", "ok", f"inotify works; {most:,} instances a user")
    message = f"{used:,} of {most:,} inotify instances in use{_unseen(inotify)}"
    if used >= most * _CROWDED:
        return Finding("inotify.instances", "warning", message, hint)
    return Finding("inotify.instances", "ok", message)


def _watches(inotify: Inotify, project: Project | None) -> Finding:
    most, used = inotify.max_watches, inotify.used_watches or 0
    needed = 0 if project is None or project.running else project.folders
    in_use = "" if inotify.used_watches is None else f", {used:,} in use{_unseen(inotify)}"
    needs = "" if project is None else f", {project.folders:,} for this project"
    message = f"{most:,} inotify watches{in_use}{needs}"
    hint = f"sudo sysctl fs.inotify.max_user_watches={_enough(most, needed)}"
    if used + needed > most:
        return Finding("inotify.watches", "warning", f"{message}: {_instead('the rest is', project)}", hint)
    if used + needed > most * _CROWDED:
        return Finding("inotify.watches", "warning", f"{message}: nearly all", hint)
    return Finding("inotify.watches", "ok", message)


def _enough(most: int, needed: int) -> int:
    return max(_EDITORS_WATCHES, 1 << (2 * (most + needed) - 1).bit_length())


def _unseen(inotify: Inotify) -> str:
    processes = f"{inotify.unseen} process{'es' if inotify.unseen > 1 else ''}"
    return f" (not counting {processes} that cannot be looked at)" if inotify.unseen else ""


def _instead(what: str, project: Project | None) -> str:
    if project is not None and project.poll == "never":
        return f'{what} looked at now and then only (poll = "never")'
    return f"{what} polled"


# --- restarting -------------------------------------------------------------------------------------------------------


def _restarting(machine: Machine) -> Iterator[Finding]:
    if machine.system != "Linux":
        return
    kernel = machine.kernel
    if kernel.leads_connections:
        yield Finding("cutover", "ok", "the kernel leads connections to one generation or the other")
    else:
        message = "the kernel cannot lead connections (SO_ATTACH_REUSEPORT_CBPF): a restart may lose requests"
        yield Finding("cutover", "warning", message, "gVisor lacks it; runc, and any Linux since 4.5, has it")
    if not kernel.subreaper:
        message = "orphans do not come to hotpipe (PR_SET_CHILD_SUBREAPER): strays may stay behind"
        yield Finding("subreaper", "warning", message, "a sandbox forbids prctl(2): allow it, or run outside of it")
    if not kernel.pidfds:
        message = "there are no pidfds: hotpipe cannot tell when what it started ends"
        hint = "a Linux since 5.3; in a container, a seccomp profile that lets pidfd_open(2) pass"
        yield Finding("pidfd", "bad", message, hint)
    if kernel.ptrace_scope is not None and kernel.ptrace_scope >= _RESTRICTED:
        message = (
            f"kernel.yama.ptrace_scope is {kernel.ptrace_scope}: kept-alive connections cannot be ended in a pause"
        )
        yield Finding("pidfd_getfd", "warning", message, "sudo sysctl kernel.yama.ptrace_scope=1")
    elif not kernel.copies_descriptors:
        message = "pidfd_getfd(2) does not work: kept-alive connections cannot be ended in a pause between two requests"
        hint = "a Linux since 5.6; in a container, a seccomp profile that lets it pass"
        yield Finding("pidfd_getfd", "warning", message, hint)
    if not kernel.knows_connections:
        message = "the kernel does not tell of connections (INET_DIAG): an old server gets all of drain_timeout"
        yield Finding("inet_diag", "warning", message, "sudo modprobe tcp_diag inet_diag")
    if kernel.subreaper and kernel.pidfds and kernel.copies_descriptors and kernel.knows_connections:
        yield Finding("kernel", "ok", "pidfds, pidfd_getfd, INET_DIAG, child subreaper")


# --- the project ------------------------------------------------------------------------------------------------------


def _project(project: Project | NoProject) -> Iterator[Finding]:
    if isinstance(project, NoProject):
        yield Finding("config", "bad" if project.is_broken else "warning", project.message, project.hint)
        return
    yield _config(project)
    for one in project.running:
        yield Finding("running", "ok", f"{one} runs here")
    yield from _programs(project)
    yield from _addresses(project)
    yield from _disk(project)
    yield from _cache(project)


def _config(project: Project) -> Finding:
    message = f"{project.file}: {_many(project.stages, 'stage')}, {_many(project.servers, 'server')}"
    if not project.stages and not project.servers:
        hint = 'write [stage.test] with run = "pytest"'
        return Finding("config", "warning", f"{message}: there is nothing to do", hint)
    if not project.files:
        return Finding("config", "warning", f"{message}, but no file is watched", "see `hotpipe why .`")
    return Finding("config", "ok", f"{message}, {_many(project.files, 'file')} watched")


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _programs(project: Project) -> Iterator[Finding]:
    for missing in project.missing:
        message = f"{missing.key}: there is no program {missing.program!r}"
        by_path, by_name = "mend the path, or chmod +x it", "install it, or mend PATH; is its environment active?"
        yield Finding("program", "bad", message, by_path if "/" in missing.program else by_name)
    if not project.missing and (project.stages or project.servers):
        yield Finding("program", "ok", "all programs that stages and servers name are there")


def _addresses(project: Project) -> Iterator[Finding]:
    for taken in project.taken:
        yield Finding("address", "bad", f"server.{taken.server}: {taken.message}", taken.hint)
    if project.sockets and not project.taken:
        held = "held by the hotpipe that runs here" if project.running else "free"
        yield Finding("address", "ok", f"{_many(project.sockets, 'socket')} in listen: {held}")


def _disk(project: Project) -> Iterator[Finding]:
    space = f"{_bytes(project.free_bytes)} free"
    if project.unwritable:
        hint = f"make {project.root}/.hotpipe writable for this user"
        message = f"nothing can be written into .hotpipe: {project.unwritable}"
        yield Finding("folder", "bad" if project.is_barred else "warning", message, hint)
    elif project.free_bytes < _TOO_LITTLE_SPACE:
        yield Finding("folder", "bad", f"the disk is full: {space}: no trigger can be written", "make room")
    elif project.free_bytes < _LITTLE_SPACE:
        yield Finding("folder", "warning", f"the disk is nearly full: {space}", "make room")
    elif project.free_inodes is not None and project.free_inodes < _FEW_INODES:
        message = f"the disk has room for {_many(project.free_inodes, 'more file')} only"
        yield Finding("folder", "warning", message, "make room")
    else:
        yield Finding("folder", "ok", f".hotpipe can be written to, {space}")


def _cache(project: Project) -> Iterator[Finding]:
    if project.cache_entries:
        size = f"{_bytes(project.cache_bytes)} of {_bytes(project.cache_most)}"
        yield Finding("cache", "ok", f"the cache holds {_many(project.cache_entries, 'file')}, {size}")


def _bytes(count: int) -> str:
    for unit, size in (("GB", 1_000_000_000), ("MB", 1_000_000), ("KB", 1_000)):
        if count >= size:
            return f"{count / size:.3g} {unit}" if count < 1000 * size else f"{count / size:,.0f} {unit}"
    return f"{count} bytes"

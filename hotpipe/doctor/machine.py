"""Looks at the machine: each capability is tried as hotpipe will use it. Nothing here raises."""

import ctypes
import os
import platform
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress

from hotpipe import __version__
from hotpipe.doctor.facts import Inotify, Kernel, Machine
from hotpipe.server import diag
from hotpipe.server.listener import is_kernel_able
from hotpipe.tree.inotify import Inotify as Instance

_PIDFD_GETFD = 438  # <asm-generic/unistd.h>
_PR_GET_CHILD_SUBREAPER = 37  # <sys/prctl.h>
_LIMITS = "/proc/sys/fs/inotify"
_INSTANCE = "anon_inode:inotify"
_NOBODYS_PORT = 1


def examine() -> Machine:
    """This machine, as this user sees it."""
    release = platform.release()
    is_linux = sys.platform == "linux"
    return Machine(
        system=platform.system(),
        release=release,
        python=platform.python_version(),
        hotpipe=__version__,
        inotify=_inotify() if is_linux else Inotify(),
        kernel=_kernel() if is_linux else Kernel(),
        wsl=_wsl(release),
        container=_container(),
        selinux={"1": "enforcing", "0": "permissive"}.get(_word("/sys/fs/selinux/enforce"), ""),
        descriptors=_descriptors(),
        git=_git(),
    )


def _inotify() -> Inotify:
    instances, watches, unseen = _in_use()
    return Inotify(
        max_watches=_number(f"{_LIMITS}/max_user_watches"),
        max_instances=_number(f"{_LIMITS}/max_user_instances"),
        used_watches=watches,
        used_instances=instances,
        unseen=unseen,
        error=_instance_error(),
    )


def _instance_error() -> str:
    try:
        Instance("/").close()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _in_use() -> tuple[int, int, int]:
    """The instances and watches of this user's processes, and how many of these could not be looked at: proc(5)."""
    instances = watches = unseen = 0
    for pid in _own_processes():
        try:
            for name in os.listdir(f"/proc/{pid}/fd"):
                with suppress(FileNotFoundError):
                    if os.readlink(f"/proc/{pid}/fd/{name}") == _INSTANCE:
                        instances += 1
                        watches += _text(f"/proc/{pid}/fdinfo/{name}").count("inotify wd:")
        except FileNotFoundError:  # it has just ended
            continue
        except OSError:
            unseen += 1
    return instances, watches, unseen


def _own_processes() -> Iterator[str]:
    for name in os.listdir("/proc"):
        with suppress(OSError):
            if name.isdigit() and os.stat(f"/proc/{name}").st_uid == os.getuid():
                yield name


def _kernel() -> Kernel:
    scope = _word("/proc/sys/kernel/yama/ptrace_scope")
    return Kernel(
        leads_connections=is_kernel_able(),
        pidfds=_has_pidfds(),
        copies_descriptors=_copies_descriptors(),
        subreaper=_is_subreaper_able(),
        knows_connections=diag.connections(_NOBODYS_PORT) is not None,
        ptrace_scope=int(scope) if scope.isdigit() and os.geteuid() else None,
    )


def _has_pidfds() -> bool:
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return True


def _copies_descriptors() -> bool:
    """Of a child, as in `server/turnaway.py`."""
    try:
        with subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE) as child:
            try:
                pidfd = os.pidfd_open(child.pid)
                copy: int = ctypes.CDLL(None).syscall(_PIDFD_GETFD, pidfd, 0, 0)
                os.close(pidfd)
            finally:
                child.kill()
    except (AttributeError, OSError):
        return False
    if copy >= 0:
        os.close(copy)
    return copy >= 0


def _is_subreaper_able() -> bool:
    answer = ctypes.c_int()
    return int(ctypes.CDLL(None).prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(answer), 0, 0, 0)) == 0


def _wsl(release: str) -> int:
    """WSL 2 has a kernel of its own; WSL 1 names itself with a capital letter."""
    if "microsoft-standard" in release or "WSL2" in release:
        return 2
    return 1 if "Microsoft" in release else 0


def _container() -> str:
    if os.path.exists("/.dockerenv"):
        return "docker"
    if os.path.exists("/run/.containerenv"):
        return "podman"
    return _word("/run/systemd/container") or os.environ.get("container", "")  # noqa: SIM112 - systemd's name for it


def _descriptors() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else sys.maxsize


def _git() -> str:
    if shutil.which("git") is None:
        return ""
    with suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(
            ["git", "--version"], capture_output=True, text=True, timeout=5, check=True
        ).stdout.strip()
    return ""


def _number(file: str) -> int:
    word = _word(file)
    return int(word) if word.isdigit() else 0


def _word(file: str) -> str:
    return _text(file).strip()


def _text(file: str) -> str:
    try:
        with open(file, encoding="utf-8", errors="replace") as opened:
            return opened.read()
    except OSError:
        return ""

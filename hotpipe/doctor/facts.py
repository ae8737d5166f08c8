"""What an examination found: frozen values that say nothing of good or bad."""

from msgspec import Struct


class Inotify(Struct, frozen=True):
    """The kernel's limits for one user, what of them is in use, and why no instance can be had, if so.

    `used_*` is None where this user may not look. `unseen` of its processes could not be looked at.
    """

    max_watches: int = 0
    max_instances: int = 0
    used_watches: int | None = None
    used_instances: int | None = None
    unseen: int = 0
    error: str = ""


class Kernel(Struct, frozen=True):
    """What was tried, and worked. `ptrace_scope` is Yama's, None where there is none."""

    leads_connections: bool = True
    pidfds: bool = True
    copies_descriptors: bool = True
    subreaper: bool = True
    knows_connections: bool = True
    ptrace_scope: int | None = None


class Machine(Struct, frozen=True):
    """The machine, without any project. `wsl` is 0 outside of WSL; `selinux` "enforcing" or another of its modes."""

    system: str
    release: str
    python: str
    hotpipe: str
    inotify: Inotify = Inotify()
    kernel: Kernel = Kernel()
    wsl: int = 0
    container: str = ""
    selinux: str = ""
    descriptors: int = 1024
    git: str = ""


class Deaf(Struct, frozen=True):
    """A file system below the root that gives no events, with the watched folders on it."""

    mount: str
    folders: int
    hint: str


class Taken(Struct, frozen=True):
    """An address of a server that cannot be had."""

    server: str
    message: str
    hint: str


class Missing(Struct, frozen=True):
    """A program that is not there, and the key that names it: `stage.lint.run`."""

    key: str
    program: str


class Project(Struct, frozen=True):
    """The project. `unwritable` says why nothing can be written into `.hotpipe`; `is_barred`: hotpipe refuses to start
    because of it."""

    root: str
    file: str
    folders: int = 0
    files: int = 0
    stages: int = 0
    servers: int = 0
    sockets: int = 0
    poll: str = "auto"
    deaf: tuple[Deaf, ...] = ()
    taken: tuple[Taken, ...] = ()
    missing: tuple[Missing, ...] = ()
    running: tuple[str, ...] = ()
    unwritable: str = ""
    is_barred: bool = False
    free_bytes: int = 0
    free_inodes: int | None = None
    cache_entries: int = 0
    cache_bytes: int = 0
    cache_most: int = 0


class NoProject(Struct, frozen=True):
    """There is no configuration (`is_broken`: there is one, and it cannot be used)."""

    message: str
    hint: str
    is_broken: bool

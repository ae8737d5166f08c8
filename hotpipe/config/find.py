"""Finds the configuration. Verbs that only talk to a running hotpipe need no more of it: start-up time.

The file is `hotpipe.toml`, or `[tool.hotpipe]` in `pyproject.toml`, in the working directory or the nearest folder
above. Its folder is the project's root.
"""

import errno
import os
import stat
from typing import Any

from hotpipe.errors import UsageError

OWN, SHARED = "hotpipe.toml", "pyproject.toml"


def find(cwd: str) -> str:
    """The nearest configuration file from `cwd` upward; raises UsageError where there is none."""
    folder = os.path.abspath(cwd)
    while True:
        own, shared = os.path.join(folder, OWN), os.path.join(folder, SHARED)
        if os.path.exists(own):
            return own
        if os.path.exists(shared) and "hotpipe" in _tool_tables(shared):
            return shared
        above = os.path.dirname(folder)
        if above == folder:
            break
        folder = above
    raise UsageError(
        f"no {OWN} in {cwd} or above, nor [tool.hotpipe] in a {SHARED}",
        hint=f"`hotpipe init` writes a {OWN}; or name one with --config FILE",
    )


def _tool_tables(file: str) -> dict[str, Any]:
    import tomllib  # noqa: PLC0415 - start-up time: most projects have a file of our own

    try:
        tool = tomllib.loads(text_of(file)).get("tool")
    except (UsageError, ValueError, RecursionError):
        return {}  # it is others' file: they will say what is wrong with it
    return tool if isinstance(tool, dict) else {}


def text_of(file: str) -> str:
    """What it holds; raises UsageError."""
    try:
        with open(file, encoding="utf-8-sig", opener=without_waiting) as opened:
            return opened.read()
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"cannot read {file}: it is not UTF-8 (byte {error.start})") from error


def without_waiting(path: str, flags: int) -> int:
    """An opener: OSError for what would hold its reader up or never end, a FIFO or a device."""
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
    if kind in (stat.S_IFREG, stat.S_IFDIR):  # of folders `open` says so itself
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, "it is no regular file")

"""The secret that lets a page see and act: kept in `.hotpipe/web.token`, so that an open tab survives a restart.

Invariant: what is in force was made here, at random; a file that others may read, or that is not a token, is replaced.
"""

import contextlib
import os
import re
import secrets
import stat

_NAME = "web.token"
_TOKEN = re.compile(rb"[A-Za-z0-9_-]{43}")


def of(folder: str) -> str:
    """The project's token; a new one that is kept nowhere if the folder cannot be written."""
    path = os.path.join(folder, _NAME)
    kept = _read(path)
    if kept is not None:
        return kept
    made = secrets.token_urlsafe(32)
    with contextlib.suppress(OSError):
        _write(path, made)
    return made


def _read(path: str) -> str | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with open(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        is_ours = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077
        text = file.read(64).strip() if is_ours else b""
    return text.decode() if _TOKEN.fullmatch(text) else None


def _write(path: str, token: str) -> None:
    """Beside its place and renamed: nobody reads a half, and no link is followed."""
    beside = f"{path}.{os.getpid()}"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(beside)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "w", encoding="ascii") as file:
        file.write(f"{token}\n")
    os.replace(beside, path)

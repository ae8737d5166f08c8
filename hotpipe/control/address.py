"""Where the control sockets are, and how one is reached whose path is too long for the kernel (unix(7): 108 bytes)."""

import contextlib
import os
import sys
from collections.abc import Iterator

FOLDER = ".hotpipe"
NAMES = ("control.sock", "control-gate.sock", "control-serve.sock")  # the primary's, and those beside it
_LONGEST = 107


@contextlib.contextmanager
def reachable(path: str) -> Iterator[str]:
    """A name of `path` that bind(2) and connect(2) take. Raises OSError where its folder does not exist."""
    if len(os.fsencode(path)) <= _LONGEST:
        yield path
    elif sys.platform == "linux":
        folder = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield f"/proc/self/fd/{folder}/{os.path.basename(path)}"
        finally:
            os.close(folder)
    else:
        yield os.path.relpath(path)

"""The file that HOTPIPE_CHANGED_FILES names: what a stage is to look at, one path a line."""

import contextlib
import os
import re
from collections.abc import Sequence

import psutil

from hotpipe.gate.command import written

_FOLDER = ".hotpipe/changed"
_PID = re.compile(r"\.([0-9]{1,9})$")


class Listed:
    """It lives as long as the stage. `path` is absolute; null where the file could not be written: a stage that wants
    it will say so itself."""

    def __init__(self, root: str, stage: str, paths: Sequence[str]) -> None:
        folder = os.path.join(root, _FOLDER)
        path = os.path.join(folder, f"{stage}.{os.getpid()}")
        self.path: str | None = None
        try:
            os.makedirs(folder, exist_ok=True)
            with open(path, "wb") as file:
                self.path = path
                file.write(written(paths))
        except OSError:
            self.remove()

    @staticmethod
    def tidy(root: str) -> None:
        """Remove what gates left that were killed."""
        folder = os.path.join(root, _FOLDER)
        with contextlib.suppress(OSError):
            for name in os.listdir(folder):
                pid = _PID.search(name)
                if pid and not psutil.pid_exists(int(pid[1])):
                    os.unlink(os.path.join(folder, name))

    def remove(self) -> None:
        if self.path is not None:
            with contextlib.suppress(OSError):
                os.unlink(self.path)
            self.path = None

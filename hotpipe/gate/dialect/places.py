"""Where a path that a tool wrote lies: in the project or not, and under which name. Pure."""

import posixpath
import re

_FOREIGN = re.compile(r"(?:^|/)(?:site-packages|dist-packages|node_modules|\.venv|\.tox|\.nox)/|^<")


class Places:
    """Paths as they are seen from a stage's folder."""

    def __init__(self, root: str, cwd: str) -> None:
        self._root = root.rstrip("/") + "/"
        self._cwd = cwd

    def relative(self, path: str) -> str:
        """`path` relative to the root where it lies in it, else as it was written."""
        if path.startswith("/"):
            whole = posixpath.normpath(path)
            return whole[len(self._root) :] if whole.startswith(self._root) else path
        within = posixpath.normpath(posixpath.join(self._cwd, path))
        return path if within.startswith("../") or path.startswith("<") else within

    def own(self, path: str) -> bool:
        """Whether somebody who works on the project would look there: no library."""
        within = self.relative(path)
        return not within.startswith(("/", "../")) and not _FOREIGN.search(within)

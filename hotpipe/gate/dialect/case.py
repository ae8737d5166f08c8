"""One failure of a test, told over many lines: its name, some places, and the reason. Pure."""

import re

from hotpipe.gate.dialect.base import Finding
from hotpipe.gate.dialect.places import Places

FRAME = re.compile(r' +File "([^"]{1,400})", line (\d{1,7})')


class Case:
    """One failure, as far as it has been told."""

    def __init__(self, tool: str, name: str, path: str | None = None) -> None:
        self.tool, self.name, self.path = tool, name, path
        self.line: int | None = None
        self.message = ""
        self._is_own = False

    def at(self, places: Places, path: str, line: int) -> None:
        """A frame: of those in the project the last is where one looks first."""
        own = places.own(path)
        if own or not self._is_own:
            if own or self.path is None:
                self.path, self.line = path, line
            self._is_own = own

    def finding(self) -> Finding:
        about = f"{self.name}: " if self.name else ""
        return Finding(self.tool, "error", self.path, self.line, None, None, f"{about}{self.message or 'failed'}")

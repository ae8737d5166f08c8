"""What a user may ask of a running hotpipe, whichever way: a key, a verb, a button.

Each returns at once; what comes of it is told in events.
"""

from collections.abc import Collection
from typing import Protocol


class Actions(Protocol):
    """Passed to the faces that have keys or buttons. What is asked of a half that does not run here is a UsageError."""

    def rerun(self, stages: Collection[str] = ()) -> tuple[str, ...]:
        """Run these stages (none: all) now, whatever is remembered of them; raises UsageError."""
        ...

    def restart(self, servers: Collection[str] = ()) -> tuple[str, ...]:
        """Restart these servers (none: all) on what is on disk, without checks; raises UsageError."""
        ...

    def pause(self) -> None:
        """Changes start no runs until `resume`; raises UsageError where there is no gate."""
        ...

    def resume(self) -> None:
        """Changes start runs again; raises UsageError where there is no gate."""
        ...

    def page(self) -> str | None:
        """The address of the dashboard where it runs, with what lets its buttons act; else that of a server's page."""
        ...

    def resized(self) -> None:
        """The terminal has another size, and so have those of the children; said by a face that has it to itself."""
        ...

    def quit(self) -> None:
        """End hotpipe, as Ctrl-C does; a second time kills at once."""
        ...

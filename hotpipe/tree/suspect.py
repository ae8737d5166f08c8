"""What a source of events tells: where something happened, and how it left a file there."""

from typing import Literal, NamedTuple

Write = Literal["open", "whole", "gone"]


class Suspect(NamedTuple):
    """A path, relative to the root, at which something happened.

    `write` is how the last of it left a file: being written to ("open", also where nobody knows), finished ("whole":
    closed by its writer, or moved into place), or not there any more.
    """

    path: str
    is_dir: bool
    write: Write = "open"

"""What would be watched, by name alone: nothing is read, put under watch, or remembered."""

import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from hotpipe.tree.ignore import Ignore


class Listed(NamedTuple):
    """A folder that is not ignored, and the files and links in it that are not; all from the root on."""

    folder: str
    files: tuple[str, ...]


def walk(root: str, tops: Iterable[str], ignore: Ignore) -> Iterator[Listed]:
    """The folders `tops`, and all below them. What cannot be listed is empty."""
    waiting = list(tops)
    while waiting:
        folder = waiting.pop()
        folders, files = _listed(root, folder, ignore)
        waiting += folders
        yield Listed(folder, tuple(files))


def _listed(root: str, folder: str, ignore: Ignore) -> tuple[list[str], list[str]]:
    rules = ignore.folder(folder)
    folders: list[str] = []
    files: list[str] = []
    try:
        with os.scandir(os.path.join(root, folder)) as listing:
            for item in listing:
                is_dir = item.is_dir(follow_symlinks=False)
                if not rules.ignores(item.name, is_dir):
                    path = f"{folder}/{item.name}" if folder else item.name
                    if is_dir:
                        folders.append(path)
                    elif item.is_symlink() or item.is_file(follow_symlinks=False):
                        files.append(path)
    except OSError:
        pass
    return folders, files

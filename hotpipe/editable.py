"""Where a copy of a work tree has what is installed from that work tree in editable form (PEP 660).

A virtual environment names such a project by its absolute path, so tests that run in a copy would import the work tree,
and be green for what is not in the copy. On PYTHONPATH, the copy's folders come first.
"""

import os
import re
from collections.abc import Iterator
from glob import escape, iglob

_FINDER_PATH = re.compile(r"""['"]: ['"](/[^'"]+)['"]""")  # MAPPING in setuptools' __editable___NAME_finder.py


def python_path(top: str, copy: str, within: tuple[str, ...]) -> Iterator[str]:
    """The folders of `copy` in place of those of `top` that virtual environments name: the active one, and those among
    `within` (relative to `top`)."""
    environments = [os.path.join(top, path) for path in within]
    environments += [os.environ[name] for name in ("VIRTUAL_ENV",) if name in os.environ]
    found = (place for folder in environments for place in _editable(folder))
    for place in dict.fromkeys(found):
        relative = os.path.relpath(os.path.realpath(place), top)
        if not relative.startswith("..") and os.path.isdir(os.path.join(copy, relative)):
            yield os.path.normpath(os.path.join(copy, relative))


def _editable(environment: str) -> Iterator[str]:
    """The folders outside of it that a virtual environment puts on Python's path: site(3)."""
    if not os.path.isfile(os.path.join(environment, "pyvenv.cfg")):
        return
    packages = os.path.join(escape(environment), "lib*", "python*", "site-packages")
    for file in iglob(os.path.join(packages, "*.pth")):
        yield from (line.strip() for line in _text(file).splitlines() if line.startswith("/"))
    for file in iglob(os.path.join(packages, "__editable___*_finder.py")):
        yield from (os.path.dirname(package) for package in _FINDER_PATH.findall(_text(file)))


def _text(file: str) -> str:
    try:
        with open(file, encoding="utf-8", errors="surrogateescape") as opened:
            return opened.read()
    except OSError:
        return ""

"""An editor for the tests: a program that writes down what it was started with."""

import time
from pathlib import Path

from running import PATIENCE_S

SCRIPT = """#!/bin/sh
printf '%s\\n' "$@" > "$0.new"
mv "$0.new" "$0.argv"
"""


def recorder(folder: Path) -> Path:
    """The program, in that folder."""
    program = folder / "editor"
    program.write_text(SCRIPT)
    program.chmod(0o755)
    return program


def was_started(folder: Path) -> bool:
    return (folder / "editor.argv").exists()


def recorded(folder: Path) -> list[str]:
    """What it is started with next. Nobody tells when."""
    until = time.monotonic() + PATIENCE_S
    while not was_started(folder):
        assert time.monotonic() < until, "no editor was started"
        time.sleep(0.01)
    told = folder / "editor.argv"
    words = told.read_text().splitlines()
    told.unlink()
    return words

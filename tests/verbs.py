"""Verbs that talk to a running hotpipe, run as a user runs them."""

import subprocess
from pathlib import Path
from typing import Any

from running import HOTPIPE, PATIENCE_S, environment


def verb(folder: Path, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """What a verb printed, and its exit code."""
    options = {"env": environment(), "capture_output": True} | options
    return subprocess.run([*HOTPIPE, *arguments], cwd=folder, text=True, timeout=2 * PATIENCE_S, check=False, **options)


def begin(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    """The same, while it goes on."""
    return subprocess.Popen(
        [*HOTPIPE, *arguments],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    """Its exit code, and what it printed on both streams."""
    try:
        out, err = process.communicate(timeout=2 * PATIENCE_S)
    finally:
        process.kill()
    return process.returncode, out, err

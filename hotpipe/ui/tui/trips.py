"""Programs that a key starts: a browser beside hotpipe, and `hotpipe attach`, which has the terminal meanwhile."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping

import anyio

_OPENERS = ("wslview", "xdg-open", "open")
_PATIENCE_S = 10.0  # some of them wait for the browser that they have started


async def browse(address: str, environ: Mapping[str, str]) -> str:
    """Open it in a browser; returns what to tell the user."""
    opener = next(filter(None, map(shutil.which, _OPENERS)), None)
    if opener is None or not _has_display(environ):
        return f"open {address}"
    try:
        with anyio.move_on_after(_PATIENCE_S):
            code = await anyio.to_thread.run_sync(_opened, [opener, address], abandon_on_cancel=True)
            return f"opened {address}" if code == 0 else f"{os.path.basename(opener)} failed ({code}): {address}"
    except OSError as error:
        return f"{os.path.basename(opener)}: {error.strerror}: {address}"
    return f"opened {address}"


def _opened(command: list[str]) -> int:
    """In a session of its own: a text browser must not get this terminal."""
    nothing = subprocess.DEVNULL
    return subprocess.call(command, stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True)


def _has_display(environ: Mapping[str, str]) -> bool:
    return sys.platform == "darwin" or any(
        environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME", "BROWSER")
    )


async def attach(server: str, root: str) -> int:
    """Give the terminal to a server until the user comes back; returns the exit code."""
    command = [sys.executable, "-m", "hotpipe", "attach", server]
    process = await anyio.open_process(command, cwd=root, stdin=None, stdout=None, stderr=None)
    try:
        return await process.wait()
    finally:
        if process.returncode is None:  # hotpipe ends meanwhile
            process.terminate()

"""Programs that a key starts: a browser beside hotpipe, and `hotpipe attach`, which has the terminal meanwhile."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping

import anyio
from anyio.abc import ByteReceiveStream, Process

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


class Visit:
    """To a server: `hotpipe attach`; `file` is the project's configuration. The terminal must be lent."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._process: Process | None = None

    async def to(self, server: str) -> str:
        """Until the user comes back; returns what went wrong, or nothing."""
        # -P: what a project calls click.py is none of ours.
        command = [sys.executable, "-P", "-m", "hotpipe", "attach", "--config", self._file, "--", server]
        async with await anyio.open_process(command, stdin=None, stdout=None) as self._process:
            said = await _all(self._process.stderr)
            code = await self._process.wait()
        return "" if code == 0 else said.decode(errors="replace").strip() or f"hotpipe attach {server}: status {code}"

    def end(self) -> None:
        """At once, and before this process ends: it would put the terminal in order as it has found it, lent."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(OSError):
                self._process.kill()
                os.waitpid(self._process.pid, 0)


async def _all(stream: ByteReceiveStream | None) -> bytes:
    return b"".join([chunk async for chunk in stream]) if stream is not None else b""

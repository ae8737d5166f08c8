"""What to start: an argv, a folder, an environment, and the sockets that go along."""

import os
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass

from hotpipe.errors import SpawnError

SH = "/bin/sh"
COOKIE = "HOTPIPE_SPAWN"  # in the environment of every spawn: tells whose a stray process is
_OF_SOCKETS = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET")
# `$$` is the pid that the server keeps through the execs, so LISTEN_PID is its own: sd_listen_fds(3) demands that.
_EXEC = 'cd -- "$1" && shift && exec "$@"'
_EXEC_LISTENING = 'cd -- "$1" && shift && LISTEN_PID=$$ exec "$@"'
_SCRIPT_LISTENING = 'cd -- "$1" && export LISTEN_PID=$$ && '


@dataclass(frozen=True, slots=True)
class Command:
    """A program to start. `run` is a text for sh or an argv; `sockets` become descriptors 3, 4, …"""

    run: str | tuple[str, ...]
    cwd: str
    env: Mapping[str, str]
    sockets: tuple[int, ...] = ()

    def __str__(self) -> str:
        return self.run if isinstance(self.run, str) else shlex.join(self.run)

    def argv(self) -> tuple[str, ...]:
        """What to execute; raises SpawnError where folder or program do not exist."""
        if not os.path.isdir(self.cwd):
            raise SpawnError(f"cannot run `{self}`: there is no folder {self.cwd}", hint="mend the key cwd")
        if isinstance(self.run, str):
            listening = _SCRIPT_LISTENING if self.sockets else 'cd -- "$1" && '
            script = self.run if self._is_here() and not self.sockets else f"{listening}shift\n{self.run}"
            return (SH, "-c", script, SH, self.cwd)
        program = self._program(self.run[0])
        if self._is_here() and not self.sockets:
            return (program, *self.run[1:])
        return (SH, "-c", _EXEC_LISTENING if self.sockets else _EXEC, SH, self.cwd, program, *self.run[1:])

    def _is_here(self) -> bool:
        return os.path.samefile(self.cwd, os.curdir)

    def _program(self, name: str) -> str:
        where = os.path.join(self.cwd, name) if "/" in name else name
        found = shutil.which(where, path=self.env.get("PATH"))
        if found is None:
            raise SpawnError(f"cannot run `{self}`: there is no program {name!r}", hint=f"install {name}, or mend run")
        return os.path.abspath(found)


def environment(*layers: Mapping[str, str]) -> dict[str, str]:
    """hotpipe's own environment without what belongs to hotpipe's own sockets, under `layers`."""
    env = {key: value for key, value in os.environ.items() if key not in _OF_SOCKETS}
    for layer in layers:
        env.update(layer)
    return env

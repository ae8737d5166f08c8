"""What to start: an argv, a folder, an environment, and the sockets that go along."""

import os
import re
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from hotpipe.errors import SpawnError

SH = "/bin/sh"
COOKIE = "HOTPIPE_SPAWN"  # in the environment of every spawn: tells whose a stray process is
_OF_SERVICES = (  # sd_listen_fds(3), sd_notify(3), sd_watchdog_enabled(3), systemfd: hotpipe's own, not its children's
    "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "LISTEN_FDS_FIRST_FD", "LISTEN_PIDFDID",
    "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID",
)  # fmt: skip
# `$$` is the pid that the server keeps through the execs, so LISTEN_PID is its own: sd_listen_fds(3) demands that.
_EXEC = 'cd -- "$1" && shift && exec "$@"'
_EXEC_LISTENING = 'cd -- "$1" && shift && LISTEN_PID=$$ exec "$@"'

_ASSIGNMENTS = re.compile(r"""(?:[A-Za-z_][A-Za-z0-9_]*=[^\s"'\\$`;&|<>()]*[ \t]+)+""")
_LONG = 4_000  # characters: a stage with many files, for which its shell may well stay; shlex reads 2 a microsecond
_JOINTS = tuple(";&|()#")  # what makes more than one command of a text, at the start of a word


@dataclass(frozen=True, slots=True)
class Command:
    """A program to start. `run` is a text for sh or an argv; `sockets` become descriptors 3, 4, …

    `tty` is what a terminal may stand for, where the user looks at one: nothing, the output, or standard input, too.
    """

    run: str | tuple[str, ...]
    cwd: str
    env: Mapping[str, str]
    sockets: tuple[int, ...] = ()
    tty: Literal["nothing", "output", "all"] = "nothing"

    def __str__(self) -> str:
        return self.run if isinstance(self.run, str) else shlex.join(self.run)

    def argv(self) -> tuple[str, ...]:
        """What to execute; raises SpawnError where folder or program do not exist."""
        if not os.path.isdir(self.cwd):
            raise SpawnError(f"cannot run `{self}`: there is no folder {self.cwd}", hint="mend the key cwd")
        argv = (SH, "-c", _script(self.run)) if isinstance(self.run, str) else self._found(*self.run)
        if self._is_here() and not self.sockets:
            return argv
        return (SH, "-c", _EXEC_LISTENING if self.sockets else _EXEC, SH, self.cwd, *argv)

    def _is_here(self) -> bool:
        return os.path.samefile(self.cwd, os.curdir)

    def _found(self, name: str, *arguments: str) -> tuple[str, ...]:
        where = os.path.join(self.cwd, name) if "/" in name else name
        found = shutil.which(where, path=self.env.get("PATH"))
        if found is None and "/" in name and os.path.isfile(where):
            raise SpawnError(f"cannot run `{self}`: {name} is not executable", hint=f"chmod +x {shlex.quote(where)}")
        if found is None:
            raise SpawnError(f"cannot run `{self}`: there is no program {name!r}", hint=f"install {name}, or mend run")
        return (os.path.abspath(found), *arguments)


@lru_cache(maxsize=256)  # a stage is started again and again, and shlex takes its time
def _script(text: str) -> str:
    """`text` for sh. A single command takes the place of its shell, and so has the pid that LISTEN_PID names."""
    text = text.strip()
    if len(text) > _LONG:
        return text
    assignments = _ASSIGNMENTS.match(text)
    start = assignments.end() if assignments else 0
    return f"{text[:start]}exec {text[start:]}" if _is_one_program(text[start:]) else text


def _is_one_program(text: str) -> bool:
    """Surely so: in doubt, because of quotes or substitutions, it is left to the shell."""
    words = shlex.shlex(text, posix=True, punctuation_chars=True)
    words.whitespace_split, words.commenters = True, ""
    try:
        first, *others = words
    except ValueError:  # no words, or an open quote
        return False
    program = "/" in first or shutil.which(first) is not None  # not a word of the shell's
    return program and "\n" not in text and not any(word[:1] in _JOINTS for word in others)


def environment(*layers: Mapping[str, str]) -> dict[str, str]:
    """hotpipe's own environment without what belongs to hotpipe's own sockets, under `layers`."""
    env = {key: value for key, value in os.environ.items() if key not in _OF_SERVICES}
    for layer in layers:
        env.update(layer)
    return env

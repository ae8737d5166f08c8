"""Which programs a stage's command comes down to, and what tells that one of them has been replaced.

Invariant: whatever is found is part of what `marks` returns, so that a program, its interpreter, or a package beside it
that is replaced, added or removed changes that. Too many words are asked about rather than too few: one that names a
program by accident costs a stat.

How it works: each word of the command is looked up as sh would; what it leads to (the interpreter of a script, the
words of a shell script of the project's own) is looked up in turn. Each is looked at once between two `forget`s.
"""

import itertools
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple

from hotpipe.gate.environments import VENVS, Chosen, Environments
from hotpipe.gate.looks import Looks, Mark

_SHELL = "/bin/sh"
_SCRIPTS = (".py", ".sh", ".bash", ".zsh", ".js", ".mjs", ".cjs", ".ts", ".rb", ".pl", ".php", ".lua")
_BINS = (*(f"{venv}/bin" for venv in VENVS), "node_modules/.bin")
_MOST_LINKS = 16
_MOST_QUOTED = 4_000  # characters: shlex takes 10 µs for each
_MOST_SCRIPT = 64_000  # bytes
_SPLIT = re.compile(r"""[\s;&|()<>`'"{}=,:$]+""")
_GOES_TO = re.compile(r"""(?:\bcd|\s-C)\s+["']?([^\s;&|"'$`]+)""")
_EXEC = re.compile(rb"""\n'''exec' "?([^" \n]+)""")  # how pip writes a #! that is too long for the kernel


Run = str | tuple[str, ...]


class _Place(NamedTuple):
    """Where words are looked up. Paths may count from any of `folders`; before PATH may come any of `more`: what the
    command names, and what it may have others put there."""

    folders: tuple[str, ...]
    path: tuple[str, ...]
    more: tuple[str, ...]
    chosen: Chosen


class _Program(NamedTuple):
    """What a word names: its marks, and the words that it leads to."""

    marks: tuple[Mark, ...] = ()
    leads: tuple[str, ...] = ()


_NONE = _Program()


class _Known:
    """What has been found in one place: what is there for every command, and the programs that words name."""

    def __init__(self, ambient: Iterable[Mark]) -> None:
        self.ambient = tuple(ambient)
        self.programs: dict[str, _Program] = {}


class Programs:
    """The programs of all stages of the project at `root` (a real path)."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._looks = Looks(root)
        self._environments = Environments(self._looks)
        self._known: dict[_Place, _Known] = {}

    def forget(self) -> None:
        """Look again at everything."""
        self._looks.forget()
        self._known.clear()

    def marks(self, run: Run, cwd: str, env: Mapping[str, str]) -> tuple[Mark, ...]:
        """Of all that `run` may start in `cwd` under `env`."""
        place = _place(run, (cwd, self._root), env.get("PATH", os.defpath), Chosen.by(env))
        known = self._known.get(place)
        if known is None:
            ambient = self._environments.ambient(place.folders, place.chosen)
            known = self._known[place] = _Known(ambient)
        found = list(known.ambient)
        waiting = list(words_of(run))
        seen = set(waiting)
        while waiting:
            program = self._program(waiting.pop(), place, known.programs)
            found.extend(program.marks)
            leads = [word for word in program.leads if word not in seen]
            waiting.extend(leads)
            seen.update(leads)
        return tuple(found)

    def _program(self, word: str, place: _Place, known: dict[str, _Program]) -> _Program:
        program = known.get(word)
        if program is None:
            looked = [self._look(path, place.chosen) for path in dict.fromkeys(self._paths(word, place))]
            marks = tuple(mark for one in looked for mark in one.marks)
            program = known[word] = _Program(marks, tuple(lead for one in looked for lead in one.leads))
        return program

    def _paths(self, word: str, place: _Place) -> Iterator[str]:
        """The files that `word` may name as a program."""
        if "/" in word or word.endswith(_SCRIPTS):
            yield from (os.path.join(folder, word) for folder in place.folders)
        if "/" not in word:
            yield from (os.path.join(folder, word) for folder in place.more if self._looks.holds(folder, word))
            on_path = (os.path.join(folder, word) for folder in place.path if self._looks.holds(folder, word))
            yield from itertools.islice(filter(self._is_program, on_path), 1)

    def _is_program(self, path: str) -> bool:
        return self._looks.file(path) is not None and os.access(path, os.X_OK)

    def _look(self, path: str, chosen: Chosen) -> _Program:
        ways = _ways(path)
        mark = self._looks.file(ways[-1])
        if mark is None or not (path.endswith(_SCRIPTS) or os.access(path, os.X_OK)):
            return _NONE
        around = tuple(mark for way in ways for mark in self._environments.of_program(way, chosen))
        return _Program((tuple(map(os.fsencode, ways)), mark, *around), tuple(self._leads(ways[-1])))

    def _leads(self, path: str) -> Iterator[str]:
        head = self._looks.head(path, 512)
        first = head.partition(b"\n")[0]
        is_for_sh = path.endswith((".sh", ".bash", ".zsh"))
        if first.startswith(b"#!"):
            yield from (word for word in os.fsdecode(first[2:]).split() if not word.startswith("-"))
            yield from map(os.fsdecode, _EXEC.findall(head))
            is_for_sh = is_for_sh or first.split()[-1].endswith(b"sh")
        if is_for_sh and self._looks.is_inside(path):
            yield from words_of(os.fsdecode(self._looks.head(path, _MOST_SCRIPT)))


@lru_cache(maxsize=1024)
def _place(run: Run, within: tuple[str, str], path: str, chosen: Chosen) -> _Place:
    """`within` is the stage's folder and the root."""
    cwd, root = within
    text = run if isinstance(run, str) else " ".join(run)
    gone_to = (os.path.normpath(os.path.join(cwd, folder)) for folder in _GOES_TO.findall(text))
    folders = tuple(dict.fromkeys((cwd, *gone_to, *_above(cwd, root))))
    words = [os.path.join(cwd, word) for word in words_of(run) if "/" in word]
    named = [os.path.dirname(word) for word in words if word.endswith("/activate")]
    named += [word for word in words if os.path.basename(word.rstrip("/")) in ("bin", ".bin")]
    usual = [f"{folder}/{name}" for folder in folders for name in _BINS]
    on_path = tuple(os.path.join(cwd, part) for part in path.split(os.pathsep))
    return _Place(folders, on_path, tuple(dict.fromkeys(named + usual)), chosen)


def _above(cwd: str, root: str) -> Iterator[str]:
    """The folders above `cwd` up to the root, in which a package manager goes on looking."""
    while cwd.startswith(f"{root}/"):
        cwd = os.path.dirname(cwd)
        yield cwd
    yield root


@lru_cache(maxsize=1024)
def words_of(run: Run) -> tuple[str, ...]:
    """All that can name a program in a text for sh or an argv: words as sh reads them, and what is left of them when
    they are split at every sign that means something to a shell."""
    if isinstance(run, tuple):
        words = [*run, *(piece for word in run if _SPLIT.search(word) for piece in _SPLIT.split(word))]
    else:
        words = [_SHELL, *_as_sh_does(run), *_SPLIT.split(run)]
    return tuple(dict.fromkeys(word for word in words if word and not word.startswith("-") and "\0" not in word))


def _as_sh_does(text: str) -> list[str]:
    try:
        return shlex.split(text) if len(text) <= _MOST_QUOTED and any(sign in text for sign in "\\\"'") else []
    except ValueError:  # an open quote
        return []


def _ways(path: str) -> list[str]:
    """A path, what it links to, and what that links to, up to the real one: any of these may lie in an environment."""
    ways = [path]
    while len(ways) <= _MOST_LINKS:
        try:
            target = os.readlink(ways[-1])
        except OSError:
            break
        ways.append(os.path.normpath(os.path.join(os.path.dirname(ways[-1]), target)))
    return [*ways, os.path.realpath(path)]

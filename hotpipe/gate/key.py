"""The key under which a stage's pass is remembered: it differs whenever the stage could say something else.

Invariant: a key covers the stage's name, command, folder and configured environment; the content of its inputs; the
keys of the stages that it needs; the inherited environment but for what is `volatile`; the programs that the command
comes down to, with their interpreters and environments (`programs`); the project's place, the system and the user.
Time, network and what lies outside of the project are not covered: `cache = false` is for stages that depend on them.

Take the key before the stage starts, and once more when it has passed: only if both are the same does the pass belong
to it, for a program may have been replaced meanwhile.
"""

import os
import sys
import time
from collections.abc import Iterable, Mapping
from hashlib import blake2b

import msgspec

from hotpipe.config.model import Stage
from hotpipe.gate import volatile
from hotpipe.gate.looks import Mark
from hotpipe.gate.programs import Programs

_FORMAT = 1
_FRESH_S = 1.0  # for so long what was seen on disk is taken for true, unless `forget` is called


class Keys:
    """The keys of the stages of the project at `root`; `inherited` is hotpipe's own environment.

    Where `root` is a copy, `place` is what it is a copy of, and the keys are those that it has there.
    """

    def __init__(self, root: str, inherited: Mapping[str, str], place: str | None = None) -> None:
        self._root = os.path.realpath(root)
        self._moved = _octets(self._root), _octets(os.path.realpath(place or root))
        self._inherited = dict(inherited)
        self._left_out = volatile.left_out(inherited)
        self._common = _digest((_FORMAT, _machine(), self._moved[1], self._placed(_table(volatile.counted(inherited)))))
        self._programs = Programs(self._root)
        self._looked_at = time.monotonic()

    def forget(self) -> None:
        """Look again at all programs: to be called when a run begins."""
        self._programs.forget()
        self._looked_at = time.monotonic()

    def key(self, name: str, stage: Stage, inputs: str, needs: Iterable[str]) -> str:
        """32 hexadecimal digits. `inputs` is the identity of the files that concern the stage, `needs` are the keys of
        the stages that it needs."""
        if time.monotonic() - self._looked_at > _FRESH_S:
            self.forget()
        cwd = os.path.normpath(os.path.join(self._root, stage.cwd))
        asked = _octets(stage.run) if isinstance(stage.run, str) else tuple(map(_octets, stage.run))
        programs = self._programs.marks(stage.run, cwd, self._inherited | stage.env)
        place = (_octets(name), asked, _octets(cwd), _table(stage.env), _table(self._named_in(stage)))
        given = (_octets(inputs), tuple(map(_octets, sorted(needs))))
        return _digest((self._common, self._placed((place, programs)), given)).hex()

    def _placed(self, mark: Mark) -> Mark:
        """With the path of the copy, wherever it stands, as that of the original."""
        here, there = self._moved
        if here == there:
            return mark
        if isinstance(mark, bytes):
            return mark.replace(here, there)
        return tuple(map(self._placed, mark)) if isinstance(mark, tuple) else mark

    def _named_in(self, stage: Stage) -> dict[str, str]:
        """What would be left out, but the command names it: `--since $GITHUB_BASE_REF`."""
        text = stage.run if isinstance(stage.run, str) else "\0".join(stage.run)
        return {name: value for name, value in self._left_out.items() if name in text} if "$" in text else {}


def _machine() -> Mark:
    return sys.platform.encode(), os.uname().machine.encode(), os.geteuid()


def _table(variables: Mapping[str, str]) -> Mark:
    return tuple((_octets(name), _octets(value)) for name, value in sorted(variables.items()))


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _digest(mark: Mark) -> bytes:
    """Of the mark as msgpack, which says where each part ends."""
    return blake2b(msgspec.msgpack.encode(mark), digest_size=16).digest()

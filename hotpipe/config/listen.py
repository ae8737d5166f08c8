"""A socket as the configuration writes it, and the words in which a wrong value is told.

What `table` gives, `of` reads back as the same. No port is opened and no file looked at: that is for those who bind.
"""

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

KeyPath = tuple[str, ...]
SocketType = Literal["http", "https", "tcp", "udp", "unix"]

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")

_SOCKET_TYPES: tuple[SocketType, ...] = ("http", "https", "tcp", "udp", "unix")
_KEYS = frozenset({"name", "backlog", *_SOCKET_TYPES})
_BACKLOG = 4096
_LARGEST_BACKLOG = 2**31 - 1  # an int, listen(2)
_LARGEST_PORT = 65_535
_TYPE = re.compile(r"([a-z]+)::")
_SPEC = re.compile(r"(?:[a-z]+::)?(?:(?P<host>\[[^\]]+\]|[^:\[\]]+):)?(?P<port>[0-9]+)")


class WrongPartsError(ValueError):
    """All that is wrong inside one value: a message each, at a key inside it, or at () for the value itself."""

    def __init__(self, faults: Iterable[tuple[KeyPath, str]]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(message for _, message in self.faults))


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` where something known is near to `word`, in whatever case, else nothing."""
    folded = {name.casefold(): name for name in sorted(known)}
    import difflib  # noqa: PLC0415 - start-up time

    found = difflib.get_close_matches(word.casefold(), folded, n=1)
    return f"; did you mean {folded[found[0]]!r}?" if found else ""


@dataclass(frozen=True, slots=True)
class Listen:
    """A socket to open, as systemfd writes it: `[TYPE::][HOST:]PORT` (port 0 is a free one), or `unix::PATH`.

    `path` is relative to the project's root, or absolute; whether it fits into a socket's address (107 bytes, unix(7))
    shows when it is opened.
    """

    type: SocketType
    host: str
    port: int
    name: str = ""
    backlog: int = _BACKLOG
    path: str = ""

    @classmethod
    def of(cls, written: object) -> "Listen":
        """From a spec, or a table `{ name, tcp = "HOST:PORT", backlog }`; raises ValueError."""
        if isinstance(written, str):
            return cls._of_spec(written)
        if isinstance(written, dict):
            return cls._of_table(written)
        raise ValueError('must be a spec such as "http::8000", or a table such as { name = "admin", tcp = "8001" }')

    @classmethod
    def _of_spec(cls, spec: str) -> "Listen":
        if "\0" in spec:
            raise ValueError("must not contain a NUL character")
        typed = _TYPE.match(spec.strip())
        named = typed[1] if typed else "tcp"
        kind = next((kind for kind in _SOCKET_TYPES if kind == named), None)
        if kind is None:
            known = f"the types are {', '.join(_SOCKET_TYPES)}{nearest(named, _SOCKET_TYPES)}"
            raise ValueError(f"{spec!r}: no socket type {named!r}; {known}")
        if kind == "unix":
            return cls._of_path(spec, spec.strip().removeprefix("unix::"))
        found = _SPEC.fullmatch(spec.strip())
        if not found:
            raise ValueError(f"{spec!r} is no socket: write [TYPE::][HOST:]PORT, for example http::8000 or [::1]:8001")
        if len(found["port"]) > 5 or int(found["port"]) > _LARGEST_PORT:
            raise ValueError(f"{spec!r}: the largest port is {_LARGEST_PORT}")
        return cls(kind, (found["host"] or "127.0.0.1").strip("[]"), int(found["port"]))

    @classmethod
    def _of_path(cls, spec: str, path: str) -> "Listen":
        if posixpath.basename(path) in {"", ".", ".."} or path.startswith("unix::"):
            raise ValueError(f"{spec!r} is no socket: write unix::PATH, for example unix::run/web.sock")
        return cls("unix", "", 0, path=path)

    @classmethod
    def _of_table(cls, table: Mapping[str, object]) -> "Listen":
        wrong = list(_table_faults(table))
        name, backlog = table.get("name", ""), table.get("backlog", _BACKLOG)
        if not isinstance(name, str) or (name and not NAME.fullmatch(name)):
            wrong.append(f"the name {name!r} must consist of letters, digits, '.', '_' and '-'")
            name = ""
        if isinstance(backlog, bool) or not isinstance(backlog, int) or not 0 < backlog <= _LARGEST_BACKLOG:
            wrong.append("backlog must be a positive integer")
            backlog = _BACKLOG
        spec = None
        for kind in _types(table):
            try:
                spec = cls._of_address(kind, table[kind])
            except ValueError as error:
                wrong.append(str(error))
        if wrong or not spec:
            raise WrongPartsError(((), message) for message in wrong)
        return replace(spec, name=name, backlog=backlog)

    @classmethod
    def _of_address(cls, kind: SocketType, address: object) -> "Listen":
        if not isinstance(address, str):
            raise ValueError(f"{kind} must be a string such as {_example(kind)}")
        return cls._of_spec(f"{kind}::{address}")

    def table(self, name: str) -> dict[str, str | int]:
        """As a table of the configuration, all of it said."""
        return {"name": name, self.type: self.address, "backlog": self.backlog}

    @property
    def address(self) -> str:
        """`HOST:PORT`, with brackets around IPv6, or the path of a unix socket: as asked for, before it is opened."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.path or f"{host}:{self.port}"

    @property
    def is_stream(self) -> bool:
        """Connections are accepted on it."""
        return self.type != "udp"

    @property
    def taken(self) -> tuple[str, ...] | None:
        """What no other socket can have, comparable between sockets; null for a free port."""
        if self.type == "unix":
            return ("unix", posixpath.normpath(self.path))
        protocol = "stream" if self.is_stream else "udp"
        return (protocol, self.host.lower(), str(self.port)) if self.port else None


def _types(table: Mapping[str, object]) -> list[SocketType]:
    return [kind for kind in _SOCKET_TYPES if kind in table]


def _table_faults(table: Mapping[str, object]) -> Iterator[str]:
    unknown = table.keys() - _KEYS
    for key in sorted(unknown):
        yield f"unknown key {key!r}{nearest(key, _KEYS)}"
    if len(_types(table)) != 1 and not unknown:
        yield 'a socket has one address, named by its type: { tcp = "127.0.0.1:8001" }'


def _example(kind: SocketType) -> str:
    return '"run/web.sock"' if kind == "unix" else '"127.0.0.1:8001"'


def _address_schema(kind: SocketType) -> dict[str, Any]:
    return {"type": "string", "description": "PATH" if kind == "unix" else "[HOST:]PORT"}


LISTEN_SCHEMA: dict[str, Any] = {
    "title": "Listen",
    "anyOf": [
        {"type": "string", "description": "[TYPE::][HOST:]PORT or unix::PATH"},
        {
            "type": "object",
            "properties": {
                "name": {"type": "string", "pattern": f"^({NAME.pattern})?$"},
                "backlog": {"type": "integer", "minimum": 1, "maximum": _LARGEST_BACKLOG},
                **{kind: _address_schema(kind) for kind in _SOCKET_TYPES},
            },
            "anyOf": [{"required": [kind]} for kind in _SOCKET_TYPES],
            "additionalProperties": False,
        },
    ],
}

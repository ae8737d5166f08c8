"""What a configuration may say: frozen types, and a pure validation that reports every problem at once.

`parse` takes the tables that TOML gave and returns either a `Config` or the faults, each at its key path. A key that is
not a field of these types does not work yet, and is refused.
"""

import difflib
import posixpath
import re
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any, Literal, get_args, get_origin

import msgspec

KeyPath = tuple[str, ...]
SocketType = Literal["http", "https", "tcp"]
StopSignal = Literal["TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "KILL"]

_SOCKET_TYPES: tuple[SocketType, ...] = ("http", "https", "tcp")
_UNITS = {"ms": Decimal("0.001"), "s": Decimal(1), "m": Decimal(60), "h": Decimal(3600)}
_DURATION = re.compile(r"([0-9]{1,24}(?:\.[0-9]{1,24})?)(ms|s|m|h)")
_LARGEST_PORT = 65_535
_TYPE = re.compile(r"([a-z]+)::")
_SPEC = re.compile(r"(?:[a-z]+::)?(?:(?P<host>\[[^\]]+\]|[^:\[\]]+):)?(?P<port>\d+)")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_WORDS = {
    "`str | array`": "a string or an array of strings",
    "`str`": "a string",
    "`int`": "an integer",
    "`bool`": "true or false",
    "`float`": "a number",
    "`object`": "a table",
    "`array`": "an array",
    "`date`": "a date",
    "`time`": "a time",
    "`datetime`": "a date",
}
_FD = re.compile(r"\{fd(?::([^{}]*))?\}")


class Duration(float):
    """Seconds; written `"250ms"`, `"2s"`, `"5m"`, `"1h"`."""

    @classmethod
    def of(cls, text: object) -> "Duration":
        """Raises ValueError for anything but such a text."""
        found = _DURATION.fullmatch(text) if isinstance(text, str) else None
        if not found:
            raise ValueError('must be a duration such as "250ms", "2s" or "5m"')
        return cls(Decimal(found[1]) * _UNITS[found[2]])

    def __str__(self) -> str:
        exact = Decimal(repr(float(self)))
        unit = next((u for u in ("h", "m", "s") if exact and not exact % _UNITS[u]), "ms")
        return f"{(exact / _UNITS[unit]).normalize():f}{unit}"


@dataclass(frozen=True, slots=True)
class Listen:
    """A socket to open, as systemfd writes it: `[TYPE::][HOST:]PORT`; port 0 is a free one."""

    type: SocketType
    host: str
    port: int
    name: str = ""
    backlog: int = 4096

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
        typed = _TYPE.match(spec.strip())
        named = typed[1] if typed else "tcp"
        kind = next((kind for kind in _SOCKET_TYPES if kind == named), None)
        if kind is None:
            known = f"the types are {_listed(_SOCKET_TYPES)}{nearest(named, _SOCKET_TYPES)}"
            raise ValueError(f"{spec!r}: no socket type {named!r}; {known}")
        found = _SPEC.fullmatch(spec.strip())
        if not found:
            raise ValueError(f"{spec!r} is no socket: write [TYPE::][HOST:]PORT, for example http::8000 or [::1]:8001")
        if int(found["port"]) > _LARGEST_PORT:
            raise ValueError(f"{spec!r}: the largest port is {_LARGEST_PORT}")
        return cls(kind, (found["host"] or "127.0.0.1").strip("[]"), int(found["port"]))

    @classmethod
    def _of_table(cls, table: Mapping[str, object]) -> "Listen":
        kinds = [kind for kind in _SOCKET_TYPES if kind in table]
        known = {"name", "backlog", *_SOCKET_TYPES}
        for key in table:
            if key not in known:
                raise ValueError(f"unknown key {key!r}{nearest(key, known)}")
        if len(kinds) != 1:
            raise ValueError('a socket has one address, named by its type: { tcp = "127.0.0.1:8001" }')
        address = table[kinds[0]]
        if not isinstance(address, str):
            raise ValueError(f'{kinds[0]} must be a string such as "127.0.0.1:8001"')
        spec = cls._of_spec(f"{kinds[0]}::{address}")
        name, backlog = table.get("name", ""), table.get("backlog", 4096)
        if not isinstance(name, str) or (name and not _NAME.fullmatch(name)):
            raise ValueError(f"the name {name!r} must consist of letters, digits, '.', '_' and '-'")
        if isinstance(backlog, bool) or not isinstance(backlog, int) or not 0 < backlog < 2**31:
            raise ValueError("backlog must be a positive integer")
        return cls(spec.type, spec.host, spec.port, name, backlog)

    def table(self, name: str) -> dict[str, str | int]:
        """As a table of the configuration, all of it said."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return {"name": name, self.type: f"{host}:{self.port}", "backlog": self.backlog}


def _seconds(number: float) -> Any:
    """A default duration. A factory, because msgspec's JSON Schema cannot show values of our own types."""
    return msgspec.field(default_factory=partial(Duration, number))


class _Table(msgspec.Struct, frozen=True, kw_only=True):
    """A table of the configuration."""


class Watch(_Table, frozen=True):
    """What is watched."""

    paths: tuple[str, ...] = (".",)
    ignore: tuple[str, ...] = ()
    settle: Duration = _seconds(0.005)


class Gate(_Table, frozen=True):
    """How the stages run."""

    trigger: str = ".trigger"


class Stage(_Table, frozen=True):
    """One check: `run` is a text for sh, or an argv."""

    run: str | tuple[str, ...]
    env: dict[str, str] = {}
    cwd: str = "."
    timeout: Duration | None = None


class Server(_Table, frozen=True):
    """One server and the sockets that are held for it."""

    run: str | tuple[str, ...]
    listen: tuple[Listen, ...] = ()
    start: Literal["now", "green"] = "now"
    strategy: Literal["stop-start"] = "stop-start"
    ready: Literal["auto"] = "auto"
    ready_timeout: Duration = _seconds(30)
    stop_signal: StopSignal = "TERM"
    stop_timeout: Duration = _seconds(10)
    trigger: str = ""
    env: dict[str, str] = {}
    cwd: str = "."

    def socket_names(self) -> tuple[str, ...]:
        """One name a socket, in their order: as given, else its type, numbered from the second of that type on."""
        seen: dict[str, int] = {}
        names = []
        for listen in self.listen:
            seen[listen.type] = seen.get(listen.type, 0) + (not listen.name)
            count = seen[listen.type]
            names.append(listen.name or (listen.type if count == 1 else f"{listen.type}{count}"))
        return tuple(names)


class Config(_Table, frozen=True):
    """A whole configuration. Stages are in the order in which they are written."""

    watch: Watch = msgspec.field(default_factory=Watch)
    gate: Gate = msgspec.field(default_factory=Gate)
    stage: dict[str, Stage] = {}
    server: dict[str, Server] = {}

    def triggers(self) -> dict[str | None, str]:
        """The trigger of each server; where there is none, that of a second watcher of the user's own, under None."""
        if not self.server:
            return {None: self.gate.trigger}
        alone = len(self.server) == 1
        return {name: s.trigger or (".trigger" if alone else f".trigger-{name}") for name, s in self.server.items()}


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong at a key."""

    at: KeyPath
    message: str


def parse(tables: Mapping[str, Any]) -> Config | list[Fault]:
    """The configuration that `tables` (as tomllib gives them) stand for, or all that is wrong with them."""
    faults: list[Fault] = []
    config: Config = _table(Config, tables, (), faults)
    faulty = {fault.at for fault in faults}
    faults.extend(fault for fault in _contradictions(config, faulty) if fault.at not in faulty)
    return faults or config


def to_tables(config: Config) -> dict[str, Any]:
    """The configuration with all defaults filled in, as tables that TOML and JSON can hold."""
    tables: dict[str, Any] = msgspec.to_builtins(config, enc_hook=str)
    for name, server in config.server.items():
        sockets = zip(server.listen, server.socket_names(), strict=True)
        tables["server"][name]["listen"] = [listen.table(name) for listen, name in sockets]
        tables["server"][name]["trigger"] = config.triggers()[name]
    return {key: _without_nulls(table) for key, table in tables.items()}


def schema() -> dict[str, Any]:
    """The JSON Schema of the configuration, for editors."""

    def written(kind: type) -> dict[str, Any]:
        return {"type": "string", "pattern": f"^{_DURATION.pattern}$"} if kind is Duration else {}

    found: dict[str, Any] = msgspec.json.schema(Config, schema_hook=written)
    for kind in (Watch, Stage, Server):
        for field in msgspec.structs.fields(kind):
            if field.type is Duration and field.default_factory is not msgspec.NODEFAULT:
                found["$defs"][kind.__name__]["properties"][field.name]["default"] = str(field.default_factory())
    address = {"type": "string", "description": "[HOST:]PORT"}
    table = {"name": {"type": "string"}, "backlog": {"type": "integer", "minimum": 1}}
    table |= dict.fromkeys(_SOCKET_TYPES, address)
    found["$defs"]["Listen"] = {
        "title": "Listen",
        "anyOf": [
            {"type": "string", "description": "[TYPE::][HOST:]PORT"},
            {"type": "object", "properties": table, "additionalProperties": False},
        ],
    }
    for part in found["$defs"].values():
        if "properties" in part:
            part["additionalProperties"] = False
    return found


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` where something known is near to `word`, else nothing."""
    found = difflib.get_close_matches(word, sorted(known), n=1)
    return f"; did you mean {found[0]!r}?" if found else ""


_FAULTY: Any = object()


def _value(kind: Any, value: object, at: KeyPath, faults: list[Fault]) -> Any:
    """`value` as a `kind`, part by part, so that one fault does not hide the next; _FAULTY where nothing is left."""
    if isinstance(value, dict) and get_origin(kind) is dict:
        parts = {key: _value(get_args(kind)[1], part, (*at, key), faults) for key, part in value.items()}
        return {key: part for key, part in parts.items() if part is not _FAULTY}
    if isinstance(value, list) and get_origin(kind) is tuple:
        items = (_value(get_args(kind)[0], part, at, faults) for part in value)
        return tuple(item for item in items if item is not _FAULTY)
    if isinstance(value, dict) and isinstance(kind, type) and issubclass(kind, _Table):
        return _table(kind, value, at, faults)
    if any("\0" in text for text in (value if isinstance(value, list) else [value]) if isinstance(text, str)):
        faults.append(Fault(at, "must not contain a NUL character"))
        return _FAULTY
    try:
        return kind.of(value) if hasattr(kind, "of") else msgspec.convert(value, kind, dec_hook=_leaf)
    except ValueError as error:  # msgspec's ValidationError is one
        faults.append(Fault(at, _in_toml_words(str(error), kind, value)))
        return _FAULTY


def _table(kind: Any, table: Mapping[str, object], at: KeyPath, faults: list[Fault]) -> Any:
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    missing = [name for name, field in fields.items() if field.required and name not in table]
    unknown = (key for key in table if key not in fields)
    faults.extend(Fault((*at, key), f"unknown key{nearest(key, fields)}") for key in unknown)
    faults.extend(Fault((*at, name), "is missing") for name in missing)
    parts = {key: _value(fields[key].type, value, (*at, key), faults) for key, value in table.items() if key in fields}
    values = {key: part for key, part in parts.items() if part is not _FAULTY}
    complete = all(name in values for name, field in fields.items() if field.required)
    return kind(**values) if complete else _FAULTY


def _leaf(kind: Any, value: object) -> object:
    return kind.of(value)


def _in_toml_words(message: str, kind: Any, value: object) -> str:
    if get_origin(kind) is Literal:
        return f"must be {' or '.join(map(_quoted, get_args(kind)))}{nearest(str(value), get_args(kind))}"
    message = message.partition(" - at `$")[0]
    for ours, theirs in _WORDS.items():
        message = message.replace(ours, theirs)
    return f"{message[:1].lower()}{message[1:]}{_way_out(kind, value)}"


def _way_out(kind: Any, value: object) -> str:
    """How the value would be right, where that is plain."""
    if kind is str and isinstance(value, int | float):
        return f"; write {_quoted(str(value).lower())}"
    if get_origin(kind) is tuple and isinstance(value, str):
        return f"; write [{_quoted(value)}]"
    return ""


def _quoted(value: object) -> str:
    return f'"{value}"'


def _contradictions(config: Config, faulty: Container[KeyPath]) -> Iterator[Fault]:
    """What is wrong between keys that are each well formed; what is `faulty` contradicts nothing."""
    for table, names in (("stage", config.stage), ("server", config.server)):
        for name in names:
            if not _NAME.fullmatch(name):
                yield Fault((table, name), "a name must consist of letters, digits, '.', '_' and '-'")
    yield from _run_faults(config)
    yield from _env_faults(config)
    yield from _path_faults(config)
    for name, server in config.server.items():
        if ("server", name, "listen") not in faulty:
            yield from _socket_faults(name, server)
    yield from _trigger_faults(config)


def _run_faults(config: Config) -> Iterator[Fault]:
    for at, run in _runs(config):
        if not run or not (run.strip() if isinstance(run, str) else run[0].strip()):
            yield Fault((*at, "run"), "must name a command")


def _runs(config: Config) -> Iterator[tuple[KeyPath, str | tuple[str, ...]]]:
    yield from ((("stage", name), stage.run) for name, stage in config.stage.items())
    yield from ((("server", name), server.run) for name, server in config.server.items())


def _env_faults(config: Config) -> Iterator[Fault]:
    for table, parts in (("stage", config.stage), ("server", config.server)):
        for name, part in parts.items():
            for key in part.env:
                if not key or "=" in key or "\0" in key:
                    yield Fault((table, name, "env", key), "is no name for an environment variable")


def _path_faults(config: Config) -> Iterator[Fault]:
    if not config.watch.paths:
        yield Fault(("watch", "paths"), "must name at least one folder or file")
    for path in config.watch.paths:
        if path.startswith("/") or ".." in path.split("/"):
            message = f"{path!r} lies outside of the project; write it relative to this file's folder"
            yield Fault(("watch", "paths"), message)


def _socket_faults(name: str, server: Server) -> Iterator[Fault]:
    names = server.socket_names()
    for duplicate in {n for n in names if names.count(n) > 1}:
        yield Fault(("server", name, "listen"), f"two sockets are named {duplicate!r}")
    for text in (server.run,) if isinstance(server.run, str) else server.run:
        for found in _FD.finditer(text):
            if found[1] is None and not names:
                yield Fault(("server", name, "run"), '{fd} needs a socket: add listen = ["http::8000"], say')
            elif found[1] is not None and found[1] not in names:
                yield Fault(("server", name, "run"), f"no socket is named {found[1]!r}{nearest(found[1], names)}")


def _trigger_faults(config: Config) -> Iterator[Fault]:
    owners: dict[str, str | None] = {}
    for server, path in config.triggers().items():
        at = ("server", server, "trigger") if server is not None else ("gate", "trigger")
        plain = posixpath.normpath(path)
        if plain.startswith(("/", "../")) or plain in {".", ".."} or path.endswith("/"):
            yield Fault(at, f"{path!r} must be a file inside the project, relative to this file's folder")
        elif plain in owners:
            yield Fault(at, f"{path!r} is already the trigger of server {owners[plain]!r}; each needs one of its own")
        owners[plain] = server


def _without_nulls(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_nulls(part) for key, part in value.items() if part is not None}
    return value


def _listed(words: Iterable[str]) -> str:
    return ", ".join(words)

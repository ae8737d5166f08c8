"""What a configuration may say: frozen types, and a pure validation that reports every problem at once.

`parse` takes the tables that TOML gave and returns either a `Config` or the faults, each at its key path. A key that is
not a field of these types does not work yet, and is refused.
"""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

import msgspec

KeyPath = tuple[str, ...]
SocketType = Literal["http", "https", "tcp"]
StopSignal = Literal["TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "KILL"]

_SOCKET_TYPES: tuple[SocketType, ...] = ("http", "https", "tcp")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_SPEC = re.compile(r"(?:(?P<type>[a-z]+)::)?(?:(?P<host>\[[^\]]+\]|[^:\[\]]+):)?(?P<port>\d+)")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_WORDS = {
    "`str | array`": "a string or an array of strings",
    "`str`": "a string",
    "`int`": "an integer",
    "`bool`": "true or false",
    "`float`": "a number",
    "`object`": "a table",
    "`array`": "an array",
}
_FD = re.compile(r"\{fd(?::([^{}]*))?\}")


class Duration(float):
    """Seconds; written `"250ms"`, `"2s"`, `"5m"`, `"1h"`."""

    @classmethod
    def of(cls, text: object) -> "Duration":
        """Raises ValueError for anything but such a text."""
        found = _DURATION.fullmatch(text.strip()) if isinstance(text, str) else None
        if not found:
            raise ValueError('must be a duration such as "250ms", "2s" or "5m"')
        return cls(float(found[1]) * _UNITS[found[2]])

    def __str__(self) -> str:
        unit = next((u for u in ("h", "m", "s") if self and not self % _UNITS[u]), "ms")
        return f"{self / _UNITS[unit]:g}{unit}"


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
        found = _SPEC.fullmatch(spec.strip())
        if not found:
            raise ValueError(f"{spec!r} is no socket: write [TYPE::][HOST:]PORT, for example http::8000")
        kind = next((kind for kind in _SOCKET_TYPES if kind == (found["type"] or "tcp")), None)
        if kind is None:
            raise ValueError(f"{found['type']!r} sockets do not work; the types are {_listed(_SOCKET_TYPES)}")
        if int(found["port"]) > 65535:
            raise ValueError(f"port {found['port']} is over 65535")
        return cls(kind, (found["host"] or "127.0.0.1").strip("[]"), int(found["port"]))

    @classmethod
    def _of_table(cls, table: Mapping[str, object]) -> "Listen":
        kinds = [kind for kind in _SOCKET_TYPES if kind in table]
        known = {"name", "backlog", *_SOCKET_TYPES}
        for key in table:
            if key not in known:
                raise ValueError(f"unknown key {key!r}{nearest(key, known)}")
        if len(kinds) != 1:
            raise ValueError(
                f'name the address once, by its type: {{ tcp = "127.0.0.1:8001" }}; not {len(kinds)} times'
            )
        spec = cls._of_spec(f"{kinds[0]}::{table[kinds[0]]}")
        name, backlog = table.get("name", ""), table.get("backlog", 4096)
        if not isinstance(name, str) or (name and not _NAME.fullmatch(name)):
            raise ValueError(f"name {name!r} must be of letters, digits, '.', '_' and '-'")
        if not isinstance(backlog, int) or not 0 < backlog < 2**31:
            raise ValueError("backlog must be a positive number")
        return cls(spec.type, spec.host, spec.port, name, backlog)

    def table(self, name: str) -> dict[str, str | int]:
        """As a table of the configuration, all of it said."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return {"name": name, self.type: f"{host}:{self.port}", "backlog": self.backlog}


class _Table(msgspec.Struct, frozen=True, kw_only=True):
    """A table of the configuration."""


class Watch(_Table, frozen=True):
    """What is watched."""

    paths: tuple[str, ...] = (".",)
    ignore: tuple[str, ...] = ()
    settle: Duration = Duration(0.005)


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
    ready_timeout: Duration = Duration(30)
    stop_signal: StopSignal = "TERM"
    stop_timeout: Duration = Duration(10)
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

    watch: Watch = Watch()
    gate: Gate = Gate()
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
    faults.extend(_contradictions(config))
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
        options = get_args(kind)
        return f"must be one of {_listed(options)}, not {value!r}{nearest(str(value), options)}"
    message = message.partition(" - at `$")[0]
    for ours, theirs in _WORDS.items():
        message = message.replace(ours, theirs)
    return message[:1].lower() + message[1:]


def _contradictions(config: Config) -> Iterator[Fault]:
    """What is wrong between keys that are each well formed."""
    for table, names in (("stage", config.stage), ("server", config.server)):
        for name in names:
            if not _NAME.fullmatch(name):
                yield Fault((table, name), "a name is made of letters, digits, '.', '_' and '-'")
    yield from _run_faults(config)
    yield from _path_faults(config)
    for name, server in config.server.items():
        yield from _socket_faults(name, server)
    yield from _trigger_faults(config)


def _run_faults(config: Config) -> Iterator[Fault]:
    for at, run in _runs(config):
        if not run or not (run.strip() if isinstance(run, str) else run[0].strip()):
            yield Fault((*at, "run"), "must name a command")


def _runs(config: Config) -> Iterator[tuple[KeyPath, str | tuple[str, ...]]]:
    yield from ((("stage", name), stage.run) for name, stage in config.stage.items())
    yield from ((("server", name), server.run) for name, server in config.server.items())


def _path_faults(config: Config) -> Iterator[Fault]:
    if not config.watch.paths:
        yield Fault(("watch", "paths"), "must name at least one folder or file")
    for path in config.watch.paths:
        if path.startswith("/") or ".." in path.split("/"):
            yield Fault(("watch", "paths"), f"{path!r} lies outside of the project; write it relative to this file")


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
        if path.startswith("/") or ".." in path.split("/") or path.endswith("/") or not path:
            yield Fault(at, f"{path!r} must be a file inside the project")
        if path in owners:
            yield Fault(at, f"{path!r} is already the trigger of server {owners[path]!r}")
        owners[path] = server


def _without_nulls(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_nulls(part) for key, part in value.items() if part is not None}
    return value


def _listed(words: Iterable[str]) -> str:
    return ", ".join(words)

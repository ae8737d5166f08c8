"""What a configuration may say: frozen types, and a pure validation that reports every problem at once.

`parse` takes the tables that TOML gave and returns either a `Config` or the faults, each at its key path. A key that is
not a field of these types does not work yet, and is refused. What `to_tables` gives, `parse` reads back as what comes
to the same.
"""

import posixpath
import re
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass, replace
from functools import cache, partial
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import msgspec

from hotpipe.config.listen import NAME, KeyPath, Listen, SocketType, WrongPartsError, nearest
from hotpipe.config.ready import Duration, Ready
from hotpipe.config.size import Size

__all__ = [
    "Config",
    "Duration",
    "Fault",
    "Gate",
    "Hooks",
    "KeyPath",
    "Listen",
    "Notify",
    "Ready",
    "Server",
    "Size",
    "SocketType",
    "Stage",
    "StopSignal",
    "Strategy",
    "Watch",
    "Web",
    "nearest",
    "parse",
    "to_tables",
]

Strategy = Literal["overlap", "stop-start", "signal"]
StopSignal = Literal["TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "KILL"]

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
# `${port}` is the shell's own, and `%{url}` curl's: whoever writes these need not mean ours.
_PLACEHOLDER = re.compile(r"(?<![$%])\{(?:(fd|host|port|addr|url)|fd:([^{}]*))\}")
_MOST_RETRIES = 100
_LAST_PORT = 65_535
_LOOPBACK = ("127.0.0.1", "[::1]", "localhost")
_ORIGIN = re.compile(r"https?://[^\s/?#@]+")  # RFC 6454, 6.2
_ADD_A_SOCKET = 'add listen = ["http::8000"], say'


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
    poll: Literal["auto", "always", "never"] = "auto"


class Gate(_Table, frozen=True):
    """How the stages run: `jobs` at once (null: as many as there are CPUs)."""

    jobs: int | None = None
    fail_fast: bool = True
    cache_size: Size = msgspec.field(default_factory=partial(Size, 256_000_000))
    trigger: str = ".trigger"


class Stage(_Table, frozen=True):
    """One check: `run` is a text for sh, or an argv. `tty`: it writes to a terminal where the user looks at one.

    `needs` is as written, null for the stage written above: `Config.needs` says which one that is. `inputs` is null
    for every watched file; empty, both mean none.
    """

    run: str | tuple[str, ...]
    inputs: tuple[str, ...] | None = None
    needs: tuple[str, ...] | None = None
    env: dict[str, str] = {}
    cwd: str = "."
    timeout: Duration | None = None
    retries: int = 0
    allow_failure: bool = False
    mutates: bool = False
    cache: bool = True
    tty: bool = True


class Hooks(_Table, frozen=True):
    """Commands around a generation's life: each one text for sh, or several."""

    before_start: str | tuple[str, ...] = ""
    after_ready: str | tuple[str, ...] = ""
    before_stop: str | tuple[str, ...] = ""
    after_stop: str | tuple[str, ...] = ""
    on_failure: str | tuple[str, ...] = ""

    def commands(self, moment: str) -> tuple[str, ...]:
        """What is to be run at that moment, in order."""
        return tuple(filter(str.strip, _texts(getattr(self, moment))))


class Server(_Table, frozen=True):
    """One server and the sockets that are held for it.

    `needs` and `inputs` are null for every stage and every watched file; empty, they mean none. `tty` as in a stage.
    `watchdog` is systemd's WatchdogSec (systemd.service(5)): a live server that does not send WATCHDOG=1 for this long
    is taken for dead.
    """

    run: str | tuple[str, ...]
    listen: tuple[Listen, ...] = ()
    start: Literal["now", "green"] = "now"
    strategy: Strategy | None = None
    signal: StopSignal = "HUP"
    ready: Ready = msgspec.field(default_factory=Ready)
    ready_timeout: Duration = _seconds(30)
    smoke: tuple[str, ...] = ()
    probation: Duration = _seconds(2)
    drain_timeout: Duration = _seconds(5)
    stop_signal: StopSignal = "TERM"
    stop_timeout: Duration = _seconds(10)
    restart: Literal["on-failure", "always", "never"] = "on-failure"
    watchdog: Duration | None = None
    needs: tuple[str, ...] | None = None
    inputs: tuple[str, ...] | None = None
    trigger: str = ""
    env: dict[str, str] = {}
    cwd: str = "."
    tty: bool = True
    hooks: Hooks = msgspec.field(default_factory=Hooks)

    @property
    def replaced_by(self) -> Strategy:
        """The strategy in force: overlap where there are sockets to hand over, unless another one is asked for."""
        return self.strategy or ("overlap" if self.listen else "stop-start")

    def socket_names(self) -> tuple[str, ...]:
        """One name a socket, in their order: as given, else its type, numbered from the second of that type on."""
        seen: dict[str, int] = {}
        names = []
        for listen in self.listen:
            seen[listen.type] = seen.get(listen.type, 0) + (not listen.name)
            count = seen[listen.type]
            names.append(listen.name or (listen.type if count == 1 else f"{listen.type}{count}"))
        return tuple(names)


class Web(_Table, frozen=True):
    """The dashboard: where it listens, "HOST:PORT" on loopback. `origins` may show the badge beside the servers' own,
    "https://app.test" say."""

    listen: str = "127.0.0.1:7777"
    origins: tuple[str, ...] = ()

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)


class Notify(_Table, frozen=True):
    """Who is told when green turns red and back: the desktop, and the terminal (OSC 9, its title)."""

    desktop: bool = True
    terminal: bool = True


class Config(_Table, frozen=True):
    """A whole configuration. Stages are in the order in which they are written."""

    watch: Watch = msgspec.field(default_factory=Watch)
    gate: Gate = msgspec.field(default_factory=Gate)
    stage: dict[str, Stage] = {}
    server: dict[str, Server] = {}
    web: Web = msgspec.field(default_factory=Web)
    notify: Notify = msgspec.field(default_factory=Notify)

    def needs(self) -> dict[str, tuple[str, ...]]:
        """The stages that each stage needs: those that it names, else the one written above it."""
        names = tuple(self.stage)
        above = dict(zip(names[1:], names, strict=False))
        return {
            name: stage.needs if stage.needs is not None else (above[name],) if name in above else ()
            for name, stage in self.stage.items()
        }

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
    """The configuration that `tables` (as tomllib gives them) stand for, or all that is wrong with them.

    What depends on other keys is filled in: each server's strategy and trigger, the name of each of its sockets. What a
    stage needs is not: whether it was written decides what `hotpipe check STAGE` runs.
    """
    faults: list[Fault] = []
    config: Config = _table(Config, tables, (), faults)
    faulty = {fault.at for fault in faults}
    faults.extend(fault for fault in _contradictions(config, faulty) if fault.at not in faulty)
    return faults or _resolved(config)


def to_tables(config: Config) -> dict[str, Any]:
    """The configuration with all defaults filled in, what each stage needs too, as tables that TOML and JSON can hold.

    A key whose default is "none", "all" or the machine's (`timeout`, `watchdog`, `inputs`, a server's `needs`, `jobs`)
    is left out where it is not set.
    """
    resolved = _with_needs(_resolved(config))
    tables: dict[str, Any] = msgspec.to_builtins(resolved, enc_hook=str)
    for name, server in resolved.server.items():
        tables["server"][name]["listen"] = [listen.table(listen.name) for listen in server.listen]
        tables["server"][name]["ready"] = server.ready.written()
    return {key: _plain(table) for key, table in tables.items()}


def _resolved(config: Config) -> Config:
    triggers = config.triggers()
    servers = {name: _resolved_server(server, triggers[name]) for name, server in config.server.items()}
    return msgspec.structs.replace(config, server=servers)


def _with_needs(config: Config) -> Config:
    needs = config.needs()
    stages = {name: msgspec.structs.replace(stage, needs=needs[name]) for name, stage in config.stage.items()}
    return msgspec.structs.replace(config, stage=stages)


def _resolved_server(server: Server, trigger: str) -> Server:
    sockets = zip(server.listen, server.socket_names(), strict=True)
    listen = tuple(replace(socket, name=name) for socket, name in sockets)
    return msgspec.structs.replace(server, listen=listen, strategy=server.replaced_by, trigger=trigger)


_FAULTY: Any = object()


def _value(kind: Any, value: object, at: KeyPath, faults: list[Fault]) -> Any:
    """`value` as a `kind`, part by part, so that one fault does not hide the next; _FAULTY where nothing is left."""
    kind = _said(kind)
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
        return kind.of(value) if hasattr(kind, "of") else msgspec.convert(value, kind)
    except WrongPartsError as wrong:
        faults.extend(Fault((*at, *key), message) for key, message in wrong.faults)
        return _FAULTY
    except ValueError as error:  # msgspec's ValidationError is one
        faults.append(Fault(at, _in_toml_words(str(error), kind, value)))
        return _FAULTY


def _table(kind: Any, table: Mapping[str, object], at: KeyPath, faults: list[Fault]) -> Any:
    fields = _fields(kind)
    missing = [name for name, field in fields.items() if field.required and name not in table]
    unknown = (key for key in table if key not in fields)
    faults.extend(Fault((*at, key), f"unknown key{nearest(key, fields)}") for key in unknown)
    faults.extend(Fault((*at, name), "is missing") for name in missing)
    parts = {key: _value(fields[key].type, value, (*at, key), faults) for key, value in table.items() if key in fields}
    values = {key: part for key, part in parts.items() if part is not _FAULTY}
    stand_ins = {name: "" for name, field in fields.items() if field.required}  # the rest is still to be checked
    return kind(**(stand_ins | values))


@cache
def _fields(kind: Any) -> dict[str, msgspec.structs.FieldInfo]:
    return {field.name: field for field in msgspec.structs.fields(kind)}


def _said(kind: Any) -> Any:
    """Without null, which TOML cannot say."""
    kinds = [part for part in get_args(kind) if part is not NoneType]
    return kinds[0] if NoneType in get_args(kind) and len(kinds) == 1 else kind


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


def _contradictions(config: Config, faulty: Set[KeyPath]) -> Iterator[Fault]:
    """What is wrong between keys that are each well formed; what is `faulty` contradicts nothing."""
    for table, names in (("stage", config.stage), ("server", config.server)):
        for name in names:
            if not NAME.fullmatch(name):
                yield Fault((table, name), "a name must consist of letters, digits, '.', '_' and '-'")
    yield from _run_faults(config)
    yield from _env_faults(config)
    yield from _path_faults(config)
    for name, server in config.server.items():
        at = ("server", name)
        for keys, faults in _SERVER_RULES:
            if not any((*at, key) in faulty for key in keys):
                yield from faults(at, server)
    yield from _gate_faults(config)
    if ("stage",) not in faulty:
        yield from _needs_faults(config, config.stage.keys() | {at[1] for at in faulty if at[0] == "stage"})
        yield from _cycle_faults(config)
    yield from _address_faults(config)
    yield from _trigger_faults(config)
    yield from _web_faults(config.web)


def _strategy_faults(at: KeyPath, server: Server) -> Iterator[Fault]:
    if server.strategy == "overlap" and not server.listen:
        yield Fault((*at, "strategy"), f"overlap needs a socket to hand over: {_ADD_A_SOCKET}")
    if server.ready.how == "http" and not any(listen.is_stream for listen in server.listen):
        yield Fault((*at, "ready"), f"http needs a socket to ask: {_ADD_A_SOCKET}")


def _signal_faults(at: KeyPath, server: Server) -> Iterator[Fault]:
    if server.signal != "HUP" and server.strategy != "signal":
        yield Fault((*at, "signal"), 'is for strategy = "signal" only; to stop a server: stop_signal')
    elif server.signal == "KILL":
        yield Fault((*at, "signal"), 'KILL ends every server: write the one on which it reloads, "HUP", say')


def _time_faults(at: KeyPath, server: Server) -> Iterator[Fault]:
    if not server.ready_timeout:
        yield Fault((*at, "ready_timeout"), "must be longer than 0s: nothing is ready at once")
    elif server.ready.how == "after" and server.ready.after >= server.ready_timeout:
        yield Fault((*at, "ready"), f"after must be shorter than ready_timeout, {server.ready_timeout}")


def _watchdog_faults(at: KeyPath, server: Server) -> Iterator[Fault]:
    if server.watchdog is not None and not server.watchdog:
        yield Fault((*at, "watchdog"), "must be longer than 0s; for none, leave it out")


def _smoke_faults(at: KeyPath, server: Server) -> Iterator[Fault]:
    if not all(map(str.strip, server.smoke)):
        yield Fault((*at, "smoke"), "each must name a command; for none: smoke = []")


def _name_faults(at: KeyPath, server: Server) -> Iterator[Fault]:
    names = server.socket_names()
    for duplicate in sorted({name for name in names if names.count(name) > 1}):
        yield Fault((*at, "listen"), f"two sockets are named {duplicate!r}")


def _placeholder_faults(at: KeyPath, server: Server) -> Iterator[Fault]:
    names = server.socket_names()
    for key, text in _filled(server):
        for found in _PLACEHOLDER.finditer(text):
            if not names:
                yield Fault((*at, *key), f"{found[0]} needs a socket: {_ADD_A_SOCKET}")
            elif found[2] is not None and found[2] not in names:
                known = nearest(found[2], names) or f"; there is {', '.join(map(repr, names))}"
                yield Fault((*at, *key), f"no socket is named {found[2]!r}{known}")
            elif found[1] in {"host", "port"} and server.listen[0].type == "unix" and key != ("smoke",):
                # A smoke command is led to the candidate through a relay, which has both.
                yield Fault((*at, *key), f"{found[0]} is that of the first socket, and a unix socket has none")


def _filled(server: Server) -> Iterator[tuple[KeyPath, str]]:
    """The texts in which placeholders stand for something."""
    yield from ((("run",), text) for text in _texts(server.run))
    yield from ((("smoke",), text) for text in server.smoke)
    for moment in Hooks.__struct_fields__:
        yield from ((("hooks", moment), text) for text in _texts(getattr(server.hooks, moment)))


# What is asked of one server, and the keys that must be well formed for the answer to mean anything.
_SERVER_RULES: tuple[tuple[tuple[str, ...], Callable[[KeyPath, Server], Iterator[Fault]]], ...] = (
    (("listen",), _strategy_faults),
    (("strategy",), _signal_faults),
    (("ready_timeout",), _time_faults),
    ((), _watchdog_faults),
    ((), _smoke_faults),
    (("listen",), _name_faults),
    (("listen",), _placeholder_faults),
)


def _gate_faults(config: Config) -> Iterator[Fault]:
    if config.gate.jobs is not None and config.gate.jobs < 1:
        yield Fault(("gate", "jobs"), "must be at least 1; for as many as there are CPUs, leave it out")
    for name, stage in config.stage.items():
        if not 0 <= stage.retries <= _MOST_RETRIES:
            yield Fault(("stage", name, "retries"), f"must be from 0 to {_MOST_RETRIES}")


def _needs_faults(config: Config, stages: Set[str]) -> Iterator[Fault]:
    for table, parts in (("stage", config.stage), ("server", config.server)):
        for name, part in parts.items():
            for need in part.needs or ():
                if need not in stages:
                    known = nearest(need, stages) or (f"; there is {', '.join(sorted(stages))}" if stages else "")
                    yield Fault((table, name, "needs"), f"there is no stage {need!r}{known}")


def _cycle_faults(config: Config) -> Iterator[Fault]:
    """Each cycle once, at the stage of it that is written first."""
    needs, order = config.needs(), list(config.stage)
    told: set[str] = set()
    for name in order:
        cycle = _way_back(needs, name)
        if cycle and told.isdisjoint(cycle):
            told.update(cycle)
            named = all(config.stage[stage].needs is not None for stage in cycle)
            why = "" if named else "; a stage without needs needs the one written above it: needs = [] frees it"
            yield Fault(("stage", name, "needs"), f"a cycle: {' needs '.join((*cycle, name))}{why}")


def _way_back(needs: Mapping[str, tuple[str, ...]], start: str) -> list[str]:
    """The stages on the shortest way from `start` to itself; none where there is none."""
    ways = [[start]]
    seen: set[str] = set()
    while ways:
        way = ways.pop(0)
        for need in needs.get(way[-1], ()):
            if need == start:
                return way
            if need not in seen:
                seen.add(need)
                ways.append([*way, need])
    return []


def _address_faults(config: Config) -> Iterator[Fault]:
    owners: dict[tuple[str, ...], str] = {}
    for name, server in config.server.items():
        for listen in server.listen:
            if listen.taken and listen.taken in owners:
                message = f"{listen.address!r} is already a socket of server {owners[listen.taken]!r}"
                other = "path" if listen.type == "unix" else "port (0 is a free one)"
                yield Fault(("server", name, "listen"), f"{message}; take another {other}")
            elif listen.taken:
                owners[listen.taken] = name


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


def _web_faults(web: Web) -> Iterator[Fault]:
    host, _, port = web.listen.rpartition(":")
    if not port.isdecimal() or int(port) > _LAST_PORT or not host:
        yield Fault(("web", "listen"), f'{web.listen!r} is no address; write "127.0.0.1:7777", say')
    elif host not in _LOOPBACK:
        yield Fault(("web", "listen"), f"{host} may be reached from elsewhere; it must be 127.0.0.1 or [::1]")
    for origin in web.origins:
        if not _ORIGIN.fullmatch(origin):
            yield Fault(("web", "origins"), f'{origin!r} is no origin; write "https://app.test:8443", say')


def _texts(written: str | tuple[str, ...]) -> tuple[str, ...]:
    return (written,) if isinstance(written, str) else written


def _plain(value: object) -> object:
    """As tomllib and json give it: lists for arrays, and no nulls."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items() if part is not None}
    return list(value) if isinstance(value, tuple) else value

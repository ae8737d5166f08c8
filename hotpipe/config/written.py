"""What is proposed, as a hotpipe.toml with comments. Pure.

Invariant: `parse` accepts what is written here, whatever the names in the project are.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from hotpipe.config.detect.draft import Draft, ServerDraft, StageDraft

_COMMENT_AT = 40
_HEAD = """\
# What is checked on each save, and what is restarted once all of it is green: hotpipe watch
# Paths are relative to this file. Every key with its default: hotpipe config
"""
_STAGES = """
# The gate. Each stage is a command that must exit with 0. One without `needs` waits for the stage above it;
# `needs = []` lets it start at once. The first failure cancels the rest.
"""
_SERVERS = """
# The server. It is replaced when the stages above are green; a new one that fails never takes the place of the old.
"""
_STOPPED_FIRST = """
# The server. It is replaced when the stages above are green. One that opens its own port is stopped first, so nobody
# answers until the new one is up, or if it fails.
"""
_MORE = """
# [web]
# listen = "127.0.0.1:7777"             # the dashboard, where it is installed: hotpipe[web]
"""
_SERVER_OPTIONS = (
    'start  = "green"                      # wait for the first green run; "now" boots what is on disk at once',
    'env    = { DEBUG = "1" }',
)
_SOCKET_OPTIONS = (
    'ready  = { http = "/healthz" }        # it must answer; "auto": it has accepted a connection',
    'smoke  = ["curl -fsS {url}/"]         # tried on the new one alone, before anybody else reaches it',
)


@dataclass(frozen=True, slots=True)
class _Extra:
    """What the first stage shows and the others need not: keys to turn on, and what keys mean."""

    options: tuple[str, ...] = ()
    meaning: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Line:
    """`key = value`, the value as TOML has it."""

    key: str
    value: str
    comment: str = ""


_FIRST = _Extra(
    ('timeout = "5m"', "retries = 1                           # a pass after a retry is reported as flaky"),
    {"inputs": "only a change of these concerns it", "needs": "at once, beside the others"},
)


def whole(draft: Draft) -> str:
    """A file of its own."""
    return "".join((_HEAD, "\n", _watch(draft), _STAGES, *_stages(draft), *_servers(draft), _MORE))


def more(draft: Draft) -> str:
    """Tables to be put under those of another file."""
    stages = [_stage(stage, _Extra()) for stage in draft.stages]
    return "".join((*stages, *(_server(choice[0]) for choice in draft.servers)))


def _watch(draft: Draft) -> str:
    if not draft.ignore:
        return '[watch]\n# ignore = ["*.log"]                   # as in .gitignore, which holds anyway\n'
    line = _Line("ignore", _array(draft.ignore), "written by what runs; .gitignore holds anyway")
    return "".join(("[watch]\n", *_table([line])))


def _stages(draft: Draft) -> Iterator[str]:
    placeholder = StageDraft("check", "true", "nothing to check was found: write a command here")
    stages = draft.stages if draft.active() else (placeholder, *draft.stages)
    first = next(stage for stage in stages if not stage.missing)
    for stage in stages:
        yield _stage(stage, _FIRST if stage is first else _Extra())


def _servers(draft: Draft) -> Iterator[str]:
    yield _SERVERS if all(choice[0].takes_socket for choice in draft.servers) else _STOPPED_FIRST
    for choice in draft.servers:
        yield _server(choice[0])
    if not draft.servers:
        example = ServerDraft("web", "uvicorn app:app --fd {fd}", "an example", missing="no server was found")
        yield _server(example)


def _stage(stage: StageDraft, extra: _Extra) -> str:
    lines = [_Line("run", _string(stage.run))]
    if stage.cwd != ".":
        lines.append(_Line("cwd", _string(stage.cwd)))
    if stage.inputs:
        lines.append(_Line("inputs", _array(stage.inputs), extra.meaning.get("inputs", "")))
    if stage.env:
        lines.append(_Line("env", _inline(stage.env)))
    if not stage.cache:
        lines.append(_Line("cache", "false", "what it builds is to be there"))
    if stage.cache:
        lines.append(_Line("needs", "[]", extra.meaning.get("needs", "")))
    return _block(f"stage.{stage.name}", stage.because, lines, (*stage.options, *extra.options), stage.missing)


def _server(server: ServerDraft) -> str:
    lines = [_Line("run", _string(server.run), _explained(server.run))]
    if server.cwd != ".":
        lines.append(_Line("cwd", _string(server.cwd)))
    if server.takes_socket:
        url = f"http://127.0.0.1:{server.port}"
        lines.append(_Line("listen", _array((f"http::{server.port}",)), f"{url}; hotpipe holds the socket"))
    else:
        lines.append(_Line("strategy", '"stop-start"', "it opens its own port"))
    if server.is_built:
        lines.append(_Line("start", '"green"', "not before it is built"))
    if server.log:
        lines.append(_Line("ready", f"{{ log = {_string(server.log)} }}"))
    if server.needs is not None:
        lines.append(
            _Line("needs", _array(server.needs), "these must be green" if server.needs else "it waits for nothing")
        )
    if server.inputs:
        lines.append(_Line("inputs", _array(server.inputs), "what concerns it"))
    if server.env:
        lines.append(_Line("env", _inline(server.env)))
    present = {line.key for line in lines}
    wanted = (*(_SOCKET_OPTIONS if server.takes_socket else ()), *_SERVER_OPTIONS)
    options = tuple(option for option in wanted if option.split()[0] not in present)
    notes = "".join(f"# {_plain(note)}\n" for note in server.notes)
    table = _block(f"server.{server.name}", server.because, lines, options, server.missing)
    return table.replace("\n", f"\n{notes}", 1) if notes else table


def _explained(run: str) -> str:
    if "{fd}" in run:
        return "{fd} is the socket's descriptor"
    return "gunicorn finds the socket by itself" if "gunicorn" in run else ""


def _block(header: str, because: str, lines: list[_Line], options: Iterable[str], missing: str) -> str:
    """A table after an empty line; all of it commented out if something is missing."""
    shown = _plain(f"{because}; {missing}" if missing else because)
    prefix = "# " if missing else ""
    texts = [_padded(f"{prefix}[{header}]", shown), *(prefix + line for line in _table(lines))]
    return "\n" + "".join([*texts, *(f"# {option}\n" for option in options if not missing)])


def _table(lines: list[_Line]) -> list[str]:
    width = max(len(line.key) for line in lines)
    return [_padded(f"{line.key.ljust(width)} = {line.value}", line.comment) for line in lines]


def _padded(text: str, comment: str) -> str:
    return f"{text.ljust(_COMMENT_AT - 2)}  # {comment}\n" if comment else f"{text}\n"


def _string(text: str) -> str:
    """A basic string: JSON's escapes are TOML's, DEL apart."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _array(texts: Iterable[str]) -> str:
    return f"[{', '.join(map(_string, texts))}]"


def _inline(table: dict[str, str]) -> str:
    return f"{{ {', '.join(f'{key} = {_string(value)}' for key, value in table.items())} }}"


def _plain(text: str) -> str:
    """For a comment: TOML allows no control characters there."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)

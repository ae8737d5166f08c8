"""Writes what can be read off the code: docs/configuration.md, docs/verbs.md and hotpipe/config/hotpipe.schema.json.

    python docs/reference.py

They are committed, so that they read on a code host and ship with the package; tests/test_docs.py says when they are
not current.
"""

import importlib
import inspect
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import tomli_w

from hotpipe.cli import VERBS, cli
from hotpipe.config.schema import schema

ROOT = Path(__file__).parent.parent

CONFIGURATION = """\
# Configuration

`hotpipe.toml`, or the same tables under `[tool.hotpipe]` in `pyproject.toml`; found by walking up from the working folder.
Its folder is the project's root: all paths in it are relative to that. `hotpipe config` prints what it comes to, with all
defaults. [Editors](howto/editors.md) complete and check it by its JSON Schema.

A mistake is told with its line and the nearest right name, all mistakes at once, and nothing is started. A change while
hotpipe runs is applied if it is valid; otherwise the last good configuration stays, and the error is shown.

```toml
[stage.lint]
run = "ruff check {changed}"

[stage.test]
run = "pytest -q"
needs = []                          # beside lint, not after it

[server.web]
run = "uvicorn app:app --fd {fd}"
listen = ["http::8000"]
```

A *duration* is a text such as `"250ms"`, `"2s"`, `"5m"` or `"1h"`; a *size* is one such as `"512KB"`, `"256MB"` or `"1GB"`.
A *command* is a text, which runs in sh, or an array of texts, which is run as it is, without a shell.

<!-- Written by docs/reference.py from hotpipe/config: change it there. -->
"""

SURROUNDINGS = """\
## What is filled in, and what commands find

| where | is replaced |
|---|---|
| a stage's `run` | `{changed}` |
| a server's `run`, `smoke` and `hooks` | `{fd}`, `{fd:NAME}`, `{host}`, `{port}`, `{addr}`, `{url}` |

Only these; every other brace stays as it is.

| variable | who has it | what it says |
|---|---|---|
| `HOTPIPE_STAGE`, `HOTPIPE_RUN` | a stage | its name, the number of the run |
| `HOTPIPE_CHANGED_FILES` | a stage | a file that lists what `{changed}` would be, one path a line |
| `HOTPIPE_SERVER`, `HOTPIPE_GENERATION`, `HOTPIPE_TREE` | a server, its smoke tests and hooks | its name; 1, 2, …; what it was started from |
| `HOTPIPE_HOOK`, `HOTPIPE_REASON` | a hook | which one; why a generation failed |
| `LISTEN_FDS`, `LISTEN_PID`, `LISTEN_FDNAMES` | a server | its sockets, from descriptor 3 up, as sd_listen_fds(3) has them |
| `NOTIFY_SOCKET` | a server | where it may say READY=1, as sd_notify(3) has it |

Stages and hooks get no sockets, and an empty standard input.
"""

VERBS_PAGE = """\
# Verbs

`hotpipe VERB --help` shows the same. Exit codes: 0 success; 1 checks failed, or a server could not be started; 2 a mistake in
the command line or the configuration; 3 a defect of hotpipe, with its traceback in `.hotpipe/logs/`; 130 interrupted.

<!-- Written by docs/reference.py from hotpipe/cli: change it there. -->
"""

_KINDS = {"string": "text", "integer": "integer", "boolean": "`true` or `false`", "object": "table"}
_SECTIONS = (("watch", "Watch"), ("gate", "Gate"), ("stage.NAME", "Stage"), ("server.NAME", "Server"))
_MORE_SECTIONS = (("server.NAME.hooks", "Hooks"), ("web", "Web"), ("notify", "Notify"))


def configuration() -> str:
    """docs/configuration.md."""
    tables = schema()["$defs"]
    parts = (_section(header, tables[name]) for header, name in (*_SECTIONS, *_MORE_SECTIONS))
    return "\n".join([CONFIGURATION, *parts, SURROUNDINGS])


def _section(header: str, table: dict[str, Any]) -> str:
    title = f"## `[{header}]`\n\n{table['description']}\n"
    return "\n".join([title, *map(_row, _keys(table)), ""])


def _keys(table: dict[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    yield "key", "value", "default", "meaning"
    yield "---", "---", "---", "---"
    for key, part in table["properties"].items():
        required = key in table["required"]
        default = "required" if required else _default(part)
        yield f"`{key}`", _kind(part), default, _meaning(part)


def _row(cells: tuple[str, ...]) -> str:
    escaped = (cell.replace("|", r"\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"


def _default(part: dict[str, Any]) -> str:
    return f"`{_toml(part['default'])}`" if part.get("default", "") != "" else ""


def _meaning(part: dict[str, Any]) -> str:
    examples = ", ".join(f"`{_toml(example)}`" for example in part.get("examples", ()))
    return f"{part['description']}{f' For example {examples}.' if examples else ''}"


def _toml(value: object) -> str:
    """In one line, as TOML has it."""
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {_toml(part)}' for key, part in value.items())} }}" if value else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return tomli_w.dumps({"x": value}).removeprefix("x = ").rstrip()


def _kind(part: dict[str, Any]) -> str:
    """What may be written there, in a word or two."""
    if "enum" in part:
        return " or ".join(f"`{_toml(value)}`" for value in part["enum"])
    if "pattern" in part:
        return "size" if "B" in part["pattern"] else "duration"
    if "anyOf" in part:
        return "command" if part.get("default") is None else "command or commands"
    if part.get("type") == "array":
        return f"array of {'sockets' if '$ref' in part['items'] else 'texts'}"
    if "$ref" in part:
        return "table" if part["$ref"].endswith("Hooks") else "text or table"
    return _KINDS[part["type"]]


def verbs() -> str:
    """docs/verbs.md."""
    return "\n".join([VERBS_PAGE, *_all_verbs()])


def _all_verbs() -> Iterator[str]:
    for name in VERBS:
        command = importlib.import_module(f"hotpipe.cli.{name}").command
        yield from _verb(click.Context(command, info_name=f"hotpipe {name}"), 2)
        for inner, part in getattr(command, "commands", {}).items():
            yield from _verb(click.Context(part, info_name=f"hotpipe {name} {inner}"), 3)
    yield "## `hotpipe`\n"
    yield from _options(click.Context(cli, info_name="hotpipe"))


def _verb(context: click.Context, level: int) -> Iterator[str]:
    usage = " ".join([str(context.info_name), *context.command.collect_usage_pieces(context)])
    yield f"{'#' * level} `{context.info_name}`\n"
    yield f"```text\n{usage}\n```\n"
    yield f"{_paragraphs(context.command.help or '')}\n"
    yield from _options(context)


def _paragraphs(help_text: str) -> str:
    r"""Without click's \b, which keeps the lines of a paragraph: those become a block."""
    parts = (part.strip("\n") for part in inspect.cleandoc(help_text).split("\n\n"))
    return "\n\n".join(f"```text\n{part[2:]}\n```" if part.startswith("\b\n") else part for part in parts)


def _options(context: click.Context) -> Iterator[str]:
    records = [found for p in context.command.params if (found := p.get_help_record(context)) and found[1]]
    if records:
        yield "\n".join(map(_row, [("option", "meaning"), ("---", "---"), *((f"`{a}`", b) for a, b in records)])) + "\n"


def schema_file() -> str:
    """hotpipe/config/hotpipe.schema.json."""
    return json.dumps(schema(), indent=2) + "\n"


WRITTEN: dict[Path, Callable[[], str]] = {
    ROOT / "docs/configuration.md": configuration,
    ROOT / "docs/verbs.md": verbs,
    ROOT / "hotpipe/config/hotpipe.schema.json": schema_file,
}

if __name__ == "__main__":
    for file, written in WRITTEN.items():
        file.write_text(written(), encoding="utf-8")

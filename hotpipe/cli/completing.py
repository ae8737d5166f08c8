"""What a shell is told that may come next: names from hotpipe.toml. Quick, and silent whatever is wrong with it."""

import contextlib
import itertools
import os
from collections.abc import Callable
from typing import Any

import click
from click.shell_completion import CompletionItem

from hotpipe.cli import asking
from hotpipe.config.find import without_waiting
from hotpipe.errors import HotpipeError
from hotpipe.logs import FOLDER
from hotpipe.logs.line import Kind, Source
from hotpipe.logs.line import sources as written

_KINDS: tuple[Kind, ...] = ("server", "stage")
Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def sources(config_file: str | None) -> list[Source]:
    """The stages and servers that the configuration names, valid or not."""
    with contextlib.suppress(HotpipeError, OSError, ValueError, RecursionError):
        import tomllib

        from hotpipe.config.listen import NAME

        file = asking.found(config_file)
        with open(file, "rb", opener=without_waiting) as opened:
            tables = tomllib.load(opened)
        if os.path.basename(file) == "pyproject.toml":
            tables = _table(_table(tables, "tool"), "hotpipe")
        # No others are names; and a shell may put what it is told into the command line as it is: `$(rm -r .)`, too.
        named = ((kind, name) for kind in _KINDS for name in _table(tables, kind) if NAME.fullmatch(name))
        return list(itertools.starmap(Source, named))
    return []


def stages(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of stages that are not there yet."""
    return _fitting([source.name for source in _of(ctx) if source.kind == "stage"], ctx, param, incomplete)


def servers(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of servers that are not there yet."""
    return _fitting([source.name for source in _of(ctx) if source.kind == "server"], ctx, param, incomplete)


def logs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of whoever has a log, or will."""
    known = _of(ctx)
    with contextlib.suppress(HotpipeError, OSError):
        known += written(os.path.join(asking.root(ctx.params.get("config_file")), FOLDER))
    return _fitting([source.name for source in known], ctx, param, incomplete)


def _of(ctx: click.Context) -> list[Source]:
    return sources(ctx.params.get("config_file"))


def _fitting(names: list[str], ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    given = ctx.params.get(param.name or "") or ()
    return [CompletionItem(name) for name in dict.fromkeys(names) if name.startswith(incomplete) and name not in given]


def _table(tables: Any, key: str) -> dict[str, Any]:
    found = tables.get(key) if isinstance(tables, dict) else None
    return found if isinstance(found, dict) else {}

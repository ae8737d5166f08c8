"""`hotpipe init`: looks at the project, asks where there is a choice, and writes hotpipe.toml.

Invariant: until all is decided and every file stands ready beside its place, nothing is changed; and no line that the
user has written is.
"""

import os
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass

import click

from hotpipe.cli import asking
from hotpipe.cli.placing import File, Place, place, read, root_of
from hotpipe.config import file, merged, model, written
from hotpipe.config.detect import Disk, Draft, ServerDraft, propose
from hotpipe.errors import HotpipeError, UsageError

_IGNORED = (".trigger*", ".hotpipe/")


@click.command(short_help="Look at the project and write hotpipe.toml.")
@click.argument("folder", required=False, type=click.Path(exists=True, file_okay=False))
@click.option("-y", "--yes", is_flag=True, help="Ask nothing; so without a terminal.")
@click.option("-f", "--force", is_flag=True, help="Where there is one: add what it lacks, and keep all that it has.")
@click.option("-n", "--print", "only_print", is_flag=True, help="To standard output; writes nothing.")
def command(folder: str | None, yes: bool, force: bool, only_print: bool) -> None:
    """Look at the project and write a hotpipe.toml that works at once; let git ignore what hotpipe leaves behind.

    FOLDER becomes the project's root. Without it: the folder that you are in, if it is a project; else the nearest one
    above, or the top of the git work tree.
    """
    where = _where(folder)
    if not only_print and where.config is not None and not force:
        alone = "" if where.root == os.getcwd() or folder else "; `hotpipe init .` writes one for this folder alone"
        hint = f"`hotpipe init --force` adds what it lacks, and changes nothing that is there{alone}"
        raise UsageError(f"{where.file} is there already; nothing was written", hint=hint)
    draft = _without_ignored(where.root, propose(Disk(where.root)))
    chosen = draft.choose(tuple(map(_first if yes or only_print or not _is_asked() else _ask, draft.servers)))
    result = _result(where, chosen, merges=force)
    if only_print:
        click.echo(result.content, nl=False)
    else:
        _write(where, result, chosen)


@dataclass(frozen=True, slots=True)
class _Result:
    """What the file is to hold, and the proposal that is in it."""

    content: bytes
    draft: Draft


def _where(folder: str | None) -> Place:
    """The root, and what is there; raises UsageError where the configuration is in another file."""
    cwd = asking.here()
    root = os.path.abspath(folder) if folder else None
    found = _found(root or cwd, only_here=root is not None)
    if found and os.path.basename(found) == file.SHARED:
        hint = "edit it there: `hotpipe config` shows all of it; `hotpipe init --print` what would be proposed"
        raise UsageError(f"the configuration is [tool.hotpipe] in {found}; a second one would be in its way", hint=hint)
    root = os.path.dirname(found) if found else root or root_of(cwd)
    return Place(root, os.path.join(root, file.OWN), read(found) if found else None)


def _found(folder: str, *, only_here: bool) -> str | None:
    try:
        found = file.find(folder)
    except UsageError:
        return None
    return None if only_here and os.path.dirname(found) != folder else found


def _without_ignored(root: str, draft: Draft) -> Draft:
    """Without the lines that .gitignore makes needless."""
    from dataclasses import replace

    from hotpipe.tree.ignore import Ignore

    rules = Ignore(root)
    return replace(
        draft,
        ignore=tuple(line for line in draft.ignore if not rules.ignored(_sample(line), is_dir=line.endswith("/"))),
    )


def _sample(line: str) -> str:
    """A path that a line is meant for."""
    return line.replace("*", "x").rstrip("/")


def _is_asked() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def _first(choice: tuple[ServerDraft, ...]) -> ServerDraft:
    return choice[0]


def _ask(choice: tuple[ServerDraft, ...]) -> ServerDraft:
    """Which of several ways to serve; Ctrl-C leaves without a trace."""
    there = [server for server in choice if not server.missing]
    if len(there) < 2:
        return choice[0]
    click.echo(f"{there[0].name} can be served in several ways:")
    for number, server in enumerate(there, 1):
        click.echo(f"  {number}) {server.run}  ({server.because})")
    number = click.prompt("which one", type=click.IntRange(1, len(there)), default=1)
    return there[number - 1]


def _result(where: Place, draft: Draft, *, merges: bool) -> _Result:
    if where.config is None or not merges:
        return _Result(_valid(written.whole(draft).encode()), draft)
    present = file.load(where.file, where.root).config
    lacking = merged.lacking(draft, present)
    text = written.more(lacking)
    if not text:
        return _Result(where.config, lacking)
    return _Result(_valid(merged.appended(where.config, f"\n# Added by `hotpipe init --force`.\n{text}")), lacking)


def _valid(content: bytes) -> bytes:
    """Raises HotpipeError rather than let something be written that cannot be used."""
    try:
        parsed = model.parse(tomllib.loads(content.decode("utf-8-sig")))
    except ValueError as error:
        hint = "are [stage] or [server] inline tables? Write each under a header of its own, [stage.lint] say"
        raise HotpipeError(f"what is to be added does not fit in: {error}; nothing was written", hint=hint) from error
    if isinstance(parsed, list):
        faults = "; ".join(f"{'.'.join(fault.at)}: {fault.message}" for fault in parsed)
        raise HotpipeError(f"what was found makes no valid configuration: {faults}; nothing was written")
    return content


def _write(where: Place, result: _Result, chosen: Draft) -> None:
    ignore_file = os.path.join(where.root, ".gitignore")
    before = read(ignore_file)
    after = merged.with_lines(before or b"", _IGNORED, where.is_ignored)
    files = [File(where.file, result.content, where.config), File(ignore_file, after, before)]
    if where.config is not None and where.config != result.content:
        files.insert(0, File(f"{where.file}.bak", where.config, read(f"{where.file}.bak")))
    place([one for one in files if one.is_new()])
    for line in _summary(where, result, chosen):
        click.echo(line)
    if after != (before or b""):
        click.echo("added to .gitignore: what hotpipe leaves behind")
    click.echo("next: hotpipe watch" + _going_to(where.root))


def _going_to(root: str) -> str:
    path = os.path.relpath(root)
    return "" if path == "." or not path.startswith(".") or set(path.split("/")) == {".."} else f", in {path}"


def _summary(where: Place, result: _Result, chosen: Draft) -> Iterator[str]:
    if where.config == result.content:
        yield f"{where.file} lacks nothing: left as it is"
    elif where.config is not None:
        yield f"added to {where.file} (as it was: {file.OWN}.bak)"
    else:
        yield f"wrote {where.file}"
    for stage in result.draft.active():
        yield f"  stage {stage.name}: {stage.run}"
    for (server,) in result.draft.servers:
        if not server.missing:
            at = f"http://127.0.0.1:{server.port}" if server.takes_socket else "a port of its own"
            yield f"  server {server.name}: {server.run} ({at})"
    yield from _lacks(chosen)
    if where.config is None and where.above:
        yield f"for the whole repository instead: hotpipe init {where.above}"


def _lacks(draft: Draft) -> Iterator[str]:
    """What was found in vain, or not at all."""
    for stage in draft.stages:
        if stage.missing:
            yield f"  commented out: stage {stage.name}, {stage.missing}"
    for (server,) in draft.servers:
        if server.missing:
            yield f"  commented out: server {server.name}, {server.missing}"
    if not draft.active():
        yield "  no linter, type checker or tests were found: write what is to be checked into [stage.check]"
    if not draft.servers:
        yield "  no server was found: an example is commented out"

"""`hotpipe init`: looks at the project, asks where there is a choice, and writes hotpipe.toml.

Invariant: until all is decided and every file stands ready beside its place, nothing is changed; and no line that the
user has written is.
"""

import os
import shlex
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import click

from hotpipe.cli import asking
from hotpipe.cli.placing import File, Place, place, read, root_of
from hotpipe.config import file, merged, model, written
from hotpipe.config.detect import Disk, Draft, ServerDraft, propose
from hotpipe.errors import HotpipeError, UsageError
from hotpipe.tree.ignore import Ignore

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
    if not only_print:
        _refuse(where, "" if folder else asking.here(), may_add=force)
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
    """The root, and the configuration that is there."""
    cwd = asking.here()
    root = os.path.abspath(folder) if folder else None
    found = _found(root or cwd, only_here=root is not None)
    if found:
        return Place(os.path.dirname(found), found, read(found))
    root = root or root_of(cwd)
    return Place(root, os.path.join(root, file.OWN), None)


def _refuse(where: Place, cwd: str, *, may_add: bool) -> None:
    """Raises UsageError where there is a configuration that nothing is to be added to."""
    if os.path.basename(where.file) == file.SHARED:
        hint = "write there what it lacks; `hotpipe init --print` shows what would be proposed"
        message = f"the configuration is [tool.hotpipe] in {where.file}; a second one would be in its way"
        raise UsageError(f"{message}: nothing was written", hint=hint)
    if where.config is not None and not may_add:
        alone = "; `hotpipe init .` writes one for this folder alone" if cwd not in ("", where.root) else ""
        hint = f"`hotpipe init --force` adds what it lacks, and changes nothing that is there{alone}"
        raise UsageError(f"{where.file} is there already; nothing was written", hint=hint)


def _found(folder: str, *, only_here: bool) -> str | None:
    try:
        found = file.find(folder)
    except UsageError:
        return None
    return None if only_here and os.path.dirname(found) != folder else found


def _without_ignored(root: str, draft: Draft) -> Draft:
    """Without the lines that .gitignore makes needless."""
    rules = Ignore(root)
    needed = (line for line in draft.ignore if not rules.ignored(_sample(line), is_dir=line.endswith("/")))
    return replace(draft, ignore=tuple(needed))


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
    if where.config is None or not merges or os.path.basename(where.file) == file.SHARED:
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
    click.echo(f"next: {_way_to(where.root)}hotpipe watch")


def _way_to(root: str) -> str:
    """Nothing from the root itself, or from below: there it is found."""
    here = os.getcwd()
    return "" if os.path.commonpath((here, root)) == root else f"cd {shlex.quote(os.path.relpath(root))} && "


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

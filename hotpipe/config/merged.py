"""What is added to files that are the user's: nothing of theirs changes, byte for byte. Pure."""

from collections.abc import Callable, Iterable
from dataclasses import replace

from hotpipe.config.detect.draft import Draft
from hotpipe.config.model import Config


def lacking(draft: Draft, present: Config) -> Draft:
    """What of a proposal a configuration does not have: by name, by command, a server also by its folder."""
    runs = {stage.run for stage in present.stage.values()}
    stages = tuple(stage for stage in draft.active() if stage.name not in present.stage and stage.run not in runs)
    folders = {server.cwd for server in present.server.values()}
    servers = tuple(
        tuple(replace(server, needs=_known(server.needs, present, draft)) for server in choice)
        for choice in draft.servers
        if choice[0].name not in present.server and choice[0].cwd not in folders and not choice[0].missing
    )
    return Draft(stages, servers)


def _known(needs: tuple[str, ...] | None, present: Config, draft: Draft) -> tuple[str, ...] | None:
    names = present.stage.keys() | {stage.name for stage in draft.active()}
    return None if needs is None else tuple(name for name in needs if name in names)


def appended(content: bytes, text: str) -> bytes:
    """`content` with `text` under it, with its own line ends; a last line that has none gets one."""
    end = _line_end(content)
    whole = content if not content or content.endswith(b"\n") else content + end
    return whole + text.encode().replace(b"\n", end)


def with_lines(content: bytes, lines: Iterable[str], is_ignored: Callable[[str], bool]) -> bytes:
    """A .gitignore with those of `lines` that it lacks, and that no other rule makes needless."""
    there = {line.strip() for line in content.decode("utf-8", "replace").removeprefix("\ufeff").splitlines()}
    new = [line for line in lines if line not in there and not is_ignored(line)]
    if not new:
        return content
    gap = "\n" if content.strip() else ""
    return appended(content, gap + "# hotpipe\n" + "".join(f"{line}\n" for line in new))


def _line_end(content: bytes) -> bytes:
    first = content.partition(b"\n")[0]
    return b"\r\n" if first.endswith(b"\r") and b"\n" in content else b"\n"

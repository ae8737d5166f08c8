"""Why a path is watched or not, and what a change of it sets going.

Decides what the watcher (`tree/sweep.py`), the gate and the servers would, from the same rules, without watching.
`locate` looks at the disk; `explain` is pure, but for the ignore files that `Ignore` reads.
"""

import os
import stat
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from hotpipe.config.model import Config
from hotpipe.events import printable
from hotpipe.tree.gitignore import Rule
from hotpipe.tree.globs import Globs
from hotpipe.tree.ignore import Ignore
from hotpipe.tree.walk import walk

Kind = Literal["file", "folder", "link", "other", "missing"]


class Place(Struct, frozen=True):
    """Where a path lies: from the root on, "" being the root itself; None outside of it. `link` is the symbolic link in
    it that is not followed, `files` are the watched ones below a folder."""

    path: str | None
    shown: str
    kind: Kind
    is_folder: bool = False
    link: str = ""
    files: tuple[str, ...] = ()


class Deciding(Struct, frozen=True):
    """The line that decides: of an ignore file, of `[watch] ignore` (then `line` counts its entries), or built in."""

    source: str
    line: int
    pattern: str
    matched: str


class Effect(Struct, frozen=True):
    """What a change of the path means for one stage or server; of a folder, of `files` files in it.

    `glob` is the line of its inputs that decides; null where it has none, or none matches.
    """

    name: str
    fires: bool
    why: str
    glob: str | None = None
    files: int | None = None


class Explanation(Struct, frozen=True):
    """The answer for one path. `files` counts the watched ones in a folder."""

    path: str
    kind: Kind
    watched: bool
    why: str
    rule: Deciding | None = None
    files: int | None = None
    stages: tuple[Effect, ...] = ()
    servers: tuple[Effect, ...] = ()


class _Watched(NamedTuple):
    is_so: bool
    why: str
    rule: Deciding | None = None


# --- where it is ------------------------------------------------------------------------------------------------------


def locate(given: str, root: str, cwd: str, ignore: Ignore) -> Place:
    """What `given`, a path as a user types it in `cwd`, is in the project at `root`."""
    path = os.path.normpath(os.path.join(cwd, given))
    relative = _from(root, path)
    if relative is None:
        real = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
        relative = _from(os.path.realpath(root), real)
    kind = _kind(path)
    is_folder = kind == "folder" or (kind == "missing" and given.endswith("/"))
    if relative is None:
        return Place(None, printable(path), kind, is_folder)
    link = _link_above(root, relative)
    inside = walk(root, [relative], ignore) if kind == "folder" and not link else ()
    files = tuple(file for listed in inside for file in listed.files)
    return Place(relative, printable(relative or "."), kind, is_folder, link, files)


def _from(root: str, path: str) -> str | None:
    if path == root:
        return ""
    prefix = f"{root.rstrip('/')}/"
    return path.removeprefix(prefix) if path.startswith(prefix) else None


def _kind(path: str) -> Kind:
    try:
        mode = os.lstat(path).st_mode
    except (OSError, ValueError):
        return "missing"
    kinds: dict[int, Kind] = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link"}
    return kinds.get(stat.S_IFMT(mode), "other")


def _link_above(root: str, path: str) -> str:
    folders = path.split("/")[:-1]
    above = ("/".join(folders[: depth + 1]) for depth in range(len(folders)))
    return next((folder for folder in above if os.path.islink(os.path.join(root, folder))), "")


# --- what that means --------------------------------------------------------------------------------------------------


def explain(place: Place, config: Config, ignore: Ignore) -> Explanation:
    """The answer for one path; of what is not there, what would hold if it were."""
    watched = _watched(place, config, ignore)
    if not watched.is_so or place.path is None:
        return Explanation(place.shown, place.kind, watched=False, why=watched.why, rule=watched.rule)
    paths = _below(config, place.files) if place.kind == "folder" else (place.path,)
    if place.is_folder and place.kind == "missing":
        paths = (f"{place.path}/a file in it",)
    return Explanation(
        place.shown,
        place.kind,
        watched=True,
        why=watched.why,
        rule=watched.rule,
        files=len(paths) if place.kind == "folder" else None,
        stages=_stages(config, paths, place.kind),
        servers=_servers(config, paths, place.kind),
    )


def _watched(place: Place, config: Config, ignore: Ignore) -> _Watched:
    path = place.path
    if path is None:
        return _Watched(False, "it lies outside of the project")
    if place.link:
        link = printable(place.link)
        return _Watched(False, f"it lies behind the symbolic link {link}, and what a link points to is not followed")
    roots = tuple(map(_root, config.watch.paths))
    if not _inside(path, roots):
        if place.is_folder and any(root.startswith(f"{path}/") or not path for root in roots):
            return _Watched(True, f"of it, what [watch] paths names: {_listed(config.watch.paths)}")
        return _Watched(False, f"it lies outside of [watch] paths: {_listed(config.watch.paths)}")
    if path in roots and not place.is_folder:
        return _Watched(True, "[watch] paths names it")
    return _judged(place, path, ignore)


def _judged(place: Place, path: str, ignore: Ignore) -> _Watched:
    verdict = ignore.explain(path, place.is_folder)
    rule = None if verdict.rule is None else _deciding(verdict.rule, verdict.path)
    if verdict.ignored and rule is not None:
        return _Watched(False, _ignored(rule, printable(path)), rule)
    if place.kind == "other":
        return _Watched(False, "it is neither file, folder nor link: sockets, pipes and devices are no part of a tree")
    why = "no rule ignores it" if rule is None else f"{_where(rule)} re-includes it"
    link = "; it is a link: where it points is watched, not what is there" if place.kind == "link" else ""
    return _Watched(True, why + link, rule)


def _deciding(rule: Rule, matched: str) -> Deciding:
    return Deciding(printable(rule.source), rule.line, printable(rule.pattern), printable(matched))


def _ignored(rule: Deciding, path: str) -> str:
    if rule.source == "trigger":
        return "it is a trigger: hotpipe writes it itself"
    what = "it" if rule.matched == path else f"the folder {rule.matched}"
    return f"{_where(rule)} ignores {what}"


def _where(rule: Deciding) -> str:
    if not rule.line:
        return f"the {rule.source.replace(' ', '-')} line {rule.pattern!r}"
    if rule.source.startswith("["):
        return f"{rule.source}, entry {rule.line}, {rule.pattern!r},"
    return f"{rule.source}:{rule.line}, {rule.pattern!r},"


def _stages(config: Config, paths: Sequence[str], kind: Kind) -> tuple[Effect, ...]:
    needs = config.needs()
    effects: dict[str, Effect] = {}
    own = {name: _effect(name, stage.inputs, paths, kind) for name, stage in config.stage.items()}
    for name, effect in own.items():
        needed = [need for need in _all_needs(needs, name) if own[need].fires]
        effects[name] = effect if effect.fires or not needed else _because(effect, needed)
    return tuple(effects.values())


def _because(effect: Effect, needed: list[str]) -> Effect:
    return replace(effect, fires=True, why=f"it needs {_listed(needed)}; {effect.why}")


def _all_needs(needs: dict[str, tuple[str, ...]], name: str) -> list[str]:
    """Those of a stage, and theirs; the nearest first."""
    found: dict[str, None] = {}
    waiting = list(needs[name])
    while waiting:
        need = waiting.pop(0)
        if need not in found:
            found[need] = None
            waiting += needs.get(need, ())
    return list(found)


def _servers(config: Config, paths: Sequence[str], kind: Kind) -> tuple[Effect, ...]:
    effects = []
    for name, server in config.server.items():
        effect = _effect(name, server.inputs, paths, kind)
        waits = tuple(config.stage) if server.needs is None else server.needs
        green = "is" if len(waits) == 1 else "are"
        until = f"; it waits until {_listed(waits)} {green} green" if waits and effect.fires else ""
        effects.append(replace(effect, why=effect.why + until))
    return tuple(effects)


def _effect(name: str, inputs: tuple[str, ...] | None, paths: Sequence[str], kind: Kind) -> Effect:
    if inputs is None:
        return Effect(name, bool(paths), "every watched file is an input", files=_count(paths, kind))
    globs = Globs(inputs)
    picked = [path for path in paths if globs.matches(path)]
    if kind == "folder":
        return Effect(name, bool(picked), _among(len(picked), len(paths)), files=len(picked))
    rule = globs.deciding(paths[0])
    return Effect(name, bool(picked), _by(rule, bool(picked)), None if rule is None else printable(rule.pattern))


def _count(paths: Sequence[str], kind: Kind) -> int | None:
    return len(paths) if kind == "folder" else None


def _among(picked: int, of: int) -> str:
    if not of:
        return "there is no watched file in it"
    return f"{picked or 'none'} of its {of} watched files {'are inputs' if picked > 1 else 'is an input'}"


def _by(rule: Rule | None, picked: bool) -> str:  # noqa: FBT001 - the answer, passed on
    if rule is None:
        return "its inputs only take away, and not this" if picked else "no line of its inputs matches"
    return f"inputs: {printable(rule.pattern)!r}" if picked else f"its inputs take it away: {printable(rule.pattern)!r}"


def of_own(found: Explanation) -> Explanation:
    """The answer for hotpipe's own configuration, which servers are not concerned by."""
    why = "what the configuration says of it decides, not that the file has changed"
    return replace(found, servers=tuple(replace(effect, fires=False, why=why) for effect in found.servers))


def _below(config: Config, files: Iterable[str]) -> tuple[str, ...]:
    roots = tuple(map(_root, config.watch.paths))
    return tuple(file for file in files if _inside(file, roots))


def _inside(path: str, roots: tuple[str, ...]) -> bool:
    return any(not root or path == root or path.startswith(f"{root}/") for root in roots)


def _root(path: str) -> str:
    normal = os.path.normpath(path)
    return "" if normal == "." else normal


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(printable, names))

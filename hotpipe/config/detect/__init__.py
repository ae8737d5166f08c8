"""Looks at a project and proposes stages and servers for it. Pure, but for `project.Disk`.

How it works: each folder with a manifest, and each language in it, is a *part* that is looked at by itself
(`pythonstages`, `pythonservers`, `node`, `compiled`). Where there are several, each gets a name, its folder and its
inputs, and each server needs the stages of its own part. Targets of make and just are the fall-back.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from hotpipe.config.detect import compiled, node, pythonservers, pythonstages, targets
from hotpipe.config.detect.draft import LAST_PORT, Draft, ServerDraft, StageDraft, name_of
from hotpipe.config.detect.project import Disk, Project, Within
from hotpipe.config.detect.pythonstages import Python

__all__ = ["Disk", "Draft", "Project", "ServerDraft", "StageDraft", "is_project", "propose"]

_MANIFESTS = (
    "pyproject.toml",
    "package.json",
    "go.mod",
    "Cargo.toml",
    "requirements.txt",
    "manage.py",
    "setup.py",
    "Pipfile",
)
_FIRST_FREE = 1_024  # ports below are privileged: ip(7)
_DEEPEST = 2  # folders with a manifest of their own


@dataclass(frozen=True, slots=True)
class _Part:
    """What one language has in one folder ("" is the root)."""

    folder: str
    language: str
    draft: Draft


def propose(project: Project) -> Draft:
    """What is proposed for a project, one server for each choice first."""
    parts = _without_doubles(list(_parts(project)))
    fallback = targets.detect(project)
    found = _together(parts)
    if not found.active():
        found = replace(found, stages=_with_free_names(found.stages, fallback.stages))
    if not found.servers:
        found = replace(found, servers=fallback.servers)
    return _with_free_ports(found)


def is_project(names: Iterable[str]) -> bool:
    """Whether a folder with entries of these names is one."""
    return not {*_MANIFESTS, "Makefile", "justfile"}.isdisjoint(names)


def _detect_python(project: Project) -> Draft:
    python = Python(project)
    is_django = "manage.py" in project.paths
    stages = [*pythonstages.stages(python)]
    if is_django:
        own = [stage for stage in pythonservers.django_stages(python) if stage.name not in {s.name for s in stages}]
        stages = [stage for stage in stages if stage.name != "syntax" or all(s.missing for s in own)] + own
    servers = pythonservers.servers(python)
    return Draft(tuple(stages), (servers,) if servers else (), ("*.sqlite3*",) if is_django else ())


_LANGUAGES: tuple[tuple[str, Callable[[Project], bool], Callable[[Project], Draft]], ...] = (
    ("python", pythonstages.is_python, _detect_python),
    ("node", node.is_node, node.detect),
    ("go", lambda project: "go.mod" in project.paths, compiled.detect_go),
    ("rust", lambda project: "Cargo.toml" in project.paths, compiled.detect_rust),
)


def _parts(project: Project) -> Iterator[_Part]:
    for folder in _folders(project):
        place = Within(project, folder) if folder else project
        for language, is_there, detect in _LANGUAGES:
            if is_there(place):
                yield _Part(folder, language, detect(place))


def _folders(project: Project) -> list[str]:
    folders = {"": None}
    for path in project.paths:
        folder, _, name = path.rpartition("/")
        if name in _MANIFESTS and folder and folder.count("/") < _DEEPEST:
            folders[folder] = None
    return list(folders)


def _without_doubles(parts: list[_Part]) -> list[_Part]:
    """A part below another one of its language (a workspace's member) adds only what the upper one lacks."""
    kept: list[_Part] = []
    for part in parts:
        above = [other for other in kept if other.language == part.language and _is_above(other.folder, part.folder)]
        draft = part.draft
        if any(other.draft.active() for other in above):
            draft = replace(draft, stages=())
        if any(other.draft.servers for other in above):
            draft = replace(draft, servers=())
        if draft.stages or draft.servers:
            kept.append(replace(part, draft=draft))
    return kept


def _is_above(upper: str, lower: str) -> bool:
    return upper != lower and (not upper or lower.startswith(f"{upper}/"))


def _together(parts: list[_Part]) -> Draft:
    if len(parts) == 1:
        return _placed(parts[0], parts[0].draft)
    whole = Draft()
    for part in parts:
        draft = _placed(part, part.draft)
        named = _named(part, draft, {stage.name for stage in whole.stages})
        whole += replace(named, servers=())
        for choice in draft.servers:
            whole += Draft(servers=(_of_part(part, named, choice, whole),))
    return whole


def _placed(part: _Part, draft: Draft) -> Draft:
    """With folder and inputs, where it is not the root's."""
    if not (folder := part.folder):
        return draft
    stages = tuple(replace(s, cwd=folder, inputs=_inputs(folder, s.inputs)) for s in draft.stages)
    servers = tuple(
        tuple(replace(server, cwd=folder, inputs=_inputs(folder, server.inputs)) for server in choice)
        for choice in draft.servers
    )
    return Draft(stages, servers, tuple(f"{_glob(folder)}/{line}" for line in draft.ignore))


def _inputs(folder: str, inputs: tuple[str, ...]) -> tuple[str, ...]:
    folder = _glob(folder)
    return tuple(f"{folder}/**/{glob}" for glob in inputs) or (f"{folder}/",)


def _glob(folder: str) -> str:
    """What means just this folder, as a line of gitignore(5): `[id]` would mean `i` or `d`."""
    escaped = re.sub(r"[\\*?\[]", r"\\\g<0>", folder)
    return f"\\{escaped}" if escaped.startswith(("!", "#")) else escaped


def _named(part: _Part, draft: Draft, taken: set[str]) -> Draft:
    """Each stage of a folder is named after it; of two languages, the second one's after the language."""

    names: dict[str, str] = {}
    for stage in draft.stages:
        full = f"{part.folder}-{stage.name}" if part.folder else stage.name
        full = f"{full}-{part.language}" if full in taken else full
        names[stage.name] = name_of(full, {*taken, *names.values()})
    return replace(draft, stages=tuple(replace(stage, name=names[stage.name]) for stage in draft.stages))


def _of_part(part: _Part, named: Draft, choice: tuple[ServerDraft, ...], others: Draft) -> tuple[ServerDraft, ...]:
    needs = tuple(stage.name for stage in named.active())
    taken = {server.name for one in others.servers for server in one}
    name = part.folder if part.folder and len(named.servers) == 1 else choice[0].name
    name = name_of(f"{name}-{part.language}" if name in taken else name, taken)
    return tuple(replace(server, name=name, needs=needs if server.needs is None else server.needs) for server in choice)


def _with_free_names(stages: tuple[StageDraft, ...], more: tuple[StageDraft, ...]) -> tuple[StageDraft, ...]:
    """`more` comes first, since the others cannot run."""
    taken = {stage.name for stage in more}
    return (*more, *(stage for stage in stages if stage.name not in taken))


def _with_free_ports(draft: Draft) -> Draft:
    taken: set[int] = set()
    servers = []
    for choice in draft.servers:
        port = choice[0].port
        while port in taken:
            port = port + 1 if port < LAST_PORT else _FIRST_FREE
        taken.add(port)
        servers.append(tuple(replace(server, port=port) if server.takes_socket else server for server in choice))
    return replace(draft, servers=tuple(servers))

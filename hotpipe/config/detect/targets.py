"""Targets of make and just: what is left where no language's own tools are found. Pure."""

import re
from collections.abc import Iterator

from hotpipe.config.detect.draft import Draft, ServerDraft, StageDraft
from hotpipe.config.detect.project import Project

_FILES = (
    ("make", ("Makefile", "makefile", "GNUmakefile")),
    ("just", ("justfile", "Justfile", ".justfile")),
)
_TARGET = re.compile(r"^@?([A-Za-z][\w-]*)(?:[ \t][^:\n]*)?:(?!=)", re.MULTILINE)
_STAGES = ("lint", "format-check", "check", "typecheck", "types", "test")
_SERVERS = ("serve", "run", "dev", "start")


def detect(project: Project) -> Draft:
    """Stages of the usual names, and what serves."""
    stages = tuple(_named(project, _STAGES))
    servers = tuple((_server(program, stage),) for program, stage in _first(project, _SERVERS))
    return Draft(tuple(stage for _, stage in stages), servers)


def _named(project: Project, names: tuple[str, ...]) -> Iterator[tuple[str, StageDraft]]:
    for program, files in _FILES:
        file = next((file for file in files if file in project.paths), "")
        targets = _TARGET.findall(project.text(file)) if file else []
        missing = "" if project.has_program(program) else f"{program} is not installed"
        for name in names:
            if name in targets:
                yield program, StageDraft(name, f"{program} {name}", f"{file} has {name}", missing=missing)
        if targets:
            return


def _first(project: Project, names: tuple[str, ...]) -> list[tuple[str, StageDraft]]:
    return list(_named(project, names))[:1]


def _server(program: str, target: StageDraft) -> ServerDraft:
    notes = (
        f"Whether `{target.run}` can take a socket, {program} does not say: it is stopped before the next one starts.",
        'If it can, write here: listen = ["http::8000"], and use {fd}.',
    )
    return ServerDraft("web", target.run, target.because, takes_socket=False, notes=notes, missing="" or target.missing)

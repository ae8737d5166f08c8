"""Reads manifests that others wrote: what cannot be read is empty. Pure."""

import configparser
import json
import re
import tomllib
from collections.abc import Iterator
from typing import Any

from hotpipe.config.detect.project import Project

_NAME = re.compile(r"\s*([A-Za-z0-9][\w.-]*)")
_REQUIREMENTS = re.compile(r"(?:requirements/)?[\w.-]*requirements[\w.-]*\.(?:txt|in)|requirements/[\w.-]+\.(?:txt|in)")


def toml(text: str) -> dict[str, Any]:
    """The tables of a TOML file."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError):
        return {}


def json_object(text: str) -> dict[str, Any]:
    """The object in a JSON file."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def ini(text: str) -> configparser.RawConfigParser:
    """The sections of setup.cfg, tox.ini and their like."""
    found = configparser.RawConfigParser(strict=False)
    try:
        found.read_string(text)
    except configparser.Error:
        return configparser.RawConfigParser()
    return found


def table(tables: object, *path: str) -> dict[str, Any]:
    """The table at a path of keys; empty where something else, or nothing, is there."""
    for key in path:
        tables = tables.get(key) if isinstance(tables, dict) else None
    return tables if isinstance(tables, dict) else {}


def required(project: Project) -> dict[str, str]:
    """The packages that a Python project asks for, by their normal name, and the file that says so."""
    found: dict[str, str] = {}
    for file, name in _required(project):
        found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), file)
    return found


def _required(project: Project) -> Iterator[tuple[str, str]]:
    for name in _in_pyproject(toml(project.text("pyproject.toml"))):
        yield "pyproject.toml", name
    for path in project.paths:
        if _REQUIREMENTS.fullmatch(path):
            yield from ((path, name) for name in _names(project.text(path).splitlines()))
    pipfile = toml(project.text("Pipfile"))
    yield from (("Pipfile", name) for part in ("packages", "dev-packages") for name in table(pipfile, part))
    cfg = ini(project.text("setup.cfg"))
    lines = cfg.get("options", "install_requires", fallback="").splitlines()
    lines += [line for _, text in _extras(cfg) for line in text.splitlines()]
    yield from (("setup.cfg", name) for name in _names(lines))


def _extras(cfg: configparser.RawConfigParser) -> list[tuple[str, str]]:
    section = "options.extras_require"
    return cfg.items(section) if cfg.has_section(section) else []


def _in_pyproject(tables: dict[str, Any]) -> Iterator[str]:
    """PEP 621, PEP 735, poetry, uv, pdm and hatch."""
    tool = table(tables, "tool")
    yield from _names(table(tables, "project").get("dependencies"))
    groups = (
        table(tables, "project", "optional-dependencies"),
        table(tables, "dependency-groups"),
        table(tool, "pdm", "dev-dependencies"),
        table(tool, "uv"),
        *table(tool, "hatch", "envs").values(),
    )
    for group in groups:
        for lines in group.values() if isinstance(group, dict) else ():
            yield from _names(lines)
    yield from table(tool, "poetry", "dependencies")
    yield from table(tool, "poetry", "dev-dependencies")
    for name in table(tool, "poetry", "group"):
        yield from table(tool, "poetry", "group", name, "dependencies")


def _names(lines: object) -> Iterator[str]:
    for line in lines if isinstance(lines, list) else ():
        if isinstance(line, str) and (found := _NAME.match(line)):
            yield found[1]

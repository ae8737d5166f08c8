"""Finds the web applications in Python sources, by reading them: nothing is imported.

An application is an object at the top of a module, or a function without arguments that makes one.
"""

import ast
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from hotpipe.config.detect.project import Project

Kind = Literal["asgi", "wsgi", "aiohttp"]
_CLASSES: dict[str, tuple[Kind, str]] = {
    "fastapi.FastAPI": ("asgi", "FastAPI"),
    "starlette.applications.Starlette": ("asgi", "Starlette"),
    "litestar.Litestar": ("asgi", "Litestar"),
    "quart.Quart": ("asgi", "Quart"),
    "falcon.asgi.App": ("asgi", "Falcon"),
    "falcon.App": ("wsgi", "Falcon"),
    "flask.Flask": ("wsgi", "Flask"),
    "bottle.Bottle": ("wsgi", "Bottle"),
    "aiohttp.web.Application": ("aiohttp", "aiohttp"),
}
_FACTORIES = ("create_app", "make_app", "get_app", "build_app", "app_factory", "application_factory")
_USUAL_NAMES = ("app", "application", "api", "asgi", "wsgi")
_USUAL_FILES = (
    "main.py",
    "app.py",
    "asgi.py",
    "wsgi.py",
    "server.py",
    "api.py",
    "web.py",
    "__init__.py",
    "__main__.py",
)
_MOST_READ = 300
_NOT_SERVED = ("test", "tests", "docs", "examples", "example", "bench", "benchmarks", "scripts", "migrations")
_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class App:
    """`name` in the file at `path`; `is_factory`: to be called first."""

    path: str
    name: str
    kind: Kind
    framework: str
    is_factory: bool = False
    takes_socket: bool = False

    @property
    def folder(self) -> str:
        """The folder that is to be on Python's path: "src", or "" for the project's own."""
        return "src" if self.path.startswith("src/") else ""

    @property
    def module(self) -> str:
        """As an import names it."""
        path = self.path.removeprefix("src/").removesuffix(".py").removesuffix("/__init__")
        return path.replace("/", ".")


def find(project: Project) -> list[App]:
    """The applications in a project, the most usual place first."""
    sources = [path for path in project.paths if path.endswith(".py") and _is_served(path)]
    sources.sort(key=_rank)
    found = [app for path in sources[:_MOST_READ] for app in in_source(path, project.text(path))]
    found = [app for app in found if all(map(str.isidentifier, app.module.split(".")))]
    return sorted(found, key=lambda app: app.is_factory and any(_is_made(app, other) for other in found))


def _is_made(factory: App, app: App) -> bool:
    """Whether an object beside a factory is what it makes."""
    return app.path == factory.path and not app.is_factory


def in_source(path: str, text: str) -> list[App]:
    """Those that one module has; none where it is no Python."""
    if not any(word in text for word in ("app", "App", "api", "ASGI", "scope")):
        return []
    module = _parsed(text)
    takes_socket = any(sign in text for sign in ("fileno=", "LISTEN_FDS", "fromfd(", "sock="))
    return [
        App(path, name, kind, framework, is_factory, takes_socket)
        for name, kind, framework, is_factory in sorted(_named(module), key=_unusual)
    ]


def _parsed(text: str) -> ast.Module:
    try:
        with warnings.catch_warnings(action="ignore"):  # of invalid escapes and their like
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ast.Module([], [])


def _is_served(path: str) -> bool:
    *folders, name = path.split("/")
    return not (name.startswith(("test_", "conftest")) or name.endswith("_test.py")) and not any(
        folder in _NOT_SERVED for folder in folders
    )


def _rank(path: str) -> tuple[int, int, str]:
    name = path.rpartition("/")[2]
    depth = path.removeprefix("src/").count("/")
    return depth, _USUAL_FILES.index(name) if name in _USUAL_FILES else len(_USUAL_FILES), path


_Named = tuple[str, Kind, str, bool]


def _unusual(named: _Named) -> tuple[bool, int]:
    name, _, _, is_factory = named
    return is_factory, _USUAL_NAMES.index(name) if name in _USUAL_NAMES else len(_USUAL_NAMES)


def _named(module: ast.Module) -> Iterator[_Named]:
    origins = dict(_origins(module.body))
    factories = {
        function.name: made
        for function in module.body
        if isinstance(function, _Function) and (made := _made_in(function, origins))
    }
    for statement in module.body:
        if isinstance(statement, _Function):
            yield from _of_function(statement, factories)
        for target, value in _assigned(statement):
            if made := _made(value, origins) or factories.get(_called(value, {})):
                yield target, *made, False


def _of_function(function: _Function, factories: dict[str, tuple[Kind, str]]) -> Iterator[_Named]:
    names = [argument.arg for argument in function.args.args]
    if isinstance(function, ast.AsyncFunctionDef) and names == ["scope", "receive", "send"]:
        yield function.name, "asgi", "an ASGI function", False
    elif isinstance(function, ast.FunctionDef) and len(names) == 2 and names[1] == "start_response":
        yield function.name, "wsgi", "a WSGI function", False
    elif function.name in _FACTORIES and function.name in factories and _needs_nothing(function):
        yield function.name, *factories[function.name], True


def _needs_nothing(function: _Function) -> bool:
    arguments = function.args
    positional = len(arguments.posonlyargs) + len(arguments.args) == len(arguments.defaults)
    return positional and all(default is not None for default in arguments.kw_defaults)


def _assigned(statement: ast.stmt) -> Iterator[tuple[str, ast.expr]]:
    match statement:
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            yield name, value
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
            yield name, value
        case _:
            return


def _made_in(function: _Function, origins: dict[str, str]) -> tuple[Kind, str] | None:
    local = origins | dict(_origins(function.body))
    made = (_made(value, local) for statement in function.body for _, value in _assigned(statement))
    returned = (_made(s.value, local) for s in function.body if isinstance(s, ast.Return) and s.value)
    return next(filter(None, (*made, *returned)), None)


def _made(value: ast.expr, origins: dict[str, str]) -> tuple[Kind, str] | None:
    """What a call makes, if it is an application."""
    return _CLASSES.get(_called(value, origins))


def _called(value: ast.expr, origins: dict[str, str]) -> str:
    return _dotted(value.func, origins) if isinstance(value, ast.Call) else ""


def _dotted(named: ast.expr, origins: dict[str, str]) -> str:
    match named:
        case ast.Name(id=name):
            return origins.get(name, name)
        case ast.Attribute(value=value, attr=name):
            return f"{_dotted(value, origins)}.{name}"
        case _:
            return ""


def _origins(body: Iterable[ast.stmt]) -> Iterator[tuple[str, str]]:
    """What each imported name stands for."""
    for statement in body:
        if isinstance(statement, ast.Import):
            yield from ((name.asname, name.name) for name in statement.names if name.asname)
        elif isinstance(statement, ast.ImportFrom) and statement.module and not statement.level:
            yield from ((name.asname or name.name, f"{statement.module}.{name.name}") for name in statement.names)

"""How a Python application takes the socket that hotpipe holds: the right line for each server that is installed."""

import re
from collections.abc import Iterator
from dataclasses import replace
from shlex import quote

from hotpipe.config.detect import apps
from hotpipe.config.detect.apps import App
from hotpipe.config.detect.draft import ServerDraft, StageDraft
from hotpipe.config.detect.pythonstages import Python

_SETTINGS = re.compile(r"""DJANGO_SETTINGS_MODULE["'],\s*["']([\w.]+)["']""")
_RUNS_ITSELF = re.compile(r"\brun_app\(")


def servers(python: Python) -> tuple[ServerDraft, ...]:
    """All the ways in which the project can be served, the best first."""
    if "manage.py" in python.project.paths:
        return tuple(_django(python))
    found = tuple(server for app in apps.find(python.project) for server in _of_app(python, app))
    there = tuple(server for server in found if not server.missing)
    return there or found[:1]


def django_stages(python: Python) -> Iterator[StageDraft]:
    """Django's own check, and its tests."""
    run = f"{python.interpreter()} manage.py"
    missing = "" if _has_django(python) else "Django is not installed"
    option = f'run = "{run} makemigrations --check --dry-run"'
    yield StageDraft("check", f"{run} check", "there is manage.py", options=(option,), missing=missing)
    if python.tests() or any(path.endswith("tests.py") for path in python.project.paths):
        yield StageDraft("test", f"{run} test", "there is manage.py", missing=missing)


def _has_django(python: Python) -> bool:
    return bool(python.command("django-admin", "django"))


def _of_app(python: Python, app: App) -> Iterator[ServerDraft]:
    match app.kind:
        case "asgi":
            yield from _asgi(python, app)
        case "wsgi":
            yield from _wsgi(python, app)
        case "aiohttp":
            yield from _aiohttp(python, app)


def _draft(app: App, run: str, because: str = "") -> ServerDraft:
    said = f"{app.path} has {app.name}{'()' if app.is_factory else ''}, {app.framework}"
    env = {"PYTHONPATH": app.folder} if app.folder else {}
    return ServerDraft("web", run, because or said, env=env)


def _place(app: App) -> str:
    return f"{app.module}:{app.name}"


def _called(app: App) -> str:
    """For servers that take an expression."""
    return f"'{_place(app)}()'" if app.is_factory else _place(app)


def _asgi(python: Python, app: App) -> Iterator[ServerDraft]:
    factory = "--factory " if app.is_factory else ""
    if command := python.command("uvicorn"):
        yield _draft(app, f"{command} {factory}{_place(app)} --fd {{fd}}")
    if command := python.command("hypercorn"):
        yield _draft(app, f"{command} -b fd://{{fd}} {_called(app)}")
    yield replace(_draft(app, f"uvicorn {factory}{_place(app)} --fd {{fd}}"), missing="uvicorn is not installed")


def _wsgi(python: Python, app: App) -> Iterator[ServerDraft]:
    if command := python.command("gunicorn"):
        yield _draft(app, f"{_gunicorn(command)} --threads 4 {_called(app)}")
    if app.framework == "Flask" and (command := python.command("flask")):
        yield _flask(app, command)
    yield replace(_draft(app, f"gunicorn --threads 4 {_called(app)}"), missing="gunicorn is not installed")


def _gunicorn(command: str) -> str:
    """It takes the socket by LISTEN_FDS if LISTEN_PID is its own pid, and fails if it is told to by -b as well. These
    start it as a child, so that it is not."""
    return f"{command} -b fd://{{fd}}" if command.startswith(("uv ", "pdm ")) else command


def _flask(app: App, command: str) -> ServerDraft:
    """Its development server takes what Werkzeug's reloader hands to its child: werkzeug.serving.run_simple."""
    server = _draft(app, f"{command} --app {app.module}:{app.name} run --no-reload")
    env = server.env | {"WERKZEUG_SERVER_FD": "3", "WERKZEUG_RUN_MAIN": "true"}
    return replace(
        server, env=env, notes=("WERKZEUG_…: so it takes the socket, descriptor 3, instead of opening one.",)
    )


def _aiohttp(python: Python, app: App) -> Iterator[ServerDraft]:
    runs_itself = bool(_RUNS_ITSELF.search(python.project.text(app.path)))
    itself = _draft(app, f"{python.interpreter()} {quote(app.path)}")
    if runs_itself and app.takes_socket:
        yield itself
    if command := python.command("gunicorn"):
        yield _draft(app, f"{_gunicorn(command)} -k aiohttp.GunicornWebWorker {_called(app)}")
    if runs_itself and not app.takes_socket:
        note = "It opens its own port, so it is stopped before the next one starts. To have no gap, give run_app"
        yield replace(
            itself, takes_socket=False, port=8080, notes=(note, "sock=socket.socket(fileno=3), and add: listen")
        )


def _django(python: Python) -> Iterator[ServerDraft]:
    found = _SETTINGS.search(python.project.text("manage.py"))
    package = found[1].partition(".settings")[0] if found else ""
    folder = package.replace(".", "/")
    because = "there is manage.py"
    static = ("It serves no static files (whitenoise does); `manage.py runserver` would, but cannot take a socket.",)
    if f"{folder}/wsgi.py" in python.project.paths and (command := python.command("gunicorn")):
        run = f"{_gunicorn(command)} --threads 4 {package}.wsgi"
        yield ServerDraft("web", run, because, notes=static)
    if f"{folder}/asgi.py" in python.project.paths and (command := python.command("uvicorn")):
        run = f"{command} {package}.asgi:application --fd {{fd}} --lifespan off"
        yield ServerDraft("web", run, because, notes=static)
    yield _runserver(python, because)


def _runserver(python: Python, because: str) -> ServerDraft:
    return ServerDraft(
        "web",
        f"{python.interpreter()} manage.py runserver --noreload 8000",
        because,
        takes_socket=False,
        env={"PYTHONUNBUFFERED": "1"},
        log="Starting development server",
        notes=("runserver opens its own port, so it is stopped before the next one starts.",),
        missing="" if _has_django(python) else "Django is not installed",
    )

"""What is proposed for a project: by its files and the programs that are there, nothing being run or imported."""

import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotpipe.config import merged, model, written
from hotpipe.config.detect import Disk, Draft, apps, propose
from hotpipe.tree.globs import Globs

FASTAPI = "from fastapi import FastAPI\napp = FastAPI()\n"
FLASK = "import flask\napp = flask.Flask(__name__)\n"
UNITTEST = "import unittest\nclass T(unittest.TestCase): ...\n"
PYTEST = "[tool.pytest.ini_options]\n"
GO = 'package main\nfunc main() { http.ListenAndServe(":9090", nil) }\n'
RUST = "fn main() { axum::serve(TcpListener::bind(([127, 0, 0, 1], 3030))) }\n"
SERVER = {"package.json": "{}", "server.js": "createServer().listen(65535 // LISTEN_FDS"}
LISTENS = "http.createServer(x).listen(process.env.PORT || 3000)\n"


@dataclass(frozen=True)
class Imagined:
    """A project that is nowhere on disk. A name in `programs` with a "/" is a file of the project."""

    files: Mapping[str, str]
    programs: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    paths: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        paths = sorted(self.files, key=lambda path: (path.count("/"), path))
        object.__setattr__(self, "paths", tuple(paths))

    def text(self, path: str) -> str:
        return self.files.get(path, "")

    def is_folder(self, path: str) -> bool:
        return path in self.folders

    def is_program(self, path: str) -> bool:
        return "/" in path and path in self.programs

    def has_program(self, name: str) -> bool:
        return name in self.programs


def stages(draft: Draft) -> dict[str, str]:
    return {stage.name: stage.run for stage in draft.active()}


def lacking(draft: Draft) -> dict[str, str]:
    return {stage.name: stage.missing for stage in draft.stages if stage.missing}


def servers(draft: Draft) -> list[str]:
    return [choice[0].run for choice in draft.servers if not choice[0].missing]


@pytest.mark.parametrize(
    "manifest, more, expected",
    [
        ({"main": "a.js"}, {"a.js": LISTENS}, {"syntax": "node --check a.js"}),
        ({"main": "a.js", "scripts": {"build": "x"}}, {"a.js": LISTENS}, {"syntax": "node --check a.js"}),
        ({"main": "a.js", "scripts": {"lint": "x"}}, {"a.js": LISTENS}, {"lint": "npm run lint"}),
        ({"main": "a.js"}, {"a.js": LISTENS, "Makefile": "test:\n\ttrue\n"}, {"test": "make test"}),
        ({"scripts": {"build": "x", "start": "node dist/a.js"}}, {"dist/a.js": LISTENS}, {"build": "npm run build"}),
        ({"main": "a.ts"}, {"a.ts": LISTENS}, {}),
        ({"main": "a.js"}, {"a.js": "exports.x = 1\n"}, {}),
    ],
)
def test_a_script_that_serves_is_at_least_read_where_nothing_else_is_checked(
    manifest: dict[str, object], more: dict[str, str], expected: dict[str, str]
) -> None:
    files = {"package.json": json.dumps(manifest), **more}
    assert stages(propose(Imagined(files, ("npm", "node", "make")))) == expected


@pytest.mark.parametrize(
    "files, programs, expected",
    [
        ({"pyproject.toml": "[tool.ruff]"}, ["ruff"], {"lint": "ruff check"}),
        ({"pyproject.toml": "[tool.ruff]"}, [".venv/bin/ruff", "ruff"], {"lint": ".venv/bin/ruff check"}),
        ({"pyproject.toml": '[project]\ndependencies = ["ruff>=0.1"]'}, ["ruff"], {"lint": "ruff check"}),
        ({"pyproject.toml": '[dependency-groups]\ndev = ["Ruff"]', "uv.lock": ""}, ["uv"],
         {"lint": "uv run ruff check"}),
        (
            {"pyproject.toml": "[tool.poetry.group.dev.dependencies]\nruff = '*'"},
            ["poetry"],
            {"lint": "poetry run ruff check"},
        ),
        ({"pyproject.toml": '[tool.hatch.envs.default]\ndependencies = ["ruff"]'}, ["ruff"], {"lint": "ruff check"}),
        ({"pyproject.toml": '[tool.pdm.dev-dependencies]\nlint = ["ruff"]'}, ["pdm"], {"lint": "pdm run ruff check"}),
        ({"Pipfile": "[dev-packages]\nruff = '*'", "Pipfile.lock": "{}"}, ["pipenv"],
         {"lint": "pipenv run ruff check"}),
        ({"requirements-dev.txt": "# tools\nruff==0.1\n", "a.py": ""}, ["ruff"], {"lint": "ruff check"}),
        ({"setup.cfg": "[flake8]\n", "pkg/a.py": ""}, ["flake8"], {"lint": "flake8 pkg"}),
        ({"setup.cfg": "[options.extras_require]\ntest =\n  flake8\n", "a.py": ""}, ["flake8"],
         {"lint": "flake8 a.py"}),
        ({"mypy.ini": "", "src/p/a.py": "", "tests/b.py": ""}, ["mypy"], {"types": "mypy src"}),
        ({"pyproject.toml": "[tool.mypy]", "src/p/a.py": "", "tests/b.py": ""}, ["mypy"], {"types": "mypy src"}),
        ({"pyproject.toml": "[tool.mypy]\nfiles = ['x']", "x.py": ""}, ["mypy"], {"types": "mypy"}),
        ({"pyproject.toml": "[tool.pyright]"}, ["pyright"], {"types": "pyright"}),
        ({"pyproject.toml": "[tool.black]"}, ["black"], {"format": "black --check ."}),
        ({"pyproject.toml": PYTEST, "tests/test_a.py": ""}, ["pytest"], {"test": "pytest -q"}),
        ({"setup.py": "", "tests/test_a.py": ""}, ["pytest"], {"test": "pytest -q"}),
        ({"setup.py": "", "test_a.py": UNITTEST}, ["pytest"], {"test": "python3 -m unittest discover"}),
        ({"setup.py": "", "tests/test_a.py": UNITTEST}, [], {"test": "python3 -m unittest discover -s tests"}),
        ({"noxfile.py": "", "tests/test_a.py": ""}, ["nox"], {"test": "nox -R"}),
        ({"package.json": '{"scripts": {"lint": "x", "test": "y"}}'}, ["npm"],
         {"lint": "npm run lint", "test": "npm run test"}),
        ({"package.json": '{"scripts": {"lint": "x"}}', "pnpm-lock.yaml": "x"}, ["pnpm"], {"lint": "pnpm run lint"}),
        ({"package.json": '{"scripts": {"lint": "x"}}', "yarn.lock": "x"}, ["yarn"], {"lint": "yarn run lint"}),
        ({"package.json": '{"scripts": {"lint": "x"}, "packageManager": "bun@1"}'}, ["bun"], {"lint": "bun run lint"}),
        ({"package.json": '{"scripts": {"test": "echo \\"Error: no test specified\\" && exit 1"}}'}, ["npm"], {}),
        ({"package.json": '{"scripts": {"test": "vitest --watch"}}'}, ["npm"], {}),
        ({"package.json": "{}", "tsconfig.json": ""}, ["node_modules/.bin/tsc"],
         {"types": "node_modules/.bin/tsc --noEmit"}),
        ({"go.mod": "module a.b/c"}, ["go"], {"vet": "go vet ./...", "test": "go test ./..."}),
        ({"Cargo.toml": ""}, ["cargo", "cargo-clippy"], {"lint": "cargo clippy --all-targets", "test": "cargo test"}),
        ({"Cargo.toml": ""}, ["cargo"], {"check": "cargo check --all-targets", "test": "cargo test"}),
        ({"Makefile": ".PHONY: x\nCC := cc\nlint: a b\n\ttrue\ntest:\n"}, ["make"],
         {"lint": "make lint", "test": "make test"}),
        ({"justfile": "check arg='x':\n  true\n@test: check\n"}, ["just"],
         {"check": "just check", "test": "just test"}),
    ],
)  # fmt: skip
def test_stages(files: dict[str, str], programs: list[str], expected: dict[str, str]) -> None:
    draft = propose(Imagined(files, tuple(programs)))
    found = {name: run for name, run in stages(draft).items() if name != "syntax"}
    assert found == expected


@pytest.mark.parametrize(
    "files, expected",
    [
        ({"pyproject.toml": "[tool.mypy]"}, {"types": "mypy is not installed"}),
        ({"pyproject.toml": PYTEST, "test_a.py": ""}, {"test": "pytest is not installed"}),
        ({"package.json": '{"scripts": {"lint": "x"}}'}, {"lint": "npm is not installed"}),
        ({"go.mod": ""}, {"vet": "go is not installed", "test": "go is not installed"}),
    ],
)
def test_what_is_not_installed_is_proposed_but_cannot_run(files: dict[str, str], expected: dict[str, str]) -> None:
    assert lacking(propose(Imagined(files))) == expected


def test_scripts_wait_for_npm_install() -> None:
    package = {"package.json": '{"scripts": {"lint": "x"}, "devDependencies": {"eslint": "1"}}'}
    assert lacking(propose(Imagined(package, ("npm",)))) == {"lint": "there is no node_modules: npm install"}
    assert stages(propose(Imagined(package, ("npm",), ("node_modules",)))) == {"lint": "npm run lint"}


@pytest.mark.parametrize(
    "files, programs, expected",
    [
        ({"main.py": FASTAPI}, ["uvicorn"], "uvicorn main:app --fd {fd}"),
        ({"main.py": FASTAPI}, [".venv/bin/uvicorn"], ".venv/bin/uvicorn main:app --fd {fd}"),
        ({"src/pkg/main.py": FASTAPI, "setup.py": ""}, ["uvicorn"], "uvicorn pkg.main:app --fd {fd}"),
        ({"app/main.py": FASTAPI, "requirements.txt": ""}, ["hypercorn"], "hypercorn -b fd://{fd} app.main:app"),
        ({"app.py": FLASK}, ["gunicorn", "flask"], "gunicorn --threads 4 app:app"),
        ({"app.py": FLASK}, ["flask"], "flask --app app:app run --no-reload"),
        ({"app.py": FLASK, "requirements.txt": "gunicorn", "uv.lock": ""}, ["uv"],
         "uv run gunicorn -b fd://{fd} --threads 4 app:app"),
        ({"manage.py": "('DJANGO_SETTINGS_MODULE', 'my.settings')", "my/wsgi.py": ""}, ["gunicorn"],
         "gunicorn --threads 4 my.wsgi"),
        ({"manage.py": "('DJANGO_SETTINGS_MODULE', 'my.settings.dev')", "my/asgi.py": ""}, ["uvicorn"],
         "uvicorn my.asgi:application --fd {fd} --lifespan off"),
        ({"manage.py": ""}, [".venv/bin/django-admin", ".venv/bin/python"],
         ".venv/bin/python manage.py runserver --noreload 8000"),
        ({"package.json": '{"scripts": {"start": "node server.js"}}', "server.js": LISTENS}, ["npm", "node"],
         "node server.js"),
        ({"package.json": '{"scripts": {"dev": "nodemon --inspect src/a.js"}}', "src/a.js": LISTENS}, ["npm", "node"],
         "node src/a.js"),
        ({"package.json": '{"scripts": {"dev": "tsx watch src/a.ts"}}', "src/a.ts": LISTENS}, ["npm", "node"],
         "node --import tsx src/a.ts"),
        ({"package.json": '{"scripts": {"dev": "vite --open"}}'}, ["npm"], "npm run dev"),
        ({"package.json": '{"scripts": {"dev": "next dev"}}', "pnpm-lock.yaml": "x"}, ["pnpm"], "pnpm run dev"),
        ({"go.mod": "module a.b/shop/v2\n", "main.go": GO}, ["go"], "./.hotpipe/bin/shop"),
        ({"go.mod": "module a.b/c\n", "cmd/web/main.go": GO}, ["go"], "./.hotpipe/bin/web"),
        ({"Cargo.toml": "[package]\nname = 'shop'", "src/main.rs": RUST}, ["cargo"], "./target/debug/shop"),
        ({"Cargo.toml": "[workspace]", "crates/a/Cargo.toml": "[package]\nname = 'shop'", "crates/a/src/main.rs": RUST},
         ["cargo"], "./target/debug/shop"),
        ({"Makefile": "serve:\n\ttrue\n"}, ["make"], "make serve"),
    ],
)  # fmt: skip
def test_the_server(files: dict[str, str], programs: list[str], expected: str) -> None:
    draft = propose(Imagined(files, tuple(programs)))
    assert servers(draft) == [expected]


@pytest.mark.parametrize(
    "files, programs, port, takes_socket",
    [
        ({"package.json": "{}", "server.js": LISTENS}, ["node"], 3000, False),
        ({"package.json": "{}", "server.js": "x.listen(4321)"}, ["node"], 4321, False),
        ({"package.json": "{}", "server.js": "x.listen({ fd: 3 })"}, ["node"], 3000, True),
        ({"go.mod": "module a", "main.go": GO}, ["go"], 9090, False),
        ({"go.mod": "module a", "main.go": f"{GO}// LISTEN_FDS"}, ["go"], 9090, True),
        ({"Cargo.toml": "[package]\nname = 'a'", "src/main.rs": RUST}, ["cargo"], 3030, False),
        ({"Cargo.toml": "[package]\nname = 'a'\n[dependencies]\nlistenfd = '1'", "src/main.rs": RUST}, ["cargo"],
         3030, True),
    ],
)  # fmt: skip
def test_whether_it_takes_a_socket_is_read_in_its_source(
    files: dict[str, str], programs: list[str], port: int, takes_socket: bool
) -> None:
    ((server, *_),) = propose(Imagined(files, tuple(programs))).servers
    assert (server.port, server.takes_socket) == (port, takes_socket)


@pytest.mark.parametrize(
    "path, text, expected",
    [
        ("main.py", FASTAPI, ["main:app"]),
        ("main.py", "import fastapi as f\napi: object = f.FastAPI(title='x')\n", ["main:api"]),
        (
            "a/__init__.py",
            "from flask import Flask\ndef create_app(x=None):\n    return Flask(__name__)\n",
            ["a:create_app()"],
        ),
        ("a/b.py", "from flask import Flask\ndef create_app(config): return Flask(config)\n", []),
        ("a.py", f"{FASTAPI}def create_app():\n    app = FastAPI()\n    return app\n", ["a:app", "a:create_app()"]),
        ("a.py", "from fastapi import FastAPI\ndef make(): return FastAPI()\napp = make()\n", ["a:app"]),
        ("a.py", "async def app(scope, receive, send): ...\n", ["a:app"]),
        ("a.py", "def application(environ, start_response): return []\n", ["a:application"]),
        ("a.py", "class FastAPI: ...\napp = FastAPI()\n", []),
        ("a.py", "app = FastAPI(\n", []),
        ("my-app/main.py", FASTAPI, []),
        ("tests/main.py", FASTAPI, []),
        ("test_app.py", FASTAPI, []),
    ],
)
def test_applications_are_found_by_reading(path: str, text: str, expected: list[str]) -> None:
    found = apps.find(Imagined({path: text}))
    assert [f"{app.module}:{app.name}{'()' if app.is_factory else ''}" for app in found] == expected


def test_two_applications_are_a_choice_and_the_one_in_the_usual_place_comes_first() -> None:
    draft = propose(Imagined({"zoo.py": FASTAPI, "main.py": FASTAPI}, ("uvicorn",)))
    assert [[server.run for server in choice] for choice in draft.servers] == [
        ["uvicorn main:app --fd {fd}", "uvicorn zoo:app --fd {fd}"]
    ]


def test_parts_in_folders_get_names_folders_and_inputs_of_their_own() -> None:
    files = {
        "backend/pyproject.toml": "[tool.ruff]",
        "backend/main.py": FASTAPI,
        "frontend/package.json": '{"scripts": {"lint": "x", "dev": "vite"}}',
    }
    draft = propose(Imagined(files, (".venv/bin/ruff", ".venv/bin/uvicorn", "npm")))
    assert [(stage.name, stage.run, stage.cwd, stage.inputs) for stage in draft.stages] == [
        (
            "backend-lint",
            "../.venv/bin/ruff check",
            "backend",
            ("backend/**/*.py", "backend/**/*.pyi", "backend/**/pyproject.toml"),
        ),
        ("frontend-lint", "npm run lint", "frontend", ("frontend/",)),
    ]
    backend, frontend = (choice[0] for choice in draft.servers)
    assert (backend.name, backend.run, backend.needs) == (
        "backend",
        "../.venv/bin/uvicorn main:app --fd {fd}",
        ("backend-lint",),
    )
    assert (frontend.name, frontend.needs, frontend.inputs) == ("frontend", (), ("frontend/**/package.json",))


@pytest.mark.parametrize("folder", ["[id]", "!no", "#1", "a*", "a?", "a\\b", "a b", " a ", "é"])
def test_the_inputs_of_a_part_are_just_its_folder_whatever_its_name(folder: str) -> None:
    files = {f"{folder}/pyproject.toml": "[tool.ruff]", f"{folder}/Cargo.toml": ""}
    draft = propose(Imagined(files, ("ruff", "cargo")))
    for stage in draft.stages:
        meant = Globs(stage.inputs)
        assert (meant.matches(f"{folder}/a.py"), meant.matches("ab/a.py")) == (True, False)
    assert Globs(draft.ignore).matches(f"{folder}/target/x")


def test_a_number_that_is_no_port_is_none_to_listen_on() -> None:
    files = {"package.json": "{}", "server.js": "createServer().listen(99999)", "go.mod": "", "main.go": GO}
    files["main.go"] = GO.replace("9090", "00")
    draft = propose(Imagined(files, ("node", "go")))
    assert [choice[0].port for choice in draft.servers] == [3000, 8080]


def test_ports_that_are_taken_do_not_run_out_of_range() -> None:
    files = {f"{name}/{file}": text for name in "ab" for file, text in SERVER.items()}
    draft = propose(Imagined(files, ("node",)))
    assert [choice[0].port for choice in draft.servers] == [65535, 1024]


@pytest.mark.parametrize("name", ["-x.py", "{changed}.py"])
def test_a_source_that_would_be_taken_for_something_else_is_meant_by_its_folder(name: str) -> None:
    draft = propose(Imagined({"setup.py": "", name: "", "a.py": ""}))
    assert stages(draft) == {"syntax": "python3 -m compileall -q ."}


def test_names_are_short_enough_for_those_of_files() -> None:
    draft = propose(Imagined({f"{'n' * 250}/setup.py": "", f"{'n' * 251}/setup.py": ""}, ("ruff",)))
    assert all(len(stage.name) < 100 for stage in draft.stages)


def test_two_servers_get_two_ports() -> None:
    files = {f"{name}/{file}": text for name in "ab" for file, text in {"main.py": FASTAPI, "setup.py": ""}.items()}
    draft = propose(Imagined(files, ("uvicorn",)))
    assert [(choice[0].name, choice[0].port) for choice in draft.servers] == [("a", 8000), ("b", 8001)]


def test_a_member_of_a_workspace_adds_only_what_the_top_lacks() -> None:
    files = {
        "package.json": '{"workspaces": ["web"], "scripts": {"lint": "x"}}',
        "web/package.json": '{"scripts": {"lint": "y", "dev": "vite"}}',
    }
    draft = propose(Imagined(files, ("npm",)))
    assert stages(draft) == {"lint": "npm run lint"}
    assert [(choice[0].run, choice[0].cwd) for choice in draft.servers] == [("npm run dev", "web")]


def test_two_languages_in_one_folder_do_not_share_a_name() -> None:
    files = {"pyproject.toml": "[tool.ruff]", "package.json": '{"scripts": {"lint": "x"}}'}
    draft = propose(Imagined(files, ("ruff", "npm")))
    assert stages(draft) == {"lint": "ruff check", "lint-node": "npm run lint"}


@pytest.mark.parametrize(
    "files",
    [
        {"pyproject.toml": "tool = 3\n", "main.py": FASTAPI},
        {"pyproject.toml": "not toml ["},
        {"pyproject.toml": "[tool]\nruff = 1\npoetry = []\nhatch = {envs = 3}\n[project]\ndependencies = 'x'"},
        {"package.json": "[" * 100_000},
        {"package.json": '{"scripts": ["x"], "dependencies": 3, "main": {}, "packageManager": []}'},
        {"setup.cfg": "[a\nb", "tox.ini": "= = ="},
        {"Cargo.toml": "[package]\nname = 3", "src/main.rs": RUST},
        {"main.py": "(" * 10_000 + "app"},
        {"main.py": "app = FastAPI(\0)"},
        {"a b/pyproject.toml": "[tool.ruff]", "ü/setup.py": "", "$(x)/go.mod": ""},
        {"Makefile": "lint" * 60_000},
    ],
    ids=range(11),
)
def test_manifests_that_cannot_be_read_disturb_nobody(files: dict[str, str]) -> None:
    draft = propose(Imagined(files, ("ruff", "npm", "node", "cargo", "go", "make", "uvicorn")))
    assert isinstance(model.parse(tomllib.loads(written.whole(draft))), model.Config)


_NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1, max_size=8).filter(
    lambda name: name not in (".", "..")
)
_FILES = st.sampled_from(["pyproject.toml", "package.json", "go.mod", "main.py", "main.go", "Cargo.toml", "manage.py"])
_TEXTS = st.sampled_from(
    ["[tool.ruff]", '{"scripts": {"lint": "x", "dev": "vite"}}', FASTAPI, GO, "module a\\'b\"c", ""]
)


@given(st.dictionaries(st.tuples(_NAMES, _FILES).map("/".join) | _FILES, _TEXTS, max_size=6), st.booleans())
def test_whatever_the_names_are_what_is_written_is_valid(files: dict[str, str], has_programs: bool) -> None:
    programs = ("ruff", "uvicorn", "npm", "go", "cargo", "node", "django-admin") if has_programs else ()
    draft = propose(Imagined(files, programs))
    parsed = model.parse(tomllib.loads(written.whole(draft)))
    assert isinstance(parsed, model.Config), parsed
    assert set(stages(draft)) <= set(parsed.stage)
    assert [stage.run for stage in draft.active()] == [parsed.stage[stage.name].run for stage in draft.active()]


def test_disk_lists_neither_what_is_installed_nor_what_is_built_nor_what_is_no_file(tmp_path: Path) -> None:
    for name in ("a.py", ".git/x.py", "node_modules/b/c.js", ".venv/d.py", "mine/pyvenv.cfg", "mine/e.py", "src/f.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    os.mkfifo(tmp_path / "pipe.py")
    (tmp_path / "loop").symlink_to(tmp_path)
    disk = Disk(str(tmp_path))
    assert disk.paths == ("a.py", "src/f.py")
    assert disk.text("pipe.py") == disk.text("src") == disk.text("nowhere") == ""


def test_disk_reads_no_more_than_it_must(tmp_path: Path) -> None:
    for number in range(5_000):
        (tmp_path / f"{number:04}.py").touch()
    (tmp_path / "big.json").write_bytes(b"\xff" * 1_000_000)
    disk = Disk(str(tmp_path))
    assert len(disk.paths) <= 4_000
    assert len(disk.text("big.json")) <= 256_000


def test_what_is_added_depends_on_what_is_there() -> None:
    draft = propose(Imagined({"main.py": FASTAPI, "ruff.toml": "", "test_a.py": ""}, ("ruff", "pytest", "uvicorn")))
    present = model.parse({"stage": {"style": {"run": "ruff check"}}, "server": {"site": {"run": "x"}}})
    assert isinstance(present, model.Config)
    more = merged.lacking(draft, present)
    assert (stages(more), servers(more)) == ({"test": "pytest -q"}, [])


@pytest.mark.parametrize(
    "before, after",
    [
        (b"", b"# hotpipe\na\nb/\n"),
        (b"x", b"x\n\n# hotpipe\na\nb/\n"),
        (b"x\r\ny", b"x\r\ny\r\n\r\n# hotpipe\r\na\r\nb/\r\n"),
        (b"a\n", b"a\n\n# hotpipe\nb/\n"),
        (b"b/\n a \n", b"b/\n a \n"),
        (b"\xff\xfe\n", b"\xff\xfe\n\n# hotpipe\na\nb/\n"),
    ],
)
def test_lines_are_added_once_with_the_line_ends_of_the_file(before: bytes, after: bytes) -> None:
    assert merged.with_lines(before, ("a", "b/"), lambda _: False) == after
    assert merged.with_lines(after, ("a", "b/"), lambda _: False) == after

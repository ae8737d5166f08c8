"""The checks that a Python project has configured, or asks to have installed. Pure."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from shlex import quote
from typing import Any

from hotpipe.config.detect import manifests
from hotpipe.config.detect.draft import StageDraft
from hotpipe.config.detect.manifests import table
from hotpipe.config.detect.project import Project, up

_MISTAKEN = re.compile(r"-|.*\{")  # an option, or a placeholder
_VENVS = (".venv", "venv", "env")
_MARKS = (
    "pyproject.toml",
    "setup.py",
    "setup.cfg",
    "Pipfile",
    "requirements.txt",
    "manage.py",
    "tox.ini",
    "noxfile.py",
)
_TOOLS = ("ruff.toml", ".ruff.toml", "mypy.ini", "pytest.ini", ".flake8")
_RUNNERS = (("uv", "uv.lock"), ("poetry", "poetry.lock"), ("pdm", "pdm.lock"), ("pipenv", "Pipfile.lock"))
_TEST = re.compile(r"(?:.*/)?(?:test_[^/]*|[^/]*_test)\.py")
_NOT_CHECKED = ("docs", "doc", "examples", "scripts", "migrations", "build")
_LINTERS = (
    # name of the stage, program, table in pyproject.toml, files of its own, what it is given, what may be turned on
    ("lint", "ruff", "ruff", ("ruff.toml", ".ruff.toml"), "check", 'run = "ruff check --force-exclude {changed}"'),
    ("lint", "flake8", "", (".flake8",), "SOURCES", ""),
    ("lint", "pylint", "pylint", (".pylintrc", "pylintrc"), "SOURCES", ""),
    ("format", "black", "black", (), "--check .", ""),
    ("types", "mypy", "mypy", ("mypy.ini", ".mypy.ini"), "TARGETS", ""),
    ("types", "basedpyright", "basedpyright", (), "", ""),
    ("types", "pyright", "pyright", ("pyrightconfig.json",), "", ""),
)


def is_python(project: Project) -> bool:
    """Whether there is a manifest, or sources at the top."""
    return any(mark in project.paths for mark in (*_MARKS, *_TOOLS)) or any(
        re.fullmatch(r"[^/]+\.py", p) for p in project.paths
    )


@dataclass(frozen=True)
class Python:
    """A Python project, and how its programs are started."""

    project: Project

    @cached_property
    def required(self) -> dict[str, str]:
        """Its packages, and the file that asks for each."""
        return manifests.required(self.project)

    @cached_property
    def pyproject(self) -> dict[str, Any]:
        """pyproject.toml."""
        return manifests.toml(self.project.text("pyproject.toml"))

    def command(self, program: str, package: str = "") -> str:
        """How a program that is there is started; empty where it is not."""
        for place in up(self.project):
            for venv in _VENVS:
                if self.project.is_program(f"{place}{venv}/bin/{program}"):
                    return f"{place}{venv}/bin/{program}"
        if (package or program) in self.required and (runner := self._runner()):
            return f"{runner} run {program}"
        return program if self.project.has_program(program) else ""

    def interpreter(self) -> str:
        """Python itself, as the project runs it."""
        if command := self.command("python"):
            return command
        runner = self._runner()
        return f"{runner} run python" if runner else "python3"

    def tests(self) -> tuple[str, ...]:
        """The files with tests."""
        return tuple(path for path in self.project.paths if _TEST.fullmatch(path))

    def sources(self) -> tuple[str, ...]:
        """The folders and files at the top that hold Python, "src" first; "." where they are many, or one would be
        taken for something else."""
        tops = {path.partition("/")[0] for path in self.project.paths if path.endswith(".py")}
        kept = sorted(
            tops - set(_NOT_CHECKED) - {"setup.py", "noxfile.py", "conftest.py"}, key=lambda name: (name != "src", name)
        )
        return tuple(kept) if 0 < len(kept) <= 8 and not any(map(_MISTAKEN.match, kept)) else (".",)

    def _runner(self) -> str:
        """The tool that keeps the project's environment where nobody else finds it."""
        tool = table(self.pyproject, "tool")
        for runner, lock in _RUNNERS:
            if (lock in self.project.paths or runner in tool) and self.project.has_program(runner):
                return runner
        return ""


def stages(python: Python) -> Iterator[StageDraft]:
    """Lint, types, tests; where there are none of these, that the sources can be compiled."""
    found = [*_linters(python), *_tests(python)]
    yield from found
    if all(stage.missing for stage in found) and any(path.endswith(".py") for path in python.project.paths):
        run = f"{python.interpreter()} -m compileall -q {' '.join(map(quote, python.sources()))}"
        yield StageDraft("syntax", run, "nothing else is installed: at least, all can be read", inputs=("*.py",))


def _linters(python: Python) -> Iterator[StageDraft]:
    taken: set[str] = set()
    for name, program, key, files, arguments, option in _LINTERS:
        because = _because(python, program, key, files)
        if not because or name in taken:
            continue
        command = python.command(program)
        inputs = (
            "*.py",
            "*.pyi",
            *(file for file in ("pyproject.toml", "setup.cfg", *files) if file in python.project.paths),
        )
        run = f"{command or program} {_arguments(python, program, arguments)}".strip()
        options = (option.replace(program, command or program, 1),) if option else ()
        stage = StageDraft(name, run, because, inputs=inputs, options=options)
        if command:
            taken.add(name)
        yield stage if command else replace(stage, missing=f"{program} is not installed")


def _because(python: Python, program: str, key: str, files: tuple[str, ...]) -> str:
    if key and key in table(python.pyproject, "tool"):
        return f"pyproject.toml has [tool.{key}]"
    for file in files:
        if file in python.project.paths:
            return f"there is {file}"
    for file in ("setup.cfg", "tox.ini"):
        if manifests.ini(python.project.text(file)).has_section(program):
            return f"{file} has [{program}]"
    return f"{python.required[program]} asks for {program}" if program in python.required else ""


def _arguments(python: Python, program: str, arguments: str) -> str:
    sources = tuple(map(quote, python.sources()))
    if arguments == "SOURCES":
        return " ".join(sources)
    if arguments == "TARGETS":
        return "" if _knows_what(python, program) else " ".join(s for s in sources if s not in ("tests", "test")) or "."
    return arguments


def _knows_what(python: Python, program: str) -> bool:
    """Whether its own configuration says what is to be checked."""
    own = [manifests.ini(python.project.text(file)) for file in (f"{program}.ini", f".{program}.ini", "setup.cfg")]
    keys = {key for one in own if one.has_section(program) for key in one.options(program)}
    return bool((keys | table(python.pyproject, "tool", program).keys()) & {"files", "packages", "modules"})


def _tests(python: Python) -> Iterator[StageDraft]:
    tests = python.tests()
    if not tests or ("manage.py" in python.project.paths and not _because_pytest(python)):
        return
    if because := _because_pytest(python) or _reads_pytest(python, tests):
        command = python.command("pytest")
        missing = "" if command else "pytest is not installed"
        options = (f'run = "{command or "pytest"} -x --last-failed"',)
        yield StageDraft("test", f"{command or 'pytest'} -q", because, options=options, missing=missing)
        if command:
            return
    elif _is_unittest(python, tests):
        yield StageDraft(
            "test", f"{python.interpreter()} -m unittest discover{_start(tests)}", f"{tests[0]} is a unittest"
        )
        return
    yield from _sessions(python)


def _because_pytest(python: Python) -> str:
    if "ini_options" in table(python.pyproject, "tool", "pytest"):
        return "pyproject.toml has [tool.pytest.ini_options]"
    if "pytest.ini" in python.project.paths:
        return "there is pytest.ini"
    for file, section in (("setup.cfg", "tool:pytest"), ("tox.ini", "pytest")):
        if manifests.ini(python.project.text(file)).has_section(section):
            return f"{file} has [{section}]"
    return f"{python.required['pytest']} asks for pytest" if "pytest" in python.required else ""


def _reads_pytest(python: Python, tests: tuple[str, ...]) -> str:
    """Nothing is configured: tests that are no unittests are pytest's."""
    return "" if _is_unittest(python, tests) else f"there is {tests[0]}"


def _is_unittest(python: Python, tests: tuple[str, ...]) -> bool:
    return any("unittest" in text and "TestCase" in text for text in map(python.project.text, tests[:20]))


def _start(tests: tuple[str, ...]) -> str:
    """Where unittest looks: from the top, or from the folder of tests that is no package."""
    folders = {path.partition("/")[0] for path in tests if "/" in path}
    pattern = "" if any("test_" in path for path in tests) else " -p '*_test.py'"
    return (f" -s {quote(folders.pop())}" if len(folders) == 1 and all("/" in path for path in tests) else "") + pattern


def _sessions(python: Python) -> Iterator[StageDraft]:
    """tox and nox make environments of their own."""
    for program, file, run in (("nox", "noxfile.py", "nox -R"), ("tox", "tox.ini", "tox -q")):
        if file in python.project.paths and (command := python.command(program)):
            yield StageDraft("test", run.replace(program, command, 1), f"there is {file}")
            return

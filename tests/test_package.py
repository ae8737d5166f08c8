"""What is published: the wheel has all of the package, and hotpipe runs from it, without the sources beside it."""

import json
import os
import subprocess
import sys
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from pages import ROOT
from running import HOTPIPE, Start, environment

pytest.importorskip("hatchling", reason="hatchling, which builds the wheel, is not installed")

CONFIG = '[stage.check]\nrun = "true"\n[web]\nlisten = "127.0.0.1:0"\n'


@dataclass(frozen=True)
class Wheel:
    """What is in it, and the folder that it was unpacked into."""

    names: frozenset[str]
    folder: Path

    def launcher(self, *before: Path) -> tuple[str, ...]:
        """Runs the hotpipe that is in it, and not the sources."""
        return ("env", f"PYTHONPATH={os.pathsep.join(map(str, (*before, self.folder)))}")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Wheel:
    made, folder = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("unpacked")
    build = (sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(made))
    subprocess.check_call(build, cwd=ROOT, env=environment())
    (file,) = made.iterdir()
    with zipfile.ZipFile(file) as packed:
        packed.extractall(folder)
        return Wheel(frozenset(packed.namelist()), folder)


def test_it_has_every_file_of_the_package_and_nothing_else(wheel: Wheel) -> None:
    there = {str(file.relative_to(ROOT)) for file in (ROOT / "hotpipe").rglob("*") if file.is_file()}
    there = {name for name in there if "__pycache__" not in name}
    assert {name for name in wheel.names if ".dist-info/" not in name} == there
    assert {"hotpipe/py.typed", "hotpipe/config/hotpipe.schema.json", "hotpipe/web/hotpipe.js"} < there
    assert "hotpipe/web/static/index.html" in there


def test_it_has_the_licence_and_says_how_it_is_started(wheel: Wheel) -> None:
    kept = {name.partition(".dist-info/")[2]: name for name in wheel.names if ".dist-info/" in name}
    assert "licenses/LICENSE" in kept
    assert "hotpipe = hotpipe.cli:main" in (wheel.folder / kept["entry_points.txt"]).read_text()


def test_it_is_what_runs_here(wheel: Wheel, tmp_path: Path) -> None:
    asked = (*wheel.launcher(), sys.executable, "-c", "import hotpipe; print(hotpipe.__file__)")
    said = subprocess.check_output(asked, cwd=tmp_path, env=environment(), text=True)
    assert Path(said.strip()).is_relative_to(wheel.folder)


def test_the_schema_is_found_in_it(wheel: Wheel, tmp_path: Path) -> None:
    asked = (*wheel.launcher(), *HOTPIPE, "config", "--schema")
    assert json.loads(subprocess.check_output(asked, cwd=tmp_path, env=environment()))["title"] == "hotpipe.toml"


def test_the_dashboard_and_the_badge_are_served_from_it(wheel: Wheel, tmp_path: Path, start: Start) -> None:
    (tmp_path / "hotpipe.toml").write_text(CONFIG)
    hotpipe = start(tmp_path, "watch", "--web", launcher=wheel.launcher())
    address = hotpipe.until("web.ready")["url"].partition("#")[0]
    for path in ("", "main.js", "dashboard.css", "hotpipe.js"):
        with urllib.request.urlopen(f"{address}{path}", timeout=30) as answer:
            assert answer.read(), path


def test_without_the_extra_it_says_what_to_install(wheel: Wheel, tmp_path: Path, start: Start) -> None:
    (tmp_path / "hotpipe.toml").write_text(CONFIG)
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules.update(starlette=None, uvicorn=None)\n")
    hotpipe = start(tmp_path, "watch", "--web", launcher=wheel.launcher(tmp_path))
    assert hotpipe.wait() == 2
    assert "pip install 'hotpipe[web]'" in hotpipe.said()

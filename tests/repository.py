"""A git repository of a test's own, and nobody's settings."""

import os
import subprocess
import tempfile
from pathlib import Path

import pytest

SETTINGS = "[user]\nname = n\nemail = n@example.org\n[init]\ndefaultBranch = main\n[advice]\ndetachedHead = false\n"


class Repository:
    """The work tree at `path`."""

    def __init__(self, path: Path, *, new: bool = True) -> None:
        self.path = path
        if new:
            path.mkdir(parents=True, exist_ok=True)
            self.git("init", "-q")

    def attempt(self, *arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["git", *arguments],
            **{"cwd": self.path, "capture_output": True, "stdin": subprocess.DEVNULL} | options,
            check=False,
            encoding="utf-8",
            errors="surrogateescape",
            timeout=60,
        )

    def git(self, *arguments: str) -> str:
        done = self.attempt(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def write(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            file = self.path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)

    def stage(self, files: dict[str, str]) -> None:
        self.write(files)
        self.git("add", "-A")

    def commit(self, files: dict[str, str] | None = None) -> str:
        self.stage(files or {})
        self.git("commit", "-q", "--no-verify", "--allow-empty", "-m", "x")
        return self.git("rev-parse", "HEAD").strip()

    def kept(self) -> dict[str, bytes]:
        """What nobody but the user may write: index, refs, stash."""
        folder = self.path / self.git("rev-parse", "--git-dir").strip()
        files = (
            file for name in ("index", "HEAD", "refs", "logs") for file in (folder / name, *folder.glob(f"{name}/**/*"))
        )
        return {str(file): file.read_bytes() for file in files if file.is_file()}


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """TMPDIR, and an environment without the settings of whoever runs the tests; copies come and go in there."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    settings, folder = tmp_path / "gitconfig", tmp_path / "temporary folder"
    settings.write_text(SETTINGS)
    folder.mkdir()
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder


@pytest.fixture
def repository(tmp_path: Path, temporary: Path) -> Repository:
    return Repository(tmp_path / "a project")

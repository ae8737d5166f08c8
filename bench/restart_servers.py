"""The servers of bench/restart: programs that know nothing of hotpipe, and how each takes a socket that is handed over.

Each answers GET / with its HOTPIPE_GENERATION and its process id. What is missing on this machine is skipped, with the
reason; Go and Rust are built into bench/build.
"""

import importlib.metadata
import importlib.util
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from measure import find, version

_HERE = Path(__file__).parent
BUILT = _HERE / "build"
SOURCES = _HERE / "servers"
PYTHON = SOURCES / "python"
FIRST_DESCRIPTOR = 3  # SD_LISTEN_FDS_START, sd_listen_fds(3)


@dataclass(frozen=True)
class Server:
    """A program; `{fd}` in its argv is the socket's descriptor. `comes_with` names a toolchain or a package."""

    name: str
    argv: tuple[str, ...]
    comes_with: str
    env: dict[str, str] = field(default_factory=dict)
    build: tuple[str, ...] = ()
    cwd: Path = PYTHON

    def command(self) -> list[str]:
        """The argv for who starts it without hotpipe."""
        return [word.replace("{fd}", str(FIRST_DESCRIPTOR)) for word in self.argv]

    def missing(self) -> str:
        """Why it cannot be measured here; empty if it can. Builds it if need be."""
        there = find(self.comes_with) or importlib.util.find_spec(self.comes_with)
        return self._built() if there else f"no {self.comes_with}"

    def _built(self) -> str:
        if not self.build:
            return ""
        print(f"{self.name}: {' '.join(self.build)}", file=sys.stderr)
        done = subprocess.run(self.build, cwd=self.cwd, capture_output=True, text=True, timeout=600, check=False)
        return f"{self.build[0]} failed: {done.stderr.strip().splitlines()[-1:]}" if done.returncode else ""

    def version(self) -> str:
        """Of the package or the toolchain."""
        if importlib.util.find_spec(self.comes_with):
            return importlib.metadata.version(self.comes_with)
        return version(self.comes_with, *(("version",) if self.comes_with == "go" else ()))


def _python(script: str, package: str, **env: str) -> Server:
    return Server(package, (sys.executable, script), package, env)


def _beside(program: str) -> str:
    return str(Path(sys.executable).with_name(program))


def _node(name: str, script: str) -> Server:
    return Server(name, (shutil.which("node") or "node", str(SOURCES / "node" / script)), "node")


_GUNICORN = _beside("gunicorn")
SERVERS = (
    Server(
        "uvicorn",
        (_beside("uvicorn"), "asgi:app", "--fd", "{fd}", "--no-access-log", "--log-level", "warning"),
        "uvicorn",
    ),
    Server("gunicorn sync", (_GUNICORN, "--workers", "2", "wsgi:app"), "gunicorn"),
    Server("gunicorn gthread", (_GUNICORN, "--worker-class", "gthread", "--threads", "4", "wsgi:app"), "gunicorn"),
    Server("hypercorn", (_beside("hypercorn"), "-b", "fd://{fd}", "asgi:app"), "hypercorn"),
    _python("serve_waitress.py", "waitress"),
    _python("serve_flask.py", "flask", WERKZEUG_SERVER_FD=str(FIRST_DESCRIPTOR), WERKZEUG_RUN_MAIN="true"),
    _python("serve_aiohttp.py", "aiohttp"),
    _node("node", "graceful.js"),
    _node("node, exits at once", "abrupt.js"),
    Server(
        "Go net/http",
        (str(BUILT / "go-server"),),
        "go",
        build=("go", "build", "-o", str(BUILT / "go-server"), "."),
        cwd=SOURCES / "go",
    ),
    Server(
        "Rust axum",
        (str(BUILT / "rust/release/server"),),
        "cargo",
        build=("cargo", "build", "--release", "--quiet", "--target-dir", str(BUILT / "rust")),
        cwd=SOURCES / "rust",
    ),
)
QUICK = ("uvicorn", "gunicorn gthread", "node")

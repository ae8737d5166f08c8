"""What a program's packages are: virtual environments, node_modules, toolchains, and what chooses between them.

Each is marked by what its installer cannot help changing: pip the folder site-packages, npm its hidden lock file,
rustup the manifests of its toolchains. Not seen: an edit of an installed file in place, and code that an editable
install refers to outside of the project.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from hotpipe.gate.looks import Looks, Mark

VENVS = (".venv", "venv")
_LOCKS = (".package-lock.json", ".yarn-integrity", ".yarn-state.yml", ".modules.yaml", ".pnpm/lock.yaml")
_CHOICES = (
    ".python-version", ".node-version", ".nvmrc", ".ruby-version", ".tool-versions", "mise.toml", ".mise.toml",
    "rust-toolchain", "rust-toolchain.toml", ".pnp.cjs",
)  # fmt: skip
_NODE = "node_modules"


class Chosen(NamedTuple):
    """What variables say about where environments are; empty where they do not."""

    venvs: tuple[str, ...]
    home: str
    rustup: str

    @classmethod
    def by(cls, env: Mapping[str, str]) -> "Chosen":
        home = env.get("HOME", "")
        named = tuple(env.get(name, "") for name in ("VIRTUAL_ENV", "CONDA_PREFIX", "UV_PROJECT_ENVIRONMENT"))
        return cls(named, home, env.get("RUSTUP_HOME") or f"{home}/.rustup")


class Environments:
    """The marks of the environments that can be at work around a command."""

    def __init__(self, looks: Looks) -> None:
        self._looks = looks

    def ambient(self, folders: Iterable[str], chosen: Chosen) -> Iterator[Mark]:
        """Of those that a command in one of `folders` gets without naming them: `make test`, `uv run`, `npm test`."""
        for named in filter(None, chosen.venvs):
            yield from self._of_python(named)
        for folder in folders:
            yield from self._of_node(os.path.join(folder, _NODE))
            for name in self._present(folder, _CHOICES):
                yield name.encode(), self._looks.file(os.path.join(folder, name))
            for name in self._present(folder, VENVS):
                yield name.encode(), *self._of_python(os.path.join(folder, name))
        yield self._looks.file(f"{chosen.home}/.tool-versions")
        yield self._looks.file(f"{chosen.home}/.config/mise/config.toml")

    def of_program(self, path: str, chosen: Chosen) -> Iterator[Mark]:
        """Of the one in which the program at `path` lies."""
        folder, name = os.path.split(path)
        prefix = os.path.dirname(folder)
        if self._looks.holds(prefix, "pyvenv.cfg") or name.startswith(("python", "pypy")):
            yield from self._of_python(prefix)
        above, node, _ = path.rpartition(f"/{_NODE}/")
        if node:
            yield from self._of_node(f"{above}/{_NODE}")
        if "rustup" in (name, *self._present(folder, ("rustup",))):
            yield from self._of_rustup(chosen.rustup)
        if os.path.basename(folder) == "shims":
            yield from self._of_shims(prefix)

    def _of_python(self, prefix: str) -> Iterator[Mark]:
        yield self._looks.file(os.path.join(prefix, "pyvenv.cfg"))
        yield self._looks.file(os.path.join(prefix, "conda-meta", "history"))
        for base in (prefix, "/usr/local") if prefix == "/usr" else (prefix,):
            yield from self._site_folders(base)

    def _site_folders(self, prefix: str) -> Iterator[Mark]:
        for lib in ("lib", "lib64"):
            names = self._looks.names(os.path.join(prefix, lib))
            for name in sorted(name for name in names if name.startswith(("python", "pypy"))):
                for packages in ("site-packages", "dist-packages"):
                    yield self._looks.folder(os.path.join(prefix, lib, name, packages))

    def _of_node(self, folder: str) -> Iterator[Mark]:
        if self._looks.folder(folder) is not None:
            yield from (self._looks.file(os.path.join(folder, lock)) for lock in _LOCKS)

    def _of_rustup(self, home: str) -> Iterator[Mark]:
        yield self._looks.file(os.path.join(home, "settings.toml"))
        toolchains = os.path.join(home, "toolchains")
        for name in sorted(self._looks.names(toolchains)):
            manifest = os.path.join(toolchains, name, "lib/rustlib/multirust-channel-manifest.toml")
            yield os.fsencode(name), self._looks.file(manifest)

    def _of_shims(self, prefix: str) -> Iterator[Mark]:
        """pyenv, rbenv, nodenv: a file chooses among versions; asdf: `installs` holds them."""
        yield self._looks.file(os.path.join(prefix, "version"))
        yield from (self._looks.folder(os.path.join(prefix, name)) for name in ("versions", "installs"))
        for name in sorted(self._looks.names(os.path.join(prefix, "versions"))):
            yield from self._site_folders(os.path.join(prefix, "versions", name))

    def _present(self, folder: str, names: Iterable[str]) -> list[str]:
        return [name for name in names if self._looks.holds(folder, name)]

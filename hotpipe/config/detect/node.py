"""package.json: its scripts as stages, and its server. Pure."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from hotpipe.config.detect import targets
from hotpipe.config.detect.draft import Draft, ServerDraft, StageDraft, port_of
from hotpipe.config.detect.manifests import json_object, table
from hotpipe.config.detect.project import Project, up

_LOCKS = (
    ("package-lock.json", "npm"),
    ("pnpm-lock.yaml", "pnpm"),
    ("yarn.lock", "yarn"),
    ("bun.lock", "bun"),
    ("bun.lockb", "bun"),
)
_STAGES = (
    ("lint", ("lint", "eslint")),
    ("types", ("typecheck", "type-check", "check-types", "types", "tsc")),
    ("test", ("test:unit", "test")),
)
_WATCHES = re.compile(r"(?:\bnodemon\b|\s--watch\b|\bwatch\b|\bconcurrently\b)")
_ASKS_FOR_CI = re.compile(
    r"\b(?:vitest|react-scripts|ng test|jest)\b"
)  # they wait for keys at a terminal, but not in CI
_NO_TEST = "no test specified"
_STARTED = re.compile(
    r"\b(?:node|nodemon|tsx|ts-node|bun)\b(?:\s+(?:watch|run|--?[\w:=-]+))*\s+([\w./-]+\.[cm]?[jt]sx?)\b"
)
_LIVE = (
    ("vite", 5173),
    ("next", 3000),
    ("react-scripts", 3000),
    ("nuxt", 3000),
    ("astro", 4321),
    ("ng", 4200),
    ("remix", 3000),
)
_USUAL = ("server", "app", "index", "main", "src/server", "src/index", "src/main", "src/app")
_SERVES = re.compile(r"\bcreateServer\(|\.listen\(|\bserve\(")
_TAKES_SOCKET = re.compile(r"\bfd\s*:|LISTEN_FDS")
_PORT = re.compile(r"(?:\blisten\(\s*|\bport\b\s*[:=]\s*|\|\|\s*|\?\?\s*)[\"']?(\d{2,5})\b", re.IGNORECASE)
_RELOADS = re.compile(r"(?:vite|next|nuxt|astro|svelte|tailwind|postcss|tsconfig)[\w.]*\.(?:[cm]?[jt]s|json)")


def detect(project: Project) -> Draft:
    """Of a folder with a package.json; of another one with a server in a single script."""
    package = _Package(project)
    server = tuple(package.servers())
    stages = tuple(package.stages())
    if all(stage.missing for stage in stages) and not targets.detect(project).active():
        stages = (*stages, *package.syntax(server))
    return Draft(stages, (server,) if server else ())


def is_node(project: Project) -> bool:
    """Whether there is a package.json."""
    return "package.json" in project.paths


@dataclass(frozen=True)
class _Package:
    project: Project

    @cached_property
    def manifest(self) -> dict[str, Any]:
        return json_object(self.project.text("package.json"))

    @cached_property
    def scripts(self) -> dict[str, str]:
        return {name: text for name, text in table(self.manifest, "scripts").items() if isinstance(text, str)}

    @cached_property
    def manager(self) -> str:
        """npm, pnpm, yarn or bun; of a workspace that of the folder above."""
        named = str(self.manifest.get("packageManager", "")).partition("@")[0]
        if named in {name for _, name in _LOCKS}:
            return named
        locks = ((f"{place}{lock}", name) for place in up(self.project) for lock, name in _LOCKS)
        return next((name for lock, name in locks if self.project.text(lock)), "npm")

    @cached_property
    def lacking(self) -> str:
        """Why no script can run."""
        if not self.project.has_program(self.manager):
            return f"{self.manager} is not installed"
        asks = table(self.manifest, "dependencies") or table(self.manifest, "devDependencies")
        if asks and not any(self.project.is_folder(f"{place}node_modules") for place in up(self.project)):
            return f"there is no node_modules: {self.manager} install"
        return ""

    def stages(self) -> Iterator[StageDraft]:
        for name, scripts in _STAGES:
            script = next((one for one in scripts if self._is_of_use(one)), "")
            if script:
                yield self._stage(name, script)
            elif name == "types" and "tsconfig.json" in self.project.paths:
                yield from self._compiler()
            elif name == "test":
                yield from self._node_tests()
        if "build" in self.scripts and not self._serves_a_build():
            stage = self._stage("build", "build")
            yield replace(stage, missing=stage.missing or "not needed on each save")
        elif "build" in self.scripts:
            yield replace(self._stage("build", "build"), cache=False)

    def _is_of_use(self, script: str) -> bool:
        text = self.scripts.get(script, "")
        return bool(text) and _NO_TEST not in text and not _WATCHES.search(text)

    def _stage(self, name: str, script: str) -> StageDraft:
        env = {"CI": "1"} if _ASKS_FOR_CI.search(self.scripts[script]) else {}
        run = f"{self.manager} run {script}"
        return StageDraft(name, run, f'package.json has the script "{script}"', env=env, missing=self.lacking)

    def _compiler(self) -> Iterator[StageDraft]:
        for place in up(self.project):
            if self.project.is_program(f"{place}node_modules/.bin/tsc"):
                yield StageDraft("types", f"{place}node_modules/.bin/tsc --noEmit", "there is tsconfig.json")
                return

    def _node_tests(self) -> Iterator[StageDraft]:
        tests = [path for path in self.project.paths if re.search(r"(?:\.test|\.spec|_test)\.[cm]?js$", path)]
        if tests and "node:test" in self.project.text(tests[0]):
            yield StageDraft("test", "node --test", f"{tests[0]} is one of node's own tests", missing=self._no_node())

    def syntax(self, servers: Iterable[ServerDraft]) -> Iterator[StageDraft]:
        """Where there is nothing else to check: a server that is only restarted would go down with each slip."""
        for server in servers:
            script = re.fullmatch(r"node ([\w./-]+\.[cm]?js)", server.run)
            if script and not server.is_built:
                run = f"node --check {script[1]}"
                yield StageDraft("syntax", run, server.because, ("*.js", "*.mjs", "*.cjs"), missing=server.missing)

    def _no_node(self) -> str:
        return "" if self.project.has_program("node") else "node is not installed"

    def _serves_a_build(self) -> bool:
        return bool(re.search(r"\bnode\b.*\b(?:dist|build|out)/", self.scripts.get("start", "")))

    def servers(self) -> Iterator[ServerDraft]:
        if live := self._live():
            yield live
        elif self._serves_a_build():
            yield from self._of_file(_STARTED.findall(self.scripts["start"])[:1], "start")
        else:
            yield from self._of_file(self._entries(), "")

    def _live(self) -> ServerDraft | None:
        """A development server that brings changes to the browser by itself."""
        for script in ("dev", "start", "serve"):
            words = self.scripts.get(script, "").split()
            for program, port in _LIVE:
                if program in words:
                    return self._left_alone(script, program, port)
        return None

    def _left_alone(self, script: str, program: str, port: int) -> ServerDraft:
        configured = tuple(path for path in self.project.paths if _RELOADS.fullmatch(path))
        return ServerDraft(
            "web",
            f"{self.manager} run {script}",
            f'package.json has the script "{script}": {program}',
            port=port,
            takes_socket=False,
            inputs=("package.json", *configured),
            needs=(),
            notes=(f"{program} reloads what changes by itself; it is restarted only for its own configuration.",),
            missing=self.lacking,
        )

    def _entries(self) -> list[str]:
        named = [
            file for script in ("start", "dev", "serve") for file in _STARTED.findall(self.scripts.get(script, ""))
        ]
        named.append(str(self.manifest.get("main", "")))
        usual = [f"{name}.{end}" for name in _USUAL for end in ("js", "mjs", "cjs", "ts", "mts")]
        known = [file.removeprefix("./") for file in (*named, *usual)]
        plain = (file for file in dict.fromkeys(known) if re.fullmatch(r"[\w./-]+", file))
        return [file for file in plain if _SERVES.search(self.project.text(file))]

    def _of_file(self, files: list[str], script: str) -> Iterator[ServerDraft]:
        for file in files[:1]:
            text = self.project.text(file)
            found = _PORT.search(text)
            server = ServerDraft(
                "web",
                f"node {'--import tsx ' if file.endswith('ts') else ''}{file}",
                f'package.json has the script "{script}"' if script else f"{file} is a server",
                port=port_of(found and found[1], 3000),
                takes_socket=bool(_TAKES_SOCKET.search(text)),
                is_built=bool(script),
                missing=self._no_node() or (self.lacking if file.endswith("ts") else ""),
            )
            yield (
                server if server.takes_socket else replace(server, **_own_port("server.listen({ fd: 3 })", server.port))
            )


def _own_port(call: str, port: int) -> dict[str, Any]:
    notes = (
        "It opens its own port, so it is stopped before the next one starts. To have no gap: let it call",
        f'{call} where LISTEN_FDS is set, and write here: listen = ["http::{port}"]',
    )
    return {"notes": notes}

"""Go and Rust: checked by their own tools, served from what was built. Pure."""

import re
from collections.abc import Iterator
from dataclasses import replace
from shlex import quote

from hotpipe.config.detect.draft import Draft, ServerDraft, StageDraft, name_of, port_of
from hotpipe.config.detect.manifests import table, toml
from hotpipe.config.detect.project import Project, Within, top

_MAIN = re.compile(r"^package main\b.*^func main\(\)", re.DOTALL | re.MULTILINE)
_GO_SERVES = re.compile(
    r"ListenAndServe|net\.Listen|\.Serve\(|\.Run\(\s*[\":)]|\.Start\(\s*\"|\.Listen\(\s*\"|FileListener"
)
_GO_TAKES = re.compile(r"LISTEN_FDS|FileListener|activation\.Listeners|os\.NewFile\(3\b")
_RUST_SERVES = re.compile(r"\b(?:axum|actix_web|rocket|warp|hyper|poem|salvo|tide|tiny_http)::|TcpListener")
_RUST_TAKES = re.compile(r"LISTEN_FDS|listenfd|ListenFd|from_raw_fd\(\s*3")
_PORT = re.compile(r"[\"(](?:[\w.]*|\[[\da-f:]*\]):(\d{2,5})\"|\],\s*(\d{2,5})\)")


def detect_go(project: Project) -> Draft:
    """Of a module."""
    missing = "" if project.has_program("go") else "go is not installed"
    mains = list(_go_mains(project))
    stages = [
        StageDraft("vet", "go vet ./...", "there is go.mod", inputs=("*.go", "go.mod", "go.sum"), missing=missing),
        *_golangci(project),
        StageDraft("test", "go test ./...", "there is go.mod", missing=missing),
    ]
    servers = []
    taken: set[str] = set()
    for folder, text in mains:
        program = name_of(_go_name(project, folder), taken)
        taken.add(program)
        because, built = f"{folder or 'main.go'} is a server", f"{top(project)}.hotpipe/bin/{program}"
        run = f"go build -o {built} {quote(f'./{folder}'.rstrip('/'))}"
        name = "build" if len(mains) == 1 else f"build-{program}"
        stages.append(StageDraft(name, run, because, cache=False, missing=missing))
        server = _built("web" if len(mains) == 1 else program, built, because, text, bool(_GO_TAKES.search(text)))
        servers.append((replace(server, missing=missing),))
    return Draft(tuple(stages), tuple(servers))


def _go_mains(project: Project) -> Iterator[tuple[str, str]]:
    """The folder of each program that serves, and its sources."""
    folders = dict.fromkeys(path.rpartition("/")[0] for path in project.paths if path.endswith(".go"))
    for folder in folders:
        paths = (p for p in project.paths if p.endswith(".go") and p.rpartition("/")[0] == folder)
        text = "\n".join(project.text(path) for path in paths if not path.endswith("_test.go"))
        if _MAIN.search(text) and _GO_SERVES.search(text):
            yield folder, text


def _go_name(project: Project, folder: str) -> str:
    found = re.search(r"^module\s+(\S+)", project.text("go.mod"), re.MULTILINE)
    path = folder or re.sub(r"/v\d+$", "", found[1] if found else "app")
    return path.rpartition("/")[2]


def _golangci(project: Project) -> Iterator[StageDraft]:
    files = (".golangci.yml", ".golangci.yaml", ".golangci.toml", ".golangci.json")
    found = next((file for file in files if file in project.paths), "")
    if found:
        missing = "" if project.has_program("golangci-lint") else "golangci-lint is not installed"
        yield StageDraft("lint", "golangci-lint run", f"there is {found}", missing=missing)


def detect_rust(project: Project) -> Draft:
    """Of a crate, or a workspace."""
    missing = "" if project.has_program("cargo") else "cargo is not installed"
    clippy = project.has_program("cargo-clippy")
    first = StageDraft(
        "lint" if clippy else "check",
        f"cargo {'clippy' if clippy else 'check'} --all-targets",
        "there is Cargo.toml",
        options=('run = "cargo clippy --all-targets -- -D warnings"',) if clippy else (),
        missing=missing,
    )
    test = StageDraft("test", "cargo test", "there is Cargo.toml", missing=missing)
    crates = list(_serving_crates(project))
    build = StageDraft(
        "build", "cargo build", f"{crates[0][0]} is a server" if crates else "", cache=False, missing=missing
    )
    servers = [
        (replace(_built(name, f"target/debug/{binary}", f"{path} is a server", text, takes), missing=missing),)
        for path, binary, text, takes in crates
        for name in ("web" if len(crates) == 1 else binary,)
    ]
    return Draft((first, test, *([build] if crates else [])), tuple(servers), ("target/",))


def _serving_crates(project: Project) -> Iterator[tuple[str, str, str, bool]]:
    """The main.rs of each program that serves, its name, its sources, and whether it takes sockets."""
    for path in project.paths:
        if not re.fullmatch(r"(?:.+/)?Cargo\.toml", path):
            continue
        folder = path.removesuffix("Cargo.toml")
        crate = Within(project, folder.rstrip("/")) if folder else project
        name = table(toml(project.text(path)), "package").get("name")
        text = "\n".join(crate.text(source) for source in crate.paths if re.fullmatch(r"src/.+\.rs", source))
        is_named = isinstance(name, str) and re.fullmatch(r"[\w-]+", name, re.ASCII)
        if is_named and "src/main.rs" in crate.paths and _RUST_SERVES.search(text):
            takes = bool(_RUST_TAKES.search(text) or "listenfd" in crate.text("Cargo.toml"))
            yield f"{folder}src/main.rs", str(name), text, takes


def _built(name: str, binary: str, because: str, text: str, takes_socket: bool) -> ServerDraft:  # noqa: FBT001
    found = _PORT.search(text)
    port = port_of(found and (found[1] or found[2]), 8080)
    run = binary if binary.startswith("../") else f"./{binary}"
    server = ServerDraft(name, run, because, port=port, takes_socket=takes_socket, is_built=True)
    if takes_socket:
        return server
    notes = (
        "It opens its own port, so it is stopped before the next one starts. To have no gap: let it listen on",
        f'descriptor 3 where LISTEN_FDS is set, and write here: listen = ["http::{port}"]',
    )
    return replace(server, notes=notes)

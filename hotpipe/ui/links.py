"""Places in files as links of the terminal (OSC 8), where it has them. Pure: the environment is passed in.

Which terminals do is known as the npm package supports-hyperlinks knows it, with three more (Windows Terminal, Konsole,
DomTerm). How a link says the line, terminals do not agree on: kitty, iTerm2 and VS Code read it from the fragment; for
others it may become part of the file's name. So only those three get it. ghostty wants the host to be named.
"""

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hotpipe.events import StageFinding

_OPEN, _CLOSE = "\x1b]8;;{}\x1b\\", "\x1b]8;;\x1b\\"
_LONGEST = 2_000  # characters of a URI: what VTE and iTerm2 take
_PLACE = re.compile(r"(?<![\w./\\-])([\w./\\@+~-]{1,300}):(\d{1,7})(?::\d{1,6})?(?![\w/])")
_MOST = 8  # links in a line
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/")  # RFC 3986, 2.3
_WIDEST = 2_000  # characters of a line in which places are looked for


@dataclass(frozen=True, slots=True)
class Links:
    """How this terminal wants links to files under `root`; `host` as in file://HOST/PATH."""

    root: str
    host: str = ""
    tells_line: bool = False
    tells_column: bool = False

    def to(self, text: str, path: str, line: int | None, column: int | None = None) -> str:
        """`text` as a link to a place."""
        whole = posixpath.normpath(posixpath.join(self.root, path))
        place = self._fragment(line, column) if line else ""
        uri = f"file://{self.host}{_quoted(whole)}{place}"
        return f"{_OPEN.format(uri)}{text}{_CLOSE}" if len(uri) <= _LONGEST else text

    def within(self, text: str, findings: "Places") -> str:
        """A line of a tool's output, its places as links; as it is where it has links of its own."""
        if ":" not in text or len(text) > _WIDEST or "\x1b]" in text:
            return text
        return _PLACE.sub(lambda place: self._known(place, findings), text, count=_MOST)

    def _known(self, place: re.Match[str], findings: "Places") -> str:
        finding = findings.at(place[1], int(place[2]))
        if finding is None or finding.path is None:
            return place[0]
        return self.to(place[0], finding.path, finding.line, finding.column)

    def _fragment(self, line: int, column: int | None) -> str:
        if not self.tells_line:
            return ""
        return f"#{line},{column}" if self.tells_column and column else f"#{line}"


class Places:
    """Findings by where they are, whatever folder the tool wrote its paths from."""

    def __init__(self, findings: Sequence[StageFinding]) -> None:
        self._known: dict[tuple[str, int], list[StageFinding]] = {}
        for finding in findings:
            if finding.path and finding.line:
                key = posixpath.basename(finding.path), finding.line
                self._known.setdefault(key, []).append(finding)

    def __bool__(self) -> bool:
        return bool(self._known)

    def at(self, written: str, line: int) -> StageFinding | None:
        """The finding that such a place in the output stands for."""
        path = posixpath.normpath(written)
        for finding in self._known.get((posixpath.basename(path), line), ()):
            known = finding.path or ""
            if known == path or known.endswith(f"/{path.removeprefix('/')}") or path.endswith(f"/{known}"):
                return finding
        return None


def links(environ: Mapping[str, str], root: str, host: str) -> Links | None:
    """For a coloured terminal; None where it has no links."""
    forced = environ.get("FORCE_HYPERLINK")
    if forced is not None and forced != "":
        return None if forced == "0" else _links(environ, root, host)
    return _links(environ, root, host) if _has_links(environ) else None


def _links(environ: Mapping[str, str], root: str, host: str) -> Links:
    match environ.get("TERM_PROGRAM"):
        case "vscode":  # takes a host for a Windows share
            return Links(root, tells_line=True, tells_column=True)
        case "iTerm.app":
            return Links(root, host, tells_line=True)
        case _:
            return Links(root, host, tells_line=environ.get("TERM") == "xterm-kitty")


def _has_links(environ: Mapping[str, str]) -> bool:
    if any(environ.get(name) for name in ("CI", "TEAMCITY_VERSION")):
        return False
    if any(environ.get(name) for name in ("WT_SESSION", "KONSOLE_VERSION", "DOMTERM")):
        return True
    version = _version(environ.get("TERM_PROGRAM_VERSION", ""))
    match environ.get("TERM_PROGRAM"):
        case "iTerm.app":
            return version >= (3, 1)
        case "WezTerm":
            return version >= (20200620,)
        case "vscode":
            return version >= (1, 72) or "CURSOR_TRACE_ID" in environ
        case "ghostty" | "zed":
            return True
        case _:
            vte = _version(environ.get("VTE_VERSION", ""))
            return vte >= (5000,) or environ.get("TERM") in {"xterm-kitty", "xterm-ghostty", "alacritty"}


def _quoted(path: str) -> str:
    """Not urllib's: importing it takes as long as all the faces."""
    raw = path.encode("utf-8", "surrogateescape")
    return "".join(chr(byte) if byte in _UNRESERVED else f"%{byte:02X}" for byte in raw)


def _version(text: str) -> tuple[int, ...]:
    """3.5.1, 20230712-072601-f4abf8fd or 7200, as far as it is a number."""
    return tuple(int(part) for part in re.findall(r"\d{1,9}", text)[:3])

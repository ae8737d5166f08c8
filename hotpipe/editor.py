"""Which editor opens a place in a file when somebody clicks on it, and with what words. Pure: no shell, an argv only.

First what the user says (`HOTPIPE_EDITOR`, a template such as `code -g {file}:{line}:{column}`), then the editor in
whose terminal hotpipe was started, then VISUAL and EDITOR, then the first that is installed. An editor that lives in a
terminal (vim, nano) cannot be shown from a page: then there is none, and the place is shown to be copied.
"""

import os
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

VARIABLE = "HOTPIPE_EDITOR"
_PLACEHOLDER = re.compile(r"\{(file|line|column)\}")
_GOTO = ("-g", "{file}:{line}:{column}")
_COLONS = ("{file}:{line}:{column}",)
_JETBRAINS = ("--line", "{line}", "--column", "{column}", "{file}")
_TABLE: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("code", "code-insiders", "codium", "cursor", "windsurf", "positron"), _GOTO),
    **dict.fromkeys(("zed", "zeditor", "subl", "sublime_text", "lapce"), _COLONS),
    **dict.fromkeys(
        ("idea", "pycharm", "pycharm-community", "webstorm", "phpstorm", "goland", "rubymine", "clion", "rustrover"),
        _JETBRAINS,
    ),
    "emacsclient": ("-n", "+{line}:{column}", "{file}"),
    "gvim": ("--remote-silent", "+{line}", "{file}"),
    "kate": ("-l", "{line}", "-c", "{column}", "{file}"),
    "gedit": ("+{line}:{column}", "{file}"),
    "mate": ("-l", "{line}:{column}", "{file}"),
}
_WAITS = {"--wait", "-w", "-n", "--no-wait", "-g", "--goto"}  # what the table says, or must not be
_IN_TERMINAL = {"-nw", "-t", "--tty", "-tty", "--no-window-system"}
_SCREENS = ("DISPLAY", "WAYLAND_DISPLAY", "VSCODE_IPC_HOOK_CLI", "WSL_DISTRO_NAME")

Which = Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class Spot:
    """A file (absolute, so that no name passes for an option) and a place in it, counted from 1."""

    file: str
    line: int = 1
    column: int = 1


@dataclass(frozen=True, slots=True)
class Editor:
    """A program and what it is started with: words with `{file}`, `{line}` and `{column}`."""

    name: str
    template: tuple[str, ...]

    def argv(self, spot: Spot) -> tuple[str, ...]:
        places = {"{file}": spot.file, "{line}": str(spot.line), "{column}": str(spot.column)}
        return tuple(_PLACEHOLDER.sub(lambda found: places[found[0]], word) for word in self.template)


def choose(environ: Mapping[str, str], which: Which) -> Editor | None:
    """The editor to open files with; None: there is none that a page could open. `which` is that of shutil."""
    named = _named(environ, which)
    return next(named, None) or next(_installed(environ, which), None)


def _named(environ: Mapping[str, str], which: Which) -> Iterator[Editor]:
    if own := _words(environ.get(VARIABLE, "")):
        yield _template(own)
    for name in _around(environ):
        if which(name):
            yield _known((name,))
    for variable in ("VISUAL", "EDITOR"):
        said = _words(environ.get(variable, ""))
        if said and _has_window(said) and which(said[0]):
            yield _known(said)


def _installed(environ: Mapping[str, str], which: Which) -> Iterator[Editor]:
    if os.name == "posix" and any(environ.get(name) for name in _SCREENS):
        yield from (_known((name,)) for name in _TABLE if which(name))


def _around(environ: Mapping[str, str]) -> Iterator[str]:
    """Whose terminal this is."""
    if environ.get("TERM_PROGRAM") == "vscode":
        yield from ("cursor",) if "CURSOR_TRACE_ID" in environ else ()
        yield from ("code", "codium", "code-insiders", "windsurf")
    if environ.get("TERM_PROGRAM") == "zed" or "ZED_TERM" in environ:
        yield from ("zed", "zeditor")
    if environ.get("TERMINAL_EMULATOR", "").startswith("JetBrains"):
        yield from (name for name, template in _TABLE.items() if template is _JETBRAINS)


def _words(text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError:  # a quotation without end
        return ()


def _template(words: Sequence[str]) -> Editor:
    if any(_PLACEHOLDER.search(word) for word in words):
        return Editor(_base(words[0]), tuple(words))
    return _known(words) if _base(words[0]) in _TABLE else Editor(_base(words[0]), (*words, "{file}"))


def _known(words: Sequence[str]) -> Editor:
    name = _base(words[0])
    options = tuple(word for word in words[1:] if word not in _WAITS)
    return Editor(name, (words[0], *options, *_TABLE[name]))


def _has_window(words: Sequence[str]) -> bool:
    return _base(words[0]) in _TABLE and not _IN_TERMINAL.intersection(words)


def _base(program: str) -> str:
    return os.path.basename(program)

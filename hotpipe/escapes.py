"""What programs write to a terminal beside text: escape sequences and control characters, and lines without them."""

import re

# ECMA-48: control sequences, control strings (a title, a link), and the escapes of two characters. None runs over the
# next ESC, so that a line full of beginnings costs no more than its length.
_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|\x1b[\]PX^_][^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]?"
)
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")
_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")  # SGR, which changes how text looks and nothing else
_RESET = "\x1b[0m"


def visible(line: str) -> str:
    """What a progress bar has left of its line, colours included."""
    return line.rstrip("\r").rpartition("\r")[2]


def stripped(text: str) -> str:
    """A line without escape sequences and control characters, but for tabs."""
    return _CONTROLS.sub("", _ESCAPES.sub("", text))


def coloured(text: str) -> str:
    """A line with its colours, and with nothing that could do more to a terminal; colours end with it."""
    if "\x1b" not in text:
        return stripped(text)
    pieces, at = list[str](), 0
    for found in _ESCAPES.finditer(text):
        pieces.append(_CONTROLS.sub("", text[at : found.start()]))
        pieces.append(found[0] if _COLOUR.fullmatch(found[0]) else "")
        at = found.end()
    return "".join((*pieces, _CONTROLS.sub("", text[at:]), _RESET))

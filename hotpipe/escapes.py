"""What of a program's line is text, and what may reach the user's terminal: colours and links. Pure.

A program at a pty moves the cursor, sets titles and modes, switches to another screen; in the middle of a face any of
that would wreck the terminal. Invariant: the time for a line is bounded by its length, whatever is in it.
"""

import re

# ECMA-48: control sequences, control strings (a title, a link), and the escapes of two characters. None runs over the
# next ESC, so that a line full of beginnings costs no more than its length.
_CONTROLS = r"[\x00-\x08\x0b-\x1f\x7f-\x9f]"
_ANY = (
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|\x1b[\]PX^_][^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]?"
    rf"|{_CONTROLS}"
)
_COLOUR = r"\x1b\[[0-9;:]*m"  # SGR; with another character before its numbers it is a mode of xterm
_LINK = r"\x1b\]8;[^\x00-\x1f\x7f-\x9f]*(?:\x07|\x1b\\)"
_EVERY = re.compile(_ANY)
_LINKS = re.compile(_LINK)
_SOME = re.compile(rf"(?P<colour>{_COLOUR})|(?P<link>{_LINK})|{_ANY}")
_TO_THE_LEFT = re.compile(r"\x1b\[[01]?G")  # CHA: to column 1, as progress bars do it that mean CR
_BEGINNING, _DEFAULT, _NO_LINK = "\x1b[", "\x1b[0m", "\x1b]8;;\x1b\\"
_NO_LINKS = (_NO_LINK, "\x1b]8;;\x07")


def visible(line: str) -> str:
    """What a progress bar has left of its line, colours included."""
    if "\x1b" in line:
        line = _TO_THE_LEFT.sub("\r", line)
    return line.rstrip("\r").rpartition("\r")[2]


def plain(line: str) -> str:
    """A line without escape sequences and control characters; tabs and line feeds stay."""
    return line if line.isprintable() else _EVERY.sub("", line)


def colours_only(line: str) -> str:
    """A line with its colours and links, which end with it, and no other control characters than tabs."""
    if line.isprintable():
        return line
    text = _SOME.sub(_kept, line)
    last_link = text[text.rfind("\x1b]8;") :] if "\x1b]8;" in text else _NO_LINK
    end = "" if last_link.startswith(_NO_LINKS) else _NO_LINK
    return f"{text}{end}{_DEFAULT if _BEGINNING in text else ''}"


def without_links(line: str) -> str:
    """What `colours_only` has left, with the text of links alone."""
    return _LINKS.sub("", line) if "\x1b]" in line else line


def _kept(found: re.Match[str]) -> str:
    return found[0] if found.lastgroup else ""

"""What is typed, as names of keys: `r`, `ctrl-r`, `up`, `pgdn`, `esc`.

How it works: bytes come in pieces, cut anywhere. An escape sequence that is not complete waits for the next piece; a
lone ESC is known to be one only when nothing follows (`flush`). What is pasted (bracketed, or too much at once for
fingers) is no key. What is not known is left out, so any bytes will do.
"""

import codecs
import re

MOST_AT_ONCE = 40  # keys in one read: who holds a key down makes fewer, who pastes more
_LONGEST = 4_096  # characters of a sequence that never ends
_PASTE, _PASTED = "\x1b[200~", "\x1b[201~"
_COMPLETE = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # ECMA-48: control sequences
    r"|\x1bO[ -~]"  # SS3, as in application mode
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)"  # control strings: a terminal's answers
    r"|\x1b[^\[O\]PX^_\x1b]"  # with Alt
    r"|\x1b(?=\x1b)"
    r"|\x1b(?:\[[0-?]*[ -/]*|O)(?=[^ -~])|\x1b[\]PX^_][^\x07\x1b]*(?=\x1b[^\\])"  # those that were broken off
    r"|[^\x1b]"
)
_TO_THE_END = re.compile(r"(?s).*?\x1b\[201~")  # of what is pasted
_FINALS = {"A": "up", "B": "down", "C": "right", "D": "left", "H": "home", "F": "end", "Z": "backtab"}
_TILDES = {"1": "home", "7": "home", "4": "end", "8": "end", "5": "pgup", "6": "pgdn"}
_CONTROLS = {"\t": "tab", "\r": "enter", "\n": "enter", "\x7f": "backspace"}


class Decoder:
    """Bytes in, names of keys out."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("ignore").decode
        self._rest = ""
        self._is_pasting = False

    @property
    def waits(self) -> bool:
        """Whether what has come so far may be the beginning of a key."""
        return bool(self._rest) and not self._is_pasting

    def feed(self, typed: bytes) -> list[str]:
        """The keys that are complete with this; none of a flood."""
        text, keys, place = self._rest + self._decode(typed), [], 0
        while place < len(text):
            found = (_TO_THE_END if self._is_pasting else _COMPLETE).match(text, place)
            if found is None:
                break
            place = found.end()
            if found[0] == _PASTE:
                self._is_pasting = True
            elif self._is_pasting:
                self._is_pasting = False
            else:
                keys.append(_name(found[0]))
        if self._is_pasting:
            place = max(place, len(text) - len(_PASTED) + 1)
        self._rest = text[place:] if len(text) - place <= _LONGEST else ""
        named = [key for key in keys if key]
        return named if len(named) <= MOST_AT_ONCE else []

    def flush(self) -> list[str]:
        """Nothing has followed for a while."""
        if self._is_pasting:
            return []
        rest, self._rest = self._rest, ""
        return ["esc"] if rest == "\x1b" else []


def _name(sequence: str) -> str:
    """Empty for what is not known."""
    if len(sequence) == 1:
        return _single(sequence)
    if sequence[1] not in "[O":
        return ""
    if sequence[-1] == "~":
        return _TILDES.get(sequence[2:-1].partition(";")[0], "")
    return _FINALS.get(sequence[-1], "")


def _single(character: str) -> str:
    if character in _CONTROLS:
        return _CONTROLS[character]
    if character < " ":
        return f"ctrl-{chr(ord(character) + 96)}" if 1 <= ord(character) <= 26 else ""
    return character if character.isprintable() else ""

"""What of a program's line reaches the user's terminal."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotpipe.escapes import colours_only, plain, visible

LINK = "\x1b]8;;https://x/y\x1b\\here\x1b]8;;\x1b\\"
HARMLESS = re.compile(
    r"(?:\x1b\[[0-9;:]*m|\x1b\]8;[^\x00-\x1f\x7f-\x9f]*(?:\x07|\x1b\\)|[^\x00-\x08\x0b-\x1f\x7f-\x9f])*"
)


def test_text_stays_as_it_is() -> None:
    for text in ("", "plain", "a\tb", "grün ✓", "[31m no escape"):
        assert colours_only(text) == plain(text) == text


def test_colours_stay_and_end_with_the_line() -> None:
    assert colours_only("\x1b[1;38:2::1:2:3mred") == "\x1b[1;38:2::1:2:3mred\x1b[0m"


def test_links_stay_and_end_with_the_line() -> None:
    assert colours_only(LINK) == LINK
    assert colours_only("\x1b]8;id=1;x:y\x07open") == "\x1b]8;id=1;x:y\x07open\x1b]8;;\x1b\\"


@pytest.mark.parametrize(
    "escape",
    [
        "\x1b[2K", "\x1b[1A", "\x1b[10;10H", "\x1b[?1049h", "\x1b[?25l", "\x1b[?2004h", "\x1b[6n", "\x1b[!p",
        "\x1b[>4;2m", "\x1b[?4m", "\x1b]0;title\x07", "\x1b]52;c;aGk=\x1b\\", "\x1bP+q544e\x1b\\", "\x1bc", "\x1b7",
        "\x1b(0", "\x0e", "\x07", "\x08", "\x9b2J", "\x1b]8;;x", "\x1b[", "\x1b", "\x1b#8", "\x7f", "\x1b_x\x1b\\",
    ],
    ids=ascii,
)  # fmt: skip
def test_what_moves_the_cursor_or_changes_the_terminal_does_not_pass(escape: str) -> None:
    assert colours_only(f"a{escape}") == "a"
    assert plain(f"a{escape}") == "a"


def test_without_colours_nothing_of_them_is_left() -> None:
    assert plain(f"\x1b[31mred\x1b[0m {LINK}") == "red here"


def test_of_a_progress_bar_its_last_state_is_seen() -> None:
    assert visible("10%\r20%\r") == "20%"
    assert visible("\x1b[2K\x1b[1G10%\x1b[2K\x1b[G20%") == "20%"


@given(st.text(st.sampled_from("\x1b[]8;m0?HP\\\x07\x9b\x9ca\r\t(")))
def test_whatever_comes_only_colours_and_links_pass(line: str) -> None:
    assert HARMLESS.fullmatch(colours_only(line))
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", plain(line))


@pytest.mark.parametrize(
    "part", ["\x1b", "\x1b[", "\x1b]8;", "\x1b]8;;x\x07", "\x1b[3", "\x1bP", "\x1b[0;", "\x9b", "\x1b ("], ids=ascii
)
def test_the_longest_line_of_beginnings_takes_no_time(part: str) -> None:
    line = part * (65_536 // len(part))
    began = time.perf_counter()
    colours_only(visible(line))
    assert time.perf_counter() - began < 2

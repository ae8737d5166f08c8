"""What the `inputs` of a server mean, list by list."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotpipe.tree.globs import Globs
from hotpipe.tree.ignore import Ignore

PATHS = (
    "app.py",
    "src/a.py",
    "src/sub/b.py",
    "src/generated/g.py",
    "src/generated/keep.py",
    "docs/a.md",
    "pyproject.toml",
)


def meant(*patterns: str, of: tuple[str, ...] = PATHS) -> set[str]:
    globs = Globs(patterns)
    return {path for path in of if globs.matches(path)}


@pytest.mark.parametrize(
    "patterns, paths",
    [
        ((), set()),
        (("src/**",), {"src/a.py", "src/sub/b.py", "src/generated/g.py", "src/generated/keep.py"}),
        (("**/*.py",), {"app.py", "src/a.py", "src/sub/b.py", "src/generated/g.py", "src/generated/keep.py"}),
        (("*.py", "!src/"), {"app.py"}),
        (("/*.py",), {"app.py"}),
        (("src/*.py",), {"src/a.py"}),
        (("pyproject.toml",), {"pyproject.toml"}),
        (("docs/**", "pyproject.toml"), {"docs/a.md", "pyproject.toml"}),
        (("src/**", "!src/generated/**"), {"src/a.py", "src/sub/b.py"}),
        (("src/**", "!src/generated/**", "keep.py"), {"src/a.py", "src/sub/b.py", "src/generated/keep.py"}),
        (("!src/generated/**", "src/**"), {"src/a.py", "src/sub/b.py", "src/generated/g.py", "src/generated/keep.py"}),
        (("**", "!*.py"), {"docs/a.md", "pyproject.toml"}),
        (("**/*.py", "!keep*"), {"app.py", "src/a.py", "src/sub/b.py", "src/generated/g.py"}),
        (("*.py", "!?.py", "b.py"), {"app.py", "src/sub/b.py", "src/generated/keep.py"}),
        (("!?.py", "!*.md", "a.*"), {"src/a.py", "docs/a.md"}),
        (("# no glob", ""), set()),
    ],
)
def test_the_last_line_that_matches_decides(patterns: tuple[str, ...], paths: set[str]) -> None:
    assert meant(*patterns) == paths


@pytest.mark.parametrize("folder", ["src", "src/", "/src", "/src/", "s*c"])
def test_a_folder_means_everything_below_it(folder: str) -> None:
    assert meant(folder) == {path for path in PATHS if path.startswith("src/")}
    assert meant("**", f"!{folder}") == {path for path in PATHS if not path.startswith("src/")}


def test_a_line_with_a_slash_at_its_end_does_not_mean_a_file() -> None:
    assert meant("src/", of=("src", "lib/src")) == set()


def test_what_is_taken_back_below_a_folder_is_taken_back() -> None:
    assert meant("src/", "!src/generated/", "src/generated/keep.py") == {
        "src/a.py",
        "src/sub/b.py",
        "src/generated/keep.py",
    }


def test_negated_lines_alone_mean_all_the_rest() -> None:
    assert meant("!src", "!*.md") == {"app.py", "pyproject.toml"}


def test_names_need_be_neither_ascii_nor_utf_8() -> None:
    assert meant("größe/*", of=("größe/é.py", "grosse/e.py")) == {"größe/é.py"}
    assert meant("*.py", of=("\udcff.py", "\udcff.txt")) == {"\udcff.py"}


segments = st.sampled_from(["a", "b", "a.py", "*", "*.py", "**", "?", "[ab]"])
lines = st.builds(
    "{}{}{}".format,
    st.sampled_from(["", "/"]),
    st.lists(segments, min_size=1, max_size=3).map("/".join),
    st.sampled_from(["", "/"]),
)
paths = st.lists(st.sampled_from(["a", "b", "ab", "a.py", "b.py"]), min_size=1, max_size=3).map("/".join)


@given(st.lists(lines, max_size=4), paths)
def test_without_negation_a_list_picks_what_it_would_ignore_as_gitignore(patterns: list[str], path: str) -> None:
    ignore = Ignore("/nonexistent", extra=patterns, builtin=(), excludes=lambda _: None)
    assert Globs(patterns).matches(path) == ignore.ignored(path, is_dir=False)


negated = st.builds("{}{}".format, st.sampled_from(["", "", "!"]), lines)


@given(st.lists(negated, max_size=5), st.lists(paths, min_size=1, max_size=6))
def test_a_list_says_what_its_last_line_does_that_matches_the_path_or_a_folder_above(
    patterns: list[str], asked: list[str]
) -> None:
    globs = Globs(patterns)
    assert [globs.matches(path) for path in asked] == [plainly(patterns, path) for path in asked]


def plainly(patterns: list[str], path: str) -> bool:
    for line in reversed(patterns):
        if Ignore("/nonexistent", extra=[line.removeprefix("!")], builtin=(), excludes=lambda _: None).ignored(
            path, False
        ):
            return not line.startswith("!")
    return bool(patterns) and all(line.startswith("!") for line in patterns)

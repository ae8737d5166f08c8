"""The judge of paths agrees with git wherever git has an opinion; elsewhere, with what its docstring decides."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from hotpipe.tree.gitignore import Rule
from hotpipe.tree.ignore import BUILT_IN, Ignore, Verdict, global_excludes

Lines = Sequence[bytes]


def plant(root: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write files; a path that ends in "/" is a folder."""
    for path, content in files.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.endswith("/"):
            target.mkdir(exist_ok=True)
        else:
            target.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def plant_repository(top: Path, git_dir: str = ".git") -> Path:
    """The least that git takes for a repository; ten times quicker than `git init`."""
    return plant(top, {f"{git_dir}/HEAD": "ref: refs/heads/main\n", f"{git_dir}/objects/": "", f"{git_dir}/refs/": ""})


def judge(
    root: Path,
    *,
    extra: Sequence[str] = (),
    never: Sequence[str] = (),
    builtin: Sequence[str] = (),
    everywhere: Path | None = None,
) -> Ignore:
    """Without the built-in list unless asked for, and without the settings of whoever runs the tests."""
    excludes = None if everywhere is None else str(everywhere)
    return Ignore(str(root), extra=extra, never=never, builtin=builtin, excludes=lambda _: excludes)


def with_lines(root: Path, *lines: str) -> Ignore:
    return judge(plant(root, {".gitignore": "\n".join(lines)}))


def git(folder: Path, *arguments: str, everywhere: Path | None = None, said: bytes = b"") -> bytes:
    """Run git without anybody's settings."""
    settings = ["-c", f"core.excludesFile={everywhere or ''}"]
    identity = {f"GIT_{who}_{what}": "x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        **identity,
    }
    ran = subprocess.run(
        ["git", *settings, *arguments], cwd=folder, env=environment, input=said, capture_output=True, check=False
    )
    assert ran.returncode in {0, 1}, ran.stderr
    return ran.stdout


def git_says(
    root: Path, paths: Sequence[str], *, everywhere: Path | None = None
) -> dict[str, tuple[bool, Rule | None]]:
    """git's verdict on each path and the rule that decided. With -v, a negated line is also reported as a match."""
    asked = b"".join(os.fsencode(path) + b"\0" for path in paths)
    options = ("--no-index", "--stdin", "-z", "-v", "-n")
    fields = os.fsdecode(git(root, "check-ignore", *options, everywhere=everywhere, said=asked)).split("\0")
    answers = {}
    for source, line, pattern, path in zip(*(iter(fields),) * 4, strict=False):
        rule = Rule(source, int(line), pattern) if source else None
        answers[path] = (rule is not None and not pattern.startswith("!"), rule)
    assert set(answers) == set(paths)
    return answers


def ours(ignore: Ignore, paths: Mapping[str, bool]) -> dict[str, tuple[bool, Rule | None]]:
    """Our verdict on each path, given whether it is a folder."""
    verdicts = {path: ignore.explain(path, is_dir) for path, is_dir in paths.items()}
    assert {path: verdict.ignored for path, verdict in verdicts.items()} == {
        path: ignore.ignored(path, is_dir) for path, is_dir in paths.items()
    }
    return {path: (verdict.ignored, verdict.rule) for path, verdict in verdicts.items()}


def without_rules(answers: Mapping[str, tuple[bool, Rule | None]]) -> dict[str, bool]:
    return {path: ignored for path, (ignored, _) in answers.items()}


# --- the same as git --------------------------------------------------------------------------------------------------

NAMES = ("ab", "x.c", ".x", "#x", "!x", "a ", "[", "a\\", "A", "é", os.fsdecode(b"\xff"))
FOLDERS = ("a", "b", "a b")
PLACES = ("", "a/", "b/", "a/b/", "a/a/", "a/a b/a/")


@dataclass(frozen=True)
class Forest:
    """A repository three folders deep with every name in each; the examples only put ignore files into it."""

    top: Path
    paths: Mapping[str, bool]
    """Each path in it, and whether it is a folder."""

    def below(self, root: str) -> dict[str, bool]:
        return {path.removeprefix(root): is_dir for path, is_dir in self.paths.items() if path.startswith(root)}

    @contextmanager
    def ruled_by(self, files: Mapping[str, bytes], exclude: bytes, everywhere: bytes) -> Iterator[Path]:
        """Ignore files for the time of one example; gives the global excludes file."""
        written = {f"{place}.gitignore": content for place, content in files.items()}
        plant(self.top, {**written, ".git/info/exclude": exclude, ".git/everywhere": everywhere})
        try:
            yield self.top / ".git/everywhere"
        finally:
            for path in written:
                (self.top / path).unlink()


@pytest.fixture(scope="module")
def forest(tmp_path_factory: pytest.TempPathFactory) -> Forest:
    folders = [""]
    for _ in range(3):
        folders = ["", *(f"{folder}{name}/" for folder in folders for name in FOLDERS)]
    files = [f"{folder}{name}" for folder in folders for name in (*NAMES, ".gitignore")]
    top = plant_repository(tmp_path_factory.mktemp("forest"))
    plant(top, dict.fromkeys(files + folders[1:], ""))
    for folder in folders:
        (top / folder / ".gitignore").unlink()
    return Forest(top, {path.removesuffix("/"): path.endswith("/") for path in files + folders[1:]})


ATOMS = (
    *("a", "b", "ab", "a b", "x", "x.c", ".c", ".", "A", "é", "#", "!", " ", "\t", "\r", "\\", "[", "]", "-", "^"),
    *("*", "*", "*", "**", "**", "?", "?", "/", "/", "/", "/", "/**/", "**/", "/**", "*/", "/*"),
    *(
        "[ab]",
        "[!a]",
        "[^a]",
        "[a-c]",
        "[!a-c]",
        "[]a]",
        "[!]a]",
        "[a/b]",
        "[\\]a]",
        "[a-",
        "[c-a]",
        "[a\\-c]",
        "[--a]",
    ),
    *("[[:alpha:]]", "[[:space:]#]", "[![:alnum:]]", "[[:nope:]]", "[[:alpha:]-z]", "[[:a]", "[[:]x]"),
    *("\\a", "\\ ", "\\#", "\\!", "\\*", "\\/", "\\[", "\\\\"),
)


def _is_read_alike(line: bytes) -> bool:
    """Not the lines that git 2.39 reads otherwise than its manual: stars after a character, as in `a**/b`."""
    plain = re.match(rb"!?/?([^*?\[\\]+)\*\*", line)
    return plain is None or plain[1].endswith(b"/") or b"/" not in line.rstrip(b" ").rstrip(b"/")


def _line(atoms: Sequence[str], before: str, after: str) -> bytes:
    return os.fsencode(before + "".join(atoms) + after)


chaotic = st.builds(
    _line,
    st.lists(st.sampled_from(ATOMS), min_size=1, max_size=6),
    st.sampled_from(("", "", "", "!", "/", "!/", "#", "**/", "\\!", "\\#")),
    st.sampled_from(("", "", "", "/", " ", "\\ ", "  ", "/ ", "\\", "\0a")),
)
USUAL = (
    *(b"a", b"a/", b"/a", b"!a", b"!a/", b"*", b"!*", b"/*", b"!/a", b"!b", b"*.c", b"!x.c", b"a/b", b"a/*", b"!a/b"),
    *(b"**/b", b"a/**", b"!a/**", b"a/**/b", b"!*/", b"# a", b"", b"a/b/", b"*/b", b"b/", b"!a/a/", b"x.*", b"[ab]"),
)
usual = st.sampled_from(USUAL)
lines = st.lists(usual | chaotic.filter(_is_read_alike), max_size=6)
endings = st.sampled_from((b"\n", b"\r\n"))
openings = st.sampled_from((b"", b"", b"", b"\xef\xbb\xbf"))
contents = st.builds(lambda opening, all_lines, ending: opening + ending.join(all_lines), openings, lines, endings)
ignore_files = st.dictionaries(st.sampled_from(PLACES), contents, min_size=1, max_size=4)


@given(files=ignore_files, exclude=contents, everywhere=contents)
@example(files={"": b"a/**\\/b\n"}, exclude=b"", everywhere=b"")
@example(files={"": b"*\n!*/\n!x.c", "a/": b"!ab\r\n/b/\n"}, exclude=b"!.x\n", everywhere=b"[!a-z]*")
def test_every_path_gets_the_verdict_and_the_rule_that_git_gives_it(
    forest: Forest, files: dict[str, bytes], exclude: bytes, everywhere: bytes
) -> None:
    with forest.ruled_by(files, exclude, everywhere) as global_file:
        theirs = git_says(forest.top, list(forest.paths), everywhere=global_file)
        assert ours(judge(forest.top, everywhere=global_file), forest.paths) == theirs


@given(files=ignore_files, exclude=contents, everywhere=contents)
def test_a_root_inside_of_a_work_tree_obeys_the_rules_around_it(
    forest: Forest, files: dict[str, bytes], exclude: bytes, everywhere: bytes
) -> None:
    root, paths = forest.top / "a/b", forest.below("a/b/")
    with forest.ruled_by(files, exclude, everywhere) as global_file:
        assume(not git_says(forest.top, ["a/b"], everywhere=global_file)["a/b"][0])
        theirs = git_says(root, list(paths), everywhere=global_file)
        assert without_rules(ours(judge(root, everywhere=global_file), paths)) == without_rules(theirs)


def test_sets_hold_the_octets_that_git_puts_into_them(tmp_path: Path) -> None:
    named = (
        "alnum",
        "alpha",
        "blank",
        "cntrl",
        "digit",
        "graph",
        "lower",
        "print",
        "punct",
        "space",
        "upper",
        "xdigit",
    )
    listed = ("!a-y", "^[:print:]", "!-~", r"\]-a", "]-a", "--/", "a-a", "+--", "é")
    sets = [*(f"[:{name}:]" for name in named), *listed]
    plant_repository(tmp_path)
    plant(tmp_path, {f"{number}/.gitignore": f"n[{members}]" for number, members in enumerate(sets)})
    octets = [octet for octet in range(1, 256) if chr(octet) != "/"]
    paths = [os.fsdecode(b"%d/n%c" % (number, octet)) for number in range(len(sets)) for octet in octets]
    assert ours(judge(tmp_path), dict.fromkeys(paths, False)) == git_says(tmp_path, paths)


def test_a_linked_work_tree_reads_the_exclude_file_of_its_repository(tmp_path: Path) -> None:
    main, linked = tmp_path / "main", tmp_path / "linked"
    main.mkdir()
    git(main, "init", "--quiet")
    git(main, "commit", "--quiet", "--allow-empty", "--message=x")
    git(main, "worktree", "add", "--quiet", str(linked))
    plant(main, {".git/info/exclude": "*.log\n"})
    ignore = judge(linked)
    assert ignore.ignored("a.log", False)
    assert git_says(linked, ["a.log"])["a.log"][0]
    assert ignore.files == (str(main / ".git/info/exclude"),)


def test_a_submodule_reads_the_exclude_file_of_its_own_repository(tmp_path: Path) -> None:
    plant_repository(tmp_path)
    plant_repository(tmp_path, ".git/modules/sub")
    module = plant(tmp_path / "sub", {".git": "gitdir: ../.git/modules/sub\n"})
    plant(tmp_path, {".git/info/exclude": "*.outer", ".git/modules/sub/info/exclude": "*.inner", ".gitignore": "x.*"})
    found = without_rules(ours(judge(module), dict.fromkeys(["a.inner", "a.outer", "x.py"], False)))
    assert found == {"a.inner": True, "a.outer": False, "x.py": False}
    assert found == without_rules(git_says(module, list(found)))


# --- what a line means ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lines, path, expected",
    [
        pytest.param(["*.log", "!a.log"], "a.log", False, id="the last line that matches wins"),
        pytest.param(["!a.log", "*.log"], "a.log", True, id="also if it ignores"),
        pytest.param(["/a"], "sub/a", False, id="a leading slash anchors"),
        pytest.param(["sub/a"], "deep/sub/a", False, id="so does one in the middle"),
        pytest.param(["a/"], "a", False, id="a trailing slash means folders only"),
        pytest.param(["a/"], "deep/a/file", True, id="at any depth"),
        pytest.param(["a/", "!a/file"], "a/file", True, id="nothing below an ignored folder is re-included"),
        pytest.param(["a/*", "!a/file"], "a/file", False, id="but in a folder that is not itself ignored it is"),
        pytest.param(["a/**/b"], "a/b", True, id="two stars may be no folder"),
        pytest.param(["a/**/b"], "a/x/y/b", True, id="or many"),
        pytest.param(["a*b"], "a/b", False, id="a star stays in its folder"),
        pytest.param(["a/*/b"], "a/x/y/b", False, id="and is one folder"),
        pytest.param(["#a"], "#a", False, id="a hash at the start makes a comment"),
        pytest.param([r"\#a"], "#a", True, id="an escaped hash is no comment"),
        pytest.param([r"\!a"], "!a", True, id="an escaped exclamation mark is no negation"),
        pytest.param(["a  "], "a", True, id="spaces at the end do not count"),
        pytest.param(["a\\ "], "a ", True, id="unless they are escaped"),
        pytest.param(["a\t"], "a", False, id="and a tab counts"),
        pytest.param(["A"], "a", False, id="case counts"),
        pytest.param(["a**/b"], "ab", False, id="stars beside a character are one star"),
        pytest.param(["a[", "b"], "a[", False, id="an open set matches nothing"),
        pytest.param(["?"], "é", False, id="a question mark is one octet, as for git"),
        pytest.param(["??"], "é", True, id="of which this letter has two"),
        pytest.param(["*a*a*a*a*a*a*a*a*a*a*b"], "a" * 200, False, id="many stars cost no exponential time"),
        pytest.param(["*a*b?c*d"], "xaybbbcbzcd", True, id="and find the fit that is not the first"),
    ],
)
def test_a_line_means_what_it_means_to_git(tmp_path: Path, lines: list[str], path: str, expected: bool) -> None:
    assert with_lines(tmp_path, *lines).ignored(path, False) is expected


def test_a_byte_order_mark_and_carriage_returns_are_no_part_of_a_pattern(tmp_path: Path) -> None:
    plant(tmp_path, {".gitignore": b"\xef\xbb\xbfa\r\nb\r"})
    assert judge(tmp_path).ignored("a", False)
    assert judge(tmp_path).ignored("b", False)


def test_names_that_are_not_utf_8_are_matched_by_their_octets(tmp_path: Path) -> None:
    plant(tmp_path, {".gitignore": b"\xff*\n!\xff\xfe\n/d\xe9/x\n"})
    ignore = judge(tmp_path)
    assert ignore.ignored(os.fsdecode(b"\xffz"), False)
    assert not ignore.ignored(os.fsdecode(b"\xff\xfe"), False)
    assert ignore.explain(os.fsdecode(b"d\xe9/x"), False).rule == Rule(".gitignore", 3, os.fsdecode(b"/d\xe9/x"))


# --- who is stronger --------------------------------------------------------------------------------------------------


def test_each_source_is_stronger_than_the_next(tmp_path: Path) -> None:
    """From the weakest on, each adds a line that takes back what the one before said."""
    everywhere = plant_repository(tmp_path) / "everywhere"
    verdicts = [judge(tmp_path, builtin=["a"]).ignored("sub/a", False)]
    for file, line in (
        ("everywhere", "!a"),
        (".git/info/exclude", "a"),
        (".gitignore", "!a"),
        (".ignore", "a"),
        ("sub/.gitignore", "!a"),
        ("sub/.ignore", "a"),
    ):
        plant(tmp_path, {file: line})
        verdicts.append(judge(tmp_path, builtin=["a"], everywhere=everywhere).ignored("sub/a", False))
    verdicts.append(judge(tmp_path, extra=["!a"]).ignored("sub/a", False))
    verdicts.append(judge(tmp_path, extra=["!a"], never=["sub/a"]).ignored("sub/a", False))
    assert verdicts == [True, False, True, False, True, False, True, False, True]


@pytest.mark.parametrize("path", [".git", "sub/.git", ".hotpipe", "sub/.svn", "sub/CVS", ".trigger [1]"])
def test_nothing_re_includes_what_is_never_watched(tmp_path: Path, path: str) -> None:
    plant(tmp_path, {".gitignore": "!*", "sub/.ignore": "!*"})
    ignore = judge(tmp_path, extra=["!*", "!.git", "!.trigger*"], never=[".trigger [1]"])
    assert ignore.ignored(path, True)
    assert ignore.ignored(f"{path}/x", False)


def test_a_trigger_is_one_path_and_no_pattern(tmp_path: Path) -> None:
    ignore = judge(tmp_path, never=["run/*.[t]", "!x"])
    assert ignore.ignored("run/*.[t]", False)
    assert ignore.ignored("!x", False)
    assert not ignore.ignored("run/a.t", False)
    assert not ignore.ignored("sub/run/*.[t]", False)


@pytest.mark.parametrize(
    "path",
    [
        *(
            "src/__pycache__",
            "a.pyc",
            ".venv",
            "web/node_modules",
            "hotpipe.egg-info",
            ".mypy_cache",
            ".coverage.host.1",
        ),
        *("a.py~", ".a.py.swp", ".a.py.swpx", "4913", ".#a.py", "#a.py#", "a.py___jb_tmp___", ".goutputstream-X1"),
    ],
)
def test_caches_environments_and_what_editors_leave_are_ignored_until_a_line_says_otherwise(
    tmp_path: Path, path: str
) -> None:
    assert not judge(tmp_path).ignored(path, True)
    assert judge(tmp_path, builtin=BUILT_IN).ignored(path, True)
    plant(tmp_path, {".gitignore": "\n".join(f"!{line}" for line in BUILT_IN)})
    assert not judge(tmp_path, builtin=BUILT_IN).ignored(path, True)


@pytest.mark.parametrize(
    "path", ["target", "build", "dist", "env", ".vscode", ".coveragerc", ".env", ".gitignore", "a.sw"]
)
def test_names_that_may_be_sources_are_watched(tmp_path: Path, path: str) -> None:
    assert not judge(tmp_path, builtin=BUILT_IN).ignored(path, True)


# --- where the root is ------------------------------------------------------------------------------------------------


def test_outside_of_git_ignore_files_in_the_tree_count(tmp_path: Path) -> None:
    assert with_lines(tmp_path, "*.log").ignored("a.log", False)


def test_folders_above_the_root_count_up_to_the_top_of_the_work_tree_only(tmp_path: Path) -> None:
    plant(tmp_path, {".gitignore": "*.above", "top/.gitignore": "/app/x\n*.top", "top/app/.ignore": "*.app"})
    plant_repository(tmp_path / "top")
    root = plant(tmp_path / "top/app/src", {"x": ""})
    ignore = judge(root)
    assert [ignore.ignored(path, False) for path in ("a.above", "a.top", "a.app", "x")] == [False, True, True, False]
    assert ignore.explain("a.top", False).rule == Rule("../../.gitignore", 2, "*.top")


def test_a_root_that_git_ignores_is_a_tree_of_its_own(tmp_path: Path) -> None:
    plant_repository(plant(tmp_path, {".gitignore": "*", ".git/info/exclude": "*.py", "everywhere": "*.log"}))
    root = plant(tmp_path / "projects/app", {".gitignore": "*.own"})
    ignore = judge(root, everywhere=tmp_path / "everywhere")
    assert [ignore.ignored(path, False) for path in ("a.py", "src/a.py", "a.own", "a.log")] == [
        False,
        False,
        True,
        True,
    ]


def test_a_root_reached_through_a_symbolic_link_obeys_the_rules_around_the_real_one(tmp_path: Path) -> None:
    plant_repository(plant(tmp_path / "top", {".gitignore": "/app/*.log", "app/": ""}))
    (tmp_path / "link").symlink_to("top/app")
    assert judge(tmp_path / "link").ignored("a.log", False)


def test_a_folder_that_is_only_named_dot_git_is_no_repository(tmp_path: Path) -> None:
    plant_repository(plant(tmp_path, {".gitignore": "*.log", "app/.git/": ""}))
    assert judge(tmp_path / "app").ignored("a.log", False)


# --- ignore files that cannot be read ---------------------------------------------------------------------------------


@contextmanager
def without_permission(file: Path) -> Iterator[None]:
    """Also for root, who may read everything: for a moment it is somebody else."""
    file.chmod(0)
    am = os.geteuid()
    os.seteuid(65534 if am == 0 else am)
    try:
        yield
    finally:
        os.seteuid(am)


def test_an_unreadable_ignore_file_counts_as_absent(tmp_path: Path) -> None:
    plant(tmp_path, {".gitignore": "a"})
    assert judge(tmp_path).ignored("a", False)
    with without_permission(tmp_path / ".gitignore"):
        assert not judge(tmp_path).ignored("a", False)


def test_a_folder_a_pipe_or_a_link_named_as_an_ignore_file_counts_as_absent(tmp_path: Path) -> None:
    plant(tmp_path, {".gitignore/": "", ".ignore": "*.log", "sub/": "", "linked/": "", "rules": "*.py"})
    os.mkfifo(tmp_path / "sub/.gitignore")
    (tmp_path / "linked/.gitignore").symlink_to("../rules")
    ignore = judge(tmp_path)
    assert [ignore.ignored(path, False) for path in ("a", "a.log", "sub/a", "linked/a.py")] == [
        False,
        True,
        False,
        False,
    ]


# --- answers ----------------------------------------------------------------------------------------------------------


def test_a_verdict_names_the_rule_and_the_folder_that_it_matched(tmp_path: Path) -> None:
    plant(tmp_path, {".gitignore": "\n# outputs\nout/  \n", "sub/.ignore": "!*.log"})
    ignore = judge(tmp_path, extra=["*.log", "!keep.log"], never=["t"], builtin=BUILT_IN)
    assert ignore.explain("out/a/b", False) == Verdict(True, Rule(".gitignore", 3, "out/"), "out")
    assert ignore.explain("keep.log", False) == Verdict(False, Rule("[watch] ignore", 2, "!keep.log"), "keep.log")
    assert ignore.explain("sub/a.log", False) == Verdict(True, Rule("[watch] ignore", 1, "*.log"), "sub/a.log")
    assert ignore.explain("a.pyc", False) == Verdict(True, Rule("built in", 0, "*.py[co]"), "a.pyc")
    assert ignore.explain("t", False) == Verdict(True, Rule("trigger", 0, "/t"), "t")
    assert ignore.explain("out", False) == Verdict(False, None, "out")


def test_the_root_is_not_ignored_whatever_is_said(tmp_path: Path) -> None:
    ignore = with_lines(tmp_path, "*", "**", "/")
    assert not ignore.ignored("", True)
    assert ignore.explain("", True) == Verdict(False, None, "")


def test_a_folder_judges_its_entries_as_the_whole_does(tmp_path: Path) -> None:
    plant(tmp_path, {".gitignore": "/sub/*.log\nout/", "sub/.ignore": "!keep.log"})
    ignore = judge(tmp_path)
    sub = ignore.folder("sub")
    assert [sub.ignores(name, False) for name in ("a.log", "keep.log", "out")] == [True, False, False]
    assert sub.ignores("out", True)
    assert not ignore.folder("").ignores("a.log", False)
    assert ignore.folder("out").ignores("anything", False)
    assert ignore.folder("out/deeper").ignores("anything", False)


def test_folders_without_ignore_files_of_their_own_share_their_rules(tmp_path: Path) -> None:
    ignore = with_lines(plant(tmp_path, {"c/.gitignore": "x"}), "*.log", "/a/x")
    assert ignore.folder("b")._files is ignore.folder("b/deep")._files
    assert ignore.folder("b")._files is not ignore.folder("a")._files
    assert ignore.folder("b")._files is not ignore.folder("c")._files


# --- changes ----------------------------------------------------------------------------------------------------------


def test_a_changed_ignore_file_counts_after_a_reload_of_its_folder_and_below_it(tmp_path: Path) -> None:
    plant(tmp_path, {"sub/.gitignore": "a", "other/.gitignore": "a"})
    ignore = judge(tmp_path)
    assert ignore.ignored("sub/deep/a", False)
    assert ignore.ignored("other/a", False)
    plant(tmp_path, {"sub/.gitignore": "b", "other/.gitignore": "b"})
    assert ignore.ignored("sub/deep/a", False)
    ignore.reload("sub")
    assert not ignore.ignored("sub/deep/a", False)
    assert ignore.ignored("sub/deep/b", False)
    assert ignore.ignored("other/a", False)


def test_a_reload_of_folders_that_vanished_reads_nothing(tmp_path: Path) -> None:
    ignore = judge(plant(tmp_path, {"sub/deep/": ""}))
    assert not ignore.ignored("sub/deep/a", False)
    ignore.reload("sub")
    ignore.reload("sub/deep")
    plant(tmp_path, {"sub/.gitignore": "a"})
    assert ignore.ignored("sub/deep/a", False)


def test_a_reload_of_the_root_rereads_the_files_outside_of_it(tmp_path: Path) -> None:
    root = plant_repository(plant(tmp_path, {"app/": "", ".git/info/": ""})) / "app"
    ignore = judge(root, everywhere=tmp_path / "everywhere")
    assert not any(ignore.ignored(name, False) for name in "abcd")
    outside = (".gitignore", ".ignore", ".git/info/exclude", "everywhere")
    assert ignore.files == tuple(str(tmp_path / path) for path in outside)
    plant(tmp_path, dict(zip(outside, "abcd", strict=True)))
    ignore.reload("")
    assert all(ignore.ignored(name, False) for name in "abcd")


def test_a_reload_while_another_thread_reads_the_folder_leaves_nothing_stale(tmp_path: Path) -> None:
    class Interrupted(Ignore):
        """As if the file changed, and the watching thread heard of it, just after this one had read it."""

        def _read(self, path: str, base: str) -> tuple[object, ...]:  # type: ignore[override]
            found = super()._read(path, base)
            if path == "sub" and not (tmp_path / "sub/.gitignore").exists():
                plant(tmp_path, {"sub/.gitignore": "a"})
                self.reload("sub")
            return found

    ignore = Interrupted(str(tmp_path), excludes=lambda _: None)
    assert not ignore.ignored("sub/a", False)
    assert ignore.ignored("sub/a", False)


# --- git's global excludes file ---------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("XDG_CONFIG_HOME", "GIT_CONFIG_GLOBAL", "GIT_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    return tmp_path


@pytest.mark.parametrize(
    "setting, expected",
    [
        ("~/my ignores", "my ignores"),
        ("/etc/ignores", "/etc/ignores"),
        ("rel", "rel"),
        ("", None),
        (None, ".config/git/ignore"),
    ],
)
def test_the_global_excludes_file_is_the_configured_one(home: Path, setting: str | None, expected: str | None) -> None:
    if setting is not None:
        plant(home, {".gitconfig": f'[core]\n\texcludesFile = "{setting}"\n'})
    assert global_excludes(str(home)) == (None if expected is None else str(home / expected))


def test_a_repository_may_have_a_global_excludes_file_of_its_own(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("mine", "other"):
        plant_repository(home / name)
        plant(home / name, {".git/config": f"[core]\n\texcludesFile = /{name}\n"})
    monkeypatch.setenv("GIT_DIR", str(home / "other/.git"))
    assert global_excludes(str(home / "mine")) == "/mine"


def test_without_git_the_default_place_counts(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(home, {".gitconfig": "[core]\n\texcludesFile = /elsewhere\n"})
    monkeypatch.setenv("PATH", str(home / "empty"))
    assert shutil.which("git") is None
    assert global_excludes(str(home)) == str(home / ".config/git/ignore")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "settings"))
    assert global_excludes(str(home)) == str(home / "settings/git/ignore")
    plant(home, {"settings/git/ignore": "*.log"})
    assert Ignore(str(home)).ignored("a.log", False)

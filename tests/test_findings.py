"""Findings in what the tools really wrote (tests/findings/), in ordinary logs, and in hostile lines.

A row of a table is a finding: severity, place, the rule in brackets, message. One table a tool; fixtures that say the
same in different formats share an entry.
"""

# ruff: noqa: E501  the tools write long lines

import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from hotpipe.events import Stream
from hotpipe.gate.findings import MOST, Finder, Finding

SAMPLES = Path(__file__).parent / "findings"
FOLDERS = {"eslint": "js", "tsc": "js", "go": "gom", "cargo": "rs", "clippy": "rs"}  # where the tools were run

CARGO = {
    "cargo-colour cargo": [
        "error rs/src/main.rs:8:20 [E0425] cannot find value `undefined_name` in this scope",
        "error rs/src/main.rs:7:18 [E0308] mismatched types",
        "warning rs/src/main.rs:2:9 unused variable: `unused`",
    ],
    "cargo-short": [
        "error rs/src/main.rs:8:20 [E0425] cannot find value `undefined_name` in this scope: not found in this scope",
        "error rs/src/main.rs:7:18 [E0308] mismatched types: expected `i32`, found `&str`",
        "warning rs/src/main.rs:2:9 unused variable: `unused`: help: if this is intentional, prefix it with an underscore: `_unused`",
    ],
    "cargo-test": [
        "warning rs/src/main.rs:2:9 unused variable: `unused`",
        "error rs/src/main.rs:14:9 tests::adds: assertion `left == right` failed: sums",
        "error rs/src/main.rs:19:11 tests::unwraps: called `Option::unwrap()` on a `None` value",
    ],
    "clippy": [
        "warning rs/src/main.rs:2:9 unused variable: `unused`",
        "warning rs/src/main.rs:3:5 unneeded `return` statement",
        "warning rs/src/main.rs:1:14 writing `&Vec` instead of `&[_]` involves a new object where a slice will do",
    ],
}
ESLINT = {
    "eslint-colour": [
        "error js/a.js:1:5 [no-unused-vars] 'unused' is assigned a value but never used",
        "error js/a.js:2:5 [no-undef] 'x' is not defined",
        "warning js/a.js:2:7 [eqeqeq] Expected '===' and instead saw '=='",
        "error js/a.js:2:15 [no-undef] 'foo' is not defined",
        "warning js/a.js:2:20 [semi] Missing semicolon",
        "error js/a.js:3:1 [no-debugger] Unexpected 'debugger' statement",
        "warning js/a.js:3:9 [semi] Missing semicolon",
    ],
    "eslint-compact": [
        "error js/a.js:1:5 [no-unused-vars] 'unused' is assigned a value but never used.",
        "error js/a.js:2:5 [no-undef] 'x' is not defined.",
        "warning js/a.js:2:7 [eqeqeq] Expected '===' and instead saw '=='.",
        "error js/a.js:2:15 [no-undef] 'foo' is not defined.",
        "warning js/a.js:2:20 [semi] Missing semicolon.",
        "error js/a.js:3:1 [no-debugger] Unexpected 'debugger' statement.",
        "warning js/a.js:3:9 [semi] Missing semicolon.",
    ],
    "eslint-stylish": [
        "error js/a.js:1:5 [no-unused-vars] 'unused' is assigned a value but never used",
        "error js/a.js:2:5 [no-undef] 'x' is not defined",
        "warning js/a.js:2:7 [eqeqeq] Expected '===' and instead saw '=='",
        "error js/a.js:2:15 [no-undef] 'foo' is not defined",
        "warning js/a.js:2:20 [semi] Missing semicolon",
        "error js/a.js:3:1 [no-debugger] Unexpected 'debugger' statement",
        "warning js/a.js:3:9 [semi] Missing semicolon",
        "error js/c.js:1:8 Parsing error: Unexpected token ;",
    ],
    "eslint-unix": [
        "error js/a.js:1:5 [no-unused-vars] 'unused' is assigned a value but never used.",
        "error js/a.js:2:5 [no-undef] 'x' is not defined.",
        "warning js/a.js:2:7 [eqeqeq] Expected '===' and instead saw '=='.",
        "error js/a.js:2:15 [no-undef] 'foo' is not defined.",
        "warning js/a.js:2:20 [semi] Missing semicolon.",
        "error js/a.js:3:1 [no-debugger] Unexpected 'debugger' statement.",
        "warning js/a.js:3:9 [semi] Missing semicolon.",
        "error js/c.js:1:8 Parsing error: Unexpected token ;",
    ],
}
PLAIN = {
    "flake8": [
        "error app.py:1:1 [F401] 'os' imported but unused",
        "error app.py:2:1 [F401] 'sys' imported but unused",
        "error app.py:6:23 [F821] undefined name 'nam'",
        "error app.py:10:5 [F841] local variable 'result' is assigned to but never used",
        "error app.py:12:9 [F821] undefined name 'reveal_type'",
        "error app.py:16:1 [E731] do not assign a lambda expression, use a def",
        "error broken.py:1:8 [E999] SyntaxError: invalid syntax",
    ],
    "gcc": [
        "error m.c:2:30 ‘b’ undeclared (first use in this function)",
        "note m.c:2:30 each undeclared identifier is reported only once for each function it appears in",
        "warning m.c:2:20 [-Wunused-variable] unused variable ‘u’",
        "warning m.c:3:23 [-Wformat=] format ‘%s’ expects argument of type ‘char *’, but argument 2 has type ‘int’",
        "warning m.c:3:40 [-Wimplicit-function-declaration] implicit declaration of function ‘g’",
        "warning m.c:2:33 [-Wreturn-type] control reaches end of non-void function",
    ],
}
GO = {
    "go-build": [
        'error gom/sub/b.go:3:8 "os" imported and not used',
        "error gom/sub/b.go:6:6 declared and not used: x",
        'error gom/sub/b.go:6:14 cannot use "s" (untyped string constant) as int value in variable declaration',
        "error gom/sub/b.go:7:2 undefined: undefinedThing",
        "error gom/sub/b.go:8:9 undefined: y",
    ],
    "go-test-v": [
        "error gom/a_test.go:7 TestAdd: add(1, 1) = 2, want 3",
        "error gom/a_test.go:13 TestSub/inner_case: multi",
    ],
    "go-test": [
        "error gom/a_test.go:7 TestAdd: add(1, 1) = 2, want 3",
        "error gom/a_test.go:13 TestSub/inner_case: multi",
        "error gom/a_test.go:19 panic: assignment to entry in nil map [recovered, repanicked]",
    ],
    "go-vet": [
        'error gom/a.go:10:14 fmt.Printf format %d has arg "x" of wrong type string',
    ],
}
MYPY = {
    "mypy-end mypy-pretty": [
        'error app.py:6:5 [no-any-return] Returning Any from function declared to return "str"',
        'error app.py:6:23 [name-defined] Name "nam" is not defined; did you mean "name"?',
        'error app.py:10:19 [assignment] Incompatible types in assignment (expression has type "str", variable has type "int")',
        'note app.py:12:21 Revealed type is "int"',
        'error app.py:13:16 [operator] Unsupported operand types for + ("int" and "str")',
    ],
    "mypy-syntax": [
        "error broken.py:1 [syntax] Expected a parameter or the end of the parameter list",
        "error broken.py:1 [syntax] Expected `)`, found newline",
    ],
    "mypy": [
        'error app.py:6 [no-any-return] Returning Any from function declared to return "str"',
        'error app.py:6 [name-defined] Name "nam" is not defined; did you mean "name"?',
        'error app.py:10 [assignment] Incompatible types in assignment (expression has type "str", variable has type "int")',
        'note app.py:12 Revealed type is "int"',
        'error app.py:13 [operator] Unsupported operand types for + ("int" and "str")',
    ],
}
PYRIGHT = {
    "pyright": [
        'error app.py:6:23 [reportUndefinedVariable] "nam" is not defined',
        'error app.py:10:19 [reportAssignmentType] Type "Literal[\'x\']" is not assignable to declared type "int"',
        'note app.py:12:21 Type of "i" is "int"',
        'error app.py:13:12 [reportOperatorIssue] Operator "+" not supported for types "int" and "Literal[\'b\']"',
        'error broken.py:1:6 "(" was not closed',
        "error broken.py:1:7 Expected parameter name",
        "error broken.py:1:7 Position-only parameter separator not allowed as first parameter",
        "error broken.py:2:5 Expected expression",
        'error broken.py:3:1 Expected ":"',
        "error broken.py:3:1 Expected expression",
        "error broken.py:3:1 Statements must be separated by newlines or semicolons",
    ],
}
PYTEST = {
    "pytest-chain": [
        "error tests/test_chain.py:9 test_chain: KeyError: 'outer'",
        "error tests/test_chain.py:13 test_inside_a_library: json.decoder.JSONDecodeError: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
        "error tests/test_chain.py:19 test_warns_and_says: assert False",
        "warning tests/test_chain.py:17 [DeprecationWarning] old way",
    ],
    "pytest-coll": [
        "error coll/test_coll.py:1 coll/test_coll.py: ModuleNotFoundError: No module named 'nothing_there'",
        "error coll/test_syn.py:1 coll/test_syn.py: SyntaxError: invalid syntax",
    ],
    "pytest-colour pytest-short pytest": [
        "error tests/test_app.py:16 test_bad: RuntimeError: no fixture",
        "error tests/test_app.py:7 test_adds: AssertionError: sums: 3:4",
        "error tests/deep.py:6 test_deep: KeyError: 'key'",
        "error tests/test_app.py:25 test_param[a b]: AssertionError: assert 'a b' == 1",
        "error tests/test_app.py:25 test_param[c - d]: AssertionError: assert 'c - d' == 1",
        "error tests/test_app.py:29 test_multi: ValueError: first",
        "error tests/test_app.py:34 TestIt.test_eq: AssertionError: {'a': 1} != {'a': 2}",
        "error tests/deep.py:6 TestIt.test_err: KeyError: 'key'",
    ],
    "pytest-line": [
        "error tests/test_app.py:7 AssertionError: sums: 3:4",
        "error tests/deep.py:6 KeyError: 'key'",
        "error tests/test_app.py:25 AssertionError: assert 'a b' == 1",
        "error tests/test_app.py:25 AssertionError: assert 'c - d' == 1",
        "error tests/test_app.py:29 ValueError: first",
        "error tests/test_app.py TestIt.test_eq: AssertionError: {'a': 1} != {'a': 2}",
        "error tests/test_app.py test_bad: RuntimeError: no fixture",
    ],
    "pytest-native": [
        "error tests/deep.py:6 test_deep: KeyError: 'key'",
    ],
    "pytest-x": [
        "error tests/test_app.py:7 test_adds: AssertionError: sums: 3:4",
    ],
}
PYTHON = {
    "python-syntax": [
        "error broken.py:1 SyntaxError: invalid syntax",
    ],
    "python": [
        "error boom.py:5 json.decoder.JSONDecodeError: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
    ],
}
RUFF = {
    "ruff-colour": [
        "error app.py:1:8 [F401] `os` imported but unused",
        "error app.py:2:8 [F401] `sys` imported but unused",
        "error app.py:6:23 [F821] Undefined name `nam`",
        "error app.py:10:5 [F841] Local variable `result` is assigned to but never used",
        "error app.py:12:9 [F821] Undefined name `reveal_type`",
        "error app.py:16:1 [E731] Do not assign a `lambda` expression, use a `def`",
    ],
    "ruff-concise ruff-full ruff-grouped": [
        "error app.py:1:8 [F401] `os` imported but unused",
        "error app.py:2:8 [F401] `sys` imported but unused",
        "error app.py:6:23 [F821] Undefined name `nam`",
        "error app.py:10:5 [F841] Local variable `result` is assigned to but never used",
        "error app.py:12:9 [F821] Undefined name `reveal_type`",
        "error app.py:16:1 [E731] Do not assign a `lambda` expression, use a `def`",
        "error broken.py:1:7 [invalid-syntax] Expected a parameter or the end of the parameter list",
        "error broken.py:1:8 [invalid-syntax] Expected `)`, found newline",
    ],
}
TSC = {
    "tsc-pretty tsc": [
        "error js/a.ts:1:7 [TS2322] Type 'string' is not assignable to type 'number'.",
        "error js/a.ts:3:10 [TS2362] The left-hand side of an arithmetic operation must be of type 'any', 'number', 'bigint' or an enum type.",
        "error js/a.ts:3:14 [TS2363] The right-hand side of an arithmetic operation must be of type 'any', 'number', 'bigint' or an enum type.",
        "error js/a.ts:6:16 [TS2353] Object literal may only specify known properties, and 'y' does not exist in type 'A'.",
        "error js/a.ts:7:1 [TS2554] Expected 2 arguments, but got 1.",
    ],
}
UNITTEST = {
    "unittest": [
        "error tests/deep.py:6 test_err: KeyError: 'key'",
        "error tests/test_app.py:34 test_eq: AssertionError: {'a': 1} != {'a': 2}",
    ],
}

TABLES = {
    "cargo": CARGO,
    "eslint": ESLINT,
    "go": GO,
    "mypy": MYPY,
    "plain": PLAIN,
    "pyright": PYRIGHT,
    "pytest": PYTEST,
    "python": PYTHON,
    "ruff": RUFF,
    "tsc": TSC,
    "unittest": UNITTEST,
}
ROWS = [
    pytest.param(tool, sample, rows, id=sample)
    for tool, table in TABLES.items()
    for samples, rows in table.items()
    for sample in samples.split()
]


def found(lines: Iterable[str], cwd: str = ".", stream: Stream = "stdout", root: str = "/project") -> list[Finding]:
    """All that is found in a stage's output."""
    finder = Finder(root, cwd)
    during = [finding for line in lines for finding in finder.add(stream, line)]
    return during + finder.end()


def row(finding: Finding) -> str:
    """A finding as the tables write it."""
    where = [finding.path or "-", finding.line, finding.column]
    place = ":".join(str(part) for part in where if part is not None)
    code = f"[{finding.code}]" if finding.code else ""
    return " ".join(filter(None, (finding.severity, place, code, finding.message)))


def rows(*lines: str, cwd: str = ".") -> list[str]:
    return [row(finding) for finding in found(lines, cwd)]


def sample(name: str) -> list[str]:
    return (SAMPLES / f"{name}.txt").read_text().splitlines()


class TestTools:
    @pytest.mark.parametrize("tool, name, expected", ROWS)
    def test_what_it_wrote(self, tool: str, name: str, expected: list[str]) -> None:
        told = found(sample(name), FOLDERS.get(name.partition("-")[0], "."))
        assert [row(finding) for finding in told] == expected
        assert {finding.tool for finding in told} == {tool}

    def test_every_sample_is_in_a_table(self) -> None:
        assert {path.stem for path in SAMPLES.iterdir()} == {name for _, name, _ in (p.values for p in ROWS)}

    @pytest.mark.parametrize("name", sorted(path.stem for path in SAMPLES.iterdir()))
    def test_one_after_the_other_in_the_same_stage(self, name: str) -> None:
        """`a; b` in one shell line: the report of a test runner ends, and what comes below it is read as before."""
        first = found(sample("pytest"))
        both = found([*sample("pytest"), *sample(name)])
        assert [row(finding) for finding in both[: len(first)]] == [row(finding) for finding in first]
        if name in {"ruff-full", "mypy", "gcc", "tsc", "eslint-stylish", "cargo"}:
            assert both[len(first) :] == found(sample(name))

    def test_mypy_s_note_ends_with_its_line_unless_that_was_full(self) -> None:
        assert rows("a.py:1: note: short", "All is well") == ["note a.py:1 short"]

    def test_the_streams_are_read_apart(self) -> None:
        finder = Finder("/project", ".")
        assert finder.add("stderr", "error[E0308]: mismatched types") == []
        assert finder.add("stdout", " --> src/main.rs:8:20") == []
        assert [f.message for f in finder.add("stderr", " --> src/main.rs:8:20")] == ["mismatched types"]

    def test_a_test_that_was_cut_short_is_told_at_the_end(self) -> None:
        cut = sample("pytest")[: sample("pytest").index("tests/test_app.py:7: AssertionError") + 1]
        assert [row(f) for f in found(cut)][-1] == "error tests/test_app.py:7 test_adds: AssertionError: sums: 3:4"

    def test_without_reports_pytest_s_summary_names_the_files(self) -> None:
        summary = sample("pytest")[sample("pytest").index(f"{'=' * 27} short test summary info {'=' * 28}") :]
        assert [row(f) for f in found(summary)][2:4] == [
            "error tests/test_app.py test_param[a b]: AssertionError: assert 'a b' == 1",
            "error tests/test_app.py test_param[c - d]: AssertionError: assert 'c - d' ...",
        ]

    def test_what_a_passing_go_test_logs_is_none(self) -> None:
        logged = [
            "=== RUN   TestFine",
            "    a_test.go:3: by the way",
            "--- PASS: TestFine (0.00s)",
            "PASS",
            "ok  \tx\t1s",
        ]
        assert rows(*logged) == []

    def test_an_exception_that_the_program_lived_with_is_none(self) -> None:
        assert rows(*sample("python"), *["working on"] * 20) == []
        assert rows(*sample("python"), "app.py:1:1: error: other") == ["error app.py:1:1 other"]


class TestPlain:
    @pytest.mark.parametrize(
        "line, expected",
        [
            ("a.c:3:5: fatal error: x.h: No such file", "error a.c:3:5 x.h: No such file"),
            ("./a.c:3: undefined reference to `f'", "error a.c:3 undefined reference to `f'"),
            ("my dir/a.c:3:5: warning: odd", "warning my dir/a.c:3:5 odd"),
            ("Makefile:3: *** missing separator.  Stop.", "error Makefile:3 *** missing separator.  Stop."),
            ("a.sh:2:6: note: Double quote [SC2086]", "note a.sh:2:6 [SC2086] Double quote"),
            ("a.py:1:0: C0114: Missing docstring (m-d)", "error a.py:1 [C0114] Missing docstring (m-d)"),
            ("a.py:9: UserWarning: old", "warning a.py:9 [UserWarning] old"),
            ("a.py:9:1: error[invalid-type] no such", "error a.py:9:1 [invalid-type] no such"),
            ("../other/a.c:3:5: error: x", "error ../other/a.c:3:5 x"),
            ("/usr/include/a.h:3:5: error: x", "error /usr/include/a.h:3:5 x"),
            ("/project/src/a.h:3:5: error: x", "error src/a.h:3:5 x"),
            ("/projects/src/a.h:3:5: error: x", "error /projects/src/a.h:3:5 x"),
            (r"C:\src\a.c:3:5: error: x", r"error C:\src\a.c:3:5 x"),
            ("app/(auth)/page.tsx(3,5): error TS1: x", "error app/(auth)/page.tsx:3:5 [TS1] x"),
            ("a.c:3:5: error: a - b", "error a.c:3:5 a - b"),
        ],
    )
    def test_file_line_message(self, line: str, expected: str) -> None:
        assert rows(line) == [expected]

    def test_paths_are_told_from_the_root(self) -> None:
        assert rows("./src/a.c:3:5: error: x", "../b.c:1:1: error: y", cwd="sub/dir") == [
            "error sub/dir/src/a.c:3:5 x",
            "error sub/b.c:1:1 y",
        ]

    def test_colours_and_links_are_no_part_of_it(self) -> None:
        link = "\x1b]8;;file:///project/a.c\x1b\\\x1b[1ma.c\x1b[0m\x1b]8;;\x1b\\"
        assert rows(f"{link}\x1b[K:3:5: \x1b[01;31merror: \x1b[mx") == ["error a.c:3:5 x"]

    @pytest.mark.parametrize(
        "sequence", ["\x1b]52;c;" + "A" * 900 + "\x07", "\x1bPq\x1b\\", "\x1b[>0q", "\x9b31m", "\x07", "\x00"]
    )
    def test_nor_is_anything_else_that_a_terminal_would_obey(self, sequence: str) -> None:
        assert rows(f"{sequence}a.c:3:5: error: x{sequence} y") == ["error a.c:3:5 x y"]

    def test_the_same_twice_is_one(self) -> None:
        assert rows("a.c:3:5: error: x", "a.c:3:5: error: x", "a.c:4:5: error: x") == [
            "error a.c:3:5 x",
            "error a.c:4:5 x",
        ]

    def test_output_of_a_passing_test_is_none(self) -> None:
        assert not any("only said" in text for text in rows(*sample("pytest-chain")))


LOGS = """
12:30:45: started
http://host:8000: x
https://example.com:443: refused
localhost:8000: x
example.com:443: connection refused
127.0.0.1:8000: x
[::1]:8000: up
INFO:root:12: hello
2024-01-02T12:30:45.123: x
2024-01-02 12:30:45 INFO server.py:12: listening
[12:30:45.12] a.py:3: x
INFO:     Uvicorn running on http://127.0.0.1:8000 (Press CTRL+C to quit)
tests/deep.py:2: in outer
foo.py:12:    as grep writes it
step 3:4: done
v1.2.3:4: x
user@host.name:22: x
make: *** [Makefile:3: all] Error 1
    at foo (/a/b.js:3:5)
  12:30  something
  10:20 error in the night
ERROR config.py - failed
ERROR: test_x (at all)
FAILED (failures=1)
=== FAILURES
nginx: [emerg] 12: x
tcp://db.local:5432: timeout
Progress: 3:5: ok
Time: 0:12:33: done
key.name = "x":3: y
GET /a.js:3: x HTTP
warning: 3 vulnerabilities
error: could not compile
"""


class TestLogs:
    @pytest.mark.parametrize("line", LOGS.strip("\n").splitlines())
    def test_a_line_that_names_no_place_is_none(self, line: str) -> None:
        assert rows("", line) == []

    def test_nor_are_all_of_them_together(self) -> None:
        assert rows(*LOGS.splitlines()) == []


WIDE = 65_536
HOSTILE = [
    (part * WIDE)[:WIDE]
    for part in (
        "a", ":", "a:1", "a.py:1:1:", "(", "(1,1): ", "\x1b[", "\x1b[0m", "\x1b]", " ", "_", "_ ", "E ", "FAILED a::",
        " - ", "--> ", ' File "', "thread '", "--- FAIL: ", "\t", "warning: ", "ERROR: x (", "0", ".", "a.", "a-", "=",
        "=== RUN ", "é", "\udcff", "\0", "[x", "/",
    )
]  # fmt: skip
HOSTILE += [
    f"a.py:1: error: {' [' * WIDE}",
    f'  File "{"a" * WIDE}',
    f"== {'a ' * WIDE}==",
    f"FAILED x.py{' - ' * WIDE}",
]
OPENINGS: dict[str, list[str]] = {
    "nothing": [],
    "a failure of pytest": ["== FAILURES ==", "__ t __"],
    "its summary": ["== short test summary info =="],
    "its warnings": ["== warnings summary =="],
    "go's": ["--- FAIL: T"],
    "a panic": ["panic: x"],
    "cargo's": ["thread 'a' panicked at a.rs:1:1:"],
    "mypy's": [f"a.py:1: error: {'x' * 70}"],
    "unittest's": ["=" * 70, "FAIL: a (b)", '  File "a.py", line 1'],
}


class TestBounds:
    @pytest.mark.parametrize("opening", OPENINGS)
    def test_no_line_takes_long(self, opening: str) -> None:
        slowest = 0.0
        for line in HOSTILE:
            finder = Finder("/project", ".")
            for before in OPENINGS[opening]:
                finder.add("stdout", before)
            began = time.perf_counter()
            finder.add("stdout", line)
            finder.add("stdout", line)
            finder.end()
            slowest = max(slowest, time.perf_counter() - began)
        assert slowest < 1.0  # 1 ms; what goes back and forth over 65,536 characters takes minutes

    def test_of_very_many_the_first_are_told(self) -> None:
        told = found(f"a.c:{number}:1: error: x" for number in range(1, 3 * MOST))
        assert [finding.line for finding in told] == list(range(1, MOST + 1))

    def test_what_stands_far_to_the_right_is_not_looked_at(self) -> None:
        assert found([f"{'x' * 3_000}.ts(1,1): error TS1: x"]) == []

    def test_a_very_long_message_is_cut(self) -> None:
        [finding] = found([f"a.c:1:1: error: {'x' * WIDE}"])
        assert len(finding.message) == 500

    def test_reports_that_never_end_hold_little(self) -> None:
        finder = Finder("/project", ".")
        for number in range(5_000):
            finder.add("stdout", f"=== RUN   Test{number % 3}")
            finder.add("stdout", f"    a_test.go:{number}: x")
        ended = [len(finder.add("stdout", f"--- FAIL: Test{number} (1s)")) for number in range(3)]
        assert sum(ended) == MOST

    def test_and_have_room_again_for_the_next_one(self) -> None:
        finder = Finder("/project", ".")
        for end in ("--- PASS: TestX (1s)", "ok  \tx\t1s"):
            finder.add("stdout", "=== RUN   TestX")
            for number in range(2 * MOST):
                finder.add("stdout", f"    a_test.go:{number}: x")
            finder.add("stdout", end)
        last = ["=== RUN   TestY", "    a_test.go:3: x", "--- FAIL: TestY (1s)"]
        assert [row(f) for line in last for f in finder.add("stdout", line)] == ["error a_test.go:3 TestY: x"]

    def test_a_place_in_the_project_is_preferred_to_one_in_a_library(self) -> None:
        report = [
            "== FAILURES ==",
            "__ test_x __",
            "tests/test_x.py:3: ",
            ".venv/lib/python3.11/site-packages/lib.py:7: KeyError",
            "E   KeyError: 1",
            "1 failed in 0.1s",
        ]
        assert rows(*report) == ["error tests/test_x.py:3 test_x: KeyError: 1"]

"""The configuration is found where one expects it, and says all that is wrong with it, each at its line, in one go."""

import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from hotpipe.config import file, model
from hotpipe.config import schema as published
from hotpipe.config.model import Config, Duration, Fault, Listen, Ready, Server, Size, parse
from hotpipe.errors import ConfigError, UsageError

FORMS = '"auto", "notify", { http = "/healthz" }, { log = "regex" } or { after = "2s" }'
TYPES = "http, https, tcp, udp, unix"
STAGE = '[stage.test]\nrun = "true"\n'


def plant(root: Path, files: Mapping[str, str]) -> Path:
    for path, text in files.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text.encode())
    return root


def problems(root: Path, text: str, name: str = "hotpipe.toml") -> list[str]:
    """What a user reads about a configuration file of that text."""
    plant(root, {name: text})
    with pytest.raises(ConfigError) as raised:
        file.load(None, str(root))
    return [str(problem) for problem in raised.value.problems]


def faults(tables: Mapping[str, Any]) -> list[str]:
    """The same without lines, of tables that need no file."""
    found = parse(tables)
    assert not isinstance(found, Config)
    return [f"{'.'.join(fault.at)}: {fault.message}" for fault in found]


def config(tables: Mapping[str, Any]) -> Config:
    found = parse(tables)
    assert isinstance(found, Config), found
    return found


def serving(**keys: Any) -> dict[str, Any]:
    return {"server": {"web": {"run": "serve", **keys}}}


class TestFinding:
    def test_the_nearest_folder_upward_wins(self, tmp_path: Path) -> None:
        plant(tmp_path, {"hotpipe.toml": STAGE, "in/hotpipe.toml": STAGE, "in/deep/er/x": ""})
        assert file.find(str(tmp_path / "in/deep/er")) == str(tmp_path / "in/hotpipe.toml")

    def test_its_folder_is_the_root_of_all_paths(self, tmp_path: Path) -> None:
        plant(tmp_path, {"hotpipe.toml": STAGE, "in/x": ""})
        project = file.load(None, str(tmp_path / "in"))
        assert (project.root, project.path("src/../app")) == (str(tmp_path), str(tmp_path / "app"))

    def test_a_table_in_pyproject_is_a_configuration(self, tmp_path: Path) -> None:
        plant(tmp_path, {"pyproject.toml": '[project]\nname = "x"\n[tool.hotpipe.stage.test]\nrun = "pytest"\n'})
        assert file.load(None, str(tmp_path)).config.stage["test"].run == "pytest"

    @pytest.mark.parametrize("text", ['[project]\nname = "x"\n', "tool = 3\n", "this is no TOML", "[tool.ruff]\n"])
    def test_a_pyproject_without_the_table_is_passed_over(self, tmp_path: Path, text: str) -> None:
        plant(tmp_path, {"hotpipe.toml": STAGE, "in/pyproject.toml": text})
        assert file.find(str(tmp_path / "in")) == str(tmp_path / "hotpipe.toml")

    def test_a_pyproject_that_is_not_utf8_is_passed_over(self, tmp_path: Path) -> None:
        plant(tmp_path, {"hotpipe.toml": STAGE, "in/x": ""})
        (tmp_path / "in/pyproject.toml").write_bytes(b"\xff\xfe")
        assert file.find(str(tmp_path / "in")) == str(tmp_path / "hotpipe.toml")

    def test_hotpipe_toml_beats_pyproject_beside_it(self, tmp_path: Path) -> None:
        plant(tmp_path, {"hotpipe.toml": STAGE, "pyproject.toml": '[tool.hotpipe.stage.other]\nrun = "x"\n'})
        assert list(file.load(None, str(tmp_path)).config.stage) == ["test"]

    def test_a_nearer_pyproject_beats_hotpipe_toml_above(self, tmp_path: Path) -> None:
        plant(tmp_path, {"hotpipe.toml": STAGE, "in/pyproject.toml": '[tool.hotpipe.stage.near]\nrun = "x"\n'})
        assert list(file.load(None, str(tmp_path / "in")).config.stage) == ["near"]

    def test_a_named_file_beats_what_could_be_found(self, tmp_path: Path) -> None:
        plant(tmp_path, {"hotpipe.toml": STAGE, "ci/gate.toml": '[stage.named]\nrun = "x"\n'})
        project = file.load("ci/gate.toml", str(tmp_path))
        assert (list(project.config.stage), project.root) == (["named"], str(tmp_path / "ci"))

    def test_none_anywhere_says_what_to_do(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError) as raised:
            file.load(None, str(tmp_path))
        assert raised.value.message == f"no hotpipe.toml in {tmp_path} or above, nor [tool.hotpipe] in a pyproject.toml"
        assert raised.value.hint == "`hotpipe init` writes a hotpipe.toml; or name one with --config FILE"

    def test_a_named_pyproject_without_the_table_is_an_error(self, tmp_path: Path) -> None:
        plant(tmp_path, {"pyproject.toml": "[tool.ruff]\n"})
        with pytest.raises(UsageError, match=re.escape("pyproject.toml has no table [tool.hotpipe]")):
            file.load("pyproject.toml", str(tmp_path))

    def test_the_table_must_be_a_table(self, tmp_path: Path) -> None:
        text = '[project]\nname = "x"\n[tool]\nhotpipe = 3\n'
        assert problems(tmp_path, text, "pyproject.toml") == ["pyproject.toml:4: tool.hotpipe: must be a table"]

    @pytest.mark.parametrize(
        "name, said",
        [
            ("gone.toml", "No such file or directory"),
            (".", "Is a directory"),
            ("latin", "it is not UTF-8 (byte 3)"),
            ("fifo", "it is no regular file"),
            ("/dev/zero", "it is no regular file"),
        ],
    )
    def test_a_file_that_cannot_be_read_says_why(self, tmp_path: Path, name: str, said: str) -> None:
        (tmp_path / "latin").write_bytes(b"a='\xe4'")
        os.mkfifo(tmp_path / "fifo")
        with pytest.raises(UsageError) as raised:
            file.load(name, str(tmp_path))
        assert said in raised.value.message


keys = st.text("ab.\"' =#[]{}é\\", min_size=1, max_size=4)
trees = st.recursive(
    st.sampled_from(["x", 'a"b', "'''", "# no", "[", "}", "two\nlines\n", 'three"""', "=", 1, 2.5, True]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=12,
)


class TestLines:
    """Each problem names the line on which its key stands, wherever TOML allows that to be."""

    def test_all_problems_come_in_one_go_in_the_order_of_the_file(self, tmp_path: Path) -> None:
        text = """\
[wacht]                                 # 1
paths = ["."]
[stage.lint]
rn = "ruff"                             # 4
timeout = 5
[stage.test]                            # 6
cwd = "."
[server.web]
run = "serve {fd}"                      # 9
start = "nwo"
env = { PORT = 8000, "A B" = "x" }      # 11
"""
        assert problems(tmp_path, text) == [
            "hotpipe.toml:1: wacht: unknown key; did you mean 'watch'?",
            "hotpipe.toml:3: stage.lint.run: is missing",
            "hotpipe.toml:4: stage.lint.rn: unknown key; did you mean 'run'?",
            'hotpipe.toml:5: stage.lint.timeout: must be a duration such as "250ms", "2s" or "5m"',
            "hotpipe.toml:6: stage.test.run: is missing",
            """hotpipe.toml:9: server.web.run: {fd} needs a socket: add listen = ["http::8000"], say""",
            """hotpipe.toml:10: server.web.start: must be "now" or "green"; did you mean 'now'?""",
            'hotpipe.toml:11: server.web.env.PORT: expected a string, got an integer; write "8000"',
        ]

    @pytest.mark.parametrize(
        "text, line, key",
        [
            ("[stagee.lint]\nrun = 'x'\n", 1, "stagee"),
            ("# [stage.lint]\n\n[stage.lint]\nrun='x'\nbad=1\n", 5, "stage.lint.bad"),
            ("stage.lint.run = 'x'\nstage.lint.bad = 1\n", 2, "stage.lint.bad"),
            ("[stage]\nlint = { run = 'x', bad = 1 }\n", 2, "stage.lint.bad"),
            ("[stage]\nlint = { run = 'x', env = { A = '}', 'B.C' = 1 } }\n", 2, 'stage.lint.env."B.C"'),
            ("[stage.lint]\nrun = 'x'\n'ba d' = 1\n", 3, 'stage.lint."ba d"'),
            ('[stage."lint"]\nrun = \'x\'\n"\\u0062ad" = 1\n', 3, "stage.lint.bad"),
            ("[ stage . lint ]\nrun = 'x'\nenv . A = 1\n", 3, "stage.lint.env.A"),
            ("[stage.lint]\nrun = '''\nbad = 1\n[server.web]\n'''\nbad = 1\n", 6, "stage.lint.bad"),
            ('[stage.lint]\nrun = """\nbad = 1 \\"""\n""\n bad = 1"""\nbad = 1\n', 6, "stage.lint.bad"),
            ('[stage.lint]\nrun = """x"""""\nbad = 1\n', 3, "stage.lint.bad"),
            ("[stage.lint]\nrun = ''''bad = 1''''\nbad = 1\n", 3, "stage.lint.bad"),
            ("[stage.lint]\nrun = '' # ''' \"\"\" [ {\nbad = 1\n", 3, "stage.lint.bad"),
            ("[stage.lint]\nrun = [\n 'x', # bad = 1 ]\n '[',\n 'bad = 1',\n]\nbad = 1\n", 7, "stage.lint.bad"),
            ("[stage.lint]\nrun = 'x=[{#'\nbad = 1\n", 3, "stage.lint.bad"),
            ("[stage.lint]\r\nrun = 'x'\r\n\r\nbad = 1\r\n", 4, "stage.lint.bad"),
            ("[stage.lint]\nrun = 'x' # \u2028 \x85\nbad = 1", 3, "stage.lint.bad"),
            ("[stage.a]\nrun='x'\n[stage.b]\nrun='x'\nbad=1\n[stage.c]\nrun='x'\n", 5, "stage.b.bad"),
            ("[[server.web.listen]]\ntcp='1'\n[[server.web.listen]]\nname='a b'\ntcp='1'\n", 1, "server.web.run"),
            ("[server.web]\nrun='x'\nlisten = [\n  { tcp = '1' },\n  { upd = '2' },\n]\n", 3, "server.web.listen"),
            ("[server.web]\nrun='x'\nlisten = [{ tcp = '1', name = 'x' }]\nenv.name = 1\n", 4, "server.web.env.name"),
        ],
    )
    def test_the_line_is_that_of_the_key(self, tmp_path: Path, text: str, line: int, key: str) -> None:
        said = problems(tmp_path, text)
        assert any(problem.startswith(f"hotpipe.toml:{line}: {key}: ") for problem in said), said

    def test_in_pyproject_too(self, tmp_path: Path) -> None:
        text = '[project]\nname = "x"\n\n[tool.hotpipe.stage.lint]\nrun = "x"\nbad = 1\n'
        assert problems(tmp_path, text, "pyproject.toml") == ["pyproject.toml:6: stage.lint.bad: unknown key"]

    def test_the_file_is_shown_as_seen_from_the_working_directory(self, tmp_path: Path) -> None:
        plant(tmp_path, {"hotpipe.toml": "bad = 1\n", "in/hotpipe.toml": "bad = \n"})
        with pytest.raises(ConfigError, match=r"^in/hotpipe\.toml:1: not valid TOML"):
            file.load("in/hotpipe.toml", str(tmp_path))
        (tmp_path / "in/hotpipe.toml").unlink()
        with pytest.raises(ConfigError, match=f"^{re.escape(str(tmp_path))}/hotpipe.toml:1: bad: "):
            file.load(None, str(tmp_path / "in"))

    @pytest.mark.parametrize(
        "text, line",
        [
            ('[stage.test]\nrun = "true\n', 2),
            ("[stage.a]\n[stage.a]\n", 2),
            ("\n\nrun = [1,\n", 4),
            ("a = 1\na = 2\n", 2),
        ],
    )
    def test_what_is_no_toml_says_where(self, tmp_path: Path, text: str, line: int) -> None:
        (said,) = problems(tmp_path, text)
        assert re.match(rf"hotpipe\.toml:{line}: not valid TOML: [^(]+$", said), said

    @given(st.dictionaries(keys, trees, max_size=4), st.booleans())
    def test_whatever_toml_says_before_it_the_line_of_the_last_key_is_found(
        self, before: dict[str, Any], inline: bool
    ) -> None:
        text = tomli_w.dumps({"before": before}, multiline_strings=inline) + "[stage.last]\n# here:\nbad = 1\n"
        assert file._lines(text)["stage", "last", "bad"] == text.count("\n")


class TestValues:
    """Wrong values are told in TOML's words, with the way out where that is plain."""

    @pytest.mark.parametrize(
        "tables, said",
        [
            ({"stage": 3}, "stage: expected a table, got an integer"),
            ({"stage": {"a": "x"}}, "stage.a: expected a table, got a string"),
            ({"stage": {"a": [{"run": "x"}]}}, "stage.a: expected a table, got an array"),
            ({"gate": {"trigger": 1.5}}, 'gate.trigger: expected a string, got a number; write "1.5"'),
            ({"gate": {"trigger": True}}, 'gate.trigger: expected a string, got true or false; write "true"'),
            ({"gate": {"trigger": {}}}, "gate.trigger: expected a string, got a table"),
            (
                {"gate": {"trigger": tomllib.loads("d = 2026-01-02")["d"]}},
                "gate.trigger: expected a string, got a date",
            ),
            ({"watch": {"paths": "src"}}, 'watch.paths: expected an array, got a string; write ["src"]'),
            ({"watch": {"paths": [["src"]]}}, "watch.paths: expected a string, got an array"),
            ({"watch": {"paths": []}}, "watch.paths: must name at least one folder or file"),
            (
                {"watch": {"paths": ["../x"]}},
                "watch.paths: '../x' lies outside of the project; write it relative to this file's folder",
            ),
            ({"stage": {"a": {"run": 3}}}, "stage.a.run: expected a string or an array of strings, got an integer"),
            ({"stage": {"a": {"run": ["x", 3]}}}, "stage.a.run: expected a string, got an integer"),
            ({"stage": {"a": {"run": " "}}}, "stage.a.run: must name a command"),
            ({"stage": {"a": {"run": []}}}, "stage.a.run: must name a command"),
            ({"stage": {"a": {"run": ["", "x"]}}}, "stage.a.run: must name a command"),
            ({"stage": {"a": {"run": ["x\0"]}}}, "stage.a.run: must not contain a NUL character"),
            ({"stage": {"a": {"run": "x", "cwd": "\0"}}}, "stage.a.cwd: must not contain a NUL character"),
            (
                {"stage": {"a": {"run": "x", "env": {"A=B": "x"}}}},
                "stage.a.env.A=B: is no name for an environment variable",
            ),
            (
                {"stage": {"a b": {"run": "x"}}},
                "stage.a b: a name must consist of letters, digits, '.', '_' and '-'",
            ),
            (serving(stop_signal="SIGTERM"), "server.web.stop_signal: must be "),
            (
                serving(strategy="overlp"),
                'server.web.strategy: must be "overlap" or "stop-start" or "signal"; did you mean \'overlap\'?',
            ),
            (serving(strategy=True), 'server.web.strategy: must be "overlap" or "stop-start" or "signal"'),
            (
                serving(restart="on_failure"),
                'server.web.restart: must be "on-failure" or "always" or "never"; did you mean \'on-failure\'?',
            ),
            (serving(signal="usr1", strategy="signal"), "server.web.signal: must be "),
            (serving(smoke="curl x"), 'server.web.smoke: expected an array, got a string; write ["curl x"]'),
            (serving(smoke=["x", ["y"]]), "server.web.smoke: expected a string, got an array"),
            (serving(smoke=["x", " "]), "server.web.smoke: each must name a command; for none: smoke = []"),
            (serving(smoke=["x\0"]), "server.web.smoke: must not contain a NUL character"),
            (serving(needs="lint"), 'server.web.needs: expected an array, got a string; write ["lint"]'),
            (serving(inputs=[3]), 'server.web.inputs: expected a string, got an integer; write "3"'),
            (serving(probation=2), 'server.web.probation: must be a duration such as "250ms", "2s" or "5m"'),
            (serving(watchdog=2), 'server.web.watchdog: must be a duration such as "250ms", "2s" or "5m"'),
            (serving(watchdog="0s"), "server.web.watchdog: must be longer than 0s; for none, leave it out"),
            (serving(ready_timeout="0s"), "server.web.ready_timeout: must be longer than 0s: nothing is ready at once"),
            (serving(drain_timout="5s"), "server.web.drain_timout: unknown key; did you mean 'drain_timeout'?"),
            (serving(hooks="x"), "server.web.hooks: expected a table, got a string"),
            (
                serving(hooks={"befor_start": "x"}),
                "server.web.hooks.befor_start: unknown key; did you mean 'before_start'?",
            ),
            (
                serving(hooks={"after_stop": 3}),
                "server.web.hooks.after_stop: expected a string or an array of strings, got an integer",
            ),
            (
                serving(hooks={"after_stop": ["x", "y\0"]}),
                "server.web.hooks.after_stop: must not contain a NUL character",
            ),
        ],
    )
    def test_of_the_wrong_kind(self, tables: dict[str, Any], said: str) -> None:
        (only,) = faults(tables)
        assert only == said or (said.endswith(" ") and only.startswith(said))

    def test_a_signal_with_sig_is_led_to_its_name(self) -> None:
        assert faults(serving(stop_signal="SIGTERM"))[0].endswith("did you mean 'TERM'?")
        assert faults(serving(stop_signal="sighup"))[0].endswith("did you mean 'HUP'?")

    def test_a_faulty_value_is_not_also_blamed_for_what_it_should_have_said(self) -> None:
        assert len(faults(serving(run="serve {fd} {fd:admin}", listen=["8000x"]))) == 1
        assert len(faults({"watch": {"paths": [3]}})) == 1
        assert len(faults(serving(strategy="overlap", ready={"http": "/"}, listen=["8000x"]))) == 1
        assert len(faults(serving(strategy="signl", signal="USR1"))) == 1
        assert len(faults(serving(ready={"after": "40s"}, ready_timeout="1"))) == 1
        assert len(faults({"stage": {"lint": {}}, **serving(needs=["lint"])})) == 1
        assert len(faults({"stage": {"lint": 3}, **serving(needs=["lint"])})) == 1
        assert len(faults({"stage": 3, **serving(needs=["lint"])})) == 1

    def test_one_wrong_value_does_not_hide_another(self) -> None:
        wrong = serving(
            ready_timeout=1, watchdog="0s", strategy="signl", smoke=[""], hooks={"x": "y"}, ready={"log": "("}
        )
        assert sorted(said.partition(": ")[0] for said in faults(wrong)) == [
            *("server.web.hooks.x", "server.web.ready.log", "server.web.ready_timeout", "server.web.smoke"),
            *("server.web.strategy", "server.web.watchdog"),
        ]

    def test_what_is_missing_does_not_hide_what_else_is_wrong(self) -> None:
        assert faults({"server": {"web": {"needs": ["lint"], "hooks": {"after_ready": "open {url}"}}}}) == [
            "server.web.run: is missing",
            """server.web.hooks.after_ready: {url} needs a socket: add listen = ["http::8000"], say""",
            "server.web.needs: there is no stage 'lint'",
        ]

    @pytest.mark.parametrize("listen", ["127.0.0.1:7777", "[::1]:0", "localhost:65535"])
    def test_the_dashboard_listens_on_loopback(self, listen: str) -> None:
        assert config({"web": {"listen": listen}}).web.listen == listen

    @pytest.mark.parametrize("listen", ["0.0.0.0:7777", "[::]:7777", "example.org:7777", "192.168.1.2:80"])
    def test_the_dashboard_listens_nowhere_else(self, listen: str) -> None:
        host = listen.rpartition(":")[0]
        says = f"{host} may be reached from elsewhere; it must be 127.0.0.1 or [::1]"
        assert faults({"web": {"listen": listen}}) == [f"web.listen: {says}"]

    @pytest.mark.parametrize("listen", ["", "7777", "127.0.0.1", "127.0.0.1:http", "127.0.0.1:65536"])
    def test_the_dashboard_has_an_address(self, listen: str) -> None:
        assert faults({"web": {"listen": listen}}) == [
            f'web.listen: {listen!r} is no address; write "127.0.0.1:7777", say'
        ]

    @pytest.mark.parametrize("origin", ["app.test", "https://app.test/", "*", "null", "ftp://app.test", "http://a@b"])
    def test_an_origin_is_scheme_host_and_port(self, origin: str) -> None:
        assert faults({"web": {"origins": [origin]}}) == [
            f'web.origins: {origin!r} is no origin; write "https://app.test:8443", say'
        ]

    @pytest.mark.parametrize(
        "key, value, said",
        [
            ("watch.poll", "sometimes", 'must be "auto" or "always" or "never"'),
            ("gate.jobs", 0, "must be at least 1; for as many as there are CPUs, leave it out"),
            ("gate.jobs", True, "expected an integer, got true or false"),
            ("gate.cache_size", "2 GB", 'must be a size such as "512KB", "256MB" or "1GB"'),
            ("gate.cache_size", 256, 'must be a size such as "512KB", "256MB" or "1GB"'),
            ("stage.x.retries", -1, "must be from 0 to 100"),
            ("stage.x.retries", 101, "must be from 0 to 100"),
            ("stage.x.inputs", "*.py", """expected an array, got a string; write ["*.py"]"""),
            ("stage.x.needs", ["y"], "there is no stage 'y'; there is x"),
            ("stage.x.needs", ["x"], "a cycle: x needs x"),
            ("stage.x.mutates", "yes", "expected true or false, got a string"),
        ],
    )
    def test_what_a_gate_cannot_do_is_said(self, key: str, value: object, said: str) -> None:
        tables: dict[str, Any] = {"stage": {"x": {"run": "x"}}}
        *path, last = key.split(".")
        table = tables
        for part in path:
            table = table.setdefault(part, {})
        table[last] = value
        assert faults(tables) == [f"{key}: {said}"]

    def test_each_cycle_of_stages_is_told_once_with_the_way_round(self) -> None:
        stages = {
            "lint": {"run": "x", "needs": ["test"]},
            "types": {"run": "x"},
            "test": {"run": "x"},
            "a": {"run": "x", "needs": ["b"]},
            "b": {"run": "x", "needs": ["a"]},
            "free": {"run": "x", "needs": ["b"]},
        }
        above = "; a stage without needs needs the one written above it: needs = [] frees it"
        assert faults({"stage": stages}) == [
            f"stage.lint.needs: a cycle: lint needs test needs types needs lint{above}",
            "stage.a.needs: a cycle: a needs b needs a",
        ]

    def test_a_stage_needs_the_one_written_above_it_unless_it_says_otherwise(self) -> None:
        stages = {
            "lint": {"run": "x"},
            "types": {"run": "x"},
            "docs": {"run": "x", "needs": []},
            "all": {"run": "x", "needs": ["types", "docs"]},
        }
        config = parse({"stage": stages})
        assert isinstance(config, Config)
        assert config.needs() == {"lint": (), "types": ("lint",), "docs": (), "all": ("types", "docs")}

    @pytest.mark.parametrize("text", ["0B", "999B", "512KB", "256MB", "1GB", "1500MB"])
    def test_sizes_are_written_as_they_are_read(self, text: str) -> None:
        assert str(Size.of(text)) == text

    @pytest.mark.parametrize(
        "text, seconds", [("250ms", 0.25), ("2s", 2), ("5m", 300), ("1h", 3600), ("1.5s", 1.5), ("0s", 0)]
    )
    def test_durations(self, text: str, seconds: float) -> None:
        assert Duration.of(text) == seconds
        assert Duration.of(str(Duration.of(text))) == seconds

    @pytest.mark.parametrize("wrong", ["", "5", "s", "-1s", "1 s", "5min", "1e3s", "1m30s", "5S", 5, 0.5, True, []])
    def test_no_durations(self, wrong: object) -> None:
        with pytest.raises(ValueError, match='must be a duration such as "250ms", "2s" or "5m"'):
            Duration.of(wrong)

    @given(st.decimals("0", "100000", places=3), st.sampled_from(["ms", "s", "m", "h"]))
    def test_a_duration_survives_being_written(self, number: object, unit: str) -> None:
        duration = Duration.of(f"{number}{unit}")
        assert Duration.of(str(duration)) == duration


class TestSockets:
    @pytest.mark.parametrize(
        "written, socket",
        [
            ("8000", ("tcp", "127.0.0.1", 8000)),
            ("http::8000", ("http", "127.0.0.1", 8000)),
            ("https::0.0.0.0:443", ("https", "0.0.0.0", 443)),
            ("localhost:0", ("tcp", "localhost", 0)),
            ("tcp::[::1]:8001", ("tcp", "::1", 8001)),
            ("[::]:80", ("tcp", "::", 80)),
            ({"tcp": "127.0.0.1:8001"}, ("tcp", "127.0.0.1", 8001)),
            ({"http": "[::1]:0"}, ("http", "::1", 0)),
            ("udp::5353", ("udp", "127.0.0.1", 5353)),
        ],
    )
    def test_specs_are_those_of_systemfd(self, written: object, socket: tuple[str, str, int]) -> None:
        listen = Listen.of(written)
        assert (listen.type, listen.host, listen.port, listen.name, listen.backlog) == (*socket, "", 4096)

    @pytest.mark.parametrize("path", ["run/web.sock", "/run/web.sock", "../web.sock", "./a b", "a:1", "x" * 200])
    def test_a_unix_socket_has_a_path(self, path: str) -> None:
        listen = Listen("unix", "", 0, path=path)
        assert Listen.of(f"unix::{path}") == Listen.of({"unix": path}) == listen
        assert (listen.address, listen.is_stream) == (path, True)

    def test_only_on_udp_are_no_connections(self) -> None:
        assert [Listen.of(f"{kind}::1").is_stream for kind in ("http", "https", "tcp", "udp")] == [True] * 3 + [False]

    def test_a_table_may_name_it_and_set_its_backlog(self) -> None:
        assert Listen.of({"name": "admin", "tcp": "8001", "backlog": 16}) == Listen(
            "tcp", "127.0.0.1", 8001, "admin", 16
        )

    @pytest.mark.parametrize(
        "written, said",
        [
            ("", "'' is no socket: write [TYPE::][HOST:]PORT, for example http::8000 or [::1]:8001"),
            ("::1:8000", "'::1:8000' is no socket: write [TYPE::][HOST:]PORT, for example http::8000 or [::1]:8001"),
            ("http:8000:", "'http:8000:' is no socket: "),
            ("http::99999", "'http::99999': the largest port is 65535"),
            ("htp::80", f"'htp::80': no socket type 'htp'; the types are {TYPES}; did you mean 'http'?"),
            ("http::" + "9" * 5000, f"'http::{'9' * 5000}': the largest port is 65535"),
            ("unix::", "'unix::' is no socket: write unix::PATH, for example unix::run/web.sock"),
            ("unix::run/", "'unix::run/' is no socket: write unix::PATH, for example unix::run/web.sock"),
            ("unix::run/..", "'unix::run/..' is no socket: "),
            ({"unix": "unix::x"}, "'unix::unix::x' is no socket: "),
            ({"unix": 3}, 'unix must be a string such as "run/web.sock"'),
            ({"unix": "a\0"}, "must not contain a NUL character"),
            ("tcp::a\0:80", "must not contain a NUL character"),
            (8000, 'must be a spec such as "http::8000", or a table such as { name = "admin", tcp = "8001" }'),
            ({"tcp": 8001}, 'tcp must be a string such as "127.0.0.1:8001"'),
            ({"name": "x"}, 'a socket has one address, named by its type: { tcp = "127.0.0.1:8001" }'),
            ({"tcp": "1", "http": "2"}, "a socket has one address"),
            ({"tpc": "1"}, "unknown key 'tpc'; did you mean 'tcp'?"),
            ({"tcp": "1", "name": "a:b"}, "the name 'a:b' must consist of"),
            ({"tcp": "1", "backlog": 0}, "backlog must be a positive integer"),
            ({"tcp": "1", "backlog": True}, "backlog must be a positive integer"),
        ],
    )
    def test_what_is_none_says_the_way_out(self, written: object, said: str) -> None:
        (only,) = faults(serving(listen=[written]))
        assert only.startswith(f"server.web.listen: {said}")

    def test_all_that_is_wrong_with_a_table_is_told(self) -> None:
        assert faults(serving(listen=[{"tcp": "x", "nam": "a", "name": "a b", "backlog": -1}])) == [
            "server.web.listen: unknown key 'nam'; did you mean 'name'?",
            "server.web.listen: the name 'a b' must consist of letters, digits, '.', '_' and '-'",
            "server.web.listen: backlog must be a positive integer",
            "server.web.listen: 'tcp::x' is no socket: write [TYPE::][HOST:]PORT, for example http::8000 or [::1]:8001",
        ]

    @pytest.mark.parametrize(
        "one, other, said",
        [
            ("http::8000", "tcp::8000", "'127.0.0.1:8000' is already a socket of server 'web'; take another port"),
            ("localhost:1", "LOCALHOST:1", "'LOCALHOST:1' is already a socket of server 'web'; take another port"),
            ("udp::53", "udp::53", "'127.0.0.1:53' is already a socket of server 'web'; take another port"),
            ("unix::./a/b", "unix::a/x/../b", "'a/x/../b' is already a socket of server 'web'; take another path"),
        ],
    )
    def test_no_two_have_the_same_address(self, one: str, other: str, said: str) -> None:
        tables = {"server": {name: {"run": "x", "listen": [spec]} for name, spec in (("web", one), ("api", other))}}
        (only,) = faults(tables)
        assert only.startswith(f"server.api.listen: {said}")
        assert faults(serving(listen=[{"tcp": "1:1", "name": "a"}, {"http": "1:1", "name": "b"}]))

    @pytest.mark.parametrize(
        "one, other",
        [
            ("http::0", "http::0"),
            ("http::80", "udp::80"),
            ("[::1]:80", "127.0.0.1:80"),
            ("unix::a", "unix::b"),
            ("unix::a", "unix::/a"),
        ],
    )
    def test_what_differs_is_no_collision(self, one: str, other: str) -> None:
        assert config({"server": {"web": {"run": "x", "listen": [one]}, "api": {"run": "x", "listen": [other]}}})

    def test_names_are_the_type_numbered_from_the_second_on(self) -> None:
        listen = ["http::1", "tcp::2", {"tcp": "3", "name": "admin"}, "http::4", "tcp::5"]
        assert config(serving(listen=listen)).server["web"].socket_names() == ("http", "tcp", "admin", "http2", "tcp2")

    def test_two_of_one_name_are_an_error(self) -> None:
        listen = ["http::1", {"tcp": "2", "name": "http"}]
        assert faults(serving(listen=listen)) == ["server.web.listen: two sockets are named 'http'"]

    @pytest.mark.parametrize(
        "tables, key",
        [
            ({"run": "serve {fd:admin}"}, "run"),
            ({"run": ["serve", "--fd", "{fd:admin}"]}, "run"),
            ({"smoke": ["true", "probe {fd:admin}"]}, "smoke"),
            ({"hooks": {"after_ready": "say {fd:admin}"}}, "hooks.after_ready"),
            ({"hooks": {"on_failure": ["true", "say {fd:admin}"]}}, "hooks.on_failure"),
        ],
    )
    def test_fd_name_must_be_a_socket(self, tables: dict[str, Any], key: str) -> None:
        server = {"run": "serve", **tables}
        assert config(serving(listen=["http::1", {"tcp": "2", "name": "admin"}], **server))
        assert faults(serving(listen=["http::1", {"tcp": "2", "name": "admins"}], **server)) == [
            f"server.web.{key}: no socket is named 'admin'; did you mean 'admins'?"
        ]
        assert faults(serving(listen=["http::1"], **server)) == [
            f"server.web.{key}: no socket is named 'admin'; there is 'http'"
        ]

    @pytest.mark.parametrize("word", ["{fd}", "{fd:http}", "{host}", "{port}", "{addr}", "{url}"])
    @pytest.mark.parametrize(
        "key, tables",
        [
            ("run", {"run": "x %s"}),
            ("smoke", {"smoke": ["x %s"]}),
            ("hooks.before_start", {"hooks": {"before_start": "x %s"}}),
            ("hooks.after_stop", {"hooks": {"after_stop": ["x", "%s"]}}),
        ],
    )
    def test_a_placeholder_needs_a_socket(self, word: str, key: str, tables: dict[str, Any]) -> None:
        filled = {"run": "serve", **json.loads(json.dumps(tables).replace("%s", word))}
        assert config(serving(listen=["http::1"], **filled))
        assert faults(serving(**filled)) == [
            f"""server.web.{key}: {word} needs a socket: add listen = ["http::8000"], say"""
        ]

    @pytest.mark.parametrize("word", ["{host}", "{port}"])
    def test_a_unix_socket_has_no_port(self, word: str) -> None:
        assert faults(serving(run=f"serve {word}", listen=["unix::x", "http::1"])) == [
            f"server.web.run: {word} is that of the first socket, and a unix socket has none"
        ]
        assert config(serving(run="serve {fd} {addr} {url}", listen=["unix::x"]))
        assert config(serving(smoke=[f"probe {word}"], listen=["unix::x"]))
        assert config(serving(run=f"serve {word}", listen=["http::1", "unix::x"]))

    def test_other_braces_are_nobodys_business(self) -> None:
        assert config(serving(run="awk '{print $1}' {nofd} {} {{} ${port} ${fd:-3}", smoke=["curl -w %{url} x"]))


class TestReadiness:
    @pytest.mark.parametrize(
        "written, ready",
        [
            ("auto", Ready()),
            ("notify", Ready("notify")),
            ({"http": "/healthz"}, Ready("http", http="/healthz")),
            ({"http": "/a?b=%20", "status": 204}, Ready("http", http="/a?b=%20", status=204)),
            ({"log": r"started \(pid \d+\)"}, Ready("log", log=r"started \(pid \d+\)")),
            ({"log": "[[a]"}, Ready("log", log="[[a]")),
            ({"after": "250ms"}, Ready("after", after=0.25)),
        ],
    )
    def test_has_five_forms(self, written: object, ready: Ready) -> None:
        assert config(serving(ready=written, listen=["8000"])).server["web"].ready == ready
        assert Ready.of(ready.written()) == ready

    @pytest.mark.parametrize(
        "written, said",
        [
            ("notfy", f": must be {FORMS}; did you mean 'notify'?"),
            ("http", f': must be {FORMS}; write {{ http = "/healthz" }}'),
            ("/up", f': must be {FORMS}; write {{ http = "/up" }}'),
            ("2s", f': must be {FORMS}; write {{ after = "2s" }}'),
            (3, f": must be {FORMS}"),
            (["auto"], f": must be {FORMS}; did you mean 'auto'?"),
            ({}, f": must be {FORMS}"),
            ({"status": 200}, f": must be {FORMS}"),
            ({"http": "/", "log": "x"}, ": http and log exclude each other; write one of them"),
            ({"htpp": "/"}, ".htpp: unknown key; did you mean 'http'?"),
            ({"http": "/", "statsu": 200}, ".statsu: unknown key; did you mean 'status'?"),
            ({"log": "x", "status": 200}, ".status: goes with http only, not with log"),
            (
                {"http": "up"},
                """.http: must be a path such as "/healthz", without spaces and percent-encoded; write '/up'""",
            ),
            ({"http": "/a b"}, '.http: must be a path such as "/healthz", without spaces and percent-encoded'),
            ({"http": "/\r\nHost:"}, '.http: must be a path such as "/healthz", without spaces and percent-encoded'),
            ({"http": 3}, '.http: must be a path such as "/healthz", without spaces and percent-encoded'),
            ({"http": "/", "status": 99}, ".status: must be an HTTP status, an integer from 100 to 599"),
            ({"http": "/", "status": 600}, ".status: must be an HTTP status, an integer from 100 to 599"),
            ({"http": "/", "status": True}, ".status: must be an HTTP status, an integer from 100 to 599"),
            ({"http": "/", "status": "200"}, ".status: must be an HTTP status, an integer from 100 to 599"),
            (
                {"log": "up (on"},
                ".log: is no regular expression: missing ), unterminated subpattern at position 3, at '(on'",
            ),
            ({"log": "a{9999999999}"}, ".log: is no regular expression: the repetition number is too large"),
            ({"log": 3}, ".log: must be a string, a regular expression that a line of output matches"),
            ({"after": 2}, '.after: must be a duration such as "250ms", "2s" or "5m"'),
            ({"after": "30s"}, ": after must be shorter than ready_timeout, 30s"),
        ],
    )
    def test_what_is_none_says_the_way_out(self, written: object, said: str) -> None:
        assert faults(serving(ready=written, listen=["8000"])) == [f"server.web.ready{said}"]

    def test_all_that_is_wrong_is_told_each_at_its_line(self, tmp_path: Path) -> None:
        text = "[server.web]\nrun='x'\n[server.web.ready]\nhttp = 'up'\nstatus = 0\nafer = '1s'\n"
        assert [said.split(": ")[0:2] for said in problems(tmp_path, text)] == [
            ["hotpipe.toml:4", "server.web.ready.http"],
            ["hotpipe.toml:5", "server.web.ready.status"],
            ["hotpipe.toml:6", "server.web.ready.afer"],
        ]

    @pytest.mark.parametrize("listen", [[], ["udp::53"]])
    def test_http_needs_a_socket_to_ask(self, listen: list[str]) -> None:
        assert faults(serving(ready={"http": "/"}, listen=listen)) == [
            """server.web.ready: http needs a socket to ask: add listen = ["http::8000"], say"""
        ]
        assert config(serving(ready={"http": "/"}, listen=[*listen, "unix::x"]))


class TestReplacing:
    @pytest.mark.parametrize(
        "written, strategy",
        [
            ({}, "stop-start"),
            ({"listen": ["8000"]}, "overlap"),
            ({"listen": ["udp::53"]}, "overlap"),
            ({"listen": ["8000"], "strategy": "stop-start"}, "stop-start"),
            ({"strategy": "signal"}, "signal"),
        ],
    )
    def test_overlaps_where_there_is_a_socket_to_hand_over(self, written: dict[str, Any], strategy: str) -> None:
        server = config(serving(**written)).server["web"]
        assert server.replaced_by == server.strategy == strategy

    def test_overlap_without_a_socket_is_a_contradiction(self) -> None:
        assert faults(serving(strategy="overlap")) == [
            """server.web.strategy: overlap needs a socket to hand over: add listen = ["http::8000"], say"""
        ]

    @pytest.mark.parametrize("strategy", ["overlap", "stop-start", "signal"])
    def test_smoke_and_probation_go_with_any_strategy(self, strategy: str) -> None:
        assert config(serving(strategy=strategy, listen=["1"], smoke=["curl {url}"], probation="0s"))

    def test_a_signal_goes_with_its_strategy(self) -> None:
        assert config(serving(strategy="signal", signal="USR2")).server["web"].signal == "USR2"
        assert faults(serving(signal="USR2")) == [
            """server.web.signal: is for strategy = "signal" only; to stop a server: stop_signal"""
        ]
        assert faults(serving(strategy="signal", signal="KILL")) == [
            'server.web.signal: KILL ends every server: write the one on which it reloads, "HUP", say'
        ]

    def test_a_hook_is_one_command_or_several_and_an_empty_one_is_none(self) -> None:
        hooks = {"before_start": "one", "after_ready": ["one", " ", "two"], "before_stop": "", "after_stop": []}
        found = config(serving(hooks=hooks)).server["web"].hooks
        moments = ("before_start", "after_ready", "before_stop", "after_stop", "on_failure")
        assert [found.commands(moment) for moment in moments] == [("one",), ("one", "two"), (), (), ()]

    def test_needs_name_stages(self) -> None:
        stages = {"stage": {"lint": {"run": "x"}, "test": {"run": "x"}}}
        assert faults({**stages, **serving(needs=["test", "lnt", "quux"])}) == [
            "server.web.needs: there is no stage 'lnt'; did you mean 'lint'?",
            "server.web.needs: there is no stage 'quux'; there is lint, test",
        ]

    def test_to_need_nothing_is_not_to_need_everything(self) -> None:
        nothing, everything = (config(serving(**keys)).server["web"] for keys in ({"needs": [], "inputs": []}, {}))
        assert (nothing.needs, nothing.inputs, everything.needs, everything.inputs) == ((), (), None, None)
        shown = model.to_tables(Config(server={"web": nothing}))["server"]["web"]
        assert (shown["needs"], shown["inputs"]) == ([], [])


class TestTriggers:
    def test_without_a_server_it_is_the_gates_own(self) -> None:
        assert config({"gate": {"trigger": "go"}}).triggers() == {None: "go"}

    def test_one_server_has_the_plain_name(self) -> None:
        assert config(serving()).triggers() == {"web": ".trigger"}

    def test_several_servers_have_one_each(self) -> None:
        tables = {"server": {"web": {"run": "x"}, "api": {"run": "x"}, "own": {"run": "x", "trigger": "go"}}}
        assert config(tables).triggers() == {"web": ".trigger-web", "api": ".trigger-api", "own": "go"}

    @pytest.mark.parametrize("same", [".trigger-web", "./.trigger-web", "x/../.trigger-web"])
    def test_two_servers_cannot_share_one(self, same: str) -> None:
        tables = {"server": {"web": {"run": "x"}, "api": {"run": "x", "trigger": same}}}
        assert faults(tables) == [
            f"server.api.trigger: {same!r} is already the trigger of server 'web'; each needs one of its own"
        ]

    @pytest.mark.parametrize("outside", ["/tmp/go", "../go", "a/../../go", "..", ".", "", "folder/"])
    def test_it_lies_inside_the_project(self, outside: str) -> None:
        assert faults({"gate": {"trigger": outside}}) == [
            f"gate.trigger: {outside!r} must be a file inside the project, relative to this file's folder"
        ]


class TestDefaults:
    def test_are_those_of_the_contract(self) -> None:
        tables = model.to_tables(config({"stage": {"t": {"run": "x"}}, **serving()}))
        assert tables == {
            "watch": {"paths": ["."], "ignore": [], "settle": "5ms", "poll": "auto"},
            "gate": {"fail_fast": True, "cache_size": "256MB", "trigger": ".trigger"},
            "stage": {
                "t": {
                    "run": "x",
                    "needs": [],
                    "env": {},
                    "cwd": ".",
                    "retries": 0,
                    "allow_failure": False,
                    "mutates": False,
                    "cache": True,
                    "tty": True,
                }
            },
            "server": {
                "web": {
                    "run": "serve",
                    "listen": [],
                    "start": "now",
                    "strategy": "stop-start",
                    "signal": "HUP",
                    "ready": "auto",
                    "ready_timeout": "30s",
                    "smoke": [],
                    "probation": "2s",
                    "drain_timeout": "5s",
                    "stop_signal": "TERM",
                    "stop_timeout": "10s",
                    "restart": "on-failure",
                    "trigger": ".trigger",
                    "env": {},
                    "cwd": ".",
                    "tty": True,
                    "hooks": {
                        "before_start": "",
                        "after_ready": "",
                        "before_stop": "",
                        "after_stop": "",
                        "on_failure": "",
                    },
                }
            },
            "web": {"listen": "127.0.0.1:7777", "origins": []},
            "notify": {"desktop": True, "terminal": True},
        }

    def test_an_empty_file_is_a_configuration(self) -> None:
        assert config({}) == Config()

    def test_stages_keep_the_order_in_which_they_are_written(self) -> None:
        tables = tomllib.loads("".join(f"[stage.{name}]\nrun = 'x'\n" for name in "zab"))
        assert list(config(tables).stage) == ["z", "a", "b"]


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
words = texts.filter(str.strip)
names = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,6}", fullmatch=True)
durations = st.builds("{}{}".format, st.integers(0, 100_000), st.sampled_from(["ms", "s", "m", "h"]))
environments = st.dictionaries(texts.filter(lambda key: key and "=" not in key), texts, max_size=2)
runs = words | st.lists(words, min_size=1, max_size=3)
specs = st.builds(
    "{}{}{}".format,
    st.sampled_from(["", "http::", "https::", "tcp::", "udp::"]),
    st.sampled_from(["", "0.0.0.0:", "[::1]:", "host:"]),
    st.integers(0, 65535),
)
paths = st.from_regex(r"(/|\.\./)?[a-z :]{0,4}/?[a-z.]{0,4}[a-z]", fullmatch=True)
named = st.fixed_dictionaries(
    {"tcp": st.just("[::1]:0")}, optional={"backlog": st.integers(1, 4096), "name": names}
) | st.fixed_dictionaries({"unix": paths}, optional={"name": names})
positive = durations.filter(lambda text: Duration.of(text) > 0)
stages = st.fixed_dictionaries({"run": runs}, optional={"env": environments, "cwd": texts, "timeout": durations})
plain = texts.filter(lambda text: not re.search("{(fd|host|port|addr|url)", text))
hooks = st.fixed_dictionaries(
    {},
    optional={
        moment: plain | st.lists(plain, max_size=2)
        for moment in ("before_start", "after_ready", "before_stop", "after_stop", "on_failure")
    },
)
readiness = (
    st.sampled_from(["auto", "notify", {"log": r"up \d+"}])
    | st.fixed_dictionaries({"http": st.from_regex(r"/[!-~]{0,5}", fullmatch=True)})
    | st.fixed_dictionaries({"http": st.just("/"), "status": st.integers(100, 599)})
    | st.fixed_dictionaries({"log": texts.map(re.escape)})
    | st.fixed_dictionaries({"after": durations})
)
servers = st.fixed_dictionaries(
    {"run": runs.filter(lambda run: "{" not in str(run))},
    optional={
        "listen": st.lists(specs | st.builds("unix::{}".format, paths) | named, max_size=3),
        "start": st.sampled_from(["now", "green"]),
        "strategy": st.sampled_from(["overlap", "stop-start", "signal"]),
        "signal": st.sampled_from(["HUP", "USR1", "USR2"]),
        "ready": readiness,
        "ready_timeout": positive,
        "smoke": st.lists(plain.filter(str.strip), max_size=2),
        "probation": durations,
        "drain_timeout": durations,
        "stop_signal": st.sampled_from(["TERM", "INT", "KILL"]),
        "stop_timeout": durations,
        "restart": st.sampled_from(["on-failure", "always", "never"]),
        "watchdog": positive,
        "needs": st.lists(names, max_size=2),
        "inputs": st.lists(texts, max_size=2),
        "env": environments,
        "cwd": texts,
        "hooks": hooks,
    },
)


def consistent(tables: dict[str, Any]) -> dict[str, Any]:
    """Without what contradicts the rest of it."""
    taken: set[object] = {None}
    for server in tables.get("server", {}).values():
        wanted, server["listen"] = server.get("listen", []), []
        for socket in wanted:
            names = Server(run="x", listen=tuple(map(Listen.of, [*server["listen"], socket]))).socket_names()
            address = Listen.of(socket).taken
            if (address is None or address not in taken) and len(set(names)) == len(names):
                server["listen"].append(socket)
                taken.add(address)
        server["needs"] = [need for need in server.get("needs", []) if need in tables.get("stage", {})] or None
        is_stream = any(Listen.of(socket).is_stream for socket in server["listen"])
        after = Ready.of(server.get("ready", "auto")).after
        drop = {
            "listen": not server["listen"],
            "needs": server["needs"] is None,
            "strategy": server.get("strategy") == "overlap" and not server["listen"],
            "signal": server.get("strategy") != "signal",
            "ready": ("http" in server.get("ready", "") and not is_stream)
            or after >= Duration.of(server.get("ready_timeout", "30s")),
        }
        for key in (key for key, is_to_go in drop.items() if is_to_go):
            server.pop(key, None)
    return tables


written = st.fixed_dictionaries(
    {},
    optional={
        "watch": st.fixed_dictionaries({}, optional={"ignore": st.lists(texts, max_size=2), "settle": durations}),
        "gate": st.fixed_dictionaries({}, optional={"trigger": names}),
        "stage": st.dictionaries(names, stages, max_size=3),
        "server": st.dictionaries(names, servers, max_size=3),
    },
).map(consistent)


def spelled_out(found: Config) -> Config:
    """The same, as somebody writes it who writes down what each stage needs."""
    needs = found.needs()
    stages = {name: msgspec.structs.replace(stage, needs=needs[name]) for name, stage in found.stage.items()}
    return msgspec.structs.replace(found, stage=stages)


class TestRoundTrip:
    @given(written)
    def test_what_config_prints_is_a_configuration_that_means_the_same(self, tables: dict[str, Any]) -> None:
        found = config(tables)
        shown = model.to_tables(found)
        meant = spelled_out(found)
        assert config(shown) == meant
        assert config(tomllib.loads(tomli_w.dumps(shown))) == meant
        assert config(json.loads(json.dumps(shown))) == meant
        assert model.to_tables(config(shown)) == shown

    def test_what_depends_on_other_keys_is_filled_in(self) -> None:
        listen = ["http::1", "http::2", {"unix": "x", "name": "admin"}]
        web = config({"server": {"web": {"run": "x", "listen": listen}, "api": {"run": "x"}}}).server["web"]
        assert [socket.name for socket in web.listen] == ["http", "http2", "admin"]
        assert (web.strategy, web.trigger) == ("overlap", ".trigger-web")

    def test_a_configuration_that_was_never_written_is_shown_as_one_that_was(self) -> None:
        server = Server(run="x", listen=(Listen("unix", "", 0, path="x"), Listen("tcp", "::1", 0)))
        assert model.to_tables(Config(server={"web": server}))["server"]["web"]["listen"] == [
            {"name": "unix", "unix": "x", "backlog": 4096},
            {"name": "tcp", "tcp": "[::1]:0", "backlog": 4096},
        ]


def fits(schema: dict[str, Any], value: object, root: dict[str, Any]) -> bool:
    """The part of JSON Schema that the schema uses; a keyword beyond it raises KeyError."""
    checks = {
        "$ref": lambda ref: fits(root["$defs"][ref.removeprefix("#/$defs/")], value, root),
        "anyOf": lambda options: any(fits(option, value, root) for option in options),
        "enum": lambda options: value in options,
        "type": lambda kind: type(value) is KINDS[kind],
        "pattern": lambda pattern: bool(re.search(pattern, str(value))),
        "minimum": lambda least: isinstance(value, int) and value >= least,
        "maximum": lambda most: isinstance(value, int) and value <= most,
        "items": lambda items: isinstance(value, list) and all(fits(items, part, root) for part in value),
        "required": lambda keys: isinstance(value, dict) and set(keys) <= value.keys(),
        "properties": lambda parts: (
            isinstance(value, dict) and all(fits(part, value[key], root) for key, part in parts.items() if key in value)
        ),
        "additionalProperties": lambda rest: (
            isinstance(value, dict)
            and all(
                rest is not False and fits(rest, part, root)
                for key, part in value.items()
                if key not in schema.get("properties", {})
            )
        ),
        **dict.fromkeys(["$schema", "title", "description", "default", "examples", "format", "$defs"], lambda _: True),
    }
    return all(checks[keyword](said) for keyword, said in schema.items())


KINDS = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool, "null": type(None)}


class TestSchema:
    @given(written)
    def test_it_accepts_what_parse_accepts(self, tables: dict[str, Any]) -> None:
        schema = published.schema()
        assert fits(schema, tables, schema)
        assert fits(schema, json.loads(json.dumps(model.to_tables(config(tables)))), schema)

    @pytest.mark.parametrize(
        "tables",
        [
            {"wacht": {}},
            {"stage": {"a": {}}},
            {"stage": {"a": {"run": 3}}},
            {"stage": {"a": {"run": "x", "bad": 1}}},
            {"stage": {"a": {"run": "x", "timeout": "5"}}},
            {"watch": {"paths": "."}},
            serving(start="later"),
            serving(listen=[{"tcp": 8001}]),
            serving(listen=[{"tcp": "1", "bad": 1}]),
            serving(listen=[8000]),
            serving(listen=[{"name": "x"}]),
            serving(strategy="overlp"),
            serving(ready="notfy"),
            serving(ready={"http": "up"}),
            serving(ready={"http": "/", "status": 99}),
            serving(ready={"log": "x", "status": 200}),
            serving(ready={"after": 2}),
            serving(smoke="x"),
            serving(watchdog="2"),
            serving(hooks={"befor_start": "x"}),
            serving(hooks={"before_start": 3}),
        ],
    )
    def test_it_refuses_what_parse_refuses(self, tables: dict[str, Any]) -> None:
        schema = published.schema()
        assert faults(tables)
        assert not fits(schema, tables, schema)

    def test_it_shows_the_defaults(self) -> None:
        watch = published.schema()["$defs"]["Watch"]["properties"]
        assert (watch["paths"]["default"], watch["settle"]["default"]) == ((".",), "5ms")
        server = published.schema()["$defs"]["Server"]["properties"]
        assert [server[key]["default"] for key in ("ready", "probation", "restart")] == ["auto", "2s", "on-failure"]

    def test_the_repositorys_own_configuration_fits(self) -> None:
        here = Path(__file__).parent.parent / "hotpipe.toml"
        schema = published.schema()
        assert fits(schema, tomllib.loads(here.read_text()), schema)
        assert file.load(str(here), os.curdir).config.server["web"].socket_names() == ("http",)


def test_a_fault_knows_its_key_and_nothing_of_files() -> None:
    assert parse({"bad": 1}) == [Fault(("bad",), "unknown key")]

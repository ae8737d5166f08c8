"""The configuration is found where one expects it, and says all that is wrong with it, each at its line, in one go."""

import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from hotpipe.config import file, model
from hotpipe.config.model import Config, Duration, Fault, Listen, parse
from hotpipe.errors import ConfigError, UsageError

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
        assert raised.value.hint == "write a hotpipe.toml, or name one with --config FILE"

    def test_a_named_pyproject_without_the_table_is_an_error(self, tmp_path: Path) -> None:
        plant(tmp_path, {"pyproject.toml": "[tool.ruff]\n"})
        with pytest.raises(UsageError, match=re.escape("pyproject.toml has no table [tool.hotpipe]")):
            file.load("pyproject.toml", str(tmp_path))

    def test_the_table_must_be_a_table(self, tmp_path: Path) -> None:
        text = '[project]\nname = "x"\n[tool]\nhotpipe = 3\n'
        assert problems(tmp_path, text, "pyproject.toml") == ["pyproject.toml:4: tool.hotpipe: must be a table"]

    @pytest.mark.parametrize(
        "name, said",
        [("gone.toml", "No such file or directory"), (".", "Is a directory"), ("latin", "it is not UTF-8 (byte 3)")],
    )
    def test_a_file_that_cannot_be_read_says_why(self, tmp_path: Path, name: str, said: str) -> None:
        (tmp_path / "latin").write_bytes(b"a='\xe4'")
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
            ("[server.web]\nrun='x'\nlisten = [\n  { tcp = '1' },\n  { udp = '2' },\n]\n", 3, "server.web.listen"),
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
            (serving(strategy="overlap"), 'server.web.strategy: must be "stop-start"'),
            (serving(ready={"http": "/"}), 'server.web.ready: must be "auto"'),
        ],
    )
    def test_of_the_wrong_kind(self, tables: dict[str, Any], said: str) -> None:
        (only,) = faults(tables)
        assert only == said or (said.endswith(" ") and only.startswith(said))

    def test_a_signal_with_sig_is_led_to_its_name(self) -> None:
        assert faults(serving(stop_signal="SIGTERM"))[0].endswith("did you mean 'TERM'?")

    def test_a_faulty_value_is_not_also_blamed_for_what_it_should_have_said(self) -> None:
        assert len(faults(serving(run="serve {fd} {fd:admin}", listen=["8000x"]))) == 1
        assert len(faults({"watch": {"paths": [3]}})) == 1

    @pytest.mark.parametrize(
        "key",
        [
            *("watch.poll", "gate.jobs", "gate.fail_fast", "stage.x.inputs", "stage.x.needs", "stage.x.retries"),
            *("server.x.smoke", "server.x.probation", "server.x.hooks", "server.x.restart", "server.x.needs", "web"),
        ],
    )
    def test_keys_of_the_contract_that_do_not_work_yet_are_refused(self, key: str) -> None:
        tables: dict[str, Any] = {"stage": {"x": {"run": "x"}}, "server": {"x": {"run": "x"}}}
        *path, last = key.split(".")
        table = tables
        for part in path:
            table = table.setdefault(part, {})
        table[last] = "x"
        assert [said.partition(";")[0] for said in faults(tables)] == [f"{key}: unknown key"]

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
        ],
    )
    def test_specs_are_those_of_systemfd(self, written: object, socket: tuple[str, str, int]) -> None:
        listen = Listen.of(written)
        assert (listen.type, listen.host, listen.port, listen.name, listen.backlog) == (*socket, "", 4096)

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
            ("htp::80", "'htp::80': no socket type 'htp'; the types are http, https, tcp; did you mean 'http'?"),
            ("unix::/run/x", "'unix::/run/x': no socket type 'unix'; the types are http, https, tcp"),
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

    def test_names_are_the_type_numbered_from_the_second_on(self) -> None:
        listen = ["http::1", "tcp::2", {"tcp": "3", "name": "admin"}, "http::4", "tcp::5"]
        assert config(serving(listen=listen)).server["web"].socket_names() == ("http", "tcp", "admin", "http2", "tcp2")

    def test_two_of_one_name_are_an_error(self) -> None:
        listen = ["http::1", {"tcp": "2", "name": "http"}]
        assert faults(serving(listen=listen)) == ["server.web.listen: two sockets are named 'http'"]

    @pytest.mark.parametrize("run", ["serve {fd:admin}", ["serve", "--fd", "{fd:admin}"]])
    def test_fd_name_must_be_a_socket(self, run: object) -> None:
        assert config(serving(run=run, listen=["http::1", {"tcp": "2", "name": "admin"}]))
        assert faults(serving(run=run, listen=["http::1", {"tcp": "2", "name": "admins"}])) == [
            "server.web.run: no socket is named 'admin'; did you mean 'admins'?"
        ]

    def test_other_braces_are_nobodys_business(self) -> None:
        assert config(serving(run="awk '{print $1}' {nofd} {} {{}"))


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
            "watch": {"paths": (".",), "ignore": (), "settle": "5ms"},
            "gate": {"trigger": ".trigger"},
            "stage": {"t": {"run": "x", "env": {}, "cwd": "."}},
            "server": {
                "web": {
                    "run": "serve",
                    "listen": [],
                    "start": "now",
                    "strategy": "stop-start",
                    "ready": "auto",
                    "ready_timeout": "30s",
                    "stop_signal": "TERM",
                    "stop_timeout": "10s",
                    "trigger": ".trigger",
                    "env": {},
                    "cwd": ".",
                }
            },
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
    st.sampled_from(["", "http::", "https::", "tcp::"]),
    st.sampled_from(["", "0.0.0.0:", "[::1]:", "host:"]),
    st.integers(0, 65535),
)
named = st.fixed_dictionaries({"tcp": st.just("[::1]:0")}, optional={"backlog": st.integers(1, 4096)})
stages = st.fixed_dictionaries({"run": runs}, optional={"env": environments, "cwd": texts, "timeout": durations})
servers = st.fixed_dictionaries(
    {"run": runs.filter(lambda run: "{fd" not in str(run))},
    optional={
        "listen": st.lists(specs | named, max_size=3),
        "start": st.sampled_from(["now", "green"]),
        "ready_timeout": durations,
        "stop_signal": st.sampled_from(["TERM", "INT", "KILL"]),
        "stop_timeout": durations,
        "env": environments,
        "cwd": texts,
    },
)
written = st.fixed_dictionaries(
    {},
    optional={
        "watch": st.fixed_dictionaries({}, optional={"ignore": st.lists(texts, max_size=2), "settle": durations}),
        "gate": st.fixed_dictionaries({}, optional={"trigger": names}),
        "stage": st.dictionaries(names, stages, max_size=3),
        "server": st.dictionaries(names, servers, max_size=3),
    },
)


class TestRoundTrip:
    @given(written)
    def test_what_config_prints_is_a_configuration_that_means_the_same(self, tables: dict[str, Any]) -> None:
        found = config(tables)
        resolved = model.to_tables(found)
        again = config(tomllib.loads(tomli_w.dumps(resolved)))
        assert model.to_tables(again) == resolved
        assert (again.watch, again.gate, again.stage, again.triggers()) == (
            *(found.watch, found.gate, found.stage),
            found.triggers(),
        )
        for name, server in found.server.items():
            assert again.server[name].socket_names() == server.socket_names()

    @given(written)
    def test_as_json_it_is_the_same(self, tables: dict[str, Any]) -> None:
        resolved = model.to_tables(config(tables))
        assert model.to_tables(config(json.loads(json.dumps(resolved)))) == resolved


def fits(schema: dict[str, Any], value: object, root: dict[str, Any]) -> bool:
    """The part of JSON Schema that the schema uses; a keyword beyond it raises KeyError."""
    checks = {
        "$ref": lambda ref: fits(root["$defs"][ref.removeprefix("#/$defs/")], value, root),
        "anyOf": lambda options: any(fits(option, value, root) for option in options),
        "enum": lambda options: value in options,
        "type": lambda kind: type(value) is KINDS[kind],
        "pattern": lambda pattern: bool(re.search(pattern, str(value))),
        "minimum": lambda least: isinstance(value, int) and value >= least,
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
        **dict.fromkeys(["title", "description", "default", "$defs"], lambda _: True),
    }
    return all(checks[keyword](said) for keyword, said in schema.items())


KINDS = {"object": dict, "array": list, "string": str, "integer": int, "null": type(None)}


class TestSchema:
    @given(written)
    def test_it_accepts_what_parse_accepts(self, tables: dict[str, Any]) -> None:
        schema = model.schema()
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
        ],
    )
    def test_it_refuses_what_parse_refuses(self, tables: dict[str, Any]) -> None:
        schema = model.schema()
        assert faults(tables)
        assert not fits(schema, tables, schema)

    def test_it_shows_the_defaults(self) -> None:
        watch = model.schema()["$defs"]["Watch"]["properties"]
        assert (watch["paths"]["default"], watch["settle"]["default"]) == ((".",), "5ms")

    def test_the_repositorys_own_configuration_fits(self) -> None:
        here = Path(__file__).parent.parent / "hotpipe.toml"
        schema = model.schema()
        assert fits(schema, tomllib.loads(here.read_text()), schema)
        assert file.load(str(here), os.curdir).config.server["web"].socket_names() == ("http",)


def test_a_fault_knows_its_key_and_nothing_of_files() -> None:
    assert parse({"bad": 1}) == [Fault(("bad",), "unknown key")]

"""The JSON Schema describes every key, and is in the package as it is. What it accepts: tests/test_config.py."""

import json
from importlib import resources

import msgspec
import pytest

from hotpipe.config import described, model
from hotpipe.config.schema import schema

TABLES = ("Config", "Watch", "Gate", "Stage", "Server", "Hooks", "Web", "Notify")


@pytest.mark.parametrize("table", TABLES)
def test_every_key_is_described_and_no_other(table: str) -> None:
    keys = {field.name for field in msgspec.structs.fields(getattr(model, table))}
    assert set(described.KEYS[table]) == keys
    assert set(described.EXAMPLES.get(table, {})) <= keys


def test_every_table_is_described() -> None:
    assert set(described.TABLES) == set(described.KEYS) == set(TABLES)
    parts = {name for name, part in schema()["$defs"].items() if "description" in part}
    assert parts == set(TABLES)


@pytest.mark.parametrize("table", TABLES)
def test_an_example_is_one(table: str) -> None:
    kinds = {field.name: field.type for field in msgspec.structs.fields(getattr(model, table))}
    for key, examples in described.EXAMPLES.get(table, {}).items():
        for example in examples:
            faults: list[model.Fault] = []
            model._value(kinds[key], example, (key,), faults)
            assert not faults


def test_nothing_may_be_null() -> None:
    assert "null" not in json.dumps(schema())


def test_every_default_of_ours_is_shown_as_it_is_written() -> None:
    server = schema()["$defs"]["Server"]["properties"]
    assert [server[key].get("default") for key in ("ready", "probation", "watchdog")] == ["auto", "2s", None]


def test_the_package_has_it_for_editors() -> None:
    text = (resources.files("hotpipe") / "config/hotpipe.schema.json").read_text()
    assert json.loads(text) == json.loads(json.dumps(schema())), "python docs/reference.py"

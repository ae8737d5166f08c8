"""The JSON Schema of the configuration, for editors: the types of `model` with the words of `described`.

`hotpipe/config/hotpipe.schema.json` is what it gives, and `make docs` writes it.
"""

from typing import Any

import msgspec

from hotpipe.config import described, model
from hotpipe.config.listen import LISTEN_SCHEMA
from hotpipe.config.model import Duration, Ready, Size
from hotpipe.config.ready import DURATION_SCHEMA, READY_SCHEMA
from hotpipe.config.size import SIZE_SCHEMA

__all__ = ["schema"]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_WRITTEN: dict[type, dict[str, Any]] = {Duration: DURATION_SCHEMA, Size: SIZE_SCHEMA}
_NULL = {"type": "null"}


def schema() -> dict[str, Any]:
    """Of the whole file."""
    found: dict[str, Any] = msgspec.json.schema(model.Config, schema_hook=lambda kind: dict(_WRITTEN.get(kind, {})))
    tables = found["$defs"]
    for name, keys in described.KEYS.items():
        _describe(tables[name], name, keys)
    tables |= {"Listen": LISTEN_SCHEMA, "Ready": READY_SCHEMA}
    return {"$schema": _DIALECT, "title": "hotpipe.toml", "description": described.TABLES["Config"], **found}


def _describe(table: dict[str, Any], name: str, keys: dict[str, str]) -> None:
    fields = {field.name: field for field in msgspec.structs.fields(getattr(model, name))}
    table |= {"description": described.TABLES[name], "additionalProperties": False}
    for key, words in keys.items():
        part = _without_null(table["properties"][key]) | {"description": words}
        if examples := described.EXAMPLES.get(name, {}).get(key):
            part["examples"] = examples
        if (default := _default(fields[key])) is not None:
            part["default"] = default
        table["properties"][key] = part


def _default(field: msgspec.structs.FieldInfo) -> str | None:
    """That of a type of ours, which msgspec cannot show."""
    if field.type is Ready:
        return str(Ready().written())
    return (
        str(field.default_factory())
        if field.type in _WRITTEN and field.default_factory is not msgspec.NODEFAULT
        else None
    )


def _without_null(part: dict[str, Any]) -> dict[str, Any]:
    """TOML cannot say null: a key that is not set is left out."""
    if _NULL not in part.get("anyOf", ()):
        return part
    kinds = [kind for kind in part["anyOf"] if kind != _NULL]
    rest = {key: value for key, value in part.items() if key not in ("anyOf", "default")}
    return rest | (kinds[0] if len(kinds) == 1 else {"anyOf": kinds})

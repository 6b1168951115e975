"""The table as data: what `rpc.api_info` gives, what clients can be made from, and what a level promised.

Types are JSON Schema (2020-12), as msgspec has it. Bytes are `bin` on the wire and `{"$b": base64}` in JSON, which is
what the schema describes; such a place has `"x-msgpack": "bin"`. What fields mean is taken from the docstrings beneath
them, where the sources are at hand.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec

from vcd.rpc.errors import CODES
from vcd.rpc.table import COMPATIBLE, EVENTS, FUNCTIONS, LEVEL, PRERELEASE

_REFERENCE = "#/$defs/{name}"


@cache
def describe() -> dict[str, Any]:
    """Everything, as values of JSON."""
    types = _types()
    schemas, components = msgspec.json.schema_components(types, ref_template=_REFERENCE)
    named = dict(zip(types, schemas, strict=True))
    return {
        "api_level": LEVEL,
        "api_compatible": COMPATIBLE,
        "api_prerelease": PRERELEASE,
        "functions": [
            {
                "name": row.name,
                "doc": row.doc,
                "params": named[row.params],
                "result": named[row.result],
                "socket": row.socket,
                "mutates": row.mutates,
                "unready": row.unready,
                "since": row.since,
                "deprecated_since": row.deprecated_since,
                "errors": list(row.errors),
            }
            for row in FUNCTIONS.values()
        ],
        "events": [
            {
                "type": row.type,
                "doc": row.doc,
                "data": named[row.data],
                "since": row.since,
            }
            for row in EVENTS.values()
        ],
        "errors": [
            {"code": row.code, "num": row.num, "retry": row.retry, "doc": row.doc, "data": list(row.data)}
            for row in CODES.values()
        ],
        "$defs": {name: _plain(schema) for name, schema in sorted(components.items())},
    }


def _types() -> list[type[msgspec.Struct]]:
    found: dict[type[msgspec.Struct], None] = {}
    for function in FUNCTIONS.values():
        found[function.params] = found[function.result] = None
    for event in EVENTS.values():
        found[event.data] = None
    return list(found)


def _plain(schema: Any) -> Any:
    """A schema with bytes as the bridge writes them, and without the names that only our sources have."""
    if isinstance(schema, list):
        return [_plain(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("contentEncoding") == "base64":
        out: dict[str, Any] = {
            "type": "object",
            "properties": {"$b": {"type": "string", "contentEncoding": "base64"}},
            "required": ["$b"],
            "x-msgpack": "bin",
        }
        if "x-bytes" in schema:
            out["x-bytes"] = schema["x-bytes"]
        return out
    return {key: _plain(value) for key, value in schema.items() if key != "title"}


@cache
def meanings(kind: type[msgspec.Struct]) -> Mapping[str, str]:
    """What the fields of a type mean, by the names that they have on the wire."""
    found: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        if issubclass(each, msgspec.Struct) and each is not msgspec.Struct:
            found.update(_meanings(each))
    names = dict(zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True))
    return {names[field]: text for field, text in found.items() if field in names}


def _meanings(kind: type[msgspec.Struct]) -> dict[str, str]:
    try:
        source = inspect.getsource(kind)
    except (OSError, TypeError):
        return {}
    body = ast.parse(textwrap.dedent(source)).body[0]
    assert isinstance(body, ast.ClassDef)  # noqa: S101 - for mypy
    found: dict[str, str] = {}
    for field, text in zip(body.body, body.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
            and isinstance(text.value.value, str)
        ):
            found[field.target.id] = " ".join(text.value.value.split())
    return found

"""The JSON Schema of vcd.toml, for editors: made from the same types as everything else.

It is a help while typing. What decides is `loading`: a schema cannot say how two keys go together, and it sees an
amount's unit but not whether the amount is in range.
"""

from __future__ import annotations

import json

from vcd.config.kinds import Schema
from vcd.config.model import KEYS, SECTIONS, VERSION, Config


def schema() -> Schema:
    properties: Schema = {"version": {"const": VERSION, "description": "Of this format; has to be here."}}
    properties["profile"] = _key("profile", Config().profile)
    for section, made in SECTIONS.items():
        values = made()
        names = [name for name in KEYS if name.startswith(f"{section}.")]
        properties[section] = {
            "type": "object",
            "description": " ".join(str(made.__doc__).split()),
            "properties": {
                name.partition(".")[2]: _key(name, getattr(values, name.partition(".")[2])) for name in names
            },
            "additionalProperties": False,
        }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "vcd.toml",
        "type": "object",
        "properties": properties,
        "required": ["version"],
        "additionalProperties": False,
    }


def _key(name: str, default: object) -> Schema:
    known = KEYS[name]
    return {
        "description": " ".join(known.words.split()),
        **known.kind.schema(),
        "default": json.loads(known.kind.show(default)),
    }


def schema_text() -> str:
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"

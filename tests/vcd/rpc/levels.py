"""What each level of the socket promised: `levels/N.json`, and whether the present table keeps it.

`python -m tests.vcd.rpc.levels` writes the file of the newest level, as long as that is not released. When it is, its
file is never written again, and the next change makes another level.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from vcd.rpc.api import describe
from vcd.rpc.table import LEVEL, PRERELEASE

FOLDER = Path(__file__).with_name("levels")


def promise(described: Any) -> dict[str, Any]:
    """What of a description does not change, or only grows."""
    types = described["$defs"]
    found = {
        "functions": {
            row["name"]: {
                "params": _whole(row["params"], types),
                "result": _whole(row["result"], types),
                "socket": row["socket"],
                "mutates": row["mutates"],
                "since": row["since"],
            }
            for row in described["functions"]
        },
        "events": {row["type"]: _whole(row["data"], types) for row in described["events"]},
        "errors": {row["code"]: row["num"] for row in described["errors"]},
    }
    plain: dict[str, Any] = json.loads(json.dumps(found))
    return plain


def _whole(schema: Any, types: Any) -> Any:
    """A schema with what it refers to in its place."""
    if isinstance(schema, list):
        return [_whole(each, types) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _whole(types[schema["$ref"].rpartition("/")[2]], types)
    return {key: _whole(value, types) for key, value in schema.items() if key != "description"}


def broken(old: Any, new: Any) -> list[str]:
    """What of an older promise a newer one does not keep."""
    out = []
    for name, was in old["functions"].items():
        now = new["functions"].get(name)
        if now is None:
            out.append(f"{name} is gone")
            continue
        out += [
            f"{name}: {part} changed" for part in ("params", "socket", "mutates", "since") if was[part] != now[part]
        ]
        out += [f"{name}: {each}" for each in _shrunk(was["result"], now["result"])]
    for name, data in old["events"].items():
        if name not in new["events"]:
            out.append(f"{name} is gone")
        else:
            out += [f"{name}: {each}" for each in _shrunk(data, new["events"][name])]
    out += [f"{code} changed" for code, number in old["errors"].items() if new["errors"].get(code) != number]
    return out


def _shrunk(old: Any, new: Any, path: str = "") -> list[str]:
    """Fields that are gone, or are something else."""
    if isinstance(old, dict) and isinstance(new, dict) and old.get("type") == new.get("type") == "object":
        out = []
        for name, was in old.get("properties", {}).items():
            now = new.get("properties", {}).get(name)
            out += [f"{path}{name} is gone"] if now is None else _shrunk(was, now, f"{path}{name}.")
        if missing := set(old.get("required", [])) - set(new.get("required", [])):
            out.append(f"{path}{min(missing)} may be missing")
        return out
    if isinstance(old, dict) and isinstance(new, dict) and old.get("type") == new.get("type") == "array":
        return _shrunk(old.get("items"), new.get("items"), path)
    return [] if old == new else [f"{path.rstrip('.')} changed"]


def kept() -> dict[int, Any]:
    return {int(path.stem): json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))}


def main() -> int:
    if not PRERELEASE:
        print(f"level {LEVEL} is released: make another one")
        return 1
    FOLDER.mkdir(exist_ok=True)
    text = json.dumps(promise(describe()), indent=1, sort_keys=True, ensure_ascii=False)
    (FOLDER / f"{LEVEL}.json").write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Who may have something kept by a mailbox: a public key, or a table that gives one tenant a quota of its own."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final

from vcd.config.kinds import DAY, HOUR, Count, Kind, Schema, Size, Time, Wrong, nearest, quoted

QUOTAS: Final[dict[str, Kind]] = {
    "size": Size(0, 1 << 50),
    "frames": Count(0, 10**9),
    "topics": Count(0, 10**6),
    "retention": Time(HOUR, 40 * DAY),
    "slots": Count(0, 10**6),
    "slot_size": Size(0, 1 << 40),
    "packages": Count(0, 10**6),
    "package_size": Size(0, 1 << 40),
    "grants": Count(0, 10**6),
}
"""What one tenant may have; the keys of `[mailbox]` with these names are everybody's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """`quota`: only what differs from the rest, in the order of `QUOTAS`."""

    key: bytes
    quota: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class TenantEntry(Kind):
    def take(self, value: object) -> Tenant:
        if isinstance(value, str):
            return Tenant(key=_key(value))
        if not isinstance(value, dict):
            raise Wrong(f'must be a key in quotes or a table {{ key = "...", size = "..." }}, not {quoted(value)}')
        if "key" not in value:
            raise Wrong('has no "key"')
        tenant = _key(value["key"])
        for name in value:
            if name != "key" and name not in QUOTAS:
                near = nearest(name, ("key", *QUOTAS))
                raise Wrong(f"has an unknown {quoted(name)}; " + (f"did you mean {near}?" if near else "see below"))
        quota = []
        for name, kind in QUOTAS.items():
            if name in value:
                try:
                    quota.append((name, kind.take(value[name])))
                except Wrong as wrong:
                    raise Wrong(f"has a {name} that {wrong}") from None
        return Tenant(key=tenant, quota=tuple(quota))

    def read(self, text: str) -> Tenant:
        return self.take(text.strip())

    def show(self, value: Any) -> str:
        tenant = json.dumps(value.key.hex())
        if not value.quota:
            return tenant
        parts = [f"{name} = {QUOTAS[name].show(amount)}" for name, amount in value.quota]
        return f"{{ key = {', '.join([tenant, *parts])} }}"

    def schema(self) -> Schema:
        one = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
        quotas = {name: kind.schema() for name, kind in QUOTAS.items()}
        table = {
            "type": "object",
            "properties": {"key": one, **quotas},
            "required": ["key"],
            "additionalProperties": False,
        }
        return {"anyOf": [one, table]}


def _key(value: object) -> bytes:
    if not isinstance(value, str) or not re.fullmatch("[0-9a-f]{64}", value):
        raise Wrong("must have a key of 64 digits, 0 to 9 and a to f")
    return bytes.fromhex(value)

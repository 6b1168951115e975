"""What apps asked for, and what came of it: kept for a day, so that the same request again is not done again.

A request is stored by the very batch that carries it out. They are bounded in number and in bytes; if that is not
enough for a day, the oldest go first.
"""

from __future__ import annotations

from typing import Final

from vcd.store.names import Keys
from vcd.store.packing import in_time, pack, unpack
from vcd.store.rooms import Reader, Tx
from vcd.store.rows import one
from vcd.store.trouble import corrupt
from vcd.store.values import Done, NewRequest, RequestRepeated
from vcd.vault.sealing import open_sealed, place

__all__ = ["KEPT_BYTES", "KEPT_MS", "KEPT_REQUESTS", "find", "packed", "write"]

KEPT_MS: Final = 24 * 3600 * 1000
KEPT_REQUESTS: Final = 100_000
KEPT_BYTES: Final = 64 << 20
_AT_ONCE: Final = 32


def packed(request: NewRequest) -> bytes:
    """Checked before it waits in a queue, where only this one task is bothered."""
    if not 1 <= len(request.id) <= 64:
        raise ValueError("the id of a request has 1 to 64 bytes")
    in_time(request.at_ms)
    return pack((request.at_ms, request.method, request.digest, dict(request.result)), "the result of a request")


def _place(request: bytes) -> bytes:
    return place("requests", request, "done", 1)


def _name(keys: Keys, request: bytes) -> bytes:
    return keys.blind("request", request)


def write(tx: Tx, request: NewRequest, data: bytes) -> None:
    name = _name(tx.keys, request.id)
    old = one(tx.db, "ib", "SELECT key, sealed FROM requests WHERE request = ?", (name,))
    if old is not None:
        raise RequestRepeated(_done(open_sealed(tx.names.numbered(tx.db, old[0]), _place(name), old[1]))[1])
    day = tx.ledger.day_of(request.at_ms)
    named = tx.names.of(tx.db, tx.sealer, "requests", day.to_bytes(8))
    sealed = tx.sealer.seal(named.key, _place(name), data)
    tx.db.execute("INSERT INTO requests (request, key, sealed) VALUES (?, ?, ?)", (name, named.id, sealed))
    tx.added("requests", name, sealed)
    _trim(tx, request.at_ms)


def _trim(tx: Tx, now: int) -> None:
    """More go at once than come, so this keeps up; and never so many that somebody waits for it."""
    tally = tx.ledger.tallies["requests"]
    for _ in range(_AT_ONCE):
        if tally.rows <= 1:
            return
        oldest = one(tx.db, "inib", "SELECT id, request, key, sealed FROM requests ORDER BY id LIMIT 1")
        if oldest is None:
            raise corrupt("requests are missing")
        number, name, key, sealed = oldest
        if tally.rows <= KEPT_REQUESTS and tally.bytes <= KEPT_BYTES:
            at_ms, _ = _done(open_sealed(tx.names.numbered(tx.db, key), _place(name), sealed))
            if at_ms > now - KEPT_MS:
                return
        tx.db.execute("DELETE FROM requests WHERE id = ?", (number,))
        tx.took("requests", name, sealed, len(sealed))
        tx.names.emptied("requests", key)


def find(reader: Reader, request: bytes) -> Done | None:
    name = _name(reader.keys, request)
    row = one(reader.db, "ib", "SELECT key, sealed FROM requests WHERE request = ?", (name,))
    return None if row is None else _done(open_sealed(reader.key(row[0]), _place(name), row[1]))[1]


def _done(data: bytes) -> tuple[int, Done]:
    at_ms, method, digest, result = unpack(data)
    return at_ms, Done(method, digest, result)

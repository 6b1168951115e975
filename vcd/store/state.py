"""The node's rows, each sealed under the key of its name, and found again by a keyed hash of its table and key.

All of them are read at once, after a start, and compared with the ledger: it is the state of one commit, or none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from vcd.core.stored import Row, seal_under
from vcd.store.names import OWN, Keys
from vcd.store.rooms import Reader, Tx, compare
from vcd.store.rows import one, select
from vcd.store.trouble import corrupt
from vcd.vault.sealing import open_sealed, place

__all__ = ["load", "write"]

_OLD: Final = "SELECT id, key, substr(sealed, 1, 24), length(sealed) FROM state WHERE row = ?"


def _place(row: bytes) -> bytes:
    return place("state", row, "row", 1)


def _packed(row: Row, value: bytes) -> bytes:
    table = row[0].encode()
    return len(table).to_bytes(2) + table + len(row[1]).to_bytes(4) + row[1] + value


def _unpacked(data: bytes) -> tuple[Row, bytes]:
    table = 2 + int.from_bytes(data[:2])
    key = table + 4 + int.from_bytes(data[table : table + 4])
    return (data[2:table].decode(), data[table + 4 : key]), data[key:]


def _name(keys: Keys, row: Row) -> bytes:
    return keys.blind("state", row[0].encode(), row[1])


def write(tx: Tx, put: Mapping[Row, bytes], gone: Sequence[Row]) -> None:
    db = tx.db
    for row in gone:
        name = _name(tx.keys, row)
        old = one(db, "iibi", _OLD, (name,))
        if old is not None:
            db.execute("DELETE FROM state WHERE id = ?", (old[0],))
            tx.took("state", name, old[2], old[3])
            tx.names.emptied("state", old[1])
    for row, value in put.items():
        under = seal_under(*row)
        number, key = OWN, tx.keys.own
        if under is not None:
            named = tx.names.of(db, tx.sealer, "state", under)
            number, key = named.id, named.key
        name = _name(tx.keys, row)
        sealed = tx.sealer.seal(key, _place(name), _packed(row, value))
        old = one(db, "iibi", _OLD, (name,))
        if old is None:
            db.execute("INSERT INTO state (row, key, sealed) VALUES (?, ?, ?)", (name, number, sealed))
        else:
            db.execute("UPDATE state SET key = ?, sealed = ? WHERE id = ?", (number, sealed, old[0]))
            tx.took("state", name, old[2], old[3])
        tx.added("state", name, sealed)


def load(reader: Reader) -> dict[Row, bytes]:
    rows: dict[Row, bytes] = {}
    total = count = 0
    for name, number, sealed in select(reader.db, "nib", "SELECT row, key, sealed FROM state"):
        row, value = _unpacked(open_sealed(reader.key(number), _place(name), sealed))
        if _name(reader.keys, row) != name:
            raise corrupt("a row of the state is not where it belongs")
        rows[row] = value
        total += reader.keys.marks.of("state", name, sealed)
        count += 1
    compare(reader, "state", total % (1 << 256), count)
    return rows

"""The ledger: one sealed row that says what all others must add up to.

A seal shows that a row was written here, for this place. It cannot show that a row is missing, or that it is the one
of yesterday: that is what a disk leaves behind which wrote some pages and not others. So every commit also writes the
ledger, with a sum over all rows of each table. A row adds a keyed hash of where it is and of the nonce it was sealed
with, which is never used twice; what is replaced or deleted is subtracted. If the sums fit, the rows are those of one
and the same commit. The state is compared whenever it is loaded, everything else by `Store.verify`.

The journal is also known by its first and last number, and every page of it is counted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b
from sqlite3 import Connection
from typing import Final

from vcd.store.packing import pack, unpack
from vcd.store.rows import one
from vcd.store.trouble import corrupt
from vcd.vault.sealing import NONCE_SIZE, Sealer, SealKey, open_sealed, place

__all__ = ["Ledger", "Marks", "Tally", "mark"]

_MODULUS: Final = 1 << 256
_PLACE: Final = place("ledger", b"1", "ledger", 1)

TABLES: Final = ("state", "journal", "history", "requests", "consumers")
"""Every table of sealed rows but the keys, which show that they are there by opening the others."""


@dataclass(slots=True)
class Tally:
    """Of one table."""

    sum: int = 0
    rows: int = 0
    bytes: int = 0

    def add(self, mark: int, size: int) -> None:
        self.sum = (self.sum + mark) % _MODULUS
        self.rows += 1
        self.bytes += size

    def take(self, mark: int, size: int) -> None:
        self.sum = (self.sum - mark) % _MODULUS
        self.rows -= 1
        self.bytes -= size


@dataclass(slots=True, kw_only=True)
class Ledger:
    """What is stored after a commit."""

    log_id: bytes
    commits: int = 0
    floor: int = 1
    last: int = 0
    day: int = 0
    """The newest day that something was sealed for. Days never go back, whatever the clock does."""
    tallies: dict[str, Tally] = field(default_factory=lambda: {name: Tally() for name in TABLES})

    def copy(self) -> Ledger:
        tallies = {name: Tally(each.sum, each.rows, each.bytes) for name, each in self.tallies.items()}
        return Ledger(
            log_id=self.log_id,
            commits=self.commits,
            floor=self.floor,
            last=self.last,
            day=self.day,
            tallies=tallies,
        )

    def day_of(self, at_ms: int) -> int:
        self.day = max(self.day, at_ms // 86_400_000)
        return self.day

    def write(self, db: Connection, sealer: Sealer, key: SealKey) -> None:
        tallies = {name: (each.sum.to_bytes(32), each.rows, each.bytes) for name, each in self.tallies.items()}
        data = pack((self.log_id, self.commits, self.floor, self.last, self.day, tallies), "the ledger")
        db.execute(
            "INSERT INTO ledger (id, sealed) VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET sealed = excluded.sealed",
            (sealer.seal(key, _PLACE, data),),
        )

    @classmethod
    def read(cls, db: Connection, key: SealKey) -> Ledger:
        row = one(db, "b", "SELECT sealed FROM ledger WHERE id = 1")
        if row is None:
            raise corrupt("the ledger is missing")
        found = unpack(open_sealed(key, _PLACE, row[0]))
        log_id, commits, floor, last, day, tallies = found
        return cls(
            log_id=log_id,
            commits=commits,
            floor=floor,
            last=last,
            day=day,
            tallies={name: Tally(int.from_bytes(total), rows, size) for name, (total, rows, size) in tallies.items()},
        )


def mark(*columns: int | bytes) -> bytes:
    """What a row is known by, from all columns that it is found by; each has its own fixed size."""
    return b"".join(column.to_bytes(8) if isinstance(column, int) else column for column in columns)


class Marks:
    """What a row adds to its table's sum."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        self._key = key

    def of(self, table: str, row: bytes, nonce: bytes) -> int:
        digest = blake2b(row + nonce[:NONCE_SIZE], key=self._key, digest_size=32, person=table.encode())
        return int.from_bytes(digest.digest())

"""Reading everything once: does all of it belong together? For `vcd doctor`, and after an end that was no clean one.

SQLite looks at its pages and indexes, the ledger is compared for every table, and the journal is counted. Values are
not opened, except those of the state: a seal that does not open is found when its row is read, and not before.
"""

from __future__ import annotations

from typing import Final

from vcd.store import journal, state
from vcd.store.ledger import mark
from vcd.store.rooms import Reader, compare
from vcd.store.rows import select
from vcd.store.trouble import corrupt

__all__ = ["verify"]

# Only the beginning of a sealed value is read: that is where its nonce is (`sealing.NONCE_SIZE` bytes).
_QUERIES: Final = {
    "journal": ("iiib", "SELECT seq, kind, chat, substr(sealed, 1, 24) FROM journal"),
    "history": ("inib", "SELECT seq, message, chat, substr(sealed, 1, 24) FROM history"),
    "requests": ("nb", "SELECT request, substr(sealed, 1, 24) FROM requests"),
    "consumers": ("nb", "SELECT consumer, substr(sealed, 1, 24) FROM consumers"),
}


def verify(reader: Reader) -> None:
    """`StoreTrouble` if anything does not fit."""
    found = reader.db.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if found != "ok":
        raise corrupt(f"the database is damaged: {found}")
    ledger = journal.bounds(reader)
    state.load(reader)
    for table, (shape, query) in _QUERIES.items():
        total = count = 0
        for *row, nonce in select(reader.db, shape, query):
            total += reader.keys.marks.of(table, mark(*row), nonce)
            count += 1
        compare(reader, table, total % (1 << 256), count)
    if ledger.tallies["journal"].rows != ledger.last + 1 - ledger.floor:
        raise corrupt("entries of the journal are missing")

"""The journal: what happened, in order, as apps are told it. Numbered from 1 without a gap, and durable.

    journal.log_id, journal.floor, journal.last       which journal this is, and what it holds
    page = await journal.read(after, most)             then again from page.next
    await journal.wait(after)                          until there is something newer
    await journal.ack("bot", seq)                      how far a named consumer has come

Entries are sealed under a key for each day (of their `at_ms`; a clock that goes back stays on the day it was), so what
`trim` lets go of is gone with its keys. Entries leave from the oldest on, never out of the middle: `floor` is the
oldest number that is left. Which type an entry has and which chat it belongs to is also kept as keyed hashes, so that a
filter need not open what it skips; whatever it finds is compared again once it is open.

Every page is counted: in a journal that should have numbers 100 to 200, there are a hundred and one rows or the
database is corrupt. A page looks at a bounded number of rows, however few of them a filter lets through.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import trio

from vcd.store.ledger import Ledger, mark
from vcd.store.names import Keys
from vcd.store.packing import in_time, pack, unpack
from vcd.store.rooms import Reader, Tx
from vcd.store.rows import one, select
from vcd.store.trouble import corrupt
from vcd.store.values import (
    PAGE_BYTES,
    PAGE_ITEMS,
    REDACTED,
    CursorExpired,
    CursorUnknown,
    Entry,
    NewEntry,
    Page,
    TooManyConsumers,
)
from vcd.store.worker import Worker
from vcd.vault.sealing import open_sealed, place

__all__ = ["MAX_CONSUMERS", "MAX_NAME", "Journal", "append", "packed", "redact"]

MAX_CONSUMERS: Final = 64
MAX_NAME: Final = 64
LOOKED_AT: Final = 20_000
"""Rows that one page of a filtered journal goes over."""

MAX_FILTER: Final = 1000
_TRIM: Final = 500


def packed(entry: NewEntry) -> bytes:
    """Checked before it waits in a queue, where only this one task is bothered."""
    in_time(entry.at_ms)
    return pack((entry.at_ms, entry.type, entry.chat, dict(entry.data)), "an entry")


def _place(seq: int) -> bytes:
    return place("journal", seq.to_bytes(8), "entry", 1)


def _kind(keys: Keys, name: str) -> int:
    return keys.number("type", name.encode())


def _chat(keys: Keys, chat: bytes | None) -> int:
    return 0 if chat is None else keys.number("chat", chat)


# ---------------------------------------------------------------- in the writer


def append(tx: Tx, entries: Sequence[tuple[NewEntry, bytes]]) -> int:
    """The number of the last entry that there is now."""
    ledger = tx.ledger
    for entry, data in entries:
        seq = ledger.last + 1
        day = ledger.day_of(entry.at_ms)
        named = tx.names.of(tx.db, tx.sealer, "journal", day.to_bytes(8))
        sealed = tx.sealer.seal(named.key, _place(seq), data)
        kind, chat = _kind(tx.keys, entry.type), _chat(tx.keys, entry.chat)
        tx.db.execute(
            "INSERT INTO journal (seq, kind, chat, key, sealed) VALUES (?, ?, ?, ?, ?)",
            (seq, kind, chat, named.id, sealed),
        )
        tx.added("journal", mark(seq, kind, chat), sealed)
        ledger.last = seq
    return ledger.last


def redact(tx: Tx, seq: int) -> None:
    """An entry stays in its place, with its type, time and chat, and without its data."""
    row = one(tx.db, "ibii", "SELECT key, sealed, kind, chat FROM journal WHERE seq = ?", (seq,))
    if row is None:
        if seq >= tx.ledger.floor:
            raise corrupt("an entry of the journal is missing")
        return
    key = tx.names.numbered(tx.db, row[0])
    at_ms, kind, chat, _ = unpack(open_sealed(key, _place(seq), row[1]))
    sealed = tx.sealer.seal(key, _place(seq), pack((at_ms, kind, chat, {REDACTED: True}), "an entry"))
    tx.db.execute("UPDATE journal SET sealed = ? WHERE seq = ?", (sealed, seq))
    tx.took("journal", mark(seq, *row[2:]), row[1], len(row[1]))
    tx.added("journal", mark(seq, *row[2:]), sealed)


def _trim(tx: Tx, before_ms: int, most: int) -> bool:
    """The oldest entries that are older than this, or more than `most`; some at a time. Whether there may be more."""
    ledger = tx.ledger
    for _ in range(_TRIM):
        if ledger.floor > ledger.last:
            return False
        row = one(tx.db, "ibii", "SELECT key, sealed, kind, chat FROM journal WHERE seq = ?", (ledger.floor,))
        if row is None:
            raise corrupt("an entry of the journal is missing")
        number, sealed, *found_by = row
        if ledger.last - ledger.floor < most:
            key = tx.names.numbered(tx.db, number)
            if unpack(open_sealed(key, _place(ledger.floor), sealed))[0] >= before_ms:
                return False
        tx.db.execute("DELETE FROM journal WHERE seq = ?", (ledger.floor,))
        tx.took("journal", mark(ledger.floor, *found_by), sealed, len(sealed))
        tx.names.emptied("journal", number)
        ledger.floor += 1
    return True


# ---------------------------------------------------------------- in the reader


def bounds(reader: Reader) -> Ledger:
    """The ledger, once the journal's ends are found to be where it says."""
    ledger = reader.ledger()
    first, last = reader.db.execute("SELECT min(seq), max(seq) FROM journal").fetchone()
    if (first or ledger.last + 1, last or ledger.last) != (ledger.floor, ledger.last):
        raise corrupt("the journal does not begin or end where it should")
    return ledger


def _page(
    reader: Reader, after: int, last: int, most: int, types: frozenset[str] | None, chats: frozenset[bytes] | None
) -> Page:
    ledger = reader.ledger()
    if after < ledger.floor - 1:
        raise CursorExpired(ledger.floor)
    if after > ledger.last:
        raise CursorUnknown(ledger.last)
    most = max(1, min(most, PAGE_ITEMS))
    filtered = types is not None or chats is not None
    upto = max(after, min(ledger.last, last, after + (LOOKED_AT if filtered else most)))
    counted = reader.db.execute("SELECT count(*) FROM journal WHERE seq > ? AND seq <= ?", (after, upto)).fetchone()[0]
    if counted != upto - after:
        raise corrupt("entries of the journal are missing")
    query = "SELECT seq, key, sealed FROM journal WHERE seq > ? AND seq <= ?"
    values = [after, upto]
    # Sorted: a set has no order, and the same question should be the same statement.
    for column, wanted in (
        ("kind", None if types is None else sorted(_kind(reader.keys, name) for name in types)),
        ("chat", None if chats is None else sorted(_chat(reader.keys, chat) for chat in chats)),
    ):
        if wanted is not None:
            query += f" AND {column} IN ({','.join('?' * len(wanted))})"
            values += wanted
    entries: list[Entry] = []
    size = 0
    seen = after
    for seq, number, sealed in select(reader.db, "iib", query + " ORDER BY seq", values):
        if seq <= seen or (not filtered and seq != seen + 1):
            raise corrupt("entries of the journal are missing")
        seen = seq
        at_ms, kind, chat, data = unpack(open_sealed(reader.key(number), _place(seq), sealed))
        if (types is not None and kind not in types) or (chats is not None and chat not in chats):
            continue
        entries.append(Entry(seq, at_ms, kind, chat, data))
        size += len(sealed)
        if len(entries) >= most or size >= PAGE_BYTES:
            return Page(entries, seq)
    return Page(entries, upto)


def consumers(reader: Reader) -> dict[str, int]:
    found: dict[str, int] = {}
    for name, sealed in select(reader.db, "nb", "SELECT consumer, sealed FROM consumers"):
        consumer, seq = unpack(open_sealed(reader.keys.own, _consumer_place(name), sealed))
        found[consumer] = seq
    return found


def _consumer_place(name: bytes) -> bytes:
    return place("consumers", name, "cursor", 1)


def _acknowledge(tx: Tx, consumer: str, seq: int | None) -> int | None:
    """Move a consumer forward, or forget it. Where it is then."""
    name = tx.keys.blind("consumer", consumer.encode())
    old = one(tx.db, "b", "SELECT sealed FROM consumers WHERE consumer = ?", (name,))
    if old is None and (seq is None or tx.ledger.tallies["consumers"].rows >= MAX_CONSUMERS):
        if seq is None:
            return None
        raise TooManyConsumers
    if seq is not None and seq > tx.ledger.last:
        raise CursorUnknown(tx.ledger.last)
    if old is not None:
        if seq is not None:
            seq = max(seq, unpack(open_sealed(tx.keys.own, _consumer_place(name), old[0]))[1])
        tx.db.execute("DELETE FROM consumers WHERE consumer = ?", (name,))
        tx.took("consumers", name, old[0], len(old[0]))
    if seq is not None:
        sealed = tx.sealer.seal(tx.keys.own, _consumer_place(name), pack((consumer, seq), "a cursor"))
        tx.db.execute("INSERT INTO consumers (consumer, sealed) VALUES (?, ?)", (name, sealed))
        tx.added("consumers", name, sealed)
    return seq


# ---------------------------------------------------------------- for tasks


class Journal:
    """The journal of a store that is open."""

    def __init__(
        self,
        reader: Worker[Reader],
        write: Callable[..., Any],
        ledger: Ledger,
        acked: Mapping[str, int],
    ) -> None:
        self._reader = reader
        self._write = write
        self._acked = dict(acked)
        self._more = trio.Event()
        self.log_id: bytes = ledger.log_id
        """16 random bytes. Others from when numbers may mean something else than they did."""
        self.floor: int = ledger.floor
        """The number of the oldest entry that is kept; `last + 1` if there is none."""
        self.last: int = ledger.last
        """The number of the newest entry; 0 before there ever was one."""

    def moved(self, ledger: Ledger) -> None:
        """Something was committed."""
        self.log_id, self.floor = ledger.log_id, ledger.floor
        if ledger.last > self.last:
            self.last = ledger.last
            self._more.set()
            self._more = trio.Event()

    async def read(
        self,
        after: int,
        most: int,
        types: frozenset[str] | None = None,
        chats: frozenset[bytes] | None = None,
    ) -> Page:
        """Up to `most` entries behind `after`. `CursorExpired` if some of them are gone, `CursorUnknown` from ahead.

        Never beyond `last`, though the writer may have more on disk already: a caller comes back with `Page.next`.
        """
        if max(len(types or ()), len(chats or ())) > MAX_FILTER:
            raise ValueError(f"a filter names up to {MAX_FILTER} types and as many chats")
        last = self.last
        return await self._reader.run(lambda reader: _page(reader, after, last, most, types, chats), keep=False)

    async def wait(self, after: int) -> None:
        """Until there is something newer. Forever, if there never is."""
        while self.last <= after:
            await self._more.wait()
        await trio.lowlevel.checkpoint()

    async def ack(self, consumer: str, seq: int) -> None:
        """This consumer needs nothing up to here any more. Never goes back."""
        if not 1 <= len(consumer.encode()) <= MAX_NAME or seq < 0:
            raise ValueError(f"a consumer's name has 1 to {MAX_NAME} bytes, and its cursor is not below 0")
        now = await self._write(lambda tx: _acknowledge(tx, consumer, seq))
        self._acked[consumer] = max(now, self._acked.get(consumer, 0))

    def acked(self, consumer: str) -> int:
        """How far a consumer has come; 0 for one that never said."""
        return self._acked.get(consumer, 0)

    @property
    def consumers(self) -> Mapping[str, int]:
        return dict(self._acked)

    async def forget(self, consumer: str) -> None:
        """There is no such consumer any more."""
        await self._write(lambda tx: _acknowledge(tx, consumer, None))
        self._acked.pop(consumer, None)

    async def trim(self, before_ms: int, most: int) -> None:
        """Let go of the oldest entries, as long as they are older than this, or there are more than `most`."""
        while await self._write(lambda tx: _trim(tx, before_ms, most)):
            await trio.lowlevel.checkpoint()

    async def renew(self) -> None:
        """Another `log_id`: for a state that was restored, whose numbers others may have seen with other contents."""

        def apply(tx: Tx) -> None:
            tx.ledger.log_id = os.urandom(16)

        await self._write(apply)

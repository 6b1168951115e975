"""Small sealed values that change: GroupInfo, lists of conversations. Functions on an open transaction.

A slot is named by the hash of a public key, and every version of it is signed by that key with a number. Only a
higher number replaces what is there, so nobody who saw an older version can put it back. The number outlives
the data: it is kept until the latest time that any version seen here was valid to.

A tenant makes a slot and pays for it; from then on everybody with its key writes to it, such as the other
members of a conversation. Mailboxes do not copy slots to one another: whoever writes one writes it to each, and
whoever reads takes the highest number. A mailbox that lost its disk has no slots until they are written again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Final

from transport.access import LONGEST
from transport.base import Milliseconds, TopicId
from transport.mailbox.records import Slot, SlotName
from transport.mailbox.tenants import Quota
from transport.mailbox.wire import Answer, Failure

_CLEARED: Final = b""


def put(
    db: sqlite3.Connection, slot: Slot, tenant: bytes | None, quotas: Mapping[bytes, Quota], now: Milliseconds
) -> Answer:
    """Take a version of a slot. The same version again is no mistake."""
    if not now < slot.expires <= now + LONGEST:
        return Answer(failure=Failure.EXPIRED)
    row = db.execute("SELECT tenant, number, horizon, record FROM slot WHERE name = ?", (slot.name,)).fetchone()
    payer = row[0] if row else tenant
    quota = quotas.get(payer) if payer is not None else None
    if quota is None:
        return Answer(failure=Failure.NOT_FOUND)
    if row and slot.number <= row[1]:
        return Answer() if slot.record == row[3] else Answer(failure=Failure.STALE, detail=row[1])
    count, used = db.execute(
        "SELECT count(*), coalesce(sum(length(record)), 0) FROM slot WHERE tenant = ? AND name <> ?",
        (payer, slot.name),
    ).fetchone()
    if count >= quota.slots or used + len(slot.record) > quota.slot_bytes:
        return Answer(failure=Failure.FULL)
    horizon = max(slot.expires, row[2]) if row else slot.expires
    db.execute(
        "INSERT INTO slot VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET topic = excluded.topic, "
        "number = excluded.number, expires = excluded.expires, horizon = excluded.horizon, record = excluded.record",
        (slot.name, payer, slot.topic, slot.number, slot.expires, horizon, slot.record),
    )
    return Answer()


def reader_topic(db: sqlite3.Connection, name: SlotName, now: Milliseconds) -> TopicId | None:
    """Which topic's readers may read the slot; None if there is no such slot."""
    row = db.execute("SELECT topic FROM slot WHERE name = ? AND expires > ?", (name, now)).fetchone()
    return TopicId(row[0]) if row else None


def read(db: sqlite3.Connection, name: SlotName, after: int) -> bytes:
    """The record of a slot that is there, or nothing if it is not newer than `after`."""
    number, record = db.execute("SELECT number, record FROM slot WHERE name = ?", (name,)).fetchone()
    return bytes(record) if number > after else b""


def forget_old(db: sqlite3.Connection, now: Milliseconds) -> None:
    db.execute("DELETE FROM slot WHERE horizon <= ?", (now,))
    db.execute("UPDATE slot SET record = ? WHERE expires <= ? AND record <> ?", (_CLEARED, now, _CLEARED))

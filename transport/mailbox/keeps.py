"""Which topics are kept, for whom, under which token, and what that uses. Functions on an open transaction.

A tenant has a topic kept by giving the mailbox a token of it. Several tenants may keep one topic; the one that
has kept it for longest pays for all of it, and the next one when it releases the topic. A keep lasts as long as
its token: after that the topic is no longer taken part in, its frames stay until they expire, and another keep
brings it back. When nobody keeps a topic, its frames go.

Room is judged when a frame comes, before it is stored. One that does not fit becomes hollow: its id is noted, so
that sync does not offer it again with every round, and forgotten when there is room again, so that it does. The
notes are bounded too: by the tenant's quota of frames, once for those that are kept or gone and once more for
those that were declined. Beyond that, frames are declined without a trace.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from transport.access import Credential, Floor, Token, parse
from transport.base import MAX_LIFE, Frame, FrameId, Milliseconds, Topic, TopicId
from transport.mailbox.disk import SWEEP, insert
from transport.mailbox.schema import State
from transport.mailbox.tenants import Quota, Tenant

AGAIN: Final = 8
"""Declined frames are asked for again when one part in this many of the quota is free."""


@dataclass(slots=True)
class Room:
    """What a tenant may still have stored."""

    bytes: int
    frames: int
    declined: int
    retention: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """The mailbox takes no part in this topic any more; `forget`: and keeps nothing of it."""

    topic: TopicId
    forget: bool


def list_tenants(db: sqlite3.Connection, tenants: Iterable[Tenant]) -> None:
    db.execute("UPDATE tenant SET listed = 0")
    db.executemany(
        "INSERT INTO tenant (key, listed) VALUES (?, 1) ON CONFLICT (key) DO UPDATE SET listed = 1",
        [(tenant.key,) for tenant in tenants],
    )


# ---------------------------------------------------------------- keeping topics


def keep(db: sqlite3.Connection, tenant: bytes, token: Token, quota: Quota) -> bool:
    """Keep a topic for a tenant, or keep it with a newer token; False if that is one topic too many."""
    row = (token.topic, tenant)
    if not db.execute("SELECT 1 FROM keep WHERE topic = ? AND tenant = ?", row).fetchone():
        (count,) = db.execute("SELECT count(*) FROM keep WHERE tenant = ?", (tenant,)).fetchone()
        if count >= quota.topics:
            return False
    db.execute(
        "INSERT INTO keep (topic, tenant, token, expires) VALUES (?, ?, ?, ?) ON CONFLICT (topic, tenant) "
        "DO UPDATE SET token = excluded.token, expires = excluded.expires",
        (*row, token.record, token.expires),
    )
    return True


def release(db: sqlite3.Connection, tenant: bytes, topic: TopicId) -> bool:
    """Whether it was kept for this tenant."""
    return db.execute("DELETE FROM keep WHERE topic = ? AND tenant = ?", (topic, tenant)).rowcount > 0


def raise_floor(db: sqlite3.Connection, floor: Floor) -> bool:
    """Note a floor whose signature was checked; whether it is higher than the one before."""
    return (
        db.execute(
            "INSERT INTO floor VALUES (?, ?, ?) ON CONFLICT (topic) DO UPDATE "
            "SET generation = excluded.generation, record = excluded.record WHERE excluded.generation > generation",
            (floor.topic, floor.generation, floor.record),
        ).rowcount
        > 0
    )


def lowest_generation(db: sqlite3.Connection, topic: TopicId) -> int:
    row = db.execute("SELECT generation FROM floor WHERE topic = ?", (topic,)).fetchone()
    return int(row[0]) if row else 0


def is_kept(db: sqlite3.Connection, topic: TopicId) -> bool:
    return db.execute("SELECT 1 FROM keep WHERE topic = ?", (topic,)).fetchone() is not None


def standing(db: sqlite3.Connection, topic: TopicId, now: Milliseconds) -> Topic | Left:
    """How the mailbox takes part in a topic now: with the token that lasts longest, or not at all."""
    lowest = lowest_generation(db, topic)
    rows = db.execute(
        "SELECT keep.token FROM keep JOIN tenant ON tenant.key = keep.tenant AND tenant.listed "
        "WHERE topic = ? AND expires > ? ORDER BY expires DESC, seq",
        (topic, now),
    )
    for (record,) in rows:
        claim = (parse(record) or Credential()).claim
        if isinstance(claim, Token) and claim.generation >= lowest:
            floor = db.execute("SELECT record FROM floor WHERE topic = ?", (topic,)).fetchone()
            return Topic(id=topic, token=(floor[0] if floor else b"") + record)
    return Left(topic=topic, forget=not is_kept(db, topic))


def standings(db: sqlite3.Connection, now: Milliseconds) -> list[Topic | Left]:
    """The same for every topic that is kept, or that something is left of."""
    rows = db.execute("SELECT topic FROM keep UNION SELECT topic FROM usage ORDER BY topic").fetchall()
    return [standing(db, TopicId(topic), now) for (topic,) in rows]


def forget_old(db: sqlite3.Connection, now: Milliseconds) -> None:
    """Keeps whose token ended so long ago that no frame can be left, and floors of topics that nobody keeps."""
    db.execute("DELETE FROM keep WHERE expires < ?", (now - MAX_LIFE,))
    db.execute("DELETE FROM floor WHERE topic NOT IN (SELECT topic FROM keep)")


# ---------------------------------------------------------------- room for frames


def room(db: sqlite3.Connection, tenant: bytes, quota: Quota) -> Room:
    used, frames, declined = db.execute(
        "SELECT coalesce(sum(bytes), 0), coalesce(sum(frames + gone), 0), coalesce(sum(declined), 0) "
        "FROM payer JOIN usage USING (topic) WHERE tenant = ?",
        (tenant,),
    ).fetchone()
    return Room(quota.bytes - used, quota.frames - frames, quota.frames - declined, quota.retention)


def payer(db: sqlite3.Connection, topic: TopicId) -> bytes | None:
    row = db.execute("SELECT tenant FROM payer WHERE topic = ?", (topic,)).fetchone()
    return bytes(row[0]) if row else None


def admit(
    db: sqlite3.Connection,
    frames: Iterable[Frame],
    quotas: Mapping[bytes, Quota],
    rooms: dict[bytes, Room],
    now: Milliseconds,
) -> tuple[list[FrameId], int]:
    """Store what there is room for; the ids that were not known before (hollow ones too), and how many had no room.

    `rooms` is what is known of the tenants' room, and is kept right.
    """
    new, full = [], 0
    payers: dict[TopicId, bytes | None] = {}
    for frame in frames:
        if frame.topic not in payers:
            payers[frame.topic] = payer(db, frame.topic)
        tenant = payers[frame.topic]
        if tenant is None or db.execute("SELECT 1 FROM frame WHERE id = ?", (frame.id,)).fetchone():
            continue
        left = rooms.get(tenant)
        if left is None:
            left = rooms[tenant] = room(db, tenant, quotas[tenant])
        size = len(frame.head) + len(frame.payload)
        if left.bytes >= size and left.frames > 0:
            left.bytes -= size
            left.frames -= 1
            insert(db, frame, State.KEPT, min(frame.expires, now + left.retention))
        else:
            full += 1
            if left.declined <= 0:
                continue
            left.declined -= 1
            insert(db, frame, State.DECLINED, frame.expires)
        new.append(frame.id)
    return new, full


def delete(db: sqlite3.Connection, topic: TopicId, ids: Sequence[FrameId]) -> int:
    """Make these frames hollow, or all of the topic if none is named; how many there were."""
    gone = "UPDATE frame SET state = ?, head = x'', payload = x'' WHERE topic = ? AND state = ?"
    row = (State.GONE, topic, State.KEPT)
    if not ids:
        return db.execute(gone, row).rowcount
    return sum(db.execute(gone + " AND id = ?", (*row, id_)).rowcount for id_ in ids)


def outlived(db: sqlite3.Connection, now: Milliseconds) -> int:
    """Make hollow what was kept for as long as its tenant may; how many rows, `SWEEP` at most."""
    return db.execute(
        "UPDATE frame SET state = ?, head = x'', payload = x'' WHERE rowid IN (SELECT rowid FROM frame "
        "WHERE until < expires AND state = 0 AND until <= ? LIMIT ?)",
        (State.GONE, now, SWEEP),
    ).rowcount


def reopen(db: sqlite3.Connection, quotas: Mapping[bytes, Quota]) -> list[TopicId]:
    """Forget what was declined where there is room again, for sync to bring it; in which topics."""
    rows = db.execute("SELECT topic, tenant FROM payer JOIN usage USING (topic) WHERE declined > 0").fetchall()
    reopened = []
    for topic, tenant in rows:
        quota = quotas[tenant]
        left = room(db, tenant, quota)
        if left.bytes * AGAIN < quota.bytes or left.frames * AGAIN < quota.frames or not quota.bytes:
            continue
        db.execute("DELETE FROM frame WHERE topic = ? AND state = ?", (topic, State.DECLINED))
        reopened.append(TopicId(topic))
    return reopened

"""The tables of a mailbox's file, and how an older file becomes a newer one.

`STEPS[n]` takes a file of version n to version n + 1, in one transaction that also notes it. A file that is
newer than this program is refused untouched. A step is never edited once it was in a release.

A frame is kept, or it is *hollow*: its id is known until it expires, its bytes are not here. Hollow ones are
what sync must not bring again: deleted, older than the tenant's retention, or declined for want of room. Sums
per topic are kept by triggers, so that they are right whatever statement changed a row.
"""

from __future__ import annotations

import enum
import sqlite3
from typing import Final

from transport.base import TransportError

APPLICATION: Final = 0x7663646D
"""SQLite's application id: "vcdm"."""


class FileRefused(TransportError):
    """This file is not a mailbox's, or was written by a newer version of this program."""


class State(enum.IntEnum):
    """What there is of a frame."""

    KEPT = 0
    DECLINED = 1  # no room when it came
    GONE = 2  # deleted, or kept for as long as the tenant may


_FIRST: Final = """
CREATE TABLE frame (
    id      BLOB PRIMARY KEY,
    topic   BLOB NOT NULL,
    expires INTEGER NOT NULL,
    until   INTEGER NOT NULL,
    state   INTEGER NOT NULL,
    head    BLOB NOT NULL,
    payload BLOB NOT NULL
) STRICT;
CREATE INDEX frame_topic ON frame (topic, expires, id);
CREATE INDEX frame_expires ON frame (expires);
CREATE INDEX frame_until ON frame (until) WHERE until < expires AND state = 0;

CREATE TABLE usage (
    topic    BLOB PRIMARY KEY,
    bytes    INTEGER NOT NULL DEFAULT 0,
    frames   INTEGER NOT NULL DEFAULT 0,
    gone     INTEGER NOT NULL DEFAULT 0,
    declined INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE TRIGGER frame_added AFTER INSERT ON frame BEGIN
    INSERT INTO usage (topic) VALUES (new.topic) ON CONFLICT DO NOTHING;
    UPDATE usage SET bytes = bytes + (new.state = 0) * (length(new.head) + length(new.payload)),
        frames = frames + (new.state = 0), gone = gone + (new.state = 2), declined = declined + (new.state = 1)
        WHERE topic = new.topic;
END;
CREATE TRIGGER frame_changed AFTER UPDATE OF state ON frame BEGIN
    UPDATE usage SET bytes = bytes + (new.state = 0) * (length(new.head) + length(new.payload))
            - (old.state = 0) * (length(old.head) + length(old.payload)),
        frames = frames + (new.state = 0) - (old.state = 0), gone = gone + (new.state = 2) - (old.state = 2),
        declined = declined + (new.state = 1) - (old.state = 1)
        WHERE topic = new.topic;
END;
CREATE TRIGGER frame_removed AFTER DELETE ON frame BEGIN
    UPDATE usage SET bytes = bytes - (old.state = 0) * (length(old.head) + length(old.payload)),
        frames = frames - (old.state = 0), gone = gone - (old.state = 2), declined = declined - (old.state = 1)
        WHERE topic = old.topic;
    DELETE FROM usage WHERE topic = old.topic AND frames = 0 AND gone = 0 AND declined = 0;
END;

CREATE TABLE tenant (
    key        BLOB PRIMARY KEY,
    listed     INTEGER NOT NULL,
    generation INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE TABLE keep (
    seq     INTEGER PRIMARY KEY,
    topic   BLOB NOT NULL,
    tenant  BLOB NOT NULL,
    token   BLOB NOT NULL,
    expires INTEGER NOT NULL,
    UNIQUE (topic, tenant)
) STRICT;
CREATE INDEX keep_tenant ON keep (tenant, topic);
CREATE VIEW payer AS SELECT keep.topic, keep.tenant FROM keep WHERE keep.seq = (
    SELECT min(other.seq) FROM keep AS other JOIN tenant ON tenant.key = other.tenant AND tenant.listed
    WHERE other.topic = keep.topic);

CREATE TABLE floor (
    topic      BLOB PRIMARY KEY,
    generation INTEGER NOT NULL,
    record     BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE slot (
    name    BLOB PRIMARY KEY,
    tenant  BLOB NOT NULL,
    topic   BLOB NOT NULL,
    number  INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    horizon INTEGER NOT NULL,
    record  BLOB NOT NULL
) STRICT;
CREATE INDEX slot_tenant ON slot (tenant);
CREATE INDEX slot_horizon ON slot (horizon);

CREATE TABLE package (
    tenant  BLOB NOT NULL,
    id      BLOB NOT NULL,
    stock   INTEGER NOT NULL,
    lasting INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    state   INTEGER NOT NULL,
    changed INTEGER NOT NULL,
    data    BLOB NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT;
CREATE INDEX package_stock ON package (tenant, stock, lasting, expires) WHERE state = 0;
CREATE INDEX package_expires ON package (expires);
CREATE INDEX package_changed ON package (changed) WHERE state <> 0;

CREATE TABLE handout (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant  BLOB NOT NULL,
    package BLOB NOT NULL,
    holder  BLOB NOT NULL,
    request BLOB NOT NULL,
    at      INTEGER NOT NULL
) STRICT;
CREATE INDEX handout_tenant ON handout (tenant, seq);
CREATE INDEX handout_request ON handout (tenant, holder, request);
CREATE INDEX handout_at ON handout (at);

CREATE TABLE granted (
    tenant  BLOB NOT NULL,
    serial  BLOB NOT NULL,
    taken   INTEGER NOT NULL,
    last    INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    PRIMARY KEY (tenant, serial)
) STRICT, WITHOUT ROWID;
"""

_NAMED: Final = """
CREATE TABLE file (
    name INTEGER NOT NULL
) STRICT;
INSERT INTO file VALUES (random() & 9223372036854775807);
"""
"""Another name is another file: what a tenant left in the one before is gone."""

STEPS: Final = (_FIRST, _NAMED)


def check(db: sqlite3.Connection) -> None:
    """`FileRefused` if this open file is not for us to write to. Changes nothing."""
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != APPLICATION and (application or tables):
        raise FileRefused("the file holds something else than a mailbox")
    version = _version(db) if tables else 0
    if version > len(STEPS):
        raise FileRefused(f"the file has version {version}, this program knows {len(STEPS)}")


def prepare(db: sqlite3.Connection) -> None:
    """Bring a file that was checked to this program's version."""
    db.execute(f"PRAGMA application_id = {APPLICATION}")
    db.execute("CREATE TABLE IF NOT EXISTS migration (version INTEGER PRIMARY KEY) STRICT")
    version = _version(db)
    for number, step in enumerate(STEPS[version:], version + 1):
        db.executescript("BEGIN IMMEDIATE;" + step)
        db.execute("INSERT INTO migration VALUES (?)", (number,))
        db.execute("COMMIT")


def _version(db: sqlite3.Connection) -> int:
    (version,) = db.execute("SELECT coalesce(max(version), 0) FROM migration").fetchone()
    return int(version)

"""The database's format, step by step: numbered migrations, each in one transaction.

`PRAGMA user_version` is the number of the last migration that was done. A database with a higher one is not touched:
the version of the program that wrote it is in it, and the refusal names that. Before the first migration of a database
that has something in it, the file is copied beside it, and the copy is deleted when all are done: it holds keys that
have to go, and after the first message that was sent it would be useless anyway. If a migration fails or the power
does, the database stands behind the last one that was done, and the next start goes on from there; the copy stays
until that went well.

Tables are STRICT. A column is never given another meaning: a new one is added, and its places (`vcd.vault.place`) have
a higher version.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from sqlite3 import Connection
from typing import Final

from vcd import __version__
from vcd.store.ledger import Ledger
from vcd.store.names import Keys
from vcd.store.trouble import StoreTrouble, Trouble, corrupt, told
from vcd.store.values import Progress
from vcd.vault.files import sync_directory
from vcd.vault.sealing import Sealer

__all__ = ["APPLICATION", "MIGRATIONS", "Migration", "Step", "migrate", "version_of"]

APPLICATION: Final = 0x76636431  # "vcd1"
_COPY_PAGES: Final = 512

TABLES: Final = """
CREATE TABLE info (
    name TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL
) STRICT;
CREATE TABLE ledger (
    id INTEGER PRIMARY KEY NOT NULL CHECK (id = 1),
    sealed BLOB NOT NULL
) STRICT;
-- A number is never given again, so no row can come under a key that it was not sealed with.
CREATE TABLE keys (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    name BLOB NOT NULL UNIQUE,
    sealed BLOB NOT NULL
) STRICT;
CREATE TABLE state (
    id INTEGER PRIMARY KEY NOT NULL,
    row BLOB NOT NULL UNIQUE,
    key INTEGER NOT NULL,
    sealed BLOB NOT NULL
) STRICT;
CREATE INDEX state_by_key ON state (key) WHERE key > 0;
CREATE TABLE journal (
    seq INTEGER PRIMARY KEY NOT NULL,
    kind INTEGER NOT NULL,
    chat INTEGER NOT NULL,
    key INTEGER NOT NULL,
    sealed BLOB NOT NULL
) STRICT;
CREATE TABLE history (
    seq INTEGER PRIMARY KEY NOT NULL,
    chat INTEGER NOT NULL,
    message BLOB NOT NULL UNIQUE,
    key INTEGER NOT NULL,
    sealed BLOB NOT NULL
) STRICT;
CREATE INDEX history_by_chat ON history (chat, seq);
CREATE INDEX history_by_key ON history (key);
CREATE TABLE requests (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    request BLOB NOT NULL UNIQUE,
    key INTEGER NOT NULL,
    sealed BLOB NOT NULL
) STRICT;
CREATE TABLE consumers (
    id INTEGER PRIMARY KEY NOT NULL,
    consumer BLOB NOT NULL UNIQUE,
    sealed BLOB NOT NULL
) STRICT;
CREATE TABLE frames (
    id INTEGER PRIMARY KEY NOT NULL,
    topic BLOB NOT NULL,
    frame BLOB NOT NULL,
    expires INTEGER NOT NULL,
    tags BLOB NOT NULL,
    head BLOB NOT NULL,
    payload BLOB NOT NULL,
    digested INTEGER NOT NULL DEFAULT 0,
    UNIQUE (topic, frame)
) STRICT;
CREATE INDEX frames_by_expiry ON frames (expires);
CREATE INDEX frames_undigested ON frames (id) WHERE digested = 0;
"""


@dataclass(frozen=True, slots=True)
class Step:
    """What a migration works with."""

    db: Connection
    keys: Keys
    vault_id: bytes
    sealer: Sealer
    progress: Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Migration:
    name: str
    apply: Callable[[Step], None]


def _begin(step: Step) -> None:
    for statement in TABLES.split(";\n"):
        if statement.strip():
            step.db.execute(statement)
    step.db.execute(f"PRAGMA application_id = {APPLICATION}")
    step.db.execute("INSERT INTO info VALUES ('vault', ?)", (step.vault_id.hex(),))
    Ledger(log_id=os.urandom(16)).write(step.db, step.sealer, step.keys.ledger)


MIGRATIONS: Final[Sequence[Migration]] = (Migration("the first tables", _begin),)


def version_of(db: Connection, vault_id: bytes | None, newest: int) -> int:
    """The number of a database's last migration. Looks only; refuses what is not ours to open."""
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    application: int = db.execute("PRAGMA application_id").fetchone()[0]
    if version == 0 and db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0:
        return 0
    if application != APPLICATION:
        raise corrupt("this is no database of vcd")
    info = dict(db.execute("SELECT name, value FROM info").fetchall())
    if version > newest:
        writer = str(info.get("written by", ""))[:40]
        raise StoreTrouble(
            Trouble.NEWER,
            f"the database is of vcd {writer or 'unknown'}, in format {version};"
            f" this is vcd {__version__}, which reads up to format {newest}",
            writer=writer if writer.isprintable() else "",
        )
    vault = info.get("vault")
    if not isinstance(vault, str) or len(vault) != 32:
        raise corrupt("the database does not say which vault it belongs to")
    if vault_id is not None and vault != vault_id.hex():
        raise StoreTrouble(Trouble.FOREIGN, "the database was made with another vault")
    return version


def migrate(
    db: Connection,
    path: Path,
    step: Callable[[Callable[[int, int], None]], Step],
    progress: Callable[[Progress], None],
    migrations: Sequence[Migration],
) -> int:
    """Bring a database up to the newest format. How many migrations were done."""
    version, of = version_of(db, None, len(migrations)), len(migrations)
    copy = path.with_name(f"{path.name}.before-{of}")
    if 0 < version < of:
        _copy(db, copy, lambda done, total: progress(Progress(0, of - version, "a copy of the file", done, total)))
    for number in range(version + 1, of + 1):
        _apply(db, migrations[number - 1], number, (version, of), step, progress)
    # From an earlier start that ended between its last migration and this line, too.
    for old in path.parent.glob(f"{path.name}.before-*"):
        old.unlink()
    if version < of:
        sync_directory(path.parent)
    return of - version


def _apply(
    db: Connection,
    migration: Migration,
    number: int,
    span: tuple[int, int],
    step: Callable[[Callable[[int, int], None]], Step],
    progress: Callable[[Progress], None],
) -> None:
    first, last = span

    def tell(done: int, total: int) -> None:
        progress(Progress(number - first, last - first, migration.name, done, total))

    tell(0, 0)
    db.execute("BEGIN IMMEDIATE")
    try:
        migration.apply(step(tell))
        db.execute(f"PRAGMA user_version = {number}")
        db.execute("INSERT OR REPLACE INTO info VALUES ('written by', ?)", (__version__,))
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _copy(db: Connection, copy: Path, progress: Callable[[int, int], None]) -> None:
    """All of the database in another file, unless an earlier start has made that: then it is the older, right one."""
    if copy.exists():
        return
    beside = copy.with_name(copy.name + ".part")
    beside.unlink(missing_ok=True)
    os.close(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    try:
        with told(path=copy):
            target = sqlite3.connect(beside, isolation_level=None)
            try:
                target.execute("PRAGMA journal_mode = OFF")
                db.backup(target, pages=_COPY_PAGES, progress=lambda _, left, all_of: progress(all_of - left, all_of))
            finally:
                target.close()
            descriptor = os.open(beside, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            beside.replace(copy)
            sync_directory(copy.parent)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise

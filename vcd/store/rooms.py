"""The two ends of the database: the writer, which joins what waits into one transaction, and the reader.

**Writing.** All jobs that wait when the last transaction ended are done in the next one, each in a savepoint of its
own: one that is refused (a request that was carried out before, a value that is too large) is undone alone. Then comes
the ledger, then COMMIT, which returns when the disk has it (`synchronous=FULL`); only then are the jobs answered. If
the disk refuses, all of them get the same `StoreTrouble`, everything in memory is set back, and the old state stands.

**Reading** goes by another connection in another thread, in WAL mode: a reader sees the last commit, waits for no
writer, and holds none up. Each read is one short transaction, bounded by a page, so the log can be cut between them.

**What is gone** is zeroed in its page (`secure_delete`), but the old page is still in the database until a checkpoint,
and in the log until that is cut. So after anything was deleted or replaced, the writer does a checkpoint and truncates
the log: a second later, and not more often than every five. `settle` does it at once.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from sqlite3 import Connection
from typing import Any, Final, TypeVar

from vcd.store.ledger import Ledger
from vcd.store.names import Keys, Names, key_of
from vcd.store.trouble import StoreTrouble, corrupt, told
from vcd.store.worker import Job
from vcd.vault.sealing import Sealer, SealKey

__all__ = ["Reader", "Tx", "Writer", "connect"]

T = TypeVar("T")

CUT_AFTER: Final = 1.0
CUT_EVERY: Final = 5.0
_BUSY_MS: Final = 5000
_CUT_BUSY_MS: Final = 100

CUT: Final = object()
"""What a job gives back for the log to be cut once it is stored; its answer is then whether that was done."""


def connect(path: Path, *, write: bool) -> Connection:
    """A connection as we use them. Opening looks at nothing yet."""
    mode = "rw" if write else "ro"
    location = f"{path.absolute().as_uri()}?mode={mode}"
    db = sqlite3.connect(location, uri=True, isolation_level=None, timeout=_BUSY_MS / 1000, cached_statements=256)
    try:
        db.execute("PRAGMA trusted_schema = OFF")
        db.execute("PRAGMA cell_size_check = ON")
        db.execute("PRAGMA temp_store = MEMORY")  # what is sorted aside must not end up in a file
        db.execute("PRAGMA cache_size = -16000")
        if write:
            db.execute("PRAGMA secure_delete = ON")
            db.execute("PRAGMA synchronous = FULL")
    except BaseException:
        db.close()
        raise
    return db


class Tx:
    """A transaction that is being written: the database, and what its ledger will be."""

    __slots__ = ("db", "keys", "ledger", "names", "removed", "sealer")

    def __init__(self, db: Connection, keys: Keys, names: Names, sealer: Sealer, ledger: Ledger) -> None:
        self.db = db
        self.keys = keys
        self.names = names
        self.sealer = sealer
        self.ledger = ledger
        self.removed = False
        """Whether something is replaced or deleted, so that its traces have to go."""

    def added(self, table: str, row: bytes, sealed: bytes) -> None:
        self.ledger.tallies[table].add(self.keys.marks.of(table, row, sealed), len(sealed))

    def took(self, table: str, row: bytes, nonce: bytes, size: int) -> None:
        """A row is replaced or deleted: `nonce` is how its sealed value begins, and `size` its length."""
        self.ledger.tallies[table].take(self.keys.marks.of(table, row, nonce), size)
        self.removed = True


class Writer:
    """The room of the writer thread."""

    def __init__(
        self, db: Connection, path: Path, keys: Keys, sealer: Sealer, told_of: Callable[[Ledger], None]
    ) -> None:
        self._db = db
        self._path = path
        self._keys = keys
        self._sealer = sealer
        self._names = Names(keys)
        self._ledger = Ledger.read(db, keys.ledger)
        self._told_of = told_of
        self._cut_at: float | None = None
        self._cut_last = float("-inf")

    @property
    def ledger(self) -> Ledger:
        return self._ledger

    def do(self, jobs: Sequence[Job[Tx, Any]]) -> None:
        try:
            with told(self._path):
                self._commit(jobs)
                for job in jobs:
                    if job.result is CUT:
                        job.result = self.cut()
        except BaseException as error:  # noqa: BLE001 - the thread goes on; whoever asked raises it
            self._names.forget()
            try:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
            except sqlite3.Error:
                pass  # nothing was committed, and the next BEGIN says what is wrong
            for job in jobs:  # an answer of its own may rest on another job of the group, which was not stored
                job.result, job.error = None, error

    def _commit(self, jobs: Sequence[Job[Tx, Any]]) -> None:
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        tx = Tx(db, self._keys, self._names, self._sealer, self._ledger.copy())
        for job in jobs:
            before, removed = tx.ledger.copy(), tx.removed
            db.execute("SAVEPOINT job")
            try:
                job.result = job.work(tx)
            except (sqlite3.Error, OSError, StoreTrouble):
                raise
            except Exception as error:  # noqa: BLE001 - it is the answer to this job alone
                job.error = error
                db.execute("ROLLBACK TO job")
                tx.ledger, tx.removed = before, removed
                self._names.forget()
            db.execute("RELEASE job")
        if all(job.error is not None for job in jobs):
            db.execute("ROLLBACK")
            return
        self._names.end(db)
        tx.ledger.commits += 1
        tx.ledger.write(db, self._sealer, self._keys.ledger)
        db.execute("COMMIT")
        self._ledger = tx.ledger
        if tx.removed:
            now = time.monotonic()
            self._cut_at = self._cut_at or max(now + CUT_AFTER, self._cut_last + CUT_EVERY)
        self._told_of(tx.ledger)

    # ------------------------------------------------------------ traces

    def due(self) -> float | None:
        return self._cut_at

    def idle(self) -> None:
        try:
            whole = self.cut()
        except sqlite3.Error:
            whole = False  # a full or broken disk: the next commit says so, and this is tried again
        self._cut_at = None if whole else time.monotonic() + CUT_EVERY

    def cut(self) -> bool:
        """Checkpoint and truncate the log. False where a reader is still in it."""
        self._db.execute(f"PRAGMA busy_timeout = {_CUT_BUSY_MS}")  # commits wait behind this
        try:
            busy: int = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        finally:
            self._db.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
        self._cut_last = time.monotonic()
        if not busy:
            self._cut_at = None
        return not busy

    def close(self) -> None:
        try:
            self.cut()
        except sqlite3.Error:
            pass  # the log stays, and holds what it has to
        finally:
            self._db.close()


class Reader:
    """The room of the reader thread: one read at a time, each in one transaction."""

    def __init__(self, db: Connection, path: Path, keys: Keys) -> None:
        self.db = db
        self.keys = keys
        self._path = path
        self._by_number: dict[int, SealKey] = {}

    def do(self, jobs: Sequence[Job[Reader, Any]]) -> None:
        for job in jobs:
            try:
                job.result = self.read(job.work)
            except BaseException as error:  # noqa: BLE001 - the thread goes on; whoever asked raises it
                job.error = error

    def read(self, work: Callable[[Reader], T]) -> T:
        with told(self._path):
            self.db.execute("BEGIN")
            try:
                return work(self)
            finally:
                # Kept for one read only: a key that was deleted since must not live on here.
                self._by_number = {}
                if self.db.in_transaction:
                    self.db.execute("ROLLBACK")

    def key(self, number: int) -> SealKey:
        key = self._by_number.get(number)
        if key is None:
            key = self._by_number[number] = key_of(self.db, self.keys, number)
        return key

    def ledger(self) -> Ledger:
        return Ledger.read(self.db, self.keys.ledger)

    def due(self) -> float | None:
        return None

    def idle(self) -> None:
        pass

    def close(self) -> None:
        self.db.close()


def compare(reader: Reader, table: str, total: int, rows: int) -> None:
    """What was read of a table against the ledger."""
    tally = reader.ledger().tallies[table]
    if (tally.sum, tally.rows) != (total, rows):
        raise corrupt(f"rows of {table} are missing, or are not of one time")

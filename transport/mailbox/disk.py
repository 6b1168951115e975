"""A SQLite file, one transaction at a time, in one thread: frames, and whatever else a mailbox keeps.

SQLite blocks, so every use of the connection is a function that runs in a worker thread behind a limiter of one:
there is one writer, and a transaction sees no other. A task that is cancelled waits for its transaction to end,
so what was written is never in doubt inside the process.

Two kinds of durable. Frames are written with `synchronous=NORMAL`: a killed process loses none, a power cut may
lose the last seconds of them, never the file; whoever wrote those frames still has them, and sync brings them
back. What must not be undone by any crash (a key package handed out, a floor, a slot's version) is run with
`durable=True`: on disk before `run` returns. A durable commit flushes the log and with it every frame before it.

`DiskStore` by itself takes every frame that the mesh gives it; `transport.mailbox.store` adds the quotas.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final, TypeVar

import trio

from transport.base import Frame, FrameId, Milliseconds, TopicId
from transport.mailbox.schema import State, check, prepare

T = TypeVar("T")

ENTRIES: Final = 4096
"""Rows of one batch of `entries`."""

SWEEP: Final = 500
"""Rows deleted in one transaction, so that nobody waits long behind a large expiry."""

CACHE: Final = 16 << 10
"""KiB of the file that are kept in memory: frame ids are random, so their index is touched everywhere."""

_FETCH: Final = 500  # ids in one statement


class DiskStore:
    """A `base.FrameStore` in a file. Any number of tasks may call it; their transactions queue."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._one = trio.CapacityLimiter(1)

    @classmethod
    @asynccontextmanager
    async def open(cls, path: str | os.PathLike[str]) -> AsyncIterator[DiskStore]:
        """The store in this file, made (readable by its owner alone) if it is not there. `schema.FileRefused`."""
        store = cls(await trio.to_thread.run_sync(_connect, os.fspath(path)))
        try:
            yield store
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(store._db.close, limiter=store._one)

    async def run(self, work: Callable[[sqlite3.Connection], T], *, durable: bool = False) -> T:
        """Run this in one transaction, in the thread; nothing is changed if it raises."""
        return await trio.to_thread.run_sync(partial(_transact, self._db, work, durable), limiter=self._one)

    async def add(self, frames: Sequence[Frame]) -> Sequence[FrameId]:
        return await self.run(partial(keep_frames, frames=frames))

    async def entries(self, topic: TopicId) -> AsyncIterator[Sequence[tuple[Milliseconds, FrameId]]]:
        """Hollow frames are among them: sync takes for ours what it must not bring again."""
        after: tuple[Milliseconds, FrameId] = (Milliseconds(-1), FrameId(b""))
        while batch := await self.run(partial(_entries, topic=topic, after=after)):
            yield batch
            after = batch[-1]

    async def fetch(self, topic: TopicId, ids: Sequence[FrameId]) -> Sequence[Frame]:
        found: list[Frame] = []
        for start in range(0, len(ids), _FETCH):
            found += await self.run(partial(_fetch, topic=topic, ids=ids[start : start + _FETCH]))
        return found

    async def expire(self, before: Milliseconds) -> None:
        while await self.run(partial(_expire, before=before)) == SWEEP:
            pass

    async def drop(self, topic: TopicId) -> None:
        while await self.run(partial(_drop, topic=topic)) == SWEEP:
            pass


# ---------------------------------------------------------------- in the thread


def _connect(path: str) -> sqlite3.Connection:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10.0)
    try:
        check(db)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute(f"PRAGMA cache_size = -{CACHE}")
        db.execute("PRAGMA trusted_schema = OFF")
        prepare(db)
    except BaseException:
        db.close()
        raise
    return db


def _transact(db: sqlite3.Connection, work: Callable[[sqlite3.Connection], T], durable: bool) -> T:
    if durable:
        db.execute("PRAGMA synchronous = FULL")
    db.execute("BEGIN IMMEDIATE")
    try:
        result = work(db)
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    finally:
        if durable:
            db.execute("PRAGMA synchronous = NORMAL")
    return result


def keep_frames(db: sqlite3.Connection, frames: Iterable[Frame]) -> list[FrameId]:
    """Keep all of these; which were not known before."""
    return [frame.id for frame in frames if insert(db, frame, State.KEPT, frame.expires)]


def insert(db: sqlite3.Connection, frame: Frame, state: State, until: int) -> bool:
    """One row, with head and payload only if it is kept; whether it was not known before."""
    head, payload = (frame.head, frame.payload) if state is State.KEPT else (b"", b"")
    row = (frame.id, frame.topic, frame.expires, until, state, head, payload)
    return db.execute("INSERT INTO frame VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", row).rowcount == 1


def _entries(
    db: sqlite3.Connection, topic: TopicId, after: tuple[Milliseconds, FrameId]
) -> list[tuple[Milliseconds, FrameId]]:
    rows = db.execute(
        "SELECT expires, id FROM frame WHERE topic = ? AND (expires, id) > (?, ?) ORDER BY expires, id LIMIT ?",
        (topic, *after, ENTRIES),
    )
    return [(Milliseconds(expires), FrameId(id_)) for expires, id_ in rows]


def _fetch(db: sqlite3.Connection, topic: TopicId, ids: Sequence[FrameId]) -> list[Frame]:
    marks = ",".join("?" * len(ids))
    rows = db.execute(  # "+": found by their ids, not by looking through the topic
        f"SELECT id, expires, head, payload FROM frame WHERE id IN ({marks}) AND +topic = ? AND state = ?",  # noqa: S608
        (*ids, topic, State.KEPT),
    )
    return [
        Frame(id=FrameId(id_), topic=topic, expires=Milliseconds(expires), head=head, payload=payload)
        for id_, expires, head, payload in rows
    ]


def _expire(db: sqlite3.Connection, before: Milliseconds) -> int:
    return db.execute(
        "DELETE FROM frame WHERE rowid IN (SELECT rowid FROM frame WHERE expires < ? LIMIT ?)", (before, SWEEP)
    ).rowcount


def _drop(db: sqlite3.Connection, topic: TopicId) -> int:
    return db.execute(
        "DELETE FROM frame WHERE rowid IN (SELECT rowid FROM frame WHERE topic = ? LIMIT ?)", (topic, SWEEP)
    ).rowcount

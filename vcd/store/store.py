"""The store of one device: all that the daemon keeps, in one SQLite file, sealed by the vault.

    async with open_store(path, vault) as store:
        rows = await store.load()
        seq = await store.commit(Batch(put=..., gone=..., entries=[...], request=..., history=[...]))

`commit` is one transaction, on disk when it returns (WAL, `synchronous=FULL`). Commits that wait for the disk at the
same time share one. Once it was asked for, a commit is carried out or refused, and the caller learns which: waiting for
it cannot be cancelled. `StoreTrouble` means that the old state stands, in the file and in every value here; the same
batch may be given again. A power cut between the two is as if it had come before or after.

How it works, room by room: `rooms` (transactions, reads, traces), `names` (which key seals what, and the end of keys),
`ledger` (that nothing is missing), `schema` (formats), `state`, `journal`, `history`, `requests`, `frames` (tables).

After a power cut or a damaged disk, what is read is what was written, or `corrupt`: SQLite checks its log and pages,
the seals check each row, the ledger checks that rows are of one time. What it cannot show is a file that is old as a
whole: whoever puts back a copy has to say so (`vcd.core.stored.load(restored=True)` and `journal.renew`).
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import trio

from vcd.core.stored import Row
from vcd.store import frames, history, journal, requests, schema, state
from vcd.store.check import verify
from vcd.store.frames import F, Frames
from vcd.store.history import History
from vcd.store.journal import Journal
from vcd.store.ledger import Ledger
from vcd.store.names import Keys
from vcd.store.rooms import CUT, Reader, Tx, Writer, connect
from vcd.store.trouble import StoreTrouble, Trouble, told
from vcd.store.values import Batch, Done, Progress
from vcd.store.worker import Worker
from vcd.vault.files import sync_directory
from vcd.vault.sealing import Sealer
from vcd.vault.vault import Vault

__all__ = ["Store", "open_store"]

T = TypeVar("T")

MOST_IN_ONE: int = 128
"""Jobs that share a transaction. So the first of them does not wait for a thousand."""


class Store:
    """A store that is open. Everything here may be called from any task."""

    def __init__(self, writer: Worker[Tx], reader: Worker[Reader], path: Path, keys: Keys) -> None:
        self._writer = writer
        self._reader = reader
        self._path = path
        self._keys = keys
        self._journal: Journal | None = None
        self._trouble: StoreTrouble | None = None
        self.history = History(reader, self._write)

    @property
    def journal(self) -> Journal:
        if self._journal is None:
            raise StoreTrouble(Trouble.CLOSED, "the store is not open yet")
        return self._journal

    @property
    def trouble(self) -> StoreTrouble | None:
        """Why the last write was not stored; None when it was."""
        return self._trouble

    @property
    def path(self) -> Path:
        return self._path

    async def commit(self, batch: Batch) -> int:
        """Store all of it or nothing; the number of the journal's last entry then.

        `RequestRepeated` if its request was carried out before, `ValueError` for what is out of bounds.
        """
        history.check(batch)
        entries = [(entry, journal.packed(entry)) for entry in batch.entries]
        request = None if batch.request is None else (batch.request, requests.packed(batch.request))

        def apply(tx: Tx) -> int:
            if request is not None:
                requests.write(tx, *request)
            state.write(tx, batch.put, batch.gone)
            frames.digest(tx, batch.digested)
            frames.put_back(tx, batch.put_back)
            first = tx.ledger.last + 1
            last = journal.append(tx, entries)
            history.write(tx, batch, first)
            return last

        return await self._write(apply)

    async def load(self) -> dict[Row, bytes]:
        """All rows of the state: those of the last commit, every one of them, or `corrupt`."""
        return await self._reader.run(state.load, keep=False)

    async def request(self, request: bytes) -> Done | None:
        """What came of a request, if that was no longer ago than a day."""
        return await self._reader.run(lambda reader: requests.find(reader, request), keep=False)

    def frames(self, make: Callable[..., F]) -> Frames[F]:
        """The frames, as `transport.base.FrameStore`; `make` is `transport.base.Frame`."""
        return Frames(self._reader, self._write, make)

    async def settle(self) -> None:
        """Take away the traces of what was deleted now, instead of in some seconds."""
        if not await self._write(lambda _: CUT):
            raise StoreTrouble(Trouble.BUSY, "somebody is reading all of it")

    async def verify(self) -> None:
        """Read everything and compare it with the ledger; `corrupt` says what does not fit.

        In a thread and a connection of its own: nothing waits for it, but the log cannot be cut meanwhile.
        """
        stop = threading.Event()

        def make() -> Reader:
            with told(self._path):
                db = connect(self._path, write=False)
                db.set_progress_handler(stop.is_set, 10_000)
                return Reader(db, self._path, self._keys)

        worker = Worker("vcd store: checks", make)
        await worker.start()
        try:
            await worker.run(verify, keep=False)
        finally:
            stop.set()
            await worker.close()

    async def _write(self, work: Callable[[Tx], T]) -> T:
        try:
            result = await self._writer.run(work, keep=True)
        except StoreTrouble as trouble:
            self._trouble = trouble
            raise
        self._trouble = None
        return result


@asynccontextmanager
async def open_store(
    path: Path,
    vault: Vault,
    *,
    create: bool = False,
    progress: Callable[[Progress], None] | None = None,
    migrations: Sequence[schema.Migration] = schema.MIGRATIONS,
) -> AsyncIterator[Store]:
    """Open the file; without `create` it has to be there. `progress` is told, in trio, of changes of the format.

    `StoreTrouble` if it cannot be opened, with the reason. One process at a time: who calls holds the lock.
    """
    token = trio.lowlevel.current_trio_token()
    keys = Keys(vault)
    ledgers: list[Ledger] = []
    store: Store | None = None

    def announce(ledger: Ledger) -> None:
        if store is not None:
            store.journal.moved(ledger)

    def moved(ledger: Ledger) -> None:
        with contextlib.suppress(trio.RunFinishedError):
            token.run_sync_soon(announce, ledger)

    def tell(step: Progress) -> None:
        if progress is not None:
            with contextlib.suppress(trio.RunFinishedError):
                token.run_sync_soon(progress, step)

    def make_writer() -> Writer:
        with told(path):
            room = _open_writer(path, vault, keys, create, tell, migrations, moved)
        ledgers.append(room.ledger)
        return room

    def make_reader() -> Reader:
        with told(path):
            return Reader(connect(path, write=False), path, keys)

    writer: Worker[Any] = Worker("vcd store: writes", make_writer, most=MOST_IN_ONE)
    reader: Worker[Reader] = Worker("vcd store: reads", make_reader)
    await writer.start()
    try:
        await reader.start()
        opened = Store(writer, reader, path, keys)
        # `moved` may be called from the first commit on, and there is none before this is in place.
        found = await reader.run(lambda room: (journal.bounds(room), journal.consumers(room)), keep=True)
        opened._journal = Journal(reader, opened._write, found[0], found[1])  # noqa: SLF001 - the other half of its making
        store = opened
        yield opened
    finally:
        # The reader first: it may be what keeps the log from being cut.
        await reader.close()
        await writer.close()


def _open_writer(
    path: Path,
    vault: Vault,
    keys: Keys,
    create: bool,
    tell: Callable[[Progress], None],
    migrations: Sequence[schema.Migration],
    moved: Callable[[Ledger], None],
) -> Writer:
    _prepare(path, create=create)
    db = connect(path, write=True)
    try:
        version = schema.version_of(db, vault.id, len(migrations))
        if version == 0 and not create:
            raise StoreTrouble(Trouble.MISSING, f"{path} is empty")
        if db.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
            raise StoreTrouble(Trouble.READ_ONLY, "the database cannot be used as it has to be")
        sealer = Sealer()
        done = schema.migrate(
            db,
            path,
            lambda inner: schema.Step(db, keys, vault.id, sealer, inner),
            tell,
            migrations,
        )
        if done:
            # So that the file says what it is, even without its log.
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return Writer(db, path, keys, sealer, moved)
    except BaseException:
        db.close()
        raise


def _prepare(path: Path, *, create: bool) -> None:
    """A file that only we can read, before SQLite makes one that others can."""
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        if not create:
            raise StoreTrouble(Trouble.MISSING, f"{path} is not there") from None
        descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
        sync_directory(path.parent)
    try:
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)

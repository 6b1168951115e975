"""The file: what every frame store promises, versions, other people's files, and what is in it after a crash."""

from __future__ import annotations

import sqlite3
import stat
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from tests.transport.sync.store_contract import START, TOPICS, StoreContract, made
from transport.base import FrameStore, Milliseconds
from transport.mailbox import disk, schema
from transport.mailbox.disk import DiskStore
from transport.mailbox.schema import FileRefused, State
from transport.mailbox.store import MailboxStore
from transport.mailbox.tenants import Tenant


class TestDisk(StoreContract):
    @asynccontextmanager
    async def store(self) -> AsyncIterator[FrameStore]:
        with tempfile.TemporaryDirectory() as folder:
            async with DiskStore.open(Path(folder) / "frames") as store:
                yield store


class TestDiskWithQuotas(StoreContract):
    """The same promises to topics that are kept, as long as there is room."""

    @asynccontextmanager
    async def store(self) -> AsyncIterator[FrameStore]:
        with tempfile.TemporaryDirectory() as folder:
            tenants = [Tenant(key=b"tenant")]
            async with MailboxStore.open(Path(folder) / "box", tenants, now_ms=lambda: START) as store:
                await store.run(_keep_both)
                yield store


def _keep_both(db: sqlite3.Connection) -> None:
    for topic in TOPICS:
        db.execute(
            "INSERT INTO keep (topic, tenant, token, expires) VALUES (?, ?, ?, ?)", (topic, b"tenant", b"", START)
        )


def rows(db: sqlite3.Connection, query: str) -> list[tuple[object, ...]]:
    return db.execute(query).fetchall()


async def test_the_file_is_its_owners_and_outlives_the_store(tmp_path: Path) -> None:
    path = tmp_path / "frames"
    frames = [made(n, expires=n) for n in range(10)]
    async with DiskStore.open(path) as store:
        await store.add(frames)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    async with DiskStore.open(path) as store:
        assert list(await store.add(frames)) == []
        assert len(await store.fetch(TOPICS[0], [frame.id for frame in frames])) == 10


async def test_other_files_and_newer_ones_are_refused_untouched(tmp_path: Path) -> None:
    other = tmp_path / "other"
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE diary (day TEXT)")
    db.close()
    text = tmp_path / "text"
    text.write_text("not a database at all, but long enough to look at " * 100)
    newer = tmp_path / "newer"
    async with DiskStore.open(newer) as store:
        await store.run(lambda db: db.execute("INSERT INTO migration VALUES (?)", (len(schema.STEPS) + 1,)))
    for path, error in ((other, FileRefused), (newer, FileRefused), (text, sqlite3.DatabaseError)):
        before = path.read_bytes()
        with pytest.raises(error):
            async with DiskStore.open(path):
                pass
        assert path.read_bytes() == before


async def test_an_older_file_becomes_a_newer_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "frames"
    async with DiskStore.open(path) as store:
        await store.add([made(1)])
    monkeypatch.setattr(schema, "STEPS", (*schema.STEPS, "CREATE TABLE later (what TEXT) STRICT;"))
    for _ in range(2):
        async with DiskStore.open(path) as store:
            assert await store.run(partial(rows, query="SELECT version FROM migration")) == [
                (n + 1,) for n in range(len(schema.STEPS))
            ]
            assert await store.run(partial(rows, query="SELECT * FROM later")) == []
            assert len(await store.fetch(TOPICS[0], [made(1).id])) == 1


async def test_a_step_that_fails_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "frames"
    async with DiskStore.open(path):
        pass
    with monkeypatch.context() as patch:
        patch.setattr(
            schema, "STEPS", (*schema.STEPS, "CREATE TABLE later (what TEXT); CREATE TABLE later (what TEXT);")
        )
        with pytest.raises(sqlite3.OperationalError):
            async with DiskStore.open(path):
                pass
    async with DiskStore.open(path) as store:
        assert await store.run(partial(rows, query="SELECT version FROM migration")) == [
            (n + 1,) for n in range(len(schema.STEPS))
        ]
        assert await store.run(partial(rows, query="SELECT name FROM sqlite_master WHERE name = 'later'")) == []


async def test_work_that_raises_changes_nothing(tmp_path: Path) -> None:
    async with DiskStore.open(tmp_path / "frames") as store:

        def half(db: sqlite3.Connection) -> None:
            disk.insert(db, made(1), State.KEPT, made(1).expires)
            raise ValueError

        for durable in (False, True):
            with pytest.raises(ValueError):
                await store.run(half, durable=durable)
        assert await store.fetch(TOPICS[0], [made(1).id]) == []
        assert await store.run(partial(rows, query="PRAGMA synchronous")) == [(1,)]


async def test_durable_work_is_flushed_and_other_work_is_not(tmp_path: Path) -> None:
    async with DiskStore.open(tmp_path / "frames") as store:
        assert await store.run(partial(rows, query="PRAGMA synchronous"), durable=True) == [(2,)]
        assert await store.run(partial(rows, query="PRAGMA synchronous")) == [(1,)]
        assert await store.run(partial(rows, query="PRAGMA journal_mode")) == [("wal",)]


async def test_transactions_do_not_overlap(tmp_path: Path) -> None:
    inside = 0

    def alone(db: sqlite3.Connection) -> None:
        nonlocal inside
        inside += 1
        assert inside == 1
        db.execute("SELECT count(*) FROM frame").fetchone()
        inside -= 1

    async with DiskStore.open(tmp_path / "frames") as store, trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(partial(store.run, alone, durable=number % 2 == 0))


async def test_a_task_that_is_canceled_leaves_nothing_half_done(tmp_path: Path) -> None:
    async with DiskStore.open(tmp_path / "frames") as store:
        for number in range(30):
            with trio.move_on_after(number / 20_000):
                await store.add([made(10 * number + n) for n in range(10)])
        (count,) = (await store.run(partial(rows, query="SELECT count(*) FROM frame")))[0]
        assert isinstance(count, int)
        assert count % 10 == 0


async def test_sums_are_right_whatever_happens_to_rows(tmp_path: Path) -> None:
    check = (
        "SELECT topic, sum((state = 0) * (length(head) + length(payload))), sum(state = 0), sum(state = 2), "
        "sum(state = 1) FROM frame GROUP BY topic ORDER BY topic"
    )
    sums = "SELECT topic, bytes, frames, gone, declined FROM usage ORDER BY topic"
    async with DiskStore.open(tmp_path / "frames") as store:
        frames = [made(n, topic=n % 2, expires=n, size=20 + n) for n in range(60)]
        await store.add(frames)

        def shuffle(db: sqlite3.Connection) -> None:
            for number, frame in enumerate(frames):
                state = State(number % 3)
                db.execute("UPDATE frame SET state = ?, payload = x'' WHERE id = ? AND ? > 0", (state, frame.id, state))
            disk.insert(db, made(1000), State.DECLINED, 0)

        await store.run(shuffle)
        assert await store.run(partial(rows, query=sums)) == await store.run(partial(rows, query=check))
        await store.expire(Milliseconds(START + 30))
        assert await store.run(partial(rows, query=sums)) == await store.run(partial(rows, query=check))
        for topic in TOPICS:
            await store.drop(topic)
        assert await store.run(partial(rows, query=sums)) == []


async def test_much_is_deleted_in_small_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "SWEEP", 7)
    async with DiskStore.open(tmp_path / "frames") as store:
        await store.add([made(n, topic=n % 2, expires=n % 2) for n in range(100)])
        await store.expire(Milliseconds(START + 1))
        assert await store.run(partial(rows, query="SELECT count(*) FROM frame")) == [(50,)]
        await store.drop(TOPICS[1])
        assert await store.run(partial(rows, query="SELECT count(*) FROM frame")) == [(0,)]

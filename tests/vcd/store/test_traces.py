"""What was deleted cannot be found any more: not in the file, not in the log, not in a copy that is made afterwards."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path

import trio

from tests.vcd.store.disks import DAY, NAME, NOW, entry, opened, own, said, under, vault_in
from vcd.store import Batch
from vcd.store.names import Keys, key_of

PAGE = 4096


def pieces(sealed: Iterable[bytes]) -> list[bytes]:
    """Every stretch of some bytes, so that a part that stayed somewhere is found as well.

    Not the first: how a sealed value begins says in which run it was sealed, and is the same for all of them.
    """
    return [value[at : at + 16] for value in sealed for at in range(16, max(len(value) - 15, 17), 8)]


def sealed_in(folder: Path, query: str) -> list[bytes]:
    db = sqlite3.connect(folder / NAME)
    found = [row[0] for row in db.execute(query)]
    db.close()
    return found


def everywhere(folder: Path) -> bytes:
    """The file, the log, and a copy made now by SQLite's own means."""
    copy = folder / "copy"
    source, target = sqlite3.connect(folder / NAME), sqlite3.connect(copy)
    source.backup(target)
    source.close()
    target.close()
    data = b"".join(path.read_bytes() for path in (folder / NAME, folder / (NAME + "-wal"), copy) if path.exists())
    copy.unlink()
    return data


def assert_gone(folder: Path, values: list[bytes]) -> None:
    assert values
    data = everywhere(folder)
    assert [part.hex() for part in pieces(values) if part in data] == []


async def test_the_last_row_of_a_name_takes_its_key_with_it(tmp_path: Path) -> None:
    keys = Keys(vault_in(tmp_path))
    async with opened(tmp_path) as store:
        await store.commit(Batch(put={own(n): b"stays %d" % n for n in range(50)}))
        text = b"what an epoch was for" * 20
        await store.commit(Batch(put={under(b"epoch", n): text for n in range(40)} | {under(b"other"): b"stays"}))
        await store.commit(Batch(put={under(b"epoch", n): text[:-9] for n in range(20)}))
        rows = sealed_in(tmp_path, "SELECT sealed FROM state WHERE key = 1")
        wrapped = sealed_in(tmp_path, "SELECT sealed FROM keys WHERE id = 1")
        db = sqlite3.connect(tmp_path / NAME)
        raw = key_of(db, keys, 1).raw
        db.close()
        assert len(rows) == 40
        assert wrapped[0] in everywhere(tmp_path)  # what is looked for below can be found
        assert raw not in everywhere(tmp_path)
        await store.commit(Batch(gone=[under(b"epoch", n) for n in range(39)]))
        await store.settle()
        assert wrapped[0] in everywhere(tmp_path)  # one row is left
        await store.commit(Batch(gone=[under(b"epoch", 39)]))
        await store.settle()
        assert_gone(tmp_path, [*rows, *wrapped, bytes(16) + raw, bytes(16) + text])
        assert len(await store.load()) == 51
    assert_gone(tmp_path, [*rows, *wrapped, bytes(16) + raw, bytes(16) + text])


async def test_what_was_replaced_is_gone_too(tmp_path: Path) -> None:
    """A ratchet that moved on: its epoch's key stays, so the old row itself has to go."""
    async with opened(tmp_path) as store:
        await store.commit(Batch(put={under(b"epoch", n): b"%d" % n * 500 for n in range(20)}))
        for size in (500, 3000, 20, 500):
            old = sealed_in(tmp_path, "SELECT sealed FROM state")
            await store.commit(Batch(put={under(b"epoch", n): b"z" * size for n in range(20)}))
            await store.settle()
            assert_gone(tmp_path, old)


async def test_deleted_messages_and_trimmed_days_are_gone(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        for day in range(3):
            for number in range(10):
                text = b"text %d" % number * 30
                await store.commit(said(day * 10 + number, at=NOW + day * DAY, data=text))
        first_day = sealed_in(tmp_path, "SELECT sealed FROM history WHERE seq <= 10")
        day_keys = sealed_in(tmp_path, "SELECT sealed FROM keys WHERE id IN (1, 2)")
        entries = sealed_in(tmp_path, "SELECT sealed FROM journal WHERE seq <= 10")
        await store.history.expire(b"tea", NOW + DAY)
        await store.journal.trim(NOW + DAY, 1000)
        await store.settle()
        assert_gone(tmp_path, [*first_day, *entries, *day_keys])
        await store.verify()


async def test_traces_go_by_themselves_soon(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.commit(Batch(put={under(b"epoch"): b"text" * 100}))
        rows = sealed_in(tmp_path, "SELECT sealed FROM state UNION ALL SELECT sealed FROM keys")
        await store.commit(Batch(gone=[under(b"epoch")]))
        with trio.fail_after(20):
            while (tmp_path / (NAME + "-wal")).stat().st_size:  # noqa: ASYNC110 - a file tells nobody
                await trio.sleep(0.05)
        assert_gone(tmp_path, rows)


async def test_traces_go_under_load_too_and_not_with_every_commit(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        log = tmp_path / (NAME + "-wal")
        cuts, before, number = 0, 0, 0
        with trio.fail_after(60):
            while cuts < 2:
                number += 1
                await store.commit(Batch(put={own(1): b"%d" % number}, entries=[entry(number)]))
                size = log.stat().st_size
                cuts, before = cuts + (size < before), size
        assert number > 20


async def test_a_long_read_delays_the_end_of_traces_and_not_commits(tmp_path: Path) -> None:
    """Somebody reads a snapshot all the while, as `verify` does on a large database."""
    async with opened(tmp_path) as store:
        await store.commit(said(1))
        db = sqlite3.connect(tmp_path / NAME, isolation_level=None)
        db.execute("BEGIN")
        db.execute("SELECT count(*) FROM journal").fetchone()
        await store.history.forget(b"tea")
        with trio.fail_after(5):
            await store.commit(said(2))
        db.execute("ROLLBACK")
        db.close()
        await store.settle()
        assert (tmp_path / (NAME + "-wal")).stat().st_size == 0

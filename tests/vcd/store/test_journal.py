from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.vcd.store.disks import DAY, NAME, NOW, all_entries, entry, opened, own
from vcd.store import Batch, CursorExpired, CursorUnknown, StoreTrouble, TooManyConsumers, Trouble
from vcd.store.journal import LOOKED_AT, MAX_CONSUMERS


async def test_pages_come_in_order_without_a_gap(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.commit(Batch(entries=[entry(n) for n in range(1, 101)]))
        page = await store.journal.read(0, 30)
        assert ([each.seq for each in page.entries], page.next) == (list(range(1, 31)), 30)
        page = await store.journal.read(90, 30)
        assert ([each.seq for each in page.entries], page.next) == (list(range(91, 101)), 100)
        page = await store.journal.read(100, 30)
        assert (page.entries, page.next) == ([], 100)
        one = (await store.journal.read(4, 1)).entries[0]
        assert (one.seq, one.at_ms, one.type, one.chat, one.data) == (5, NOW, "msg.received", b"tea", {"number": 5})


async def test_a_page_does_not_go_beyond_what_was_told(tmp_path: Path) -> None:
    """The writer's thread may be ahead of the tasks, and who goes on from beyond `last` would be refused."""
    async with opened(tmp_path) as store:
        await store.commit(Batch(entries=[entry(n) for n in range(1, 11)]))
        store.journal.last = 5
        for types in (None, frozenset({"msg.received"})):
            page = await store.journal.read(0, 30, types=types)
            assert ([each.seq for each in page.entries], page.next) == ([1, 2, 3, 4, 5], 5)
            for at in (5, 7):
                page = await store.journal.read(at, 30, types=types)
                assert (page.entries, page.next) == ([], at)


async def test_filters_leave_out_and_move_on(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        kinds, chats = ["msg.sent", "chat.changed"], [b"tea", b"work", None]
        await store.commit(
            Batch(entries=[entry(n, kind=kinds[n % 2], chat=chats[n % 3]) for n in range(1, 61)]),
        )
        page = await store.journal.read(0, 100, types=frozenset({"msg.sent"}))
        assert ([each.seq for each in page.entries], page.next) == (list(range(2, 61, 2)), 60)
        page = await store.journal.read(0, 100, chats=frozenset({b"tea", b"work"}), types=frozenset({"msg.sent"}))
        assert [each.seq for each in page.entries] == [n for n in range(2, 61, 2) if n % 3 != 2]
        page = await store.journal.read(0, 2, chats=frozenset({b"work"}))
        assert ([each.seq for each in page.entries], page.next) == ([1, 4], 4)
        for nothing in (frozenset({"no.such"}), frozenset[str]()):
            page = await store.journal.read(0, 2, types=nothing)
            assert (page.entries, page.next) == ([], 60)
        with pytest.raises(ValueError, match="1000"):
            await store.journal.read(0, 1, chats=frozenset(n.to_bytes(4) for n in range(1001)))


async def test_a_page_ends_where_it_is_large(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        large = entry(1, kind="k" * (3 << 20))
        await store.commit(Batch(entries=[large, large, large]))
        assert [len((await store.journal.read(at, 10)).entries) for at in (0, 2)] == [2, 1]


async def test_waiting_ends_with_what_is_newer(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        seen = []

        async def wait(after: int) -> None:
            await store.journal.wait(after)
            seen.append((after, store.journal.last))

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                for after in (0, 1, 1):
                    nursery.start_soon(wait, after)
                await wait_all_tasks_blocked()
                await store.commit(Batch(entries=[entry(1)]))
                await wait_all_tasks_blocked()
                assert seen == [(0, 1)]
                await store.commit(Batch(put={own(1): b""}))
                await wait_all_tasks_blocked()
                assert len(seen) == 1
                await store.commit(Batch(entries=[entry(2), entry(3)]))
        assert seen == [(0, 1), (1, 3), (1, 3)]


async def test_last_is_never_behind_what_a_commit_gave_back(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:

        async def one() -> None:
            for _ in range(10):
                seq = await store.commit(Batch(entries=[entry(1)]))
                assert store.journal.last >= seq

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(one)


async def test_trimmed_it_begins_at_its_floor_also_after_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.commit(Batch(entries=[entry(n, at=NOW + n * DAY) for n in range(10)]))
        await store.journal.trim(NOW + 3 * DAY, 100)
        assert (store.journal.floor, store.journal.last) == (4, 10)
        with pytest.raises(CursorExpired) as expired:
            await store.journal.read(2, 10)
        assert expired.value.floor == 4
        assert (await store.journal.read(3, 1)).entries[0].seq == 4
        await store.journal.trim(0, 2)
        assert store.journal.floor == 9
        await store.verify()
    async with opened(tmp_path) as store:
        assert (store.journal.floor, store.journal.last) == (9, 10)
        await store.journal.trim(NOW + 100 * DAY, 0)
        assert (store.journal.floor, store.journal.last) == (11, 10)
        assert (await store.journal.read(10, 5)).entries == []
    async with opened(tmp_path) as store:
        assert await store.commit(Batch(entries=[entry(1)])) == 11
        await store.verify()


async def test_keys_of_days_go_with_their_last_entry(tmp_path: Path) -> None:
    def keys() -> int:
        db = sqlite3.connect(tmp_path / NAME)
        try:
            found: int = db.execute("SELECT count(*) FROM keys").fetchone()[0]
            return found
        finally:
            db.close()

    async with opened(tmp_path) as store:
        for day in range(5):
            await store.commit(Batch(entries=[entry(n, at=NOW + day * DAY) for n in range(700)]))
        assert keys() == 5
        await store.journal.trim(0, 3 * 700)
        assert keys() == 3
        await store.journal.trim(0, 3 * 700 - 1)
        assert keys() == 3
        await store.commit(Batch(entries=[entry(1, at=NOW)]))  # the clock went back: it stays on the newest day
        assert keys() == 3
        await store.journal.trim(0, 0)
        assert keys() == 0
        await store.verify()


async def test_a_clock_that_goes_back_loses_no_entries(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.commit(Batch(entries=[entry(1, at=NOW), entry(2, at=NOW - 9 * DAY), entry(3, at=NOW)]))
        await store.journal.trim(NOW - DAY, 100)
        assert len(await all_entries(store)) == 3


async def test_consumers_are_kept_move_forward_only_and_are_bounded(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.commit(Batch(entries=[entry(n) for n in range(10)]))
        await store.journal.ack("bot", 7)
        await store.journal.ack("bot", 3)
        assert (store.journal.acked("bot"), store.journal.acked("other")) == (7, 0)
        with pytest.raises(CursorUnknown):
            await store.journal.ack("bot", 11)
        for name in ("", "x" * 65):
            with pytest.raises(ValueError, match="name"):
                await store.journal.ack(name, 1)
        for number in range(MAX_CONSUMERS - 1):
            await store.journal.ack(f"c{number}", 1)
        with pytest.raises(TooManyConsumers):
            await store.journal.ack("one more", 1)
        await store.journal.forget("c0")
        await store.journal.forget("nobody")
        await store.journal.ack("one more", 2)
        await store.verify()
    async with opened(tmp_path) as store:
        assert store.journal.acked("bot") == 7
        assert store.journal.acked("one more") == 2
        assert store.journal.acked("c0") == 0
        assert len(store.journal.consumers) == MAX_CONSUMERS


async def test_a_cursor_from_ahead_is_another_journals(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        with pytest.raises(CursorUnknown) as unknown:
            await store.journal.read(5, 1)
        assert unknown.value.last == 0
        before = store.journal.log_id
        await store.journal.renew()
        assert store.journal.log_id != before
        renewed = store.journal.log_id
    async with opened(tmp_path) as store:
        assert store.journal.log_id == renewed


async def test_an_entry_that_is_missing_is_not_passed_over(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.commit(Batch(entries=[entry(n) for n in range(10)]))
    db = sqlite3.connect(tmp_path / NAME, isolation_level=None)
    db.execute("DELETE FROM journal WHERE seq = 5")
    db.close()
    async with opened(tmp_path) as store:
        for types in (None, frozenset({"msg.received"})):
            with pytest.raises(StoreTrouble) as trouble:
                await store.journal.read(0, 10, types=types)
            assert trouble.value.code is Trouble.CORRUPT
        assert (await store.journal.read(5, 10)).entries[0].seq == 6
        with pytest.raises(StoreTrouble):
            await store.verify()


async def test_entries_that_changed_places_do_not_open(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.commit(Batch(entries=[entry(n) for n in range(10)]))
    db = sqlite3.connect(tmp_path / NAME, isolation_level=None)
    db.execute("UPDATE journal SET sealed = (SELECT sealed FROM journal WHERE seq = 4) WHERE seq = 5")
    db.close()
    async with opened(tmp_path) as store:
        with pytest.raises(StoreTrouble) as trouble:
            await store.journal.read(0, 10)
        assert trouble.value.code is Trouble.CORRUPT


@pytest.mark.slow
async def test_a_hundred_thousand_entries_over_restarts(tmp_path: Path) -> None:
    """Gap-free, each once, and in pages quickly: a tenth of what this machine does, so that a busy one passes too."""
    async with opened(tmp_path) as store:
        log_id = store.journal.log_id
    for part in range(10):
        async with opened(tmp_path) as store:
            assert store.journal.last == part * 10_000
            for start in range(0, 10_000, 500):
                numbers = range(part * 10_000 + start, part * 10_000 + start + 500)
                await store.commit(Batch(entries=[entry(n, kind="x" if n % 1000 else "rare") for n in numbers]))
    async with opened(tmp_path) as store:
        assert store.journal.log_id == log_id
        started = time.perf_counter()
        entries = await all_entries(store)
        took = time.perf_counter() - started
        assert [each.seq for each in entries] == list(range(1, 100_001))
        assert [each.data["number"] for each in entries] == list(range(100_000))
        assert took < 10
        rare, after, pages = 0, 0, 0
        while after < store.journal.last:
            page = await store.journal.read(after, 1000, types=frozenset({"rare"}))
            rare, after, pages = rare + len(page.entries), page.next, pages + 1
        assert (rare, pages) == (100, 100_000 // LOOKED_AT)

from __future__ import annotations

import sqlite3
import stat
import threading
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given, settings, strategies as st

from tests.vcd.store.disks import NAME, NOW, all_entries, all_messages, entry, opened, own, said, under
from vcd.store import Batch, NewEntry, NewRequest, RequestRepeated, Row, StoreTrouble, Trouble


async def test_what_was_committed_is_there_after_a_restart(tmp_path: Path) -> None:
    rows = {own(1): b"one", under(b"m"): b"two", own(2): b""}
    async with opened(tmp_path) as store:
        assert await store.load() == {}
        assert await store.commit(Batch(put=rows, entries=[entry(1), entry(2)])) == 2
        assert await store.load() == rows
    async with opened(tmp_path) as store:
        assert await store.load() == rows
        assert [each.data["number"] for each in await all_entries(store)] == [1, 2]
        assert await store.commit(Batch()) == 2


async def test_rows_are_replaced_and_deleted(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.commit(Batch(put={own(1): b"a", own(2): b"b", under(b"m"): b"c"}))
        await store.commit(Batch(put={own(1): b"A", own(3): b"d"}, gone=[own(2), under(b"m"), own(99)]))
        assert await store.load() == {own(1): b"A", own(3): b"d"}
        await store.verify()


ROWS = st.sampled_from([own(1), own(2), under(b"a", 1), under(b"a", 2), under(b"b", 1)])
STEPS = st.lists(st.tuples(st.dictionaries(ROWS, st.binary(max_size=9), max_size=4), st.lists(ROWS, max_size=3)))


@settings(max_examples=40)
@given(steps=STEPS)
def test_any_steps_leave_what_a_dictionary_would_hold(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[dict[Row, bytes], list[Row]]]
) -> None:
    folder = tmp_path_factory.mktemp("steps")

    async def run() -> None:
        wanted: dict[Row, bytes] = {}
        async with opened(folder) as store:
            for put, gone in steps:
                await store.commit(Batch(put=put, gone=[row for row in gone if row not in put]))
                for row in gone:
                    wanted.pop(row, None)
                wanted.update(put)
                assert await store.load() == wanted
            await store.verify()
            with sqlite3.connect(folder / NAME) as db:
                kept = db.execute("SELECT count(*) FROM keys").fetchone()[0]
            db.close()
            assert kept == len({key[:2] for table, key in wanted if table == "outbox"})

    trio.run(run)


async def test_commits_that_wait_together_share_a_transaction(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        seqs = []

        async def one(number: int) -> None:
            seqs.append(await store.commit(Batch(put={own(number): b"%d" % number}, entries=[entry(number)])))

        async with trio.open_nursery() as nursery:
            for number in range(200):
                nursery.start_soon(one, number)
        assert sorted(seqs) == list(range(1, 201))
        assert len(await store.load()) == 200
        assert sorted(each.data["number"] for each in await all_entries(store)) == list(range(200))
        commits = await store._reader.run(lambda reader: reader.ledger().commits, keep=True)
        assert commits < 100


async def test_one_that_is_refused_does_not_spoil_the_others(tmp_path: Path) -> None:
    """A request that was carried out before, in the middle of a group, with everything that comes with it."""

    def request(name: bytes) -> NewRequest:
        return NewRequest(id=name, method="msg.send", digest=b"d", result={"seq": 1}, at_ms=NOW)

    async with opened(tmp_path) as store:
        await store.commit(Batch(request=request(b"first"), entries=[entry(0)]))
        outcomes: dict[int, Any] = {}

        async def one(number: int) -> None:
            name = b"first" if number % 3 == 0 else b"%d" % number
            batch = Batch(
                put={own(number): b"x", under(b"n%d" % number): b"y"}, entries=[entry(number)], request=request(name)
            )
            try:
                outcomes[number] = await store.commit(batch)
            except RequestRepeated as repeated:
                outcomes[number] = repeated.done.result

        async with trio.open_nursery() as nursery:
            for number in range(1, 31):
                nursery.start_soon(one, number)
        assert sorted(n for n, outcome in outcomes.items() if outcome == {"seq": 1}) == list(range(3, 31, 3))
        kept = [number for number in range(1, 31) if number % 3]
        assert sorted(each.data["number"] for each in await all_entries(store)) == [0, *kept]
        assert set(await store.load()) == {row for n in kept for row in (own(n), under(b"n%d" % n))}
        await store.verify()


async def test_two_of_one_request_at_the_same_time_are_carried_out_once(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        outcomes = []

        async def one(number: int) -> None:
            request = NewRequest(id=b"r", method="msg.send", digest=b"", result={"by": number}, at_ms=NOW)
            try:
                await store.commit(Batch(entries=[entry(number)], request=request))
                outcomes.append(number)
            except RequestRepeated as repeated:
                outcomes.append(repeated.done.result["by"])

        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(one, number)
        assert len(set(outcomes)) == 1
        assert len(await all_entries(store)) == 1


@pytest.mark.parametrize(
    "batch",
    [
        Batch(entries=[NewEntry(at_ms=NOW, type="x", data={"no": object()})]),
        Batch(entries=[NewEntry(at_ms=NOW, type="x", data={"no": 1 << 70})]),
        Batch(entries=[NewEntry(at_ms=NOW, type="x", data={"no": bytes(17 << 20)})]),
        Batch(history=said(1).history),
        Batch(entries=[entry(1, at=-1)]),
        Batch(entries=[entry(1, at=1 << 60)]),
        Batch(request=NewRequest(id=b"", method="m", digest=b"", result={}, at_ms=NOW)),
    ],
)
async def test_what_cannot_be_stored_is_refused_before_anything_waits(tmp_path: Path, batch: Batch) -> None:
    async with opened(tmp_path) as store:
        with pytest.raises(ValueError, match=r".+"):
            await store.commit(batch)
        assert store.journal.last == 0
        assert store.trouble is None


async def test_a_bug_in_one_job_stays_with_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:

        def fail(tx: Any) -> None:
            tx.db.execute("DELETE FROM ledger")
            tx.ledger.last += 5
            tx.added("state", bytes(16), bytes(40))
            raise ZeroDivisionError

        async def one() -> None:
            with pytest.raises(ZeroDivisionError):
                await store._write(fail)

        await one()
        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(one)
                nursery.start_soon(store.commit, said(number))
        assert store.journal.last == 10
        await store.verify()


async def test_a_commit_that_was_asked_for_is_carried_out_though_its_task_is_cancelled(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        with trio.CancelScope() as scope:
            scope.cancel()
            assert await store.commit(said(1)) == 1
        assert store.journal.last == 1


async def test_a_read_can_be_cancelled_and_the_next_one_works(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.commit(said(1))
        with trio.CancelScope() as scope:
            scope.cancel()
            await store.load()
        assert scope.cancelled_caught
        assert len(await all_messages(store)) == 1


async def test_reads_do_not_wait_for_a_writer(tmp_path: Path) -> None:
    """A write that does not end for a while, and a read in the meantime: it sees the state before."""
    async with opened(tmp_path) as store:
        await store.commit(Batch(put={own(1): b"before"}, entries=[entry(1)]))
        going, end = threading.Event(), threading.Event()

        def slow(tx: Any) -> None:
            tx.db.execute("DELETE FROM state")
            going.set()
            assert end.wait(30)
            raise ZeroDivisionError

        async def write() -> None:
            with pytest.raises(ZeroDivisionError):
                await store._write(slow)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            await trio.to_thread.run_sync(going.wait)
            with trio.fail_after(10):
                assert await store.load() == {own(1): b"before"}
                assert len((await store.journal.read(0, 10)).entries) == 1
            end.set()
        assert await store.load() == {own(1): b"before"}


async def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.commit(said(1))
        assert modes(tmp_path) == {NAME: 0o600, NAME + "-wal": 0o600, NAME + "-shm": 0o600}


def modes(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.glob(NAME + "*")}


async def test_after_the_end_the_store_says_that_it_is_closed(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.commit(said(1))
    for call in (store.load(), store.commit(said(2)), store.journal.read(0, 1)):
        with pytest.raises(StoreTrouble) as trouble:
            await call
        assert trouble.value.code is Trouble.CLOSED
    assert not (tmp_path / (NAME + "-wal")).exists()


async def test_nothing_that_was_stored_can_be_read_in_the_file(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        request = NewRequest(
            id=b"request-id-1234", method="account.create", digest=b"d", result={"w": "wo-rds"}, at_ms=1
        )
        batch = Batch(
            put={("table.name", b"row-key"): b"row-value", under(b"name-of-key"): b"secret-row"},
            entries=[entry(1, kind="msg.received", chat=b"chat-name")],
            history=[said(1, chat=b"chat-name", data=b"said in private").history[0]],
            request=request,
        )
        await store.commit(batch)
        await store.journal.ack("robot-name", 1)
        await store.settle()
        data = (tmp_path / NAME).read_bytes() + (tmp_path / (NAME + "-wal")).read_bytes()
    for secret in (
        b"table.name",
        b"row-key",
        b"row-value",
        b"name-of-key",
        b"secret-row",
        b"msg.received",
        b"chat-name",
        b"private",
        b"anna",
        b"robot-name",
        b"request-id-1234",
        b"account.create",
        b"wo-rds",
    ):
        assert secret not in data, secret

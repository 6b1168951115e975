from __future__ import annotations

import sqlite3
from contextlib import suppress
from pathlib import Path

import pytest

from tests.vcd.store.disks import DAY, NAME, NOW, all_entries, all_messages, entry, message, opened, said
from vcd.store import Batch, DeleteMessage, NewFate, StoreTrouble, Trouble


def delete(number: int, *, chat: bytes = b"tea") -> DeleteMessage:
    return DeleteMessage(chat=chat, content=b"content %d" % number)


async def test_a_message_is_kept_with_its_entry(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        batch = Batch(entries=[entry(0), entry(1), entry(2)], history=[message(7, entry=2), message(8, entry=1)])
        await store.commit(batch)
        found = await store.history.find(b"tea", b"content 7")
        assert found is not None
        assert (found.seq, found.at_ms, found.sender, found.ours, found.device) == (3, NOW, b"anna", False, None)
        assert (found.content, found.said_at, found.data, found.media, found.fate) == (
            b"content 7",
            NOW + 7,
            b"said 7",
            "text/plain",
            "sent",
        )
        assert [each.data for each in await all_messages(store)] == [b"said 8", b"said 7"]
        assert await store.history.find(b"work", b"content 7") is None


async def test_the_same_message_again_changes_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.commit(said(1))
        await store.commit(said(1, data=b"another text"))
        assert [(each.seq, each.data) for each in await all_messages(store)] == [(1, b"said 1")]
        await store.verify()


async def test_chats_are_listed_in_pages_both_ways(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        for number in range(1, 31):
            await store.commit(said(number, chat=[b"tea", b"work"][number % 2]))
        tea = list(range(2, 31, 2))
        part = await store.history.list(b"tea", most=4)
        assert ([each.seq for each in part.messages], part.more) == (tea[-4:], True)
        part = await store.history.list(b"tea", before=part.messages[0].seq, most=4)
        assert ([each.seq for each in part.messages], part.more) == (tea[-8:-4], True)
        part = await store.history.list(b"tea", before=8, most=4)
        assert ([each.seq for each in part.messages], part.more) == (tea[:3], False)
        part = await store.history.list(b"tea", after=0, most=15)
        assert ([each.seq for each in part.messages], part.more) == (tea, False)
        part = await store.history.list(b"tea", after=4, before=10)
        assert ([each.seq for each in part.messages], part.more) == ([6, 8], False)
        for odd in ({"after": -5}, {"before": 1 << 80}, {"most": 1 << 80}, {"most": -1}):
            assert (await store.history.list(b"tea", **odd)).messages
        assert (await store.history.list(b"tea", after=1 << 63)).messages == []
        assert (await store.history.list(b"nothing")).messages == []


async def test_a_page_ends_where_it_is_large(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        for number in range(3):
            await store.commit(said(number, data=bytes(3 << 20)))
        part = await store.history.list(b"tea", most=10)
        assert ([each.seq for each in part.messages], part.more) == ([2, 3], True)


async def test_a_fate_changes_where_there_is_a_message(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.commit(said(1))
        fates = [NewFate(chat=b"tea", content=b"content %d" % n, fate="confirmed") for n in (1, 2)]
        await store.commit(Batch(history=fates))
        assert [each.fate for each in await all_messages(store)] == ["confirmed"]
        await store.verify()


async def test_a_deleted_message_leaves_the_journal_too_and_its_place_stays(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        for number in range(3):
            await store.commit(said(number))
        await store.commit(Batch(entries=[entry(9)], history=[delete(1)]))
        await store.history.delete([delete(2), delete(77)])
        assert [each.content for each in await all_messages(store)] == [b"content 0"]
        entries = await all_entries(store)
        assert [each.data for each in entries] == [{"number": 0}, {"deleted": True}, {"deleted": True}, {"number": 9}]
        assert entries[1].type == "msg.received"
        assert entries[1].chat == b"tea"
        await store.verify()


async def test_a_message_whose_entry_was_trimmed_can_be_deleted(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.commit(said(1))
        await store.journal.trim(0, 0)
        await store.history.delete([delete(1)])
        assert await all_messages(store) == []
        await store.verify()


async def test_retention_takes_the_oldest_of_one_chat_and_their_keys(tmp_path: Path) -> None:
    def keys() -> int:
        db = sqlite3.connect(tmp_path / NAME)
        found: int = db.execute("SELECT count(*) FROM keys").fetchone()[0]
        db.close()
        return found

    async with opened(tmp_path) as store:
        for day in range(4):
            for chat in (b"tea", b"work"):
                await store.commit(said(day, chat=chat, at=NOW + day * DAY))
        assert keys() == 4 + 8
        await store.history.expire(b"tea", NOW + 2 * DAY)
        assert [each.at_ms for each in await all_messages(store)] == [NOW + 2 * DAY, NOW + 3 * DAY]
        assert len(await all_messages(store, [b"work"])) == 4
        assert keys() == 4 + 6
        await store.history.forget(b"work")
        assert await all_messages(store, [b"work"]) == []
        assert keys() == 4 + 2
        await store.verify()


@pytest.mark.slow
async def test_a_large_chat_is_forgotten_in_parts(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        for start in range(0, 1000, 100):
            numbers = range(start, start + 100)
            batch = Batch(
                entries=[entry(n) for n in numbers], history=[message(n, entry=at) for at, n in enumerate(numbers)]
            )
            await store.commit(batch)
        await store.history.forget(b"tea")
        assert await all_messages(store) == []
        assert all(each.data == {"deleted": True} for each in await all_entries(store))
        await store.verify()


async def test_messages_that_were_exchanged_are_not_shown(tmp_path: Path) -> None:
    """Somebody with the disk and without the key moves rows: between chats, or from one message to another."""
    async with opened(tmp_path) as store:
        await store.commit(said(1))
        await store.commit(said(2, chat=b"work"))
    for change in (
        "UPDATE history SET chat = (SELECT chat FROM history WHERE seq = 2) WHERE seq = 1",
        "UPDATE history SET sealed = (SELECT sealed FROM history WHERE seq = 2) WHERE seq = 1",
    ):
        db = sqlite3.connect(tmp_path / NAME, isolation_level=None)
        db.execute(change)
        db.close()
        async with opened(tmp_path) as store:
            for chat in (b"tea", b"work"):
                found = []
                with suppress(StoreTrouble):
                    found = await all_messages(store, [chat])
                assert all(each.chat == chat for each in found)
            with pytest.raises(StoreTrouble) as trouble:
                await store.verify()
                await all_messages(store, [b"tea", b"work"])
            assert trouble.value.code is Trouble.CORRUPT


async def test_the_oldest_of_all_give_way_when_there_are_too_many_bytes(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        for number in range(1, 601):
            await store.commit(said(number, chat=[b"tea", b"work"][number % 2], data=bytes(100)))
        total = _bytes(tmp_path)
        assert await store.history.trim(total) == 0
        each = total // 600
        assert await store.history.trim(100 * each) in range(499, 502)
        left = await all_messages(store, [b"tea", b"work"])
        for name in (b"tea", b"work"):
            mine = [found.seq for found in await all_messages(store, [name])]
            assert len(mine) in range(45, 56)
            assert mine == sorted(found.seq for found in left if found.chat == name)
            assert mine[-1] - mine[0] == 2 * (len(mine) - 1)
            assert mine[-1] in (599, 600)
        assert _bytes(tmp_path) <= 100 * each
        assert await store.history.trim(100 * each) == 0
        assert await store.history.trim(0) == len(left)
        assert await store.history.trim(0) == 0
        await store.verify()
    async with opened(tmp_path) as store:
        await store.verify()


async def test_who_floods_one_chat_empties_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vcd.store.history._COUNTED", 7)
    async with opened(tmp_path) as store:
        for number in range(1, 11):
            await store.commit(said(number, chat=b"work", data=bytes(100)))
        for number in range(11, 301):
            await store.commit(said(number, chat=b"tea", data=bytes(1000)))
        assert await store.history.trim(_bytes(tmp_path) // 4) in range(210, 230)
        assert len(await all_messages(store, [b"work"])) == 10
        tea = [found.seq for found in await all_messages(store, [b"tea"])]
        assert tea == list(range(301 - len(tea), 301))
        await store.verify()


def _bytes(folder: Path) -> int:
    db = sqlite3.connect(folder / NAME)
    (found,) = db.execute("SELECT coalesce(sum(length(sealed)), 0) FROM history").fetchone()
    db.close()
    return int(found)

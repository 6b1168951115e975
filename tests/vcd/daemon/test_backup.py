"""Backups of a large history, and recoveries that were interrupted: handlers on a real store."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from vcd.backup import files, records, seal
from vcd.core.accounts.identity import RecoverySeed
from vcd.core.effects import Effect
from vcd.core.founding import blank, new_account
from vcd.core.names import GroupId
from vcd.crypto import SystemProvider
from vcd.daemon import facts, words
from vcd.daemon.desk import Desk
from vcd.daemon.owner import Owner
from vcd.daemon.service import backup, recovery
from vcd.rpc.calls import Call
from vcd.rpc.errors import Failure
from vcd.rpc.nouns import account, daemon
from vcd.store.store import open_store
from vcd.store.values import NewEntry, NewMessage
from vcd.vault.unlockers import KeyFile, Passphrase
from vcd.vault.vault import Vault

PROVIDER = SystemProvider()
SEED = RecoverySeed(b"s" * 32)
NOW = 1_800_000_000_000
TEA, MILK = GroupId(b"tea"), GroupId(b"milk")
CALL = Call(
    method="backup.create",
    client="test",
    pid=1,
    uid=1,
    socket="admin",
    request_id=None,
    digest=b"",
    timeout_ms=None,
)


class NoHands:
    """Nothing is done."""

    def run(self, effects: Sequence[Effect]) -> None:
        del effects

    async def room(self) -> None:
        await trio.lowlevel.checkpoint()


@asynccontextmanager
async def desk_of(folder: Path, *, with_account: bool) -> AsyncIterator[Desk]:
    await trio.Path(folder).mkdir()
    vault = Vault.create(folder / "vault", KeyFile(folder / "key"))
    state = new_account(PROVIDER, SEED, "laptop", NOW) if with_account else blank(PROVIDER, "desk")
    async with open_store(folder / "db", vault, create=True) as store, trio.open_nursery() as nursery:
        owner = Owner(state, facts.split({})[1], provider=PROVIDER, store=store, hands=NoHands(), now_ms=lambda: NOW)
        await owner.begin()
        nursery.start_soon(owner.run)
        yield Desk(
            owner=owner,
            store=store,
            now_ms=lambda: NOW,
            random=os.urandom,
            dispensers=tuple,
            provider=PROVIDER,
        )
        nursery.cancel_scope.cancel()


def has_account(desk: Desk) -> bool:
    return desk.state.book.own is not None


async def fill(desk: Desk, chat: GroupId, many: int, size: int = 1000) -> None:
    """As if so much had been said in a chat of before."""
    own = desk.own()
    await desk.owner.do(None, keep={facts.past(chat): facts.Past("demls", (own,)).encode()})
    for start in range(0, many, 500):
        numbers = range(start, min(start + 500, many))
        await desk.owner.do(
            None,
            entries=[NewEntry(at_ms=NOW + each, type="msg.received", chat=chat) for each in numbers],
            history=[
                NewMessage(
                    entry=place,
                    chat=chat,
                    content=each.to_bytes(32),
                    sender=own,
                    ours=True,
                    device=None,
                    said_at=NOW + each,
                    data=each.to_bytes(size),
                    media="",
                    fate="delivered",
                )
                for place, each in enumerate(numbers)
            ],
        )


def wanted(path: Path, *, history: bool = True) -> daemon.BackupCreate:
    return daemon.BackupCreate(path=str(path), passphrase="horse", words=words.of_seed(SEED), history=history)


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup, "Passphrase", partial(Passphrase, memory_kib=64, passes=1, lanes=1))


def opened(path: Path) -> list[records.Record]:
    data = path.read_bytes()
    reader = seal.Reader(seal.read_header(data).open("horse"))
    return [records.unpack(each) for part in (reader.feed(data[seal.HEADER :]), reader.end()) for each in part]


@pytest.mark.slow
async def test_memory_does_not_grow_with_what_was_said(tmp_path: Path) -> None:
    async with desk_of(tmp_path / "alice", with_account=True) as desk:
        await fill(desk, TEA, 3_000, 7_000)
        tracemalloc.start()
        try:
            made = await backup.create(desk, CALL, wanted(tmp_path / "backup"))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert (made.messages, made.chats) == (3_000, 1)
        assert made.bytes > 20_000_000
        assert peak < 12_000_000
    async with desk_of(tmp_path / "new", with_account=False) as desk:
        given = account.Recover(device_name="desk", backup=str(tmp_path / "backup"), passphrase="horse")
        tracemalloc.start()
        try:
            await recovery.recover(desk, CALL, given)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 25_000_000
        page = await desk.store.history.list(TEA, most=500)
        assert [int.from_bytes(each.data) for each in page.messages] == list(range(2_500, 3_000))
        assert page.messages[-1].said_at == NOW + 2_999


@pytest.mark.slow
async def test_who_was_stopped_in_the_middle_calls_once_more(tmp_path: Path) -> None:
    async with desk_of(tmp_path / "alice", with_account=True) as desk:
        await fill(desk, MILK, 700)
        await fill(desk, TEA, 700)
        await backup.create(desk, CALL, wanted(tmp_path / "backup"))
    given = account.Recover(device_name="desk", backup=str(tmp_path / "backup"), passphrase="horse")
    async with desk_of(tmp_path / "new", with_account=False) as desk:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(recovery.recover, desk, CALL, given)
                while desk.store.journal.last < 500:
                    await desk.store.journal.wait(desk.store.journal.last)
                scope.cancel()
        some = desk.store.journal.last
        assert 500 <= some < 1400
        assert not has_account(desk)
        found = await recovery.recover(desk, CALL, given)
        assert found.chats == 2
        assert desk.state.book.own == found.account
        page = await desk.store.journal.read(0, 5000, types=frozenset({"msg.restored"}))
        assert len(page.entries) == len({(each.data["chat"], each.data["msg"]) for each in page.entries}) == 1400
        for chat in (TEA, MILK):
            assert len((await desk.store.history.list(chat, most=5000)).messages) == 700


async def test_no_key_is_in_a_backup(tmp_path: Path) -> None:
    async with desk_of(tmp_path / "alice", with_account=True) as desk:
        given = daemon.BackupCreate(path=str(tmp_path / "backup"), passphrase="horse")
        await backup.create(desk, CALL, given)
        plain = b"".join(map(records.pack, opened(tmp_path / "backup")))
        household, state = desk.state.household, desk.state
        assert household.signing is not None
        assert household.delegate is not None
        assert household.inbox is not None
        assert state.emulation is not None
        secrets = [household.signing.raw, household.delegate.raw, household.inbox.raw, state.me.signature_private.raw]
        secrets += [each.secret.raw for each in state.joined.values()]
        secrets += [SEED.raw, *[each.private.raw for each in state.emulation.keys.values()]]
        assert all(len(each) >= 32 and each not in plain for each in secrets)
        edition = state.book.edition
        assert edition is not None
        assert edition.head.signature in plain


async def test_without_history_there_is_none(tmp_path: Path) -> None:
    async with desk_of(tmp_path / "alice", with_account=True) as desk:
        await fill(desk, TEA, 3)
        made = await backup.create(desk, CALL, wanted(tmp_path / "backup", history=False))
        assert (made.messages, made.chats, made.with_root) == (0, 1, True)
        kinds = [type(each).__name__ for each in opened(tmp_path / "backup")]
        assert kinds == ["About", "Room", "End"]


async def test_a_backup_that_was_put_together_by_somebody_is_checked(tmp_path: Path) -> None:
    async with desk_of(tmp_path / "alice", with_account=True) as desk:
        await backup.create(desk, CALL, wanted(tmp_path / "backup"))
    about, end = opened(tmp_path / "backup")
    assert isinstance(about, records.About)
    assert isinstance(end, records.End)
    person = records.Person(
        account=bytes(32), head=b"x", card=None, name="x", accepted=True, verified=True, blocked=False, since=0
    )
    stray = records.Said(
        chat=b"x", msg=bytes(32), sender=bytes(32), ours=True, device=None, at=0, said_at=0, data=b"", media="", fate=""
    )
    fields = {name: getattr(about, name) for name in about.__struct_fields__}
    wrong: dict[str, list[records.Record]] = {
        "list": [records.About(**{**fields, "edition": b"x"}), end],
        "account": [records.About(**{**fields, "account": bytes(32)}), end],
        "chat": [about, stray, records.End(people=0, chats=0, messages=1)],
        "missing": [about, records.End(people=1, chats=0, messages=0)],
        "order": [end],
    }
    async with desk_of(tmp_path / "new", with_account=False) as desk:
        for name, several in wrong.items():
            given = written(tmp_path / name, several)
            with pytest.raises(Failure, match="E_FILE"):
                await recovery.recover(desk, CALL, given)
        found = await recovery.recover(
            desk, CALL, written(tmp_path / "people", [about, person, records.End(people=1, chats=0, messages=0)])
        )
        assert found.contacts == 0  # whose head does not hold is nobody


def written(path: Path, several: list[records.Record]) -> account.Recover:
    header, key = seal.begin(Passphrase("horse", memory_kib=64, passes=1, lanes=1))
    writer = seal.Writer(key)
    with files.written(path) as file:
        file.write(header + b"".join([*map(writer.add, map(records.pack, several)), writer.end()]))
    return account.Recover(device_name="desk", backup=str(path), passphrase="horse")

"""The owner: what is stored before anything is done, and what happens when it cannot be."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import trio

from mls.persistent import PMap
from transport import frames
from transport.base import Frame, Milliseconds
from vcd.core import effects, inputs, stored
from vcd.core.accounts.identity import new_seed
from vcd.core.effects import Effect
from vcd.core.errors import Misuse
from vcd.core.founding import new_account
from vcd.core.names import FrameId, GroupId, IntentId, TopicId
from vcd.core.node import Outcome, step
from vcd.core.state import State
from vcd.crypto import SystemProvider
from vcd.daemon.owner import Owner
from vcd.store.store import Store, open_store
from vcd.store.trouble import StoreTrouble, Trouble
from vcd.store.values import Batch, Entry, NewEntry, NewRequest
from vcd.vault.unlockers import KeyFile
from vcd.vault.vault import Vault

TEA = GroupId(b"tea")
PROVIDER = SystemProvider()


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass
class Remembers:
    """Hands that do nothing, and say what they were to do, and what was on disk then."""

    store: Store | None = None
    done: list[Effect] = field(default_factory=list)

    def run(self, effects: Sequence[Effect]) -> None:
        self.done += effects

    async def room(self) -> None:
        pass


@asynccontextmanager
async def running(path: Path, hands: Remembers | None = None, *, create: bool = True) -> AsyncIterator[Owner]:
    key, vault_path = KeyFile(path / "key"), path / "vault"
    vault = Vault.create(vault_path, key) if create else Vault.open(vault_path, key)
    async with open_store(path / "db", vault, create=create) as store:
        if create:
            state = new_account(PROVIDER, new_seed(PROVIDER), "laptop", now_ms())
        else:
            state = stored.load(await store.load(), PROVIDER)
        hands = hands or Remembers()
        hands.store = store
        owner = Owner(state, PMap(), provider=PROVIDER, store=store, hands=hands, now_ms=now_ms)
        if create:
            await owner.begin()
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(owner.run)
                await owner.tell(inputs.Started())
                yield owner
                nursery.cancel_scope.cancel()


def say(number: int) -> inputs.Say:
    return inputs.Say(conversation=TEA, nonce=number.to_bytes(16, "big"), data=b"%d" % number, media="text/plain")


async def test_what_a_command_did_is_there_after_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path) as owner:
        await owner.do(inputs.Open(conversation=TEA))
        done = await owner.do(say(1))
        assert done.state.talks[TEA].nonces
        assert owner.look() is done.state
    hands = Remembers()
    async with running(tmp_path, hands, create=False) as owner:
        await owner.do(say(1))  # the same again is nothing new
        assert len(owner.look().talks[TEA].nonces) == 1
        assert hands.store is not None
        page = await hands.store.journal.read(0, 100)
        assert [each.type for each in page.entries].count("msg.received") == 1
    assert any(isinstance(each, effects.Publish) for each in hands.done)  # nobody said that it was published


async def test_effects_are_run_after_what_they_follow_from_is_on_disk(tmp_path: Path) -> None:
    order: list[str] = []

    class Watches(Remembers):
        def run(self, effects: Sequence[Effect]) -> None:
            order.append("effects")
            super().run(effects)

    hands = Watches()
    async with running(tmp_path, hands) as owner:
        await owner.do(inputs.Open(conversation=TEA))
        store = hands.store
        assert store is not None
        commit = store.commit

        async def committed(batch: Batch) -> int:
            last = await commit(batch)
            order.append("stored")
            return last

        order.clear()
        store.commit = committed  # type: ignore[method-assign]
        await owner.do(say(1))
        assert order == ["stored", "effects"]


async def test_what_cannot_be_changes_nothing_and_is_said_to_who_asked(tmp_path: Path) -> None:
    async with running(tmp_path) as owner:
        await owner.do(None, entries=[NewEntry(at_ms=1, type="chat.renamed", chat=b"x", data={})])
        before = owner.look()
        with pytest.raises(Misuse):
            await owner.do(say(1))
        assert owner.look() is before
        await owner.do(inputs.Open(conversation=TEA))


async def test_many_that_wait_share_a_transaction_and_each_learns_its_own(tmp_path: Path) -> None:
    async with running(tmp_path) as owner:
        await owner.do(inputs.Open(conversation=TEA))
        before = owner.counts.batches
        seqs: dict[int, tuple[int, ...]] = {}

        async def one(number: int) -> None:
            done = await owner.do(say(number))
            seqs[number] = done.seqs

        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(one, number)
        assert owner.counts.batches - before < 50
        assert owner.counts.largest > 2
        everything = [seq for number in seqs for seq in seqs[number]]
        assert len(everything) == len(set(everything)) >= 200  # received and sent, for each
        store_entries = await _entries(owner)
        by_seq = {each.seq: each for each in store_entries}
        for number, mine in seqs.items():
            assert by_seq[mine[0]].data["data"] == b"%d" % number


async def _entries(owner: Owner) -> list[Entry]:
    return (await owner._store.journal.read(0, 10_000)).entries


async def test_a_store_that_cannot_write_refuses_commands_and_keeps_what_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vcd.daemon.owner.RETRY", 0.01)
    hands = Remembers()
    async with running(tmp_path, hands) as owner:
        await owner.do(inputs.Open(conversation=TEA))
        store, before, done = hands.store, owner.look(), len(hands.done)
        assert store is not None
        commit, tries = store.commit, []

        async def full(batch: Batch) -> int:
            tries.append(batch)
            if len(tries) < 4:
                raise StoreTrouble(Trouble.FULL, "the disk is full")
            return await commit(batch)

        store.commit = full  # type: ignore[method-assign]
        with pytest.raises(StoreTrouble):
            await owner.do(say(1))
        assert owner.look() is before
        assert len(hands.done) == done
        await owner.tell(inputs.Online(online=True))
        with trio.fail_after(5):
            while not owner.look().clock.online:  # noqa: ASYNC110 - it is tried again
                await trio.sleep(0.01)
        assert owner.trouble is None
        await owner.do(say(1))
        assert len(owner.look().talks[TEA].nonces) == 1


async def test_a_command_is_refused_however_much_waits_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vcd.daemon.owner.RETRY", 0.01)
    monkeypatch.setattr("vcd.daemon.owner.MOST", 4)
    hands = Remembers()
    async with running(tmp_path, hands) as owner:
        await owner.do(inputs.Open(conversation=TEA))
        store = hands.store
        assert store is not None

        async def full(_: Batch) -> int:
            raise StoreTrouble(Trouble.FULL, "the disk is full")

        monkeypatch.setattr(store, "commit", full)
        for _ in range(20):
            await owner.tell(inputs.Online(online=True))
        with trio.fail_after(5), pytest.raises(StoreTrouble):
            await owner.do(say(1))
        monkeypatch.undo()
        await owner.do(say(1))
        assert owner.look().clock.online


async def test_the_answer_to_a_request_is_stored_with_what_it_did(tmp_path: Path) -> None:
    hands = Remembers()

    def answer(state: State, events: object, seq: int) -> NewRequest:
        assert state.talks.find(TEA) is not None
        return NewRequest(id=b"r" * 16, method="msg.send", digest=b"d", result={"seq": seq}, at_ms=now_ms())

    async with running(tmp_path, hands) as owner:
        await owner.do(inputs.Open(conversation=TEA))
        done = await owner.do(say(1), answer=answer)
        assert hands.store is not None
        found = await hands.store.request(b"r" * 16)
        assert found is not None
        assert found.result == {"seq": done.seqs[0]}


async def test_a_frame_is_looked_at_again_until_what_came_of_it_is_stored(tmp_path: Path) -> None:
    hands = Remembers()
    async with running(tmp_path, hands) as owner:
        store = hands.store
        assert store is not None
        kept = store.frames(Frame)
        key = frames.WriteKey.generate(lambda size: bytes(size - 1) + b"1")
        frame = frames.seal(key, b"something", Milliseconds(now_ms() + 60_000))
        await kept.add([frame])
        assert [each.id async for each in kept.undigested()] == [frame.id]
        given = inputs.Arrived(frame=FrameId(frame.id), topic=TopicId(frame.topic), payload=frame.payload)
        await owner.tell(given, frame=(frame.topic, frame.id))
        await owner.do(inputs.Open(conversation=TEA))
        assert [each.id async for each in kept.undigested()] == []
        assert owner.counts.refused == {"topic": 1}


async def test_a_frame_that_the_node_puts_back_counts_as_not_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Be it the one that it was given, or one of before."""
    hands = Remembers()
    async with running(tmp_path, hands) as owner:
        assert hands.store is not None
        kept = hands.store.frames(Frame)
        key = frames.WriteKey.generate(lambda size: bytes(size - 1) + b"1")
        several = [frames.seal(key, bytes([each]), Milliseconds(now_ms() + 60_000)) for each in range(3)]
        await kept.add(several)
        places = [(TopicId(each.topic), FrameId(each.id)) for each in several]

        def puts_back(*given: Any) -> Outcome:
            outcome = step(*given)
            if isinstance(given[1], inputs.Arrived) and given[1].frame == places[1][1]:
                return replace(outcome, put_back=tuple(places[:2]))
            return outcome

        monkeypatch.setattr("vcd.daemon.owner.step", puts_back)
        for each in several:
            arrived = inputs.Arrived(frame=FrameId(each.id), topic=TopicId(each.topic), payload=each.payload)
            await owner.tell(arrived, frame=(each.topic, each.id))
        await owner.do(inputs.Open(conversation=TEA))
        assert [each.id async for each in kept.undigested()] == [each.id for each in several[:2]]
        assert list(owner.put_back) == places[:2]


async def test_several_who_wait_for_room_all_get_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vcd.daemon.owner.ROOM", 2)
    async with running(tmp_path) as owner:
        before = owner.counts.steps
        async with trio.open_nursery() as nursery:
            for _ in range(5):  # the mesh's frames, its surveys, mailboxes: each a task of its own
                nursery.start_soon(_tell_often, owner)
        while owner.counts.steps < before + 5 * 20:
            await owner.moved()


async def _tell_often(owner: Owner) -> None:
    for _ in range(20):
        await owner.tell(inputs.Online(online=True))


async def test_a_bug_in_a_step_ends_the_daemon_loudly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    with pytest.raises(ExceptionGroup) as caught:
        async with running(tmp_path) as owner:
            await owner.do(inputs.Open(conversation=TEA))
            monkeypatch.setattr("vcd.daemon.owner.step", broken)
            await owner.tell(inputs.Refresh(intent=IntentId(bytes(16)), conversation=TEA))
            await trio.sleep(5)
    assert caught.group_contains(ZeroDivisionError, depth=None)


async def test_whoever_wants_another_state_and_fails_is_told_alone(tmp_path: Path) -> None:
    """Two accounts that are founded at once: the second is refused by what it gave, and not by the daemon's end."""

    class ThereIsOne(Exception):
        pass

    def refuse(_: State) -> State:
        raise ThereIsOne

    async with running(tmp_path) as owner:
        told: list[type[BaseException]] = []

        async def founded() -> None:
            with pytest.raises(ThereIsOne) as info:
                await owner.become(refuse)
            told.append(info.type)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(founded)
            nursery.start_soon(owner.do, inputs.Open(conversation=TEA))
            nursery.start_soon(founded)
        assert told == [ThereIsOne] * 2
        assert TEA in owner.look().talks

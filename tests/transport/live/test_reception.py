from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from transport import frames
from transport.base import Closed, Frame, FrameId, Milliseconds, PeerId, Reason, Refused, TopicId
from transport.live.inbox import Inbox
from transport.live.reception import MOST_UNDER_WAY, Reception
from transport.signing import SigningKey
from transport.sync.log import Log
from transport.sync.memory_store import MemoryStore

KEY = SigningKey(bytes(32))
TOPIC = frames.topic_id(KEY.public)
ONE, TWO = PeerId("one"), PeerId("two")
NOW = Milliseconds(10**12)


def frame(n: int, key: SigningKey = KEY) -> Frame:
    return frames.seal(key, b"%d" % n, Milliseconds(NOW + 60_000))


def uncounted(_name: str, _amount: int = 1) -> None:
    pass


class SlowStore(MemoryStore):
    """Counts transactions; each takes a second."""

    def __init__(self) -> None:
        super().__init__()
        self.transactions: list[int] = []

    async def add(self, frames: Sequence[Frame]) -> Sequence[FrameId]:
        self.transactions.append(len(frames))
        await trio.sleep(1)
        return await super().add(frames)


class BrokenStore(MemoryStore):
    async def add(self, frames: Sequence[Frame]) -> Sequence[FrameId]:
        await trio.lowlevel.checkpoint()
        raise OSError("no space left")


class Scene:
    def __init__(self, store: MemoryStore, inbox_frames: int = 100) -> None:
        self.store = store
        self.log = Log(store, now_ms=lambda: NOW, count=uncounted)
        self.inbox = Inbox(most_frames=inbox_frames, most_bytes=10_000)
        self.late: list[tuple[PeerId, TopicId]] = []
        self.reception = Reception(self.log, self.inbox, late=lambda peer, topic: self.late.append((peer, topic)))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Scene]:
        await self.log.open(TOPIC)
        self.reception.keep(TOPIC)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.reception.write)
            nursery.start_soon(self.reception.deliver)
            yield self
            nursery.cancel_scope.cancel()


async def test_stored_and_then_in_the_inbox_once(autojump_clock: trio.testing.MockClock) -> None:
    async with Scene(SlowStore()).running() as scene:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(scene.reception.frames, TOPIC, [frame(1), frame(2)], ONE)
            nursery.start_soon(scene.reception.frames, TOPIC, [frame(2), frame(3)], TWO)
            await trio.testing.wait_all_tasks_blocked()
            assert all(scene.reception.known(TOPIC, frame(n).id) for n in (1, 2, 3))
        await scene.reception.frames(TOPIC, [frame(1)], TWO)
        arrived = [await anext(scene.inbox) for _ in range(len(scene.inbox))]
        assert sorted(each.frame.payload for each in arrived) == [b"1", b"2", b"3"]
        assert all(scene.log.has(TOPIC, frame(n).id) for n in (1, 2, 3))


async def test_what_comes_during_a_transaction_shares_the_next(autojump_clock: trio.testing.MockClock) -> None:
    store = SlowStore()
    async with Scene(store).running() as scene:
        async with trio.open_nursery() as nursery:
            for n in range(50):
                nursery.start_soon(scene.reception.frames, TOPIC, [frame(n)], ONE)
        assert sum(store.transactions) == 50
        assert len(store.transactions) <= 2


async def test_ours_is_stored_and_not_delivered() -> None:
    async with Scene(MemoryStore()).running() as scene:
        await scene.reception.publish(frame(1))
        assert scene.log.has(TOPIC, frame(1).id)
        assert len(scene.inbox) == 0


async def test_a_full_inbox_stops_whoever_brings_frames(autojump_clock: trio.testing.MockClock) -> None:
    brought = 0

    async with Scene(MemoryStore(), inbox_frames=5).running() as scene:

        async def bring() -> None:
            nonlocal brought
            for n in range(20):
                await scene.reception.frames(TOPIC, [frame(n)], ONE)
                brought += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(bring)
            await trio.testing.wait_all_tasks_blocked()
            assert brought == 5
            for _ in range(20):
                await anext(scene.inbox)
        assert brought == 20


async def test_whoever_gives_up_waiting_leaves_only_so_much(autojump_clock: trio.testing.MockClock) -> None:
    async with Scene(MemoryStore(), inbox_frames=1).running() as scene:
        for start in range(0, 5 * MOST_UNDER_WAY, 100):
            with trio.move_on_after(1):
                await scene.reception.frames(TOPIC, [frame(n) for n in range(start, start + 100)], ONE)
        stored = [entry async for batch in scene.store.entries(TOPIC) for entry in batch]
        assert MOST_UNDER_WAY - 100 <= len(stored) <= MOST_UNDER_WAY + 1


async def test_a_reader_that_publishes_does_not_wait_for_itself(autojump_clock: trio.testing.MockClock) -> None:
    async with Scene(MemoryStore(), inbox_frames=1).running() as scene:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(scene.reception.frames, TOPIC, [frame(n) for n in range(10)], ONE)
            await trio.testing.wait_all_tasks_blocked()
            for n in range(10):
                await anext(scene.inbox)
                with trio.fail_after(1):
                    await scene.reception.publish(frame(100 + n))


async def test_what_is_brought_while_it_is_published_is_not_delivered(autojump_clock: trio.testing.MockClock) -> None:
    async with Scene(SlowStore()).running() as scene:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(scene.reception.publish, frame(1))
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(scene.reception.frames, TOPIC, [frame(1)], ONE)
        assert len(scene.inbox) == 0


async def test_a_topic_that_was_left_takes_nothing() -> None:
    async with Scene(MemoryStore()).running() as scene:
        scene.reception.leave(TOPIC)
        await scene.reception.frames(TOPIC, [frame(1)], ONE)
        assert len(scene.inbox) == 0
        assert not scene.log.has(TOPIC, frame(1).id)


async def test_what_the_store_declines_is_not_said_to_be_published() -> None:
    class Declining(MemoryStore):
        async def add(self, frames: Sequence[Frame]) -> Sequence[FrameId]:
            await trio.lowlevel.checkpoint()
            return []

    async with Scene(Declining()).running() as scene:
        with pytest.raises(Refused) as refused:
            await scene.reception.publish(frame(1))
        assert refused.value.reason is Reason.FULL


async def test_publishing_beside_leaving_tells_the_publisher(autojump_clock: trio.testing.MockClock) -> None:
    async with Scene(SlowStore()).running() as scene:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(refused_for, Reason.STRANGER, scene, frame(1))  # is being stored
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(refused_for, Reason.STRANGER, scene, frame(2))
            await trio.testing.wait_all_tasks_blocked()
            await trio.sleep(0.5)
            scene.log.close(TOPIC)
            scene.reception.leave(TOPIC)


async def refused_for(reason: Reason, scene: Scene, one: Frame) -> None:
    with pytest.raises(Refused) as refused:
        await scene.reception.publish(one)
    assert refused.value.reason is reason


async def test_the_end_is_no_error_for_whoever_brings_frames() -> None:
    async with Scene(MemoryStore()).running() as scene:
        scene.reception.close()
        await scene.reception.frames(TOPIC, [frame(1)], ONE)
        with pytest.raises(Closed):
            await scene.reception.publish(frame(2))


async def test_an_error_of_the_store_ends_the_mesh() -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(OSError, match="no space left"), flatten_subgroups=True):
        async with Scene(BrokenStore()).running() as scene:
            await scene.reception.frames(TOPIC, [frame(1)], ONE)
            await trio.sleep_forever()

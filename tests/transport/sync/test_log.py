"""The log: a store and its indices agree, whatever happens in between."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from tests.transport.sync.store_contract import KEYS, START, TOPICS, StoreContract, made
from transport.base import Frame, FrameId, FrameStore, Milliseconds
from transport.frames import seal
from transport.sync import log as log_module
from transport.sync.index import TOP, key
from transport.sync.log import MOST_WAITERS, Log
from transport.sync.memory_store import MemoryStore

TOPIC = TOPICS[0]


class TestMemoryStore(StoreContract):
    @asynccontextmanager
    async def store(self) -> AsyncIterator[FrameStore]:
        yield MemoryStore()


class Clock:
    def __init__(self) -> None:
        self.now = Milliseconds(START - 1000)

    def __call__(self) -> Milliseconds:
        return self.now


def new_log(store: FrameStore | None = None, clock: Clock | None = None) -> tuple[Log, Counter[str]]:
    counted: Counter[str] = Counter()

    def count(name: str, amount: int) -> None:
        counted[name] += amount

    return Log(store or MemoryStore(), now_ms=clock or Clock(), count=count), counted


def held(log: Log) -> list[bytes]:
    index = log.index(TOPIC)
    assert index is not None
    return [bytes(one) for one in index.snapshot().keys(b"", TOP)]


@pytest.mark.slow
async def test_open_reads_what_the_store_has() -> None:
    store, clock = MemoryStore(), Clock()
    frames = [made(n, expires=n % 100) for n in range(3000)]
    await store.add(frames)
    clock.now = Milliseconds(START + 50)
    log, _ = new_log(store, clock)
    assert log.index(TOPIC) is None
    assert not log.has(TOPIC, frames[60].id)
    await log.open(TOPIC)
    await log.open(TOPIC)
    alive = [frame for frame in frames if frame.expires >= clock.now]
    assert held(log) == sorted(key(frame.expires, frame.id) for frame in alive)
    assert log.has(TOPIC, frames[60].id)
    assert not log.has(TOPIC, frames[3].id)
    assert list(log.topics()) == [TOPIC]
    log.close(TOPIC)
    assert log.index(TOPIC) is None


async def test_the_store_says_what_is_new() -> None:
    store = MemoryStore()
    await store.add([made(1)])
    log, counted = new_log(store)
    assert await log.add([made(1), made(2)]) == [made(2)]  # a topic that is not open is stored all the same
    await log.open(TOPIC)
    assert await log.add([made(3), made(2), made(3), made(4)]) == [made(3), made(4)]
    assert await log.add([made(3)]) == []
    assert len(held(log)) == 4
    assert counted["sync.stored"] == 3


async def test_fetch_keeps_the_order() -> None:
    log, _ = new_log()
    await log.open(TOPIC)
    await log.add([made(n) for n in range(5)])
    wanted = [made(3).id, made(9).id, made(1).id]
    assert await log.fetch(TOPIC, wanted) == [made(3), made(1)]


async def test_expired_and_dropped_and_forgotten() -> None:
    clock = Clock()
    log, counted = new_log(clock=clock)
    await log.open(TOPIC)
    await log.add([made(n, expires=n) for n in range(10)])
    clock.now = Milliseconds(START + 4)
    await log.expire()
    assert len(held(log)) == 6
    assert counted["sync.expired"] == 4
    log.forget(TOPIC, [(made(5, expires=5).expires, made(5, expires=5).id), (Milliseconds(1), made(6, expires=6).id)])
    log.forget(TOPICS[1], [(START, made(1).id)])
    assert not log.has(TOPIC, made(5, expires=5).id)
    assert len(held(log)) == 5
    await log.drop(TOPIC)
    assert log.index(TOPIC) is None
    assert await log.fetch(TOPIC, [made(7, expires=7).id]) == []


async def test_a_store_that_fails_leaves_the_index_as_it_was() -> None:
    class Broken(MemoryStore):
        fails = False

        async def add(self, frames: Sequence[Frame]) -> Sequence[FrameId]:
            new = await super().add(frames)
            if self.fails:
                raise OSError("disk full")
            return new

    store = Broken()
    log, _ = new_log(store)
    await log.open(TOPIC)
    await log.add([made(1)])
    store.fails = True
    with pytest.raises(OSError, match="full"):
        await log.add([made(2)])
    assert len(held(log)) == 1
    store.fails = False
    assert await log.add([made(2)]) == []  # the store has it after all, and is believed
    assert len(held(log)) == 2


class Full(MemoryStore):
    """Has room for so many."""

    room = 1

    async def add(self, frames: Sequence[Frame]) -> Sequence[FrameId]:
        new = await super().add(frames[: self.room])
        self.room -= len(new)
        return new


async def test_a_store_that_does_not_take_a_frame() -> None:
    store, clock = Full(), Clock()
    log, counted = new_log(store, clock)
    await log.add([made(7)])  # a topic that is not open
    assert not log._declined
    await log.open(TOPIC)
    store.room = 1
    assert await log.add([made(1), made(2)]) == [made(1)]
    assert log.has(TOPIC, made(1).id)
    assert not log.has(TOPIC, made(2).id)
    assert [log.declined(TOPIC, made(number).id) for number in (1, 2, 3)] == [False, True, False]
    assert counted["sync.declined"] == 1
    store.room = 1
    assert await log.add([made(2)]) == [made(2)]  # whoever brings it again may find room for it
    assert not log.declined(TOPIC, made(2).id)


async def test_what_was_declined_is_tried_again_some_time() -> None:
    store, clock = Full(), Clock()
    log, _ = new_log(store, clock)
    await log.open(TOPIC)
    one, soon, last = made(1, expires=10**8), made(2, expires=500), made(3, expires=10**8)
    await log.add([one, soon, last])
    clock.now = soon.expires
    assert [log.declined(TOPIC, frame.id) for frame in (soon, last)] == [False, True]
    await log.expire()
    assert len(log._declined) == 1
    clock.now = Milliseconds(START + 3_700_000)
    assert not log.declined(TOPIC, last.id)
    for deleting in (True, False):
        await log.add([last])
        log.forget(TOPICS[1], [])
        assert log.declined(TOPIC, last.id)
        if deleting:
            log.forget(TOPIC, [(one.expires, one.id)])
        else:
            log.close(TOPIC)
        assert not log._declined


async def test_what_was_declined_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "MOST_DECLINED", 3)
    log, _ = new_log(Full())
    await log.open(TOPIC)
    await log.add([made(number) for number in range(6)])
    await log.add([made(3)])
    assert [number for number in range(6) if log.declined(TOPIC, made(number).id)] == [3, 4, 5]
    assert [frame for _, frame in log._declined] == [made(number).id for number in (4, 5, 3)]


@pytest.mark.slow
async def test_adding_while_it_opens_and_from_many_tasks() -> None:
    store = MemoryStore()
    await store.add([made(n) for n in range(3000)])
    log, _ = new_log(store)
    new: list[Frame] = []

    async def add(start: int) -> None:
        for n in range(start, start + 20):
            new.extend(await log.add([made(n), made(n + 1)]))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(log.open, TOPIC)
        for start in (2990, 3000, 3000, 3010):
            nursery.start_soon(add, start)
    assert len(held(log)) == 3031
    assert len(new) == len({frame.id for frame in new}) == 31


async def test_waiting_for_a_frame(autojump_clock: MockClock) -> None:
    log, counted = new_log()
    await log.open(TOPIC)
    came: list[bool] = []

    async def wait(number: int, within: float) -> None:
        came.append(await log.arrival(TOPIC, made(number).id, within))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(wait, 1, 10.0)
        await trio.sleep(1)
        await log.add([made(1)])
    assert came == [True] * 3
    assert trio.current_time() < 5
    assert await log.arrival(TOPIC, made(1).id, 0.0)
    assert not await log.arrival(TOPIC, made(2).id, 3.0)
    assert not log._waiters
    async with trio.open_nursery() as nursery:
        for number in range(MOST_WAITERS):
            nursery.start_soon(wait, 10 + number, 5.0)
        await trio.sleep(1)
        assert not await log.arrival(TOPIC, made(2).id, 1000.0)
        assert trio.current_time() < 10
    assert counted["sync.too_many_waiters"] == 1
    assert log._waiting == 0


async def test_frames_of_another_topic_are_that_topics() -> None:
    log, _ = new_log()
    await log.open(TOPIC)
    other = seal(KEYS[1], b"x", START)
    assert await log.add([other]) == [other]
    assert held(log) == []

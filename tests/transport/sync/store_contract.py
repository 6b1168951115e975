"""What every `base.FrameStore` promises, as a class of tests.

    class TestOurs(StoreContract):
        @asynccontextmanager
        async def store(self) -> AsyncIterator[FrameStore]:
            yield ...

All frames of it expire between `START` and `START + 1000`, in two topics that the store must be willing to keep
(`TOPICS`), and none has more than `LARGEST` bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

import pytest

from transport.base import Frame, FrameId, FrameStore, Milliseconds, TopicId
from transport.frames import seal, topic_id
from transport.signing import SigningKey

KEYS = [SigningKey(bytes([number]) * 32) for number in (1, 2)]
TOPICS = [topic_id(one.public) for one in KEYS]
START = Milliseconds(1_800_000_000_000)
LARGEST = 200_000


def made(number: int, *, topic: int = 0, expires: int = 0, size: int = 20) -> Frame:
    """The same arguments, the same frame."""
    payload = number.to_bytes(8) + bytes(max(size - 8, 0))
    return seal(KEYS[topic], payload, Milliseconds(START + expires))


async def entries(store: FrameStore, topic: TopicId) -> list[tuple[Milliseconds, FrameId]]:
    return sorted([entry async for batch in store.entries(topic) for entry in batch])


def entries_of(frames: Sequence[Frame]) -> list[tuple[Milliseconds, FrameId]]:
    return sorted((frame.expires, frame.id) for frame in frames)


class StoreContract:
    def store(self) -> AbstractAsyncContextManager[FrameStore]:
        """An empty store, for one test."""
        raise AssertionError("the class of tests for a store says how to make one")

    async def test_what_was_added_is_there(self) -> None:
        frames = [made(n, expires=n % 7, size=LARGEST if n == 3 else n) for n in range(20)]
        async with self.store() as store:
            assert list(await store.add(frames)) == [frame.id for frame in frames]
            assert await entries(store, TOPICS[0]) == entries_of(frames)
            got = await store.fetch(TOPICS[0], [frame.id for frame in frames])
            assert sorted(got, key=lambda frame: frame.id) == sorted(frames, key=lambda frame: frame.id)

    async def test_only_what_is_new_is_new_and_in_order(self) -> None:
        frames = [made(n) for n in range(10)]
        async with self.store() as store:
            await store.add(frames[3:6])
            assert list(await store.add(frames[::-1])) == [
                frame.id for frame in frames[::-1] if frame not in frames[3:6]
            ]
            assert list(await store.add(frames)) == []
            assert await entries(store, TOPICS[0]) == entries_of(frames)

    async def test_one_frame_twice_in_one_call_is_new_once(self) -> None:
        async with self.store() as store:
            assert list(await store.add([made(1), made(2), made(1)])) == [made(1).id, made(2).id]
            assert await entries(store, TOPICS[0]) == entries_of([made(1), made(2)])

    async def test_nothing_is_nothing(self) -> None:
        async with self.store() as store:
            assert list(await store.add([])) == []
            assert await entries(store, TOPICS[0]) == []
            assert list(await store.fetch(TOPICS[0], [])) == []
            assert list(await store.fetch(TOPICS[0], [made(1).id])) == []
            await store.expire(START)
            await store.drop(TOPICS[0])

    async def test_topics_are_apart(self) -> None:
        one, other = made(1), made(1, topic=1)
        async with self.store() as store:
            assert list(await store.add([one, other])) == [one.id, other.id]
            assert await entries(store, TOPICS[0]) == entries_of([one])
            assert await entries(store, TOPICS[1]) == entries_of([other])
            assert list(await store.fetch(TOPICS[0], [other.id, one.id])) == [one]
            await store.drop(TOPICS[0])
            assert await entries(store, TOPICS[0]) == []
            assert await entries(store, TOPICS[1]) == entries_of([other])

    async def test_what_is_not_there_is_left_out(self) -> None:
        async with self.store() as store:
            await store.add([made(1), made(2)])
            got = await store.fetch(TOPICS[0], [made(9).id, made(2).id, FrameId(bytes(32))])
            assert list(got) == [made(2)]

    async def test_expired_frames_go_in_all_topics_and_others_stay(self) -> None:
        frames = [made(n, topic=n % 2, expires=n) for n in range(20)]
        async with self.store() as store:
            await store.add(frames)
            await store.expire(Milliseconds(START + 10))
            left = [*await entries(store, TOPICS[0]), *await entries(store, TOPICS[1])]
            assert sorted(left) == entries_of(frames[10:])
            assert list(await store.fetch(TOPICS[0], [frames[8].id, frames[12].id])) == [frames[12]]

    async def test_what_was_forgotten_is_new_again(self) -> None:
        async with self.store() as store:
            await store.add([made(1), made(2, expires=100)])
            await store.expire(Milliseconds(START + 50))
            await store.drop(TOPICS[0])
            assert list(await store.add([made(1), made(2, expires=100)])) == [made(1).id, made(2, expires=100).id]

    @pytest.mark.slow
    async def test_many(self) -> None:
        frames = [made(n, expires=n % 1000) for n in range(5000)]
        async with self.store() as store:
            for start in range(0, 5000, 500):
                assert len(await store.add(frames[start : start + 500])) == 500
            assert await entries(store, TOPICS[0]) == entries_of(frames)
            got = await store.fetch(TOPICS[0], [frame.id for frame in frames[1000:2500]])
            assert {frame.id for frame in got} == {frame.id for frame in frames[1000:2500]}

"""What a mesh does with stores that are slow, or fail."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
import trio
from trio.abc import Clock

from tests.transport.contract.worlds import KEY, OTHER, OTHER_KEY, TOPIC, VIRTUAL, World, identity
from transport.base import Closed, Frame, FrameId, Mesh, Milliseconds, TopicId
from transport.sync.memory_store import MemoryStore


class SlowStore(MemoryStore):
    """Takes its time to write, and says if two tasks write at once."""

    def __init__(self) -> None:
        super().__init__()
        self.writing = False

    @contextmanager
    def _alone(self) -> Iterator[None]:
        assert not self.writing, "one task at a time writes"
        self.writing = True
        yield
        self.writing = False

    async def add(self, frames: Sequence[Frame]) -> Sequence[FrameId]:
        with self._alone():
            await trio.sleep(10)
            return await super().add(frames)

    async def expire(self, before: Milliseconds) -> None:
        with self._alone():
            await trio.sleep(10)
            await super().expire(before)

    async def drop(self, topic: TopicId) -> None:
        with self._alone():
            await trio.sleep(10)
            await super().drop(topic)


class FailingStore(MemoryStore):
    async def add(self, frames: Sequence[Frame]) -> Sequence[FrameId]:
        await trio.lowlevel.checkpoint()
        raise OSError("no space left")


@pytest.mark.parametrize("kind", VIRTUAL, indirect=True)
async def test_a_slow_store_loses_nothing(clock: Clock | None, world: World) -> None:
    world.stores["b"] = SlowStore()
    await world.meshes_of("a", "b")
    sent = [b"%d" % number for number in range(200)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.publish, "a", *sent)
        await world.meshes["b"].publish(world.frame(b"own"))
    await world.until(lambda: len(world.readers["b"].arrivals) == 200, within=3600)
    await world.has_read("b", *sent)
    await world.has_read("a", b"own")


@pytest.mark.parametrize("kind", VIRTUAL, indirect=True)
async def test_what_is_being_stored_when_a_topic_is_forgotten_is_forgotten_too(
    clock: Clock | None, world: World
) -> None:
    world.stores["b"] = SlowStore()
    _, b = await world.meshes_of("a", "b")
    for payload in (b"being stored", b"waiting for that", b"and another"):
        await world.publish("a", payload)
        await trio.sleep(1)
    await b.leave(TOPIC.id, forget=True)
    await world.settle()
    assert await world.stored("b") == []


@pytest.mark.parametrize("kind", VIRTUAL, indirect=True)
async def test_one_topic_is_forgotten_while_another_goes_on(clock: Clock | None, world: World) -> None:
    world.stores["b"] = SlowStore()
    a, b = await world.meshes_of("a", "b")
    for mesh in (a, b):
        await mesh.join(OTHER)
    await world.publish("a", b"forgotten")
    await trio.sleep(60)

    async def go_on() -> None:
        for number in range(20):
            await a.publish(world.frame(b"%d" % number, key=OTHER_KEY))
            await trio.sleep(2)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(go_on)
        await trio.sleep(5)
        await b.leave(TOPIC.id, forget=True)
    await world.has_read("b", b"forgotten", *[b"%d" % number for number in range(20)])
    assert await world.stored("b") == []
    assert len(await world.stored("b", OTHER)) == 20


async def test_a_store_that_fails_ends_the_mesh_and_tells_whoever_opened_it(clock: Clock | None, world: World) -> None:
    ended = trio.Event()

    async def publish(mesh: Mesh) -> None:
        with pytest.raises((Closed, OSError)):
            await mesh.publish(world.frame(b"one", key=KEY))
        ended.set()

    with pytest.raises(OSError, match="no space"):
        async with world.open(identity("a"), FailingStore()) as mesh:
            await mesh.join(TOPIC)
            world.nursery.start_soon(publish, mesh)
            await trio.sleep(60)
    with trio.fail_after(5):
        await ended.wait()
    with pytest.raises(Closed):
        await mesh.publish(world.frame(b"two"))

"""What a mesh does with stores that are slow, or fail."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio
from trio.abc import Clock

from tests.transport.contract.worlds import KEY, TOPIC, VIRTUAL, World, identity
from transport.base import Closed, Frame, FrameId, Mesh
from transport.sync.memory_store import MemoryStore


class SlowStore(MemoryStore):
    """Takes its time to write, and says if two tasks write at once."""

    def __init__(self) -> None:
        super().__init__()
        self.writing = False

    async def add(self, frames: Sequence[Frame]) -> Sequence[FrameId]:
        assert not self.writing, "one task at a time writes"
        self.writing = True
        await trio.sleep(10)
        self.writing = False
        return await super().add(frames)


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
    await world.publish("a", b"late")
    await trio.sleep(1)
    await b.leave(TOPIC.id, forget=True)
    await world.settle()
    assert await world.stored("b") == []


HANGS = pytest.mark.xfail(reason="LiveMesh.publish waits for ever when its mesh ends before the frame is stored")


@pytest.mark.parametrize(
    "kind",
    ["memory", pytest.param("loopback", marks=HANGS), pytest.param("sockets", marks=[HANGS, pytest.mark.slow])],
    indirect=True,
)
async def test_a_store_that_fails_ends_the_mesh_and_tells_whoever_opened_it(clock: Clock | None, world: World) -> None:
    ended = trio.Event()

    async def publish(mesh: Mesh) -> None:
        with pytest.raises((Closed, OSError)):
            await mesh.publish(world.frame(b"one", key=KEY))
        ended.set()

    with pytest.RaisesGroup(pytest.RaisesExc(OSError, match="no space"), flatten_subgroups=True):
        async with world.open(identity("a"), FailingStore()) as mesh:
            await mesh.join(TOPIC)
            world.nursery.start_soon(publish, mesh)
            await trio.sleep(60)
    with trio.fail_after(5):
        await ended.wait()
    with pytest.raises(Closed):
        await mesh.publish(world.frame(b"two"))

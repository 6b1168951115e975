"""The mesh as a whole over links in memory: what the contract does not ask, because only this one can do it."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import trio
import trio.testing

from tests.transport.loopback import Loopback
from transport import frames
from transport.base import Closed, Frame, Milliseconds
from transport.live.mesh import LiveMesh, MeshSettings
from transport.signing import SigningKey
from transport.sync.memory_store import MemoryStore

KEY = SigningKey(bytes(31) + b"k")
TOPIC = frames.member_topic(KEY)


def now_ms() -> Milliseconds:
    return Milliseconds(10**12 + int(trio.current_time() * 1000))


def frame(n: int) -> Frame:
    return frames.seal(KEY, b"%d" % n, Milliseconds(now_ms() + 600_000))


@asynccontextmanager
async def meshes(number: int) -> AsyncIterator[list[LiveMesh]]:
    """So many, all connected, all in the topic."""
    net = Loopback()
    async with net.running(), AsyncExitStack() as stack:
        made = []
        for index in range(number):
            bytes_of = random.Random(index).randbytes
            mesh = LiveMesh(net.node(), MemoryStore(), now_ms=now_ms, random_bytes=bytes_of, settings=MeshSettings())
            await stack.enter_async_context(mesh.running())
            await mesh.join(TOPIC)
            made.append(mesh)
        net.link_all()
        await trio.sleep(10)
        yield made


async def test_what_was_published_just_before_the_end_still_goes_out(autojump_clock: trio.testing.MockClock) -> None:
    net = Loopback()
    async with net.running():
        a, b = (
            LiveMesh(
                net.node(),
                MemoryStore(),
                now_ms=now_ms,
                random_bytes=random.Random(n).randbytes,
                settings=MeshSettings(),
            )
            for n in range(2)
        )
        async with b.running():
            await b.join(TOPIC)
            async with a.running():
                await a.join(TOPIC)
                net.link_all()
                await trio.sleep(10)
                said = frame(1)
                await a.publish(said)
            with trio.fail_after(1):
                assert (await anext(b.frames())).frame == said


async def test_a_publisher_that_gives_up_has_published_all_the_same(autojump_clock: trio.testing.MockClock) -> None:
    """It does not know; but what it stored comes to the others soon, not at the next round."""
    async with meshes(3) as (a, b, c):
        said = frame(1)
        with trio.CancelScope() as scope:
            scope.cancel()
            await a.publish(said)
        with trio.fail_after(5):
            assert (await anext(b.frames())).frame == said
            assert (await anext(c.frames())).frame == said


async def test_errors_come_out_as_they_went_in(autojump_clock: trio.testing.MockClock) -> None:
    net = Loopback()
    async with net.running():
        for raised in (ValueError("of the caller"), SystemExit(3)):
            mesh = LiveMesh(
                net.node(),
                MemoryStore(),
                now_ms=now_ms,
                random_bytes=random.Random(1).randbytes,
                settings=MeshSettings(),
            )
            with pytest.raises(type(raised)):
                async with mesh.running():
                    await mesh.join(TOPIC)
                    raise raised
            with pytest.raises(Closed):
                await mesh.publish(frame(1))

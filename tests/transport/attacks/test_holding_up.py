"""Ways to make what is repaired come late, or never, or cost honest peers their good name."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
import trio

from tests.transport.attacks.rig import TOPIC, Session, message, town, until, whole
from transport.base import Frame, FrameId
from transport.conduct import THROTTLE
from transport.gossip.authors import compose
from transport.gossip.batch import encode
from transport.gossip.wire import Rpc, topic_name
from transport.live.mesh import MeshSettings
from transport.network import Stream
from transport.sync import wire as sync
from transport.sync.memory_store import MemoryStore


class Slow(MemoryStore):
    """Every transaction takes as long as a disk."""

    async def add(self, frames: Sequence[Frame]) -> Sequence[FrameId]:
        await trio.sleep(0.02)
        return await super().add(frames)


class Declining(MemoryStore):
    """Has no room for large frames."""

    async def add(self, frames: Sequence[Frame]) -> Sequence[FrameId]:
        return await super().add([frame for frame in frames if len(frame.payload) < 1000])


@pytest.mark.slow
async def test_message_at_the_end_of_a_long_rpc(autojump_clock: object) -> None:
    """An insider puts the honest message last in an RPC that takes long. The honest copy came meanwhile."""
    async with town() as all_:
        c = await all_.honest(store=Slow())
        evil, good = all_.villain(), all_.villain()
        all_.link(evil, c, good)
        one, other = await evil.gossip_to(c), await good.gossip_to(c)
        await trio.sleep(1)
        frame = all_.frame()
        honest = compose(topic_name(TOPIC.id), encode([whole(frame)]), bytes)
        rng = random.Random(1)
        before = [compose(topic_name(TOPIC.id), encode([whole(all_.frame())]), rng.randbytes) for _ in range(400)]
        await one.send_all(Rpc(publish=(*before, honest)).encode())
        await trio.sleep(0.1)
        await other.send_all(Rpc(publish=(honest,)).encode())
        assert await until(lambda: c.read_all(frame), within=5)


async def refuse(stream: Stream) -> None:
    session = Session(stream)
    await session.hear()
    await session.say(sync.No(why=sync.Why.BUSY))


async def stall(_stream: Stream) -> None:
    await trio.sleep_forever()


async def repaired_among(strangers: int, handler: object) -> bool:
    """Whether C comes to ask A, the only honest one among so many subscribers."""
    async with town() as all_:
        a, c = await all_.honest(), await all_.honest()
        for _ in range(strangers):
            evil = all_.villain()
            evil.answer(sync.PROTOCOL, handler)  # type: ignore[arg-type]
            all_.link(c, evil)
            await evil.gossip_to(c)
        all_.link(a, c)
        await trio.sleep(120)
        before = a.network.counted["sync.served_reconcile"]
        return await until(lambda: a.network.counted["sync.served_reconcile"] > before, within=300)


@pytest.mark.slow
async def test_many_subscribers_that_refuse(autojump_clock: object) -> None:
    assert await repaired_among(40, refuse)


@pytest.mark.slow
async def test_many_subscribers_that_stall(autojump_clock: object) -> None:
    assert await repaired_among(40, stall)


@pytest.mark.slow
async def test_frames_that_expire_while_a_session_is_held_up(autojump_clock: object) -> None:
    """C's clock is a little ahead, and its reader slow: A hands over what is dead to C. That is nobody's fault."""
    async with town() as all_:
        a = await all_.honest()
        c = await all_.honest(skew=5000, settings=MeshSettings(inbox_frames=8))
        all_.link(a, c)
        await trio.sleep(30)
        frames = [all_.frame(1000, life=25) for _ in range(500)]
        await a.store_quietly(*frames)
        c.reading = False

        async def go_on() -> None:
            await trio.sleep(21)
            c.reading = True

        all_.nursery.start_soon(go_on)
        with trio.move_on_after(60):
            await c.mesh.synchronize(a.me, TOPIC.id)
        assert sum(offence.price for offence in c.owes(a.me)) < THROTTLE


@pytest.mark.slow
async def test_store_that_declines(autojump_clock: object) -> None:
    """What there is no room for is not brought again by every session."""
    async with town() as all_:
        a = await all_.honest()
        c = await all_.honest(store=Declining())
        await a.store_quietly(*(all_.frame(10_000) for _ in range(50)))
        all_.link(a, c)
        await trio.sleep(30)
        first = c.network.counted["sync.bytes_in"]
        assert first > 500_000
        for _ in range(5):
            await c.mesh.synchronize(a.me, TOPIC.id)
        assert c.network.counted["sync.bytes_in"] - first < 500_000


@pytest.mark.slow
async def test_streams_that_break_all_the_time(autojump_clock: object) -> None:
    """Each break means that something may have been lost; it does not mean a session each."""
    async with town() as all_:
        a, evil = await all_.honest(), all_.villain()

        async def broken(stream: Stream) -> None:
            await stream.receive_some()
            await stream.reset()

        for protocol in ("/meshsub/1.1.0", "/meshsub/1.0.0"):
            evil.answer(protocol, broken)
        evil.answer(sync.PROTOCOL, refuse)
        all_.link(a, evil)
        await evil.gossip_to(a)
        for _ in range(120):
            await a.mesh.publish(all_.frame())
            await trio.sleep(1)
        assert a.network.counted["sync.sessions"] < 15
        links = all_.net.links[frozenset((a.me, evil.me))]
        assert sum(stream.protocol.startswith("/meshsub") for stream in links) < 40


@pytest.mark.slow
async def test_frames_until_the_disk_is_full(autojump_clock: object) -> None:
    """An insider writes as fast as it can. What it can bring in a second is bounded."""
    async with town() as all_:
        c, evil = await all_.honest(), all_.villain()
        all_.link(c, evil)
        stream = await evil.gossip_to(c)
        await trio.sleep(1)
        rpc = message(whole(all_.frame(60_000)))
        began = trio.current_time()
        for _ in range(800):
            await stream.send_all(rpc)
        assert trio.current_time() - began > 1

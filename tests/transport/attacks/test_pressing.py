"""Back-pressure turned against whoever applies it: readers that publish, loops, peers that read just enough."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio

from tests.transport.attacks.rig import TOPIC, send_quietly, subscriptions, town, until
from transport.base import Frame, TransportError
from transport.gossip.wire import Rpc, topic_name
from transport.live.mesh import MeshSettings

SMALL = MeshSettings(inbox_frames=8, inbox_bytes=1 << 20)


@pytest.mark.slow
async def test_two_readers_that_answer_every_frame(autojump_clock: object) -> None:
    """Each publishes large frames for whatever it reads, so both fill each other. Both go on, and nothing is lost."""
    async with town() as all_:
        a, c = [await all_.honest(settings=SMALL, read=False) for _ in range(2)]
        all_.link(a, c)
        await trio.sleep(6)
        said: dict[str, list[Frame]] = {a.me: [], c.me: []}

        async def answering(one: object) -> None:
            async for arrival in one.mesh.frames():  # type: ignore[attr-defined]
                one.arrivals.append(arrival)  # type: ignore[attr-defined]
                for _ in range(2):
                    if len(said[one.me]) < 150:  # type: ignore[attr-defined]
                        frame = all_.frame(40_000)
                        said[one.me].append(frame)  # type: ignore[attr-defined]
                        await one.mesh.publish(frame)  # type: ignore[attr-defined]

        all_.nursery.start_soon(answering, a)
        all_.nursery.start_soon(answering, c)
        for one in (a, c):
            frame = all_.frame()
            said[one.me].append(frame)
            await one.mesh.publish(frame)
        assert await until(lambda: len(said[a.me]) >= 150 and len(said[c.me]) >= 150, within=120)
        assert await until(lambda: a.read_all(*said[c.me]) and c.read_all(*said[a.me]), within=600)


@pytest.mark.slow
async def test_ring_of_readers_that_publish(autojump_clock: object) -> None:
    async with town() as all_:
        ring = [await all_.honest(settings=SMALL, read=False) for _ in range(4)]
        all_.link(*ring, ring[0])
        await trio.sleep(6)
        total = 0

        async def passing_on(one: object) -> None:
            nonlocal total
            async for arrival in one.mesh.frames():  # type: ignore[attr-defined]
                one.arrivals.append(arrival)  # type: ignore[attr-defined]
                if total < 200:
                    total += 1
                    await one.mesh.publish(all_.frame(20_000))  # type: ignore[attr-defined]

        for one in ring:
            all_.nursery.start_soon(passing_on, one)
        for _ in range(20):
            await ring[0].mesh.publish(all_.frame(20_000))
        assert await until(lambda: total >= 200, within=300)


async def test_a_reader_that_stops_for_good(autojump_clock: object) -> None:
    """What waits in C stays bounded, A is not held up for long, and C is not barred for it."""
    async with town() as all_:
        a, c = await all_.honest(), await all_.honest(settings=SMALL, read=False)
        all_.link(a, c)
        await trio.sleep(6)
        began = trio.current_time()
        for _ in range(300):
            await a.mesh.publish(all_.frame(30_000))
        assert trio.current_time() - began < 60
        await trio.sleep(300)
        assert len(c.mesh._inbox) <= 8
        assert len(c.mesh._reception._stored) + len(c.mesh._reception._waiting) <= 2000
        assert not a.owes(c.me)


@pytest.mark.slow
async def test_a_stranger_that_reads_just_enough(autojump_clock: object) -> None:
    """It subscribes, and takes half an outbox in a little less than the patience: what others get must not crawl."""
    async with town() as all_:
        a, c, evil = await all_.honest(), await all_.honest(), all_.villain()
        evil.reads = False

        async def sip() -> None:
            while True:
                await trio.sleep(0.05)
                for stream in all_.net.links.get(frozenset((a.me, evil.me)), []):
                    if stream.protocol.startswith("/meshsub") and stream.me == a.me:
                        del stream.writes.data[:4000]
                        stream.writes.wake()

        all_.link(c, a, evil)
        await evil.gossip_to(a)
        all_.nursery.start_soon(sip)
        await trio.sleep(6)
        began = trio.current_time()
        for _ in range(200):
            await a.mesh.publish(all_.frame(30_000))
        assert trio.current_time() - began < 30


async def test_asking_for_the_same_messages_without_reading(autojump_clock: object) -> None:
    """IWANT fills nobody's outbox so that publishing waits for it."""
    async with town() as all_:
        a, c, evil = await all_.honest(), await all_.honest(), all_.villain()
        all_.link(c, a, evil)
        stream = await evil.gossip_to(a)
        await trio.sleep(6)
        for _ in range(40):
            await a.mesh.publish(all_.frame(50_000))
        await trio.sleep(0.5)
        evil.reads = False
        ids = tuple(said.id for said in evil.heard[a.me])
        began = trio.current_time()
        for _ in range(30):
            await send_quietly(stream, Rpc(iwant=ids).encode())
            await a.mesh.publish(all_.frame())
            await trio.sleep(0.01)
        assert trio.current_time() - began < 12


async def test_leaving_and_joining_while_frames_arrive(autojump_clock: object) -> None:
    """In the end the topic is whole: with its index, its subscription, and every frame."""
    async with town() as all_:
        a, c = await all_.honest(), await all_.honest()
        all_.link(a, c)
        await trio.sleep(6)
        frames = [all_.frame() for _ in range(200)]

        async def say() -> None:
            for frame in frames:
                await a.mesh.publish(frame)
                await trio.sleep(0.01)

        all_.nursery.start_soon(say)
        for _ in range(20):
            await c.mesh.leave(TOPIC.id)
            await trio.sleep(0.03)
            await c.mesh.join(TOPIC)
            await trio.sleep(0.07)
        await trio.sleep(150)
        assert await c.has(*frames)
        assert all_.linked(a, c)


@pytest.mark.parametrize(
    ("steps", "forget"),
    [(0, False), (2, False), (5, False), (0, True), (2, True), (5, True)],
)
async def test_leaving_while_joining(autojump_clock: object, steps: int, forget: bool) -> None:
    """Whatever comes of it, the mesh keeps the topic wholly or not at all."""
    async with town() as all_:
        c = await all_.honest()
        await c.store_quietly(*(all_.frame() for _ in range(50)))
        await c.mesh.leave(TOPIC.id)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(c.mesh.join, TOPIC)
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
            await c.mesh.leave(TOPIC.id, forget=forget)
        kept = c.mesh._reception.keeps(TOPIC.id)
        assert (c.mesh._log.index(TOPIC.id) is not None) == kept
        assert (TOPIC.id in c.mesh._topics) == kept
        assert c.mesh._gossip._router.subscribed(topic_name(TOPIC.id)) == kept


async def test_forgetting_a_peer_in_the_middle_of_a_session(autojump_clock: object) -> None:
    async with town() as all_:
        a, c = await all_.honest(), await all_.honest(settings=SMALL)
        frames = [all_.frame(60_000) for _ in range(60)]
        await a.store_quietly(*frames)
        c.reading = False
        all_.link(a, c)
        await trio.sleep(8)
        ended = False

        async def synchronize() -> None:
            nonlocal ended
            with suppress(TransportError):
                await c.mesh.synchronize(a.me, TOPIC.id)
            ended = True

        all_.nursery.start_soon(synchronize)
        await trio.sleep(1)
        c.mesh.forget(a.me)
        c.reading = True
        await trio.sleep(30)
        assert ended
        all_.link(a, c)
        assert await until(lambda: c.read_all(*frames), within=60)
        assert not c.owes(a.me)
        assert not a.owes(c.me)


async def test_subscribers_that_fill_the_mesh_of_a_topic(autojump_clock: object) -> None:
    """Strangers take all places that a topic's mesh has before C comes; what A says still gets to C."""
    async with town() as all_:
        a = await all_.honest()
        for _ in range(70):
            evil = all_.villain()
            all_.link(a, evil)
            stream = await evil.gossip_to(a)
            await send_quietly(stream, Rpc(graft=(topic_name(TOPIC.id),)).encode())
        await trio.sleep(5)
        c = await all_.honest()
        all_.link(a, c)
        await trio.sleep(40)
        frame = all_.frame()
        await a.mesh.publish(frame)
        assert await until(lambda: c.read_all(frame), within=10)


async def test_coming_and_going_of_a_subscription(autojump_clock: object) -> None:
    """Two thousand times, without reading what this makes us say: memory stays small, others are not kept waiting."""
    async with town() as all_:
        a, c, evil = await all_.honest(), await all_.honest(), all_.villain()
        evil.reads = False
        all_.link(c, a, evil)
        stream = await evil.gossip_to(a)
        await trio.sleep(6)
        on_and_off = subscriptions([TOPIC.id], subscribe=False) + subscriptions([TOPIC.id])
        with trio.move_on_after(30):
            for _ in range(100):
                await stream.send_all(on_and_off * 20)
        link = a.mesh._gossip._links.get(evil.me)
        assert link is None or link.outbox._control_size <= 2 << 20
        frame = all_.frame()
        await a.mesh.publish(frame)
        assert await until(lambda: c.read_all(frame), within=5)


@pytest.mark.parametrize("number", [1, 64])
async def test_frames_larger_than_there_is_room(autojump_clock: object, number: int) -> None:
    """An inbox of a megabyte, frames of four: one at a time."""
    async with town() as all_:
        a, c = await all_.honest(), await all_.honest(settings=MeshSettings(inbox_frames=number, inbox_bytes=1 << 20))
        all_.link(a, c)
        await trio.sleep(6)
        frames = [all_.frame(4 << 20) for _ in range(3)]
        for frame in frames:
            await a.mesh.publish(frame)
        assert await until(lambda: c.read_all(*frames), within=60)

"""A plain py-libp2p gossipsub node among ours, over TCP: it reads us, we read it, and it passes our frames on."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from libp2p.pubsub.gossipsub import PROTOCOL_ID, PROTOCOL_ID_V11, GossipSub
from libp2p.pubsub.pubsub import Pubsub
from libp2p.tools.anyio_service import background_trio_service

from tests.transport.gossip.scene import NOW, TOPIC, Node, RecordingIntake, frame
from tests.transport.host.rig import info_of, plain_host, running, until
from transport.gossip.batch import Tag, decode, encode, item_of
from transport.gossip.runner import Gossip
from transport.gossip.wire import topic_name

NAME = topic_name(TOPIC)
pytestmark = pytest.mark.slow


@asynccontextmanager
async def plain(*protocols: str) -> AsyncIterator[tuple[Any, Any, Any]]:
    """Host, pubsub and subscription, with the settings under which it works at all."""
    router: Any = GossipSub(
        protocols=list(protocols),  # type: ignore[arg-type]
        degree=8,
        degree_low=6,
        degree_high=64,
        heartbeat_interval=1,
        heartbeat_initial_delay=0.1,
        adaptive_gossip_enabled=False,
        spam_protection_enabled=False,
        eclipse_protection_enabled=False,
    )
    async with plain_host(99) as host:
        pubsub = Pubsub(host, router)
        pubsub.counter = time.time_ns()
        async with background_trio_service(pubsub), background_trio_service(router):
            await pubsub.wait_until_ready()
            yield host, pubsub, await pubsub.subscribe(NAME)


@asynccontextmanager
async def ours(number: int) -> AsyncIterator[Node]:
    async with running(number) as network, trio.open_nursery() as nursery:
        source = random.Random(number)
        intake = RecordingIntake()
        gossip = Gossip(network, intake, now_ms=lambda: NOW, random_bytes=source.randbytes, rng=source)
        gossip.subscribe(TOPIC)
        nursery.start_soon(gossip.run)
        yield Node(network=network, intake=intake, gossip=gossip)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("protocol", [PROTOCOL_ID_V11, PROTOCOL_ID])
async def test_a_plain_node_takes_part(protocol: str) -> None:
    async with plain(protocol) as (host, pubsub, subscription), ours(1) as a, ours(2) as b:
        for node in (a, b):
            await host.connect(info_of(node.network))
        await until(lambda: all(len(node.gossip.peers(TOPIC)) == 1 for node in (a, b)))
        await until(lambda: len(pubsub.router.mesh.get(NAME, ())) == 2)

        frames = [frame() for _ in range(30)]
        for each in frames:
            await a.say(each)
            await trio.sleep(0.01)
        await until(lambda: b.has(frames))  # by way of the plain node alone
        heard: list[bytes] = []
        with trio.fail_after(30):
            while len(heard) < len(frames):
                message = await subscription.get()
                assert message.from_id not in {host.get_id().to_bytes(), a.network.me.encode()}
                heard += [item.content for item in decode(message.data) if item.tag is Tag.FRAME]
        assert heard == [each.encode() for each in frames]

        theirs = frame()
        await pubsub.publish(NAME, encode([item_of(theirs)]))
        await until(lambda: a.has([theirs]) and b.has([theirs]))
        await b.say(last := frame())
        await until(lambda: a.has([last]))
        for node in (a, b):
            bad = [name for name in node.network.counters() if name.startswith(("offence", "gossip.fault"))]
            assert not bad, node.network.counters()


async def test_ours_alone_over_tcp() -> None:
    async with ours(1) as a, ours(2) as b, ours(3) as c:
        for one, other in ((a, b), (b, c), (c, a)):
            one.network.keep(other.network.me, other.network.addresses())
        await until(lambda: all(len(node.gossip.peers(TOPIC)) == 2 for node in (a, b, c)))
        frames = [frame(2000) for _ in range(100)]
        for number, each in enumerate(frames):
            await (a, b, c)[number % 3].say(each)
        await until(lambda: all(node.has(frames) for node in (a, b, c)))
        assert all(node.gossip.sizes()["readers"] == 2 for node in (a, b, c))

"""What the tests of this room share: an intake that remembers, frames, and nodes on a loopback network."""

from __future__ import annotations

import itertools
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio

from tests.transport.loopback import Loopback
from transport.base import Frame, FrameId, Milliseconds, PeerId, TopicId
from transport.frames import Head, seal, topic_id
from transport.gossip.runner import Gossip, Settings
from transport.signing import SigningKey

NOW = Milliseconds(1_000_000)
LATER = Milliseconds(NOW + 60_000)
KEY = SigningKey(b"k" * 32)
TOPIC = topic_id(KEY.public)
_numbers = itertools.count()


def frame(size: int = 200, *, key: SigningKey = KEY, expires: Milliseconds = LATER) -> Frame:
    """A new one each time."""
    return seal(key, next(_numbers).to_bytes(8) + bytes(max(size - 8, 0)), expires)


@dataclass(slots=True)
class RecordingIntake:
    """Takes what comes; waits, raises or refuses when told to."""

    topics: set[TopicId] = field(default_factory=lambda: {TOPIC})
    got: dict[FrameId, PeerId] = field(default_factory=dict)
    heads: list[Head] = field(default_factory=list)
    late: list[tuple[PeerId, TopicId]] = field(default_factory=list)
    raises: Exception | None = None
    gate: trio.Event | None = None

    def keeps(self, topic: TopicId) -> bool:
        return topic in self.topics

    def known(self, topic: TopicId, frame: FrameId) -> bool:
        return frame in self.got

    def wants(self, topic: TopicId, frame: FrameId) -> bool:
        return any(head.id == frame for head in self.heads)

    async def frames(self, topic: TopicId, frames: Sequence[Frame], source: PeerId) -> None:
        if self.raises is not None:
            raise self.raises
        for each in frames:
            assert each.id not in self.got, "handed over twice"
            assert each.topic == topic
            self.got[each.id] = source
        if self.gate is not None:
            await self.gate.wait()

    def announced(self, topic: TopicId, heads: Sequence[Head], source: PeerId) -> None:
        if self.raises is not None:
            raise self.raises
        self.heads += heads

    def behind(self, peer: PeerId, topic: TopicId) -> None:
        self.late.append((peer, topic))
        if self.raises is not None:
            raise self.raises


@dataclass(slots=True, kw_only=True)
class Node:
    network: Any  # a LoopbackNetwork, or one of sockets
    intake: RecordingIntake
    gossip: Gossip

    async def say(self, *frames: Frame) -> None:
        for each in frames:
            self.intake.got[each.id] = self.network.me  # as a mesh does: stored before it is published
            await self.gossip.publish(each)

    def has(self, frames: Sequence[Frame]) -> bool:
        return all(each.id in self.intake.got for each in frames)


@dataclass(slots=True)
class Scene:
    net: Loopback
    nodes: list[Node]
    nursery: trio.Nursery
    settings: Settings

    def add(self) -> Node:
        """One more node, subscribed and running, linked to nobody."""
        number = len(self.nodes)
        network, intake = self.net.node(), RecordingIntake()
        source = random.Random(number)
        gossip = Gossip(
            network,
            intake,
            now_ms=lambda: NOW,
            random_bytes=source.randbytes,
            rng=source,
            settings=self.settings,
        )
        gossip.subscribe(TOPIC)
        node = Node(network=network, intake=intake, gossip=gossip)
        self.nodes.append(node)
        self.nursery.start_soon(gossip.run)
        return node

    async def settle(self, seconds: float = 1.0) -> None:
        await trio.sleep(seconds)


@asynccontextmanager
async def scene(count: int, settings: Settings | None = None, *, linked: bool = True) -> AsyncIterator[Scene]:
    """So many nodes, all linked, with the mesh in place."""
    net = Loopback()
    async with net.running(), trio.open_nursery() as nursery:
        made = Scene(net, [], nursery, settings or Settings())
        for _ in range(count):
            made.add()
        await trio.sleep(0.01)
        if linked:
            net.link_all()
            await trio.sleep(0.5)
        yield made
        nursery.cancel_scope.cancel()

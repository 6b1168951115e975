"""Peers that do nothing but sync, over the loopback network."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager

import trio

from tests.transport.loopback import Loopback, LoopbackNetwork
from transport.base import Frame, FrameId, Milliseconds, PeerId, TopicId
from transport.conduct import Offence
from transport.frames import Head, seal, topic_id
from transport.signing import SigningKey
from transport.sync.exchange import Exchange
from transport.sync.log import Log
from transport.sync.memory_store import MemoryStore
from transport.sync.sessions import Settings

KEY = SigningKey(b"k" * 32)
TOPIC = topic_id(KEY.public)
WALL = Milliseconds(1_800_000_000_000)
HOUR = 3_600_000


def made(number: int, *, size: int = 100, life: int = HOUR, key: SigningKey = KEY) -> Frame:
    payload = number.to_bytes(8) + bytes(max(size - 8, 0))
    return seal(key, payload, Milliseconds(WALL + life + number))


def many(numbers: Iterable[int], *, size: int = 100, life: int = HOUR) -> list[Frame]:
    return [made(number, size=size, life=life) for number in numbers]


class Intake:
    """Stores what comes. `gate` is what a mesh whose reader is slow does to it."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.kept = {TOPIC}
        self.expected: set[FrameId] = set()
        self.batches: list[tuple[PeerId, list[Frame]]] = []
        self.new = 0
        self.pause = 0.0

    def keeps(self, topic: TopicId) -> bool:
        return topic in self.kept

    def known(self, topic: TopicId, frame: FrameId) -> bool:
        return self.log.has(topic, frame)

    def wants(self, topic: TopicId, frame: FrameId) -> bool:
        return frame in self.expected

    async def frames(self, topic: TopicId, frames: Sequence[Frame], source: PeerId) -> None:
        assert all(frame.topic == topic for frame in frames)
        self.batches.append((source, list(frames)))
        await trio.sleep(self.pause)
        self.new += len(await self.log.add(frames))

    def announced(self, topic: TopicId, heads: Sequence[Head], source: PeerId) -> None:
        raise AssertionError("sync announces nothing")

    def behind(self, peer: PeerId, topic: TopicId) -> None:
        raise AssertionError("sync is what helps against that")


class Credentials:
    """Shows a word; accepts the words it was told."""

    def __init__(self) -> None:
        self.word = b"member"
        self.readers = {b"member", b"reader"}
        self.writers = {b"member"}

    def show(self, peer: PeerId, topic: TopicId) -> bytes:
        return self.word

    def may_read(self, peer: PeerId, topic: TopicId, credential: bytes) -> bool:
        return credential in self.readers

    def may_write(self, peer: PeerId, topic: TopicId, credential: bytes) -> bool:
        return credential in self.writers


class Node:
    def __init__(self, network: LoopbackNetwork, settings: Settings | None, skew: int) -> None:
        self.network = network
        self.me = network.me
        self.skew = skew
        self.start = trio.current_time()
        self.log = Log(MemoryStore(), now_ms=self.now_ms, count=network.count)
        self.intake = Intake(self.log)
        self.credentials = Credentials()
        self.served: list[tuple[PeerId, TopicId]] = []
        self.exchange = Exchange(
            network,
            self.log,
            self.intake,
            self.credentials,
            now_ms=self.now_ms,
            rng=random.Random(self.me),
            settings=settings,
            served=lambda peer, topic: self.served.append((peer, topic)),
        )
        self.exchange.register()

    def now_ms(self) -> Milliseconds:
        return Milliseconds(WALL + self.skew + int((trio.current_time() - self.start) * 1000))

    def ids(self) -> set[FrameId]:
        index = self.log.index(TOPIC)
        assert index is not None
        return set(index._ids)

    def offences(self) -> list[Offence]:
        return [offence for _, offence in self.network.offences]


class World:
    """Linked nodes, with a topic open at each."""

    def __init__(self, net: Loopback, nodes: list[Node]) -> None:
        self.net = net
        self.nodes = nodes

    def no_offences(self) -> None:
        assert [node.offences() for node in self.nodes] == [[] for _ in self.nodes]


@asynccontextmanager
async def world(
    *held: Sequence[Frame],
    settings: Settings | None = None,
    skew: Sequence[int] = (),
    prepare: Callable[[Node], None] | None = None,
) -> AsyncIterator[World]:
    """A node for each list of frames."""
    net = Loopback()
    nodes = [Node(net.node(), settings, skew[number] if number < len(skew) else 0) for number in range(len(held))]
    for node, frames in zip(nodes, held, strict=True):
        if prepare is not None:
            prepare(node)
        await node.log.add(frames)
        await node.log.open(TOPIC)
    net.link_all()
    async with net.running():
        yield World(net, nodes)

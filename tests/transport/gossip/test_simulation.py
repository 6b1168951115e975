"""Many routers under one clock: links with delay, loss, copies and cuts; who has what in the end, and at what price."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings, strategies as st

from transport.base import PeerId
from transport.gossip.authors import compose
from transport.gossip.router import Blame, Deliver, Forward, Output, Router, Settings, Tell, Verdict
from transport.gossip.wire import Deframer, MessageId, decode

TOPIC = "t"


@dataclass
class World:
    """Control arrives, in order, as on a stream; messages may be lost or come twice. Cuts are seen by both sides."""

    seed: int
    count: int
    settings: Settings = field(default_factory=Settings)
    loss: float = 0.0
    copies: float = 0.0
    delay: float = 0.05

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.peers = [PeerId(f"p{n}") for n in range(self.count)]
        self.routers = {peer: Router(random.Random(n), self.settings) for n, peer in enumerate(self.peers)}
        self.links: dict[frozenset[PeerId], int] = {}
        self.got: dict[PeerId, set[MessageId]] = {peer: set() for peer in self.peers}
        self.unasked: Counter[tuple[PeerId, PeerId, MessageId]] = Counter()
        self.blamed: list[Blame] = []
        self.now = 0.0
        self.ticks = itertools.count()
        self.queue: list[tuple[float, int, PeerId, PeerId, int, bytes]] = []
        self.arrived: dict[tuple[PeerId, PeerId], float] = {}
        self.beat_at = 1.0
        self.lives = itertools.count()
        for router in self.routers.values():
            router.subscribe(TOPIC, 0.0)

    def link(self, a: PeerId, b: PeerId) -> None:
        pair = frozenset((a, b))
        if pair in self.links:
            return
        self.links[pair] = next(self.lives)
        for one, other in ((a, b), (b, a)):
            self.routers[one].peer_up(other)
            self.routers[one].renew(other)
            self.send(one, other, self.routers[one].hello(other))

    def cut(self, a: PeerId, b: PeerId) -> None:
        if self.links.pop(frozenset((a, b)), None) is not None:
            self.routers[a].peer_down(b)
            self.routers[b].peer_down(a)

    def send(self, source: PeerId, target: PeerId, rpc: bytes) -> None:
        life = self.links[frozenset((source, target))]
        at = max(self.now + self.rng.uniform(0, self.delay), self.arrived.get((source, target), 0.0))
        self.arrived[source, target] = at
        heapq.heappush(self.queue, (at, next(self.ticks), source, target, life, rpc))

    def do(self, me: PeerId, outputs: list[Output]) -> None:
        for out in outputs:
            match out:
                case Tell():
                    self.send(me, out.peer, out.rpc)
                case Forward():
                    for peer in out.peers:
                        self.forward(me, peer, out)
                case Deliver():
                    self.got[me].add(out.message.id)
                    self.do(me, self.routers[me].verdict(out.message.id, Verdict.ACCEPT))
                case Blame():
                    self.blamed.append(out)
                case _:
                    pass

    def forward(self, me: PeerId, peer: PeerId, out: Forward) -> None:
        self.unasked[me, peer, out.id] += len(out.peers) > 1 or not out.urgent
        if self.rng.random() >= self.loss:
            self.send(me, peer, out.rpc)
            if self.rng.random() < self.copies:
                self.send(me, peer, out.rpc)

    def say(self, me: PeerId) -> MessageId:
        message = compose(TOPIC, b"data", self.rng.randbytes)
        self.got[me].add(message.id)
        self.do(me, self.routers[me].publish(message, self.now))
        return message.id

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while True:
            at = self.queue[0][0] if self.queue else end
            if min(at, self.beat_at) >= end:
                break
            if self.beat_at <= at:
                self.now = self.beat_at
                self.beat_at += 1.0
                for peer, router in self.routers.items():
                    self.do(peer, router.heartbeat(self.now))
                continue
            self.now, _, source, target, life, rpc = heapq.heappop(self.queue)
            if self.links.get(frozenset((source, target))) == life:
                for body in Deframer().feed(rpc):
                    self.do(target, self.routers[target].receive(source, decode(body), self.now))
        self.now = end

    def link_at_random(self, degree: int) -> None:
        """A connected graph: a path through all, and links at random until the mean degree is reached."""
        order = self.rng.sample(self.peers, self.count)
        for a, b in itertools.pairwise(order):
            self.link(a, b)
        while len(self.links) * 2 < min(degree * self.count, self.count * (self.count - 1)):
            self.link(*self.rng.sample(self.peers, 2))

    def missing(self, ids: list[MessageId]) -> int:
        return sum(each not in self.got[peer] for peer in self.peers for each in ids)

    def check(self) -> None:
        for router in self.routers.values():
            mesh = set(router.mesh(TOPIC))
            assert mesh <= set(router.peers(TOPIC))
            assert len(mesh) <= self.settings.high
            assert len(mesh) >= min(self.settings.low, len(router.peers(TOPIC))) or router.sizes()["backoffs"]
        assert max(self.unasked.values(), default=0) <= 1, "forwarded twice to one peer"
        assert self.blamed == []


SMALL = replace(Settings(), degree=4, low=3, high=6, lazy=3)


@pytest.mark.slow
@given(st.integers(0, 2**32), st.integers(2, 12), st.integers(1, 8))
@settings(max_examples=60)
def test_everybody_who_is_connected_gets_everything(seed: int, count: int, degree: int) -> None:
    world = World(seed, count, copies=0.2)
    world.link_at_random(degree)
    world.run(3)
    ids = []
    for _ in range(10):
        ids.append(world.say(world.rng.choice(world.peers)))
        world.run(world.rng.uniform(0, 0.1))
    world.run(3)
    assert world.missing(ids) == 0
    world.check()


@pytest.mark.slow
@given(st.integers(0, 2**32))
@settings(max_examples=15)
def test_small_meshes_in_a_large_group(seed: int) -> None:
    world = World(seed, 24, settings=SMALL)
    world.link_at_random(12)
    world.run(5)
    ids = [world.say(world.rng.choice(world.peers)) for _ in range(10)]
    world.run(15)
    assert world.missing(ids) == 0
    world.check()
    assert all(len(router.mesh(TOPIC)) < 7 for router in world.routers.values())


@pytest.mark.slow
def test_ihave_and_iwant_repair_lossy_links() -> None:
    """What is lost to a peer outside the mesh is announced to it and asked for; answers get lost, too."""
    missing = {False: 0, True: 0}
    for seed in range(15):
        for announcing in missing:
            world = World(seed, 16, settings=SMALL if announcing else replace(SMALL, asks=0), loss=0.3)
            world.link_at_random(12)
            world.run(5)
            ids = []
            for _ in range(20):
                ids.append(world.say(world.rng.choice(world.peers)))
                world.run(0.1)
            world.run(25)
            missing[announcing] += world.missing(ids)
            assert max(world.unasked.values()) == 1
    assert missing[False] > 20
    assert missing[True] < 5


@pytest.mark.slow
@given(st.integers(0, 2**32))
@settings(max_examples=30)
def test_meshes_heal_after_partitions(seed: int) -> None:
    world = World(seed, 8)
    world.link_at_random(8)
    for _ in range(5):
        half = set(world.rng.sample(world.peers, 4))
        across = [tuple(pair) for pair in world.links if len(pair & half) == 1]
        for a, b in across:
            world.cut(a, b)
        world.run(world.rng.uniform(0, 2))
        world.say(world.peers[0])
        for a, b in across:
            world.link(a, b)
        world.run(world.rng.uniform(0, 0.2))
    world.run(3)
    ids = [world.say(peer) for peer in world.peers]
    world.run(2)
    assert world.missing(ids) == 0
    world.check()


def test_a_star_leaves_nobody_out() -> None:
    """libp2p's hazard: leaves that the hub prunes get neither messages nor announcements."""
    world = World(1, 20, settings=SMALL)
    for leaf in world.peers[1:]:
        world.link(world.peers[0], leaf)
    world.run(3)
    ids = [world.say(peer) for peer in world.peers]
    world.run(20)
    assert world.missing(ids) == 0


@pytest.mark.parametrize("count", [2, 5, 10])
def test_a_mesh_at_rest_sends_nothing(count: int) -> None:
    world = World(3, count)
    world.link_at_random(count)
    world.run(5)
    world.say(world.peers[0])
    world.run(200)
    sent = next(world.ticks)
    world.run(100)
    assert next(world.ticks) == sent + 1
    assert all(router.sizes()["seen"] == router.sizes()["kept"] == 0 for router in world.routers.values())

"""Many routers under one clock: links with delay, loss, copies and cuts, and what crosses them."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter
from dataclasses import dataclass, field

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
        self.got: dict[PeerId, dict[MessageId, float]] = {peer: {} for peer in self.peers}
        self.messages: Counter[PeerId] = Counter()
        self.bytes: Counter[PeerId] = Counter()
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
        self.bytes[source] += len(rpc)
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
                    self.got[me][out.message.id] = self.now
                    self.do(me, self.routers[me].verdict(out.message.id, Verdict.ACCEPT))
                case Blame():
                    self.blamed.append(out)
                case _:
                    pass

    def forward(self, me: PeerId, peer: PeerId, out: Forward) -> None:
        self.unasked[me, peer, out.id] += len(out.peers) > 1 or not out.urgent
        self.messages[me] += 1
        if self.rng.random() < self.loss:
            self.bytes[me] += len(out.rpc)
        else:
            self.send(me, peer, out.rpc)
            if self.rng.random() < self.copies:
                self.send(me, peer, out.rpc)

    def say(self, me: PeerId, data: bytes = b"data") -> MessageId:
        message = compose(TOPIC, data, self.rng.randbytes)
        self.got[me][message.id] = self.now
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

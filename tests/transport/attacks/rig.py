"""A few honest meshes on the loopback network, and peers that do whatever a test writes down.

`town` runs honest meshes under a clock that jumps. A `Villain` is a node of the network with no mesh: it takes
whatever is said to it, keeps what gossip brought, and says bytes on any protocol. Whether it is a stranger or an
insider is decided by whether the test lets it use `KEY`.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress

import trio

from tests.transport.loopback import Loopback, LoopbackNetwork
from transport.access import prove
from transport.base import Arrival, Frame, Milliseconds, PeerId, TopicId, TransportError
from transport.conduct import Offence
from transport.frames import member_topic, seal
from transport.gossip import batch
from transport.gossip.authors import compose
from transport.gossip.wire import PROTOCOLS, Deframer, Message, Rpc, Subscription, decode, publish_rpc, topic_name
from transport.live.mesh import LiveMesh, MeshSettings
from transport.network import Stream
from transport.signing import SigningKey
from transport.streams import Messages
from transport.sync import wire as sync
from transport.sync.memory_store import MemoryStore

KEY = SigningKey(b"the key of the topic".ljust(32))
OTHER_KEY = SigningKey(b"the key of another".ljust(32))
TOPIC, OTHER = member_topic(KEY), member_topic(OTHER_KEY)
DAY = 24 * 3600.0
_sealed = itertools.count()


class Honest:
    """A mesh, its store, and a reader that may be told to pause."""

    def __init__(self, network: LoopbackNetwork, mesh: LiveMesh, store: MemoryStore) -> None:
        self.network, self.mesh, self.store = network, mesh, store
        self.me = network.me
        self.arrivals: list[Arrival] = []
        self._go_on = trio.Event()
        self.reading = True

    @property
    def reading(self) -> bool:
        return self._go_on.is_set()

    @reading.setter
    def reading(self, reading: bool) -> None:
        if reading:
            self._go_on.set()
        elif self._go_on.is_set():
            self._go_on = trio.Event()

    async def read(self) -> None:
        async for arrival in self.mesh.frames():
            self.arrivals.append(arrival)
            await self._go_on.wait()

    def read_all(self, *frames: Frame) -> bool:
        return {frame.id for frame in frames} <= {arrival.frame.id for arrival in self.arrivals}

    async def has(self, *frames: Frame) -> bool:
        return len(await self.store.fetch(TOPIC.id, [frame.id for frame in frames])) == len(frames)

    def owes(self, peer: PeerId) -> list[Offence]:
        """What was held against this peer."""
        return [offence for who, offence in self.network.offences if who == peer]

    async def store_quietly(self, *frames: Frame) -> None:
        """As if it had come by sync: kept, and not gossiped."""
        for frame in frames:
            await self.mesh._reception.publish(frame)


class Villain:
    def __init__(self, town: Town, network: LoopbackNetwork) -> None:
        self.town, self.network = town, network
        self.me = network.me
        self.heard: dict[PeerId, list[Message]] = {}
        self.reads = True
        for protocol in PROTOCOLS:
            network.handle(protocol, self._listen)

    async def _listen(self, stream: Stream) -> None:
        deframer = Deframer()
        heard = self.heard.setdefault(stream.peer, [])
        while True:
            if not self.reads:
                await trio.sleep_forever()
            data = await stream.receive_some()
            if not data:
                return
            for body in deframer.feed(data):
                heard += decode(body).publish

    def answer(self, protocol: str, handler: Callable[[Stream], Awaitable[None]]) -> None:
        self.network.handle(protocol, handler)

    async def gossip_to(self, honest: Honest, *, topics: Sequence[TopicId] = (TOPIC.id,)) -> Stream:
        """A gossip stream, subscribed."""
        stream = await self.network.open(honest.me, PROTOCOLS[0])
        await stream.send_all(subscriptions(topics))
        return stream

    async def sync_with(self, honest: Honest, mode: sync.Mode, *, key: SigningKey = KEY) -> Session:
        """A session that shows a proof by this key."""
        session = Session(await self.network.open(honest.me, sync.PROTOCOL))
        now = self.town.now_ms()
        await session.say(
            sync.Hello(
                mode=mode,
                topic=TOPIC.id,
                low=Milliseconds(now + 10_000),
                high=Milliseconds(now + int(30 * DAY * 1000)),
                salt=bytes(sync.SALT_SIZE),
                credential=prove(key, self.me, honest.me),
            )
        )
        return session


class Session:
    """Sync messages on a stream, whoever opened it."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self._messages = Messages(stream, limit=sync.LIMIT, deadline=1e6)

    async def say(self, message: sync.Message) -> None:
        await self._messages.send(sync.encode(message))

    async def hear(self) -> sync.Message | None:
        data = await self._messages.receive()
        return None if data is None else sync.decode(data)


class Town:
    def __init__(self, net: Loopback, nursery: trio.Nursery) -> None:
        self.net, self.nursery = net, nursery
        self.skew: dict[PeerId, int] = {}

    def now_ms(self, peer: PeerId | None = None) -> Milliseconds:
        skew = 0 if peer is None else self.skew.get(peer, 0)
        return Milliseconds(1_800_000_000_000 + skew + int(trio.current_time() * 1000))

    def frame(self, size: int = 100, *, life: float = DAY, key: SigningKey = KEY) -> Frame:
        """A new one each time; `life` in seconds."""
        payload = next(_sealed).to_bytes(8) + bytes(max(size - 8, 0))
        return seal(key, payload, Milliseconds(self.now_ms() + round(life * 1000)))

    async def honest(
        self,
        *,
        settings: MeshSettings | None = None,
        store: MemoryStore | None = None,
        skew: int = 0,
        read: bool = True,
        key: SigningKey | None = None,
    ) -> Honest:
        network = self.net.node(key)
        self.skew[network.me] = skew
        store = store or MemoryStore()
        mesh = LiveMesh(
            network,
            store,
            now_ms=lambda: self.now_ms(network.me),
            random_bytes=random.Random(len(self.net.nodes)).randbytes,
            settings=settings or MeshSettings(),
        )
        one = Honest(network, mesh, store)
        started = trio.Event()
        self.nursery.start_soon(self._live, one, started)
        await started.wait()
        if read:
            self.nursery.start_soon(one.read)
        await mesh.join(TOPIC)
        await trio.sleep(0.01)
        return one

    async def _live(self, one: Honest, started: trio.Event) -> None:
        async with one.mesh.running():
            started.set()
            await trio.sleep_forever()

    def villain(self) -> Villain:
        return Villain(self, self.net.node())

    def link(self, *ones: Honest | Villain) -> None:
        """Each of these with the next one in the list."""
        for one, other in itertools.pairwise(ones):
            self.net.link(one.network, other.network)

    def linked(self, one: Honest | Villain, other: Honest | Villain) -> bool:
        return one.network.connected(other.me)


@asynccontextmanager
async def town() -> AsyncIterator[Town]:
    net = Loopback()
    async with net.running(), trio.open_nursery() as nursery:
        yield Town(net, nursery)
        nursery.cancel_scope.cancel()


def subscriptions(topics: Sequence[TopicId], *, subscribe: bool = True) -> bytes:
    return Rpc(
        subscriptions=tuple(Subscription(topic=topic_name(topic), subscribe=subscribe) for topic in topics)
    ).encode()


_randomness = random.Random(666)


def whole(frame: Frame) -> batch.Item:
    return batch.Item(tag=batch.Tag.FRAME, content=frame.encode())


def head_of(frame: Frame) -> batch.Item:
    return batch.Item(tag=batch.Tag.HEAD, content=frame.head)


def with_junk(frame: Frame, junk: bytes) -> batch.Item:
    """A head that everybody believes, before bytes that are not its payload."""
    return batch.Item(tag=batch.Tag.FRAME, content=frame.head + junk)


def message(*items: batch.Item, topic: TopicId = TOPIC.id) -> bytes:
    """A genuine gossip message of these, as it goes on a stream."""
    return publish_rpc(compose(topic_name(topic), batch.encode(items), _randomness.randbytes))


async def send_quietly(stream: Stream, data: bytes) -> bool:
    """Whether it could be sent."""
    with suppress(TransportError):
        await stream.send_all(data)
        return True
    return False


async def until(condition: Callable[[], bool], *, within: float) -> bool:
    """Whether that came true in time."""
    deadline = trio.current_time() + within
    while not condition():
        if trio.current_time() >= deadline:
            return False
        await trio.sleep(0.05)
    return True

"""Where meshes live while the contract is tried on them.

A `World` opens meshes by name, links and cuts them, ends their lives and begins new ones with the same identity
and store. `VIRTUAL` worlds run under a clock that jumps. To try another implementation, write a world for it and
add it to `WORLDS`; the tests do not change.
"""

from __future__ import annotations

import abc
import contextlib
import hashlib
import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
import trio
from _pytest.mark import ParameterSet

from tests.transport.loopback import Loopback, LoopbackNetwork
from transport.base import Arrival, Frame, FrameId, Mesh, Milliseconds, PeerId, Topic, TransportError
from transport.frames import member_topic, seal
from transport.live.mesh import LiveMesh, MeshSettings
from transport.memory.network import MemoryNetwork
from transport.network import Stream
from transport.signing import SigningKey, peer_id
from transport.sync.memory_store import MemoryStore

KEY = SigningKey(b"the key of the topic".ljust(32))
OTHER_KEY = SigningKey(b"the key of another".ljust(32))
TOPIC, OTHER = member_topic(KEY), member_topic(OTHER_KEY)


class Reader:
    """One life of one mesh, reading `frames()` from the beginning unless told to wait."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.arrivals: list[Arrival] = []
        self.ended = trio.Event()

    async def read(self) -> None:
        async for arrival in self.mesh.frames():
            self.arrivals.append(arrival)
        self.ended.set()

    def payloads(self) -> list[bytes]:
        return [arrival.frame.payload for arrival in self.arrivals]


class World(abc.ABC):
    """`mesh` opens one and links it to all others; the rest is said by the names."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.nursery = nursery
        self.meshes: dict[str, Mesh] = {}
        self.readers: dict[str, Reader] = {}
        self.stores: dict[str, MemoryStore] = {}
        self.joined: dict[PeerId, Topic | None] = {}
        """When it began, that is: what a test does later is its own to wait for."""
        self._lives: dict[str, tuple[trio.CancelScope, trio.Event]] = {}
        self._sealed = itertools.count()

    # ------------------------------------------------------------ what a kind of world brings

    @abc.abstractmethod
    def open(self, identity: SigningKey, store: MemoryStore) -> AbstractAsyncContextManager[Mesh]: ...

    @abc.abstractmethod
    def connect(self, a: PeerId, b: PeerId) -> None: ...

    @abc.abstractmethod
    def disconnect(self, a: PeerId, b: PeerId) -> None: ...

    @abc.abstractmethod
    def now_ms(self) -> Milliseconds: ...

    async def misbehave(self, towards: str) -> PeerId:
        """A neighbor comes and does all the wrong it can. Only in the worlds of `HOSTILE`."""
        raise AssertionError(f"nobody misbehaves towards {towards} here")

    # ------------------------------------------------------------ lives

    async def mesh(self, name: str, *, topic: Topic | None = TOPIC, read: bool = True, alone: bool = False) -> Mesh:
        """A new life: in the topic, read, and linked to all that are there, unless said otherwise."""
        store = self.stores.setdefault(name, MemoryStore())
        send, receive = trio.open_memory_channel[Mesh](1)
        self.nursery.start_soon(self._live, name, store, send)
        mesh = await receive.receive()
        self.joined[mesh.me] = None
        if not alone:
            for other in self.meshes:
                if other != name:
                    self.link(name, other)
        if read:
            self.read(name)
        if topic is not None:
            await mesh.join(topic)
            self.joined[mesh.me] = topic
        return mesh

    async def meshes_of(self, *names: str) -> list[Mesh]:
        """These, all linked, and ready to gossip."""
        meshes = [await self.mesh(name) for name in names]
        await self.warm_up()
        return meshes

    def read(self, name: str) -> Reader:
        reader = self.readers[name] = Reader(self.meshes[name])
        self.nursery.start_soon(reader.read)
        return reader

    async def crash(self, name: str) -> None:
        """No good-bye: the life is cancelled where it stands."""
        scope, over = self._lives.pop(name)
        scope.cancel()
        await over.wait()
        del self.meshes[name]

    def link(self, a: str, b: str) -> None:
        self.connect(self.meshes[a].me, self.meshes[b].me)

    def cut(self, a: str, b: str) -> None:
        self.disconnect(self.meshes[a].me, self.meshes[b].me)

    async def _live(self, name: str, store: MemoryStore, opened: trio.MemorySendChannel[Mesh]) -> None:
        over = trio.Event()
        try:
            with trio.CancelScope() as scope:
                async with self.open(identity(name), store) as mesh:
                    self.meshes[name] = mesh
                    self._lives[name] = scope, over
                    opened.send_nowait(mesh)
                    await trio.sleep_forever()
        finally:
            over.set()

    # ------------------------------------------------------------ frames, and waiting for them

    def frame(self, payload: bytes, *, life: float = 24 * 3600.0, key: SigningKey = KEY) -> Frame:
        """`life` in seconds."""
        return seal(key, payload, Milliseconds(self.now_ms() + round(life * 1000)))

    async def publish(self, name: str, *payloads: bytes) -> list[Frame]:
        frames = [self.frame(payload) for payload in payloads]
        for frame in frames:
            await self.meshes[name].publish(frame)
        return frames

    async def until(self, condition: Callable[[], bool], *, within: float = 180.0) -> None:
        """Fails if that does not come true."""
        deadline = trio.current_time() + within
        while not condition():
            assert trio.current_time() < deadline, "what was waited for did not come about"
            await trio.sleep(0.05)

    async def has_read(self, name: str, *payloads: bytes) -> None:
        """Once it has: exactly these since this life began, each once, in any order."""
        wanted = Counter(payloads)
        await self.until(lambda: len(self.readers[name].arrivals) >= wanted.total())
        assert Counter(self.readers[name].payloads()) == wanted

    async def settle(self) -> None:
        """Long enough for whatever would come to have come."""
        await trio.sleep(60)

    async def warm_up(self) -> None:
        """Long enough for peers to know of each other's topics."""
        await trio.sleep(3)

    async def stored(self, name: str, topic: Topic = TOPIC) -> list[FrameId]:
        return [frame async for batch in self.stores[name].entries(topic.id) for _, frame in batch]


def identity(name: str) -> SigningKey:
    return SigningKey(hashlib.sha256(name.encode()).digest())


def id_of(name: str) -> PeerId:
    return peer_id(identity(name).public)


# ---------------------------------------------------------------- the simulated network


class MemoryWorld(World):
    def __init__(self, nursery: trio.Nursery, network: MemoryNetwork) -> None:
        super().__init__(nursery)
        self.network = network

    def open(self, identity: SigningKey, store: MemoryStore) -> AbstractAsyncContextManager[Mesh]:
        return self.network.open_mesh(identity, store)

    def connect(self, a: PeerId, b: PeerId) -> None:
        with self.network.changing() as simulation:
            simulation.link(a, b)

    def disconnect(self, a: PeerId, b: PeerId) -> None:
        with self.network.changing() as simulation:
            simulation.cut(a, b)

    def now_ms(self) -> Milliseconds:
        return self.network.now_ms()

    async def misbehave(self, towards: str) -> PeerId:
        """It hands over frames of topics that nobody keeps, that have expired, or that live for ever."""
        bad, victim = id_of("bad"), self.meshes[towards].me
        with self.network.changing() as simulation:
            simulation.add(bad)
            simulation.link(bad, victim)
        for number in range(400):
            payload = b"bad %d" % number
            with self.network.changing() as simulation:
                simulation.push(bad, victim, self.frame(payload, key=OTHER_KEY))
                simulation.push(bad, victim, self.frame(payload, life=-1))
                simulation.push(bad, victim, self.frame(payload, life=1e9))
            await trio.sleep(0.01)
        return bad


@asynccontextmanager
async def memory_world() -> AsyncIterator[World]:
    async with MemoryNetwork(seed=1, links=0).running() as network, trio.open_nursery() as nursery:
        yield MemoryWorld(nursery, network)
        nursery.cancel_scope.cancel()


# ---------------------------------------------------------------- the live mesh over pipes in memory


class LoopbackWorld(World):
    def __init__(self, nursery: trio.Nursery, net: Loopback) -> None:
        super().__init__(nursery)
        self.net = net
        self._lives_begun = itertools.count()

    @asynccontextmanager
    async def open(self, identity: SigningKey, store: MemoryStore) -> AsyncIterator[Mesh]:
        network = self.net.node(identity)
        mesh = LiveMesh(
            network,
            store,
            now_ms=self.now_ms,
            random_bytes=_seeded(next(self._lives_begun)),
            settings=MeshSettings(inbox_frames=64),
        )
        try:
            async with mesh.running():
                yield mesh
        finally:
            for other in list(self.net.nodes.values()):
                if network.connected(other.me):
                    self.net.cut(network, other)
            del self.net.nodes[network.me]

    def connect(self, a: PeerId, b: PeerId) -> None:
        self.net.link(self._node(a), self._node(b))

    def disconnect(self, a: PeerId, b: PeerId) -> None:
        self.net.cut(self._node(a), self._node(b))

    def now_ms(self) -> Milliseconds:
        return Milliseconds(1_800_000_000_000 + int(trio.current_time() * 1000))

    async def misbehave(self, towards: str) -> PeerId:
        """It says junk on every protocol there is: noise, lengths that lie, and messages that are noise."""
        rng = random.Random(1)
        victim = self._node(self.meshes[towards].me)
        bad = self.net.node(identity("bad"))
        for protocol in list(victim.handlers):
            bad.handle(protocol, _swallow)
        self.net.link(bad, victim)
        for _ in range(60):
            for protocol in list(victim.handlers):
                size = rng.choice([0, 1, 2, 10, 200, 5000])
                noise = rng.randbytes(size)
                for junk in (noise, size.to_bytes(4) + noise, b"\xff" * 4 + noise, size.to_bytes(4) + noise[:-1]):
                    with contextlib.suppress(TransportError):
                        stream = await bad.open(victim.me, protocol)
                        with trio.move_on_after(1):
                            await stream.send_all(junk)
                        await stream.close()
            await trio.sleep(0.01)
        return bad.me

    def _node(self, peer: PeerId) -> LoopbackNetwork:
        return self.net.nodes[peer]


async def _swallow(stream: Stream) -> None:
    """Takes everything, says nothing."""
    while await stream.receive_some():
        pass


def _seeded(seed: int) -> Callable[[int], bytes]:
    made = itertools.count()

    def random_bytes(size: int) -> bytes:
        return hashlib.shake_256(f"{seed} {next(made)}".encode()).digest(size)

    return random_bytes


@asynccontextmanager
async def loopback_world() -> AsyncIterator[World]:
    async with Loopback().running() as net, trio.open_nursery() as nursery:
        yield LoopbackWorld(nursery, net)
        nursery.cancel_scope.cancel()


VIRTUAL: dict[str, Callable[[], AbstractAsyncContextManager[World]]] = {
    "memory": memory_world,
    "loopback": loopback_world,
}
"""Under a clock that jumps."""


def _socket_world() -> AbstractAsyncContextManager[World]:
    from tests.transport.contract.sockets import socket_world  # loads libp2p

    return socket_world()


REAL: dict[str, Callable[[], AbstractAsyncContextManager[World]]] = {"sockets": _socket_world}
"""By the machine's clock."""

WORLDS = {**VIRTUAL, **REAL}


def kinds(names: Iterable[str]) -> list[ParameterSet]:
    """These worlds, as parameters of the fixture `kind`."""
    return [pytest.param(name, marks=pytest.mark.slow if name in REAL else ()) for name in names]


HOSTILE = ["memory", "loopback"]
"""Where a neighbor can be made to misbehave; what can come over a socket is tested in tests/transport/host."""

KEEPING = kinds(name for name in WORLDS if name != "loopback")
"""Where `keep` and `forget` do what they say; links of the loopback are made by the test alone."""

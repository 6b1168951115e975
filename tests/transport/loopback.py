"""A `Network` in one process: streams are bounded pipes, so back-pressure is real; links are made and cut by hand.

    net = Loopback()
    a, b = net.node(), net.node()
    net.link(a, b)       # connected
    net.cut(a, b)        # all streams end, both see the peer go
    net.freeze(a, b)     # bytes stop flowing, nobody is told; thaw() resumes

`limit` of handlers and the nursery are the caller's: `async with net.running():`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager

import trio

from transport.base import Address, Link, PeerId, PeerState, TransportError, Unreachable
from transport.conduct import Ledger, Offence, Standing
from transport.network import PeerEvent, Stream, StreamHandler
from transport.signing import SigningKey, peer_id

PIPE = 256 << 10


class Pipe:
    """One direction of one stream."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.ended = self.broken = self.frozen = False
        self.changed = trio.Event()

    def wake(self) -> None:
        self.changed.set()
        self.changed = trio.Event()

    async def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            if self.broken or self.ended:
                raise Unreachable("the stream is closed")
            room = PIPE - len(self.data)
            if room <= 0 or self.frozen:
                await self.changed.wait()
                continue
            self.data += view[:room]
            view = view[room:]
            self.wake()
        await trio.lowlevel.checkpoint()

    async def read(self, size: int) -> bytes:
        while True:
            if self.broken:
                return b""  # as yamux: a reset looks like an end
            if self.data and not self.frozen:
                got = bytes(self.data[:size])
                del self.data[:size]
                self.wake()
                await trio.lowlevel.checkpoint()
                return got
            if self.ended and not self.frozen:
                return b""
            await self.changed.wait()


class LoopbackStream:
    def __init__(self, me: PeerId, peer: PeerId, protocol: str, reads: Pipe, writes: Pipe) -> None:
        self.me, self.peer, self.protocol, self.reads, self.writes = me, peer, protocol, reads, writes

    async def receive_some(self, max_bytes: int = 65536) -> bytes:
        return await self.reads.read(max_bytes)

    async def send_all(self, data: bytes) -> None:
        await self.writes.write(data)

    async def close(self) -> None:
        self.writes.ended = True
        self.writes.wake()

    async def reset(self) -> None:
        for pipe in (self.reads, self.writes):
            pipe.broken = True
            pipe.wake()


class Loopback:
    def __init__(self) -> None:
        self.nodes: dict[PeerId, LoopbackNetwork] = {}
        self.links: dict[frozenset[PeerId], list[LoopbackStream]] = {}
        self.nursery: trio.Nursery | None = None

    def node(self, key: SigningKey | None = None) -> LoopbackNetwork:
        key = key or SigningKey(len(self.nodes).to_bytes(32))
        made = LoopbackNetwork(self, key)
        self.nodes[made.me] = made
        return made

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Loopback]:
        async with trio.open_nursery() as nursery:
            self.nursery = nursery
            yield self
            nursery.cancel_scope.cancel()

    def link(self, a: LoopbackNetwork, b: LoopbackNetwork) -> None:
        pair = frozenset((a.me, b.me))
        if pair not in self.links:
            self.links[pair] = []
            a.announce(b.me, up=True)
            b.announce(a.me, up=True)

    def link_all(self) -> None:
        nodes = list(self.nodes.values())
        for i, a in enumerate(nodes):
            for b in nodes[:i]:
                self.link(a, b)

    def cut(self, a: LoopbackNetwork, b: LoopbackNetwork) -> None:
        for stream in self.links.pop(frozenset((a.me, b.me)), []):
            for pipe in (stream.reads, stream.writes):
                pipe.broken = True
                pipe.wake()
        a.announce(b.me, up=False)
        b.announce(a.me, up=False)

    def freeze(self, a: LoopbackNetwork, b: LoopbackNetwork, *, frozen: bool = True) -> None:
        for stream in self.links[frozenset((a.me, b.me))]:
            for pipe in (stream.reads, stream.writes):
                pipe.frozen = frozen
                pipe.wake()


class LoopbackNetwork:
    def __init__(self, net: Loopback, key: SigningKey) -> None:
        self.net = net
        self.key = key
        self.me = peer_id(key.public)
        self.handlers: dict[str, tuple[StreamHandler, float]] = {}
        self.watchers: list[trio.MemorySendChannel[PeerEvent]] = []
        self.ledger = Ledger()
        self.counted: Counter[str] = Counter()
        self.offences: list[tuple[PeerId, Offence]] = []

    def announce(self, peer: PeerId, *, up: bool) -> None:
        for watcher in self.watchers:
            watcher.send_nowait(PeerEvent(peer=peer, up=up))

    def connected(self, peer: PeerId) -> bool:
        return frozenset((self.me, peer)) in self.net.links

    async def connect(self, peer: PeerId) -> None:
        await trio.lowlevel.checkpoint()
        if not self.connected(peer):
            raise Unreachable("loopback links are made by the test")

    async def open(self, peer: PeerId, protocol: str) -> Stream:
        await trio.lowlevel.checkpoint()
        if not self.connected(peer):
            raise Unreachable("not connected")
        other = self.net.nodes[peer]
        if protocol not in other.handlers:
            raise Unreachable(f"does not speak {protocol}")
        one, two = Pipe(), Pipe()
        mine = LoopbackStream(self.me, peer, protocol, one, two)
        theirs = LoopbackStream(peer, self.me, protocol, two, one)
        self.net.links[frozenset((self.me, peer))].append(mine)
        assert self.net.nursery is not None, "async with net.running()"
        self.net.nursery.start_soon(other.serve, theirs)
        return mine

    async def serve(self, stream: LoopbackStream) -> None:
        handler, limit = self.handlers[stream.protocol]
        try:
            with trio.fail_after(limit):
                await handler(stream)
            await stream.close()
        except (TransportError, trio.TooSlowError) as error:
            self.count(f"handler.{type(error).__name__}")
            await stream.reset()

    def handle(self, protocol: str, handler: StreamHandler, *, limit: float | None = None) -> None:
        self.handlers[protocol] = (handler, math.inf if limit is None else limit)

    @contextmanager
    def watch(self) -> Iterator[AsyncIterator[PeerEvent]]:
        send, receive = trio.open_memory_channel[PeerEvent](math.inf)
        for peer in self.net.nodes:
            if self.connected(peer):
                send.send_nowait(PeerEvent(peer=peer, up=True))
        self.watchers.append(send)
        try:
            with receive:
                yield receive
        finally:
            self.watchers.remove(send)

    def keep(self, peer: PeerId, addresses: Sequence[Address]) -> None:
        pass

    def forget(self, peer: PeerId) -> None:
        if self.connected(peer):
            self.net.cut(self, self.net.nodes[peer])

    def peers(self) -> Mapping[PeerId, PeerState]:
        return {peer: PeerState(peer=peer, link=Link.CONNECTED) for peer in self.net.nodes if self.connected(peer)}

    async def peer_changes(self) -> AsyncIterator[PeerState]:
        with self.watch() as events:
            async for event in events:
                yield PeerState(peer=event.peer, link=Link.CONNECTED if event.up else Link.AWAY)

    def charge(self, peer: PeerId, offence: Offence) -> None:
        self.offences.append((peer, offence))
        self.count(f"offence.{offence.name.lower()}")
        if self.ledger.charge(peer, offence, trio.current_time()) is Standing.BARRED and self.connected(peer):
            self.net.cut(self, self.net.nodes[peer])

    def penalty(self, peer: PeerId) -> float:
        return self.ledger.penalty(peer, trio.current_time())

    def count(self, name: str, amount: int = 1) -> None:
        self.counted[name] += amount

    def counters(self) -> Mapping[str, int]:
        return self.counted

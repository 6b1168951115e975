"""What a mesh stands on: which peers are connected, and byte streams to them.

`transport.host` is the one that uses libp2p. Gossip, sync, questions and mailboxes know only what is here, so
they run unchanged over streams in memory (tests/transport/loopback.py), under a clock that jumps.

A `Stream` belongs to one protocol with one peer whose id the connection has proven. Either side may end its
half (`close`), or tear the whole down (`reset`). libp2p's yamux cannot tell a reader which of the two it was,
so no protocol here takes the end of a stream for the end of a message: see `transport.streams`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from transport.base import Address, PeerId, PeerState
from transport.conduct import Offence

MAX_WRITE = 64 << 10
"""Bytes written at once: a larger write gains nothing and holds the connection."""


class Stream(Protocol):
    """Bytes both ways, with back-pressure. All of it may raise `base.Unreachable`."""

    @property
    def peer(self) -> PeerId: ...

    async def receive_some(self, max_bytes: int = 65536) -> bytes:
        """At least one byte, at most this many; empty when the other half was closed, or broke."""
        ...

    async def send_all(self, data: bytes) -> None: ...

    async def close(self) -> None:
        """No more from here. Idempotent, does not wait for the peer."""
        ...

    async def reset(self) -> None:
        """Gone, both ways, at once. Idempotent, never raises, does not wait for the peer."""
        ...


StreamHandler = Callable[[Stream], Awaitable[None]]
"""Serves one incoming stream. When it returns the stream is closed; when it raises, reset, and the error counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerEvent:
    """A peer became reachable by streams (`up`), or all connections to it ended."""

    peer: PeerId
    up: bool


class Network(Protocol):
    @property
    def me(self) -> PeerId: ...

    async def open(self, peer: PeerId, protocol: str) -> Stream:
        """A stream to a connected peer, within ten seconds; `Unreachable` otherwise, also if it does not speak this."""
        ...

    def handle(self, protocol: str, handler: StreamHandler, *, limit: float | None = None) -> None:
        """Serve incoming streams. `limit`: seconds after which a handler is cancelled; None only for gossip."""
        ...

    def watch(self) -> AbstractContextManager[AsyncIterator[PeerEvent]]:
        """First an `up` for each connected peer, then every change, in order; nothing is left out."""
        ...

    def connected(self, peer: PeerId) -> bool: ...

    async def connect(self, peer: PeerId) -> None:
        """Be connected now, dialing known addresses if need be; `Unreachable` if that fails."""
        ...

    def keep(self, peer: PeerId, addresses: Sequence[Address]) -> None: ...

    def forget(self, peer: PeerId) -> None: ...

    def peers(self) -> Mapping[PeerId, PeerState]:
        """Without topics: those are the mesh's business."""
        ...

    def peer_changes(self) -> AsyncIterator[PeerState]: ...

    def charge(self, peer: PeerId, offence: Offence) -> None:
        """Hold this against the peer; when it has been enough, the network disconnects and bars it."""
        ...

    def penalty(self, peer: PeerId) -> float:
        """Seconds to wait before serving this peer's next message: nothing for the well-behaved."""
        ...

    def count(self, name: str, amount: int = 1) -> None:
        """One place for all counters: `gossip.frames_in`, `sync.rounds`, `offence.forged`."""
        ...

    def counters(self) -> Mapping[str, int]: ...

"""The seam for what finds peers and ways to them: relay, hole punching, mDNS, DHT.

    @asynccontextmanager
    async def relay(site: Site) -> AsyncIterator[None]:
        transport = CircuitV2Transport(site.host, ...)
        site.dial_by(lambda address: "/p2p-circuit" in address, dial)
        site.nursery.start_soon(reserve, site)
        yield  # and then open_network(..., extensions=[relay])

An extension belongs to one life of the library's host. At a rebuild it is left (or was killed) and entered
again with a new `Site`; what must outlive that belongs to whoever made the extension, outside. The dialers and
announced addresses of a site end with it. Whatever an extension raises, also from tasks in `site.nursery`,
counts as a crash of the host and has it rebuilt: expected failures are caught by the extension itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Protocol

from transport.base import Address, PeerId
from transport.network import Network

if TYPE_CHECKING:
    import trio
    from libp2p.host.basic_host import BasicHost
    from libp2p.peer.id import ID

Dial = Callable[[PeerId, Address], Awaitable[None]]
"""Connects to a peer by one address: returns when the host's swarm has the connection, raises anything if not.

It is cancelled when the dial's time is up. The gate of the Noise handshake applies as to all connections."""


class Site(Protocol):
    """One life of the library's host, as an extension sees it."""

    @property
    def host(self) -> BasicHost:
        """The live host: its swarm, peerstore and stream handlers."""
        ...

    @property
    def network(self) -> Network:
        """Ours, the same in all lives: `count`, `charge`, `open`, `handle`, `watch`, `connected`."""
        ...

    @property
    def nursery(self) -> trio.Nursery:
        """For the extension's tasks; cancelled before the host closes."""
        ...

    def keep(self, peer: PeerId, addresses: Sequence[Address]) -> None:
        """As `Network.keep`: be connected from now on, also by these addresses."""
        ...

    def learn(self, peer: PeerId, addresses: Sequence[Address]) -> None:
        """The peer may be at these addresses: they are tried if it is kept or asked for. Does not dial by itself.

        If the peer is kept and waiting for its next try, it is tried now. At most `HostSettings.most_addresses`
        are remembered per peer, those that worked and the newest first.
        """
        ...

    def dial_by(self, takes: Callable[[Address], bool], dial: Dial) -> None:
        """Addresses for which `takes` is true are dialed by `dial`, not by TCP. The first that takes one, has it."""
        ...

    def announce(self, addresses: Sequence[Address]) -> None:
        """Tell peers these too, without our peer id at the end. Each call replaces this extension's earlier ones."""
        ...

    def peer_id(self, peer: PeerId) -> ID:
        """The library's form of an id."""
        ...


Extension = Callable[[Site], AbstractAsyncContextManager[None]]
"""Given the site of a new life of the host; entered when it listens, left before it is closed."""

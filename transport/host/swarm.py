"""The library's swarm and host, with what loses peers or the process replaced by overriding, not by patching.

Nothing in the library is changed for others: each class here derives from the library's and is built by
`build`, so a plain host in the same process behaves as it always did (the tests that show what is wrong with
it rely on that). `transport.host.mends` lists what each override answers and the private names it leans on.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

import trio
from libp2p import generate_peer_id_from
from libp2p.custom_types import StreamHandlerFn, TProtocol
from libp2p.host.basic_host import BasicHost
from libp2p.identity.identify_push.identify_push import push_identify_to_peers
from libp2p.network.auto_connector import AutoConnector
from libp2p.network.config import ConnectionConfig, RetryConfig
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.network.exceptions import SwarmException
from libp2p.network.stream.net_stream import NetStream
from libp2p.network.swarm import Swarm
from libp2p.peer.peerstore import PeerStore, PeerStoreError
from libp2p.protocol_muxer.multiselect import Multiselect
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.stream_muxer.muxer_multistream import MuxerMultistream
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX, Yamux
from libp2p.transport.upgrader import TransportUpgrader

from transport.base import Address, PeerId, TransportError
from transport.host.door import Door, DoorTCP
from transport.host.flow import Flow
from transport.host.noise import BulkSession, GatedNoise, key_pair
from transport.host.settings import HostSettings
from transport.host.yamux import Session, Watcher
from transport.signing import SigningKey

if TYPE_CHECKING:
    from libp2p.abc import IMuxedConn, INetConn, INetStream, IRawConnection, ISecureConn
    from libp2p.io.abc import ReadWriteCloser
    from libp2p.peer.id import ID
    from multiaddr import Multiaddr

_ADDRESS_LIFE = 3600  # seconds that the library remembers what a peer said about itself


class Owner(Watcher, Protocol):
    """What the library's side asks of ours."""

    settings: HostSettings

    def may_connect(self, peer: PeerId) -> bool: ...
    def announced(self, listening: Sequence[Multiaddr]) -> list[Multiaddr]: ...
    def identified(self, peer: PeerId, addresses: Sequence[Address]) -> None: ...
    def protocols(self) -> Sequence[str]: ...
    async def serve(self, flow: Flow, library: BasicHost, stream: NetStream) -> None: ...
    async def dial_for_library(self, peer: PeerId, addresses: Sequence[Address]) -> None: ...


class SessionMuxer(MuxerMultistream):
    """Makes our `Session` where the library makes its own Yamux, by name and whatever it was told."""

    def __init__(self, owner: Owner) -> None:
        super().__init__({TProtocol(YAMUX): Yamux})
        self._owner = owner

    async def new_conn(self, conn: ISecureConn, peer_id: ID) -> IMuxedConn:
        protocol, _ = await self._selector.select(conn, conn.is_initiator, self.negotiate_timeout)
        if not isinstance(conn, BulkSession):
            raise SwarmException("a connection that did not come through the gate")
        session = Session(conn, peer_id, settings=self._owner.settings, watcher=self._owner)
        return self._annotate_connection(session, conn, protocol)


class NoAutoConnector(AutoConnector):
    """Dials nobody. The library's dials whoever its peerstore knows, up to the limit, watermarks of zero or not."""

    async def run_background_task(self, nursery: trio.Nursery) -> None:
        pass

    async def maybe_connect(self) -> None:
        pass


class GuardedSwarm(Swarm):
    """Admits by the door, dials as we dial, and forgets peers that are gone."""

    def __init__(self, owner: Owner, peer_id: ID, upgrader: TransportUpgrader) -> None:
        settings = owner.settings
        # The library's own limits stay out of the way: what it closes when they are reached is not ours to choose.
        config = ConnectionConfig(
            min_connections=0,
            low_watermark=0,
            high_watermark=settings.most_connections * 2,
            max_connections=settings.most_connections * 2,
            max_connections_per_peer=settings.most_per_peer * 2,
            inbound_upgrade_timeout=settings.handshake_limit,
            outbound_upgrade_timeout=settings.whole_dial,
            inbound_stream_protocol_negotiation_timeout=settings.negotiation_limit,
            outbound_stream_protocol_negotiation_timeout=settings.open_limit,
        )
        super().__init__(
            peer_id,
            PeerStore(),
            upgrader,
            transports=[DoorTCP(settings, owner.count)],
            retry_config=RetryConfig(max_retries=0),
            connection_config=config,
        )
        self.auto_connector = NoAutoConnector(swarm=self)
        self.notifees.clear()  # the store of tags would keep an entry for every peer that was ever connected
        self._owner = owner
        self.door = Door(settings, owner.count)

    async def _handle_inbound_connection(self, read_write_closer: ReadWriteCloser, maddr: Multiaddr) -> None:
        """Handshakes, and ends: the connection lives in tasks of its own, and nothing is held for it here."""
        remote = read_write_closer.get_remote_address()
        raw = RawConnection(read_write_closer, initiator=False)

        async def handshake() -> None:
            await self.upgrade_inbound_raw_conn(raw, maddr)

        done = False
        try:
            done = await self.door.through(remote[0] if remote else "", handshake)
        except Exception:  # noqa: BLE001 - anything a stranger's bytes can make the library raise
            self._owner.count("host.handshakes_failed")
        finally:
            if not done:
                with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
                    await close_quietly(raw)

    async def dial_peer(self, peer_id: ID) -> list[INetConn]:
        """For the library's own needs (DHT, relay): all addresses, each with its limit, no negative cache."""
        if not (connections := self.get_connections(peer_id)):
            try:
                addresses = self.peerstore.addrs(peer_id)
            except PeerStoreError:
                addresses = []
            try:
                await self._owner.dial_for_library(PeerId(str(peer_id)), [plain(address) for address in addresses])
            except TransportError as error:
                raise SwarmException(str(error)) from error
            connections = self.get_connections(peer_id)
        if not connections:
            raise SwarmException(f"no connection to {peer_id}")
        return connections

    async def notify_disconnected(self, conn: INetConn) -> None:
        """Without the auto-connector, which keeps a note of every peer that ever left and dials by itself."""
        await self._notify("disconnected", conn)


class NamingMultiselect(Multiselect):
    """Tells identify what we serve, too: its table of handlers has only the library's own protocols.

    Others go by that: go-libp2p opens no gossip stream to whoever does not name the protocol.
    """

    def __init__(self, owner: Owner, handlers: dict[TProtocol | None, StreamHandlerFn | None]) -> None:
        super().__init__(handlers)
        self._owner = owner

    def get_protocols(self) -> tuple[TProtocol | None, ...]:
        return (*super().get_protocols(), *map(TProtocol, self._owner.protocols()))


class GuardedHost(BasicHost):
    """Its stream handlers cannot hurt, and identify runs where it can be supervised."""

    _network: GuardedSwarm

    def __init__(self, owner: Owner, swarm: GuardedSwarm) -> None:
        self._owner = owner
        super().__init__(network=swarm, addrs_factory=owner.announced)
        self.multiselect = NamingMultiselect(owner, self.multiselect.handlers)

    async def _swarm_stream_handler(self, net_stream: INetStream) -> None:
        flow = getattr(net_stream, "muxed_stream", None)
        if isinstance(flow, Flow) and isinstance(net_stream, NetStream):
            await self._owner.serve(flow, self, net_stream)
        else:
            await net_stream.reset()

    def _schedule_identify(self, peer_id: ID, *, reason: str) -> None:
        nursery = self._network.background_nursery
        if nursery is None or peer_id == self.get_id() or peer_id in self._identify_inflight:
            return
        if not self._has_cached_protocols(peer_id):
            self._identify_inflight.add(peer_id)
            nursery.start_soon(self._identify, peer_id, reason)

    async def _identify(self, peer_id: ID, reason: str) -> None:
        try:
            with trio.move_on_after(self._owner.settings.open_limit):
                await self._identify_task_entry(peer_id, reason)
            addresses = self.peerstore.addrs(peer_id)[: self._owner.settings.most_addresses]
            self.peerstore.clear_addrs(peer_id)  # a peer may name as many as fit into a megabyte
            self.peerstore.add_addrs(peer_id, addresses, _ADDRESS_LIFE)
        except Exception:  # noqa: BLE001 - what a peer says about itself can make the library raise anything
            self._owner.count("host.identify_failed")
            return
        self._owner.identified(PeerId(str(peer_id)), [plain(address) for address in addresses])

    async def tell_protocols(self) -> None:
        """Identify again, to whoever is connected: what we serve has changed since they came."""
        with trio.move_on_after(self._owner.settings.open_limit):
            await push_identify_to_peers(self, set(self.get_connected_peers()))


def build(owner: Owner, identity: SigningKey) -> GuardedHost:
    """A host as we want it: TCP, Noise with the gate, Yamux; nothing else is offered or accepted."""
    keys = key_pair(identity)
    upgrader = TransportUpgrader({NOISE: GatedNoise(keys, owner.may_connect, owner.count)}, {TProtocol(YAMUX): Yamux})
    upgrader.muxer_multistream = SessionMuxer(owner)
    peer_id = generate_peer_id_from(keys)
    swarm = GuardedSwarm(owner, peer_id, upgrader)
    swarm.peerstore.add_key_pair(peer_id, keys)
    return GuardedHost(owner, swarm)


def plain(address: Multiaddr) -> Address:
    """Without the peer's own id at the end; the id of a relay in the middle stays."""
    text = str(address)
    head, mark, tail = text.rpartition("/p2p/")
    return Address(head if mark and "/" not in tail else text)


async def close_quietly(conn: IRawConnection) -> None:
    with suppress(Exception):
        await conn.close()

"""Being reachable through relays, and reaching others through theirs.

    relays = {relay_id: ("/ip4/198.51.100.7/tcp/4001",)}
    open_network(..., extensions=[RelayClient(relays, now_ms=..., jitter=...).extension])

For each relay it is given, a client keeps the connection, reserves, renews at half of the reservation's life and
after every reconnection, and announces `RELAY_ADDRESS/p2p/RELAY/p2p-circuit` for as long as it holds. Addresses
with `/p2p-circuit` in them are dialed here; reserving is not needed for that, and not done.

What a relay brings us is secured like a connection from anywhere: the id it claims for the other end decides
nothing, Noise proves one, and the host's gate judges that. A relay that brings connections faster than they can
be judged, or anybody who brings some without being one of our relays, is refused.

The relay itself passes the host's gate too: the caller lets in the relays it names, and those it learns from
contacts' records if it wants to dial through them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from random import Random
from typing import Final

import trio
from libp2p.connection_types import ConnectionType
from multiaddr import Multiaddr

from transport.base import Address, Milliseconds, PeerId, Refused, TransportError, Unreachable
from transport.conduct import Offence
from transport.discovery.addresses import circuit, parse
from transport.host.extension import Site
from transport.network import Network, Stream
from transport.relay.circuit import CircuitStream, circuit_address, raw_connection
from transport.relay.messages import (
    HOP,
    STOP,
    Delimited,
    Hop,
    HopMessage,
    Status,
    Stop,
    StopMessage,
)
from transport.relay.sockets import dial_from_listener
from transport.signing import base58, public_key, unbase58

FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 120.0
SHORTEST_LIFE: Final = 60.0  # of a reservation, whatever the relay says
LONGEST_LIFE: Final = 48 * 3600.0
MOST_ARRIVING: Final = 16  # relayed connections that are being secured at once
UPGRADE_SECONDS: Final = 15.0

Relayed = Callable[[Site, PeerId], Awaitable[None]]
"""Told, in a task of its own, of each peer that has come to us through a relay."""


class RelayRefused(TransportError):
    """The relay answered, and said no."""

    def __init__(self, status: Status) -> None:
        super().__init__(f"the relay says: {status.name.lower().replace('_', ' ')}")
        self.status = status


async def reserve(network: Network, relay: PeerId) -> Milliseconds:
    """Ask a connected relay to bring us others; until when it will."""
    stream = await network.open(relay, HOP)
    try:
        messages = Delimited(stream)
        await messages.send(HopMessage(type=Hop.RESERVE).encode())
        answer = HopMessage.decode(await messages.receive())
        await stream.close()
    finally:
        await stream.reset()
    if answer.type is not Hop.STATUS or answer.status is not Status.OK or answer.reservation is None:
        raise RelayRefused(answer.status or Status.UNUSED)
    return Milliseconds(min(answer.reservation.expire, 1 << 40) * 1000)


async def open_circuit(network: Network, relay: PeerId, peer: PeerId) -> tuple[Stream, bytes]:
    """A stream through a connected relay to a peer that has reserved there, and what has already come on it."""
    stream = await network.open(relay, HOP)
    try:
        messages = Delimited(stream)
        await messages.send(HopMessage(type=Hop.CONNECT, peer=unbase58(peer) or b"").encode())
        answer = HopMessage.decode(await messages.receive())
        if answer.type is not Hop.STATUS or answer.status is not Status.OK:
            raise RelayRefused(answer.status or Status.UNUSED)
    except BaseException:
        await stream.reset()
        raise
    return stream, messages.rest()


class RelayClient:
    """One for a network; its reservations and announcements end with the site and are made again in the next."""

    def __init__(
        self,
        relays: Mapping[PeerId, tuple[Address, ...]],
        *,
        now_ms: Callable[[], Milliseconds],
        jitter: Random,
        relayed: Relayed | None = None,
    ) -> None:
        """`relayed`: `HolePunching.punch`, to try for a direct connection."""
        self._relays = {
            relay: tuple(parse(address).text for address in addresses if circuit(address, relay))
            for relay, addresses in relays.items()
        }
        self._now_ms = now_ms
        self._jitter = jitter
        self._relayed = relayed
        self._held: set[PeerId] = set()
        self._arriving = 0

    @property
    def held(self) -> frozenset[PeerId]:
        """The relays at which we have a reservation now."""
        return frozenset(self._held)

    @asynccontextmanager
    async def extension(self, site: Site) -> AsyncIterator[None]:
        async def dial(peer: PeerId, address: Address) -> None:
            await self._dial(site, peer, address)

        async def dial_relay(relay: PeerId, address: Address) -> None:
            await _dial_from_listener(site, relay, address)

        async def stop(stream: Stream) -> None:
            await self._stop(site, stream)

        self._held.clear()
        self._arriving = 0
        site.dial_by(lambda address: "/p2p-circuit" in address, dial)
        if self._relayed is not None:
            ours = frozenset(address for addresses in self._relays.values() for address in addresses)
            site.dial_by(ours.__contains__, dial_relay)
        site.network.handle(STOP, stop)
        for relay, addresses in self._relays.items():
            site.keep(relay, addresses)
            site.nursery.start_soon(self._hold, site, relay)
        yield

    # ---------------------------------------------------------------- reserving

    async def _hold(self, site: Site, relay: PeerId) -> None:
        """Keep a reservation, for as long as the site lives."""
        network, pause = site.network, FIRST_PAUSE
        while True:
            await _until(network, relay, up=True)
            try:
                until = await reserve(network, relay)
            except TransportError:
                network.count("relay.client.refused")
                self._lost(site, relay)
                await trio.sleep(pause * self._jitter.uniform(0.7, 1.3))
                pause = min(pause * 2, LONGEST_PAUSE)
                continue
            pause = FIRST_PAUSE
            network.count("relay.client.reserved")
            self._held.add(relay)
            self._announce(site)
            life = min(max((until - self._now_ms()) / 1000, SHORTEST_LIFE), LONGEST_LIFE)
            with trio.move_on_after(life / 2 * self._jitter.uniform(0.8, 1.0)):
                await _until(network, relay, up=False)
                self._lost(site, relay)  # with the connection went the reservation

    def _lost(self, site: Site, relay: PeerId) -> None:
        if relay in self._held:
            self._held.remove(relay)
            self._announce(site)

    def _announce(self, site: Site) -> None:
        site.announce(
            [
                circuit(address, relay)
                for relay, addresses in self._relays.items()
                if relay in self._held
                for address in addresses
            ]
        )

    # ---------------------------------------------------------------- dialing through

    async def _dial(self, site: Site, peer: PeerId, address: Address) -> None:
        place = parse(address)
        if place.relay is None:
            raise Unreachable("not an address behind a relay")
        network = site.network
        if not network.connected(place.relay):
            site.learn(place.relay, [Address(place.text.partition("/p2p/")[0])])
            await network.connect(place.relay)
        stream, first = await open_circuit(network, place.relay, peer)
        behind = circuit_address(place.relay, peer)
        raw = raw_connection(CircuitStream(stream, first), behind, initiator=True)
        try:
            connection = await site.host.upgrade_outbound_connection(raw, site.peer_id(peer))
        except BaseException:
            await stream.reset()
            raise
        _tag(site, connection, behind)
        network.count("relay.client.dialed")

    # ---------------------------------------------------------------- being dialed through

    async def _stop(self, site: Site, stream: Stream) -> None:
        """A relay brings somebody. The handler lives as long as the connection, which lives on its stream."""
        messages = Delimited(stream)
        try:
            request = StopMessage.decode(await messages.receive())
        except Refused:
            site.network.charge(stream.peer, Offence.MALFORMED)
            return
        peer = PeerId(base58(request.peer))
        if request.type is not Stop.CONNECT or public_key(peer) is None:
            site.network.charge(stream.peer, Offence.MALFORMED)
            await _refuse(messages, Status.MALFORMED_MESSAGE)
            return
        if stream.peer not in self._relays:
            site.network.charge(stream.peer, Offence.UNAUTHORIZED)
            await _refuse(messages, Status.PERMISSION_DENIED)
            return
        if self._arriving >= MOST_ARRIVING:
            site.network.count("relay.client.crowded")
            await _refuse(messages, Status.RESOURCE_LIMIT_EXCEEDED)
            return
        self._arriving += 1
        try:
            await messages.send(StopMessage(type=Stop.STATUS, status=Status.OK).encode())
            circuit_stream = CircuitStream(stream, messages.rest())
            address = circuit_address(stream.peer, peer)
            raw = raw_connection(circuit_stream, address, initiator=False)
            try:
                with trio.fail_after(UPGRADE_SECONDS):
                    muxed = await site.host.upgrade_inbound_connection(raw, address)
            except Exception as error:  # whatever the library raises for a handshake that fails
                raise Unreachable(f"{type(error).__name__} behind the relay") from error
        finally:
            self._arriving -= 1
        proven = PeerId(str(muxed.peer_id))
        for connection in site.host.get_network().get_connections(muxed.peer_id):
            if getattr(connection, "muxed_conn", None) is muxed:
                _tag(site, connection, address)
        site.network.count("relay.client.arrived")
        if self._relayed is not None:
            site.nursery.start_soon(self._relayed, site, proven)
        await circuit_stream.ended.wait()


async def _until(network: Network, peer: PeerId, *, up: bool) -> None:
    """Returns at once if the peer is connected already and that is what is waited for."""
    with network.watch() as events:
        async for event in events:
            if event.peer == peer and event.up is up:
                return


async def _dial_from_listener(site: Site, relay: PeerId, address: Address) -> None:
    """So that the relay sees the mapping that a hole will be punched with: see `transport.relay.punching`."""
    place = parse(address)
    try:
        await dial_from_listener(site, relay, place)
    except Exception:  # noqa: BLE001 - also when the last connection from that port has not quite gone yet
        site.network.count("relay.client.not_from_listener")
        await site.host.get_network().dial_addr(Multiaddr(place.text), site.peer_id(relay))


def _tag(site: Site, connection: object, address: Multiaddr) -> None:
    """The library does not know of a finished connection how it was made; the host's links ask it."""
    tag = getattr(connection, "set_transport_info", None)
    if tag is None:
        site.network.count("relay.client.untagged")
        return
    tag([address], ConnectionType.RELAYED)


async def _refuse(messages: Delimited, status: Status) -> None:
    await messages.send(StopMessage(type=Stop.STATUS, status=status).encode())

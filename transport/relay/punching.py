"""From a relayed connection to a direct one: DCUtR, by TCP simultaneous open.

Two peers behind NATs hold a connection through a relay. Each tells the other where it may be seen from outside,
one says "now", and both dial at once from the port they listen on. Each outgoing SYN opens its own NAT for the
other's; a SYN that meets one is taken as its answer, and the two sockets become one connection.

Where a peer is seen: by asking the relay (identify), which names the address of our connection to it. The port
in it belongs to that connection, while the dial leaves from the listening port. So the connection to a relay is
made from the listening port too, where that is possible: then the mapping seen is the mapping used, as long as
the NAT maps one inner port to one outer port whoever is on the other side (RFC 4787, endpoint-independent). For
a NAT that maps per destination but keeps the port number when it is free, as Linux does, the outer address with
our own port is told as well. A NAT that picks a new random port per destination is not passed: docs/network.md.

The side to which the relay brought the connection starts, as the specification says, and takes the responder's
part in the Noise handshake whoever's packet came first, or both would speak first. After success the relayed
connection is left to its streams for `GRACE` seconds, then closed.

Addresses told by the other side are dialed only if the policy believes them, as in a record. At most
`MOST_ADDRESSES` of them, in `ROUNDS` rounds of a few seconds: a peer cannot make us scan a network.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Final

import trio
from multiaddr import Multiaddr

from transport.base import Address, PeerId, Refused, TransportError
from transport.conduct import Offence
from transport.discovery.addresses import Place, Policy, Source, believed, parse
from transport.host.extension import Site
from transport.network import Network, Stream
from transport.relay.messages import DCUTR, IDENTIFY, Delimited, HolePunch, Punch, observed_address
from transport.relay.sockets import dial_from_listener, sockets

ROUNDS: Final = 3
ROUND_SECONDS: Final = 5.0
KNOCK_EVERY: Final = 0.1
"""Seconds after a refused dial, about: two that knock in step would never meet."""
MOST_ADDRESSES: Final = 4
MOST_PUNCHING: Final = 8
MESSAGE_SECONDS: Final = 10.0
GRACE: Final = 20.0
SETTLE: Final = 1.0
FINISH: Final = 0.5  # for the dial that has worked to return before the others are cancelled
IDENTIFY_SIZE: Final = 64 << 10


async def seen_from(network: Network, relay: PeerId) -> Place | None:
    """The address at which a connected peer sees us, if it says one that we would dial ourselves."""
    stream = await network.open(relay, IDENTIFY)
    try:
        message = await Delimited(stream, deadline=MESSAGE_SECONDS, limit=IDENTIFY_SIZE).receive()
    finally:
        await stream.reset()
    raw = observed_address(message)
    return None if raw is None else _place(raw)


class HolePunching:
    """Give `punch` to `RelayClient(relayed=...)` and `extension` to the host."""

    def __init__(
        self,
        relays: Sequence[PeerId],
        policy: Policy,
        *,
        jitter: Random,
    ) -> None:
        """`relays`: whom to ask where we are."""
        self._relays = tuple(relays)
        self._jitter = jitter
        self._policy = policy
        self._busy: set[PeerId] = set()

    @asynccontextmanager
    async def extension(self, site: Site) -> AsyncIterator[None]:
        async def answer(stream: Stream) -> None:
            await self._answer(site, stream)

        self._busy.clear()
        limit = 3 * MESSAGE_SECONDS + ROUNDS * (ROUND_SECONDS + SETTLE)
        site.network.handle(DCUTR, answer, limit=limit)
        yield

    async def punch(self, site: Site, peer: PeerId) -> None:
        """Start with a peer that came to us through a relay. Ends when it is direct, or will not be."""
        if not self._begin(site, peer):
            return
        try:
            await trio.sleep(SETTLE)  # what the connection was made for goes first
            with trio.move_on_after(2 * MESSAGE_SECONDS + ROUNDS * (ROUND_SECONDS + SETTLE)):
                for _ in range(ROUNDS):
                    if not relayed(site, peer) or await self._start(site, peer):
                        break
                    await trio.sleep(SETTLE)
        except TransportError:
            site.network.count("relay.punch.broken")
        finally:
            self._busy.discard(peer)
        await self._finish(site, peer)

    def _begin(self, site: Site, peer: PeerId) -> bool:
        if peer in self._busy:
            return False
        if len(self._busy) >= MOST_PUNCHING:
            site.network.count("relay.punch.crowded")
            return False
        self._busy.add(peer)
        site.network.count("relay.punch.tried")
        return True

    async def _start(self, site: Site, peer: PeerId) -> bool:
        """One round as the one who says when."""
        stream = await site.network.open(peer, DCUTR)
        try:
            messages = Delimited(stream, deadline=MESSAGE_SECONDS)
            sent = trio.current_time()
            await messages.send(await self._here(site))
            theirs = await self._receive(site, stream, messages, Punch.CONNECT)
            round_trip = trio.current_time() - sent
            await messages.send(HolePunch(type=Punch.SYNC).encode())
            await trio.sleep(min(round_trip / 2, 2.0))
            direct = await self._knock(site, peer, theirs, responder=True)
            await stream.close()
            return direct
        finally:
            await stream.reset()

    async def _answer(self, site: Site, stream: Stream) -> None:
        """One round as the one who waits for the word."""
        peer = stream.peer
        if not relayed(site, peer) or not self._begin(site, peer):
            return
        try:
            messages = Delimited(stream, deadline=MESSAGE_SECONDS)
            theirs = await self._receive(site, stream, messages, Punch.CONNECT)
            await messages.send(await self._here(site))
            await self._receive(site, stream, messages, Punch.SYNC)
            direct = await self._knock(site, peer, theirs, responder=False)
        finally:
            self._busy.discard(peer)
        if direct:
            site.nursery.start_soon(self._finish, site, peer)

    @staticmethod
    async def _receive(site: Site, stream: Stream, messages: Delimited, wanted: Punch) -> HolePunch:
        try:
            message = HolePunch.decode(await messages.receive())
        except Refused:
            site.network.charge(stream.peer, Offence.MALFORMED)
            raise
        if message.type is not wanted:
            site.network.charge(stream.peer, Offence.GARBAGE)
            raise TransportError(f"{message.type.name} instead of {wanted.name}")
        return message

    async def _here(self, site: Site) -> bytes:
        """Where the other side may find us: as seen by the relays, and with the port we listen on."""
        places: dict[Address, Place] = {}
        ports = {port for _, port in sockets(site)}
        for relay in self._relays:
            if not site.network.connected(relay):
                continue
            try:
                seen = await seen_from(site.network, relay)
            except TransportError:
                continue
            if seen is None or seen.ip is None:
                continue
            for port in (seen.port, *sorted(ports)):
                place = parse(f"/ip{seen.ip.version}/{seen.ip}/tcp/{port}")
                if self._policy.tells(place):
                    places.setdefault(place.text, place)
        told = list(places)[:MOST_ADDRESSES]
        return HolePunch(type=Punch.CONNECT, addresses=tuple(Multiaddr(text).to_bytes() for text in told)).encode()

    async def _knock(self, site: Site, peer: PeerId, theirs: HolePunch, *, responder: bool) -> bool:
        """Dial all their addresses from our listening ports until a direct connection is there, or the round over."""
        texts = [place.text for place in map(_place, theirs.addresses[:MOST_ADDRESSES]) if place is not None]
        places = believed(texts, Source.OBSERVED, self._policy, peer)
        if not places:
            site.network.count("relay.punch.nowhere")
            return False
        with trio.move_on_after(ROUND_SECONDS):
            async with trio.open_nursery() as nursery:
                for place in places:
                    nursery.start_soon(self._dial, site, peer, place, responder)
                while not direct(site, peer):  # noqa: ASYNC110 - theirs may be the one that comes, past all events
                    await trio.sleep(KNOCK_EVERY)
                await trio.sleep(FINISH)
                nursery.cancel_scope.cancel()
        return direct(site, peer)

    async def _dial(self, site: Site, peer: PeerId, place: Place, responder: bool) -> None:
        while not direct(site, peer):
            try:
                await dial_from_listener(site, peer, place, responder=responder)
            except Exception:  # noqa: BLE001 - whatever the library raises for a dial that fails; the round ends in time
                site.network.count("relay.punch.refused")
            await trio.sleep(KNOCK_EVERY * self._jitter.uniform(0.5, 1.5))

    async def _finish(self, site: Site, peer: PeerId) -> None:
        """Count; after a while, close what goes through the relay, unless the direct connection has gone meanwhile."""
        if not direct(site, peer):
            site.network.count("relay.punch.failed")
            return
        site.network.count("relay.punch.direct")
        await trio.sleep(GRACE)
        if not direct(site, peer):
            return
        for connection in site.host.get_network().get_connections(site.peer_id(peer)):
            if _is_relayed(connection):
                try:
                    await connection.close()
                except Exception:  # noqa: BLE001 - a connection that fails to close is closed
                    site.network.count("relay.punch.unclosed")


def direct(site: Site, peer: PeerId) -> bool:
    """Whether there is a living connection that is not through a relay."""
    return any(not _is_relayed(connection) for connection in _connections(site, peer))


def relayed(site: Site, peer: PeerId) -> bool:
    """Whether all there is goes through relays."""
    connections = _connections(site, peer)
    return bool(connections) and all(map(_is_relayed, connections))


def _connections(site: Site, peer: PeerId) -> list[object]:
    found = site.host.get_network().get_connections(site.peer_id(peer))
    return [connection for connection in found if not connection.is_closed]


def _is_relayed(connection: object) -> bool:
    addresses: list[object] = getattr(connection, "get_transport_addresses", list)()
    return any("/p2p-circuit" in str(address) for address in addresses)


def _place(raw: bytes) -> Place | None:
    try:
        return parse(str(Multiaddr(raw)))
    except Exception:  # noqa: BLE001 - the library's parser, on bytes from outside
        return None

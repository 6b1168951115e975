"""Our listening sockets, as places to dial from.

What leaves from a listening port opens a NAT for that port, and shows others the mapping it has outside. The
listeners share their port (SO_REUSEPORT), so a connection may begin there too. The library can dial like this,
but loses the socket when the dial is cancelled or fails, and most dials of hole punching do.
"""

from __future__ import annotations

import socket
from ipaddress import ip_address

import trio
from libp2p.network.connection.raw_connection import RawConnection
from multiaddr import Multiaddr

from transport.base import PeerId, Unreachable
from transport.discovery.addresses import IPAddress, Place, Reach
from transport.host.door import PeerTCPStream
from transport.host.extension import Site


def sockets(site: Site) -> list[tuple[IPAddress, int]]:
    """What we listen on, wildcards as they are."""
    found: list[tuple[IPAddress, int]] = []
    for address in site.host.get_transport_addrs():
        parts = str(address).split("/")
        if len(parts) >= 5 and parts[1] in {"ip4", "ip6"} and parts[3] == "tcp":
            found.append((ip_address(parts[2]), int(parts[4])))
    return found


def source_for(site: Site, place: Place) -> tuple[str, int] | None:
    """The socket address to dial a place from: one that we listen on, on the same side of loopback."""
    for ip, port in sockets(site):
        if place.ip is not None and ip.version == place.ip.version:
            if ip.is_unspecified or ip.is_loopback is (place.reach is Reach.HOST):
                return str(ip), port
    return None


async def dial_from_listener(site: Site, peer: PeerId, place: Place, *, responder: bool = False) -> None:
    """Connect to a peer from the port we listen on, secured by the same gate as any connection.

    `responder`: let the other side speak first, as if it had dialed. Raises whatever the library raises.
    """
    source = source_for(site, place)
    if source is None or place.ip is None:
        raise Unreachable("no listening socket of that kind to dial from")
    stream = await _connect(place, source)
    swarm = site.host.get_network()
    raw = RawConnection(PeerTCPStream(stream), not responder)
    try:
        if responder:
            muxed = await swarm.upgrade_inbound_raw_conn(raw, Multiaddr(place.text))
            if str(muxed.peer_id) != peer:
                await muxed.close()
                raise Unreachable("somebody else is there")
        else:
            await swarm.upgrade_outbound_raw_conn(raw, site.peer_id(peer))
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise


async def _connect(place: Place, source: tuple[str, int]) -> trio.SocketStream:
    family = socket.AF_INET6 if ":" in source[0] else socket.AF_INET
    made = trio.socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        await made.bind(source)
        await made.connect((str(place.ip), place.port))
    except BaseException:
        made.close()
        raise
    return trio.SocketStream(made)

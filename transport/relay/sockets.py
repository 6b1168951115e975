"""Our listening sockets, as places to dial from.

What leaves from a listening port opens a NAT for that port, and shows others the mapping it has outside. The
library's listeners share their port (SO_REUSEPORT), so a connection may begin there too.
"""

from __future__ import annotations

from ipaddress import ip_address

from transport.discovery.addresses import IPAddress, Place, Reach
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

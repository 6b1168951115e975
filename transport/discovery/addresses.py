"""Multiaddr text, taken strictly: the few forms that are dialed here, in one spelling each, and how far they reach.

    /ip4/192.0.2.1/tcp/4001                                    also ip6, dns, dns4, dns6
    /ip4/192.0.2.1/tcp/4001/p2p/RELAY/p2p-circuit              through a relay
    either of them followed by /p2p/PEER                       where an address stands alone in a list

Whoever can make us dial an address can make us knock at it. So addresses are divided by how far they reach, and
a table says from whom which are believed: a peer record, signed or not, must not send us to loopback, to the
printer next door or to a neighbor's router, and ours does not tell the world what our home network looks like.
An answer to a multicast question comes from the local network and may name only addresses in it.

Refused always: port 0, wildcards, multicast, broadcast, reserved ranges, IPv4 inside IPv6 (two spellings of one
place), IPv6 link-local (not dialable without a zone) and every other transport.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from transport.base import Address, PeerId
from transport.signing import public_key

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

MAX_ADDRESS: Final = 200
"""Characters of an address, without the peer id that may follow it."""

_NAME = re.compile(r"(?=.{1,100}\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*\Z")
_PORT = re.compile(r"[1-9][0-9]{0,4}\Z")


class Reach(enum.Enum):
    """From where an address can be dialed."""

    HOST = "this machine"
    LINK = "this cable"  # IPv4 link-local
    SITE = "this network"  # private ranges, those of carriers' NATs too
    WORLD = "everywhere"
    NAME = "wherever the name leads"


class Source(enum.Enum):
    """Who says that a peer is at an address. The order is the order of trying."""

    STATIC = "the caller"
    MDNS = "the local network"
    RECORD = "a record signed by the peer"
    OBSERVED = "somebody who saw the peer there"


_REACH: Final[tuple[tuple[IPNetwork, Reach | None], ...]] = tuple(
    (ip_network(text), reach)
    for text, reach in (
        ("127.0.0.0/8", Reach.HOST),
        ("::1/128", Reach.HOST),
        ("169.254.0.0/16", Reach.LINK),
        ("10.0.0.0/8", Reach.SITE),
        ("172.16.0.0/12", Reach.SITE),
        ("192.168.0.0/16", Reach.SITE),
        ("100.64.0.0/10", Reach.SITE),
        ("fc00::/7", Reach.SITE),
        ("0.0.0.0/8", None),
        ("224.0.0.0/4", None),
        ("240.0.0.0/4", None),
        ("::/128", None),
        ("::ffff:0:0/96", None),
        ("64:ff9b::/96", None),
        ("fe80::/10", None),
        ("ff00::/8", None),
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """An address taken apart. `text` is its one spelling, without the peer that is there."""

    text: Address
    reach: Reach
    ip: IPAddress | None  # None for a name
    port: int
    relay: PeerId | None = None
    peer: PeerId | None = None  # who is said to be there, if the text said


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What is believed and told. Static addresses are the caller's own word and pass always."""

    private: bool = False  # addresses of the same private network, from records and to records
    loopback: bool = False  # several daemons on one machine
    names: bool = False  # host names: whoever runs the name server decides where they lead, inside our network too
    networks: tuple[IPNetwork, ...] = ()  # where mDNS is spoken: its answers may name addresses in these

    def believes(self, place: Place, source: Source) -> bool:
        """Whether to dial this, told by that source."""
        match source:
            case Source.STATIC:
                return True
            case Source.MDNS:
                if place.relay is not None or place.ip is None:
                    return False
                if any(place.ip in network for network in self.networks):
                    return True
                return place.reach is Reach.HOST and self.loopback
            case Source.RECORD | Source.OBSERVED:
                return self.tells(place)

    def tells(self, place: Place) -> bool:
        """Whether to write this into a record that others read."""
        match place.reach:
            case Reach.WORLD:
                return True
            case Reach.NAME:
                return self.names
            case Reach.SITE:
                return self.private
            case Reach.HOST:
                return self.loopback
            case Reach.LINK:
                return False


def parse(text: str) -> Place:
    """Take an address apart; ValueError says what is wrong with it."""
    if len(text) > MAX_ADDRESS + 64:
        raise ValueError("the address is too long")
    parts = text.split("/")
    if len(parts) < 5 or parts[0] or parts[3] != "tcp":
        raise ValueError(f"not a TCP address: {text!r}")
    kind, host, port = parts[1], parts[2], parts[4]
    if not _PORT.match(port) or int(port) > 65535:
        raise ValueError(f"not a port: {port!r}")
    ip, reach = _host(kind, host)
    rest = parts[5:]
    relay = peer = None
    canonical = f"/{kind}/{host if ip is None else ip}/tcp/{port}"
    if len(rest) >= 3 and rest[0] == "p2p" and rest[2] == "p2p-circuit":
        relay = _peer(rest[1])
        canonical += f"/p2p/{relay}/p2p-circuit"
        rest = rest[3:]
    if len(rest) == 2 and rest[0] == "p2p":
        peer = _peer(rest[1])
        rest = []
    if rest:
        raise ValueError(f"not understood: {text!r}")
    if len(canonical) > MAX_ADDRESS:
        raise ValueError("the address is too long")
    if peer is not None and peer == relay:
        raise ValueError("a relay is not reached through itself")
    return Place(text=Address(canonical), reach=reach, ip=ip, port=int(port), relay=relay, peer=peer)


def reach_of(ip: IPAddress) -> Reach | None:
    """None: not an address of one machine that we could dial."""
    for network, reach in _REACH:
        if ip.version == network.version and ip in network:
            return reach
    return Reach.WORLD


def believed(texts: Iterable[str], source: Source, policy: Policy, peer: PeerId | None = None) -> list[Place]:
    """Those that parse, that this source may tell us, and that speak of this peer if they name one; each once."""
    places: dict[Address, Place] = {}
    for text in texts:
        try:
            place = parse(text)
        except ValueError:
            continue
        if place.peer is not None and peer is not None and place.peer != peer:
            continue
        if place.relay is not None and place.relay == peer:
            continue
        if policy.believes(place, source):
            places.setdefault(place.text, place)
    return list(places.values())


def static_peers(lines: Iterable[str]) -> dict[PeerId, tuple[Address, ...]]:
    """A configured list of `ADDRESS/p2p/PEER`, by peer, in the order given; ValueError names the first bad line.

    These are kept for ever, unlike libp2p's own bootstrap peers, which are dropped after three failures in a
    row: a device that sleeps is no less known for it.
    """
    peers: dict[PeerId, list[Address]] = {}
    for line in lines:
        place = parse(line.strip())
        if place.peer is None:
            raise ValueError(f"no /p2p/PEER at the end: {line.strip()!r}")
        addresses = peers.setdefault(place.peer, [])
        if place.text not in addresses:
            addresses.append(place.text)
    return {peer: tuple(addresses) for peer, addresses in peers.items()}


def circuit(relay_address: str, relay: PeerId) -> Address:
    """The address of whoever has reserved at this relay, without that peer's id."""
    place = parse(relay_address)
    if place.relay is not None:
        raise ValueError("a relay behind a relay")
    return Address(f"{place.text}/p2p/{relay}/p2p-circuit")


def listening(bound: Sequence[str], interface: Sequence[IPAddress]) -> list[Place]:
    """What `bound` listeners are at, seen from these interface addresses: wildcards stand for each of them."""
    places: dict[Address, Place] = {}
    for text in bound:
        parts = text.split("/")
        if len(parts) < 5 or parts[1] not in ("ip4", "ip6") or parts[3] != "tcp":
            continue
        try:
            here = ip_address(parts[2])
        except ValueError:
            continue
        for ip in interface:
            if ip.version == here.version and (here.is_unspecified or here == ip):
                try:
                    place = parse(f"/ip{ip.version}/{ip}/tcp/{parts[4]}")
                except ValueError:
                    continue
                places.setdefault(place.text, place)
    return list(places.values())


def _host(kind: str, host: str) -> tuple[IPAddress | None, Reach]:
    if kind in ("dns", "dns4", "dns6"):
        if not _NAME.match(host):
            raise ValueError(f"not a host name: {host!r}")
        return None, Reach.NAME
    if kind not in ("ip4", "ip6"):
        raise ValueError(f"not an address we dial: /{kind}")
    ip: IPAddress = IPv4Address(host) if kind == "ip4" else _ip6(host)
    reach = reach_of(ip)
    if reach is None:
        raise ValueError(f"not an address of a machine: {host}")
    return ip, reach


def _ip6(host: str) -> IPv6Address:
    ip = IPv6Address(host)
    if ip.scope_id is not None:
        raise ValueError("no zones")
    return ip


def _peer(text: str) -> PeerId:
    if public_key(text) is None:
        raise ValueError(f"not an Ed25519 peer id: {text!r}")
    return PeerId(text)

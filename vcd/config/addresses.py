"""The addresses and peer ids that a person writes into vcd.toml, checked without loading the network.

The command line reads the configuration too and must start fast, so nothing of `transport` may be imported here. What
is accepted is what `transport.discovery.addresses` accepts, form by form; a test holds the two together.
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address, ip_network
from typing import Final

_MOST: Final = 200
_NAME: Final = re.compile(r"(?=.{1,100}\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*\Z")
_PORT: Final = re.compile(r"(0|[1-9][0-9]{0,4})\Z")
_LETTERS: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_VALUES: Final = {letter: value for value, letter in enumerate(_LETTERS)}
_ED25519: Final = bytes.fromhex("0024 0801 1220")
"""What is before the 32 bytes of an Ed25519 key in a peer id: a multihash that is the key itself."""
_NOBODY: Final = tuple(
    map(
        ip_network,
        ["0.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4", "::/128", "::ffff:0:0/96", "64:ff9b::/96", "fe80::/10", "ff00::/8"],
    )
)
"""No address of one machine that could be dialed."""


def check_peer(text: str) -> bool:
    """Whether this is the id of a peer with an Ed25519 key."""
    if len(text) > 128:
        return False
    number = 0
    for letter in text:
        value = _VALUES.get(letter)
        if value is None:
            return False
        number = number * 58 + value
    zeros = len(text) - len(text.lstrip("1"))
    raw = b"\0" * zeros + number.to_bytes((number.bit_length() + 7) // 8)
    return len(raw) == len(_ED25519) + 32 and raw.startswith(_ED25519)


def check_place(text: str) -> None:
    """`ADDRESS/p2p/PEER`, straight or through a relay; ValueError says what is wrong."""
    if len(text) > _MOST + 64:
        raise ValueError("is too long for an address")
    parts = text.split("/")
    ip = _head(parts)
    if ip is not None and any(ip in network for network in _NOBODY if network.version == ip.version):
        raise ValueError(f"names no machine that can be dialed: {parts[2]}")
    if parts[4] == "0":
        raise ValueError("has no port: 0 stands for any when listening")
    rest, relay = parts[5:], ""
    if len(rest) >= 3 and rest[0] == "p2p" and rest[2] == "p2p-circuit":
        relay, rest = rest[1], rest[3:]
        if not check_peer(relay):
            raise ValueError("has something that is not the id of a peer before /p2p-circuit")
    if len(rest) != 2 or rest[0] != "p2p":
        raise ValueError("must end with /p2p/ and the id of a peer")
    if not check_peer(rest[1]):
        raise ValueError("has something that is not the id of a peer at its end")
    if rest[1] == relay:
        raise ValueError("leads to a relay through itself")
    shown = parts[2] if ip is None else str(ip)
    canonical = len(f"/{parts[1]}/{shown}/tcp/{parts[4]}") + (len(f"/p2p/{relay}/p2p-circuit") if relay else 0)
    if canonical > _MOST:
        raise ValueError("is too long for an address")


def check_listen(text: str) -> None:
    """`/ip4/…/tcp/PORT` of this machine, wildcards and port 0 among them; ValueError says what is wrong."""
    parts = text.split("/")
    ip = _head(parts)
    if ip is None:
        raise ValueError("must be an address in numbers, for a name may lead elsewhere")
    if len(parts) > 5:
        raise ValueError("must end after the port")
    if ip.is_multicast or (ip.version == 6 and ip.is_link_local):
        raise ValueError(f"cannot be listened at: {parts[2]}")


def _head(parts: list[str]) -> IPv4Address | IPv6Address | None:
    """`/KIND/HOST/tcp/PORT`; None for a name."""
    if len(parts) < 5 or parts[0] or parts[3] != "tcp":
        raise ValueError("must be a TCP address")
    kind, host, port = parts[1], parts[2], parts[4]
    if not _PORT.match(port) or int(port) > 65535:
        raise ValueError("must have a port up to 65535")
    if kind in {"dns", "dns4", "dns6"}:
        if not _NAME.match(host):
            raise ValueError("has something that is not a host name")
        return None
    if kind not in {"ip4", "ip6"} or "%" in host:
        raise ValueError("must begin with /ip4/, /ip6/ or /dns/")
    try:
        return IPv4Address(host) if kind == "ip4" else IPv6Address(host)
    except AddressValueError:
        raise ValueError(f"has something that is not an IPv{kind[-1]} address") from None

"""Which of our addresses others are told: what we listen on, with real addresses for "all interfaces".

psutil, which libp2p brings, lists the interfaces; it is asked again each time, for machines move. Loopback is
told only when we listen on nothing else. Link-local IPv6 needs a zone that means nothing elsewhere: left out.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import psutil

from transport.base import Address

_ALL: Final = {"0.0.0.0": socket.AF_INET, "::": socket.AF_INET6}  # noqa: S104 - compared, not bound
MOST_ANNOUNCED: Final = 16


def interface_addresses() -> Mapping[int, Sequence[str]]:
    """Of all interfaces that are up, by family."""
    up = {name for name, stats in psutil.net_if_stats().items() if stats.isup}
    found: dict[int, list[str]] = {socket.AF_INET: [], socket.AF_INET6: []}
    for name, addresses in psutil.net_if_addrs().items():
        for address in addresses:
            if name in up and address.family in found:
                found[address.family].append(address.address.split("%")[0])
    return found


def announced(
    listening: Iterable[Address], interfaces: Mapping[int, Sequence[str]], extra: Iterable[Address] = ()
) -> tuple[Address, ...]:
    """What to tell: `extra`, then the listening addresses with real ones for `0.0.0.0` and `::`. Never those two."""
    told: dict[Address, bool] = dict.fromkeys(extra, False)
    for address in listening:
        parts = address.split("/")
        family = _ALL.get(parts[2]) if len(parts) > 2 else None
        for host in [parts[2]] if family is None else interfaces.get(family, ()):
            told[Address("/".join([*parts[:2], host, *parts[3:]]))] = is_loopback(host)
            if _is_link_local_v6(host):
                told.popitem()
    far = [address for address, loopback in told.items() if not loopback]
    return tuple(far or told)[:MOST_ANNOUNCED]


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_link_local_v6(host: str) -> bool:
    try:
        parsed = ipaddress.ip_address(host)
    except ValueError:
        return False
    return parsed.version == 6 and parsed.is_link_local

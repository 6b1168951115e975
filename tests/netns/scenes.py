"""The networks that are tried: who is where, and with which configuration."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from tests.netns.devices import PORT, Device, devices, identity
from tests.netns.topology import Internet, Machine, Nat
from transport.base import Address
from transport.discovery.addresses import circuit

ANYWHERE = f"/ip4/0.0.0.0/tcp/{PORT}"
FINGERPRINT = "0123456789abcdef"


def address(machine: Machine) -> Address:
    return Address(f"/ip4/{machine.address}/tcp/{PORT}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoNats:
    """Two devices behind NATs of their own, a relay that is also a point between them."""

    net: Internet
    relay: Device
    left: Device
    right: Device
    relayed: Address  # of `right`


@asynccontextmanager
async def two_nats(
    left: Nat = Nat.KEEPING, right: Nat = Nat.KEEPING, *, punch: bool = False, points: bool = False
) -> AsyncIterator[TwoNats]:
    with Internet() as net:
        middle = net.machine("relay")
        machines = [net.machine("left", net.nat("leftnat", left)), net.machine("right", net.nat("rightnat", right))]
        relay = identity(1)
        behind: dict[str, Any] = {
            "listen": [ANYWHERE],
            "relays": {relay: [address(middle)]},
            "punch": punch,
            "points": [relay] if points else [],
        }
        async with devices(
            (middle, {"seed": 1, "listen": [ANYWHERE], "relay": True}),
            (machines[0], {"seed": 2, **behind}),
            (machines[1], {"seed": 3, **behind}),
        ) as (one, two, three):
            await two.until("held", held=1)
            await three.until("held", held=1)
            yield TwoNats(net=net, relay=one, left=two, right=three, relayed=circuit(address(middle), relay))

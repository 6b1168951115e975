"""Keeping a reservation over hours, under a clock that jumps."""

from __future__ import annotations

import random
from typing import Any

import trio

from tests.transport.discovery.samples import NOW, PLACES, C
from tests.transport.loopback import LoopbackNetwork
from tests.transport.relay.test_server import World
from transport.base import Address, Milliseconds
from transport.discovery.addresses import circuit
from transport.relay.client import RelayClient
from transport.relay.server import RelayLimits


class LoopbackSite:
    """What of a site reserving needs."""

    def __init__(self, network: LoopbackNetwork, nursery: trio.Nursery) -> None:
        self.network, self.nursery = network, nursery
        self.announced: list[Address] = []

    def keep(self, *_: Any) -> None: ...

    def dial_by(self, *_: Any) -> None: ...

    def announce(self, addresses: list[Address]) -> None:
        self.announced = addresses


def now_ms() -> Milliseconds:
    return Milliseconds(NOW + int(trio.current_time() * 1000))


async def test_a_reservation_is_renewed_before_it_expires(autojump_clock: object) -> None:
    async with World(RelayLimits(reservation_seconds=1000)).running() as world, trio.open_nursery() as nursery:
        client = RelayClient({C: PLACES[:2]}, now_ms=now_ms, jitter=random.Random(1))
        site: Any = LoopbackSite(world.b, nursery)
        async with client.extension(site):
            for _ in range(100):
                await trio.sleep(100)
                assert client.held == {C}
                assert world.server.reservations == 1
                assert site.announced == [circuit(place, C) for place in PLACES[:2]]
            assert 20 <= world.relay.counted["relay.reservations"] <= 26
            world.net.cut(world.b, world.relay)
            await trio.sleep(1)
            assert (client.held, site.announced) == (frozenset(), [])
            world.net.link(world.b, world.relay)
            await trio.sleep(1)
            assert client.held == {C}
            nursery.cancel_scope.cancel()


async def test_a_relay_that_lies_about_the_time_is_not_asked_all_the_time(autojump_clock: object) -> None:
    for seconds, most in ((0, 500), (1 << 40, 3)):
        async with World(RelayLimits(reservation_seconds=seconds)).running() as world, trio.open_nursery() as nursery:
            client = RelayClient({C: PLACES[:1]}, now_ms=now_ms, jitter=random.Random(1))
            site: Any = LoopbackSite(world.b, nursery)
            async with client.extension(site):
                await trio.sleep(3 * 3600)
                assert 1 <= world.relay.counted["relay.reservations"] <= most
                nursery.cancel_scope.cancel()


async def test_refusals_make_the_pauses_longer(autojump_clock: object) -> None:
    async with World(allows=False).running() as world, trio.open_nursery() as nursery:
        client = RelayClient({C: PLACES[:1]}, now_ms=now_ms, jitter=random.Random(1))
        site: Any = LoopbackSite(world.b, nursery)
        async with client.extension(site):
            await trio.sleep(3600)
            assert not client.held
            assert 20 < world.b.counted["relay.client.refused"] < 50
            nursery.cancel_scope.cancel()

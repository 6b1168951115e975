"""A peer behind a relay that says strange things when asked where it is."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest
from multiaddr import Multiaddr

from tests.transport.discovery.samples import KEY_A, KEY_B, A, B, C
from tests.transport.host.rig import ANY, until
from tests.transport.relay.test_reaching import Site, client, place
from transport.base import Link, Unreachable
from transport.discovery.addresses import Policy, circuit
from transport.host.network import LibP2PNetwork
from transport.relay.messages import DCUTR, Delimited, HolePunch, Punch
from transport.relay.punching import HolePunching

pytestmark = pytest.mark.slow


async def relayed_pair(site: Site) -> tuple[LibP2PNetwork, LibP2PNetwork]:
    """A reached B through the relay; only B punches, and A does as the test says."""
    await site.open_relay()
    reserving = client(site.relays)
    punching = HolePunching([C], Policy(), jitter=random.Random(1))
    b = await site.host(KEY_B, [reserving.extension, punching.extension], listen=(ANY,))
    a = await site.host(KEY_A, [client({}).extension])
    await until(lambda: reserving.held == {C})
    a.keep(B, [circuit(site.at[0], C)])
    await until(lambda: a.connected(B) and b.connected(A))
    return a, b


@pytest.mark.parametrize(
    ("data", "offence"),
    [
        (b"\xff\xff\xff\xff", "offence.malformed"),
        (b"\x03\x08\x01\x12", "offence.malformed"),
        (b"\x03\x08\xac\x02", "offence.garbage"),  # SYNC first
        (b"\x02\x08\x63", "offence.malformed"),
    ],
)
async def test_junk_is_charged(data: bytes, offence: str) -> None:
    async with place() as site:
        a, b = await relayed_pair(site)
        stream = await a.open(B, DCUTR)
        await stream.send_all(data)
        with suppress(Unreachable):
            while await stream.receive_some():
                pass
        await until(lambda: b.counters().get(offence, 0) == 1)
        assert b.rebuilt == 0
        assert b.peers()[A].link is Link.RELAYED


async def test_we_are_not_sent_into_our_own_network() -> None:
    places = ["/ip4/127.0.0.1/tcp/1", "/ip4/10.0.0.1/tcp/80", "/ip4/192.168.1.1/tcp/80", "/dns4/router.lan/tcp/80"]
    async with place() as site:
        a, b = await relayed_pair(site)
        stream = await a.open(B, DCUTR)
        messages = Delimited(stream)
        told = (b"\xff\x00junk", *(Multiaddr(text).to_bytes() for text in places))
        await messages.send(HolePunch(type=Punch.CONNECT, addresses=told).encode())
        answer = HolePunch.decode(await messages.receive())
        assert (answer.type, answer.addresses) == (Punch.CONNECT, ())  # it does not tell its own either
        await messages.send(HolePunch(type=Punch.SYNC).encode())
        await until(lambda: b.counters().get("relay.punch.nowhere", 0) == 1)
        assert "relay.punch.refused" not in b.counters()


async def test_only_relayed_peers_may_ask() -> None:
    async with place() as site:
        _, b = await relayed_pair(site)
        stream = await site.relay.open(B, DCUTR)
        await Delimited(stream).send(HolePunch(type=Punch.CONNECT).encode())
        assert await stream.receive_some() == b""
        assert "relay.punch.tried" not in b.counters()

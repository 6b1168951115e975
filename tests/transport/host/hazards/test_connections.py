"""Hazards of connecting: deafness (5), dialing (9, 10, 11, 21), the gate (20, 23), addresses (26 to 28), names (29)."""

from __future__ import annotations

import dataclasses
import gc
import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import psutil
import pytest
import trio
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.keys import KeyPair
from libp2p.network.config import ConnectionConfig
from libp2p.network.swarm import Swarm
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import PeerInfo
from libp2p.security.insecure import transport as insecure
from multiaddr import Multiaddr

from tests.transport.awake import Awake
from tests.transport.host.rig import (
    HASTY,
    LARGE,
    QUICK,
    SMALL,
    Proxy,
    fails,
    info,
    info_of,
    key,
    plain_addresses,
    plain_host,
    plain_peer,
    port_of,
    running,
    silent_listener,
    until,
)
from transport.base import Address, Link, TransportError
from transport.host.settings import HostSettings
from transport.signing import peer_id

pytestmark = pytest.mark.slow

DEAD = Address("/ip4/127.0.0.1/tcp/1")


def sought(address: Address, host: Any) -> PeerInfo:
    return PeerInfo(host.get_id(), [Multiaddr(address)])


# ---------------------------------------------------------------- 5: the listener goes deaf


@pytest.mark.long
async def test_h05_bare() -> None:
    """As many inbound connections in all as may be at once, none of them alive, and nobody gets in."""
    few = ConnectionConfig(min_connections=0, low_watermark=0, high_watermark=5, max_connections=5)
    async with plain_host(1, connection_config=few) as listener:
        failed = 0
        for number in range(8):
            async with plain_host(10 + number) as caller:
                with trio.move_on_after(5):
                    failed += await fails(caller.connect, info(listener))
            await trio.sleep(0.15)
        assert not listener.get_network().get_connections()
        assert failed >= 3


async def test_h05_ours() -> None:
    few = dataclasses.replace(QUICK, most_connections=5, most_handshakes=5)
    async with running(LARGE, few) as listener:
        before = trio.lowlevel.current_statistics().tasks_living
        for number in range(30):
            async with running(10 + number) as caller:
                caller.learn(listener.me, listener.addresses())
                await caller.connect(listener.me)
            await until(lambda: len(listener.links) == 0)
        await until(lambda: trio.lowlevel.current_statistics().tasks_living <= before + 2)


@pytest.mark.long
async def test_h05_ours_a_thousand_times() -> None:
    async with running(LARGE) as listener:
        process, begun = psutil.Process(), 0
        for number in range(1000):
            if number == 200:
                gc.collect()
                begun = process.memory_info().rss
            async with running(10 + number) as caller:
                caller.learn(listener.me, listener.addresses())
                await caller.connect(listener.me)
            await until(lambda: len(listener.links) == 0)
        gc.collect()
        assert process.memory_info().rss - begun < 8 << 20


# ---------------------------------------------------------------- 9: a peer that failed is refused; half-open


async def test_h09_bare_refuses_to_dial_again_for_a_minute() -> None:
    async with plain_host(1) as caller:
        async with plain_host(2) as target:
            address = plain_addresses(target)[0]
        assert await fails(caller.connect, sought(address, target))
        async with plain_host(2, listen=[address]) as target:
            async with Awake.measured() as took:
                assert await fails(caller.connect, sought(address, target))
            assert took.seconds <= Awake.LONGEST


async def test_h09_ours_dials_again_at_once() -> None:
    async with running(SMALL) as caller:
        async with running(LARGE) as target:
            address = target.addresses()
        caller.learn(target.me, address)
        with pytest.raises(TransportError):
            await caller.connect(target.me)
        async with running(LARGE, listen=address) as target:
            await caller.connect(target.me)
            assert caller.connected(target.me)


@pytest.mark.long
async def test_h09_bare_believes_a_dead_connection() -> None:
    async with plain_host(1) as target:
        port = int(plain_addresses(target)[0].rsplit("/", 1)[-1])
        async with Proxy(port).running() as proxy, plain_host(2) as caller:
            await caller.connect(sought(proxy.address, target))
            proxy.frozen = True
            await trio.sleep(3)
            assert caller.get_network().get_connections()


async def test_h09_ours_finds_out() -> None:
    async with running(LARGE) as target, Proxy(port_of(target)).running() as proxy, running(SMALL, HASTY) as caller:
        caller.learn(target.me, [proxy.address])
        await caller.connect(target.me)
        proxy.frozen = True
        await until(lambda: not caller.connected(target.me), within=3)


# ---------------------------------------------------------------- 10, 11: one address, no limit


async def test_h10_bare() -> None:
    async with plain_host(1) as target, plain_host(2) as caller:
        addresses = [Multiaddr(DEAD), Multiaddr(plain_addresses(target)[0])]
        assert await fails(caller.connect, PeerInfo(target.get_id(), addresses))


async def test_h10_ours() -> None:
    async with running(LARGE) as target, running(SMALL) as caller:
        caller.learn(target.me, [DEAD, *target.addresses()])
        await caller.connect(target.me)


@pytest.mark.long
async def test_h11_bare() -> None:
    async with silent_listener() as silent, plain_host(1) as caller:
        stranger = ID.from_string(peer_id(key(40).public))
        with trio.move_on_after(2.5) as scope:
            await caller.connect(PeerInfo(stranger, [Multiaddr(silent)]))
        assert scope.cancelled_caught


async def test_h11_ours() -> None:
    hasty = dataclasses.replace(QUICK, dial_limit=0.3, upgrade_limit=0.2)
    async with silent_listener() as silent, running(SMALL, hasty) as caller:
        stranger = peer_id(key(40).public)
        caller.learn(stranger, [silent])
        async with Awake.measured() as took:
            with pytest.raises(TransportError, match="no answer"):
                await caller.connect(stranger)
        assert took.seconds < 1


# ---------------------------------------------------------------- 20: who is let in


async def impersonate(
    victim: KeyPair, attacker: KeyPair, at: PeerInfo, monkeypatch: pytest.MonkeyPatch, taken_in: Callable[[], bool]
) -> None:
    """Connect by plaintext, showing the victim's public key instead of our own, and wait until that is believed."""
    honest = insecure.make_exchange_message
    monkeypatch.setattr(
        insecure,
        "make_exchange_message",
        lambda shown: honest(victim.public_key if shown == attacker.public_key else shown),
    )
    plaintext = {insecure.PLAINTEXT_PROTOCOL_ID: insecure.InsecureTransport(attacker)}
    host: Any = new_host(key_pair=attacker, sec_opt=plaintext)
    async with host.run([Multiaddr("/ip4/127.0.0.1/tcp/0")]):
        with trio.move_on_after(8):
            if not await fails(host.connect, at):
                await until(taken_in)
        await host.close()


async def test_h20_bare(monkeypatch: pytest.MonkeyPatch) -> None:
    victim, attacker = create_new_key_pair(bytes([1]) * 32), create_new_key_pair(bytes([2]) * 32)
    seen: list[str] = []
    async with plain_host(1) as host, trio.open_nursery() as nursery:

        async def look() -> None:
            while not seen:
                seen.extend(str(peer) for peer in host.get_connected_peers())
                await trio.sleep(0.01)

        nursery.start_soon(look)
        await impersonate(victim, attacker, info(host), monkeypatch, lambda: bool(seen))
        nursery.cancel_scope.cancel()
    assert seen == [str(ID.from_pubkey(victim.public_key))]


async def test_h20_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    victim, attacker = create_new_key_pair(bytes([1]) * 32), create_new_key_pair(bytes([2]) * 32)
    async with running(1) as ours:
        await impersonate(victim, attacker, info_of(ours), monkeypatch, lambda: len(ours.links) > 0)
        await until(lambda: ours.counters().get("host.handshakes_failed", 0) >= 1)
        assert ours.counters().get("host.connections", 0) == 0


# ---------------------------------------------------------------- 21: dials by itself


async def test_h21_bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """No watermark asks for it, nobody called connect, and yet it dials what it has heard of."""
    dialed: list[ID] = []

    async def note(_: Any, peer: ID) -> list[Any]:
        dialed.append(peer)
        return []

    monkeypatch.setattr(Swarm, "dial_peer", note)
    host: Any = new_host(connection_config=ConnectionConfig(min_connections=0, low_watermark=0))
    stranger = ID.from_string(peer_id(key(40).public))
    host.get_peerstore().add_addrs(stranger, [Multiaddr("/ip4/192.0.2.1/tcp/4001")], 3600)
    async with host.run([Multiaddr("/ip4/127.0.0.1/tcp/0")]):
        await until(lambda: stranger in dialed)
        await host.close()


async def test_h21_ours() -> None:
    async with running(LARGE) as target, running(SMALL) as ours:
        life = ours._domain._life
        assert life is not None
        life.swarm.peerstore.add_addrs(info_of(target).peer_id, info_of(target).addrs, 3600)
        await life.swarm.auto_connector.maybe_connect()
        await trio.sleep(0.2)
        assert not ours.connected(target.me)


# ---------------------------------------------------------------- 23: the port


async def test_h23_bare() -> None:
    async with plain_host(1) as first, plain_host(2, listen=plain_addresses(first)) as second:
        assert plain_addresses(first) == plain_addresses(second)


async def test_h23_ours() -> None:
    async with running(1) as first, plain_host(2) as other:
        for taken in (first.addresses(), plain_addresses(other)):
            with pytest.raises(TransportError, match="cannot listen"):
                async with running(3, listen=taken):
                    pass


# ---------------------------------------------------------------- 26, 27, 28: addresses

MANY = [Multiaddr(f"/ip4/127.0.0.1/tcp/{port}") for port in range(10_000, 10_500)]


async def test_h26_bare() -> None:
    async with plain_host(1) as host, plain_host(2, announce_addrs=MANY) as boaster:
        target = PeerInfo(host.get_id(), host.get_addrs())
        await boaster.connect(target)
        await until(lambda: len(addresses_of(host, boaster)) >= len(MANY))


async def test_h26_ours() -> None:
    async with running(1) as ours, plain_host(2, announce_addrs=MANY) as boaster:
        ours.keep(plain_peer(boaster), [])
        await boaster.connect(info_of(ours))
        await until(lambda: len(ours.peers()[plain_peer(boaster)].addresses) > 0)
        life = ours._domain._life
        assert life is not None
        assert len(ours.peers()[plain_peer(boaster)].addresses) <= QUICK.most_addresses
        assert len(addresses_of(life.host, boaster)) <= QUICK.most_addresses


def addresses_of(host: Any, other: Any) -> list[Any]:
    store = host.get_peerstore()
    return list(store.addrs(other.get_id())) if other.get_id() in store.peers_with_addrs() else []


async def test_h27_bare() -> None:
    async with plain_host(1, listen=[Address("/ip6/::1/tcp/0")]) as listener, plain_host(2) as caller:
        await caller.connect(info(listener))
        await until(lambda: bool(listener.get_network().get_connections()))
        assert listener.get_network().get_connections()[0].muxed_conn.get_remote_address() is None


async def test_h27_ours() -> None:
    async with running(1, listen=[Address("/ip6/::1/tcp/0")]) as listener, plain_host(2) as caller:
        await caller.connect(info_of(listener))
        await until(lambda: len(listener.links) == 1)
        [session] = listener.links
        remote = session.get_remote_address()
        assert remote is not None
        assert remote[0] == "::1"


async def test_h28_bare() -> None:
    async with plain_host(1, listen=[Address("/ip4/0.0.0.0/tcp/0")]) as host:
        assert any("0.0.0.0" in str(address) for address in host.get_addrs())


async def test_h28_ours() -> None:
    async with running(1, listen=[Address("/ip4/0.0.0.0/tcp/0")]) as ours:
        life = ours._domain._life
        assert life is not None
        told = [str(address) for address in life.host.get_addrs()]
        assert told
        assert not any("0.0.0.0" in address for address in told)


# ---------------------------------------------------------------- 29: what is served later, nobody learns


async def late(_stream: object) -> None:
    await trio.lowlevel.checkpoint()


async def knows(host: Any, peer: ID, protocol: str, within: float = 8.0) -> bool:
    """Whether identify has told the host, or tells it within some seconds."""
    return not await fails(until, lambda: protocol in host.peerstore.get_protocols(peer), within)


async def test_h29_bare() -> None:
    async with plain_host(1) as host, plain_host(2) as other:
        await other.connect(info(host))
        assert await knows(other, host.get_id(), "/ipfs/ping/1.0.0")
        host.set_stream_handler("/late/1", late)
        assert not await knows(other, host.get_id(), "/late/1", within=1)


async def test_h29_ours() -> None:
    async with running(1) as ours, plain_host(2) as other:
        ours.handle("/early/1", late)
        await other.connect(info_of(ours))
        them = ID.from_string(ours.me)
        assert await knows(other, them, "/early/1")
        ours.handle("/late/1", late)
        ours.handle("/later/1", late)
        assert await knows(other, them, "/late/1")
        assert await knows(other, them, "/later/1")
        assert ours.counters().get("host.identify_failed", 0) == 0


# ---------------------------------------------------------------- simultaneous dials, many times


async def test_h09_ours_dialing_each_other_always_ends_well() -> None:
    eager = HostSettings(yield_to_smaller=0.0, redundant_after=0.2, ping_every=0.2, rival_limit=8.0)
    for number in range(5):
        async with AsyncExitStack() as stack:
            a = await stack.enter_async_context(running(100 + number, eager))
            b = await stack.enter_async_context(running(200 + number, eager))
            a.keep(b.me, b.addresses())
            b.keep(a.me, a.addresses())
            await trio.sleep(random.Random(number).uniform(0.05, 0.2))
            await until(lambda a=a, b=b: a.connected(b.me) and b.connected(a.me))  # type: ignore[misc]  # defaults
            await until(lambda a=a, b=b: len(a.links) == len(b.links) == 1)  # type: ignore[misc]  # defaults
            assert a.peers()[b.me].link is Link.CONNECTED

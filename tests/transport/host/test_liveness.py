"""Connections that only look alive are found out and replaced, and peers that are gone are dialed until they come."""

from __future__ import annotations

import dataclasses
from contextlib import AsyncExitStack

import pytest
import trio

from tests.transport.awake import Awake
from tests.transport.host.rig import (
    HASTY,
    LARGE,
    QUICK,
    SMALL,
    Proxy,
    echo,
    key,
    pair,
    port_of,
    running,
    silent_listener,
    until,
)
from transport.base import Address, Link
from transport.host.settings import HostSettings
from transport.signing import peer_id

pytestmark = pytest.mark.slow


async def test_idle_connections_are_pinged_and_stay() -> None:
    async with pair() as (a, b):
        await until(lambda: a.peers()[b.me].round_trip is not None and b.peers()[a.me].round_trip is not None)
        await trio.sleep(1.2)
        assert a.connected(b.me)
        assert b.connected(a.me)
        assert a.counters().get("host.pings_missed", 0) == 0


async def test_a_pulled_cable_is_noticed_by_both() -> None:
    async with running(SMALL, HASTY) as a, running(LARGE, HASTY) as b, Proxy(port_of(b)).running() as proxy:
        a.keep(b.me, [proxy.address])
        await until(lambda: a.connected(b.me) and b.connected(a.me))
        async with Awake.measured() as took:
            proxy.frozen = True
            await until(lambda: not a.connected(b.me) and not b.connected(a.me))
        assert took.seconds < HASTY.ping_every + 3 * HASTY.pong_limit
        assert a.peers()[b.me].trouble == "does not answer pings"
        proxy.frozen = False
        await until(lambda: a.connected(b.me))


async def test_a_peer_that_comes_by_a_new_address_wins_over_its_dead_old_connection() -> None:
    """Half-open: one side lost the connection, the other does not know. The new one is used at once."""
    patient = dataclasses.replace(QUICK, ping_every=30.0, rival_limit=3.0)
    async with running(LARGE, patient) as b, Proxy(port_of(b)).running() as proxy:
        b.handle("/echo/1", echo)
        async with running(SMALL, patient) as a:
            a.keep(b.me, [proxy.address])
            a.handle("/echo/1", echo)
            await until(lambda: a.connected(b.me) and b.connected(a.me))
            proxy.frozen = True
            a.links.shut_all("lost")  # its goodbye does not arrive
            [old] = b.links
            a.learn(b.me, b.addresses())
            await until(lambda: b.links.of(a.me)[0] is not old)
            assert old.alive  # it was not waited for
            stream = await b.open(a.me, "/echo/1")
            await stream.send_all(b"by the new one")
            assert await stream.receive_some() == b"by the new one"
            await until(lambda: len(b.links) == 1)
            assert b.counters()["host.replaced"] == 1
            assert b.connected(a.me)


async def test_the_second_address_is_tried_when_the_first_is_silent_or_dead() -> None:
    settings = dataclasses.replace(QUICK, dial_stagger=0.2)
    async with silent_listener() as silent, running(SMALL, settings) as a, running(LARGE) as b:
        a.keep(b.me, [silent, Address("/ip4/127.0.0.1/tcp/1"), *b.addresses()])
        await until(lambda: a.connected(b.me), within=1.0)
        await until(lambda: a.peers()[b.me].addresses[0] == b.addresses()[0])


async def test_a_listener_that_accepts_and_says_nothing_costs_the_limit_and_no_more() -> None:
    settings = dataclasses.replace(QUICK, dial_limit=0.3, upgrade_limit=0.2)
    async with silent_listener() as silent, running(SMALL, settings) as a:
        stranger = peer_id(key(50).public)
        a.keep(stranger, [silent])
        await until(lambda: a.peers()[stranger].failures >= 2)
        assert "no answer" in a.peers()[stranger].trouble
        assert a.peers()[stranger].link in {Link.AWAY, Link.DIALING}


async def test_another_peer_at_the_address_is_not_taken_for_the_one_sought() -> None:
    async with running(SMALL) as a, running(LARGE) as b:
        stranger = peer_id(key(50).public)
        a.keep(stranger, b.addresses())
        await until(lambda: a.peers()[stranger].failures >= 1)
        assert not a.connected(stranger)
        assert not a.connected(b.me)


async def test_a_peer_that_restarts_is_back_within_moments() -> None:
    async with running(SMALL) as a:
        async with running(LARGE) as b:
            address = b.addresses()
            a.keep(b.me, address)
            await until(lambda: a.connected(b.me))
        await until(lambda: not a.connected(b.me))
        async with running(LARGE, listen=address) as b:
            await until(lambda: a.connected(b.me), within=5)


async def test_connections_are_limited_and_kept_peers_come_first() -> None:
    few = dataclasses.replace(QUICK, most_connections=2)
    async with running(1, few) as hub, running(2) as one, running(3) as two, running(4) as friend:
        for other in (one, two):
            other.learn(hub.me, hub.addresses())
            await other.connect(hub.me)
        await until(lambda: len(hub.links) == 2)
        hub.keep(friend.me, friend.addresses())
        await until(lambda: hub.connected(friend.me))
        await until(lambda: len(hub.links) == 2)
        assert hub.connected(friend.me)
        assert hub.counters()["host.connections_evicted"] >= 1


async def test_a_thousand_half_open_connections_do_not_keep_an_honest_peer_out() -> None:
    settings = HostSettings()
    async with running(LARGE, settings) as b, running(SMALL) as a, AsyncExitStack() as stack:
        for _ in range(1000):
            await stack.enter_async_context(await trio.open_tcp_stream("127.0.0.1", port_of(b)))
        life = b._domain._life
        assert life is not None
        await until(lambda: b.counters()["host.handshakes_evicted"] >= 1000 - settings.most_handshakes_per_ip)
        assert len(life.swarm.door) <= settings.most_handshakes_per_ip
        a.keep(b.me, b.addresses())
        await until(lambda: a.connected(b.me), within=2)

"""The crash domain: the library's host dies, and nobody beyond it notices more than peers that went and came."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from libp2p.network.exceptions import SwarmException
from libp2p.peer.peerinfo import PeerInfo
from multiaddr import Multiaddr

from tests.transport.host.rig import LARGE, SMALL, echo, pair, running, until
from transport.base import Address, PeerId
from transport.host.extension import Site
from transport.host.network import LibP2PNetwork
from transport.network import PeerEvent, Stream

pytestmark = pytest.mark.slow


def crash(network: LibP2PNetwork) -> None:
    """As a bug in the library does it: an exception in one of the tasks of its service."""

    async def fail() -> None:
        raise ZeroDivisionError

    life = network._domain._life
    assert life is not None
    life.swarm.manager.run_task(fail)


async def test_a_crash_is_caught_counted_and_healed(caplog: pytest.LogCaptureFixture) -> None:
    async with pair() as (a, b):
        a.handle("/echo/1", echo)
        addresses = a.addresses()
        with a.watch() as events:
            assert await anext(events) == PeerEvent(peer=b.me, up=True)
            crash(a)
            assert await anext(events) == PeerEvent(peer=b.me, up=False)
            assert await anext(events) == PeerEvent(peer=b.me, up=True)
        assert a.rebuilt == 1
        assert a.counters()["host.crashes"] == 1
        assert "the libp2p host died" in caplog.text
        assert a.addresses() == addresses
        await until(lambda: b.connected(a.me))
        stream = await b.open(a.me, "/echo/1")
        await stream.send_all(b"as before")
        assert await stream.receive_some() == b"as before"


async def test_one_that_is_canceled_while_it_begins_ends_quietly() -> None:
    """At whichever step: whoever locks a vault that is being opened does so, and a daemon is not to end by it."""

    async def begin(scope: trio.CancelScope) -> None:
        with scope:
            async with running(SMALL):
                await trio.sleep_forever()

    for steps in range(60):
        async with trio.open_nursery() as nursery:
            scope = trio.CancelScope()
            nursery.start_soon(begin, scope)
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
            scope.cancel()


async def test_crashes_in_a_row_make_the_pause_grow_and_do_not_end_it() -> None:
    async with running(SMALL) as a:
        for count in range(1, 4):
            await until(lambda: a.addresses() != ())
            crash(a)
            await until(lambda count=count: a.rebuilt == count)  # type: ignore[misc]  # a default argument
        await until(lambda: a.addresses() != ())


async def test_streams_end_and_handlers_are_cancelled_at_a_crash() -> None:
    begun, ended = trio.Event(), trio.Event()

    async def wait(stream: Stream) -> None:
        begun.set()
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    async with pair() as (a, b):
        b.handle("/wait/1", wait)
        stream = await a.open(b.me, "/wait/1")
        await begun.wait()
        crash(b)
        with trio.fail_after(8):
            assert await stream.receive_some() == b""
            await ended.wait()


async def test_extensions_get_every_life_of_the_host_and_end_before_it() -> None:
    log: list[str] = []

    @asynccontextmanager
    async def extension(site: Site) -> AsyncIterator[None]:
        log.append(f"in {site.network.me == str(site.host.get_id())} {len(site.host.get_transport_addrs())}")
        site.announce([Address("/ip4/203.0.113.7/tcp/4001")])
        try:
            yield
        finally:
            log.append("out")

    async with running(SMALL, extensions=[extension]) as a:
        assert log == ["in True 1"]
        assert Address("/ip4/203.0.113.7/tcp/4001") in a.addresses()
        crash(a)
        await until(lambda: len(log) == 3)
        assert log == ["in True 1", "out", "in True 1"]
    assert log[-1] == "out"


async def test_an_extension_that_fails_is_a_crash_of_the_host() -> None:
    lives: list[Site] = []

    @asynccontextmanager
    async def extension(site: Site) -> AsyncIterator[None]:
        lives.append(site)
        if len(lives) == 1:

            async def fail() -> None:
                raise ZeroDivisionError

            site.nursery.start_soon(fail)
        yield

    async with running(SMALL, extensions=[extension]) as a:
        await until(lambda: len(lives) == 2)
        assert a.counters()["host.crashes"] == 1


async def test_an_extension_that_fails_at_once_is_told_to_whoever_opens() -> None:
    @asynccontextmanager
    async def extension(site: Site) -> AsyncIterator[None]:
        if site.network.me:
            raise ZeroDivisionError
        yield

    with pytest.raises(ZeroDivisionError):
        async with running(SMALL, extensions=[extension]):
            pass


async def test_addresses_of_its_own_kind_are_dialed_by_an_extension() -> None:
    async with running(LARGE) as b:
        asked: list[tuple[PeerId, Address]] = []

        @asynccontextmanager
        async def extension(site: Site) -> AsyncIterator[None]:
            async def dial(peer: PeerId, address: Address) -> None:
                asked.append((peer, address))
                await site.host.get_network().dial_addr(Multiaddr(b.addresses()[0]), site.peer_id(peer))

            site.dial_by(lambda address: "/p2p-circuit" in address, dial)
            yield

        async with running(SMALL, extensions=[extension]) as a:
            address = Address("/ip4/127.0.0.1/tcp/9/p2p/12D3KooWx/p2p-circuit")
            a.keep(b.me, [address])
            await until(lambda: a.connected(b.me))
            assert asked == [(b.me, address)]


async def test_the_library_dials_for_an_extension_as_we_do() -> None:
    """`host.connect` tries all addresses, within the limits, again right after a failure."""
    async with running(LARGE) as b:
        sites: list[Site] = []

        @asynccontextmanager
        async def extension(site: Site) -> AsyncIterator[None]:
            sites.append(site)
            yield

        async with running(SMALL, extensions=[extension]) as a:
            [site] = sites
            dead = Multiaddr("/ip4/127.0.0.1/tcp/1")
            with pytest.raises(SwarmException):
                await site.host.connect(PeerInfo(site.peer_id(b.me), [dead]))
            await site.host.connect(PeerInfo(site.peer_id(b.me), [dead, Multiaddr(b.addresses()[0])]))
            assert a.connected(b.me)

"""Hazards of streams: a slow reader (13), a cancelled writer (22), the 257th stream (24), windows (25)."""

from __future__ import annotations

import dataclasses
import struct
from typing import Any

import pytest
import trio
from libp2p.peer.peerinfo import PeerInfo
from multiaddr import Multiaddr

from tests.transport.awake import Awake
from tests.transport.host.rig import (
    LARGE,
    QUICK,
    SMALL,
    Proxy,
    echo,
    fails,
    info,
    info_of,
    pair,
    plain_addresses,
    plain_host,
    plain_peer,
    port_of,
    running,
    until,
)
from transport.base import Unreachable
from transport.network import Stream

pytestmark = pytest.mark.slow

LOAD = bytes(24 << 20)  # more than windows and sockets hold
PAUSE = 6.0  # the library gives up after five seconds


async def write_all(stream: Any) -> None:
    for start in range(0, len(LOAD), 65536):
        await stream.write(LOAD[start : start + 65536])


@pytest.mark.long
async def test_h13_bare() -> None:
    async def pauses(stream: Any) -> None:
        await trio.sleep(PAUSE)

    async with plain_host(1) as a, plain_host(2) as b:
        a.set_stream_handler("/slow/1", pauses)
        await b.connect(info(a))
        stream = await b.new_stream(a.get_id(), ["/slow/1"])
        begun = trio.current_time()
        assert await fails(write_all, stream)
        assert trio.current_time() - begun < PAUSE + 1


@pytest.mark.long
async def test_h13_ours() -> None:
    got = 0

    async def pauses(stream: Stream) -> None:
        nonlocal got
        await trio.sleep(PAUSE)
        while data := await stream.receive_some():
            got += len(data)

    async with pair() as (a, b):
        b.handle("/slow/1", pauses)
        stream = await a.open(b.me, "/slow/1")
        await stream.send_all(LOAD)
        await stream.close()
        await until(lambda: got == len(LOAD), within=20)


@pytest.mark.long
async def test_h22_bare() -> None:
    """A write that is cancelled leaves half a message: the connection is lost for all its streams."""
    async with plain_host(1) as a:
        port = int(plain_addresses(a)[0].rsplit("/", 1)[-1])
        async with Proxy(port).running() as proxy, plain_host(2) as b:
            await b.connect(PeerInfo(a.get_id(), [Multiaddr(proxy.address)]))
            [connection] = b.get_network().get_connections()
            streams = [await connection.muxed_conn.open_stream() for _ in range(100)]
            proxy.held = True  # the line is slow for a moment
            with trio.move_on_after(0.5):
                async with trio.open_nursery() as nursery:
                    for stream in streams:
                        nursery.start_soon(stream.write, bytes(256 << 10))
            proxy.held = False
            await fails(streams[0].write, bytes(60_000))  # the next bytes of anybody
            await until(lambda: connection.is_closed or a.get_network().get_connections() == [])


async def test_h22_ours() -> None:
    async with running(LARGE) as b, Proxy(port_of(b)).running() as proxy, running(SMALL) as a:
        b.handle("/lazy/1", lazy)
        b.handle("/echo/1", echo)
        a.learn(b.me, [proxy.address])
        await a.connect(b.me)
        streams = [await a.open(b.me, "/lazy/1") for _ in range(30)]
        proxy.held = True
        with trio.move_on_after(0.2):
            async with trio.open_nursery() as nursery:
                for stream in streams:
                    nursery.start_soon(stream.send_all, bytes(256 << 10))
        proxy.held = False
        for stream in streams:
            await stream.reset()
        fresh = await a.open(b.me, "/echo/1")
        await fresh.send_all(b"x")
        assert await fresh.receive_some() == b"x"
        assert a.counters()["host.connections"] == 1


async def lazy(_: Any) -> None:
    await trio.sleep_forever()


async def test_h24_bare() -> None:
    async with plain_host(1) as a, plain_host(2) as b:
        a.set_stream_handler("/lazy/1", lazy)
        await b.connect(info(a))
        muxer = b.get_network().get_connections()[0].muxed_conn
        opened = 0
        with trio.move_on_after(1.5) as scope:
            for opened in range(300):
                await muxer.open_stream()
        assert scope.cancelled_caught
        assert opened <= 256


async def test_h24_ours() -> None:
    few = dataclasses.replace(QUICK, most_outbound=5, open_limit=0.2)
    async with pair(few) as (a, b):
        b.handle("/lazy/1", lazy)
        async with Awake.measured() as took:
            with pytest.raises(Unreachable, match="in time"):
                for _ in range(6):
                    await a.open(b.me, "/lazy/1")
        assert took.seconds < 2


async def overrun(stream: Any, size: int) -> None:
    """Send this much on a stream, whatever was granted."""
    body, muxed = bytes(60_000), stream.muxed_stream
    for _ in range(size // len(body)):
        await muxed.conn._write_frame(struct.pack("!BBHII", 0, 0, 0, muxed.stream_id, len(body)) + body)


async def test_h25_bare() -> None:
    """Three megabytes on a stream that was granted a quarter of one; all of it is kept."""
    async with plain_host(1) as a, plain_host(2) as b:
        a.set_stream_handler("/lazy/1", lazy)
        await b.connect(info(a))
        await overrun(await b.new_stream(a.get_id(), ["/lazy/1"]), 3 << 20)
        held = a.get_network().get_connections()[0].muxed_conn
        await until(lambda: sum(map(len, held.stream_buffers.values())) > 2 << 20)


async def test_h25_ours() -> None:
    async with running(1) as ours, plain_host(2) as host:
        ours.handle("/lazy/1", lazy)
        await host.connect(info_of(ours))
        await until(lambda: ours.connected(plain_peer(host)))
        await fails(overrun, await host.new_stream(info_of(ours).peer_id, ["/lazy/1"]), 3 << 20)
        await until(lambda: not ours.connected(plain_peer(host)))
        assert ours.counters()["offence.malformed"] == 1
        assert ours.counters()["host.violations"] == 1
        await until(lambda: not host.get_network().get_connections())

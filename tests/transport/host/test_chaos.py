"""Everything at once: peers that crash, drop, reset and cancel at random, and in the end all of it works."""

from __future__ import annotations

import random

import pytest
import trio

from tests.transport.host.rig import echo, exactly, several, until
from tests.transport.host.test_domain import crash
from transport.base import TransportError
from transport.host.network import LibP2PNetwork

pytestmark = pytest.mark.slow


async def talk(rng: random.Random, a: LibP2PNetwork, b: LibP2PNetwork) -> bool:
    """One conversation, cut off at random; True if it was whole and right."""
    data, got = rng.randbytes(rng.choice([1, 300, 70_000, 400_000])), b""
    with trio.move_on_after(rng.choice([0.001, 0.02, 5.0])):
        try:
            stream = await a.open(b.me, "/echo/1")
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(stream.send_all, data)
                    got = await exactly(stream, len(data))
                if rng.random() < 0.7:
                    await stream.close()
                    assert await stream.receive_some() == b""
            finally:
                await stream.reset()
        except* TransportError:
            pass
    assert data.startswith(got)
    return got == data


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1, 20))])
async def test_chaos_ends_well(seed: int) -> None:
    rng = random.Random(seed)
    async with several(3) as networks:
        for network in networks:
            network.handle("/echo/1", echo, limit=10.0)
            for other in networks:
                network.keep(other.me, other.addresses())
        await until(lambda: all(a.connected(b.me) for a in networks for b in networks if a is not b))
        whole, crashed = 0, []
        with trio.move_on_after(2.5):
            async with trio.open_nursery() as nursery:

                async def converse(turn: random.Random) -> None:
                    nonlocal whole
                    while True:
                        a, b = turn.sample(networks, 2)
                        whole += await talk(turn, a, b)
                        await trio.sleep(0.001)

                for number in range(6):
                    nursery.start_soon(converse, random.Random(rng.random() + number))
                for _ in range(6):
                    await trio.sleep(0.4)
                    one, two = rng.sample(networks, 2)
                    if rng.random() < 0.4 and one.addresses():
                        crashed.append((one, one._domain._life))
                        crash(one)
                    else:
                        await one.drop(two.me)
        assert whole > 0
        await until(lambda: all(network._domain._life is not life for network, life in crashed))
        await until(lambda: all(a.connected(b.me) for a in networks for b in networks if a is not b))
        for a in networks:
            for b in networks:
                if a is not b:
                    stream = await a.open(b.me, "/echo/1")
                    await stream.send_all(b"in the end")
                    assert await exactly(stream, 10) == b"in the end"
                    await stream.close()
        for network in networks:
            assert network.counters().get("host.session_errors", 0) == 0
            assert network.counters().get("host.violations", 0) == 0
            assert network.counters().get("handler.error", 0) == 0
            assert not [name for name in network.counters() if name.startswith("offence.")]
            assert network.rebuilt == network.counters().get("host.crashes", 0)
        await until(lambda: all(not session.flows for network in networks for session in network.links))

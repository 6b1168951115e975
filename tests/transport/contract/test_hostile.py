"""What a peer sends wrong is dropped, counted and held against that peer; nothing honest is lost by it."""

from __future__ import annotations

import pytest
import trio
from trio.abc import Clock

from tests.transport.contract.worlds import HOSTILE, World
from transport.base import Link


@pytest.mark.slow
@pytest.mark.parametrize("kind", HOSTILE, indirect=True)
async def test_a_neighbor_that_misbehaves_is_thrown_out_and_the_rest_goes_on(clock: Clock | None, world: World) -> None:
    a, _ = await world.meshes_of("a", "b")
    sent = [b"honest %d" % number for number in range(100)]

    async def go_on() -> None:
        for payload in sent:
            await world.publish("b", payload)
            await trio.sleep(0.02)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(go_on)
        bad = await world.misbehave("a")
    await world.has_read("a", *sent)
    state = a.peers().get(bad)
    assert state is None or state.link is Link.BARRED
    offences = {name: count for name, count in a.counters().items() if name.startswith("offence.")}
    assert sum(offences.values()) > 0
    assert len(await world.stored("a")) == len(sent)

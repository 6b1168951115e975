"""Many routers under one clock: links with delay, loss, copies and cuts; who has what in the end, and at what price."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings, strategies as st

from tests.transport.gossip.worlds import TOPIC, World
from transport.gossip.router import Settings

SMALL = replace(Settings(), degree=4, low=3, high=6, lazy=3)


@pytest.mark.slow
@given(st.integers(0, 2**32), st.integers(2, 12), st.integers(1, 8))
@settings(max_examples=60)
def test_everybody_who_is_connected_gets_everything(seed: int, count: int, degree: int) -> None:
    world = World(seed, count, copies=0.2)
    world.link_at_random(degree)
    world.run(3)
    ids = []
    for _ in range(10):
        ids.append(world.say(world.rng.choice(world.peers)))
        world.run(world.rng.uniform(0, 0.1))
    world.run(3)
    assert world.missing(ids) == 0
    world.check()


@pytest.mark.slow
@given(st.integers(0, 2**32))
@settings(max_examples=15)
def test_small_meshes_in_a_large_group(seed: int) -> None:
    world = World(seed, 24, settings=SMALL)
    world.link_at_random(12)
    world.run(5)
    ids = [world.say(world.rng.choice(world.peers)) for _ in range(10)]
    world.run(15)
    assert world.missing(ids) == 0
    world.check()
    assert all(len(router.mesh(TOPIC)) < 7 for router in world.routers.values())


@pytest.mark.slow
def test_ihave_and_iwant_repair_lossy_links() -> None:
    """What is lost to a peer outside the mesh is announced to it and asked for; answers get lost, too."""
    missing = {False: 0, True: 0}
    for seed in range(15):
        for announcing in missing:
            world = World(seed, 16, settings=SMALL if announcing else replace(SMALL, asks=0), loss=0.3)
            world.link_at_random(12)
            world.run(5)
            ids = []
            for _ in range(20):
                ids.append(world.say(world.rng.choice(world.peers)))
                world.run(0.1)
            world.run(25)
            missing[announcing] += world.missing(ids)
            assert max(world.unasked.values()) == 1
    assert missing[False] > 20
    assert missing[True] < 5


@pytest.mark.slow
@given(st.integers(0, 2**32))
@settings(max_examples=30)
def test_meshes_heal_after_partitions(seed: int) -> None:
    world = World(seed, 8)
    world.link_at_random(8)
    for _ in range(5):
        half = set(world.rng.sample(world.peers, 4))
        across = [tuple(pair) for pair in world.links if len(pair & half) == 1]
        for a, b in across:
            world.cut(a, b)
        world.run(world.rng.uniform(0, 2))
        world.say(world.peers[0])
        for a, b in across:
            world.link(a, b)
        world.run(world.rng.uniform(0, 0.2))
    world.run(3)
    ids = [world.say(peer) for peer in world.peers]
    world.run(2)
    assert world.missing(ids) == 0
    world.check()


def test_a_star_leaves_nobody_out() -> None:
    """libp2p's hazard: leaves that the hub prunes get neither messages nor announcements."""
    world = World(1, 20, settings=SMALL)
    for leaf in world.peers[1:]:
        world.link(world.peers[0], leaf)
    world.run(3)
    ids = [world.say(peer) for peer in world.peers]
    world.run(20)
    assert world.missing(ids) == 0


@pytest.mark.parametrize("count", [2, 5, 10])
def test_a_mesh_at_rest_sends_nothing(count: int) -> None:
    world = World(3, count)
    world.link_at_random(count)
    world.run(5)
    world.say(world.peers[0])
    world.run(200)
    sent = next(world.ticks)
    world.run(100)
    assert next(world.ticks) == sent + 1
    assert all(router.sizes()["seen"] == router.sizes()["kept"] == 0 for router in world.routers.values())

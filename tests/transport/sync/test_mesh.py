"""Schedules and sessions together: peers that lose each other again and again come to hold the same set."""

from __future__ import annotations

import random

import pytest
import trio
from trio.testing import MockClock

from tests.transport.sync.nodes import TOPIC, Node, World, many, world
from transport.base import AskFailed, Unreachable
from transport.sync.schedule import Schedule


async def drive(node: Node, schedule: Schedule) -> None:
    """What a live mesh does with a schedule, by looking every quarter of a second."""
    async with trio.open_nursery() as nursery:

        async def session(peer: str) -> None:
            ok = changed = False
            try:
                outcome = await node.exchange.reconcile(peer, TOPIC)  # type: ignore[arg-type]
                ok, changed = True, bool(outcome.received or outcome.sent)
            except (AskFailed, Unreachable):
                pass
            schedule.done(peer, TOPIC, trio.current_time(), ok, changed=changed)  # type: ignore[arg-type]

        while True:
            for peer, _ in schedule.due(trio.current_time(), {TOPIC: list(node.network.peers())}):
                nursery.start_soon(session, peer)
            for peer, topic in node.served:
                schedule.served(peer, topic, trio.current_time())
            node.served.clear()
            await trio.sleep(0.25)


async def trouble(w: World, rng: random.Random, until: float) -> None:
    """Cut links and make them again, until there is peace."""
    while trio.current_time() < until:
        one, other = rng.sample(w.nodes, 2)
        if one.network.connected(other.me):
            w.net.cut(one.network, other.network)
        else:
            w.net.link(one.network, other.network)
        await trio.sleep(rng.random() * 4)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
async def test_peers_in_a_line_and_in_trouble_converge(autojump_clock: MockClock, seed: int) -> None:
    rng = random.Random(seed)
    frames = many(range(600), size=2000)
    held = [[frame for frame in frames if rng.random() < 0.3] for _ in range(5)]
    held[0] += frames[:1]
    missing = set(frames) - {frame for part in held for frame in part}
    held[1] += missing
    async with world(*held) as w, trio.open_nursery() as nursery:
        for node in w.nodes:
            node.intake.pause = 0.2
            nursery.start_soon(drive, node, Schedule(node.me, random.Random(f"{seed} {node.me}")))
        await trouble(w, rng, until=60)
        for one, other in zip(w.nodes, w.nodes[1:], strict=False):
            w.net.link(one.network, other.network)
        for one in w.nodes:
            for other in w.nodes[w.nodes.index(one) + 2 :]:
                if one.network.connected(other.me):
                    w.net.cut(one.network, other.network)
        with trio.fail_after(600):
            while not all(len(node.ids()) == len(frames) for node in w.nodes):  # noqa: ASYNC110
                await trio.sleep(1)
        w.no_offences()
        nursery.cancel_scope.cancel()

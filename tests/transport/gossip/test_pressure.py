"""Peers that are slow, frozen or do not read: who waits, for how long, and who is told."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from tests.transport.gossip.scene import TOPIC, Scene, frame, scene
from tests.transport.gossip.test_runner import HELLO, Raw, said
from transport.base import Frame
from transport.gossip.batch import item_of
from transport.gossip.runner import Settings
from transport.gossip.wire import Rpc, decode

SMALL = Settings(full_at=100_000, most_waiting=400_000)
pytestmark = pytest.mark.slow


async def pour(made: Scene, number: int, frames: list[Frame], stop: float) -> None:
    """Publish as fast as it goes."""
    with trio.move_on_at(stop):
        while True:
            each = frame(20_000)
            await made.nodes[number].say(each)
            frames.append(each)


async def test_a_frozen_peer_holds_others_up_only_so_long(autojump_clock: MockClock) -> None:
    async with scene(3, SMALL) as made:
        a, b, c = made.nodes
        made.net.freeze(a.network, c.network)
        frames: list[Frame] = []
        began = trio.current_time()
        longest = 0.0
        for _ in range(100):
            before = trio.current_time()
            each = frame(20_000)
            await a.say(each)
            frames.append(each)
            longest = max(longest, trio.current_time() - before)
        assert 4.9 < longest <= 5.1
        assert trio.current_time() - began < 6.0
        assert a.intake.late == [(c.network.me, TOPIC)]
        await made.settle()
        assert b.has(frames)
        assert c.has(frames)  # the other way round
        made.net.freeze(a.network, c.network, frozen=False)
        await made.settle()
        assert a.intake.late == [(c.network.me, TOPIC)] * 2  # for what came in between
        made.net.cut(b.network, c.network)
        news = frame()
        await a.say(news)
        await made.settle()
        assert c.has([news])


async def test_who_does_not_read_at_all(autojump_clock: MockClock) -> None:
    async with scene(2, SMALL) as made:
        node, other = made.nodes
        raw = Raw(made.net.node())
        raw.reads = False
        raw.serve()
        made.net.link(node.network, raw.network)
        await raw.dial(node, HELLO)
        await made.settle()
        frames: list[Frame] = []
        await pour(made, 0, frames, trio.current_time() + 8)
        await made.settle()
        assert other.has(frames)
        assert len(frames) > 100
        assert (raw.network.me, TOPIC) in node.intake.late
        assert node.gossip.sizes()["outboxes"] == 0


async def test_who_asks_and_does_not_read_holds_nobody_up(autojump_clock: MockClock) -> None:
    async with scene(2, SMALL) as made:
        node, other = made.nodes
        raw = Raw(made.net.node())
        raw.serve()
        made.net.link(node.network, raw.network)
        stream = await raw.dial(node, HELLO)
        frames = [frame(20_000) for _ in range(60)]
        await node.say(*frames)
        await made.settle()
        ids = tuple(message.id for body in raw.received for message in decode(body).publish)
        assert len(ids) > 15
        raw.reads = False  # after the next bytes
        await node.say(frame())
        await made.settle()
        await stream.send_all(Rpc(iwant=ids * 3).encode())
        await made.settle()
        began = trio.current_time()
        await node.say(news := frame())
        assert trio.current_time() - began < 1
        assert raw.network.me not in {peer for peer, _ in node.intake.late}
        await made.settle()
        assert other.has([news])


async def test_a_slow_intake_slows_the_publisher_and_loses_nothing(autojump_clock: MockClock) -> None:
    """It reads on before patience ends, each time: nobody is behind, everything arrives."""
    async with scene(2, SMALL) as made:
        a, b = made.nodes
        frames: list[Frame] = []
        b.intake.gate = trio.Event()
        made.nursery.start_soon(pour, made, 0, frames, trio.current_time() + 4)
        await trio.sleep(1.5)
        stuck = len(frames)
        assert 5 < stuck < 60
        await trio.sleep(1)
        assert len(frames) == stuck
        for _ in range(12):
            b.intake.gate.set()
            b.intake.gate = trio.Event()
            await trio.sleep(0.1)
        assert len(frames) > stuck + 10
        await trio.sleep(1)
        b.intake.gate.set()
        b.intake.gate = None
        await trio.sleep(20)
        assert b.has(frames)
        assert a.intake.late == []


async def test_who_reads_just_enough_is_waited_for_only_so_long(autojump_clock: MockClock) -> None:
    """Each time a little before patience ends: in all of a minute it is waited for no longer than that."""
    async with scene(2, SMALL) as made:
        a, b = made.nodes
        b.intake.gate = trio.Event()

        async def sip() -> None:
            while True:
                await trio.sleep(0.4)
                b.intake.gate.set()  # type: ignore[union-attr]
                b.intake.gate = trio.Event()

        made.nursery.start_soon(sip)
        began = trio.current_time()
        for _ in range(300):
            await a.say(frame(20_000))
        assert 4.9 < trio.current_time() - began < 10
        assert a.intake.late


async def test_an_intake_that_is_stuck_is_the_neighbors_loss_only(autojump_clock: MockClock) -> None:
    async with scene(4, SMALL) as made:
        made.nodes[3].intake.gate = trio.Event()
        frames: list[Frame] = []
        await pour(made, 0, frames, trio.current_time() + 12)
        await made.settle()
        assert len(frames) > 300
        assert all(node.has(frames) for node in made.nodes[:3])
        stuck = made.nodes[3].network.me
        assert all((stuck, TOPIC) in node.intake.late for node in made.nodes[:1])
        assert all(sum(node.gossip.sizes().values()) < 10_000 for node in made.nodes)


async def test_everybody_at_full_speed(autojump_clock: MockClock) -> None:
    """No two wait for each other: forwarding never waits."""
    async with scene(5) as made:
        frames: list[list[Frame]] = [[] for _ in made.nodes]
        async with trio.open_nursery() as nursery:
            for number, mine in enumerate(frames):
                nursery.start_soon(some, made, number, mine)
        await made.settle(3)
        everything = [each for mine in frames for each in mine]
        assert all(node.has(everything) for node in made.nodes)
        assert not any(node.intake.late or node.network.offences for node in made.nodes)


async def some(made: Scene, number: int, frames: list[Frame]) -> None:
    for _ in range(100):
        each = frame(10_000)
        await made.nodes[number].say(each)
        frames.append(each)


async def test_a_slow_reader_of_one_stream_concerns_no_other(autojump_clock: MockClock) -> None:
    """A peer's message that waits in the intake does not keep others' messages waiting."""
    async with scene(2) as made:
        node, other = made.nodes
        raw = Raw(made.net.node())
        raw.serve()
        made.net.link(node.network, raw.network)
        made.net.freeze(node.network, other.network)
        made.net.freeze(node.network, other.network, frozen=False)
        node.intake.gate = gate = trio.Event()
        await raw.dial(node, HELLO, said(item_of(frame())))
        await made.settle()
        node.intake.gate = None
        news = frame()
        await other.say(news)
        await trio.sleep(0.1)
        assert node.has([news])
        gate.set()


async def test_what_the_peer_has_meanwhile_is_not_sent(autojump_clock: MockClock) -> None:
    """Copies cancel what waits: with everybody connected, little of what could be forwarded is."""
    async with scene(6) as made:
        for number in range(300):
            await made.nodes[number % 6].say(frame())
            await trio.sleep(0.002)
        await made.settle()
        published = sum(node.network.counted["gossip.published"] for node in made.nodes)
        copies = sum(node.network.counted["gossip.copies_in"] for node in made.nodes)
        assert copies < 0.7 * published * 20  # five first receivers with four peers each

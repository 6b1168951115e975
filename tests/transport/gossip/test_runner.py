"""Gossip on a loopback network, under a clock that jumps: delivery, streams that come and go, what peers do wrong."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
import trio
from trio.testing import MockClock

from tests.transport.gossip.scene import NOW, TOPIC, Node, frame, scene
from tests.transport.loopback import LoopbackNetwork
from transport.base import Milliseconds, PeerId, Unreachable
from transport.conduct import Offence
from transport.frames import WriteKey, topic_id
from transport.gossip.authors import compose
from transport.gossip.batch import Item, Tag, encode, item_of
from transport.gossip.runner import Settings
from transport.gossip.wire import PROTOCOLS, Deframer, Rpc, Subscription, decode, publish_rpc, topic_name
from transport.network import Stream

NAME = topic_name(TOPIC)
HELLO = Rpc(subscriptions=(Subscription(topic=NAME, subscribe=True),), graft=(NAME,)).encode()
RANDOM = random.Random(9).randbytes


class Raw:
    """A peer that speaks meshsub by hand."""

    def __init__(self, network: LoopbackNetwork) -> None:
        self.network = network
        self.received: list[bytes] = []
        self.streams = 0
        self.reads = True
        self.protocols: tuple[str, ...] = PROTOCOLS

    def serve(self) -> None:
        for protocol in self.protocols:
            self.network.handle(protocol, self.incoming)

    async def incoming(self, stream: Stream) -> None:
        self.streams += 1
        parser = Deframer()
        while self.reads and (data := await stream.receive_some()):
            self.received += parser.feed(data)
        if not self.reads:
            await trio.sleep_forever()

    async def dial(self, node: Node, *first: bytes) -> Stream:
        stream = await self.network.open(node.network.me, PROTOCOLS[0])
        await stream.send_all(b"".join(first))
        return stream

    def published(self) -> list[bytes]:
        return [message.data for body in self.received for message in decode(body).publish]


def said(*items: Item) -> bytes:
    return publish_rpc(compose(NAME, encode(items), RANDOM))


def offences(node: Node, peer: PeerId) -> set[Offence]:
    return {offence for who, offence in node.network.offences if who == peer}


@pytest.mark.slow
async def test_all_get_all_once(autojump_clock: MockClock) -> None:
    async with scene(5) as made:
        frames = [frame() for _ in range(1000)]
        for number, each in enumerate(frames):
            await made.nodes[number % 5].say(each)
            await trio.sleep(0.002)
        await made.settle()
        assert all(node.has(frames) for node in made.nodes)
        assert sum(node.network.counted["gossip.published"] for node in made.nodes) < 650
        assert all(node.gossip.peers(TOPIC) == set(made.net.nodes) - {node.network.me} for node in made.nodes)
        assert made.nodes[0].gossip.topics_of(made.nodes[1].network.me) == {TOPIC}
        assert not any(node.network.offences or node.intake.late for node in made.nodes)


async def test_a_line_passes_frames_on(autojump_clock: MockClock) -> None:
    async with scene(6, linked=False) as made:
        for one, other in zip(made.nodes, made.nodes[1:], strict=False):
            made.net.link(one.network, other.network)
        await made.settle()
        frames = [frame() for _ in range(20)]
        await made.nodes[0].say(*frames)
        await made.settle()
        assert all(node.has(frames) for node in made.nodes)
        assert made.nodes[5].intake.got[frames[0].id] == made.nodes[4].network.me


async def test_a_large_frame_is_announced(autojump_clock: MockClock) -> None:
    async with scene(3) as made:
        large = frame(200_000)
        await made.nodes[0].say(large)
        await made.settle()
        assert [head.id for head in made.nodes[1].intake.heads] == [large.id]
        assert large.id not in made.nodes[1].intake.got


async def test_nobody_else_is_sent_to(autojump_clock: MockClock) -> None:
    async with scene(3) as made:
        made.nodes[2].gossip.unsubscribe(TOPIC)
        await made.settle()
        await made.nodes[0].say(frame())
        await made.settle()
        assert len(made.nodes[2].intake.got) == 0
        assert made.nodes[2].network.counted["gossip.messages_in"] == 0
        other = topic_id(WriteKey(b"o" * 32).public)
        made.nodes[2].gossip.subscribe(other)
        await made.settle()
        assert made.nodes[0].gossip.topics_of(made.nodes[2].network.me) == frozenset()
        assert made.nodes[0].gossip.peers(other) == {made.nodes[2].network.me}


async def test_what_was_published_before_leaving_is_sent(autojump_clock: MockClock) -> None:
    async with scene(2) as made:
        last = frame()
        await made.nodes[0].say(last)
        made.nodes[0].gossip.unsubscribe(TOPIC)
        await made.settle()
        assert made.nodes[1].has([last])


async def test_peers_that_come_back(autojump_clock: MockClock) -> None:
    async with scene(3) as made:
        a, b, _ = made.nodes
        for _ in range(5):
            made.net.cut(a.network, b.network)
            made.net.link(a.network, b.network)
            await trio.sleep(0.05)
        made.net.cut(a.network, b.network)
        await made.settle()
        assert b.network.me not in a.gossip.peers(TOPIC)
        made.net.link(a.network, b.network)
        await made.settle()
        made.net.cut(a.network, made.nodes[2].network)
        made.net.cut(b.network, made.nodes[2].network)
        one, two = frame(), frame()
        await a.say(one)
        await b.say(two)
        await made.settle()
        assert a.has([two])
        assert b.has([one])


async def test_our_stream_is_opened_again_and_the_topics_are_reconciled(autojump_clock: MockClock) -> None:
    async with scene(2) as made:
        a, b = made.nodes
        await a.say(frame())
        await made.settle(5)
        for stream in made.net.links[frozenset((a.network.me, b.network.me))]:
            if stream.me == a.network.me:
                await stream.reset()
        await made.settle(2)
        assert a.intake.late == [(b.network.me, TOPIC)]
        news, more = frame(), frame()
        await a.say(news)
        await b.say(more)
        await made.settle()
        assert b.has([news])
        assert a.has([more])


async def test_a_faulty_network_is_tried_again_more_and_more_rarely(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = 0

    async def fails(self: LoopbackNetwork, peer: PeerId, protocol: str) -> Stream:
        nonlocal tries
        tries += 1
        await trio.lowlevel.checkpoint()
        raise (Unreachable("no") if tries % 2 else RuntimeError("a fault of the network"))

    async with scene(2, linked=False) as made:
        with monkeypatch.context() as patch:
            patch.setattr(LoopbackNetwork, "open", fails)
            made.net.link_all()
            await made.settle(300)
        assert 10 < tries < 100
        await made.settle(60)
        news = frame()
        await made.nodes[0].say(news)
        await made.settle()
        assert made.nodes[1].has([news])
        assert made.nodes[0].network.counted["gossip.fault.link.RuntimeError"] > 2


async def test_the_newer_stream_counts(autojump_clock: MockClock) -> None:
    async with scene(1) as made:
        (node,) = made.nodes
        raw = Raw(made.net.node())
        raw.serve()
        made.net.link(node.network, raw.network)
        first = await raw.dial(node, HELLO)
        await made.settle()
        news = frame()
        second = await raw.dial(node, HELLO, said(item_of(news)))
        await made.settle()
        assert await first.receive_some() == b""
        with pytest.raises(Unreachable):
            await first.send_all(b"x" * 10)
        assert node.has([news])
        more = frame()
        await second.send_all(said(item_of(more)))
        await made.settle()
        assert node.has([more])
        assert node.gossip.peers(TOPIC) == {raw.network.me}
        assert node.gossip.sizes()["readers"] == 1


async def test_a_member_whose_stream_ended_stays(autojump_clock: MockClock) -> None:
    async with scene(1) as made:
        (node,) = made.nodes
        raw = Raw(made.net.node())
        raw.serve()
        made.net.link(node.network, raw.network)
        stream = await raw.dial(node, HELLO)
        await stream.close()
        await made.settle(10)
        news = frame()
        await node.say(news)
        await made.settle()
        assert raw.published() == [encode([item_of(news)])]


async def test_a_peer_of_the_older_protocol(autojump_clock: MockClock) -> None:
    async with scene(1) as made:
        (node,) = made.nodes
        raw = Raw(made.net.node())
        raw.protocols = PROTOCOLS[1:]
        raw.serve()
        made.net.link(node.network, raw.network)
        await raw.dial(node, HELLO)
        await made.settle(10)
        await node.say(frame())
        await made.settle()
        assert len(raw.published()) == 1


async def test_a_peer_that_ends_its_half_at_once_is_not_left(autojump_clock: MockClock) -> None:
    async with scene(1) as made:
        (node,) = made.nodes
        raw = Raw(made.net.node())

        async def closes(stream: Stream) -> None:
            await stream.close()
            await raw.incoming(stream)

        made.net.nodes[raw.network.me].handle(PROTOCOLS[0], closes)
        made.net.link(node.network, raw.network)
        await raw.dial(node, HELLO)
        await made.settle(60)
        assert raw.streams == 1
        await node.say(frame())
        await made.settle()
        assert len(raw.published()) == 1


# ---------------------------------------------------------------- what peers do wrong

GOOD, OLD, FOREIGN, LARGE = (
    frame(),
    frame(expires=Milliseconds(NOW - 600_000)),
    frame(key=WriteKey(b"s" * 32)),
    frame(4000),
)
FORGED = Item(tag=Tag.FRAME, content=GOOD.encode()[:-1] + b"!")
WRONG: dict[str, tuple[bytes, Offence]] = {
    "the bytes that end libp2p": (bytes.fromhex("05ffffffffff"), Offence.MALFORMED),
    "an RPC too large": (bytes.fromhex("ffffff7f"), Offence.OVERSIZE),
    "an endless length": (b"\xff" * 8, Offence.MALFORMED),
    "not a batch": (publish_rpc(compose(NAME, b"\x01hello", RANDOM)), Offence.MALFORMED),
    "another version": (publish_rpc(compose(NAME, b"hello", RANDOM)), Offence.VERSION),
    "unsigned": (publish_rpc(compose(NAME, b"hello", RANDOM)).replace(b"\x2a\x40", b"\x3a\x40"), Offence.MALFORMED),
    "a forged frame": (said(FORGED), Offence.FORGED),
    "a forged message": (said(item_of(GOOD))[:-1] + b"!", Offence.FORGED),
    "an expired frame": (said(item_of(OLD)), Offence.EXPIRED),
    "a frame of another topic": (said(item_of(FOREIGN)), Offence.STRANGER),
    "a topic that we do not read": (publish_rpc(compose("other", b"hello", RANDOM)), Offence.STRANGER),
}


@pytest.mark.parametrize(("data", "offence"), WRONG.values(), ids=WRONG)
async def test_wrong_is_dropped_charged_and_not_passed_on(
    autojump_clock: MockClock, data: bytes, offence: Offence
) -> None:
    async with scene(2) as made:
        node, other = made.nodes
        raw = Raw(made.net.node())
        raw.serve()
        made.net.link(node.network, raw.network)
        await raw.dial(node, HELLO, data)
        await made.settle()
        assert offences(node, raw.network.me) == {offence}
        assert other.network.counted["gossip.messages_in"] == 0
        assert not node.intake.got
        news = frame()
        await raw.dial(node, HELLO, said(item_of(news)))
        await made.settle()
        assert node.has([news])
        assert other.has([news])
        assert not any(name.startswith("gossip.fault") for name in node.network.counted)


async def test_a_flood_of_forgeries_bars_and_costs_others_nothing(autojump_clock: MockClock) -> None:
    async with scene(3) as made:
        node, other, _ = made.nodes
        raw = Raw(made.net.node())
        raw.serve()
        made.net.link(node.network, raw.network)
        stream = await raw.dial(node, HELLO)
        with pytest.raises(Unreachable):
            for _ in range(1000):
                await stream.send_all(said(FORGED))
                await trio.sleep(0.01)
        news = frame()
        await other.say(news)
        await made.settle()
        assert node.has([news])
        assert raw.network.me not in node.gossip.peers(TOPIC)


async def test_half_an_rpc_is_not_waited_for(autojump_clock: MockClock) -> None:
    async with scene(1) as made:
        (node,) = made.nodes
        raw = Raw(made.net.node())
        raw.serve()
        made.net.link(node.network, raw.network)
        await raw.dial(node, HELLO[:-3])
        await made.settle(60)
        assert offences(node, raw.network.me) == {Offence.STALLED}
        assert node.gossip.sizes()["readers"] == 0


async def test_old_frames_in_new_messages_are_a_replay(autojump_clock: MockClock) -> None:
    async with scene(2, Settings(replay_burst=10.0, replay_rate=1.0)) as made:
        node, other = made.nodes
        raw = Raw(made.net.node())
        raw.serve()
        made.net.link(node.network, raw.network)
        stream = await raw.dial(node, HELLO)
        for _ in range(10):
            await stream.send_all(said(item_of(GOOD)))
        await made.settle()
        assert offences(node, raw.network.me) == set()
        await stream.send_all(said(item_of(GOOD)) + said(item_of(GOOD)))
        await stream.send_all(said(item_of(GOOD)))
        await made.settle()
        assert offences(node, raw.network.me) == {Offence.REPLAY}
        assert other.network.counted["gossip.messages_in"] == 1


async def test_more_than_its_share_is_read_slowly(autojump_clock: MockClock) -> None:
    async with scene(1, Settings(message_rate=10.0, message_burst=20.0)) as made:
        (node,) = made.nodes
        raw = Raw(made.net.node())
        raw.serve()
        made.net.link(node.network, raw.network)
        frames = [frame() for _ in range(60)]
        await raw.dial(node, HELLO, *(said(item_of(each)) for each in frames))
        await trio.sleep(3.5)
        assert not node.has(frames)
        await trio.sleep(1.5)
        assert node.has(frames)
        assert offences(node, raw.network.me) == {Offence.FLOOD}
        assert sum(offence is Offence.FLOOD for _, offence in node.network.offences) <= 5


async def test_a_new_stream_brings_no_new_share(autojump_clock: MockClock) -> None:
    async with scene(1, Settings(message_rate=1.0, message_burst=10.0)) as made:
        (node,) = made.nodes
        raw = Raw(made.net.node())
        raw.serve()
        made.net.link(node.network, raw.network)
        frames = [frame() for _ in range(20)]
        for part in (frames[:10], frames[10:]):
            stream = await raw.dial(node, HELLO, *(said(item_of(each)) for each in part))
            await stream.close()
            await made.settle()
        assert node.has(frames[:10])
        assert not node.has(frames)
        await made.settle(12)
        assert node.has(frames)
        raw.network.forget(node.network.me)
        await made.settle()
        assert not any(node.gossip.sizes()[table] for table in ("peers", "links", "readers", "topics"))


async def test_asking_for_much_is_read_slowly(autojump_clock: MockClock) -> None:
    async with scene(1, Settings(control_rate=100.0, control_burst=1000.0)) as made:
        (node,) = made.nodes
        raw = Raw(made.net.node())
        raw.serve()
        made.net.link(node.network, raw.network)
        stream = await raw.dial(node, HELLO)
        flood = Rpc(graft=tuple(str(number) for number in range(900))).encode()
        await stream.send_all(flood * 2)
        await made.settle()
        assert len([topic for body in raw.received for topic in decode(body).prune]) == 900
        await made.settle(10)
        assert len([topic for body in raw.received for topic in decode(body).prune]) == 1800
        assert offences(node, raw.network.me) == {Offence.FLOOD}


async def test_who_owes_much_is_read_slowly_and_others_are_not(autojump_clock: MockClock) -> None:
    async with scene(2) as made:
        node, other = made.nodes
        raw = Raw(made.net.node())
        raw.serve()
        made.net.link(node.network, raw.network)
        for _ in range(9):
            node.network.charge(raw.network.me, Offence.FORGED)
        slow, quick = frame(), frame()
        await raw.dial(node, HELLO, said(item_of(slow)))
        await other.say(quick)
        await trio.sleep(0.5)
        assert node.has([quick])
        assert not node.has([slow])
        await trio.sleep(10)
        assert node.has([slow])


async def test_an_intake_that_raises_ends_nothing(autojump_clock: MockClock) -> None:
    async with scene(3) as made:
        made.nodes[1].intake.raises = RuntimeError("a fault of the intake")
        frames: Sequence[object] = [frame(), frame(100_000), frame()]
        for each in frames:
            await made.nodes[0].say(each)  # type: ignore[arg-type]
            await trio.sleep(0.2)
        assert made.nodes[1].network.counted["gossip.fault.intake.RuntimeError"] == 3
        assert not made.nodes[1].network.offences
        made.nodes[1].intake.raises = None
        news = frame()
        await made.nodes[0].say(news)
        await made.settle()
        assert made.nodes[1].has([news])

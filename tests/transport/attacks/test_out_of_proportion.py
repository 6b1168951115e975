"""Work that is out of proportion to what was sent: it must be slowed down or held against whoever sends it.

Time on a processor is not measured here. What is counted is how many steps a peer can cause before it waits or pays.
"""

from __future__ import annotations

import pytest
import trio

from tests.transport.attacks.rig import (
    TOPIC,
    Honest,
    Town,
    Villain,
    message,
    send_quietly,
    subscriptions,
    town,
    whole,
)
from transport.base import PeerId, TopicId
from transport.conduct import Ledger, Offence, Standing
from transport.gossip.wire import Ihave, MessageId, Rpc, delimited, topic_name
from transport.sync import wire as sync
from transport.sync.ranges import MOST_ITEMS, Claim


async def poured(all_: Town, evil: Villain, honest: Honest, data: bytes, times: int) -> tuple[float, float]:
    """Seconds that pass, and charges that are made, until all of this was read, or the line is cut."""
    stream = await evil.gossip_to(honest)
    await trio.sleep(1)
    began = trio.current_time()
    with trio.move_on_after(120):
        for _ in range(times):
            if not all_.linked(evil, honest):
                break
            await send_quietly(stream, data)
    await trio.sleep(0.1)
    return trio.current_time() - began, sum(offence.price for offence in honest.owes(evil.me))


@pytest.mark.slow
async def test_rpcs_of_nothing(autojump_clock: object) -> None:
    """Zeros: each is an RPC. 64 KiB of them take longer than a thousand messages."""
    async with town() as all_:
        honest, evil = await all_.honest(), all_.villain()
        all_.link(honest, evil)
        seconds, charged = await poured(all_, evil, honest, bytes(1 << 16), 1)
        assert seconds > 10 or charged >= 1


async def test_rpc_of_subscriptions_without_a_name(autojump_clock: object) -> None:
    """A hundred thousand fields of two bytes in one RPC."""
    async with town() as all_:
        honest, evil = await all_.honest(), all_.villain()
        all_.link(honest, evil)
        seconds, charged = await poured(all_, evil, honest, delimited(b"\x0a\x00" * 100_000), 2)
        assert seconds > 10 or charged >= 2 * Offence.MALFORMED.price


async def test_rpc_of_unknown_fields(autojump_clock: object) -> None:
    async with town() as all_:
        honest, evil = await all_.honest(), all_.villain()
        all_.link(honest, evil)
        seconds, charged = await poured(all_, evil, honest, delimited(b"\x7a\x00" * 100_000), 2)
        assert seconds > 10 or charged >= 2 * Offence.MALFORMED.price


@pytest.mark.slow
async def test_topics_by_the_thousand(autojump_clock: object) -> None:
    """Eight strangers fill the table of subscriptions. A ninth, who is honest, is neither forgotten nor charged."""
    async with town() as all_:
        a = await all_.honest()
        evils = [all_.villain() for _ in range(9)]
        for number, evil in enumerate(evils):
            all_.link(a, evil)
            topics = [TopicId(number.to_bytes(4) + n.to_bytes(28)) for n in range(8192)]
            stream = await evil.gossip_to(a, topics=[])
            for start in range(0, 8192, 1024):
                await stream.send_all(subscriptions(topics[start : start + 1024]))
        await trio.sleep(30)
        c = await all_.honest()
        await a.mesh.leave(TOPIC.id)
        all_.link(a, c)
        await trio.sleep(5)
        await a.mesh.join(TOPIC)
        await trio.sleep(15)
        assert a.owes(c.me) == []
        assert c.me in a.mesh._gossip.peers(TOPIC.id)


@pytest.mark.slow
async def test_promises_by_the_thousand(autojump_clock: object) -> None:
    """Announcing what is never sent is held against whoever does it, and the table stays small."""
    async with town() as all_:
        a, evil = await all_.honest(), all_.villain()
        all_.link(a, evil)
        stream = await evil.gossip_to(a)
        await trio.sleep(1)
        for number in range(100):
            ids = tuple(MessageId(number.to_bytes(4) + n.to_bytes(42)) for n in range(1000))
            await send_quietly(stream, Rpc(ihave=(Ihave(topic=topic_name(TOPIC.id), ids=ids),)).encode())
            await trio.sleep(1)
        assert Offence.BROKEN_PROMISE in a.owes(evil.me)
        assert a.mesh._gossip.sizes()["promises"] <= 4000
        assert a.network.penalty(evil.me) > 0.5


@pytest.mark.slow
async def test_the_same_message_again_and_again(autojump_clock: object) -> None:
    """A copy costs a look into a table, and is slowed down as a message is."""
    async with town() as all_:
        a, evil = await all_.honest(), all_.villain()
        all_.link(a, evil)
        seconds, _ = await poured(all_, evil, a, message(whole(all_.frame())) * 100, 100)
        assert seconds > 10


async def test_known_frames_in_new_messages(autojump_clock: object) -> None:
    async with town() as all_:
        a, evil = await all_.honest(), all_.villain()
        all_.link(a, evil)
        frame = all_.frame()
        stream = await evil.gossip_to(a)
        for _ in range(1200):
            await send_quietly(stream, message(whole(frame)))
        await trio.sleep(10)
        assert set(a.owes(evil.me)) == {Offence.REPLAY}
        assert a.network.penalty(evil.me) > 0


@pytest.mark.slow
async def test_requests_of_a_thousand_ranges(autojump_clock: object) -> None:
    """Each range costs a fingerprint, each that differs sixteen: a reader gets so many a second, not more."""
    async with town() as all_:
        a, evil = await all_.honest(), all_.villain()
        await a.store_quietly(*(all_.frame() for _ in range(1100)))
        all_.link(a, evil)
        session = await evil.sync_with(a, sync.Mode.RECONCILE)
        welcome = await session.hear()
        assert isinstance(welcome, sync.Welcome)
        index = a.mesh._log.index(TOPIC.id)
        assert index is not None
        snapshot = index.snapshot()
        borders = [snapshot.border_before(rank) for rank in range(1, MOST_ITEMS + 1)]
        items = tuple(
            Claim(
                low=low,
                high=high,
                count=snapshot.count(low, high),
                fingerprint=snapshot.fingerprint(low, high, bytes(16)),
            )
            for low, high in zip(borders, borders[1:], strict=False)
        )[:700]
        began = trio.current_time()
        for _ in range(20):
            await session.say(sync.Compare(items=items))
            assert isinstance(await session.hear(), sync.Compared)
        assert 700 * 20 / (trio.current_time() - began) <= 5000


async def test_streams_that_are_replaced_at_once(autojump_clock: object) -> None:
    """A new gossip stream a hundred times a second: the earlier ones end, and nothing piles up."""
    async with town() as all_:
        a, evil = await all_.honest(), all_.villain()
        all_.link(a, evil)
        for _ in range(500):
            await evil.gossip_to(a)
            await trio.sleep(0.01)
        await trio.sleep(1)
        assert a.mesh._gossip.sizes()["readers"] == 1
        alive = [s for s in all_.net.links[frozenset((a.me, evil.me))] if s.me == evil.me and not s.reads.broken]
        assert len(alive) == 1


def test_a_bar_is_not_made_longer_by_what_was_under_way() -> None:
    """One offence too many bars for a minute, even if a thousand more were in the same write."""
    ledger, peer = Ledger(), PeerId("somebody")
    for _ in range(1000):
        ledger.charge(peer, Offence.FORGED, 0.0)
    assert ledger.standing(peer, 61.0) is not Standing.BARRED


async def test_sessions_and_streams_that_say_nothing(autojump_clock: object) -> None:
    """Opened and left: each ends by itself."""
    async with town() as all_:
        a, evil = await all_.honest(), all_.villain()
        all_.link(a, evil)
        for _ in range(40):
            await evil.network.open(a.me, sync.PROTOCOL)
        await trio.sleep(60)
        assert len(a.mesh._exchange._server._unopened) == 0

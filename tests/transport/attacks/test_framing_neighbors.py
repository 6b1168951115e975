"""Attempts to have one honest peer hold against another what a third one did."""

from __future__ import annotations

import pytest
import trio

from tests.transport.attacks.rig import OTHER_KEY, TOPIC, head_of, message, town, until, whole, with_junk
from transport.base import MAX_LIFE
from transport.conduct import THROTTLE, Offence
from transport.live.mesh import MeshSettings


async def test_junk_behind_a_head_that_is_known(autojump_clock: object) -> None:
    """A has the frame and so may not look at its payload again; C has it not, and finds a forged frame."""
    async with town() as all_:
        a, c = await all_.honest(), await all_.honest()
        evil = all_.villain()
        all_.link(c, a, evil)
        stream = await evil.gossip_to(a)
        await trio.sleep(6)
        for _ in range(12):
            kept, new = all_.frame(), all_.frame()
            await a.store_quietly(kept)
            await stream.send_all(message(with_junk(kept, b"not what was signed"), whole(new)))
            await trio.sleep(0.1)
        await trio.sleep(1)
        assert Offence.FORGED not in c.owes(a.me)
        assert all_.linked(a, c)


@pytest.mark.slow
async def test_frames_about_to_expire(autojump_clock: object) -> None:
    """They are alive at A and dead when they come to C, a little later."""
    async with town() as all_:
        a = await all_.honest()
        c = await all_.honest(skew=200)
        evil = all_.villain()
        all_.link(c, a, evil)
        stream = await evil.gossip_to(a)
        await trio.sleep(6)
        for _ in range(300):
            await stream.send_all(message(whole(all_.frame(life=0.1))))
            await trio.sleep(0.01)
        await trio.sleep(1)
        assert sum(offence.price for offence in c.owes(a.me)) < THROTTLE


@pytest.mark.slow
async def test_frames_that_expire_as_late_as_may_be(autojump_clock: object) -> None:
    """A's clock is a second ahead of C's."""
    async with town() as all_:
        a = await all_.honest(skew=1000)
        c = await all_.honest()
        evil = all_.villain()
        all_.link(c, a, evil)
        stream = await evil.gossip_to(a)
        await trio.sleep(6)
        for _ in range(300):
            await stream.send_all(message(whole(all_.frame(life=MAX_LIFE / 1000 + 0.5))))
            await trio.sleep(0.01)
        await trio.sleep(1)
        assert sum(offence.price for offence in c.owes(a.me)) < THROTTLE


@pytest.mark.slow
async def test_short_lived_frames_and_a_clock_that_is_ahead(autojump_clock: object) -> None:
    """Nobody attacks: C's clock is two minutes ahead, and A says things that live for one."""
    async with town() as all_:
        a = await all_.honest()
        c = await all_.honest(skew=120_000)
        all_.link(a, c)
        await trio.sleep(6)
        for _ in range(400):
            await a.mesh.publish(all_.frame(life=60))
            await trio.sleep(0.1)
        assert all_.linked(a, c)


@pytest.mark.slow
async def test_frames_of_a_topic_that_was_just_left(autojump_clock: object) -> None:
    """Nobody attacks: much was under way, because the reader was slow, when the topic was left."""
    async with town() as all_:
        a, c = await all_.honest(), await all_.honest(settings=MeshSettings(inbox_frames=16))
        all_.link(a, c)
        await trio.sleep(6)
        c.reading = False
        for _ in range(800):
            await a.mesh.publish(all_.frame())
            await trio.sleep(0.005)
        await c.mesh.leave(TOPIC.id)
        c.reading = True
        await trio.sleep(60)
        assert sum(offence.price for offence in c.owes(a.me)) < THROTTLE
        assert all_.linked(a, c)


async def test_frames_of_another_topic_are_not_passed_on(autojump_clock: object) -> None:
    async with town() as all_:
        a, c = await all_.honest(), await all_.honest()
        evil = all_.villain()
        all_.link(c, a, evil)
        stream = await evil.gossip_to(a)
        await trio.sleep(6)
        for _ in range(20):
            await stream.send_all(message(whole(all_.frame()), whole(all_.frame(key=OTHER_KEY))))
        await trio.sleep(1)
        assert not c.owes(a.me)
        assert a.owes(evil.me) == [Offence.STRANGER] * 20


async def test_forged_frames_are_not_passed_on(autojump_clock: object) -> None:
    async with town() as all_:
        a, c = await all_.honest(), await all_.honest()
        evil = all_.villain()
        all_.link(c, a, evil)
        stream = await evil.gossip_to(a)
        await trio.sleep(6)
        good, bad = all_.frame(), all_.frame()
        await stream.send_all(message(whole(good), with_junk(bad, bytes(len(bad.payload)))))
        await trio.sleep(1)
        assert not c.owes(a.me)
        assert a.owes(evil.me) == [Offence.FORGED]


@pytest.mark.slow
async def test_one_batch_taken_apart_into_many_messages(autojump_clock: object) -> None:
    """A says it to B and C. B is a relay that hands D each frame in a message of its own; D passes them on to C."""
    async with town() as all_:
        a, c, d = [await all_.honest() for _ in range(3)]
        evil = all_.villain()
        all_.link(a, c, d, evil)
        stream = await evil.gossip_to(d)
        await trio.sleep(6)
        for _ in range(5):
            frames = [all_.frame() for _ in range(100)]
            for frame in frames:
                await stream.send_all(message(whole(frame)))
            for frame in frames:
                await a.mesh.publish(frame)
            await trio.sleep(1)
        assert sum(offence.price for offence in c.owes(d.me)) < THROTTLE


async def test_frame_hidden_among_bad_ones(autojump_clock: object) -> None:
    """A relay hands C a good frame in bad company first; C must still pass the good one on to D."""
    async with town() as all_:
        a, c, d = [await all_.honest() for _ in range(3)]
        evil = all_.villain()
        all_.link(a, c, d)
        all_.link(evil, c)
        stream = await evil.gossip_to(c)
        await trio.sleep(36)
        frame = all_.frame()
        await stream.send_all(message(whole(frame), whole(all_.frame(life=-1))))
        await trio.sleep(0.2)
        await a.mesh.publish(frame)
        assert await until(lambda: d.read_all(frame), within=5)


async def test_message_of_a_seen_id_with_other_data(autojump_clock: object) -> None:
    """An id is believed with its signature only: a forged copy that comes first does not keep the real one out."""
    async with town() as all_:
        c, evil, other = await all_.honest(), all_.villain(), all_.villain()
        all_.link(evil, c, other)
        one, two = await evil.gossip_to(c), await other.gossip_to(c)
        await trio.sleep(1)
        frame = all_.frame()
        honest = message(whole(frame))
        forged = honest.replace(frame.payload, bytes(reversed(frame.payload)))
        await one.send_all(forged)
        await trio.sleep(0.1)
        await two.send_all(honest)
        assert await until(lambda: c.read_all(frame), within=1)
        assert c.owes(evil.me) == [Offence.FORGED]
        assert not c.owes(other.me)


async def test_head_that_was_never_signed(autojump_clock: object) -> None:
    async with town() as all_:
        a, c = await all_.honest(), await all_.honest()
        evil = all_.villain()
        all_.link(c, a, evil)
        stream = await evil.gossip_to(a)
        await trio.sleep(6)
        good = all_.frame(100_000)
        bad = head_of(good)
        await stream.send_all(message(type(bad)(tag=bad.tag, content=bad.content[:-1] + bytes([bad.content[-1] ^ 1]))))
        await trio.sleep(1)
        assert a.owes(evil.me) == [Offence.FORGED]
        assert not a.mesh._fetcher._wanted
        assert not c.owes(a.me)

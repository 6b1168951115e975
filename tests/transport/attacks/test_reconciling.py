"""Ways to stop honest peers from reconciling: sessions that hold seats, say nothing, or claim what they never bring."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest
import trio

from tests.transport.attacks.rig import TOPIC, Session, Villain, send_quietly, subscriptions, town, until
from transport.access import prove
from transport.base import Frame, TransportError
from transport.conduct import THROTTLE
from transport.live.mesh import MeshSettings
from transport.network import Stream
from transport.signing import SigningKey, peer_id
from transport.sync import wire as sync
from transport.sync.index import key, key_id
from transport.sync.ranges import Keys, Same
from transport.sync.schedule import Rhythm

PERIODS = 300.0
"""Seconds: a topic is to be reconciled once a minute, and after a minute or two of silence at most every four."""


async def test_empty_sessions_that_put_off_all_others(autojump_clock: object) -> None:
    """A reader opens a session and ends it at once, again and again: that must not count as a minute's work."""
    async with town() as all_:
        a, c, evil = await all_.honest(), await all_.honest(), all_.villain()
        all_.link(a, c, evil, a)

        async def pretend(victim: object) -> None:
            while True:
                session = await evil.sync_with(victim, sync.Mode.RECONCILE)  # type: ignore[arg-type]
                assert isinstance(await session.hear(), sync.Welcome)
                await session.say(sync.End(received=0, sent=0))
                assert isinstance(await session.hear(), sync.End)
                await trio.sleep(20)

        for victim in (a, c):
            await evil.gossip_to(victim)
        await trio.sleep(10)
        all_.nursery.start_soon(pretend, a)
        all_.nursery.start_soon(pretend, c)
        await trio.sleep(30)
        frame = all_.frame()
        await a.store_quietly(frame)
        assert await until(lambda: c.read_all(frame), within=PERIODS)


async def test_claims_on_frames_that_never_come(autojump_clock: object) -> None:
    """An insider offers C what it lacks and hangs up before C's claim on it is over. A has it, too."""
    async with town() as all_:
        a, c, evil = await all_.honest(), await all_.honest(), all_.villain()
        frames = [all_.frame() for _ in range(20)]
        await a.store_quietly(*frames)
        keys = tuple(sorted(key(frame.expires, frame.id) for frame in frames))

        async def offer() -> None:
            with suppress(TransportError):
                session = await evil.sync_with(c, sync.Mode.RECONCILE)
                assert isinstance(await session.hear(), sync.Welcome)
                await session.say(sync.Offer(keys=keys))
                await session.hear()
                await trio.sleep(9.9)
                await session.stream.reset()

        async def offers() -> None:
            while True:
                all_.nursery.start_soon(offer)
                await trio.sleep(5)

        all_.link(c, evil)
        all_.nursery.start_soon(offers)
        await trio.sleep(1)
        all_.link(a, c)
        assert await until(lambda: c.read_all(*frames), within=PERIODS)


async def dawdle(stream: Stream) -> None:
    """Has nothing, and pulls what it is offered one by one, as late as is still no offence."""
    session = Session(stream)
    assert TOPIC.key is not None
    mine = prove(TOPIC.key, stream.me, stream.peer)  # type: ignore[attr-defined]
    while (asked := await session.hear()) is not None:
        match asked:
            case sync.Hello():
                await session.say(sync.Welcome(may_write=True, low=asked.low, high=asked.high, credential=mine))
            case sync.Compare():
                await session.say(sync.Compared(answers=(Keys(keys=()),) * len(asked.items)))
            case sync.Offer():
                for one in asked.keys:
                    await trio.sleep(100)
                    await session.say(sync.Pull(ids=(key_id(one),)))
                    await session.hear()
            case _:
                return


@pytest.mark.parametrize("insiders", [8, pytest.param(60, marks=pytest.mark.slow)])
async def test_sessions_that_never_get_anywhere(autojump_clock: object, insiders: int) -> None:
    """Insiders are slow in every session that C opens. C must still find the time for A."""
    async with town() as all_:
        a, c = await all_.honest(), await all_.honest()
        await c.store_quietly(*(all_.frame() for _ in range(40)))
        for _ in range(insiders):
            evil = all_.villain()
            evil.answer(sync.PROTOCOL, dawdle)
            all_.link(c, evil)
            await evil.gossip_to(c)
        await trio.sleep(60 + 10 * insiders)
        all_.link(a, c)
        await trio.sleep(30)
        before = a.network.counted["sync.served_reconcile"]
        assert await until(lambda: a.network.counted["sync.served_reconcile"] > before, within=PERIODS)


async def test_asking_to_synchronize_while_sessions_are_slow(autojump_clock: object) -> None:
    async with town() as all_:
        a, c = await all_.honest(), await all_.honest()
        await c.store_quietly(*(all_.frame() for _ in range(40)))
        for _ in range(8):
            evil = all_.villain()
            evil.answer(sync.PROTOCOL, dawdle)
            all_.link(c, evil)
            all_.nursery.start_soon(c.mesh.synchronize, evil.me, TOPIC.id)
        await trio.sleep(10)
        all_.link(a, c)
        with trio.fail_after(PERIODS):
            await c.mesh.synchronize(a.me, TOPIC.id)


async def test_coming_and_going_of_a_subscriber(autojump_clock: object) -> None:
    """A stranger subscribes and unsubscribes, and lets every session that this brings hang."""
    async with town() as all_:
        a, c, evil = await all_.honest(), await all_.honest(), all_.villain()
        open_now = most = 0

        async def hang(stream: Stream) -> None:
            nonlocal open_now, most
            open_now += 1
            most = max(most, open_now)
            try:
                while await stream.receive_some():
                    pass
            finally:
                open_now -= 1

        evil.answer(sync.PROTOCOL, hang)
        all_.link(c, evil)
        stream = await evil.gossip_to(c)
        for _ in range(60):
            for subscribe in (False, True):
                with suppress(TransportError):
                    await stream.send_all(subscriptions([TOPIC.id], subscribe=subscribe))
                await trio.sleep(2.5)
        assert most <= 3
        all_.link(a, c)
        frame = all_.frame()
        await a.store_quietly(frame)
        assert await until(lambda: c.read_all(frame), within=60)


async def occupied(hold: Callable[[Session], Awaitable[None]], identities: int) -> bool:
    """Whether C can reconcile with A while so many insiders hold sessions with A."""
    async with town() as all_:
        a, c = await all_.honest(), await all_.honest()
        evils = [all_.villain() for _ in range(identities)]

        async def sit(evil: object) -> None:
            while True:
                with suppress(TransportError, AssertionError):
                    session = await evil.sync_with(a, sync.Mode.RECONCILE)  # type: ignore[attr-defined]
                    assert isinstance(await session.hear(), sync.Welcome)
                    await hold(session)
                await trio.sleep(0.1)

        for evil in evils:
            all_.link(a, evil)
            for _ in range(2):
                all_.nursery.start_soon(sit, evil)
        await trio.sleep(5)
        all_.link(a, c)
        await trio.sleep(10)
        frame = all_.frame()
        await c.store_quietly(frame)
        for _ in range(30):
            with suppress(TransportError):
                await c.mesh.synchronize(a.me, TOPIC.id)
                return a.read_all(frame)
            await trio.sleep(10)
        return False


async def test_seats_held_by_one_silent_insider(autojump_clock: object) -> None:
    async def silence(session: Session) -> None:
        await session.hear()

    assert await occupied(silence, 1)


async def test_seats_held_by_many_silent_insiders(autojump_clock: object) -> None:
    async def silence(session: Session) -> None:
        await session.hear()

    assert await occupied(silence, 8)


async def test_sessions_without_a_right(autojump_clock: object) -> None:
    """A stranger learns nothing, and the same whether the topic is kept or not."""
    async with town() as all_:
        a, evil = await all_.honest(), all_.villain()
        all_.link(a, evil)
        stranger = TOPIC.key
        assert stranger is not None
        session = await evil.sync_with(a, sync.Mode.RECONCILE)
        assert isinstance(await session.hear(), sync.Welcome)
        await session.stream.reset()
        answers = []
        for topic in (TOPIC.id, all_.frame().topic[::-1]):
            one = Session(await evil.network.open(a.me, sync.PROTOCOL))
            now = all_.now_ms()
            await one.say(
                sync.Hello(
                    mode=sync.Mode.FETCH, topic=type(TOPIC.id)(topic), low=now, high=now, salt=bytes(16), credential=b""
                )
            )
            answers.append(await one.hear())
        assert answers == [sync.No(why=sync.Why.NOT_ALLOWED)] * 2
        assert sum(offence.price for offence in a.owes(evil.me)) < THROTTLE


async def test_proof_of_another_peer(autojump_clock: object) -> None:
    """What a member showed us, shown to a third."""
    async with town() as all_:
        a, c, evil = await all_.honest(), await all_.honest(), all_.villain()
        all_.link(a, c, evil)
        shown = a.mesh._access.show(evil.me, TOPIC.id)
        for credential in (shown, a.mesh._access.show(c.me, TOPIC.id), c.mesh._access.show(evil.me, TOPIC.id)):
            assert not c.mesh._access.may_read(evil.me, TOPIC.id, credential)


async def test_many_large_frames_read_for_one_page(autojump_clock: object) -> None:
    """A reader orders small frames and then large ones, so that as many as possible are read from the store at once."""
    async with town() as all_:
        a, evil = await all_.honest(), all_.villain()
        all_.link(a, evil)
        small, large = [all_.frame(10) for _ in range(20)], [all_.frame(4 << 20) for _ in range(32)]
        await a.store_quietly(*small, *large)
        most = 0
        fetch = a.store.fetch

        async def watched(topic: object, ids: object) -> list[Frame]:
            nonlocal most
            found = await fetch(topic, ids)  # type: ignore[arg-type]
            most = max(most, sum(len(frame.payload) for frame in found))
            return list(found)

        a.store.fetch = watched  # type: ignore[method-assign]
        session = await evil.sync_with(a, sync.Mode.FETCH)
        assert isinstance(await session.hear(), sync.Welcome)
        await session.say(sync.Pull(ids=tuple(frame.id for frame in small + large)))
        assert isinstance(await session.hear(), sync.Page)
        assert most <= 16 << 20


async def agree(stream: Stream) -> None:
    """Has always just what the other has."""
    session = Session(stream)
    assert TOPIC.key is not None
    mine = prove(TOPIC.key, stream.me, stream.peer)  # type: ignore[attr-defined]
    while (asked := await session.hear()) is not None:
        match asked:
            case sync.Hello():
                await session.say(sync.Welcome(may_write=True, low=asked.low, high=asked.high, credential=mine))
            case sync.Compare():
                await session.say(sync.Compared(answers=(Same(),) * len(asked.items)))
            case _:
                await session.say(sync.End(received=0, sent=0))
                return


@pytest.mark.slow
async def test_peers_that_are_always_new(autojump_clock: object) -> None:
    """Insiders come and go, so that they are those who were not asked for the longest time whenever it is a turn."""
    async with town() as all_:
        a = await all_.honest()
        evils = [all_.villain() for _ in range(4)]
        patient = max((SigningKey(bytes([n]) * 32) for n in range(256)), key=lambda one: peer_id(one.public))
        c = await all_.honest(key=patient, settings=MeshSettings(rhythm=Rhythm(slowest=60)))
        assert all(evil.me < c.me for evil in evils), "C leaves it to them to begin"
        all_.link(a, c)

        async def come_and_go(evil: Villain, phase: float) -> None:
            stream = await evil.gossip_to(c, topics=[])
            await trio.sleep(phase)
            while await send_quietly(stream, subscriptions([TOPIC.id])):
                await trio.sleep(2.5)
                await send_quietly(stream, subscriptions([TOPIC.id], subscribe=False))
                await trio.sleep(1.5)

        for place, evil in enumerate(evils):
            evil.answer(sync.PROTOCOL, agree)
            all_.link(c, evil)
            all_.nursery.start_soon(come_and_go, evil, place)
        await trio.sleep(60)
        before = a.network.counted["sync.served_reconcile"]
        assert await until(lambda: a.network.counted["sync.served_reconcile"] > before + 2, within=20 * 60)

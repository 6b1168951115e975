"""Announcements that poison: heads whose frames never come, and what they do to honest frames and honest peers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio

from tests.transport.attacks.rig import Honest, Session, Town, Villain, head_of, message, town, until
from transport.base import Frame
from transport.conduct import BAR
from transport.live.mesh import MeshSettings
from transport.network import Stream
from transport.sync import wire as sync
from transport.sync.schedule import Rhythm

PATIENCE = 8.0
"""Seconds in which an honest frame should arrive although one peer does what it can."""

SELDOM = MeshSettings(rhythm=Rhythm(period=10_000.0, slowest=40_000.0, retry=1000.0))
"""No reconciliation that is not asked for comes to help by chance."""


async def never(stream: Stream) -> None:
    """Who wants to fetch waits for ever."""
    session = Session(stream)
    hello = await session.hear()
    if isinstance(hello, sync.Hello) and hello.mode is sync.Mode.FETCH:
        await trio.sleep_forever()
    await session.say(sync.No(why=sync.Why.NOT_ALLOWED))


async def welcoming(session: Session, credential: bytes = b"") -> None:
    hello = await session.hear()
    assert isinstance(hello, sync.Hello)
    await session.say(sync.Welcome(may_write=False, low=hello.low, high=hello.high, credential=credential))


async def empty_handed(stream: Stream) -> None:
    """Whatever is pulled is absent, at once."""
    session = Session(stream)
    await welcoming(session)
    while isinstance(asked := await session.hear(), sync.Pull):
        await session.say(sync.Page(entries=(sync.Absent(),) * len(asked.ids)))
    if isinstance(asked, sync.End):
        await session.say(sync.End(received=0, sent=0))


async def ahead_of_the_author(all_: Town, a: Honest, c: Honest, evil: Villain, frame: Frame) -> None:
    """What A says comes to the villain at once, and to C a little later; in between C is told that it exists."""
    all_.link(a, c, evil, a)
    stream = await evil.gossip_to(c)
    await evil.gossip_to(a)
    await trio.sleep(36)
    all_.net.freeze(a.network, c.network)
    await a.mesh.publish(frame)
    await trio.sleep(0.2)
    await stream.send_all(message(head_of(frame)))
    await trio.sleep(0.2)
    all_.net.freeze(a.network, c.network, frozen=False)


@pytest.mark.slow
@pytest.mark.parametrize("size", [100, 100_000])
@pytest.mark.parametrize("handler", [never, empty_handed])
async def test_head_from_who_never_hands_it_out(
    autojump_clock: object, size: int, handler: Callable[[Stream], Awaitable[None]]
) -> None:
    """A subscriber without the key is first to say that a frame exists; the author says it a moment later."""
    async with town() as all_:
        a, c, evil = await all_.honest(settings=SELDOM), await all_.honest(settings=SELDOM), all_.villain()
        evil.answer(sync.PROTOCOL, handler)
        frame = all_.frame(size)
        await ahead_of_the_author(all_, a, c, evil, frame)
        assert await until(lambda: c.read_all(frame), within=PATIENCE)


@pytest.mark.slow
async def test_large_frames_handed_out_by_drops(autojump_clock: object) -> None:
    """An insider announces as many as there are fetchers and sends a piece now and then: nobody waits for it."""
    async with town() as all_:
        a, c = await all_.honest(settings=SELDOM), await all_.honest(settings=SELDOM)
        evil = all_.villain()
        mine = {frame.id: frame for frame in (all_.frame(4 << 20) for _ in range(16))}

        async def by_drops(stream: Stream) -> None:
            session = Session(stream)
            await welcoming(session)
            while isinstance(asked := await session.hear(), sync.Pull):
                entry = sync.entry_of(mine[asked.ids[0]])
                await session.say(sync.Page(entries=(entry,)))
                for start in range(0, 4 << 20, 1 << 16):
                    await trio.sleep(15)
                    await session.say(sync.Piece(data=mine[asked.ids[0]].payload[start : start + (1 << 16)]))

        evil.answer(sync.PROTOCOL, by_drops)
        all_.link(a, c, evil)
        stream = await evil.gossip_to(c)
        await trio.sleep(6)
        for frame in mine.values():
            await stream.send_all(message(head_of(frame)))
            await trio.sleep(0.1)
        for _ in range(5):
            await trio.sleep(20)
            frame = all_.frame(100_000)
            await a.mesh.publish(frame)
            assert await until(lambda: c.read_all(frame), within=PATIENCE)  # noqa: B023


@pytest.mark.slow
async def test_heads_of_frames_that_do_not_exist(autojump_clock: object) -> None:
    """An insider announces them to A, which passes them on before it has them. C must not hold that against A."""
    async with town() as all_:
        a, c = await all_.honest(), await all_.honest()
        evil = all_.villain()
        evil.answer(sync.PROTOCOL, empty_handed)
        all_.link(c, a, evil)
        stream = await evil.gossip_to(a)
        await trio.sleep(6)
        for _ in range(80):
            await stream.send_all(message(head_of(all_.frame(100_000))))
            await trio.sleep(2)
        assert c.network.penalty(a.me) == 0


@pytest.mark.slow
async def test_more_heads_than_are_remembered(autojump_clock: object) -> None:
    """The table of what is to be fetched is full of lies; what an honest peer announces comes by sync."""
    async with town() as all_:
        a, c = await all_.honest(), await all_.honest()
        evil = all_.villain()
        evil.answer(sync.PROTOCOL, never)
        all_.link(a, c, evil)
        stream = await evil.gossip_to(c)
        await trio.sleep(6)
        for _ in range(11):
            await stream.send_all(message(*(head_of(all_.frame(1 << 17)) for _ in range(100))))
        await trio.sleep(1)
        assert len(c.mesh._fetcher._wanted) == 1024
        frame = all_.frame(100_000)
        await a.mesh.publish(frame)
        assert await until(lambda: c.read_all(frame), within=PATIENCE)
        assert sum(offence.price for offence in c.owes(a.me)) < BAR


async def test_leaving_a_topic_while_its_frames_are_fetched(autojump_clock: object) -> None:
    async with town() as all_:
        c, evil = await all_.honest(), all_.villain()
        evil.answer(sync.PROTOCOL, never)
        all_.link(c, evil)
        stream = await evil.gossip_to(c)
        await trio.sleep(1)
        for _ in range(20):
            await stream.send_all(message(head_of(all_.frame(100_000))))
        await trio.sleep(1)
        await c.mesh.leave(all_.frame().topic)
        await trio.sleep(200)
        assert not c.mesh._fetcher._wanted


@pytest.mark.parametrize("size", [100, 100_000])
async def test_announcer_that_goes_away(autojump_clock: object, size: int) -> None:
    async with town() as all_:
        a, c, evil = await all_.honest(settings=SELDOM), await all_.honest(settings=SELDOM), all_.villain()
        evil.answer(sync.PROTOCOL, never)
        frame = all_.frame(size)
        await ahead_of_the_author(all_, a, c, evil, frame)
        all_.net.cut(c.network, evil.network)
        assert await until(lambda: c.read_all(frame), within=PATIENCE)


async def test_second_source_that_is_busy(autojump_clock: object) -> None:
    """One announces and stalls; another announces the same and is busy with something large: we wait, asleep."""
    async with town() as all_:
        c, evil, slow = await all_.honest(settings=SELDOM), all_.villain(), all_.villain()
        large, frame = all_.frame(1 << 20), all_.frame(100_000)

        async def slowly(stream: Stream) -> None:
            session = Session(stream)
            await welcoming(session)
            while isinstance(await session.hear(), sync.Pull):
                await trio.sleep(6)
                await session.say(sync.Page(entries=(sync.Absent(),)))

        evil.answer(sync.PROTOCOL, never)
        slow.answer(sync.PROTOCOL, slowly)
        all_.link(evil, c, slow)
        one, other = await evil.gossip_to(c), await slow.gossip_to(c)
        await trio.sleep(36)
        fetcher, looks = c.mesh._fetcher, 0
        look = fetcher._next_job

        def counted(now: float) -> object:
            nonlocal looks
            looks += 1
            assert looks < 1000, "it turns in circles"
            return look(now)

        fetcher._next_job = counted  # type: ignore[method-assign, assignment]
        await other.send_all(message(head_of(large)))
        await trio.sleep(0.1)
        await one.send_all(message(head_of(frame)))
        await trio.sleep(0.1)
        await other.send_all(message(head_of(frame)))
        await trio.sleep(30)
        assert looks < 1000

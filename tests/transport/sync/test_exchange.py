"""Sessions between honest peers, over streams that push back, break and freeze."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
import trio
from hypothesis import given, settings as hypothesis_settings, strategies as st
from trio.testing import MockClock

from tests.transport.loopback import PIPE
from tests.transport.sync.nodes import HOUR, TOPIC, Intake, Node, made, many, world
from transport.base import AskFailed, Frame, FrameId, Milliseconds, Unreachable
from transport.frames import parse
from transport.network import MAX_WRITE
from transport.sync import ranges
from transport.sync.index import key
from transport.sync.memory_store import MemoryStore
from transport.sync.sessions import Settings
from transport.sync.wire import LARGE, PAGE, Mode


async def test_both_come_to_hold_all() -> None:
    async with world(many(range(50)), many(range(30, 90))) as w:
        a, b = w.nodes
        outcome = await a.exchange.reconcile(b.me, TOPIC)
        assert a.ids() == b.ids() == {frame.id for frame in many(range(90))}
        assert (outcome.received, outcome.sent, outcome.complete) == (40, 30, True)
        assert a.intake.new == 40
        assert b.intake.new == 30
        assert b.served == [(a.me, TOPIC)]
        assert {source for source, _ in a.intake.batches} == {b.me}
        again = await b.exchange.reconcile(a.me, TOPIC)
        assert (again.received, again.sent, again.rounds) == (0, 0, 1)
        assert again.bytes_in + again.bytes_out < 400
        w.no_offences()


@pytest.mark.slow
def test_any_two_sets_become_their_union() -> None:
    @given(
        seed=st.integers(0, 10**9),
        numbers=st.tuples(*[st.integers(0, 60)] * 3),
        skew=st.sampled_from([0, 1000, -30_000, HOUR]),
    )
    @hypothesis_settings(max_examples=100)
    def check(seed: int, numbers: tuple[int, int, int], skew: int) -> None:
        async def run() -> None:
            rng = random.Random(seed)
            shared, ours, _ = numbers
            frames = [made(rng.getrandbits(20), life=rng.randrange(1, 2 * HOUR)) for _ in range(sum(numbers))]
            mine, other = frames[: shared + ours], [*frames[:shared], *frames[shared + ours :]]
            async with world(mine, other, skew=(0, skew)) as w:
                a, b = w.nodes
                await a.exchange.reconcile(b.me, TOPIC)
                border = max(a.now_ms(), b.now_ms()) + 20_000
                wanted = {frame.id for frame in frames if frame.expires > border}
                assert wanted <= a.ids() & b.ids()
                again = await a.exchange.reconcile(b.me, TOPIC)
                assert again.received == again.sent == 0, "a difference that does not end"
                w.no_offences()

        trio.run(run, clock=MockClock(autojump_threshold=0))

    check()


async def test_sizes_from_nothing_to_several_pieces() -> None:
    sizes = [8, 1000, LARGE - 1, LARGE, LARGE + 1, PAGE, 2 * PAGE + 17, 3 * MAX_WRITE, 1 << 20, 9, 10]
    frames = [made(number, size=size) for number, size in enumerate(sizes)]
    async with world(frames[::2], frames[1::2]) as w:
        a, b = w.nodes
        await a.exchange.reconcile(b.me, TOPIC)
        assert a.ids() == b.ids() == {frame.id for frame in frames}
        w.no_offences()


async def test_a_page_fits_the_window_of_a_reader() -> None:
    async with world([], many(range(1000), size=1000)) as w:
        a, b = w.nodes
        await a.exchange.reconcile(b.me, TOPIC)
        largest = max(sum(len(frame.encode()) for frame in frames) for _, frames in a.intake.batches)
        assert PAGE * 0.9 < largest <= PAGE < PIPE


async def test_a_slow_reader_is_no_offence(autojump_clock: MockClock) -> None:
    async with world([], many(range(1000), size=1000)) as w:
        a, b = w.nodes
        a.intake.pause = 60.0
        outcome = await a.exchange.reconcile(b.me, TOPIC)
        assert outcome.received == 1000
        assert trio.current_time() >= 300
        w.no_offences()


async def test_a_reader_that_never_goes_on_frees_its_seat(autojump_clock: MockClock) -> None:
    async with world([], many(range(1000), size=1000)) as w:
        a, b = w.nodes
        a.intake.pause = 1000.0
        with pytest.raises((AskFailed, Unreachable)):
            await a.exchange.reconcile(b.me, TOPIC)
        assert b.offences() == []
        assert sum(map(len, b.exchange._server._seats.values())) == 0


@pytest.mark.slow
async def test_what_came_before_a_break_is_kept(autojump_clock: MockClock) -> None:
    frames = many(range(3000), size=1000)
    async with world([], frames) as w:
        a, b = w.nodes
        a.intake.pause = 1.0
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def cut() -> None:
                await trio.sleep(8.5)
                w.net.cut(a.network, b.network)

            with pytest.raises(Unreachable):
                await a.exchange.reconcile(b.me, TOPIC)
        came = len(a.ids())
        assert 1000 < came < 3000
        w.net.link(a.network, b.network)
        outcome = await a.exchange.reconcile(b.me, TOPIC)
        assert outcome.received == 3000 - came
        assert a.ids() == b.ids()
        w.no_offences()


async def test_a_frozen_peer_costs_its_deadline_no_more(autojump_clock: MockClock) -> None:
    async with world([], many(range(3000), size=1000)) as w:
        a, b = w.nodes
        a.intake.pause = 1.0
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def freeze() -> None:
                await trio.sleep(3.5)
                w.net.freeze(a.network, b.network)

            with pytest.raises(Unreachable):
                await a.exchange.reconcile(b.me, TOPIC)
        assert trio.current_time() < 3.5 + 1 + Settings().answer + 1
        assert len(a.ids()) > 100
        await trio.sleep(Settings().idle + 1)
        assert sum(map(len, b.exchange._server._seats.values())) == 0
        assert b.offences() == []


@pytest.mark.slow
async def test_both_sides_at_once_move_each_frame_once() -> None:
    frames = many(range(2000))
    async with world(frames[:1200], frames[800:]) as w:
        a, b = w.nodes
        async with trio.open_nursery() as nursery:
            nursery.start_soon(a.exchange.reconcile, b.me, TOPIC)
            nursery.start_soon(b.exchange.reconcile, a.me, TOPIC)
        await a.exchange.reconcile(b.me, TOPIC)
        assert a.ids() == b.ids() == {frame.id for frame in frames}
        moved = a.network.counted["sync.frames_out"] + b.network.counted["sync.frames_out"]
        assert moved < 1600 * 1.1
        w.no_offences()


@pytest.mark.slow
async def test_several_peers_at_once_move_each_frame_about_once() -> None:
    frames = many(range(1500))
    async with world([], frames, frames, frames) as w:
        a, *others = w.nodes
        async with trio.open_nursery() as nursery:
            for other in others:
                nursery.start_soon(a.exchange.reconcile, other.me, TOPIC)
        await a.exchange.reconcile(others[0].me, TOPIC)
        assert a.ids() == others[0].ids()
        assert sum(other.network.counted["sync.frames_out"] for other in others) < 1500 * 1.2
        w.no_offences()


@pytest.mark.slow
async def test_frames_that_come_meanwhile(autojump_clock: MockClock) -> None:
    """Added, expired and dropped on both sides while a session runs: no fault, and the next one has the rest."""
    frames = many(range(2000))
    short = many(range(5000, 5300), life=13_000)
    async with world([*frames[:1000], *short[:150]], [*frames[500:1500], *short[150:]]) as w:
        a, b = w.nodes
        a.intake.pause = b.intake.pause = 1.0
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def change() -> None:
                for start in range(1500, 2000, 50):
                    await a.log.add(frames[start : start + 30])
                    await b.log.add(frames[start + 20 : start + 50])
                    await trio.sleep(0.3)
                    for node in w.nodes:
                        await node.log.expire()

            await a.exchange.reconcile(b.me, TOPIC)
        await trio.sleep(30)
        for node in w.nodes:
            await node.log.expire()
        await b.exchange.reconcile(a.me, TOPIC)
        assert a.ids() == b.ids() == {frame.id for frame in frames}
        w.no_offences()


async def test_a_reader_that_may_not_write_gets_and_gives_nothing() -> None:
    async with world(many(range(20)), many(range(10, 40))) as w:
        a, b = w.nodes
        a.credentials.word = b"reader"
        outcome = await a.exchange.reconcile(b.me, TOPIC)
        assert (outcome.received, outcome.sent) == (20, 0)
        assert len(b.ids()) == 30
        w.no_offences()


async def test_refused_alike_for_no_right_and_no_topic() -> None:
    async with world([], [], []) as w:
        a, b, c = w.nodes
        a.credentials.word = b"stranger"
        c.intake.kept.clear()
        for other in (b, c):
            with pytest.raises(AskFailed, match="not allowed"):
                await a.exchange.reconcile(other.me, TOPIC)
        a.credentials.word = b"member"
        with pytest.raises(AskFailed, match="not allowed"):
            await a.exchange.reconcile(c.me, TOPIC)
        assert [offence.name for offence in b.offences()] == ["UNAUTHORIZED"]
        assert [offence.name for offence in c.offences()] == ["UNAUTHORIZED"] * 2
        with pytest.raises(AskFailed, match="not kept here"):
            await c.exchange.reconcile(a.me, TOPIC)


async def test_a_stranger_that_answers_is_brought_nothing() -> None:
    async with world(many(range(20)), []) as w:
        a, b = w.nodes
        b.credentials.word = b"stranger"
        with pytest.raises(AskFailed):
            await a.exchange.reconcile(b.me, TOPIC)
        assert not b.ids()
        assert [offence.name for offence in a.offences()] == ["UNAUTHORIZED"]


async def test_busy(autojump_clock: MockClock) -> None:
    async with world(many(range(20)), many(range(10)), [], settings=Settings(reconciled=1)) as w:
        a, b, c = w.nodes
        b.intake.pause = 10.0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(a.exchange.reconcile, b.me, TOPIC)
            await trio.sleep(1)
            with pytest.raises(AskFailed, match="busy"):
                await c.exchange.reconcile(b.me, TOPIC)
        w.no_offences()


async def test_a_second_session_with_a_peer_waits_for_the_first(autojump_clock: MockClock) -> None:
    async with world([], many(range(10))) as w:
        a, b = w.nodes
        a.intake.pause = 50.0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(a.exchange.reconcile, b.me, TOPIC)
            await trio.sleep(1)
            await a.exchange.reconcile(b.me, TOPIC)
            assert trio.current_time() >= 50
        a.intake.pause = 500.0
        await b.log.add(many(range(10, 20)))
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def first() -> None:
                with pytest.raises(Unreachable):
                    await a.exchange.reconcile(b.me, TOPIC)

            await trio.sleep(1)
            with pytest.raises(AskFailed, match="does not end"):
                await a.exchange.reconcile(b.me, TOPIC)
        assert not a.exchange._open_with
        assert not a.exchange._callers


async def test_turns(autojump_clock: MockClock) -> None:
    async with world([], many(range(10)), [], settings=Settings(reconciling=1)) as w:
        a, b, c = w.nodes
        a.intake.pause = 50.0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(a.exchange.reconcile, b.me, TOPIC)
            await trio.sleep(1)
            await a.exchange.reconcile(c.me, TOPIC)
            assert 50 <= trio.current_time() < 52
        assert a.network.counted["sync.gave_way"] == 0
        w.no_offences()


async def test_too_many_sessions(autojump_clock: MockClock) -> None:
    async with world([], [], settings=Settings(reconciling=1, settled=500.0)) as w:
        a, b = w.nodes
        async with a.exchange._turns[Mode.RECONCILE].turn():
            with pytest.raises(AskFailed, match="too many"):
                await a.exchange.reconcile(b.me, TOPIC)
        await a.exchange.reconcile(b.me, TOPIC)
        w.no_offences()


async def test_the_slowest_gives_way_to_who_waits(autojump_clock: MockClock) -> None:
    """Both have had their turn for long enough; one of them still gets things done."""
    settings = Settings(reconciling=2, settled=20.0)
    async with world([], many(range(3000)), many(range(10_000, 10_010), size=8), [], settings=settings) as w:
        a, b, c, d = w.nodes
        a.intake.pause = 10.0
        ended: list[str] = []

        async def reconcile(name: str, node: Node) -> None:
            try:
                await a.exchange.reconcile(node.me, TOPIC)
                ended.append(name)
            except AskFailed as error:
                ended.append(f"{name}: {error}")

        async with trio.open_nursery() as nursery:
            a.intake.pause = 60.0
            nursery.start_soon(reconcile, "c", c)
            await trio.sleep(1)
            a.intake.pause = 10.0
            nursery.start_soon(reconcile, "b", b)
            await trio.sleep(30)
            nursery.start_soon(reconcile, "d", d)
            await trio.sleep(2)
            assert ended[0] == "c: the session gave way to others that waited"
            assert a.network.counted["sync.gave_way"] == 1
        assert sorted(ended[1:]) == ["b", "d"]
        assert not any(turns._held for turns in a.exchange._turns.values())
        w.no_offences()


async def test_what_is_found_in_several_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    """More is lacking than one session looks for: the next one goes on."""
    monkeypatch.setattr(ranges, "MOST_LACKED", 100)
    async with world([], many(range(2000))) as w:
        a, b = w.nodes
        outcome = await a.exchange.reconcile(b.me, TOPIC)
        assert (outcome.received, outcome.sent, outcome.complete) == (2000, 0, True)
        assert a.network.counted["sync.sessions"] > 1
        assert outcome.bytes_in == a.network.counted["sync.bytes_in"]
        w.no_offences()


async def test_frames_that_expire_on_their_way(autojump_clock: MockClock) -> None:
    """The reader is slow, and the clocks differ: what is dead when it comes is nobody's fault."""
    short = [made(number, size=size, life=30_000) for number, size in enumerate([LARGE + 1] * 3 + [1000] * 600)]
    lasting = many(range(5000, 5010))
    async with world([], [*short, *lasting], skew=(5000, 0)) as w:
        a, b = w.nodes
        a.intake.pause = 28.0
        outcome = await a.exchange.reconcile(b.me, TOPIC)
        assert outcome.complete
        assert {frame.id for frame in lasting} <= a.ids()
        assert a.network.counted["sync.died"] > 0
        w.no_offences()


async def test_what_the_store_declined_is_not_brought_again() -> None:
    class Choosy(MemoryStore):
        async def add(self, frames: Sequence[Frame]) -> Sequence[FrameId]:
            return await super().add([frame for frame in frames if len(frame.payload) < 1000])

    frames = [*many(range(20)), *many(range(100, 110), size=2000)]
    async with world([], frames) as w:
        a, b = w.nodes
        a.log._store = Choosy()
        await a.exchange.reconcile(b.me, TOPIC)
        again = await a.exchange.reconcile(b.me, TOPIC)
        assert (again.received, again.sent, again.complete) == (0, 0, True)
        assert await a.exchange.fetch(b.me, TOPIC, [parse(frames[-1].head)], wait=1.0) == []
        assert a.ids() == {frame.id for frame in frames[:20]}
        assert a.network.counted["sync.declined"] == 10
        assert a.network.counted["sync.frames_in"] == 30
        w.no_offences()


async def test_an_intake_that_fails_ends_the_session_only() -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("full")

    async with world(many(range(10)), many(range(5, 20))) as w:
        a, b = w.nodes
        for failing in w.nodes:
            failing.intake.frames = fail  # type: ignore[method-assign, assignment]
            with pytest.raises((AskFailed, Unreachable)):
                await a.exchange.reconcile(b.me, TOPIC)
            assert failing.network.counted["sync.not_taken"] > 0
            failing.intake = Intake(failing.log)
            failing.exchange._inbox._intake = failing.intake
        await a.exchange.reconcile(b.me, TOPIC)
        assert len(a.ids()) == len(b.ids()) == 20
        w.no_offences()


@pytest.mark.slow
async def test_a_caller_that_gives_up_leaves_nothing_behind(autojump_clock: MockClock) -> None:
    async with world([], many(range(2000))) as w:
        a, b = w.nodes
        a.intake.pause = 5.0
        with trio.move_on_after(12):
            await a.exchange.reconcile(b.me, TOPIC)
        await trio.sleep(1)
        assert sum(map(len, b.exchange._server._seats.values())) == 0
        assert not a.exchange._inbox._claims
        a.intake.pause = 0.0
        await a.exchange.reconcile(b.me, TOPIC)
        assert a.ids() == b.ids()
        w.no_offences()


async def test_peers_that_are_not_there() -> None:
    async with world([], []) as w:
        a, b = w.nodes
        w.net.cut(a.network, b.network)
        with pytest.raises(Unreachable):
            await a.exchange.reconcile(b.me, TOPIC)
        with pytest.raises(Unreachable):
            await a.exchange.fetch(b.me, TOPIC, [parse(made(1).head)], wait=0)
        assert a.offences() == []


# ---------------------------------------------------------------- fetch


async def test_fetch_what_is_there() -> None:
    frames = [made(1, size=1 << 20), made(2, size=200_000), made(3)]
    async with world([frames[2]], frames) as w:
        a, b = w.nodes
        got = await a.exchange.fetch(b.me, TOPIC, [parse(frame.head) for frame in frames], wait=0)
        assert got == frames[:2]
        assert a.intake.batches == []
        assert await a.exchange.fetch(b.me, TOPIC, [parse(frames[2].head)], wait=0) == []
        w.no_offences()


async def test_fetch_waits_for_what_is_about_to_arrive(autojump_clock: MockClock) -> None:
    frames = [made(1, size=1 << 20), made(2), made(3)]
    async with world([], frames[1:2]) as w:
        a, b = w.nodes
        b.intake.expected = {frame.id for frame in frames}
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def arrive() -> None:
                await trio.sleep(5)
                await b.log.add(frames[:1])

            wanted = [parse(frame.head) for frame in frames]
            assert await a.exchange.fetch(b.me, TOPIC, wanted, wait=8.0) == frames[:2]
        assert 7.5 < trio.current_time() < 9
        assert a.network.counted["sync.absent"] == 1
        assert a.offences() == []
        b.intake.expected.clear()
        assert await a.exchange.fetch(b.me, TOPIC, wanted[2:], wait=8.0) == []
        assert trio.current_time() < 9, "nobody expects it: no wait"


async def test_fetch_keeps_what_came(autojump_clock: MockClock) -> None:
    frames = [made(1), made(2)]
    async with world([], frames[:1]) as w:
        a, b = w.nodes
        b.intake.expected = {frames[1].id}
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def cut() -> None:
                await trio.sleep(1)
                w.net.cut(a.network, b.network)

            wanted = [parse(frame.head) for frame in frames]
            assert await a.exchange.fetch(b.me, TOPIC, wanted, wait=8.0) == frames[:1]


@pytest.mark.slow
async def test_a_hundred_thousand_frames_and_ten_that_are_missing() -> None:
    """Cost follows the difference: one frame sealed, the log filled with entries that claim to be there."""
    frames = many(range(10))
    async with world(frames[:5], frames[5:]) as w:
        a, b = w.nodes
        rng = random.Random(7)
        for _ in range(100_000):
            one = key(Milliseconds(frames[0].expires + rng.randrange(10**9)), FrameId(rng.randbytes(32)))
            for node in w.nodes:
                index = node.log.index(TOPIC)
                assert index is not None
                index.insert(one)
        outcome = await a.exchange.reconcile(b.me, TOPIC)
        assert (outcome.received, outcome.sent) == (5, 5)
        assert outcome.rounds <= 4
        assert outcome.bytes_in + outcome.bytes_out < 40_000
        w.no_offences()

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
import trio
import trio.testing

from transport import frames
from transport.base import AskFailed, Frame, FrameId, Milliseconds, PeerId, TopicId
from transport.frames import Head
from transport.live.fetch import Fetcher
from transport.signing import SigningKey

KEY = SigningKey(bytes(32))
OTHER = SigningKey(bytes(31) + b"\1")
ONE, TWO, THREE = PeerId("one"), PeerId("two"), PeerId("three")


class Scene:
    """Peers that have some frames; what was asked of whom, what came, what was given up."""

    def __init__(self, *, workers: int = 2, most_wanted: int = 100, most_bytes: int = 1000) -> None:
        self.has: dict[PeerId, dict[FrameId, Frame]] = {ONE: {}, TWO: {}, THREE: {}}
        self.broken: set[PeerId] = set()
        self.asked: list[tuple[PeerId, int]] = []
        self.came: list[FrameId] = []
        self.late: list[tuple[PeerId, TopicId]] = []
        self.counted: Counter[str] = Counter()
        self.stalled: list[PeerId] = []
        self.silent: set[PeerId] = set()
        self.go = trio.Event()
        self.fetcher = Fetcher(
            fetch=self.fetch,
            arrived=self.arrived,
            give_up=lambda peer, topic: self.late.append((peer, topic)),
            count=lambda name, amount: self.counted.update({name: amount}),
            known=lambda topic, frame: frame in self.came,
            stalled=self.stalled.append,
            workers=workers,
            most_wanted=most_wanted,
            most_bytes=most_bytes,
        )

    async def fetch(self, peer: PeerId, topic: TopicId, heads: Sequence[Head], *, wait: float) -> list[Frame]:
        self.asked.append((peer, len(heads)))
        await self.go.wait()
        await trio.sleep(1)
        if peer in self.silent:
            await trio.sleep_forever()
        if peer in self.broken:
            raise AskFailed("broken")
        return [self.has[peer][head.id] for head in heads if head.id in self.has[peer]]

    async def arrived(self, topic: TopicId, frames: Sequence[Frame], source: PeerId) -> None:
        await trio.lowlevel.checkpoint()
        self.came.extend(frame.id for frame in frames)

    def frame(self, n: int, *peers: PeerId, size: int = 10, key: SigningKey = KEY) -> Head:
        made = frames.seal(key, bytes([n]) * size, Milliseconds(10**12))
        for peer in peers:
            self.has[peer][made.id] = made
        return frames.parse(made.head)

    async def settle(self) -> None:
        self.go.set()
        with trio.move_on_after(100):
            await self.fetcher.run()


@pytest.fixture
def scene() -> Scene:
    return Scene()


async def test_one_frame_announced_by_many_is_asked_for_once(
    autojump_clock: trio.testing.MockClock, scene: Scene
) -> None:
    head = scene.frame(1, ONE, TWO)
    for peer in (ONE, TWO, ONE):
        scene.fetcher.announced([head], peer)
    assert scene.fetcher.wants(head.id)
    await scene.settle()
    assert scene.came == [head.id]
    assert scene.asked == [(ONE, 1)]
    assert not scene.fetcher.wants(head.id)
    assert scene.late == []


async def test_the_next_peer_is_asked_when_one_fails_or_has_it_not(
    autojump_clock: trio.testing.MockClock, scene: Scene
) -> None:
    head = scene.frame(1, THREE)
    scene.broken = {ONE}
    for peer in (ONE, TWO, THREE):
        scene.fetcher.announced([head], peer)
    await scene.settle()
    assert [peer for peer, _ in scene.asked] == [ONE, TWO, THREE]
    assert scene.came == [head.id]
    assert scene.counted["fetch.failed"] == 1


async def test_given_up_when_nobody_is_left(autojump_clock: trio.testing.MockClock, scene: Scene) -> None:
    head = scene.frame(1)
    scene.fetcher.announced([head], ONE)
    scene.fetcher.announced([head], TWO)
    await scene.settle()
    assert scene.late == [(TWO, head.topic)]
    assert not scene.fetcher.wants(head.id)


async def test_what_one_peer_announced_is_asked_for_together_within_the_bytes(
    autojump_clock: trio.testing.MockClock, scene: Scene
) -> None:
    heads = [scene.frame(n, ONE, size=300) for n in range(7)]
    scene.fetcher.announced(heads, ONE)
    await scene.settle()
    assert sorted(scene.came) == sorted(head.id for head in heads)
    assert sum(number for _, number in scene.asked) == 7
    assert max(number for _, number in scene.asked) == 3


async def test_a_frame_larger_than_the_bytes_goes_alone(autojump_clock: trio.testing.MockClock, scene: Scene) -> None:
    heads = [scene.frame(n, ONE, size=2000) for n in range(3)]
    scene.fetcher.announced(heads, ONE)
    await scene.settle()
    assert len(scene.came) == 3


async def test_topics_are_not_mixed(autojump_clock: trio.testing.MockClock, scene: Scene) -> None:
    scene.fetcher.announced([scene.frame(1, ONE), scene.frame(1, ONE, key=OTHER), scene.frame(2, ONE)], ONE)
    await scene.settle()
    assert sorted(scene.asked) == [(ONE, 1), (ONE, 2)]


async def test_what_does_not_fit_is_left_to_sync(autojump_clock: trio.testing.MockClock) -> None:
    scene = Scene(most_wanted=3)
    heads = [scene.frame(n, ONE) for n in range(5)]
    scene.fetcher.announced(heads, ONE)
    assert scene.late == [(ONE, heads[0].topic)] * 2
    assert [scene.fetcher.wants(head.id) for head in heads] == [True] * 3 + [False] * 2
    await scene.settle()
    assert len(scene.came) == 3


async def test_leaving_a_topic_forgets_what_was_wanted_of_it(
    autojump_clock: trio.testing.MockClock, scene: Scene
) -> None:
    kept, left = scene.frame(1, ONE), scene.frame(1, ONE, key=OTHER)
    scene.fetcher.announced([kept, left], ONE)
    scene.fetcher.forget_topic(left.topic)
    await scene.settle()
    assert scene.came == [kept.id]


async def test_a_peer_that_dawdles_holds_up_only_what_it_alone_announced(
    autojump_clock: trio.testing.MockClock, scene: Scene
) -> None:
    scene.silent = {ONE}
    scene.fetcher.announced([scene.frame(n, ONE) for n in range(3)], ONE)
    shared, other = scene.frame(10, ONE, TWO), scene.frame(11, TWO)
    scene.fetcher.announced([shared], ONE)
    scene.go.set()
    with trio.move_on_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(scene.fetcher.run)
            await trio.sleep(0.5)
            scene.fetcher.announced([shared, other], TWO)
            await trio.sleep(5)
            assert set(scene.came) == {other.id, shared.id}
            await trio.sleep(100)
    assert ONE in scene.stalled
    assert len(scene.late) == 3

"""What the node asks to be done, in its order, and what it is answered.

The owner leaves effects here when the state that they follow from is on disk. They are done one after the other, but
for frames that follow each other, which are published together: each waits for the disk, and they can share it. What
takes longer than that (asking others for a KeyPackage, comparing a topic with somebody) is begun here and answered when
it is done.

Nothing is kept: after a crash the node gives everything again that nobody said was done.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Protocol

import trio

from vcd.core import effects, inputs
from vcd.core.effects import Effect
from vcd.core.names import AccountId, DeviceId, TopicId
from vcd.core.state import State

MOST = 4096
"""Effects that wait before no more inputs are looked at."""
TOGETHER = 64
"""Frames that are published at once."""
ASKED = 8
"""Questions for others that are under way at once."""


LOOK = 10.0
"""Seconds after which the clocks are compared at the latest."""
SLEPT = 30_000
"""Milliseconds by which the wall's clock went ahead of the machine's own one, so that it slept."""


class Ticks(Protocol):
    async def tell(self, given: inputs.Input, *, frame: tuple[bytes, bytes] | None = None) -> None: ...


class Clock(Protocol):
    def __call__(self) -> int: ...


class Answers(Protocol):
    """The owner, as the hands see it."""

    def look(self) -> State: ...
    def answer(self, given: inputs.Input, *, frame: tuple[bytes, bytes] | None = None) -> None: ...


class Net(Protocol):
    """The mesh, as the hands see it."""

    async def join(self, topic: TopicId, seed: bytes) -> None: ...
    async def leave(self, topic: TopicId) -> None: ...
    async def publish(self, effect: effects.Publish) -> tuple[bytes, bytes]:
        """The frame's topic and id, when it is on disk."""
        ...

    async def synchronize(self, topic: TopicId) -> None: ...
    def met(self, record: bytes, *, group: bytes, own: bool) -> None: ...


class Packages(Protocol):
    """Where KeyPackages are given out and asked for."""

    async def offer(self, effect: effects.OfferPackages) -> tuple[bytes, ...]:
        """Those that somebody else has on disk now."""
        ...

    async def take_back(self, references: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """Those that nobody is given any more; of the others the node is told later."""
        ...

    async def fetch(self, account: AccountId, addresses: Sequence[bytes]) -> bytes | None: ...


class Pairing(Protocol):
    """Who links devices."""

    async def hand_over(self, device: DeviceId, welcome: bytes) -> None: ...


class Alarm:
    """The one time at which the node wants to be woken."""

    def __init__(self) -> None:
        self.at = 0
        self.changed = trio.Event()

    def set(self, at: int) -> None:
        self.at = at
        self.changed.set()
        self.changed = trio.Event()


class Hands:
    """See above."""

    def __init__(self, *, net: Net, packages: Packages, pairing: Pairing, alarm: Alarm) -> None:
        self._net = net
        self._packages = packages
        self._pairing = pairing
        self._alarm = alarm
        self._queue: deque[Effect] = deque()
        self._news = trio.Event()
        self._done = trio.Event()
        self._asking = trio.CapacityLimiter(ASKED)

    def run(self, effects: Sequence[Effect]) -> None:
        self._queue.extend(effects)
        self._news.set()

    async def room(self) -> None:
        while len(self._queue) > MOST:
            self._done = trio.Event()
            await self._done.wait()

    async def work(self, owner: Answers) -> None:
        """The task."""
        async with trio.open_nursery() as nursery:
            while True:
                while not self._queue:
                    self._news = trio.Event()
                    await self._news.wait()
                if isinstance(self._queue[0], effects.Publish):
                    await self._publish(owner)
                else:
                    await self._do(self._queue.popleft(), owner, nursery)
                self._done.set()

    async def _publish(self, owner: Answers) -> None:
        several: list[effects.Publish] = []
        while self._queue and len(several) < TOGETHER:
            first = self._queue[0]
            if not isinstance(first, effects.Publish):
                break
            several.append(first)
            self._queue.popleft()

        async def one(effect: effects.Publish) -> None:
            frame = await self._net.publish(effect)
            owner.answer(inputs.Published(number=effect.number), frame=frame)

        async with trio.open_nursery() as nursery:
            for each in several:
                nursery.start_soon(one, each)

    async def _do(self, effect: Effect, owner: Answers, nursery: trio.Nursery) -> None:
        match effect:
            case effects.Join():
                await self._net.join(effect.topic, effect.seed.raw)
            case effects.Leave():
                await self._net.leave(effect.topic)
            case effects.Wake():
                self._alarm.set(effect.at)
            case effects.Synchronize():
                nursery.start_soon(self._synchronize, effect.topic)
            case effects.Met():
                self._net.met(effect.record, group=effect.group, own=effect.group == owner.look().home)
            case effects.FetchPackage():
                nursery.start_soon(self._fetch, effect, owner)
            case effects.OfferPackages():
                offered = await self._packages.offer(effect)
                if offered:
                    owner.answer(inputs.Offered(references=offered))
            case effects.TakeBackPackages():
                back = await self._packages.take_back(effect.references)
                if back:
                    owner.answer(inputs.TakenBack(references=back))
            case effects.HandOver():
                nursery.start_soon(self._hand_over, effect)
            case effects.Publish():
                raise AssertionError("published above")

    async def _synchronize(self, topic: TopicId) -> None:
        async with self._asking:
            await self._net.synchronize(topic)

    async def _fetch(self, effect: effects.FetchPackage, owner: Answers) -> None:
        async with self._asking:
            package = await self._packages.fetch(effect.account, effect.addresses)
        owner.answer(inputs.Fetched(account=effect.account, package=package))

    async def _hand_over(self, effect: effects.HandOver) -> None:
        await self._pairing.hand_over(effect.device, effect.welcome)


async def wake(alarm: Alarm, owner: Ticks, now_ms: Clock) -> None:
    """The task that gives `Tick`, and notices when the machine slept.

    The wall's clock may jump; a jump ahead of what the machine's own clock says is sleep, or somebody who set the
    clock. Either way time went by in which nothing was heard.
    """
    before_wall, before_own = now_ms(), trio.current_time()
    while True:
        wait = (alarm.at - now_ms()) / 1000 if alarm.at else LOOK
        changed = alarm.changed
        with trio.move_on_after(max(0.0, min(wait, LOOK))):
            await changed.wait()
        wall, own = now_ms(), trio.current_time()
        gap = (wall - before_wall) - int((own - before_own) * 1000)
        if gap > SLEPT:
            await owner.tell(inputs.Slept(milliseconds=gap))
        elif gap < -SLEPT:
            await owner.tell(inputs.Tick())  # so that the node sees that it was set back, and says anew when to wake it
        before_wall, before_own = wall, own
        if alarm.at and alarm.at <= wall:
            alarm.at = 0
            await owner.tell(inputs.Tick())

"""Large frames are announced by their head; this room gets them, from whoever announced them.

A head that arrives is remembered with everybody who announced it. Workers take what is waiting, ask one of those
peers for it (together with the other frames that peer has announced), and go on to the next if that fails. When
nobody is left, the frame is given up: the peer is reported as `behind`, so that sync asks it when it is calm.

Who announces need not be honest, nor have the frame. So a peer has one worker at a time and a limit that follows
from how much it was asked for, at `SLOWEST` bytes a second; beyond it is charged. Long before that another one is
asked beside it, if there is one. A frame that comes another way meanwhile is taken as it comes.

What is wanted is bounded, in number and, since heads say their size, in bytes under way; an announcement that does
not fit is left to sync at once.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import trio

from transport.base import Frame, FrameId, PeerId, TopicId, TransportError
from transport.frames import Head


class Fetch(Protocol):
    """As `sync.exchange.Exchange.fetch`."""

    async def __call__(
        self, peer: PeerId, topic: TopicId, heads: Sequence[Head], *, wait: float
    ) -> Sequence[Frame]: ...


SLOWEST: Final = 32 << 10
"""Bytes a second that a peer may take for what it announced."""

SECOND_OPINION: Final = 1.5
"""Seconds after which another peer is asked beside the first."""

MOST_SOURCES: Final = 8

LEEWAY: Final = 3.0
"""Seconds for opening a stream and saying what is wanted."""


@dataclass(slots=True)
class _Wanted:
    head: Head
    sources: list[PeerId] = field(default_factory=list)  # everybody who announced it, `MOST_SOURCES` at most
    untried: list[PeerId] = field(default_factory=list)
    asking: int = 0  # peers that are being asked now
    asked_at: float = 0.0

    def ready(self, now: float) -> bool:
        """Whether to ask somebody (else)."""
        return bool(self.untried) and (not self.asking or (self.asking < 2 and now - self.asked_at >= SECOND_OPINION))


class Fetcher:
    """One owner of what is wanted."""

    def __init__(
        self,
        *,
        fetch: Fetch,
        arrived: Callable[[TopicId, Sequence[Frame], PeerId], Awaitable[None]],
        give_up: Callable[[PeerId, TopicId], None],
        count: Callable[[str, int], None],
        known: Callable[[TopicId, FrameId], bool],
        stalled: Callable[[PeerId], None],
        workers: int = 16,
        most_wanted: int = 1024,
        most_bytes: int = 4 << 20,
        wait: float = 5.0,
    ) -> None:
        """`most_bytes`: of one request, and so, times `workers`, of all that are under way."""
        self._known, self._stalled = known, stalled
        self._asked: set[PeerId] = set()
        self._fetch, self._arrived, self._give_up, self._count = fetch, arrived, give_up, count
        self._workers, self._most_wanted, self._most_bytes, self._wait = workers, most_wanted, most_bytes, wait
        self._wanted: dict[FrameId, _Wanted] = {}
        self._more = trio.Event()

    def wants(self, frame: FrameId) -> bool:
        return frame in self._wanted

    def announced(self, heads: Sequence[Head], source: PeerId) -> None:
        for head in heads:
            wanted = self._wanted.get(head.id)
            if wanted is None:
                if len(self._wanted) >= self._most_wanted:
                    self._count("fetch.left_to_sync", 1)
                    self._give_up(source, head.topic)
                    continue
                wanted = self._wanted[head.id] = _Wanted(head)
            if source not in wanted.sources and len(wanted.sources) < MOST_SOURCES:
                wanted.sources.append(source)
                wanted.untried.append(source)
        self._wake()

    def forget_topic(self, topic: TopicId) -> None:
        for frame in [frame for frame, wanted in self._wanted.items() if wanted.head.topic == topic]:
            del self._wanted[frame]

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            for number in range(self._workers):
                nursery.start_soon(self._work, name=f"fetch {number}")

    def _wake(self) -> None:
        self._more.set()
        self._more = trio.Event()

    async def _work(self) -> None:
        while True:
            now = trio.current_time()
            job = self._next_job(now)
            if job is None:
                with trio.move_on_at(self._next_at()):
                    await self._more.wait()
                continue
            peer, topic, asked = job
            frames: Sequence[Frame] = ()
            try:
                try:
                    frames = await self._ask(peer, topic, [wanted.head for wanted in asked])
                finally:
                    self._asked.discard(peer)
                await self._arrived(topic, frames, peer)
            finally:
                self._settle(asked, {frame.id for frame in frames}, peer)

    async def _ask(self, peer: PeerId, topic: TopicId, heads: Sequence[Head]) -> Sequence[Frame]:
        """What the peer hands out of these in time; nothing if it does not."""
        limit = self._wait + LEEWAY + sum(head.size for head in heads) / SLOWEST
        try:
            with trio.fail_after(limit):
                frames = await self._fetch(peer, topic, heads, wait=self._wait)
        except trio.TooSlowError:
            self._count("fetch.too_slow", 1)
            self._stalled(peer)
            return ()
        except TransportError:
            self._count("fetch.failed", 1)
            return ()
        self._count("fetch.frames", len(frames))
        return frames

    def _next_job(self, now: float) -> tuple[PeerId, TopicId, list[_Wanted]] | None:
        """All that is waiting for a free peer of the longest-waiting frame, up to a limit of bytes."""
        peer: PeerId | None = None
        topic: TopicId | None = None
        job: list[_Wanted] = []
        size = 0
        for wanted in self._wanted.values():
            if not wanted.ready(now):
                continue
            if peer is None:
                peer = next((source for source in wanted.untried if source not in self._asked), None)
                if peer is None:
                    continue
                topic = wanted.head.topic
            elif peer not in wanted.untried or topic != wanted.head.topic:
                continue
            if job and size + wanted.head.size > self._most_bytes:
                break
            wanted.untried.remove(peer)
            wanted.asking += 1
            wanted.asked_at = now
            job.append(wanted)
            size += wanted.head.size
        if peer is None or topic is None:
            return None
        self._asked.add(peer)
        return peer, topic, job

    def _next_at(self) -> float:
        """When somebody else may be asked for what somebody is slow with."""
        slow = [
            wanted.asked_at
            for wanted in self._wanted.values()
            if wanted.asking == 1 and any(source not in self._asked for source in wanted.untried)
        ]
        return min(slow, default=math.inf) + SECOND_OPINION

    def _settle(self, asked: Sequence[_Wanted], got: set[FrameId], peer: PeerId) -> None:
        for wanted in asked:
            wanted.asking -= 1
            head = wanted.head
            if self._wanted.get(head.id) is not wanted:
                continue  # another peer was faster, or the topic was left
            if head.id in got or self._known(head.topic, head.id):
                del self._wanted[head.id]
            elif not wanted.asking and not wanted.untried:
                del self._wanted[head.id]
                self._give_up(peer, head.topic)
        self._wake()

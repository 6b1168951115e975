"""Large frames are announced by their head; this room gets them, from whoever announced them.

A head that arrives is remembered with everybody who announced it. A few workers take what is waiting, ask the
first of those peers for it (together with the other frames that peer has announced), and go on to the next if
that fails. When nobody is left, the frame is given up: the peers are reported as `behind`, so that sync asks
them when they are calm.

While a frame is wanted it counts as known, so it is neither verified nor announced to us again; when it is
given up, it is not. What is wanted is bounded, in number and, since heads say their size, in bytes under way;
an announcement that does not fit is left to sync at once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import trio

from transport.base import Frame, FrameId, PeerId, TopicId, TransportError
from transport.frames import Head


class Fetch(Protocol):
    """As `sync.exchange.Exchange.fetch`."""

    async def __call__(
        self, peer: PeerId, topic: TopicId, heads: Sequence[Head], *, wait: float
    ) -> Sequence[Frame]: ...


@dataclass(slots=True)
class _Wanted:
    head: Head
    sources: list[PeerId] = field(default_factory=list)
    busy: bool = False


class Fetcher:
    """One owner of what is wanted."""

    def __init__(
        self,
        *,
        fetch: Fetch,
        arrived: Callable[[TopicId, Sequence[Frame], PeerId], Awaitable[None]],
        give_up: Callable[[PeerId, TopicId], None],
        count: Callable[[str, int], None],
        workers: int = 4,
        most_wanted: int = 1024,
        most_bytes: int = 16 << 20,
        wait: float = 10.0,
    ) -> None:
        """`most_bytes`: of one request, and so, times `workers`, of all that are under way."""
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
            if source not in wanted.sources and len(wanted.sources) < 8:
                wanted.sources.append(source)
        self._wake()

    def forget_topic(self, topic: TopicId) -> None:
        for frame in [frame for frame, wanted in self._wanted.items() if wanted.head.topic == topic]:
            if not self._wanted[frame].busy:
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
            job = self._next_job()
            if job is None:
                await self._more.wait()
                continue
            peer, topic, heads = job
            got: set[FrameId] = set()
            try:
                frames = await self._fetch(peer, topic, heads, wait=self._wait)
                got = {frame.id for frame in frames}
                await self._arrived(topic, frames, peer)
                self._count("fetch.frames", len(frames))
            except TransportError:
                self._count("fetch.failed", 1)
            finally:
                self._settle(heads, got, peer)

    def _next_job(self) -> tuple[PeerId, TopicId, list[Head]] | None:
        """All that is waiting for the first peer of the longest-waiting frame, up to a limit of bytes."""
        peer: PeerId | None = None
        topic: TopicId | None = None
        heads: list[Head] = []
        size = 0
        for wanted in self._wanted.values():
            if wanted.busy:
                continue
            if peer is None:
                peer, topic = wanted.sources[0], wanted.head.topic
            elif peer not in wanted.sources or topic != wanted.head.topic:
                continue
            if heads and size + wanted.head.size > self._most_bytes:
                break
            wanted.busy = True
            heads.append(wanted.head)
            size += wanted.head.size
        return None if peer is None or topic is None else (peer, topic, heads)

    def _settle(self, heads: Sequence[Head], got: set[FrameId], peer: PeerId) -> None:
        for head in heads:
            wanted = self._wanted[head.id]
            wanted.busy = False
            if peer in wanted.sources:
                wanted.sources.remove(peer)
            if head.id in got:
                del self._wanted[head.id]
            elif not wanted.sources:
                del self._wanted[head.id]
                self._give_up(peer, head.topic)
        self._wake()

"""The frames of the topics that are kept: the caller's store, and in front of it an index for each open topic.

The store decides what is new; the index says what is there without asking it, and what to compare with peers. One
task at a time writes, whoever calls. An error of the store passes through to the caller and leaves the indices as
they were: at worst an index knows less than the store, and the next `open` heals that.

What the store did not take (it had no room, or no use for it) is remembered, so that no session brings it again:
until it expires, or for `_DECLINED_FOR`, since a store may have room later; and no longer than until something of its
topic was deleted. `MOST_DECLINED` are remembered, the first forgotten first, which costs no more than another try.

Somebody may wait here for a frame to arrive. At most `MOST_WAITERS` do; one more is told at once that it is not here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import trio

from transport.base import Frame, FrameId, FrameStore, Milliseconds, TopicId
from transport.sync.index import Key, SetIndex, border_at, key

MOST_WAITERS: Final = 256
MOST_DECLINED: Final = 8192
_DECLINED_FOR: Final = 3_600_000  # milliseconds
_SLICE: Final = 2000  # keys that are indexed between two looks at what else there is to do


class Log:
    """Owns the indices. The store is the caller's, and nobody else writes to its topics meanwhile."""

    def __init__(
        self, store: FrameStore, *, now_ms: Callable[[], Milliseconds], count: Callable[[str, int], None]
    ) -> None:
        """`count` takes a counter's name and an amount, as `Network.count` does."""
        self._store = store
        self._now_ms = now_ms
        self._count = count
        self._indices: dict[TopicId, SetIndex] = {}
        self._writing = trio.Lock()
        self._waiters: dict[tuple[TopicId, FrameId], set[trio.Event]] = {}
        self._waiting = 0
        self._declined: dict[tuple[TopicId, FrameId], Milliseconds] = {}  # until when

    def topics(self) -> Iterable[TopicId]:
        """Those that are open."""
        return self._indices.keys()

    def index(self, topic: TopicId) -> SetIndex | None:
        """An open topic's index; None if it is not open. To be read only."""
        return self._indices.get(topic)

    def has(self, topic: TopicId, frame: FrameId) -> bool:
        """Whether an open topic has this frame."""
        index = self._indices.get(topic)
        return index is not None and frame in index

    def declined(self, topic: TopicId, frame: FrameId) -> bool:
        """Whether the store did not take this frame of an open topic lately: it is not worth bringing."""
        until = self._declined.get((topic, frame))
        return until is not None and self._now_ms() < until

    async def open(self, topic: TopicId) -> None:
        """Read what the store has of a topic. Nothing happens if it is open."""
        async with self._writing:
            if topic in self._indices:
                return
            border = border_at(self._now_ms())
            keys: list[Key] = []
            async for batch in self._store.entries(topic):
                keys += [key(expires, frame) for expires, frame in batch]
            keys = sorted(one for one in keys if one >= border)
            index = SetIndex()
            for start in range(0, len(keys), _SLICE):
                index.load(keys[start : start + _SLICE])
                await trio.lowlevel.checkpoint()
            self._indices[topic] = index

    def close(self, topic: TopicId) -> None:
        """Forget the index; the frames stay in the store."""
        self._indices.pop(topic, None)
        self._try_again(topic)

    async def add(self, frames: Sequence[Frame]) -> list[Frame]:
        """Store these durably; those that were new, in the same order."""
        async with self._writing:
            unseen = [frame for frame in frames if not self.has(frame.topic, frame.id)]
            if not unseen:
                return []
            new = set(await self._store.add(unseen))
            added, old = [], []
            for frame in unseen:
                if frame.id in new:
                    new.remove(frame.id)  # the second of two equal ones in one call is not new
                    added.append(frame)
                    self._insert(frame)
                elif not self.has(frame.topic, frame.id):
                    old.append(frame)
            for frame in old:
                # In the store but not in the index: a call that was canceled halfway. Or the store did not take it.
                if await self._store.fetch(frame.topic, [frame.id]):
                    self._insert(frame)
                else:
                    self._decline(frame)
        self._count("sync.stored", len(added))
        for frame in unseen:
            for event in self._waiters.get((frame.topic, frame.id), ()):
                event.set()
        return added

    def forget(self, topic: TopicId, entries: Iterable[tuple[Milliseconds, FrameId]]) -> None:
        """The store's owner has deleted these frames; they are no longer offered."""
        index = self._indices.get(topic)
        if index is not None:
            for expires, frame in entries:
                index.delete(key(expires, frame))
            self._try_again(topic)

    async def fetch(self, topic: TopicId, ids: Sequence[FrameId]) -> list[Frame]:
        """These frames in the order of their ids; those that are not there are left out."""
        found = {frame.id: frame for frame in await self._store.fetch(topic, ids)}
        return [found[frame] for frame in ids if frame in found]

    async def arrival(self, topic: TopicId, frame: FrameId, within: float) -> bool:
        """Wait until this frame is here, `within` seconds at most; whether it is."""
        if self.has(topic, frame):
            return True
        if self._waiting >= MOST_WAITERS:
            self._count("sync.too_many_waiters", 1)
            return False
        event = trio.Event()
        self._waiters.setdefault((topic, frame), set()).add(event)
        self._waiting += 1
        try:
            with trio.move_on_after(within):
                await event.wait()
        finally:
            self._waiting -= 1
            waiting = self._waiters[topic, frame]
            waiting.remove(event)
            if not waiting:
                del self._waiters[topic, frame]
        return self.has(topic, frame)

    async def expire(self) -> None:
        """Forget what has expired, in the store and in every index."""
        async with self._writing:
            now = self._now_ms()
            await self._store.expire(now)
            border = border_at(now)
            gone = sum(index.delete_before(border) for index in self._indices.values())
            for declined in [declined for declined, until in self._declined.items() if until <= now]:
                del self._declined[declined]
        self._count("sync.expired", gone)

    def _insert(self, frame: Frame) -> None:
        index = self._indices.get(frame.topic)
        if index is not None:
            index.insert(key(frame.expires, frame.id))
            self._declined.pop((frame.topic, frame.id), None)

    def _decline(self, frame: Frame) -> None:
        if frame.topic not in self._indices:
            return
        self._declined.pop((frame.topic, frame.id), None)
        if len(self._declined) >= MOST_DECLINED:
            del self._declined[next(iter(self._declined))]
        until = min(frame.expires, self._now_ms() + _DECLINED_FOR)
        self._declined[frame.topic, frame.id] = Milliseconds(until)
        self._count("sync.declined", 1)

    def _try_again(self, topic: TopicId) -> None:
        for declined in [declined for declined in self._declined if declined[0] == topic]:
            del self._declined[declined]

    async def drop(self, topic: TopicId) -> None:
        """Forget a topic, and its frames in the store."""
        async with self._writing:
            self.close(topic)
            await self._store.drop(topic)

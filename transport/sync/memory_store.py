"""A `base.FrameStore` in memory: for tests, and for meshes in one process. What it keeps ends with it.

Not bounded by itself, like any store: frames go when they expire, and what may come in is ruled where it comes in.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from itertools import islice
from typing import Final

import trio

from transport.base import Frame, FrameId, Milliseconds, TopicId

_BATCH: Final = 1000


class MemoryStore:
    def __init__(self) -> None:
        self._topics: dict[TopicId, dict[FrameId, Frame]] = {}

    async def add(self, frames: Sequence[Frame]) -> Sequence[FrameId]:
        await trio.lowlevel.checkpoint()
        new = []
        for frame in frames:
            kept = self._topics.setdefault(frame.topic, {})
            if frame.id not in kept:
                kept[frame.id] = frame
                new.append(frame.id)
        return new

    async def entries(self, topic: TopicId) -> AsyncIterator[Sequence[tuple[Milliseconds, FrameId]]]:
        kept = iter([(frame.expires, frame.id) for frame in self._topics.get(topic, {}).values()])
        await trio.lowlevel.checkpoint()
        while batch := list(islice(kept, _BATCH)):
            yield batch

    async def fetch(self, topic: TopicId, ids: Sequence[FrameId]) -> Sequence[Frame]:
        await trio.lowlevel.checkpoint()
        kept = self._topics.get(topic, {})
        return [kept[frame] for frame in ids if frame in kept]

    async def expire(self, before: Milliseconds) -> None:
        await trio.lowlevel.checkpoint()
        for topic, kept in list(self._topics.items()):
            for frame in [frame for frame in kept.values() if frame.expires < before]:
                del kept[frame.id]
            if not kept:
                del self._topics[topic]

    async def drop(self, topic: TopicId) -> None:
        await trio.lowlevel.checkpoint()
        self._topics.pop(topic, None)

"""Where everything that arrives comes in: gossiped whole, fetched after an announcement, or reconciled.

The rooms in front have checked it; from here on there is one path and one owner:

    frames() or publish()  ->  waiting  ->  writer: store, one transaction for all that waits
                                        ->  deliverer: inbox, one after the other

Whoever brings frames waits until they are in the inbox: that is the whole of back-pressure. A reader that does
not read stops the readers of gossip and sync, and those stop their peers. A peer that cannot wait so long gives
up and marks us as behind; sync brings us later what we missed, so nothing is lost and nothing piles up. Whoever
publishes waits for the store alone: the reader itself may publish, and must not wait for itself.

A frame is `known` while it waits and when it is kept: it is verified and stored once, in however many ways it
comes. While it is only announced and being fetched, it is wanted: whoever announces it too is asked in turn. The
store is the authority: only what it calls new goes to the inbox. What is under way between the two is bounded;
beyond, whoever brings frames waits before they are stored.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import trio

from transport.base import Arrival, Closed, Frame, FrameId, PeerId, Reason, Refused, TopicId
from transport.frames import Head
from transport.live.fetch import Fetcher
from transport.live.inbox import Inbox
from transport.sync.log import Log

MOST_AT_ONCE = 512
"""Frames in one transaction: the first that came should not wait for too many others."""

MOST_UNDER_WAY: Final = 1024
MOST_BYTES_UNDER_WAY: Final = 16 << 20
"""Brought by peers and not yet in the inbox. Whoever gives up waiting leaves what it brought; so there is a bound."""


@dataclass(slots=True)
class _Waiting:
    frame: Frame
    source: PeerId | None  # None: ours
    stored: trio.Event
    done: trio.Event


class Reception:
    """The `gossip.intake.Intake` of a live mesh."""

    def __init__(self, log: Log, inbox: Inbox, *, late: Callable[[PeerId, TopicId], None]) -> None:
        self._log, self._inbox, self._late = log, inbox, late
        self._kept: set[TopicId] = set()
        self._waiting: dict[FrameId, _Waiting] = {}
        self._some = trio.Event()
        self._stored: deque[_Waiting] = deque()
        self._to_deliver = trio.Event()
        self._under_way = self._bytes_under_way = 0
        self._room = trio.Event()
        self._fetcher: Fetcher | None = None
        self._closed = False

    def attach(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher

    # ------------------------------------------------------------ topics

    def keep(self, topic: TopicId) -> None:
        self._kept.add(topic)

    def leave(self, topic: TopicId) -> None:
        self._kept.discard(topic)
        if self._fetcher is not None:
            self._fetcher.forget_topic(topic)

    def keeps(self, topic: TopicId) -> bool:
        return topic in self._kept

    # ------------------------------------------------------------ what comes

    def known(self, topic: TopicId, frame: FrameId) -> bool:
        return frame in self._waiting or self._log.has(topic, frame)

    def wants(self, topic: TopicId, frame: FrameId) -> bool:  # noqa: ARG002 - an id is of one topic
        return self._fetcher is not None and self._fetcher.wants(frame)

    async def frames(self, topic: TopicId, frames: Sequence[Frame], source: PeerId) -> None:
        if topic in self._kept:
            brought = []
            for frame in frames:
                while self._crowded():
                    await self._room.wait()
                if self._closed:
                    return
                brought.append(self._bring(frame, source))
            for waiting in brought:
                await waiting.done.wait()

    async def publish(self, frame: Frame) -> None:
        """`Closed` if the mesh ended before the frame was stored, `Refused` if the store did not take it."""
        waiting = self._bring(frame, None)
        await waiting.stored.wait()
        if frame.id in self._waiting:
            raise Closed("the mesh has ended")
        if frame.topic not in self._kept:
            raise Refused(Reason.STRANGER, "the topic was left")
        if not self._log.has(frame.topic, frame.id):
            raise Refused(Reason.FULL, "the store did not take it")

    def close(self) -> None:
        """Nobody stores any more: whoever waits goes on, empty-handed."""
        self._closed = True
        self._room.set()
        for waiting in [*self._waiting.values(), *self._stored]:
            waiting.stored.set()
            waiting.done.set()

    def announced(self, topic: TopicId, heads: Sequence[Head], source: PeerId) -> None:
        if self._fetcher is not None and topic in self._kept:
            self._fetcher.announced(heads, source)

    def behind(self, peer: PeerId, topic: TopicId) -> None:
        self._late(peer, topic)

    def _bring(self, frame: Frame, source: PeerId | None) -> _Waiting:
        waiting = self._waiting.get(frame.id)
        if waiting is None:
            if self._closed:
                raise Closed("the mesh has ended")
            waiting = self._waiting[frame.id] = _Waiting(frame, source, trio.Event(), trio.Event())
            self._under_way += source is not None
            self._bytes_under_way += len(frame.payload) if source is not None else 0
            self._some.set()
        return waiting

    def _crowded(self) -> bool:
        full = self._under_way >= MOST_UNDER_WAY or self._bytes_under_way >= MOST_BYTES_UNDER_WAY
        return full and not self._closed

    def _done(self, waiting: _Waiting) -> None:
        waiting.done.set()
        if waiting.source is not None:
            self._under_way -= 1
            self._bytes_under_way -= len(waiting.frame.payload)
            self._room.set()
            self._room = trio.Event()

    # ------------------------------------------------------------ storing, delivering

    async def write(self) -> None:
        """For ever: store what waits. An error of the store ends the mesh."""
        while True:
            await self._some.wait()
            self._some = trio.Event()
            while self._waiting:
                await self._write(list(self._waiting.values())[:MOST_AT_ONCE])

    async def _write(self, batch: list[_Waiting]) -> None:
        kept = [waiting.frame for waiting in batch if waiting.frame.topic in self._kept]
        new = {frame.id for frame in await self._log.add(kept)}
        for waiting in batch:
            del self._waiting[waiting.frame.id]
            waiting.stored.set()
            if waiting.source is not None and waiting.frame.id in new:
                self._stored.append(waiting)
            else:
                self._done(waiting)
        self._to_deliver.set()

    async def deliver(self) -> None:
        """For ever: hand what was stored to the reader, in the order it was stored."""
        while True:
            await self._to_deliver.wait()
            self._to_deliver = trio.Event()
            while self._stored:
                waiting = self._stored.popleft()
                if waiting.source is not None:
                    await self._inbox.put(Arrival(frame=waiting.frame, source=waiting.source))
                self._done(waiting)

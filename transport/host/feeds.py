"""Telling others what happened, in order, without letting a slow reader hold memory.

Both feeds hold a bounded number of entries per peer, whatever a peer does: one that comes and goes a thousand
times while nobody reads is told as having gone and come. Peer ids cost nothing, so a thousand strangers may come
and go as well: of states, which are held for whoever asked once and perhaps never reads, there is a number beyond
which those of strangers who left are dropped, the oldest first. A reader so slow asks `peers()` what is true.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager

import trio

from transport.base import Link, PeerId, PeerState
from transport.network import PeerEvent


class EventFeed:
    """`Network.watch`: ups and downs alternate for each peer; of more than two unread, the oldest pairs cancel out."""

    def __init__(self) -> None:
        self._readers: list[_EventReader] = []

    @contextmanager
    def subscribe(self, connected: Iterable[PeerId]) -> Iterator[AsyncIterator[PeerEvent]]:
        reader = _EventReader()
        for peer in connected:
            reader.put(PeerEvent(peer=peer, up=True))
        self._readers.append(reader)
        try:
            yield reader
        finally:
            self._readers.remove(reader)

    def tell(self, event: PeerEvent) -> None:
        for reader in self._readers:
            reader.put(event)


class _EventReader(AsyncIterator[PeerEvent]):
    def __init__(self) -> None:
        self._queue: deque[PeerEvent] = deque()
        self._lot = trio.lowlevel.ParkingLot()

    def put(self, event: PeerEvent) -> None:
        unread = [other for other in self._queue if other.peer == event.peer]
        if len(unread) >= 2:
            # Unread are "x, not x" and now comes x: what is told is x, once.
            self._queue.remove(unread[-1])
        else:
            self._queue.append(event)
        self._lot.unpark_all()

    async def __anext__(self) -> PeerEvent:
        while not self._queue:
            await self._lot.park()
        await trio.lowlevel.checkpoint()
        return self._queue.popleft()


class StateFeed:
    """`Network.peer_changes`: the last unread state of each peer, and no older one. Readers just stop reading."""

    def __init__(self, most_unread: int) -> None:
        self._most_unread = most_unread
        self._readers: weakref.WeakSet[_StateReader] = weakref.WeakSet()

    def subscribe(self) -> AsyncIterator[PeerState]:
        reader = _StateReader(self._most_unread)
        self._readers.add(reader)
        return reader

    def tell(self, state: PeerState) -> None:
        for reader in list(self._readers):
            reader.put(state)


class _StateReader(AsyncIterator[PeerState]):
    def __init__(self, most_unread: int) -> None:
        self._most_unread = most_unread
        self._unread: dict[PeerId, PeerState] = {}
        self._lot = trio.lowlevel.ParkingLot()

    def put(self, state: PeerState) -> None:
        self._unread.pop(state.peer, None)
        self._unread[state.peer] = state
        if len(self._unread) > self._most_unread:
            # Those who are kept, connected or barred stay: there are only so many of them.
            left = (peer for peer, held in self._unread.items() if held.link is Link.AWAY and not held.kept)
            if (oldest := next(left, None)) is not None:
                del self._unread[oldest]
        self._lot.unpark_all()

    async def __anext__(self) -> PeerState:
        while not self._unread:
            await self._lot.park()
        await trio.lowlevel.checkpoint()
        return self._unread.pop(next(iter(self._unread)))

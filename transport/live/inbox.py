"""What has arrived and nobody has read yet: bounded by count and by bytes; whoever fills it waits.

A frame larger than all the room there is, is let in alone, so the bound on bytes is never a dead end.
"""

from __future__ import annotations

from collections import deque

import trio

from transport.base import Arrival


class Inbox:
    """Iterated over by one reader, filled by one writer: the mesh's writing task.

    Not an async generator: a reader that stops in the middle leaves nothing to be cleaned up.
    """

    def __init__(self, *, most_frames: int, most_bytes: int) -> None:
        self._waiting: deque[Arrival] = deque()
        self._most_frames, self._most_bytes = most_frames, most_bytes
        self._bytes = 0
        self._closed = self._read = False
        self._changed = trio.Event()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def close(self) -> None:
        """What is waiting can still be read; after that the reader sees the end."""
        self._closed = True
        self._wake()

    async def put(self, arrival: Arrival) -> None:
        size = len(arrival.frame.payload)
        while self._waiting and (len(self._waiting) >= self._most_frames or self._bytes + size > self._most_bytes):
            await self._changed.wait()
        self._waiting.append(arrival)
        self._bytes += size
        self._wake()

    def __aiter__(self) -> Inbox:
        return self

    async def __anext__(self) -> Arrival:
        """The next arrival; the end when the mesh has ended."""
        if self._read:
            raise RuntimeError("frames() has one reader")
        self._read = True
        try:
            while not self._waiting:
                if self._closed:
                    raise StopAsyncIteration
                await self._changed.wait()
        finally:
            self._read = False
        await trio.lowlevel.checkpoint_if_cancelled()
        arrival = self._waiting.popleft()
        self._bytes -= len(arrival.frame.payload)
        self._wake()
        return arrival

    def __len__(self) -> int:
        return len(self._waiting)

"""What is on its way to one client: a queue with a bound, and one task that writes it out.

Answers are always taken, as there can only be so many; the reader stops reading while the queue is full. Events wait
for room, so a client that does not read costs what its queue holds and no more.
"""

from __future__ import annotations

from collections import deque

import trio

CHUNK = 64 * 1024
"""Bytes that are written at once."""


class Outbox:
    """See above."""

    def __init__(self, sock: trio.socket.SocketType, limit: int) -> None:
        self._sock = sock
        self._limit = limit
        self._queue: deque[bytes] = deque()
        self._size = 0
        self._begun = memoryview(b"")
        """The rest of what is being written."""
        self._written = trio.lowlevel.ParkingLot()
        self._filled = trio.lowlevel.ParkingLot()

    def put(self, message: bytes) -> None:
        self._queue.append(message)
        self._size += len(message)
        self._filled.unpark()

    @property
    def full(self) -> bool:
        return self._size >= self._limit

    async def room(self, patience: float = float("inf")) -> bool:
        """Wait for room; says no if for so many seconds nothing at all was taken."""
        while self.full:
            with trio.move_on_after(patience) as scope:
                await self._written.park()
            if scope.cancelled_caught:
                return False
        return True

    async def run(self) -> None:
        while True:
            await self.flush()
            await self._filled.park()

    async def flush(self) -> None:
        """Write out what is there. If that is canceled, the next call goes on at the same byte."""
        while self._begun or self._queue:
            if not self._begun:
                self._begun = memoryview(self._next())
            count = await self._sock.send(self._begun)
            self._begun = self._begun[count:]
            self._size -= count
            self._written.unpark_all()

    def _next(self) -> bytes:
        parts = [self._queue.popleft()]
        size = len(parts[0])
        while self._queue and size + len(self._queue[0]) <= CHUNK:
            parts.append(self._queue.popleft())
            size += len(parts[-1])
        return parts[0] if len(parts) == 1 else b"".join(parts)

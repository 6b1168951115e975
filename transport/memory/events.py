"""Virtual time: what is due when, and what came of it. The rest of a simulation only adds to these two queues."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from transport.base import Milliseconds, PeerId
from transport.memory.values import Happening


class Events:
    """Events that are due at the same time take place in the order in which they were added."""

    def __init__(self, start: Milliseconds) -> None:
        self.now = start
        self.added = 0
        self._queue: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._out: deque[Happening] = deque()

    def at(self, at: int, handler: Callable[..., None], *arguments: object) -> None:
        """Call this then, or at once if that is past."""
        self.added += 1
        heapq.heappush(self._queue, (at, self.added, handler, arguments))

    def emit(self, happening: Happening) -> None:
        self._out.append(happening)

    def silence(self, node: PeerId) -> None:
        """Nothing that has happened to this node so far is told any more."""
        others = [happening for happening in self._out if happening.node != node]
        self._out.clear()
        self._out.extend(others)

    def next_at(self) -> Milliseconds | None:
        if self._out:
            return self.now
        return Milliseconds(max(self._queue[0][0], self.now)) if self._queue else None

    def step(self) -> Happening | None:
        if not self._out and self._queue:
            self._take_place()
        return self._out.popleft() if self._out else None

    def run_until(self, at: int) -> Iterator[Happening]:
        out, queue = self._out, self._queue
        while True:
            while out:
                yield out.popleft()
            if not queue or queue[0][0] > at:
                break
            self._take_place()
        self.now = Milliseconds(max(self.now, at))

    def _take_place(self) -> None:
        at, _, handler, arguments = heapq.heappop(self._queue)
        if at > self.now:
            self.now = Milliseconds(at)
        handler(*arguments)

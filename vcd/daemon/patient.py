"""The mesh's frames on a disk that may be full: what cannot be stored now waits, and so does whoever brings more.

To the mesh an error of its store is the end. A full disk is none: it passes, and until then the rest of the daemon is
to go on, reading what there is and refusing what would change it (docs/operations.md). So a write that a disk has no
room for is tried again here, seldomer and seldomer. Nobody is told that a frame is kept before it is; peers that give
up waiting are compared with later, and nothing is lost.

What does not pass by itself, a damaged file or a state that is closed, is not waited for.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar

import trio

from vcd.store.frames import F, Frames
from vcd.store.trouble import StoreTrouble, Trouble

T = TypeVar("T")

PASSING = frozenset({Trouble.FULL, Trouble.READ_ONLY, Trouble.BUSY, Trouble.BROKEN})
AGAIN, AGAIN_MOST = 0.5, 10.0
"""Seconds until a write is tried again; doubled each time."""


async def stored(write: Callable[[], Awaitable[T]]) -> T:
    """What it gives once it goes through."""
    pause = AGAIN
    while True:
        try:
            return await write()
        except StoreTrouble as trouble:
            if trouble.code not in PASSING:
                raise
        await trio.sleep(pause)
        pause = min(2 * pause, AGAIN_MOST)


class PatientFrames(Generic[F]):
    """A `FrameStore` of the mesh, whose types stay with it: see above."""

    def __init__(self, frames: Frames[F]) -> None:
        self._frames = frames

    async def add(self, frames: Sequence[F]) -> Sequence[Any]:
        return await stored(lambda: self._frames.add(frames))

    def entries(self, topic: bytes) -> AsyncIterator[Sequence[tuple[Any, Any]]]:
        return self._frames.entries(topic)

    async def fetch(self, topic: bytes, ids: Sequence[bytes]) -> Sequence[F]:
        return await self._frames.fetch(topic, ids)

    async def expire(self, before: int) -> None:
        await stored(lambda: self._frames.expire(before))

    async def drop(self, topic: bytes) -> None:
        await stored(lambda: self._frames.drop(topic))

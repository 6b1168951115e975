"""Frames that the node had no room for (`Outcome.put_back`): given once more after a while.

It has none when very much was said while this device was away, as what came later cannot be opened before what came
earlier. The frames are on disk, not digested, so after a start they come with what is left over. While the daemon
runs the owner names them here, and they are given again soon: what is needed first takes the place of what is needed
later. If nothing came of them all, the next time is later: what they wait for may never come, and whoever is a member
can claim to be far ahead.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol, TypeVar

import trio

AGAIN: Final = 5.0
MOST: Final = 600.0
"""Seconds until they are given again."""

F = TypeVar("F")


class Owner(Protocol):
    put_back: dict[tuple[bytes, bytes], None]


Fetch = Callable[[bytes, Sequence[bytes]], Awaitable[Sequence[F]]]
"""Reads frames of a topic from the disk."""


async def run(owner: Owner, fetch: Fetch[F], give: Callable[[F], Awaitable[None]]) -> None:
    """The task."""
    pause = AGAIN
    while True:
        await trio.sleep(pause)
        if not owner.put_back:
            continue
        several = list(owner.put_back)
        owner.put_back.clear()
        for topic, name in several:
            for frame in await fetch(topic, [name]):
                await give(frame)
        pause = AGAIN if len(owner.put_back) < len(several) else min(2 * pause, MOST)

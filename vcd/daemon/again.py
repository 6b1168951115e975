"""Frames that the node had no room for (`Outcome.put_back`): given once more after a while.

It has none when very much was said while this device was away, as what came later cannot be opened before what came
earlier. The frames are on disk, not digested, so after a start they come with what is left over. While the daemon
runs the owner names them here, and they are given again soon: what is needed first takes the place of what is needed
later.

What they wait for may never come, and whoever is a member can claim to be far ahead. So if something came of none of
them the next time is later. Nothing has come of one that is put back again, at once or when the node has waited long
enough, nor of one that waits there. And giving them takes half of the time at most.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol, TypeVar

import trio

from vcd.core.state import State

AGAIN: Final = 5.0
MOST: Final = 600.0
"""Seconds until they are given again."""

F = TypeVar("F")


class Owner(Protocol):
    put_back: dict[tuple[bytes, bytes], None]

    def look(self) -> State: ...


Fetch = Callable[[bytes, Sequence[bytes]], Awaitable[Sequence[F]]]
"""Reads frames of a topic from the disk."""


async def run(owner: Owner, fetch: Fetch[F], give: Callable[[F], Awaitable[None]]) -> None:
    """The task."""
    pause, took, before = AGAIN, 0.0, list[tuple[bytes, bytes]]()
    while True:
        await trio.sleep(max(pause, took))
        held = {bytes(frame) for frame in owner.look().waiting.items}
        done = [each for each in before if each not in owner.put_back and each[1] not in held]
        if done or not before:
            pause = AGAIN
        elif owner.put_back:
            pause = min(2 * pause, MOST)
        if not owner.put_back:
            before = [each for each in before if each[1] in held]
            continue
        before, began = list(owner.put_back), trio.current_time()
        owner.put_back.clear()
        for topic, name in before:
            for frame in await fetch(topic, [name]):
                await give(frame)
        took = trio.current_time() - began

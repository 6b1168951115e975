"""Frames that the node put back (`vcd.daemon.again`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import trio

from vcd.daemon import again

PLACES = {(b"topic", bytes([number]) * 32): None for number in range(8)}


@dataclass
class Node:
    """Takes so many of those that it is given, and puts back the others."""

    takes: int
    put_back: dict[tuple[bytes, bytes], None] = field(default_factory=lambda: dict(PLACES))
    given: list[tuple[float, bytes]] = field(default_factory=list)

    async def fetch(self, topic: bytes, ids: Sequence[bytes]) -> Sequence[tuple[bytes, bytes]]:
        return [(topic, each) for each in ids if each[0]]  # one has expired meanwhile

    async def give(self, frame: tuple[bytes, bytes]) -> None:
        self.given.append((trio.current_time(), frame[1]))
        if self.takes:
            self.takes -= 1
        else:
            self.put_back[frame] = None

    async def run(self, seconds: float) -> list[float]:
        """When it was given something."""
        began = trio.current_time()
        with trio.move_on_after(seconds):
            await again.run(self, self.fetch, self.give)
        return sorted({round(at - began) for at, _ in self.given})


async def test_they_are_given_in_the_order_in_which_they_were_put_back(autojump_clock: trio.abc.Clock) -> None:
    node = Node(takes=8)
    assert await node.run(100) == [5]
    assert [name for _, name in node.given] == [name for _, name in PLACES][1:]
    assert not node.put_back


async def test_as_long_as_something_comes_of_them_it_goes_on(autojump_clock: trio.abc.Clock) -> None:
    node = Node(takes=3)
    assert (await node.run(24))[:2] == [5, 10]
    assert len(node.put_back) == 4


async def test_what_nothing_comes_of_is_given_seldomer_and_seldomer(autojump_clock: trio.abc.Clock) -> None:
    node = Node(takes=0)
    node.put_back.pop((b"topic", bytes(32)))
    assert await node.run(200) == [5, 15, 35, 75, 155]
    assert len(await node.run(24 * 3600)) < 160

"""Frames that the node put back (`vcd.daemon.again`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
import trio

from mls.persistent import PMap
from tests.vcd.core.talking import TEA
from tests.vcd.core.village import Village
from vcd.core.names import FrameId
from vcd.core.state import State
from vcd.core.waiting import Need, Room, Waiting
from vcd.daemon import again

VILLAGE = Village()
VILLAGE.account("anna")
ANNA = VILLAGE.state("anna")
PLACES = {(b"topic", bytes([number]) * 32): None for number in range(8)}


@dataclass
class Node:
    """Takes so many of those that it is given, and puts back the others; some of them only after they waited."""

    takes: int
    waits: int = 0
    slow: float = 0.0
    """Seconds for each."""
    waiting: dict[tuple[bytes, bytes], None] = field(default_factory=dict)
    put_back: dict[tuple[bytes, bytes], None] = field(default_factory=lambda: dict(PLACES))
    given: list[tuple[float, bytes]] = field(default_factory=list)

    def look(self) -> State:
        each = Waiting(group_id=TEA, needs=(Need.TURN, bytes(40)), payload=b"", since=0)
        return replace(ANNA, waiting=Room(items=PMap({FrameId(name): each for _, name in self.waiting})))

    async def fetch(self, topic: bytes, ids: Sequence[bytes]) -> Sequence[tuple[bytes, bytes]]:
        return [(topic, each) for each in ids if each[0]]  # one has expired meanwhile

    async def give(self, frame: tuple[bytes, bytes]) -> None:
        self.given.append((trio.current_time(), frame[1]))
        await trio.sleep(self.slow)
        if self.takes:
            self.takes -= 1
        elif len(self.waiting) < self.waits:
            self.waiting[frame] = None
        else:
            self.put_back[frame] = None

    async def _let_go(self) -> None:
        """What waited long enough cannot be opened."""
        while True:
            await trio.sleep(32)
            self.put_back.update(self.waiting)
            self.waiting.clear()

    async def run(self, seconds: float) -> list[float]:
        """When it was given something."""
        began = trio.current_time()
        with trio.move_on_after(seconds):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._let_go)
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
    assert await node.run(200) == [5, 10, 20, 40, 80, 160]
    assert len(await node.run(24 * 3600)) < 160


@pytest.mark.parametrize("waits", [3, 8])
async def test_nothing_has_come_of_what_only_waits(autojump_clock: trio.abc.Clock, waits: int) -> None:
    """It is put back when it waited long enough: whoever is far ahead of all others has it looked at ever seldomer."""
    node = Node(takes=0, waits=waits)
    node.put_back.pop((b"topic", bytes(32)))
    times = await node.run(24 * 3600)
    assert len(times) < 200
    assert len([at for at in times if at > 12 * 3600]) < 80


async def test_giving_them_takes_half_of_the_time_at_most(autojump_clock: trio.abc.Clock) -> None:
    node = Node(takes=1, slow=10)
    node.put_back.pop((b"topic", bytes(32)))
    times = await node.run(300)
    assert times[:8] == [5, 15, 25, 35, 45, 55, 65, 145]

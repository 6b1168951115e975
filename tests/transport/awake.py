"""How long something takes, for bounds that are promises, on a machine that stands still now and then."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import trio


class Awake:
    """Seconds in which this process ran, for bounds on what it does: one that stands still for a while adds a step.

    All ends of the connections are in this process, and their deadlines pass while it stands still; so what is late by
    this clock is late. To compute for long is not to stand still: that counts in full.
    """

    STEP: Final = 0.005
    LONGEST: Final = 0.1  # what a step took beyond that, and did not compute, was not spent here

    def __init__(self) -> None:
        self.seconds = 0.0

    async def sleep(self) -> None:
        begun, computed = trio.current_time(), time.process_time()
        await trio.sleep(self.STEP)
        self.seconds += min(trio.current_time() - begun, max(self.LONGEST, time.process_time() - computed))

    async def run(self) -> None:
        while True:
            await self.sleep()

    @classmethod
    @asynccontextmanager
    async def measured(cls) -> AsyncIterator[Awake]:
        """How long the block takes."""
        async with trio.open_nursery() as nursery:
            made = cls()
            nursery.start_soon(made.run)
            yield made
            nursery.cancel_scope.cancel()

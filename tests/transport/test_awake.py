"""The clock by which tests measure: what stands still does not count, what works or waits does."""

from __future__ import annotations

import time

import trio

from tests.transport.awake import Awake


async def test_waiting_counts_in_full() -> None:
    async with Awake.measured() as took:
        await trio.sleep(0.3)
    assert took.seconds > 0.2


async def test_a_task_that_computes_for_long_counts_in_full() -> None:
    async with Awake.measured() as took:
        await trio.sleep(0.02)
        until = time.process_time() + 0.4
        while time.process_time() < until:
            pass
        await trio.sleep(0.02)
    assert took.seconds > 0.35


async def test_a_process_that_stands_still_counts_little() -> None:
    async with Awake.measured() as took:
        await trio.sleep(0.02)
        time.sleep(1)  # noqa: ASYNC251 - that is the point
        await trio.sleep(0.02)
    assert took.seconds < 0.5

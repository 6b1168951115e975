"""Half an hour of ordinary traffic: nothing is lost, nothing comes twice, and memory stays flat.

Frames live for a minute, so the stores reach their size early and a log that grows cannot hide a leak. After
each round every node is looked at: what it got, its memory, its files. The length is VCD_MESH_SOAK, in minutes.
"""

from __future__ import annotations

import os
from statistics import median

import pytest
import trio

from tests.mesh.conftest import Opening
from tests.mesh.fleet import Fleet, Worker

pytestmark = pytest.mark.xdist_group("fleets")

MINUTES = float(os.environ.get("VCD_MESH_SOAK", "30"))
ROUND = 30.0  # seconds
RATE = 4.0  # frames a second from each node
SIZES = (256, 256, 256, 4 << 10, 100_000)  # of one round each, in turn
GROWTH = 1.10  # of memory, from the second fifth of the time to the last
FRAME_LIFE = 60_000


async def one_round(fleet: Fleet, number: int) -> None:
    """Everybody publishes for a while; then everybody has everything, once."""
    for worker in fleet.workers:
        await worker.call("reset")
    each = int(ROUND * RATE) // (10 if SIZES[number % len(SIZES)] > 50_000 else 1)
    async with trio.open_nursery() as nursery:
        for worker in fleet.workers:
            nursery.start_soon(_publish, worker, number * 10_000, each, SIZES[number % len(SIZES)])
    wanted = each * (len(fleet.workers) - 1)
    with trio.move_on_after(20):
        for worker in fleet.workers:
            while (await worker.call("report"))["count"] < wanted:  # noqa: ASYNC110 - another process's count
                await trio.sleep(0.2)
    for worker in fleet.workers:
        report = await worker.call("report")
        assert report["count"] == wanted, f"{worker.name} got {report['count']} of {wanted} in round {number}"
        assert report["doubles"] == 0


async def _publish(worker: Worker, first: int, count: int, size: int) -> None:
    await worker.call("publish", first=first, count=count, size=size, rate=count / ROUND, within=ROUND + 60)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(MINUTES * 60 * 2 + 600)
async def test_memory_is_flat(fleet_here: Opening) -> None:
    async with fleet_here() as fleet:
        await fleet.start(*["ours"] * 5, frame_life=FRAME_LIFE)
        await fleet.connect_all()
        await fleet.join_all()
        memory: list[float] = []
        files: list[int] = []
        began = trio.current_time()
        number = 0
        while trio.current_time() - began < MINUTES * 60:
            await one_round(fleet, number)
            number += 1
            usages = [worker.usage() for worker in fleet.workers]
            memory.append(max(usage.rss for usage in usages) / 2**20)
            files.append(max(usage.files for usage in usages))
            fleet.note(f"round {number}: {memory[-1]:.1f} MiB, {files[-1]} files")
        fifth = max(len(memory) // 5, 1)
        early, late = median(memory[fifth : 2 * fifth] or memory), median(memory[-fifth:])
        print(f"{number} rounds: {early:.1f} MiB early, {late:.1f} MiB late, {max(files)} files at most")
        assert late < early * GROWTH, f"grew from {early:.1f} to {late:.1f} MiB: {[round(m, 1) for m in memory]}"
        assert max(files[-fifth:]) <= max(files[: 2 * fifth]) + 2

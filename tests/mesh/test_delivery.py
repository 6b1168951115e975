"""Every frame reaches every node, once, whatever is done to the nodes meanwhile."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType

import pytest
import trio

from tests.mesh.chaos import Chaos
from tests.mesh.conftest import Opening
from tests.mesh.control import read_journal
from tests.mesh.fleet import Fleet, Worker, WorkerError
from tests.mesh.load import Author, expand

pytestmark = pytest.mark.xdist_group("fleets")

LOSS = 0.2
HASTE = {"period": 2.0, "slowest": 4.0}
"""How often topics are reconciled in the short runs; the long ones have the time for the default."""

Held = dict[Author, set[int]]


async def stored(worker: Worker) -> Held:
    answer = await worker.call("stored")
    return {Author(int(author)): expand(pairs) for author, pairs in answer["held"].items()}


async def gaps_of(workers: list[Worker], wanted: Held) -> dict[str, dict[Author, list[int]]]:
    """What is missing: for each worker, of each author."""
    lacking: dict[str, dict[Author, list[int]]] = {}
    for worker in workers:
        have = await stored(worker)
        gaps = {author: sorted(numbers - have.get(author, set())) for author, numbers in wanted.items()}
        if any(gaps.values()):
            lacking[worker.name] = {author: gap for author, gap in gaps.items() if gap}
    return lacking


async def all_have(workers: list[Worker], wanted: Held, within: float) -> None:
    """Wait until the stores agree; otherwise say who lacks what."""
    deadline = trio.current_time() + within
    while lacking := await gaps_of(workers, wanted):
        if trio.current_time() > deadline:
            break
        await trio.sleep(0.5)
    else:
        return
    told = {
        name: {author: f"{len(gap)} of them, {gap[:3]}" for author, gap in gaps.items()}
        for name, gaps in lacking.items()
    }
    counters = {worker.name: (await worker.call("counters"))["counters"] for worker in workers}
    raise AssertionError(f"after {within:.0f} s missing: {told}\ncounters: {counters}")


async def all_handed_over(workers: list[Worker], wanted: Held, within: float) -> None:
    """Wait until what is in the stores came out of `frames()` too; `handed_over_once` says what did not."""
    with trio.move_on_after(within):
        for worker in workers:
            due = sum(len(numbers) for author, numbers in wanted.items() if author != worker.author)
            while len(read_journal(worker.journal)) < due:  # noqa: ASYNC110 - another process's
                await trio.sleep(0.1)


def handed_over_once(worker: Worker, wanted: Held, *, was_killed: bool) -> None:
    """What came out of `frames()`, over all lives: nothing twice, and everything unless it died in between."""
    entries = read_journal(worker.journal)
    twice = [entry for entry, count in Counter((e.author, e.number) for e in entries).items() if count > 1]
    assert not twice, f"{worker.name} was handed {len(twice)} frames twice: {twice[:5]}"
    assert not [entry for entry in entries if entry.author == worker.author], f"{worker.name} was handed its own"
    got = {(entry.author, entry.number) for entry in entries}
    everything = {(a, n) for a, numbers in wanted.items() for n in numbers if a != worker.author}
    assert got <= everything
    if not was_killed:
        assert got == everything, f"{worker.name} has {len(everything - got)} in its store that nobody was handed"


async def deliver(
    fleet: Fleet,
    *,
    nodes: int,
    frames: int,
    rate: float,
    pause: float,
    patience: float,
    rhythm: Mapping[str, float] = MappingProxyType({}),
) -> None:
    """`frames` in all, at `rate` a second in all, through losses, deaths and pauses; then a latecomer."""
    settings = {"loss": LOSS, "rhythm": dict(rhythm)}
    workers = await fleet.start(*["ours"] * nodes, **settings)
    links = fleet.links(workers, degree=6)
    chaos = Chaos(fleet, workers, links)
    for worker in workers:
        await chaos.furnish(worker)
    for worker in workers:
        await fleet.sees(worker, sum(worker in link for link in links))
    each = frames // nodes
    wanted: Held = {worker.author: set(range(each)) for worker in workers}
    async with trio.open_nursery() as nursery:
        for worker in workers:
            nursery.start_soon(lambda w: chaos.publish(w, count=each, size=256, rate=rate / nodes), worker)
        nursery.start_soon(chaos.run, frames / rate, pause)
    fleet.note("all is published, all are back")
    await all_have(workers, wanted, patience)
    fleet.note("all have everything")
    (late,) = await fleet.start("ours", **settings)
    for worker in workers[:3]:
        await late.call("keep", peer=worker.peer, addresses=worker.addresses)
    await late.call("loss", share=LOSS)
    await late.call("join")
    await all_have([late], wanted, patience)
    await all_handed_over([worker for worker in [*workers, late] if worker not in chaos.killed], wanted, patience)
    await trio.sleep(1)  # for what would come twice
    for worker in [*workers, late]:
        handed_over_once(worker, wanted, was_killed=worker in chaos.killed)
    lost = [(await worker.call("counters"))["counters"]["test.lost"] for worker in workers]
    assert sum(lost), "the losses were not injected"
    assert chaos.killed, "nobody was killed"


@pytest.mark.slow
async def test_through_loss_death_and_sleep(fleet_here: Opening) -> None:
    async with fleet_here() as fleet:
        await deliver(fleet, nodes=5, frames=1000, rate=100, pause=2.0, patience=40, rhythm=HASTE)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("nodes", [2, 3, 5, 10, 20])
async def test_ten_thousand_through_loss_death_and_sleep(fleet_here: Opening, nodes: int) -> None:
    frames = int(os.environ.get("VCD_MESH_FRAMES", "10000"))
    async with fleet_here() as fleet:
        await deliver(fleet, nodes=nodes, frames=frames, rate=min(100, 800 / nodes), pause=5.0, patience=300)


@pytest.mark.slow
async def test_frames_of_every_size(fleet_here: Opening) -> None:
    """Batched, alone, or announced and fetched: from nothing to the largest there is."""
    sizes = [20, 300, 5000, 60_000, 66_000, 300_000, 1 << 20, 4 << 20]
    async with fleet_here() as fleet:
        workers = await fleet.start("ours", "ours", "ours")
        await fleet.connect_all()
        await fleet.join_all()
        for number, size in enumerate(sizes):
            await workers[0].call("publish", first=number, count=1, size=size)
        wanted: Held = {workers[0].author: set(range(len(sizes)))}
        await all_have(workers, wanted, 30)
        await all_handed_over(workers, wanted, 30)
        await trio.sleep(0.3)
        for worker in workers:
            handed_over_once(worker, wanted, was_killed=False)
        with pytest.raises(WorkerError, match="Refused: too large"):
            await workers[0].call("publish", first=99, count=1, size=(4 << 20) + 1)


@pytest.mark.slow
async def test_one_process_per_identity(fleet_here: Opening) -> None:
    async with fleet_here() as fleet:
        (first,) = await fleet.start("ours")
        second = Worker(fleet, "ours", first.index, {})
        fleet.workers.append(second)
        with pytest.raises(WorkerError, match="AlreadyRunning"):
            await second.start()
        await first.call("neighbors")

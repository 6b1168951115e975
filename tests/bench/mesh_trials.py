"""What is measured on a fleet of processes: one trial at one rate, the highest rate that holds, idling, catching up.

Latency is from the call of publish to the reader of the receiving node, by the clock that all processes of one
machine share. CPU is what the system says about each process, so it counts everything: the library, the
interpreter, the store, and the few commands of the harness.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import trio

from tests.mesh.fleet import Fleet, Worker, open_fleet

SLOWEST = 0.5
FASTEST = 12_800.0
SPIN = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Frames of one size from one node to all others, at one rate."""

    rate: float
    sent: int
    came: int  # of `sent` times the number of receivers
    wanted: int
    p50: float  # milliseconds; the median receiver's
    p99: float  # milliseconds; the worst receiver's
    cpu: float  # milliseconds per frame and node, the sender's included
    held: bool  # nothing lost, and it kept up

    @property
    def loss(self) -> float:
        return 1 - self.came / self.wanted


def spin() -> float:
    """Milliseconds of a fixed piece of work: how fast this machine is at the moment."""
    data = bytes(SPIN)
    began = time.perf_counter()
    for _ in range(4):
        hashlib.sha256(data).digest()
    return (time.perf_counter() - began) * 1000


@asynccontextmanager
async def fleet_of(kind: str, count: int, folder: Path, *, seed: int) -> AsyncIterator[Fleet]:
    """So many nodes of a kind, all connected, all in the topic. The foreign and the raw ones send plain payloads."""
    async with open_fleet(folder, seed=seed) as fleet:
        await fleet.start(*[kind] * count, plain=True)
        await fleet.connect_all()
        await fleet.join_all()
        await trio.sleep(1.5)  # a heartbeat, for those whose mesh is made then
        yield fleet


async def _arrived(receivers: Sequence[Worker], wanted: int, grace: float) -> bool:
    """Wait until each has this many; False if that is not so in time."""
    with trio.move_on_after(grace) as scope:
        for receiver in receivers:
            while (await receiver.call("report"))["count"] < wanted:  # noqa: ASYNC110 - another process's count
                await trio.sleep(0.1)
    return not scope.cancelled_caught


async def trial(fleet: Fleet, *, size: int, rate: float, seconds: float, start_at: int) -> Trial:
    """Publish for about this long. What is not there when a quarter of it has passed again is counted as lost."""
    sender, *receivers = fleet.workers
    count = max(int(rate * seconds), 5)
    grace = max(0.75, seconds / 4)
    await fleet.call_all("reset")
    before = [worker.usage().cpu for worker in fleet.workers]
    sent = await sender.call(
        "publish", first=start_at, count=count, size=size, rate=rate, within=20 * (count / rate + grace)
    )
    whole = await _arrived(receivers, count, grace)
    cpu = sum(worker.usage().cpu for worker in fleet.workers) - sum(before)
    reports = [await receiver.call("report") for receiver in receivers]
    there = [report for report in reports if report["count"]]
    return Trial(
        rate=rate,
        sent=count,
        came=sum(report["count"] for report in reports),
        wanted=count * len(receivers),
        p50=1000 * median(report["p50"] for report in there) if there else 0.0,
        p99=1000 * max(report["p99"] for report in there) if there else 0.0,
        cpu=1000 * cpu / count / len(fleet.workers),
        held=whole and sent["seconds"] <= count / rate * 1.1 + 0.2,
    )


class Ladder:
    """Looks for the highest rate that holds."""

    def __init__(self, fleet: Fleet, *, size: int, seconds: float, repeats: int) -> None:
        self._fleet, self._size, self._seconds, self._repeats = fleet, size, seconds, repeats
        self._next = 1_000_000  # frames are numbered on, so that late ones of a trial do not count in the next

    async def trial(self, rate: float) -> Trial:
        done = await trial(self._fleet, size=self._size, rate=rate, seconds=self._seconds, start_at=self._next)
        self._next += done.sent
        if not done.held:
            await self.calm()
        return done

    async def calm(self) -> None:
        """Let what is queued drain: until nobody has used much CPU for a second, half a minute at most."""
        for _ in range(30):
            before = sum(worker.usage().cpu for worker in self._fleet.workers)
            await trio.sleep(1)
            if sum(worker.usage().cpu for worker in self._fleet.workers) - before < 0.15:
                return

    async def climb(self, start: float) -> float:
        """Double until it breaks, or halve until it holds, then one step between; 0 if nothing held."""
        rate, broke = start, False
        if (await self.trial(rate)).held:
            while rate < FASTEST and not broke:
                broke = not (await self.trial(rate * 2)).held
                rate = rate if broke else rate * 2
        else:
            broke = True
            while rate > SLOWEST:
                rate /= 2
                if (await self.trial(rate)).held:
                    break
            else:
                return 0.0
        if broke and (await self.trial(rate * 1.4)).held:
            rate *= 1.4
        for _ in range(self._repeats - 1):
            while rate > SLOWEST and not (await self.trial(rate)).held:
                rate /= 1.2
        return rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Idle:
    cpu: float  # percent of one core, the mean node
    rss: float  # megabytes, the largest node


async def idle(fleet: Fleet, seconds: float) -> Idle:
    before = [worker.usage().cpu for worker in fleet.workers]
    await trio.sleep(seconds)
    after = [worker.usage() for worker in fleet.workers]
    used = sum(usage.cpu for usage in after) - sum(before)
    return Idle(cpu=100 * used / seconds / len(after), rss=max(usage.rss for usage in after) / 1e6)


@dataclass(frozen=True, slots=True, kw_only=True)
class CaughtUp:
    wait: float  # milliseconds from being told of the peer to the first frame
    rate: float  # frames a second from then on


async def catch_up(folder: Path, *, seed: int, frames: int, size: int) -> CaughtUp:
    """A node comes that was not there when these were published."""
    async with open_fleet(folder, seed=seed) as fleet:
        (early,) = await fleet.start("ours")
        await early.call("join")
        await early.call("publish", count=frames, size=size, within=600)
        (late,) = await fleet.start("ours")
        await late.call("join")
        began = time.monotonic()
        await late.call("keep", peer=early.peer, addresses=early.addresses)
        if not await _arrived([late], frames, 300):
            raise TimeoutError(f"{frames} frames did not arrive in 300 s")
        report = await late.call("report")
        first, last = float(report["first"]), float(report["last"])
        return CaughtUp(wait=1000 * (first - began), rate=(frames - 1) / max(last - first, 1e-6))

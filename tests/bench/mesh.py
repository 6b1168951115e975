"""`python -m tests.bench.mesh`: this project's mesh between processes, beside the libraries by themselves.

    throughput   the highest rate of frames from one node that reach all others, none lost, without falling behind
    latency      at a fixed rate: milliseconds to the median receiver, to the slowest one in a hundred, and CPU
                 milliseconds per frame and node
    idle         percent of a core and megabytes of a node with five connected peers and nothing to do
    catch_up     how long a node that was away waits for the first frame, and frames a second from then on

`ours` signs and stores every frame, in files; `raw` is py-libp2p's own gossip, tuned, `js` and `go` are js-libp2p
and go-libp2p, all three without frames or store: each payload is a gossip message. All run one after the other in
the same run. `noise` is how much longer a fixed piece of work took just before a row than it took at best in the
whole run. Rows with a target are compared with it by `--check`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import trio

from tests.bench.mesh_trials import Ladder, Trial, catch_up, fleet_of, idle, spin
from tests.bench.rows import figures
from tests.mesh.fleet import COMMANDS
from tests.peers.launch import UnavailableError

SIZES = (256, 4 << 10, 64 << 10, 1 << 20)
NODES = (2, 5, 10)
PACE = {256: 100.0, 4 << 10: 50.0, 64 << 10: 10.0, 1 << 20: 1.0}
"""Frames a second at which latency is measured."""

START = {256: 100.0, 4 << 10: 50.0, 64 << 10: 10.0, 1 << 20: 1.0}
"""Frames a second at which the search for the highest rate begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measurement. What does not apply is None."""

    impl: str
    op: str
    nodes: int
    size: int | None = None
    per_second: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    loss: float | None = None
    cpu_ms: float | None = None
    wait_ms: float | None = None
    cpu_percent: float | None = None
    rss_mb: float | None = None
    noise: float = 0.0


def missed(row: Row) -> str | None:
    """What was promised about this row and is not so."""
    if row.impl != "ours":
        return None
    match row.op, row.nodes, row.size:
        case "throughput", 5, 256 if (row.per_second or 0) < 500:
            return f"{row.per_second} frames a second, wanted 500"
        case "latency", 5, 256 if row.p50_ms is None or row.p50_ms >= 60 or row.loss:
            return f"p50 {row.p50_ms} ms and loss {row.loss}, wanted under 60 ms and none"
        case "idle", 6, _ if (row.cpu_percent or 0) > 1:
            return f"{row.cpu_percent} % CPU when idle, wanted at most 1 %"
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    impls: Sequence[str]
    nodes: Sequence[int]
    sizes: Sequence[int]
    climbed: Sequence[int]  # the sizes whose highest rate is looked for
    seconds: float  # of one trial
    repeats: int
    idle: float  # seconds
    frames: int  # to catch up with
    seed: int


def quick(impls: Sequence[str], seed: int) -> Plan:
    return Plan(
        impls=impls,
        nodes=(5,),
        sizes=(256, 64 << 10),
        climbed=(256,),
        seconds=2.0,
        repeats=1,
        idle=6.0,
        frames=2000,
        seed=seed,
    )


def thorough(impls: Sequence[str], nodes: Sequence[int], sizes: Sequence[int], seed: int) -> Plan:
    return Plan(
        impls=impls,
        nodes=nodes,
        sizes=sizes,
        climbed=sizes,
        seconds=4.0,
        repeats=3,
        idle=60.0,
        frames=20_000,
        seed=seed,
    )


class Bench:
    """One run. What it measures comes out of `rows` as it is measured."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self._plan, self._folder = plan, folder
        self._best = min(spin() for _ in range(5))
        self._fleets = 0

    def _place(self) -> Path:
        self._fleets += 1
        return self._folder / str(self._fleets)

    def _noise(self) -> float:
        now = median(spin() for _ in range(3))
        self._best = min(self._best, now)
        return now / self._best

    async def rows(self) -> AsyncIterator[Row]:
        plan = self._plan
        for count in plan.nodes:
            for impl in plan.impls:
                async with fleet_of(impl, count, self._place(), seed=plan.seed) as fleet:
                    for size in plan.sizes:
                        ladder = Ladder(fleet, size=size, seconds=plan.seconds, repeats=plan.repeats)
                        noise = self._noise()
                        trials = [await ladder.trial(PACE[size]) for _ in range(plan.repeats)]
                        yield latency(impl, count, size, trials, noise)
                        if size not in plan.climbed:
                            continue
                        noise, best = self._noise(), await ladder.climb(START[size])
                        yield Row(impl=impl, op="throughput", nodes=count, size=size, per_second=best, noise=noise)
        for impl in plan.impls:
            noise = self._noise()
            async with fleet_of(impl, 6, self._place(), seed=plan.seed) as fleet:
                await trio.sleep(2)
                rest = await idle(fleet, plan.idle)
                yield Row(impl=impl, op="idle", nodes=6, cpu_percent=rest.cpu, rss_mb=rest.rss, noise=noise)
        if "ours" in plan.impls:
            for size, frames in ((256, plan.frames), (64 << 10, plan.frames // 20)):
                noise = self._noise()
                came = await catch_up(self._place(), seed=plan.seed, frames=frames, size=size)
                yield Row(
                    impl="ours",
                    op="catch_up",
                    nodes=2,
                    size=size,
                    per_second=came.rate,
                    wait_ms=came.wait,
                    noise=noise,
                )


def latency(impl: str, count: int, size: int, trials: Sequence[Trial], noise: float) -> Row:
    """Medians over the trials, except the loss: that is the worst."""
    return Row(
        impl=impl,
        op="latency",
        nodes=count,
        size=size,
        per_second=PACE[size],
        p50_ms=median(one.p50 for one in trials),
        p99_ms=median(one.p99 for one in trials),
        loss=max(one.loss for one in trials),
        cpu_ms=median(one.cpu for one in trials),
        noise=noise,
    )


def shown(row: Row) -> str:
    size = "" if row.size is None else f"{row.size:>8} B"
    rest = [
        f"{name} {value:g}"
        for name, value in figures(row).items()
        if name not in {"impl", "op", "nodes", "size"} and value is not None
    ]
    return f"{row.impl:5} {row.op:11} {row.nodes:3} nodes {size:11} {'  '.join(rest)}"


def available(impls: Sequence[str]) -> list[str]:
    """Those that can be built or installed here; the others are named."""
    found = []
    for impl in impls:
        try:
            COMMANDS[impl]()
        except UnavailableError as error:
            print(f"{impl} is left out: {error}", file=sys.stderr)
        else:
            found.append(impl)
    return found


async def run(plan: Plan, *, as_json: bool) -> list[Row]:
    rows = []
    with tempfile.TemporaryDirectory(prefix="vcd-bench-mesh-") as folder:
        async for row in Bench(plan, Path(folder)).rows():
            rows.append(row)
            print(json.dumps(figures(row)) if as_json else shown(row), flush=True)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.mesh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="a JSON line per row")
    parser.add_argument("--quick", action="store_true", help="under two minutes: five nodes, two sizes, no repeats")
    parser.add_argument("--check", action="store_true", help="exit 1 if a row misses its target")
    parser.add_argument("--impl", nargs="*", default=["ours", "raw", "js"], choices=COMMANDS, help="which to run")
    parser.add_argument("--nodes", nargs="*", type=int, default=NODES)
    parser.add_argument("--sizes", nargs="*", type=int, default=SIZES, choices=SIZES)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    impls = available(args.impl)
    plan = quick(impls, args.seed) if args.quick else thorough(impls, args.nodes, args.sizes, args.seed)
    rows = trio.run(partial(run, plan, as_json=args.json))
    failures = [f"{row.op} at {row.nodes} nodes: {why}" for row in rows if (why := missed(row)) is not None]
    for failure in failures if args.check else ():
        print(f"missed: {failure}", file=sys.stderr)
    return 1 if args.check and failures else 0


if __name__ == "__main__":
    sys.exit(main())

"""`python -m tests.bench.sync`: what reconciling costs, as the log and as the difference grow.

    reconcile   two logs that differ in so many keys: bytes both ways with everything written and read as on the
                wire, rounds, CPU of both sides together. Beside it the naive floor: one side sends its list of ids,
                the other answers with the ids that differ.
    catch_up    an empty peer gets so many frames of 256 bytes through sessions over streams in memory, both peers
                in this one thread; the floor is checking each signature and each hash once.
    index       building an index, and its bytes for each entry (the floor: the 40 bytes of the key).

Every row is the median of repeated runs. `--check` holds the rows with a target against it.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import sys
import tracemalloc
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from statistics import median
from time import process_time

import trio

from tests.transport.sync.nodes import TOPIC, WALL, many, world
from tests.transport.sync.talk import Talk, loaded, numbered
from transport.base import Frame
from transport.frames import open_frame
from transport.sync.index import KEY_SIZE, Key, SetIndex

ID_SIZE = 32
SPACING = 1000
"""Milliseconds between the expiries of two frames."""


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement. `bytes` and its floor are of the wire, in `index` of memory; `ms` is CPU."""

    op: str
    log: int
    difference: int
    bytes: int
    floor_bytes: int
    ratio: float
    rounds: int
    ms: float
    per_second: float


def target(row: Row) -> float | None:
    """The most bytes that a row may take; None where nothing is promised."""
    if row.op == "reconcile" and row.difference == 0:
        return 400
    if row.op == "reconcile" and row.difference <= 100:
        return 2500 * row.difference
    if row.op == "reconcile":
        return 60 * row.difference
    return 250 * row.log if row.op == "index" and row.log >= 1000 else None


def keys_of(number: int, first: int = 0) -> list[Key]:
    return [numbered(n, WALL + SPACING * n) for n in range(first, first + number)]


def reconcile(size: int, difference: int, repeats: int) -> Row:
    """`difference` keys are lacking on one side, at random."""
    keys = keys_of(size)
    runs: list[tuple[int, int, float]] = []
    for seed in range(repeats):
        lacking = set(random.Random(seed).sample(keys, difference))
        runs.append(_talk(keys, [one for one in keys if one not in lacking], difference, seed))
    return _row(size, difference, runs, ID_SIZE * (size + difference))


def disjoint(size: int, repeats: int) -> Row:
    """Two logs that have nothing in common."""
    ours, theirs = keys_of(size), [numbered(n, WALL + SPACING * (n - size)) for n in range(size, 2 * size)]
    runs = [_talk(ours, theirs, 2 * size, seed) for seed in range(repeats)]
    return _row(size, 2 * size, runs, ID_SIZE * 2 * size)


def _talk(ours: list[Key], theirs: list[Key], difference: int, seed: int) -> tuple[int, int, float]:
    one, other = loaded(ours).snapshot(), loaded(theirs).snapshot()
    start = process_time()
    talk = Talk(one, other, seed=seed)
    spent = process_time() - start
    assert len(talk.lacked) + len(talk.owed) == difference
    return talk.bytes, talk.rounds, spent * 1000


def _row(size: int, difference: int, runs: list[tuple[int, int, float]], floor: int) -> Row:
    sent, rounds, spent = (median(column) for column in zip(*runs, strict=True))
    return Row("reconcile", size, difference, int(sent), floor, round(sent / floor, 4), int(rounds), round(spent, 3), 0)


def catch_up(frames: list[Frame], repeats: int) -> Row:
    """All frames, sealed beforehand, from one peer to another."""
    runs = []
    for _ in range(repeats):
        start = process_time()
        for frame in frames:
            open_frame(frame.encode())
        floor = process_time() - start

        async def session() -> tuple[float, int, int]:
            async with world([], frames) as w:
                a, b = w.nodes
                start = process_time()
                outcome = await a.exchange.reconcile(b.me, TOPIC)
                spent = process_time() - start
                assert outcome.received == len(frames)
                return spent, outcome.bytes_in + outcome.bytes_out, outcome.rounds

        runs.append((floor, *trio.run(session)))
    floor, spent, sent, rounds = (median(column) for column in zip(*runs, strict=True))
    size = sum(len(frame.head) + len(frame.payload) for frame in frames)
    ratio, rate = round(spent / floor, 3), round(len(frames) / spent, 1)
    return Row("catch_up", len(frames), len(frames), int(sent), size, ratio, int(rounds), round(spent * 1000, 1), rate)


def index(size: int, repeats: int) -> Row:
    keys = keys_of(size)
    random.Random(1).shuffle(keys)
    runs = []
    for _ in range(repeats):
        start = process_time()
        built = SetIndex()
        for one in keys:
            built.insert(one)
        runs.append(process_time() - start)
        del built
    gc.collect()
    tracemalloc.start()
    kept = SetIndex()
    for one in keys:
        kept.insert(one)
    weight, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(kept) == size
    spent, floor = median(runs), KEY_SIZE * size
    return Row(
        "index", size, 0, weight, floor, round(weight / floor, 3), 0, round(spent * 1000, 1), round(size / spent)
    )


def measure(*, quick: bool) -> Iterator[Row]:
    repeats = 3 if quick else 7
    for size in (10, 1000) if quick else (10, 1000, 100_000):
        for difference in (0, 1, 10, 100):
            if difference <= size:
                yield reconcile(size, difference, repeats)
        yield index(size, 3)
    yield disjoint(1000, repeats)
    yield catch_up(many(range(2000 if quick else 20_000), size=256), 3)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.sync", description=__doc__)
    parser.add_argument("--json", action="store_true", help="a JSON line per row")
    parser.add_argument("--quick", action="store_true", help="a few seconds: logs up to 1,000 frames")
    parser.add_argument("--check", action="store_true", help="exit 1 if a row misses its target")
    args = parser.parse_args()
    missed = []
    for row in measure(quick=args.quick):
        if args.json:
            print(json.dumps(asdict(row)), flush=True)
        else:
            print(
                f"{row.op:10} log {row.log:7} difference {row.difference:6}  {row.bytes:9} bytes"
                f"  floor {row.floor_bytes:9}  x{row.ratio:8.4f}  rounds {row.rounds:4}  {row.ms:9.3f} ms"
                + (f"  {row.per_second:.0f}/s" if row.per_second else ""),
                flush=True,
            )
        most = target(row)
        if most is not None and row.bytes > most:
            missed.append(f"{row.op} log {row.log} difference {row.difference}: {row.bytes} bytes, at most {most:.0f}")
    if args.check and missed:
        print("\n".join(missed), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`python -m tests.bench.node`: what the node costs, step by step, and what it takes to heal a split.

Rows of three kinds, with `--json` a JSON line each:

* a step of one kind (`message_sent`, `message_received`, `commit_made`, `commit_followed`, `vote_cast`, `vote_heard`,
  `frame_duplicate`, `frame_garbage`, ...), as one thing grows: milliseconds, those of the primitives that it called,
  the ratio of the two, what `vcd.core.stored` writes for it and how long finding that takes, and steps a second
* `heal`: a split of so many hours: seconds until all stand on one final epoch, CPU time of all devices, frames, and how
  many of the messages had to be sealed once more
* `epoch_kept`, `fork_kept`, `state`: bytes and rows that stay on the disk

`--check` exits 1 if a step costs more where there is more of what it must not depend on, or misses a target.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from time import perf_counter, thread_time

from tests.bench.node.trials import Bench, Healing, Kept, Row

PARTS = ("steps", "devices", "members", "conversations", "waiting", "unfinal", "said", "kept", "heal")
FLAT = ("members", "conversations", "waiting", "said")
"""What a message must not cost more by."""
FLAT_STEPS = ("message_sent", "message_received", "message_held")
NOISE = 2.0
"""What `--check` allows: medians of single steps differ by that much on a busy machine."""
RATIOS = {"message_sent": 8.0, "message_received": 5.0, "commit_made": 2.5, "commit_followed": 2.0}
"""At most, in a conversation of two with one device each."""


def rows(bench: Bench, parts: list[str]) -> Iterator[Row | Healing | Kept]:
    quick = bench.quick
    for n in (1, 2) if quick else (1, 2, 5, 10):
        if "devices" in parts or ("steps" in parts and n == 1):
            yield from bench.by_devices(n)
    if "steps" in parts:
        yield from bench.of_no_use()
    if "members" in parts:
        for n in (2, 6) if quick else (2, 6, 20):
            yield from bench.by_members(n)
    if "conversations" in parts:
        for n in (1, 100) if quick else (1, 10, 100, 1000):
            yield from bench.by_conversations(n)
    if "waiting" in parts:
        for n in (10, 100) if quick else (10, 100, 1000, 4000):
            yield from bench.by_waiting(n)
    if "unfinal" in parts:
        for n in (10,) if quick else (10, 100, 1000):
            yield from bench.by_unfinal(n)
    if "said" in parts:
        for n in (10, 100) if quick else (10, 100, 1000, 4000):
            yield from bench.by_said(n)
    if "kept" in parts:
        for n in (2, 6):
            yield from bench.kept(n)
    if "heal" in parts:
        for hours in (1,) if quick else (1, 168):
            for who in ("two_by_two", "six"):
                yield bench.healing(who, hours)


def line(row: Row | Healing | Kept) -> str:
    if isinstance(row, Row):
        head = f"{row.op:18}{row.by:14}{row.n:5}{row.ms:9.3f} ms  floor {row.floor_ms:7.3f}  x{row.ratio:6.2f}"
        return f"{head}  {row.per_second:8.0f}/s  {row.rows:5.0f} rows {row.bytes:8.0f} B in {row.store_ms:.3f} ms"
    if isinstance(row, Kept):
        return f"{row.op:18}{'members':14}{row.members:5}{row.bytes:9.0f} B  {row.rows:.0f} rows"
    took = f"{row.seconds:.0f} s" if row.seconds >= 0 else "not in 2 days"
    return (
        f"heal {row.who:12}{row.hours:4} h: {row.messages} messages, {row.commits} commits; {took}, CPU "
        f"{row.cpu_ms:.0f} ms, {row.frames} frames of {row.frame_bytes} B, {row.again} said again "
        f"({row.share:.1%}), {row.late} late, {row.missing} missing, {row.asked} asked"
    )


def missed(found: list[Row | Healing | Kept]) -> Iterator[str]:
    """What is wrong."""
    least: dict[tuple[str, str], Row] = {}
    for row in found:
        if isinstance(row, Healing):
            if row.seconds < 0 or row.missing:
                yield f"{row.who}, {row.hours} hours: not healed, or {row.missing} messages missing"
        elif isinstance(row, Row):
            target = RATIOS.get(row.op)
            if row.by == "devices" and row.n == 1 and target is not None and row.ratio > target * NOISE:
                yield f"{row.op}: x{row.ratio} > {target}"
            first = least.setdefault((row.op, row.by), row)
            if row.by in FLAT and row.op in FLAT_STEPS and row.ms > first.ms * NOISE:
                yield f"{row.op}: {row.ms} ms with {row.n} {row.by}, {first.ms} with {first.n}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.node", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="a JSON line per row")
    parser.add_argument("--quick", action="store_true", help="small sizes, few repeats, a split of an hour")
    parser.add_argument("--check", action="store_true", help="exit 1 if a row misses its target")
    parser.add_argument("--cpu", action="store_true", help="count this thread's CPU time: for a machine that is busy")
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=PARTS, help="some of it")
    args = parser.parse_args()
    bench = Bench(thread_time if args.cpu else perf_counter, quick=args.quick)
    found = []
    for row in rows(bench, list(args.parts)):
        found.append(row)
        print(json.dumps(asdict(row)) if args.json else line(row), flush=True)
    wrong = list(missed(found)) if args.check else []
    for fault in wrong:
        print(f"missed: {fault}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

"""`python -m tests.sim --seeds A..B [--real] [--jobs N] [--json]`: run seeds, and say which are broken."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from tests.sim.seeds import Result, run, trace
from vcd.core.policy import Mode


def _seeds(text: str) -> range:
    first, dots, last = text.partition("..")
    return range(int(first), int(last if dots else first) + 1)


def _real(seed: int, every: int, always: bool) -> bool:
    return always or (every > 0 and seed % every == 0)


def _one(seed: int, *, every: int, always: bool, mode: str | None) -> Result:
    return run(seed, real=_real(seed, every, always), mode=mode)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seeds", type=_seeds, required=True, metavar="A..B", help="one seed, or the first and last")
    parser.add_argument("--real", action="store_true", help="with real cryptography")
    parser.add_argument("--real-every", type=int, default=0, metavar="N", help="real cryptography in one of N seeds")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each seed")
    parser.add_argument("--counts", action="store_true", help="say what all of them went through")
    parser.add_argument("--raise", dest="raises", action="store_true", help="let what broke a seed come through")
    parser.add_argument("--mode", choices=sorted(each.name.lower() for each in Mode), help="of all conversations")
    given = parser.parse_args()
    if given.raises:
        for seed in given.seeds:
            trace(seed, real=_real(seed, given.real_every, given.real), mode=given.mode)
        return 0
    work = partial(_one, every=given.real_every, always=given.real, mode=given.mode)
    results = []
    with ProcessPoolExecutor(given.jobs) as pool:
        for result in pool.map(work, given.seeds) if given.jobs > 1 else map(work, given.seeds):
            results.append(result)
            if given.json:
                print(json.dumps(result.values()), flush=True)
            elif result.broken:
                print(result.line(), flush=True)
    broken = [result for result in results if result.broken]
    if given.counts:
        for name, number in sorted(sum((Counter(result.counts) for result in results), Counter[str]()).items()):
            seeds = sum(1 for result in results if result.counts.get(name))
            print(f"{number:9} in {seeds:5} seeds  {name}")
    if not given.json:
        median = statistics.median(result.seconds for result in results)
        print(f"{len(results)} seeds, {len(broken)} broken, median {median:.2f} s", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())

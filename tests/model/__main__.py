"""All of it: `python -m tests.model`, some minutes; with `--long` also the largest sets, some hours."""

from __future__ import annotations

import sys
import time

from tests.model.branches import undone, worlds
from tests.model.compare import differs, play
from tests.model.voting import Vote, search


def main(arguments: list[str]) -> int:
    bad = 0
    begun = time.monotonic()
    for people in (2, 3, 4):
        for size in (1, 2, 3, 4) if "--long" in arguments else (1, 2, 3):
            sets = wrong = 0
            for world in worlds(size, people):
                sets += 1
                wrong += bool(differs(world, people)) + bool(undone(world, people))
            bad += wrong
            print(f"{people} members, {size} commits: {sets} sets and their extensions, {wrong} wrong", flush=True)
    for people in (2, 3, 4):
        for liar in range(-1, people):
            for children, views in (
                ((2, 2), (3, 2), (2, 3)) if people < 4 or "--long" in arguments else ((2, 2), (3, 2))
            ):
                states, found = search(Vote(people, liar, children, views))
                expected = liar == 0 and people < 4
                bad += (found is not None) != expected
                what = "two finals" if found else "safe"
                note = ", as it has to be" if expected else ""
                print(
                    f"{people} members, liar {liar}, {children} children, {views} views: {states} states, {what}{note}"
                )
    for people in (2, 3, 4, 5, 7):
        for lying in (False, True):
            runs = [play(seed, people, lying=lying) for seed in range(200)]
            changed = sum(each.changed and not (each.liar == 0 and people < 4) for each in runs)
            slow = sum(not lying and not each.finished and not each.stuck for each in runs)
            apart = sum(each.apart for each in runs)
            bad += changed + slow + apart
            print(
                f"{people} members, {'one lies' if lying else 'honest'}: {len(runs)} runs, {changed} changed, "
                f"{apart} apart, {slow} without an end"
            )
    print(f"{'wrong: ' + str(bad) if bad else 'all as it has to be'}, {time.monotonic() - begun:.0f} s")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

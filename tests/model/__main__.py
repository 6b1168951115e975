"""All of it: `python -m tests.model`, some minutes; with `--long` also the largest sets, some hours."""

from __future__ import annotations

import sys
import time
from itertools import product

from tests.model.branches import undone, worlds
from tests.model.compare import differs
from tests.model.runs import play
from tests.model.voting import Newcomers, Ordered, Vote, orders, search

MAYBE = (False, True)


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
    for people in (2, 3, 4):
        for acted in range(1, people):
            liars = [liar for liar in range(-1, people) if search(Newcomers(people, acted, liar, 2, 2))[1]]
            bad += liars != [0]
            print(f"{people} members of whom {acted} acted: two finals if one of {liars} lies; it has to be 0")
    for people in (2, 3, 4) if "--long" in arguments else (2, 3):
        sets = unsafe = wrong = 0
        for pair in orders(people):
            for liar in range(-1, people):
                vote = Ordered(people, liar, 2, pair)
                sets, unsafe = sets + 1, unsafe + vote.apart()
                wrong += (search(vote)[1] is not None) != vote.apart()
        bad += wrong
        print(f"{people} members, orders: {sets} sets, {unsafe} contradict each other, {wrong} wrong", flush=True)
    for people, lying, silent, ordered in product((1, 2, 3, 4, 5, 7), MAYBE, MAYBE, MAYBE):
        if people == 1 and lying:
            continue
        runs = [play(seed, people, lying=lying, silent=silent, orders=ordered) for seed in range(100)]
        changed = sum(each.changed and not each.decides for each in runs)
        apart, hasty = sum(each.apart for each in runs), sum(each.hasty for each in runs)
        stuck, mute = sum(each.stuck for each in runs), sum(each.mute for each in runs)
        without = sum(not (each.finished or each.decides or each.mute or (each.stuck and not ordered)) for each in runs)
        bad += changed + apart + hasty + without
        how = f"{'one lies' if lying else 'honest'}{', some are lost' if silent else ''}{', orders' if ordered else ''}"
        print(
            f"{people} members, {how}: {len(runs)} runs, {changed} changed, {apart} apart, {hasty} with views for "
            f"nothing, {without} without an end, {stuck} with too few left, {mute} mute",
            flush=True,
        )
    print(f"{'wrong: ' + str(bad) if bad else 'all as it has to be'}, {time.monotonic() - begun:.0f} s")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

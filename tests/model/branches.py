"""Fork choice as a small model: commits are numbers in a list, members are numbers, and a lower number is senior.

It is written apart from `vcd.core.ordering` and reads like the rule. `Commit(parent=-1)` stands on the final epoch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations, product

NOBODY = -1


@dataclass(frozen=True, slots=True)
class Commit:
    parent: int
    author: int
    removes: int = NOBODY
    shows: bool = False
    """Whether it shows a newer list of its author's account, from which a device was shut out."""
    adds: bool = False
    """Whether somebody new comes in; he is number `FIRST_NEW` + the commit's own number."""
    tag: int = 0


FIRST_NEW = 100
World = tuple[Commit, ...]


def members(world: World, at: int, people: int) -> frozenset[int]:
    if at < 0:
        return frozenset(range(people))
    commit = world[at]
    found = members(world, commit.parent, people) - {commit.removes}
    return found | {FIRST_NEW + at} if commit.adds else found


def acted(world: World, at: int, people: int) -> frozenset[int]:
    """Members who were there in the beginning, or made a commit since."""
    if at < 0:
        return frozenset(range(people))
    before = acted(world, world[at].parent, people) | {world[at].author}
    return before & members(world, at, people)


def electors(world: World, at: int, people: int) -> frozenset[int]:
    """Who decides on the children of an epoch: who acted; all, if those have gone."""
    return acted(world, at, people) or members(world, at, people)


def dismissed(world: World, at: int) -> frozenset[int]:
    """If all removals are orders: whom those remove that an epoch begins by, or that stand on it."""
    return frozenset(
        each.removes for d, each in enumerate(world) if each.removes != NOBODY and (at < 0 or stands_on(world, d, at))
    )


def stands_on(world: World, upper: int, lower: int) -> bool:
    while upper > lower:
        upper = world[upper].parent
    return upper == lower


def under(world: World, at: int) -> int:
    """How many lists of its author's account a commit was made under, its own counted."""
    author, found = world[at].author, 0
    while at >= 0:
        found += world[at].shows and world[at].author == author
        at = world[at].parent
    return found


def attacks(world: World, d: int, c: int) -> str:
    """How d attacks c: "list", "removal", or not at all."""
    if stands_on(world, max(c, d), min(c, d)):
        return ""
    one, other = world[d], world[c]
    if one.shows and one.author == other.author and under(world, d) > under(world, c):
        return "list"
    return "removal" if one.removes == other.author else ""


def seniority(commit: Commit) -> float:
    """Lower is senior; one that shows a list goes just before its account."""
    return commit.author - 0.5 * commit.shows


def void(world: World) -> frozenset[int]:
    by = {c: {d: attacks(world, d, c) for d in range(len(world)) if d != c} for c in range(len(world))}
    qualified: set[int] = set()
    order = sorted(range(len(world)), key=lambda each: (seniority(world[each]), -under(world, each), each))
    for c in order:
        if not any(
            d in qualified and (how == "list" or (how == "removal" and seniority(world[d]) < seniority(world[c])))
            for d, how in by[c].items()
        ):
            qualified.add(c)
    found: set[int] = set()
    for c in range(len(world)):
        if world[c].parent in found or any(how and d in qualified for d, how in by[c].items()):
            found.add(c)
    return frozenset(found)


def head(world: World) -> int:
    out, at = void(world), NOBODY
    while True:
        children = [c for c in range(len(world)) if world[c].parent == at and c not in out]
        if not children:
            return at
        at = max(children, key=lambda c: (world[c].removes != NOBODY, world[c].tag))


# ---------------------------------------------------------------- all of them


def shapes(size: int, deep: int = 3, wide: int = 3) -> Iterator[tuple[int, ...]]:
    """Parents of so many commits, parents first, up to symmetry: at most so deep, and so many concurrent."""

    def grow(parents: tuple[int, ...], depths: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        if len(parents) == size:
            leaves = size - len({each for each in parents if each >= 0})
            if leaves <= wide:
                yield parents
            return
        start = parents[-1] if parents else NOBODY
        for parent in range(start, len(parents)):
            depth = 1 if parent < 0 else depths[parent] + 1
            if depth <= deep:
                yield from grow((*parents, parent), (*depths, depth))

    yield from grow((), ())


def worlds(size: int, people: int) -> Iterator[World]:
    """All sets of so many commits: who made each and what it does, and every order of rivals' tags."""
    for parents in shapes(size):
        rivals = [c for c in range(size) if parents.count(parents[c]) > 1]
        for world in _filled(parents, people):
            seen = set()
            for order in permutations(range(len(rivals))):
                tags = dict(zip(rivals, order, strict=True))
                matters = tuple(
                    tuple(sorted(siblings, key=lambda c: tags[c]))
                    for siblings in ([c for c in rivals if parents[c] == p] for p in sorted(set(parents)))
                )
                if matters in seen:
                    continue
                seen.add(matters)
                yield tuple(
                    Commit(each.parent, each.author, each.removes, each.shows, each.adds, tags.get(c, 0))
                    for c, each in enumerate(world)
                )


def _filled(parents: tuple[int, ...], people: int) -> Iterator[World]:
    def grow(world: World) -> Iterator[World]:
        if len(world) == len(parents):
            yield world
            return
        for commit in commits_on(world, parents[len(world)], people):
            yield from grow((*world, commit))

    yield from grow(())


def commits_on(world: World, parent: int, people: int) -> Iterator[Commit]:
    """Whatever a member of an epoch can do there."""
    there = sorted(members(world, parent, people))
    for author, removes in product(there, [NOBODY, *there]):
        if author == removes:
            continue
        yield Commit(parent, author, removes)
        if removes == NOBODY:
            yield Commit(parent, author, shows=True)
            yield Commit(parent, author, adds=True)


def extensions(world: World, people: int, author: int) -> Iterator[World]:
    """With one commit more by a member that may lie: it forks from wherever it was in, and chooses its tag."""
    for parent in range(-1, len(world)):
        if author not in members(world, parent, people):
            continue
        for commit in commits_on(world, parent, people):
            if commit.author == author:
                for tag in (-1, 99):
                    yield (
                        *world,
                        Commit(parent, author, commit.removes, commit.shows, commit.adds, tag),
                    )


def undone(world: World, people: int) -> list[str]:
    """What is wrong: a removal by somebody senior that one more commit undoes.

    The removed member cannot make it void, and nobody who is junior to whoever removed it can help it to write anything
    beside its removal that stands.
    """
    found = []
    out = void(world)
    for d, commit in enumerate(world):
        victim = commit.removes
        if victim == NOBODY or d in out or commit.author >= victim:
            continue
        for liar in [each for each in range(people) if each > commit.author]:
            for longer in extensions(world, people, liar):
                if liar == victim and d in void(longer):
                    found.append(f"{d} of {longer} is void")
                at = head(longer)
                while at >= 0:
                    if longer[at].author == victim and attacks(longer, d, at) == "removal":
                        found.append(f"{victim} writes {at} of {longer}")
                    at = longer[at].parent
    return found

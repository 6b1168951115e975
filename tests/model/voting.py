"""Finality as a small model: one step, those who decide it, children that they vote for, one member that lies.

A state is what the honest members have voted. What each of them has seen of it is left open: it may be any part, and
from the member that lies anything at all, so every order of messages, every loss and every lie is in it. So are
members who are not needed any more, because a later step removes them: nothing here asks for more than `enough`.

`search` visits every state that can be reached and says which of them has two children that are both final for
somebody.

Not all members are electors (`Newcomers`), and an account's list may order who goes (`Ordered`): a child with orders on
the way that goes on from it, one or several in a row, is decided also by all whom none of these removes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations, permutations

NONE = -1
History = tuple[tuple[int, int], ...]
"""Of one member: for each view its prevote and its precommit."""
State = tuple[History, ...]
Enough = Callable[[int, frozenset[int]], bool]


def enough(n: int, yes: frozenset[int]) -> bool:
    """2q - n > 1 of n; of two or three, half with the most senior one (0) will do."""
    if 2 * len(yes) - n > max(1, (n - 1) // 3) or len(yes) == n:
        return True
    return n <= 3 and 0 in yes and 2 * len(yes) >= n


def subsets(n: int) -> list[frozenset[int]]:
    return [frozenset(each) for size in range(n + 1) for each in combinations(range(n), size)]


class Vote:
    """The protocol of one step, as far as an honest member may go. Subclasses plant mistakes."""

    def __init__(self, n: int, liar: int, children: int, views: int, rule: Enough = enough) -> None:
        self.n, self.liar, self.children, self.views, self.rule = n, liar, children, views, rule
        self.honest = [each for each in range(n) if each != liar]
        kinds = dict.fromkeys(self.kind(who) for who in self.honest)
        self.alike = [[place for place, who in enumerate(self.honest) if self.kind(who) == kind] for kind in kinds]
        self.renamings = [names for names in permutations(range(children)) if self.same(names)]

    def kind(self, who: int) -> object:
        """Members of one kind may be taken for each other."""
        return who == 0

    def same(self, names: tuple[int, ...]) -> bool:
        """Whether the children may be taken for each other in this way."""
        del names
        return True

    def enough(self, child: int, yes: frozenset[int]) -> bool:
        del child
        return self.rule(self.n, yes)

    def apart(self) -> bool:
        """Whether there are enough for each of two children without an honest member who is for both."""
        several = subsets(self.n)
        enough = [[yes for yes in several if self.enough(child, yes)] for child in range(self.children)]
        return any(
            one & other <= {self.liar} for first, second in combinations(enough, 2) for one in first for other in second
        )

    def start(self) -> State:
        return tuple(((NONE, NONE),) * self.views for _ in self.honest)

    def polka(self, state: State, view: int, child: int) -> bool:
        """Whether somebody can have seen enough prevotes: of honest members, and of the liar."""
        yes = {who for who, history in zip(self.honest, state, strict=True) if history[view][0] == child}
        return self.enough(child, frozenset(yes | {self.liar} if self.liar >= 0 else yes))

    def final(self, state: State, child: int) -> bool:
        for view in range(self.views):
            yes = {who for who, history in zip(self.honest, state, strict=True) if history[view][1] == child}
            if self.enough(child, frozenset(yes | {self.liar} if self.liar >= 0 else yes)):
                return True
        return False

    def may_prevote(self, state: State, history: History, view: int, child: int) -> bool:
        lock = max([each for each in range(view) if history[each][1] != NONE], default=NONE)
        if lock == NONE or history[lock][1] == child:
            return True
        return any(self.polka(state, later, child) for later in range(lock + 1, view))

    def may_precommit(self, state: State, history: History, view: int, child: int) -> bool:
        del history
        return self.polka(state, view, child)

    def moves(self, state: State) -> Iterator[State]:
        for place, history in enumerate(state):
            begun = [view for view in range(self.views) if history[view] != (NONE, NONE)]
            last = begun[-1] if begun else 0
            for view in range(last, self.views):
                prevote, precommit = history[view]
                for child in range(self.children):
                    if prevote == NONE and precommit == NONE and self.may_prevote(state, history, view, child):
                        yield _with(state, place, view, (child, NONE))
                    if precommit == NONE and prevote != NONE and self.may_precommit(state, history, view, child):
                        yield _with(state, place, view, (prevote, child))

    def canonical(self, state: State) -> State:
        """One of all states that differ only by the names of children, and of members who are alike."""
        best = None
        for names in self.renamings:
            table = {NONE: NONE, **dict(enumerate(names))}
            named = [tuple((table[a], table[b]) for a, b in history) for history in state]
            for places in self.alike:
                for place, history in zip(places, sorted(named[place] for place in places), strict=True):
                    named[place] = history
            found = tuple(named)
            if best is None or found < best:
                best = found
        assert best is not None
        return best


class Newcomers(Vote):
    """Only the first few have acted: the others vote, and decide nothing."""

    def __init__(self, n: int, electors: int, liar: int, children: int, views: int) -> None:
        self.electors = electors
        super().__init__(n, liar, children, views)

    def kind(self, who: int) -> object:
        return who == 0, who < self.electors

    def enough(self, child: int, yes: frozenset[int]) -> bool:
        del child
        return self.rule(self.electors, frozenset(each for each in yes if each < self.electors))


class Ordered(Vote):
    """For each child, whom orders remove on it and on what stands on it: all others decide it, too."""

    def __init__(self, n: int, liar: int, views: int, orders: tuple[frozenset[int], ...]) -> None:
        self.orders = orders
        super().__init__(n, liar, len(orders), views)

    def kind(self, who: int) -> object:
        return who == 0, tuple(who in out for out in self.orders)

    def same(self, names: tuple[int, ...]) -> bool:
        return all(self.orders[name] == out for name, out in zip(names, self.orders, strict=True))

    def enough(self, child: int, yes: frozenset[int]) -> bool:
        return self.rule(self.n, yes) or dismissing(self.n, yes, self.orders[child])


def dismissing(n: int, yes: frozenset[int], out: frozenset[int]) -> bool:
    """Whether those whom orders leave are all for it."""
    rest = frozenset(range(n)) - out
    return bool(out) and bool(rest) and rest <= yes


def orders(n: int) -> Iterator[tuple[frozenset[int], frozenset[int]]]:
    """Whom orders remove on each of two children, one of all that differ only by names."""
    seen = set()
    for one in subsets(n):
        for other in subsets(n):
            kinds = sorted((who in one, who in other) for who in range(1, n))
            kind = (0 in one, 0 in other, tuple(kinds))
            turned = (0 in other, 0 in one, tuple(sorted((b, a) for a, b in kinds)))
            if kind not in seen and turned not in seen:
                seen.add(kind)
                yield one, other


def _with(state: State, place: int, view: int, votes: tuple[int, int]) -> State:
    history = state[place]
    return (*state[:place], (*history[:view], votes, *history[view + 1 :]), *state[place + 1 :])


def search(vote: Vote, most: int = 10_000_000) -> tuple[int, State | None]:
    """How many states there are, and one in which two children are final, if there is one."""
    start = vote.canonical(vote.start())
    seen, todo = {start}, [start]
    while todo:
        state = todo.pop()
        if sum(vote.final(state, child) for child in range(vote.children)) > 1:
            return len(seen), state
        for after in vote.moves(state):
            named = vote.canonical(after)
            if named not in seen:
                if len(seen) >= most:
                    raise MemoryError("more states than were asked for")
                seen.add(named)
                todo.append(named)
    return len(seen), None


class NoLock(Vote):
    """Planted: a polka binds nobody."""

    def may_prevote(self, state: State, history: History, view: int, child: int) -> bool:
        del state, history, view, child
        return True


class OldPolka(Vote):
    """Planted: any polka unlocks, also one that is older than the lock."""

    def may_prevote(self, state: State, history: History, view: int, child: int) -> bool:
        lock = max([each for each in range(view) if history[each][1] != NONE], default=NONE)
        if lock == NONE or history[lock][1] == child:
            return True
        return any(self.polka(state, each, child) for each in range(view))


def majority(n: int, yes: frozenset[int]) -> bool:
    """Planted: more than half are enough, and one may vote twice."""
    return 2 * len(yes) > n

"""Finality as a small model: one step, those who decide it, children that they vote for, one member that lies.

A state is what the honest members have voted. What each of them has seen of it is left open: it may be any part, and
from the member that lies anything at all, so every order of messages, every loss and every lie is in it. So are
members who are not needed any more, because a later step removes them: nothing here asks for more than `enough`.

`search` visits every state that can be reached and says which of them has two children that are both final for
somebody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import permutations

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


class Vote:
    """The protocol of one step, as far as an honest member may go. Subclasses plant mistakes."""

    def __init__(self, n: int, liar: int, children: int, views: int, rule: Enough = enough) -> None:
        self.n, self.liar, self.children, self.views, self.rule = n, liar, children, views, rule
        self.honest = [each for each in range(n) if each != liar]

    def start(self) -> State:
        return tuple(((NONE, NONE),) * self.views for _ in self.honest)

    def polka(self, state: State, view: int, child: int) -> bool:
        """Whether somebody can have seen enough prevotes: of honest members, and of the liar."""
        yes = {who for who, history in zip(self.honest, state, strict=True) if history[view][0] == child}
        return self.rule(self.n, frozenset(yes | {self.liar} if self.liar >= 0 else yes))

    def final(self, state: State, child: int) -> bool:
        for view in range(self.views):
            yes = {who for who, history in zip(self.honest, state, strict=True) if history[view][1] == child}
            if self.rule(self.n, frozenset(yes | {self.liar} if self.liar >= 0 else yes)):
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
        for names in permutations(range(self.children)):
            table = {NONE: NONE, **dict(enumerate(names))}
            named = [tuple((table[a], table[b]) for a, b in history) for history in state]
            fixed = [h for who, h in zip(self.honest, named, strict=True) if who == 0]
            rest = sorted(h for who, h in zip(self.honest, named, strict=True) if who != 0)
            found = (*fixed, *rest)
            if best is None or found < best:
                best = found
        assert best is not None
        return best


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

"""Votes, and what is final by them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from mls.persistent import PMap
from vcd.core.names import EpochId, Incarnation
from vcd.core.ordering.graph import Graph, Member


@dataclass(frozen=True, slots=True, kw_only=True)
class Ballot:
    """A vote for one step, in one round."""

    voter: Incarnation
    parent: EpochId
    round: int
    child: EpochId


@dataclass(frozen=True, slots=True, kw_only=True)
class Ballots:
    """All that were heard, by parent."""

    cast: PMap[EpochId, tuple[Ballot, ...]] = field(default_factory=PMap)

    def at(self, parent: EpochId) -> tuple[Ballot, ...]:
        return self.cast.find(parent) or ()

    def has(self, ballot: Ballot) -> bool:
        return ballot in self.at(ballot.parent)

    def has_child(self, child: EpochId) -> bool:
        return any(each.child == child for _, several in self.cast.items() for each in several)

    def with_ballot(self, ballot: Ballot) -> Ballots:
        if self.has(ballot) or ballot.round >= 64:
            return self
        several = sorted(
            [*self.at(ballot.parent), ballot], key=lambda each: (each.round, each.voter, each.child)
        )
        return replace(self, cast=self.cast.set(ballot.parent, tuple(several)))


def quorum(n: int) -> int:
    return (n + max(1, (n - 1) // 3)) // 2 + 1 if n > 1 else 1


def enough(electorate: tuple[Member, ...], yes: set[Incarnation]) -> bool:
    n = len(electorate)
    count = sum(each.incarnation in yes for each in electorate)
    return count >= quorum(n) or (2 * count >= n and electorate[0].incarnation in yes)


def final(graph: Graph, ballots: Ballots) -> EpochId:
    """The last final epoch."""
    at = graph.anchor.epoch
    while True:
        nxt = _next(graph, ballots, at)
        if nxt is None:
            return at
        at = nxt


def _won(graph: Graph, ballots: Ballots, electorate: tuple[Member, ...], step: EpochId, needed: set[Incarnation]) -> bool:
    parent = graph.parent(step)
    assert parent is not None  # noqa: S101
    rounds: dict[int, set[Incarnation]] = {}
    for each in ballots.at(parent):
        if each.child == step:
            rounds.setdefault(each.round, set()).add(each.voter)
    return any(needed <= yes and enough(electorate, yes) for yes in rounds.values())


def _next(graph: Graph, ballots: Ballots, since: EpochId) -> EpochId | None:
    electorate = graph.members(since)
    todo = list(graph.children(since))
    while todo:
        at = todo.pop(0)
        needed = {each.incarnation for each in graph.members(at)}
        if all(_won(graph, ballots, electorate, step, needed) for step in graph.path(at, since)):
            return at
        todo += graph.children(at)
    return None


def cast(graph: Graph, ballots: Ballots, me: Incarnation, head: EpochId) -> tuple[Ballot, ...]:
    """What `me` should vote for now."""
    if all(each.incarnation != me for each in graph.members(head)):
        return ()
    found = []
    at = final(graph, ballots)
    for child in graph.path(head, at):
        parent = graph.parent(child)
        assert parent is not None  # noqa: S101
        mine = [each for each in ballots.at(parent) if each.voter == me]
        last = max(mine, key=lambda each: each.round, default=None)
        if last is None:
            found.append(Ballot(voter=me, parent=parent, round=0, child=child))
        elif last.child != child and _lost(graph, ballots, parent, last.round):
            found.append(Ballot(voter=me, parent=parent, round=last.round + 1, child=child))
    return tuple(found)


def _lost(graph: Graph, ballots: Ballots, parent: EpochId, round_: int) -> bool:
    votes = [each for each in ballots.at(parent) if each.round == round_]
    named = {*graph.children(parent), *(each.child for each in votes)}
    for child in named:
        if not graph.has(child):
            return False
        members = {each.incarnation for each in graph.members(child)}
        if not any(each.voter in members and each.child != child for each in votes):
            return False
    return True

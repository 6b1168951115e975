"""Which branch counts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from vcd.core.names import EpochId
from vcd.core.ordering.graph import Graph, Step
from vcd.core.ordering.votes import Ballots, final


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a group stands."""

    final: EpochId
    head: EpochId
    void: frozenset[EpochId]


def counted(graph: Graph, ballots: Ballots, followed: Iterable[EpochId]) -> frozenset[EpochId]:
    """The steps that count: followed, before one that is, or voted for by somebody else."""
    found: set[EpochId] = set()

    def add(epoch: EpochId) -> None:
        for each in graph.up(epoch):
            if each in found or each == graph.anchor.epoch:
                return
            found.add(each)

    for epoch in followed:
        if epoch in graph.steps:
            add(epoch)
    for _, several in ballots.cast.items():
        for each in several:
            step = graph.steps.find(each.child)
            if step is not None and step.author != each.voter:
                add(each.child)
    return frozenset(found)


def voids(graph: Graph, since: EpochId, counts: frozenset[EpochId]) -> frozenset[EpochId]:
    """Commits that are struck, and what stands on them."""
    live = [each for each in counts if graph.is_ancestor(since, each) and each != since]
    if len(live) < 2:
        return frozenset()
    steps = {each: graph.steps[each] for each in live}
    ranks = {member.incarnation: member.rank for each in live for member in graph.members(steps[each].parent)}
    low = (True, 1 << 62, 0, b"")
    order = sorted(live, key=lambda each: (ranks.get(steps[each].author, low), each))
    accounts = {member.incarnation: member.account for each in live for member in graph.members(steps[each].parent)}
    removers = [each for each in live if steps[each].removes or steps[each].lists]

    def attacks(d: EpochId, c: EpochId) -> bool:
        one, other = steps[d], steps[c]
        if not (other.author in one.removes or _revokes(one, other, accounts.get(other.author))):
            return False
        return not graph.is_ancestor(d, c) and not graph.is_ancestor(c, d)

    attackers = {c: [d for d in removers if d != c and attacks(d, c)] for c in live}
    qualified: set[EpochId] = set()
    for c in order:
        mine = ranks.get(steps[c].author, low)
        if not any(
            d in qualified
            and (
                ranks.get(steps[d].author, low) < mine
                or _revokes(steps[d], steps[c], accounts.get(steps[c].author))
            )
            for d in attackers[c]
        ):
            qualified.add(c)
    struck = {c for c in live if any(d in qualified for d in attackers[c])}
    return frozenset(c for c in live if any(each in struck for each in graph.path(c, since)))


def _revokes(d: Step, c: Step, account: bytes | None) -> bool:
    return any(each.revokes and each.account == account and each.version > c.under for each in d.lists)


def head(graph: Graph, since: EpochId, void: frozenset[EpochId], counts: frozenset[EpochId]) -> EpochId:
    at = since
    while True:
        children = [each for each in graph.children(at) if each in counts and each not in void]
        if not children:
            return at
        at = max(children, key=lambda each: (bool(graph.steps[each].removes), graph.steps[each].tag, each))


def standing(graph: Graph, ballots: Ballots, counts: frozenset[EpochId]) -> Standing:
    last = final(graph, ballots)
    void = voids(graph, last, counts)
    return Standing(final=last, head=head(graph, last, void, counts), void=void)

"""Which branch counts: a pure function of commits, of whom they remove, and of what is final.

First some commits are void. Commit d *attacks* commit c if they are concurrent, neither stands on the other, and

- d removes the author of c, that member as one Add made it; or
- d shows a list of devices that shuts somebody out of the account of c's author, and c was made under an older one;
- c removes the author of d to bring that account in anew under a list (`policy.may_exchange`), and d was made under
  that one already: then there was nothing to exchange, and c, for its part, does not attack d.

A commit is *qualified* unless a qualified one attacks it by a list, or one senior to it attacks it by a removal. What
a qualified commit attacks is void, with all that stands on it. So a removal holds even if its branch loses or is
void, and whoever was removed writes nothing that stands beside it, wherever it forks. A commit is as senior as its
author was in the last final tree: admins first, then who came first; who came since is junior to all of them. One
that shows a list is held off by nobody who is not senior to that account, whoever made it: a stolen device cannot
strike the list that shuts it out. Only what the account itself does under that list or a later one is not held off,
and goes by seniority alone. Nor does a list lend seniority to what else the same commit does: or somebody who takes out
a member, and shows a list of theirs with that, would be above that member. And it is no more senior than its account,
or somebody who was removed could show a list to strike an old commit of its own, on which its removal stands.

Then the head is found from the last final epoch on, past what is void: among the children of an epoch those that
somebody else than their authors voted for go first, then those that remove somebody, and among these the greater
confirmation tag wins. A child that has a polka goes before all of them, as no other one is voted for any more, and so
none can be final: whoever stood elsewhere would work where nothing can come of it. That holds also for one that is
struck, if some who stay are bound to it (`votes.binding`), and what stands on it is not void then. Else nothing might
ever be final: it would wait for the vote of whoever was removed beside it, and nobody would remove them again above it.
Nor can anything come of a branch that nobody followed but who made it, once the keys to follow it are gone, and who
made it would not see that. Nor is a child taken whose keys this device has let go of, if only its author voted for it
and it has no polka (`gone`): whoever else still stands there votes, and is followed. Not the longer branch, not what
was heard first, and no clock: members who have the same commits and votes stand on the same epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from vcd.core.names import AccountId, EpochId, Incarnation
from vcd.core.ordering.graph import Graph, Step
from vcd.core.ordering.votes import Ballots, binding, final, polka

Rank = tuple[bool, int, int, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a group stands."""

    final: EpochId
    head: EpochId
    void: frozenset[EpochId]


def counted(graph: Graph, ballots: Ballots, followed: Iterable[EpochId]) -> frozenset[EpochId]:
    """The steps that count: those followed, those before them, and those that others than their authors vouch for.

    Who cannot follow a commit believes another member that could, because honest members vote for nothing else, and
    commit on nothing else: so who votes for a step vouches for all that it stands on, and so does its author. But each
    of these steps needs somebody else than its own author, or a member could have somebody it brings in commit on what
    it made, and vouch for that. It has to be one who is in the group for sure: a header that nobody could follow names
    members, and keys of theirs, as its author likes.
    """
    found: set[EpochId] = set()
    sure = {each.incarnation for each in graph.anchor.members}
    for epoch in followed:
        step = graph.steps.find(epoch)
        if step is not None and step.adds:
            sure.update(each.incarnation for each in step.adds)
        for each in graph.up(epoch):
            if each in found or each not in graph.steps:
                break
            found.add(each)
    rest = [step for epoch, step in graph.steps.items() if epoch not in found]
    if not rest:
        return frozenset(found)
    sure -= ballots.liars
    rest.sort(key=lambda step: graph.number(step.epoch))
    vouch: dict[EpochId, frozenset[Incarnation]] = {}
    nobody = frozenset[Incarnation]()
    for step in reversed(rest):
        here = vouch.get(step.epoch, nobody) | ((ballots.voters.find(step.epoch) or nobody) & sure)
        vouch[step.epoch] = here
        vouch[step.parent] = vouch.get(step.parent, nobody) | here | ({step.author} & sure)
    for step in rest:  # parents first
        if (step.parent in found or step.parent not in graph.steps) and vouch[step.epoch] - {step.author}:
            found.add(step.epoch)
    return frozenset(found)


def voids(graph: Graph, since: EpochId, hit: frozenset[EpochId], counts: frozenset[EpochId]) -> frozenset[EpochId]:
    """The void commits past a final epoch: those that are struck, and what stands on them."""
    if not hit:
        return hit
    void = set(hit)
    for c in _below(graph, since):  # parents come first
        if c in counts and graph.steps[c].parent in void:
            void.add(c)
    return frozenset(void)


def struck(graph: Graph, since: EpochId, counts: frozenset[EpochId]) -> frozenset[EpochId]:
    """The commits past a final epoch that something qualified attacks."""
    live = [each for each in _below(graph, since) if each in counts]
    attackers = [each for each in live if graph.steps[each].removes or graph.steps[each].lists]
    if not attackers or len(live) < 2:
        return frozenset()
    who = _People(graph, since, live)
    attacks: dict[EpochId, list[EpochId]] = {}
    lists: dict[EpochId, set[EpochId]] = {}
    beaten: dict[EpochId, set[EpochId]] = {}
    for d in attackers:
        one, line = graph.steps[d], frozenset[EpochId]()
        for c in live:
            other = graph.steps[c]
            by_list = who.shut_out(one, other)
            if not by_list and other.author not in one.removes:
                continue
            line = line or frozenset([*graph.up(d), *graph.standing_on(d)])  # once: rows of either may be long
            if c in line:
                continue
            if who.brings_anew(one, other):
                attacks.setdefault(d, []).append(c)
                lists.setdefault(d, set()).add(c)
                beaten.setdefault(d, set()).add(c)
                continue
            attacks.setdefault(c, []).append(d)
            if by_list:
                lists.setdefault(c, set()).add(d)
            if by_list or who.overrides(one, other):
                beaten.setdefault(c, set()).add(d)
    if not attacks:
        return frozenset()
    qualified = {*live} - _disqualified(beaten, lists, lambda each: who.order(graph.steps[each]))
    return frozenset(c for c in live if any(d in qualified for d in attacks.get(c, ())))


def _disqualified(
    beaten: Mapping[EpochId, set[EpochId]],
    lists: Mapping[EpochId, set[EpochId]],
    order: Callable[[EpochId], tuple[Rank, EpochId]],
) -> set[EpochId]:
    """Who is beaten by somebody who is not. Where that goes in a circle, a list in it counts first."""
    out: set[EpochId] = set()
    left = dict(beaten)
    while left:
        lose = {c for c, by in left.items() if any(d not in left and d not in out for d in by)}
        stand = {c for c, by in left.items() if by <= out}
        if not lose and not stand:
            held = {c: lists.get(c, set()) & left.keys() for c in left}
            showing = {d for several in held.values() for d in several}
            stand = {min((c for c in showing if not held[c]), key=order, default=min(left, key=order))}
        out |= lose
        for each in lose | stand:
            del left[each]
    return out


def _below(graph: Graph, since: EpochId) -> list[EpochId]:
    """All that stands on an epoch, parents first, in one order."""
    found = list(graph.children(since))
    for each in found:
        found += graph.children(each)
    return found


class _People:
    """Authors of commits: how senior they are, and under which list of devices they act."""

    def __init__(self, graph: Graph, since: EpochId, live: list[EpochId]) -> None:
        self._ranks: dict[Incarnation, Rank] = {each.incarnation: each.rank for each in graph.members(since)}
        self._accounts: dict[Incarnation, AccountId] = {each.incarnation: each.account for each in graph.members(since)}
        for epoch in live:
            for each in graph.steps[epoch].adds:
                self._ranks.setdefault(each.incarnation, (True, each.since, each.leaf, each.incarnation))
                self._accounts.setdefault(each.incarnation, each.account)
        self._first: dict[AccountId, Rank] = {}
        for who, rank in self._ranks.items():
            account = self._accounts[who]
            self._first[account] = min(rank, self._first.get(account, rank))

    def _rank(self, who: Incarnation) -> Rank:
        return self._ranks.get(who, (True, 1 << 62, 0, who))

    def _under(self, step: Step) -> int:
        """The newest list of its author's account that a commit was made under, or itself shows."""
        account = self._accounts.get(step.author)
        return max([step.under, *(each.version for each in step.lists if each.account == account)])

    def shut_out(self, d: Step, c: Step) -> bool:
        """Whether d shows that c's author acts for an account from which somebody was shut out since."""
        account = self._accounts.get(c.author)
        return any(each.revokes and each.account == account and each.version > self._under(c) for each in d.lists)

    def brings_anew(self, d: Step, c: Step) -> bool:
        """Whether d takes out c's author to bring that account in anew under a list that c was made under already."""
        account = self._accounts.get(c.author)
        anew = account is not None and any(each.account == account for each in d.adds)
        return anew and any(
            each.revokes and each.account == account and each.version <= self._under(c) for each in d.lists
        )

    def overrides(self, d: Step, c: Step) -> bool:
        """Whether d, which removes c's author, is senior to c, and no list that c shows holds it off."""
        rank, account = self._rank(d.author), self._accounts.get(d.author)
        if rank >= self._rank(c.author):
            return False
        held = [each for each in c.lists if each.revokes and each.account in self._first]
        own = [each.version <= self._under(d) for each in held if each.account == account]
        return all(own) if own else all(rank < self._first[each.account] for each in held)

    def order(self, step: Step) -> tuple[Rank, EpochId]:
        """Seniors come first."""
        return (self._rank(step.author), step.epoch)


def gone(graph: Graph, ballots: Ballots, dropped: Iterable[EpochId], kept: Iterable[EpochId]) -> frozenset[EpochId]:
    """The steps to which nobody can be led any more, as far as this device knows.

    It let go of their keys when it stood elsewhere, and nobody but their authors voted for them, or for what stands on
    them. If all others did so too, nobody could show the way there, and the group would have come to an end.
    """
    found = frozenset(each for each in dropped if each in graph.steps)
    if not found:
        return found
    held = {each for each in kept if graph.has(each)}
    held.update(each for each in ballots.voters if each in graph.steps and _attested(graph, ballots, each))
    led: set[EpochId] = set()
    for each in sorted(held):
        for epoch in graph.up(each):
            if epoch in led:
                break
            led.add(epoch)
    return found - led


def way(
    graph: Graph,
    ballots: Ballots,
    since: EpochId,
    hit: frozenset[EpochId],
    counts: frozenset[EpochId],
    dead: frozenset[EpochId] = frozenset(),
) -> tuple[EpochId, ...]:
    """The epochs from a final one on to where the group stands, given what is struck, and what is gone (`dead`)."""
    found = [since]
    while True:
        there = [each for each in graph.children(found[-1]) if each in counts]
        sound = [each for each in there if each not in hit]
        if not sound:
            return tuple(found)
        live = [each for each in sound if each not in dead]
        chosen = max(
            live or sound,
            key=lambda each: (
                _attested(graph, ballots, each),
                bool(graph.steps[each].removes),
                graph.steps[each].tag,
                each,
            ),
        )
        agreed = _agreed(graph, ballots, there, sound, chosen) if len(there) > 1 or not live else None
        if agreed is not None:
            chosen = agreed
        elif not live:
            return tuple(found)
        found.append(chosen)


def _agreed(
    graph: Graph, ballots: Ballots, there: list[EpochId], sound: list[EpochId], chosen: EpochId
) -> EpochId | None:
    """Which of the children has a polka, and is not struck, or cannot be given up any more."""

    def goes(child: EpochId) -> bool:
        return child in sound or (child in there and binding(graph, ballots, child, chosen))

    best = polka(graph, ballots, graph.steps[chosen].parent, goes)
    return best[1] if best is not None and goes(best[1]) else None


def _attested(graph: Graph, ballots: Ballots, child: EpochId) -> bool:
    """Whether a member before a step, other than its author, voted for it."""
    step = graph.steps[child]
    voters = (ballots.voters.find(child) or frozenset()) - ballots.liars - {step.author}
    return bool(voters) and any(each.incarnation in voters for each in graph.members(step.parent))


def standing(
    graph: Graph, ballots: Ballots, counts: frozenset[EpochId], dead: frozenset[EpochId] = frozenset()
) -> Standing:
    """All of it. Only steps that count dismiss anybody."""
    graph = graph.dismissing(counts)
    last = final(graph, ballots)
    hit = struck(graph, last, counts)
    found = way(graph, ballots, last, hit, counts, dead)
    return Standing(final=last, head=found[-1], void=voids(graph, last, hit - frozenset(found), counts))

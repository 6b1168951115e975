"""Votes, and what is final by them.

Each step (an epoch and one of the commits on it) is decided by those who were members before it, whatever was final
when they voted: the *electorate* is who is in the parent's tree and began the group or made a commit since. Who was
brought in may never come, and may not even know of it. Voting goes in views of two rounds, 2k and 2k+1:

    prevote     for the child that had the newest *polka*, else for the one on the way to one's head
    precommit   for a child that has a polka in this view: enough of the electorate prevoted it
    final       an epoch, when for every step on the way to it there is a view in which enough of the electorate
                precommitted, and with them everybody who was in the tree of that step's child and still is in the
                epoch's

A member votes once in each round, and never takes a vote back. Who precommitted has seen a polka, and so prevotes the
same child from then on, unless there is a newer polka for another one. That is what makes a final epoch stay final: two
sets that are *enough* have an honest member in common, and it would have had to vote against its own polka.

*Enough* of n members are q with 2q - n > b, where b of them may lie: one, or a third of a large group. Of three, that
would be all, and nobody could be removed from a group of two or three for good without a vote of its own. So there the
most senior member counts for more: with it, half is enough. A most senior member of two or three who lies can make two
epochs final for different people (docs/threat-model.md). Then the step that was precommitted in the later view counts,
and of two in one view the one that the choice of branches prefers; everybody who has the same votes agrees.

A removal that an account's list orders is decided without those whom it removes, and so is all that it stands on; it
needs all others. More orders only ever make more sets enough, so that no polka is lost by hearing of them.

Going on to the next view is always safe. A member does it when this view can bring nothing any more: everybody voted
who still is in the head, there is no polka, and it wants another child now, or somebody went on; or there is a polka,
and somebody who is needed went on without precommitting; or there is a polka in a later one. So those who stand apart
for long use up no views, and who never votes holds nobody up once it is removed. Who is out by this very step does not
hear of those who are removed after it, and so waits for none of them. Nobody votes by a clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from mls.persistent import PMap
from vcd.core.names import EpochId, Incarnation
from vcd.core.ordering.graph import Graph, Member, Step

MAX_ROUND = 128
"""A member that never stops splitting votes keeps a step from being final anyway."""

PROOF = 2
"""Votes of one member in one round that are kept. Two are proof that it lies, whichever they are: it counts as if it
had voted for everything in that round, so that further ones would say nothing, and no order of arrival matters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ballot:
    """A vote for one step, in one round."""

    voter: Incarnation
    parent: EpochId
    round: int
    child: EpochId


@dataclass(frozen=True, slots=True, kw_only=True)
class Ballots:
    """All that were heard, by parent, in one order. Those for a child count also before its commit is known."""

    cast: PMap[EpochId, tuple[Ballot, ...]] = field(default_factory=PMap)
    voters: PMap[EpochId, frozenset[Incarnation]] = field(default_factory=PMap)
    """Who voted for each child at all."""
    liars: frozenset[Incarnation] = frozenset()
    """Who voted for two children in one round. What they say alone, nobody believes."""

    def at(self, parent: EpochId) -> tuple[Ballot, ...]:
        return self.cast.find(parent) or ()

    def has(self, ballot: Ballot) -> bool:
        return ballot in self.at(ballot.parent)

    def has_child(self, child: EpochId) -> bool:
        """Whether anybody voted for it."""
        return child in self.voters

    def with_ballot(self, ballot: Ballot) -> Ballots:
        """With one more, if there is room for it."""
        known = self.at(ballot.parent)
        if ballot in known or not 0 <= ballot.round < MAX_ROUND:
            return self
        if sum(each.voter == ballot.voter and each.round == ballot.round for each in known) >= PROOF:
            return self
        several = sorted([*known, ballot], key=lambda each: (each.round, each.voter, each.child))
        who = self.voters.find(ballot.child) or frozenset()
        twice = any(each.voter == ballot.voter and each.round == ballot.round for each in known)
        return Ballots(
            liars=self.liars | {ballot.voter} if twice else self.liars,
            cast=self.cast.set(ballot.parent, tuple(several)),
            voters=self.voters.set(ballot.child, who | {ballot.voter}),
        )

    def without(self, steps: Sequence[Step]) -> Ballots:
        """Without those for some steps, as if they had not been heard yet.

        Who lied has lied; but whom only these steps brought in had the key that somebody made up for it, and others of
        that name may come by what takes their place.
        """
        gone: dict[EpochId, set[EpochId]] = {}
        comers: set[Incarnation] = set()
        for each in steps:
            comers.update(new.incarnation for new in each.adds)
            if each.epoch in self.voters:
                gone.setdefault(each.parent, set()).add(each.epoch)
        if not self.liars.isdisjoint(comers):
            return replace(self, liars=self.liars - comers).without(steps)
        cast: dict[EpochId, tuple[Ballot, ...]] = {}
        over: list[EpochId] = []
        for parent, children in gone.items():
            cast[parent] = tuple(each for each in self.at(parent) if each.child not in children)
            over += children
        ends = [parent for parent, several in cast.items() if not several]
        rest = {parent: several for parent, several in cast.items() if several}
        return replace(self, cast=self.cast.changed(ends, rest), voters=self.voters.changed(over, {})) if gone else self

    def since(self, graph: Graph) -> Ballots:
        """Those for steps that a graph still has, or may come to have."""
        gone = [parent for parent in self.cast if not graph.has(parent)]
        if not gone:
            return self
        children = {each.child for parent in gone for each in self.cast[parent]}
        return replace(
            self, cast=self.cast.changed(gone, {}), voters=self.voters.changed(sorted(children & {*self.voters}), {})
        )


# ---------------------------------------------------------------- enough


def quorum(n: int) -> int:
    """So many of n that any two such sets share an honest member, where one lies, or a third of a large group."""
    liars = max(1, (n - 1) // 3)
    return min(n, (n + liars) // 2 + 1)


def enough(electors: tuple[Member, ...], yes: Iterable[Incarnation], dismissed: frozenset[Incarnation]) -> bool:
    """Whether these decide for the electorate, of which an order dismissed some."""
    voted = frozenset(yes)
    rest = [each for each in electors if each.incarnation not in dismissed]
    if rest and len(rest) < len(electors) and all(each.incarnation in voted for each in rest):
        return True
    n = len(electors)
    count = sum(each.incarnation in voted for each in electors)
    if count >= quorum(n):
        return True
    return n <= SMALL and 2 * count >= n and electors[0].incarnation in voted


SMALL = 3


def electorate(graph: Graph, parent: EpochId) -> tuple[Member, ...]:
    """Who decides about the steps on an epoch."""
    members = graph.members(parent)
    return tuple(each for each in members if each.acted) or members


def _dismissed(graph: Graph, child: EpochId) -> frozenset[Incarnation]:
    return graph.dismissed.find(child) or frozenset()


def _yes(ballots: tuple[Ballot, ...], round_: int, child: EpochId) -> frozenset[Incarnation]:
    voted: dict[Incarnation, EpochId] = {}
    yes = set()
    for each in ballots:
        if each.round == round_:
            if each.child == child or voted.setdefault(each.voter, each.child) != each.child:
                yes.add(each.voter)
    return frozenset(yes)


def polka(
    graph: Graph, ballots: Ballots, parent: EpochId, goes: Callable[[EpochId], bool] = lambda _: True
) -> tuple[int, EpochId] | None:
    """The newest view in which a child has enough prevotes, and the child.

    Of two in one view it is one that `goes`, then the one with the greater name. There are two if one of them is a
    removal by order: whom it removes, and who may be enough for the other one, has no say in it.
    """
    several = ballots.at(parent)
    electors = electorate(graph, parent)
    found = [
        (round_ // 2, child)
        for round_, child in {(each.round, each.child) for each in several if each.round % 2 == 0}
        if enough(electors, _yes(several, round_, child), _dismissed(graph, child))
    ]
    if not found:
        return None
    newest = max(found)[0]
    there = sorted((child for view, child in found if view == newest), reverse=True)
    return newest, next((child for child in there if goes(child)), there[0])


# ---------------------------------------------------------------- final


def decided(graph: Graph, ballots: Ballots, child: EpochId, needed: frozenset[Incarnation]) -> int | None:
    """The latest view in which a step was precommitted by enough and by all of these; None if there is none."""
    parent = graph.parent(child)
    if parent is None:
        return None
    several = ballots.at(parent)
    views = {each.round // 2 for each in several if each.child == child and each.round % 2 == 1}
    for view in sorted(views, reverse=True):
        yes = _yes(several, 2 * view + 1, child)
        if needed <= yes and enough(electorate(graph, parent), yes, _dismissed(graph, child)):
            return view
    return None


def final(graph: Graph, ballots: Ballots) -> EpochId:
    """The last final epoch."""
    anchor = graph.anchor.epoch
    best: tuple[EpochId, ...] = ()
    at = anchor
    while True:
        found = [way for child in graph.children(at) if (way := _furthest(graph, ballots, best, child))]
        if not found:
            return at
        best = max(found, key=lambda way: _preference(graph, ballots, way, len(best)))
        at = best[-1]


def _furthest(
    graph: Graph, ballots: Ballots, before: tuple[EpochId, ...], child: EpochId
) -> tuple[EpochId, ...] | None:
    """The nearest final epoch at or below a child, by the way to it from the anchor."""
    todo = [child]
    since = before[-1] if before else graph.anchor.epoch
    for at in todo:
        # Most epochs lack somebody's vote, so that is looked at first: there may be a thousand of them.
        voted = (ballots.voters.find(at) or frozenset()) | ballots.liars  # who lies voted for everything
        if all(each.incarnation in voted for each in graph.members(at)) and _all_decided(graph, ballots, at, since):
            return graph.path(at)
        todo += graph.children(at)
    return None


def _all_decided(graph: Graph, ballots: Ballots, to: EpochId, since: EpochId) -> bool:
    """Whether each step on the way to an epoch was precommitted by all who are in it. The last one decides mostly."""
    here = frozenset([each.incarnation for each in graph.members(to)])
    for step in graph.up(to):
        if step == since:
            return True
        needed = here if step == to else here & frozenset([each.incarnation for each in graph.members(step)])
        if decided(graph, ballots, step, needed) is None:
            return False
    return True


def _preference(
    graph: Graph, ballots: Ballots, way: tuple[EpochId, ...], start: int
) -> tuple[int, bool, bytes, EpochId]:
    """Of ways that part at their first step: how they are preferred, if that should ever be necessary."""
    step = graph.steps[way[start]]
    here = frozenset([each.incarnation for each in graph.members(way[-1])])
    view = decided(graph, ballots, step.epoch, here & frozenset([m.incarnation for m in graph.members(step.epoch)]))
    return (-1 if view is None else view, bool(step.removes), step.tag, step.epoch)


# ---------------------------------------------------------------- voting


def cast(
    graph: Graph, ballots: Ballots, me: Incarnation, head: EpochId, way: Iterable[EpochId] | None = None
) -> tuple[Ballot, ...]:
    """What `me` should vote for now, with what it knows; nothing, if it has to wait for others.

    `way` are the steps to look at, of those to the head that are not final; it is all of them unless it is known that
    others are none of its business.
    """
    found: list[Ballot] = []
    for child in graph.path(head, final(graph, ballots)) if way is None else way:
        if _done(ballots.at(graph.steps[child].parent), me, child):
            continue
        votes, choice = _at_step(graph, ballots, me, child, head)
        found += votes
        if choice != child:
            break  # what stands on the other child is not decided before this is
    return tuple(found)


def _done(several: tuple[Ballot, ...], me: Incarnation, child: EpochId) -> bool:
    """Whether we precommitted this child in the newest view that anybody is in: then there is nothing to add."""
    if not several or several[-1].round % 2 == 0:
        return False
    for each in reversed(several):
        if each.round != several[-1].round:
            return False
        if each.voter == me:
            return each.child == child
    return False


def _at_step(
    graph: Graph, ballots: Ballots, me: Incarnation, child: EpochId, head: EpochId
) -> tuple[list[Ballot], EpochId]:
    """The votes of `me` on one step on the way to the head, and the child that it is for."""
    parent = graph.steps[child].parent
    several = ballots.at(parent)
    mine = {each.round: each.child for each in several if each.voter == me}
    last = max(mine, default=-1)

    def follows(chosen: EpochId) -> bool:
        return _follows(graph, ballots, chosen, child, me)

    best = polka(graph, ballots, parent, follows)
    # Not the highest view that anybody named: a liar would name the last one, and none would be left.
    view = last // 2 if mine else 0 if best is None else best[0]
    choice = best[1] if best is not None and follows(best[1]) else child
    found: list[Ballot] = []
    if not _has_a_say(graph, parent, choice, me):
        return found, choice

    def vote(round_: int, which: EpochId) -> None:
        if round_ < MAX_ROUND:
            found.append(Ballot(voter=me, parent=parent, round=round_, child=which))
            mine[round_] = which

    if best is not None and best[0] > view:
        view = best[0]  # the others went on, and agree there: those who are late come to them
    elif 2 * view in mine and _over(graph, several, view, me, choice, best, _names(graph.members(head))):
        view += 1
    if 2 * view not in mine and 2 * view + 1 not in mine:
        vote(2 * view, choice)
        after = ballots
        for each in found:
            after = after.with_ballot(each)
        best = polka(graph, after, parent, follows)
    if best is not None and best[0] == view and 2 * view + 1 not in mine:
        if best[1] == choice or follows(best[1]):
            vote(2 * view + 1, best[1])
            choice = best[1]
    return found, choice


def _follows(graph: Graph, ballots: Ballots, chosen: EpochId, child: EpochId, me: Incarnation) -> bool:
    """Whether to vote for a child that has a polka and is not on the way to the head: it is void."""
    if chosen == child:
        return True
    return graph.has(chosen) and binding(graph, ballots, chosen, child, also=frozenset([me]))


def binding(
    graph: Graph, ballots: Ballots, chosen: EpochId, rival: EpochId, also: frozenset[Incarnation] = frozenset()
) -> bool:
    """Whether somebody precommitted a child that has a polka, and for whose sake all vote for it, though it is struck.

    They cannot go back, and it is they who stay in the rival's tree, or without whom nothing can be decided. Else those
    who voted before they heard of a removal would undo it.
    """
    parent = graph.steps[rival].parent
    stay = _names(graph.members(rival)) | also
    electors = electorate(graph, parent)
    if not enough(electors, stay, _dismissed(graph, rival)):
        stay |= _names(electors)
    return any(each.round % 2 == 1 and each.child == chosen and each.voter in stay for each in ballots.at(parent))


def _names(members: tuple[Member, ...]) -> frozenset[Incarnation]:
    return frozenset([each.incarnation for each in members])


def _has_a_say(graph: Graph, parent: EpochId, child: EpochId, me: Incarnation) -> bool:
    """Members before a step, also those whom it removes: their last vote is for that. And those who come by it."""
    return any(each.incarnation == me for each in (*graph.members(parent), *graph.members(child)))


def _over(
    graph: Graph,
    several: tuple[Ballot, ...],
    view: int,
    me: Incarnation,
    choice: EpochId,
    best: tuple[int, EpochId] | None,
    here: frozenset[Incarnation],
) -> bool:
    """Whether a view can bring nothing any more, as far as one sees.

    Nobody waits for those who are not `here`, in the head, any more: who never votes is removed for that.
    Who went on is in the next view, not just in any later one: a liar would be in the last.
    """
    mine = {each.round: each.child for each in several if each.voter == me}
    stay = _names(graph.members(choice))
    needed = stay & here
    electors = electorate(graph, graph.steps[choice].parent)
    also = frozenset() if enough(electors, needed, _dismissed(graph, choice)) else _names(electors)
    voted, next_view, committed, moved = set(), set(), set(), mine[2 * view] != choice
    for each in several:
        if each.voter in also - needed and each.round // 2 == view + 1:
            next_view.add(each.voter)  # it is removed by this step, and they cannot do without its vote
        if each.voter not in needed:
            continue
        if each.round >= 2 * view:
            voted.add(each.voter)
        if each.round // 2 == view + 1:
            next_view.add(each.voter)
        if each.round == 2 * view + 1 and best is not None and each.child == best[1]:
            committed.add(each.voter)
    parent = graph.parent(choice)
    before = needed if parent is None else {each.incarnation for each in graph.members(parent)}
    if me in stay and not needed & before <= voted:
        return False  # somebody who is needed has not voted in this view; who comes in by it may not be able to yet
    if (
        best is None or best[0] < view or best[1] != choice
    ):  # another view helps only if somebody wants something else than before: who does goes first
        return moved or bool(next_view)
    return bool(next_view - committed) or mine.get(2 * view + 1, best[1]) != best[1]

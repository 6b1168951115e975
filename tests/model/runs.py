"""The node's voting, played at random by members of whom one may lie, some never come and some are lost.

Honest members do what the rule lets them, on what they have heard. In the end all of them hear everything, whoever is
silent or lies is removed where the group stands, and then everything has to be final.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from tests.model.branches import FIRST_NEW, NOBODY
from tests.model.compare import account, graph_of, name, who
from vcd.core.names import EpochId, Incarnation
from vcd.core.ordering.choice import Standing, counted, standing
from vcd.core.ordering.graph import Graph, Member, Step
from vcd.core.ordering.votes import SMALL, Ballot, Ballots, cast, electorate, enough, final

MOST = 9
"""Commits before the end."""
SENIOR = 0


@dataclass
class Voter:
    """A member: what it has heard, and what it held to be final."""

    me: int
    graph: Graph
    ballots: Ballots = field(default_factory=Ballots)
    followed: set[EpochId] = field(default_factory=set)
    final: EpochId = field(default_factory=lambda: name(NOBODY))
    inbox: list[Step | Ballot] = field(default_factory=list)
    changed: bool = False

    def stands(self) -> Standing:
        return standing(self.graph, self.ballots, counted(self.graph, self.ballots, self.followed))

    def take(self, item: Step | Ballot) -> bool:
        if isinstance(item, Step):
            if not self.graph.has(item.parent):
                return False
            self.graph = self.graph.with_step(item)
            self.followed.add(item.epoch)
        else:
            self.ballots = self.ballots.with_ballot(item)
        now = final(self.graph, self.ballots)
        self.changed = self.changed or not self.graph.is_ancestor(self.final, now)
        self.final = now
        return True

    def votes(self) -> tuple[Ballot, ...]:
        return cast(self.graph, self.ballots, who(self.me), self.stands().head)


@dataclass(frozen=True, slots=True)
class Played:
    """How a run ended."""

    changed: bool
    """Whether what was final for somebody is not on the way to what is final now."""
    apart: bool
    """Whether two who know the same stand apart."""
    finished: bool
    """Whether all members of the head are there and hold it to be final; or nobody who is there is in it."""
    stuck: bool
    """Whether those who are left are too few to decide some step on the way: of two or three, without the senior."""
    mute: bool
    """Whether all who are left in the head were removed on branches that lost, so that whatever they do is void."""
    hasty: bool
    """Whether all went on to another view while nobody wanted another child than before."""
    rounds: int
    decides: bool
    """Whether the one that lies counts for more somewhere: the most senior of two or three who decide."""


class Run:
    """See above. `orders`: as in a home, the most senior one removes others by its list, and nobody else does."""

    def __init__(self, seed: int, people: int, *, lying: bool, silent: bool, orders: bool) -> None:
        self.random, self.orders, self.silent = Random(seed), orders, silent
        self.liar = self.random.randrange(1 if orders else 0, people) if lying else None
        self.voters = [Voter(each, graph_of((), people)) for each in range(people)]
        self.lost: set[int] = set()
        self.world: list[Step] = []
        self.mute = False

    def honest(self) -> list[Voter]:
        """Those who are there."""
        return [each for each in self.voters if each.me != self.liar and each.me not in self.lost]

    # What happens

    def mint(self, at: Voter, parent: EpochId, removes: list[Incarnation], *, adds: bool = False) -> Step | None:
        there = at.graph.members(parent)
        if all(each.incarnation != who(at.me) for each in there):
            return None
        new = FIRST_NEW + len(self.world)
        since = at.graph.number(parent) + 1
        came = Member(incarnation=who(new), account=account(new), since=since, leaf=new, admin=False, acted=self.orders)
        made = Step(
            epoch=name(len(self.world)),
            parent=parent,
            author=who(at.me),
            adds=(came,) if adds else (),
            removes=tuple(removes),
            tag=bytes([255 if at.me == self.liar and self.random.random() < 0.5 else self.random.randrange(255)]),
            root=self.orders and bool(removes),
        )
        self.world.append(made)
        at.take(made)
        if adds and at.me != self.liar and self.random.random() < 0.6:  # the others were invited, and never come
            self.voters.append(Voter(new, at.graph, at.ballots, set(at.followed), at.final))
        return made

    def something(self, at: Voter, parent: EpochId) -> Step | None:
        others = [each.incarnation for each in at.graph.members(parent) if each.incarnation != who(at.me)]
        kind = self.random.random()
        may = not self.orders or at.me == SENIOR
        removes = [self.random.choice(others)] if others and kind < 0.3 and may else []
        return self.mint(at, parent, removes, adds=kind > 0.75)

    def tell(self, item: Step | Ballot, to: list[Voter]) -> None:
        for each in to:
            each.inbox.append(item)

    def lie(self, at: Voter) -> None:
        honest = self.honest()
        some = self.random.sample(honest, self.random.randint(1, len(honest))) if honest else []
        if self.random.random() < 0.3 and len(self.world) < MOST:
            made = self.something(at, self.random.choice([name(NOBODY), *sorted(at.graph.steps)]))
            if made is not None:
                self.tell(made, some)
        elif self.world:
            child = self.random.choice(self.world)
            round_ = self.random.randrange(4)
            self.tell(Ballot(voter=who(at.me), parent=child.parent, round=round_, child=child.epoch), some)
        if at.inbox and at.take(at.inbox[0]):
            at.inbox.pop(0)

    def go_on(self, at: Voter) -> None:
        others = [each for each in self.voters if each is not at]
        kind = self.random.random()
        if kind < 0.5 and at.inbox:
            place = self.random.randrange(len(at.inbox))
            if at.take(at.inbox[place]):
                at.inbox.pop(place)
        elif kind < 0.65 and len(self.world) < MOST:
            made = self.something(at, at.stands().head)
            if made is not None:
                self.tell(made, [each for each in self.voters if each is not at])
        else:
            for ballot in at.votes():
                at.take(ballot)
                self.tell(ballot, others)

    def live(self, steps: int) -> None:
        for _ in range(steps):
            at = self.random.choice(self.voters)
            if at.me in self.lost:
                continue
            if at.me == self.liar:
                self.lie(at)
            else:
                self.go_on(at)
            away = at.me not in (self.liar, SENIOR) or (at.me == SENIOR and not self.orders and self.liar is None)
            if self.silent and away and len(self.honest()) > 1 and self.random.random() < 0.03:
                self.lost.add(at.me)

    # How it ends

    def quiet(self) -> int:
        """Everybody hears everything and votes, until nothing is new; how many rounds that took."""
        honest = self.honest()
        for count in range(200):
            before = [(len(each.graph.steps), each.ballots) for each in honest]
            everything: list[Step | Ballot] = []
            for each in honest:
                everything += each.inbox
                each.inbox = []
                everything += [each.graph.steps[epoch] for epoch in each.graph.steps]
                everything += [ballot for several in each.ballots.cast.values() for ballot in several]
            known: list[Step | Ballot] = list(dict.fromkeys(everything))
            known.sort(
                key=lambda item: (isinstance(item, Ballot), item.epoch if isinstance(item, Step) else item.child)
            )
            for each in honest:
                waiting = list(known)
                while waiting:
                    rest = [item for item in waiting if not each.take(item)]
                    if len(rest) == len(waiting):
                        break
                    waiting = rest
            for each in honest:
                for ballot in each.votes():
                    each.take(ballot)
            if before == [(len(each.graph.steps), each.ballots) for each in honest]:
                return count
        return 200

    def clear(self) -> int:
        """Whoever does not vote is removed, one after the other; how many rounds all of it took."""
        rounds, tried, stood = self.quiet(), 0, name(NOBODY)
        there = {who(each.me) for each in self.honest()}
        while True:
            head = self.honest()[0].stands().head
            tried, stood = (tried + 1 if head == stood else 0), head
            members = [each.incarnation for each in self.honest()[0].graph.members(head)]
            gone = [each for each in members if each not in there]
            able = [each for each in self.honest() if who(each.me) in members and (not self.orders or not each.me)]
            if not gone or not able or tried > len(able):
                self.mute = bool(gone and able)
                return rounds
            if tried < len(able):
                self.mint(able[tried], head, gone[:1])  # void if that one was itself removed beside it
            else:  # so were all: the most senior one removes those who removed it
                able.sort(key=lambda each: members.index(who(each.me)))
                self.mint(able[0], head, [each for each in members if each != who(able[0].me)])
            rounds = max(rounds, self.quiet())

    def verdict(self, rounds: int) -> Played:
        honest = self.honest()
        stood = [each.stands() for each in honest]
        graph, last, head = honest[0].graph, honest[0].final, stood[0].head
        here = {each.incarnation for each in graph.members(head)}
        there = frozenset(who(each.me) for each in honest)
        parents = [name(NOBODY), *sorted(graph.steps)]
        small = [found for at in parents if len(found := electorate(graph, at)) <= SMALL]
        return Played(
            changed=any(each.changed for each in self.voters if each.me != self.liar),
            apart=len(set(stood)) > 1,
            finished=not here & there
            or (all(each.final == head for each in honest if who(each.me) in here) and here <= there),
            stuck=any(
                not enough(
                    electorate(graph, graph.steps[each].parent), there, graph.dismissed.find(each) or frozenset()
                )
                for each in graph.path(head, last)
            ),
            mute=self.mute,
            hasty=self.liar is None and any(_hasty(honest[0].ballots, at) for at in parents),
            rounds=rounds,
            decides=self.liar is not None and any(each[0].incarnation == who(self.liar) for each in small),
        )


def _hasty(ballots: Ballots, parent: EpochId) -> bool:
    prevotes = {(each.voter, each.round): each.child for each in ballots.at(parent) if each.round % 2 == 0}
    return any(
        all(
            prevotes.get((voter, round_ - 2), child) == child for (voter, at), child in prevotes.items() if at == round_
        )
        for round_ in {at for _, at in prevotes if at > 0}
    )


def play(
    seed: int, people: int, *, lying: bool = False, silent: bool = False, orders: bool = False, steps: int = 60
) -> Played:
    """Commits and votes at random, delivered at random; then everything is delivered until nothing changes."""
    run = Run(seed, people, lying=lying, silent=silent, orders=orders)
    run.live(steps)
    return run.verdict(run.clear())

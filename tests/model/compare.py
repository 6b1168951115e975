"""What the model says, held against `vcd.core.ordering`; and the node's voting, played by honest and lying members."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from tests.model.branches import FIRST_NEW, NOBODY, World, head, members, under, void
from vcd.core.names import AccountId, EpochId, Incarnation
from vcd.core.ordering.choice import counted, standing
from vcd.core.ordering.graph import Anchor, Graph, ListShown, Member, Step
from vcd.core.ordering.votes import Ballot, Ballots, cast, enough, final


def who(number: int) -> Incarnation:
    return Incarnation(b"member" + number.to_bytes(4, "big"))


def account(number: int) -> AccountId:
    return AccountId(b"account" + number.to_bytes(4, "big"))


def name(commit: int) -> EpochId:
    return EpochId(b"epoch" + (commit + 1).to_bytes(4, "big"))


def member(number: int, since: int = 0) -> Member:
    return Member(incarnation=who(number), account=account(number), since=since, leaf=number, admin=False)


def step(world: World, number: int) -> Step:
    commit = world[number]
    version = under(world, number)
    return Step(
        epoch=name(number),
        parent=name(commit.parent),
        author=who(commit.author),
        adds=(member(FIRST_NEW + number, since=1 + number),) if commit.adds else (),
        removes=() if commit.removes == NOBODY else (who(commit.removes),),
        tag=bytes([commit.tag + 1]),
        lists=(ListShown(account=account(commit.author), version=version, revokes=True),) if commit.shows else (),
        under=version - commit.shows,
    )


def graph_of(world: World, people: int, order: list[int] | None = None) -> Graph:
    graph = Graph(Anchor(epoch=name(NOBODY), number=0, members=tuple(member(each) for each in range(people))))
    for number in order or range(len(world)):
        graph = graph.with_step(step(world, number))
    return graph


def differs(world: World, people: int) -> str:
    """Empty if the node's rooms and the model say the same of a set of commits."""
    backwards: list[int] = []
    rest = list(range(len(world)))
    while rest:  # another order of arrival: the latest whose parent is there
        nxt = max(each for each in rest if world[each].parent in (NOBODY, *backwards))
        backwards.append(nxt)
        rest.remove(nxt)
    graph = graph_of(world, people)
    followed = counted(graph, Ballots(), [name(each) for each in range(len(world))])
    found = standing(graph, Ballots(), followed)
    if found != standing(graph_of(world, people, backwards), Ballots(), followed):
        return "the order of arrival matters"
    if found.head != name(head(world)) or found.void != {name(each) for each in void(world)}:
        return f"{found} is not what the model says: {head(world)}, {sorted(void(world))}"
    for number in range(len(world)):
        there = {each.incarnation for each in graph.members(name(number))}
        if there != {who(each) for each in members(world, number, people)}:
            return "other members"
    return ""


# ---------------------------------------------------------------- voting


@dataclass
class Voter:
    """An honest member: what it has heard, and what it held to be final."""

    me: int
    graph: Graph
    ballots: Ballots = field(default_factory=Ballots)
    followed: set[EpochId] = field(default_factory=set)
    final: EpochId = field(default_factory=lambda: name(NOBODY))
    inbox: list[Step | Ballot] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Played:
    """How a run ended."""

    changed: bool
    """Whether what was final for somebody is not on the way to what is final now."""
    apart: bool
    """Whether two who know the same stand apart."""
    finished: bool
    """Whether the members of the head hold it to be final, in the end."""
    stuck: bool
    """Whether those who are left are too few to decide some removal on the way: of two or three, without the senior."""
    rounds: int
    liar: int | None


def play(seed: int, people: int, *, lying: bool, steps: int = 60) -> Played:
    """Commits and votes at random, delivered at random; then everything is delivered until nothing changes."""
    random = Random(seed)
    liar = random.randrange(people) if lying else None
    start = graph_of((), people)
    voters = [Voter(each, start) for each in range(people)]
    honest = [each for each in voters if each.me != liar]
    world: list[Step] = []
    changed = False

    def take(at: Voter, item: Step | Ballot) -> bool:
        nonlocal changed
        if isinstance(item, Step):
            if not at.graph.has(item.parent):
                return False
            at.graph = at.graph.with_step(item)
            at.followed.add(item.epoch)
        else:
            at.ballots = at.ballots.with_ballot(item)
        now = final(at.graph, at.ballots)
        if not at.graph.is_ancestor(at.final, now):
            changed = True
        at.final = now
        return True

    def mint(author: int, parent: EpochId, graph: Graph) -> Step | None:
        there = graph.members(parent)
        me = next((each for each in there if each.incarnation == who(author)), None)
        if me is None:
            return None
        others = [each for each in there if each is not me]
        number = len(world)
        removes = random.choice(others).incarnation if others and random.random() < 0.3 else None
        return Step(
            epoch=name(number),
            parent=parent,
            author=me.incarnation,
            removes=() if removes is None else (removes,),
            tag=bytes([255 if author == liar and random.random() < 0.5 else random.randrange(255)]),
        )

    def tell(item: Step | Ballot, to: list[Voter]) -> None:
        for each in to:
            each.inbox.append(item)

    for _ in range(steps):
        at = random.choice(voters)
        kind = random.random()
        if at.me == liar:
            if kind < 0.3 and len(world) < 9:
                made = mint(at.me, random.choice([name(NOBODY), *sorted(at.graph.steps)]), at.graph)
                if made is not None:
                    world.append(made)
                    take(at, made)
                    tell(made, random.sample(honest, random.randint(1, len(honest))) if honest else [])
            elif world:
                child = random.choice(world)
                ballot = Ballot(voter=who(at.me), parent=child.parent, round=random.randrange(4), child=child.epoch)
                tell(ballot, random.sample(honest, random.randint(1, len(honest))) if honest else [])
            if at.inbox and take(at, at.inbox[0]):
                at.inbox.pop(0)
        elif kind < 0.5 and at.inbox:
            place = random.randrange(len(at.inbox))
            if take(at, at.inbox[place]):
                at.inbox.pop(place)
        elif kind < 0.65 and len(world) < 9:
            stands = standing(at.graph, at.ballots, counted(at.graph, at.ballots, at.followed))
            made = mint(at.me, stands.head, at.graph)
            if made is not None:
                world.append(made)
                take(at, made)
                tell(made, [each for each in voters if each is not at])
        else:
            stands = standing(at.graph, at.ballots, counted(at.graph, at.ballots, at.followed))
            for ballot in cast(at.graph, at.ballots, who(at.me), stands.head):
                take(at, ballot)
                tell(ballot, [each for each in voters if each is not at])
    rounds = _quiet(honest, take)
    stood = [standing(each.graph, each.ballots, counted(each.graph, each.ballots, each.followed)) for each in honest]
    apart = len(set(stood)) > 1
    here = {each.incarnation for each in honest[0].graph.members(stood[0].head)}
    finished = all(each.final == stood[0].head for each in honest if who(each.me) in here)
    graph, last = honest[0].graph, honest[0].final
    stuck = any(
        not enough(graph.members(graph.steps[each].parent), here, frozenset())
        for each in graph.path(stood[0].head, last)
    )
    return Played(changed, apart, finished, stuck, rounds, liar)


def _quiet(honest: list[Voter], take: Callable[[Voter, Step | Ballot], bool]) -> int:
    """Everybody hears everything and votes, until nothing is new; how many rounds that took."""
    for count in range(200):
        before = [(len(each.graph.steps), each.ballots) for each in honest]
        everything: list[Step | Ballot] = []
        for each in honest:
            everything += each.inbox
            each.inbox = []
            everything += [each.graph.steps[epoch] for epoch in each.graph.steps]
            everything += [ballot for several in each.ballots.cast.values() for ballot in several]
        known: list[Step | Ballot] = list(dict.fromkeys(everything))
        known.sort(key=lambda item: (isinstance(item, Ballot), item.epoch if isinstance(item, Step) else item.child))
        for each in honest:
            waiting = list(known)
            while waiting:
                rest = [item for item in waiting if not take(each, item)]
                if len(rest) == len(waiting):
                    break
                waiting = rest
        for each in honest:
            stands = standing(each.graph, each.ballots, counted(each.graph, each.ballots, each.followed))
            for ballot in cast(each.graph, each.ballots, who(each.me), stands.head):
                take(each, ballot)
        if before == [(len(each.graph.steps), each.ballots) for each in honest]:
            return count
    return 200

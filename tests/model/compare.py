"""What the model says, held against `vcd.core.ordering`; and the node's voting, played by honest and lying members."""

from __future__ import annotations

from dataclasses import replace

from tests.model.branches import FIRST_NEW, NOBODY, World, dismissed, electors, head, members, under, void
from vcd.core.names import AccountId, EpochId, Incarnation
from vcd.core.ordering.choice import counted, standing
from vcd.core.ordering.graph import Anchor, Graph, ListShown, Member, Step
from vcd.core.ordering.votes import Ballots, electorate


def who(number: int) -> Incarnation:
    return Incarnation(b"member" + number.to_bytes(4, "big"))


def account(number: int) -> AccountId:
    return AccountId(b"account" + number.to_bytes(4, "big"))


def name(commit: int) -> EpochId:
    return EpochId(b"epoch" + (commit + 1).to_bytes(4, "big"))


def member(number: int, since: int = 0) -> Member:
    return Member(
        incarnation=who(number), account=account(number), since=since, leaf=number, admin=False, acted=since == 0
    )


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


def graph_of(world: World, people: int, order: list[int] | None = None, *, ordered: bool = False) -> Graph:
    """`ordered`: lists order all that is removed."""
    graph = Graph(Anchor(epoch=name(NOBODY), number=0, members=tuple(member(each) for each in range(people))))
    for number in order or range(len(world)):
        made = step(world, number)
        graph = graph.with_step(replace(made, root=bool(made.removes)) if ordered else made)
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
    orders = graph_of(world, people, ordered=True)
    if orders.dismissed != graph_of(world, people, backwards, ordered=True).dismissed or graph.dismissed:
        return "the order in which orders arrive matters"
    for number in range(-1, len(world)):
        if {each.incarnation for each in electorate(graph, name(number))} != {
            who(each) for each in electors(world, number, people)
        }:
            return f"other electors of what is done on {number}"
        if (orders.dismissed.find(name(number)) or frozenset()) != {who(each) for each in dismissed(world, number)}:
            return f"others are dismissed from {number} on"
    return ""

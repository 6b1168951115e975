"""Votes: what a single member can and cannot do to the others' views."""

from __future__ import annotations

from tests.model.branches import Commit
from tests.model.compare import graph_of, name, who
from vcd.core.ordering.votes import MAX_ROUND, Ballot, Ballots, cast, final

ONE = (Commit(-1, 1, tag=1),)
TWO = (Commit(-1, 1, tag=1), Commit(-1, 2, tag=2))


def play(people: int, world: tuple[Commit, ...], ballots: Ballots, honest: list[int]) -> Ballots:
    """Those members vote, all hearing all, until nothing is new."""
    graph = graph_of(world, people)
    head = max((name(number) for number in range(len(world))), key=lambda each: graph.steps[each].tag)
    for _ in range(200):
        before = ballots
        for number in honest:
            for ballot in cast(graph, ballots, who(number), head):
                ballots = ballots.with_ballot(ballot)
        if ballots == before:
            return ballots
    raise AssertionError("they vote for ever")


def vote(number: int, round_: int, child: int) -> Ballot:
    return Ballot(voter=who(number), parent=name(-1), round=round_, child=name(child))


def test_a_liar_that_votes_in_the_last_view_does_not_use_up_those_of_the_others() -> None:
    ballots = Ballots()
    for early in (MAX_ROUND - 2, MAX_ROUND - 1, 64):
        ballots = ballots.with_ballot(vote(3, early, 0))
    ballots = ballots.with_ballot(vote(0, 0, 0)).with_ballot(vote(1, 0, 1))  # they stood apart once
    ballots = play(4, TWO, ballots, [0, 1, 2])
    ballots = ballots.with_ballot(vote(3, 2, 1)).with_ballot(vote(3, 3, 1)).with_ballot(vote(3, 4, 1))
    rounds = [each.round for each in ballots.at(name(-1)) if each.voter != who(3)]
    assert max(rounds) < 10


def test_who_begins_late_joins_the_view_of_the_polka() -> None:
    ballots = Ballots()
    for number in (0, 1, 2):
        ballots = ballots.with_ballot(vote(number, 6, 0)).with_ballot(vote(number, 7, 0))
    graph = graph_of(ONE, 4)
    found = cast(graph, ballots, who(3), name(0))
    assert [each.round for each in found] == [6, 7]
    for each in found:
        ballots = ballots.with_ballot(each)
    assert final(graph, ballots) == name(0)


def test_who_begins_late_where_nobody_agreed_yet_comes_to_where_the_others_are() -> None:
    ballots = Ballots()
    for number in (0, 1, 2):
        for view in range(3):
            ballots = ballots.with_ballot(vote(number, 2 * view, (number + view) % 2))
    ballots = play(4, TWO, ballots, [0, 1, 2, 3])
    assert final(graph_of(TWO, 4), ballots) == name(1)


def test_rounds_out_of_range_are_not_kept() -> None:
    assert Ballots().with_ballot(vote(0, MAX_ROUND, 0)) == Ballots()


def test_a_member_that_votes_for_everything_fills_no_table() -> None:
    ballots = Ballots()
    for child in range(100):
        ballots = ballots.with_ballot(Ballot(voter=who(1), parent=name(-1), round=0, child=name(child)))
    assert len(ballots.at(name(-1))) <= 8

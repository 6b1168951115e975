"""Votes: what a single member can and cannot do to the others' views."""

from __future__ import annotations

import pytest

from tests.model.branches import FIRST_NEW, Commit
from tests.model.compare import graph_of, name, who
from vcd.core.ordering.choice import counted
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
        if ballots == before or not graph.is_ancestor(final(graph, ballots), head):
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
    assert len(ballots.at(name(-1))) == 2


def test_whichever_two_votes_of_a_liar_are_kept_the_same_is_final() -> None:
    world = tuple(Commit(-1, 0, tag=number) for number in range(10))
    graph = graph_of(world, 4)
    for order in (range(10), range(9, -1, -1)):
        ballots = Ballots()
        for number in (0, 1, 2):
            ballots = ballots.with_ballot(vote(number, 0, 9)).with_ballot(vote(number, 1, 9))
        for child in order:
            ballots = ballots.with_ballot(vote(3, 0, child)).with_ballot(vote(3, 1, child))
        assert final(graph, ballots) == name(9)


def test_a_liar_alone_makes_nobody_count_what_nobody_could_follow() -> None:
    graph = graph_of(TWO, 4)
    ballots = Ballots().with_ballot(vote(3, 0, 0))
    assert name(0) in counted(graph, ballots, ())
    assert not counted(graph, ballots.with_ballot(vote(3, 0, 1)), ())


REMOVED = (Commit(-1, 3, tag=1), Commit(-1, 0, removes=3, tag=2))
"""What member 3 did, and the removal of it by the most senior one, beside it."""


@pytest.mark.parametrize("voters", [[0, 1, 2, 3], [0, 1, 2]])
def test_votes_cast_before_a_removal_was_heard_of_do_not_undo_it(voters: list[int]) -> None:
    ballots = Ballots()
    for number in (1, 2, 3):
        ballots = ballots.with_ballot(vote(number, 0, 0))
    ballots = play(4, REMOVED, ballots, voters)
    assert final(graph_of(REMOVED, 4), ballots) == name(1)


def test_who_cannot_go_back_is_followed() -> None:
    """Two have precommitted before they heard; without them nothing can be final, so it is what they are bound to."""
    ballots = Ballots()
    for number in (1, 2, 3):
        ballots = ballots.with_ballot(vote(number, 0, 0))
    for number in (1, 2):
        ballots = ballots.with_ballot(vote(number, 1, 0))
    ballots = play(4, REMOVED, ballots, [0, 1, 2, 3])
    assert final(graph_of(REMOVED, 4), ballots) == name(0)


def test_of_three_the_senior_votes_again_for_its_own_removal() -> None:
    world = (Commit(-1, 0, tag=1), Commit(-1, 1, removes=0, tag=2))
    ballots = play(3, world, Ballots().with_ballot(vote(0, 0, 0)), [0, 1, 2])
    assert final(graph_of(world, 3), ballots) == name(1)


@pytest.mark.xfail(strict=True, reason="those who never came are in the electorate until they are removed for good")
def test_invitations_that_nobody_takes_up_can_be_withdrawn_for_good() -> None:
    came = (Commit(-1, 0, adds=True), Commit(0, 0, adds=True))
    world = (*came, Commit(1, 0, removes=FIRST_NEW), Commit(2, 0, removes=FIRST_NEW + 1))
    graph, ballots = graph_of(world, 1), Ballots()
    for _ in range(20):
        for ballot in cast(graph, ballots, who(0), name(3)):
            ballots = ballots.with_ballot(ballot)
    assert final(graph, ballots) == name(3)

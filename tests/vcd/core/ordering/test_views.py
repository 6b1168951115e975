"""Votes: what a single member can and cannot do to the others' views."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.model.branches import FIRST_NEW, Commit
from tests.model.compare import graph_of, name, who
from vcd.core.names import EpochId, Incarnation
from vcd.core.ordering.choice import Standing, counted, standing
from vcd.core.ordering.graph import Graph, Step
from vcd.core.ordering.votes import MAX_ROUND, Ballot, Ballots, cast, final, polka

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


def test_two_who_stand_apart_use_up_no_views_and_agree_when_one_comes_over() -> None:
    graph, ballots = graph_of(TWO, 3), Ballots()
    for _ in range(MAX_ROUND):
        for number, child in ((0, 0), (1, 1), (2, 1)):
            for ballot in cast(graph, ballots, who(number), name(child)):
                ballots = ballots.with_ballot(ballot)
    assert {each.round for each in ballots.at(name(-1))} == {0}
    ballots = play(3, TWO, ballots, [0, 1, 2])
    assert final(graph, ballots) == name(1)


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


def test_a_member_vouches_for_nobody_who_stands_on_what_it_made_itself() -> None:
    """Member 3 brings somebody in by a commit that all refuse, who commits there; it votes for that."""
    onto = graph_of((Commit(-1, 3, tag=1), Commit(0, 2, tag=2)), 4)
    ballots = Ballots().with_ballot(Ballot(voter=who(3), parent=name(0), round=0, child=name(1)))
    strange = replace(onto.steps[name(1)], author=Incarnation(b"brought in"))
    graph = Graph(onto.anchor).with_step(onto.steps[name(0)]).with_step(strange)
    assert not counted(graph, ballots, ())
    assert counted(onto, ballots, ()) == {name(0), name(1)}  # member 2 followed what it committed on


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


def test_who_is_removed_does_not_wait_for_those_who_are_removed_after_it() -> None:
    """Of three, the senior removes both. One never votes; the other voted for what lost, and is needed."""
    world = (Commit(-1, 0, removes=2, tag=2), Commit(-1, 2, tag=1), Commit(0, 0, removes=1, tag=3))
    graph = graph_of(world, 3)
    ballots = Ballots().with_ballot(vote(0, 0, 0)).with_ballot(vote(2, 0, 1))
    for number, head in ((0, 2), (2, 0), (0, 2), (2, 0), (0, 2)):  # who is out follows no further
        for ballot in cast(graph, ballots, who(number), name(head)):
            ballots = ballots.with_ballot(ballot)
    assert final(graph, ballots) == name(2)


def ordered(number: int, parent: int, author: int, removes: int) -> Step:
    """A removal that the list orders."""
    return Step(
        epoch=name(number),
        parent=name(parent),
        author=who(author),
        removes=(who(removes),),
        tag=b"x",
        root=True,
    )


def test_of_orders_one_after_the_other_none_needs_those_whom_a_later_one_removes() -> None:
    """Of five, two are lost: nobody has to wait for the second to agree that the first one goes."""
    graph = graph_of((), 5).with_step(ordered(0, -1, 0, removes=4)).with_step(ordered(1, 0, 1, removes=3))
    ballots = Ballots()
    for _ in range(10):
        for number in (0, 1, 2):
            for ballot in cast(graph, ballots, who(number), name(1)):
                ballots = ballots.with_ballot(ballot)
    assert final(graph, ballots) == name(1)


def test_an_order_that_comes_later_takes_no_polka_away() -> None:
    graph = graph_of((Commit(-1, 0),), 5)
    ballots = Ballots()
    for number in (0, 1, 2, 4):
        ballots = ballots.with_ballot(vote(number, 0, 0))
    assert polka(graph, ballots, name(-1)) == (0, name(0))
    graph = graph.with_step(ordered(1, 0, 1, removes=4))
    assert polka(graph, ballots, name(-1)) == (0, name(0))


@pytest.mark.parametrize("before", [b"\0", b"\xff"], ids=["lesser", "greater"])
def test_the_most_senior_of_two_is_removed_by_order_and_had_voted_alone_for_its_own(before: bytes) -> None:
    """Either one is enough for its own child. Whichever name is the greater one, the order stands."""
    own = EpochId(before * 32)
    graph = (
        graph_of((), 2)
        .with_step(Step(epoch=own, parent=name(-1), author=who(0), tag=b"y"))
        .with_step(ordered(1, -1, 1, removes=0))
    )
    ballots = Ballots()
    for round_ in (0, 1):
        ballots = ballots.with_ballot(Ballot(voter=who(0), parent=name(-1), round=round_, child=own))
    assert standing(graph, ballots, counted(graph, ballots, (own, name(1)))).head == name(1)
    for _ in range(5):
        for number in (0, 1):
            for ballot in cast(graph, ballots, who(number), name(1)):
                ballots = ballots.with_ballot(ballot)
    assert final(graph, ballots) == name(1)
    assert standing(graph, ballots, counted(graph, ballots, (own, name(1)))).final == name(1)


def test_invitations_that_nobody_takes_up_can_be_withdrawn_for_good() -> None:
    came = (Commit(-1, 0, adds=True), Commit(0, 0, adds=True))
    world = (*came, Commit(1, 0, removes=FIRST_NEW), Commit(2, 0, removes=FIRST_NEW + 1))
    graph, ballots = graph_of(world, 1), Ballots()
    for _ in range(20):
        for ballot in cast(graph, ballots, who(0), name(3)):
            ballots = ballots.with_ballot(ballot)
    assert final(graph, ballots) == name(3)


BOUND = (Commit(-1, 4, tag=1), Commit(-1, 0, removes=4, tag=2))
"""What the last one of five did, and the removal of it by the most senior one, beside it."""


def bound() -> Ballots:
    """The other four precommitted the first before they heard of the second."""
    ballots = Ballots()
    for number in (0, 1, 2, 3):
        ballots = ballots.with_ballot(vote(number, 0, 0)).with_ballot(vote(number, 1, 0))
    return ballots


def stands(world: tuple[Commit, ...], ballots: Ballots, people: int = 5) -> Standing:
    graph = graph_of(world, people)
    return standing(graph, ballots, counted(graph, ballots, [name(number) for number in range(len(world))]))


def test_who_was_removed_beside_what_the_others_are_bound_to_is_removed_again_above_it() -> None:
    """It never votes any more, and without that nothing would be final where all still count it in."""
    ballots = bound()
    assert stands(BOUND, ballots).head == name(0)
    world = (*BOUND, Commit(0, 0, removes=4))
    graph = graph_of(world, 5)
    for _ in range(10):
        for number in (0, 1, 2, 3):
            for ballot in cast(graph, ballots, who(number), stands(world, ballots).head):
                ballots = ballots.with_ballot(ballot)
    assert stands(world, ballots).final == name(2)


def test_what_whoever_was_removed_writes_above_that_is_void_all_the_same() -> None:
    world = (*BOUND, Commit(0, 4, tag=9), Commit(0, 1, tag=1))
    found = stands(world, bound())
    assert found.void == {name(2)}
    assert found.head == name(3)


def test_who_is_bound_and_goes_binds_nobody_else() -> None:
    world = (Commit(-1, 3, tag=1), Commit(-1, 0, removes=3, tag=2))
    ballots = Ballots()
    for number in (1, 2, 3):
        ballots = ballots.with_ballot(vote(number, 0, 0))
    assert stands(world, ballots.with_ballot(vote(3, 1, 0)), 4).head == name(1)
    assert stands(world, ballots.with_ballot(vote(2, 1, 0)), 4).head == name(0)


def test_nobody_waits_in_a_view_for_somebody_who_never_voted_and_was_removed_since() -> None:
    """Three of four stand apart at first; the fourth is lost, and removed above what they come to agree on."""
    world = (*TWO, Commit(1, 2, removes=3))
    ballots = Ballots().with_ballot(vote(0, 0, 0)).with_ballot(vote(1, 0, 1)).with_ballot(vote(2, 0, 1))
    graph = graph_of(world, 4)
    assert not cast(graph, ballots, who(0), name(1))
    for _ in range(10):
        for number in (0, 1, 2):
            for ballot in cast(graph, ballots, who(number), name(2)):
                ballots = ballots.with_ballot(ballot)
    assert final(graph, ballots) == name(2)


def test_who_did_not_precommit_in_its_view_comes_to_where_the_others_agreed_again() -> None:
    """One that lies went on although all agreed, and the others with it, all but one."""
    ballots = Ballots()
    for number in (0, 1, 2, 3):
        ballots = ballots.with_ballot(vote(number, 0, 0))
    for number in (0, 1, 3):
        for round_ in (1, 2, 3):
            ballots = ballots.with_ballot(vote(number, round_, 0))
    graph = graph_of(ONE, 4)
    found = cast(graph, ballots, who(2), name(0))
    assert [each.round for each in found] == [2, 3]
    for each in found:
        ballots = ballots.with_ballot(each)
    assert final(graph, ballots) == name(0)

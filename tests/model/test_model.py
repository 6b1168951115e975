"""The rule of fork choice and finality, exhaustively where that is quick; `python -m tests.model` does the rest."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest

from tests.model import branches
from tests.model.branches import undone, worlds
from tests.model.compare import differs, member, who
from tests.model.runs import play
from tests.model.voting import (
    Newcomers,
    NoLock,
    OldPolka,
    Ordered,
    Vote,
    dismissing,
    enough,
    majority,
    orders,
    search,
    subsets,
)
from vcd.core.ordering import choice, votes

HONEST = -1
SENIOR = 0


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("people", [2, 3, 4])
def test_the_node_says_what_the_model_says_of_every_small_set_of_commits(people: int, size: int) -> None:
    for world in worlds(size, people):
        assert not differs(world, people), world


@pytest.mark.parametrize("people", [2, 3, 4])
def test_the_node_says_what_the_model_says_of_larger_sets(people: int) -> None:
    step = {2: 1, 3: 29, 4: 197}[people]
    for world in islice(worlds(3, people), 0, 400_000, step):
        assert not differs(world, people), world


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("people", [2, 3, 4])
def test_a_removal_by_somebody_senior_is_never_undone(people: int, size: int) -> None:
    for world in worlds(size, people):
        assert not undone(world, people)


def test_nor_in_larger_sets() -> None:
    for world in islice(worlds(3, 3), 0, 60_000, 23):
        assert not undone(world, 3)


def test_a_rule_by_which_lists_outrank_everybody_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: somebody who was removed strikes an old commit of its own, and with it the removal that stands on it."""
    monkeypatch.setattr(branches, "seniority", lambda commit: commit.author - 1000 * commit.shows)
    assert any(undone(world, 2) for world in worlds(2, 2))


def test_a_rule_without_seniority_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: of two who remove each other, neither goes first."""
    monkeypatch.setattr(branches, "seniority", lambda _commit: 0)
    assert any(undone(world, 3) for world in worlds(2, 3))


@pytest.mark.parametrize(("children", "views"), [(2, 2), (3, 2)])
@pytest.mark.parametrize(("people", "liar"), [(n, liar) for n in (2, 3, 4) for liar in range(-1, n) if n > 3 or liar])
def test_no_two_children_are_ever_final(people: int, liar: int, children: int, views: int) -> None:
    states, bad = search(Vote(people, liar, children, views))
    assert bad is None
    assert states > 10


@pytest.mark.parametrize(("people", "liar"), [(2, HONEST), (2, 1), (3, 1), (3, 2)])
def test_nor_in_three_views(people: int, liar: int) -> None:
    assert search(Vote(people, liar, 2, 3))[1] is None


@pytest.mark.parametrize("people", [2, 3])
def test_the_most_senior_of_two_or_three_can_make_two_children_final(people: int) -> None:
    """What docs/threat-model.md says of it."""
    assert search(Vote(people, SENIOR, 2, 2))[1] is not None


def test_a_polka_that_binds_nobody_is_found_out() -> None:
    assert search(NoLock(4, 3, 2, 2))[1] is not None
    assert search(NoLock(3, HONEST, 2, 2))[1] is not None


def test_an_old_polka_that_unlocks_is_found_out() -> None:
    assert search(OldPolka(3, HONEST, 2, 3))[1] is not None


def test_plain_majorities_are_found_out() -> None:
    assert search(Vote(3, 1, 2, 2, majority))[1] is not None


@pytest.mark.parametrize(("n", "electors"), [(2, 1), (3, 1), (3, 2), (4, 2), (4, 3)])
def test_who_never_acted_decides_nothing_and_can_spoil_nothing(n: int, electors: int) -> None:
    """Only a liar that acted, and is the most senior of one, two or three who did, makes two children final."""
    for liar in range(-1, n):
        assert (search(Newcomers(n, electors, liar, 2, 2))[1] is not None) == (liar == SENIOR)


@pytest.mark.parametrize("n", [2, 3])
def test_orders_make_two_children_final_only_where_those_who_decide_have_nobody_honest_in_common(n: int) -> None:
    unsafe = 0
    for pair in orders(n):
        for liar in range(-1, n):
            vote = Ordered(n, liar, 2, pair)
            assert (search(vote)[1] is not None) == vote.apart()
            unsafe += vote.apart()
    assert unsafe


@pytest.mark.parametrize("n", [4, 5])
def test_orders_of_one_side_make_nothing_unsafe_unless_those_who_go_would_be_enough_alone(n: int) -> None:
    for out in subsets(n):
        if not enough(n, out):
            assert not Ordered(n, HONEST, 1, (out, frozenset())).apart()


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_the_node_says_the_same_of_who_is_enough_and_further_orders_take_nothing_back(n: int) -> None:
    electors = tuple(member(each) for each in range(n))
    for out in subsets(n):
        names = frozenset(who(each) for each in out)
        for yes in subsets(n):
            said = votes.enough(electors, [who(each) for each in yes], names)
            assert said == (enough(n, yes) or dismissing(n, yes, out))
            for more in subsets(n) if said else ():
                if out < more and len(more) < n:
                    assert votes.enough(electors, [who(x) for x in yes], frozenset(who(x) for x in more))


WAYS = [
    {"lying": lying, "silent": silent, "orders": orders}
    for lying in (False, True)
    for silent in (False, True)
    for orders in (False, True)
]


@pytest.mark.parametrize("people", [1, 2, 3, 4])
@pytest.mark.parametrize("how", WAYS, ids=lambda how: "-".join(each for each in how if how[each]) or "honest")
def test_nothing_final_changes_and_all_is_final_when_those_who_do_not_vote_are_removed(
    people: int, how: dict[str, bool]
) -> None:
    """With newcomers, of whom some never come, and removals, in a home by orders."""
    if how["lying"] and people < 2:
        return
    held = 0
    for seed in range(15):
        played = play(seed, people, **how)
        assert not played.apart, seed
        assert not played.hasty, seed
        assert played.rounds < 12
        if not played.decides:
            assert not played.changed, seed
            assert played.finished or played.mute or (played.stuck and not how["orders"]), seed
            held += played.finished
    assert held or (people == 2 and how["lying"])


def test_a_head_that_stays_with_a_removal_which_nobody_can_vote_for_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Planted: those who are bound to what was struck stand elsewhere."""
    monkeypatch.setattr(choice, "binding", lambda *_: False)
    assert not play(35, 3, lying=True).finished


def test_a_view_in_which_all_wait_for_those_who_were_removed_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted."""
    plain, everybody = votes._over, frozenset(who(each) for each in range(200))

    def waiting(*given: Any) -> bool:
        graph, several, view, mine, choice, best, _ = given
        return plain(graph, several, view, mine, choice, best, everybody)

    monkeypatch.setattr(votes, "_over", waiting)
    assert any(not (played.finished or played.stuck) for played in [play(8, 4, silent=True), play(17, 4, silent=True)])
